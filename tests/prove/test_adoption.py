"""`kill -9` of the daemon again and again while agents work: the same agents finish under the daemons that follow.

Agents live for seconds and number their lines, in their output and in what they report: each line has to be there
exactly once, from the same process, under the same supervisor, in the first attempt.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends.runfolder import is_locked
from tests.conftest import TOLD
from tests.prove.crashes import kept_when_it_fails
from tests.prove.life import Life, Nursery
from tests.prove.rig import some_moment
from tests.prove.size import scaled

KILLS = 8
PROVE_KILLS = 240
KILLS_OF_A_STORY = 12
SHORT_LIVES = 8  #: agents that end by themselves, whoever lives then
LONG_LIVES = 2  #: agents that live until the last kill
STORY_S = 120.0
PATH = "plans/work.yaml"
#: Prints numbered lines, and reports every tenth. `$0` is how many; a name in place of it: until that file is there.
AGENT = """\
echo "pid $$"
i=0
while [ $i -lt "$0" ] 2>/dev/null || { [ "$0" = go ] && [ ! -e "$HOME/go" ]; }; do
  echo "line $i"
  [ $((i % 10)) != 0 ] || orch-agent progress "report $i"
  i=$((i+1)); sleep 0.04
done
echo "lines $i"
echo "$ORCHESTRATOR_ATTEMPT" >> "$ORCHESTRATOR_TASK.txt"
"""


def plan_of(chance: random.Random) -> str:
    """A plan of agents that live for seconds; the last ones wait until the other ones have ended or worked a while."""
    lengths = [str(chance.randrange(10, 120)) for _ in range(SHORT_LIVES)] + ["go"] * LONG_LIVES
    return json.dumps(
        {
            "parallel": 5,
            "checks": "none",
            "agents": {"lives": {"adapter": "command", "run": ["sh", "-c", AGENT, "{prompt}"]}},
            "defaults": {"agent": "lives", "retries": 0},
            "tasks": [
                {"id": f"t{n}", "files": [f"t{n}.txt"], "prompt": length, "priority": 100 if length == "go" else 50}
                for n, length in enumerate(lengths)
            ],
        }
    )


class Watched:
    """Who worked, each time that somebody looked."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self.agents: dict[str, set[tuple[int, int]]] = {}  #: run folder -> supervisors and agents that were seen

    def at_work(self) -> int:
        """How many agents work now."""
        working = 0
        for meta in self._life.place.state_dir.glob("attempts/work/*/agent/meta.json"):
            said: dict[str, Any] = json.loads(meta.read_text())
            if said.get("agent") and is_locked(meta.with_name("lock")):
                working += 1
                seen = self.agents.setdefault(str(meta.parent), set())
                seen.add((said["supervisor"]["pid"], said["agent"]["pid"]))
        return working


def lived_through(nursery: Nursery, kills: int, chance: random.Random, repeat: str) -> int:
    """Kill daemons while agents work. Returns: at how many agents' work daemons died, taken together."""
    with kept_when_it_fails(repeat) as folder:
        life = Life(folder, nursery)
        try:
            life.person.plan(plan_of(chance))
            life.person.commit("plan")
            digest = life.digest(PATH)
            life.start()
            life.until(life.answers, "the daemon")
            assert life.submit(PATH, digest) is None
            watched = Watched(life)
            disturbed = killed_while_at_work(life, watched, kills, chance)
            (life.person.home / "go").touch()
            life.until(lambda: life.phase() == "published", "the publish", seconds=STORY_S)
            watched.at_work()
            judge(life, watched)
        finally:
            (life.person.home / "go").touch()
            life.leave()
    return disturbed


def killed_while_at_work(life: Life, watched: Watched, kills: int, chance: random.Random) -> int:
    disturbed, until = 0, time.monotonic() + STORY_S
    while kills:
        assert time.monotonic() < until, f"agents do not work: {life.tasks()}"
        time.sleep(some_moment(chance, 0.3 if chance.random() < 0.25 else 1.2))
        assert life.is_alive(), f"a daemon ended by itself with {life.ends[-1]}"
        working = watched.at_work()
        life.kill(with_children=chance.random() < 0.5)
        if working:
            kills, disturbed = kills - 1, disturbed + working
        life.start()
    return disturbed


def judge(life: Life, watched: Watched) -> None:
    """Hold that every agent worked once, to its end, and that all it said has arrived once."""
    events = life.events()
    assert [
        e.type for e in events if e.type in {"attempt_ended", "escalated", "backoff_started", "lease_granted"}
    ].count("lease_granted") == len(life.tasks()), "a task was given out again"
    for task in life.tasks().values():
        name = task["id"]
        assert task["attempts"] == 1, f"{name} ran {task['attempts']} times"
        assert (life.person.repo / f"{name}.txt").read_text() == "1\n", f"{name} was done twice, or lost"
        run = Path(life.place.run_dir(f"work/{name}-1/agent"))
        output = (run / "output").read_text().splitlines()
        number = int(output[-1].removeprefix("lines "))
        assert output[1:-1] == [f"line {n}" for n in range(number)], f"output of {name}: {output}"
        reported = [e.data["text"] for e in events if e.type == "progress_reported" and e.task == name]
        assert reported == [f"report {n}" for n in range(0, number, 10)], f"reports of {name}: {reported}"
        meta = json.loads((run / "meta.json").read_text())
        assert output[0] == f"pid {meta['agent']['pid']}"
        seen = watched.agents.get(str(run), set())
        assert seen <= {(meta["supervisor"]["pid"], meta["agent"]["pid"])}, f"{name} was worked on by {seen}"
    life.until(lambda: not life.processes(), f"the end of {life.processes()}", seconds=10)


def test_agents_at_work_finish_under_the_daemons_that_follow(nursery: Nursery) -> None:
    lived_through(nursery, KILLS, random.Random(1), f"pytest '{__file__}'")


@pytest.mark.prove
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(10, 10 + scaled(PROVE_KILLS // KILLS_OF_A_STORY)))
def test_agents_finish_whenever_and_however_often_their_daemon_is_killed(
    nursery: Nursery, seed: int, record_property: Callable[[str, object], None]
) -> None:
    repeat = f"pytest -m prove '{__file__}' -k 'however_often and {seed}'"
    disturbed = lived_through(nursery, KILLS_OF_A_STORY, random.Random(seed), repeat)
    record_property(TOLD, f"adoption, seed {seed}: {KILLS_OF_A_STORY} kills, {disturbed} agents at work then went on")
