"""Which backups stay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.core.keeping import Backup, kept

NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


def backup(hours_ago: float) -> Backup:
    at = NOON - timedelta(hours=hours_ago)
    return Backup(at=at, seq=1000 - int(hours_ago), name=f"{at:%d %H:%M}")


@pytest.mark.parametrize(
    ("hours_ago", "hourly", "daily", "stay"),
    [
        pytest.param([], 24, 7, [], id="none at all"),
        pytest.param([0, 1, 2, 3], 2, 0, [0, 1], id="the newest hours"),
        pytest.param([0, 24, 48, 72], 1, 3, [0, 24, 48], id="the newest days"),
        pytest.param([0, 1, 13, 14, 37], 1, 2, [0, 13], id="of each day its newest"),
        pytest.param([0.1, 0.2, 0.9], 5, 0, [0.1], id="several in one hour"),
        pytest.param([500, 700, 900], 2, 0, [500, 700], id="hours without a backup do not count"),
        pytest.param([0, 30], 1, 0, [0], id="the newest always stays"),
    ],
)
def test_backups_that_stay(hours_ago: list[float], hourly: int, daily: int, stay: list[float]) -> None:
    left = kept([backup(hours) for hours in hours_ago], hourly=hourly, daily=daily)
    assert left == {backup(hours) for hours in stay}


def test_a_year_of_hours_leaves_a_day_and_a_week() -> None:
    left = kept([backup(hours) for hours in range(24 * 365)], hourly=24, daily=7)
    assert len(left) == 24 + 7 - 2  # today's and yesterday's newest are among the hours
