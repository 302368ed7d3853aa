"""Copies of the ledger: made by SQLite's backup API while it may be in use, and believed only when they were read."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from orchestrator.backends.ledger_chain import verify
from orchestrator.backends.ledger_file import errors_for_people, open_for_reading


def copy(ledger: Path, to: Path) -> int:
    """Copy the ledger as it is at one moment; `to` appears whole, verified and durable, or not at all.

    Returns: how many events the copy holds. Raises: OrchestratorError, OSError.
    """
    part = to.with_name(f"{to.name}.part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    try:
        with (
            errors_for_people(ledger),
            closing(open_for_reading(ledger)) as source,
            closing(sqlite3.connect(part, isolation_level=None)) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")  # one file that needs no companions
        events = verify_copy(part)
        part.replace(to)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(to.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return events


def verify_copy(path: Path) -> int:
    """Open a copy and walk its whole chain. Returns: how many events it holds. Raises: OrchestratorError."""
    return verify(path)
