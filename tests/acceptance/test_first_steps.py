"""A newcomer with a repository of their own: `doctor`, `init`, a plan of nothing but tasks, and the work on main."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.acceptance.person import Person

#: Stands in for a real agent program: started as `init` wrote it, it reads its briefing and edits one file.
CLAUDE = """#!/bin/sh
test "$*" = "-p --permission-mode acceptEdits" || exit 64
grep -q 'Answer with 42' || exit 65
printf 'def answer():\\n    return 42\\n' > answer.py
"""
TEST = """import unittest
import answer


class T(unittest.TestCase):
    def test(self):
        assert answer.answer() > 0
"""


def test_from_a_fresh_repository_to_landed_work_with_what_init_found(person: Person, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "claude").write_text(CLAUDE)
    (tools / "claude").chmod(0o755)
    person.extra["PATH"] = f"{tools}:{person.environ['PATH']}"
    person.write(".gitignore", ".venv/\n__pycache__/\n.env\n")
    person.write(".env", "SECRET=1\n")
    person.write("setup.cfg", "[metadata]\nname = x\n")
    person.write("answer.py", "def answer():\n    return 1\n")
    person.write("tests/test_answer.py", TEST)
    person.commit("a project")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", person.repo / ".venv"], check=True)

    bare = person.type()
    assert (bare.code, "orchestrator init" in bare.out) == (0, True)
    done = person.type("init", "--yes")
    assert done.code == 0, done.out + done.err
    assert 'link = [".venv"]' in done.out
    looked = person.type("doctor")
    assert looked.code == 0, looked.out + looked.err
    assert "warn" not in looked.out, looked.out

    plan = person.plan("tasks:\n  - {id: answer, prompt: Answer with 42, files: [answer.py]}\n")
    ended = person.start(plan)
    assert ended.code == 0, ended.out + ended.err
    assert "return 42" in (person.repo / "answer.py").read_text()
    again = person.type("doctor", "--json")
    assert again.code == 0, again.out
    grades = {probe["name"]: probe["grade"] for probe in again.data["probes"]}
    assert set(grades.values()) == {"ok"}, again.out
    bare = person.type("--json")
    assert [step["command"] for step in bare.data["next"]] == ["orchestrator report"]
