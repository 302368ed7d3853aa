"""Tasks that somebody claims by hand: they get a tree, show life, and hand in or give back under their token."""

from __future__ import annotations

from datetime import datetime, timedelta

from orchestrator.core import lease
from orchestrator.core.attempts import collect
from orchestrator.core.draft import Draft, keys_of
from orchestrator.core.planvalues import length_text
from orchestrator.core.schedule import startable, waits_for
from orchestrator.core.tasks import find_task
from orchestrator.model.attempt import Attempt, AttemptState, ExitWhy, RunExit
from orchestrator.model.effect import CollectWork, MakeWorkspace
from orchestrator.model.errors import NothingError, RefusedError, UsageError
from orchestrator.model.event import (
    AttemptStarted,
    HandOffDeclared,
    HolderReleased,
    NoChangeDeclared,
)
from orchestrator.model.fact import ClaimAsked, FinishAsked, ReleaseAsked, RenewAsked
from orchestrator.model.ids import TaskId, attempt_id
from orchestrator.model.lease import Lease, LeaseState
from orchestrator.model.run import PlanRun, State, TaskState


def claim(draft: Draft, fact: ClaimAsked, plan: PlanRun) -> None:
    """Give a task to somebody who works on it by hand.

    Raises: RefusedError, NothingError; UsageError for an indefinite one without a reason.
    """
    if not fact.holder:
        raise UsageError("a claim needs a holder", fix="`--as NAME`")
    _refuse_a_second(draft.state, fact.holder)
    if fact.ttl is not None and not fact.ttl:
        _refuse_indefinite(draft.state, fact)
    task_id = _chosen(draft.state, plan, fact.task_id, draft.now)
    task = plan.tasks[task_id]
    number = task.attempts + 1
    attempt = attempt_id(plan.id, task_id, number)
    token = lease.grant(
        draft,
        plan,
        task_id,
        attempt,
        holder=fact.holder,
        ttl=fact.ttl,
        reason=fact.reason,
        review=fact.review,
    )
    draft.record(
        AttemptStarted(
            plan_id=plan.id,
            task_id=task_id,
            attempt_id=attempt,
            token=token,
            number=number,
            agent=fact.holder,
            start=task.resume_from,
            held=True,
        )
    )
    assert plan.tip is not None
    draft.ask(
        MakeWorkspace(
            plan_id=plan.id,
            task_id=task_id,
            attempt_id=attempt,
            token=token,
            base=plan.tip,
            start=task.resume_from,
            merge=task.merges if task.resume_from is None else None,
        )
    )


def leases(state: State) -> tuple[tuple[PlanRun, Lease], ...]:
    """Every lease that has not ended, with its plan."""
    return tuple((plan, held) for plan in state.plans.values() for held in plan.leases.values())


def _refuse_a_second(state: State, holder: str) -> None:
    """Raises: RefusedError while that holder has a claim: it is given back before the next."""
    for plan, held in leases(state):
        if held.holder == holder and plan.attempts[held.attempt_id].held:
            raise RefusedError(
                f"{holder} holds '{held.task_id}' already",
                why="a holder gives back one task before it claims another",
                fix=f"`orchestrator claim finish {held.task_id}` or `orchestrator claim release {held.task_id}` first",
            )


def _refuse_indefinite(state: State, fact: ClaimAsked) -> None:
    if not fact.reason:
        raise UsageError(
            "a claim without an end needs a reason",
            why="somebody else has to be able to tell later whether it is still meant",
            fix="`--reason WHY`, or give it a time: `--ttl 30m`",
        )
    endless = [(plan, held) for plan, held in leases(state) if held.is_indefinite]
    mine = [held for _, held in endless if held.holder == fact.holder]
    terms = state.terms
    if len(mine) >= terms.indefinite_per_agent or len(endless) >= terms.indefinite:
        all_of = len(endless) >= terms.indefinite
        raise RefusedError(
            "there are too many claims without an end",
            why=f"{len(endless)} of {terms.indefinite} in this repository"
            if all_of
            else f"{fact.holder} has {len(mine)} of {terms.indefinite_per_agent}",
            fix="give this one a time (`--ttl 30m`), or end another: `orchestrator claim list`",
        )


def _chosen(state: State, plan: PlanRun, task_id: TaskId | None, now: datetime) -> TaskId:
    """The task to claim. Raises: RefusedError with who holds it or what it waits for; NothingError when none may."""
    if task_id is None:
        free = startable(state, plan)
        if not free:
            raise NothingError("no task may start just now", why="", fix="`orchestrator status` shows what runs")
        return free[0]
    task = find_task(plan, task_id)
    held = plan.leases.get(task_id)
    if held is not None:
        left = ", without an end"
        if held.expires_at is not None:
            left = ""
            if held.expires_at > now:
                left = f", for another {length_text(timedelta(seconds=round((held.expires_at - now).total_seconds())))}"
        raise RefusedError(
            f"task '{task_id}' is held by {held.holder or plan.attempts[held.attempt_id].agent}",
            why=f"under token {held.token}, since {held.granted_at.isoformat(timespec='seconds')}{left}",
            fix="take another (`orchestrator claim acquire` without a task), or wait",
        )
    if task.state is not TaskState.PENDING:
        raise RefusedError(
            f"task '{task_id}' is {task.state}", why="", fix=f"`orchestrator why {task_id}` says what it waits for"
        )
    if task_id not in startable(state, plan):
        reasons = list(waits_for(state, plan, task)) or ["a person's task is no agent's"]
        raise RefusedError(f"task '{task_id}' may not start yet", why="; ".join(reasons), fix="ask again when it may")
    return task_id


