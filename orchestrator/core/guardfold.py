"""What protects the machine, in the fold: holds, faults of our own, and how often things were started."""

from __future__ import annotations

from datetime import datetime

from orchestrator.core.moves import task_with
from orchestrator.model.attempt import Run
from orchestrator.model.change import replace
from orchestrator.model.event import AttemptStarted, DaemonFault, DispatchFreed, DispatchHeld
from orchestrator.model.guard import FAULTS_WITHIN, Fault, Hold, HoldReason, Spawns, hold_key
from orchestrator.model.ids import AttemptId
from orchestrator.model.run import PlanRun, State

GuardEvent = DispatchHeld | DispatchFreed | DaemonFault


def guarded(state: State, event: GuardEvent, at: datetime) -> State:
    """The state after a hold, its end, or an error of our own."""
    match event:
        case DispatchHeld():
            key = hold_key(event.reason, event.plan_id)
            known = state.holds.get(key)
            hold = Hold(
                reason=event.reason,
                detail=event.detail,
                since=known.since if known else at,
                until=event.until,
                plan_id=event.plan_id,
            )
            return replace(state, holds=state.holds | {key: hold})
        case DispatchFreed():
            gone = hold_key(event.reason, event.plan_id)
            faults = () if event.reason is HoldReason.SAFE_MODE else state.faults
            holds = {key: hold for key, hold in state.holds.items() if key != gone}
            return replace(state, holds=holds, faults=faults)
        case DaemonFault():
            recent = (fault for fault in state.faults if at - fault.at < FAULTS_WITHIN)
            return replace(state, faults=(*recent, Fault(digest=event.digest, at=at)))


def spawned(plan: PlanRun, event: AttemptStarted, at: datetime) -> PlanRun:
    """An attempt was started; one that follows a failure leaves fewer of its kind."""
    if event.spawns_left is None:
        return plan
    return replace(plan, spawns=Spawns(left=event.spawns_left, at=at))


def started_again(plan: PlanRun, run: Run) -> PlanRun:
    """A run that was lost or never began is started once more, which counts as the attempt itself does."""
    if run.try_number == 1:
        return plan
    attempt = plan.attempts.get(AttemptId(run.owner))
    at_gate = plan.candidate.task_id if plan.candidate is not None and plan.candidate.id == run.owner else None
    task_id = attempt.task_id if attempt is not None else at_gate
    if task_id is None or task_id not in plan.tasks:
        return plan
    return task_with(plan, task_id, starts=plan.tasks[task_id].starts + 1)
