"""The ledger in one SQLite file: events chained by hashes, projections and effects beside them. The only SQL there is.

One process writes (it holds the daemon's lock), by one connection; any number read. SQLite before 3.51.3 can damage a
file that two connections write or checkpoint at the same instant, so readers are opened read-only and do neither.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.backends import ledger_errors
from orchestrator.backends.ledger import (
    GENESIS,
    TABLES,
    EventRow,
    event_of,
    link,
    microseconds,
    moment,
    row_of,
    stored,
    text_of,
)
from orchestrator.ports import Batch, Row, Stored

if TYPE_CHECKING:  # readers start without them
    import anyio

    from orchestrator.model.effect import Effect
    from orchestrator.model.event import Event

T = TypeVar("T")

APPLICATION_ID = 0x6F726368  # "orch"
STEPS = ("schema.sql",)  #: step n brings a ledger from version n-1 to n; forward only
VERSION = len(STEPS)
PATIENCE = timedelta(seconds=5)  #: how long another connection may stand in the way
_PAGE = 1000  #: rows fetched at once
_BLOCKED = ("BUSY", "LOCKED")

#: name -> (what we set, what has to be read back)
_PRAGMAS: dict[str, tuple[str, object]] = {
    "journal_mode": ("WAL", "wal"),
    "synchronous": ("FULL", 2),  # NORMAL loses acknowledged commits when the power goes
    "foreign_keys": ("ON", 1),
    "wal_autocheckpoint": ("1000", 1000),
    "journal_size_limit": ("67108864", 67108864),
    "cell_size_check": ("ON", 1),
    "trusted_schema": ("OFF", 0),
    "temp_store": ("MEMORY", 2),
}
if sys.platform == "darwin":  # a plain fsync there leaves data in the drive's cache
    _PRAGMAS |= {"fullfsync": ("ON", 1), "checkpoint_fullfsync": ("ON", 1)}

_NEWEST = "SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1"
_CHAIN = "SELECT seq, at, type, plan, task, attempt, token, data, prev, hash FROM event ORDER BY seq"
_ADD_EVENT = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ADD_EFFECT = "INSERT INTO effect (key, kind, request, state, asked_seq) VALUES (?, ?, ?, 'todo', ?)"
_PUT = {
    table: f"INSERT INTO {table} (key, plan, state, data) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (key) DO UPDATE SET plan = excluded.plan, state = excluded.state, data = excluded.data"
    for table in TABLES
}
_DROP = {table: f"DELETE FROM {table} WHERE key = ?" for table in TABLES}
_ROWS = {table: f"SELECT data FROM {table} ORDER BY number" for table in TABLES}
_ROWS_OF_PLAN = {table: f"SELECT data FROM {table} WHERE plan = ? ORDER BY number" for table in TABLES}


class SqliteStore:
    """The writing side. Every call runs as one piece in one worker thread, so no cancellation can halve it."""

    def __init__(self, path: Path, connection: sqlite3.Connection, limiter: anyio.CapacityLimiter) -> None:
        self._path = path
        self._connection = connection
        self._limiter = limiter
        self._files = _identities(path)

    @classmethod
    async def open(cls, path: Path, *, patience: timedelta = PATIENCE) -> SqliteStore:
        """Open the ledger, made or brought to the present version if need be. Raises: OrchestratorError."""
        import anyio
        import anyio.to_thread

        limiter = anyio.CapacityLimiter(1)
        connection = await anyio.to_thread.run_sync(lambda: _open_for_writing(path, patience), limiter=limiter)
        return cls(path, connection, limiter)

    async def record(self, batch: Batch) -> int:
        return await self._in_thread(lambda: self._record(batch))

    async def events(self) -> list[tuple[int, datetime, Event]]:
        return await self._in_thread(lambda: list(_events(self._connection, self._path)))

    async def to_do(self) -> list[Effect]:
        return await self._in_thread(self._to_do)

    @staticmethod
    async def read_events(path: Path) -> list[tuple[int, datetime, Event]]:
        """Every event, without writing or a daemon. Raises: NothingError when there is no ledger yet."""
        import anyio.to_thread

        def read() -> list[tuple[int, datetime, Event]]:
            with _errors_for_people(path), closing(_open_for_reading(path)) as connection:
                return list(_events(connection, path))

        return await anyio.to_thread.run_sync(read)

    async def close(self) -> None:
        import anyio

        with anyio.CancelScope(shield=True):
            await self._in_thread(self._connection.close)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        import anyio.to_thread

        def told() -> T:
            with _errors_for_people(self._path):
                return work()

        # once it runs, a cancelled caller waits for its end: `abandon_on_cancel` is off
        return await anyio.to_thread.run_sync(told, limiter=self._limiter)

    def _record(self, batch: Batch) -> int:
        at_us = microseconds(batch.at)
        events = [row_of(event) for event in batch.events]
        with self._transaction() as connection:
            seq, last = connection.execute(_NEWEST).fetchone() or (0, GENESIS)
            connection.executemany(_ADD_EVENT, _chained(seq, last, at_us, events))
            seq += len(events)
            for row in batch.rows:
                _put(connection, row)
            for effect in batch.effects:
                _ask(connection, effect, seq)
            connection.executemany("UPDATE effect SET state = 'done' WHERE key = ?", [(key,) for key in batch.done])
        return int(seq)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, on disk when it ends."""
        if _identities(self._path) != self._files:
            raise ledger_errors.replaced(self._path)
        _patiently(lambda: self._connection.execute("BEGIN IMMEDIATE"))
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # a full disk ends it by itself
                self._connection.execute("ROLLBACK")
            raise

    def _to_do(self) -> list[Effect]:
        from orchestrator.wire import load_effect

        asked = self._connection.execute("SELECT kind, request FROM effect WHERE state = 'todo' ORDER BY number")
        return [load_effect(kind, json.loads(request)) for kind, request in asked]


