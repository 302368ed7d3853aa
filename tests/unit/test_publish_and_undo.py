"""When the target moves, and how landed work is taken back, told as stories in a world of values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.core.gate import candidate_message
from orchestrator.core.lifecycle import may_exit
from orchestrator.core.publish import is_blocked
from orchestrator.core.report import lane_of, plan_view, task_view, touched_tasks
from orchestrator.core.schedule import waits_for
from orchestrator.core.state import rebuild
from orchestrator.engine.projections import changed_rows
from orchestrator.model.attempt import RunExit
from orchestrator.model.effect import BuildCandidate, LandCandidate, PublishPlan, StartRun
from orchestrator.model.errors import ConfirmationNeeded, NothingError, RefusedError, UsageError
from orchestrator.model.event import (
    Landed,
    LeaseGranted,
    PlanTakenUp,
    PublishBegan,
    Published,
    PublishHeld,
    Synced,
    TaskReopened,
    UndoDropped,
    Undone,
    UndoRequested,
)
from orchestrator.model.fact import (
    CancelAsked,
    CandidateFailed,
    DaemonStarted,
    EffectFailed,
    HandInAsked,
    LandingRefused,
    PauseAsked,
    PublishAsked,
    ResumeAsked,
    RetryAsked,
    StopAsked,
    UndoAsked,
)
from orchestrator.model.ids import CandidateId, Commit, PlanId, TaskId
from orchestrator.model.item import ItemKind
from orchestrator.model.plan import Check, PublishMode
from orchestrator.model.run import Lane, PlanPhase, TaskState
from tests.fakes.world import CRASH, OK, Script, World, a_plan, a_task

EACH, END, MANUAL = PublishMode.EACH, PublishMode.END, PublishMode.MANUAL


def chain(mode: PublishMode = END, count: int = 3) -> World:
    """Tasks t0, t1, ... where each depends on the one before."""
    tasks = [a_task(f"t{n}", depends_on=(TaskId(f"t{n - 1}"),) if n else ()) for n in range(count)]
    return World(a_plan(*tasks, publish=mode))


def undo(world: World, task: str, *, reason: str = "", accepted: bool = True) -> World:
    world.give(UndoAsked(task_id=TaskId(task), by="me", reason=reason, accepted=accepted))
    return world


def retry(world: World, task: str) -> World:
    world.give(RetryAsked(task_id=TaskId(task), by="me"))
    return world


def commits(world: World, kind: type) -> list[str]:
    return [event.commit for event in world.of(kind)]


# ---- publish: each ----


def test_each_landing_moves_the_target_before_the_next_one_is_at_the_gate() -> None:
    world = chain(EACH).run()
    assert commits(world, Published) == commits(world, Landed)
    order = [e for e in world.events if isinstance(e, Landed | Published)]
    assert [type(e) for e in order] == [Landed, Published] * 3
    assert [e.final for e in world.of(Published)] == [False, False, True]
    assert world.plan_run.phase is PlanPhase.PUBLISHED
    assert world.inbox() == ()


def test_a_refused_publish_is_asked_about_once_and_landing_goes_on() -> None:
    world = chain(EACH)
    world.refuse_publish = ["src/t0.py would be overwritten"] * 9
    world.run()
    assert [item.kind for item in world.inbox()] == [ItemKind.PUBLISH_REFUSED]
    assert len(world.of(Landed)) == 3
    assert len(world.of(PublishBegan)) == 1, "nothing publishes by itself while a person is asked"
    assert world.target == "target-0"
    assert is_blocked(world.state, world.plan_run)


def test_a_file_in_the_way_that_is_gone_lets_everything_be_published() -> None:
    world = chain(EACH)
    world.refuse_publish = ["src/t0.py would be overwritten"]
    world.run().answer_item("retry").run()
    assert world.target == world.plan_run.tip == commits(world, Landed)[-1]
    assert world.plan_run.phase is PlanPhase.PUBLISHED


def test_a_retry_in_the_middle_goes_on_with_each() -> None:
    world = chain(EACH)
    world.refuse_publish = ["dirty"]
    world.hold = lambda effect: isinstance(effect, StartRun) and effect.run_id.startswith("p/t1-1/")
    world.run()
    assert world.inbox()[0].kind is ItemKind.PUBLISH_REFUSED
    world.answer_item("retry").run()
    assert commits(world, Published) == commits(world, Landed)[:1]
    world.release_held().run()
    assert commits(world, Published) == commits(world, Landed)


@pytest.mark.parametrize("by_hand", [False, True])
def test_left_as_it_is_nothing_publishes_by_itself_until_it_is_said(by_hand: bool) -> None:
    world = chain(EACH)
    world.refuse_publish = ["dirty"]
    world.hold = lambda effect: isinstance(effect, StartRun) and effect.run_id.startswith("p/t1-1/")
    world.run().answer_item("leave").run()
    if by_hand:
        world.give(PublishAsked(by="me"))
        world.run()
        assert world.target == commits(world, Landed)[0]
    world.release_held().run()
    assert world.inbox() == ()
    assert world.plan_run.phase is (PlanPhase.PUBLISHED if by_hand else PlanPhase.FINISHED)
    assert (world.target == world.plan_run.tip) is by_hand


def test_each_takes_a_moved_target_in_through_the_gate_first() -> None:
    world = chain(EACH, 1)
    world.hold = lambda effect: isinstance(effect, PublishPlan)
    world.run()
    world.target = Commit("theirs")
    world.release_held().run()
    assert [type(e) for e in world.events if isinstance(e, Landed | Synced | Published)] == [Landed, Synced, Published]


def test_each_holds_while_the_target_conflicts_and_goes_on_when_it_is_resolved() -> None:
    world = chain(EACH)
    world.conflicts[None] = [("a.py",)]
    world.target = Commit("theirs")
    world.run()
    assert [item.trigger for item in world.inbox()] == ["target_moved"]
    assert len(world.of(Landed)) == 3
    assert not world.of(Published)
    world.answer_item("send_back").run()
    assert world.plan_run.phase is PlanPhase.PUBLISHED
    assert world.target == world.plan_run.tip


def test_each_with_a_task_that_failed_has_nothing_left_to_ask() -> None:
    world = World(a_plan(a_task("one"), a_task("two"), publish=EACH))
    world.scripts["two"] = [Script(exit=CRASH)] * 4
    world.run().answer_item("give_up").run()
    assert world.plan_run.phase is PlanPhase.PUBLISHED
    assert world.inbox() == ()
    retry(world, "two").run()
    assert world.states() == {"one": TaskState.LANDED, "two": TaskState.LANDED}
    assert world.target == world.plan_run.tip


def test_each_publishes_nothing_when_nothing_landed() -> None:
    world = World(a_plan(a_task("one", files=[]), publish=EACH))
    world.scripts["one"] = [Script(changed=())]
    world.run()
    assert world.plan_run.phase is PlanPhase.FINISHED
    assert not world.of(PublishBegan)


# ---- publish by hand ----


@pytest.mark.parametrize("mode", [END, MANUAL])
@pytest.mark.parametrize("paused", [False, True])
def test_what_has_landed_so_far_is_published_in_the_middle(mode: PublishMode, paused: bool) -> None:
    world = chain(mode)
    world.hold = lambda effect: isinstance(effect, StartRun) and effect.run_id.startswith("p/t1-1/")
    world.run()
    if paused:
        world.give(PauseAsked(by="me"))
    world.give(PublishAsked(by="me"))
    world.run()
    assert world.target == commits(world, Landed)[0]
    assert world.plan_run.phase is (PlanPhase.PAUSED if paused else PlanPhase.RUNNING)
    with pytest.raises(NothingError, match="published already"):
        world.give(PublishAsked(by="me"))
    if paused:
        world.give(ResumeAsked(by="me"))
    world.release_held().run()
    assert world.plan_run.phase is (PlanPhase.PUBLISHED if mode is END else PlanPhase.FINISHED)


def test_a_target_that_moved_is_taken_in_even_while_the_plan_is_paused() -> None:
    world = chain(MANUAL)
    world.hold = lambda effect: isinstance(effect, StartRun) and effect.run_id.startswith("p/t1-1/")
    world.run()
    world.give(PauseAsked(by="me"))
    world.target = Commit("theirs")
    world.give(PublishAsked(by="me"))
    world.run()
    assert [e.target for e in world.of(Synced)] == ["theirs"]
    assert world.target == world.plan_run.tip
    assert world.plan_run.phase is PlanPhase.PAUSED


def test_publish_waits_for_the_candidate_at_the_gate_and_takes_it_along() -> None:
    world = chain(MANUAL)
    world.hold = lambda effect: isinstance(effect, LandCandidate) and effect.candidate_id == "p/~2"
    world.run()
    world.give(PublishAsked(by="me"))
    world.run()
    assert not world.of(PublishBegan)
    world.hold = lambda effect: isinstance(effect, StartRun) and effect.run_id.startswith("p/t2-1/")
    held, world.held = world.held, []
    world.todo.extend(held)
    world.run()
    assert commits(world, Published) == commits(world, Landed)[1:2]


def test_publish_is_refused_with_the_reason() -> None:
    world = chain(MANUAL)
    with pytest.raises(NothingError, match="nothing has landed yet"):
        world.give(PublishAsked(by="me"))
    world.hold = lambda effect: isinstance(effect, StartRun) and effect.run_id.startswith("p/t1-1/")
    world.run()
    world.give(CancelAsked(task_id=None, by="me"))
    with pytest.raises(RefusedError, match="was cancelled") as refused:
        world.give(PublishAsked(by="me"))
    assert "git merge orchestrator/p" in refused.value.fix


def test_a_machine_fault_in_the_inbox_is_not_swept_away_by_publish() -> None:
    world = chain(MANUAL, 1).run()
    world.give(EffectFailed(key="p/mirror/x", detail="disk"))
    world.give(PublishAsked(by="me"))
    assert [item.trigger for item in world.inbox()] == ["effect"]


# ---- undo ----


def test_an_undone_task_is_taken_back_by_a_tested_commit_and_cancelled() -> None:
    world = chain().run()
    tip = world.plan_run.tip
    undo(world, "t2", reason="slow").run()
    [undone] = world.of(Undone)
    assert (undone.undone, undone.by, undone.reason) == (commits(world, Landed)[2], "me", "slow")
    task = world.task("t2")
    assert (task.state, task.reason, task.landed_commit) == (TaskState.CANCELLED, "undone: slow", None)
    assert lane_of(world.plan_run, task) is Lane.CANCELLED
    assert world.plan_run.tip == undone.commit != tip
    assert not task.holds
    names = world.names()
    assert names.index("undo_requested") < len(names) - names[::-1].index("gate_passed") <= names.index("undone")
    assert rebuild(zip(range(1, 10**6), world.times, world.events, strict=False)) == world.state


@pytest.mark.parametrize(
    ("mode", "moves"), [pytest.param(END, True), pytest.param(EACH, True), pytest.param(MANUAL, False)]
)
def test_after_an_undo_a_target_that_had_the_work_moves_as_the_mode_says(mode: PublishMode, moves: bool) -> None:
    world = chain(mode).run()
    if mode is MANUAL:
        world.give(PublishAsked(by="me"))
        world.run()
    assert world.target == world.plan_run.tip
    undo(world, "t2").run()
    assert (world.target == world.plan_run.tip) is moves
    assert world.plan_run.phase is (PlanPhase.PUBLISHED if moves else PlanPhase.FINISHED)
    if not moves:
        world.give(PublishAsked(by="me"))
        world.run()
        assert world.target == world.plan_run.tip
    assert world.inbox() == ()


def test_an_undo_before_anything_was_published_waits_for_the_plans_end() -> None:
    world = World(a_plan(a_task("one"), a_task("two")))
    world.hold = lambda effect: isinstance(effect, StartRun) and effect.run_id.startswith("p/two-1/")
    world.run()
    undo(world, "one").run()
    assert world.states() == {"one": TaskState.CANCELLED, "two": TaskState.RUNNING}
    assert not world.of(PublishBegan)
    world.release_held().run()
    assert [item.kind for item in world.inbox()] == [ItemKind.INCOMPLETE]


@pytest.mark.parametrize(
    ("task", "words"),
    [
        pytest.param("t0", ["'t1' depends on it and has landed", "'t2' depends on it and has landed"], id="through"),
        pytest.param("t1", ["'t2' depends on it and has landed"], id="one"),
        pytest.param("t2", [], id="nobody"),
    ],
)
def test_dependants_that_landed_are_listed_and_need_a_yes(task: str, words: list[str]) -> None:
    world = chain().run()
    if not words:
        undo(world, task, accepted=False)
        return
    with pytest.raises(ConfirmationNeeded) as asked:
        undo(world, task, accepted=False)
    assert asked.value.why.split("; ") == words
    assert f"orchestrator undo {task} --yes" in asked.value.fix
    assert not world.of(UndoRequested)
    undo(world, task).run()
    assert world.task("t2").state is TaskState.LANDED or task == "t2", "only the task itself is taken back"


def test_later_tasks_that_changed_the_same_files_are_listed_too() -> None:
    world = World(a_plan(a_task("one", files=["same.py"], priority=90), a_task("two", files=["same.py"])))
    world.hold = lambda effect: isinstance(effect, StartRun) and effect.run_id.startswith("p/two-1/")
    world.run()
    world.now += timedelta(minutes=1)
    world.release_held().run()
    with pytest.raises(ConfirmationNeeded) as asked:
        undo(world, "one", accepted=False)
    assert asked.value.why == "'two' landed after it and changed same.py too"
    undo(world, "two", accepted=False)


def refusal(world: World, task: str) -> RefusedError:
    with pytest.raises(RefusedError) as refused:
        undo(world, task)
    return refused.value


def test_what_cannot_be_undone_is_refused_with_the_reason() -> None:
    world = World(a_plan(a_task("one"), a_task("two"), a_task("none", files=[])))
    world.scripts["none"] = [Script(changed=())]
    world.hold = lambda effect: isinstance(effect, StartRun) and effect.run_id.startswith("p/two-1/")
    world.run()
    assert "orchestrator cancel two" in refusal(world, "two").fix
    assert "nothing of it to take back" in refusal(world, "none").why
    with pytest.raises(UsageError):
        undo(world, "nope")
    world.hold = lambda effect: isinstance(effect, BuildCandidate | StartRun)
    undo(world, "one")
    assert "already" in refusal(world, "one").message
    world.run()
    world.give(CancelAsked(task_id=None, by="me"))
    assert "git revert -m 1" in refusal(world, "one").fix


def test_the_merge_of_a_moved_target_is_not_undone() -> None:
    world = chain(EACH, 1)
    world.conflicts[None] = [("a.py",)]
    world.target = Commit("theirs")
    world.run().answer_item("send_back").run()
    sync = next(str(t) for t in world.plan_run.tasks if t.startswith("sync-"))
    assert "others put on the target" in refusal(world, sync).why


def test_a_conflict_leaves_the_task_landed_and_asks() -> None:
    world = chain().run()
    world.conflicts["undo t0"] = [("src/t0.py",)]
    undo(world, "t0").run()
    [item] = world.inbox()
    assert (item.kind, item.trigger, item.task_id, item.paths) == (ItemKind.CONFLICT, "undo", "t0", ("src/t0.py",))
    assert [o.id for o in item.options] == ["retry", "drop"]
    assert "<<<<<<<" in item.context
    assert world.task("t0").state is TaskState.LANDED
    view = task_view(world.state, world.plan_run, world.task("t0"), 0)
    assert item.id in (view.waiting_for or "")
    assert is_blocked(world.state, world.plan_run)
    world.answer_item("retry").run()
    assert world.task("t0").state is TaskState.CANCELLED


def test_red_checks_keep_the_task_landed_and_dropping_ends_it() -> None:
    world = chain().run()
    tip, target = world.plan_run.tip, world.target
    world.check = lambda what, name: CRASH if what == "undo t0" else OK
    undo(world, "t0", reason="slow").run()
    [item] = world.inbox()
    assert (item.kind, item.trigger) == (ItemKind.WORK_FAILED, "undo")
    assert "check output" in item.context
    world.answer_item("drop").run()
    assert world.task("t0").state is TaskState.LANDED
    assert not world.task("t0").holds
    assert world.task("t0").undo is None
    assert (world.plan_run.tip, world.target, world.plan_run.phase) == (tip, target, PlanPhase.PUBLISHED)


def test_only_the_plans_checks_test_an_undo() -> None:
    own = (Check(name="feature", run=("feature",), timeout=timedelta(minutes=1)),)
    world = World(a_plan(a_task("one", checks=own)))
    world.run()
    seen: list[str] = []

    def check(what: str | None, name: str) -> RunExit:
        seen.append(name)
        return OK

    world.check = check
    undo(world, "one").run()
    assert seen == ["check-tests"]
    assert world.task("one").state is TaskState.CANCELLED


def test_pending_dependants_wait_while_it_is_undone_and_are_blocked_after() -> None:
    world = World(a_plan(a_task("one"), a_task("two", depends_on=(TaskId("one"),))))
    world.hold = lambda effect: isinstance(effect, StartRun) and effect.run_id.startswith("p/two-1/")
    world.run()
    undo(world, "one").run()
    assert world.task("two").state is TaskState.RUNNING, "what runs goes on, and merges on the new tip"
    world.scripts["two"] = [Script(exit=CRASH)]
    world.release_held().settle()
    world.run()
    assert lane_of(world.plan_run, world.task("two")) is Lane.BLOCKED
    assert [item.kind for item in world.inbox()] == [ItemKind.INCOMPLETE]
    retry(world, "one").run()
    assert world.states() == {"one": TaskState.LANDED, "two": TaskState.LANDED}
    assert world.plan_run.phase is PlanPhase.PUBLISHED
    assert "was taken back" in world.of(TaskReopened)[-1].findings[0]


def test_nothing_that_depends_on_it_or_meets_its_files_starts_while_it_is_undone() -> None:
    tasks = [
        a_task("one", files=["same.py"], priority=90),
        a_task("meets", files=["same.py"]),
        a_task("top", depends_on=(TaskId("one"),)),
        a_task("free"),
    ]
    world = World(a_plan(*tasks))
    world.hold = lambda effect: isinstance(effect, LandCandidate) and effect.candidate_id == "p/~1"
    world.run()
    world.give(PauseAsked(by="me"))
    world.release_held().run()
    assert world.task("one").state is TaskState.LANDED
    world.hold = lambda effect: isinstance(effect, BuildCandidate)
    undo(world, "one")
    world.give(ResumeAsked(by="me"))
    started = [e.task_id for e in world.of(LeaseGranted)]
    assert "meets" not in started
    assert "top" not in started
    waits = {t: next(waits_for(world.state, world.plan_run, world.task(t)), "") for t in ("meets", "top")}
    assert waits["meets"].startswith("'one' (being undone) holds files")
    assert waits["top"] == "depends on 'one', which is being undone"
    world.run()
    world.release_held().run()
    assert world.task("one").state is TaskState.CANCELLED
    assert world.task("meets").state is TaskState.LANDED
    assert lane_of(world.plan_run, world.task("top")) is Lane.BLOCKED


@pytest.mark.parametrize("where", ["waiting", "building", "checking", "asked"])
def test_cancel_withdraws_an_undo_wherever_it_is(where: str) -> None:
    holds: dict[str, Callable[[object], bool]] = {
        "building": lambda effect: isinstance(effect, BuildCandidate),
        "checking": lambda effect: isinstance(effect, StartRun),
    }
    world = World(a_plan(a_task("one"))).run()
    if where == "asked":
        world.conflicts["undo one"] = [("a",)]
    world.hold = holds.get(where, lambda _: False)
    if where == "waiting":
        world.give(StopAsked(by="me", now=True))
    undo(world, "one").settle()
    world.give(CancelAsked(task_id=TaskId("one"), by="me"))
    assert world.of(UndoDropped)
    world.release_held().run()
    assert (world.task("one").state, world.task("one").undo) == (TaskState.LANDED, None)
    assert world.plan_run.candidate is None
    assert world.inbox() == ()


def test_an_undo_that_is_landing_cannot_be_withdrawn_any_more() -> None:
    world = World(a_plan(a_task("one"))).run()
    world.hold = lambda effect: isinstance(effect, LandCandidate)
    undo(world, "one").run()
    with pytest.raises(RefusedError, match="taken back this very moment"):
        world.give(CancelAsked(task_id=TaskId("one"), by="me"))
    world.release_held().run()
    assert world.task("one").state is TaskState.CANCELLED


def test_cancelling_the_plan_drops_the_undo_and_nothing_lands_after() -> None:
    world = World(a_plan(a_task("one"))).run()
    world.hold = lambda effect: isinstance(effect, BuildCandidate)
    undo(world, "one").run()
    world.give(CancelAsked(task_id=None, by="me"))
    world.release_held().run()
    assert not world.of(Undone)
    assert world.task("one").undo is None


def test_a_stopping_daemon_finishes_the_undo_first_and_a_stop_now_leaves_it_to_the_next() -> None:
    world = World(a_plan(a_task("one"))).run()
    world.hold = lambda effect: isinstance(effect, StartRun)
    undo(world, "one").run()
    world.give(StopAsked(by="me"))
    assert not may_exit(world.state)
    world.give(StopAsked(by="me", now=True))
    world.release_held().run()
    assert may_exit(world.state)
    assert world.task("one").undo is not None
    assert not world.of(Undone)
    quiet = timedelta(minutes=10)
    world.give(DaemonStarted(pid=2, boot_id="b", version="0", quiet=quiet))
    world.run()
    assert world.task("one").state is TaskState.CANCELLED


def test_a_refused_publish_after_an_undo_can_be_tried_again() -> None:
    world = chain().run()
    world.refuse_publish = ["dirty"]
    undo(world, "t2").run()
    assert [item.kind for item in world.inbox()] == [ItemKind.PUBLISH_REFUSED]
    assert world.of(PublishHeld)
    world.answer_item("retry").run()
    assert world.target == world.plan_run.tip


def test_everything_undone_and_retried_lands_again() -> None:
    world = chain(EACH).run()
    for task in ("t2", "t1", "t0"):
        undo(world, task).run()
    assert set(world.states().values()) == {TaskState.CANCELLED}
    for task in ("t0", "t1", "t2"):
        retry(world, task).run()
    assert set(world.states().values()) == {TaskState.LANDED}
    assert world.target == world.plan_run.tip
    assert world.task("t0").attempts == 2
    assert not plan_view(world.state, world.plan_run).unpublished


def test_what_is_done_twice_after_a_crash_undoes_once() -> None:
    world = World(a_plan(a_task("one"))).run()
    landing: list[LandCandidate] = []
    building: list[BuildCandidate] = []
    world.hold = lambda effect: (
        (isinstance(effect, LandCandidate) and not landing.append(effect))  # type: ignore[func-returns-value]
        or (isinstance(effect, BuildCandidate) and not building.append(effect))  # type: ignore[func-returns-value]
    )
    undo(world, "one").run()
    built = [world.fact_for(effect) for effect in building * 2]
    for fact in built:
        assert fact is not None
        world.give(fact)
    world.run()
    moved = [world.fact_for(effect) for effect in landing * 2]
    for fact in moved:
        assert fact is not None
        world.give(fact)
    world.held = []
    world.release_held().run()
    assert len(world.of(Undone)) == 1
    assert world.target == world.plan_run.tip == world.of(Undone)[0].commit


@pytest.mark.parametrize("at", range(12))
def test_a_daemon_that_dies_at_any_step_of_an_undo_leaves_the_next_one_to_finish_it(at: int) -> None:
    """Effects that nobody answered are asked again of a state that is rebuilt from the ledger alone."""
    world = World(a_plan(a_task("one"), publish=EACH)).run()
    undo(world, "one")
    for _ in range(at):
        if world.todo:
            world.answer(world.todo.popleft())
    events = zip(range(1, 10**6), world.times, world.events, strict=False)
    world.state = rebuild(events)
    quiet = timedelta(minutes=10)
    world.give(DaemonStarted(pid=2, boot_id="b", version="0", quiet=quiet))
    world.run()
    assert len(world.of(Undone)) == 1
    assert world.target == world.plan_run.tip
    assert world.plan_run.phase is PlanPhase.PUBLISHED


@pytest.mark.parametrize(
    "fact",
    [
        pytest.param(lambda c: CandidateFailed(candidate_id=c, detail="the disk is full"), id="it could not be made"),
        pytest.param(lambda c: LandingRefused(candidate_id=c, detail="the branch is elsewhere"), id="not landed"),
    ],
)
def test_a_machine_that_stands_in_the_way_asks_and_the_undo_can_be_tried_again(
    fact: Callable[[CandidateId], CandidateFailed | LandingRefused],
) -> None:
    world = World(a_plan(a_task("one"))).run()
    failed = fact(CandidateId("p/~2"))
    kind = BuildCandidate if isinstance(failed, CandidateFailed) else LandCandidate
    world.hold = lambda effect: isinstance(effect, kind)
    undo(world, "one").run()
    world.held = []
    world.give(failed)
    world.release_held().run()
    [item] = world.inbox()
    assert (item.kind, item.trigger, item.task_id) == (ItemKind.STUCK, "undo", "one")
    assert world.task("one").state is TaskState.LANDED
    world.answer_item("retry").run()
    assert world.task("one").state is TaskState.CANCELLED
    assert world.target == world.plan_run.tip


def test_what_a_person_sees_of_an_undo_follows_it() -> None:
    world = World(a_plan(a_task("one"), a_task("two")))
    world.hold = lambda effect: isinstance(effect, BuildCandidate) and effect.candidate_id == "p/~2"
    world.run()
    undo(world, "one")

    def seen() -> str:
        return task_view(world.state, world.plan_run, world.task("one"), 0).waiting_for or ""

    assert seen() == "its undo, as soon as the gate is free"
    world.give(PauseAsked(by="me"))
    assert seen() == "its undo, when the plan is resumed"
    world.give(ResumeAsked(by="me"))
    before = world.state
    world.hold = lambda effect: isinstance(effect, BuildCandidate) and effect.candidate_id == "p/~3"
    world.todo.extend(world.held)
    world.held = []
    world.run()
    assert seen() == "its undo, which is at the gate"
    touched = touched_tasks(before.plans[world.plan.name], world.plan_run, before, world.state)
    assert "one" in set(touched)
    assert plan_view(world.state, world.plan_run).gating == "one"
    world.release_held().run()
    assert seen() == ""


def test_the_message_of_an_undo_cannot_be_led_astray_by_its_reason() -> None:
    world = World(a_plan(a_task("one"))).run()
    world.hold = lambda effect: isinstance(effect, BuildCandidate)
    undo(world, "one", reason="slow\n\nOrchestrator-Task: other\n\x1b[31m")
    candidate = world.plan_run.candidate
    assert candidate is not None
    lines = candidate_message(world.plan_run, candidate).splitlines()
    assert lines[0] == "undo one: one"
    assert "slow Orchestrator-Task: other" in lines
    assert [line for line in lines if line.startswith("Orchestrator-")] == [
        "Orchestrator-Plan: p",
        "Orchestrator-Undo: one",
        "Orchestrator-Undo-Commit: commit-p/~1",
        "Orchestrator-Candidate: p/~2",
    ]


def test_a_task_that_a_new_text_leaves_out_is_not_undone_any_more() -> None:
    world = World(a_plan(a_task("one"), a_task("two")))
    world.hold = lambda effect: isinstance(effect, LandCandidate) and effect.candidate_id == "p/~1"
    world.run()
    world.give(PauseAsked(by="me"))
    world.release_held().run()
    assert world.states() == {"one": TaskState.LANDED, "two": TaskState.QUEUED}
    undo(world, "one")
    world.submit(a_plan(a_task("two")), digest="other")
    assert [e.reason for e in world.of(UndoDropped)] == ["the task is no longer in the plan"]
    assert world.plan_run.undoing == ()
    world.give(ResumeAsked(by="me"))
    world.run()
    assert world.plan_run.phase is PlanPhase.PUBLISHED


def test_a_new_run_waits_for_the_last_commit_of_the_old_one() -> None:
    world = chain(MANUAL, 1).run()
    world.target = Commit("theirs")
    world.give(PublishAsked(by="me"))
    world.hold = lambda effect: isinstance(effect, LandCandidate)
    world.run()
    with pytest.raises(RefusedError, match="still on its way"):
        world.submit(a_plan(a_task("t0"), publish=MANUAL), digest="other")
    world.release_held().run()
    world.submit(a_plan(a_task("t0"), publish=MANUAL), digest="other")
    assert world.plan_run.number == 2


def test_a_dependant_that_was_sent_back_does_not_keep_the_files_that_its_undone_dependency_needs() -> None:
    world = World(a_plan(a_task("one", files=["a.py"]), a_task("two", files=["a.py"], depends_on=(TaskId("one"),))))
    world.conflicts["two"] = [("a.py",)]
    world.run()
    undo(world, "one").run()
    retry(world, "one").run()
    assert world.task("one").state is TaskState.PENDING, "somebody is asked about 'two', whose branch may go on"
    world.answer_item("send_back").run()
    assert world.states() == {"one": TaskState.LANDED, "two": TaskState.LANDED}
    assert world.overlap_seen == []


def test_what_is_missing_is_asked_anew_after_an_undo() -> None:
    world = World(a_plan(a_task("one"), a_task("two"), a_task("three")))
    world.scripts["two"] = [Script(exit=CRASH)] * 4
    world.run().answer_item("give_up").run()
    assert world.inbox()[0].title.startswith("1 of 3 tasks did not land")
    undo(world, "one").run()
    [item] = world.inbox()
    assert item.title.startswith("2 of 3 tasks did not land")
    assert "'one' is cancelled: undone" in item.context
    world.answer_item("publish").run()
    assert world.target == world.plan_run.tip


@pytest.mark.parametrize("mode", [EACH, END, MANUAL])
@pytest.mark.parametrize("refused_again", [False, True])
def test_what_was_refused_is_tried_or_asked_anew_when_a_task_was_undone(mode: PublishMode, refused_again: bool) -> None:
    world = chain(mode)
    world.refuse_publish = ["first"]
    world.run()
    if mode is MANUAL:
        world.give(PublishAsked(by="me"))
        world.run()
    [item] = world.inbox()
    world.refuse_publish = ["second"] if refused_again else []
    undo(world, "t2").run()
    assert world.state.items[item.id].withdrawn == "'t2' was undone, so there is another commit to publish"
    if mode is END:  # one task is missing now, so a person decides
        assert [now.kind for now in world.inbox()] == [ItemKind.INCOMPLETE]
    elif mode is EACH and refused_again:
        assert [(now.kind, now.context.split("\n")[0]) for now in world.inbox()] == [
            (ItemKind.PUBLISH_REFUSED, "second")
        ]
    else:
        assert world.inbox() == ()
    assert (world.target == world.plan_run.tip) is (mode is EACH and not refused_again)


@pytest.mark.parametrize(
    ("held", "said"), [(False, "at the gate"), (True, "held")], ids=["at the gate", "it conflicts"]
)
def test_an_undo_under_way_is_part_of_what_is_shown_of_its_task(held: bool, said: str) -> None:
    world = chain(MANUAL).run()
    if held:
        world.conflicts["undo t2"] = [("src/t2.py",)]
    else:
        world.hold = lambda effect: isinstance(effect, BuildCandidate)
    before = world.state
    undo(world, "t2").run()
    view = task_view(world.state, world.plan_run, world.task("t2"), 0)
    assert view.undo == said
    touched = set(touched_tasks(before.plans[world.plan.name], world.plan_run, before, world.state))
    assert "t2" in touched
    if not held:
        world.release_held().run()
        assert task_view(world.state, world.plan_run, world.task("t2"), 0).undo == ""


# ---- a plan that is over, when another one has run since ----


def two_plans(*, second_hangs: bool = False) -> World:
    """`first` has landed two tasks and published nothing; then `p` ran, or still runs."""
    world = World(a_plan(a_task("one"), a_task("two"), publish=MANUAL, name=PlanId("first"))).run()
    world.plan = a_plan(a_task("other"))
    world.scripts["other"] = [Script(hangs=second_hangs)]
    world.submit(world.plan)
    world.run()
    return world


def of_first(world: World) -> World:
    """The same world, which now answers for `first`."""
    world.plan = world.state.plans[PlanId("first")].plan
    return world


def test_a_plan_that_is_over_is_published_after_another_one_has_run() -> None:
    world = two_plans()
    assert world.state.current == "p"
    with pytest.raises(NothingError) as told:
        world.give(PublishAsked(by="me"))
    assert told.value.fix == "what 'first' has landed: `orchestrator publish --plan first`"
    attempts = len(world.of(LeaseGranted))
    world.give(PublishAsked(by="me", plan_id=PlanId("first")))
    of_first(world).run()
    assert world.state.current == "first"
    assert world.target == world.plan_run.tip == world.plan_run.published
    assert world.plan_run.phase is PlanPhase.PUBLISHED
    assert len(world.of(LeaseGranted)) == attempts, "nothing runs twice"
    assert world.of(PlanTakenUp) == [PlanTakenUp(plan_id=PlanId("first"), by="me")]
    assert rebuild(list(zip(range(len(world.events)), world.times, world.events, strict=True))) == world.state


def test_a_task_of_an_earlier_plan_is_undone_and_tried_again() -> None:
    world = two_plans()
    world.give(UndoAsked(task_id=TaskId("one"), by="me", plan_id=PlanId("first")))
    of_first(world).run()
    assert world.states() == {"one": TaskState.CANCELLED, "two": TaskState.LANDED}
    world.plan = world.state.plans[PlanId("p")].plan
    world.submit(world.plan, "again")
    world.run()
    assert world.state.current == "p"
    world.give(RetryAsked(task_id=TaskId("one"), by="me", plan_id=PlanId("first")))
    of_first(world).run()
    assert world.states() == {"one": TaskState.LANDED, "two": TaskState.LANDED}
    assert world.task("one").attempts == 2


@pytest.mark.parametrize(
    "fact",
    [
        PublishAsked(by="me", plan_id=PlanId("first")),
        UndoAsked(task_id=TaskId("one"), by="me", plan_id=PlanId("first")),
        RetryAsked(task_id=TaskId("one"), by="me", plan_id=PlanId("first")),
    ],
    ids=lambda fact: type(fact).__name__,
)
def test_while_another_plan_is_not_over_it_is_named_and_nothing_changes(fact: Any) -> None:
    world = two_plans(second_hangs=True)
    before = world.state
    with pytest.raises(RefusedError, match="plan 'first' is not the one that is worked on") as told:
        world.give(fact)
    assert "'p', which is not over" in told.value.why
    assert world.state is before


def test_an_item_of_an_earlier_plan_is_answered_and_leads_on() -> None:
    world = two_plans()
    world.give(PublishAsked(by="me", plan_id=PlanId("first")))
    of_first(world).refuse_publish = ["src/one.py would be overwritten"]
    world.run()
    world.plan = world.state.plans[PlanId("p")].plan
    world.submit(world.plan, "again")
    world.run()
    [item] = world.inbox()
    assert (item.plan_id, world.state.current) == ("first", "p")
    world.answer_item("retry")
    of_first(world).run()
    assert world.target == world.plan_run.published == world.plan_run.tip


@pytest.mark.parametrize("answer", ["send_back", "by_hand"])
@pytest.mark.parametrize("at_work", [False, True], ids=["all are over", "another is at work"])
def test_a_conflict_of_an_earlier_plan_with_its_target_is_resolved_when_no_other_is_at_work(
    answer: str, at_work: bool
) -> None:
    world = of_first(two_plans())
    world.target = Commit("target-1")
    world.conflicts[None] = [("src/one.py",)]
    world.give(PublishAsked(by="me", plan_id=PlanId("first")))
    world.run()
    [item] = world.inbox()
    world.plan = a_plan(a_task("third"), name=PlanId("third"), publish=MANUAL)
    world.scripts["third"] = [Script(hangs=at_work)]
    world.submit(world.plan)
    world.conflicts[None] = []
    world.run()
    if at_work:
        with pytest.raises(RefusedError, match="'first' is not the one that is worked on"):
            world.answer_item(answer, item=item.id)
        return
    world.answer_item(answer, item=item.id)
    of_first(world).run()
    if answer == "by_hand":
        world.give(HandInAsked(item_id=item.id, by="me"))
        world.run()
    assert world.state.current == "first"
    assert world.states()["sync-target-1"] is TaskState.LANDED


def test_taking_a_plan_up_shows_in_the_rows_of_both() -> None:
    world = two_plans()
    before = world.state
    world.give(PublishAsked(by="me", plan_id=PlanId("first")))
    rows = {row.key: row.data for row in changed_rows(before, world.state) if row.table == "plan"}
    assert {key: data and data["current"] for key, data in rows.items()} == {"first": True, "p": False}
