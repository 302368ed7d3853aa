"""What becomes of effects that cannot be carried out."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator.engine import perform
from orchestrator.engine.perform import Performer
from orchestrator.model.effect import CollectWork, Effect, LandCandidate, MirrorBranch
from orchestrator.model.errors import RepositoryError
from orchestrator.model.fact import CandidateLanded, Done, Fact, LandingRefused, WorkCollected
from orchestrator.model.place import Place
from orchestrator.ports import Collected
from tests.fakes.world import World, a_plan, a_task

FULL = os.strerror(errno.ENOSPC)


class Repository:
    """Brings work home when there is room."""

    def __init__(self, troubles: list[Exception | Collected]) -> None:
        self.troubles = troubles

    async def collect(self, *_: object, **__: object) -> Collected:
        trouble = self.troubles.pop(0)
        if isinstance(trouble, Exception):
            raise trouble
        return trouble

    async def mirror(self, *_: object) -> None:
        if self.troubles:
            raise self.troubles.pop(0)  # type: ignore[misc]


def collected(error: str = "") -> Collected:
    return Collected(head=None, descends=False, changed=(), committed_by_us=False, error=error)


def outcome(monkeypatch: pytest.MonkeyPatch, kind: type[Effect], troubles: list[Exception | Collected]) -> Fact:
    monkeypatch.setattr(perform, "ROOM_PAUSE_S", 0)
    held: list[Effect] = []
    world = World(a_plan(a_task("one")))
    world.hold = lambda effect: isinstance(effect, kind) and not held.append(effect)
    world.run()
    nowhere: Any = None
    home = Path("/nowhere")
    performer = Performer(
        place=Place(root=home, common_dir=home, state_dir=home, worktrees=home, socket=home),
        repository=Repository(troubles),  # type: ignore[arg-type]
        preparer=nowhere,
        executor=nowhere,
        adapters={},
        surroundings=nowhere,
        clock=nowhere,
        state=lambda: world.state,
    )
    return anyio.run(performer.perform, held[0])


def brought_home(monkeypatch: pytest.MonkeyPatch, troubles: list[Exception | Collected]) -> WorkCollected:
    fact = outcome(monkeypatch, CollectWork, troubles)
    assert isinstance(fact, WorkCollected)
    return fact


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(OSError(errno.ENOSPC, FULL), id="a file of ours"),
        pytest.param(RepositoryError("git failed", why=f"unable to write: {FULL}", fix=""), id="git"),
        pytest.param(collected(f"error: unable to write file: {FULL}"), id="git, with half of it done"),
    ],
)
def test_a_full_disk_is_waited_for_and_not_held_against_the_work(
    monkeypatch: pytest.MonkeyPatch, trouble: Exception | Collected
) -> None:
    assert brought_home(monkeypatch, [trouble, trouble, collected()]).error == ""


def test_a_landing_is_shown_when_there_is_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(outcome(monkeypatch, MirrorBranch, [OSError(errno.ENOSPC, FULL)]), Done)


def test_any_other_trouble_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    trouble = RepositoryError("git failed", why="bad object", fix="")
    assert "bad object" in brought_home(monkeypatch, [trouble, collected()]).error


class Lander:
    """Moves the branch, and cannot tell."""

    def __init__(self, troubles: int) -> None:
        self.calls = 0
        self._troubles = troubles

    async def land(self, *_: object) -> None:
        self.calls += 1
        if self.calls <= self._troubles:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize(
    ("troubles", "fact"),
    [
        pytest.param(3, CandidateLanded, id="it is tried until it is known"),
        pytest.param(10**6, LandingRefused, id="not for ever"),
    ],
)
def test_a_landing_whose_outcome_is_unknown_is_not_taken_for_refused(
    monkeypatch: pytest.MonkeyPatch, troubles: int, fact: type
) -> None:
    monkeypatch.setattr(perform, "LOOK_PAUSE_S", 0)
    world, effect = about_to_land()
    assert isinstance(landed(world, effect, Lander(troubles)), fact)


def test_what_is_of_a_claim_that_was_replaced_moves_no_branch() -> None:
    world, effect = about_to_land()
    repository = Lander(0)
    assert isinstance(effect, LandCandidate)
    refused = landed(world, replace(effect, token=7), repository)
    assert isinstance(refused, LandingRefused)
    assert "token 7" in refused.detail
    assert repository.calls == 0


def about_to_land() -> tuple[World, Effect]:
    held: list[Effect] = []
    world = World(a_plan(a_task("one")))
    world.hold = lambda effect: isinstance(effect, LandCandidate) and not held.append(effect)
    world.run()
    return world, held[0]


def landed(world: World, effect: Effect, repository: Lander) -> Fact:
    nowhere: Any = None
    home = Path("/nowhere")
    performer = Performer(
        place=Place(root=home, common_dir=home, state_dir=home, worktrees=home, socket=home),
        repository=repository,  # type: ignore[arg-type]
        preparer=nowhere,
        executor=nowhere,
        adapters={},
        surroundings=nowhere,
        clock=nowhere,
        state=lambda: world.state,
    )
    return anyio.run(performer.perform, effect)
