"""What a person asked for, and what it leads to. A refusal says what to do instead."""

from __future__ import annotations

from orchestrator.core import byhand, escalation, gate, publish, undo
from orchestrator.core.attempts import stop_attempt
from orchestrator.core.draft import Draft
from orchestrator.core.revise import revise
from orchestrator.core.takeup import is_meant, left_behind, take_up
from orchestrator.core.tasks import cancel_task, find_task, is_landing, reopen, withdraw_undo
from orchestrator.model.attempt import AttemptState, FailureKind
from orchestrator.model.effect import BeginBranch, DeleteTrash, RemoveTree
from orchestrator.model.errors import NothingError, RefusedError, UsageError
from orchestrator.model.event import (
    DrainBegan,
    ItemWithdrawn,
    PlanCancelled,
    PlanConfirmed,
    PlanPaused,
    PlanResumed,
    PublishRequested,
)
from orchestrator.model.fact import (
    CancelAsked,
    PlanSubmitted,
    PruneAsked,
    PublishAsked,
    RetryAsked,
    StopAsked,
    UndoAsked,
)
from orchestrator.model.ids import AttemptId, PlanId, TaskId
from orchestrator.model.item import ItemKind
from orchestrator.model.run import OVER, PLAN_OVER, CandidateStage, Drain, PlanPhase, PlanRun, State, TaskState


def submit(draft: Draft, fact: PlanSubmitted) -> None:
    """A confirmed plan: a new run, a revision of the one under way, or nothing new."""
    state, name = draft.state, fact.plan.name
    active = state.active
    if state.drain is not Drain.NO:
        raise RefusedError(
            "the daemon is stopping",
            why="`stop` was asked for",
            fix="start again when it has ended (`orchestrator status`)",
        )
    if active is not None and active.phase in PLAN_OVER and (active.candidate is not None or active.publishing):
        raise RefusedError(
            f"the last commit of plan '{active.id}' is still on its way",
            why="it is at the gate, or the target is being moved to it",
            fix="try again in a moment",
        )
    if active is not None and active.id != name and (active.phase not in PLAN_OVER or active.leases):
        raise RefusedError(
            f"plan '{active.id}' is running",
            why="one plan runs at a time, so that two agents never work on one file",
            fix="`orchestrator start` follows it; `orchestrator cancel --all` ends it",
        )
    old = state.plans.get(name)
    if old is not None and old.phase not in PLAN_OVER:
        if old.digest != fact.digest:
            revise(draft, old, fact)
        return
    if old is not None and old.leases:
        raise RefusedError(
            f"agents of the last run of '{name}' are still being stopped", why="", fix="try again in a moment"
        )
    for item in state.open_items():
        if item.plan_id == name:
            draft.record(
                ItemWithdrawn(plan_id=name, task_id=item.task_id, item_id=item.id, reason="the plan was started anew")
            )
    number = old.number + 1 if old else 1
    draft.record(
        PlanConfirmed(
            plan_id=name,
            plan=fact.plan,
            digest=fact.digest,
            number=number,
            by=fact.by,
            sequential=fact.sequential,
            rivals=fact.rivals,
            rank=fact.rank,
        )
    )
    draft.ask(BeginBranch(plan_id=name, number=number))


def only_the_active(state: State, named: PlanId | None) -> None:
    """Raises: NothingError for a plan nobody knows, RefusedError for one that is not the one that is worked on."""
    if is_meant(state, named):
        return
    assert named is not None
    raise RefusedError(
        f"plan '{named}' is not the one that is worked on",
        why=f"it is {state.plans[named].phase}, and nothing of it is under way",
        fix="`orchestrator status` shows the one that is",
    )


def the_active(draft: Draft, named: PlanId | None = None) -> PlanRun:
    """The plan under way. Raises: NothingError when there is none, RefusedError when another one was meant."""
    only_the_active(draft.state, named)
    plan = draft.state.active
    if plan is None or plan.phase in PLAN_OVER:
        raise NothingError("no plan is running", why="", fix="`orchestrator start PLAN` starts one")
    return plan


def plan_of_task(draft: Draft, named: PlanId | None, task_id: TaskId) -> PlanRun:
    """The plan that is worked on, with this task in it. Raises: NothingError, RefusedError, UsageError."""
    plan = the_active(draft, named)
    find_task(plan, task_id)
    return plan