class SqliteReader:
    """The reading side, for any thread of any process. Raises NothingError when there is no ledger yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _errors_for_people(path):
            self._connection = _open_for_reading(path)

    def rows(self, table: str, *, plan: str | None = None) -> list[dict[str, Any]]:
        found = self._all(_ROWS[table]) if plan is None else self._all(_ROWS_OF_PLAN[table], (plan,))
        return [json.loads(data) for (data,) in found]

    def events(
        self,
        *,
        after_seq: int = 0,
        limit: int | None = None,
        plan: str | None = None,
        task: str | None = None,
        last: int | None = None,
    ) -> list[Stored]:
        where = "seq > ?"
        chosen: list[object] = [after_seq]
        for column, value in (("plan", plan), ("task", task)):
            if value is not None:
                where += f" AND {column} = ?"
                chosen.append(value)
        chosen_from = "SELECT seq, at, type, plan, task, attempt, token, data FROM event WHERE"
        if last is None:
            found = self._all(f"{chosen_from} {where} ORDER BY seq LIMIT ?", (*chosen, -1 if limit is None else limit))
        else:
            found = self._all(f"{chosen_from} {where} ORDER BY seq DESC LIMIT ?", (*chosen, last))[::-1][:limit]
        return [stored(seq, at_us, name, tuple(columns), data) for seq, at_us, name, *columns, data in found]

    def version(self) -> int:
        (commits,), *_ = self._all("PRAGMA data_version")
        (seq,), *_ = self._all("SELECT coalesce(max(seq), 0) FROM event")
        return (int(seq) << 32) + int(commits)

    def close(self) -> None:
        self._connection.close()

    def _all(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        with _errors_for_people(self._path):
            return self._connection.execute(statement, values).fetchall()


def verify(path: Path) -> int:
    """Check the file's structure and walk the whole chain.

    Returns: how many events it holds. Raises: OrchestratorError that names the first event that is not as it was
    written. What is missing at the end of the chain cannot be seen.
    """
    with _errors_for_people(path), closing(_open_for_reading(path)) as connection:
        (damage,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if damage != "ok":
            raise ledger_errors.damaged(path, damage)
        return sum(1 for _ in _whole_chain(connection, path))


def library_version() -> tuple[int, int, int]:
    """Of SQLite itself, which comes with Python or with the system."""
    return sqlite3.sqlite_version_info


def quick_check(path: Path, within: timedelta) -> bool:
    """Check the file's structure, as far as time allows. Returns: whether it was enough.

    Raises: NothingError when there is no ledger, OrchestratorError when it is damaged or no ledger.
    """
    with _errors_for_people(path), closing(_open_for_reading(path)) as connection:
        until = time.monotonic() + within.total_seconds()
        connection.set_progress_handler(lambda: time.monotonic() > until, 10_000)
        try:
            (damage,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname == "SQLITE_INTERRUPT":
                return False
            raise
        if damage != "ok":
            raise ledger_errors.damaged(path, damage)
        return True


# ---- opening ----


def _open_for_writing(path: Path, patience: timedelta) -> sqlite3.Connection:
    with _errors_for_people(path):
        _make_private(path)
        connection = sqlite3.connect(
            path, timeout=patience.total_seconds(), isolation_level=None, check_same_thread=False
        )
        try:
            version = _checked_version(connection, path)
            _patiently(lambda: _configure(connection, path))
            _migrate(connection, version)
            connection.execute("SELECT count(*) FROM meta").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection


def _open_for_reading(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise ledger_errors.nothing_yet(path)
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=PATIENCE.total_seconds(),
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        if _checked_version(connection, path) == 0:
            raise ledger_errors.nothing_yet(path)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_private(path: Path) -> None:
    """An empty file for nobody but us; SQLite gives its companions the same rights."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.chmod(0o700)
        # never opened again by us: closing it would drop the locks that SQLite holds on it for this process
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    except FileExistsError:
        if path.is_file():
            path.chmod(0o600)
    except OSError as error:
        raise ledger_errors.cannot_be_made(path, error) from error


