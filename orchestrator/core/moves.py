"""Small steps of the fold: one thing of the state replaced by another."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from orchestrator.model.attempt import AttemptState
from orchestrator.model.change import replace
from orchestrator.model.ids import AttemptId, TaskId
from orchestrator.model.item import Item
from orchestrator.model.run import (
    STATE_LANES,
    TASK_MOVES,
    PlanRun,
    State,
    TaskState,
)


def plan_with(state: State, plan: PlanRun) -> State:
    return replace(state, plans=state.plans | {plan.id: plan})


def item_with(state: State, item: Item) -> State:
    return replace(state, items=state.items | {item.id: item})


def task_with(plan: PlanRun, task_id: TaskId, **changes: Any) -> PlanRun:
    return replace(plan, tasks=plan.tasks | {task_id: replace(plan.tasks[task_id], **changes)})


def move(plan: PlanRun, task_id: TaskId, to: TaskState, at: datetime, **changes: Any) -> PlanRun:
    """A task in another state. Raises: AssertionError for a move that the table does not have, which is our bug."""
    now = plan.tasks[task_id].state
    assert to in TASK_MOVES[now], f"{task_id}: {now} -> {to}"
    if STATE_LANES[now] is not STATE_LANES[to]:
        changes |= {"lane_since": at, "lane_spent": timedelta(), "overdue_at": None}
    return task_with(plan, task_id, state=to, since=at, **changes)


def over(plan: PlanRun, task_id: TaskId, to: TaskState, at: datetime, *, reason: str) -> PlanRun:
    # while a process of its attempt may live, its files stay reserved: LeaseEnded frees them
    return move(plan, task_id, to, at, reason=reason, retry_at=None, item_id=None, holds=task_id in plan.leases)


def attempt_with(plan: PlanRun, attempt_id: AttemptId, **changes: Any) -> PlanRun:
    return replace(plan, attempts=plan.attempts | {attempt_id: replace(plan.attempts[attempt_id], **changes)})


def attempt_to(plan: PlanRun, attempt_id: AttemptId, to: AttemptState, at: datetime, **changes: Any) -> PlanRun:
    """An attempt in another state. While it waits for a person its task is in another lane."""
    attempt = plan.attempts[attempt_id]
    task = plan.tasks.get(attempt.task_id)
    waited, waits = attempt.state is AttemptState.WAITING, to is AttemptState.WAITING
    if task is not None and task.attempt_id == attempt_id and waited is not waits:
        spent = task.lane_spent + (at - (task.lane_since or task.since)) if waits else task.lane_spent
        plan = task_with(plan, task.task.id, lane_since=at, lane_spent=spent, overdue_at=None)
    return attempt_with(plan, attempt_id, state=to, **changes)


def candidate_with(plan: PlanRun, **changes: Any) -> PlanRun:
    assert plan.candidate is not None
    return replace(plan, candidate=replace(plan.candidate, **changes))
