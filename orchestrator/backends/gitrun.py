"""How git is called: on which repository, with which environment. `repository.py` has the one function that does it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_delay, wait_random_exponential

from orchestrator.backends.references import read_reference
from orchestrator.core.gitformats import is_commit_id, shown, text_of
from orchestrator.core.gitsettings import LFS, filter_failure
from orchestrator.model.errors import RepositoryError
from orchestrator.model.ids import Commit
from orchestrator.model.place import Place

REMEMBERED = 10_000  #: answers about commits, before all are forgotten
LOCK_PATIENCE_S = 4.0  #: how long a lock of somebody else's git is waited for

T = TypeVar("T")
#: folder -> its time of change when its names were put on the disk, and its names where the time alone may not tell
Synced = dict[str, tuple[int, frozenset[str] | None]]
_UNKNOWN = object()

#: variables of the user that decide what their configuration and identity are
_USERS_OWN = ("GIT_CONFIG", "GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_SSH")

_ALWAYS = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_EDITOR": ":",
    "GIT_SEQUENCE_EDITOR": ":",
    "GIT_PAGER": "cat",
    "GIT_NO_LAZY_FETCH": "1",
    "LC_ALL": "C.UTF-8",
}
#: nothing but what we say: no configuration of machine or user, no hooks, no maintenance, no network
_PRIVATE = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_ALLOW_PROTOCOL": "file",
}
_QUIET_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "core.fsmonitor": "false",
    "submodule.recurse": "false",
}
_PRIVATE_SETTINGS = {
    **_QUIET_SETTINGS,
    "protocol.allow": "never",
    "protocol.file.allow": "always",
    "safe.directory": "*",
    "core.safecrlf": "false",
    "rerere.enabled": "false",
    "commit.gpgSign": "false",
    "fetch.recurseSubmodules": "false",
    "fetch.prune": "false",
    "fetch.writeCommitGraph": "false",
}
#: by itself git leaves loose objects and references to chance: a power loss makes empty files of them
LASTING = {"core.fsync": "all", "core.fsyncMethod": "batch"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GitAnswer:
    """How a call of git ended."""

    status: int
    out: bytes
    err: str

    @property
    def line(self) -> str:
        """The output without its final newline."""
        return text_of(self.out).removesuffix("\n")

    @property
    def is_locked_out(self) -> bool:
        """Whether another git held a lock that it will soon give back."""
        return self.status != 0 and ".lock': File exists" in self.err


class GitFailed(RepositoryError):
    """git refused something that we expected to work."""

    code = "git"

    def __init__(self, command: Sequence[str], answer: GitAnswer) -> None:
        why = answer.err.strip() or "it gave no reason"
        failed = filter_failure(answer.err)
        if failed is not None:
            if failed.name == LFS and "Error downloading object" in why:
                why = "your git-lfs does not have its contents, and trees are made without the network"
            super().__init__(
                f"filter '{failed.name}' failed on {shown(failed.path)}",
                why=why,
                fix="fetch what it needs in your checkout (`git lfs fetch origin BRANCH`), then try again"
                if failed.name == LFS
                else f"see what `git config --get-regexp '^filter\\.{failed.name}\\.'` starts, and make that work",
            )
        else:
            super().__init__(
                f"`git {' '.join(command[:2])}` failed with status {answer.status}",
                why=why,
                fix="look at the repository named there; the step is tried again when you ask for it",
            )
        self.answer = answer


@dataclass(frozen=True, slots=True, kw_only=True)
class GitCommand:
    """All that one call of git needs."""

    args: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    stdin: bytes | None = None
    umask: int = -1  #: -1: the daemon's own
    outlives: bool = False  #: it must come to its own end even when the daemon is killed meanwhile


Execute = Callable[[GitCommand], GitAnswer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """git on one repository, always named explicitly; `with_` gives a variant."""

    execute: Execute
    cwd: Path
    git_dir: Path | None = None  #: None: git looks in `cwd` and not above it
    work_tree: Path | None = None
    index: Path | None = None
    users: Mapping[str, str] | None = None  #: the user's configuration counts; these variables are theirs
    settings: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    umask: int = -1
    known: dict[tuple[str, ...], Any] | None = None  #: what cannot change any more, where that is remembered
    synced: Synced = field(default_factory=dict)

    def with_(
        self,
        *,
        cwd: Path | None = None,
        work_tree: Path | None = None,
        index: Path | None = None,
        settings: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Git:
        """The same repository with more said about this call."""
        return replace(
            self,
            cwd=cwd or work_tree or self.cwd,
            work_tree=work_tree or self.work_tree,
            index=index or self.index,
            settings={**self.settings, **(settings or {})},
            env={**self.env, **(env or {})},
        )

    def ask(self, *args: str, stdin: bytes | None = None, outlives: bool = False) -> GitAnswer:
        """Call git and take its answer, whatever it is. A lock that is held is waited for, some seconds."""
        command = GitCommand(
            args=args, cwd=self.cwd, env=self._environment(), stdin=stdin, umask=self.umask, outlives=outlives
        )
        retrying = Retrying(
            retry=retry_if_result(lambda answer: answer.is_locked_out),
            stop=stop_after_delay(LOCK_PATIENCE_S),
            wait=wait_random_exponential(multiplier=0.02, max=0.5),
            retry_error_callback=_last_answer,
        )
        answer: GitAnswer = retrying(self.execute, command)
        return answer

    def run(self, *args: str, stdin: bytes | None = None) -> GitAnswer:
        """Call git, which has to succeed. Raises: GitFailed."""
        answer = self.ask(*args, stdin=stdin)
        if answer.status != 0:
            raise GitFailed(args, answer)
        return answer

    def reference(self, name: str) -> Commit | None:
        """What a reference, by its full name, points at; None when there is none."""
        if self.git_dir is not None:
            known, commit = read_reference(self.git_dir, name)
            if known:
                return commit
        answer = self.ask("show-ref", "--verify", "--hash", "--", name)
        return Commit(answer.line) if answer.status == 0 and is_commit_id(answer.line) else None

    def contains(self, commit: str, ancestor: str) -> bool:
        """Whether `ancestor` is `commit` or an ancestor of it. Raises: GitFailed when one of them is not there."""

        def asked() -> bool:
            answer = self.ask("merge-base", "--is-ancestor", ancestor, commit)
            if answer.status not in (0, 1):
                raise GitFailed(("merge-base", "--is-ancestor"), answer)
            return answer.status == 0

        if self.known is not None:
            parents = self.known.get(("parents", commit), ())
            if commit == ancestor or any(self.known.get(("contains", parent, ancestor)) for parent in parents):
                self.remember(("contains", commit, ancestor), True)
        return self.recall(("contains", commit, ancestor), asked)

    def born(self, commit: str, parents: Sequence[str], tree: str) -> None:
        """Remember of a commit that we have just made what need not be asked for."""
        self.remember(("has", commit), True)
        self.remember(("tree", commit), tree)
        self.remember(("parents", commit), tuple(parents))
        for parent in parents:
            self.remember(("contains", commit, parent), True)

    def has(self, commit: str) -> bool:
        """Whether a commit is there, by its id."""
        if self.known is not None and ("has", commit) in self.known:
            return True
        there = self.ask("cat-file", "-e", f"{commit}^{{commit}}").status == 0
        if there:
            self.remember(("has", commit), True)
        return there

    def tree_of(self, commit: str) -> str:
        """The tree of a commit, by its id. Raises: GitFailed when it is not there."""
        return self.recall(("tree", commit), lambda: self.run("rev-parse", "--verify", f"{commit}^{{tree}}").line)

    def recall(self, question: tuple[str, ...], asked: Callable[[], T]) -> T:
        """The answer to what never changes, asked once where that is remembered."""
        found = (self.known or {}).get(question, _UNKNOWN)
        if found is not _UNKNOWN:
            remembered: T = found
            return remembered
        answer = asked()
        self.remember(question, answer)
        return answer

    def remember(self, question: tuple[str, ...], answer: object) -> None:
        """Keep an answer that never changes."""
        if self.known is not None:
            if len(self.known) >= REMEMBERED:
                self.known.clear()
            self.known[question] = answer

    def _environment(self) -> dict[str, str]:
        env = dict(_ALWAYS)
        if self.users is None:
            env |= _PRIVATE
            settings = {**_PRIVATE_SETTINGS, **self.settings}
        else:
            env |= self.users
            settings = {**_QUIET_SETTINGS, **self.settings}
        if self.git_dir is not None:
            env["GIT_DIR"] = str(self.git_dir)
        if self.work_tree is not None:
            env["GIT_WORK_TREE"] = str(self.work_tree)
        if self.index is not None:
            env["GIT_INDEX_FILE"] = str(self.index)
        env["GIT_CEILING_DIRECTORIES"] = str(self.cwd.parent)
        first = env.get("GIT_CONFIG_COUNT", "0")
        start = int(first) if first.isdigit() else 0
        for number, (name, value) in enumerate(settings.items(), start):
            env[f"GIT_CONFIG_KEY_{number}"] = name
            env[f"GIT_CONFIG_VALUE_{number}"] = value
        env["GIT_CONFIG_COUNT"] = str(start + len(settings))
        return {**env, **self.env}


def _last_answer(state: RetryCallState) -> GitAnswer:
    assert state.outcome is not None
    answer: GitAnswer = state.outcome.result()
    return answer


def inherited_git_environment() -> dict[str, str]:
    """The variables of this process that say what the user's configuration and identity are."""
    return {name: value for name, value in os.environ.items() if name.startswith(_USERS_OWN)}


