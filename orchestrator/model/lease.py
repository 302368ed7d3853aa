"""The timed right to work on a task."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from orchestrator.model.ids import AttemptId, TaskId

GRACE = timedelta(seconds=30)  #: on top of two heartbeats, before a holder is doubted whom a new daemon has not heard


class LeaseState(StrEnum):
    LIVE = "live"
    SUSPECT = "suspect"  #: it has expired; its holder is being looked at
    STUCK = "stuck"  #: its holder could not be stopped; a person has been asked, and nobody else gets the task
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTerms:
    """The numbers of leases, as the settings have them."""

    ttl: timedelta = timedelta(seconds=600)  #: from a renewal to the expiry
    heartbeat: timedelta = timedelta(seconds=30)  #: a holder shows life this often
    stale: timedelta = timedelta(seconds=3600)  #: without a heartbeat for so long, an indefinite one needs a look
    review: timedelta = timedelta(hours=24)  #: after so long an indefinite one is brought to a person
    indefinite_per_agent: int = 2
    indefinite: int = 10  #: in the whole repository

    @property
    def grace(self) -> timedelta:
        """What every holder gets when a daemon begins: that nobody listened is not its fault."""
        return 2 * self.heartbeat + GRACE


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right of one attempt to work on a task. The token rises with every claim and is never used again."""

    task_id: TaskId
    attempt_id: AttemptId
    token: int
    holder: str = ""  #: the agent's name, or who claimed it by hand
    state: LeaseState = LeaseState.LIVE
    granted_at: datetime
    expires_at: datetime | None  #: None: indefinite, with a reason and a time to look at it again
    heartbeat_at: datetime  #: the last sign of life that was recorded
    reason: str = ""  #: why it is indefinite
    review_by: datetime | None = None  #: None for one that expires by itself
    beats: bool = True  #: signs of life are expected; not of a person who resolves a conflict

    @property
    def is_indefinite(self) -> bool:
        return self.expires_at is None

    def has_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now
