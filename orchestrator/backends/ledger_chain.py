"""The ledger's events read along their chain of hashes, and the whole file looked over."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.backends import ledger_errors
from orchestrator.backends.ledger import GENESIS, event_of, link, moment
from orchestrator.backends.ledger_file import errors_for_people, open_for_reading

if TYPE_CHECKING:  # readers start without it
    from orchestrator.model.event import Event

TAIL = 10_000  #: events whose chain is looked at by every start
_PAGE = 1000  #: rows fetched at once
_CHAIN = "SELECT seq, at, type, plan, task, attempt, token, data, prev, hash FROM event WHERE seq > ? ORDER BY seq"


def verify(path: Path, *, rest: timedelta = timedelta()) -> int:
    """Check the file's structure and walk the whole chain.

    Args:
        rest: between pages, so that a daemon that does this beside its work stays quick.

    Returns: how many events it holds. Raises: OrchestratorError that names the first event that is not as it was
    written. What is missing at the end of the chain cannot be seen.
    """
    with errors_for_people(path), closing(open_for_reading(path)) as connection:
        check_structure(connection, path)
        return sum(1 for _ in chain(connection, path, rest=rest))


def quick_check(path: Path, within: timedelta) -> bool:
    """Check the file's structure and then its chain, as far as time allows. Returns: whether it was enough.

    Raises: NothingError when there is no ledger, OrchestratorError when it is damaged or no ledger.
    """
    with errors_for_people(path), closing(open_for_reading(path)) as connection:
        until = time.monotonic() + within.total_seconds()
        connection.set_progress_handler(lambda: time.monotonic() > until, 10_000)
        try:
            check_structure(connection, path)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname == "SQLITE_INTERRUPT":
                return False
            raise
        connection.set_progress_handler(None, 0)
        return all(time.monotonic() <= until for _ in chain(connection, path))


def events_after(
    connection: sqlite3.Connection, path: Path, after_seq: int, *, tail: int = TAIL
) -> Iterator[tuple[int, datetime, Event]]:
    """Events after a number, oldest first. The chain is checked from there on, and over the tail at least."""
    (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()
    for seq, at_us, name, columns, data in chain(connection, path, after_seq=min(after_seq, max(last - tail, 0))):
        if seq <= after_seq:
            continue
        try:
            event = event_of(name, columns, data)
        except KeyError as error:
            raise ledger_errors.too_new(path, f"event {seq} is of the kind '{name}'") from error
        yield seq, moment(at_us), event


def chain(
    connection: sqlite3.Connection, path: Path, *, after_seq: int = 0, rest: timedelta = timedelta()
) -> Iterator[tuple[int, int, str, tuple[Any, Any, Any, Any], str]]:
    """Every event after a number, oldest first, checked against the one before it."""
    last, before = hash_of(connection, after_seq), after_seq
    if last is None:
        raise ledger_errors.chain_broken(path, after_seq)
    # paged by number, so that the snapshot of a long walk does not keep the write-ahead log from being put away
    while page := connection.execute(f"{_CHAIN} LIMIT {_PAGE}", (before,)).fetchall():
        for seq, at_us, name, plan, task, attempt, token, data, prev, digest in page:
            columns = (plan, task, attempt, token)
            if seq != before + 1 or prev != last or digest != link(last, seq, at_us, name, columns, data):
                raise ledger_errors.chain_broken(path, seq)
            yield seq, at_us, name, columns, data
            last, before = digest, seq
        if rest:
            time.sleep(rest.total_seconds())


def hash_of(connection: sqlite3.Connection, seq: int) -> bytes | None:
    """The hash of an event, `GENESIS` before the first; None when there is no such event."""
    if seq == 0:
        return GENESIS
    row = connection.execute("SELECT hash FROM event WHERE seq = ?", (seq,)).fetchone()
    return row[0] if row else None


def check_structure(connection: sqlite3.Connection, path: Path) -> None:
    (damage,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if damage != "ok":
        raise ledger_errors.damaged(path, damage)


def library_version() -> tuple[int, int, int]:
    """Of SQLite itself, which comes with Python or with the system."""
    return sqlite3.sqlite_version_info
