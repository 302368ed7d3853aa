"""A holder that is not heard of any more, or that a person does not want: looked at, stopped, salvaged, and only then
is its task free for a new token. What cannot be stopped keeps its task, and a person is asked.
"""

from __future__ import annotations

from datetime import timedelta

from orchestrator.core import byhand, lease
from orchestrator.core.attempts import collect, run_ended, stop_attempt
from orchestrator.core.draft import Draft, keys_of
from orchestrator.core.gate import run_ended as check_ended
from orchestrator.core.leaseitems import NOT_STOPPED, REVIEW, lease_review, not_left, not_stopped
from orchestrator.model.attempt import (
    Attempt,
    AttemptState,
    ExitWhy,
    FailureKind,
    Run,
    RunExit,
    RunLife,
    RunState,
)
from orchestrator.model.effect import KillRun, ProbeRun, ProbeTree, WakeAt
from orchestrator.model.errors import RefusedError
from orchestrator.model.event import (
    AttemptStopping,
    Escalated,
    EvictionBegan,
    ItemWithdrawn,
    LeaseStuck,
    LeaseSuspected,
    RunFinished,
)
from orchestrator.model.fact import (
    AttemptBeat,
    EvictAsked,
    GiveBackAsked,
    LeaseDue,
    RunKilled,
    RunProbed,
    StopDue,
    TreeProbed,
)
from orchestrator.model.ids import AttemptId, RunId
from orchestrator.model.item import Item
from orchestrator.model.lease import Lease, LeaseState
from orchestrator.model.run import PlanRun

CHECK_LOOK = timedelta(minutes=5)  #: between two looks at a check that is past its time limit and shows life


def beaten(draft: Draft, fact: AttemptBeat) -> None:
    """Its supervisor shows life."""
    plan = draft.plan_of(fact.attempt_id)
    attempt = plan.attempts.get(fact.attempt_id) if plan else None
    held = lease.lease_of(attempt, plan) if plan and attempt else None
    if plan is not None and held is not None:
        lease.beat(draft, plan, held)


def due(draft: Draft, fact: LeaseDue) -> None:
    """The time of a lease is over, unless it was renewed meanwhile."""
    plan = draft.state.plans.get(fact.plan_id)
    held = plan.leases.get(fact.task_id) if plan else None
    if plan is None or held is None or held.token != fact.token or held.state is not LeaseState.LIVE:
        return
    attempt = plan.attempts[held.attempt_id]
    if held.is_indefinite:
        _review(draft, plan, held)
    elif not held.has_expired(draft.now):
        lease.wake_again(draft, plan, held.task_id)
    elif _is_with_us(plan, attempt):
        lease.renew(draft, plan, held, "daemon")
        lease.wake_again(draft, plan, held.task_id)
    else:
        draft.record(LeaseSuspected(**keys_of(plan, attempt)))
        _look(draft, plan, attempt)


def _is_with_us(plan: PlanRun, attempt: Attempt) -> bool:
    """Whether it is the daemon that works on the attempt: no program of it runs, and nobody else works in its tree."""
    if attempt.held and attempt.state is AttemptState.RUNNING:
        return False
    return _run_of(plan, attempt) is None


def _run_of(plan: PlanRun, attempt: Attempt) -> Run | None:
    """The supervised run it is at; None when there is none with a supervisor."""
    run = plan.runs.get(attempt.run_id) if attempt.run_id else None
    return run if run is not None and run.state is not RunState.REQUESTED else None


def _look(draft: Draft, plan: PlanRun, attempt: Attempt) -> None:
    run = _run_of(plan, attempt)
    if run is not None:
        draft.ask(ProbeRun(run_id=run.id, token=attempt.token, asked=draft.state.seq))
    else:
        draft.ask(ProbeTree(attempt_id=attempt.id, token=attempt.token, asked=draft.state.seq))


def probed(draft: Draft, fact: RunProbed) -> None:
    """Two signs are needed against a holder: nothing was heard for its whole time, and a look shows no life."""
    plan = draft.plan_of(fact.run_id)
    run = plan.runs.get(fact.run_id) if plan else None
    attempt = plan.attempts.get(AttemptId(run.owner)) if plan and run else None
    held = lease.lease_of(attempt, plan) if plan and attempt else None
    if plan is not None and run is not None and _is_at_gate(plan, run):
        _check_probed(draft, run, fact.life)
        return
    if plan is None or attempt is None or held is None or held.token != fact.token:
        return
    if held.state is not LeaseState.SUSPECT:
        return
    if fact.life is RunLife.ALIVE:
        lease.renew(draft, plan, held, "look")
        lease.wake_again(draft, plan, held.task_id)
        return
    draft.record(AttemptStopping(**keys_of(plan, attempt), stop_as=FailureKind.LOST))
    draft.ask(KillRun(run_id=fact.run_id, asked=draft.state.seq))


