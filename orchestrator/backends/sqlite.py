"""The ledger in one SQLite file: events chained by hashes, projections and effects beside them. The writing side.

What is durable when `record` returns, who may write, and what follows from an error of the disk is decided here; how
the file is opened in `ledger_file`, how its events are read in `ledger_chain`, what readers get in `ledger_reader`.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from orchestrator.backends import ledger_errors, ledger_state
from orchestrator.backends.ledger import (
    GENESIS,
    TABLES,
    EventRow,
    fence_broken_by,
    link,
    microseconds,
    moment,
    row_of,
    text_of,
)
from orchestrator.backends.ledger_chain import check_structure, events_after, hash_of, quick_check, verify
from orchestrator.backends.ledger_file import (
    APPLICATION_ID,
    PATIENCE,
    VERSION,
    errors_for_people,
    identities,
    name_of,
    open_for_reading,
    open_for_writing,
    patiently,
)
from orchestrator.backends.ledger_reader import SqliteReader
from orchestrator.model.errors import LedgerLostError, OrchestratorError, SupersededError
from orchestrator.ports import Batch, Differences, Row

if TYPE_CHECKING:  # readers start without them
    import anyio

    from orchestrator.model.effect import Effect
    from orchestrator.model.event import Event
    from orchestrator.model.run import State

__all__ = ["APPLICATION_ID", "VERSION", "SqliteReader", "SqliteStore", "quick_check", "verify"]

T = TypeVar("T")

#: After these a connection is never used again: what it did last may or may not be on the disk.
_POISON = ("IOERR", "CORRUPT", "FULL", "NOTADB", "CANTOPEN", "PROTOCOL")

_NEWEST = "SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1"
_EPOCH = "SELECT coalesce(max(seq), 0) FROM event WHERE type = 'daemon_began'"
_TOKEN = "SELECT max(coalesce(max(token), 0), (SELECT token FROM tip)) FROM event WHERE type = 'lease_granted'"
_FENCE = "SELECT coalesce(max(token), 0) FROM event WHERE type = 'lease_granted' AND plan = ? AND task = ?"
_ADD_EVENT = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ADD_EFFECT = "INSERT INTO effect (key, kind, request, state, asked_seq) VALUES (?, ?, ?, 'todo', ?)"
_PUT = {
    table: f"INSERT INTO {table} (key, plan, state, data) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (key) DO UPDATE SET plan = excluded.plan, state = excluded.state, data = excluded.data"
    for table in TABLES
}
_DROP = {table: f"DELETE FROM {table} WHERE key = ?" for table in TABLES}


@dataclass(frozen=True, slots=True)
class _Tip:
    """Where the ledger stands after a transaction."""

    commits: int
    seq: int
    hash: bytes
    epoch: int


class SqliteStore:
    """The writing side. Every call runs as one piece in one worker thread, so no cancellation can halve it."""

    def __init__(self, path: Path, patience: timedelta, limiter: anyio.CapacityLimiter) -> None:
        self._path = path
        self._patience = patience
        self._limiter = limiter
        self._open: sqlite3.Connection | None = None
        self._wants_sync = False  #: an fsync has failed: what is in the file may not be on the disk
        #: a commit that failed: its batch (None: a note of ours), and where the ledger stands if it has happened
        self._pending: tuple[Batch | None, _Tip] | None = None
        with errors_for_people(path):
            self._open = open_for_writing(path, patience)
            self._files = identities(path)
            self._tip = _read_tip(self._open)
            closed, known_bad, verified_at = self._open.execute(
                "SELECT closed_seq, verified_seq < 0, verified_at FROM tip"
            ).fetchone()
            newest = self._open.execute("SELECT at FROM event ORDER BY seq DESC LIMIT 1").fetchone()
            self.was_closed = closed == self._tip.seq  #: whoever wrote last ended in order
            if known_bad:
                verify(path)  # says where
            elif not self.was_closed:
                check_structure(self._open, path)
        self.verified_at = moment(verified_at)  #: when the whole chain was last found good
        self.last_at = moment(newest[0]) if newest else None  #: the time of the last event

    @classmethod
    async def open(cls, path: Path, *, patience: timedelta = PATIENCE) -> SqliteStore:
        """Open the ledger, made or brought to the present version if need be. Raises: OrchestratorError."""
        import anyio
        import anyio.to_thread

        limiter = anyio.CapacityLimiter(1)
        return await anyio.to_thread.run_sync(lambda: cls(path, patience, limiter), limiter=limiter)

    async def record(self, batch: Batch) -> int:
        return await self._in_thread(lambda: self._record(batch))

    async def events(self, after_seq: int = 0) -> list[tuple[int, datetime, Event]]:
        return await self._in_thread(lambda: list(events_after(self._connection, self._path, after_seq)))

    async def to_do(self) -> list[Effect]:
        return await self._in_thread(self._to_do)

    async def highest_token(self) -> int:
        return await self._in_thread(self._highest_token)

    async def differences(self, rows: Sequence[Row]) -> Differences:
        return await self._in_thread(lambda: self._differences(rows))

    async def snapshot(self) -> State | None:
        return await self._in_thread(lambda: _fitting_state(self._connection, self._path))

    async def keep_snapshot(self, state: State) -> None:
        import anyio.to_thread

        ledger, digest = await self._in_thread(lambda: _identity(self._connection, state.seq))

        def keep() -> None:
            from orchestrator.wire import dump_state

            header = ledger_state.Header(
                ledger=ledger, seq=state.seq, hash=digest, token=state.token, code=ledger_state.code_version()
            )
            ledger_state.keep(ledger_state.state_file(self._path), header, dump_state(state))

        # beside the writer, which need not wait for it
        await anyio.to_thread.run_sync(keep)

    async def verify(self, at: datetime, *, rest: timedelta = timedelta()) -> int:
        """Walk the whole chain beside the writer, and remember that it was good `at` this time.

        Returns: how many events were looked at. Raises: OrchestratorError that names the first bad event.
        """
        import anyio.to_thread

        change = "verified_seq = ?, verified_at = ?"
        try:
            seq = await anyio.to_thread.run_sync(lambda: verify(self._path, rest=rest), abandon_on_cancel=True)
        except OrchestratorError:
            with contextlib.suppress(OrchestratorError):  # it may be too far gone for that
                await self._in_thread(lambda: self._note(change, -1, microseconds(at)))
            raise
        await self._in_thread(lambda: self._note(change, seq, microseconds(at)))
        self.verified_at = at
        return seq

    @staticmethod
    async def read_events(path: Path) -> list[tuple[int, datetime, Event]]:
        """Every event, without writing or a daemon. Raises: NothingError when there is no ledger yet."""
        import anyio.to_thread

        def read() -> list[tuple[int, datetime, Event]]:
            with errors_for_people(path), closing(open_for_reading(path)) as connection:
                return list(events_after(connection, path, 0))

        return await anyio.to_thread.run_sync(read)

    @staticmethod
    def read_state(path: Path) -> tuple[State | None, list[tuple[int, datetime, Event]]]:
        """The newest state that was kept, if one fits, and the events after it; without writing or a daemon."""
        with errors_for_people(path), closing(open_for_reading(path)) as connection:
            state = _fitting_state(connection, path)
            return state, list(events_after(connection, path, state.seq if state is not None else 0))

    async def close(self) -> None:
        import anyio

        with anyio.CancelScope(shield=True):
            await self._in_thread(self._close)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        import anyio.to_thread

        def told() -> T:
            with errors_for_people(self._path):
                return work()

        # once it runs, a cancelled caller waits for its end: `abandon_on_cancel` is off
        return await anyio.to_thread.run_sync(told, limiter=self._limiter)

    # ---- one transaction ----

    def _record(self, batch: Batch) -> int:
        at_us = microseconds(batch.at)
        events = [row_of(event) for event in batch.events]

        def save(connection: sqlite3.Connection) -> None:
            _check_fence(connection, events)
            connection.executemany(_ADD_EVENT, list(_chained(self._tip, at_us, events)))
            for row in batch.rows:
                _put(connection, row)
            for effect in batch.effects:
                _ask(connection, effect, self._tip.seq + len(events))
            connection.executemany("UPDATE effect SET state = 'done' WHERE key = ?", [(key,) for key in batch.done])
            if any(row.type == "daemon_began" for row in events):
                connection.execute("UPDATE tip SET code = ?", (ledger_state.code_version(),))

        if not self._is_recorded(batch):
            try:
                self._commit(batch, save)
            except sqlite3.Error:
                if not self._is_recorded(batch):
                    raise
        return self._tip.seq

    def _note(self, change: str, *values: object) -> None:
        """Change where the ledger stands, which nobody waits for."""
        if self._pending is not None and self._pending[0] is not None:
            raise ledger_errors.unsettled(self._path, "")
        self._commit(None, lambda connection: connection.execute(f"UPDATE tip SET {change}", values))

    def _commit(self, batch: Batch | None, save: Callable[[sqlite3.Connection], object]) -> None:
        """One transaction. When an error of the disk ends it, `_pending` says where it leads if it has happened."""
        connection = self._connection
        try:
            with self._transaction(connection):
                save(connection)
                connection.execute("UPDATE tip SET commits = commits + 1")
                after = _read_tip(connection)
                self._pending = (batch, after)
        except BaseException as error:
            if isinstance(error, sqlite3.Error) and name_of(error).startswith(_POISON):
                self._poison(name_of(error))
            else:
                self._pending = None
            raise
        self._pending, self._tip = None, after

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        """All or nothing, on disk when it ends; refused when another daemon has begun since this store was opened."""
        if identities(self._path) != self._files:
            raise ledger_errors.replaced(self._path)
        patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
        try:
            tip = _read_tip(connection)
            if tip.epoch != self._tip.epoch:
                raise ledger_errors.superseded(self._path)
            if tip.seq < self._tip.seq or (tip.seq == self._tip.seq and tip.hash != self._tip.hash):
                raise ledger_errors.acknowledged_lost(self._path, self._tip.seq, tip.seq)
            self._tip = tip
            yield
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # the first error is the one that tells
                if connection.in_transaction:  # a full disk ends it by itself
                    connection.execute("ROLLBACK")
            raise

    # ---- errors of the disk ----

    @property
    def _connection(self) -> sqlite3.Connection:
        """The connection, opened anew after an error of the disk. Raises: OrchestratorError when that fails."""
        if self._open is None:
            self._open = self._reopened()
        return self._open

    def _poison(self, name: str) -> None:
        """Never use this connection again: the next fsync of it would succeed and mean nothing."""
        self._wants_sync |= not name.startswith("FULL")
        connection, self._open = self._open, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _reopened(self) -> sqlite3.Connection:
        if identities(self._path)[0] != self._files[0]:
            raise ledger_errors.replaced(self._path)
        connection = open_for_writing(self._path, self._patience)
        try:
            if self._wants_sync:
                # what the write-ahead log holds is written into the ledger once more, by writes that are synced anew
                busy, held, written = connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
                if busy or held != written:
                    raise ledger_errors.unsettled(self._path, "a program that reads the ledger stands in the way")
            found = _read_tip(connection)
            if found.epoch > max(self._tip.epoch, self._pending[1].epoch if self._pending else 0):
                raise ledger_errors.superseded(self._path)
            if found != self._tip and (self._pending is None or found != self._pending[1]):
                raise ledger_errors.acknowledged_lost(self._path, self._tip.seq, found.seq)
        except BaseException:
            connection.close()
            raise
        if self._pending is not None and self._pending[0] is None:
            self._pending, self._tip = None, found
        self._wants_sync = False
        self._files = identities(self._path)
        return connection

    def _is_recorded(self, batch: Batch) -> bool:
        """Whether a batch whose commit failed is in the ledger all the same.

        Raises: UnsettledError while that cannot be found out.
        """
        if self._pending is None or self._pending[0] is None:
            return False
        try:
            found = _read_tip(self._connection)
        except sqlite3.Error as error:
            self._poison(name_of(error))
            raise ledger_errors.unsettled(self._path, str(error)) from error
        except (LedgerLostError, SupersededError):
            raise
        except OrchestratorError as error:
            raise ledger_errors.unsettled(self._path, error.why or error.message) from error
        (pending, after), self._pending = self._pending, None
        if found != after:
            return False
        self._tip = after
        assert pending is batch, "a batch that may be recorded has to be handed in again, before any other"
        return True

    # ---- the rest ----

    def _to_do(self) -> list[Effect]:
        from orchestrator.wire import load_effect

        asked = self._connection.execute("SELECT kind, request FROM effect WHERE state = 'todo' ORDER BY number")
        return [load_effect(kind, json.loads(request)) for kind, request in asked]

    def _highest_token(self) -> int:
        """The highest token of the events, of `tip`, and of a state that was kept before the ledger was put back."""
        (token,) = self._connection.execute(_TOKEN).fetchone()
        (ledger,) = self._connection.execute("SELECT value FROM meta WHERE key = 'id'").fetchone()
        known = ledger_state.kept(ledger_state.state_file(self._path))
        if known is None or known[0].ledger != ledger or known[0].token <= token:
            return int(token)
        self._note("token = ?", known[0].token)
        return known[0].token

    def _differences(self, rows: Sequence[Row]) -> Differences:
        (code,) = self._connection.execute("SELECT code FROM tip").fetchone()
        wanted: dict[str, dict[str, Row]] = {table: {} for table in TABLES}
        for row in rows:
            wanted[row.table][row.key] = row
        differing = []
        for table in TABLES:
            found = self._connection.execute(f"SELECT key, plan, state, data FROM {table}").fetchall()
            for key, plan, state, data in found:
                row = wanted[table].pop(key, Row(table=table, key=key, plan=plan, state="", data=None))
                if row.data is None or (row.plan, row.state, text_of(row.data)) != (plan, state, data):
                    differing.append(row)
            differing += wanted[table].values()
        return Differences(rows=tuple(differing), by_other_code=code != ledger_state.code_version())

    def _close(self) -> None:
        if self._open is None:
            return
        with contextlib.suppress(sqlite3.Error, OrchestratorError):  # without the mark the next start looks longer
            self._note("closed_seq = ?", self._tip.seq)
        connection, self._open = self._open, None
        if connection is not None:
            connection.close()


# ---- pieces of a transaction ----


def _read_tip(connection: sqlite3.Connection) -> _Tip:
    (commits,) = connection.execute("SELECT commits FROM tip").fetchone()
    seq, last = connection.execute(_NEWEST).fetchone() or (0, GENESIS)
    (epoch,) = connection.execute(_EPOCH).fetchone()
    return _Tip(commits, seq, last, epoch)


def _check_fence(connection: sqlite3.Connection, events: Sequence[EventRow]) -> None:
    """Raises: FencedError for an event of a claim that a newer one has replaced, and for a token given out before."""
    if all(row.columns[3] is None for row in events):
        return
    (highest,) = connection.execute(_TOKEN).fetchone()

    def newest(plan: str, task: str) -> int:
        return int(connection.execute(_FENCE, (plan, task)).fetchone()[0])

    if (broken := fence_broken_by(events, int(highest), newest)) is not None:
        raise ledger_errors.fenced(*broken)


def _chained(tip: _Tip, at_us: int, events: Iterable[EventRow]) -> Iterator[tuple[int | str | bytes | None, ...]]:
    last = tip.hash
    for seq, row in enumerate(events, start=tip.seq + 1):
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


# ---- the state that is kept ----


def _identity(connection: sqlite3.Connection, seq: int) -> tuple[str, str]:
    """The ledger's id, and the hash of an event in hex; empty when there is no such event."""
    (ledger,) = connection.execute("SELECT value FROM meta WHERE key = 'id'").fetchone()
    return str(ledger), (hash_of(connection, seq) or b"").hex()


def _fitting_state(connection: sqlite3.Connection, path: Path) -> State | None:
    from orchestrator.wire import load_state

    known = ledger_state.kept(ledger_state.state_file(path))
    if known is None:
        return None
    header, text = known
    if header.code != ledger_state.code_version() or (header.ledger, header.hash) != _identity(connection, header.seq):
        return None
    try:
        state = load_state(text)
    except ValueError:  # pydantic's too
        return None
    return state if state.seq == header.seq and header.hash else None