def show_life(draft: Draft, fact: RenewAsked, plan: PlanRun) -> None:
    """A heartbeat, or a renewal. Raises: RefusedError for an old token, or one that has expired."""
    _, held = _mine(draft, plan, fact.task_id, fact.token)
    if held.state is not LeaseState.LIVE or held.has_expired(draft.now):
        raise RefusedError(
            f"the claim on '{fact.task_id}' has expired",
            why="a missed renewal cannot be made up for; whether the task is taken back is being decided",
            fix=f"`orchestrator claim status {fact.task_id}`; what is in your tree is kept in any case",
        )
    if fact.renew:
        # what was asked for at first is what is asked for again
        ttl = None if held.expires_at is None else max(held.expires_at - held.heartbeat_at, draft.state.terms.ttl)
        lease.renew(draft, plan, held, "asked", ttl=ttl, review=draft.state.terms.review if ttl is None else None)
    else:
        lease.beat(draft, plan, held)


def give_back(draft: Draft, fact: ReleaseAsked, plan: PlanRun) -> None:
    """The holder does not go on. What is in the tree is kept, and the task is free."""
    attempt, _ = _mine(draft, plan, fact.task_id, fact.token)
    _at_work(attempt)
    draft.record(HolderReleased(**keys_of(plan, attempt), by=fact.by, reason=fact.reason))
    collect(draft, draft.plan(plan.id), draft.plan(plan.id).attempts[attempt.id], None)


def finish(draft: Draft, fact: FinishAsked, plan: PlanRun) -> None:
    """The holder says that it is done: the evidence decides, as for every agent.

    From a holder that was replaced nothing is taken for the task; what is in its tree is kept.
    """
    latest = max(plan.tasks[fact.task_id].attempts, 0) if fact.task_id in plan.tasks else 0
    for number in range(latest, 0, -1):
        old = plan.attempts.get(attempt_id(plan.id, fact.task_id, number))
        if old is not None and old.token == fact.token and lease.lease_of(old, plan) is None:
            draft.ask(CollectWork(**keys_of(plan, old), keep_only=True, try_number=draft.state.seq + 1))
            return
    attempt, held = _mine(draft, plan, fact.task_id, fact.token)
    _at_work(attempt)
    terms = draft.state.terms
    if held.state is not LeaseState.LIVE or lease.is_stale(held, terms, draft.now) or held.has_expired(draft.now):
        silent = f"nothing was heard of it for more than {length_text(terms.stale)}"
        raise RefusedError(
            f"the claim on '{fact.task_id}' is in doubt",
            why=silent if held.is_indefinite else "its time is over",
            fix=f"`orchestrator claim renew {fact.task_id}` first"
            if held.is_indefinite
            else f"`orchestrator claim status {fact.task_id}`; what is in your tree is kept in any case",
        )
    names = keys_of(plan, attempt)
    if fact.no_change is not None:
        draft.record(NoChangeDeclared(**names, reason=fact.no_change))
    else:
        draft.record(HandOffDeclared(**names, summary=fact.summary))
    plan = draft.plan(plan.id)
    collect(draft, plan, plan.attempts[attempt.id], RunExit(why=ExitWhy.EXIT, code=0))


def _mine(draft: Draft, plan: PlanRun, task_id: TaskId, token: int) -> tuple[Attempt, Lease]:
    """The attempt and the lease under that token. Raises: RefusedError when another one holds the task, or nobody."""
    find_task(plan, task_id)
    held = plan.leases.get(task_id)
    if held is None or held.token != token or not plan.attempts[held.attempt_id].held:
        now = "nobody holds it" if held is None else f"{held.holder} holds it under token {held.token}"
        raise RefusedError(
            f"token {token} does not hold task '{task_id}'",
            why=f"{now} now",
            fix=f"`orchestrator claim status {task_id}`; `orchestrator claim acquire {task_id}` claims it anew",
        )
    return plan.attempts[held.attempt_id], held


def _at_work(attempt: Attempt) -> None:
    """Raises: RefusedError unless its holder can be working in its tree."""
    if attempt.state is AttemptState.PREPARING:
        raise RefusedError("its tree is just being made", why="", fix="try again in a moment")
    if attempt.state is not AttemptState.RUNNING:
        raise RefusedError("what is in the tree is being looked at already", why="", fix="try again in a moment")
