"""The rows of a ledger's file as they stand there, with their hashes; of a damaged file as many as can be read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.backends.ledger import link
from orchestrator.core.recovery import Asked, Piece

_PAGE = 1000
_MANY = 10**7  #: no ledger has more events
_FAILURES = 5000  #: stretches that cannot be read, before the rest is given up
_COLUMNS = "seq, at, type, plan, task, attempt, token, data, prev, hash"
_READ = f"SELECT {_COLUMNS} FROM event WHERE seq > ? ORDER BY seq LIMIT ?"
_EFFECTS = "SELECT number, key, kind, request, asked_seq, state FROM effect WHERE number > ? ORDER BY number LIMIT ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tip:
    """Where a ledger stands."""

    id: str  #: of the ledger
    seq: int
    hash: bytes
    effect: int  #: number of the last effect asked for
    to_do: tuple[str, ...]  #: keys of the effects that nobody has answered


class LedgerRows:
    """One look at a ledger: everything read inside of one `snapshot` is of the same moment."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0, isolation_level=None, check_same_thread=False
        )

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def tip(self) -> Tip:
        one = self._connection.execute
        (ledger_id,) = one("SELECT value FROM meta WHERE key = 'id'").fetchone()
        seq, digest = one("SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1").fetchone() or (0, bytes(32))
        (effect,) = one("SELECT coalesce(max(number), 0) FROM effect").fetchone()
        to_do = tuple(key for (key,) in one("SELECT key FROM effect WHERE state = 'todo' ORDER BY number"))
        return Tip(id=ledger_id, seq=seq, hash=digest, effect=effect, to_do=to_do)

    def claims(self) -> tuple[frozenset[str], int]:
        """The attempts that a token was given out for, and the number that every later token is above."""
        granted = self._connection.execute("SELECT attempt, token FROM event WHERE type = 'lease_granted'").fetchall()
        floors = self._connection.execute("SELECT data FROM event WHERE type = 'ledger_recovered'")
        highest = max([token for _, token in granted] + [json.loads(data)["token_floor"] for (data,) in floors] + [0])
        return frozenset(attempt for attempt, _ in granted), highest

    def hash_at(self, seq: int) -> bytes | None:
        """None when there is no such event."""
        row = self._connection.execute("SELECT hash FROM event WHERE seq = ?", (seq,)).fetchone()
        return row[0] if row else None

    def events(self, after_seq: int, count: int = _PAGE) -> list[Piece]:
        return [_piece(row) for row in self._connection.execute(_READ, (after_seq, count))]

    def effects(self, after_number: int, count: int = _PAGE) -> list[tuple[int, Asked, bool]]:
        """Number, effect, and whether it is still to do."""
        return [
            (number, Asked(key=key, kind=kind, request=json.loads(request), seq=asked_seq), state == "todo")
            for number, key, kind, request, asked_seq, state in self._connection.execute(
                _EFFECTS, (after_number, count)
            )
        ]

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Readable:
    """What could be read of a ledger that may be damaged."""

    id: str = ""
    pieces: tuple[Piece, ...] = ()  #: those that are as they were written
    asked: tuple[Asked, ...] = ()
    to_do: tuple[str, ...] | None = None  #: None: it cannot be told
    damage: str = ""  #: what is wrong with the file; empty when nothing is


def read_all(path: Path) -> Readable:
    """Everything that can be read, before and behind what is damaged. Never raises for what is in the file.

    The file is opened for reading and writing, so that SQLite can take in its write-ahead log: give it a copy.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        damage = _damage(connection)
        pieces: list[Piece] = []
        trouble = _take(connection, _last(connection), pieces)
        damage = damage or trouble
        asked: list[Asked] = []
        to_do: list[str] = []
        tells = True
        try:
            for _, key, kind, request, seq, state in connection.execute(_EFFECTS, (0, -1)):
                asked.append(Asked(key=key, kind=kind, request=json.loads(request), seq=seq))
                if state == "todo":
                    to_do.append(key)
        except (sqlite3.Error, ValueError) as error:
            damage, tells = damage or str(error), False
        return Readable(
            id=_id(connection),
            pieces=tuple(pieces),
            asked=tuple(asked),
            to_do=tuple(to_do) if tells else None,
            damage=damage,
        )


def _damage(connection: sqlite3.Connection) -> str:
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        connection.execute("SELECT count(*) FROM meta").fetchone()
    except sqlite3.Error as error:
        return str(error)
    return "" if found == "ok" else str(found).replace("\n", " ")


def _last(connection: sqlite3.Connection) -> int:
    """The number of the last event; one that is high enough where the file cannot tell."""
    try:
        (last,) = connection.execute("SELECT max(seq) FROM event").fetchone()
    except sqlite3.Error:
        return _MANY
    return min(last, _MANY) if isinstance(last, int) else 0


def _take(connection: sqlite3.Connection, last: int, into: list[Piece]) -> str:
    """Read all events; where a stretch cannot be read, its halves are tried, down to single events.

    Returns: what was wrong with a stretch that could not be read.
    """
    stack, trouble, failures = [(0, last)], "", 0
    while stack and failures < _FAILURES:
        low, high = stack.pop()
        try:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM event WHERE seq > ? AND seq <= ? ORDER BY seq", (low, high)
            ).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            trouble = str(error)
            failures += 1
            if high - low > 1:
                middle = (low + high) // 2
                stack += [(middle, high), (low, middle)]
            continue
        whole = [piece for piece in map(_piece, rows) if is_as_written(piece)]
        if len(whole) < len(rows):
            trouble = trouble or f"{len(rows) - len(whole)} of its events are not as they were written"
        into.extend(whole)
    return trouble


def is_as_written(piece: Piece) -> bool:
    """Whether an event has the hash that it was written with."""
    try:
        return piece.hash == link(piece.prev, piece.seq, piece.at_us, piece.type, piece.columns, piece.data)
    except (TypeError, ValueError):
        return False


def _piece(row: tuple[object, ...]) -> Piece:
    seq, at_us, kind, plan, task, attempt, token, data, prev, digest = row
    return Piece(
        seq=seq,  # type: ignore[arg-type]  # of a damaged file anything; its hash tells
        at_us=at_us,  # type: ignore[arg-type]
        type=kind,  # type: ignore[arg-type]
        columns=(plan, task, attempt, token),  # type: ignore[arg-type]
        data=data,  # type: ignore[arg-type]
        prev=prev,  # type: ignore[arg-type]
        hash=digest,  # type: ignore[arg-type]
    )


def _id(connection: sqlite3.Connection) -> str:
    try:
        row = connection.execute("SELECT value FROM meta WHERE key = 'id'").fetchone()
    except sqlite3.Error:
        return ""
    return str(row[0]) if row else ""