def stop_due(draft: Draft, fact: StopDue) -> None:
    """A run that was asked to stop, and has had its grace, is killed. A check that is wanted is looked at first."""
    plan = draft.plan_of(fact.run_id)
    run = plan.runs.get(fact.run_id) if plan else None
    if plan is None or run is None:
        return
    if _is_at_gate(plan, run):
        draft.ask(ProbeRun(run_id=run.id, token=0, asked=draft.state.seq))
    else:
        draft.ask(KillRun(run_id=fact.run_id, asked=draft.state.seq))


def _is_at_gate(plan: PlanRun, run: Run) -> bool:
    """Whether it is a step of the candidate at the gate, which nobody has asked to stop."""
    return plan.candidate is not None and plan.candidate.id == run.owner


def _check_probed(draft: Draft, run: Run, life: RunLife) -> None:
    """A check has no lease. Past its time limit, one that shows life is left alone: the clock may have jumped."""
    if life is RunLife.ALIVE:
        draft.ask(WakeAt(at=draft.now + CHECK_LOOK, fact=StopDue(run_id=run.id)))
    else:
        draft.ask(KillRun(run_id=run.id, asked=draft.state.seq))


def killed(draft: Draft, fact: RunKilled) -> None:
    """Its processes are gone, and with them its run; or some are left, and then nobody else gets the task."""
    plan = draft.plan_of(fact.run_id)
    run = plan.runs.get(fact.run_id) if plan else None
    if plan is None or run is None:
        return  # its end was seen before
    attempt = plan.attempts.get(AttemptId(run.owner))
    if not fact.left and not fact.detail:
        detail = "its supervisor did not end it, so its processes were killed"
        why = ExitWhy.LOST if _is_at_gate(plan, run) else ExitWhy.STOPPED  # a check that is lost runs again
        ended(draft, plan, run, RunExit(why=why, detail=detail), "")
        return
    if attempt is not None and lease.lease_of(attempt, plan) is not None:
        draft.record(LeaseStuck(**keys_of(plan, attempt), processes=fact.left))
    if _stuck_item(draft, fact.run_id) is None:
        plan = draft.plan(plan.id)
        item = not_stopped(draft.state, plan, attempt, fact, draft.now)
        task_id = attempt.task_id if attempt else None
        draft.record(Escalated(plan_id=plan.id, task_id=task_id, item=item, holds_task=False))


def ended(draft: Draft, plan: PlanRun, run: Run, exit: RunExit, tail: str) -> None:
    """A supervised run is over, and nothing of its process tree is left."""
    exit = _told(draft, run, exit)
    draft.record(RunFinished(plan_id=plan.id, run_id=run.id, exit=exit))
    item = _stuck_item(draft, run.id)
    if item is not None:
        reason = "its processes are gone"
        draft.record(ItemWithdrawn(plan_id=plan.id, task_id=item.task_id, item_id=item.id, reason=reason))
    plan = draft.plan(plan.id)
    if run.owner in plan.attempts:
        run_ended(draft, plan, plan.attempts[AttemptId(run.owner)], run, exit, tail)
    else:
        check_ended(draft, plan, run, exit, tail)


def _told(draft: Draft, run: Run, exit: RunExit) -> RunExit:
    """The exit, with the machine's restart as its reason when that is what it was."""
    booted = run.supervisor.boot_id if run.supervisor else ""
    if exit.why is ExitWhy.LOST and booted and draft.state.boot_id and booted != draft.state.boot_id:
        return RunExit(why=ExitWhy.RESTARTED, detail=exit.detail)
    return exit


def _stuck_item(draft: Draft, run: RunId) -> Item | None:
    return next((i for i in draft.state.open_items() if i.trigger == NOT_STOPPED and i.run_id == run), None)


def stop_again(draft: Draft, plan: PlanRun, item: Item) -> None:
    """A person has looked at what would not die: it is tried once more."""
    if item.run_id is not None:  # a prepare step of a task that was claimed by hand, too
        draft.ask(KillRun(run_id=item.run_id, asked=draft.state.seq))
    elif item.attempt_id is not None:
        attempt = plan.attempts[item.attempt_id]
        draft.ask(ProbeTree(attempt_id=attempt.id, token=attempt.token, asked=draft.state.seq))


# ---- tasks that were claimed by hand ----


