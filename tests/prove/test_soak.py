"""Story after story, daemons killed every now and then: no zombie, no orphan, few open files, and all work is there.

A daemon's life is too short here for its memory to be judged by slope; what it has open is looked at while it lives.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.prove.crashes import tell, told
from tests.prove.life import Life, Nursery
from tests.prove.rig import Rig
from tests.prove.size import scaled

SOAK_S = 180
OPEN_AT_MOST = 120  #: files of one daemon; each run that it watches takes a few
SEED = 9


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
