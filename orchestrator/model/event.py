"""What we decided, in the past tense and with outcomes. `core.state.apply` folds events into the state.

The wire name of an event is its class name in snake_case. `plan_id`, `task_id`, `attempt_id` and `token` are columns
of the ledger where an event has them; the rest is its data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache

from orchestrator.model.attempt import Ending, FailureKind, HandOff, ProcessId, RunExit, RunKind, Workspace
from orchestrator.model.ids import AttemptId, CandidateId, Commit, ItemId, PlanId, RunId, TaskId
from orchestrator.model.item import Item
from orchestrator.model.lease import LeaseTerms
from orchestrator.model.plan import Plan, Task
from orchestrator.model.run import Lane, LaneLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonBegan:
    pid: int
    boot_id: str
    version: str
    limits: LaneLimits = field(default_factory=LaneLimits)
    terms: LeaseTerms = field(default_factory=LeaseTerms)
    quiet: timedelta
    tokens_from: int = 0  #: no token up to here is given out again: a newer ledger was known before this one


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanConfirmed:
    plan_id: PlanId
    plan: Plan
    digest: str
    number: int
    by: str
    sequential: bool
    rivals: tuple[tuple[TaskId, TaskId], ...]
    rank: dict[TaskId, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRevised:
    """The same plan, confirmed with another text: landed tasks stay landed."""

    plan_id: PlanId
    plan: Plan
    digest: str
    by: str
    sequential: bool
    rivals: tuple[tuple[TaskId, TaskId], ...]
    rank: dict[TaskId, float]
    withdrawn: tuple[TaskId, ...]  #: tasks that the new text no longer has


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTakenUp:
    """A plan that is over is the one that is worked on again: to publish it, to undo or to retry some of it."""

    plan_id: PlanId
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchMade:
    plan_id: PlanId
    tip: Commit
    target: Commit


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPaused:
    plan_id: PlanId
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanResumed:
    plan_id: PlanId
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainBegan:
    by: str
    now: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFinished:
    plan_id: PlanId


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCancelled:
    plan_id: PlanId
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseGranted:
    """A task was claimed for one attempt; its files and shared names are reserved from here on."""

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    holder: str = ""
    expires_at: datetime | None  #: None: indefinite
    reason: str = ""  #: why it is indefinite
    review_by: datetime | None = None
    beats: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRenewed:
    """The holder showed life, or was found alive."""

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    expires_at: datetime | None
    heartbeat_at: datetime
    review_by: datetime | None = None
    cause: str = "heartbeat"  #: or `look`, `daemon` (it works on the attempt itself), `restart`, `asked`


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSuspected:
    """It expired. That is no eviction: first the holder is looked at."""

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseStuck:
    """The holder could not be stopped, so nobody else gets the task."""

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    processes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictionBegan:
    """A person takes the task away from its holder: stopped, salvaged, and only then free for a new claim."""

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LateResult:
    """What a holder that was replaced brought after all: kept, shown, and never taken for the task."""

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    late_token: int
    head: Commit | None
    salvage: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HolderReady:
    """The tree of a task claimed by hand is there; the holder works in it."""

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HolderReleased:
    """The holder gives the task back; what is in the tree is kept."""

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseEnded:
    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted:
    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    number: int
    agent: str
    start: Commit | None
    held: bool = False  #: claimed by hand: nothing is launched


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceMade:
    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    workspace: Workspace
    base: Commit


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequested:
    plan_id: PlanId
    run_id: RunId
    owner: AttemptId | CandidateId
    kind: RunKind
    name: str
    try_number: int = 1  #: rises when a supervisor went away before its program started


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecorded:
    """The supervisor is known, so the program may be released."""

    plan_id: PlanId
    run_id: RunId
    supervisor: ProcessId


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLaunched:
    plan_id: PlanId
    run_id: RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    plan_id: PlanId
    run_id: RunId
    exit: RunExit


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportsRead:
    """The reports of an attempt are applied up to here and never again."""

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressReported:
    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOffDeclared:
    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoChangeDeclared:
    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndDeclared:
    """The program's protocol said that it did not succeed."""

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    failure: FailureKind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFlagged:
    """Something a person should look at: `quiet`."""

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    flag: str
    on: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStopping:
    """We asked the attempt to stop, or its program ended and its work is being collected."""

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    stop_as: FailureKind | None = None
    cancelled: bool = False
    exit: RunExit | None = None
    tail: str = ""  #: the last lines that its program wrote, when it did not end well


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded:
    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    ending: Ending
    failure: FailureKind | None
    detail: str
    head: Commit | None
    salvage: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOff:
    """The evidence was looked at and holds: work exists, inside the task's files."""

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    hand_off: HandOff


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQueued:
    plan_id: PlanId
    task_id: TaskId
    token: int | None = None  #: of the attempt that handed off


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewAsked:
    """The hand-off waits for a person's yes."""

    plan_id: PlanId
    task_id: TaskId
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewDecided:
    plan_id: PlanId
    task_id: TaskId
    approved: bool
    by: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackoffStarted:
    plan_id: PlanId
    task_id: TaskId
    failure: FailureKind
    failures: int
    retry_at: datetime
    findings: tuple[str, ...]
    avoid_agent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackoffEnded:
    plan_id: PlanId
    task_id: TaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class SentBack:
    """The task goes to an agent again at once, with what was found."""

    plan_id: PlanId
    task_id: TaskId
    failure: FailureKind | None  #: None: a person sent it back, which counts as no failure
    findings: tuple[str, ...]
    resume_from: Commit | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalated:
    """Something was put into the inbox; when it holds a task, nothing runs for the task until it is answered."""

    plan_id: PlanId
    task_id: TaskId | None
    item: Item
    holds_task: bool
    releases_files: bool = False
    failure: FailureKind | None = None  #: the one that led here, counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    plan_id: PlanId
    task_id: TaskId | None
    item_id: ItemId
    choice: str
    text: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemWithdrawn:
    plan_id: PlanId
    task_id: TaskId | None
    item_id: ItemId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ByHandBegan:
    """A person took a conflict on: a tree with it is being made, and the item waits meanwhile."""

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    item_id: ItemId
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ByHandReady:
    """The tree with the conflict is there."""

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    item_id: ItemId
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ByHandHandedIn:
    """The person says that it is resolved; what is in the tree is being looked at."""

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    item_id: ItemId
    by: str
    accept: bool
    keep: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ByHandNotYet:
    """It is not, and the tree is the person's again."""

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    item_id: ItemId
    why: str
    may_accept: bool  #: the person may say yes to it


