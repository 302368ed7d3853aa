"""How long a task may stay in a lane. Past it a person is told, once for each stay; nothing is stopped for it."""

from __future__ import annotations

from datetime import datetime, timedelta

from orchestrator.core import escalation
from orchestrator.core.draft import Draft
from orchestrator.model.attempt import AttemptState
from orchestrator.model.effect import WakeAt
from orchestrator.model.event import Escalated, ItemWithdrawn, LaneOverdue
from orchestrator.model.fact import LaneLong
from orchestrator.model.ids import ItemId, TaskId
from orchestrator.model.run import PLAN_OVER, STATE_LANES, Lane, LaneLimits, PlanRun, TaskRun, TaskState

Stay = tuple[Lane, datetime]  #: a lane, and when the task came into it


def stay_of(plan: PlanRun, task: TaskRun) -> Stay | None:
    """The lane whose limit counts for a task, and since when; None where none does.

    A task behind a failed one is blocked too, but the failed one is what a person has to look at. What was given up has
    been looked at.
    """
    since = task.lane_since or task.since
    match task.state:
        case TaskState.RUNNING:
            attempt = plan.attempts.get(task.attempt_id) if task.attempt_id else None
            waits = attempt is not None and attempt.state is AttemptState.WAITING
            return (Lane.BLOCKED if waits else Lane.DOING), since
        case TaskState.FOR_REVIEW | TaskState.QUEUED | TaskState.GATING | TaskState.ESCALATED:
            return STATE_LANES[task.state], since
        case _:
            return None


def due_at(limits: LaneLimits, task: TaskRun, stay: Stay) -> datetime | None:
    """When the stay is too long. Time that an agent waited for a person does not count as doing."""
    lane, since = stay
    limit = limits.of(lane)
    if limit is None:
        return None
    return since + limit - _spent_before(task, lane)


def _spent_before(task: TaskRun, lane: Lane) -> timedelta:
    return task.lane_spent if lane is Lane.DOING else timedelta()


def watch(draft: Draft) -> None:
    """One wake-up for every task that has come into another lane, and an end to what was said about the last one.

    When a daemon begins with other limits, those that are in a lane already are looked at again.
    """
    for plan, task_id in draft.touched():
        _watch_task(draft, plan, task_id, draft.before.limits)
    if draft.state.limits != draft.before.limits and (active := draft.state.active) is not None:
        for task_id in active.tasks:
            _watch_task(draft, active, task_id, draft.before.limits)


def _watch_task(draft: Draft, plan: PlanRun, task_id: TaskId, limits_before: LaneLimits) -> None:
    task = plan.tasks.get(task_id)
    old_plan = draft.before.plans.get(plan.id)
    old = old_plan.tasks.get(task_id) if old_plan else None
    stay_before = stay_of(old_plan, old) if old_plan and old else None
    stay = stay_of(plan, task) if task else None
    if old is not None and old.overdue_at is not None and stay != stay_before:
        _withdraw_notes(draft, plan, task_id)
    if task is None or stay is None or task.overdue_at is not None:
        return
    due = due_at(draft.state.limits, task, stay)
    known = due_at(limits_before, task, stay) if stay == stay_before else None
    if due is not None and due != known:
        lane, since = stay
        fact = LaneLong(plan_id=plan.id, task_id=task_id, lane=lane, since=since)
        draft.ask(WakeAt(at=max(due, draft.now), fact=fact))


def lane_long(draft: Draft, fact: LaneLong) -> None:
    """The time is up: if the task is still where it was, a person is told."""
    plan = draft.state.plans.get(fact.plan_id)
    task = plan.tasks.get(fact.task_id) if plan else None
    if plan is None or task is None or plan.phase in PLAN_OVER or task.overdue_at is not None:
        return
    stay = stay_of(plan, task)
    due = due_at(draft.state.limits, task, stay) if stay else None
    limit = draft.state.limits.of(fact.lane)
    if stay != (fact.lane, fact.since) or due is None or limit is None or due > draft.now:
        return  # it has moved on, or the limit was raised meanwhile: then another wake-up is on its way
    item_id = task.item_id or _taken_item(plan, task)
    overdue = LaneOverdue(
        plan_id=plan.id, task_id=fact.task_id, lane=fact.lane, since=fact.since, limit=limit, item_id=item_id
    )
    draft.record(overdue)
    if item_id is None:
        spent = draft.now - fact.since + _spent_before(task, fact.lane)
        item = escalation.overdue(draft.state, plan, task, fact.lane, spent, limit, draft.now)
        draft.record(Escalated(plan_id=plan.id, task_id=fact.task_id, item=item, holds_task=False))


def _taken_item(plan: PlanRun, task: TaskRun) -> ItemId | None:
    """The item that a person took on with the present attempt; a conflict with the target holds no task of its own."""
    attempt = plan.attempts.get(task.attempt_id) if task.attempt_id else None
    mine = attempt.by_hand if attempt is not None and attempt.state is not AttemptState.ENDED else None
    return mine.item_id if mine is not None else None


def _withdraw_notes(draft: Draft, plan: PlanRun, task_id: TaskId) -> None:
    for item in draft.state.open_items():
        if item.is_note and item.plan_id == plan.id and item.task_id == task_id:
            draft.record(ItemWithdrawn(plan_id=plan.id, task_id=task_id, item_id=item.id, reason="the task moved on"))
