"""A copy of the ledger that is whole: made by SQLite's backup API, looked over, and only then given its name."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from orchestrator.backends import ledger_errors
from orchestrator.backends.sqlite import verify
from orchestrator.model.errors import OrchestratorError


def copy(ledger: Path, to: Path) -> int:
    """Copy a ledger, which may be in use, into one file that is whole.

    Args:
        to: must not be there; its folder must.

    Returns: how many events the copy holds. Raises: OrchestratorError, also when the ledger itself is damaged.
    """
    fresh = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        _copied(ledger, fresh)
        seq = verify_copy(fresh)
        _synced(fresh)
        os.link(fresh, to)  # a name is given once, and never taken from another file
        _synced(to.parent)
    except OSError as error:
        raise OrchestratorError(
            f"the ledger {ledger} could not be copied to {to}",
            why=error.strerror or str(error),
            fix="see that the folder is writable and the disk has room",
        ) from error
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_")
        trouble = ledger_errors.sqlite_trouble(name, fresh if name == "FULL" else ledger, str(error))
        if trouble is None:
            raise
        raise trouble from error
    finally:
        for left in (fresh, Path(f"{fresh}-wal"), Path(f"{fresh}-shm"), Path(f"{fresh}-journal")):
            with suppress(FileNotFoundError):
                left.unlink()
    return seq


def verify_copy(path: Path) -> int:
    """Open a copy and walk its whole chain. Returns: how many events it holds. Raises: OrchestratorError."""
    return verify(path)


def _copied(ledger: Path, fresh: Path) -> None:
    source = f"{ledger.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(source, uri=True)) as there, closing(sqlite3.connect(fresh)) as here:
        there.backup(here)
        # one file, that can be opened where nothing can be written
        here.execute("PRAGMA journal_mode = DELETE")


def _synced(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
