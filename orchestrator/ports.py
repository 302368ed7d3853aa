"""What the engine needs of the outside, and what an implementation owes.

One contract suite per port in `tests/contract/` is this text, executed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.model.agent import AgentPaths, AgentReport, Briefing, Launch
from orchestrator.model.attempt import ProcessId, RunExit, RunLife, Workspace
from orchestrator.model.ids import AttemptId, CandidateId, Commit, PlanId, RunId, TaskId
from orchestrator.model.plan import AgentSpec
from orchestrator.model.repo import RepoFacts

if TYPE_CHECKING:  # many classes, which faces that only look do not need
    from orchestrator.model.effect import Effect
    from orchestrator.model.event import Event
    from orchestrator.model.run import State

# ---------------------------------------------------------------------------------------------------------------------
# Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a projection. `data` is JSON-ready; None deletes the row.

    Tables: `plan` (key: name), `task` (key: `plan/task`), `item` (key: item id).
    """

    table: str
    key: str
    plan: str
    state: str
    data: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Everything that one transaction saves."""

    at: datetime
    events: Sequence[Event] = ()
    rows: Sequence[Row] = ()
    effects: Sequence[Effect] = ()  #: to do from now on
    done: Sequence[str] = ()  #: keys of effects that have been answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An event as the ledger keeps it. `data` holds the fields that are not columns, JSON-ready."""

    seq: int
    at: datetime
    type: str
    plan: str | None
    task: str | None
    attempt: str | None
    token: int | None
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """Rows that are kept otherwise than they should be, and deletions of those that should not be there."""

    rows: tuple[Row, ...]
    by_other_code: bool  #: another version of the program wrote them, so they may differ without a fault


class Store(Protocol):
    """The ledger, written by exactly one process."""

    async def record(self, batch: Batch) -> int:
        """Save a batch, all or nothing, durable when this returns.

        An effect whose key is known and done is not asked for again; one whose key is known with another content is
        our bug and raises. Returns: the sequence number of the last event in the ledger.

        Raises:
            FencedError: an event carries an older token than the newest of its task, or grants one that is not above
                all that were ever given out; nothing is saved.
            SupersededError: another daemon has begun (`DaemonBegan`) since this store was opened; nothing is saved.
            UnsettledError: it is not known whether it was saved; the same batch has to be handed in again.
            OrchestratorError: nothing is saved.
        """
        ...

    async def events(self, after_seq: int = 0) -> list[tuple[int, datetime, Event]]:
        """Events after a sequence number, oldest first, each with its number and time."""
        ...

    async def snapshot(self) -> State | None:
        """The newest state that was kept, when it is what this program would fold from the events up to `state.seq`.

        None: fold them all.
        """
        ...

    async def keep_snapshot(self, state: State) -> None:
        """Keep the state after event `state.seq`, so that a start need not fold what led to it. Raises: OSError."""
        ...

    async def highest_token(self) -> int:
        """The highest token that was ever given out, also before an older ledger was put back in place."""
        ...

    async def differences(self, rows: Sequence[Row]) -> Differences:
        """How the projections differ from all rows that there should be."""
        ...

    async def to_do(self) -> list[Effect]:
        """Effects that nobody has answered, oldest first."""
        ...

    async def close(self) -> None: ...


class LedgerReader(Protocol):
    """The ledger for those who only look; works with and without a daemon, and never writes."""

    def rows(self, table: str, *, plan: str | None = None) -> list[dict[str, Any]]:
        """The `data` of every row of a projection, in insertion order."""
        ...

    def events(
        self,
        *,
        after_seq: int = 0,
        limit: int | None = None,
        plan: str | None = None,
        task: str | None = None,
        last: int | None = None,
    ) -> list[Stored]:
        """Events after a sequence number, oldest first; with `last`, only that many of the newest."""
        ...

    def version(self) -> int:
        """Changes whenever the ledger does; cheap enough to ask four times a second."""
        ...

    def close(self) -> None: ...


# ---------------------------------------------------------------------------------------------------------------------
# Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    head: Commit | None
    descends: bool
    changed: tuple[str, ...]
    committed_by_us: bool
    unfinished_merge: tuple[str, ...] = ()
    nested: tuple[str, ...] = ()
    salvage: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """A candidate commit."""

    commit: Commit
    tree: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Two sides that git cannot merge."""

    paths: tuple[str, ...]
    detail: str  #: the messages, and the conflicting hunks of text files, at most about 16 kB


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A reference that is not where it was expected to be."""

    actual: Commit | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotPublished:
    why: str
    command: str


