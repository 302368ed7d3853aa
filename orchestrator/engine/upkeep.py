"""What the daemon does beside its work, again and again: backups, the journal, trash. It never ends the daemon."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import anyio
import structlog

from orchestrator.model.errors import OrchestratorError

log = structlog.get_logger(__name__)

TOLD_AFTER = 3  #: failures in a row after which a person has to hear of it
AGAIN_AFTER = timedelta(minutes=1)  #: a job that failed is tried again so soon, or when it is due anyway
LAST_S = 10.0  #: for all that is done on the way out


@dataclass(frozen=True, slots=True, kw_only=True)
class Chore:
    """A job that is done at the start, and then every so often.

    Args:
        does: may raise; it is tried again later.
        at_end: whether it is done once more when the daemon leaves in order.
    """

    name: str
    every: timedelta
    does: Callable[[], Awaitable[object]]
    at_end: bool = False


@dataclass(slots=True, kw_only=True)
class ChoreState:
    """How it went with a chore so far."""

    done: int = 0
    failures: int = 0  #: in a row
    trouble: str = ""  #: the latest; empty when the last time went well


class Upkeep:
    """Does every chore in its time, one at a time, so that they never stand in each other's way."""

    def __init__(self, chores: Sequence[Chore]) -> None:
        self._chores = tuple(chores)
        self._one = anyio.Lock()
        self.states = {chore.name: ChoreState() for chore in chores}

    async def run(self) -> None:
        """At once, and then for ever; in the order in which they were given."""
        async with anyio.create_task_group() as tasks:
            for chore in self._chores:
                tasks.start_soon(self._again_and_again, chore, name=chore.name)

    async def finish(self) -> None:
        """The last time, for those that want it. Takes no longer than `LAST_S`, whatever happens."""
        with anyio.move_on_after(LAST_S, shield=True) as scope:
            for chore in self._chores:
                if chore.at_end:
                    await self._do(chore)
        if scope.cancelled_caught:
            log.warning("upkeep.unfinished", after_s=LAST_S)

    async def _again_and_again(self, chore: Chore) -> None:
        while True:
            went_well = await self._do(chore)
            wait = chore.every if went_well else min(chore.every, AGAIN_AFTER)
            await anyio.sleep(wait.total_seconds())

    async def _do(self, chore: Chore) -> bool:
        state = self.states[chore.name]
        try:
            async with self._one:
                await chore.does()
        except Exception as error:
            state.failures += 1
            state.trouble = str(error) or type(error).__name__
            self._tell(chore, state, error)
            return False
        if state.failures >= TOLD_AFTER:
            log.info("upkeep.mended", chore=chore.name, failures=state.failures)
        state.done += 1
        state.failures, state.trouble = 0, ""
        return True

    def _tell(self, chore: Chore, state: ChoreState, error: Exception) -> None:
        expected = isinstance(error, OrchestratorError | OSError)
        facts = {"chore": chore.name, "failures": state.failures, "error": state.trouble}
        if state.failures == TOLD_AFTER:  # once; what goes on failing is no news
            log.error("upkeep.failing", exc_info=None if expected else error, **facts)
        else:
            log.warning("upkeep.failed", exc_info=None if expected else error, **facts)
