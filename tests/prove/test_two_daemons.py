"""Several daemons are started for one repository at the same instant: exactly one works, the others touch nothing."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.person import ORCHESTRATOR
from tests.prove.life import Life, Nursery
from tests.prove.rig import Rig
from tests.prove.size import scaled

PAIRS = 10
PROVE_PAIRS = 200
AT_ONCE = 4
REFUSED = 6  #: the exit status of who is refused


def one_pair(life: Life) -> None:
    """Two daemons at once: one runs, the other is refused and names it."""
    before = life.count("daemon_began")
    said = [life.folder / f"said-{n}" for n in range(2)]
    for out in said:
        out.unlink(missing_ok=True)
    person = life.person
    pids = [life.nursery.start(person.repo, person.environ, Rig(), out) for out in said]
    try:
        life.until(lambda: any(life.nursery.status(pid) is not None for pid in pids), "the end of one of two daemons")
        loser, winner = sorted(pids, key=lambda pid: life.nursery.status(pid) is None)
        assert life.nursery.status(loser) == REFUSED, said[pids.index(loser)].read_text()
        assert f"(pid {winner}" in said[pids.index(loser)].read_text()
        life.until(life.answers, "the answer of the other")
        life.until(lambda: life.count("daemon_began") > before, "its beginning in the ledger")
        assert life.nursery.status(winner) is None
    finally:
        for pid in pids:
            if life.nursery.status(pid) is None:
                os.kill(pid, 9)
                life.until(lambda pid=pid: life.nursery.status(pid) is not None, "its end")


def stand_still(life: Life) -> None:
    """Have the daemon stopped, all threads of it."""
    assert life.daemon is not None
    os.kill(life.daemon, signal.SIGSTOP)
    threads = [Path(entry, "stat") for entry in Path(f"/proc/{life.daemon}/task").iterdir()]
    life.until(lambda: all(") T " in stat.read_text() for stat in threads), "the standstill")


def contents(folder: Path) -> dict[str, str]:
    """Every file below, with what is in it and when it was written."""
    return {
        str(path.relative_to(folder)): f"{path.lstat().st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def pairs(folder: Path, nursery: Nursery, number: int) -> None:
    life = Life(folder, nursery)
    try:
        for _ in range(number):
            one_pair(life)
        began = life.count("daemon_began")
        assert began == number, f"{began} daemons wrote into the ledger of {number}"
    finally:
        life.leave()


def test_of_two_daemons_started_at_once_exactly_one_runs(tmp_path: Path, nursery: Nursery) -> None:
    pairs(tmp_path, nursery, PAIRS)


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_of_two_hundred_pairs_exactly_one_of_each_runs(tmp_path: Path, nursery: Nursery) -> None:
    pairs(tmp_path, nursery, scaled(PROVE_PAIRS))


def test_a_daemon_that_is_refused_changes_no_file(tmp_path: Path, nursery: Nursery) -> None:
    life = Life(tmp_path, nursery)
    try:
        life.start()
        life.until(lambda: life.count("daemon_began") == 1 and life.answers(), "the daemon")
        assert life.daemon is not None
        stand_still(life)  # it must not write anything meanwhile
        before = contents(life.place.state_dir)
        for _ in range(3):
            late = subprocess.run(
                [sys.executable, "-m", "orchestrator.app", str(life.person.repo)],
                env=life.person.environ,
                capture_output=True,
                text=True,
            )
            assert late.returncode == REFUSED, late.stderr
            assert f"(pid {life.daemon}" in late.stderr
        assert contents(life.place.state_dir) == before
        os.kill(life.daemon, signal.SIGCONT)
        assert life.answers()
    finally:
        life.leave()


def test_four_people_type_start_at_once_and_one_daemon_does_the_work_once(tmp_path: Path, nursery: Nursery) -> None:
    life = Life(tmp_path, nursery)
    person = life.person
    waits = 'while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo once >> one.txt'
    agents = {"waits": {"adapter": "command", "run": ["sh", "-c", waits]}}
    task = {"id": "one", "files": ["one.txt"], "agent": "waits", "prompt": "x"}
    plan = person.plan(json.dumps({"checks": "none", "agents": agents, "tasks": [task]}))
    person.commit("plan")
    digest = life.digest(plan)
    try:
        typed = [
            subprocess.Popen(
                [ORCHESTRATOR, "start", plan, "--confirm", digest, "--detach"],
                cwd=person.repo,
                env=person.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for _ in range(AT_ONCE)
        ]
        said = [(process.communicate(timeout=60)[0], process.returncode) for process in typed]
        assert [out for out, code in said if code != 0] == []
        (person.home / "go").touch()
        life.until(lambda: life.phase() == "published", "the publish")
        assert (person.repo / "one.txt").read_text() == "once\n"
        assert life.count("daemon_began") == 1
        assert life.count("plan_confirmed") == 1
        assert life.count("attempt_started") == 1
    finally:
        (person.home / "go").touch()
        person.leave()
        life.leave()
