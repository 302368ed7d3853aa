"""Imports point down: faces -> app, client -> engine | backends -> ports, wire -> core -> model. This reads them."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "orchestrator"
AGENTS = ROOT / "agents" / "orchestrator_agents"

#: package or module -> the parts of `orchestrator` that it may import
ALLOWED = {
    "model": {"model"},
    "core": {"core", "model"},
    "ports": {"model"},
    "wire": {"model"},
    "discover": {"model"},
    "engine": {"engine", "core", "model", "ports", "wire"},
    "backends": {"backends", "core", "model", "ports", "wire", "discover"},
    "client": {"model", "core", "ports", "wire", "discover"},
    "app": {"app", "engine", "backends", "core", "model", "ports", "wire", "discover", "client"},
    "cli": {"cli", "app", "client", "discover", "core", "model", "wire", "ports"},
    "simulation": {"engine", "core", "model", "ports", "wire", "simulation"},
    "orchestrator_agents": {"model", "ports", "wire"},
}
#: part -> the one module of a part above it that it may import as well
ALLOWED_MODULES = {"simulation": "orchestrator.backends.memory"}
#: modules that any part may import from the package root
ROOT_NAMES = {"__version__"}


def modules() -> list[Path]:
    return sorted([*PACKAGE.rglob("*.py"), *AGENTS.rglob("*.py")])


def part_of(path: Path) -> str:
    if path.is_relative_to(AGENTS):
        return "orchestrator_agents"
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            if node.module == "orchestrator":
                found += [(node.lineno, f"orchestrator.{alias.name}") for alias in node.names]
            else:
                found.append((node.lineno, node.module or ""))
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    part = part_of(path)
    if part in {"__init__", "__main__"}:
        return
    for line, name in imports_of(path):
        place = f"{path.relative_to(ROOT)}:{line}"
        if name.startswith("orchestrator_agents"):
            assert part == "orchestrator_agents", f"{place}: adapters are found by entry point, not imported"
        if name.startswith("orchestrator."):
            to = name.split(".")[1]
            if name.startswith(ALLOWED_MODULES.get(part, "-")):
                continue
            assert to in ALLOWED[part] | ROOT_NAMES, f"{place}: {part} may not import {to}"


@pytest.mark.parametrize("name", ["model", "discover.py", "backends/supervisor.py"])
def test_needs_only_the_standard_library(name: str) -> None:
    place = PACKAGE / name
    for path in place.rglob("*.py") if place.is_dir() else [place]:
        for line, imported in imports_of(path):
            top = imported.split(".")[0]
            assert top == "orchestrator" or top in sys.stdlib_module_names, f"{path.name}:{line}: {imported}"


@pytest.mark.parametrize("path", [p for p in modules() if part_of(p) in {"core", "model"}], ids=lambda p: p.name)
def test_the_core_has_no_clock_chance_or_outside(path: Path) -> None:
    banned = {
        "os",
        "time",
        "random",
        "subprocess",
        "sqlite3",
        "git",
        "socket",
        "asyncio",
        "anyio",
        "tempfile",
        "shutil",
        "uuid",
        "secrets",
        "threading",
        "structlog",
        "signal",
    }
    for line, name in imports_of(path):
        assert name.split(".")[0] not in banned, f"{path.name}:{line}: {name}"
