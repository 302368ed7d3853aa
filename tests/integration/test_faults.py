"""Whatever raises inside the daemon, the daemon lives, the task that it was about goes on or asks, and others go on."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog

from orchestrator.backends.clock import SystemChance, SystemClock
from orchestrator.backends.memory import MemoryLedger, MemoryStore
from orchestrator.core.state import rebuild
from orchestrator.engine import faults, perform, watchers
from orchestrator.engine import loop as loop_module
from orchestrator.engine.loop import Loop
from orchestrator.engine.perform import Performer
from orchestrator.engine.watchers import Watchers
from orchestrator.model.errors import InternalError
from orchestrator.model.event import AttemptStarted, DaemonFault, DispatchFreed, DispatchHeld, LeaseGranted
from orchestrator.model.fact import DaemonStarted, PauseAsked, PlanSubmitted, ResumeAsked
from orchestrator.model.guard import Guards, HoldReason
from orchestrator.model.place import Place
from orchestrator.model.plan import RetryPolicy
from orchestrator.model.run import PlanPhase, TaskState
from orchestrator.ports import Room
from tests.fakes.ports import (
    Failing,
    PlayedAdapter,
    PlayedExecutor,
    PlayedPreparer,
    PlayedRepository,
    PlayedSurroundings,
)
from tests.fakes.world import a_plan, a_task

pytestmark = pytest.mark.anyio
STARTED = DaemonStarted(pid=1, boot_id="b", version="0", quiet=timedelta(minutes=10), guards=Guards(spawn_burst=1000))
AGAIN = RetryPolicy(retries=5, waits=(timedelta(milliseconds=5),))
NAMES = ("one", "two", "three")
GiB = 1024**3


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module, name in [
        (loop_module, "PAUSE_S"), (loop_module, "ASIDE_S"), (faults, "AGAIN_S"), (faults, "LONGEST_S"),
        (perform, "SHOW_PAUSE_S"),
        (perform, "ROOM_PAUSE_S"), (perform, "EXHAUSTED_PAUSE_S"), (perform, "LOOK_S"), (watchers, "FRESH_S"),
        (watchers, "DISK_EVERY_S"), (watchers, "DESCRIPTORS_EVERY_S"),
    ]:  # fmt: skip
        monkeypatch.setattr(module, name, 0.01)
    with structlog.testing.capture_logs():  # to print so many tracebacks would take most of the time
        yield


class PlayedMachine:
    """A machine with as much left as a test says."""

    def __init__(self) -> None:
        self.free, self.used, self.reserve = 50 * GiB, 20, True

    def rooms(self) -> tuple[Room, ...]:
        return (Room(path="/w", free=self.free, total=100 * GiB),)

    def descriptors(self) -> tuple[int, int]:
        return self.used, 1024

    def keep_reserve(self) -> None:
        self.reserve = True

    def give_up_reserve(self) -> bool:
        had, self.reserve = self.reserve, False
        return had


class Parts:
    """The engine, and everything around it played; a test puts what fails in its place."""

    def __init__(self, tmp_path: Path) -> None:
        self.place = Place(
            root=tmp_path, common_dir=tmp_path, state_dir=tmp_path, worktrees=tmp_path, socket=tmp_path / "s"
        )
        self.ledger = MemoryLedger()
        self.store: Any = MemoryStore(self.ledger)
        self.repository: Any = PlayedRepository()
        self.executor: Any = PlayedExecutor()
        self.clock: Any = SystemClock()
        self.chance: Any = SystemChance()
        self.preparer: Any = PlayedPreparer()
        self.surroundings: Any = PlayedSurroundings()
        self.adapter: Any = PlayedAdapter()
        self.machine = PlayedMachine()

    def fail(self, port: str, method: str, times: int, error: Any = None) -> Failing:
        failing = Failing(getattr(self, port), method, times, error)
        setattr(self, port, failing)
        return failing

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Loop]:
        loop = Loop(store=self.store, executor=self.executor, clock=self.clock, chance=self.chance, place=self.place)
        guard = Watchers(machine=self.machine, deliver=loop.deliver, state=lambda: loop.state)
        loop.make_room = guard.make_room
        performer = Performer(
            place=self.place,
            repository=self.repository,
            preparer=self.preparer,
            executor=self.executor,
            adapters={"demo": self.adapter},
            surroundings=self.surroundings,
            clock=self.clock,
            state=lambda: loop.state,
            watchers=guard,
        )
        to_do = await loop.recover()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(loop.run, performer, to_do, STARTED)
            tasks.start_soon(loop.faults.kept_up, "the disk", guard.watch_disk)
            tasks.start_soon(loop.faults.kept_up, "files", guard.watch_descriptors)
            with anyio.fail_after(10):
                await loop.begun.wait()
            yield loop
            tasks.cancel_scope.cancel()

    async def events(self, kind: type) -> list[Any]:
        return [e for _, _, e in await MemoryStore(self.ledger).events() if isinstance(e, kind)]


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path)


def submitted(**more: Any) -> PlanSubmitted:
    tasks = [a_task(name, retry=AGAIN) for name in NAMES]
    return PlanSubmitted(plan=a_plan(*tasks, **more), digest="d", by="me", sequential=False, rivals=(), rank={})


async def until(holds: Any) -> None:
    with anyio.fail_after(10):
        while not holds():
            await anyio.sleep(0.005)


def states(loop: Loop) -> dict[str, TaskState]:
    return {str(name): run.state for name, run in loop.state.plans[a_plan().name].tasks.items()}


def has_come_to_rest(loop: Loop) -> bool:
    """All has landed, or what has not waits for a person."""
    plan = loop.state.plans.get(a_plan().name)
    if plan is None:
        return False
    if plan.phase in {PlanPhase.PUBLISHED, PlanPhase.FINISHED, PlanPhase.CANCELLED}:
        return True
    left = [s for s in states(loop).values() if s is not TaskState.LANDED]
    return len(left) <= 1 and any(not i.is_note for i in loop.state.open_items())


PORTS = [
    *(("store", name) for name in ("record",)),
    *(
        ("repository", name)
        for name in (
            "begin_branch", "target_commit", "contains", "make_workspace", "collect", "merge_candidate", "checkout",
            "land", "mirror", "show_kept", "publish", "remove",
        )
    ),
    *(("executor", name) for name in ("submit", "release", "signals")),
    ("preparer", "prepare"),
    *(("surroundings", name) for name in ("environment", "secrets", "identity", "author")),
    *(("adapter", name) for name in ("launch", "briefing_text")),
    ("clock", "now"),
    ("chance", "draw"),
]  # fmt: skip


@pytest.mark.parametrize(("port", "method"), PORTS)
async def test_an_error_in_a_port_ends_no_daemon_and_holds_up_nobody_else(parts: Parts, port: str, method: str) -> None:
    async with parts.running() as loop:
        failing = parts_fail(parts, loop, port, method)
        await loop.request(submitted()) if method not in {"record", "now", "draw"} else await stubborn(loop)
        await until(lambda: has_come_to_rest(loop))
        if method == "begin_branch":
            assert loop.state.plans[a_plan().name].phase is PlanPhase.CANCELLED, "a plan without a branch says why"
        else:
            assert sum(state is TaskState.LANDED for state in states(loop).values()) >= len(NAMES) - 1
        await until(lambda: failing.raised == 1 and len(loop.state.faults) == 1)
        assert HoldReason.SAFE_MODE not in loop.state.holds
        assert loop.state == rebuild(await MemoryStore(parts.ledger).events()), "the state is what the ledger says"
    (fault,) = await parts.events(DaemonFault)
    assert "is broken" in fault.error
    assert "RuntimeError" in fault.tail


def parts_fail(parts: Parts, loop: Loop, port: str, method: str) -> Failing:
    """The method fails once from now on, in a loop that runs already."""
    failing = Failing(getattr(parts, port), method, 1)
    for holder, name in _holders(loop, getattr(parts, port)):
        setattr(holder, name, failing)
    return failing


def _holders(loop: Loop, port: Any) -> list[tuple[Any, str]]:
    performer = loop._performer
    inside: list[Any] = [loop, loop._timers, loop.faults, performer, performer._specs]  # type: ignore[union-attr]
    found = [(one, name) for one in inside for name in vars(one) if getattr(one, name) is port]
    adapters = performer._specs._adapters  # type: ignore[union-attr]
    if adapters.get("demo") is port:
        found.append((_Item(adapters), "demo"))
    return found


class _Item:
    def __init__(self, mapping: Any) -> None:
        object.__setattr__(self, "mapping", mapping)

    def __setattr__(self, name: str, value: Any) -> None:
        self.mapping[name] = value


async def stubborn(loop: Loop) -> None:
    """Somebody who asks once more after an error of the daemon's own."""
    with pytest.raises(InternalError, match="did nothing of it"):
        await loop.request(submitted())
    await loop.request(submitted())


