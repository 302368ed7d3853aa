"""What the ledger and the machine say, to those who only look."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.app.settings import load_settings, place_for
from orchestrator.model.errors import (
    NothingError,
)
from orchestrator.model.place import Place

if TYPE_CHECKING:
    from orchestrator.model.probe import Probe
    from orchestrator.ports import LedgerReader
    from orchestrator.wire import Hello


HELLO_WITHIN_S = 2.0  #: a daemon that answers later hangs


def open_ledger(place: Place) -> LedgerReader:
    """The ledger, to look at. Raises: NothingError when nothing has run here yet."""
    from orchestrator.backends.sqlite import SqliteReader

    if not place.ledger.exists():
        raise NothingError(
            "nothing has run in this repository yet",
            why="no plan was ever started in it",
            fix="`orchestrator start plans/YOUR-PLAN.yaml`",
        )
    return SqliteReader(place.ledger)


def daemon_info(place: Place) -> dict[str, Any] | None:
    """Who holds the daemon's lock; None when nobody does."""
    from orchestrator.backends.lock import DaemonLock

    return DaemonLock.holder(place.daemon_lock)


def why(place: Place, task: str, plan: str) -> list[str]:
    """What a task waits for and who holds it, one reason a line."""
    from orchestrator.backends.sqlite import SqliteStore
    from orchestrator.core.report import why_lines
    from orchestrator.core.state import rebuild
    from orchestrator.core.tasks import find_task
    from orchestrator.model.ids import PlanId, TaskId
    from orchestrator.model.run import State

    open_ledger(place).close()
    kept, events = SqliteStore.read_state(place.ledger)
    state = rebuild(events, kept if kept is not None else State())
    run = state.plans.get(PlanId(plan))
    if run is None:
        raise NothingError("no plan has been started", why="", fix="`orchestrator start PLAN`")
    return list(why_lines(state, run, find_task(run, TaskId(task))))


def examine(start: Path) -> tuple[Probe, ...]:
    """Everything that plans need here and on this machine, looked at. Never raises or hangs."""
    from orchestrator.backends.doctor import examine as look
    from orchestrator.client import Client

    def hello(place: Place) -> Hello:
        with Client(place, answer_within_s=HELLO_WITHIN_S) as client:
            return client.hello()

    return look(start, load_settings=load_settings, place_for=place_for, hello=hello, environ=os.environ)
