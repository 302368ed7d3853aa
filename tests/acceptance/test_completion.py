"""Completion in a real bash, with the script that is installed there, against a ledger that a plan has left."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.acceptance.person import ORCHESTRATOR, Person

PLAN = """\
checks: none
tasks:
  - {id: db-schema, title: The schema, files: [a.txt], agent: demo, prompt: "!ask Which? postgres sqlite"}
  - {id: docs, files: [b.txt], agent: demo, prompt: Write something.}
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_completes_what_a_person_would_type_next(person: Person) -> None:
    person.plan(PLAN)
    person.commit("plan")
    person.extra["PATH"] = f"{ORCHESTRATOR.parent}:{os.environ['PATH']}"
    digest = person.type("plan", "check", "plans/work.yaml", "--json").data["digest"]
    assert person.type("start", "plans/work.yaml", "--confirm", digest, "--detach").code == 0
    person.wait(lambda: bool(person.inbox()), what="the question")
    item = person.inbox()[0]["id"]
    assert press_tab(person, "orchestrator", "sta") == ["start", "status"]
    assert press_tab(person, "orchestrator", "status", "d") == ["db-schema", "docs"]
    assert press_tab(person, "orchestrator", "answer", "") == [item]
    assert press_tab(person, "orchestrator", "answer", item, "") == ["postgres", "sqlite"]
    assert press_tab(person, "orchestrator", "plan", "check", "") == ["plans/work.yaml"]
    assert press_tab(person, "orch", "logs", "doc") == ["docs"]
    assert (person.repo / ".git/orchestrator/plan.schema.json").is_file(), "the daemon leaves it for editors"
    person.leave()
    assert press_tab(person, "orchestrator", "why", "db") == ["db-schema"]


def press_tab(person: Person, *words: str) -> list[str]:
    """What bash would offer behind these words."""
    program = words[0]
    variable = f"_{program.upper()}_COMPLETE"
    script = "\n".join(
        [
            f'eval "$({variable}=source_bash {program})"',
            f"COMP_WORDS=({' '.join(repr(word) for word in words)})",
            f"COMP_CWORD={len(words) - 1}",
            f"_{program}_completion {program}",
            "printf '%s\\n' \"${COMPREPLY[@]}\"",
        ]
    )
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run(
        [bash, "--norc", "-c", script], cwd=person.repo, env=person.environ, capture_output=True, text=True
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_completion_loads_nothing_heavy(person: Person) -> None:
    """Start-up is what a person feels; what is loaded is what it depends on."""
    code = (
        "import sys\nfrom orchestrator.cli.main import main\n"
        "try:\n    main([])\nexcept SystemExit:\n    pass\n"
        "heavy = {'git', 'networkx', 'fastapi', 'httpx2', 'uvicorn', 'yaml', 'orchestrator.wire'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))"
    )
    person.extra |= {
        "COMP_WORDS": "orchestrator status ",
        "COMP_CWORD": "2",
        "_ORCHESTRATOR_COMPLETE": "complete_bash",
    }
    python = ORCHESTRATOR.with_name("python")
    done = subprocess.run([python, "-c", code], cwd=person.repo, env=person.environ, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "loaded: []", done.stdout + done.stderr
