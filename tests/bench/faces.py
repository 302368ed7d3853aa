"""What a person waits for, and what a daemon costs that has nothing to do."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from tests.bench.desk import ORCHESTRATOR, Desk
from tests.bench.figure import Figure

IDLE_S = 20.0


def start_up(folder: Path, rounds: int) -> list[Figure]:
    """Commands that only look."""
    desk = Desk.make(folder / "faces", 40)
    desk.run(desk.plan("one", 20, 4))
    desk.leave()
    found = []
    for words, bound in ((("--help",), 250), (("status",), 400), (("logs", "one-1"), 400)):
        times = []
        for _ in range(3 + 3 * rounds):
            began = time.perf_counter()
            subprocess.run(
                [str(ORCHESTRATOR), *words], cwd=desk.repo, env=desk.environ, capture_output=True, check=True
            )
            times.append((time.perf_counter() - began) * 1000)
        found.append(Figure(f"`{' '.join(words)}`", times[3:], "ms", bound))
    return found


def plan_checks(folder: Path, rounds: int) -> list[Figure]:
    """`plan check` with the exact overlap of every pair."""
    found = []
    desk = Desk.make(folder / "check", 1000)
    for tasks, bound in ((1000, 1.0), (10_000, 3.0)):
        lines = ["name: big\nchecks: none\nagents:\n  quick: {adapter: command, run: [sh]}\ntasks:\n"]
        for number in range(tasks):
            files = f"['src/m{number % 997}/t{number}/**', 'tests/t{number}_*.py', 'docs/t{number}.md']"
            after = f"[t{number - 100}]" if number >= 100 and number % 3 == 0 else "[]"
            lines.append(f"  - {{id: t{number}, agent: quick, prompt: x, files: {files}, depends_on: {after}}}\n")
        file = desk.folder / f"{tasks}.yaml"
        file.write_text("".join(lines))
        times = []
        for _ in range(rounds):
            began = time.perf_counter()
            desk.type("plan", "check", str(file), "--json")
            times.append(time.perf_counter() - began)
        found.append(Figure(f"`plan check` of {tasks} tasks with {3 * tasks} patterns", times, "s", bound))
    return found


def idle_daemon(folder: Path, _: int) -> list[Figure]:
    """A daemon whose plan is over."""
    desk = Desk.make(folder / "idle", 200)
    desk.run(desk.plan("one", 20, 4))
    pid = desk.daemon()
    time.sleep(2)
    before, began = _cpu_s(pid), time.perf_counter()
    time.sleep(IDLE_S)
    share = (_cpu_s(pid) - before) / (time.perf_counter() - began)
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    desk.leave()
    return [
        Figure("idle daemon, share of a core", [share * 100], "%", 1.0),
        Figure("idle daemon, memory", [resident], "MB", 150),
    ]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
