"""The right to a task: granted with a rising token, renewed by signs of life, ended.

Safety is the token, never the clock: what an older token brings changes nothing. Time only tells when to look.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from orchestrator.core.draft import Draft
from orchestrator.model.attempt import Attempt
from orchestrator.model.effect import WakeAt
from orchestrator.model.event import LeaseGranted, LeaseRenewed
from orchestrator.model.fact import LeaseDue
from orchestrator.model.ids import AttemptId, TaskId
from orchestrator.model.lease import Lease, LeaseState, LeaseTerms
from orchestrator.model.run import PlanRun, TaskRun


def grant(
    draft: Draft,
    plan: PlanRun,
    task_id: TaskId,
    attempt: AttemptId,
    *,
    holder: str,
    ttl: timedelta | None = None,
    reason: str = "",
    review: timedelta | None = None,
    beats: bool = True,
) -> int:
    """Claim a task for an attempt. Returns: the token, above every one that was ever given out.

    Args:
        ttl: None: as the settings say; zero: indefinite, for which `reason` says why.
        review: an indefinite one is brought to a person after so long; None: as the settings say.
    """
    assert task_id not in plan.leases, f"{task_id} is claimed already"
    terms, token = draft.state.terms, draft.state.token + 1
    length = terms.ttl if ttl is None else ttl
    indefinite = not length
    draft.record(
        LeaseGranted(
            plan_id=plan.id,
            task_id=task_id,
            attempt_id=attempt,
            token=token,
            holder=holder,
            expires_at=None if indefinite else draft.now + length,
            reason=reason,
            review_by=draft.now + (review or terms.review) if indefinite else None,
            beats=beats,
        )
    )
    _wake(draft, draft.plan(plan.id), task_id)
    return token


def next_look(lease: Lease, terms: LeaseTerms) -> datetime:
    """When a lease has to be looked at if nothing is heard of its holder."""
    if lease.expires_at is not None:
        return lease.expires_at
    assert lease.review_by is not None
    return min(lease.review_by, lease.heartbeat_at + terms.stale) if lease.beats else lease.review_by


def is_stale(lease: Lease, terms: LeaseTerms, now: datetime) -> bool:
    """Whether an indefinite lease has been silent for too long to hand anything in under it."""
    return lease.is_indefinite and lease.beats and now - lease.heartbeat_at >= terms.stale


def _wake(draft: Draft, plan: PlanRun, task_id: TaskId) -> None:
    lease = plan.leases[task_id]
    if lease.is_indefinite and not lease.beats:
        return  # the item that the person took on is brought up again by itself
    at = max(next_look(lease, draft.state.terms), draft.now)
    draft.ask(WakeAt(at=at, fact=LeaseDue(plan_id=plan.id, task_id=task_id, token=lease.token)))


def wake_again(draft: Draft, plan: PlanRun, task_id: TaskId) -> None:
    """Look at it when its present time is over."""
    _wake(draft, draft.plan(plan.id), task_id)


def renew(
    draft: Draft,
    plan: PlanRun,
    lease: Lease,
    cause: str,
    *,
    ttl: timedelta | None = None,
    review: timedelta | None = None,
) -> None:
    """Its whole time again, from now."""
    terms = draft.state.terms
    draft.record(
        LeaseRenewed(
            plan_id=plan.id,
            task_id=lease.task_id,
            attempt_id=lease.attempt_id,
            token=lease.token,
            expires_at=None if lease.is_indefinite else draft.now + (ttl or terms.ttl),
            heartbeat_at=draft.now,
            review_by=draft.now + review if review is not None and lease.is_indefinite else lease.review_by,
            cause=cause,
        )
    )


def beat(draft: Draft, plan: PlanRun, lease: Lease) -> None:
    """A sign of life. It is recorded when it matters: half of the time is over, or much of the way to stale."""
    terms = draft.state.terms
    if lease.state is not LeaseState.LIVE:
        return  # a missed renewal is not undone by a late one; whoever looks at it decides
    if lease.expires_at is not None:
        if lease.expires_at - draft.now < terms.ttl / 2:
            renew(draft, plan, lease, "heartbeat")
    elif draft.now - lease.heartbeat_at >= min(terms.stale / 6, 10 * terms.heartbeat):
        renew(draft, plan, lease, "heartbeat")


def give_grace(draft: Draft) -> None:
    """A new daemon has heard of nobody yet: no lease expires before its holder had time to be heard."""
    until = draft.now + draft.state.terms.grace
    for plan in draft.state.plans.values():
        for lease in plan.leases.values():
            if lease.state is LeaseState.LIVE and lease.expires_at is not None and lease.expires_at < until:
                draft.record(
                    LeaseRenewed(
                        plan_id=plan.id,
                        task_id=lease.task_id,
                        attempt_id=lease.attempt_id,
                        token=lease.token,
                        expires_at=until,
                        heartbeat_at=lease.heartbeat_at,
                        cause="restart",
                    )
                )


def lease_of(attempt: Attempt, plan: PlanRun) -> Lease | None:
    """The lease under which an attempt works; None when another holder has the task, or nobody."""
    lease = plan.leases.get(attempt.task_id)
    return lease if lease is not None and lease.token == attempt.token else None


def token_of(plan: PlanRun, task: TaskRun) -> int | None:
    """The token of the latest attempt at a task; None before the first."""
    return plan.attempts[task.attempt_id].token if task.attempt_id is not None else None
