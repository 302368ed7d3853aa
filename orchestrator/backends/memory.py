"""The ledger in dictionaries, for tests and simulation. It forgets nothing but a power cut."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.backends.ledger import (
    TABLES,
    Columns,
    event_of,
    fence_broken_by,
    microseconds,
    moment,
    row_of,
    stored,
    text_of,
)
from orchestrator.backends.ledger_errors import fenced, superseded
from orchestrator.model.effect import Effect
from orchestrator.model.event import Event
from orchestrator.model.run import State
from orchestrator.ports import Batch, Differences, Row, Stored


@dataclass(frozen=True, slots=True)
class _Kept:
    """An event, in the same pieces as the ledger's file holds."""

    at_us: int
    type: str
    columns: Columns
    data: str


@dataclass(slots=True)
class MemoryLedger:
    """What outlives a store: open another one on it, as on a file."""

    events: list[_Kept] = field(default_factory=list)
    tables: Mapping[str, dict[str, tuple[str, str, str]]] = field(
        default_factory=lambda: {table: {} for table in TABLES}
    )
    effects: dict[str, Effect] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    commits: int = 0
    tokens: dict[tuple[str, str], int] = field(default_factory=dict)  #: the newest of each task
    highest_token: int = 0
    epoch: int = 0  #: number of the event by which the daemon that may write began
    snapshot: State | None = None


class MemoryStore:
    """The writing side."""

    def __init__(self, ledger: MemoryLedger | None = None) -> None:
        self.ledger = ledger if ledger is not None else MemoryLedger()
        self._closed = False
        self._epoch = self.ledger.epoch

    async def record(self, batch: Batch) -> int:
        self._check_open()
        ledger = self.ledger
        if ledger.epoch != self._epoch:
            raise superseded(Path("in memory"))
        at_us = microseconds(batch.at)
        # everything that can fail comes first, so that a batch is kept whole or not at all
        event_rows = [row_of(event) for event in batch.events]
        newest = lambda plan, task: ledger.tokens.get((plan, task), 0)  # noqa: E731
        if (broken := fence_broken_by(event_rows, ledger.highest_token, newest)) is not None:
            raise fenced(*broken)
        events = [_Kept(at_us, row.type, row.columns, row.data) for row in event_rows]
        rows = [
            (ledger.tables[row.table], row.key, None if row.data is None else (row.plan, row.state, text_of(row.data)))
            for row in batch.rows
        ]
        asked: dict[str, Effect] = {}
        for effect in batch.effects:
            known = asked.get(effect.key) or ledger.effects.get(effect.key)
            if known is not None and known != effect:
                raise AssertionError(f"two different effects have the key {effect.key}: {known} and {effect}")
            asked[effect.key] = effect
        for seq, row in enumerate(event_rows, start=len(ledger.events) + 1):
            plan, task, _, token = row.columns
            if row.type == "lease_granted" and plan and task and token:
                ledger.highest_token = ledger.tokens[plan, task] = token
            if row.type == "daemon_began":
                ledger.epoch = self._epoch = seq
        ledger.events += events
        for table, key, content in rows:
            if content is None:
                table.pop(key, None)
            else:
                table[key] = content
        for key, effect in asked.items():
            ledger.effects.setdefault(key, effect)
        ledger.done |= ledger.effects.keys() & set(batch.done)
        ledger.commits += 1
        return len(ledger.events)

    async def events(self, after_seq: int = 0) -> list[tuple[int, datetime, Event]]:
        self._check_open()
        return [
            (seq, moment(kept.at_us), event_of(kept.type, kept.columns, kept.data))
            for seq, kept in enumerate(self.ledger.events[after_seq:], start=after_seq + 1)
        ]

    async def snapshot(self) -> State | None:
        self._check_open()
        kept = self.ledger.snapshot
        return kept if kept is not None and kept.seq <= len(self.ledger.events) else None

    async def keep_snapshot(self, state: State) -> None:
        self._check_open()
        self.ledger.snapshot = state

    async def highest_token(self) -> int:
        self._check_open()
        kept = self.ledger.snapshot
        self.ledger.highest_token = max(self.ledger.highest_token, kept.token if kept is not None else 0)
        return self.ledger.highest_token

    async def differences(self, rows: Sequence[Row]) -> Differences:
        self._check_open()
        wanted: dict[tuple[str, str], Row] = {(row.table, row.key): row for row in rows}
        differing = []
        for table, found in self.ledger.tables.items():
            for key, kept in found.items():
                row = wanted.pop((table, key), Row(table=table, key=key, plan=kept[0], state="", data=None))
                if row.data is None or (row.plan, row.state, text_of(row.data)) != kept:
                    differing.append(row)
        return Differences(rows=(*differing, *wanted.values()), by_other_code=False)

    async def to_do(self) -> list[Effect]:
        self._check_open()
        return [effect for key, effect in self.ledger.effects.items() if key not in self.ledger.done]

    async def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the store is closed")


class MemoryReader:
    """The reading side."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger

    def rows(self, table: str, *, plan: str | None = None) -> list[dict[str, Any]]:
        return [json.loads(data) for owner, _, data in self._ledger.tables[table].values() if plan in (None, owner)]

    def events(
        self,
        *,
        after_seq: int = 0,
        limit: int | None = None,
        plan: str | None = None,
        task: str | None = None,
        last: int | None = None,
    ) -> list[Stored]:
        chosen = [
            (seq, kept)
            for seq, kept in enumerate(self._ledger.events, start=1)
            if seq > after_seq and plan in (None, kept.columns[0]) and task in (None, kept.columns[1])
        ]
        if last is not None:
            chosen = chosen[max(len(chosen) - last, 0) :]
        return [stored(seq, kept.at_us, kept.type, kept.columns, kept.data) for seq, kept in chosen[:limit]]

    def version(self) -> int:
        return self._ledger.commits

    def close(self) -> None:
        pass
