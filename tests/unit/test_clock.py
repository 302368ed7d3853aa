"""Time that never goes back, and chance."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.backends.clock import SystemChance, SystemClock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("readings", "told"),
    [
        pytest.param([(0, 0), (5, 5), (9, 9)], [0, 5, 9], id="a good clock is believed"),
        pytest.param([(0, 0), (3600, 5)], [0, 3600], id="so is one that is put forward, or slept"),
        pytest.param([(0, 0), (-3600, 5), (-3590, 15)], [0, 5, 15], id="put back, time goes on at its pace"),
        pytest.param([(0, 0), (-10, 0), (-10, 0)], [0, 0, 0], id="and stands while no time goes by"),
        pytest.param([(0, 0), (-10, 5), (60, 10)], [0, 5, 60], id="set right again it is believed again"),
    ],
)
def test_the_clock_never_goes_back(readings: list[tuple[int, int]], told: list[int]) -> None:
    first = readings[0]
    wall = iter([first[0], *(wall for wall, _ in readings)])
    ticks = iter([first[1], *(tick for _, tick in readings)])
    clock = SystemClock(lambda: NOON + timedelta(seconds=next(wall)), lambda: float(next(ticks)))
    assert [(clock.now() - NOON).total_seconds() for _ in readings] == told


def test_the_real_clock_is_aware_and_in_order() -> None:
    clock = SystemClock()
    told = [clock.now() for _ in range(1000)]
    assert told == sorted(told)
    assert told[0].tzinfo is UTC


def test_chance_is_a_fraction_and_not_always_the_same() -> None:
    chance = SystemChance()
    drawn = [chance.draw() for _ in range(100)]
    assert all(0 <= number < 1 for number in drawn)
    assert len(set(drawn)) > 90
