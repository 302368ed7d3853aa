"""What goes wrong, how often, and where: a random subset of faults for each seed, each at a random rate."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from typing import TypeVar

import anyio
import anyio.lowlevel

from orchestrator.model.errors import OrchestratorError, UnsettledError
from orchestrator.simulation.virtual import Dice

T = TypeVar("T")

STRAGGLER_S = 0.4  #: a program that outlives the daemon that started it works on for so long at most


@dataclass(slots=True)
class Faults:
    """Rates of everything that can go wrong. Zero: it does not."""

    crashes: float = 0.0  #: of the daemon, in an hour, at any moment
    dies_in_call: float = 0.0  #: probability per call of a port and per transaction that the daemon dies in it
    crashes_in_recovery: float = 0.0  #: probability that a daemon dies in its first second
    refused: float = 0.0  #: probability that the ledger cannot be written, per transaction
    unsettled: float = 0.0  #: probability per transaction that nobody can tell whether it was saved
    slow_commit: float = 0.0  #: probability per transaction
    fails_before: float = 0.0  #: probability per call of a port that it fails and has done nothing
    fails_after: float = 0.0  #: the same, but it has done its work
    slow_call: float = 0.0  #: probability per call that it takes long
    stragglers: float = 0.0  #: probability that a call goes on when the daemon that made it is dead
    lost_supervisors: float = 0.0  #: per run
    silent_supervisors: float = 0.0  #: per run
    undying: float = 0.0  #: per run: a process that not even KILL ends for a while
    reboots: float = 0.0  #: in a day
    clock_jumps: float = 0.0  #: in a day
    sleeps: float = 0.0  #: in a day, an hour long
    target_moves: float = 0.0  #: in an hour
    strangers_move: float = 0.0  #: in a day: somebody moves the plan's branch
    doubled: float = 0.0  #: probability that a report is told twice, or again after later ones
    unreadable: float = 0.0  #: probability per signal that the run folder cannot be read
    full_disks: float = 0.0  #: in a day, for some minutes
    shortages: float = 0.0  #: in a day: the machine is short of something for some minutes

    def names(self) -> tuple[str, ...]:
        """The faults that are turned on."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name))


#: the highest rate of each; a seed takes a share of it
HIGHEST = Faults(
    crashes=1.5,
    dies_in_call=0.006,
    crashes_in_recovery=0.3,
    refused=0.02,
    unsettled=0.02,
    slow_commit=0.05,
    fails_before=0.02,
    fails_after=0.02,
    slow_call=0.1,
    stragglers=0.5,
    lost_supervisors=0.1,
    silent_supervisors=0.1,
    undying=0.1,
    reboots=3.0,
    clock_jumps=6.0,
    sleeps=2.0,
    target_moves=2.0,
    strangers_move=1.0,
    doubled=0.1,
    unreadable=0.02,
    full_disks=2.0,
    shortages=12,
)


def faults_for(dice: Dice) -> Faults:
    """The faults of a seed: each is on or off, and some seeds have none at all."""
    on = dice.one_of((0.0, 0.25, 0.5, 0.8))
    chosen = Faults()
    for field in fields(HIGHEST):
        share, turned_on = dice.between(0.05, 1.0), dice.chance(on)
        if turned_on:
            setattr(chosen, field.name, getattr(HIGHEST, field.name) * share)
    return chosen


class Weather:
    """Stands before every call of a port: delays it, lets it fail before or after, or lets it outlive the daemon.

    Args:
        later: carries a call out after the daemon that made it is dead.
        die: ends the daemon at once.
    """

    def __init__(
        self,
        faults: Faults,
        dice: Dice,
        *,
        later: Callable[[float, Callable[[], object]], None],
        die: Callable[[], None],
    ) -> None:
        self.faults = faults
        self._dice = dice
        self._later = later
        self._die = die
        self.full = False  #: the disk has no room just now

    def calm(self) -> None:
        """No more faults from now on."""
        self.faults = Faults()
        self.full = False

    async def through(self, what: str, act: Callable[[], T], *, took_s: float = 0.05, writes: bool = True) -> T:
        """Carry out one call of a port. Everything random is drawn first, so that a crash changes nothing of it."""
        faults, dice = self.faults, self._dice
        wait = took_s * dice.between(0.5, 2.0) * (dice.between(1, 600) if dice.chance(faults.slow_call) else 1.0)
        before, after = dice.chance(faults.fails_before), dice.chance(faults.fails_after)
        straggles, late = dice.chance(faults.stragglers), dice.between(0.0, STRAGGLER_S)
        dies = dice.chance(faults.dies_in_call)
        share, kind = dice.draw(), dice.draw()
        done = False
        try:
            await anyio.sleep(wait * share)
            if self.full and writes and kind < 0.5:
                raise _no_room(what)
            if before:
                raise _failure(what, kind)
            if dies and kind < 0.5:
                self._die()
                await anyio.lowlevel.checkpoint()
            result = act()
            done = True
            if dies:
                self._die()
            await anyio.sleep(wait * (1 - share))
        except anyio.get_cancelled_exc_class():
            if straggles and not done:
                self._later(late, act)
            raise
        if after:
            raise _failure(what, kind)
        return result

    async def committing(self, commit: Callable[[], Awaitable[int]]) -> int:
        """One transaction of the ledger: slow, refused, or cut off by the daemon's death, before it or after it."""
        faults, dice = self.faults, self._dice
        wait, share = (dice.between(0.1, 20.0) if dice.chance(faults.slow_commit) else 0.0), dice.draw()
        refused, dies, kind = dice.chance(faults.refused), dice.chance(faults.dies_in_call), dice.draw()
        unsettled, saved = dice.chance(faults.unsettled), dice.chance(0.5)
        if wait:
            await anyio.sleep(wait * share)
        if refused or (self.full and kind < 0.5):
            raise _no_room("the ledger")
        if unsettled:
            if saved:
                await commit()
            raise UnsettledError("the ledger could not be written", why=os.strerror(errno.EIO))
        if dies and kind < 0.5:
            self._die()
            await anyio.lowlevel.checkpoint()
        seq = await commit()
        if dies:
            self._die()
            await anyio.lowlevel.checkpoint()
        if wait:
            await anyio.sleep(wait * (1 - share))
        return seq


def _no_room(what: str) -> OrchestratorError:
    return OrchestratorError(f"{what} failed", why=os.strerror(errno.ENOSPC), fix="make room")


def _failure(what: str, kind: float) -> Exception:
    if kind < 0.6:
        return OrchestratorError(f"{what} failed", why="as the simulation wanted", fix="try again")
    return OSError(errno.EIO, os.strerror(errno.EIO), what)
