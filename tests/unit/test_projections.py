"""The rows that faces read: those that a decision touches are all that have changed."""

from __future__ import annotations

import pytest

from orchestrator.engine.projections import changed_rows
from orchestrator.model.fact import CancelAsked, Fact, PauseAsked, ResumeAsked, RetryAsked
from orchestrator.model.ids import TaskId
from orchestrator.model.plan import HAND, Plan
from orchestrator.model.run import State, TaskState
from tests.fakes.world import CRASH, TIMEOUT, Script, World, a_plan, a_task


class Watched(World):
    """A world that keeps the rows as a daemon does, and looks at all of them after each decision."""

    def __init__(self, plan: Plan) -> None:
        self.rows: dict[tuple[str, str], object] = {}
        super().__init__(plan)

    def give(self, fact: Fact, chance: float = 0.5) -> None:
        before = self.state
        super().give(fact, chance)
        for row in changed_rows(before, self.state):
            if row.data is None:
                self.rows.pop((row.table, row.key))
            else:
                self.rows[row.table, row.key] = (row.state, row.data)
        whole = {(row.table, row.key): (row.state, row.data) for row in changed_rows(State(), self.state)}
        assert self.rows == whole, f"after {fact}"


def a_busy_plan() -> Plan:
    tasks = [a_task(f"t{number}", depends_on=(TaskId(f"t{number - 3}"),) if number > 2 else ()) for number in range(9)]
    shared = [a_task(name, files=("src/shared/**",)) for name in ("u", "v")]
    placed = [a_task(f"w{number}", uses=("db",)) for number in range(4)]
    return a_plan(*tasks, *shared, *placed, parallel=3, resources={"db": 2})


SCRIPTS = {
    "all goes well": {},
    "some crash": {"t1": [Script(exit=CRASH)] * 2, "u": [Script(exit=TIMEOUT)]},
    "one never works": {"t0": [Script(exit=CRASH)] * 9},
    "one leaves its files": {"t2": [Script(changed=("other/file",))] * 3},
    "one does nothing": {"v": [Script(changed=())] * 3},
}


@pytest.mark.parametrize("scripts", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_rows_kept_one_by_one_are_those_of_the_whole_state(scripts: dict[str, list[Script]]) -> None:
    world = Watched(a_busy_plan())
    world.scripts |= scripts
    world.give(PauseAsked(by="me"))
    world.give(ResumeAsked(by="me"))
    world.run()
    stuck = [name for name, state in world.states().items() if state is TaskState.ESCALATED]
    for name in stuck:
        world.give(RetryAsked(task_id=TaskId(name), by="me"))
        world.run()
    world.run()
    assert len(world.rows) > 15


def test_a_large_plan_is_not_looked_through_for_every_step() -> None:
    world = World(a_plan(*(a_task(f"t{number}") for number in range(300)), parallel=4))
    looked = 0
    give = world.give

    def counted(fact: Fact, chance: float = 0.5) -> None:
        nonlocal looked
        before = world.state
        give(fact, chance)
        looked += sum(row.table == "task" for row in changed_rows(before, world.state))

    world.give = counted  # type: ignore[method-assign]
    world.run()
    assert looked < 300 * 200, f"{looked} rows for {len(world.events)} events"


def test_a_task_that_is_cancelled_changes_the_rows_of_what_waits_for_it() -> None:
    world = Watched(a_busy_plan())
    world.give(CancelAsked(task_id=TaskId("t2"), by="me", reason="not wanted"))
    world.run()


def test_what_waits_for_the_branch_is_told_when_it_is_there() -> None:
    """Also when nothing starts then: of all that is left somebody has to claim it."""
    world = Watched(a_plan(a_task("d", agent=HAND)))
    world.run()
    assert ("task", "p/d") in world.rows
