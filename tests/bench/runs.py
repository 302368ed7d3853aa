"""Whole runs: against a hand-written loop, against the ideal, and from a claim to the agent's process."""

from __future__ import annotations

import subprocess
import time
from datetime import datetime
from pathlib import Path

from tests.bench.desk import Desk
from tests.bench.figure import Figure

TASKS = 20
PARALLEL = 4

#: What a careful person writes: worktrees made one by one, agents at once, merges one after the other, all removed.
BY_HAND = """\
set -e
one() {
  flock ../wt.lock git worktree add -q -b "task/$1" "../wt/$1" main
  cd "../wt/$1"
  echo "$2" | ORCHESTRATOR_TASK="$1" sh ../../agent.sh
  git commit -qam "feat: $1"
}
export -f one
mkdir -p ../wt
xargs -P "$1" -L 1 bash -c 'one "$@"' _ <../hand.txt
while read -r id file; do
  git merge -q --no-ff -m "merge $id" "task/$id"
  git worktree remove --force "../wt/$id"
  git branch -q -D "task/$id"
done <../hand.txt
"""


def by_hand(desk: Desk) -> float:
    """Seconds that the loop takes for the same tasks."""
    step = desk.files // TASKS
    lines = [f"hand-{number} {desk.file(number * step + 1)}\n" for number in range(TASKS)]
    (desk.folder / "hand.txt").write_text("".join(lines))
    began = time.perf_counter()
    subprocess.run(
        ["bash", "-c", BY_HAND, "_", str(PARALLEL)], cwd=desk.repo, env=desk.environ, check=True, capture_output=True
    )
    took = time.perf_counter() - began
    assert desk.git("log", "--oneline", "--merges").count("merge hand-") == TASKS
    return took


def against_by_hand(folder: Path, rounds: int) -> list[Figure]:
    """The same work as the loop's, with the daemon up and without, in repositories of two sizes."""
    found = []
    for files, bound in ((200, 1.0), (5000, 0.6)):
        up, cold = [], []
        for turn in range(rounds):
            desk = Desk.make(folder / f"{files}-{turn}", files)
            first = desk.run(desk.plan("cold", TASKS, PARALLEL, first=2))
            hand = by_hand(desk)
            desk.run(desk.plan("warm", TASKS, PARALLEL, first=3))
            again = desk.run(desk.plan("up", TASKS, PARALLEL, first=4))
            desk.leave()
            cold.append(first / hand)
            up.append(again / hand)
        what = f"{TASKS} agents that do next to nothing, {PARALLEL} at once, {files} files, by hand = 1"
        found.append(Figure(f"{what}: daemon up", up, "", bound))
        found.append(Figure(f"{what}: from nothing", cold, "", 2.0, note="with the daemon's start and its clone"))
    return found


def against_the_ideal(folder: Path, rounds: int) -> list[Figure]:
    """Agents of two seconds: the share of the speed-up that is possible."""
    found = []
    desk = Desk.make(folder / "ideal", 200)
    desk.run(desk.plan("warm", TASKS, PARALLEL))
    for number, parallel in enumerate((4, 8)):
        ideal = -(-TASKS // parallel) * 2.0
        shares = [
            ideal / desk.run(desk.plan(f"sleep-{parallel}-{turn}", TASKS, parallel, 1 + 2 * turn + number, sleep=2))
            for turn in range(rounds)
        ]
        what = f"{TASKS} agents of 2 s, {parallel} at once: share of the ideal"
        found.append(Figure(what, shares, "", 0.9, more_is_better=True))
    desk.leave()
    return found


def claim_to_process(folder: Path, rounds: int) -> list[Figure]:
    """From the lease to the first line of the agent's program, in a tree that was used before."""
    desk = Desk.make(folder / "claim", 200)
    desk.run(desk.plan("warm", TASKS, PARALLEL))
    waits = []
    for turn in range(rounds):
        name = f"claim-{turn}"
        desk.run(desk.plan(name, TASKS, 1, 1 + turn))
        granted = {
            event["task"]: datetime.fromisoformat(event["at"]).timestamp()
            for event in desk.data("events")["events"]
            if event["type"] == "lease_granted" and event["plan"] == name
        }
        waits += [float((desk.log / task).read_text().split()[0]) - at for task, at in granted.items()]
    desk.leave()
    worst = sorted(waits)[int(len(waits) * 0.99)]
    return [
        Figure("claim to agent's process, one at a time", [wait * 1000 for wait in waits], "ms", 250),
        Figure("the same, 99 of 100", [worst * 1000], "ms", 250),
    ]
