"""What the world told us. `core.lifecycle.decide` turns one fact into events and effects.

Facts that answer an effect are delivered together with that effect's key, so the store can mark it done in the
transaction that records what followed from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orchestrator.model.agent import AgentReport
from orchestrator.model.attempt import ProcessId, RunExit, RunLife, Workspace
from orchestrator.model.ids import AttemptId, CandidateId, Commit, ItemId, PlanId, RunId, TaskId
from orchestrator.model.lease import LeaseTerms
from orchestrator.model.plan import Plan
from orchestrator.model.run import Lane, LaneLimits

# ---- what a person asked for; a refusal is an OrchestratorError raised by decide ----


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSubmitted:
    """A person confirmed this plan. `rivals` are the pairs that can meet, from the assessment of the same plan."""

    plan: Plan
    digest: str
    by: str
    sequential: bool
    rivals: tuple[tuple[TaskId, TaskId], ...]
    rank: dict[TaskId, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseAsked:
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeAsked:
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAsked:
    task_id: TaskId | None  #: None: every unfinished task, and with them the plan
    by: str
    reason: str = ""
    plan_id: PlanId | None = None  #: None: the one that is worked on


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryAsked:
    task_id: TaskId
    by: str
    plan_id: PlanId | None = None  #: None: the one that is worked on


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerGiven:
    item_id: ItemId
    choice: str  #: id of an option, or `text`
    text: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandInAsked:
    """A person has resolved a conflict in the tree that they were given."""

    item_id: ItemId
    by: str
    accepted: bool = False  #: also what lies outside of the task's files, or that nothing is left of its change
    keep: bool = False  #: the tree stays when the work has landed


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveBackAsked:
    """A person does not resolve a conflict by hand after all."""

    item_id: ItemId
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneAsked:
    """Trees that a person does not want on the disk any more."""

    owners: tuple[str, ...]  #: attempts and candidates: salvaged, then moved to the trash
    trash: tuple[str, ...]  #: what is in the trash, as paths relative to it: deleted
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishAsked:
    by: str
    plan_id: PlanId | None = None  #: None: the one that is worked on
    target: Commit | None = None  #: where the target is just now; None: not looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoAsked:
    """`undo`: take back what a task landed. `accepted`: although other tasks have built on it."""

    task_id: TaskId
    by: str
    reason: str = ""
    accepted: bool = False
    plan_id: PlanId | None = None  #: None: the one that is worked on


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAsked:
    """`stop`: finish what runs and start nothing; with `now`, end the agents first."""

    by: str
    now: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStarted:
    """Always the first fact of a daemon's life."""

    pid: int
    boot_id: str
    version: str
    limits: LaneLimits = field(default_factory=LaneLimits)
    terms: LeaseTerms = field(default_factory=LeaseTerms)
    quiet: timedelta  #: an attempt without progress for longer is flagged
    tokens_from: int = 0  #: the highest token that the ledger knows of


# ---- claims by hand ----


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimAsked:
    """Somebody wants to work on a task themselves."""

    task_id: TaskId | None  #: None: the best that may start
    holder: str
    ttl: timedelta | None = None  #: None: as the settings say; zero: indefinite
    reason: str = ""  #: of an indefinite one
    review: timedelta | None = None  #: an indefinite one is looked at after so long; None: as the settings say
    by: str
    plan_id: PlanId | None = None  #: None: the one that is worked on


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewAsked:
    """A holder shows life, and with `renew` wants its whole time again."""

    task_id: TaskId
    token: int
    renew: bool
    by: str
    plan_id: PlanId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseAsked:
    """A holder gives its task back."""

    task_id: TaskId
    token: int
    reason: str = ""
    by: str
    plan_id: PlanId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishAsked:
    """A holder says that its work is done; what is in the tree decides."""

    task_id: TaskId
    token: int
    summary: str = ""
    no_change: str | None = None  #: why nothing had to be changed; None: something was
    by: str
    plan_id: PlanId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictAsked:
    """A person takes a task away from whoever holds it."""

    task_id: TaskId
    reason: str
    by: str
    plan_id: PlanId | None = None


