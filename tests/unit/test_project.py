"""Things that have to say the same in two places."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def requirements(name: str) -> set[str]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return {line.strip() for line in lines if line.strip() and not line.startswith(("#", "-r"))}


def test_the_locked_requirements_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert requirements("runtime.in") == set(project["project"]["dependencies"])
    assert set(project["dependency-groups"]["dev"]) <= requirements("dev.in")


def test_every_requirement_is_locked_with_a_hash() -> None:
    locked = re.findall(r"^([A-Za-z0-9._-]+)==\S+ \\\n((?: +--hash=sha256:[0-9a-f]{64}.*\n)+)", locked_text(), re.M)
    names = {name.lower().replace("_", "-") for name, _ in locked}
    wanted = {re.split(r"[<>=]", r)[0].lower() for r in requirements("runtime.in") | requirements("dev.in")}
    assert wanted <= names


def locked_text() -> str:
    return (ROOT / "requirements" / "dev.txt").read_text()


def test_pages_made_from_the_code_are_up_to_date() -> None:
    result = subprocess.run([sys.executable, ROOT / "docs" / "make.py", "--check"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("page", sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("plans/*.md")]))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_module_says_what_it_is() -> None:
    for path in [*ROOT.glob("orchestrator/**/*.py"), *ROOT.glob("agents/**/*.py")]:
        text = path.read_text()
        assert not text or text.startswith('"""'), f"{path} has no docstring"