def strip_git_environment() -> dict[str, str]:
    """Remove every GIT_* from this process, so that nothing it starts is led elsewhere.

    Returns: those that say what the user's configuration and identity are, for `GitRepository(inherited=...)`.
    """
    kept = inherited_git_environment()
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        del os.environ[name]
    return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Repositories:
    """The repositories that we call git on: ours, the user's, and those of attempts."""

    place: Place
    execute: Execute
    inherited: Mapping[str, str]
    umask: int  #: for files that the user will see
    known: dict[tuple[str, ...], Any] = field(default_factory=dict)  #: of commits in `repo.git`, which never go away
    synced: Synced = field(default_factory=dict)

    @property
    def ours(self) -> Git:
        """`repo.git`, which no agent's tree points at."""
        return Git(
            execute=self.execute,
            cwd=self.place.state_dir,
            git_dir=self.place.repo_git,
            known=self.known,
            synced=self.synced,
        )

    @property
    def users(self) -> Git:
        """The user's references and objects; nothing of their checkout, none of their hooks."""
        return Git(
            execute=self.execute,
            cwd=self.place.common_dir,
            git_dir=self.place.common_dir,
            settings=LASTING,
            umask=self.umask,
            synced=self.synced,
        )

    @property
    def users_view(self) -> Git:
        """The user's checkout as the user sees it, with their configuration."""
        return Git(
            execute=self.execute,
            cwd=self.place.root,
            git_dir=git_dir_of(self.place.root) or self.place.common_dir,
            users=self.inherited,
            umask=self.umask,
        )

    def checkout(self, path: Path) -> Git:
        """One of the user's checkouts, with their configuration."""
        return Git(
            execute=self.execute,
            cwd=path,
            git_dir=git_dir_of(path),
            work_tree=path,
            users=self.inherited,
            umask=self.umask,
        )

    def small(self, git_dir: Path, tree: Path | None = None) -> Git:
        """A small repository that we have just made; never one that an agent has worked in."""
        return Git(execute=self.execute, cwd=tree or git_dir.parent, git_dir=git_dir, work_tree=tree, umask=self.umask)

    def tags_and_remotes(self) -> dict[str, str]:
        """Name to object of every tag and remote-tracking branch in `repo.git`, as they were last fetched."""
        if ("references",) not in self.known:
            form = "--format=%(objectname) %(refname)"
            listing = self.ours.run("for-each-ref", form, "refs/tags", "refs/remotes").line
            lines = (line.partition(" ") for line in listing.splitlines())
            self.known["references",] = {name: object_id for object_id, _, name in lines if is_commit_id(object_id)}
        found: dict[str, str] = self.known["references",]
        return found

    def forget_references(self) -> None:
        """They have been fetched anew."""
        self.known.pop(("references",), None)

    @property
    def scratch(self) -> Path:
        """A folder for private indexes and the like; what is in it may go at any start."""
        folder = self.place.state_dir / "tmp"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder


def git_dir_of(checkout: Path) -> Path | None:
    """The git folder that a checkout's `.git` is or points at; None when it is no checkout."""
    dot_git = checkout / ".git"
    if dot_git.is_dir():
        return dot_git
    try:
        kind, _, target = dot_git.read_text(errors="surrogateescape").partition(":")
    except (OSError, ValueError):
        return None
    if kind != "gitdir":
        return None
    return (checkout / target.strip()).resolve()