async def test_a_run_that_can_never_be_watched_is_told_of_and_the_daemon_stops_acting(parts: Parts) -> None:
    parts.fail("executor", "signals", 10_000)
    async with parts.running() as loop:
        await loop.request(submitted(parallel=1))
        await until(lambda: HoldReason.SAFE_MODE in loop.state.holds)
        assert {item.trigger for item in loop.state.open_items()} == {"fault", "safe_mode"}
        await anyio.sleep(0.3)
        assert len(await parts.events(DaemonFault)) <= 6, "the ledger is not filled with what is known"
        await loop.request(PauseAsked(by="me"))
        await loop.request(ResumeAsked(by="me"))
        assert HoldReason.SAFE_MODE not in loop.state.holds


async def test_a_ledger_that_always_fails_ends_no_daemon_and_what_happened_is_recorded_when_it_works(
    parts: Parts,
) -> None:
    async with parts.running() as loop:
        await loop.request(submitted(parallel=1))
        failing = Failing(loop._store, "record", 60)
        loop._store = failing  # type: ignore[assignment]
        await until(lambda: failing.raised == 60 and HoldReason.SAFE_MODE in loop.state.holds)
        await loop.request(ResumeAsked(by="me"))
        await until(lambda: has_come_to_rest(loop))
        assert set(states(loop).values()) == {TaskState.LANDED}


