"""The inbox in the fold: an item is opened, answered, withdrawn, and what that does to its task and attempt."""

from __future__ import annotations

from datetime import datetime

from orchestrator.core.moves import attempt_to, item_with, move, plan_with, task_with
from orchestrator.model.attempt import AttemptState
from orchestrator.model.change import replace
from orchestrator.model.event import (
    Answered,
    Escalated,
    LaneOverdue,
)
from orchestrator.model.ids import ItemId, PlanId, TaskId
from orchestrator.model.item import ItemKind
from orchestrator.model.run import (
    State,
    TaskState,
)


def escalated(state: State, event: Escalated, at: datetime) -> State:
    state = replace(item_with(state, event.item), item_count=state.item_count + 1)
    if event.task_id is None:
        return state
    plan = state.plans[event.plan_id]
    run = plan.tasks[event.task_id]
    if event.failure is not None and event.item.kind is ItemKind.WORK_FAILED:
        plan = task_with(
            plan, event.task_id, work_failures=run.work_failures + 1, last_failure=event.failure, failed_at=at
        )
    elif event.failure is not None:
        plan = task_with(plan, event.task_id, failures=run.failures + 1, last_failure=event.failure, failed_at=at)
    if event.holds_task:
        holds = False if event.releases_files else run.holds or event.item.kind is ItemKind.HUMAN_TASK
        if event.item.kind is ItemKind.PROTECTED:
            plan = task_with(plan, event.task_id, item_id=event.item.id)
        else:
            plan = move(plan, event.task_id, TaskState.ESCALATED, at, item_id=event.item.id, holds=holds, retry_at=None)
    elif event.item.attempt_id is not None:
        plan = task_with(plan, event.task_id, item_id=event.item.id)
        if event.item.waits and plan.attempts[event.item.attempt_id].state in {
            AttemptState.STARTING,
            AttemptState.RUNNING,
        }:
            plan = attempt_to(plan, event.item.attempt_id, AttemptState.WAITING, at)
    return plan_with(state, plan)


def answered(state: State, event: Answered, at: datetime) -> State:
    item = replace(
        state.items[event.item_id], answer=event.choice, text=event.text, answered_by=event.by, answered_at=at
    )
    state = item_with(state, item)
    if item.kind is ItemKind.QUESTION and event.task_id is not None:
        # later attempts read it too, whether or not this one lives to hear it
        said = " ".join(part for part in (event.choice if event.choice != "text" else "", event.text) if part)
        plan = state.plans[event.plan_id]
        told = (*plan.tasks[event.task_id].answers, f"you asked: {item.context}\nthe answer: {said}")
        state = plan_with(state, task_with(plan, event.task_id, answers=told))
    if item.kind is ItemKind.PUBLISH_REFUSED and event.choice == "leave":
        state = plan_with(state, replace(state.plans[event.plan_id], publish_left=True))
    return free_item(state, event.plan_id, event.task_id, event.item_id, at)


def overdue(state: State, event: LaneOverdue, at: datetime) -> State:
    """The task is past the limit of its lane, and so is the item that keeps it there."""
    if event.item_id is not None:
        state = item_with(state, replace(state.items[event.item_id], overdue_at=at))
    return plan_with(state, task_with(state.plans[event.plan_id], event.task_id, overdue_at=at))


def free_item(state: State, plan_id: PlanId, task_id: TaskId | None, item_id: ItemId, at: datetime) -> State:
    """The item holds its task and its attempt no longer."""
    plan = state.plans.get(plan_id)
    if plan is None or task_id is None or task_id not in plan.tasks:
        return state
    run = plan.tasks[task_id]
    if run.item_id == item_id:
        about = (i for i in state.items.values() if i.plan_id == plan_id and i.task_id == task_id)
        others = (i.id for i in about if i.is_open and not i.is_note)
        plan = task_with(plan, task_id, item_id=next(others, None))
    attempt_id = state.items[item_id].attempt_id
    if attempt_id is not None and attempt_id in plan.attempts:
        open_still = any(i.is_open and i.waits and i.attempt_id == attempt_id for i in state.items.values())
        if plan.attempts[attempt_id].state is AttemptState.WAITING and not open_still:
            plan = attempt_to(plan, attempt_id, AttemptState.RUNNING, at)
    return plan_with(state, plan)
