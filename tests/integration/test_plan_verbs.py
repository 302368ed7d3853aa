"""`plan new`, `plan fmt`, `plan schema` on a real repository, typed into this process."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator import app
from orchestrator.cli.main import main
from orchestrator.cli.session import Session
from orchestrator.core.planfile import plan_schema
from orchestrator.core.planskeleton import FILL_IN
from orchestrator.ports import Stored

Type = Callable[..., int]


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mein repo ü"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    for words in (
        ["init", "-q", "-b", "trunk"],
        ["config", "user.name", "A"],
        ["config", "user.email", "a@b"],
        ["commit", "-q", "--allow-empty", "-m", "first"],
    ):
        subprocess.run(["git", *words], cwd=folder, check=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def typed(repo: Path, monkeypatch: pytest.MonkeyPatch) -> Type:
    def run(*words: str, answers: tuple[str, ...] | None = None) -> int:
        left = list(answers or ())
        session = Session(terminal=answers is not None, ask=lambda question: left.pop(0))
        code = main(list(words), session=session)
        assert not left, "not everything was asked"
        return code

    return run


def program(repo: Path, name: str) -> None:
    """An agent program on PATH."""
    path = repo.parent / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


def commit(repo: Path, **files: str) -> None:
    for name, text in files.items():
        (repo / name).write_text(text)
    subprocess.run(["git", "add", "."], cwd=repo, check=True)
    subprocess.run(["git", "commit", "-qm", "more"], cwd=repo, check=True)


# ---- plan new ----


@pytest.mark.parametrize(
    ("found", "left"),
    [
        pytest.param((), ["checks", "run", "files", "prompt"], id="nothing was found"),
        pytest.param(("make",), ["run", "files", "prompt"], id="tests were found"),
        pytest.param(("make", "claude"), ["files", "prompt"], id="and an agent"),
        pytest.param(("settings",), ["files", "prompt"], id="settings say both"),
    ],
)
def test_a_skeleton_passes_the_check_but_for_what_it_says_is_to_fill_in(
    repo: Path, typed: Type, capsys: pytest.CaptureFixture[str], found: tuple[str, ...], left: list[str]
) -> None:
    if "make" in found:
        commit(repo, Makefile="test:\n\ttrue\n")
    if "claude" in found:
        program(repo, "claude")
    if "settings" in found:
        (repo / "orchestrator.toml").write_text('checks = "none"\n[agents.a]\nadapter = "demo"\n')
    assert typed("plan", "new", "plans/one.yaml") == 0
    text = (repo / "plans/one.yaml").read_text()
    rows = text.splitlines()
    assert [row.split(":")[0].strip() for row in rows if FILL_IN in row and ":" in row.split("#")[0]] == left
    capsys.readouterr()
    assert typed("plan", "check", "plans/one.yaml", "--json") == 2
    errors = json.loads(capsys.readouterr().out)["data"]["errors"]
    assert [FILL_IN in rows[error["line"] - 1] for error in errors] == [True] * len(left)
    filled = {"checks": "none", "run": "[my-agent]", "files": "[a]", "prompt": "do it"}
    for key in left:
        text = re.sub(rf"^( *{key}:) +{FILL_IN}", rf"\1 {filled[key]}  {FILL_IN}", text, flags=re.M)
    (repo / "plans/one.yaml").write_text(text)
    assert typed("plan", "check", "plans/one.yaml") == 0, capsys.readouterr().err
    before = json.loads(_json(typed, capsys, "plan", "check", "plans/one.yaml"))["data"]["digest"]
    assert typed("plan", "fmt", "plans/one.yaml") == 0
    assert json.loads(_json(typed, capsys, "plan", "check", "plans/one.yaml"))["data"]["digest"] == before


def _json(typed: Type, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    typed(*words, "--json")
    return capsys.readouterr().out


def test_a_skeleton_explains_every_key_that_a_plan_can_have(typed: Type, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("plan", "new", "-") == 0
    text = capsys.readouterr().out
    schema = plan_schema()
    tables = [schema["properties"], *(table["properties"] for table in schema["$defs"].values())]
    for table in tables:
        for key, about in table.items():
            if "Not available yet." not in about.get("description", ""):
                assert re.search(rf"\b{key}:", text), key
    assert not [row for row in text.splitlines() if row != row.rstrip() or len(row) > 130]


@pytest.mark.parametrize("skeleton", [True, False], ids=["skeleton", "asked"])
def test_an_existing_file_is_never_overwritten(
    repo: Path, typed: Type, capsys: pytest.CaptureFixture[str], skeleton: bool
) -> None:
    (repo / "a.yaml").symlink_to("nowhere")
    assert typed("plan", "new", "a.yaml", answers=None if skeleton else ()) == 2
    said = capsys.readouterr().err
    assert "a.yaml is there already" in said
    assert "fix: choose another name" in said
    assert os.readlink(repo / "a.yaml") == "nowhere"


def test_a_person_is_asked_and_gets_a_plan_that_is_good_as_it_stands(
    repo: Path, typed: Type, capsys: pytest.CaptureFixture[str]
) -> None:
    commit(repo, Makefile="check:\n\ttrue\n", **{"a.py": ""})
    program(repo, "codex")
    answers = (
        *("Größe!", "größe", "size-1"),  # two names that cannot be
        *("nowhere", ""),  # no such branch; the current one
        *("", "gpt", ""),  # the check that was found; no such agent; the one that was found
        *("no spaces", "api", "The API: part 1", "", "Build it.", 'Say "done".', "", "../x", "src/** 'my file'"),
        *("API", "docs", "", "Write them.", "", "", "nothing", "api"),
        *("", "y"),
    )
    assert typed("plan", "new", answers=answers) == 0
    text = (repo / "plans/size-1.yaml").read_text()
    assert text == (
        "# yaml-language-server: $schema=../.git/orchestrator/plan.schema.json\n"
        "name: size-1\n"
        "target: trunk\n"
        "checks:\n"
        "  # Makefile has the target 'check'\n"
        "  - {name: tests, run: [make, check]}\n"
        "agents:\n"
        "  # started like this, codex edits files and runs commands without asking, in its own sandbox: writing only in"
        " the worktree\n"
        "  codex:\n"
        "    adapter: command\n"
        '    run: [codex, exec, "--skip-git-repo-check", "--sandbox", workspace-write, "-"]\n'
        "    stdin: briefing\n"
        "    pass_env: [OPENAI_API_KEY, CODEX_API_KEY]\n"
        "defaults: {agent: codex}\n"
        "tasks:\n"
        "  - id: api\n"
        '    title: "The API: part 1"\n'
        "    files: [src/**, my file]\n"
        "    prompt: |\n"
        "      Build it.\n"
        '      Say "done".\n'
        "  - id: docs\n"
        "    title: docs\n"
        "    depends_on: [api]\n"
        "    prompt: |\n"
        "      Write them.\n"
    )
    out = capsys.readouterr().out
    assert "plan check plans/size-1.yaml" in out
    assert json.loads((repo / ".git/orchestrator/plan.schema.json").read_text()) == plan_schema()
    assert typed("plan", "check", "plans/size-1.yaml") == 0
    assert typed("plan", "fmt", "--check", "plans/size-1.yaml") == 0
    assert subprocess.run(["git", "status", "-s"], cwd=repo, capture_output=True, text=True).stdout == "?? plans/\n"


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        pytest.param(("", "", "true", "", ""), 2, id="no task"),
        pytest.param(("", "", "true", "", "a", "", "", "", "", "n"), 4, id="no at the end"),
    ],
)
def test_nothing_is_written_without_a_yes(repo: Path, typed: Type, answers: tuple[str, ...], code: int) -> None:
    assert typed("plan", "new", "p.yaml", answers=answers) == code
    assert not (repo / "p.yaml").exists()


def test_a_person_who_goes_away_is_not_asked_for_ever(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("my-plan\n\n"))
    monkeypatch.setattr(Session, "may_ask", True)
    assert main(["plan", "new", "p.yaml"]) == 4
    assert not (repo / "p.yaml").exists()


# ---- plan fmt ----

UGLY = "tasks:\n- {prompt: p, id: a}   # why\nchecks: none\n"
NEAT = "checks: none\ntasks:\n  - {id: a, prompt: p}    # why\n"


def test_fmt_writes_the_file_and_keeps_its_mode_and_its_link(
    repo: Path, typed: Type, capsys: pytest.CaptureFixture[str]
) -> None:
    (repo / "real.yaml").write_text(UGLY)
    (repo / "real.yaml").chmod(0o640)
    (repo / "p.yaml").symlink_to("real.yaml")
    assert typed("plan", "fmt", "p.yaml", "--check") == 1
    assert typed("plan", "fmt", "p.yaml", "--diff") == 0
    assert "+checks: none" in capsys.readouterr().out
    assert (repo / "real.yaml").read_text() == UGLY
    assert typed("plan", "fmt", "p.yaml") == 0
    assert (repo / "real.yaml").read_text().split() == NEAT.split()
    assert (repo / "p.yaml").is_symlink()
    assert stat.S_IMODE((repo / "real.yaml").stat().st_mode) == 0o640
    assert typed("plan", "fmt", "p.yaml", "--check") == 0
    assert sorted(path.name for path in repo.iterdir()) == [".git", "p.yaml", "real.yaml"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("tasks: [\n", "this is not valid YAML", id="no YAML"),
        pytest.param("tasks:\n- id: a\n  fils: []\n", "fils", id="a key that does not exist"),
        pytest.param("tasks:\n- &a {id: a}\n", "is not allowed in a plan", id="an anchor"),
    ],
)
def test_a_plan_with_errors_is_left_as_it_is(
    repo: Path, typed: Type, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (repo / "good.yaml").write_text(UGLY)
    (repo / "p.yaml").write_text(text)
    assert typed("plan", "fmt", "good.yaml", "p.yaml") == 2
    assert said in capsys.readouterr().err
    assert (repo / "p.yaml").read_text() == text
    assert (repo / "good.yaml").read_text() == UGLY


def test_without_a_name_all_plans_of_the_folder_are_laid_out(repo: Path, typed: Type) -> None:
    assert typed("plan", "fmt") == 2
    (repo / "plans").mkdir()
    for name in ("a.yaml", "b.yml"):
        (repo / "plans" / name).write_text(UGLY)
    assert typed("plan", "fmt") == 0
    assert typed("plan", "fmt", "--check") == 0


def test_a_plan_on_standard_input_comes_out_laid_out(
    typed: Type, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(UGLY.encode())))
    assert typed("plan", "fmt", "-") == 0
    assert capsys.readouterr().out.split() == NEAT.split()


@pytest.mark.parametrize(
    ("old", "new"), [("id: a", "id: b"), ("# why", ""), ("tasks", "[")], ids=["another id", "a comment lost", "no plan"]
)
def test_a_layout_that_would_not_say_the_same_is_our_bug_and_changes_nothing(
    repo: Path, typed: Type, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    (repo / "p.yaml").write_text(UGLY)
    monkeypatch.setattr("orchestrator.core.planlayout.laid_out", lambda text, files: text.replace(old, new))
    assert typed("plan", "fmt", "p.yaml") == 70
    assert "bug in orchestrator" in capsys.readouterr().err
    assert (repo / "p.yaml").read_text() == UGLY


def test_somebody_who_changes_the_file_meanwhile_wins(repo: Path, typed: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    (repo / "p.yaml").write_text(UGLY)
    real = app.save_text

    def late(path: Path, text: str, **more: Any) -> None:
        path.write_text("tasks: [{id: mine}]\n")
        real(path, text, **more)

    monkeypatch.setattr(app, "save_text", late)
    assert typed("plan", "fmt", "p.yaml") == 2
    assert (repo / "p.yaml").read_text() == "tasks: [{id: mine}]\n"


# ---- plan fmt --tighten ----

WIDE = (
    "checks: none\ntasks:\n  - {id: a, files: [src/**]}  # the first\n  - id: b\n    # everything so far\n  - id: c\n"
)


@pytest.fixture
def ledger(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger in which attempts of plan `p` have handed off changes."""

    def event(seq: int, task: str, *changed: str, kind: str = "handed_off") -> Stored:
        data = {"hand_off": {"head": "1" * 40, "changed": list(changed), "summary": ""}}
        return Stored(
            seq=seq, at=datetime.now(UTC), type=kind, plan="p", task=task, attempt=None, token=None, data=data
        )

    events = [
        event(1, "a", "src/one.py"),
        event(2, "a", "src/two.py", "docs/stray.md"),
        event(3, "b", *(f"lib/f{n}.py" for n in range(9))),
        event(4, "c", "x", kind="something_else"),
    ]
    reader = SimpleNamespace(events=lambda plan: [e for e in events if e.plan == plan], close=lambda: None)
    (repo / ".git/orchestrator").mkdir()
    (repo / ".git/orchestrator/ledger.sqlite").touch()
    monkeypatch.setattr(app.plans, "open_ledger", lambda place: reader)


