"""`validate`: the ledger against itself, the disk, both repositories and the processes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.model.difference import Care, Difference
from orchestrator.model.errors import OrchestratorError, RefusedError
from orchestrator.model.place import Place

if TYPE_CHECKING:
    from orchestrator.model.run import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What was compared, what was put right, and what is different still."""

    events: int
    mended: tuple[Difference, ...]
    left: tuple[Difference, ...]


def validate(place: Place, *, fix: bool) -> Validation:
    """Compare everything; with `fix` put right what is safe, which no daemon may do at the same time.

    Raises: NothingError when nothing has run here; RefusedError to fix beside a daemon.
    """
    from orchestrator.app.reading import daemon_info, open_ledger
    from orchestrator.app.settings import place_for
    from orchestrator.backends.lock import DaemonLock

    open_ledger(place).close()
    place = place_for(place.root)
    if not fix:
        return _compared(place, fix=False)
    if (holder := daemon_info(place)) is not None:
        raise RefusedError(
            "nothing is put right beside a daemon",
            why=f"pid {holder['pid'] or 'not known yet'} is at work, and two would do it at the same time",
            fix="orchestrator restart: a daemon puts right what is safe when it starts; agents go on meanwhile",
        )
    with DaemonLock.acquire(place.daemon_lock):
        return _compared(place, fix=True)


def _compared(place: Place, *, fix: bool) -> Validation:
    import anyio

    from orchestrator.backends.ledger_chain import verify
    from orchestrator.backends.repository import GitRepository
    from orchestrator.backends.sqlite import SqliteStore
    from orchestrator.core.reconcile import AT_START
    from orchestrator.core.state import rebuild
    from orchestrator.engine.reconcile import reconcile
    from orchestrator.model.difference import ShowBranch, ShowKept

    try:
        count = verify(place.ledger)
        state = rebuild(anyio.run(SqliteStore.read_events, place.ledger))
    except OrchestratorError as error:
        damaged = Difference(kind="ledger", said=error.message, why=error.why, fix=error.fix, care=Care.ASKED)
        return Validation(events=0, mended=(), left=(damaged,))
    repository = GitRepository(place)

    async def look() -> Validation:
        found = await reconcile(state, repository, kinds=(), thorough=True, quiet=True)
        left, mended = found.left or (), found.mended
        if fix and left:
            await repository.open()  # makes `repo.git` where it is gone, and removes what a power loss left torn
            kinds = (*AT_START, ShowBranch, ShowKept)
            found = await reconcile(state, repository, kinds=kinds, thorough=True, quiet=True)
            still = {one.said for one in found.left or ()}
            seen = {one.said: one for one in (*left, *found.mended)}
            left = tuple(one for one in found.left or () if one.kind != "repository_gone")
            mended = tuple(one for said, one in seen.items() if said not in still)
        return Validation(events=count, mended=mended, left=(*_tables(place, state), *left))

    return anyio.run(look)


def _tables(place: Place, state: State) -> tuple[Difference, ...]:
    """The tables that people see, against what the events say."""
    from orchestrator.backends.ledger_reader import SqliteReader
    from orchestrator.engine.projections import changed_rows
    from orchestrator.model.run import State as Empty

    reader = SqliteReader(place.ledger)
    try:
        newest = reader.events(last=1)
        if newest and newest[-1].seq != state.seq:
            return ()  # a daemon goes on writing, and they are a step ahead
        wrong = []
        for table in ("plan", "task", "item"):
            said = sorted(_text(row.data) for row in changed_rows(Empty(), state) if row.table == table and row.data)
            if said != sorted(_text(row) for row in reader.rows(table)):
                wrong.append(table)
    finally:
        reader.close()
    if not wrong:
        return ()
    return (
        Difference(
            kind="projection",
            said=f"what `status` shows is not what the events say: {', '.join(wrong)}",
            why="another version wrote it, or a program changed the ledger's file",
            fix="orchestrator restart: a daemon writes these tables anew when it starts",
            care=Care.TOLD,
        ),
    )


def _text(data: object) -> str:
    return json.dumps(data, sort_keys=True)
