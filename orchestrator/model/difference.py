"""Where the ledger and the world do not agree: what the ledger relies on, what was found, and what is to be done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.model.attempt import Workspace
from orchestrator.model.ids import AttemptId, Commit, PlanId, RunId


class Care(StrEnum):
    """What a difference asks for."""

    SAFE = "safe"  #: putting it right loses nothing, whatever led to it
    TOLD = "told"  #: a person should know; nothing waits for it
    ASKED = "asked"  #: the plan goes on only when a person has looked


@dataclass(frozen=True, slots=True, kw_only=True)
class SetReference:
    """Let a reference of `repo.git` be at `commit`, if it is at `old` now."""

    name: str
    commit: Commit
    old: Commit | None = None  #: None: it is not there


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowBranch:
    """Show the plan's branch in the user's repository again."""

    plan_id: PlanId
    commit: Commit


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowKept:
    """Show references of `repo.git` in the user's repository again."""

    names: Mapping[str, Commit]


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchAgain:
    """Bring what these commits need into `repo.git`, from wherever it still is."""

    commits: tuple[Commit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndStray:
    """End the processes of a run that the ledger knows as over."""

    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PutAside:
    """Move a run folder, in which nothing runs, to where nobody takes it for one."""

    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeAnew:
    """Make `repo.git` again, which a start does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearLocks:
    """Remove what killed gits of ours left locked in `repo.git`."""

    names: tuple[str, ...]


Remedy = SetReference | ShowBranch | ShowKept | FetchAgain | EndStray | PutAside | ClearLocks | MakeAnew


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not as the ledger has it, in the user's words."""

    kind: str  #: a stable word, such as `lost_reference`
    said: str
    why: str  #: how it may have come about
    fix: str  #: what puts it right
    care: Care
    plan_id: PlanId | None = None  #: None: it concerns no plan that the ledger knows
    remedy: Remedy | None = None  #: None: a person has to do it


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the ledger relies on outside of itself."""

    plans: frozenset[str] = frozenset()
    #: the plan's branch in `repo.git` -> where it may be, the recorded position first
    tips: Mapping[PlanId, tuple[Commit, ...]] = field(default_factory=dict)
    starts: Mapping[PlanId, Commit] = field(default_factory=dict)  #: where each of those branches began
    #: references that keep attempts' work -> what they keep; None: the ledger does not say
    kept: Mapping[str, Commit | None] = field(default_factory=dict)
    hand_offs: Mapping[Commit, str] = field(default_factory=dict)  #: commits that are still to land -> what they are
    live: Mapping[AttemptId, Workspace] = field(default_factory=dict)  #: trees that somebody works in
    runs: frozenset[RunId] = frozenset()  #: that have not ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What was found on the disk, in both repositories, and among the processes."""

    gone_ours: bool = False  #: `repo.git` is not there
    made_anew: bool = False  #: `repo.git` was not there
    ours: Mapping[str, Commit] = field(default_factory=dict)  #: references of `repo.git` below `refs/orchestrator/`
    users: Mapping[str, Commit] = field(default_factory=dict)  #: the user's, and their branches `orchestrator/*`
    broken: frozenset[Commit] = frozenset()  #: needed, and not whole in `repo.git`
    within: frozenset[tuple[Commit, Commit]] = frozenset()  #: pairs whose first is an ancestor of the second
    trees: tuple[str, ...] = ()  #: folders among the worktrees that nobody knows
    folders: tuple[str, ...] = ()  #: of attempts and candidates, in the state folder
    runs: Mapping[str, bool] = field(default_factory=dict)  #: run folders without a live run in the ledger -> at work
    gone: Mapping[AttemptId, str] = field(default_factory=dict)  #: live attempts whose tree is not theirs -> how
    locks: tuple[str, ...] = ()  #: left in `repo.git`; nobody works there
    old_locks: Mapping[str, int] = field(default_factory=dict)  #: in the user's repository -> minutes
