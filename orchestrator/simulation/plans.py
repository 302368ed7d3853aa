"""Plans as modelled people write them: some files shared, some tasks in order, and now and then a person's own task."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from orchestrator.core.graph import ranks
from orchestrator.core.overlap import overlapping_pairs, rivals_of
from orchestrator.model.fact import PlanSubmitted
from orchestrator.model.ids import PlanId, TaskId
from orchestrator.model.plan import (
    EVERYTHING,
    HAND,
    HUMAN,
    AgentSpec,
    Check,
    FileSet,
    Plan,
    Prepare,
    PublishMode,
    RetryPolicy,
    Task,
)
from orchestrator.simulation.virtual import Dice

AGENTS = ("ada", "bob", "cyd")
NAMES = ("alpha", "beta", "gamma", "delta", "epsilon")
FIRST_FILES = {f"src/{name}.py": f"first {name}" for name in "abcdefghijkl"} | {"docs/index": "first index"}
PROTECTED = FileSet(include=("src/l.py",))


def a_plan(dice: Dice, name: str) -> Plan:
    """A plan of 3 to 12 tasks."""
    tasks: list[Task] = []
    for number in range(dice.count(3, 12)):
        tasks.append(_a_task(dice, f"t{number}", [task.id for task in tasks]))
    count = dice.count(1, 3)
    return Plan(
        name=PlanId(name),
        target="main",
        publish=dice.weighted(((PublishMode.END, 3), (PublishMode.EACH, 2), (PublishMode.MANUAL, 1))),
        parallel=dice.count(1, 5),
        checks=tuple(
            Check(name=check, run=("check", check), timeout=timedelta(minutes=10))
            for check in dice.one_of((("tests",), ("tests", "lint")))
        ),
        prepare=Prepare(run=(("prepare",),)) if dice.chance(0.3) else Prepare(),
        protected=PROTECTED,
        resources={"db": 2},
        agents=tuple(AgentSpec(name=agent, adapter="model", count=count) for agent in AGENTS),
        tasks=tuple(tasks),
    )


def _a_task(dice: Dice, name: str, earlier: list[TaskId]) -> Task:
    letters = dice.some_of("abcdefghijkl", dice.count(1, 2))
    files = FileSet(include=tuple(f"src/{letter}.py" for letter in letters))
    if dice.chance(0.4):
        files = FileSet(include=(f"lib/{name}/**",))
    elif dice.chance(0.03):
        files = EVERYTHING
    return Task(
        id=TaskId(name),
        title=name,
        prompt=f"do {name}",
        files=files,
        uses=_uses(dice),
        depends_on=tuple(dice.some_of(earlier, dice.count(0, 2))) if dice.chance(0.5) else (),
        priority=dice.one_of((25, 50, 50, 75)),
        agent=dice.weighted(((None, 20.0), (HUMAN, 1.0), (HAND, 1.0))),
        timeout=timedelta(minutes=dice.one_of((20, 60))),
        retry=RetryPolicy(
            retries=dice.count(0, 3), waits=(timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15))
        ),
    )


def _uses(dice: Dice) -> tuple[str, ...]:
    nothing: tuple[str, ...] = ()
    return dice.weighted(((nothing, 8.0), (("db",), 2.0), (("port",), 1.0)))


def revised(dice: Dice, plan: Plan) -> Plan:
    """Another text of it: a task more, one less, or another title."""
    tasks = list(plan.tasks)
    kind = dice.count(1, 3)
    if kind == 1 or len(tasks) < 3:
        numbers = [int(task.id[1:]) for task in tasks]
        tasks.append(_a_task(dice, f"t{max(numbers) + 1}", [task.id for task in tasks]))
    elif kind == 2:
        gone = dice.one_of(tasks).id
        tasks = [
            replace(task, depends_on=tuple(d for d in task.depends_on if d != gone))
            for task in tasks
            if task.id != gone
        ]
    else:
        at = dice.count(0, len(tasks) - 1)
        tasks[at] = replace(tasks[at], prompt=tasks[at].prompt + ", better")
    return replace(plan, tasks=tuple(tasks), parallel=dice.count(1, 5))


def submission(plan: Plan, digest: str, by: str) -> PlanSubmitted:
    """What `start` hands in when a person has confirmed the plan."""
    pairs = tuple(o.tasks for o in overlapping_pairs(plan.tasks, plan.resources, ordered=lambda a, b: False))
    return PlanSubmitted(
        plan=plan, digest=digest, by=by, sequential=False, rivals=pairs, rank=ranks(plan.tasks, rivals_of(pairs))
    )
