"""Which of many backups are kept: the newest of each of the latest hours, and of each of the latest days."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Backup:
    """A copy of the ledger as it was at some time."""

    at: datetime
    seq: int  #: of its last event
    name: str


def kept(backups: Iterable[Backup], *, hourly: int, daily: int) -> frozenset[Backup]:
    """The backups that stay. The newest always does.

    Args:
        hourly: of how many hours in which there is one, counted from the newest.
        daily: of how many days.
    """
    newest_first = sorted(backups, reverse=True)
    hours = _newest_of_each(newest_first, "%Y-%m-%d %H", hourly)
    return frozenset(newest_first[:1]) | hours | _newest_of_each(newest_first, "%Y-%m-%d", daily)


def _newest_of_each(newest_first: list[Backup], spell: str, count: int) -> frozenset[Backup]:
    found: dict[str, Backup] = {}
    for backup in newest_first:
        found.setdefault(backup.at.strftime(spell), backup)
    return frozenset(list(found.values())[:count])
