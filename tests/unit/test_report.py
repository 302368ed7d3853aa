from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.core.report import lane_of, phase_of, task_view
from orchestrator.core.schedule import waits_for
from orchestrator.model.agent import Asked
from orchestrator.model.fact import CancelAsked, PauseAsked
from orchestrator.model.ids import TaskId
from orchestrator.model.run import Lane, PlanPhase, TaskState
from tests.fakes.world import CRASH, Script, World, a_plan, a_task


@pytest.mark.parametrize(
    ("state", "lane"),
    [
        (TaskState.PENDING, Lane.PLANNED),
        (TaskState.BACKOFF, Lane.PLANNED),
        (TaskState.RUNNING, Lane.DOING),
        (TaskState.FOR_REVIEW, Lane.FOR_REVIEW),
        (TaskState.QUEUED, Lane.MERGING),
        (TaskState.GATING, Lane.MERGING),
        (TaskState.ESCALATED, Lane.BLOCKED),
        (TaskState.FAILED, Lane.BLOCKED),
        (TaskState.LANDED, Lane.DONE),
        (TaskState.CANCELLED, Lane.CANCELLED),
    ],
)
def test_each_state_has_its_lane(state: TaskState, lane: Lane) -> None:
    run = World(a_plan(a_task("one"))).plan_run
    assert lane_of(run, replace(run.tasks[TaskId("one")], state=state)) is lane


def test_a_task_behind_one_that_was_cancelled_is_blocked() -> None:
    world = World(a_plan(a_task("one"), a_task("two", depends_on=(TaskId("one"),)), a_task("three")))
    world.hold = lambda _: True
    world.give(CancelAsked(task_id=TaskId("one"), by="me"))
    assert lane_of(world.plan_run, world.task("two")) is Lane.BLOCKED
    assert "'one'" in next(waits_for(world.state, world.plan_run, world.task("two")))


def test_a_live_agent_that_asks_is_shown_blocked_and_says_on_whom() -> None:
    world = World(a_plan(a_task("one")))
    world.scripts["one"] = [Script(hangs=True, reports=(Asked(question_id="q", text="?"),))]
    world.run()
    view = task_view(world.state, world.plan_run, world.task("one"), 0)
    assert (view.state, view.lane) == (TaskState.RUNNING, Lane.BLOCKED)
    assert "inbox i1" in (view.waiting_for or "")
    assert phase_of(world.state, world.plan_run) is PlanPhase.BLOCKED


def test_only_a_task_out_of_retries_counts_as_failed() -> None:
    world = World(a_plan(a_task("one"), a_task("two")))
    world.scripts["one"] = [Script(exit=CRASH)] * 4
    world.scripts["two"] = [Script(changed=())] * 2
    world.run()
    views = {t: task_view(world.state, world.plan_run, world.task(t), 0) for t in ("one", "two")}
    assert (views["one"].failed, views["two"].failed) == (True, False)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        pytest.param(a_plan(a_task("x", files=["a"]), a_task("one", files=["a"])), "'x' (running) holds", id="a file"),
        pytest.param(a_plan(a_task("x"), a_task("one"), parallel=1), "1 of 1 attempts", id="parallel"),
        pytest.param(a_plan(a_task("x"), a_task("one", depends_on=(TaskId("x"),))), "depends on 'x'", id="dependency"),
    ],
)
def test_why_says_what_a_pending_task_waits_for(plan: object, words: str) -> None:
    world = World(plan)  # type: ignore[arg-type]
    world.scripts["x"] = [Script(hangs=True)]
    world.run()
    assert words in " ".join(waits_for(world.state, world.plan_run, world.task("one")))


def test_why_names_a_paused_plan() -> None:
    world = World(a_plan(a_task("one")))
    world.give(PauseAsked(by="me"))
    world.run()
    assert "paused" in " ".join(waits_for(world.state, world.plan_run, world.task("one")))


@pytest.mark.parametrize(
    ("scripts", "attempts", "tries"),
    [
        pytest.param([Script(hangs=True)], 1, 4, id="the first of four"),
        pytest.param([Script(exit=CRASH), Script(hangs=True)], 2, 4, id="one crash"),
        pytest.param([Script(changed=("outside.py",)), Script(hangs=True)], 2, 5, id="work sent back costs no retry"),
        pytest.param([Script(exit=CRASH)] * 3 + [Script(hangs=True)], 4, 4, id="the last one"),
        pytest.param([Script(exit=CRASH)] * 4, 4, 4, id="none is left"),
    ],
)
def test_a_task_says_which_of_its_attempts_would_be_the_last(scripts: list[Script], attempts: int, tries: int) -> None:
    world = World(a_plan(a_task("one")))
    before = task_view(world.state, world.plan_run, world.task("one"), 0)
    assert (before.attempts, before.tries) == (0, 4)
    world.scripts["one"] = scripts
    world.run()
    view = task_view(world.state, world.plan_run, world.task("one"), 0)
    assert (view.attempts, view.tries) == (attempts, tries)


def test_between_two_attempts_the_last_one_has_the_same_number() -> None:
    world = World(a_plan(a_task("one")))
    world.scripts["one"] = [Script(exit=CRASH)]
    world.settle()
    view = task_view(world.state, world.plan_run, world.task("one"), 0)
    assert (view.state, view.attempts, view.tries) == (TaskState.BACKOFF, 1, 4)
