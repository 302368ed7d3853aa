"""The life of a task, and of the plan it belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from orchestrator.model.attempt import Attempt, FailureKind, HandOff, Run
from orchestrator.model.ids import AttemptId, CandidateId, Commit, ItemId, PlanId, RunId, TaskId
from orchestrator.model.item import Item
from orchestrator.model.lease import Lease, LeaseTerms
from orchestrator.model.plan import Plan, Task


class TaskState(StrEnum):
    PENDING = "pending"  #: nothing runs; `may_start` says whether an attempt could
    RUNNING = "running"  #: one attempt holds the lease
    BACKOFF = "backoff"  #: the last attempt failed; pending again at `retry_at`
    ESCALATED = "escalated"  #: a person has been asked; nothing runs until they answer
    FOR_REVIEW = "for_review"  #: handed off; somebody has to approve
    QUEUED = "queued"  #: waiting in the merge queue
    GATING = "gating"  #: checks run on the exact tree that would land
    LANDED = "landed"  #: on the plan's branch, so tasks that depend on it may start
    FAILED = "failed"  #: given up, by policy or by a person
    CANCELLED = "cancelled"  #: no longer wanted


S = TaskState
#: Which state may follow which. The diagram in `docs/states.md` is drawn from this table.
TASK_MOVES: dict[TaskState, frozenset[TaskState]] = {
    S.PENDING: frozenset({S.RUNNING, S.ESCALATED, S.CANCELLED, S.FAILED}),
    S.RUNNING: frozenset({S.PENDING, S.BACKOFF, S.ESCALATED, S.FOR_REVIEW, S.QUEUED, S.LANDED, S.FAILED, S.CANCELLED}),
    S.BACKOFF: frozenset({S.PENDING, S.ESCALATED, S.FAILED, S.CANCELLED}),
    S.ESCALATED: frozenset({S.PENDING, S.RUNNING, S.QUEUED, S.LANDED, S.FAILED, S.CANCELLED}),
    S.FOR_REVIEW: frozenset({S.QUEUED, S.PENDING, S.ESCALATED, S.FAILED, S.CANCELLED}),
    S.QUEUED: frozenset({S.GATING, S.PENDING, S.ESCALATED, S.FAILED, S.CANCELLED}),
    S.GATING: frozenset({S.QUEUED, S.LANDED, S.PENDING, S.ESCALATED, S.FAILED, S.CANCELLED}),
    S.LANDED: frozenset({S.CANCELLED}),  # undone, which a person asked for
    S.FAILED: frozenset({S.PENDING, S.CANCELLED}),
    S.CANCELLED: frozenset({S.PENDING}),
}
del S

#: States in which no more will happen unless a person reopens the task.
OVER = frozenset({TaskState.LANDED, TaskState.FAILED, TaskState.CANCELLED})
IN_PROGRESS = frozenset({TaskState.RUNNING, TaskState.FOR_REVIEW, TaskState.QUEUED, TaskState.GATING})


class Lane(StrEnum):
    """The column people see; worked out from the state by `core.report`."""

    PLANNED = "planned"
    DOING = "doing"
    FOR_REVIEW = "for_review"
    MERGING = "merging"
    BLOCKED = "blocked"
    DONE = "done"
    CANCELLED = "cancelled"


#: The lane of a state, when nothing beside the state matters: an agent that waits for a person, and what depends on a
#: failed task, are blocked.
STATE_LANES = {
    TaskState.PENDING: Lane.PLANNED,
    TaskState.RUNNING: Lane.DOING,
    TaskState.BACKOFF: Lane.PLANNED,
    TaskState.ESCALATED: Lane.BLOCKED,
    TaskState.FOR_REVIEW: Lane.FOR_REVIEW,
    TaskState.QUEUED: Lane.MERGING,
    TaskState.GATING: Lane.MERGING,
    TaskState.LANDED: Lane.DONE,
    TaskState.FAILED: Lane.BLOCKED,
    TaskState.CANCELLED: Lane.CANCELLED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLimits:
    """How long a task may stay in a lane before it is flagged, once. Nothing is stopped for it."""

    doing: timedelta = timedelta(minutes=30)
    for_review: timedelta = timedelta(hours=4)
    merging: timedelta = timedelta(minutes=30)
    blocked: timedelta = timedelta(hours=24)

    def of(self, lane: Lane) -> timedelta | None:
        """The limit of a lane; None for those where a task may stay as long as it likes."""
        match lane:
            case Lane.DOING:
                return self.doing
            case Lane.FOR_REVIEW:
                return self.for_review
            case Lane.MERGING:
                return self.merging
            case Lane.BLOCKED:
                return self.blocked
            case _:
                return None


class PlanPhase(StrEnum):
    """Where a plan is. `blocked` is worked out: running, and nothing can move without a person."""

    RUNNING = "running"
    PAUSED = "paused"
    DRAINING = "draining"  #: what runs is finished, nothing starts
    BLOCKED = "blocked"
    FINISHED = "finished"  #: no task can move any more; the target has not been moved
    PUBLISHED = "published"  #: the target has been moved to everything that landed
    CANCELLED = "cancelled"


#: Phases in which the daemon does nothing more for a plan of its own accord.
PLAN_OVER = frozenset({PlanPhase.FINISHED, PlanPhase.PUBLISHED, PlanPhase.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """A person wants what a task landed taken back."""

    by: str
    reason: str
    held: bool = False  #: it could not be done as it is; a person has been asked


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRun:
    """A task on its way. The words of the plan are in `task`, where it stands is here."""

    task: Task
    state: TaskState = TaskState.PENDING
    since: datetime  #: when it came into this state
    lane_since: datetime | None = None  #: when it came into its lane; None: it has not left the first
    lane_spent: timedelta = timedelta()  #: time of the present attempt in `doing` before it waited for a person
    overdue_at: datetime | None = None  #: when it was found past the limit of its lane; None: it is not
    attempts: int = 0  #: number of the latest attempt
    attempt_id: AttemptId | None = None  #: the latest attempt; None before the first
    holds: bool = False  #: its files and shared names are reserved for it
    failures: int = 0  #: failed attempts of the infrastructure, since the start or a person's retry
    work_failures: int = 0  #: work that did not pass, since the last that passed
    last_failure: FailureKind | None = None
    retry_at: datetime | None = None  #: None unless in backoff
    findings: tuple[str, ...] = ()  #: what the next attempt has to know
    resume_from: Commit | None = None  #: the next attempt goes on from here; None: it starts afresh
    avoid_agent: str | None = None  #: timed out last, so another fitting one goes first
    hand_off: HandOff | None = None  #: the latest; None before the first
    item_id: ItemId | None = None  #: the open item that holds it
    answers: tuple[str, ...] = ()  #: question and answer, for the briefing of later attempts
    landed_commit: Commit | None = None  #: None until landed, and for a declared no-op
    landed_at: datetime | None = None
    queued_seq: int = 0  #: place in the merge queue
    reason: str = ""  #: why it was given up or cancelled
    undo: Undo | None = None  #: None unless somebody asked to take its landed work back
    merges: Commit | None = None  #: a commit of the target that this task has to bring in; None for a person's task


class CandidateStage(StrEnum):
    BUILDING = "building"
    CHECKING = "checking"
    LANDING = "landing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A commit that would be the next position of the plan's branch, if its checks pass."""

    id: CandidateId
    task_id: TaskId | None  #: None: a sync with the target, or an undo
    undoes: TaskId | None = None  #: a landed task that it takes back; None: it brings something in
    token: int = 0
    stage: CandidateStage = CandidateStage.BUILDING
    parent: Commit  #: the position it stands on
    other: Commit  #: what it brings in, or takes back
    commit: Commit | None = None
    tree: str | None = None
    path: str | None = None  #: of its checkout
    run_id: RunId | None = None
    passed: tuple[str, ...] = ()  #: names of the checks that were green


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRun:
    """One confirmed run of a plan and everything known about it."""

    plan: Plan
    digest: str
    number: int  #: of this run of the plan, counted from 1
    phase: PlanPhase = PlanPhase.RUNNING
    confirmed_at: datetime
    confirmed_by: str
    sequential: bool = False
    tip: Commit | None = None  #: of the plan's branch; None until the branch is made
    started_at_commit: Commit | None = None  #: the target when the branch was made
    target_seen: Commit | None = None  #: the target when last looked at
    published: Commit | None = None
    published_at: datetime | None = None
    undoing: tuple[TaskId, ...] = ()  #: landed tasks that somebody wants taken back, in the order of their asking
    unpublished: bool = False  #: something landed, or was undone, since the target was last moved
    publish_left: bool = False  #: a person left a refused publish as it is, so nothing publishes by itself
    tasks: dict[TaskId, TaskRun]
    #: tasks that can meet in a file or a shared name
    rivals: dict[TaskId, frozenset[TaskId]] = field(default_factory=dict)
    #: seconds of the longest way to the end, own estimate included
    rank: dict[TaskId, float] = field(default_factory=dict)
    attempts: dict[AttemptId, Attempt] = field(default_factory=dict)
    #: the latest attempt at every task that any run of this plan ever had; a number is never used again
    numbers: dict[TaskId, int] = field(default_factory=dict)
    leases: dict[TaskId, Lease] = field(default_factory=dict)  #: live ones
    runs: dict[RunId, Run] = field(default_factory=dict)  #: those that have not ended
    candidate: Candidate | None = None
    candidates: int = 0  #: number of the latest candidate
    publishing: bool = False  #: an effect that moves the target is under way
    publish_asked: bool = False  #: a person said `publish`, or the end of the plan did
    publish_tries: int = 0
    sync_tries: int = 0  #: in a row, while publishing
    sync_held: Commit | None = None  #: a target that cannot be taken in as it is

    @property
    def id(self) -> PlanId:
        return self.plan.name

    def queue(self) -> tuple[TaskRun, ...]:
        """The merge queue, in order."""
        waiting = [run for run in self.tasks.values() if run.state is TaskState.QUEUED]
        return tuple(sorted(waiting, key=lambda run: run.queued_seq))

    def next_undo(self) -> TaskRun | None:
        """The landed task to be taken back as soon as the gate is free; None when there is none."""
        asked = (self.tasks[task_id] for task_id in self.undoing)
        return next((run for run in asked if run.undo is not None and not run.undo.held), None)


class Drain(StrEnum):
    """Whether the daemon is on its way out."""

    NO = "no"
    FINISH = "finish"  #: what runs and what is queued is finished, nothing starts
    NOW = "now"  #: agents and checks are being ended


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything the daemon knows."""

    seq: int = 0  #: of the last event folded in
    plans: dict[PlanId, PlanRun] = field(default_factory=dict)  #: the newest run of each
    current: PlanId | None = None  #: the plan that is being worked on; None: none
    token: int = 0  #: the latest given out
    items: dict[ItemId, Item] = field(default_factory=dict)
    item_count: int = 0
    drain: Drain = Drain.NO
    boot_id: str = ""  #: of the machine, when this daemon began
    limits: LaneLimits = LaneLimits()
    terms: LeaseTerms = field(default_factory=LeaseTerms)
    quiet: timedelta = timedelta(minutes=10)  #: an attempt without progress for longer is flagged

    @property
    def active(self) -> PlanRun | None:
        """The plan that is being worked on."""
        return self.plans.get(self.current) if self.current else None

    def open_items(self) -> tuple[Item, ...]:
        return tuple(item for item in self.items.values() if item.is_open)
