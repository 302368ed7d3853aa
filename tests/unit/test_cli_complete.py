"""Completion as a shell asks for it, against a played ledger."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import typer
from typer.models import ArgumentInfo, OptionInfo

from orchestrator.cli import verb
from orchestrator.cli.complete import COMPLETERS, give_completer
from orchestrator.cli.main import app
from orchestrator.model.item import Option
from tests.unit.cli_world import Ledger, World, a_plan, a_task, an_item, run


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "auth.yaml").write_text("agents: {codex: {adapter: demo}}\ntasks: []\n")
    tasks = "tasks:\n  - {id: schema, title: The tables}\n  - {id: routes}\n  - {id: 7}\n  - nothing\n"
    (tmp_path / "plans" / "shop ü.yaml").write_text(tasks)
    (tmp_path / "shop.yaml").write_text(tasks)
    (tmp_path / "elsewhere.yml").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "orchestrator.toml").write_text("[agents.claude]\nadapter = 'demo'\n")
    ledger = Ledger(
        plans=[a_plan()],
        tasks=[a_task("db"), a_task("api", title="It's: a\x1b[31m\n'title'"), a_task("other", plan="old")],
        items=[an_item("i4"), an_item("i5", answer="retry", answered_at=a_plan().confirmed_at)],
    )
    ledger.plans.append(a_plan("old", current=False, confirmed_at=a_plan().confirmed_at.replace(year=2025)))
    return World(tmp_path, ledger)


def offered(world: World, typed: str, monkeypatch: pytest.MonkeyPatch, shell: str = "bash") -> int:
    monkeypatch.chdir(world.place.root)
    monkeypatch.setenv("_ORCHESTRATOR_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", f"orchestrator {typed}")
    monkeypatch.setenv("COMP_CWORD", str(len(shlex.split(typed)) + (typed.endswith(" ") or not typed)))
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", f"orchestrator {typed}")
    with pytest.raises(SystemExit) as ended:
        run(world)
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        pytest.param("stat", ["status"], id="verbs"),
        pytest.param("plan f", ["fmt"], id="verbs of a group"),
        pytest.param("status --wa", ["--watch"], id="options"),
        pytest.param("status ", ["db", "api"], id="tasks of the present plan"),
        pytest.param("logs a", ["api"], id="tasks that begin like this"),
        pytest.param("why d", ["db"], id="tasks of every verb that takes one"),
        pytest.param("status --plan ", ["auth", "old"], id="plans of the ledger"),
        pytest.param("status --plan old ", ["other"], id="tasks of the plan that is named"),
        pytest.param("answer ", ["i4"], id="items that are open"),
        pytest.param("inbox show ", ["i4"], id="items to look at"),
        pytest.param("answer i4 ", ["retry", "give_up"], id="choices of the item"),
        pytest.param("answer i4 g", ["give_up"], id="choices that begin like this"),
        pytest.param("answer i9 ", [], id="no choices of an item that is not there"),
        pytest.param("plan check ", ["plans/auth.yaml"], id="plan files"),
        pytest.param("start else", ["elsewhere.yml"], id="plan files elsewhere"),
        pytest.param("start pl", ["plans/auth.yaml", "plans/"], id="folders on the way"),
        pytest.param("plan fmt ", ["plans/auth.yaml"], id="plan files to lay out"),
        pytest.param("start --agent c", ["claude"], id="agents of the settings"),
        pytest.param("start plans/auth.yaml --agent ", ["codex", "claude", "demo"], id="agents of the plan"),
        pytest.param("plan graph plans/auth.yaml --format m", ["mermaid"], id="formats"),
        pytest.param("plan show shop.yaml ", ["schema", "routes", "7"], id="tasks of the file"),
        pytest.param("plan show 'plans/shop ü.yaml' r", ["routes"], id="tasks of a file with a space in its name"),
        pytest.param("start shop.yaml --drop s", ["schema"], id="tasks of the file to leave out"),
        pytest.param("start --drop a", ["api"], id="tasks of the present plan to leave out"),
        pytest.param("start shop.yaml --first ", ["schema:", "routes:", "7:"], id="the first of two tasks"),
        pytest.param("start shop.yaml --first schema:", ["schema:routes", "schema:7"], id="the second of two tasks"),
        pytest.param("logs --stream ", ["agent", "daemon", "events", "checks"], id="streams"),
        pytest.param("logs --level w", ["warning"], id="levels"),
    ],
)
def test_completion_offers(
    world: World, typed: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert offered(world, typed, monkeypatch) == 0
    said = capsys.readouterr()
    assert said.out.split() == words
    assert said.err == ""


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_shells_that_can_show_a_word_on_each_get_it(
    world: World, shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    assert offered(world, "answer ", monkeypatch, shell) == 0
    assert "failed 4 times" in capsys.readouterr().out
    assert offered(world, "status a", monkeypatch, shell) == 0
    out = capsys.readouterr().out
    assert "(planned)" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    "typed", ["status ", "answer ", "answer i4 ", "start --agent ", "plan check ", "status --plan "]
)
def test_nothing_is_said_where_nothing_can_be_known(
    tmp_path: Path, typed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "orchestrator.toml").write_text("this is [no toml")
    assert offered(World(tmp_path), typed, monkeypatch) == 0
    said = capsys.readouterr()
    assert said.out.strip() == ""
    assert said.err == ""


def test_every_argument_and_option_that_can_be_completed_is() -> None:
    missing = []

    def walk(command: object, words: str) -> None:
        for parameter in getattr(command, "params", ()):
            names = {*parameter.opts, parameter.metavar}
            if names & COMPLETERS.keys() and parameter._custom_shell_complete is None:
                missing.append(f"{words} {parameter.name}")
        for name, below in getattr(command, "commands", {}).items():
            walk(below, f"{words} {name}")

    walk(typer.main.get_command(app), "orchestrator")
    assert missing == []


def test_a_completer_that_somebody_chose_is_kept() -> None:
    chosen = typer.Argument(metavar="TASK", autocompletion=verb.complete_task)
    other = typer.Option("--format", autocompletion=verb.complete_task)
    for info in (chosen, other):
        assert isinstance(info, ArgumentInfo | OptionInfo)
        give_completer(info)
        assert info.autocompletion is verb.complete_task


def test_what_an_agent_worded_is_never_put_on_a_command_line_where_a_shell_would_obey_it(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.ledger is not None
    names = ("$(touch x)", "a b", "-x", "b;c", "sqlite")
    options = tuple(Option(id=name, label="x", effect="$(touch x) `y`") for name in names)
    world.ledger.items = [an_item("i7", options=options)]
    for shell in ("bash", "zsh"):
        assert offered(world, "answer i7 ", monkeypatch, shell) == 0
        out = capsys.readouterr().out
        assert "sqlite" in out
        assert not any(sign in out for sign in ("$", "`", ";", "a b", "-x"))
