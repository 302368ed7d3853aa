"""Errors of our own: logged, counted in the ledger, and never the end of the daemon."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import anyio
import structlog

from orchestrator.engine.trouble import fault_of, is_fault
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.fact import FaultSeen
from orchestrator.model.guard import FAULTS, FAULTS_WITHIN
from orchestrator.model.run import State
from orchestrator.ports import Clock

log = structlog.get_logger(__name__)

WAITING = 32  #: errors that wait to be recorded at most; what comes beyond is only logged
AGAIN_S, LONGEST_S = 1.0, 60.0  #: before something that failed is begun again: at first, and at last


class Faults:
    """What went wrong inside the daemon.

    Args:
        request: records a fact, and returns when that is done.
        state: what the ledger says now.
    """

    def __init__(
        self, *, request: Callable[[FaultSeen], Awaitable[object]], state: Callable[[], State], clock: Clock
    ) -> None:
        self._request = request
        self._state = state
        self._clock = clock
        self._noted: deque[FaultSeen] = deque()
        self._more = anyio.Event()

    def note(self, where: str, error: BaseException, owner: str | None = None) -> None:
        """Take an error in. What is no fault of ours is logged and no more.

        Args:
            where: what the daemon was about to do, for a person.
            owner: id of the attempt, candidate or run that it was about.
        """
        if not is_fault(error):
            log.warning("daemon.hindered", where=where, error=str(error), exc_info=error)
            return
        log.error("daemon.failed", where=where, owner=owner, exc_info=error)
        fact = fault_of(where, error, owner)
        # more of the same tell nothing new, and would fill the ledger; but each task that they are about is told of
        waiting = sum(other.digest == fact.digest for other in self._noted)
        most = FAULTS if owner is None else 2 * FAULTS
        if self._known(fact.digest) + waiting < most and len(self._noted) < WAITING:
            self._noted.append(fact)
            self._more.set()

    def _known(self, digest: str) -> int:
        try:
            since = self._clock.now() - FAULTS_WITHIN
        except Exception:  # what is at fault may be the clock
            return 0
        return sum(fault.digest == digest and fault.at > since for fault in self._state().faults)

    async def run(self) -> None:
        """Have recorded what was noted, for ever."""
        wait = AGAIN_S
        while True:
            await self._more.wait()
            self._more = anyio.Event()
            while self._noted:
                try:
                    await self._request(self._noted[0])
                    self._noted.popleft()
                    wait = AGAIN_S
                except OrchestratorError:  # the ledger is refused, or at fault itself, which the log says
                    await anyio.sleep(wait)
                    wait = min(2 * wait, LONGEST_S)

    async def kept_up(self, where: str, work: Callable[[], Awaitable[object]]) -> None:
        """Do something that has to go on as long as the daemon lives; ended by an error, it is begun again."""
        wait = AGAIN_S
        while True:
            try:
                await work()
                return
            except Exception as error:
                self.note(where, error)
            await anyio.sleep(wait)
            wait = min(2 * wait, LONGEST_S)
