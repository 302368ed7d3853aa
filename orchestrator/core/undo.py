"""Undo: what a task landed is taken back by a commit of its own, through the same gate. Nothing else is taken back."""

from __future__ import annotations

from orchestrator.core import escalation
from orchestrator.core.draft import Draft
from orchestrator.core.terminal import printable
from orchestrator.model.effect import BuildCandidate
from orchestrator.model.errors import ConfirmationNeeded, NothingError, RefusedError
from orchestrator.model.event import (
    CandidateRequested,
    Escalated,
    ItemWithdrawn,
    PublishRequested,
    UndoHeld,
    Undone,
    UndoRequested,
)
from orchestrator.model.fact import UndoAsked
from orchestrator.model.ids import Commit, TaskId, candidate_id
from orchestrator.model.item import Item, ItemKind
from orchestrator.model.plan import PublishMode
from orchestrator.model.run import IN_PROGRESS, Candidate, PlanPhase, PlanRun, TaskRun, TaskState

TRIGGER = "undo"  #: of every item that asks about an undo


def dependants_of(run: PlanRun, task_id: TaskId) -> tuple[TaskId, ...]:
    """The tasks that depend on this one, through others too, in plan order."""
    found: set[TaskId] = set()
    grown = True
    while grown:
        more = {t for t, task in run.tasks.items() if {task_id, *found} & set(task.task.depends_on)} - found
        found |= more
        grown = bool(more)
    return tuple(t for t in run.tasks if t in found)


def built_on(run: PlanRun, task: TaskRun) -> tuple[str, ...]:
    """What others have made of a landed task's work, or are making: one line for each of them."""
    told: list[str] = []
    dependants = dependants_of(run, task.task.id)
    touched = set(task.hand_off.changed) if task.hand_off else set()
    for other_id, other in run.tasks.items():
        if other is task or (other.state is not TaskState.LANDED and other.state not in IN_PROGRESS):
            continue
        landed = other.state is TaskState.LANDED
        later = other.landed_at is not None and task.landed_at is not None and other.landed_at >= task.landed_at
        shared = sorted(touched & set(other.hand_off.changed)) if landed and later and other.hand_off else []
        said = (
            [f"depends on it and {'has landed' if landed else f'is {other.state}'}"] if other_id in dependants else []
        )
        if shared:
            more = f" and {len(shared) - 3} more" if len(shared) > 3 else ""
            said.append(f"landed after it and changed {', '.join(shared[:3])}{more} too")
        if said:
            told.append(f"'{other_id}' {', '.join(said)}")
    return tuple(told)


def undo(draft: Draft, fact: UndoAsked) -> None:
    """A person wants a landed task taken back."""
    plan = draft.state.active
    if plan is None:
        raise NothingError("no plan has been run", why="", fix="`orchestrator start PLAN` starts one")
    task = plan.tasks[fact.task_id]
    _refuse_what_cannot_be_undone(plan, task)
    others = built_on(plan, task)
    if others and not fact.accepted:
        raise ConfirmationNeeded(
            f"other tasks have built on '{fact.task_id}'",
            why="; ".join(others),
            fix=f"they stay as they are, only '{fact.task_id}' is taken back: orchestrator undo {fact.task_id} --yes",
        )
    for item in escalation.plan_items(draft.state, plan.id, ItemKind.INCOMPLETE):
        why = f"'{fact.task_id}' is being undone"  # it is asked anew, about what is so then
        draft.record(ItemWithdrawn(plan_id=plan.id, task_id=None, item_id=item.id, reason=why))
    reason = " ".join(printable(fact.reason).split())  # one line, in the commit and wherever it is told
    draft.record(UndoRequested(plan_id=plan.id, task_id=fact.task_id, by=fact.by, reason=reason))


def _refuse_what_cannot_be_undone(plan: PlanRun, task: TaskRun) -> None:
    name = task.task.id
    if plan.phase is PlanPhase.CANCELLED:
        raise RefusedError(
            f"plan '{plan.id}' was cancelled",
            why="nothing lands for it any more",
            fix=f"take it back yourself: git revert -m 1 {task.landed_commit}" if task.landed_commit else "",
        )
    if task.state is not TaskState.LANDED:
        away = task.state in {TaskState.CANCELLED, TaskState.FAILED}
        raise RefusedError(
            f"task '{name}' is {task.state}",
            why="only what has landed can be taken back",
            fix="" if away else f"to give it up: orchestrator cancel {name}",
        )
    if task.undo is not None:
        raise RefusedError(
            f"task '{name}' is being undone already",
            why="a person has been asked about it" if task.undo.held else "it waits for the gate",
            fix="`orchestrator inbox` shows what is asked" if task.undo.held else "`orchestrator status` shows it",
        )
    if task.landed_commit is None:
        raise RefusedError(
            f"task '{name}' landed without a commit of its own", why="there is nothing of it to take back", fix=""
        )
    if task.merges is not None:
        raise RefusedError(
            f"'{name}' took '{plan.plan.target}' in, it did no work of its own",
            why="undoing it would take back what others put on the target",
            fix="undo the tasks whose work is not wanted",
        )


