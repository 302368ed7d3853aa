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
        pytest.param([(0, 0), (3600, 3600)], [0, 3600], id="so is one that slept"),
        pytest.param([(0, 0), (55, 5)], [0, 55], id="and one that is put forward a little"),
        pytest.param([(0, 0), (3600, 6), (3606, 12)], [0, 6.1, 12.2], id="put forward far it is followed slowly"),
        pytest.param([(0, 0), (67, 6), (1867, 1806), (7267, 7206)], [0, 6.1, 1836.1, 7267], id="until it is reached"),
        pytest.param([(0, 0), (7200, 6), (16, 16)], [0, 6.1, 16], id="unless it is put back"),
        pytest.param([(0, 0), (-3600, 5), (-3590, 15)], [0, 5, 15], id="put back, time goes on at its pace"),
        pytest.param([(0, 0), (-10, 0), (-10, 0)], [0, 0, 0], id="and stands while no time goes by"),
        pytest.param([(0, 0), (-10, 5), (50, 10)], [0, 5, 50], id="set right again it is believed again"),
    ],
)
def test_the_clock_never_goes_back(readings: list[tuple[int, int]], told: list[int]) -> None:
    first = readings[0]
    wall = iter([first[0], *(wall for wall, _ in readings)])
    ticks = iter([first[1], *(tick for _, tick in readings)])
    clock = SystemClock(lambda: NOON + timedelta(seconds=next(wall)), lambda: float(next(ticks)))
    assert [(clock.now() - NOON).total_seconds() for _ in readings] == pytest.approx(told)


def test_the_clock_goes_on_from_what_is_recorded_and_not_before() -> None:
    wall, ticks = iter([0, 1, 2, 3]), iter([0.0, 1.0, 2.0, 3.0])
    clock = SystemClock(lambda: NOON + timedelta(seconds=next(wall)), lambda: next(ticks))
    clock.not_before(NOON + timedelta(days=3650))
    assert [(clock.now() - NOON).total_seconds() - 3650 * 86400 for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("moved", [-3600, -61, 61, 3600])
def test_a_clock_that_is_set_is_told_once(moved: int) -> None:
    wall, ticks = iter([0, 10, 20 + moved, 30 + moved]), iter([0.0, 10.0, 20.0, 30.0])
    heard: list[timedelta] = []
    clock = SystemClock(lambda: NOON + timedelta(seconds=next(wall)), lambda: next(ticks), jumped=heard.append)
    for _ in range(3):
        clock.now()
    assert heard == [timedelta(seconds=moved)]


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
