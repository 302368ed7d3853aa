"""What is asked of a person about a holder: one that cannot be stopped, and one that nobody has looked at for long."""

from __future__ import annotations

from datetime import datetime

from orchestrator.core.escalation import next_id
from orchestrator.core.planvalues import length_text
from orchestrator.model.attempt import Attempt
from orchestrator.model.fact import RunKilled
from orchestrator.model.ids import CandidateId
from orchestrator.model.item import Item, ItemKind, Option
from orchestrator.model.lease import Lease, LeaseTerms
from orchestrator.model.run import PlanRun, State

#: triggers of these items
NOT_STOPPED, REVIEW = "stop", "lease"

STOP_AGAIN = Option(id="retry", label="Try again", effect="it is killed once more; its task goes on when it is gone")
LOOK_AGAIN = Option(id="retry", label="Look again", effect="the task is taken back as soon as nobody is in its tree")
GO_ON = Option(id="leave", label="Let them go on", effect="the claim stays, until its next review")
TAKE_BACK = Option(id="give_up", label="End the claim", effect="what is in the tree is kept; the task is free again")


def _pids(processes: tuple[int, ...]) -> str:
    if processes == (0,):
        return "this system does not tell which"
    return ", ".join(map(str, processes[:20])) + (" and more" if len(processes) > 20 else "")


def not_stopped(state: State, plan: PlanRun, attempt: Attempt | None, fact: RunKilled, now: datetime) -> Item:
    """The process tree of a run would not die."""
    run = fact.run_id
    what = f"these processes did not end when they were killed: {_pids(fact.left)}" if fact.left else fact.detail
    whose = f"the agent of '{attempt.task_id}'" if attempt else f"{run.rsplit('/', 1)[1]} of a candidate"
    kept = f"'{attempt.task_id}' and its files stay claimed" if attempt else "its tree stays where it is"
    return Item(
        id=next_id(state),
        kind=ItemKind.STUCK,
        trigger=NOT_STOPPED,
        plan_id=plan.id,
        task_id=attempt.task_id if attempt else None,
        attempt_id=attempt.id if attempt else None,
        candidate_id=None if attempt else CandidateId(run.rsplit("/", 1)[0]),
        run_id=run,
        agent=attempt.agent if attempt else None,
        title=f"{whose} cannot be stopped",
        context=f"{what}\n{kept} until they are gone, so that nobody works beside them",
        options=(STOP_AGAIN,),
        waits=False,
        priority=90,
        asked_at=now,
    )


def not_left(state: State, plan: PlanRun, attempt: Attempt, inside: tuple[int, ...], now: datetime) -> Item:
    """Whoever claimed a task by hand is not heard of any more, or was evicted, and processes are in the tree."""
    why = f"it was taken away: {attempt.evicted}" if attempt.evicted else "nothing was heard of its holder"
    path = attempt.workspace.path if attempt.workspace else "its tree"
    options = (LOOK_AGAIN,) if attempt.evicted else (LOOK_AGAIN, GO_ON)
    return Item(
        id=next_id(state),
        kind=ItemKind.STUCK,
        trigger=NOT_STOPPED,
        plan_id=plan.id,
        task_id=attempt.task_id,
        attempt_id=attempt.id,
        agent=attempt.agent,
        title=f"somebody still works on '{attempt.task_id}', which {attempt.agent} had claimed",
        context=f"{why}; these processes are in {path}: {_pids(inside)}\n"
        "they are not ours to end, and nobody else gets the task while they are there",
        options=options,
        waits=False,
        priority=90,
        asked_at=now,
    )


def lease_review(
    state: State, plan: PlanRun, attempt: Attempt, lease: Lease, terms: LeaseTerms, *, silent: bool, now: datetime
) -> Item:
    """A claim without end that somebody has to look at."""
    since = f"nothing was heard of it since {lease.heartbeat_at.isoformat(timespec='minutes')}"
    if not silent:
        since = f"it was to be looked at by {lease.review_by.isoformat(timespec='minutes') if lease.review_by else '-'}"
    stale = f"; after {length_text(terms.stale)} of silence nothing can be handed in under it" if silent else ""
    return Item(
        id=next_id(state),
        kind=ItemKind.STUCK,
        trigger=REVIEW,
        plan_id=plan.id,
        task_id=attempt.task_id,
        attempt_id=attempt.id,
        agent=attempt.agent,
        title=f"{lease.holder or attempt.agent} holds '{attempt.task_id}' without an end",
        context=f"{since}{stale}\nreason given: {lease.reason}",
        options=(GO_ON, TAKE_BACK),
        waits=False,
        asked_at=now,
    )