def begin_undo(draft: Draft, plan: PlanRun) -> bool:
    """Take the first undo that was asked for to the gate. Returns: whether there was one."""
    task = plan.next_undo()
    if task is None:
        return False
    assert plan.tip is not None
    assert task.landed_commit is not None
    candidate = candidate_id(plan.id, plan.candidates + 1)
    draft.record(
        CandidateRequested(
            plan_id=plan.id,
            task_id=None,
            candidate_id=candidate,
            token=0,
            parent=plan.tip,
            other=task.landed_commit,
            undoes=task.task.id,
        )
    )
    draft.ask(BuildCandidate(plan_id=plan.id, candidate_id=candidate))
    return True


def undo_message(plan: PlanRun, candidate: Candidate, undoes: TaskId) -> str:
    """The message of the commit that takes a task back."""
    task = plan.tasks[undoes]
    asked = task.undo
    reason = f"{asked.reason}\n\n" if asked and asked.reason else ""
    return (
        f"undo {undoes}: {task.task.title}\n\n"
        f"This takes back commit {candidate.other}.\n\n"
        f"{reason}"
        f"Orchestrator-Plan: {plan.id}\n"
        f"Orchestrator-Undo: {undoes}\n"
        f"Orchestrator-Undo-Commit: {candidate.other}\n"
        f"Orchestrator-Candidate: {candidate.id}\n"
    )


def undo_landed(draft: Draft, plan: PlanRun, candidate: Candidate, commit: Commit) -> None:
    """The commit that takes a task back is on the plan's branch."""
    assert candidate.undoes is not None
    task = plan.tasks.get(candidate.undoes)
    asked = task.undo if task else None
    had_it = plan.published is not None and not plan.unpublished
    draft.record(
        Undone(
            plan_id=plan.id,
            task_id=candidate.undoes,
            candidate_id=candidate.id,
            commit=commit,
            undone=candidate.other,
            by=asked.by if asked else "orchestrator",
            reason=asked.reason if asked else "",
        )
    )
    for item in escalation.plan_items(draft.state, plan.id, ItemKind.PUBLISH_REFUSED):
        why = f"'{candidate.undoes}' was undone, so there is another commit to publish"  # it is tried, or asked, anew
        draft.record(ItemWithdrawn(plan_id=plan.id, task_id=None, item_id=item.id, reason=why))
    if had_it and plan.plan.publish is PublishMode.END:
        # the target has the work that is not wanted, and nothing else would come with it
        draft.record(PublishRequested(plan_id=plan.id, by=asked.by if asked else "orchestrator"))


def hold_undo(draft: Draft, plan: PlanRun, item: Item, why: str) -> None:
    """It cannot be done as it is: the task stays landed, and a person decides."""
    assert item.task_id is not None
    draft.record(
        UndoHeld(plan_id=plan.id, task_id=item.task_id, why=why),
        Escalated(plan_id=plan.id, task_id=item.task_id, item=item, holds_task=False),
    )


def undo_conflicted(draft: Draft, plan: PlanRun, candidate: Candidate, paths: tuple[str, ...], detail: str) -> None:
    assert candidate.undoes is not None
    task = plan.tasks[candidate.undoes]
    item = escalation.undo_conflict(draft.state, plan, task, candidate.id, paths, detail, draft.now)
    hold_undo(draft, plan, item, "it conflicts with what landed later")


def undo_red(draft: Draft, plan: PlanRun, candidate: Candidate, what: str) -> None:
    assert candidate.undoes is not None
    task = plan.tasks[candidate.undoes]
    item = escalation.undo_red(draft.state, plan, task, candidate.id, what, draft.now)
    hold_undo(draft, plan, item, "the checks are red without it")


def undo_stuck(draft: Draft, plan: PlanRun, candidate: Candidate, what: str, detail: str) -> None:
    assert candidate.undoes is not None
    task = plan.tasks[candidate.undoes]
    item = escalation.undo_stuck(draft.state, plan, task, what, detail, draft.now)
    hold_undo(draft, plan, item, what)