@dataclass(frozen=True, slots=True, kw_only=True)
class ByHandGivenUp:
    """The person does not resolve it after all; what they did is being kept."""

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    item_id: ItemId
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ByHandEnded:
    """The conflict is open as before, with all its options."""

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    item_id: ItemId
    why: str
    salvage: tuple[str, ...]  #: references that keep what the person did


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFailed:
    plan_id: PlanId
    task_id: TaskId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCancelled:
    plan_id: PlanId
    task_id: TaskId
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReopened:
    """A person wants it tried again; all counts start anew."""

    plan_id: PlanId
    task_id: TaskId
    by: str
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAdded:
    """A task of our own: bring a commit of the target in where it conflicts with what has landed."""

    plan_id: PlanId
    task: Task
    merges: Commit
    rivals: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRequested:
    plan_id: PlanId
    task_id: TaskId | None
    candidate_id: CandidateId
    token: int
    parent: Commit
    other: Commit
    undoes: TaskId | None = None  #: a landed task that is taken back


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateMade:
    plan_id: PlanId
    task_id: TaskId | None
    candidate_id: CandidateId
    commit: Commit
    tree: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateDropped:
    """The candidate is no longer wanted; a task in it is queued again when `requeued`."""

    plan_id: PlanId
    task_id: TaskId | None
    candidate_id: CandidateId
    reason: str
    requeued: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckPassed:
    plan_id: PlanId
    task_id: TaskId | None
    candidate_id: CandidateId
    check: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePassed:
    plan_id: PlanId
    task_id: TaskId | None
    candidate_id: CandidateId
    commit: Commit
    tree: str
    token: int | None = None  #: of the attempt whose work it is; None: a sync or an undo


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFailed:
    plan_id: PlanId
    task_id: TaskId | None
    candidate_id: CandidateId
    commit: Commit
    check: str
    exit: RunExit


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictFound:
    plan_id: PlanId
    task_id: TaskId | None
    candidate_id: CandidateId
    paths: tuple[str, ...]
    other: Commit


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSeen:
    """The target was found at this commit."""

    plan_id: PlanId
    target: Commit


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncHeld:
    """The target at this commit cannot be taken in as it is; tasks go on landing on the plan's branch."""

    plan_id: PlanId
    target: Commit


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """A task's work (or a declared no-op, with `commit` None) is on the plan's branch."""

    plan_id: PlanId
    task_id: TaskId
    candidate_id: CandidateId | None
    commit: Commit | None
    token: int | None = None  #: of the attempt whose work it is; None: a person's word


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """The plan's branch took in what the target had beyond it."""

    plan_id: PlanId
    candidate_id: CandidateId
    commit: Commit
    target: Commit


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoRequested:
    """A landed task is to be taken back, as soon as the gate is free; asked again after it was held."""

    plan_id: PlanId
    task_id: TaskId
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoHeld:
    """Taking a task back conflicts, or fails the checks; it stays landed, and a person has been asked."""

    plan_id: PlanId
    task_id: TaskId
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoDropped:
    """The task stays landed after all."""

    plan_id: PlanId
    task_id: TaskId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """What the task had landed is taken back on the plan's branch, by a commit of its own."""

    plan_id: PlanId
    task_id: TaskId
    candidate_id: CandidateId
    commit: Commit
    undone: Commit  #: the commit that was taken back
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishBegan:
    plan_id: PlanId
    commit: Commit
    by: str
    try_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishRequested:
    """The target is to be moved as soon as the gate is free."""

    plan_id: PlanId
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReleased:
    """A target that could not be taken in is to be tried once more."""

    plan_id: PlanId


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishHeld:
    """Moving the target was refused or put off; it is where it was."""

    plan_id: PlanId
    why: str
    again: bool = False  #: as soon as the target has been taken in


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    plan_id: PlanId
    commit: Commit
    final: bool  #: nothing more will land in this run of the plan


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneOverdue:
    """A task has been in its lane for longer than its limit. Told once; nothing is stopped for it."""

    plan_id: PlanId
    task_id: TaskId
    lane: Lane
    since: datetime
    limit: timedelta
    item_id: ItemId | None = None  #: the open item that keeps it there; None: a note of its own goes to the inbox


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeRemoved:
    plan_id: PlanId
    owner: str
    salvage: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrashEmptied:
    """A person had these trees deleted from the trash."""

    entries: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectAbandoned:
    """Our bug or a broken machine: something asked for could not be done, and nothing else depends on it."""

    key: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionMended:
    """Rows that faces read were not what follows from the events, and are written anew."""

    keys: tuple[str, ...]  #: the first of them, each as table and key
    count: int


