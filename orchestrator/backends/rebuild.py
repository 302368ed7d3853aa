"""What is left of a ledger, gathered; a new one written from it; and put in place without losing the old files.

Every step may be the last one: the files that were there are linked into a folder of their own before any name changes,
that folder is marked as `unfinished` until all is done, and a later recovery looks into it as if it were the ledger.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from importlib.resources import files
from pathlib import Path

from orchestrator.backends import ledger_errors
from orchestrator.backends.backupfolder import good_backups, list_backups
from orchestrator.backends.journal import last_mark, read_journal, segments_of
from orchestrator.backends.ledger import text_of
from orchestrator.backends.ledgerrows import LedgerRows, read_all
from orchestrator.backends.sqlite import APPLICATION_ID, verify
from orchestrator.core.recovery import Asked, Found, Rebuilt, Source
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.place import Place

PARTS = ("", "-wal", "-shm")  #: of a ledger's file
UNFINISHED = "unfinished"
_SCRATCH = ".recover-"
_ASIDE = "recovered-*"


@contextmanager
def scratch(place: Place) -> Iterator[Path]:
    """A folder for copies, on the ledger's disk; what killed recoveries left goes first."""
    for left in place.state_dir.glob(f"{_SCRATCH}*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=place.state_dir, prefix=_SCRATCH) as folder:
        yield Path(folder)


def gather(place: Place, scratch: Path, only: Source | None = None) -> list[Found]:
    """Everything that holds events of this repository, the ledger first.

    Args:
        only: nothing else is taken; the ledger is always looked at.
    """
    found = [_ledger(place.ledger, scratch)]
    for marker in sorted(place.state_dir.glob(f"{_ASIDE}/{UNFINISHED}"), reverse=True):
        found.append(_ledger(marker.parent / place.ledger.name, scratch))
    if only in {None, Source.BACKUP}:
        newest = next(good_backups(place.backups), None)
        found += [_backup(newest[1])] if newest is not None else []
    if only in {None, Source.JOURNAL} and segments_of(place.journal):
        found.append(read_journal(place.journal))
    return found


def _ledger(path: Path, scratch: Path) -> Found:
    if not path.exists():
        return Found(source=Source.LEDGER, name=str(path), trouble="missing")
    copied = scratch / f"looked-at-{len(list(scratch.iterdir()))}.sqlite"
    try:
        for part in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(f"{path}{part}", f"{copied}{part}")
        read = read_all(copied)
    except (OSError, sqlite3.Error) as error:
        return Found(source=Source.LEDGER, name=str(path), trouble=f"cannot be read: {error}")
    last = max((piece.seq for piece in read.pieces), default=0)
    return Found(
        source=Source.LEDGER,
        name=str(path),
        id=read.id,
        pieces=read.pieces,
        asked=read.asked,
        to_do=None if read.damage else read.to_do,
        whole_to=None if read.damage else last,
        trouble=f"damaged: {read.damage}" if read.damage else "" if read.id else "empty",
    )


def _backup(path: Path) -> Found:
    read = read_all(path)
    last = max((piece.seq for piece in read.pieces), default=0)
    return Found(
        source=Source.BACKUP,
        name=path.name,
        id=read.id,
        pieces=read.pieces,
        asked=read.asked,
        to_do=read.to_do,
        whole_to=last,
        trouble=read.damage,
    )


def write_ledger(path: Path, *, ledger_id: str, rebuilt: Rebuilt, asked: Sequence[tuple[Asked, bool]]) -> None:
    """A ledger with these events and effects, as the first version of the program would have written it.

    Opened as any other it is brought to the present version, with everything that follows from its events.

    Args:
        ledger_id: empty: a new one.
        asked: effects in their order, and whether they are to do.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            script = files("orchestrator.backends").joinpath("schema.sql").read_text(encoding="utf-8")
            connection.executescript(
                f"BEGIN; {script}; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1; COMMIT;"
            )
            connection.execute("BEGIN")
            if ledger_id:
                connection.execute("UPDATE meta SET value = ? WHERE key = 'id'", (ledger_id,))
            connection.executemany(
                "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                ((p.seq, p.at_us, p.type, *p.columns, p.data, p.prev, p.hash) for p in rebuilt.pieces),
            )
            connection.executemany(
                "INSERT INTO effect (key, kind, request, state, asked_seq) VALUES (?, ?, ?, ?, ?)",
                ((a.key, a.kind, text_of(a.request), "todo" if to_do else "done", a.seq) for a, to_do in asked),
            )
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_")
        trouble = ledger_errors.sqlite_trouble(name, path, str(error))
        if trouble is None:
            raise
        raise trouble from error


def put_in_place(place: Place, fresh: Path, aside: Path) -> None:
    """Make a verified ledger the ledger, and keep what was there. Raises: OrchestratorError, OSError."""
    verify(fresh)
    for part in PARTS[1:]:
        Path(f"{fresh}{part}").unlink(missing_ok=True)  # it was closed in order, so nothing is in them
    _synced(fresh)
    aside.mkdir(mode=0o700)
    (aside / UNFINISHED).touch(mode=0o600)
    _synced(aside)
    _synced(place.state_dir)
    for part in PARTS:
        with suppress(FileNotFoundError):
            os.link(f"{place.ledger}{part}", aside / f"{place.ledger.name}{part}")
    _synced(aside)
    # a log that stays behind would be taken for that of the new file
    for part in PARTS[1:]:
        Path(f"{place.ledger}{part}").unlink(missing_ok=True)
    _synced(place.state_dir)
    os.replace(fresh, place.ledger)
    _synced(place.state_dir)
    _put_away(place, aside)
    for marker in place.state_dir.glob(f"{_ASIDE}/{UNFINISHED}"):
        marker.unlink()
        _synced(marker.parent)


def _put_away(place: Place, aside: Path) -> None:
    """Move the journal and backups that tell of another course of events than the new ledger."""
    rows = LedgerRows(place.ledger)
    try:
        mark = last_mark(place.journal)
        if place.journal.exists() and (mark is None or rows.hash_at(mark[1].seq) != mark[1].hash):
            place.journal.rename(aside / place.journal.name)
        for backup in list_backups(place.backups):
            path = place.backups / backup.name
            if not _is_part(path, rows):
                (aside / place.backups.name).mkdir(mode=0o700, exist_ok=True)
                path.rename(aside / place.backups.name / backup.name)
    finally:
        rows.close()
    _synced(place.state_dir)


def _is_part(backup: Path, rows: LedgerRows) -> bool:
    """Whether a ledger goes on from where a backup ends."""
    try:
        older = LedgerRows(backup)
        try:
            tip = older.tip()
        finally:
            older.close()
    except (sqlite3.Error, TypeError):
        return False
    return tip.seq == 0 or rows.hash_at(tip.seq) == tip.hash


def _synced(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def room_needed(place: Place) -> int:
    """Bytes that a recovery takes beside what is there: a copy to look at and a new file."""
    total = 0
    for source in (place.ledger, Path(f"{place.ledger}-wal"), *segments_of(place.journal)):
        with suppress(FileNotFoundError):
            total += source.stat().st_size
    sizes = [(place.backups / one.name).stat().st_size for one in list_backups(place.backups)]
    return 2 * max(total, max(sizes, default=0)) + 1024 * 1024


def check_room(place: Place) -> None:
    """Raises: OrchestratorError when the disk has no room for a recovery."""
    needed, free = room_needed(place), shutil.disk_usage(place.state_dir).free
    if free < needed:
        raise OrchestratorError(
            "there is no room to recover the ledger",
            why=f"it takes {needed} bytes beside what is there, and {free} are free",
            fix="make room on that disk; nothing was changed",
        )
