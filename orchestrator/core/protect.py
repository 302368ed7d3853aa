"""What follows when the machine is short of something, and when the daemon itself is at fault."""

from __future__ import annotations

from orchestrator.core import gate, guarditems
from orchestrator.core.draft import Draft
from orchestrator.core.guards import in_safe_mode
from orchestrator.model.effect import WakeAt
from orchestrator.model.errors import RefusedError
from orchestrator.model.event import DaemonFault, DispatchFreed, DispatchHeld, Escalated, ItemWithdrawn
from orchestrator.model.fact import FaultSeen, HoldDue, PressureSeen
from orchestrator.model.guard import FAULTS, REFUSED_FOR, HoldReason, hold_key
from orchestrator.model.ids import PlanId, TaskId
from orchestrator.model.item import FAULT, SAFE_MODE
from orchestrator.model.run import PLAN_OVER, CandidateStage

#: Holds that end when the machine was left in peace for a while; nobody can see whether they still hold.
_FOR_A_WHILE = frozenset({HoldReason.PROCESSES})


def pressure_seen(draft: Draft, fact: PressureSeen) -> None:
    """Hold new work back while the machine is short of something, and no longer."""
    held = fact.reason in draft.state.holds
    if fact.detail is None and held:
        draft.record(DispatchFreed(reason=fact.reason))
    elif fact.detail is not None and not held:
        until = draft.now + REFUSED_FOR if fact.reason in _FOR_A_WHILE else None
        draft.record(DispatchHeld(reason=fact.reason, detail=fact.detail, until=until))
        if until is not None:
            draft.ask(WakeAt(at=until, fact=HoldDue(reason=fact.reason, plan_id=None, until=until)))


def hold_due(draft: Draft, fact: HoldDue) -> None:
    """The time of a hold is up, unless it was prolonged meanwhile."""
    hold = draft.state.holds.get(hold_key(fact.reason, fact.plan_id))
    if hold is not None and hold.until == fact.until and fact.until <= draft.now:
        draft.record(DispatchFreed(plan_id=fact.plan_id, reason=fact.reason))


# ---- our own errors ----


def fault_seen(draft: Draft, fact: FaultSeen) -> None:
    """Remember an error of our own, tell whose task it was about, and stop acting when it comes again and again."""
    draft.record(DaemonFault(where=fact.where, error=fact.error, digest=fact.digest, tail=fact.tail))
    _tell(draft, fact)
    equal = sum(fault.digest == fact.digest for fault in draft.state.faults)
    if equal >= FAULTS and not in_safe_mode(draft.state):
        _enter_safe_mode(draft, fact)


def _tell(draft: Draft, fact: FaultSeen) -> None:
    plan_name, _, rest = (fact.owner or "").partition("/")
    plan = draft.state.plans.get(PlanId(plan_name))
    owner = rest.partition("/")[0]
    if plan is None or plan.phase in PLAN_OVER:
        return
    at_gate = plan.candidate if plan.candidate is not None and plan.candidate.id == f"{plan.id}/{owner}" else None
    task_id = (at_gate.task_id or at_gate.undoes) if at_gate is not None else TaskId(owner.rpartition("-")[0])
    told = any(i.trigger == FAULT and i.plan_id == plan.id and i.task_id == task_id for i in draft.state.open_items())
    if task_id is None or task_id not in plan.tasks or told:
        return
    item = guarditems.at_fault(draft.state, plan, task_id, fact.where, fact.error, fact.tail, draft.now)
    draft.record(Escalated(plan_id=plan.id, task_id=task_id, item=item, holds_task=False))


def _enter_safe_mode(draft: Draft, fact: FaultSeen) -> None:
    detail = f"the daemon is in safe mode after {fact.error!r} came {FAULTS} times"
    draft.record(DispatchHeld(reason=HoldReason.SAFE_MODE, detail=detail))
    for plan in draft.state.plans.values():
        if plan.candidate is not None and plan.candidate.stage is not CandidateStage.LANDING:
            gate.drop(draft, plan, "the daemon is in safe mode", requeued=True)
    about = draft.state.active
    if about is not None:
        item = guarditems.safe_mode(draft.state, about, fact.where, fact.error, fact.tail, draft.now)
        draft.record(Escalated(plan_id=about.id, task_id=None, item=item, holds_task=False))


def leave_safe_mode(draft: Draft, by: str) -> bool:
    """A person says that it may go on. Returns: whether the daemon was in safe mode."""
    if not in_safe_mode(draft.state):
        return False
    draft.record(DispatchFreed(reason=HoldReason.SAFE_MODE, by=by))
    for item in draft.state.open_items():
        if item.trigger == SAFE_MODE:
            reason = f"{by} ended safe mode"
            draft.record(ItemWithdrawn(plan_id=item.plan_id, task_id=None, item_id=item.id, reason=reason))
    return True


def refuse_in_safe_mode(draft: Draft) -> None:
    """Raises: RefusedError while the daemon does nothing of its own accord."""
    if in_safe_mode(draft.state):
        raise RefusedError(
            "the daemon is in safe mode",
            why="the same error of its own came again and again, so it starts, lands and publishes nothing",
            fix="`orchestrator inbox` shows the error; `orchestrator resume` lets the daemon go on",
        )
