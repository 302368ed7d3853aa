"""What a person asked for, and what it leads to. A refusal says what to do instead."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from orchestrator.core import escalation, gate
from orchestrator.core.attempts import stop_attempt, task_failed
from orchestrator.core.draft import Draft
from orchestrator.core.overlap import covers, witness
from orchestrator.core.schedule import is_settled
from orchestrator.model.attempt import AttemptState, FailureKind
from orchestrator.model.effect import BeginBranch, SendAnswer
from orchestrator.model.errors import NothingError, RefusedError, UsageError
from orchestrator.model.event import (
    Answered,
    DrainBegan,
    ItemWithdrawn,
    Landed,
    PlanCancelled,
    PlanConfirmed,
    PlanFinished,
    PlanPaused,
    PlanResumed,
    PlanRevised,
    PublishRequested,
    ReviewDecided,
    SentBack,
    TaskAdded,
    TaskCancelled,
    TaskFailed,
    TaskQueued,
    TaskReopened,
)
from orchestrator.model.fact import AnswerGiven, CancelAsked, PlanSubmitted, PublishAsked, RetryAsked, StopAsked
from orchestrator.model.ids import TaskId
from orchestrator.model.item import Item, ItemKind
from orchestrator.model.plan import Task, exactly
from orchestrator.model.run import OVER, PLAN_OVER, CandidateStage, Drain, PlanPhase, PlanRun, TaskRun, TaskState

#: States in which nothing of a task has been done yet, or nothing that would be lost by starting anew.
_UNTOUCHED = frozenset({TaskState.PENDING, TaskState.BACKOFF, TaskState.FAILED, TaskState.CANCELLED})


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


def revise(draft: Draft, run: PlanRun, fact: PlanSubmitted) -> None:
    """Another text of the plan that runs: what has landed stays landed, what runs is never re-scoped in silence."""
    if fact.plan.target != run.plan.target:
        raise RefusedError(
            f"plan '{run.id}' runs against '{run.plan.target}', and the new text says '{fact.plan.target}'",
            why="what has landed was tested on top of the old target",
            fix="give the plan another name, or cancel this one first (`orchestrator cancel --all`)",
        )
    new = {task.id: task for task in fact.plan.tasks}
    for task_id, task in run.tasks.items():
        touched = task.state not in _UNTOUCHED and task.state is not TaskState.LANDED
        if task_id in new and new[task_id] != task.task and touched:
            raise RefusedError(
                f"task '{task_id}' is {task.state}, and the new text changes it",
                why="work that is under way is never given another meaning",
                fix=f"wait for it, or `orchestrator cancel {task_id}` first",
            )
    if run.candidate is not None and run.candidate.stage is CandidateStage.LANDING:
        raise RefusedError("a task is landing this very moment", why="", fix="try again in a moment")
    for lease in run.leases.values():
        attempt = run.attempts[lease.attempt_id]
        if attempt.state is AttemptState.PREPARING or run.tasks[attempt.task_id].state in _UNTOUCHED:
            raise RefusedError(
                f"an agent of '{attempt.task_id}' is just being started or stopped",
                why="it would be half of the old plan and half of the new one",
                fix="try again in a moment",
            )
    withdrawn = tuple(t for t, task in run.tasks.items() if t not in new and task.merges is None)
    for task_id in withdrawn:
        if run.tasks[task_id].state not in OVER:
            cancel_task(draft, draft.plan(run.id), task_id, fact.by, "no longer in the plan")
    if draft.plan(run.id).candidate is not None:
        # its checks are those of the old text; it comes to the gate again with the new ones
        gate.drop(draft, draft.plan(run.id), "the plan was revised", requeued=True)
    for item in escalation.plan_items(draft.state, run.id, ItemKind.INCOMPLETE):
        draft.record(ItemWithdrawn(plan_id=run.id, task_id=None, item_id=item.id, reason="the plan was revised"))
    reopened = [t for t in new if t in run.tasks and run.tasks[t].state in {TaskState.FAILED, TaskState.CANCELLED}]
    changed = [t for t in reopened if new[t] != run.tasks[t].task]
    draft.record(
        PlanRevised(
            plan_id=run.id,
            plan=fact.plan,
            digest=fact.digest,
            by=fact.by,
            sequential=fact.sequential,
            rivals=(*fact.rivals, *kept_rivals(draft.plan(run.id), new)),
            rank=fact.rank,
            withdrawn=withdrawn,
        )
    )
    for task_id in changed:
        draft.record(TaskReopened(plan_id=run.id, task_id=task_id, by=fact.by))


def kept_rivals(run: PlanRun, new: dict[TaskId, Task]) -> Iterator[tuple[TaskId, TaskId]]:
    """Pairs with tasks that the new text does not have, and that may still hold their files."""
    kept = [task for task_id, task in run.tasks.items() if task_id not in new and (task.holds or task.merges)]
    for old in kept:
        for task in (*new.values(), *(other.task for other in kept if other is not old)):
            if witness(old.task.files, task.files) is not None or set(old.task.uses) & set(task.uses):
                yield old.task.id, task.id


def the_active(draft: Draft) -> PlanRun:
    """The plan under way. Raises: NothingError when there is none."""
    plan = draft.state.active
    if plan is None or plan.phase in PLAN_OVER:
        raise NothingError("no plan is running", why="", fix="`orchestrator start PLAN` starts one")
    return plan


def find_task(plan: PlanRun, task_id: TaskId) -> TaskRun:
    """A task by its id. Raises: UsageError naming the nearest one."""
    if task_id in plan.tasks:
        return plan.tasks[task_id]
    near = get_close_matches(task_id, plan.tasks, n=1)
    raise UsageError(
        f"plan '{plan.id}' has no task '{task_id}'",
        why="",
        fix=f"did you mean '{near[0]}'?" if near else "`orchestrator status` lists them",
    )


def pause(draft: Draft, by: str) -> None:
    plan = the_active(draft)
    if plan.phase is PlanPhase.RUNNING:
        draft.record(PlanPaused(plan_id=plan.id, by=by))


def resume(draft: Draft, by: str) -> None:
    plan = the_active(draft)
    if plan.phase is PlanPhase.PAUSED:
        draft.record(PlanResumed(plan_id=plan.id, by=by))


def cancel(draft: Draft, fact: CancelAsked) -> None:
    plan = the_active(draft)
    if fact.task_id is not None:
        task = find_task(plan, fact.task_id)
        if task.state in {TaskState.LANDED, TaskState.CANCELLED}:
            raise RefusedError(
                f"task '{fact.task_id}' is {task.state}",
                why="what has landed stays landed" if task.state is TaskState.LANDED else "",
                fix="",
            )
        if is_landing(plan, fact.task_id):
            raise RefusedError(
                f"task '{fact.task_id}' is landing this very moment", why="its checks are green", fix="look again"
            )
        cancel_task(draft, plan, fact.task_id, fact.by, fact.reason)
        return
    for task_id, task in plan.tasks.items():
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


def is_landing(plan: PlanRun, task_id: TaskId | None) -> bool:
    """Whether the plan's branch may be moving to this task's work this very moment."""
    at_gate = plan.candidate
    return at_gate is not None and at_gate.stage is CandidateStage.LANDING and at_gate.task_id == task_id


def cancel_task(draft: Draft, plan: PlanRun, task_id: TaskId, by: str, reason: str) -> None:
    """The task is no longer wanted: its agent is stopped and its work kept."""
    if plan.candidate is not None and plan.candidate.task_id == task_id:
        gate.drop(draft, plan, "cancelled", requeued=False)
        plan = draft.plan(plan.id)
    withdraw_items(draft, plan, task_id, "the task was cancelled")
    plan = draft.plan(plan.id)
    lease = plan.leases.get(task_id)
    draft.record(TaskCancelled(plan_id=plan.id, task_id=task_id, by=by, reason=reason))
    if lease is not None:
        stop_attempt(draft, draft.plan(plan.id), plan.attempts[lease.attempt_id], cancelled=True)


def withdraw_items(draft: Draft, plan: PlanRun, task_id: TaskId | None, reason: str) -> None:
    for item in draft.state.open_items():
        if item.plan_id == plan.id and item.task_id == task_id:
            draft.record(ItemWithdrawn(plan_id=plan.id, task_id=task_id, item_id=item.id, reason=reason))


def retry(draft: Draft, fact: RetryAsked) -> None:
    plan = draft.state.active
    if plan is None or plan.phase in {PlanPhase.PUBLISHED, PlanPhase.CANCELLED}:
        raise NothingError("no plan is running", why="", fix="`orchestrator start PLAN` starts one")
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


def reopen(draft: Draft, plan: PlanRun, task_id: TaskId, by: str, findings: tuple[str, ...]) -> None:
    withdraw_items(draft, plan, task_id, "the task is tried again")
    for item in escalation.plan_items(draft.state, plan.id, ItemKind.INCOMPLETE):
        draft.record(
            ItemWithdrawn(plan_id=plan.id, task_id=None, item_id=item.id, reason=f"'{task_id}' is tried again")
        )
    draft.record(TaskReopened(plan_id=plan.id, task_id=task_id, by=by, findings=findings))


def publish(draft: Draft, fact: PublishAsked) -> None:
    plan = draft.state.active
    if plan is None or plan.tip is None or plan.tip in {plan.started_at_commit, plan.published}:
        raise NothingError(
            "nothing has landed that is not published", why="", fix="`orchestrator status` shows where each task is"
        )
    if plan.phase is PlanPhase.CANCELLED:
        raise RefusedError(
            f"plan '{plan.id}' was cancelled",
            why="nothing is published for it any more",
            fix=f"what has landed is on branch orchestrator/{plan.id}: `git merge orchestrator/{plan.id}`",
        )
    withdraw_items(draft, plan, None, "published by hand")
    gate.release_sync(draft, plan)
    draft.record(PublishRequested(plan_id=plan.id, by=fact.by))


def stop(draft: Draft, fact: StopAsked) -> None:
    if draft.state.drain is Drain.NOW or (draft.state.drain is Drain.FINISH and not fact.now):
        return
    draft.record(DrainBegan(by=fact.by, now=fact.now))
    if not fact.now:
        return
    for plan in draft.state.plans.values():
        for lease in plan.leases.values():
            attempt = plan.attempts[lease.attempt_id]
            if attempt.state is not AttemptState.STOPPING:
                stop_attempt(draft, draft.plan(plan.id), attempt, stop_as=FailureKind.INTERRUPTED)
        plan = draft.plan(plan.id)
        if plan.candidate is not None and plan.candidate.stage is not CandidateStage.LANDING:
            gate.drop(draft, plan, "the daemon was stopped", requeued=True)


# ---- answers ----


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


def _answered_plan(draft: Draft, plan: PlanRun, item: Item, fact: AnswerGiven) -> None:
    match fact.choice:
        case "publish" | "retry" if item.kind in {ItemKind.INCOMPLETE, ItemKind.PUBLISH_REFUSED}:
            draft.record(PublishRequested(plan_id=plan.id, by=fact.by))
        case "retry":
            gate.release_sync(draft, plan)
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
    draft.record(TaskAdded(plan_id=plan.id, task=task, merges=target, rivals=rivals))


def _answered_task(draft: Draft, plan: PlanRun, item: Item, task: TaskRun, fact: AnswerGiven) -> None:
    task_id = task.task.id
    if item.kind is ItemKind.QUESTION:
        _answered_question(draft, plan, item, task, fact)
        return
    match fact.choice:
        case "retry" if item.kind is ItemKind.STUCK and task.hand_off is not None:
            draft.record(TaskQueued(plan_id=plan.id, task_id=task_id))
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
                    findings=(f"conflict: {item.context}", *said),
                    resume_from=task.hand_off.head,
                )
            )
        case "approve" | "reject":
            approved = fact.choice == "approve"
            draft.record(ReviewDecided(plan_id=plan.id, task_id=task_id, approved=approved, by=fact.by, text=fact.text))
            if approved:
                draft.record(TaskQueued(plan_id=plan.id, task_id=task_id))
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