def pause(draft: Draft, by: str) -> None:
    plan = the_active(draft)
    if plan.phase is PlanPhase.RUNNING:
        draft.record(PlanPaused(plan_id=plan.id, by=by))


def resume(draft: Draft, by: str) -> None:
    plan = the_active(draft)
    if plan.phase is PlanPhase.PAUSED:
        draft.record(PlanResumed(plan_id=plan.id, by=by))


def cancel(draft: Draft, fact: CancelAsked) -> None:
    plan = the_active(draft, fact.plan_id)
    if fact.task_id is not None:
        task = find_task(plan, fact.task_id)
        if is_landing(plan, fact.task_id):
            undoing = task.undo is not None
            raise RefusedError(
                f"task '{fact.task_id}' is {'being taken back' if undoing else 'landing'} this very moment",
                why="its checks are green",
                fix="look again",
            )
        if task.undo is not None:
            withdraw_undo(draft, plan, fact.task_id, fact.reason or f"cancelled by {fact.by}")
            return
        if task.state in {TaskState.LANDED, TaskState.CANCELLED}:
            landed = task.state is TaskState.LANDED
            raise RefusedError(
                f"task '{fact.task_id}' is {task.state}",
                why="what has landed stays landed" if landed else "",
                fix=f"to take it back: orchestrator undo {fact.task_id}" if landed else "",
            )
        cancel_task(draft, plan, fact.task_id, fact.by, fact.reason)
        return
    for task_id, task in plan.tasks.items():
        if task.undo is not None and not is_landing(plan, task_id):
            withdraw_undo(draft, draft.plan(plan.id), task_id, "the plan was cancelled")
        if task.state not in OVER and not is_landing(draft.plan(plan.id), task_id):
            cancel_task(draft, draft.plan(plan.id), task_id, fact.by, fact.reason)
    for item in draft.state.open_items():
        if item.plan_id == plan.id:
            draft.record(
                ItemWithdrawn(plan_id=plan.id, task_id=item.task_id, item_id=item.id, reason="the plan was cancelled")
            )
    plan = draft.plan(plan.id)
    if plan.candidate is not None and plan.candidate.stage is not CandidateStage.LANDING:
        gate.drop(draft, plan, "the plan was cancelled", requeued=False)
    draft.record(PlanCancelled(plan_id=plan.id, by=fact.by, reason=fact.reason))


def retry(draft: Draft, fact: RetryAsked) -> None:
    take_up(draft, fact.plan_id, fact.by)
    plan = draft.state.active
    if plan is None or plan.phase is PlanPhase.CANCELLED:
        raise NothingError(
            "no plan is running" if plan is None else f"plan '{plan.id}' was cancelled",
            why="" if plan is None else "nothing starts for it any more",
            fix="`orchestrator start PLAN` starts one",
        )
    task = find_task(plan, fact.task_id)
    if task.state not in {TaskState.ESCALATED, TaskState.FAILED, TaskState.CANCELLED, TaskState.BACKOFF}:
        raise RefusedError(
            f"task '{fact.task_id}' is {task.state}",
            why="only a task that failed, waits or was cancelled can be tried again",
            fix=f"`orchestrator why {fact.task_id}` says what it is waiting for",
        )
    if fact.task_id in plan.leases:
        raise RefusedError(f"the last agent of '{fact.task_id}' is still stopping", why="", fix="try again in a moment")
    reopen(draft, plan, fact.task_id, fact.by, task.findings)


def publish_now(draft: Draft, fact: PublishAsked) -> None:
    """Move the target to what has landed so far, as soon as the gate is free."""
    take_up(draft, fact.plan_id, fact.by)
    plan = draft.state.active
    if plan is None or plan.tip is None or not plan.unpublished:
        nothing_yet = plan is None or plan.published is None
        where = f"'{plan.plan.target}' was moved to {plan.published} then" if plan is not None else ""
        others = [f"`orchestrator publish --plan {other.id}`" for other in left_behind(draft.state)]
        raise NothingError(
            "nothing has landed yet" if nothing_yet else "everything that has landed is published already",
            why="" if nothing_yet else where,
            fix=f"what '{left_behind(draft.state)[0].id}' has landed: {others[0]}"
            if others
            else "`orchestrator status` shows where each task is",
        )
    if plan.phase is PlanPhase.CANCELLED:
        raise RefusedError(
            f"plan '{plan.id}' was cancelled",
            why="nothing is published for it any more",
            fix=f"what has landed is on branch orchestrator/{plan.id}: `git merge orchestrator/{plan.id}`",
        )
    byhand.refuse_while_taken(draft, plan)
    if fact.target is not None and fact.target == plan.sync_held:
        _refuse_the_same_conflict(draft.state, plan)
    for item in draft.state.open_items():
        if item.plan_id == plan.id and item.task_id is None and item.trigger != "effect":
            draft.record(ItemWithdrawn(plan_id=plan.id, task_id=None, item_id=item.id, reason="published by hand"))
    publish.release_sync(draft, plan)
    draft.record(PublishRequested(plan_id=plan.id, by=fact.by))


