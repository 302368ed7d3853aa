"""Shared things with room for several: a limit in the schedule, never an overlap."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.report import why_lines
from orchestrator.model.effect import CollectWork
from orchestrator.model.errors import RefusedError
from orchestrator.model.event import Event, LeaseGranted
from orchestrator.model.fact import PauseAsked, ResumeAsked
from orchestrator.model.plan import Plan, Task
from orchestrator.model.run import TaskState
from tests.fakes.world import CRASH, Script, World, a_plan, a_task


class Counting(World):
    """Counts after every event how many hold a place in each shared thing."""

    def __init__(self, plan: Plan) -> None:
        self.most: dict[str, int] = {}
        super().__init__(plan)

    def _watch(self, event: Event) -> None:
        super()._watch(event)
        plan = self.state.plans.get(event.plan_id) if isinstance(event, LeaseGranted) else None
        if plan is not None:
            uses = {t: run.task.uses for t, run in plan.tasks.items() if run.holds or t == event.task_id}
            taken = Counter(name for names in uses.values() for name in set(names))
            for name, number in taken.items():
                assert number <= plan.plan.resources.get(name, 1), f"{number} hold '{name}'"
                self.most[name] = max(self.most.get(name, 0), number)


def users(count: int, name: str = "gpu") -> list[Task]:
    return [a_task(f"t{n}", uses=(name,)) for n in range(count)]


@pytest.mark.parametrize(
    ("resources", "most"),
    [
        pytest.param({}, 1, id="not declared"),
        pytest.param({"gpu": 1}, 1, id="for one"),
        pytest.param({"gpu": 2}, 2, id="for two"),
        pytest.param({"gpu": 3}, 3, id="for three"),
        pytest.param({"gpu": 99}, 4, id="more than the plan runs at once"),
    ],
)
def test_as_many_tasks_as_a_shared_thing_has_places_run_at_once(resources: dict[str, int], most: int) -> None:
    world = Counting(a_plan(*users(6), resources=resources)).run()
    assert world.most_at_once == most
    assert set(world.states().values()) == {TaskState.LANDED}


def test_a_task_that_waits_for_a_place_blocks_nobody_behind_it() -> None:
    first = [a_task(f"t{n}", uses=("gpu",), priority=90) for n in range(3)]
    world = World(a_plan(*first, a_task("free", priority=10), resources={"gpu": 2}))
    world.scripts |= {name: [Script(hangs=True)] for name in ("t0", "t1", "free")}
    world.run()
    assert world.states() == {
        "t0": TaskState.RUNNING, "t1": TaskState.RUNNING, "t2": TaskState.PENDING, "free": TaskState.RUNNING,
    }  # fmt: skip


def test_why_names_the_holders_and_how_many_there_may_be() -> None:
    world = World(a_plan(*users(3), resources={"gpu": 2}))
    world.scripts |= {name: [Script(hangs=True)] for name in ("t0", "t1")}
    world.run()
    lines = list(why_lines(world.state, world.plan_run, world.task("t2")))
    assert "all 2 places of 'gpu' are taken: 't0', 't1'" in lines


def test_a_place_is_free_while_its_task_rests_after_a_failure() -> None:
    world = World(a_plan(*users(3), resources={"gpu": 2}))
    world.scripts |= {"t0": [Script(exit=CRASH)], "t1": [Script(hangs=True)]}
    world.settle()
    assert world.states() == {"t0": TaskState.BACKOFF, "t1": TaskState.RUNNING, "t2": TaskState.LANDED}


def test_a_place_is_kept_while_the_work_waits_for_the_gate_and_when_it_comes_back() -> None:
    world = World(a_plan(*users(3), resources={"gpu": 2}, parallel=4))
    world.scripts |= {"t0": [Script(changed=("outside.py",)), Script(hangs=True)], "t1": [Script(hangs=True)]}
    world.settle()
    assert world.task("t0").attempts == 2, "it was sent back, and its place was still its own"
    assert world.task("t2").state is TaskState.PENDING


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [
        pytest.param(1, 2, False, id="more room lets the next one start"),
        pytest.param(2, 3, False, id="more still"),
        pytest.param(2, 1, True, id="less room than is taken"),
        pytest.param(3, 2, True, id="less room, still for several"),
    ],
)
def test_a_revision_may_give_room_and_never_takes_it_from_those_who_hold_it(
    before: int, after: int, refused: bool
) -> None:
    world = Counting(a_plan(*users(4), resources={"gpu": before}))
    world.scripts |= {f"t{n}": [Script(hangs=True)] for n in range(4)}
    world.run()
    revised = replace(world.plan, resources={"gpu": after})
    if refused:
        with pytest.raises(RefusedError, match=f"{before} tasks hold 'gpu', and the new text allows {after}"):
            world.submit(revised, "other")
        return
    world.submit(revised, "other")
    world.run()
    assert sum(state is TaskState.RUNNING for state in world.states().values()) == after


def test_a_task_sent_back_whose_text_changes_gives_up_what_it_held() -> None:
    world = Counting(a_plan(*users(2), resources={"gpu": 2}))
    world.hold = lambda effect: isinstance(effect, CollectWork)
    world.scripts |= {"t0": [Script(changed=("outside.py",))]}
    world.settle()
    world.give(PauseAsked(by="me"))
    world.release_held().settle()
    assert (world.task("t0").state, world.task("t0").holds) == (TaskState.PENDING, True)
    tasks = tuple(replace(task, title="other") if task.id == "t0" else task for task in world.plan.tasks)
    world.submit(replace(world.plan, tasks=tasks, resources={"gpu": 1}), "other")
    assert not world.task("t0").holds
    world.give(ResumeAsked(by="me"))
    world.run()
    assert world.states() == {"t0": TaskState.LANDED, "t1": TaskState.LANDED}


NAMES = ("gpu", "db", "port")


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.sets(st.sampled_from(NAMES), max_size=3),
            st.sets(st.sampled_from("xyz"), max_size=1),  # a file
            st.sampled_from(["good", "crashes", "outside", "red"]),
            st.integers(0, 100),
        ),
        min_size=1,
        max_size=9,
    ),
    capacity=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    parallel=st.integers(1, 5),
)
def test_never_more_hold_a_shared_thing_than_it_has_places_and_everybody_comes_to_an_end(
    rows: list[tuple[set[str], set[str], str, int]], capacity: tuple[int, int, int], parallel: int
) -> None:
    tasks = [
        a_task(f"t{n}", sorted(files) or None, uses=tuple(sorted(uses)), priority=priority)
        for n, (uses, files, _, priority) in enumerate(rows)
    ]
    world = Counting(a_plan(*tasks, resources=dict(zip(NAMES, capacity, strict=True)), parallel=parallel))
    for n, (_, _, how, _) in enumerate(rows):
        world.scripts[f"t{n}"] = {
            "good": [],
            "crashes": [Script(exit=CRASH)],
            "outside": [Script(changed=("outside.py",))],
            "red": [],
        }[how]
    red = {f"t{n}" for n, row in enumerate(rows) if row[2] == "red"}

    def check(task: str | None, name: str) -> object:
        if task in red:
            red.discard(task)
            return CRASH
        return Script().exit

    world.check = check  # type: ignore[assignment]
    world.run()
    assert set(world.states().values()) == {TaskState.LANDED}
    assert not world.overlap_seen
