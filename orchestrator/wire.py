"""The JSON of the local API, of the ledger and of the files in a run folder. Versioned by `CONTRACT`.

pydantic carries dataclasses to JSON-ready values and back; nobody else converts.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

if TYPE_CHECKING:
    from orchestrator.model.effect import Effect
    from orchestrator.model.event import Event
    from orchestrator.model.run import State

CONTRACT = 1  #: of everything that leaves the process

T = TypeVar("T")


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def _adapter(kind: type) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def dump(value: object) -> Any:
    """A dataclass of ours as JSON-ready values."""
    return _adapter(type(value)).dump_python(value, mode="json")


def load(kind: type[T], data: object) -> T:
    """The opposite of `dump`. Raises: pydantic.ValidationError."""
    value: T = _adapter(kind).validate_python(data)
    return value


@cache
def _kinds(what: Literal["event", "effect"]) -> dict[str, type]:
    """Wire name to class. Looked up late: they are many, and faces that only look need none of them."""
    from orchestrator.model import effect, event

    union = event.Event if what == "event" else effect.Effect
    return {event.wire_name(kind): kind for kind in get_args(union)}


def _name(value: object) -> str:
    from orchestrator.model.event import wire_name

    return wire_name(type(value))


def dump_event(event: Event) -> tuple[str, dict[str, Any]]:
    """An event's wire name and its fields."""
    return _name(event), dump(event)


def load_event(name: str, data: object) -> Event:
    """The event of that wire name. Raises: KeyError for a name from a newer version."""
    event: Event = load(_kinds("event")[name], data)
    return event


def dump_effect(effect: Effect) -> tuple[str, dict[str, Any]]:
    return _name(effect), dump(effect)


def load_effect(name: str, data: object) -> Effect:
    effect: Effect = load(_kinds("effect")[name], data)
    return effect


def dump_state(state: State) -> bytes:
    """The daemon's whole state as JSON."""
    from orchestrator.model.run import State

    adapter = _adapter(State)
    try:
        return adapter.dump_json(state)
    except ValueError:  # a path that is not UTF-8 has half characters, which only escapes carry
        return json.dumps(adapter.dump_python(state, mode="json"), separators=(",", ":")).encode()


def load_state(text: bytes) -> State:
    """The opposite of `dump_state`. Raises: ValueError."""
    from orchestrator.model.run import State

    adapter = _adapter(State)
    try:
        state: State = adapter.validate_json(text)
    except ValueError:
        state = adapter.validate_python(json.loads(text))
    return state


# ---- the local API; the CLI, and later the TUI and the page, speak nothing else ----


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Hello(Message):
    """Who answers. A client of another contract asks for a restart of the daemon."""

    contract: int = CONTRACT
    version: str
    pid: int
    root: str
    plan: str | None
    draining: bool


class Overrides(Message):
    """Flags of `start` and `plan check` that change the plan, so they are part of its digest."""

    parallel: int | None = Field(default=None, ge=1, le=256)
    agent: str | None = None  #: of every task but a person's
    agents: dict[str, str] = Field(default_factory=dict)  #: task -> agent; goes before `agent`
    first: tuple[tuple[str, str], ...] = ()  #: the first of a pair lands before the second starts
    drop: tuple[str, ...] = ()  #: tasks left out
    isolation: str | None = None


class SubmitPlan(Message):
    """Run this plan, if it still reads as what was confirmed."""

    path: str  #: absolute
    digest: str
    overrides: Overrides = Overrides()
    sequential: bool = False
    by: str


class Action(Message):
    """Anything else that a person asks for."""

    verb: Literal[
        "pause",
        "resume",
        "cancel",
        "retry",
        "answer",
        "hand_in",
        "give_back",
        "prune",
        "publish",
        "undo",
        "stop",
        "claim",
        "renew",
        "heartbeat",
        "release",
        "finish",
        "evict",
    ]
    by: str
    plan: str | None = None  #: None: the one that is worked on
    task: str | None = None
    item: str | None = None
    choice: str = ""
    text: str = ""
    reason: str = ""
    accepted: bool = False  #: a yes to what the answer without it warned of
    mode: Literal["drain", "now", "detach"] = "drain"
    keep: bool = False
    owners: list[str] = Field(default_factory=list)
    trash: list[str] = Field(default_factory=list)
    holder: str = ""  #: who claims
    token: int | None = None  #: under which a holder speaks
    ttl_s: float | None = Field(default=None, ge=0)  #: None: as the settings say; 0: indefinite
    review_s: float | None = Field(default=None, gt=0)
    no_change: str | None = None  #: why nothing had to be changed


class Accepted(Message):
    seq: int  #: of the last event that this led to
    message: str = ""


class Refusal(Message):
    """The `error` of every answer that is not 2xx, and of `--json` output."""

    code: str
    message: str
    why: str = ""
    fix: str = ""
    exit_code: int = 6
