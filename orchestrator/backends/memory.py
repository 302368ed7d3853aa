"""The ledger in dictionaries, for tests and simulation. It forgets nothing but a power cut."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.backends.ledger import TABLES, Columns, event_of, microseconds, moment, row_of, stored, text_of
from orchestrator.model.effect import Effect
from orchestrator.model.event import Event
from orchestrator.ports import Batch, Stored


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
    tables: Mapping[str, dict[str, tuple[str, str]]] = field(default_factory=lambda: {table: {} for table in TABLES})
    effects: dict[str, Effect] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    commits: int = 0


class MemoryStore:
    """The writing side."""

    def __init__(self, ledger: MemoryLedger | None = None) -> None:
        self.ledger = ledger if ledger is not None else MemoryLedger()
        self._closed = False

    async def record(self, batch: Batch) -> int:
        self._check_open()
        ledger = self.ledger
        at_us = microseconds(batch.at)
        # everything that can fail comes first, so that a batch is kept whole or not at all
        events = [_Kept(at_us, row.type, row.columns, row.data) for row in map(row_of, batch.events)]
        rows = [
            (ledger.tables[row.table], row.key, None if row.data is None else (row.plan, text_of(row.data)))
            for row in batch.rows
        ]
        asked: dict[str, Effect] = {}
        for effect in batch.effects:
            known = asked.get(effect.key) or ledger.effects.get(effect.key)
            if known is not None and known != effect:
                raise AssertionError(f"two different effects have the key {effect.key}: {known} and {effect}")
            asked[effect.key] = effect
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

    async def events(self) -> list[tuple[int, datetime, Event]]:
        self._check_open()
        return [
            (seq, moment(kept.at_us), event_of(kept.type, kept.columns, kept.data))
            for seq, kept in enumerate(self.ledger.events, start=1)
        ]

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
        return [json.loads(data) for owner, data in self._ledger.tables[table].values() if plan in (None, owner)]

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
