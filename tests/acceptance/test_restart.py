"""A daemon of another version: told in clear words, replaced with its agents at work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator
from orchestrator import __version__
from tests.acceptance.person import Person

PLAN = """\
checks: none
tasks:
  - id: one
    files: [one.txt]
    agent: demo
    prompt: |
      !append one.txt hello
      !sleep 8
      !append one.txt again
      !commit
"""


def other_version(folder: Path, *changes: tuple[str, str, str]) -> Path:
    """A copy of the program in which some words are others. Returns: the folder to put before all others."""
    shutil.copytree(
        Path(orchestrator.__file__).parent, folder / "orchestrator", ignore=shutil.ignore_patterns("__pycache__")
    )
    for file, old, new in changes:
        path = folder / "orchestrator" / file
        text = path.read_text()
        assert old in text, f"{file} does not say {old}"
        path.write_text(text.replace(old, new))
    return folder


OLDER = ("__init__.py", f'__version__ = "{__version__}"', '__version__ = "0.0.1"')


@pytest.mark.parametrize(
    "speaks",
    [
        pytest.param((OLDER,), id="the same contract"),
        pytest.param((OLDER, ("wire.py", "CONTRACT = 1 ", "CONTRACT = 99 ")), id="another contract"),
    ],
)
def test_an_old_daemon_is_replaced_and_the_agent_goes_on(
    person: Person, tmp_path: Path, speaks: tuple[tuple[str, str, str], ...]
) -> None:
    plan = person.plan(PLAN)
    person.commit("plan")
    digest = person.type("plan", "check", plan, "--json").data["digest"]
    assert person.type("start", plan, "--confirm", digest, "--detach").code == 0
    written = person.worktrees / "work/one-1/one.txt"
    person.wait(written.exists, what="the agent's first line")
    assert person.type("stop", "--detach").code == 0
    copy = other_version(tmp_path / "older", *speaks)
    old = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.app", str(person.repo)],
        cwd=tmp_path,
        env=person.environ | {"PYTHONPATH": str(copy)},
        stdin=subprocess.DEVNULL,
    )
    try:
        person.wait(lambda: person.daemon_pid() == old.pid, what="the old daemon")
        person.wait(lambda: person.type("pause").code != 3, what="its answer")
        refused = person.type("pause")
        if len(speaks) > 1:
            assert refused.code == 6
            assert "another version" in refused.err
            assert "orchestrator restart" in refused.err
        else:
            assert "0.0.1" in person.type("doctor").out
        done = person.type("restart", "--json")
        assert done.code == 0, done.out
        assert (done.data["ended"], done.data["pid"]) == (old.pid, person.daemon_pid())
        assert f"version {__version__} in place of 0.0.1" in done.data["message"]
        assert old.wait(10) == 0
    finally:
        old.kill()
    person.type("resume")
    person.wait(lambda: person.states() == {"one": "landed"}, what="the landing")
    assert person.task("one")["attempts"] == 1, "the same agent went on"
    assert person.git("show", "orchestrator/work:one.txt") == "hello\nagain"


def test_a_verb_that_a_daemon_does_not_know_is_refused_in_words(person: Person, tmp_path: Path) -> None:
    plan = person.plan(PLAN.replace("!sleep 8", "!sleep 60"))
    person.commit("plan")
    digest = person.type("plan", "check", plan, "--json").data["digest"]
    assert person.type("start", plan, "--confirm", digest, "--detach").code == 0
    newer = other_version(
        tmp_path / "newer",
        ("wire.py", '"pause",', '"pause", "rest",'),
        ("cli/control.py", 'session, "pause"', 'session, "rest"'),
    )
    said = subprocess.run(
        [sys.executable, "-m", "orchestrator", "pause"],
        cwd=person.repo,
        env=person.environ | {"PYTHONPATH": str(newer)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 6
    assert "does not know this request" in said.stderr
    assert "orchestrator restart" in said.stderr


def test_validate_finds_and_mends_what_is_wrong_after_a_kill(person: Person) -> None:
    plan = person.plan(PLAN.replace("!sleep 8", "!sleep 0"))
    person.commit("plan")
    assert person.start(plan).code == 0
    assert person.type("validate").code == 0, person.type("validate").out
    person.kill_daemon()
    repo_git = person.repo / ".git/orchestrator/repo.git"
    (repo_git / "packed-refs.lock").touch()
    (repo_git / "refs/orchestrator/work/one-1").unlink()
    os.truncate(repo_git / "refs/orchestrator/plans/work", 0)
    person.git("branch", "-D", "orchestrator/work")
    found = person.type("validate", "--json")
    kinds = {one["kind"] for one in found.data["differences"]}
    assert (found.code, kinds) == (1, {"stale_lock", "lost_reference", "branch_not_shown"})
    mended = person.type("validate", "--fix", "--json")
    assert (mended.code, mended.data["differences"]) == (0, [])
    assert {one["kind"] for one in mended.data["mended"]} == kinds
    assert person.type("validate").code == 0
    assert person.git("rev-parse", "orchestrator/work") == person.git("rev-parse", "main")


def test_nothing_is_mended_beside_a_daemon(person: Person) -> None:
    plan = person.plan(PLAN.replace("!sleep 8", "!sleep 0"))
    person.commit("plan")
    assert person.start(plan).code == 0
    refused = person.type("validate", "--fix")
    assert refused.code == 6
    assert "orchestrator restart" in refused.err
