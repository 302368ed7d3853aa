"""The frame for planted defects: the product with one mistake in it, and whether its tests notice.

A defect is planted in processes of its own, as an edit of a module's text while it is imported, or as a function that
is called before the tests. Nothing of the product knows of it, and no file of it is changed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

HERE = Path(__file__).resolve().parents[2]
PATIENCE_S = 280
SURVIVED, CAUGHT = 0, 1  #: exit statuses of pytest


class Level(StrEnum):
    """Where a mistake of this kind is noticed first."""

    CORE = "core"
    ENGINE = "engine"
    STORE = "store"
    REPOSITORY = "repository"
    SUPERVISION = "supervision"
    PUBLISH = "publish"
    POWER = "power"
    LEASES = "leases"
    MACHINE = "state machine"
    SIMULATION = "simulation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One piece of a module's text, and what stands there instead. It has to stand there exactly once."""

    module: str  #: dotted
    was: str
    becomes: str

    @property
    def file(self) -> Path:
        path = HERE.joinpath(*self.module.split("."))
        return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")

    @property
    def finds_its_place(self) -> bool:
        return self.file.read_text(encoding="utf-8").count(self.was) == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """One mistake that must not go unnoticed."""

    id: str
    says: str  #: what the product then does
    level: Level
    plant: Edit | Callable[[], None]
    caught_by: tuple[str, ...]  #: nodes of pytest, narrow and fast
    quick: bool = False  #: part of the sample in `make test`


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a planted defect."""

    defect: Defect
    status: int
    how: str  #: the first test that failed, and with what
    said: str

    @property
    def is_caught(self) -> bool:
        return self.status == CAUGHT and bool(self.how)

    def __str__(self) -> str:
        how = self.how if self.is_caught else f"SURVIVED (pytest ended with {self.status})"
        return f"{self.defect.id:34} | {self.defect.level:11} | {self.defect.says} | {how}"


class _Edited(SourceFileLoader):
    """Compiles a module with an edit, and leaves no compiled file behind."""

    edit: Edit

    def get_code(self, fullname: str) -> CodeType | None:
        text = Path(self.path).read_text(encoding="utf-8")
        code: CodeType = compile(text.replace(self.edit.was, self.edit.becomes), self.path, "exec", dont_inherit=True)
        return code


class _Finder(MetaPathFinder):
    def __init__(self, edits: Sequence[Edit]) -> None:
        self._edits = {edit.module: edit for edit in edits}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        edit = self._edits.get(fullname)
        spec = PathFinder.find_spec(fullname, path, target) if edit is not None else None
        if edit is None or spec is None or spec.origin is None:
            return None
        loader = _Edited(fullname, spec.origin)
        loader.edit = edit
        spec.loader, spec.cached = loader, None
        return spec


def plant(name: str) -> None:
    """Plant a defect in this process, before the product is imported."""
    from tests.prove.defects import DEFECTS

    defect = next(one for one in DEFECTS if one.id == name)
    if not isinstance(defect.plant, Edit):
        defect.plant()
    elif defect.plant.module == "orchestrator.backends.supervisor":
        # that one is started as a file; whoever starts it is told of another
        sys.meta_path.insert(0, _Finder([defect.plant, _other_supervisor(defect.plant)]))
    else:
        sys.meta_path.insert(0, _Finder([defect.plant]))


def _other_supervisor(edit: Edit) -> Edit:
    copy = Path(os.environ["PLANTED_FOLDER"]) / edit.file.name
    copy.write_text(edit.file.read_text(encoding="utf-8").replace(edit.was, edit.becomes), encoding="utf-8")
    line = 'Path(__file__).with_name("supervisor.py")'
    return Edit(module="orchestrator.backends.process", was=line, becomes=f"Path({str(copy)!r})")


def run(defect: Defect) -> Outcome:
    """Plant it in a process of its own, and let the tests of its level look."""
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        env = {
            **os.environ,
            **planted(defect.id, folder),
            "PYTHONPATH": os.pathsep.join((str(HERE / "tests/prove/planting"), str(HERE))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "240",  # pytest cuts its summary to that
            "HYPOTHESIS_STORAGE_DIRECTORY": folder,
        }
        env.pop("PYTEST_ADDOPTS", None)
        for name in [name for name in env if name.startswith(("PYTEST_XDIST", "PYTEST_CURRENT"))]:
            del env[name]
        options = [
            "-x",
            "-q",
            "-rf",
            "--tb=no",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "-p",
            "tests.prove.unshrunk",
            f"--basetemp={folder}/t",
        ]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *options, *defect.caught_by],
                cwd=HERE,
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Outcome(defect=defect, status=-1, how="", said="its tests never came to an end")
    failed = re.search(r"^FAILED \S*?::(.*)", done.stdout, re.MULTILINE)
    return Outcome(
        defect=defect,
        status=done.returncode,
        how=failed[1][:160] if failed else "",
        said=(done.stdout + done.stderr)[-2000:],
    )


def planted(name: str, folder: str) -> dict[str, str]:
    """The variables by which a process and those it starts know what is planted."""
    return {"PLANTED_DEFECT": name, "PLANTED_FOLDER": folder}


def inherited() -> dict[str, str]:
    """The same, for a harness that starts programs with an environment of its own; empty when nothing is planted."""
    names = ("PLANTED_DEFECT", "PLANTED_FOLDER", "PYTHONPATH")
    return {name: os.environ[name] for name in names if "PLANTED_DEFECT" in os.environ and name in os.environ}
