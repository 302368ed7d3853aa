"""What a person may do to one task, and how it is found."""

from __future__ import annotations

from difflib import get_close_matches

from orchestrator.core import byhand, escalation, gate, undo
from orchestrator.core.attempts import stop_attempt
from orchestrator.core.draft import Draft
from orchestrator.model.errors import UsageError
from orchestrator.model.event import (
    ItemWithdrawn,
    TaskCancelled,
    TaskReopened,
    UndoDropped,
)
from orchestrator.model.ids import TaskId
from orchestrator.model.item import ItemKind
from orchestrator.model.run import CandidateStage, PlanRun, TaskRun


def find_task(plan: PlanRun, task_id: TaskId) -> TaskRun:
    """A task by its id. Raises: UsageError naming the nearest one."""
    if task_id in plan.tasks:
        return plan.tasks[task_id]
    near = get_close_matches(task_id, plan.tasks, n=1)
    raise UsageError(
        f"plan '{plan.id}' has no task '{task_id}'",
        why="a plan has the tasks that it was confirmed with",
        fix=f"did you mean '{near[0]}'?" if near else "`orchestrator status` lists them",
    )


def is_landing(plan: PlanRun, task_id: TaskId | None) -> bool:
    """Whether the plan's branch may be moving to this task's work, or to what takes it back, this very moment."""
    at_gate = plan.candidate
    if at_gate is None or at_gate.stage is not CandidateStage.LANDING:
        return False
    return task_id in {at_gate.task_id, at_gate.undoes}


def cancel_task(draft: Draft, plan: PlanRun, task_id: TaskId, by: str, reason: str) -> None:
    """The task is no longer wanted: its agent is stopped and its work kept."""
    if plan.candidate is not None and plan.candidate.task_id == task_id:
        gate.drop(draft, plan, "cancelled", requeued=False)
        plan = draft.plan(plan.id)
    withdraw_items(draft, plan, task_id, "the task was cancelled")
    plan = draft.plan(plan.id)
    lease = plan.leases.get(task_id)
    draft.record(TaskCancelled(plan_id=plan.id, task_id=task_id, by=by, reason=reason))
    if lease is None:
        return
    attempt = plan.attempts[lease.attempt_id]
    if attempt.by_hand is not None:
        byhand.cancelled(draft, draft.plan(plan.id), attempt)
    else:
        stop_attempt(draft, draft.plan(plan.id), attempt, cancelled=True)


def withdraw_undo(draft: Draft, plan: PlanRun, task_id: TaskId, reason: str) -> None:
    """The task stays landed after all. Never while the commit that takes it back is landing."""
    if plan.candidate is not None and plan.candidate.undoes == task_id:
        gate.drop(draft, plan, reason, requeued=False)
    for item in draft.state.open_items():
        if item.plan_id == plan.id and item.task_id == task_id and item.trigger == undo.TRIGGER:
            draft.record(ItemWithdrawn(plan_id=plan.id, task_id=task_id, item_id=item.id, reason=reason))
    draft.record(UndoDropped(plan_id=plan.id, task_id=task_id, reason=reason))


def withdraw_items(draft: Draft, plan: PlanRun, task_id: TaskId | None, reason: str) -> None:
    for item in draft.state.open_items():
        if item.plan_id == plan.id and item.task_id == task_id:
            draft.record(ItemWithdrawn(plan_id=plan.id, task_id=task_id, item_id=item.id, reason=reason))


def reopen(draft: Draft, plan: PlanRun, task_id: TaskId, by: str, findings: tuple[str, ...]) -> None:
    withdraw_items(draft, plan, task_id, "the task is tried again")
    for item in escalation.plan_items(draft.state, plan.id, ItemKind.INCOMPLETE):
        draft.record(
            ItemWithdrawn(plan_id=plan.id, task_id=None, item_id=item.id, reason=f"'{task_id}' is tried again")
        )
    draft.record(TaskReopened(plan_id=plan.id, task_id=task_id, by=by, findings=findings))
