"""A small repository that a test may spoil, commands typed there in this process, and everything that is on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import main
from orchestrator.cli.session import Session
from tests.acceptance.person import Person, Printed

#: The least plan that lands something.
PLAN = """\
checks:
  - {name: there, run: [test, -f, one.txt]}
tasks:
  - id: one
    files: [one.txt]
    agent: demo
    prompt: |
      !append one.txt hello
      !commit
"""

Tree = dict[str, tuple[int, str]]  #: path -> mode, digest of the contents


def make_template(folder: Path) -> Path:
    """A home and a repository with a committed plan, to be copied for each test."""
    person = Person(home=folder / "home", repo=folder / "repo")
    for made in (person.home, person.repo, folder / "run"):
        made.mkdir(mode=0o700, parents=True)
    person.git("init", "--quiet", "--initial-branch=main", "--template=")
    person.git("config", "user.name", "Test Person")
    person.git("config", "user.email", "person@example.com")
    person.write("README.md", "# A project\n")
    person.write("src/a.txt", "one\ntwo\n")
    person.write("plans/work.yaml", PLAN)
    person.commit("first")
    return folder


@dataclass
class Scene:
    """What a person has on their disk, before and after one command."""

    person: Person
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    cleanup: ExitStack
    here: Path  #: where the command is typed

    @classmethod
    def copied(
        cls,
        template: Path,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        cleanup: ExitStack,
    ) -> Scene:
        shutil.copytree(template, folder, symlinks=True, dirs_exist_ok=True)
        person = Person(home=folder / "home", repo=folder / "repo", extra={"XDG_RUNTIME_DIR": str(folder / "run")})
        return cls(person=person, monkeypatch=monkeypatch, capsys=capsys, cleanup=cleanup, here=person.repo)

    @property
    def repo(self) -> Path:
        return self.person.repo

    @property
    def dot_git(self) -> Path:
        return self.repo / ".git"

    @property
    def state(self) -> Path:
        return self.dot_git / "orchestrator"

    @property
    def top(self) -> Path:
        """The folder that everything of this scene lies in."""
        return self.person.home.parent

    def git(self, *words: str) -> str:
        return self.person.git(*words)

    def write(self, path: str, text: str | bytes) -> Path:
        file = self.repo / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    def set(self, name: str, value: str | None) -> None:
        """Set a variable of the environment, or remove it."""
        if value is None:
            self.person.extra.pop(name, None)
        else:
            self.person.extra[name] = value

    def type(self, *words: str) -> Printed:
        """A command, run in this process as the program would run it."""
        environ = self.person.environ
        for name in set(os.environ) - set(environ) - {"PYTEST_CURRENT_TEST"}:
            self.monkeypatch.delenv(name)
        for name, value in environ.items():
            self.monkeypatch.setenv(name, value)
        self.monkeypatch.chdir(self.here)
        self.capsys.readouterr()
        code = main(list(words), session=Session(terminal=False))
        said = self.capsys.readouterr()
        return Printed(int(code), said.out, said.err)

    def digest(self, plan: str = "plans/work.yaml", *words: str) -> str:
        checked = self.type("plan", "check", plan, "--json", *words)
        assert checked.code == 0, checked.out
        return str(checked.data["digest"])

    def look(self, *, state: bool = True) -> Tree:
        """Every file, folder and link of the scene; `state=False`: but for the state folder, which is ours."""
        found: Tree = {}
        skipped = {self.top / "run"} | (set() if state else {self.state})
        for folder, folders, files in os.walk(self.top):
            folders[:] = [name for name in folders if Path(folder, name) not in skipped]
            for name in (*folders, *files):
                path = Path(folder, name)
                info = path.lstat()
                if stat.S_ISLNK(info.st_mode):
                    content = os.readlink(path).encode("utf-8", "surrogateescape")
                elif stat.S_ISREG(info.st_mode):
                    content = path.read_bytes()
                else:
                    content = b""
                found[str(path.relative_to(self.top))] = (info.st_mode, hashlib.sha256(content).hexdigest())
        return found


def error_of(printed: Printed) -> Mapping[str, Any]:
    """What `--json` says went wrong: code, message, why and fix."""
    error: Mapping[str, Any] | None = json.loads(printed.out)["error"]
    return error or {"code": "", "message": "", "why": "", "fix": ""}


def changes(before: Tree, after: Tree) -> list[str]:
    """Paths that came, went or are different now."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def mount(scene: Scene, folder: Path, *words: str) -> None:
    """Mount something at a folder until the test ends; skips where that is not allowed."""
    done = subprocess.run(["mount", *words, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"only root may mount: {done.stderr.strip()}")
    scene.cleanup.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)


@dataclass(frozen=True, kw_only=True)
class Edge:
    """One way in which the world is not as it should be, and what a person is told about it.

    `message` and `fix` are parts of what is said; `{repo}` in them is the repository's folder.
    """

    name: str
    spoil: Callable[[Scene], object]
    typed: tuple[str, ...] = ("plan", "check", "plans/work.yaml")  #: `{digest}`: of the plan, as it was before
    code: int = 2
    message: str
    fix: str
    state: bool = True  #: False: our own state folder may have been begun


def refused(scene: Scene, edge: Edge) -> None:
    """Hold that there is one clear error with the right exit code, and that nothing at all is different on the disk."""
    typed = edge.typed
    if "{digest}" in typed:
        digest = scene.digest()
        typed = tuple(digest if word == "{digest}" else word for word in typed)
    edge.spoil(scene)
    before = scene.look(state=edge.state)
    json_option = typed.index("--") if "--" in typed else len(typed)
    printed = scene.type(*typed[:json_option], "--json", *typed[json_option:])
    error = error_of(printed)
    assert printed.code == edge.code, error
    assert edge.message.replace("{repo}", str(scene.repo)) in error["message"]
    assert edge.fix.replace("{repo}", str(scene.repo)) in error["fix"]
    assert error["why"]
    assert "bug" not in error["message"]
    assert changes(before, scene.look(state=edge.state)) == []


def accepted(scene: Scene, edge_typed: tuple[str, ...]) -> None:
    """Hold that a reading command simply works, and writes nothing."""
    before = scene.look()
    printed = scene.type(*edge_typed)
    assert printed.code == 0, printed.out + printed.err
    assert changes(before, scene.look()) == []
