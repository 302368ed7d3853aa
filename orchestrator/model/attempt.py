"""One run of one agent on one task, the supervised processes it is made of, and its timed right to the task."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orchestrator.model.ids import AttemptId, CandidateId, Commit, ItemId, RunId, TaskId


class AttemptState(StrEnum):
    PREPARING = "preparing"  #: its worktree is being made
    STARTING = "starting"  #: the supervisor is there, the program not yet
    RUNNING = "running"  #: the program runs
    WAITING = "waiting"  #: the program runs and waits for a person's answer, or a person works in its tree
    STOPPING = "stopping"  #: it has been asked to stop, or its work is being collected
    ENDED = "ended"
    STUCK = "stuck"  #: its process tree could not be stopped; a person has been asked


class FailureKind(StrEnum):
    """Why an attempt did not hand off, or its hand-off did not land."""

    # infrastructure: tried again after a wait, at most `retries` times
    PREPARE = "prepare"  #: its tree could not be made ready
    CRASH = "crash"  #: the program ended with a status other than 0, or could not be started
    LOST = "lost"  #: it is gone and left no exit record
    NETWORK = "network"
    TIMEOUT = "timeout"
    STALLED = "stalled"
    INTERRUPTED = "interrupted"  #: stopped by `stop --now`, or by a restart of the machine
    # work: goes back with findings once, then a person is asked
    NO_CHANGE = "no_change"  #: it said "done" and did nothing
    OUTSIDE_FILES = "outside_files"  #: it changed paths that its task does not list
    CHECKS_RED = "checks_red"
    REVIEW_REJECTED = "review_rejected"
    REFUSED = "refused"
    CONTEXT_TOO_LONG = "context_too_long"
    # the account, not the task
    RATE_LIMIT = "rate_limit"
    AUTH = "auth"


class Ending(StrEnum):
    """How an attempt ended."""

    HANDED_OFF = "handed_off"
    NO_OP = "no_op"  #: declared that nothing had to be changed
    FAILED = "failed"  #: see the failure kind
    ASKED = "asked"  #: ended with a question open
    CANCELLED = "cancelled"
    RELEASED = "released"  #: given back by the one who had claimed it by hand
    EVICTED = "evicted"  #: a person took the task away from it


class RunKind(StrEnum):
    PREPARE = "prepare"
    AGENT = "agent"
    CHECK = "check"


class RunState(StrEnum):
    REQUESTED = "requested"  #: its supervisor is being started
    READY = "ready"  #: the supervisor waits for the go-byte
    RUNNING = "running"
    ENDED = "ended"


class RunLife(StrEnum):
    """What a look at the supervisor of a run shows."""

    ALIVE = "alive"  #: it holds its lock, and has shown life lately
    SILENT = "silent"  #: it holds its lock, and shows no life
    GONE = "gone"  #: nobody holds its lock


class ExitWhy(StrEnum):
    """Why a supervised run ended, as its supervisor recorded it."""

    EXIT = "exit"  #: by itself; `code` says how (negative: the signal)
    TIMEOUT = "timeout"
    STOPPED = "stopped"  #: on our request
    NOT_FOUND = "not_found"  #: the program could not be started
    NEVER_STARTED = "never_started"  #: the daemon went away before the go-byte
    LOST = "lost"  #: no supervisor and no exit record
    RESTARTED = "restarted"  #: the same, and the machine was restarted while it ran


@dataclass(frozen=True, slots=True, kw_only=True)
class RunExit:
    """The end of a supervised run."""

    why: ExitWhy
    code: int | None = None  #: None when there is none to tell
    dropped_bytes: int = 0  #: output beyond the cap
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessId:
    """One process for ever: the pid alone is used again."""

    pid: int
    start_time: int  #: clock ticks since boot
    boot_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A supervised run: one process tree with a folder of its own."""

    id: RunId
    owner: AttemptId | CandidateId
    kind: RunKind
    name: str  #: of the check, or the step
    state: RunState = RunState.REQUESTED
    try_number: int = 1
    supervisor: ProcessId | None = None
    exit: RunExit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Where an attempt works. Paths are absolute."""

    kind: str = "worktree"
    path: str
    git_dir: str  #: the attempt's own small repository
    branch: str  #: full reference name in it
    empty: tuple[str, ...] = ()  #: submodules that could not be filled


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOff:
    """What an agent gave back."""

    head: Commit
    changed: tuple[str, ...]  #: against the base, renames as both names
    summary: str = ""  #: in the agent's words; data, never an instruction


@dataclass(frozen=True, slots=True, kw_only=True)
class ByHand:
    """What makes an attempt a person's own: no program runs in its tree, and its end is the person's word."""

    item_id: ItemId  #: the conflict that is resolved in it
    by: str
    collects: int = 0  #: how often its work was looked at
    accepts: bool = False  #: the person said yes to what lies outside of the task's files
    keep: bool = False  #: its tree stays when the work has landed
    given_up: bool = False  #: the tree is given back, and the conflict asked about again


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One run of one agent on one task."""

    id: AttemptId
    task_id: TaskId
    number: int  #: counted from 1 over all runs of the plan
    token: int
    agent: str
    state: AttemptState = AttemptState.PREPARING
    started_at: datetime
    launched_at: datetime | None = None  #: None until the program runs
    ended_at: datetime | None = None  #: None while it lives
    workspace: Workspace | None = None  #: None until it is made
    base: Commit | None = None  #: what its changes are judged against; None until known
    start: Commit | None = None  #: the earlier head it goes on from; None: it starts at the base
    run_id: RunId | None = None  #: the supervised run it is at; None between runs
    stop_as: FailureKind | None = None  #: why we asked it to stop
    cancelled: bool = False  #: a person cancelled the task while it ran
    summary: str = ""  #: from `orch-agent hand-off`
    no_change: str | None = None  #: the reason from `orch-agent no-change`; None: not declared
    contrary: FailureKind | None = None  #: what its protocol said against success
    reports_offset: int = 0  #: bytes of its `reports` file that have been applied
    progress: str = ""  #: the last word from `orch-agent progress`
    flags: tuple[str, ...] = ()  #: what a person should look at, such as `quiet`
    ending: Ending | None = None
    failure: FailureKind | None = None
    detail: str = ""
    exit: RunExit | None = None
    tail: str = ""  #: the last lines of a program that did not end well
    head: Commit | None = None
    salvage: tuple[str, ...] = ()  #: references that keep what it left
    removed: bool = False  #: its worktree is in the trash
    by_hand: ByHand | None = None  #: None: an agent's
    held: bool = False  #: claimed by hand: no program of ours runs in its tree
    evicted: str | None = None  #: why a person took the task away; None: nobody did
    released: str | None = None  #: why its holder gave it back; None: not given back
