"""What a person's answer to an item leads to. The first valid answer counts."""

from __future__ import annotations

from orchestrator.core import byhand, eviction, publish, undo
from orchestrator.core.draft import Draft
from orchestrator.core.failures import task_failed
from orchestrator.core.lease import token_of
from orchestrator.core.leaseitems import NOT_STOPPED, REVIEW
from orchestrator.core.overlap import covers
from orchestrator.core.schedule import is_settled
from orchestrator.core.takeup import take_up
from orchestrator.core.tasks import cancel_task, reopen
from orchestrator.model.attempt import FailureKind
from orchestrator.model.effect import SendAnswer
from orchestrator.model.errors import RefusedError, UsageError
from orchestrator.model.event import (
    Answered,
    Landed,
    PlanFinished,
    PublishRequested,
    ReviewDecided,
    SentBack,
    TaskAdded,
    TaskFailed,
    TaskQueued,
    UndoDropped,
    UndoRequested,
)
from orchestrator.model.fact import AnswerGiven
from orchestrator.model.ids import Commit, TaskId
from orchestrator.model.item import Item, ItemKind
from orchestrator.model.plan import Task, exactly
from orchestrator.model.run import OVER, PLAN_OVER, PlanPhase, PlanRun, TaskRun


def answer(draft: Draft, fact: AnswerGiven) -> None:
    """The first valid answer counts."""
    item = draft.state.items.get(fact.item_id)
    if item is None:
        raise UsageError(f"there is no item '{fact.item_id}'", why="", fix="`orchestrator inbox` lists what is open")
    if not item.is_open:
        how = f"answered '{item.answer}' by {item.answered_by}" if item.answer else f"withdrawn: {item.withdrawn}"
        raise RefusedError(f"item '{item.id}' is closed", why=how, fix="`orchestrator inbox` lists what is open")
    choices = {option.id for option in item.options}
    if fact.choice not in choices and not (item.free_text and fact.choice == "text" and fact.text):
        listed = ", ".join(f"'{c.id}'" for c in item.options) or "words: --text '...'"
        raise UsageError(f"'{fact.choice}' is not an answer to item '{item.id}'", why="", fix=f"answer with {listed}")
    plan = draft.plan(item.plan_id)
    if fact.choice != "leave" and plan.phase in PLAN_OVER and not item.is_note:
        take_up(draft, plan.id, fact.by)  # what the answer leads to is done for the plan that is worked on
    if fact.choice == byhand.BY_HAND:
        _by_hand(draft, plan, item, fact)
        return
    if item.by_hand is not None:
        raise byhand.taken(item)
    draft.record(
        Answered(
            plan_id=plan.id,
            task_id=item.task_id,
            item_id=item.id,
            choice=fact.choice,
            text=fact.text,
            by=fact.by,
        )
    )
    plan = draft.plan(plan.id)
    if item.task_id is None:
        _answered_plan(draft, plan, item, fact)
    else:
        _answered_task(draft, plan, item, plan.tasks[item.task_id], fact)


def _by_hand(draft: Draft, plan: PlanRun, item: Item, fact: AnswerGiven) -> None:
    """The item stays open until the person has resolved it; asked for again, they have their tree already."""
    if item.by_hand is not None:
        return
    byhand.may_take(draft, plan, item)
    task_id = item.task_id
    if task_id is None:
        target = plan.sync_held
        if target is None:
            raise RefusedError(
                f"'{plan.plan.target}' is looked at anew just now",
                why="it moved on after the conflict was found",
                fix="look at `orchestrator inbox` again in a moment",
            )
        added = _resolving_task(plan, item, target)
        holder = next((name for name in added.rivals if plan.tasks[name].holds), None)
        if holder is not None:
            raise RefusedError(
                f"'{holder}' is at work on the same files just now",
                why=f"it holds {', '.join(item.paths)}, and nobody else works on them meanwhile",
                fix=f"wait until '{holder}' has landed; `orchestrator why {holder}` says what it waits for",
            )
        draft.record(added)
        task_id = added.task.id
    byhand.take(draft, draft.plan(plan.id), item, task_id, fact.by)


def _answered_plan(draft: Draft, plan: PlanRun, item: Item, fact: AnswerGiven) -> None:
    match fact.choice:
        case "publish" | "retry" if item.kind in {ItemKind.INCOMPLETE, ItemKind.PUBLISH_REFUSED}:
            draft.record(PublishRequested(plan_id=plan.id, by=fact.by))
        case "retry" if item.trigger == NOT_STOPPED:
            eviction.stop_again(draft, plan, item)
        case "retry":
            publish.release_sync(draft, plan)
        case "send_back":
            _resolve_by_agent(draft, plan, item)
        case _ if item.trigger != "effect":
            if is_settled(plan) and plan.phase is PlanPhase.RUNNING:
                draft.record(PlanFinished(plan_id=plan.id))
        case _:
            pass