def _checked_version(connection: sqlite3.Connection, path: Path) -> int:
    """The ledger's version, 0 when it is empty. Raises: OrchestratorError when it is not ours or too new."""
    application = _value(connection, "application_id")
    version = int(str(_value(connection, "user_version")))
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise ledger_errors.not_a_ledger(path)
    if version > VERSION:
        raise ledger_errors.too_new(path, f"it is of version {version}, and this program knows up to {VERSION}")
    return version


def _configure(connection: sqlite3.Connection, path: Path) -> None:
    for name, (wanted, expected) in _PRAGMAS.items():
        connection.execute(f"PRAGMA {name} = {wanted}")
        found = _value(connection, name)
        if found != expected:
            raise ledger_errors.unsafe_settings(path, name, found, expected)


def _migrate(connection: sqlite3.Connection, version: int, steps: tuple[str, ...] = STEPS) -> None:
    """Bring the ledger to the newest version; each step is one transaction."""
    from importlib.resources import files

    for number, step in enumerate(steps[version:], start=version + 1):
        script = files("orchestrator.backends").joinpath(step).read_text(encoding="utf-8")
        marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number};"
        try:
            connection.executescript(f"BEGIN IMMEDIATE; {script}; {marks} COMMIT;")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


# ---- pieces of a transaction ----


def _chained(
    newest: int, last: bytes, at_us: int, events: Iterable[EventRow]
) -> Iterator[tuple[int | str | bytes | None, ...]]:
    for seq, row in enumerate(events, start=newest + 1):
        fresh = link(last, seq, at_us, row.type, row.columns, row.data)
        yield (seq, at_us, row.type, *row.columns, row.data, last, fresh)
        last = fresh


def _put(connection: sqlite3.Connection, row: Row) -> None:
    if row.data is None:
        connection.execute(_DROP[row.table], (row.key,))
    else:
        connection.execute(_PUT[row.table], (row.key, row.plan, row.state, text_of(row.data)))


def _ask(connection: sqlite3.Connection, effect: Effect, seq: int) -> None:
    from orchestrator.wire import dump_effect, load_effect

    kind, request = dump_effect(effect)
    known = connection.execute("SELECT kind, request FROM effect WHERE key = ?", (effect.key,)).fetchone()
    if known is None:
        connection.execute(_ADD_EFFECT, (effect.key, kind, text_of(request), seq))
    # compared as values: an earlier version may have written fewer fields
    elif known[0] != kind or load_effect(kind, json.loads(known[1])) != effect:
        raise AssertionError(f"two different effects have the key {effect.key}: {known[1]} and {effect}")


def _events(connection: sqlite3.Connection, path: Path) -> Iterator[tuple[int, datetime, Event]]:
    for seq, at_us, name, columns, data in _whole_chain(connection, path):
        try:
            event = event_of(name, columns, data)
        except KeyError as error:
            raise ledger_errors.too_new(path, f"event {seq} is of the kind '{name}'") from error
        yield seq, moment(at_us), event


def _whole_chain(
    connection: sqlite3.Connection, path: Path
) -> Iterator[tuple[int, int, str, tuple[Any, Any, Any, Any], str]]:
    """Every event, oldest first, checked against the one before it."""
    last, before = GENESIS, 0
    cursor = connection.execute(_CHAIN)
    while page := cursor.fetchmany(_PAGE):
        for seq, at_us, name, plan, task, attempt, token, data, prev, digest in page:
            columns = (plan, task, attempt, token)
            if seq != before + 1 or prev != last or digest != link(last, seq, at_us, name, columns, data):
                raise ledger_errors.chain_broken(path, seq)
            yield seq, at_us, name, columns, data
            last, before = digest, seq


# ---- small things ----


def _value(connection: sqlite3.Connection, pragma: str) -> object:
    row = connection.execute(f"PRAGMA {pragma}").fetchone()
    return row[0] if row else None


def _identities(path: Path) -> list[tuple[int, int] | None]:
    """Which files are there under the names of the ledger and its write-ahead log."""

    def identity(name: str) -> tuple[int, int] | None:
        try:
            found = os.stat(name)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    return [identity(str(path)), identity(f"{path}-wal")]


def _patiently(work: Callable[[], T]) -> T:
    """Again while another connection is in the way; SQLite itself waits before it says so."""
    from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random

    def is_blocked(error: BaseException) -> bool:
        return isinstance(error, sqlite3.OperationalError) and _name(error).startswith(_BLOCKED)

    again = Retrying(
        retry=retry_if_exception(is_blocked), stop=stop_after_attempt(3), wait=wait_random(0.01, 0.1), reraise=True
    )
    return again(work)


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_")


@contextmanager
def _errors_for_people(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        trouble = ledger_errors.sqlite_trouble(_name(error), path, str(error))
        if trouble is None:
            raise
        raise trouble from error