class Repository(Protocol):
    """Everything git. Each call is safe to repeat after a crash at any instant of the first try."""

    async def facts(self, target: str | None) -> RepoFacts:
        """A look at the user's repository. `target` None: the current branch."""
        ...

    async def open(self) -> None:
        """Make `repo.git` if it is not there, take the user's configuration over, and clear our own stale locks."""
        ...

    async def begin_branch(self, plan: PlanId, number: int, target: str) -> tuple[Commit, Commit]:
        """Make `refs/orchestrator/plans/<plan>` in `repo.git` for this run of the plan.

        It restarts at the target; an old tip that the target does not contain is first kept as
        `refs/orchestrator/old/<plan>/<number>`, here and in the user's repository.

        Returns: the branch's tip and the target's commit. Repeated for the same number it answers the same.
        """
        ...

    async def target_commit(self, target: str) -> Commit:
        """The target's present commit in the user's repository, with its objects fetched into `repo.git`."""
        ...

    async def contains(self, commit: Commit, ancestor: Commit) -> bool:
        """Whether `ancestor` is `commit` or an ancestor of it."""
        ...

    async def make_workspace(
        self,
        plan: PlanId,
        task: TaskId,
        attempt: AttemptId,
        *,
        tip: Commit,
        target: str,
        start: Commit | None,
        merge: Commit | None,
        token: int = 0,
    ) -> Workspace:
        """The attempt's own bare repository and its linked worktree.

        On branch `refs/heads/agent/<plan>/<task>-<n>`, at `tip`; with `start`, at that commit with `tip` merged in
        and not committed; with `merge`, at `tip` with that commit merged in and not committed (MERGE_HEAD set,
        markers in the files).
        Something half made by an earlier try, or made under another token, is put aside and made again.
        """
        ...

    async def collect(
        self,
        workspace: Workspace,
        plan: PlanId,
        attempt: AttemptId,
        *,
        base: Commit,
        message: str,
        trailers: Mapping[str, str],
        ignore: Sequence[str],
        keep_only: bool,
        token: int = 0,
    ) -> Collected:
        """Bring an ended attempt's work home.

        Uncommitted work is committed with `message` on top of HEAD (concluding a merge whose markers are gone), by a
        private index. HEAD is read as a file; other branches and the stash go to salvage references. The head is
        fetched with fsck and kept as `refs/orchestrator/<plan>/<task>-<n>` in `repo.git`; `show_kept` or the next
        `mirror` show it in the user's repository.
        `ignore` are paths that `prepare` put there. A tree that was made under another token is refused: it is
        another holder's. With `keep_only`, uncommitted work becomes a salvage reference
        instead.
        """
        ...

    async def changed(self, base: Commit, head: Commit) -> tuple[str, ...]:
        """Paths that differ between two commits, renames as both names."""
        ...

    async def merge_candidate(self, parent: Commit, other: Commit, *, message: str, at: datetime) -> Merged | Conflict:
        """A commit with parents (`parent`, `other`) and their merge as its tree; no checkout."""
        ...

    async def revert_candidate(
        self, parent: Commit, undone: Commit, *, message: str, at: datetime
    ) -> Merged | Conflict:
        """A commit on `parent` that takes back what `undone` changed against its first parent; no checkout."""
        ...

    async def checkout(self, candidate: CandidateId, commit: Commit, *, keep: Sequence[str] = ()) -> Workspace:
        """A tree of exactly that commit, in a small repository of its own, detached.

        Nothing else is in it but what an earlier check left below the paths in `keep`.
        """
        ...

    async def land(self, plan: PlanId, new: Commit, old: Commit) -> Moved | None:
        """Move the plan's branch in `repo.git` from `old` to `new`, durable, and read it back. None: it is at `new`."""
        ...

    async def mirror(self, plan: PlanId, commit: Commit) -> str:
        """Show the plan's branch in the user's repository. Returns: the full name of the reference that shows it."""
        ...

    async def show_kept(self) -> None:
        """Show in the user's repository what `collect` has kept since the last time."""
        ...

    async def publish(self, plan: PlanId, target: str, commit: Commit) -> NotPublished | Moved | None:
        """Move the target to `commit` as design section 8 says. Moved: the target is not an ancestor of it."""
        ...

    async def remove(
        self, plan: PlanId, owner: AttemptId | CandidateId, *, landed: bool, ignore: Sequence[str]
    ) -> tuple[str, ...]:
        """Salvage what is not kept yet, then move the tree to the trash. Returns: the salvage references made."""
        ...

    async def residents(self, workspace: Workspace) -> tuple[int, ...]:
        """Processes that work in a tree or have a file of it open; 0 stands for those that cannot be told."""
        ...

    async def delete_trash(self, entries: Sequence[str]) -> int:
        """Delete these from the trash for good, and `.spare/NAME` from the trees that wait to be used again.

        Never follows a link out of there. Returns: the bytes that they took.
        """
        ...


# ---------------------------------------------------------------------------------------------------------------------
# Preparing trees


