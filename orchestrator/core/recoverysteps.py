"""What a recovered ledger says first: that it was recovered, what git knows better, and whom to tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from orchestrator.core import escalation
from orchestrator.core.state import apply
from orchestrator.core.takeup import is_at_work
from orchestrator.model.event import (
    Escalated,
    Event,
    ItemWithdrawn,
    LandingFound,
    LedgerRecovered,
    PlanPaused,
)
from orchestrator.model.ids import Commit, PlanId, TaskId
from orchestrator.model.run import PlanPhase, State


def first_events(
    state: State,
    recovered: LedgerRecovered,
    landings: Sequence[tuple[PlanId, TaskId | None, Commit]],
    *,
    masked: frozenset[str],
    lost: Mapping[PlanId, str],
    now: datetime,
) -> tuple[list[Event], State]:
    """The events that follow the ones that could be had back, and the state after them.

    Args:
        landings: plan, task and commit of what git has and the ledger does not know, oldest first.
        masked: plans whose text has a mask in it; nothing of them may start.
        lost: what a person is told about a plan.
    """
    events: list[Event] = []

    def record(event: Event) -> None:
        nonlocal state
        events.append(event)
        state = apply(state, event, now)

    record(recovered)
    for plan_id, task_id, commit in landings:
        for item in state.open_items():
            if item.plan_id == plan_id and task_id is not None and item.task_id == task_id:
                record(ItemWithdrawn(plan_id=plan_id, task_id=task_id, item_id=item.id, reason="it has landed"))
        record(LandingFound(plan_id=plan_id, task_id=task_id, commit=commit))
    for plan_id in list(state.plans):
        plan = state.plans[plan_id]
        if plan_id in masked and plan.phase is PlanPhase.RUNNING:
            record(PlanPaused(plan_id=plan_id, by="recover"))
        found = [f"{commit[:12]} {task_id or ''}".rstrip() for plan, task_id, commit in landings if plan == plan_id]
        if found or is_at_work(plan):
            item = escalation.recovered(state, state.plans[plan_id], found, lost.get(plan_id, ""), now)
            record(Escalated(plan_id=plan_id, task_id=None, item=item, holds_task=False))
    return events, state