# ---- answers to effects ----


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchBegun:
    """The plan's branch exists in `repo.git`."""

    plan_id: PlanId
    number: int  #: of the plan's run
    tip: Commit
    target: Commit


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchRefused:
    plan_id: PlanId
    number: int
    why: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceReady:
    attempt_id: AttemptId
    workspace: Workspace
    base: Commit  #: the tip that the tree was made from, or that was merged into it


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceFailed:
    attempt_id: AttemptId
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReady:
    """The supervisor waits for the go-byte."""

    run_id: RunId
    supervisor: ProcessId


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReleased:
    """The go-byte was given; the program runs or is about to."""

    run_id: RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """A supervised run is over and its process tree is empty. `tail` is the end of its output, for findings."""

    run_id: RunId
    exit: RunExit
    tail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptBeat:
    """The supervisor of an attempt's run shows life."""

    attempt_id: AttemptId


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProbed:
    """What a look at the holder of an expired lease showed."""

    run_id: RunId
    token: int
    life: RunLife


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKilled:
    """The process tree of a run was killed without its supervisor's help."""

    run_id: RunId
    left: tuple[int, ...]  #: processes that would not die; none: the tree is empty
    detail: str = ""  #: why it could not be done; the tree may be anything then


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeProbed:
    """Which processes are in the tree of an attempt that somebody claimed by hand."""

    attempt_id: AttemptId
    token: int
    inside: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReported:
    attempt_id: AttemptId
    report: AgentReport
    offset: int  #: in the run's `reports` file, after this report; it is never applied twice


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptQuiet:
    """A running agent has shown no progress for a while (`quiet`), or moves again (not `quiet`)."""

    attempt_id: AttemptId
    quiet: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkCollected:
    """What an ended attempt left behind, now safe in `repo.git`."""

    attempt_id: AttemptId
    head: Commit | None  #: None when nothing could be read
    descends: bool  #: from its base
    changed: tuple[str, ...]  #: paths, `--no-renames base..head`
    committed_by_us: bool
    unfinished_merge: tuple[str, ...]  #: paths that still hold conflict markers
    nested: tuple[str, ...]  #: repositories inside the tree that are not in the base
    salvage: tuple[str, ...]
    error: str = ""  #: why collecting failed; the tree then stays as it is
    merged: bool = True  #: the head holds the commit of the target that it had to bring in, if any


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerDelivered:
    item_id: ItemId


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateBuilt:
    candidate_id: CandidateId
    commit: Commit
    tree: str
    path: str  #: of its fresh checkout, prepared with copies and links


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateFailed:
    """The candidate could not be made or checked out, for a reason that has nothing to do with the work."""

    candidate_id: CandidateId
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateConflicted:
    candidate_id: CandidateId
    paths: tuple[str, ...]
    detail: str  #: both sides, for a person to read


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetMoved:
    """Before a candidate or at publish: the target holds commits that the plan's branch does not."""

    plan_id: PlanId
    target: Commit


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRead:
    """The target holds nothing that the plan's branch does not."""

    plan_id: PlanId
    target: Commit


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateLanded:
    """The plan's branch points at the candidate, read back."""

    candidate_id: CandidateId
    commit: Commit


@dataclass(frozen=True, slots=True, kw_only=True)
class LandingRefused:
    """The plan's branch was not where we left it, or the candidate's token is old."""

    candidate_id: CandidateId
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishDone:
    plan_id: PlanId
    commit: Commit


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishRefused:
    plan_id: PlanId
    why: str
    command: str  #: what a person can type to do it


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """The tree of an attempt or candidate is in the trash, salvaged before; or it never was."""

    owner: str
    salvage: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrashDeleted:
    """What was in the trash is gone for good."""

    entries: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """An effect that nothing follows from was carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsDiffered:
    """Rows that faces read are kept otherwise than they should be; they are written anew with this fact."""

    keys: tuple[str, ...]  #: the first of them, each as table and key
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectFailed:
    """An effect failed in a way that its port has no word for: our bug or a broken machine."""

    key: str
    detail: str


# ---- time ----


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDue:
    plan_id: PlanId
    task_id: TaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLong:
    """A task that came into this lane then may have been there for too long."""

    plan_id: PlanId
    task_id: TaskId
    lane: Lane
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseDue:
    """A lease may have expired, or need a look."""

    plan_id: PlanId
    task_id: TaskId
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StopDue:
    """A run that was asked to stop should be over by now."""

    run_id: RunId


Request = (
    PlanSubmitted
    | PauseAsked
    | ResumeAsked
    | CancelAsked
    | RetryAsked
    | AnswerGiven
    | HandInAsked
    | GiveBackAsked
    | PruneAsked
    | PublishAsked
    | UndoAsked
    | StopAsked
    | ClaimAsked
    | RenewAsked
    | ReleaseAsked
    | FinishAsked
    | EvictAsked
)
Timed = RetryDue | LaneLong | LeaseDue | StopDue
Fact = (
    Request
    | Timed
    | DaemonStarted
    | BranchBegun
    | BranchRefused
    | WorkspaceReady
    | WorkspaceFailed
    | RunReady
    | RunReleased
    | RunEnded
    | AgentReported
    | AttemptBeat
    | AttemptQuiet
    | RunProbed
    | RunKilled
    | TreeProbed
    | WorkCollected
    | AnswerDelivered
    | CandidateBuilt
    | CandidateFailed
    | CandidateConflicted
    | TargetMoved
    | TargetRead
    | CandidateLanded
    | LandingRefused
    | PublishDone
    | PublishRefused
    | Removed
    | TrashDeleted
    | Done
    | RowsDiffered
    | EffectFailed
)