async def test_one_fact_that_always_fails_holds_up_no_other(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    real = parts.store.record

    async def record(batch: Any) -> int:
        if any(
            "p/one-1" in repr(event) and not isinstance(event, LeaseGranted | AttemptStarted) for event in batch.events
        ):
            raise RuntimeError("poison")
        return int(await real(batch))

    async with parts.running() as loop:
        await loop.request(submitted(parallel=3))
        monkeypatch.setattr(parts.store, "record", record)
        await until(lambda: {states(loop)[n] for n in ("two", "three")} <= {TaskState.QUEUED, TaskState.LANDED})
        await until(lambda: HoldReason.SAFE_MODE in loop.state.holds)


# ---- a machine that is short of something ----


@pytest.mark.parametrize(
    ("port", "method", "error", "reason"),
    [
        pytest.param("executor", "submit", OSError(errno.EMFILE, "too many"), HoldReason.PROCESSES, id="files"),
        pytest.param("executor", "submit", BlockingIOError(errno.EAGAIN, "try again"), HoldReason.PROCESSES, id="fork"),
        pytest.param("repository", "make_workspace", MemoryError(), HoldReason.PROCESSES, id="memory"),
        pytest.param("repository", "collect", OSError(errno.ENFILE, "overflow"), HoldReason.PROCESSES, id="table"),
        pytest.param("repository", "make_workspace", OSError(errno.ENOSPC, "No space"), HoldReason.DISK, id="disk"),
        pytest.param("executor", "submit", OSError(errno.EDQUOT, "quota"), HoldReason.DISK, id="quota"),
    ],
)  # fmt: skip
async def test_a_shortage_is_waited_for_and_costs_no_attempt(
    parts: Parts, port: str, method: str, error: Exception, reason: HoldReason
) -> None:
    failing = parts.fail(port, method, 3, lambda: error)
    async with parts.running() as loop:
        await loop.request(submitted(parallel=3))
        await until(lambda: failing.raised == 3)
        await until(lambda: set(states(loop).values()) == {TaskState.LANDED})
        assert all(task.attempts == 1 for task in loop.state.plans[a_plan().name].tasks.values())
    assert reason in {held.reason for held in await parts.events(DispatchHeld)}
    assert not await parts.events(DaemonFault)


async def test_below_the_floor_nothing_is_begun_and_above_it_all_goes_on(parts: Parts) -> None:
    parts.machine.free = GiB
    async with parts.running() as loop:
        await until(lambda: HoldReason.DISK in loop.state.holds)
        await loop.request(submitted())
        await anyio.sleep(0.1)
        assert set(states(loop).values()) == {TaskState.PENDING}
        assert "1.0 GiB are free on the disk of /w" in loop.state.holds["disk"].detail
        parts.machine.free = int(2.1 * GiB)
        await anyio.sleep(0.1)
        assert HoldReason.DISK in loop.state.holds, "a little above the floor is not enough"
        parts.machine.free = 3 * GiB
        await until(lambda: set(states(loop).values()) == {TaskState.LANDED})


async def test_a_hold_of_an_earlier_daemon_is_looked_at_anew(parts: Parts) -> None:
    parts.machine.used = 1000
    async with parts.running() as loop:
        await until(lambda: HoldReason.DESCRIPTORS in loop.state.holds)
    parts.machine.used = 20
    async with parts.running() as loop:
        await until(lambda: not loop.state.holds)
    assert [freed.reason for freed in await parts.events(DispatchFreed)] == [HoldReason.DESCRIPTORS]


async def test_the_reserve_is_given_up_so_that_a_full_disk_is_recorded_and_nobody_is_refused(parts: Parts) -> None:
    full = Failing(parts.store, "record", 1, lambda: OSError(errno.ENOSPC, "No space left on device"))
    from orchestrator.model.errors import OrchestratorError

    full._error = lambda: OrchestratorError("the ledger cannot grow", why="the disk is full", fix="make room")
    async with parts.running() as loop:
        parts.machine.free = 0
        await until(lambda: HoldReason.DISK in loop.state.holds)
        assert parts.machine.reserve
        loop._store = full  # type: ignore[assignment]
        await loop.request(submitted())
        assert full.raised == 1
        assert not parts.machine.reserve
        parts.machine.free = 9 * GiB
        await until(lambda: parts.machine.reserve)


async def test_the_last_words_of_a_dying_daemon_are_in_the_ledger(parts: Parts) -> None:
    for _ in range(3):
        async with parts.running() as loop:
            pass
        await loop.last_words(recursion())
    async with parts.running() as loop:
        assert HoldReason.SAFE_MODE in loop.state.holds, "three in a row are a loop"
    store = MemoryStore(replace(parts.ledger))
    assert loop.state == rebuild(await store.events())


def recursion() -> Exception:
    try:
        raise RecursionError("too deep")
    except RecursionError as error:
        return error
