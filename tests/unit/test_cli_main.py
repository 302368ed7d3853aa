"""The outermost layer: every error as text or envelope, help, colours, and what is not imported."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator import __version__
from orchestrator.cli import main as cli
from orchestrator.cli.session import CONTRACT
from orchestrator.model.errors import (
    ConfirmationNeeded,
    NoDaemonError,
    NothingError,
    OrchestratorError,
    PlanError,
    Problem,
    RefusedError,
    RepositoryError,
    SettingsError,
    UsageError,
)
from orchestrator.model.run import TaskState
from orchestrator.wire import CONTRACT as THE_CONTRACT
from tests.unit.cli_world import NOW, Ledger, World, a_plan, a_task, an_item, run


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, Ledger(plans=[a_plan()], tasks=[a_task("db")]))


def test_the_command_line_speaks_the_contract_of_the_wire() -> None:
    assert CONTRACT == THE_CONTRACT


def broken(error: BaseException) -> Any:
    def raising(*_: object, **__: object) -> Any:
        raise error

    return raising


ERRORS = [
    (UsageError, "usage", 2),
    (SettingsError, "settings", 2),
    (RepositoryError, "repository", 2),
    (NoDaemonError, "no_daemon", 3),
    (ConfirmationNeeded, "confirmation_needed", 4),
    (RefusedError, "refused", 6),
    (NothingError, "nothing", 7),
]


@pytest.mark.parametrize(("kind", "code", "exit_code"), ERRORS, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("where", ["before", "after"])
def test_every_error_becomes_an_envelope_or_text(
    world: World,
    kind: type[OrchestratorError],
    code: str,
    exit_code: int,
    where: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    world.open_ledger = broken(kind("what", why="the reason", fix="do this"))  # type: ignore[method-assign]
    assert run(world, *(["--json", "status"] if where == "before" else ["status", "--json"])) == exit_code
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out) == {
        "contract": 1,
        "command": "status",
        "ok": False,
        "data": None,
        "error": {"code": code, "message": "what", "why": "the reason", "fix": "do this"},
    }
    assert run(world, "status") == exit_code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "error: what\n  why: the reason\n  fix: do this\n")


def test_plan_errors_of_the_daemon_fill_data_too(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    problem = Problem(code="cycle", message="m", file="p.yaml", line=2, column=1)
    world.refusal = PlanError(problems=(problem,))
    assert run(world, "publish", "--json") == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["data"]["errors"][0]["code"] == "cycle"
    assert answer["error"]["code"] == "cycle"


def test_our_own_bug_is_said_to_be_one(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.open_ledger = broken(ZeroDivisionError("oops"))  # type: ignore[method-assign]
    assert run(world, "status") == 70
    err = capsys.readouterr().err
    assert "this is a bug in orchestrator: ZeroDivisionError: oops" in err
    assert "Traceback" not in err
    assert run(world, "status", "--debug") == 70
    assert "Traceback" in capsys.readouterr().err
    assert run(world, "status", "--json") == 70
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "bug"


def test_an_interrupted_command_ends_with_130(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.open_ledger = broken(KeyboardInterrupt())  # type: ignore[method-assign]
    assert run(world, "status") == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["statsu"], "'status'", id="the nearest verb"),
        pytest.param(["inbox", "shwo"], "'show'", id="the nearest verb of a group"),
        pytest.param(["status", "--wat"], "--watch", id="the nearest option"),
        pytest.param(["why"], "orchestrator why --help", id="where to read on"),
        pytest.param(["plan"], "orchestrator plan --help", id="a group alone"),
        pytest.param(["events", "-n", "many"], "-n", id="not a number"),
        pytest.param(["status", "--color", "pink"], "auto, always or never", id="no such colour"),
        pytest.param(["-C", "/no/such/folder", "status"], "there is no folder", id="no such folder"),
    ],
)
def test_usage_errors_say_what_would_be_right(
    world: World, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert run(world, *arguments, "--json") == 2
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["error"]["code"]) == (False, "usage")


def test_help_has_an_example_for_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    for _, group in cli.HELP:
        for verb, _, example in group:
            assert re.search(rf"^  {verb}  +\w", out, re.MULTILINE), verb
            assert f"orchestrator {example}" in out
            assert cli.main([*verb.split(), "--help"]) == 0
            said = " ".join(capsys.readouterr().out.split())
            assert f"Example: orchestrator {example}" in said
            assert "--json" in said


def test_every_verb_is_in_the_help() -> None:
    import typer

    top = typer.main.get_command(cli.app)
    verbs = set()
    for name, command in top.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", {})
        verbs |= {f"{name} {one}" for one in inner} | (
            {name} if getattr(command, "invoke_without_command", 1) else set()
        )
    assert verbs == {verb for _, group in cli.HELP for verb, _, _ in group}


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"orchestrator {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "no_color", "coloured"),
    [
        pytest.param([], None, False, id="nobody looks"),
        pytest.param(["--color", "always"], None, True, id="always"),
        pytest.param(["--color", "always"], "1", True, id="the flag is stronger than NO_COLOR"),
        pytest.param(["--color", "never"], None, False, id="never"),
    ],
)
def test_colours_are_only_where_they_are_wanted(
    world: World,
    arguments: list[str],
    no_color: str | None,
    coloured: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", no_color)
    assert run(world, "status", *arguments) == 0
    assert ("\x1b[" in capsys.readouterr().out) is coloured


# ---- as a process ----

HEAVY = {
    "git", "networkx", "fastapi", "uvicorn", "starlette", "pydantic_settings", "httpx2", "mcp", "acp", "yaml",
}  # fmt: skip


def command(*arguments: str, cwd: Path, check: str = "pass") -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own; `check` runs after it."""
    program = f"import sys; from orchestrator.cli.main import main; code = main(sys.argv[1:]); {check}; sys.exit(code)"
    environ = {**os.environ, "PYTHONWARNINGS": "error"}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["status"], 7),
        (["logs"], 7),
        (["events"], 7),
        (["inbox"], 7),
        (["report"], 7),
        ([], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_looking_loads_nothing_heavy(tmp_path: Path, arguments: list[str], code: int) -> None:
    (tmp_path / ".git").mkdir()
    for name in ("objects", "refs"):
        (tmp_path / ".git" / name).mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    ended = command(
        *arguments,
        cwd=tmp_path,
        check="print('LOADED', *sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)",
    )
    assert ended.returncode == code, ended.stderr
    loaded = set(ended.stderr.rpartition("LOADED")[2].split())
    assert "orchestrator" in loaded
    assert loaded & HEAVY == set()


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    program = (
        "import sys; from tests.unit.cli_world import *; from pathlib import Path\n"
        "events = [an_event(n, 'landed', 'db', commit='c' * 40) for n in range(20000)]\n"
        "sys.exit(run(World(Path(sys.argv[1]), Ledger(events=events)), 'events', '--json'))"
    )
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    os.read(reading, 10)
    os.close(reading)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")


def test_it_can_be_run_as_a_module(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator", "--version"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ended.stdout == f"orchestrator {__version__}\n"


def test_outside_of_a_repository_it_says_so(tmp_path: Path) -> None:
    bare = command(cwd=tmp_path)
    assert bare.returncode == 2
    assert "Go into a git repository" in bare.stdout
    assert command("status", "--json", cwd=tmp_path).returncode == 2


FOLLOWED = """
import sys
from dataclasses import replace
from pathlib import Path
from orchestrator.cli.main import main
from orchestrator.cli.session import Session
from orchestrator.model.run import PlanPhase, TaskState
from tests.unit.cli_world import *

root = Path(sys.argv[1])
running = a_task("db", TaskState.RUNNING, history=(an_attempt("db"),))
ledger = Ledger(plans=[a_plan()], tasks=[running], items=[an_item()])
world = World(root, ledger)
output = world.place.state_dir / "attempts/auth/db-1/agent/output"
output.parent.mkdir(parents=True)
output.write_text("compiling\\n")

def wait(seconds):
    ledger.tasks = [a_task("db", TaskState.LANDED)]
    ledger.plans = [a_plan(state=PlanPhase.PUBLISHED)]
    ledger.changes += 1

place = world.place
session = Session(world=lambda: world, connect=lambda _: world, now=lambda: NOW, wait=wait, known_place=place)
sys.exit(main(["start"], session=session))
"""


def test_on_a_real_terminal_the_board_is_drawn_in_place(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", FOLLOWED, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not piece:
            break
        said += piece
    os.close(ours)
    assert process.wait(timeout=60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode())
    assert "doing (1)" in text
    assert "compiling" in text, "the last line of a running agent"
    assert "Ctrl-C leaves this view" in text
    assert b"\x1b[1A" in said, "drawn again in the same place"
    assert "auth is finished and published: 1 of 1 tasks landed" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("pause",), "resume", id="pause"),
        pytest.param(("cancel",), "cancel --all", id="cancel"),
        pytest.param(("publish",), "status", id="publish"),
        pytest.param(("undo", "api"), "status api", id="undo"),
        pytest.param(("stop",), "stop --now", id="stop"),
        pytest.param(("answer", "i9", "retry"), "inbox", id="what is answered"),
        pytest.param(("conflicts", "open", "api"), "status", id="no conflict"),
    ],
)
def test_who_typed_orch_is_told_to_type_orch(
    tmp_path: Path,
    words: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/orch"])
    answered = an_item("i9", answer="retry", answered_at=NOW)
    ledger = Ledger(plans=[a_plan()], tasks=[a_task("api", TaskState.LANDED)], items=[answered])
    run(World(tmp_path, ledger), *words, wait=lambda seconds: None)
    printed = capsys.readouterr()
    text = printed.out + printed.err
    assert f"orch -C {tmp_path} {said}" in text
    assert "orchestrator " not in text
