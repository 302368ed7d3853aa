"""What we know about the user's repository before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.model.ids import Commit


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoFacts:
    """One look at the user's repository; everything the assessment needs, nothing live."""

    root: str  #: the user's checkout (or the bare repository itself)
    common_dir: str
    current_branch: str | None = None  #: None when HEAD is detached
    branches: frozenset[str] = frozenset()  #: short names
    target: str = ""  #: the branch that was asked about
    target_commit: Commit | None = None  #: None when that branch does not exist
    files: frozenset[str] = frozenset()  #: every path in the target's tree; submodules too
    directories: frozenset[str] = frozenset()  #: every directory in the target's tree
    submodules: frozenset[str] = frozenset()
    is_shallow: bool = False
    is_bare: bool = False
    has_identity: bool = True
    git_version: tuple[int, int] = (2, 39)
    config: dict[str, str] = field(default_factory=dict)  #: the user's git configuration taken over, for people to see
    signs_commits: bool = False  #: the user signs their commits; what the program commits is not signed
    filters_unset: tuple[str, ...] = ()  #: named in the target's `.gitattributes`, and configured nowhere
    drivers_unset: tuple[str, ...] = ()  #: the same for merge drivers
    programs_missing: dict[str, str] = field(default_factory=dict)  #: `filter 'x'` -> the program that is not there
    lfs_missing: tuple[str, ...] = ()  #: files of the target whose contents git-lfs has not fetched yet
    submodules_lacking: dict[str, str] = field(default_factory=dict)  #: those that will be empty -> why
