"""The ledger's file: opened, its settings made and read back, brought to the present version, and asked of SQLite.

One process writes (it holds the daemon's lock), by one connection; any number read. SQLite before 3.51.3 can damage a
file that two connections write or checkpoint at the same instant, so readers are opened read-only and do neither.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from orchestrator.backends import ledger_errors

T = TypeVar("T")

APPLICATION_ID = 0x6F726368  # "orch"
STEPS = ("schema.sql", "schema-2.sql")  #: step n brings a ledger from version n-1 to n; forward only
VERSION = len(STEPS)
PATIENCE = timedelta(seconds=5)  #: how long another connection may stand in the way
_BLOCKED = ("BUSY", "LOCKED")

#: name -> (what we set, what has to be read back)
PRAGMAS: dict[str, tuple[str, object]] = {
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
    PRAGMAS |= {"fullfsync": ("ON", 1), "checkpoint_fullfsync": ("ON", 1)}


def open_for_writing(path: Path, patience: timedelta) -> sqlite3.Connection:
    """A connection that writes durably, to a ledger made or brought to the present version if need be."""
    with errors_for_people(path):
        _make_private(path)
        connection = _connect(path, patience)
        try:
            version = _checked_version(connection, path)
            if version > VERSION:
                raise ledger_errors.too_new(path, _versions(version))
            if version not in (0, VERSION):
                _keep_copy(path, version)
            patiently(lambda: _configure(connection, path))
            _migrate(connection, version)
            connection.execute("SELECT count(*) FROM meta").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that never writes. Raises: NothingError when there is no ledger yet."""
    if not path.exists():
        raise ledger_errors.nothing_yet(path)
    connection = _connect(f"{path.absolute().as_uri()}?mode=ro", PATIENCE, uri=True)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        if _checked_version(connection, path) == 0:
            raise ledger_errors.nothing_yet(path)
    except BaseException:
        connection.close()
        raise
    return connection


def newer_version(connection: sqlite3.Connection) -> str | None:
    """What to say about a ledger that a newer program keeps; None when this program knows all of it."""
    version = int(str(value_of(connection, "user_version")))
    return _versions(version) if version > VERSION else None


def value_of(connection: sqlite3.Connection, pragma: str) -> object:
    row = connection.execute(f"PRAGMA {pragma}").fetchone()
    return row[0] if row else None


def identities(path: Path) -> list[tuple[int, int] | None]:
    """Which files are there under the names of the ledger and its write-ahead log."""

    def identity(name: str) -> tuple[int, int] | None:
        try:
            found = os.stat(name)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    return [identity(str(path)), identity(f"{path}-wal")]


def patiently(work: Callable[[], T]) -> T:
    """Again while another connection is in the way; SQLite itself waits before it says so."""
    try:
        return work()  # as nearly always: nothing is made ready for what hardly ever happens
    except sqlite3.OperationalError as error:
        if not _is_blocked(error):
            raise
    from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random

    again = Retrying(
        retry=retry_if_exception(_is_blocked), stop=stop_after_attempt(2), wait=wait_random(0.01, 0.1), reraise=True
    )
    return again(work)


def _is_blocked(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and name_of(error).startswith(_BLOCKED)


def name_of(error: sqlite3.Error) -> str:
    """SQLite's name for an error, such as `IOERR_FSYNC`; empty when the error is not SQLite's."""
    return getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_")


@contextmanager
def errors_for_people(path: Path) -> Iterator[None]:
    """Errors of the disk, the file and other programs in words; those of ours keep their traceback."""
    try:
        yield
    except sqlite3.Error as error:
        trouble = ledger_errors.sqlite_trouble(name_of(error), path, str(error))
        if trouble is None:
            raise
        raise trouble from error


def _connect(path: Path | str, patience: timedelta, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(
        path, uri=uri, timeout=patience.total_seconds(), isolation_level=None, check_same_thread=False
    )


def _make_private(path: Path) -> None:
    """An empty file for nobody but us; SQLite gives its companions the same rights."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.chmod(0o700)
        _keep_name(path.parent)  # SQLite syncs the folder that the ledger is in, and nobody the one above
        # never opened again by us: closing it would drop the locks that SQLite holds on it for this process
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    except FileExistsError:
        if path.is_file():
            path.chmod(0o600)
    except OSError as error:
        raise ledger_errors.cannot_be_made(path, error) from error


def _keep_name(folder: Path) -> None:
    """Put the name of a folder on the disk: without it a power loss takes everything that is in it."""
    fd = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _checked_version(connection: sqlite3.Connection, path: Path) -> int:
    """The ledger's version, 0 when it is empty. Raises: OrchestratorError when it is not ours."""
    application = value_of(connection, "application_id")
    version = int(str(value_of(connection, "user_version")))
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise ledger_errors.not_a_ledger(path)
    return version


def _versions(found: int) -> str:
    return f"it is of version {found}, and this program knows up to {VERSION}"


def _configure(connection: sqlite3.Connection, path: Path) -> None:
    for name, (wanted, expected) in PRAGMAS.items():
        connection.execute(f"PRAGMA {name} = {wanted}")
        found = value_of(connection, name)
        if found != expected:
            raise ledger_errors.unsafe_settings(path, name, found, expected)


def _keep_copy(path: Path, version: int) -> None:
    """A verified copy of the ledger as an earlier program left it, before anything in it is changed."""
    from datetime import UTC, datetime

    from orchestrator.backends.backups import copy

    changed_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    to = path.parent / "backups" / f"before-{VERSION}-{changed_at:%Y%m%dT%H%M%SZ}.sqlite"
    try:
        to.parent.mkdir(exist_ok=True, mode=0o700)
        with contextlib.suppress(FileNotFoundError):
            to.unlink()  # of a start that was killed before it changed anything
        copy(path, to)
    except OSError as error:
        raise ledger_errors.not_copied(path, error, version) from error


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
