"""How long a task may stay in a lane: told once for each stay, gone by itself, and nothing is stopped for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.core.publish import is_blocked
from orchestrator.core.report import lane_of, task_view
from orchestrator.core.state import rebuild
from orchestrator.model.agent import Asked
from orchestrator.model.effect import BuildCandidate, PublishPlan, StopRun, WakeAt
from orchestrator.model.event import ItemWithdrawn, LaneOverdue
from orchestrator.model.fact import (
    AgentReported,
    CancelAsked,
    DaemonStarted,
    GiveBackAsked,
    LaneLong,
    RetryDue,
    RunEnded,
)
from orchestrator.model.ids import Commit, PlanId, RunId, TaskId, attempt_id
from orchestrator.model.item import ItemKind
from orchestrator.model.plan import FileSet, RetryPolicy
from orchestrator.model.run import STATE_LANES, Lane, LaneLimits, TaskState
from orchestrator.wire import dump, load
from tests.fakes.world import CRASH, NOW, OK, Script, World, a_plan, a_task


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


class Waking(World):
    """Tells what has been too long."""

    def long(self) -> list[tuple[str, Lane]]:
        return [(event.task_id, event.lane) for event in self.of(LaneOverdue)]

    def notes(self) -> list[str]:
        return [item.title for item in self.inbox() if item.is_note]

    def waits_long(self) -> list[WakeAt]:
        return [wake for wake in self.wakes if isinstance(wake.fact, LaneLong)]


def doing(**more: Any) -> Waking:
    world = Waking(a_plan(a_task("one"), a_task("two"), **more))
    world.scripts["one"] = [Script(hangs=True)] * 3
    world.settle()
    return world


def for_review() -> Waking:
    world = Waking(a_plan(a_task("one"), protected=FileSet(include=("src/**",))))
    world.settle()
    return world


def merging() -> Waking:
    world = Waking(a_plan(a_task("one"), a_task("two")))
    world.hold = lambda effect: isinstance(effect, BuildCandidate)
    world.settle()
    return world


def blocked() -> Waking:
    world = Waking(a_plan(a_task("one", retry=RetryPolicy(retries=0, waits=(minutes(1),)))))
    world.scripts["one"] = [Script(exit=CRASH)]
    world.settle()
    return world


def asking() -> Waking:
    world = doing()
    asked = Asked(question_id="q", text="which?", options=("a", "b"))
    world.give(AgentReported(attempt_id=attempt_id(PlanId("p"), TaskId("one"), 1), report=asked, offset=1))
    return world


@pytest.mark.parametrize(
    ("world", "lane", "limit"),
    [
        pytest.param(doing, Lane.DOING, minutes(30), id="doing"),
        pytest.param(for_review, Lane.FOR_REVIEW, timedelta(hours=4), id="for_review"),
        pytest.param(merging, Lane.MERGING, minutes(30), id="merging"),
        pytest.param(blocked, Lane.BLOCKED, timedelta(hours=24), id="blocked, a person decides"),
        pytest.param(asking, Lane.BLOCKED, timedelta(hours=24), id="blocked, an agent asks"),
    ],
)
def test_a_task_past_the_limit_of_its_lane_is_told_once(
    world: Callable[[], Waking], lane: Lane, limit: timedelta
) -> None:
    at = world()
    assert lane_of(at.plan_run, at.task("one")) is lane
    at.later(limit - timedelta(seconds=1))
    assert at.long() == []
    at.later(timedelta(seconds=1))
    assert ("one", lane) in at.long()
    assert at.task("one").overdue_at == at.now
    assert task_view(at.state, at.plan_run, at.task("one"), 0).overdue_at == at.now
    at.later(limit * 5)
    assert at.long().count(("one", lane)) == 1


def test_a_task_without_an_open_item_gets_a_note_that_holds_nothing_and_goes_by_itself() -> None:
    world = doing().later(minutes(31))
    assert world.notes() == ["'one' has been in doing for 30m"]
    (note,) = world.inbox()
    assert (note.kind, note.trigger, note.waits) == (ItemKind.STUCK, "overdue", False)
    assert (world.task("one").state, world.task("one").item_id) == (TaskState.RUNNING, None)
    assert world.plan_run.leases, "nothing was stopped"
    world.give(RunEnded(run_id=RunId("p/one-1/agent"), exit=OK))
    world.settle()
    assert world.task("one").state is TaskState.LANDED
    assert world.notes() == []
    assert [event.reason for event in world.of(ItemWithdrawn)] == ["the task moved on"]
    assert world.task("one").overdue_at is None


@pytest.mark.parametrize("world", [for_review, blocked, asking])
def test_a_task_that_a_person_was_asked_about_gets_no_second_item_and_the_first_is_marked(
    world: Callable[[], Waking],
) -> None:
    at = world()
    (item,) = at.inbox()
    at.later(timedelta(hours=25))
    assert at.state.items[item.id].overdue_at is not None
    assert [one.id for one in at.inbox() if one.task_id == "one"] == [item.id]


@pytest.mark.parametrize("about", ["one", None], ids=["a task's conflict", "the target's conflict"])
def test_what_a_person_resolves_by_hand_for_long_marks_its_item_and_adds_none(about: str | None) -> None:
    world = Waking(a_plan(a_task("one")))
    world.conflicts[about] = [("src/one.py",)]
    if about is None:
        world.hold = lambda effect: isinstance(effect, PublishPlan)
        world.run()
        world.target = Commit("target-1")
        world.release_held()
    world.settle()
    world.answer_item("by_hand").settle()
    [before] = world.inbox()
    world.later(timedelta(hours=25))
    [item] = world.inbox()
    assert (item.id, item.overdue_at) == (before.id, NOW + timedelta(hours=24))
    assert world.notes() == []
    world.give(GiveBackAsked(item_id=item.id, by="me"))
    world.settle()
    assert [now.id for now in world.inbox()] == [item.id]


def test_a_note_that_was_seen_closes_and_does_not_come_back() -> None:
    world = doing().later(minutes(31))
    world.answer_item("leave")
    world.later(minutes(600))
    assert world.notes() == []
    assert world.task("one").state is TaskState.RUNNING
    assert world.long() == [("one", Lane.DOING)]


def test_time_in_which_the_agent_waited_for_a_person_does_not_count_as_doing() -> None:
    world = doing()
    world.later(minutes(20))
    asked = Asked(question_id="q", text="which?", options=("a", "b"))
    attempt = attempt_id(PlanId("p"), TaskId("one"), 1)
    world.give(AgentReported(attempt_id=attempt, report=asked, offset=1))
    assert lane_of(world.plan_run, world.task("one")) is Lane.BLOCKED
    world.later(minutes(120))
    world.hold = lambda effect: True  # the agent hears it and works on
    world.answer_item("a")
    assert lane_of(world.plan_run, world.task("one")) is Lane.DOING
    world.later(minutes(9))
    assert world.long() == []
    world.later(minutes(1))
    assert world.long() == [("one", Lane.DOING)], "twenty minutes before the question and ten after it"


def test_an_agent_that_is_stopped_while_it_waits_is_not_late_in_doing() -> None:
    world = asking()
    world.later(minutes(300))
    world.hold = lambda effect: isinstance(effect, StopRun)
    world.give(CancelAsked(task_id=TaskId("one"), by="me"))
    world.later(minutes(1))
    assert world.long() == []


def test_a_new_attempt_has_the_whole_time_again() -> None:
    world = doing().later(minutes(20))
    world.give(RunEnded(run_id=RunId("p/one-1/agent"), exit=CRASH))
    world.settle()
    world.later(minutes(2))
    assert world.task("one").attempts == 2
    world.later(minutes(28))
    assert world.long() == []
    world.later(minutes(3))
    assert world.long() == [("one", Lane.DOING)]


def test_the_queue_and_the_gate_are_one_lane() -> None:
    world = merging().later(minutes(20))
    first, second = sorted(("one", "two"), key=lambda name: world.task(name).state is TaskState.QUEUED)
    assert world.task(second).state is TaskState.QUEUED
    world.hold = lambda effect: isinstance(effect, BuildCandidate) and effect.candidate_id.endswith("~2")
    held, world.held = world.held, []
    world.todo.extend(held)
    world.settle()
    assert (world.task(first).state, world.task(second).state) == (TaskState.LANDED, TaskState.GATING)
    world.later(minutes(10))
    assert world.long() == [(second, Lane.MERGING)], "it came into the lane when it was queued"


def test_what_waits_behind_a_failed_task_is_not_told_beside_it() -> None:
    world = Waking(a_plan(a_task("one"), a_task("two", depends_on=(TaskId("one"),))))
    world.scripts["one"] = [Script(hangs=True)]
    world.settle()
    world.give(CancelAsked(task_id=TaskId("one"), by="me"))
    world.settle()
    assert lane_of(world.plan_run, world.task("two")) is Lane.BLOCKED
    world.later(timedelta(days=3))
    assert world.long() == []


def test_one_wake_up_for_each_stay_in_a_lane() -> None:
    world = doing()
    assert [(wake.fact.task_id, wake.at) for wake in world.waits_long() if isinstance(wake.fact, LaneLong)] == [
        ("one", NOW + minutes(30)), ("two", NOW + minutes(30)), ("two", NOW + minutes(30)),
    ]  # fmt: skip
    assert len({wake.key for wake in world.waits_long()}) == 3, "doing, and then merging"


def started(limits: LaneLimits) -> DaemonStarted:
    return DaemonStarted(pid=2, boot_id="c", version="0", limits=limits, quiet=minutes(10))


def test_after_a_restart_the_same_wake_ups_count_and_none_is_added() -> None:
    world = doing()
    before = len(world.wakes)
    world.state = rebuild(
        (n, at, event) for n, (at, event) in enumerate(zip(world.times, world.events, strict=True), 1)
    )
    world.give(started(LaneLimits()))
    assert len(world.wakes) == before
    world.later(minutes(30))
    assert world.long() == [("one", Lane.DOING)]


@pytest.mark.parametrize(
    ("limit", "told_after"),
    [
        pytest.param(minutes(12), 2, id="a lower limit counts for what runs"),
        pytest.param(minutes(5), 0, id="a limit that has passed already"),
        pytest.param(minutes(90), 80, id="a higher one puts it off"),
    ],
)
def test_a_daemon_with_other_limits_looks_again_at_what_is_in_a_lane(limit: timedelta, told_after: int) -> None:
    world = doing().later(minutes(10))
    world.give(started(LaneLimits(doing=limit)))
    assert isinstance(world, Waking)
    world.later(minutes(told_after - 1) if told_after else timedelta())
    assert bool(world.long()) is (told_after == 0)
    world.later(minutes(1))
    assert world.long() == [("one", Lane.DOING)]
    world.later(minutes(600))
    assert world.long() == [("one", Lane.DOING)], "the wake-up for the old limit tells it no second time"


def test_a_note_alone_is_nothing_that_waits_for_a_person() -> None:
    world = doing().later(minutes(31))
    reviewed_by_an_agent = replace(world.plan_run, leases={})
    assert world.inbox()
    assert not is_blocked(world.state, reviewed_by_an_agent)


def test_a_wake_up_for_an_earlier_stay_changes_nothing() -> None:
    world = doing()
    old = world.waits_long()[0]
    world.give(RunEnded(run_id=RunId("p/one-1/agent"), exit=CRASH))
    world.settle()
    world.now += minutes(31)
    before = world.state
    world.give(old.fact)
    assert world.state == before


def test_a_plan_that_is_over_is_told_nothing_about() -> None:
    world = doing()
    world.give(CancelAsked(task_id=None, by="me"))
    world.settle()
    world.later(timedelta(days=2))
    assert world.long() == []
    assert world.inbox() == ()


def test_an_open_note_does_not_make_a_plan_look_blocked_or_an_answered_question_stay_open() -> None:
    world = doing().later(minutes(31))
    asked = Asked(question_id="q", text="which?", options=("a", "b"), waits=False)
    world.give(AgentReported(attempt_id=attempt_id(PlanId("p"), TaskId("one"), 1), report=asked, offset=1))
    world.hold = lambda effect: True
    world.answer_item("a", item=world.task("one").item_id)
    assert world.notes()
    assert world.task("one").item_id is None


@pytest.mark.parametrize("fact", [
    LaneLong(plan_id=PlanId("p"), task_id=TaskId("t"), lane=Lane.MERGING, since=NOW),
    RetryDue(plan_id=PlanId("p"), task_id=TaskId("t")),
], ids=lambda fact: type(fact).__name__)  # fmt: skip
def test_a_wake_up_comes_back_from_the_ledger_as_it_was(fact: LaneLong | RetryDue) -> None:
    wake = WakeAt(at=NOW, fact=fact)
    assert load(WakeAt, dump(wake)) == wake


def test_every_state_has_a_lane_and_every_watched_lane_a_limit() -> None:
    assert set(STATE_LANES) == set(TaskState)
    assert {lane for lane in Lane if LaneLimits().of(lane)} == {
        Lane.DOING, Lane.FOR_REVIEW, Lane.MERGING, Lane.BLOCKED,
    }  # fmt: skip
