"""The production store without its worker thread, for proofs of hundreds of thousands of transactions."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio

from orchestrator.backends.ledger_chain import events_after
from orchestrator.backends.sqlite import SqliteReader, SqliteStore
from orchestrator.engine.projections import changed_rows
from orchestrator.model.effect import Effect
from orchestrator.model.event import Event
from orchestrator.model.run import State
from orchestrator.ports import Batch

TABLES = ("plan", "task", "item")


class LedgerInThread:
    """A real ledger in a real file. What is called is what the worker thread would call."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._store = self._open()

    def _open(self) -> SqliteStore:
        return SqliteStore(self.path, timedelta(seconds=5), anyio.CapacityLimiter(1))

    def record(self, batch: Batch) -> int:
        return self._store._record(batch)

    def reopened(self, after_seq: int = 0) -> tuple[list[tuple[int, datetime, Event]], list[Effect]]:
        """The file as a new process finds it: without a goodbye of the last one."""
        self._store._connection.close()
        self._store = self._open()
        return list(events_after(self._store._connection, self.path, after_seq)), self._store._to_do()

    def highest_token(self) -> int:
        """What a daemon is told at its start."""
        return self._store._highest_token()

    def keep_state(self, state: State) -> None:
        """As a daemon does every so often, and when it ends."""
        anyio.run(self._store.keep_snapshot, state)

    def copied(self) -> Path:
        """A backup, made as the product makes them."""
        copy = self.path.with_name("copy.sqlite")
        copy.unlink(missing_ok=True)
        with closing(sqlite3.connect(copy)) as into:
            self._store._connection.backup(into)
        return copy

    def put_back(self, copy: Path) -> None:
        """A person copies a backup over the ledger while no daemon runs."""
        self._store._connection.close()
        for name in (f"{self.path}-wal", f"{self.path}-shm"):
            Path(name).unlink(missing_ok=True)
        self.path.unlink()
        shutil.copyfile(copy, self.path)
        self._store = self._open()

    def rows(self) -> dict[str, dict[str, Any]]:
        reader = SqliteReader(self.path)
        try:
            return {table: _by_name(reader.rows(table)) for table in TABLES}
        finally:
            reader.close()

    def expected_rows(self, state: State) -> dict[str, dict[str, Any]]:
        """What the rows have to be, from the state alone."""
        found: dict[str, list[Mapping[str, Any]]] = {table: [] for table in TABLES}
        for row in changed_rows(State(), state):
            if row.data is not None:
                found[row.table].append(json.loads(json.dumps(row.data)))
        return {table: _by_name(rows) for table, rows in found.items()}

    def close(self) -> None:
        self._store._connection.close()


def _by_name(rows: Any) -> dict[str, Any]:
    return {f"{row.get('plan', '')}/{row.get('id') or row.get('name')}": row for row in rows}
