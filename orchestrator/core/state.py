"""The only fold: events in, state out. Rebuilding after a restart is this and nothing else, so it never decides."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import assert_never

from orchestrator.core.gatefold import at_the_gate
from orchestrator.core.guardfold import guarded, spawned, started_again
from orchestrator.core.handfold import by_hand
from orchestrator.core.inbox import answered, escalated, free_item, overdue
from orchestrator.core.leasefold import lease_folded
from orchestrator.core.moves import (
    attempt_to,
    attempt_with,
    candidate_with,
    item_with,
    move,
    over,
    plan_with,
    task_with,
)
from orchestrator.core.openfold import closed, is_open, open_plan, opened
from orchestrator.core.planfold import confirmed, revised
from orchestrator.core.recoveryfold import landing_found, ledger_recovered
from orchestrator.core.undofold import undo_folded
from orchestrator.model.attempt import Attempt, AttemptState, Run, RunKind, RunState
from orchestrator.model.change import replace
from orchestrator.model.event import (
    Answered,
    AttemptEnded,
    AttemptFlagged,
    AttemptStarted,
    AttemptStopping,
    BackoffEnded,
    BackoffStarted,
    BranchMade,
    ByHandBegan,
    ByHandEnded,
    ByHandGivenUp,
    ByHandHandedIn,
    ByHandNotYet,
    ByHandReady,
    CandidateDropped,
    CandidateMade,
    CandidateRequested,
    CheckPassed,
    ConflictFound,
    DaemonBegan,
    DaemonFault,
    DispatchFreed,
    DispatchHeld,
    DrainBegan,
    EffectAbandoned,
    EndDeclared,
    Escalated,
    Event,
    EvictionBegan,
    GateFailed,
    GatePassed,
    HandedOff,
    HandOffDeclared,
    HolderReady,
    HolderReleased,
    ItemWithdrawn,
    Landed,
    LandingFound,
    LaneOverdue,
    LateResult,
    LeaseEnded,
    LeaseGranted,
    LeaseRenewed,
    LeaseStuck,
    LeaseSuspected,
    LedgerRecovered,
    NoChangeDeclared,
    PlanCancelled,
    PlanConfirmed,
    PlanFinished,
    PlanPaused,
    PlanResumed,
    PlanRevised,
    PlanTakenUp,
    ProgressReported,
    ProjectionMended,
    PublishBegan,
    Published,
    PublishHeld,
    PublishRequested,
    ReportsRead,
    ReviewAsked,
    ReviewDecided,
    RunFinished,
    RunLaunched,
    RunRecorded,
    RunRequested,
    SentBack,
    Synced,
    SyncHeld,
    SyncReleased,
    TargetSeen,
    TaskAdded,
    TaskCancelled,
    TaskFailed,
    TaskQueued,
    TaskReopened,
    TrashEmptied,
    TreeRemoved,
    UndoDropped,
    UndoHeld,
    Undone,
    UndoRequested,
    UnknownFound,
    WorkspaceMade,
    WorldMended,
)
from orchestrator.model.ids import AttemptId, CandidateId
from orchestrator.model.run import (
    Drain,
    PlanPhase,
    PlanRun,
    State,
    TaskRun,
    TaskState,
)

_NOTHING = State()


def apply(state: State, event: Event, at: datetime) -> State:
    """The state after one more event, which was recorded at `at`."""
    state = replace(state, seq=state.seq + 1)
    match event:
        case DaemonBegan():
            return replace(
                state,
                drain=Drain.NO,
                boot_id=event.boot_id,
                limits=event.limits,
                terms=event.terms,
                quiet=event.quiet,
                guards=event.guards,
                token=max(state.token, event.tokens_from),
            )
        case DrainBegan():
            return replace(state, drain=Drain.NOW if event.now else Drain.FINISH)
        case EffectAbandoned() | TrashEmptied() | WorldMended() | ProjectionMended():
            return state
        case DispatchHeld() | DispatchFreed() | DaemonFault():
            return guarded(state, event, at)
        case UnknownFound():
            return replace(state, told=state.told | frozenset(event.names))
        case ByHandBegan() | ByHandReady() | ByHandHandedIn() | ByHandNotYet() | ByHandGivenUp() | ByHandEnded():
            return by_hand(state, event, at)
        case PlanConfirmed():
            return confirmed(state, event, at)
        case PlanTakenUp():
            return replace(state, current=event.plan_id)
        case Escalated():
            return escalated(state, event, at)
        case Answered():
            return answered(state, event, at)
        case ItemWithdrawn():
            item = replace(state.items[event.item_id], withdrawn=event.reason)
            return free_item(item_with(state, item), event.plan_id, event.task_id, event.item_id, at)
        case LaneOverdue():
            return overdue(state, event, at)
        case LedgerRecovered():
            return ledger_recovered(state, event)
        case LeaseGranted():
            state = replace(state, token=max(state.token, event.token))
            return plan_with(state, _in_plan(state.plans[event.plan_id], event, at, state.seq))
        case _:
            plan = state.plans[event.plan_id]
            return plan_with(state, _in_plan(plan, event, at, state.seq))


def _in_plan(plan: PlanRun, event: Event, at: datetime, seq: int) -> PlanRun:
    match event:
        case PlanRevised():
            return revised(plan, event, at)
        case BranchMade():
            return replace(plan, tip=event.tip, started_at_commit=event.target, target_seen=event.target)
        case PlanPaused():
            return replace(plan, phase=PlanPhase.PAUSED)
        case PlanResumed():
            return replace(plan, phase=PlanPhase.RUNNING)
        case PlanFinished():
            return replace(plan, phase=PlanPhase.FINISHED)
        case PlanCancelled():
            return replace(plan, phase=PlanPhase.CANCELLED)
        case (
            LeaseGranted()
            | LeaseRenewed()
            | LeaseSuspected()
            | LeaseStuck()
            | LeaseEnded()
            | EvictionBegan()
            | LateResult()
            | HolderReady()
            | HolderReleased()
        ):
            return lease_folded(plan, event, at)
        case AttemptStarted():
            attempt = Attempt(
                id=event.attempt_id,
                task_id=event.task_id,
                number=event.number,
                token=event.token,
                agent=event.agent,
                started_at=at,
                start=event.start,
                held=event.held,
            )
            plan = replace(
                plan,
                attempts=plan.attempts | {event.attempt_id: attempt},
                numbers=plan.numbers | {event.task_id: event.number},
            )
            plan = spawned(plan, event, at)
            return move(
                plan,
                event.task_id,
                TaskState.RUNNING,
                at,
                holds=True,
                attempts=event.number,
                attempt_id=event.attempt_id,
                starts=plan.tasks[event.task_id].starts + (not event.held),
            )
        case WorkspaceMade():
            return attempt_with(plan, event.attempt_id, workspace=event.workspace, base=event.base)
        case RunRequested():
            run = Run(id=event.run_id, owner=event.owner, kind=event.kind, name=event.name, try_number=event.try_number)
            return started_again(_set_run(plan, run), run)
        case RunRecorded():
            run = replace(plan.runs[event.run_id], state=RunState.READY, supervisor=event.supervisor)
            plan = _set_run(plan, run)
            if run.kind is RunKind.AGENT:
                attempt = plan.attempts[AttemptId(run.owner)]
                # one that was asked to stop while its supervisor came up stays so
                starts = AttemptState.STARTING if attempt.state is AttemptState.PREPARING else attempt.state
                return attempt_with(plan, attempt.id, state=starts)
            return plan
        case RunLaunched():
            run = replace(plan.runs[event.run_id], state=RunState.RUNNING)
            plan = _set_run(plan, run)
            if run.kind is RunKind.AGENT:
                attempt = plan.attempts[AttemptId(run.owner)]
                runs = AttemptState.RUNNING if attempt.state is AttemptState.STARTING else attempt.state
                return attempt_with(plan, attempt.id, state=runs, launched_at=at)
            return plan
        case RunFinished():
            return replace(plan, runs={k: v for k, v in plan.runs.items() if k != event.run_id})
        case ReportsRead():
            return attempt_with(plan, event.attempt_id, reports_offset=event.offset)
        case ProgressReported():
            return attempt_with(plan, event.attempt_id, progress=event.text)
        case HandOffDeclared():
            return attempt_with(plan, event.attempt_id, summary=event.summary)
        case NoChangeDeclared():
            return attempt_with(plan, event.attempt_id, no_change=event.reason)
        case EndDeclared():
            return attempt_with(plan, event.attempt_id, contrary=event.failure, detail=event.text)
        case AttemptFlagged():
            flags = tuple(f for f in plan.attempts[event.attempt_id].flags if f != event.flag)
            return attempt_with(plan, event.attempt_id, flags=(*flags, event.flag) if event.on else flags)
        case AttemptStopping():
            attempt = plan.attempts[event.attempt_id]
            return attempt_to(
                plan,
                event.attempt_id,
                AttemptState.STOPPING,
                at,
                stop_as=event.stop_as or attempt.stop_as,
                cancelled=event.cancelled or attempt.cancelled,
                exit=event.exit or attempt.exit,
                tail=event.tail or attempt.tail,
            )
        case AttemptEnded():
            return attempt_with(
                plan,
                event.attempt_id,
                state=AttemptState.ENDED,
                ended_at=at,
                ending=event.ending,
                failure=event.failure,
                detail=event.detail,
                head=event.head,
                salvage=event.salvage,
                flags=(),
            )
        case HandedOff():
            return task_with(plan, event.task_id, hand_off=event.hand_off, findings=(), resume_from=None)
        case TaskQueued():
            return move(plan, event.task_id, TaskState.QUEUED, at, queued_seq=seq, item_id=None)
        case ReviewAsked():
            return move(plan, event.task_id, TaskState.FOR_REVIEW, at)
        case ReviewDecided():
            return plan
        case BackoffStarted():
            return move(
                plan,
                event.task_id,
                TaskState.BACKOFF,
                at,
                holds=False,
                failures=event.failures,
                last_failure=event.failure,
                failed_at=at,
                retry_at=event.retry_at,
                findings=event.findings,
                resume_from=None,
                avoid_agent=event.avoid_agent,
            )
        case BackoffEnded():
            return move(plan, event.task_id, TaskState.PENDING, at, retry_at=None)
        case SentBack():
            task = plan.tasks[event.task_id]
            return move(
                plan,
                event.task_id,
                TaskState.PENDING,
                at,
                work_failures=task.work_failures + (event.failure is not None),
                last_failure=event.failure or task.last_failure,
                failed_at=at if event.failure else task.failed_at,
                starts=task.starts if event.failure else 0,  # a person sent it on
                findings=event.findings,
                resume_from=event.resume_from,
                item_id=None,
            )
        case TaskFailed():
            return over(plan, event.task_id, TaskState.FAILED, at, reason=event.reason)
        case TaskCancelled():
            return over(plan, event.task_id, TaskState.CANCELLED, at, reason=event.reason)
        case TaskReopened():
            if plan.phase in {PlanPhase.FINISHED, PlanPhase.PUBLISHED}:
                plan = replace(plan, phase=PlanPhase.RUNNING)
            return move(
                plan,
                event.task_id,
                TaskState.PENDING,
                at,
                failures=0,
                work_failures=0,
                failed_at=None,
                starts=0,
                retry_at=None,
                findings=event.findings,
                resume_from=None,
                avoid_agent=None,
                item_id=None,
                reason="",
            )
        case TaskAdded():
            number = plan.numbers.get(event.task.id, 0)
            added = TaskRun(task=event.task, since=at, merges=event.merges, attempts=number)
            rivals = dict(plan.rivals)
            rivals[event.task.id] = frozenset(event.rivals)
            for other in event.rivals:
                rivals[other] = rivals.get(other, frozenset()) | {event.task.id}
            phase = PlanPhase.RUNNING if plan.phase is PlanPhase.FINISHED else plan.phase
            return replace(plan, tasks=plan.tasks | {event.task.id: added}, rivals=rivals, phase=phase)
        case (
            CandidateRequested()
            | CandidateMade()
            | CheckPassed()
            | GatePassed()
            | GateFailed()
            | ConflictFound()
            | CandidateDropped()
            | TargetSeen()
            | PublishRequested()
            | SyncReleased()
            | SyncHeld()
            | Landed()
            | Synced()
            | PublishBegan()
            | PublishHeld()
            | Published()
        ):
            return at_the_gate(plan, event, at)
        case UndoRequested() | UndoHeld() | UndoDropped() | Undone():
            return undo_folded(plan, event, at)
        case LandingFound():
            return landing_found(plan, event, at)
        case TreeRemoved():
            if event.owner in plan.attempts:
                owner = AttemptId(event.owner)
                kept = tuple(dict.fromkeys((*plan.attempts[owner].salvage, *event.salvage)))
                return attempt_with(plan, owner, removed=True, salvage=kept)
            return plan
        case (
            DaemonBegan()
            | DrainBegan()
            | DispatchHeld()
            | DispatchFreed()
            | DaemonFault()
            | EffectAbandoned()
            | PlanConfirmed()
            | PlanTakenUp()
            | Escalated()
            | Answered()
            | ItemWithdrawn()
            | ByHandBegan()
            | ByHandReady()
            | ByHandHandedIn()
            | ByHandNotYet()
            | ByHandGivenUp()
            | ByHandEnded()
            | TrashEmptied()
            | WorldMended()
            | UnknownFound()
            | ProjectionMended()
            | LaneOverdue()
            | LedgerRecovered()
        ):
            raise AssertionError("handled by apply")
        case _:
            assert_never(event)


def _set_run(plan: PlanRun, run: Run) -> PlanRun:
    plan = replace(plan, runs=plan.runs | {run.id: run})
    if run.owner in plan.attempts:
        return attempt_with(plan, AttemptId(run.owner), run_id=run.id)
    if plan.candidate is not None and plan.candidate.id == CandidateId(run.owner):
        return candidate_with(plan, run_id=run.id)
    return plan


def rebuild(events: Iterable[tuple[int, datetime, Event]], state: State = _NOTHING) -> State:
    """The state after a whole ledger, or after what followed on an earlier state; the same that `apply` comes to."""
    state = opened(state)
    for _, at, event in events:
        state = apply(state, event, at)
        plan = state.plans.get(getattr(event, "plan_id", None))  # type: ignore[arg-type]
        if plan is not None and not is_open(plan):  # it is new, or was rewritten as a whole
            state = plan_with(state, open_plan(plan))
    return closed(state)
