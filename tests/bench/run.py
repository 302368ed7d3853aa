"""`make bench`: a whole run against a hand-written loop of `git worktree` and `xargs`, in turn, as ratios of one run.

A first measurement; the machine's noise is in every figure, so only the ratios mean anything.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.acceptance.person import ORCHESTRATOR, Person

TASKS = 20
PARALLEL = 4
ROUNDS = 3


def make_person(folder: Path, files: int) -> Person:
    person = Person.with_repository(folder)
    for number in range(files):
        person.write(f"src/p{number // 50}/f{number}.txt", f"file {number}\n" * 40)
    person.commit("files")
    return person


def by_hand(person: Person) -> float:
    """What a careful person writes: worktrees made one by one, agents at once, merges one after the other."""
    script = f"""
set -e
one() {{
  flock ../wt.lock git worktree add -q -b task/$1 ../wt/$1 main
  cd ../wt/$1 && echo edited >> t$1.txt && git add . && git commit -qm "feat: t$1"
}}
export -f one
mkdir -p ../wt
seq {TASKS} | xargs -P {PARALLEL} -I{{}} bash -c 'one {{}}'
for n in $(seq {TASKS}); do
  git merge -q --no-ff -m "merge $n" task/$n
  git worktree remove --force ../wt/$n
  git branch -q -D task/$n
done
"""
    start = time.perf_counter()
    subprocess.run(["bash", "-c", script], cwd=person.repo, env=person.environ, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def by_us(person: Person, name: str) -> float:
    tasks = "\n".join(f"  - {{id: t{n}, files: [t{n}.txt], agent: quick, prompt: edit}}" for n in range(TASKS))
    plan = person.plan(
        f"parallel: {PARALLEL}\nchecks: none\nagents:\n  quick: {{adapter: command, count: {PARALLEL}, "
        f"run: [sh, -c, 'echo edited >> $ORCHESTRATOR_TASK.txt']}}\ntasks:\n{tasks}\n",
        name,
    )
    digest = person.type("plan", "check", plan, "--json").data["digest"]
    start = time.perf_counter()
    done = person.type("start", plan, "--confirm", digest, timeout=600)
    took = time.perf_counter() - start
    assert done.code == 0, done.out + done.err
    return took


def start_up(*words: str, cwd: Path) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(
            [str(ORCHESTRATOR), *words], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        for files in (200, 5000):
            ours, hand = [], []
            for turn in range(ROUNDS):
                mine = make_person(Path(folder) / f"us-{files}-{turn}", files)
                mine.type("start")  # no plan: says so; the daemon is started by the first real start below
                by_us(mine, "warm")
                ours.append(by_us(mine, "measured"))
                mine.leave()
                hand.append(by_hand(make_person(Path(folder) / f"hand-{files}-{turn}", files)))
            ratios = sorted(o / h for o, h in zip(ours, hand, strict=True))
            found[f"whole run, {files} files, daemon up"] = {
                "ours_s": round(statistics.median(ours), 2),
                "by_hand_s": round(statistics.median(hand), 2),
                "ratio": round(statistics.median(ratios), 2),
            }
        person = make_person(Path(folder) / "cli", 1)
        found["--help, s"] = round(start_up("--help", cwd=person.repo), 3)
        found["status, s"] = round(start_up("status", cwd=person.repo), 3)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
