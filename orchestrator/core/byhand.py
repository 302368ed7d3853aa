"""A conflict that a person resolves: an attempt of theirs, in which no program runs and whose end is their word."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.core import lease
from orchestrator.core.attempts import end, hand_off, live_attempt
from orchestrator.core.draft import Draft, keys_of
from orchestrator.core.evidence import one_line, outside_files
from orchestrator.model.attempt import Attempt, AttemptState, Ending, FailureKind
from orchestrator.model.effect import CollectWork, MakeWorkspace, RemoveTree
from orchestrator.model.errors import RefusedError, UsageError
from orchestrator.model.event import (
    Answered,
    AttemptStarted,
    AttemptStopping,
    ByHandBegan,
    ByHandEnded,
    ByHandGivenUp,
    ByHandHandedIn,
    ByHandNotYet,
    ByHandReady,
    Landed,
    WorkspaceMade,
)
from orchestrator.model.fact import GiveBackAsked, HandInAsked, WorkCollected, WorkspaceFailed, WorkspaceReady
from orchestrator.model.ids import AttemptId, ItemId, TaskId, attempt_id
from orchestrator.model.item import Item
from orchestrator.model.plan import HUMAN
from orchestrator.model.run import Drain, PlanRun

#: the option of a conflict that leads here
BY_HAND = "by_hand"
_SHOWN = 50  #: paths that are listed


def is_by_hand(draft: Draft, attempt: AttemptId) -> bool:
    """Whether it is an attempt in which a person works."""
    plan = draft.plan_of(attempt)
    found = plan.attempts.get(attempt) if plan else None
    return found is not None and found.by_hand is not None


def take(draft: Draft, plan: PlanRun, item: Item, task_id: TaskId, by: str) -> None:
    """Give a person a tree with the conflict in it. Their claim holds the task, as an agent's would."""
    task = plan.tasks[task_id]
    assert plan.tip is not None
    number = task.attempts + 1
    attempt = attempt_id(plan.id, task_id, number)
    start = task.hand_off.head if task.hand_off else None
    # a person takes the time that it takes; the limit of the lane tells when that is long
    token = lease.grant(
        draft, plan, task_id, attempt, holder=by, ttl=timedelta(), reason=f"resolves {item.id} by hand", beats=False
    )
    draft.record(
        AttemptStarted(
            plan_id=plan.id,
            task_id=task_id,
            attempt_id=attempt,
            token=token,
            number=number,
            agent=HUMAN,
            start=start,
        ),
        ByHandBegan(plan_id=plan.id, task_id=task_id, attempt_id=attempt, token=token, item_id=item.id, by=by),
    )
    draft.ask(
        MakeWorkspace(
            plan_id=plan.id,
            task_id=task_id,
            attempt_id=attempt,
            token=token,
            base=plan.tip,
            start=start,
            merge=task.merges if start is None else None,
        )
    )


def may_take(draft: Draft, plan: PlanRun, item: Item) -> None:
    """Raises: RefusedError when nobody can begin to resolve this now."""
    if draft.state.drain is not Drain.NO:
        raise RefusedError("the daemon is stopping", why="`stop` was asked for", fix="`orchestrator start`, then again")
    if draft.state.current != plan.id:
        raise RefusedError(
            f"{item.id} is about plan '{plan.id}', which is not being worked on",
            why=f"'{draft.state.current}' is" if draft.state.current else "",
            fix="`orchestrator status` shows what is",
        )


def taken(item: Item) -> RefusedError:
    """What is answered to any other choice while a person resolves it."""
    return RefusedError(
        f"{item.id} is being resolved by hand" + (f" in {item.worktree}" if item.worktree else ""),
        why=f"{item.taken_by} took it on",
        fix=f"`orchestrator conflicts done {item.task_id or item.id}` when it is resolved, or "
        f"`orchestrator conflicts abort {item.task_id or item.id}` first",
    )