TIGHT = (
    "checks: none\ntasks:\n  - {id: a, files: [src/one.py, src/two.py]}  # the first\n"
    "  - id: b\n    files: [lib/**]\n    # everything so far\n  - id: c\n"
)


@pytest.mark.usefixtures("ledger")
def test_tighten_shows_what_it_would_write_and_writes_it_only_when_told(
    repo: Path, typed: Type, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = repo / "p.yaml"
    plan.write_text(WIDE)
    assert typed("plan", "fmt", "p.yaml", "--tighten") == 0
    out = capsys.readouterr().out
    for said in (
        "a  from 3 changed paths",
        "- src/**",
        "+ src/one.py, src/two.py",
        "- the whole repository",
        "+ lib/**",
        "c  nothing to propose: no attempt of it has handed off a change yet",
        "plan fmt --tighten --write p.yaml",
    ):
        assert said in out
    assert plan.read_text() == WIDE
    assert typed("plan", "fmt", "p.yaml", "--tighten", answers=("n",)) == 0
    assert plan.read_text() == WIDE
    assert typed("plan", "fmt", "p.yaml", "--tighten", answers=("y",)) == 0
    assert plan.read_text() == TIGHT
    assert typed("plan", "fmt", "p.yaml", "--tighten", "--write") == 0
    assert plan.read_text() == TIGHT


@pytest.mark.usefixtures("ledger")
def test_tighten_without_a_question(repo: Path, typed: Type, capsys: pytest.CaptureFixture[str]) -> None:
    (repo / "p.yaml").write_text(WIDE)
    assert typed("plan", "fmt", "p.yaml", "--tighten", "--write", "--json") == 0
    data = json.loads(capsys.readouterr().out)["data"]["plans"][0]
    assert data["written"] is True
    assert [(one["task"], one["new"]) for one in data["files"]] == [
        ("a", ["src/one.py", "src/two.py"]),
        ("b", ["lib/**"]),
        ("c", None),
    ]
    assert (repo / "p.yaml").read_text() == TIGHT


@pytest.mark.parametrize("words", [("--write",), ("--tighten", "--write", "--check"), ("-", "--tighten")])
def test_options_that_do_not_go_together(typed: Type, words: tuple[str, ...]) -> None:
    assert typed("plan", "fmt", *words) == 2


# ---- plan schema ----


def test_the_schema_goes_where_it_is_wanted(repo: Path, typed: Type) -> None:
    for _ in range(2):
        assert typed("plan", "schema", "--output", "s.json") == 0
    assert json.loads((repo / "s.json").read_text()) == plan_schema()
    assert stat.S_IMODE((repo / "s.json").stat().st_mode) == 0o644
    assert typed("plan", "schema", "--output", "no/such/folder.json") != 0