Event = (
    DaemonBegan
    | PlanConfirmed
    | PlanRevised
    | PlanTakenUp
    | BranchMade
    | PlanPaused
    | PlanResumed
    | DrainBegan
    | PlanFinished
    | PlanCancelled
    | LeaseGranted
    | LeaseRenewed
    | LeaseSuspected
    | LeaseStuck
    | EvictionBegan
    | LateResult
    | HolderReady
    | HolderReleased
    | LeaseEnded
    | AttemptStarted
    | WorkspaceMade
    | RunRequested
    | RunRecorded
    | RunLaunched
    | RunFinished
    | ReportsRead
    | ProgressReported
    | HandOffDeclared
    | NoChangeDeclared
    | EndDeclared
    | AttemptFlagged
    | AttemptStopping
    | AttemptEnded
    | HandedOff
    | TaskQueued
    | ReviewAsked
    | ReviewDecided
    | BackoffStarted
    | BackoffEnded
    | SentBack
    | Escalated
    | Answered
    | ItemWithdrawn
    | ByHandBegan
    | ByHandReady
    | ByHandHandedIn
    | ByHandNotYet
    | ByHandGivenUp
    | ByHandEnded
    | TaskFailed
    | TaskCancelled
    | TaskReopened
    | TaskAdded
    | CandidateRequested
    | CandidateMade
    | CandidateDropped
    | CheckPassed
    | GatePassed
    | GateFailed
    | ConflictFound
    | TargetSeen
    | SyncHeld
    | SyncReleased
    | Landed
    | Synced
    | UndoRequested
    | UndoHeld
    | UndoDropped
    | Undone
    | PublishBegan
    | PublishHeld
    | PublishRequested
    | Published
    | LaneOverdue
    | TreeRemoved
    | TrashEmptied
    | ProjectionMended
    | EffectAbandoned
)


@cache
def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def wire_name(kind: type) -> str:
    """`PlanConfirmed` -> `plan_confirmed`."""
    return _snake_case(kind.__name__)