def workspace_ready(draft: Draft, fact: WorkspaceReady) -> None:
    if (found := live_attempt(draft, fact)) is None:
        return
    plan, attempt = found
    if attempt.workspace is not None:
        return  # told once more
    draft.record(WorkspaceMade(**keys_of(plan, attempt), workspace=fact.workspace, base=fact.base))
    if attempt.state is AttemptState.STOPPING:
        _collect(draft, draft.plan(plan.id), attempt, keep_only=True)
        return
    assert attempt.by_hand is not None
    draft.record(
        ByHandReady(**keys_of(plan, attempt), item_id=attempt.by_hand.item_id, path=fact.workspace.path),
    )


def workspace_failed(draft: Draft, fact: WorkspaceFailed) -> None:
    if (found := live_attempt(draft, fact)) is None:
        return
    plan, attempt = found
    if attempt.cancelled:
        end(draft, plan, attempt, Ending.CANCELLED)
    else:
        end(draft, plan, attempt, Ending.FAILED, None, FailureKind.PREPARE, fact.detail)
    _reopen(draft, attempt, f"the tree could not be made: {fact.detail}")
    draft.ask(RemoveTree(plan_id=plan.id, owner=attempt.id))


def hand_in(draft: Draft, fact: HandInAsked) -> None:
    """The person says that it is resolved; what is in the tree decides."""
    plan, attempt = _at_work(draft, fact.item_id)
    assert attempt.by_hand is not None
    draft.record(
        ByHandHandedIn(**keys_of(plan, attempt), item_id=fact.item_id, by=fact.by, accept=fact.accepted, keep=fact.keep)
    )
    _collect(draft, draft.plan(plan.id), attempt, keep_only=False)


def give_back(draft: Draft, fact: GiveBackAsked) -> None:
    """The person does not resolve it after all: what they did is kept, and the options are there again."""
    plan, attempt = _at_work(draft, fact.item_id)
    draft.record(ByHandGivenUp(**keys_of(plan, attempt), item_id=fact.item_id, by=fact.by))
    _collect(draft, draft.plan(plan.id), attempt, keep_only=True)


def cancelled(draft: Draft, plan: PlanRun, attempt: Attempt) -> None:
    """Its task is no longer wanted: what the person did is kept, and the tree stays."""
    waits = attempt.state is AttemptState.WAITING
    draft.record(AttemptStopping(**keys_of(plan, attempt), cancelled=True))
    if waits:  # else the tree is being made, or its work is being collected, and the answer leads on
        _collect(draft, draft.plan(plan.id), attempt, keep_only=True)


def collected(draft: Draft, fact: WorkCollected) -> None:
    """Evidence, not words: what is in the tree decides for a person too, and they may say yes to some of it."""
    if (found := live_attempt(draft, fact)) is None:
        return
    plan, attempt = found
    mine = attempt.by_hand
    assert mine is not None
    if attempt.cancelled or mine.given_up:
        end(draft, plan, attempt, Ending.CANCELLED, fact)
        _reopen(draft, attempt, "given back" if mine.given_up else "cancelled", fact.salvage)
        if mine.given_up:
            draft.ask(RemoveTree(plan_id=plan.id, owner=attempt.id))
        return
    wrong = _what_is_wrong(plan, attempt, fact)
    if wrong is not None and not (wrong[1] and mine.accepts):
        why, may_accept = wrong
        keys = keys_of(plan, attempt)
        draft.record(ByHandNotYet(**keys, item_id=mine.item_id, why=why, may_accept=may_accept))
        return
    item = draft.state.items[mine.item_id]
    answered = Answered(plan_id=plan.id, task_id=item.task_id, item_id=item.id, choice=BY_HAND, text="", by=mine.by)
    task = plan.tasks[attempt.task_id]
    if not fact.changed and task.merges is None:
        end(draft, plan, attempt, Ending.NO_OP, fact)
        draft.record(answered)
        draft.record(
            Landed(plan_id=plan.id, task_id=attempt.task_id, candidate_id=None, commit=None, token=attempt.token)
        )
        if not mine.keep:
            draft.ask(RemoveTree(plan_id=plan.id, owner=attempt.id))
        return
    end(draft, plan, attempt, Ending.HANDED_OFF, fact)
    draft.record(answered)
    hand_off(draft, draft.plan(plan.id), attempt, fact)


