"""Looks at the machine again and again; where it is short of something, new work is held back."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import anyio
import structlog
from anyio import to_thread

from orchestrator.core.guards import disk_floor, is_short_of_descriptors, is_short_of_disk, size_text
from orchestrator.model.fact import PressureSeen
from orchestrator.model.guard import HoldReason
from orchestrator.model.run import State
from orchestrator.ports import Machine, Room

log = structlog.get_logger(__name__)

DISK_EVERY_S = 30.0
DESCRIPTORS_EVERY_S = 5.0
FRESH_S = 1.0  #: for so long a look at the disks serves everybody


class Watchers:
    """What the machine has left.

    Args:
        deliver: hands a fact to the loop.
        state: what holds now.
    """

    def __init__(
        self,
        *,
        machine: Machine,
        deliver: Callable[[PressureSeen], Awaitable[object]],
        state: Callable[[], State],
    ) -> None:
        self._machine = machine
        self._deliver = deliver
        self._state = state
        self._had_room, self._looked_at = True, -math.inf

    async def watch_disk(self) -> None:
        """Look at the disks, for ever."""
        while True:
            await self.has_room()
            await anyio.sleep(DISK_EVERY_S)

    async def watch_descriptors(self) -> None:
        """Count our open files, for ever."""
        while True:
            await self._look_at_descriptors()
            await anyio.sleep(DESCRIPTORS_EVERY_S)

    async def has_room(self) -> bool:
        """Look at the disks. Returns: whether each has more room than is to be kept free."""
        if anyio.current_time() - self._looked_at < FRESH_S:
            return self._had_room
        rooms = await to_thread.run_sync(self._machine.rooms)
        held = HoldReason.DISK in self._state().holds
        short = [room for room in rooms if self._is_short(room, held=held)]
        await self._tell(HoldReason.DISK, self._words(short[0]) if short else None)
        if not short:
            await to_thread.run_sync(self._machine.keep_reserve)
        self._had_room, self._looked_at = not short, anyio.current_time()
        return not short

    def _is_short(self, room: Room, *, held: bool) -> bool:
        return is_short_of_disk(room.free, room.total, self._state().guards.free_disk, held=held)

    def _words(self, room: Room) -> str:
        floor = disk_floor(room.total, self._state().guards.free_disk)
        why = "setting protect.free_disk" if floor == self._state().guards.free_disk else "a twentieth of that disk"
        return (
            f"{size_text(room.free)} are free on the disk of {room.path}, and {size_text(floor)} are kept free ({why})"
        )

    async def _look_at_descriptors(self) -> None:
        counted = self._machine.descriptors()
        if counted is None:
            return
        used, limit = counted
        held = HoldReason.DESCRIPTORS in self._state().holds
        short = is_short_of_descriptors(used, limit, held=held)
        words = f"the daemon has {used} files open, and {limit} is the most that it may have"
        await self._tell(HoldReason.DESCRIPTORS, words if short else None)

    async def _tell(self, reason: HoldReason, detail: str | None) -> None:
        if (reason in self._state().holds) is not (detail is not None):
            if detail is None:
                log.info("machine.recovered", of=reason.value)
            else:
                log.warning("machine.short", of=reason.value, detail=detail)
            await self._deliver(PressureSeen(reason=reason, detail=detail))

    async def pressed(self, reason: HoldReason, detail: str) -> None:
        """The machine refused something just now."""
        await self._tell(reason, detail)

    async def make_room(self) -> bool:
        """Give the reserve up for the ledger. Returns: whether there was one."""
        given = await to_thread.run_sync(self._machine.give_up_reserve)
        if given:
            log.warning("reserve.given_up", why="the ledger had no room to grow")
        return given
