"""What protects the machine and the person's money: limits, and what holds new work back while one is reached."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from orchestrator.model.ids import PlanId


class HoldReason(StrEnum):
    """Why nothing new is started. Agents that run are left alone."""

    DISK = "disk"  #: less room than is to be kept free
    DESCRIPTORS = "descriptors"  #: hardly any open files are left for the daemon
    PROCESSES = "processes"  #: the machine refused another process or open file just now
    SPAWN_RATE = "spawn_rate"  #: failed work was started again too often; work that has not failed goes on
    SAFE_MODE = "safe_mode"  #: the daemon met the same error of its own again and again; a person has to look


#: Attempts may be started this soon after a failure of their task only as often as `Guards` say.
FOLLOWS_WITHIN = timedelta(seconds=60)
#: How long the machine is left in peace after it refused another process.
REFUSED_FOR = timedelta(seconds=30)
#: So many equal errors of our own within this time are a loop, which only a person ends.
FAULTS, FAULTS_WITHIN = 3, timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """Limits that a person may set."""

    free_disk: int = 2 * 1024**3  #: bytes to be kept free on each disk that we write to
    spawn_rate: int = 6  #: starts a minute that follow a failure
    spawn_burst: int = 4  #: such starts at once
    attempts: int = 20  #: starts of one task in one run of its plan before a person is asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Something that keeps new work from being started."""

    reason: HoldReason
    detail: str  #: in a person's words
    since: datetime
    until: datetime | None = None  #: when it ends by itself; None: when what it is about has changed
    plan_id: PlanId | None = None  #: None: it is about the machine, and so about every plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawns:
    """A token bucket: how many starts that follow a failure were left, and when that was so."""

    left: float
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An error of our own that nothing dealt with."""

    digest: str  #: equal for errors with an equal traceback
    at: datetime


def hold_key(reason: HoldReason, plan_id: PlanId | None = None) -> str:
    """The key of a hold among all that stand."""
    return reason.value if plan_id is None else f"{reason.value}/{plan_id}"
