"""What a recovery would do, for a person to say yes or no to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from orchestrator.model.ids import Commit, PlanId, TaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """One source, as it was found."""

    name: str  #: such as `ledger` or `backup ledger-20260304T120000Z-57.sqlite`
    said: str
    is_good: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """A commit on a plan's branch that the recovered ledger does not know."""

    plan: PlanId
    task: TaskId | None  #: None: the target taken in, an undo, or nobody can tell
    commit: Commit


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What was found, and what would be written."""

    ledger: str  #: its path
    is_whole: bool  #: nothing has to be done
    examined: tuple[Examined, ...]
    stretches: tuple[str, ...] = ()  #: which events are taken from where
    last: int = 0
    last_at: datetime | None = None  #: None: nothing is left
    lost: int = 0  #: events that are known to have been
    unknown_after: bool = False  #: whether more may have been recorded than any source knows of
    masked: int = 0
    masked_plans: tuple[str, ...] = ()
    stopped: str = ""  #: why events that are there are not taken; empty when all are
    token_floor: int = 0
    landings: tuple[Landing, ...] = ()
    astray: tuple[str, ...] = ()  #: plans whose branch in git is not where any record leads
    branches: tuple[str, ...] = ()  #: references that hold work, where the ledger tells nothing
    strangers: Mapping[str, int] | None = None  #: runs that live, and that the ledger does not know, with their pid
    aside: str = ""  #: where the present files go

    @property
    def loses(self) -> bool:
        return bool(self.lost or self.unknown_after or self.masked or self.stopped)


def lines(proposal: Proposal) -> list[str]:
    """The proposal in words."""
    width = max(len(one.name) for one in proposal.examined)
    told = ["What there is:"]
    told += [f"  {one.name:<{width}}  {one.said}" for one in proposal.examined]
    if proposal.is_whole:
        return [*told, "", f"The ledger {proposal.ledger} is whole. Nothing has to be done, and nothing was changed."]
    told += ["", "What would be done:"]
    if proposal.last_at is None:
        told.append("  a new, empty ledger is begun: no event can be had back")
    else:
        told.append(f"  a new ledger with {_events(proposal.last)}, up to {_time(proposal.last_at)}:")
        told += [f"    {stretch}" for stretch in proposal.stretches]
    told.append(f"  the present files are kept in {proposal.aside}")
    told.append(f"  every token given out from here on is above {proposal.token_floor}")
    told += ["", "What would be lost:", *_losses(proposal)]
    if proposal.landings:
        told += ["", "What git has and the recovered ledger does not know; git is right about what landed:"]
        for one in proposal.landings:
            what = f"task '{one.task}'" if one.task else "a commit of no task"
            told.append(f"  {one.commit[:12]}  {what} on the branch of plan '{one.plan}'")
    for plan in proposal.astray:
        told += ["", f"The branch of plan '{plan}' stands in git at a place that no record leads to."]
        told.append(f"  look before you go on: git log refs/orchestrator/plans/{plan} in repo.git beside the ledger")
    if proposal.branches:
        told += ["", "Work that git keeps, as before:"]
        told += [f"  {name}" for name in proposal.branches]
    if proposal.strangers:
        told += ["", "Programs that run, and that the new ledger does not know; nothing of theirs will land:"]
        told += [f"  {run}  (to end it: kill {pid})" for run, pid in proposal.strangers.items()]
    return told


def _losses(proposal: Proposal) -> list[str]:
    found = []
    if proposal.lost:
        found.append(f"  {_events(proposal.lost)} after event {proposal.last} that cannot be read any more")
    if proposal.stopped:
        found.append(f"  {proposal.stopped}")
    if proposal.unknown_after:
        since = f"after {_time(proposal.last_at)}" if proposal.last_at else "that this repository ever had"
        found.append(f"  whatever was recorded {since}, if anything was")
    if proposal.masked:
        plans = ", ".join(f"'{plan}'" for plan in proposal.masked_plans)
        found.append(f"  secrets in {_events(proposal.masked)}: the journal has masks in their place")
        if plans:
            found.append(f"    {plans} is paused until you start its plan file again and say yes to it")
    return found or ["  nothing that anything here knows of"]


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count} events"


def _time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "-"
