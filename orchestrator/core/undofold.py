"""Undoing in the fold: what is asked for, held, dropped, and taken back."""

from __future__ import annotations

from datetime import datetime

from orchestrator.core.moves import move, task_with
from orchestrator.model.change import replace
from orchestrator.model.event import UndoDropped, UndoHeld, Undone, UndoRequested
from orchestrator.model.ids import TaskId
from orchestrator.model.run import PLAN_OVER, PlanPhase, PlanRun, TaskState, Undo

UndoEvent = UndoRequested | UndoHeld | UndoDropped | Undone


def undo_folded(plan: PlanRun, event: UndoEvent, at: datetime) -> PlanRun:
    match event:
        case UndoRequested():
            # nothing that meets its files starts until it is decided; what runs merges later
            undo = Undo(by=event.by, reason=event.reason)
            phase = PlanPhase.RUNNING if plan.phase in PLAN_OVER else plan.phase
            plan = task_with(plan, event.task_id, undo=undo, holds=True)
            return replace(plan, undoing=(*_without(plan, event.task_id), event.task_id), phase=phase)
        case UndoHeld():
            undo_now = plan.tasks[event.task_id].undo
            assert undo_now is not None
            return task_with(plan, event.task_id, undo=replace(undo_now, held=True))
        case UndoDropped():
            plan = replace(plan, undoing=_without(plan, event.task_id))
            return task_with(plan, event.task_id, undo=None, holds=False)
        case Undone():
            plan = replace(plan, tip=event.commit, candidate=None, unpublished=True)
            plan = replace(plan, undoing=_without(plan, event.task_id))
            if event.task_id not in plan.tasks:
                return plan
            return move(
                plan,
                event.task_id,
                TaskState.CANCELLED,
                at,
                reason=f"undone: {event.reason}" if event.reason else "undone",
                findings=(
                    f"undone: your work had landed as {event.undone} and was taken back"
                    + (f", because: {event.reason}" if event.reason else ""),
                ),
                undo=None,
                holds=False,
                hand_off=None,
                landed_commit=None,
                landed_at=None,
                resume_from=None,
            )


def _without(plan: PlanRun, task_id: TaskId) -> tuple[TaskId, ...]:
    return tuple(other for other in plan.undoing if other != task_id)
