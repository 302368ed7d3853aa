"""Time that is only a number: an event loop that jumps to the next timer, a wall clock that faults can move, and dice.

Nothing here waits for real time, except while something real is held (`VirtualLoop.hold`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

T = TypeVar("T")

EPOCH = datetime(2026, 1, 5, 8, tzinfo=UTC)  #: when every simulation begins
HELD_LOOK_S = 0.05  #: how long real events are waited for at once while something real is held


class VirtualDeadlockError(RuntimeError):
    """Nothing is ready, no timer runs and nothing real is held: the program would wait for ever."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer as soon as nothing else is to do.

    It wraps the selector of the standard loop, a private attribute: `tests/prove/test_virtual.py` says on every
    supported Python whether that still works.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._held = 0
        self._clock_resolution = 1e-9
        self._real_select: Callable[[float | None], list[Any]] = self._selector.select  # type: ignore[attr-defined]
        self._selector.select = self._select  # type: ignore[attr-defined]

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let the clock stand still while real work (a thread, a child process) is under way."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def _select(self, timeout: float | None) -> list[Any]:
        found = self._real_select(0)
        if found or timeout == 0:
            return found
        if self._held:
            return self._real_select(HELD_LOOK_S)
        if timeout is None:
            raise VirtualDeadlockError("nothing is ready, no timer runs, and nothing real is held")
        self._now += timeout
        return found


@contextmanager
def _threads_inline() -> Iterator[None]:
    """Work that is given to a thread is done at once: a real thread would end at a moment that no seed decides."""
    real = anyio.to_thread.run_sync

    async def inline(work: Callable[..., T], *args: Any, **_: Any) -> T:
        await anyio.lowlevel.checkpoint()
        return work(*args)

    anyio.to_thread.run_sync = inline  # type: ignore[assignment]
    try:
        yield
    finally:
        anyio.to_thread.run_sync = real


def run_virtually(main: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine function to its end in virtual time, without a thread."""
    with _threads_inline():
        return anyio.run(main, backend_options={"loop_factory": VirtualLoop})


class VirtualClock:
    """The wall clock of the modelled machine: virtual time and whatever it was moved by."""

    def __init__(self) -> None:
        self._moved = timedelta()

    def wall(self) -> datetime:
        """What the machine believes; it may go back."""
        return EPOCH + timedelta(seconds=round(anyio.current_time(), 6)) + self._moved

    def move(self, by: timedelta) -> None:
        """Somebody sets the clock, or the machine slept: waits did not get shorter by it."""
        self._moved += by


class DaemonClock:
    """The Clock port for one life of a daemon: never back, and never before what the ledger holds already.

    Set back, it goes on from the latest time it told at the pace of virtual time, as the real one does.
    """

    def __init__(self, clock: VirtualClock, floor: datetime) -> None:
        self._clock = clock
        self._told = max(floor, clock.wall())
        self._told_at = anyio.current_time()

    def now(self) -> datetime:
        wall, ticks = self._clock.wall(), anyio.current_time()
        if wall < self._told:
            wall = self._told + timedelta(seconds=round(ticks - self._told_at, 6))
        self._told, self._told_at = wall, ticks
        return wall


class Dice:
    """All randomness of a simulation, from one seed. Also the Chance port."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)

    def draw(self) -> float:
        return self._random.random()

    def chance(self, probability: float) -> bool:
        """Whether something of that probability happens this time."""
        return self._random.random() < probability

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self._random.random()

    def about(self, middle: float) -> float:
        """A length around `middle`: mostly near it, now and then several times as long."""
        return middle * self._random.lognormvariate(0.0, 0.7)

    def count(self, low: int, high: int) -> int:
        """From `low` to `high`, both included."""
        return self._random.randint(low, high)

    def one_of(self, things: Sequence[T]) -> T:
        return things[int(self._random.random() * len(things))]

    def some_of(self, things: Sequence[T], number: int) -> list[T]:
        return self._random.sample(list(things), min(number, len(things)))

    def weighted(self, choices: Sequence[tuple[T, float]]) -> T:
        """One of the choices, each as often as its weight says."""
        return self._random.choices([c for c, _ in choices], [w for _, w in choices])[0]
