"""A daemon that was killed comes back to a long ledger with agents at work."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import anyio

from orchestrator.backends.sqlite import SqliteReader, SqliteStore
from orchestrator.model.event import Event, LeaseGranted, ProgressReported, RunLaunched
from orchestrator.model.ids import PlanId
from orchestrator.model.plan import AgentSpec
from orchestrator.ports import Batch
from orchestrator.wire import dump_event, load_event
from tests.bench.desk import Desk
from tests.bench.figure import Figure
from tests.fakes.world import World, a_plan, a_task

EVENTS = 200_000
PLANS = 3
TASKS = 1_000  #: of each plan
LIVE = 50

#: Says something whenever it is asked to, and never ends.
AGENT = """\
date +%s.%N >>"$BENCH_LOG/$ORCHESTRATOR_TASK"
round=1
while sleep 2 && [ -d "$BENCH_LOG" ]; do
  if [ -e "$BENCH_LOG/round-$round" ]; then
    orch-agent progress "round $round"
    round=$((round + 1))
  fi
done
"""

_COMMIT = re.compile(r'"(?:target|head|commit|tree)-[^"]*"')


def lived_through(commit: str) -> Iterator[Event]:
    """The events of plans that went well, with agents that said much: as many as are wanted.

    Args:
        commit: a real one, in place of every one that was made.
    """
    agents = (AgentSpec(name="a", adapter="demo", count=LIVE),)
    tasks = [a_task(f"t{number}") for number in range(TASKS)]
    plans = [a_plan(*tasks, name=PlanId(f"old-{number}"), parallel=LIVE, agents=agents) for number in range(PLANS)]
    world = World(plans[0])
    world.run()
    for plan in plans[1:]:
        world.plan = plan
        world.submit(plan)
        world.run()
    said = -(-(EVENTS - len(world.events)) // (PLANS * TASKS))
    granted = {event.attempt_id: event for event in world.events if isinstance(event, LeaseGranted)}
    for event in world.events:
        name, data = dump_event(event)
        yield load_event(name, json.loads(_COMMIT.sub(f'"{commit}"', json.dumps(data))))
        if isinstance(event, RunLaunched) and (lease := granted.get(event.run_id.rsplit("/", 1)[0])):  # type: ignore[call-overload]
            for number in range(said):
                yield ProgressReported(
                    plan_id=lease.plan_id,
                    task_id=lease.task_id,
                    attempt_id=lease.attempt_id,
                    token=lease.token,
                    text=f"looked at file {number} of {said}, and went on with the next one",
                )


async def write(path: Path, commit: str) -> int:
    """A ledger with them, written as a daemon writes it."""
    from orchestrator.backends.clock import SystemClock

    store, clock = await SqliteStore.open(path), SystemClock()
    events, seq = list(lived_through(commit)), 0
    for begin in range(0, len(events), 200):
        at = clock.now() - timedelta(days=1)
        seq = await store.record(Batch(at=at, events=events[begin : begin + 200]))
    await store.close()
    return seq


def restart(folder: Path, rounds: int) -> list[Figure]:
    """From the start of a daemon whose forerunner was killed: until a verb is answered, and until all agents are heard.

    Each agent says something while no daemon is there; it is adopted when that is in the ledger.
    """
    desk = Desk.make(folder / "restart", 200)
    (desk.folder / "agent.sh").write_text(AGENT)
    events, wrote = _with_past(desk)
    path, digest = desk.plan("live", LIVE, LIVE)
    desk.type("start", path, "--confirm", digest, "--detach")
    _wait_until(lambda: len(_agents(desk)) == LIVE)
    cold = [_killed_and_back(desk, 2 * turn + 1, kept=False) for turn in range(rounds)]
    warm = [_killed_and_back(desk, 2 * turn + 2, kept=True) for turn in range(rounds)]
    assert desk.data("status")["counts"]["doing"] == LIVE, "all of them are at work"
    desk.leave()
    what = f"killed with {events} events and {LIVE} agents at work, and back"
    found = []
    for times, how in ((warm, "from the state that was kept"), (cold, "everything folded")):
        found.append(Figure(f"{what}, {how}: a verb is answered", [answered for answered, _ in times], "s", 10))
        found.append(Figure(f"{what}, {how}: all agents adopted", [adopted for _, adopted in times], "s", 10))
    return [*found, Figure("events written, 200 at once", [wrote], "/s", 5000, more_is_better=True)]


def _with_past(desk: Desk) -> tuple[int, float]:
    """Give the repository a ledger, and the references that it speaks of. Returns: events, and how many a second."""
    state = desk.repo / ".git" / "orchestrator"
    _start_daemon(desk)  # makes its own repository
    _wait_until(lambda: _answers(desk, "resume"))
    desk.type("stop", "--now")
    for file in state.glob("ledger.*"):
        file.unlink()
    commit = desk.git("rev-parse", "HEAD")
    began = time.perf_counter()
    events = anyio.run(write, state / "ledger.sqlite", commit)
    wrote = events / (time.perf_counter() - began)
    names = [f"refs/orchestrator/plans/old-{plan}" for plan in range(PLANS)]
    names += [f"refs/orchestrator/old-{plan}/t{task}-1" for plan in range(PLANS) for task in range(TASKS)]
    for repository in (desk.repo / ".git", state / "repo.git"):
        subprocess.run(
            ["git", "--git-dir", str(repository), "update-ref", "--stdin"],
            env=desk.environ,
            input="".join(f"create {name} {commit}\n" for name in names),
            text=True,
            check=True,
        )
        subprocess.run(["git", "--git-dir", str(repository), "pack-refs", "--all"], env=desk.environ, check=True)
    return events, wrote


def _agents(desk: Desk) -> list[Path]:
    return [file for file in desk.log.iterdir() if file.name.startswith("live-")]


def _killed_and_back(desk: Desk, number: int, *, kept: bool) -> tuple[float, float]:
    """Seconds until a verb is answered, and until what every agent said meanwhile is known."""
    state = desk.repo / ".git" / "orchestrator"
    if kept:
        desk.type("stop", "--detach")
        _start_daemon(desk)
        _wait_until(lambda: _answers(desk, "resume"))
        assert (state / "ledger.state").exists()
    os.kill(desk.daemon(), signal.SIGKILL)
    if not kept:
        (state / "ledger.state").unlink(missing_ok=True)
    (desk.log / f"round-{number}").touch()
    said = f'"round {number}"'
    attempts = state / "attempts" / "live"
    _wait_until(lambda: sum(said in file.read_text() for file in attempts.glob("*/agent/reports")) == LIVE)
    time.sleep(3)  # for the programs that said it to be over
    reader = SqliteReader(state / "ledger.sqlite")
    last = reader.version() >> 32

    def heard() -> set[str | None]:
        new = reader.events(after_seq=last)
        return {event.task for event in new if event.type == "progress_reported" and said in json.dumps(event.data)}

    began = time.perf_counter()
    _start_daemon(desk)
    _wait_until(lambda: _answers(desk, "resume"))
    answered = time.perf_counter() - began
    _wait_until(lambda: len(heard()) == LIVE)
    adopted = time.perf_counter() - began
    reader.close()
    return answered, adopted


def _start_daemon(desk: Desk) -> None:
    subprocess.Popen(
        [sys.executable, "-m", "orchestrator.app", str(desk.repo)],
        env=desk.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _answers(desk: Desk, verb: str) -> bool:
    asked = [str(Path(sys.executable).with_name("orchestrator")), verb]
    done = subprocess.run(asked, cwd=desk.repo, env=desk.environ, capture_output=True)
    return done.returncode in {0, 7}  # or there is no plan yet


def _wait_until(holds: Callable[[], bool], within_s: float = 300) -> None:
    until = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.05)
