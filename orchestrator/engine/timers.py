"""Turns a due row into a fact. The waits themselves are effects in the ledger, so they survive a restart."""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable
from datetime import datetime

import anyio

from orchestrator.model.effect import WakeAt
from orchestrator.model.fact import Fact
from orchestrator.ports import Clock

#: The clock is looked at this often even when nothing is due, so that a machine that slept is noticed.
LONGEST_SLEEP_S = 30.0


class Timers:
    """Everything that is due at some time.

    Args:
        deliver: called with the fact and the key of the effect that it answers.
    """

    def __init__(self, clock: Clock, deliver: Callable[[Fact, str], Awaitable[None]]) -> None:
        self._clock = clock
        self._deliver = deliver
        self._heap: list[tuple[datetime, str, WakeAt]] = []
        self._changed = anyio.Event()

    def add(self, wake: WakeAt) -> None:
        heapq.heappush(self._heap, (wake.at, wake.key, wake))
        self._changed.set()

    async def run(self) -> None:
        """Deliver what is due, for ever."""
        while True:
            self._changed = anyio.Event()
            while self._heap and self._heap[0][0] <= self._clock.now():
                _, key, wake = heapq.heappop(self._heap)
                await self._deliver(wake.fact, key)
            wait_s = LONGEST_SLEEP_S
            if self._heap:
                wait_s = min(wait_s, (self._heap[0][0] - self._clock.now()).total_seconds())
            with anyio.move_on_after(max(wait_s, 0.0)):
                await self._changed.wait()
