"""What may start now, and why the rest may not: dependencies, reservations, limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.core.assign import candidates, free_agent
from orchestrator.core.guards import general_hold, holds_on, rate_hold, words_of
from orchestrator.model.attempt import AttemptState
from orchestrator.model.ids import TaskId
from orchestrator.model.plan import HUMAN
from orchestrator.model.run import Drain, PlanPhase, PlanRun, State, TaskRun, TaskState


@dataclass(frozen=True, slots=True)
class Start:
    """A task that may start, and with which agent; `agent` is None for a person's task."""

    task_id: TaskId
    agent: str | None


def busy_agents(run: PlanRun) -> Counter[str]:
    """Attempts that count toward the limits, by agent; one that waits for a person does not count."""
    live = (run.attempts[lease.attempt_id] for lease in run.leases.values())
    return Counter(a.agent for a in live if a.state is not AttemptState.WAITING and a.by_hand is None)


def holder_of(run: PlanRun, task_id: TaskId) -> TaskId | None:
    """A task that holds a file or shared name that this one needs; None when all are free."""
    return next((other for other in sorted(run.rivals.get(task_id, ())) if _keeps(run, run.tasks[other])), None)


def _keeps(run: PlanRun, task: TaskRun) -> bool:
    """Whether what is reserved for a task is out of reach of others."""
    # one that was sent back and whose dependency was undone since cannot start: the dependency may need its files
    return task.holds and not (task.state is TaskState.PENDING and missing_dependencies(run, task))


def limits_of(run: PlanRun) -> dict[str, int]:
    """Shared names that several tasks may use at once, and how many. Those of capacity 1 make rivals instead."""
    return {name: capacity for name, capacity in run.plan.resources.items() if capacity > 1}


def holders_of(run: PlanRun, name: str) -> tuple[TaskId, ...]:
    """The tasks that hold a place in a shared thing."""
    return tuple(task_id for task_id, task in run.tasks.items() if task.holds and name in task.task.uses)


def _places_taken(run: PlanRun, limits: Mapping[str, int]) -> Counter[str]:
    held = (task.task.uses for task in run.tasks.values() if task.holds) if limits else ()
    return Counter(name for uses in held for name in dict.fromkeys(uses) if name in limits)


def _has_places(task: TaskRun, limits: Mapping[str, int], taken: Mapping[str, int]) -> bool:
    """Whether every limited thing that it uses has a place for it; what it holds already it has."""
    return task.holds or all(taken.get(name, 0) < limits[name] for name in task.task.uses if name in limits)


def missing_dependencies(run: PlanRun, task: TaskRun) -> tuple[TaskId, ...]:
    """Dependencies that have not landed, or are being undone."""
    needed = ((d, run.tasks[d]) for d in task.task.depends_on)
    return tuple(d for d, other in needed if other.state is not TaskState.LANDED or other.undo is not None)


def _order(run: PlanRun, task: TaskRun) -> tuple[bool, int, float]:
    # what already holds its files goes first: it blocks others while it waits
    return (not task.holds, -task.task.priority, -run.rank.get(task.task.id, 0.0))


def next_start(state: State, run: PlanRun) -> Start | None:
    """The best task that may start at this moment, by priority, then longest path, then plan order."""
    if run.phase is not PlanPhase.RUNNING or run.tip is None or state.drain is not Drain.NO:
        return None
    if general_hold(state) is not None:
        return None
    busy = busy_agents(run)
    # asked after every fact: what cannot be the answer is left out first, as quickly as Python can
    waiting = [task for task in run.tasks.values() if task.state is TaskState.PENDING]
    if busy.total() >= run.plan.parallel:
        waiting = [task for task in waiting if task.task.agent == HUMAN]
    limits = limits_of(run)
    taken = _places_taken(run, limits)
    best: tuple[tuple[bool, int, float], Start] | None = None
    for task in waiting:
        if task.task.is_for_hand:
            continue
        order = _order(run, task)
        if best is not None and order >= best[0]:
            continue
        if missing_dependencies(run, task) or holder_of(run, task.task.id) is not None:
            continue
        if limits and not _has_places(task, limits, taken):
            continue
        if rate_hold(state, run, task) is not None:
            continue
        if task.task.is_human:
            best = (order, Start(task.task.id, None))
        elif (agent := free_agent(run.plan, task.task, busy, task.avoid_agent)) is not None:
            best = (order, Start(task.task.id, agent.name))
    return best[1] if best else None


