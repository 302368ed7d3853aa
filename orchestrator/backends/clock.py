"""Time and chance, made real. The only place where the machine is asked for either."""

from __future__ import annotations

import random  # noqa: TID251
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

JUMP = timedelta(seconds=60)  #: a wall clock that leaves the clock since boot by more was set by somebody
FOLLOW = 60  #: a clock that was set is followed by one second in so many


def _wall() -> datetime:
    return datetime.now(UTC)  # noqa: TID251


def _since_boot() -> float:
    """Seconds, those that the machine slept included."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class SystemClock:
    """The wall clock, as long as it goes forward and nobody sets it.

    Set back while we run, time goes on from the latest that was told, at the pace of the clock since boot: waits
    neither stand still nor begin anew. Put forward by more than a minute, it goes on at that pace too and follows
    slowly, so that no lease and no wait ends by it.

    Args:
        jumped: called with how far the wall clock was moved.
    """

    def __init__(
        self,
        wall: Callable[[], datetime] = _wall,
        since_boot: Callable[[], float] = _since_boot,
        *,
        jumped: Callable[[timedelta], None] | None = None,
    ) -> None:
        self._wall = wall
        self._since_boot = since_boot
        self._jumped = jumped
        self._told = self._seen = wall()
        self._told_at = since_boot()
        self._follows = False  #: the wall clock was put forward, and is not reached yet

    def not_before(self, at: datetime) -> None:
        """Go on from this time at the earliest: what is recorded already was not later than what comes."""
        self._told = max(self._told, at)

    def now(self) -> datetime:
        wall, ticks = self._wall(), self._since_boot()
        went_by = timedelta(seconds=ticks - self._told_at)
        moved = wall - self._seen - went_by
        if abs(moved) > JUMP:
            self._follows = moved > timedelta() and wall > self._told
            if self._jumped is not None:
                self._jumped(moved)
        paced = self._told + went_by
        if self._follows:
            self._follows = wall > (paced := paced + went_by / FOLLOW)
        self._told = max(self._told, paced if self._follows or wall < self._told else wall)
        self._seen, self._told_at = wall, ticks
        return self._told


class SystemChance:
    """Numbers that nobody can foresee and no two daemons share."""

    def __init__(self) -> None:
        self._source = random.SystemRandom()

    def draw(self) -> float:
        return self._source.random()
