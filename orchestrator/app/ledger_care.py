"""What is looked at in the ledger while the daemon runs: its whole chain and its projections, once a day."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from orchestrator.model.errors import NothingError, OrchestratorError

if TYPE_CHECKING:
    from orchestrator.backends.sqlite import SqliteStore
    from orchestrator.engine.loop import Loop
    from orchestrator.ports import Clock

EVERY = timedelta(days=1)
LOOK = timedelta(hours=1)  #: how often it is asked whether a day has gone by
REST = timedelta(milliseconds=20)  #: between pages, so that the daemon answers meanwhile


def look_after_ledger(
    store: SqliteStore, loop: Loop, clock: Clock, fail: Callable[[OrchestratorError], None]
) -> Callable[[], Awaitable[None]]:
    """What to call at the start and from time to time.

    It verifies the whole ledger when that was not done for a day, or when the last daemon did not end in order.

    Args:
        fail: called when the ledger is damaged: the daemon ends then, agents go on, and no daemon starts on it.
    """
    unsure = not store.was_closed

    async def look() -> None:
        nonlocal unsure
        import structlog

        log = structlog.get_logger(__name__)
        if not unsure and clock.now() - store.verified_at < EVERY:
            return
        try:
            events = await store.verify(clock.now(), rest=REST)
        except NothingError:
            return  # deleted under us, which the next record says
        except OrchestratorError as error:
            log.error("ledger.damaged", error=str(error))
            fail(error)
            return
        unsure = False
        log.info("ledger.verified", events=events)
        await loop.compare_rows()

    return look