def _refuse_the_same_conflict(state: State, plan: PlanRun) -> None:
    """Raises: RefusedError while the target is where it was when a conflict with it was found, and that is open."""
    target = plan.plan.target
    for item in escalation.plan_items(state, plan.id, ItemKind.CONFLICT):
        raise RefusedError(
            f"'{target}' conflicts with what has landed, and {item.id} asks what to do about it",
            why=f"'{target}' has not moved since",
            fix=f"`orchestrator inbox show {item.id}` shows both sides; `orchestrator conflicts open {item.id}` "
            "makes a tree to resolve it in",
        )
    for task_id, task in plan.tasks.items():
        if task.merges == plan.sync_held and task.state not in OVER:
            raise RefusedError(
                f"'{target}' conflicts with what has landed, and '{task_id}' is resolving that",
                why=f"'{target}' has not moved since",
                fix=f"ask again when '{task_id}' has landed",
            )


def take_back(draft: Draft, fact: UndoAsked) -> None:
    """Take back what a task landed."""
    take_up(draft, fact.plan_id, fact.by)
    if draft.state.active is not None:
        find_task(draft.state.active, fact.task_id)
    undo.undo(draft, fact)


def prune(draft: Draft, fact: PruneAsked) -> None:
    """Trees that nobody works in go: salvaged and moved to the trash, or deleted from it."""
    for owner in fact.owners:
        _prunable(draft, owner)
    asked = draft.state.seq
    for owner in fact.owners:
        draft.ask(RemoveTree(plan_id=PlanId(owner.split("/", 1)[0]), owner=owner, asked=asked))
    if fact.trash:
        draft.ask(DeleteTrash(entries=fact.trash, asked=asked))


def _prunable(draft: Draft, owner: str) -> None:
    """Raises: UsageError for what is no tree of ours; RefusedError while somebody works in it."""
    plan_name, _, tree = owner.partition("/")
    plan = draft.state.plans.get(PlanId(plan_name))
    name, _, number = tree.rpartition("-")
    last = 0 if plan is None else plan.candidates if tree.startswith("~") else plan.numbers.get(TaskId(name), 0)
    counted = tree.removeprefix("~") if tree.startswith("~") else number
    if plan is None or not counted.isascii() or not counted.isdigit() or not 1 <= int(counted) <= last:
        raise UsageError(
            f"there is no tree '{owner}' of ours",
            why="only what the ledger knows is ever removed",
            fix="`orchestrator worktree list` shows what is there",
        )
    attempt = plan.attempts.get(AttemptId(owner))
    at_gate = plan.candidate is not None and plan.candidate.id == owner
    if at_gate or (attempt is not None and attempt.state is not AttemptState.ENDED):
        raise RefusedError(
            f"'{owner}' is in use",
            why="its checks run" if at_gate else f"{attempt.agent} works in it" if attempt else "",
            fix=f"`orchestrator cancel {name}` ends it" if attempt else "try again when they are done",
        )


def stop(draft: Draft, fact: StopAsked) -> None:
    if draft.state.drain is Drain.NOW or (draft.state.drain is Drain.FINISH and not fact.now):
        return
    draft.record(DrainBegan(by=fact.by, now=fact.now))
    if not fact.now:
        return
    for plan in draft.state.plans.values():
        for lease in plan.leases.values():
            attempt = plan.attempts[lease.attempt_id]
            if attempt.state is not AttemptState.STOPPING and attempt.by_hand is None and not attempt.held:
                stop_attempt(draft, draft.plan(plan.id), attempt, stop_as=FailureKind.INTERRUPTED)
        plan = draft.plan(plan.id)
        if plan.candidate is not None and plan.candidate.stage is not CandidateStage.LANDING:
            gate.drop(draft, plan, "the daemon was stopped", requeued=True)
