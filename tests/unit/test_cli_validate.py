"""`validate` and `restart` as a person types them."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.app.validation import Validation
from orchestrator.model.difference import Care, ClearLocks, Difference
from orchestrator.model.run import PlanPhase
from tests.unit.cli_world import Ledger, World, a_plan, run

LOCK = Difference(
    kind="stale_lock", said="locked", why="a kill", fix="removed", care=Care.SAFE, remedy=ClearLocks(names=("x",))
)
STRANGE = Difference(kind="unknown", said="x is not known", why="older", fix="look", care=Care.TOLD)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, Ledger(plans=[a_plan()]))


def test_agreement_is_said_in_one_line_and_ends_with_0(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.validation = Validation(events=3, mended=(), left=())
    assert run(world, "validate") == 0
    assert capsys.readouterr().out == "Everything agrees with the 3 events of the ledger.\n"
    assert world.fixes == [False]


@pytest.mark.parametrize(
    ("pid", "words"), [(None, "validate --fix puts 1 difference right"), (7, "restart puts 1 difference right")]
)
def test_differences_are_said_with_what_puts_them_right_and_end_with_1(
    world: World, capsys: pytest.CaptureFixture[str], pid: int | None, words: str
) -> None:
    world.pid = pid
    world.validation = Validation(events=3, mended=(), left=(LOCK, STRANGE))
    assert run(world, "validate") == 1
    said = capsys.readouterr()
    assert [line.split()[0] for line in said.out.splitlines()] == ["safe", "why:", "fix:", "look", "why:", "fix:"]
    assert "not everything agrees: 2 differences" in said.err
    assert words in said.err
    assert "1 difference is for you to look at" in said.err


def test_what_was_put_right_is_said(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.validation = Validation(events=1, mended=(LOCK,), left=())
    assert run(world, "validate", "--fix") == 0
    said = capsys.readouterr().out
    assert said.startswith("mended  locked\n")
    assert said.endswith("Everything agrees now with the 1 event of the ledger.\n")
    assert world.fixes == [True]


def test_as_json_each_difference_is_told_with_its_kind(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    world.validation = Validation(events=1, mended=(LOCK,), left=(STRANGE,))
    assert run(world, "validate", "--fix", "--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["ok"], said["error"]["code"]) == (False, "differs")
    assert [(one["kind"], one["safe"]) for one in said["data"]["mended"]] == [("stale_lock", True)]
    assert [(one["kind"], one["safe"]) for one in said["data"]["differences"]] == [("unknown", False)]


# ---- restart ----


def test_restart_ends_the_daemon_and_starts_another(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "restart") == 0
    assert (world.ended, world.spawned) == ([4242], 1)
    assert "The daemon was restarted (pid 4243); agents went on meanwhile." in capsys.readouterr().out


def test_restart_starts_a_daemon_for_a_plan_that_is_unfinished(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.pid = None
    assert run(world, "restart") == 0
    assert (world.ended, world.spawned) == ([], 1)
    assert "A daemon was started (pid 4243)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "ledger", [pytest.param(None, id="no ledger"), pytest.param(Ledger(plans=[a_plan(state=PlanPhase.PUBLISHED)]))]
)
def test_restart_starts_nothing_for_nothing(
    world: World, capsys: pytest.CaptureFixture[str], ledger: Ledger | None
) -> None:
    world.pid, world.ledger = None, ledger
    assert run(world, "restart") == 0
    assert world.spawned == 0
    assert "nothing to start" in capsys.readouterr().out


def test_restart_says_how_to_end_a_daemon_that_does_not_end(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.pid_after = 4242
    assert run(world, "restart", wait=lambda _: None) == 6
    assert "kill -KILL 4242" in capsys.readouterr().err
    assert world.spawned == 0


@pytest.mark.parametrize("words", [("restart",), ("validate", "--fix")])
def test_an_agent_may_do_neither(world: World, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    monkeypatch.setenv("ORCHESTRATOR_RUN", "x")
    assert run(world, *words) == 6
    assert (world.ended, world.fixes) == ([], [])
