"""Another text of a plan that runs: what landed stays landed, and what runs is never given another meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.core import escalation, gate
from orchestrator.core.draft import Draft
from orchestrator.core.overlap import witness
from orchestrator.core.schedule import holders_of
from orchestrator.core.tasks import cancel_task, reopen, withdraw_undo
from orchestrator.model.attempt import AttemptState
from orchestrator.model.errors import RefusedError
from orchestrator.model.event import (
    ItemWithdrawn,
    PlanRevised,
    TaskReopened,
)
from orchestrator.model.fact import PlanSubmitted
from orchestrator.model.ids import TaskId
from orchestrator.model.item import ItemKind
from orchestrator.model.plan import Task
from orchestrator.model.run import OVER, CandidateStage, PlanRun, TaskState

#: States in which nothing of a task has been done yet, or nothing that would be lost by starting anew.
_UNTOUCHED = frozenset({TaskState.PENDING, TaskState.BACKOFF, TaskState.FAILED, TaskState.CANCELLED})


def revise(draft: Draft, run: PlanRun, fact: PlanSubmitted) -> None:
    """Another text of the plan that runs: what has landed stays landed, what runs is never re-scoped in silence."""
    if fact.plan.target != run.plan.target:
        raise RefusedError(
            f"plan '{run.id}' runs against '{run.plan.target}', and the new text says '{fact.plan.target}'",
            why="what has landed was tested on top of the old target",
            fix="give the plan another name, or cancel this one first (`orchestrator cancel --all`)",
        )
    new = {task.id: task for task in fact.plan.tasks}
    for task_id, task in run.tasks.items():
        touched = task.state not in _UNTOUCHED and task.state is not TaskState.LANDED
        if task_id in new and _waits_for_a_better_text(run, task_id):
            continue
        if task_id in new and new[task_id] != task.task and touched:
            raise RefusedError(
                f"task '{task_id}' is {task.state}, and the new text changes it",
                why="work that is under way is never given another meaning",
                fix=f"wait for it, or `orchestrator cancel {task_id}` first",
            )
    for name in sorted({name for task in run.tasks.values() if task.holds for name in task.task.uses}):
        # a pending task with another text starts afresh, and so gives up what it holds
        holders = [t for t in holders_of(run, name) if not (run.tasks[t].state in _UNTOUCHED and _changed(run, new, t))]
        capacity = fact.plan.resources.get(name, 1)
        if len(holders) > capacity:
            raise RefusedError(
                f"{len(holders)} tasks hold '{name}', and the new text allows {capacity}",
                why=f"they are under way: {', '.join(holders)}",
                fix=f"wait until no more than {capacity} hold it, or cancel some of them first",
            )
    if run.candidate is not None and run.candidate.stage is CandidateStage.LANDING:
        raise RefusedError("a task is landing this very moment", why="", fix="try again in a moment")
    for lease in run.leases.values():
        attempt = run.attempts[lease.attempt_id]
        if attempt.state is AttemptState.PREPARING or run.tasks[attempt.task_id].state in _UNTOUCHED:
            raise RefusedError(
                f"an agent of '{attempt.task_id}' is just being started or stopped",
                why="it would be half of the old plan and half of the new one",
                fix="try again in a moment",
            )
    for task_id in [t for t in new if t in run.tasks and _waits_for_a_better_text(run, t) and _changed(run, new, t)]:
        reopen(draft, draft.plan(run.id), task_id, fact.by, ())
    withdrawn = tuple(t for t, task in run.tasks.items() if t not in new and task.merges is None)
    for task_id in withdrawn:
        if run.tasks[task_id].undo is not None:
            withdraw_undo(draft, draft.plan(run.id), task_id, "the task is no longer in the plan")
        if run.tasks[task_id].state not in OVER:
            cancel_task(draft, draft.plan(run.id), task_id, fact.by, "no longer in the plan")
    if draft.plan(run.id).candidate is not None:
        # its checks are those of the old text; it comes to the gate again with the new ones
        gate.drop(draft, draft.plan(run.id), "the plan was revised", requeued=True)
    for item in escalation.plan_items(draft.state, run.id, ItemKind.INCOMPLETE):
        draft.record(ItemWithdrawn(plan_id=run.id, task_id=None, item_id=item.id, reason="the plan was revised"))
    reopened = [t for t in new if t in run.tasks and run.tasks[t].state in {TaskState.FAILED, TaskState.CANCELLED}]
    changed = [t for t in reopened if new[t] != run.tasks[t].task]
    draft.record(
        PlanRevised(
            plan_id=run.id,
            plan=fact.plan,
            digest=fact.digest,
            by=fact.by,
            sequential=fact.sequential,
            rivals=(*fact.rivals, *kept_rivals(draft.plan(run.id), new, fact.plan.resources)),
            rank=fact.rank,
            withdrawn=withdrawn,
        )
    )
    for task_id in changed:
        draft.record(TaskReopened(plan_id=run.id, task_id=task_id, by=fact.by))


def _waits_for_a_better_text(run: PlanRun, task_id: TaskId) -> bool:
    """Whether it failed, a person has been asked, and nothing of it runs: another text is an answer to that."""
    return run.tasks[task_id].state is TaskState.ESCALATED and task_id not in run.leases


def _changed(run: PlanRun, new: Mapping[TaskId, Task], task_id: TaskId) -> bool:
    return new.get(task_id) != run.tasks[task_id].task


def kept_rivals(run: PlanRun, new: dict[TaskId, Task], resources: Mapping[str, int]) -> Iterator[tuple[TaskId, TaskId]]:
    """Pairs with tasks that the new text does not have, and that may still hold their files."""

    def shares(one: Task, two: Task) -> bool:
        return any(resources.get(name, 1) == 1 for name in set(one.uses) & set(two.uses))

    kept = [task for task_id, task in run.tasks.items() if task_id not in new and (task.holds or task.merges)]
    for old in kept:
        for task in (*new.values(), *(other.task for other in kept if other is not old)):
            if witness(old.task.files, task.files) is not None or shares(old.task, task):
                yield old.task.id, task.id