def _what_is_wrong(plan: PlanRun, attempt: Attempt, fact: WorkCollected) -> tuple[str, bool] | None:
    """What speaks against taking it, and whether the person may say yes to it all the same."""
    task = plan.tasks[attempt.task_id]
    if fact.error or fact.head is None:
        return f"its work could not be read: {fact.error or 'no commit found'}", False
    if fact.unfinished_merge:
        return "not resolved yet: " + ", ".join(one_line(path) for path in fact.unfinished_merge), False
    if not fact.descends:
        base = (attempt.base or "")[:12]
        return f"the branch does not contain commit {base}, which it started from; commit on top of it instead", False
    if task.merges is not None and not fact.merged:
        return f"the merge of {task.merges[:12]} is gone; `git merge {task.merges[:12]}` begins it again", False
    if fact.nested:
        listed = ", ".join(one_line(path) for path in fact.nested)
        return f"a git repository inside the tree would be lost: {listed}", False
    outside = outside_files(task, fact.changed)
    if outside:
        listed = ", ".join(one_line(path) for path in outside[:_SHOWN])
        more = f" and {len(outside) - _SHOWN} more" if len(outside) > _SHOWN else ""
        return f"changed, and not among the files of '{attempt.task_id}': {listed}{more}", True
    if not fact.changed and task.merges is None:
        return f"nothing is left of what '{attempt.task_id}' changed", True
    return None


def _at_work(draft: Draft, item_id: ItemId) -> tuple[PlanRun, Attempt]:
    """The plan and the attempt in which a person resolves this item. Raises: RefusedError, UsageError."""
    item = draft.state.items.get(item_id)
    if item is None:
        raise UsageError(f"there is no item '{item_id}'", fix="`orchestrator conflicts` lists what is open")
    if not item.is_open or item.by_hand is None:
        name = item.task_id or item.id
        raise RefusedError(
            f"'{name}' is not being resolved by hand",
            why=f"answered '{item.answer}' by {item.answered_by}" if item.answer else item.withdrawn or "",
            fix=f"`orchestrator conflicts open {name}` makes a tree for it" if item.is_open else "",
        )
    plan = draft.plan(item.plan_id)
    attempt = plan.attempts[item.by_hand]
    if attempt.state is AttemptState.PREPARING:
        raise RefusedError("its tree is just being made", fix="try again in a moment")
    if attempt.state is not AttemptState.WAITING:
        raise RefusedError("what is in the tree is being looked at already", fix="try again in a moment")
    return plan, attempt


def _collect(draft: Draft, plan: PlanRun, attempt: Attempt, *, keep_only: bool) -> None:
    attempt = plan.attempts[attempt.id]
    assert attempt.by_hand is not None
    draft.ask(
        CollectWork(
            **keys_of(plan, attempt),
            keep_only=keep_only,
            also=plan.tasks[attempt.task_id].merges,
            # a cancellation that follows on a word that was not taken is one more
            try_number=attempt.by_hand.collects + attempt.cancelled,
        )
    )


def _reopen(draft: Draft, attempt: Attempt, why: str, salvage: tuple[str, ...] = ()) -> None:
    """The conflict waits for a person again, if it is still wanted."""
    assert attempt.by_hand is not None
    item = draft.state.items[attempt.by_hand.item_id]
    if item.is_open and item.by_hand == attempt.id:
        draft.record(
            ByHandEnded(
                plan_id=item.plan_id,
                task_id=attempt.task_id,
                attempt_id=attempt.id,
                token=attempt.token,
                item_id=item.id,
                why=why,
                salvage=salvage,
            )
        )


def refuse_while_taken(draft: Draft, plan: PlanRun) -> None:
    """Raises: RefusedError while a person resolves a conflict with the target."""
    for item in draft.state.open_items():
        if item.plan_id == plan.id and item.task_id is None and item.by_hand is not None:
            raise taken(item)
