"""Conflicts that a person resolves, told as whole stories in a world of values."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core.lifecycle import may_exit
from orchestrator.core.publish import is_blocked
from orchestrator.core.report import lane_of, waiting_words
from orchestrator.core.schedule import busy_agents
from orchestrator.core.state import rebuild
from orchestrator.model.effect import CollectWork, DeleteTrash, MakeWorkspace, RemoveTree
from orchestrator.model.errors import OrchestratorError, RefusedError, UsageError
from orchestrator.model.event import (
    AttemptEnded,
    ByHandEnded,
    ByHandNotYet,
    CandidateRequested,
    Landed,
    LeaseEnded,
    LeaseGranted,
    SentBack,
    Synced,
    TrashEmptied,
)
from orchestrator.model.fact import (
    CancelAsked,
    GiveBackAsked,
    HandInAsked,
    PruneAsked,
    PublishAsked,
    RetryAsked,
    StopAsked,
    WorkspaceFailed,
)
from orchestrator.model.ids import AttemptId, Commit, TaskId
from orchestrator.model.item import Item, ItemKind
from orchestrator.model.run import Lane, PlanPhase, TaskState
from tests.fakes.world import CRASH, OK, Script, World, a_plan, a_task


def with_conflict(*more: Script) -> World:
    """Task `two` conflicts at the gate; `more` is what the person does in the trees that follow."""
    world = World(a_plan(a_task("one"), a_task("two")))
    world.conflicts["two"] = [("src/two.py",)]
    world.scripts["two"] = [Script(), *more]
    return world.run()


def with_sync_conflict(*tasks: Any) -> World:
    world = World(a_plan(*(tasks or (a_task("one"),))))
    world.hold = lambda effect: type(effect).__name__ == "PublishPlan"
    world.run()
    world.target = Commit("target-1")
    world.conflicts[None] = [("src/one.py",)]
    return world.release_held().run()


def watched(world: World, *kinds: type) -> list[Any]:
    """Every effect of these kinds from here on."""
    seen: list[Any] = []

    def watch(effect: Any) -> bool:
        if isinstance(effect, kinds):
            seen.append(effect)
        return False

    world.hold = watch
    return seen


def the_item(world: World) -> Item:
    return next(item for item in world.inbox() if item.kind is ItemKind.CONFLICT)


def hand_in(world: World, *, accept: bool = False, keep: bool = False) -> World:
    world.give(HandInAsked(item_id=the_item(world).id, by="ada", accepted=accept, keep=keep))
    return world.run()


def give_back(world: World) -> World:
    world.give(GiveBackAsked(item_id=the_item(world).id, by="ada"))
    return world.run()


def as_rebuilt(world: World) -> World:
    """The same world after a restart of the daemon: nothing but the ledger is known."""
    world.state = rebuild(zip(range(1, 10**6), world.times, world.events, strict=False))
    return world


def test_a_conflict_is_taken_on_by_hand_and_lands_through_the_gate() -> None:
    world = with_conflict()
    head, tip = world.task("two").hand_off, world.plan_run.tip
    made = watched(world, MakeWorkspace)
    world.answer_item("by_hand").run()
    assert head is not None
    assert (made[0].start, made[0].base, made[0].merge) == (head.head, tip, None)
    item = the_item(world)
    assert (item.is_open, item.worktree, item.taken_by) == (True, "/w/p/two-2", "me")
    hand_in(world)
    assert world.plan_run.phase is PlanPhase.PUBLISHED
    assert (world.state.items[item.id].answer, world.state.items[item.id].answered_by) == ("by_hand", "ada")
    last = world.of(CandidateRequested)[-1]
    assert (last.task_id, last.token) == ("two", world.of(LeaseGranted)[-1].token)


def test_while_it_is_open_the_task_is_held_and_a_person_is_waited_for() -> None:
    world = World(a_plan(a_task("one"), a_task("two"), a_task("three", files=["src/two.py"]), parallel=1))
    world.conflicts["two"] = [("src/two.py",)]
    world.run().answer_item("by_hand").run()
    run = world.task("two")
    assert (run.state, run.holds, run.item_id) == (TaskState.RUNNING, True, the_item(world).id)
    assert lane_of(world.plan_run, run) is Lane.BLOCKED
    assert "resolves it by hand in /w/p/two-2" in str(waiting_words(world.state, world.plan_run, run))
    assert world.task("three").state is TaskState.PENDING, "it shares a file with the one that is being resolved"
    assert is_blocked(world.state, world.plan_run)
    hand_in(world)
    assert world.plan_run.phase is PlanPhase.PUBLISHED


@pytest.mark.parametrize("held", [MakeWorkspace, CollectWork, type(None)], ids=["making", "collecting", "open"])
def test_a_person_at_work_takes_no_place_of_an_agent(held: type) -> None:
    world = with_conflict()
    world.hold = lambda effect: isinstance(effect, held)
    world.answer_item("by_hand").run()
    if held is CollectWork:
        hand_in(world)
    assert world.plan_run.leases
    assert busy_agents(world.plan_run).total() == 0


def test_asked_for_twice_it_is_the_same_tree() -> None:
    world = with_conflict().answer_item("by_hand").run()
    before = len(world.events)
    world.answer_item("by_hand").run()
    assert len(world.events) == before
    assert the_item(world).worktree == "/w/p/two-2"


@pytest.mark.parametrize("moment", ["making", "open", "collecting", "not yet"])
def test_a_restart_in_between_changes_nothing(moment: str) -> None:
    world = with_conflict(Script(more={"unfinished_merge": ("src/two.py",)}))
    if moment == "making":
        world.hold = lambda effect: isinstance(effect, MakeWorkspace)
    world.answer_item("by_hand").run()
    if moment == "making":
        as_rebuilt(world).release_held().run()
    if moment == "open":
        as_rebuilt(world)
    world.hold = lambda effect: moment == "collecting" and isinstance(effect, CollectWork)
    hand_in(world)
    if moment == "collecting":
        as_rebuilt(world).release_held().run()
    if moment == "not yet":
        as_rebuilt(world)
    assert "not resolved yet: src/two.py" in the_item(world).note
    world.scripts["two"] = []
    hand_in(world)
    assert world.plan_run.phase is PlanPhase.PUBLISHED
    assert as_rebuilt(world).plan_run.phase is PlanPhase.PUBLISHED


@pytest.mark.parametrize(
    ("script", "why", "may_accept"),
    [
        pytest.param({"unfinished_merge": ("a",)}, "not resolved yet: a", False, id="markers"),
        pytest.param({"descends": False}, "does not contain commit", False, id="another branch"),
        pytest.param({"nested": ("lib",)}, "would be lost: lib", False, id="a repository inside"),
        pytest.param({"error": "gone", "head": None}, "could not be read: gone", False, id="unreadable"),
        pytest.param({"changed": ("src/two.py", "else.py")}, "not among the files of 'two': else.py", True, id="other"),
        pytest.param({"changed": ()}, "nothing is left", True, id="nothing left"),
    ],
)
def test_what_is_in_the_tree_decides(script: dict[str, Any], why: str, may_accept: bool) -> None:
    world = with_conflict(Script(more=script)).answer_item("by_hand").run()
    hand_in(world)
    said = world.of(ByHandNotYet)[0]
    assert why in said.why
    assert said.may_accept is may_accept
    assert the_item(world).worktree == "/w/p/two-2", "the tree is theirs as before"
    hand_in(world, accept=True)
    assert (world.task("two").state is TaskState.LANDED) is may_accept
    assert len(world.of(ByHandNotYet)) == (1 if may_accept else 2)


def test_nothing_left_lands_without_a_commit() -> None:
    world = with_conflict(Script(changed=())).answer_item("by_hand").run()
    hand_in(world, accept=True)
    assert world.task("two").landed_commit is None
    assert world.plan_run.phase is PlanPhase.PUBLISHED


def test_given_back_it_is_kept_and_the_options_are_there_again() -> None:
    world = with_conflict(Script(more={"salvage": ("refs/orchestrator/p/two-2.salvage-1",)}))
    world.answer_item("by_hand").run()
    removed = watched(world, RemoveTree)
    give_back(world)
    assert [(e.why, e.salvage) for e in world.of(ByHandEnded)] == [
        ("given back", ("refs/orchestrator/p/two-2.salvage-1",))
    ]
    assert [effect.owner for effect in removed] == ["p/two-2"]
    item = the_item(world)
    assert (item.by_hand, item.worktree, world.task("two").state) == (None, None, TaskState.ESCALATED)
    assert not world.plan_run.leases
    world.hold = lambda _: False
    world.answer_item("by_hand").run()
    assert the_item(world).worktree == "/w/p/two-3", "another time is another tree"
    give_back(world).answer_item("send_back").run()
    assert world.plan_run.phase is PlanPhase.PUBLISHED


@pytest.mark.parametrize("choice", ["send_back", "drop"])
def test_another_answer_is_refused_while_somebody_resolves_it(choice: str) -> None:
    world = with_conflict().answer_item("by_hand").run()
    with pytest.raises(RefusedError, match="by hand in /w/p/two-2") as refused:
        world.answer_item(choice)
    assert "conflicts done two" in refused.value.fix


@pytest.mark.parametrize(
    "fact",
    [
        pytest.param(lambda i: HandInAsked(item_id=i, by="a"), id="done"),
        pytest.param(lambda i: GiveBackAsked(item_id=i, by="a"), id="abort"),
    ],
)
def test_what_nobody_has_opened_cannot_be_ended(fact: Any) -> None:
    world = with_conflict()
    with pytest.raises(RefusedError, match="not being resolved by hand"):
        world.give(fact(the_item(world).id))
    with pytest.raises(UsageError):
        world.give(fact("i99"))
    world.hold = lambda effect: isinstance(effect, MakeWorkspace)
    world.answer_item("by_hand").run()
    with pytest.raises(RefusedError, match="just being made"):
        world.give(fact(the_item(world).id))


def test_a_tree_that_cannot_be_made_leaves_the_conflict_as_it_was() -> None:
    world = with_conflict()
    world.hold = lambda effect: isinstance(effect, MakeWorkspace)
    world.answer_item("by_hand").run()
    world.hold = lambda _: False
    world.give(WorkspaceFailed(attempt_id=AttemptId("p/two-2"), detail="the disk is full"))
    world.run()
    assert (the_item(world).by_hand, the_item(world).note) == (None, "the tree could not be made: the disk is full")
    assert world.task("two").state is TaskState.ESCALATED
    assert not world.plan_run.leases


@pytest.mark.parametrize("moment", ["making", "open", "collecting"])
def test_the_task_cancelled_meanwhile_ends_the_persons_claim(moment: str) -> None:
    world = with_conflict()
    world.hold = lambda effect: moment == "making" and isinstance(effect, MakeWorkspace)
    world.answer_item("by_hand").run()
    world.hold = lambda effect: moment == "collecting" and isinstance(effect, CollectWork)
    if moment == "collecting":
        hand_in(world)
    world.give(CancelAsked(task_id=TaskId("two"), by="me"))
    world.release_held().run()
    assert world.task("two").state is TaskState.CANCELLED
    assert not world.plan_run.leases
    assert not world.task("two").holds
    assert world.of(LeaseEnded)[-1].cause == "cancelled"


def test_the_plan_cancelled_meanwhile_ends_the_persons_claim() -> None:
    world = with_sync_conflict().answer_item("by_hand").run()
    world.give(CancelAsked(task_id=None, by="me"))
    world.run()
    assert world.plan_run.phase is PlanPhase.CANCELLED
    assert not world.plan_run.leases
    assert not world.inbox()


def test_red_checks_on_what_a_person_resolved_go_back_to_the_person() -> None:
    world = with_conflict()
    exits = [CRASH, OK]
    world.check = lambda task, name: exits.pop(0) if task == "two" else OK
    hand_in(world.answer_item("by_hand").run())
    item = the_item(world)
    assert [option.id for option in item.options] == ["by_hand", "send_back", "drop"]
    assert item.trigger == "checks_red"
    made = watched(world, MakeWorkspace)
    world.answer_item("by_hand").run()
    assert made[0].start == "head-p/two-2", "it goes on from what was resolved"
    hand_in(world)
    assert world.plan_run.phase is PlanPhase.PUBLISHED


def test_an_agent_may_go_on_from_what_a_person_resolved() -> None:
    world = with_conflict()
    exits = [CRASH, OK]
    world.check = lambda task, name: exits.pop(0) if task == "two" else OK
    hand_in(world.answer_item("by_hand").run())
    made = watched(world, MakeWorkspace)
    world.answer_item("send_back").run()
    assert made[0].start == "head-p/two-2"
    assert world.of(SentBack)[0].findings[0].startswith("checks_red: ")
    assert world.plan_run.phase is PlanPhase.PUBLISHED


def test_a_later_conflict_of_what_was_resolved_is_asked_about_anew() -> None:
    world = with_conflict()
    world.conflicts["two"] = [("src/two.py",)]
    first = the_item(world).id
    hand_in(world.answer_item("by_hand").run())
    assert the_item(world).id != first
    hand_in(world.answer_item("by_hand").run())
    assert world.plan_run.phase is PlanPhase.PUBLISHED


@pytest.mark.parametrize("keep", [False, True])
def test_the_tree_goes_with_the_landing_unless_it_is_to_be_kept(keep: bool) -> None:
    world = with_conflict().answer_item("by_hand").run()
    hand_in(world, keep=keep)
    assert world.plan_run.attempts[AttemptId("p/two-2")].removed is not keep


# ---- the target ----


def test_a_conflict_with_the_target_is_resolved_by_hand() -> None:
    world = with_sync_conflict()
    made = watched(world, MakeWorkspace)
    world.answer_item("by_hand").run()
    assert (made[0].start, made[0].merge, made[0].base) == (None, "target-1", world.plan_run.tip)
    item = the_item(world)
    assert (item.task_id, item.worktree) == (None, "/w/p/sync-target-1-1")
    with pytest.raises(RefusedError):
        world.give(PublishAsked(by="me"))
    hand_in(world)
    assert world.plan_run.phase is PlanPhase.PUBLISHED
    assert world.plan_run.tasks[TaskId("sync-target-1")].state is TaskState.LANDED
    assert not world.of(Synced)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(None, "i1 asks what to do about it", id="asked about"),
        pytest.param("send_back", "'sync-target-1' is resolving that", id="an agent resolves it"),
    ],
)
def test_publish_is_refused_while_the_same_conflict_with_the_target_is_open(answer: str | None, said: str) -> None:
    world = with_sync_conflict()
    world.scripts["sync-target-1"] = [Script(hangs=True)]
    if answer is not None:
        world.answer_item(answer).run()
    before = world.state
    with pytest.raises(RefusedError, match=said):
        world.give(PublishAsked(by="me", target=world.target))
    assert world.state is before


def test_publish_looks_anew_when_the_target_has_moved_on_from_the_conflict() -> None:
    world = with_sync_conflict()
    world.target = Commit("target-2")
    world.contained.add(world.target)
    world.give(PublishAsked(by="me", target=world.target))
    world.run()
    assert world.plan_run.phase is PlanPhase.PUBLISHED
    assert world.inbox() == ()


def test_given_back_a_conflict_with_the_target_leaves_no_task_behind() -> None:
    world = with_sync_conflict().answer_item("by_hand").run()
    give_back(world)
    assert list(world.plan_run.tasks) == ["one"]
    assert the_item(world).by_hand is None
    world.answer_item("by_hand").run()
    assert the_item(world).worktree == "/w/p/sync-target-1-2"
    give_back(world).answer_item("leave").run()
    assert world.plan_run.phase is PlanPhase.FINISHED
    assert as_rebuilt(world).plan_run.phase is PlanPhase.FINISHED


def test_a_conflict_with_the_target_is_not_taken_on_while_an_agent_has_the_files() -> None:
    world = World(a_plan(a_task("one"), a_task("two", files=["src/one.py"]), publish="end"))
    world.scripts["two"] = [Script(hangs=True)]
    world.conflicts[None] = [("src/one.py",)]
    world.target = Commit("target-1")
    world.run()
    assert world.task("two").state is TaskState.RUNNING
    with pytest.raises(RefusedError, match="'two' is at work"):
        world.answer_item("by_hand", item=the_item(world).id)
    assert "sync-target-1" not in world.plan_run.tasks


# ---- the daemon ----


@pytest.mark.parametrize("now", [False, True])
def test_a_tree_in_which_a_person_works_keeps_no_daemon_and_outlives_it(now: bool) -> None:
    world = with_conflict().answer_item("by_hand").run()
    world.give(StopAsked(by="me", now=now))
    world.run()
    assert may_exit(world.state)
    assert the_item(world).worktree == "/w/p/two-2"
    assert world.plan_run.leases


def test_nothing_is_taken_on_by_hand_when_the_daemon_stops() -> None:
    world = with_conflict()
    world.give(StopAsked(by="me"))
    with pytest.raises(RefusedError, match="stopping"):
        world.answer_item("by_hand")


def test_a_task_that_is_resolved_by_hand_is_not_tried_again() -> None:
    world = with_conflict().answer_item("by_hand").run()
    with pytest.raises(RefusedError):
        world.give(RetryAsked(task_id=TaskId("two"), by="me"))


# ---- prune ----


def test_trees_that_nobody_works_in_are_pruned_more_than_once() -> None:
    world = World(a_plan(a_task("one")))
    world.scripts["one"] = [Script(exit=CRASH)]
    world.run()
    asked = watched(world, RemoveTree, DeleteTrash)
    for _ in range(2):
        world.give(PruneAsked(owners=("p/one-1", "p/~1"), trash=("p/one-1/1",), by="me"))
        world.run()
    assert len({effect.key for effect in asked}) == 6, "another time is another effect"
    assert world.plan_run.attempts[AttemptId("p/one-1")].removed
    assert [event.entries for event in world.of(TrashEmptied)] == [("p/one-1/1",)] * 2
    assert as_rebuilt(world).plan_run.attempts[AttemptId("p/one-1")].removed


@pytest.mark.parametrize("owner", ["p/one-9", "p/one", "other/one-1", "p/~9", "p/..", "p/two-x", "one-1", "p/one-١"])
def test_what_the_ledger_does_not_know_is_never_pruned(owner: str) -> None:
    world = World(a_plan(a_task("one"))).run()
    with pytest.raises(UsageError):
        world.give(PruneAsked(owners=(owner,), trash=(), by="me"))


def test_a_tree_that_is_in_use_is_never_pruned() -> None:
    world = World(a_plan(a_task("one"), a_task("two")))
    world.scripts["one"] = [Script(hangs=True)]
    world.conflicts["two"] = [("x",)]
    world.run().answer_item("by_hand").run()
    for owner in ("p/one-1", "p/two-2"):
        with pytest.raises(OrchestratorError, match="in use"):
            world.give(PruneAsked(owners=("p/two-1", owner), trash=(), by="me"))
    assert not world.of(AttemptEnded)[0].salvage
    assert len(world.of(Landed)) == 0