def tree_probed(draft: Draft, fact: TreeProbed) -> None:
    """Nobody is in the tree: the task is taken back. Else it is not ours to stop, and a person is asked."""
    plan = draft.plan_of(fact.attempt_id)
    attempt = plan.attempts.get(fact.attempt_id) if plan else None
    held = lease.lease_of(attempt, plan) if plan and attempt else None
    if plan is None or attempt is None or held is None or held.token != fact.token:
        return
    wanted_back = attempt.evicted is not None or attempt.cancelled or held.state is not LeaseState.LIVE
    if not wanted_back or attempt.exit is not None or attempt.state is AttemptState.ENDED:
        return  # it was renewed, or has come to its end meanwhile
    for item in _items_about(draft, plan, attempt.id):
        reason = "it was looked at again"
        draft.record(ItemWithdrawn(plan_id=plan.id, task_id=item.task_id, item_id=item.id, reason=reason))
    if not fact.inside:
        lost = attempt.evicted is None and not attempt.cancelled
        draft.record(AttemptStopping(**keys_of(plan, attempt), stop_as=FailureKind.LOST if lost else None))
        collect(draft, draft.plan(plan.id), draft.plan(plan.id).attempts[attempt.id], None)
        return
    draft.record(LeaseStuck(**keys_of(plan, attempt), processes=fact.inside))
    plan = draft.plan(plan.id)
    item = not_left(draft.state, plan, attempt, fact.inside, draft.now)
    draft.record(Escalated(plan_id=plan.id, task_id=attempt.task_id, item=item, holds_task=False))


def _items_about(draft: Draft, plan: PlanRun, attempt: AttemptId) -> tuple[Item, ...]:
    about = (i for i in draft.state.open_items() if i.plan_id == plan.id and i.attempt_id == attempt)
    return tuple(i for i in about if i.trigger in {NOT_STOPPED, REVIEW})


def _review(draft: Draft, plan: PlanRun, held: Lease) -> None:
    """An indefinite lease is past its review-by time, or nothing was heard of its holder for long."""
    terms = draft.state.terms
    if lease.next_look(held, terms) > draft.now:
        lease.wake_again(draft, plan, held.task_id)
        return
    if not _items_about(draft, plan, held.attempt_id):
        attempt = plan.attempts[held.attempt_id]
        silent = lease.is_stale(held, terms, draft.now)
        item = lease_review(draft.state, plan, attempt, held, terms, silent=silent, now=draft.now)
        draft.record(Escalated(plan_id=plan.id, task_id=held.task_id, item=item, holds_task=False))


def reviewed(draft: Draft, plan: PlanRun, item: Item, *, evict: bool, by: str) -> None:
    """A person looked at an indefinite lease: it goes on until the next review, or ends."""
    assert item.attempt_id is not None
    attempt = plan.attempts[item.attempt_id]
    held = lease.lease_of(attempt, plan)
    if held is None:
        return
    if evict and attempt.by_hand is not None:
        byhand.give_back(draft, GiveBackAsked(item_id=attempt.by_hand.item_id, by=by))
        return
    if evict:
        _begin(draft, plan, attempt, by, "a person ended it at its review")
        return
    lease.renew(draft, plan, held, "asked", review=draft.state.terms.review)
    lease.wake_again(draft, plan, held.task_id)


# ---- a person takes a task away ----


def evict(draft: Draft, fact: EvictAsked, plan: PlanRun) -> None:
    """Force-evict. Raises: RefusedError when nobody holds the task."""
    held = plan.leases.get(fact.task_id)
    if held is None:
        raise RefusedError(
            f"nobody holds task '{fact.task_id}'",
            why=f"it is {plan.tasks[fact.task_id].state}",
            fix="`orchestrator claim list` shows who holds what",
        )
    attempt = plan.attempts[held.attempt_id]
    if attempt.by_hand is not None:
        raise RefusedError(
            f"'{fact.task_id}' is being resolved by hand by {attempt.by_hand.by}",
            why="",
            fix=f"`orchestrator conflicts abort {fact.task_id}` gives it back; what is in the tree is kept",
        )
    if attempt.evicted is not None and attempt.state is AttemptState.STOPPING:
        raise RefusedError(f"'{fact.task_id}' is being taken away already", why="", fix="look again in a moment")
    _begin(draft, plan, attempt, fact.by, fact.reason)


def _begin(draft: Draft, plan: PlanRun, attempt: Attempt, by: str, reason: str) -> None:
    draft.record(EvictionBegan(**keys_of(plan, attempt), by=by, reason=reason))
    plan = draft.plan(plan.id)
    if attempt.held and attempt.state in {AttemptState.RUNNING, AttemptState.STUCK}:
        draft.ask(ProbeTree(attempt_id=attempt.id, token=attempt.token, asked=draft.state.seq))
    else:
        stop_attempt(draft, plan, plan.attempts[attempt.id], stop_as=None)
        run = _run_of(plan, attempt)
        if attempt.state is AttemptState.STUCK and run is not None:
            draft.ask(KillRun(run_id=run.id, asked=draft.state.seq))
