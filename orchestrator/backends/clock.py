"""Time and chance, made real. The only place where the machine is asked for either."""

from __future__ import annotations

import random  # noqa: TID251
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def _wall() -> datetime:
    return datetime.now(UTC)  # noqa: TID251


class SystemClock:
    """The wall clock, as long as it goes forward.

    Set back while we run, it goes on from the latest time it told, at the pace of the monotonic clock: waits neither
    stand still nor begin anew.
    """

    def __init__(self, wall: Callable[[], datetime] = _wall, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._told = wall()
        self._told_at = monotonic()

    def now(self) -> datetime:
        wall, ticks = self._wall(), self._monotonic()
        if wall < self._told:
            wall = self._told + timedelta(seconds=ticks - self._told_at)
        self._told, self._told_at = wall, ticks
        return wall


class SystemChance:
    """Numbers that nobody can foresee and no two daemons share."""

    def __init__(self) -> None:
        self._source = random.SystemRandom()

    def draw(self) -> float:
        return self._source.random()
