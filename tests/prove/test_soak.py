"""Story after story, daemons killed every now and then: no zombie, no orphan, few open files, and all work is there.

A daemon that is killed lives too short for its memory to be judged by slope: what it has open is looked at. Another
one lives through all of it, works on plan after plan while agents and supervisors are killed, and must not grow.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.backends.runfolder import is_locked
from tests.conftest import TOLD
from tests.prove.crashes import kept_when_it_fails, tell, told
from tests.prove.life import Life, Nursery
from tests.prove.rig import Rig
from tests.prove.size import scaled

SOAK_S = 180
OPEN_AT_MOST = 120  #: files of one daemon; each run that it watches takes a few
SEED = 9
TASKS = 12
WORK = 'sleep "0.$0"; echo once >> "$ORCHESTRATOR_TASK.txt"'
SETTINGS = "[protect]\nspawn_burst = 1000\nspawn_rate = 1000\nattempts = 1000\n"
GROWS_AT_MOST = 0.25  #: MiB of memory for each plan that a daemon keeps the state of
PLAN_S = 120.0


def looked_at(life: Life) -> int:
    """How many files the daemon has open; none of its children may be a zombie for long."""
    pid = life.daemon
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def zombies_of(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, above = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state == "Z" and int(above) == parent:
                found.append(int(entry.name))
    return found


@pytest.mark.prove
@pytest.mark.timeout(6 * 3600)
def test_stories_are_told_for_a_long_time(nursery: Nursery) -> None:
    chance = random.Random(SEED)
    until = time.monotonic() + scaled(SOAK_S)
    stories = lives = most = 0
    while time.monotonic() < until:
        with told(nursery, f"pytest -m prove '{__file__}'") as story:
            life = story.life

            def moment(life: Life = life) -> float:
                nonlocal most
                most = max(most, looked_at(life))
                return chance.uniform(0.5, 5.0)

            tell(story, Rig, moment=moment)
            stories, lives = stories + 1, lives + life.lives
            life.start()
            life.until(life.answers, "a last daemon")
            assert life.daemon is not None
            most = max(most, looked_at(life))
            assert zombies_of(life.daemon) == []
            life.kill()
            assert life.processes() == {}
    print(f"{stories} stories, {lives} daemons, at most {most} files open")
    assert most < OPEN_AT_MOST


def plan_of(number: int, chance: random.Random) -> str:
    return json.dumps(
        {
            "parallel": 4,
            "checks": [{"name": "ok", "run": ["true"]}],
            "agents": {"worker": {"adapter": "command", "run": ["sh", "-c", WORK, "{prompt}"]}},
            "defaults": {"agent": "worker", "retries": 20, "backoff": ["50ms"]},
            "tasks": [
                {"id": f"p{number}-{n}", "files": [f"p{number}-{n}.txt"], "prompt": str(chance.randrange(2, 9))}
                for n in range(TASKS)
            ],
        }
    )


def killed_somebody(life: Life, plan: str, chance: random.Random) -> bool:
    """Kill an agent that works, or its supervisor."""
    working = [
        meta
        for meta in life.place.state_dir.glob(f"attempts/{plan}/*/agent/meta.json")
        if is_locked(meta.with_name("lock"))
    ]
    if not working:
        return False
    said = json.loads(chance.choice(working).read_text())
    who = said.get(chance.choice(("agent", "supervisor")))
    if who is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(who["pid"], signal.SIGKILL)
    return True


def memory_of(pid: int) -> float:
    """What a process holds of the memory, in MiB."""
    words = Path(f"/proc/{pid}/statm").read_text().split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.prove
@pytest.mark.timeout(6 * 3600)
def test_one_daemon_works_for_a_long_time_while_agents_and_supervisors_are_killed(
    nursery: Nursery, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(SEED)
    until = time.monotonic() + scaled(SOAK_S)
    memory: list[float] = []
    most_open = kills = 0
    with kept_when_it_fails(f"pytest -m prove '{__file__}' -k one_daemon") as folder:
        life = Life(folder, nursery)
        person = life.person
        try:
            person.write("orchestrator.toml", SETTINGS)
            person.commit("settings")
            life.start()
            life.until(life.answers, "the daemon")
            assert life.daemon is not None
            while time.monotonic() < until:
                number = len(memory)
                path = person.plan(plan_of(number, chance), f"p{number}")
                digest = life.digest(path)
                assert life.submit(path, digest) is None
                over_by = time.monotonic() + PLAN_S
                while not life.is_over():
                    assert time.monotonic() < over_by, f"{life.tasks()} {life.open_items()}"
                    time.sleep(chance.uniform(0.05, 1.0))
                    kills += killed_somebody(life, f"p{number}", chance)
                for n in range(TASKS):
                    assert (person.repo / f"p{number}-{n}.txt").read_text() == "once\n"
                life.until(lambda: not life.processes(), "the end of all agents", seconds=10)
                life.until(lambda: zombies_of(life.daemon or 0) == [], "the burial of zombies", seconds=10)
                memory.append(memory_of(life.daemon))
                most_open = max(most_open, looked_at(life))
            assert life.is_alive()
            assert life.lives == 1
        finally:
            life.leave()
    grown = (memory[-1] - memory[len(memory) // 3]) / max(1, len(memory) - 1 - len(memory) // 3)
    record_property(
        TOLD,
        f"soak: {len(memory)} plans of {TASKS} tasks by one daemon, {kills} agents and supervisors killed, "
        f"{memory[0]:.0f} to {memory[-1]:.0f} MiB, {grown * 1024:.0f} KiB a plan, at most {most_open} files open",
    )
    assert most_open < OPEN_AT_MOST
    assert grown < GROWS_AT_MOST
