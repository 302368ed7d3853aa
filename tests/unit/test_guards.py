"""Limits that protect: room on the disk, starts after failures, attempts, and errors of our own."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.guards import (
    at_cap,
    general_hold,
    is_short_of_descriptors,
    is_short_of_disk,
    next_spawn_at,
    size_text,
    spawns_left,
)
from orchestrator.core.lifecycle import may_exit
from orchestrator.core.publish import is_blocked
from orchestrator.core.report import plan_view, why_lines
from orchestrator.model.attempt import ExitWhy, FailureKind, RunExit
from orchestrator.model.effect import BuildCandidate, Effect, LandCandidate, PublishPlan, StartRun
from orchestrator.model.errors import RefusedError
from orchestrator.model.event import (
    AttemptStarted,
    BackoffStarted,
    DispatchFreed,
    DispatchHeld,
    Event,
    RunRequested,
    SentBack,
    TaskReopened,
)
from orchestrator.model.fact import (
    AnswerGiven,
    CancelAsked,
    DaemonStarted,
    Fact,
    FaultSeen,
    PauseAsked,
    PressureSeen,
    PublishAsked,
    ResumeAsked,
    RetryAsked,
    RunEnded,
    StopAsked,
    UndoAsked,
)
from orchestrator.model.guard import FAULTS, Guards, HoldReason, Spawns
from orchestrator.model.ids import TaskId
from orchestrator.model.item import ItemKind
from orchestrator.model.plan import Plan, PublishMode, RetryPolicy
from orchestrator.model.run import PlanPhase, State, TaskState
from tests.fakes.world import CRASH, NOW, Script, World, a_plan, a_task

GiB = 1024**3
NEVER = RunExit(why=ExitWhy.NEVER_STARTED)
AT_ONCE = RetryPolicy(retries=1000, waits=(timedelta(milliseconds=10),))


class Guarded(World):
    """A world whose daemon has these limits."""

    def __init__(self, plan: Plan, **limits: int) -> None:
        self.limits = Guards(**limits)
        super().__init__(plan)

    def give(self, fact: Fact, chance: float = 0.5) -> None:
        if isinstance(fact, DaemonStarted):
            fact = DaemonStarted(pid=1, boot_id="b", version="0", quiet=timedelta(minutes=10), guards=self.limits)
        super().give(fact, chance)

    def at(self, kind: type) -> list[tuple[datetime, Event]]:
        return [(at, e) for at, e in zip(self.times, self.events, strict=True) if isinstance(e, kind)]


def fault(digest: str = "one", owner: str | None = None) -> FaultSeen:
    return FaultSeen(where="a timer", error="RuntimeError: no", digest=digest, tail="File x.py, line 1", owner=owner)


# ---- the machine ----


@pytest.mark.parametrize(
    ("free", "total", "held", "short"),
    [
        pytest.param(3 * GiB, 100 * GiB, False, False, id="more than the floor"),
        pytest.param(2 * GiB, 100 * GiB, False, False, id="just the floor"),
        pytest.param(2 * GiB - 1, 100 * GiB, False, True, id="below the floor"),
        pytest.param(int(2.1 * GiB), 100 * GiB, True, True, id="held, and not yet a tenth above"),
        pytest.param(int(2.3 * GiB), 100 * GiB, True, False, id="held, and a tenth above"),
        pytest.param(1 * GiB, 10 * GiB, False, False, id="a small disk needs five in a hundred"),
        pytest.param(GiB // 4, 10 * GiB, False, True, id="a small disk with less"),
        pytest.param(0, 0, False, False, id="a file system that tells nothing"),
    ],
)
def test_a_disk_is_short_of_room(free: int, total: int, held: bool, short: bool) -> None:
    assert is_short_of_disk(free, total, 2 * GiB, held=held) is short


@pytest.mark.parametrize(
    ("used", "limit", "held", "short"),
    [
        pytest.param(900, 1024, False, False, id="enough"),
        pytest.param(961, 1024, False, True, id="fewer than 64"),
        pytest.param(940, 1024, True, True, id="held, and just above"),
        pytest.param(900, 1024, True, False, id="held, and half as many again"),
        pytest.param(57, 64, False, False, id="a low limit has a floor of a tenth"),
        pytest.param(58, 64, False, True, id="a low limit, reached"),
    ],
)
def test_a_daemon_is_short_of_open_files(used: int, limit: int, held: bool, short: bool) -> None:
    assert is_short_of_descriptors(used, limit, held=held) is short


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (2048, "2 KiB"), (8 * 1024**2, "8.0 MiB"), (2 * GiB, "2.0 GiB"), (3000 * GiB, "2.9 TiB")],
)
def test_sizes_read_as_people_write_them(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize("reason", [HoldReason.DISK, HoldReason.DESCRIPTORS, HoldReason.PROCESSES])
def test_nothing_is_started_while_the_machine_is_short_and_what_runs_is_left_alone(reason: HoldReason) -> None:
    world = World(a_plan(a_task("one"), a_task("two"), parallel=1))
    world.scripts["one"] = [Script(hangs=True)]
    world.settle()
    world.give(PressureSeen(reason=reason, detail="only 1 of 2 is free"))
    world.give(PressureSeen(reason=reason, detail="only 0 of 2 are free"))
    assert len(world.of(DispatchHeld)) == 1, "it is told once"
    assert world.states() == {"one": TaskState.RUNNING, "two": TaskState.PENDING}
    world.give(RunEnded(run_id=world.plan_run.attempts[world.task("one").attempt_id].run_id, exit=CRASH))  # type: ignore[index, arg-type]
    world.settle()
    assert world.task("two").state is TaskState.PENDING
    said = " ".join(why_lines(world.state, world.plan_run, world.task("two")))
    assert "only 1 of 2 is free" in said
    assert plan_view(world.state, world.plan_run).holds[0].reason == reason
    assert not is_blocked(world.state, world.plan_run), "nobody has to answer anything"
    world.give(PressureSeen(reason=reason, detail=None))
    world.settle()
    assert world.task("two").state is TaskState.LANDED
    assert not world.state.holds


def test_a_machine_that_refused_a_process_is_tried_again_after_a_while_by_itself() -> None:
    world = World(a_plan(a_task("one"), a_task("two", depends_on=(TaskId("one"),))))
    world.answer(world.todo.popleft())
    world.give(PressureSeen(reason=HoldReason.PROCESSES, detail="too many processes"))
    world.settle()
    assert world.states() == {"one": TaskState.LANDED, "two": TaskState.PENDING}
    world.run()
    assert world.states() == {"one": TaskState.LANDED, "two": TaskState.LANDED}
    assert world.now - NOW == timedelta(seconds=30)


def test_without_room_no_candidate_is_begun_and_a_stopping_daemon_does_not_wait_for_it() -> None:
    world = World(a_plan(a_task("one")))
    world.answer(world.todo.popleft())
    world.give(PressureSeen(reason=HoldReason.DISK, detail="full"))
    assert world.task("one").state is TaskState.RUNNING, "it was claimed before"
    world.settle()
    assert world.task("one").state is TaskState.QUEUED
    assert "full" in " ".join(why_lines(world.state, world.plan_run, world.task("one")))
    world.give(StopAsked(by="me", now=False))
    assert may_exit(world.state)
    world.give(DaemonStarted(pid=2, boot_id="b", version="0", quiet=timedelta(minutes=10)))
    world.settle()
    assert world.task("one").state is TaskState.QUEUED, "a hold survives a restart until it is looked at anew"
    world.give(PressureSeen(reason=HoldReason.DISK, detail=None))
    world.settle()
    assert world.task("one").state is TaskState.LANDED


# ---- starts that follow a failure ----


def test_a_plan_of_twenty_healthy_tasks_is_never_slowed() -> None:
    world = World(a_plan(*(a_task(f"t{n}") for n in range(20)))).run()
    assert world.now == NOW
    assert not world.of(DispatchHeld)


def test_an_agent_that_always_crashes_is_started_at_the_rate_after_a_burst() -> None:
    world = Guarded(a_plan(a_task("bad", retry=AT_ONCE)), attempts=30)
    world.scripts["bad"] = [Script(exit=CRASH)] * 40
    world.run()
    starts = [at for at, event in world.at(AttemptStarted)]
    assert len(starts) == 30
    again = starts[1:]
    for first, at in enumerate(again):
        within = [other for other in again[first:] if other - at < timedelta(minutes=1)]
        assert len(within) <= 4 + 6, f"{len(within)} within a minute"
    assert again[3] - starts[0] < timedelta(seconds=1), "a burst of four is not slowed"
    assert timedelta(minutes=3) < again[-1] - again[0] < timedelta(minutes=5)


def test_work_that_has_not_failed_goes_on_while_failed_work_waits() -> None:
    tasks = [a_task("bad", retry=AT_ONCE), *(a_task(f"t{n}") for n in range(12))]
    world = Guarded(a_plan(*tasks, parallel=2))
    world.scripts["bad"] = [Script(exit=CRASH)] * 6 + [Script()]
    world.run()
    assert set(world.states().values()) == {TaskState.LANDED}
    held_at = world.at(DispatchHeld)[0][0]
    starts = {e.task_id: at for at, e in world.at(AttemptStarted) if isinstance(e, AttemptStarted)}
    assert all(starts[TaskId(f"t{n}")] <= held_at for n in range(12))
    assert len(world.of(DispatchHeld)) == len(world.of(DispatchFreed)) > 0


def test_why_says_that_failed_work_waits_and_until_when() -> None:
    world = Guarded(a_plan(a_task("bad", retry=AT_ONCE), a_task("next", depends_on=(TaskId("bad"),))), spawn_burst=1)
    world.scripts["bad"] = [Script(exit=CRASH)] * 9
    while not world.of(DispatchHeld):
        world.settle()
        world._pass_time()
    assert "at most 6 times a minute" in " ".join(why_lines(world.state, world.plan_run, world.task("bad")))
    (hold,) = plan_view(world.state, world.plan_run).holds
    assert hold.until is not None
    assert timedelta(seconds=9) < hold.until - world.now <= timedelta(seconds=10)


def test_a_failure_of_more_than_a_minute_ago_does_not_count() -> None:
    waits = RetryPolicy(retries=8, waits=(timedelta(minutes=2),))
    world = Guarded(a_plan(a_task("bad", retry=waits)), spawn_burst=1, spawn_rate=1)
    world.scripts["bad"] = [Script(exit=CRASH)] * 8
    world.run()
    assert not world.of(DispatchHeld)
    assert world.task("bad").state is TaskState.LANDED


def test_a_retry_that_a_person_asks_for_is_never_held_back() -> None:
    no_retry = RetryPolicy(retries=0, waits=(timedelta(minutes=1),))
    world = Guarded(a_plan(a_task("bad", retry=no_retry)), spawn_burst=1, spawn_rate=1)
    world.scripts["bad"] = [Script(exit=CRASH)] * 5
    world.settle()
    for _ in range(5):
        world.answer_item("retry").settle()
    assert not world.of(DispatchHeld)


@given(
    rate=st.integers(1, 600),
    burst=st.integers(1, 20),
    waits=st.lists(st.integers(0, 90_000_000), min_size=1, max_size=60),
)
def test_the_bucket_never_gives_more_than_burst_and_rate_allow(rate: int, burst: int, waits: list[int]) -> None:
    guards, spawns, now = Guards(spawn_rate=rate, spawn_burst=burst), None, NOW
    given_at: list[datetime] = []
    for wait in waits:
        now += timedelta(microseconds=wait)
        left = spawns_left(guards, spawns, now)
        if left < 1:
            due = next_spawn_at(guards, left, now)
            assert spawns_left(guards, spawns, due) > 0.999
            continue
        spawns = Spawns(left=left - 1, at=now)
        given_at.append(now)
    for first, at in enumerate(given_at):
        for number, other in enumerate(given_at[first:], start=1):
            assert number <= burst + rate * (other - at).total_seconds() / 60 + 1e-6


# ---- attempts ----


def test_at_the_cap_a_person_is_asked_and_their_retry_begins_anew() -> None:
    world = Guarded(a_plan(a_task("bad", retry=AT_ONCE)), attempts=3)
    world.scripts["bad"] = [Script(exit=CRASH)] * 5
    world.run()
    (item,) = world.inbox()
    assert (item.kind, item.trigger) == (ItemKind.AGENT_FAILED, "attempt_cap")
    assert item.title == "'bad' was started 3 times and has not landed"
    assert "protect.attempts" in item.context
    assert "exit status 1" in item.context
    assert world.task("bad").attempts == 3
    world.answer_item("retry").run()
    assert world.task("bad").state is TaskState.LANDED
    assert world.task("bad").attempts == 6


def test_a_run_that_never_starts_is_not_asked_for_for_ever() -> None:
    class NeverStarts(Guarded):
        def fact_for(self, effect: Effect) -> Fact | None:
            return (
                RunEnded(run_id=effect.run_id, exit=NEVER) if isinstance(effect, StartRun) else super().fact_for(effect)
            )

    world = NeverStarts(a_plan(a_task("one")), attempts=5)
    world.run()
    assert len(world.of(RunRequested)) == 5
    (item,) = world.inbox()
    assert item.trigger == "attempt_cap"
    assert "never started" in item.context


def test_the_cap_may_be_one() -> None:
    world = Guarded(a_plan(a_task("bad"), a_task("red")), attempts=1)
    world.scripts["bad"] = [Script(exit=CRASH)]
    world.check = lambda task, name: CRASH if task == "red" else Script().exit
    world.run()
    assert {item.trigger for item in world.inbox()} == {"attempt_cap"}
    assert [world.task(name).attempts for name in ("bad", "red")] == [1, 1]


WAYS = ["good", "crash", "never", "outside", "no_change", "red", "lost_check", "ask"]


class Random(Guarded):
    """Every attempt goes as the next word of its task says; when there are no more, as the last."""

    def __init__(self, plan: Plan, ways: dict[str, list[str]], **limits: int) -> None:
        self.ways = ways
        self.turn: Counter[str] = Counter()
        super().__init__(plan, **limits)

    def way(self, task: str) -> str:
        ways = self.ways[task]
        return ways[min(self.turn[task], len(ways) - 1)]

    def fact_for(self, effect: Effect) -> Fact | None:
        if isinstance(effect, StartRun):
            task = effect.run_id.split("/")[1].rsplit("-", 1)[0]
            if task in self.ways:
                self.turn[task] += 1
                if self.way(task) == "never":
                    return RunEnded(run_id=effect.run_id, exit=NEVER)
        return super().fact_for(effect)

    def script(self, attempt: str) -> Script:  # type: ignore[override]
        task = attempt.split("/")[1].rsplit("-", 1)[0]
        match self.way(task):
            case "crash":
                return Script(exit=CRASH)
            case "outside":
                return Script(changed=("elsewhere.py",))
            case "no_change":
                return Script(changed=())
            case _:
                return Script()


@settings(max_examples=80, deadline=None)
@given(
    ways=st.lists(st.lists(st.sampled_from(WAYS), min_size=1, max_size=12), min_size=1, max_size=3),
    cap=st.integers(1, 8),
    retries=st.integers(0, 1000),
    answers=st.lists(st.sampled_from(["retry", "give_up", "cancel"]), max_size=4),
)
def test_nothing_starts_a_task_more_often_than_the_cap_without_a_person(
    ways: list[list[str]], cap: int, retries: int, answers: list[str]
) -> None:
    retry = RetryPolicy(retries=retries, waits=(timedelta(milliseconds=10),))
    tasks = [a_task(f"t{n}", retry=retry) for n in range(len(ways))]
    world = Random(a_plan(*tasks), {f"t{n}": way for n, way in enumerate(ways)}, attempts=cap)

    def check(task: str | None, name: str) -> RunExit:
        way = world.way(task or "") if task in world.ways else "good"
        return {"red": CRASH, "lost_check": RunExit(why=ExitWhy.LOST)}.get(way, Script().exit)

    world.check = check
    world.run()
    for choice in answers:
        items = [item for item in world.inbox() if choice in {option.id for option in item.options}]
        if items:
            world.answer_item(choice, item=items[0].id).run()
    starts: Counter[str] = Counter()
    for event in world.events:
        if isinstance(event, TaskReopened) or (isinstance(event, SentBack) and event.failure is None):
            starts[event.task_id] = 0
        elif isinstance(event, AttemptStarted):
            starts[event.task_id] += 1
        elif isinstance(event, RunRequested) and event.try_number > 1 and "/~" not in event.owner:
            starts[event.owner.split("/")[1].rsplit("-", 1)[0]] += 1
        assert all(number <= cap for number in starts.values()), starts
    for task in world.plan_run.tasks.values():
        assert task.state not in {TaskState.PENDING, TaskState.RUNNING, TaskState.BACKOFF}, "it came to an end"


# ---- errors of our own ----


def in_safe_mode(world: World) -> World:
    for _ in range(FAULTS):
        world.give(fault())
    return world


def test_three_equal_errors_within_ten_minutes_are_safe_mode_and_others_are_not() -> None:
    world = World(a_plan(a_task("one")))
    for digest in ("one", "two", "one", "three"):
        world.give(fault(digest))
    assert not world.state.holds
    world.now += timedelta(minutes=11)
    world.give(fault("one"))
    world.give(fault("one"))
    assert not world.state.holds, "the earlier ones are too old"
    world.give(fault("one"))
    assert HoldReason.SAFE_MODE in world.state.holds
    world.give(fault("one"))
    assert len(world.of(DispatchHeld)) == 1


def test_errors_count_over_restarts() -> None:
    world = World(a_plan(a_task("one")))
    for pid in (2, 3):
        world.give(fault())
        world.give(DaemonStarted(pid=pid, boot_id="b", version="0", quiet=timedelta(minutes=10)))
    world.give(fault())
    assert HoldReason.SAFE_MODE in world.state.holds
    world.give(DaemonStarted(pid=4, boot_id="b", version="0", quiet=timedelta(minutes=10)))
    assert HoldReason.SAFE_MODE in world.state.holds, "only a person ends it"


def test_a_daemon_that_dies_by_signals_again_and_again_is_never_in_safe_mode() -> None:
    world = World(a_plan(a_task("one")))
    for pid in range(2, 30):
        world.give(DaemonStarted(pid=pid, boot_id="b", version="0", quiet=timedelta(minutes=10)))
    assert not world.state.holds


def test_in_safe_mode_nothing_is_started_landed_or_published_and_a_person_ends_it() -> None:
    world = World(a_plan(a_task("one"), a_task("two", depends_on=(TaskId("one"),))))
    world.hold = lambda effect: isinstance(effect, BuildCandidate)
    world.settle()
    assert world.task("one").state is TaskState.GATING
    in_safe_mode(world)
    assert world.task("one").state is TaskState.QUEUED
    world.release_held().settle()
    assert not any(isinstance(e, LandCandidate | PublishPlan) for e in world.todo)
    assert world.states() == {"one": TaskState.QUEUED, "two": TaskState.PENDING}
    (item,) = world.inbox()
    assert (item.kind, item.trigger, item.task_id) == (ItemKind.STUCK, "safe_mode", None)
    assert "File x.py, line 1" in item.context
    assert "orchestrator resume" in item.context
    assert is_blocked(world.state, world.plan_run), "nothing moves without a person"
    assert "safe mode" in " ".join(why_lines(world.state, world.plan_run, world.task("two")))
    world.give(ResumeAsked(by="me"))
    assert not world.inbox()
    assert world.of(DispatchFreed)[-1].by == "me"
    world.run()
    assert world.plan_run.phase is PlanPhase.PUBLISHED


def test_what_lands_this_very_moment_is_let_finish_and_no_more_follows() -> None:
    world = World(a_plan(a_task("one")))
    world.hold = lambda effect: isinstance(effect, LandCandidate)
    world.settle()
    in_safe_mode(world)
    world.release_held().run()
    assert world.task("one").state is TaskState.LANDED
    assert world.plan_run.phase is PlanPhase.RUNNING, "it is not published"
    world.answer_item("retry").run()
    assert world.plan_run.phase is PlanPhase.PUBLISHED


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(RetryAsked(task_id=TaskId("bad"), by="me"), id="retry"),
        pytest.param(PublishAsked(by="me"), id="publish"),
        pytest.param(UndoAsked(task_id=TaskId("good"), by="me"), id="undo"),
    ],
)
def test_in_safe_mode_what_starts_or_moves_something_is_refused(asked: Fact) -> None:
    world = World(a_plan(a_task("good"), a_task("bad"), publish=PublishMode.MANUAL))
    world.scripts["bad"] = [Script(exit=CRASH)] * 9
    in_safe_mode(world.run())
    before = world.state
    with pytest.raises(RefusedError, match="safe mode"):
        world.give(asked)
    assert world.state == before


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(PauseAsked(by="me"), id="pause"),
        pytest.param(CancelAsked(task_id=TaskId("bad"), by="me"), id="cancel a task"),
        pytest.param(CancelAsked(task_id=None, by="me"), id="cancel the plan"),
        pytest.param(StopAsked(by="me", now=True), id="stop"),
        pytest.param(None, id="answer"),
    ],
)
def test_in_safe_mode_what_ends_something_works(asked: Fact | None) -> None:
    world = World(a_plan(a_task("bad"), a_task("runs")))
    world.scripts |= {"bad": [Script(exit=CRASH)] * 9, "runs": [Script(hangs=True)]}
    in_safe_mode(world.run())
    before = len(world.events)
    item = next(item for item in world.inbox() if item.task_id == "bad")
    world.give(asked or AnswerGiven(item_id=item.id, choice="give_up", text="", by="me"))
    assert len(world.events) > before
    world.settle()


def test_safe_mode_can_be_ended_when_the_plan_is_over_or_was_never_there() -> None:
    world = World(a_plan(a_task("one")))
    in_safe_mode(world.run())
    world.give(ResumeAsked(by="me"))
    assert not world.state.holds
    assert not world.inbox()
    state = State()
    from orchestrator.core.lifecycle import decide

    for _ in range(FAULTS):
        state = decide(state, fault(), NOW, 0.5).state
    assert general_hold(state) is not None
    assert general_hold(decide(state, ResumeAsked(by="me"), NOW, 0.5).state) is None


@pytest.mark.parametrize(
    "owner",
    [
        pytest.param("p/one-1", id="attempt"),
        pytest.param("p/one-1/agent", id="run"),
        pytest.param("p/~1", id="candidate"),
        pytest.param("p/~1/check-tests", id="check"),
    ],
)
def test_an_error_about_a_task_is_told_once_and_holds_nothing(owner: str) -> None:
    world = World(a_plan(a_task("one")))
    world.hold = lambda effect: isinstance(effect, LandCandidate)
    world.settle()
    world.give(fault("x", owner))
    world.give(fault("y", owner))
    (item,) = world.inbox()
    assert (item.kind, item.trigger, item.task_id, item.is_note) == (ItemKind.STUCK, "fault", "one", True)
    world.answer_item("leave").release_held().run()
    assert world.task("one").state is TaskState.LANDED


@pytest.mark.parametrize("owner", [None, "", "p", "q/one-1", "p/other-1", "p/~9", "p/~9/check", "nonsense//"])
def test_an_error_about_nothing_known_is_only_recorded(owner: str | None) -> None:
    world = World(a_plan(a_task("one")))
    world.give(fault("x", owner))
    assert not world.inbox()
    assert len(world.state.faults) == 1


def test_at_cap_counts_starts() -> None:
    world = World(a_plan(a_task("one"))).run()
    assert not at_cap(Guards(attempts=2), world.task("one"))
    assert at_cap(Guards(attempts=1), world.task("one"))
    assert FailureKind.CRASH not in [e.failure for e in world.of(BackoffStarted)]
