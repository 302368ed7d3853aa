"""A plan in the fold: confirmed, revised, and what a revision takes out."""

from __future__ import annotations

from datetime import datetime

from orchestrator.core.moves import plan_with
from orchestrator.core.overlap import rivals_of
from orchestrator.model.change import replace
from orchestrator.model.event import (
    PlanConfirmed,
    PlanRevised,
)
from orchestrator.model.ids import TaskId
from orchestrator.model.run import (
    PlanRun,
    Reached,
    State,
    TaskRun,
    TaskState,
)


def confirmed(state: State, event: PlanConfirmed, at: datetime) -> State:
    old = state.plans.get(event.plan_id)
    reached = state.reached.get(event.plan_id, Reached())
    numbers = old.numbers if old else reached.attempts
    tasks = {task.id: TaskRun(task=task, since=at, attempts=numbers.get(task.id, 0)) for task in event.plan.tasks}
    run = PlanRun(
        plan=event.plan,
        digest=event.digest,
        number=event.number,
        confirmed_at=at,
        confirmed_by=event.by,
        sequential=event.sequential,
        tasks=tasks,
        rivals=rivals_of(event.rivals),
        rank=event.rank,
        candidates=old.candidates if old else reached.candidates,
        numbers=numbers,
    )
    return replace(plan_with(state, run), current=event.plan_id)


def without_task(plan: PlanRun, task_id: TaskId) -> PlanRun:
    """The plan without a task; its attempts and their numbers are remembered."""
    return replace(
        plan,
        tasks={k: v for k, v in plan.tasks.items() if k != task_id},
        rivals={k: v - {task_id} for k, v in plan.rivals.items() if k != task_id},
    )


def is_withdrawn(plan: PlanRun, task: TaskRun) -> bool:
    """Whether a revision of the plan took the task out."""
    return task.merges is None and all(task.task.id != one.id for one in plan.plan.tasks)


def revised(plan: PlanRun, event: PlanRevised, at: datetime) -> PlanRun:
    # what the new text does not have goes: at once, or when the last process of it is gone
    tasks = {task_id: run for task_id, run in plan.tasks.items() if run.merges or task_id in plan.leases}
    renewed: dict[TaskId, TaskRun] = {}
    for task in event.plan.tasks:
        before = plan.tasks.get(task.id)
        number = plan.numbers.get(task.id, 0)
        if before is None:
            renewed[task.id] = TaskRun(task=task, since=at, attempts=number)
        else:
            # what waits for another attempt was free to change, and then it holds nothing for its old text
            holds = before.holds and (task == before.task or before.state is not TaskState.PENDING)
            renewed[task.id] = replace(before, task=task, holds=holds)
    return replace(
        plan,
        plan=event.plan,
        digest=event.digest,
        confirmed_at=at,
        confirmed_by=event.by,
        sequential=event.sequential,
        tasks=renewed | {task_id: run for task_id, run in tasks.items() if task_id not in renewed},
        rivals=rivals_of(event.rivals),
        rank=event.rank,
    )
