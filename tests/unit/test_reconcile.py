"""What differs from the ledger at a start: what is said, what is put right, what a person is asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.core.reconcile import AT_START, differences, needs_of
from orchestrator.model.difference import Care, Difference, EndStray, PutAside, SetReference, Survey
from orchestrator.model.event import Escalated, ItemWithdrawn, PlanPaused, PlanResumed, UnknownFound, WorldMended
from orchestrator.model.fact import DaemonStarted
from orchestrator.model.ids import AttemptId, Commit
from orchestrator.model.run import PlanPhase, TaskState
from tests.fakes.world import Script, World, a_plan, a_task

BRANCH = "refs/orchestrator/plans/p"
SHOWN = "refs/heads/orchestrator/p"


def landed() -> World:
    """One of two tasks has landed, the agent of the other is at work."""
    world = World(a_plan(a_task("one"), a_task("two")))
    world.scripts["two"] = [Script(hangs=True)]
    return world.settle()


def as_it_should_be(world: World) -> Survey:
    """A world in which everything is where the ledger has it."""
    needs = needs_of(world.state)
    ours = {BRANCH: needs.tips[world.plan.name][0]}
    ours |= {name: commit or Commit("kept") for name, commit in needs.kept.items()}
    tips = needs.tips[world.plan.name]
    return Survey(ours=ours, users={**ours, SHOWN: tips[0]}, within=frozenset((tip, tip) for tip in tips))


def compared(world: World, **changes: Any) -> tuple[Difference, ...]:
    return differences(world.state, needs_of(world.state), replace(as_it_should_be(world), **changes))


def test_a_world_as_the_ledger_has_it_differs_in_nothing() -> None:
    assert compared(landed()) == ()


def test_the_ledger_needs_the_branch_the_kept_work_the_live_tree_and_the_live_run() -> None:
    world = landed()
    needs = needs_of(world.state)
    plan = world.plan_run
    assert needs.tips == {plan.id: (plan.tip,)}
    assert set(needs.kept) == {"refs/orchestrator/p/one-1"}
    assert set(needs.live) == {"p/two-1"}
    assert needs.runs == {"p/two-1/agent"}


def test_a_landing_that_was_not_recorded_yet_is_no_difference() -> None:
    world = World(a_plan(a_task("one")))
    world.hold = lambda effect: effect.key.endswith("/land")
    world.settle()
    candidate = world.plan_run.candidate
    assert candidate is not None
    assert candidate.commit is not None
    found = as_it_should_be(world)
    moved = replace(found, ours={**found.ours, BRANCH: candidate.commit})
    assert differences(world.state, needs_of(world.state), moved) == ()


def test_a_branch_that_a_power_loss_set_back_is_landed_again() -> None:
    world = landed()
    plan = world.plan_run
    start, tip = plan.started_at_commit, plan.tip
    assert start is not None
    assert tip is not None
    found = as_it_should_be(world)
    (one,) = compared(world, ours={**found.ours, BRANCH: start}, within=found.within | {(start, tip), (start, start)})
    assert (one.kind, one.remedy) == ("landing_undone", SetReference(name=BRANCH, commit=tip, old=start))


@pytest.mark.parametrize(
    ("changes", "kind", "care", "mended_at_start"),
    [
        pytest.param(
            {"locks": ("packed-refs.lock",)}, "stale_lock", Care.SAFE, True, id="a lock that a killed git left"
        ),
        pytest.param({"ours": {}}, "lost_reference", Care.SAFE, True, id="references are gone"),
        pytest.param({"gone_ours": True}, "repository_gone", Care.SAFE, False, id="repo.git is gone"),
        pytest.param({"made_anew": True}, "repository_gone", Care.TOLD, False, id="repo.git was made anew"),
        pytest.param(
            {"ours": {BRANCH: Commit("strange"), "refs/orchestrator/p/one-1": Commit("kept")}},
            "foreign_position",
            Care.ASKED,
            False,
            id="the branch is where it never was",
        ),
        pytest.param(
            {"gone": {AttemptId("p/two-1"): "was removed"}}, "tree_gone", Care.TOLD, False, id="a live tree is gone"
        ),
        pytest.param({"runs": {"p/one-1/agent": True}}, "stray_run", Care.SAFE, True, id="an ended run is at work"),
        pytest.param(
            {"runs": {"p/one-9/agent": True}}, "unknown_run", Care.TOLD, False, id="an unknown one is at work"
        ),
        pytest.param({"runs": {"p/one-9/agent": False}}, "unknown_run", Care.SAFE, True, id="an unknown one is over"),
        pytest.param({"old_locks": {"index.lock": 11}}, "users_lock", Care.TOLD, False, id="a lock of the user's"),
        pytest.param({"trees": ("/w/x",)}, "unknown", Care.TOLD, False, id="an unknown tree"),
        pytest.param({"folders": ("other/one-1",)}, "unknown", Care.TOLD, False, id="an attempt of an unknown plan"),
        pytest.param({"folders": ("p/one-2",)}, "unknown", Care.TOLD, False, id="an attempt that is still to come"),
    ],
)
def test_what_differs_is_told_with_its_care(
    changes: dict[str, Any], kind: str, care: Care, mended_at_start: bool
) -> None:
    first, *_ = compared(landed(), **changes)
    assert (first.kind, first.care, isinstance(first.remedy, AT_START)) == (kind, care, mended_at_start)
    assert first.said
    assert first.why
    assert first.fix


def test_folders_runs_and_references_of_earlier_attempts_are_known() -> None:
    assert compared(landed(), folders=("p/one-1", "p/two-1", "p/~1"), runs={"p/one-1/agent": False}) == ()


def test_the_remedies_name_the_run() -> None:
    stray, unknown = compared(landed(), runs={"p/one-1/agent": True, "p/one-9/agent": False})
    assert (stray.remedy, unknown.remedy) == (EndStray(run_id="p/one-1/agent"), PutAside(run_id="p/one-9/agent"))


@pytest.mark.parametrize(
    ("at", "kinds"),
    [
        pytest.param(None, ["branch_not_shown"], id="deleted"),
        pytest.param(Commit("mine"), ["branch_moved"], id="moved by a person"),
    ],
)
def test_the_branch_that_the_user_sees_is_shown_again_or_left_to_them(at: Commit | None, kinds: list[str]) -> None:
    world = landed()
    users = {name: commit for name, commit in as_it_should_be(world).users.items() if name not in {SHOWN, BRANCH}}
    found = compared(world, users={**users, **({SHOWN: at} if at else {})})
    assert [one.kind for one in found] == kinds
    assert not any(isinstance(one.remedy, AT_START) for one in found), "nobody puts a branch back that a person deleted"


def test_kept_work_that_is_in_neither_repository_is_told() -> None:
    world = landed()
    plan = world.plan_run
    attempt = replace(plan.attempts[AttemptId("p/one-1")], salvage=("refs/orchestrator/p/one-1.salvage-1",))
    state = replace(
        world.state, plans={plan.id: replace(plan, attempts=plan.attempts | {AttemptId("p/one-1"): attempt})}
    )
    (one,) = differences(state, needs_of(state), as_it_should_be(world))
    assert (one.kind, one.care) == ("lost_work", Care.TOLD)


# ---- what follows at a start ----


def a_difference(care: Care, said: str = "it is not there", kind: str = "lost_objects") -> Difference:
    return Difference(kind=kind, said=said, why="w", fix="f", care=care, plan_id=a_plan(a_task("one")).name)


def start(world: World, *left: Difference, mended: tuple[Difference, ...] = (), looked: bool = True) -> None:
    world.give(
        DaemonStarted(
            pid=2,
            boot_id="b",
            version="0",
            quiet=timedelta(minutes=10),
            mended=mended,
            differing=left if looked else None,
        )
    )


def waiting() -> World:
    """Two tasks, one after the other; the first one's agent is at work."""
    world = World(a_plan(a_task("one"), a_task("two", depends_on=("one",))))
    world.hold = lambda effect: effect.key.endswith("/worktree")
    return world.settle()