def startable(state: State, run: PlanRun) -> tuple[TaskId, ...]:
    """The tasks that somebody could claim by hand at this moment, best first; a person's own tasks are not for that."""
    if run.phase is not PlanPhase.RUNNING or run.tip is None or state.drain is not Drain.NO:
        return ()
    if general_hold(state) is not None:
        return ()
    if busy_agents(run).total() >= run.plan.parallel:
        return ()
    limits = limits_of(run)
    taken = _places_taken(run, limits)
    free = [
        task
        for task in run.tasks.values()
        if task.state is TaskState.PENDING
        and not task.task.is_human
        and not missing_dependencies(run, task)
        and holder_of(run, task.task.id) is None
        and _has_places(task, limits, taken)
    ]
    return tuple(task.task.id for task in sorted(free, key=lambda task: _order(run, task)))


def is_dead_end(run: PlanRun, task_id: TaskId) -> TaskId | None:
    """The failed or cancelled task that this one depends on, through others if need be; None when there is none."""
    todo, seen = [task_id], {task_id}
    while todo:
        for dependency in run.tasks[todo.pop()].task.depends_on:
            if run.tasks[dependency].state in {TaskState.FAILED, TaskState.CANCELLED}:
                return dependency
            if dependency not in seen and run.tasks[dependency].state is not TaskState.LANDED:
                seen.add(dependency)
                todo.append(dependency)
    return None


def is_settled(run: PlanRun) -> bool:
    """Whether no task can move any more: landed, failed, cancelled, or pending behind one that failed."""
    if run.leases or run.candidate is not None or run.undoing:
        return False
    for task_id, task in run.tasks.items():
        match task.state:
            case TaskState.LANDED | TaskState.FAILED | TaskState.CANCELLED:
                continue
            case TaskState.PENDING if is_dead_end(run, task_id) is not None:
                continue
            case _:
                return False
    return True


def _how(task: TaskRun) -> str:
    """The state of a task in words."""
    return task.state.value if task.undo is None else "being undone"


def waits_for(state: State, run: PlanRun, task: TaskRun) -> Iterator[str]:
    """In words: what a pending task waits for. Nothing when it is about to start."""
    if missing := missing_dependencies(run, task):
        dead = is_dead_end(run, task.task.id)
        if dead is not None:
            yield f"'{dead}' is {run.tasks[dead].state}, so this cannot start (`orchestrator retry {dead}` would help)"
        for dependency in missing:
            yield f"depends on '{dependency}', which is {_how(run.tasks[dependency])}"
        if (hold := general_hold(state)) is not None:
            yield words_of(hold)
        return
    if (holder := holder_of(run, task.task.id)) is not None:
        yield f"'{holder}' ({_how(run.tasks[holder])}) holds files or shared things that this task needs"
    for name, capacity in limits_of(run).items() if not task.holds else ():
        if name in task.task.uses and len(holders := holders_of(run, name)) >= capacity:
            names = ", ".join(f"'{holder}'" for holder in holders)
            yield f"all {capacity} places of '{name}' are taken: {names}"
    for hold in holds_on(state, run):
        if hold.plan_id is None or rate_hold(state, run, task) is not None:
            yield words_of(hold)
    if run.phase is PlanPhase.PAUSED:
        yield "the plan is paused (`orchestrator resume`)"
    if state.drain is not Drain.NO:
        yield "the daemon is stopping and starts nothing new"
    if run.tip is None:
        yield "the plan's branch is being made"
    busy = busy_agents(run)
    if busy.total() >= run.plan.parallel:
        yield f"{busy.total()} of {run.plan.parallel} attempts run already (parallel: {run.plan.parallel})"
    elif task.task.is_for_hand:
        yield f"somebody to claim it: `orchestrator claim acquire {task.task.id} --as NAME`"
    elif not task.task.is_human and free_agent(run.plan, task.task, busy, task.avoid_agent) is None:
        names = ", ".join(f"'{a.name}' ({busy[a.name]} of {a.count})" for a in candidates(run.plan, task.task))
        yield f"every agent that fits is at its limit: {names}"