def _resolve_by_agent(draft: Draft, plan: PlanRun, item: Item) -> None:
    """A task of our own that takes the target in, allowed to touch just the conflicting paths."""
    target = plan.sync_held
    if target is None:
        return  # the target moved on meanwhile; the next candidate looks at it anew
    draft.record(_resolving_task(plan, item, target))


def _resolving_task(plan: PlanRun, item: Item, target: Commit) -> TaskAdded:
    name = TaskId(f"sync-{target[:10]}")
    count = 1
    while name in plan.tasks:
        count += 1
        name = TaskId(f"sync-{target[:10]}-{count}")
    model = plan.plan.tasks[0]
    task = Task(
        id=name,
        title=f"take in {plan.plan.target} at {target[:10]}",
        prompt=(
            f"The branch '{plan.plan.target}' has moved and conflicts with what this plan has landed. Your worktree "
            f"holds the merge, not committed. Resolve the conflict markers in these files, keeping the intent of both "
            f"sides, and commit the merge:\n" + "\n".join(f"- {path}" for path in item.paths)
        ),
        files=exactly(item.paths),
        priority=100,
        agent=next((t.agent for t in plan.plan.tasks if not t.is_human and t.agent), None),
        timeout=model.timeout,
        retry=model.retry,
    )
    rivals = tuple(
        other
        for other, run in plan.tasks.items()
        if run.state not in OVER and any(covers(run.task.files, path, fold=True) for path in item.paths)
    )
    return TaskAdded(plan_id=plan.id, task=task, merges=target, rivals=rivals)


def _answered_task(draft: Draft, plan: PlanRun, item: Item, task: TaskRun, fact: AnswerGiven) -> None:
    task_id = task.task.id
    if item.is_note:
        return
    if item.kind is ItemKind.QUESTION:
        _answered_question(draft, plan, item, task, fact)
        return
    if item.trigger == undo.TRIGGER:
        if fact.choice == "retry" and task.undo is not None:
            draft.record(
                UndoRequested(plan_id=plan.id, task_id=task_id, by=fact.by, reason=fact.text or task.undo.reason)
            )
        elif task.undo is not None:
            draft.record(UndoDropped(plan_id=plan.id, task_id=task_id, reason=fact.text or f"dropped by {fact.by}"))
        return
    if item.trigger in {NOT_STOPPED, REVIEW}:
        if fact.choice == "retry":
            eviction.stop_again(draft, plan, item)
        else:
            eviction.reviewed(draft, plan, item, evict=fact.choice == "give_up", by=fact.by)
        return
    match fact.choice:
        case "retry" if item.kind is ItemKind.STUCK and task.hand_off is not None:
            draft.record(TaskQueued(plan_id=plan.id, task_id=task_id, token=token_of(plan, task)))
        case "retry":
            said = (f"a person said: {fact.text}",) if fact.text else ()
            reopen(draft, plan, task_id, fact.by, (item.context, *said))
        case "give_up":
            draft.record(TaskFailed(plan_id=plan.id, task_id=task_id, reason=fact.text or f"given up by {fact.by}"))
        case "cancel" | "drop":
            cancel_task(draft, plan, task_id, fact.by, fact.text or f"dropped by {fact.by}")
        case "send_back":
            assert task.hand_off is not None
            said = (f"a person said: {fact.text}",) if fact.text else ()
            draft.record(
                SentBack(
                    plan_id=plan.id,
                    task_id=task_id,
                    failure=None,
                    findings=(f"{item.trigger or 'conflict'}: {item.context}", *said),
                    resume_from=task.hand_off.head,
                )
            )
        case "approve" | "reject":
            approved = fact.choice == "approve"
            draft.record(ReviewDecided(plan_id=plan.id, task_id=task_id, approved=approved, by=fact.by, text=fact.text))
            if approved:
                draft.record(TaskQueued(plan_id=plan.id, task_id=task_id, token=token_of(plan, task)))
            else:
                why = fact.text or f"a person rejected the change of {', '.join(item.paths)}"
                task_failed(draft, draft.plan(plan.id), task_id, FailureKind.REVIEW_REJECTED, why)
        case "done":
            draft.record(Landed(plan_id=plan.id, task_id=task_id, candidate_id=None, commit=None))
        case _:
            raise AssertionError(f"no such answer: {item.kind} {fact.choice}")


def _answered_question(draft: Draft, plan: PlanRun, item: Item, task: TaskRun, fact: AnswerGiven) -> None:
    assert item.attempt_id is not None
    assert item.question_id is not None
    lease = plan.leases.get(task.task.id)
    if lease is not None and lease.attempt_id == item.attempt_id:
        draft.ask(
            SendAnswer(
                attempt_id=item.attempt_id,
                item_id=item.id,
                question_id=item.question_id,
                choice=fact.choice,
                text=fact.text,
            )
        )
        return
    attempt = plan.attempts[item.attempt_id]
    draft.record(
        SentBack(
            plan_id=plan.id,
            task_id=task.task.id,
            failure=None,
            findings=(),
            resume_from=attempt.head if attempt.head != attempt.base else None,
        )
    )
