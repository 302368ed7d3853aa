"""A check has no lease: past its time it is looked at, and one that shows no life is killed and runs again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.core.lifecycle import decide
from orchestrator.model.attempt import RunLife
from orchestrator.model.effect import KillRun, ProbeRun, ReleaseRun
from orchestrator.model.event import Landed
from orchestrator.model.fact import CandidateBuilt, RunKilled, RunProbed, RunReleased, StopDue
from orchestrator.model.ids import RunId
from orchestrator.model.run import TaskState
from tests.fakes.world import World, a_plan, a_task

CHECK = RunId("p/~1/check-tests")


def with_a_silent_check() -> World:
    """A world in which the only check was given its go-byte, and nothing is heard of it."""
    world = World(a_plan(a_task("one")))
    world.hold = lambda effect: (
        isinstance(effect, ProbeRun | KillRun) or (isinstance(effect, ReleaseRun) and effect.run_id == CHECK)
    )
    world.settle()
    world.give(RunReleased(run_id=CHECK))
    world.held.clear()
    return world


def past_its_time(world: World) -> World:
    due = next(wake for wake in world.wakes if wake.fact == StopDue(run_id=CHECK))
    assert due.at >= world.now + timedelta(minutes=10), "a check has its whole time limit"
    world.now = due.at
    world.give(due.fact)
    return world.settle()


def probe(world: World, life: RunLife) -> World:
    (look,) = (effect for effect in world.held if isinstance(effect, ProbeRun))
    world.held.clear()
    world.give(RunProbed(run_id=CHECK, token=look.token, life=life))
    return world.settle()


def test_a_check_past_its_time_is_looked_at_before_it_is_killed() -> None:
    world = past_its_time(with_a_silent_check())
    assert [type(effect) for effect in world.held] == [ProbeRun]


def test_a_check_that_shows_life_is_left_alone_and_looked_at_again() -> None:
    world = probe(past_its_time(with_a_silent_check()), RunLife.ALIVE)
    assert not world.held
    assert any(wake.at > world.now and wake.fact == StopDue(run_id=CHECK) for wake in world.wakes)


@pytest.mark.parametrize("life", [RunLife.SILENT, RunLife.GONE])
def test_a_check_without_life_is_killed_and_runs_again_and_the_task_lands(life: RunLife) -> None:
    world = probe(past_its_time(with_a_silent_check()), life)
    assert [type(effect) for effect in world.held] == [KillRun]
    world.held.clear()
    world.give(RunKilled(run_id=CHECK, left=()))
    world.run()
    assert world.task("one").state is TaskState.LANDED
    assert "gate_failed" not in world.names()


def test_a_look_that_comes_after_the_end_changes_nothing() -> None:
    world = World(a_plan(a_task("one"))).run()
    before = world.state
    world.give(StopDue(run_id=CHECK))
    assert world.state == before


def test_a_candidate_that_is_told_as_built_again_asks_for_nothing_under_a_key_that_is_taken() -> None:
    """Its tree was asked for with its landing; the store refuses another request under the same key."""
    world = World(a_plan(a_task("one")))
    world.run()
    (landed,) = world.of(Landed)
    assert landed.candidate_id is not None
    assert landed.commit is not None
    built = CandidateBuilt(candidate_id=landed.candidate_id, commit=landed.commit, tree="t", path="/c")
    again = decide(world.state, built, world.now, 0.5).effects
    assert not {effect.key for effect in again} & world.keys