def test_a_plan_that_cannot_go_on_is_paused_before_anything_starts_and_a_person_is_asked_once() -> None:
    world = waiting()
    start(world, a_difference(Care.ASKED))
    start(world, a_difference(Care.ASKED))
    world.release_held().settle()
    assert world.plan_run.phase is PlanPhase.PAUSED
    assert [item.title for item in world.inbox()] == ["it is not there"]
    assert len(world.of(PlanPaused)) == 1
    assert world.task("two").state is TaskState.PENDING


def test_the_plan_goes_on_when_the_person_has_put_it_right() -> None:
    world = waiting()
    start(world, a_difference(Care.ASKED))
    world.answer_item("retry").release_held().settle()
    assert world.plan_run.phase is PlanPhase.PUBLISHED


def test_what_agrees_again_at_the_next_start_is_withdrawn_and_the_plan_goes_on() -> None:
    world = waiting()
    start(world, a_difference(Care.ASKED))
    start(world)
    assert world.inbox() == ()
    assert len(world.of(ItemWithdrawn)) == len(world.of(PlanResumed)) == 1
    assert world.release_held().settle().plan_run.phase is PlanPhase.PUBLISHED


def test_nothing_is_withdrawn_when_nobody_could_look() -> None:
    world = waiting()
    start(world, a_difference(Care.ASKED))
    start(world, looked=False)
    assert len(world.inbox()) == 1


def test_what_is_only_told_holds_nothing_and_is_not_told_again_after_its_answer() -> None:
    world = waiting()
    start(world, a_difference(Care.TOLD))
    world.answer_item("leave")
    start(world, a_difference(Care.TOLD))
    assert len(world.of(Escalated)) == 1
    assert world.release_held().settle().plan_run.phase is PlanPhase.PUBLISHED


def test_an_open_note_does_not_keep_a_plan_from_its_end() -> None:
    world = waiting()
    start(world, a_difference(Care.TOLD))
    assert world.release_held().settle().plan_run.phase is PlanPhase.PUBLISHED


def test_what_the_ledger_does_not_know_is_told_once() -> None:
    world = waiting()
    strange = a_difference(Care.TOLD, "x is not known", kind="unknown")
    start(world, strange)
    start(world, strange)
    start(world, strange, a_difference(Care.TOLD, "y is not known", kind="unknown"))
    assert [event.names for event in world.of(UnknownFound)] == [("x is not known",), ("y is not known",)]
    assert world.inbox() == ()


def test_what_was_put_right_is_recorded() -> None:
    world = waiting()
    start(world, mended=(a_difference(Care.SAFE, "a lock was there"),))
    assert [event.done for event in world.of(WorldMended)] == [("a lock was there; f",)]
    assert world.inbox() == ()
