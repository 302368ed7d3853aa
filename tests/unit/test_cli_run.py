"""`run`: one task without a plan file, with the same question and digest as a plan has."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.planfile import parse_plan
from orchestrator.model.run import PlanPhase
from orchestrator.wire import Overrides
from tests.unit.cli_world import a_plan, a_task, run
from tests.unit.test_cli_confirm import PlanWorld

RUN = ("run", "Fix the login", "--files", "src/auth/**", "--agent", "demo", "--checks", "none")


@pytest.fixture
def world(tmp_path: Path) -> PlanWorld:
    return PlanWorld(tmp_path)


def the_digest(world: PlanWorld, *words: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run(world, *words, "--json") == 4
    found: str = json.loads(capsys.readouterr().out)["data"]["digest"]
    return found


def test_a_task_is_run_on_a_yes_and_its_plan_is_kept(world: PlanWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, *RUN, terminal=True, typed=("y",)) == 1
    out = capsys.readouterr().out
    assert "plan fix-the-login  lands on main" in out
    (submitted,) = world.submitted
    assert submitted.path == str(world.place.kept_plans / "fix-the-login.yaml")
    assert submitted.overrides == Overrides()
    (task,) = parse_plan(world.kept["fix-the-login"], file="x").table.tasks
    assert (task.id, task.prompt, task.agent) == ("fix-the-login", "Fix the login", "demo")


def test_nothing_is_kept_without_a_yes(world: PlanWorld) -> None:
    assert run(world, *RUN) == 4
    assert run(world, *RUN, "--confirm", "0" * 64) == 4
    assert run(world, *RUN, terminal=True, typed=("n",)) == 4
    assert (world.kept, world.submitted) == ({}, [])


@pytest.mark.parametrize(
    "words",
    [
        RUN,
        ("run", "--checks", "none", "--agent", "demo", "--detach", "--", "--fix 'it'"),
        ("run", "Größe: ändern\nund \"mehr\"", "--agent", "demo", "--check", "make test", "--check", "ls | wc -l"),
        ("run", "x", "--agent", "demo", "--check", "make", "--check", "make", "--timeout", "5m", "--name", "mine"),
    ],
    ids=["files", "a dash", "umlauts and lines", "everything"],
)  # fmt: skip
def test_the_command_that_is_told_does_the_same_without_a_question(
    world: PlanWorld, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, *words[:1], "--exit-when-blocked", *words[1:]) == 4
    told = capsys.readouterr().err.partition("fix: ")[2].strip()
    again = shlex.split(told)
    assert again[1:3] == ["-C", str(world.place.root)]
    assert "--exit-when-blocked" in again
    assert ("--detach" in again) is ("--detach" in words)
    run(world, *again[3:])
    assert world.submitted[0].digest == again[again.index("--confirm") + 1]


def test_an_agent_chosen_at_the_question_is_as_good_as_the_flag(
    world: PlanWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world.project = {"agents": {"one": {"adapter": "demo"}, "two": {"adapter": "demo"}}}
    words = ("run", "Fix it", "--checks", "none")
    run(world, *words, terminal=True, typed=("a two", "a fix one", "y"))
    err = capsys.readouterr().err
    again = PlanWorld(world.place.root)
    again.project = world.project
    assert world.submitted[0].digest == the_digest(again, *words, "--agent", "one", capsys=capsys)
    assert "run 'Fix it' --checks none --agent one --confirm" in err


def test_without_files_it_is_said_that_everything_may_change(
    world: PlanWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, "run", "x", "--agent", "demo", "--checks", "none") == 4
    out = capsys.readouterr().out
    assert "the agent may change the whole repository" in out
    run(world, *RUN)
    assert "whole repository" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run",), "it is not said what is to be done"),
        (("run", " \n"), "the prompt is empty"),
        (("run", "x", "--prompt-file", "y"), "said twice"),
        (("run", "--prompt-file", "none.md"), "cannot read the prompt file none.md"),
        (("run", "--prompt-file", "latin"), "not UTF-8"),
        (("run", "\udcff"), "not UTF-8"),
        (("run", "x", "--checks", "all"), "--checks cannot be 'all'"),
        (("run", "x", "--checks", "none", "--check", "make"), "contradict"),
        (("run", "x", "--check", "make 'test"), "--check cannot read"),
        (("run", "x", "--check", ""), "--check cannot read"),
        (("run", "x", "--name", "Fix"), "lower case"),
        (("run", "x", "--name", "../x"), "cannot be used as an id"),
        (("run", "x", "--name", "plans"), "reserved"),
        (("run", "x", "--detach", "--foreground"), "choose one of them"),
        (("run", "x"), "--check 'make test', or --checks none"),
        (("run", "x", "--checks", "none"), "--agent NAME"),
        (("run", "x", "--checks", "none", "--agent", "dmeo"), "write 'demo'"),
        (("run", "x", "--checks", "none", "--agent", "demo", "--timeout", "5"), "--timeout 30m"),
        (("run", "x", "--checks", "none", "--agent", "demo", "--files", "../x"), "'../x'"),
        (("run", "a\x1bb", "--checks", "none", "--agent", "demo"), "character"),
    ],
    ids=lambda value: " ".join(value[1:]).encode("unicode_escape").decode() if isinstance(value, tuple) else "",
)
def test_what_cannot_be_run_is_said_in_the_words_of_the_command(
    world: PlanWorld, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (world.place.root / "latin").write_bytes(b"\xff\xfe")
    assert run(world, *words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert ".yaml" not in err
    assert world.kept == {}


def test_a_prompt_comes_from_a_file_or_from_the_input(
    world: PlanWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (world.place.root / "a prompt.md").write_bytes("\ufeffFix the login\r\nand say so\r\n".encode())
    rest = ("--agent", "demo", "--checks", "none")
    from_file = the_digest(world, "run", "--prompt-file", "a prompt.md", *rest, capsys=capsys)

    class Input:
        buffer = io.BytesIO(b"Fix the login\nand say so\n")

    monkeypatch.setattr("sys.stdin", Input)
    assert the_digest(world, "run", "--prompt-file", "-", *rest, capsys=capsys) == from_file
    assert the_digest(world, "run", "Fix the login\nand say so\n", *rest, capsys=capsys) == from_file


# ---- names ----


@pytest.mark.parametrize(
    ("earlier", "words", "name"),
    [
        pytest.param([], RUN, "fix-the-login", id="the first"),
        pytest.param([RUN], RUN, "fix-the-login", id="the same again"),
        pytest.param([RUN], (*RUN, "--timeout", "5m"), "fix-the-login-2", id="another text"),
        pytest.param([RUN, (*RUN, "--timeout", "5m")], (*RUN, "--timeout", "5m"), "fix-the-login-2", id="that again"),
        pytest.param([RUN, (*RUN, "--timeout", "5m")], (*RUN, "--timeout", "6m"), "fix-the-login-3", id="a third"),
        pytest.param([RUN], (*RUN, "--name", "fix-the-login"), "fix-the-login", id="the name of a run"),
        pytest.param([RUN], (*RUN, "--name", "other"), "other", id="a name of one's own"),
    ],
)
def test_a_run_gets_a_name_that_means_it(
    world: PlanWorld, earlier: list[tuple[str, ...]], words: tuple[str, ...], name: str
) -> None:
    for before in earlier:
        run(world, *before, terminal=True, typed=("y",))
    run(world, *words, terminal=True, typed=("y",))
    assert Path(world.submitted[-1].path).stem == name


def test_a_plan_of_a_file_never_loses_its_name_to_a_run(world: PlanWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert world.ledger is not None
    world.ledger.plans = [a_plan("fix-the-login", PlanPhase.PUBLISHED)]
    run(world, *RUN, terminal=True, typed=("y",))
    assert Path(world.submitted[-1].path).stem == "fix-the-login-2"
    world.ledger.plans = [a_plan("mine", PlanPhase.PUBLISHED)]
    assert run(world, *RUN, "--name", "mine") == 6
    assert "choose another --name" in capsys.readouterr().err


def test_the_same_run_under_way_is_followed(world: PlanWorld, capsys: pytest.CaptureFixture[str]) -> None:
    run(world, *RUN, terminal=True, typed=("y",))
    (first,) = world.submitted
    ledger = world.ledger
    assert ledger is not None
    ledger.plans = [a_plan("fix-the-login", digest=first.digest)]
    ledger.tasks = [a_task("fix-the-login", plan="fix-the-login")]
    assert run(world, *RUN, "--detach") == 0
    assert len(world.submitted) == 1
    assert "fix-the-login is under way" in capsys.readouterr().out


def test_the_kept_plan_can_be_edited_and_another_agent_written_there_counts(
    world: PlanWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world.project = {"agents": {"one": {"adapter": "demo"}, "two": {"adapter": "demo"}}}

    def edited(path: Path) -> int:
        path.write_text(path.read_text().replace('agent: "one"', 'agent: "two"').replace("Fix it", "Fix it well"))
        return 0

    world.on_edit = edited
    run(world, "run", "Fix it", "--checks", "none", "--agent", "one", terminal=True, typed=("e", "y"))
    captured = capsys.readouterr()
    assert "agent: one -> two" in captured.out
    (submitted,) = world.submitted
    assert submitted.overrides == Overrides()
    assert f"start {submitted.path} --confirm" in captured.err


def test_errors_of_a_run_are_in_the_envelope(world: PlanWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "run", "x", "--agent", "demo", "--json") == 2
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (answer["command"], answer["ok"], answer["error"]["code"]) == ("run", False, "no_checks")
    assert answer["data"]["errors"][0]["file"] == ""
