"""A recovered ledger in the fold: numbers that are not given out again, and what git says has landed."""

from __future__ import annotations

from datetime import datetime

from orchestrator.core.moves import plan_with
from orchestrator.model.attempt import Attempt, AttemptState, Ending
from orchestrator.model.change import replace
from orchestrator.model.event import LandingFound, LedgerRecovered
from orchestrator.model.ids import TaskId
from orchestrator.model.run import PlanRun, Reached, State, TaskRun, TaskState


def ledger_recovered(state: State, event: LedgerRecovered) -> State:
    state = replace(state, token=max(state.token, event.token_floor), reached=event.reached)
    for plan_id, reached in event.reached.items():
        if plan_id in state.plans:
            state = plan_with(state, _beyond(state.plans[plan_id], reached))
    return state


def _beyond(plan: PlanRun, reached: Reached) -> PlanRun:
    """The plan with every number at least as high as what was found."""
    numbers = {
        task_id: max(plan.numbers.get(task_id, 0), reached.attempts.get(task_id, 0))
        for task_id in plan.numbers.keys() | reached.attempts.keys()
    }
    tasks = {
        task_id: replace(run, attempts=max(run.attempts, numbers.get(task_id, 0)))
        for task_id, run in plan.tasks.items()
    }
    return replace(plan, numbers=numbers, tasks=tasks, candidates=max(plan.candidates, reached.candidates))


def landing_found(plan: PlanRun, event: LandingFound, at: datetime) -> PlanRun:
    """The plan's branch stands at that commit. What was at the gate stood on another one, and has to go there anew."""
    candidate = plan.candidate
    plan = replace(plan, tip=event.commit, unpublished=True, candidate=None)
    if candidate is not None:
        runs = {run_id: run for run_id, run in plan.runs.items() if run.owner != candidate.id}
        plan = replace(plan, runs=runs)
        if candidate.task_id is not None and plan.tasks[candidate.task_id].state is TaskState.GATING:
            plan = _with(plan, replace(plan.tasks[candidate.task_id], state=TaskState.QUEUED, since=at))
    task = plan.tasks.get(event.task_id) if event.task_id is not None else None
    if task is None or task.state is TaskState.LANDED:
        return plan
    return _landed(plan, task, event, at)


def _landed(plan: PlanRun, task: TaskRun, event: LandingFound, at: datetime) -> PlanRun:
    """The task landed, from whatever state: nobody knows how it came there, so the table of moves does not bind."""
    name = task.task.id
    landed = replace(
        task,
        state=TaskState.LANDED,
        since=at,
        lane_since=at,
        overdue_at=None,
        holds=False,
        landed_commit=event.commit,
        landed_at=at,
        retry_at=None,
        item_id=None,
        findings=(),
    )
    attempts = {key: _ended(one, at) if one.task_id == name else one for key, one in plan.attempts.items()}
    runs = {key: run for key, run in plan.runs.items() if run.owner not in _owners(plan, name)}
    leases = {key: lease for key, lease in plan.leases.items() if key != name}
    return _with(replace(plan, attempts=attempts, runs=runs, leases=leases), landed)


def _ended(attempt: Attempt, at: datetime) -> Attempt:
    if attempt.state is AttemptState.ENDED:
        return attempt
    return replace(attempt, state=AttemptState.ENDED, ended_at=at, ending=Ending.HANDED_OFF, flags=())


def _owners(plan: PlanRun, task_id: TaskId) -> frozenset[str]:
    return frozenset(attempt.id for attempt in plan.attempts.values() if attempt.task_id == task_id)


def _with(plan: PlanRun, task: TaskRun) -> PlanRun:
    return replace(plan, tasks=plan.tasks | {task.task.id: task})