class Preparer(Protocol):
    """Copies and links from the user's checkout into a fresh tree."""

    async def prepare(self, worktree: str, git_dir: str, copy: Sequence[str], link: Sequence[str]) -> None:
        """Copy and link; the paths go to the tree's `info/exclude`. Raises: OrchestratorError if one is missing."""
        ...


# ---------------------------------------------------------------------------------------------------------------------
# Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """One supervised run to start."""

    run_id: RunId
    run_dir: str  #: absolute; made by the executor
    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]  #: the whole environment of the program
    stdin: str = "none"  #: `none`, `open` or `closed`, as in `Launch`
    first: str = ""
    timeout_s: float
    grace_s: float
    output_limit_bytes: int
    secrets: tuple[str, ...] = ()  #: literal values that are masked in `output`
    files: Mapping[str, str] = field(default_factory=dict)  #: name -> text, in the run folder before the start
    token: int = 0  #: of the lease; reports that name another one are not of this run. 0: it has none


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSeen:
    """A line of the run's `reports` file. `offset` is where the next one begins, in bytes."""

    report: AgentReport
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietSeen:
    quiet: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatSeen:
    """The supervisor shows life; at most one every 30 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitSeen:
    exit: RunExit
    tail: str  #: the last few kB of output


RunSignal = ReportSeen | QuietSeen | BeatSeen | ExitSeen


class Executor(Protocol):
    """Runs supervised runs and knows nothing of plans."""

    async def submit(self, spec: RunSpec) -> ProcessId:
        """Make the run folder and start its supervisor, which waits for `release`.

        For a run folder that exists: a supervisor that still waits or runs is answered as it is; one that recorded
        `never_started` is put aside and started again; one with any other exit record is answered with its supervisor.
        """
        ...

    async def release(self, run_id: RunId, run_dir: str) -> None:
        """Give the go-byte. Does nothing when the program already runs, ended, or the supervisor is gone."""
        ...

    def signals(
        self, run_id: RunId, run_dir: str, *, reports_from: int, quiet_after_s: float
    ) -> AsyncIterator[RunSignal]:
        """Reports, quiet spells, beats and the end of a run, from any daemon that ever watches it.

        Ends after `ExitSeen`.
        """
        ...

    async def probe(self, run_id: RunId, run_dir: str) -> RunLife:
        """Whether the run's supervisor lives and works; waits for the next beat before it calls one silent."""
        ...

    async def kill(self, run_id: RunId, run_dir: str) -> tuple[int, ...]:
        """KILL the whole tree without the supervisor's help, the supervisor last.

        Returns: what would not die; the supervisor then lives on, because it alone knows when that ends. Empty:
        nothing of the run is left, and its lock is free.
        Raises: OrchestratorError when it cannot be told whether anything is left.
        """
        ...

    async def send(self, run_id: RunId, run_dir: str, answer: Mapping[str, Any]) -> None:
        """Append one JSON line to the run's `answers` file; a line that is already there is not written again."""
        ...

    async def stop(self, run_id: RunId, run_dir: str) -> None:
        """Ask the supervisor to end the whole tree: TERM, grace, KILL. The end comes as `ExitSeen`."""
        ...


# ---------------------------------------------------------------------------------------------------------------------
# Adapters


class Translator(Protocol):
    """One conversation with an agent program, without I/O."""

    def feed(self, data: bytes) -> tuple[list[AgentReport], bytes]:
        """Output of the program so far unseen -> reports, and bytes to send to it."""
        ...


class Adapter(Protocol):
    """A translator for one protocol. Found by the entry point `orchestrator.agents`."""

    name: str
    needs_run: bool  #: whether a plan has to give `run:`

    def launch(self, spec: AgentSpec, briefing: Briefing, paths: AgentPaths) -> Launch:
        """How to start the program for this attempt."""
        ...

    def briefing_text(self, briefing: Briefing) -> str:
        """The whole briefing as the agent reads it."""
        ...

    def translator(self) -> Translator | None:
        """A new conversation; None when the program's output is only for people."""
        ...


class Surroundings(Protocol):
    """The environment that the daemon was started in, as far as programs may see it."""

    def environment(self, names: Sequence[str], values: Mapping[str, str]) -> dict[str, str]:
        """The whole environment of a program: an allow-list, `names` taken over, `values` set."""
        ...

    def secrets(self, names: Sequence[str]) -> tuple[str, ...]:
        """The values of `names`, to be masked in output."""
        ...

    def identity(self) -> dict[str, str]:
        """The user's identity as git's variables for author and committer."""
        ...

    def author(self) -> str:
        """`Name <mail>`."""
        ...


# ---------------------------------------------------------------------------------------------------------------------
# Time and chance


class Clock(Protocol):
    def now(self) -> datetime:
        """Aware, UTC, never going back within one daemon."""
        ...


class Chance(Protocol):
    def draw(self) -> float:
        """In [0, 1)."""
        ...
