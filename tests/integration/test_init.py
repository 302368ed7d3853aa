"""`init` in real repositories: what git ignores, what is installed, where the file lands, and that it is never lost."""

from __future__ import annotations

import json
import os
import stat
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from orchestrator import app
from orchestrator.backends import settingsfile
from orchestrator.backends.signs import folder_trouble, look_around
from orchestrator.cli.main import main
from orchestrator.cli.session import Session
from orchestrator.discover import find_place
from orchestrator.model.errors import OrchestratorError, RefusedError, SettingsError
from tests.fakes.repos import git, users_repository, write

NODE = {
    "package.json": '{"scripts": {"test": "node --test"}}',
    "package-lock.json": "{}",
    ".gitignore": ".env\nnode_modules/\n",
}
PYTHON = {"pyproject.toml": "[tool.pytest.ini_options]\n", ".gitignore": ".venv/\n"}
MAKE = {"Makefile": "test:\n\ttrue\n"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where repositories are made; nothing of the real home or PATH but git is seen."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("claude", "codex"):
        (tools / name).write_text("#!/bin/sh\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith(("GIT_", "ORCHESTRATOR_", "XDG_"))]:
        monkeypatch.delenv(name)
    return tmp_path / "süße Dinge"


def typed(where: Path, *words: str) -> int:
    return main(words, session=Session(directory=where, terminal=False))


def checks(root: Path) -> list[list[str]]:
    content = tomllib.loads((root / "orchestrator.toml").read_text())
    return [check["run"] for check in content["checks"]]


@pytest.mark.parametrize(
    ("files", "local", "run", "prepare"),
    [
        pytest.param(
            NODE,
            {".env": "A=1", "node_modules/x/y.js": ""},
            ["npm", "test"],
            {"copy": [".env"], "run": [["npm", "ci", "--prefer-offline", "--no-audit", "--no-fund"]]},
            id="node",
        ),
        pytest.param(
            PYTHON,
            {".venv/bin/python": ""},
            [".venv/bin/python", "-m", "pytest", "-q"],
            {"link": [".venv"]},
            id="python",
        ),
        pytest.param(
            PYTHON,
            {".venv/bin/python": "", ".venv/lib/python3.11/site-packages/__editable__.x.pth": "ROOT/src\n"},
            ["python3", "-m", "pytest", "-q"],
            {},
            id="python with the checkout installed",
        ),
        pytest.param(MAKE, {".env": "not ignored"}, ["make", "test"], None, id="make"),
    ],
)
def test_a_plan_of_tasks_alone_passes_after_init(
    folder: Path,
    files: dict[str, str | None],
    local: dict[str, str],
    run: list[str],
    prepare: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = users_repository(folder, files).root
    write(root, {name: text.replace("ROOT", str(root)) for name, text in local.items()})
    assert typed(root, "init", "--yes") == 0
    assert checks(root) == [run]
    content = tomllib.loads((root / "orchestrator.toml").read_text())
    assert content.get("prepare") == prepare
    assert list(content["agents"]) == ["claude", "codex"]
    write(
        root,
        {"plans/one.yaml": "tasks:\n  - {id: a, prompt: do it, files: [a]}\n  - {id: b, prompt: do it, files: [b]}\n"},
    )
    capsys.readouterr()
    assert typed(root, "plan", "check", "plans/one.yaml", "--json") == 0
    assert json.loads(capsys.readouterr().out)["data"]["errors"] == []
    assert typed(root, "doctor") in {0, 1}


def test_the_file_goes_to_the_checkout_from_wherever_it_was_typed(folder: Path) -> None:
    root = users_repository(folder, MAKE | {"sub/x": ""}).root
    git(root, "worktree", "add", "-q", "../linked")
    assert typed(root / "sub", "init", "--yes") == 0
    assert stat.S_IMODE((root / "orchestrator.toml").stat().st_mode) & 0o111 == 0
    (root / "orchestrator.toml").unlink()
    assert typed(root.parent / "linked", "init", "--yes") == 0
    assert (root / "orchestrator.toml").exists()
    assert git(root, "status", "--porcelain") == "?? orchestrator.toml"


def test_a_repository_without_a_commit_can_be_set_up(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.mkdir()
    git(folder, "init", "-q")
    write(folder, MAKE)
    assert typed(folder) == 0
    assert "git commit" in capsys.readouterr().out
    assert typed(folder, "init", "--yes") == 0
    assert "There is no commit yet" in capsys.readouterr().out
    assert checks(folder) == [["make", "test"]]


def test_checks_are_taken_from_what_git_has_and_not_from_what_lies_around(folder: Path) -> None:
    root = users_repository(folder, {"README.md": "x"}).root
    write(root, {"Makefile": "test:\n"})
    assert typed(root, "init", "--yes") == 0
    assert checks(root)[0][0] == "git", "the tree of a candidate has no Makefile"


def test_outside_of_a_repository_init_says_how_to_get_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.mkdir()
    assert typed(folder, "init", "--yes") == 2
    assert "git init" in capsys.readouterr().err


def test_a_missing_check_leads_to_init(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = users_repository(folder, MAKE).root
    write(root, {"plan.yaml": "tasks: [{id: a, prompt: do it, agent: demo}]\n"})
    assert typed(root, "plan", "check", "plan.yaml") == 2
    assert "orchestrator init" in capsys.readouterr().err


# ---- the file ----


def test_an_existing_file_or_link_is_never_replaced(folder: Path) -> None:
    place = users_repository(folder, MAKE).place
    path = place.root / "orchestrator.toml"
    path.write_text("# mine\n")
    with pytest.raises(RefusedError, match="there already"):
        settingsfile.write(place, "checks = 'none'\n")
    assert path.read_text() == "# mine\n"
    path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(RefusedError, match="there already"):
        settingsfile.write(place, "checks = 'none'\n")
    with pytest.raises(SettingsError, match="leads nowhere"):
        settingsfile.read(place)
    assert [one.name for one in place.root.iterdir() if "orchestrator" in one.name] == ["orchestrator.toml"]


def test_a_file_system_without_links_gets_the_file_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = users_repository(folder, MAKE).place

    def refused(*_: object, **__: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refused)
    assert settingsfile.write(place, "checks = 'none'\n").read_text() == "checks = 'none'\n"
    with pytest.raises(RefusedError):
        settingsfile.write(place, "checks = 'none'\n")


def test_a_disk_that_is_full_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = users_repository(folder, MAKE).place

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OrchestratorError, match="cannot be written") as raised:
        settingsfile.write(place, "checks = 'none'\n")
    assert "No space left" in raised.value.why
    assert sorted(one.name for one in place.root.iterdir()) == [".git", "Makefile"]


def test_text_that_would_not_load_is_never_written(folder: Path) -> None:
    place = users_repository(folder, MAKE).place
    with pytest.raises(SettingsError, match="colour"):
        settingsfile.write(place, "colour = 'red'\n")
    assert settingsfile.read(place) is None


# ---- looking around ----


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(lambda at: None, "", id="not there yet"),
        pytest.param(lambda at: at.mkdir(parents=True), "", id="a folder"),
        pytest.param(lambda at: (at.parent.mkdir(), at.write_text("")), "is not a folder", id="a file"),
        pytest.param(lambda at: at.parent.write_text(""), "is not a folder", id="below a file"),
        pytest.param(lambda at: (at.parent.mkdir(), at.symlink_to("gone")), "is not a folder", id="a link to nowhere"),
    ],
)
def test_a_folder_for_worktrees(tmp_path: Path, make: Any, said: str) -> None:
    make(tmp_path / "a" / "b")
    assert folder_trouble(tmp_path / "a" / "b").endswith(said)
    assert bool(folder_trouble(tmp_path / "a" / "b")) is bool(said)


def test_a_real_editable_install_is_recognised(folder: Path) -> None:
    root = users_repository(folder, PYTHON).root
    packages = root / ".venv" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "other.pth").write_text("/somewhere/else\n")
    assert look_around(find_place(root)).leads_back == frozenset()
    (packages / "__editable___x_finder.py").write_text(f"MAPPING = {{'x': '{root}/src/x'}}\n")
    assert look_around(find_place(root)).leads_back == {".venv"}


def test_looking_around_reads_no_huge_file_and_follows_no_pipe(folder: Path) -> None:
    root = users_repository(folder, {"Makefile": "test:\n" + "#\n" * 200_000, "justfile": "x", "Gemfile": "x"}).root
    (root / "justfile").unlink()
    os.mkfifo(root / "justfile")
    (root / "Gemfile").unlink()
    signs = look_around(find_place(root))
    assert signs.texts == {}
    assert signs.files >= {"Makefile", "justfile", "Gemfile"}


def test_settings_of_the_user_that_are_broken_stop_init_with_their_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_COLOUR", "red")
    with pytest.raises(SettingsError, match="ORCHESTRATOR_COLOUR"):
        app.place_for(users_repository(folder, MAKE).root)
