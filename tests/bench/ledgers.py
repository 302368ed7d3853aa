"""A daemon that comes back to a long ledger with agents at work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import anyio

from orchestrator.backends.sqlite import SqliteStore
from orchestrator.model.event import Event, LeaseGranted, ProgressReported, RunLaunched
from orchestrator.model.ids import PlanId
from orchestrator.model.plan import AgentSpec
from orchestrator.ports import Batch
from tests.bench.desk import Desk
from tests.bench.figure import Figure
from tests.fakes.world import World, a_plan, a_task

EVENTS = 200_000
PLANS = 3
TASKS = 1_000  #: of each plan
LIVE = 50


def lived_through() -> Iterator[Event]:
    """The events of plans that went well, with agents that said much: as many as are wanted."""
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
        yield event
        if isinstance(event, RunLaunched) and (lease := granted.get(event.run_id.rsplit("/", 1)[0])):  # type: ignore[call-overload]
            for number in range(said):
                yield ProgressReported(
                    plan_id=lease.plan_id,
                    task_id=lease.task_id,
                    attempt_id=lease.attempt_id,
                    token=lease.token,
                    text=f"looked at file {number} of {said}, and went on with the next one",
                )


async def write(path: Path) -> int:
    """A ledger with them, written as a daemon writes it."""
    from orchestrator.backends.clock import SystemClock

    store, clock = await SqliteStore.open(path), SystemClock()
    events, seq = list(lived_through()), 0
    for begin in range(0, len(events), 200):
        at = clock.now() - timedelta(days=1)
        seq = await store.record(Batch(at=at, events=events[begin : begin + 200]))
    await store.close()
    return seq


def restart(folder: Path, rounds: int) -> list[Figure]:
    """From the start of a daemon whose forerunner was killed to its first answer, and to its being ready."""
    desk = Desk.make(folder / "restart", 200)
    state = desk.repo / ".git" / "orchestrator"
    began = time.perf_counter()
    events = anyio.run(write, state / "ledger.sqlite")
    wrote = events / (time.perf_counter() - began)
    path, digest = desk.plan("live", LIVE, LIVE, sleep=900)
    desk.type("start", path, "--confirm", digest, "--detach")
    while desk.data("status")["counts"]["doing"] < LIVE or len(_agents(desk)) < LIVE:
        time.sleep(0.5)
    folded, kept = [], []
    for _ in range(rounds):
        os.kill(desk.daemon(), signal.SIGKILL)
        (state / "ledger.state").unlink(missing_ok=True)
        folded.append(_until_it_answers(desk, "pause"))
        desk.type("stop", "--detach")
        kept.append(_until_it_answers(desk, "resume"))
    assert desk.data("status")["counts"]["doing"] == LIVE, "all of them were taken up"
    desk.leave()
    what = f"restart with {events} events and {LIVE} agents at work"
    return [
        Figure(f"{what}: after a kill, everything folded", folded, "s", 10),
        Figure(f"{what}: with the state that was kept", kept, "s", 10),
        Figure("events written, 200 at once", [wrote], "/s", 5000, more_is_better=True),
    ]


def _agents(desk: Desk) -> list[Path]:
    return [file for file in desk.log.iterdir() if file.name.startswith("live-")]


def _until_it_answers(desk: Desk, verb: str) -> float:
    began = time.perf_counter()
    subprocess.Popen(
        [sys.executable, "-m", "orchestrator.app", str(desk.repo)],
        env=desk.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    asked = [str(Path(sys.executable).with_name("orchestrator")), verb]
    while subprocess.run(asked, cwd=desk.repo, env=desk.environ, capture_output=True).returncode != 0:
        time.sleep(0.05)
    return time.perf_counter() - began
