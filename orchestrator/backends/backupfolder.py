"""The folder of backups: a new one when there is something new, the old ones thinned out."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.backends.backups import copy, verify_copy
from orchestrator.backends.sqlite import SqliteReader
from orchestrator.core.guards import disk_floor
from orchestrator.core.keeping import Backup, kept
from orchestrator.model.errors import OrchestratorError

_NAME = re.compile(r"ledger-(\d{8}T\d{6}Z)-(\d+)\.sqlite")
_STAMP = "%Y%m%dT%H%M%SZ"


class BackupFolder:
    """
    Args:
        hourly, daily: how many are kept, by `core.keeping`.
        floor_bytes: no backup is made that would leave the disk with less; of a small disk, with less than a share.
    """

    def __init__(self, folder: Path, ledger: Path, *, hourly: int, daily: int, floor_bytes: int) -> None:
        self._folder = folder
        self._ledger = ledger
        self._hourly = hourly
        self._daily = daily
        self._floor_bytes = floor_bytes

    def back_up(self, now: datetime) -> Path | None:
        """Make a backup and thin out the others. Returns: the new one; None when nothing is new since the last.

        Raises: OrchestratorError when there is no room, or the ledger is damaged.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sweep()
        seq = _last_seq(self._ledger)
        newest = max(list_backups(self._folder), default=None)
        if not seq:
            return None
        if newest is not None and newest.seq == seq and _tip(self._folder / newest.name) == _tip(self._ledger):
            return None
        self._check_room()
        path = self._folder / f"ledger-{now.astimezone(UTC):{_STAMP}}-{seq}.sqlite"
        if path.exists():  # made this very second
            return None
        copy(self._ledger, path)
        self._thin_out()
        return path

    def _check_room(self) -> None:
        needed = sum(_size(Path(f"{self._ledger}{part}")) for part in ("", "-wal"))
        disk = shutil.disk_usage(self._folder)
        free, floor = disk.free, disk_floor(disk.total, self._floor_bytes)
        if free - needed < floor:
            raise OrchestratorError(
                "no backup of the ledger was made",
                why=f"it takes {needed} bytes, {free} are free, and {floor} have to stay free",
                fix="make room on that disk; the next backup is tried in a minute",
            )

    def _thin_out(self) -> None:
        backups = list_backups(self._folder)
        for backup in set(backups) - kept(backups, hourly=self._hourly, daily=self._daily):
            (self._folder / backup.name).unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Take away what a killed daemon left half made."""
        for path in self._folder.glob("ledger-*.part"):
            with suppress(FileNotFoundError):
                path.unlink()


def list_backups(folder: Path) -> list[Backup]:
    """The backups that are there by their names, oldest first."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = []
    for name in names:
        parts = _NAME.fullmatch(name)
        if parts is not None:
            at = datetime.strptime(parts[1], _STAMP).replace(tzinfo=UTC)
            found.append(Backup(at=at, seq=int(parts[2]), name=name))
    return sorted(found)


def good_backups(folder: Path) -> Iterator[tuple[Backup, Path]]:
    """The backups whose whole chain holds, newest first; each is looked at when it is asked for."""
    for backup in reversed(list_backups(folder)):
        path = folder / backup.name
        try:
            verify_copy(path)
        except OrchestratorError:
            continue
        yield backup, path


def _last_seq(path: Path) -> int:
    reader = SqliteReader(path)
    try:
        return next((event.seq for event in reader.events(last=1)), 0)
    finally:
        reader.close()


def _tip(path: Path) -> object:
    """What tells two ledgers of the same length apart: their last event."""
    try:
        reader = SqliteReader(path)
    except OrchestratorError:
        return None
    try:
        return [(event.seq, event.at, event.type) for event in reader.events(last=1)]
    except OrchestratorError:
        return None
    finally:
        reader.close()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
