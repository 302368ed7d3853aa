"""Conflicts by hand in the fold: taken on, looked at, given back."""

from __future__ import annotations

from datetime import datetime

from orchestrator.core.moves import attempt_to, attempt_with, item_with, move, plan_with
from orchestrator.core.planfold import without_task
from orchestrator.model.attempt import Attempt, AttemptState, ByHand
from orchestrator.model.change import replace
from orchestrator.model.event import (
    ByHandBegan,
    ByHandEnded,
    ByHandGivenUp,
    ByHandHandedIn,
    ByHandNotYet,
    ByHandReady,
)
from orchestrator.model.run import State, TaskState

HandEvent = ByHandBegan | ByHandReady | ByHandHandedIn | ByHandNotYet | ByHandGivenUp | ByHandEnded


def by_hand(state: State, event: HandEvent, at: datetime) -> State:
    plan = state.plans[event.plan_id]
    item = state.items[event.item_id]
    attempt = plan.attempts[event.attempt_id]
    match event:
        case ByHandBegan():
            mine = ByHand(item_id=event.item_id, by=event.by)
            item = replace(item, by_hand=event.attempt_id, taken_by=event.by, taken_at=at, note="")
            plan = attempt_with(plan, event.attempt_id, by_hand=mine)
        case ByHandReady():
            item = replace(item, worktree=event.path)
            plan = attempt_to(plan, event.attempt_id, AttemptState.WAITING, at)
        case ByHandHandedIn():
            mine = _counted(attempt, by=event.by, accepts=event.accept, keep=event.keep)
            plan = attempt_to(plan, event.attempt_id, AttemptState.STOPPING, at, by_hand=mine)
        case ByHandGivenUp():
            mine = _counted(attempt, by=event.by, given_up=True)
            plan = attempt_to(plan, event.attempt_id, AttemptState.STOPPING, at, by_hand=mine)
        case ByHandNotYet():
            item = replace(item, note=event.why)
            plan = attempt_to(plan, event.attempt_id, AttemptState.WAITING, at)
        case ByHandEnded():
            item = replace(item, by_hand=None, taken_by=None, taken_at=None, worktree=None, note=event.why)
            if item.task_id is None:
                item = replace(item, overdue_at=None)
                plan = without_task(plan, event.task_id)  # it was there for this try alone
            elif plan.tasks[item.task_id].state is TaskState.RUNNING:
                plan = move(plan, item.task_id, TaskState.ESCALATED, at, item_id=item.id)
    return item_with(plan_with(state, plan), item)


def _counted(attempt: Attempt, *, by: str, accepts: bool = False, keep: bool = False, given_up: bool = False) -> ByHand:
    assert attempt.by_hand is not None
    return replace(
        attempt.by_hand,
        by=by,
        collects=attempt.by_hand.collects + 1,
        accepts=accepts,
        keep=keep,
        given_up=given_up,
    )
