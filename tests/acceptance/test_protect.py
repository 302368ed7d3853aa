"""Limits that protect, as a person meets them: a daemon that may open hardly any file, and an agent that only fails."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.person import ORCHESTRATOR, Person

MANY = """
name: many
checks: none
publish: manual
parallel: 16
agents:
  worker: {adapter: command, run: [sh, -c, "ulimit -n > {task}.txt; sleep 1"]}
tasks:
"""


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    person = Person.with_repository(tmp_path, "a ü b")
    yield person
    if person.daemon_pid() is not None:
        person.kill_daemon()  # one without open files takes minutes to stop in order; its agents end by themselves
    person.wait(lambda: person.processes() == [], what="the end of the agents")


@pytest.mark.prove  # a hold for want of files lasts half a minute
def test_a_daemon_without_open_files_waits_and_neither_dies_nor_fails_anybodys_attempt(person: Person) -> None:
    tasks = "".join(f"  - {{id: t{n}, files: [t{n}.txt], prompt: x}}\n" for n in range(16))
    plan = person.plan(MANY + tasks, "many")
    person.commit("the plan")
    digest = person.type("plan", "check", plan, "--json").data["digest"]
    started = subprocess.run(
        ["sh", "-c", 'ulimit -n 26; exec "$0" "$@"', str(ORCHESTRATOR), "start", plan, "--confirm", digest, "--detach"],
        cwd=person.repo,
        env=person.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == 0, started.stderr
    person.wait(lambda: any(e["type"] == "dispatch_held" for e in person.events()), what="a hold")
    status = person.type("status")
    assert "held back: " in status.out
    assert "it tries again by itself" in status.out or "goes on by itself" in status.out
    person.wait(lambda: any(e["type"] == "landed" for e in person.events()), what="work that had begun")
    assert person.daemon_pid() is not None
    bad = {"backoff_started", "escalated", "daemon_fault"}
    log = (person.repo / ".git" / "orchestrator" / "daemon.log").read_text()
    assert [event for event in person.events() if event["type"] in bad] == [], log
