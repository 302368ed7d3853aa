"""What the README says is typed as it stands there, and works."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.person import Person

README = (Path(__file__).parents[2] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def test_the_first_plan_of_the_readme_runs_with_the_commands_of_the_readme(person: Person) -> None:
    plan = next(text for text in blocks("yaml") if "id: greeting" in text)
    person.write("plans/first.yaml", plan)
    person.commit("plan")
    typed = [line.split("#")[0].strip() for text in blocks("sh") for line in text.splitlines()]
    commands = [shlex.split(line)[1:] for line in typed if line.startswith("orchestrator ") and "first.yaml" in line]
    assert ["plan", "check", "plans/first.yaml"] in commands
    assert ["start", "plans/first.yaml"] in commands
    assert person.type("plan", "check", "plans/first.yaml").code == 0
    done = person.start("plans/first.yaml")
    assert done.code == 0, done.out + done.err
    for words in (["status"], ["logs", "-n", "20"], ["report"]):
        assert f"orchestrator {' '.join(words)}" in README
        shown = person.type(*words)
        assert shown.code == 0
        assert shown.out.strip()
    assert (person.repo / "index.txt").exists()
    assert person.first_parents()[0].startswith("merge index")


def test_the_agents_of_the_readme_can_be_declared_as_they_stand_there(person: Person) -> None:
    agents = next(text for text in blocks("yaml") if "adapter: command" in text)
    plan = person.plan(f"{agents}checks: none\ntasks: [{{id: one, files: [a], prompt: do it}}]\n")
    checked = person.type("plan", "check", plan)
    assert checked.code == 0, checked.err
    assert "claude" in checked.out


def test_every_verb_that_the_readme_and_the_docs_name_exists(person: Person) -> None:
    pages = [README, *(p.read_text() for p in (Path(__file__).parents[2] / "docs").glob("*.md"))]
    verbs = set(re.findall(r"`orchestrator ([a-z]+)", "".join(pages)))
    helped = person.type("--help").out
    assert verbs
    for verb in verbs:
        assert re.search(rf"^\s+{verb}\b", helped, re.M), f"there is no `orchestrator {verb}`"


@pytest.mark.timeout(300)
def test_the_demo_ends_with_merged_work_and_a_report(tmp_path: Path) -> None:
    demo = Path(__file__).parents[2] / "plans" / "demo.py"
    person = Person.with_repository(tmp_path)
    environ = person.environ | {"TMPDIR": str(tmp_path)}
    result = subprocess.run([sys.executable, demo], env=environ, text=True, capture_output=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "5 of 5 tasks landed" in result.stdout
    assert result.stdout.count("merge ") >= 5
    assert "demo.py" not in "".join(person.processes())
