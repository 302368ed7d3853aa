"""An event as a row of the ledger: its columns, its text, its place in the hash chain. Both stores stand on this."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import cache
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, get_args

from orchestrator.ports import Stored

if TYPE_CHECKING:  # readers start without it
    from orchestrator.model.event import Event

TABLES = ("plan", "task", "item")  #: the projections
GENESIS = bytes(32)  #: what the first event is chained to

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: fields of events that are columns, in the order of the columns
_COLUMN_FIELDS = ("plan_id", "task_id", "attempt_id", "token")
Columns = tuple[str | None, str | None, str | None, int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """An event, cut into what the ledger's columns hold. `data` is JSON."""

    type: str
    columns: Columns  #: plan, task, attempt, token
    data: str


@cache
def _places() -> dict[str, tuple[tuple[int, str], ...]]:
    """Wire name of an event -> its fields that are columns, each with the column's place."""
    from orchestrator.model.event import Event, wire_name

    names = {wire_name(kind): {field.name for field in fields(kind)} for kind in get_args(Event)}
    return {
        kind: tuple((place, name) for place, name in enumerate(_COLUMN_FIELDS) if name in known)
        for kind, known in names.items()
    }


def row_of(event: Event) -> EventRow:
    """How an event is kept."""
    from orchestrator.wire import dump_event

    name, data = dump_event(event)
    plan, task, attempt, token = (data.pop(field, None) for field in _COLUMN_FIELDS)
    return EventRow(type=name, columns=(plan, task, attempt, token), data=text_of(data))


def event_of(name: str, columns: Columns, data: str) -> Event:
    """The event that `row_of` cut up. Raises: KeyError for a name from a newer version."""
    from orchestrator.wire import load_event

    values = json.loads(data)
    for place, field in _places()[name]:
        values[field] = columns[place]
    return load_event(name, values)


def stored(seq: int, at_us: int, name: str, columns: Columns, data: str) -> Stored:
    """An event as readers get it."""
    plan, task, attempt, token = columns
    return Stored(
        seq=seq,
        at=moment(at_us),
        type=name,
        plan=plan,
        task=task,
        attempt=attempt,
        token=token,
        data=json.loads(data),
    )


def text_of(data: Mapping[str, Any]) -> str:
    """JSON in one spelling. ASCII, because a path that is not UTF-8 has half characters that only escapes carry."""
    return json.dumps(data, allow_nan=False, separators=(",", ":"))


def microseconds(at: datetime) -> int:
    """Since 1970, exactly. Raises: TypeError for a time without a zone."""
    return (at - _EPOCH) // _MICROSECOND


def moment(at_us: int) -> datetime:
    """The opposite of `microseconds`."""
    return _EPOCH + timedelta(microseconds=at_us)


def link(before: bytes, seq: int, at_us: int, name: str, columns: Columns, data: str) -> bytes:
    """The hash that chains an event to the one before it: SHA-256 over that one's hash and every other column."""
    plan, task, attempt, token = (_spelt(value) for value in columns)
    # as `json.dumps` spells the list of them, which costs twice as much, and a start does it for every event
    text = f"[{seq}, {at_us}, {_spelt(name)}, {plan}, {task}, {attempt}, {token}, {_spelt(data)}]"
    return hashlib.sha256(before + text.encode()).digest()


def _spelt(value: str | int | None) -> str:
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    return "null" if value is None else str(value)


def fence_broken_by(
    events: Sequence[EventRow], highest: int, newest: Callable[[str, str], int]
) -> tuple[str, int, int] | None:
    """The first event that belongs to a claim which a newer one has replaced, or grants a token anew.

    Args:
        highest: the highest token that was ever given out.
        newest: the newest token of a task of a plan; 0 when there is none.

    Returns: what it is, its token, and the one that stands against it; None when all may be recorded.
    """
    known: dict[tuple[str, str], int] = {}
    for row in events:
        plan, task, _, token = row.columns
        if not token or plan is None or task is None:
            continue  # nobody's claim: a candidate that no attempt made
        if row.type == "lease_granted":
            if token <= highest:
                return f"a new claim of '{plan}/{task}'", token, highest
            highest = known[plan, task] = token
        else:
            if (plan, task) not in known:
                known[plan, task] = newest(plan, task)
            if token < known[plan, task]:
                return f"'{row.type}' of '{plan}/{task}'", token, known[plan, task]
    return None
