"""The ledger for those who only look, from any thread of any process."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from orchestrator.backends import ledger_errors
from orchestrator.backends.ledger import TABLES, stored
from orchestrator.backends.ledger_file import errors_for_people, name_of, newer_version, open_for_reading
from orchestrator.ports import Stored

_ROWS = {table: f"SELECT data FROM {table} ORDER BY number" for table in TABLES}
_ROWS_OF_PLAN = {table: f"SELECT data FROM {table} WHERE plan = ? ORDER BY number" for table in TABLES}


class SqliteReader:
    """The reading side. Raises NothingError when there is no ledger yet.

    A ledger of a newer version is read as far as this program knows it, and `newer` says so.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with errors_for_people(path):
            self._connection = open_for_reading(path)
            self.newer = newer_version(self._connection)  #: None: this program knows all of it

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
        with errors_for_people(self._path):
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.OperationalError as error:
                if self.newer is not None and name_of(error) == "ERROR":  # it has another shape now
                    raise ledger_errors.too_new(self._path, self.newer) from error
                raise
