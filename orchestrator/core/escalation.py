"""What is asked of a person: the words, the options, and what each leads to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from orchestrator.core.planvalues import length_text
from orchestrator.model.attempt import Attempt, FailureKind
from orchestrator.model.difference import Care, Difference
from orchestrator.model.ids import CandidateId, ItemId, PlanId
from orchestrator.model.item import DIFFERS, NOTICED, OVERDUE, Item, ItemKind, Option
from orchestrator.model.run import Lane, PlanRun, State, TaskRun, TaskState

RETRY = Option(id="retry", label="Try again", effect="a fresh attempt starts; all counts begin anew")
GIVE_UP = Option(id="give_up", label="Give up", effect="the task fails; what depends on it will not run")
CANCEL = Option(id="cancel", label="Cancel the task", effect="the task is no longer wanted")
SEND_BACK = Option(
    id="send_back", label="Send it back", effect="an agent goes on from its branch, with the conflict in its tree"
)
BY_HAND = Option(
    id="by_hand", label="Resolve it by hand", effect="a tree with the conflict in it is made for you; the item stays"
)
DROP = Option(id="drop", label="Drop the task", effect="the task is cancelled; its branch stays where it is")
APPROVE = Option(id="approve", label="Approve", effect="the work goes to the merge queue")
REJECT = Option(id="reject", label="Reject", effect="the work goes back to an agent with your words")
DONE = Option(id="done", label="It is done", effect="what depends on it may start")
PUBLISH = Option(id="publish", label="Publish what has landed", effect="the target moves to the plan's branch")
LEAVE = Option(id="leave", label="Leave it", effect="the target stays where it is; the plan's branch keeps the work")

UNDO_RETRY = Option(id="retry", label="Try again", effect="it is taken back on top of what has landed by then")
UNDO_DROP = Option(id="drop", label="Do not undo it", effect="the task stays landed, as it is")

WORDS = {
    FailureKind.PREPARE: "its tree could not be made ready",
    FailureKind.CRASH: "its program did not end well",
    FailureKind.LOST: "its program or its tree disappeared",
    FailureKind.TIMEOUT: "it ran past its time limit",
    FailureKind.INTERRUPTED: "it was stopped",
    FailureKind.NO_CHANGE: "it said it was done and changed nothing",
    FailureKind.OUTSIDE_FILES: "it changed what is not in its files",
    FailureKind.CHECKS_RED: "the checks are red",
    FailureKind.REVIEW_REJECTED: "it was rejected",
    FailureKind.REFUSED: "its hand-off could not be taken",
}


def counted(times: int) -> str:
    return "once" if times == 1 else f"{times} times"


def next_id(state: State) -> ItemId:
    return ItemId(f"i{state.item_count + 1}")


def first_line(text: str, longest: int = 80) -> str:
    """The beginning of a text, for a title."""
    line = text.strip().split("\n", 1)[0]
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def question(
    state: State,
    run: PlanRun,
    attempt: Attempt,
    *,
    question_id: str,
    text: str,
    options: tuple[str, ...],
    waits: bool,
    now: datetime,
) -> Item:
    """An agent asks. Its own options become the choices; without any, words are the answer."""
    return Item(
        id=next_id(state),
        kind=ItemKind.QUESTION,
        plan_id=run.id,
        task_id=attempt.task_id,
        attempt_id=attempt.id,
        agent=attempt.agent,
        question_id=question_id,
        title=f"'{attempt.task_id}' asks: {first_line(text)}",
        context=text,
        options=tuple(Option(id=o, label=o, effect="the agent is told this") for o in options),
        waits=waits,
        free_text=True,
        asked_at=now,
    )


def work_failed(
    state: State, run: PlanRun, task: TaskRun, kind: FailureKind, *, context: str, agent: str | None, now: datetime
) -> Item:
    return Item(
        id=next_id(state),
        kind=ItemKind.WORK_FAILED,
        trigger=kind.value,
        plan_id=run.id,
        task_id=task.task.id,
        attempt_id=task.attempt_id,
        agent=agent,
        title=f"'{task.task.id}' did not pass twice: {WORDS.get(kind, kind.value)}",
        context=context,
        options=(RETRY, GIVE_UP, CANCEL),
        priority=task.task.priority,
        asked_at=now,
    )


def agent_failed(
    state: State, run: PlanRun, task: TaskRun, kind: FailureKind, *, context: str, agent: str | None, now: datetime
) -> Item:
    return Item(
        id=next_id(state),
        kind=ItemKind.AGENT_FAILED,
        trigger=kind.value,
        plan_id=run.id,
        task_id=task.task.id,
        attempt_id=task.attempt_id,
        agent=agent,
        title=f"'{task.task.id}' failed {counted(task.failures + 1)}: {WORDS.get(kind, kind.value)}",
        context=context,
        options=(RETRY, GIVE_UP, CANCEL),
        priority=task.task.priority,
        asked_at=now,
    )


def conflict(
    state: State,
    run: PlanRun,
    task: TaskRun,
    candidate: CandidateId,
    paths: tuple[str, ...],
    detail: str,
    now: datetime,
) -> Item:
    return Item(
        id=next_id(state),
        kind=ItemKind.CONFLICT,
        trigger="conflict",
        plan_id=run.id,
        task_id=task.task.id,
        attempt_id=task.attempt_id,
        candidate_id=candidate,
        title=f"'{task.task.id}' conflicts with what is on the plan's branch",
        context=f"both sides changed {', '.join(paths)}\n\n{detail}",
        paths=paths,
        options=(SEND_BACK, BY_HAND, DROP),
        priority=task.task.priority,
        asked_at=now,
    )


def red_by_hand(state: State, run: PlanRun, task: TaskRun, candidate: CandidateId, detail: str, now: datetime) -> Item:
    """What a person resolved did not pass: they may go on from it, or let an agent do so."""
    return Item(
        id=next_id(state),
        kind=ItemKind.CONFLICT,
        trigger=FailureKind.CHECKS_RED.value,
        plan_id=run.id,
        task_id=task.task.id,
        attempt_id=task.attempt_id,
        candidate_id=candidate,
        agent="human",
        title=f"the checks are red on what you resolved for '{task.task.id}'",
        context=detail,
        options=(
            Option(id="by_hand", label="Go on by hand", effect="a tree with what you resolved is made for you"),
            Option(id="send_back", label="Send it to an agent", effect="an agent goes on from what you resolved"),
            DROP,
        ),
        priority=task.task.priority,
        asked_at=now,
    )


def sync_conflict(
    state: State, run: PlanRun, candidate: CandidateId, paths: tuple[str, ...], detail: str, now: datetime
) -> Item:
    touched = sorted(
        task.task.id
        for task in run.tasks.values()
        if task.state is TaskState.LANDED and task.hand_off and set(task.hand_off.changed) & set(paths)
    )
    tasks = ", ".join(f"'{t}'" for t in touched) or "no single task"
    return Item(
        id=next_id(state),
        kind=ItemKind.CONFLICT,
        trigger="target_moved",
        plan_id=run.id,
        candidate_id=candidate,
        title=f"'{run.plan.target}' moved, and conflicts with what has landed",
        context=f"both sides changed {', '.join(paths)}; landed tasks that touched them: {tasks}\n\n{detail}",
        paths=paths,
        options=(
            Option(id="send_back", label="Let an agent resolve it", effect="a task with just these files is added"),
            BY_HAND,
            LEAVE,
        ),
        priority=75,
        asked_at=now,
    )


def sync_red(state: State, run: PlanRun, candidate: CandidateId, detail: str, now: datetime) -> Item:
    return Item(
        id=next_id(state),
        kind=ItemKind.WORK_FAILED,
        trigger=FailureKind.CHECKS_RED.value,
        plan_id=run.id,
        candidate_id=candidate,
        title=f"'{run.plan.target}' moved, and the checks are red with it",
        context=detail,
        options=(
            Option(id="retry", label="Try again", effect="the target is taken in and checked once more"),
            LEAVE,
        ),
        priority=75,
        asked_at=now,
    )


def protected(state: State, run: PlanRun, task: TaskRun, paths: tuple[str, ...], now: datetime) -> Item:
    return Item(
        id=next_id(state),
        kind=ItemKind.PROTECTED,
        trigger="protected",
        plan_id=run.id,
        task_id=task.task.id,
        attempt_id=task.attempt_id,
        title=f"'{task.task.id}' changed protected paths",
        context="protected paths changed: " + ", ".join(paths),
        paths=paths,
        options=(APPROVE, REJECT, DROP),
        priority=task.task.priority,
        asked_at=now,
    )


def human_task(state: State, run: PlanRun, task: TaskRun, now: datetime) -> Item:
    return Item(
        id=next_id(state),
        kind=ItemKind.HUMAN_TASK,
        plan_id=run.id,
        task_id=task.task.id,
        agent="human",
        title=f"your task '{task.task.id}': {task.task.title}",
        context=task.task.prompt,
        options=(DONE, GIVE_UP, CANCEL),
        priority=task.task.priority,
        asked_at=now,
    )


def undo_conflict(
    state: State,
    run: PlanRun,
    task: TaskRun,
    candidate: CandidateId,
    paths: tuple[str, ...],
    detail: str,
    now: datetime,
) -> Item:
    later = sorted(
        other.task.id
        for other in run.tasks.values()
        if other is not task and other.state is TaskState.LANDED and other.hand_off
        if set(other.hand_off.changed) & set(paths)
    )
    tasks = ", ".join(f"'{t}'" for t in later) or "no task of this plan"
    return Item(
        id=next_id(state),
        kind=ItemKind.CONFLICT,
        trigger="undo",
        plan_id=run.id,
        task_id=task.task.id,
        candidate_id=candidate,
        title=f"taking '{task.task.id}' back conflicts with what landed later",
        context=(
            f"changed since it landed: {', '.join(paths)}; landed tasks that touched them too: {tasks}\n"
            f"a way out: undo those first, have a new task take it back, or revert "
            f"{(task.landed_commit or '')[:12]} on '{run.plan.target}' yourself, which is then taken in\n\n{detail}"
        ),
        paths=paths,
        options=(UNDO_RETRY, UNDO_DROP),
        priority=75,
        asked_at=now,
    )


def undo_red(state: State, run: PlanRun, task: TaskRun, candidate: CandidateId, detail: str, now: datetime) -> Item:
    return Item(
        id=next_id(state),
        kind=ItemKind.WORK_FAILED,
        trigger="undo",
        plan_id=run.id,
        task_id=task.task.id,
        candidate_id=candidate,
        title=f"without '{task.task.id}' the checks are red",
        context=f"it was not taken back: {detail}",
        options=(UNDO_RETRY, UNDO_DROP),
        priority=75,
        asked_at=now,
    )


def undo_stuck(state: State, run: PlanRun, task: TaskRun, what: str, detail: str, now: datetime) -> Item:
    return Item(
        id=next_id(state),
        kind=ItemKind.STUCK,
        trigger="undo",
        plan_id=run.id,
        task_id=task.task.id,
        title=f"'{task.task.id}' could not be taken back: {what}",
        context=detail,
        options=(UNDO_RETRY, UNDO_DROP),
        priority=75,
        asked_at=now,
    )


def publish_refused(state: State, run: PlanRun, why: str, command: str, now: datetime) -> Item:
    return Item(
        id=next_id(state),
        kind=ItemKind.PUBLISH_REFUSED,
        trigger="publish",
        plan_id=run.id,
        title=f"'{run.plan.target}' could not be moved to the result",
        context=f"{why}\nby hand: {command}" if command else why,
        options=(
            Option(id="retry", label="Try again", effect="the target is moved if nothing stands in the way now"),
            LEAVE,
        ),
        priority=75,
        asked_at=now,
    )


def incomplete(state: State, run: PlanRun, now: datetime) -> Item:
    missing = [task for task in run.tasks.values() if task.state is not TaskState.LANDED]
    lines = [f"- '{task.task.id}' is {task.state}" + (f": {task.reason}" if task.reason else "") for task in missing]
    return Item(
        id=next_id(state),
        kind=ItemKind.INCOMPLETE,
        trigger="incomplete",
        plan_id=run.id,
        title=f"{len(missing)} of {len(run.tasks)} tasks did not land; publish the rest?",
        context="\n".join(["nothing can move any more, and these did not land:", *lines]),
        options=(PUBLISH, LEAVE),
        priority=75,
        asked_at=now,
    )


def stuck(state: State, run: PlanRun, task: TaskRun | None, what: str, detail: str, now: datetime) -> Item:
    """Something that must not fail did: the machine, or we."""
    return Item(
        id=next_id(state),
        kind=ItemKind.STUCK,
        trigger="stuck",
        plan_id=run.id,
        task_id=task.task.id if task else None,
        attempt_id=task.attempt_id if task else None,
        title=what,
        context=detail,
        options=(RETRY, GIVE_UP, CANCEL) if task else (RETRY, LEAVE),
        priority=75,
        asked_at=now,
    )


def not_done(state: State, run: PlanRun, key: str, detail: str, now: datetime) -> Item:
    """Something that nothing waits for could not be done; somebody has to look."""
    return Item(
        id=next_id(state),
        kind=ItemKind.STUCK,
        trigger="effect",
        plan_id=run.id,
        title=f"could not be done: {key}",
        context=detail,
        options=(Option(id="leave", label="I have seen it", effect="nothing; the plan goes on as it is"),),
        asked_at=now,
    )


def recovered(state: State, run: PlanRun, landed: Sequence[str], lost: str, now: datetime) -> Item:
    """The ledger was recovered while this plan was not over: somebody has to know what it may not know."""
    told = ["The ledger was put together again from what was left of it.", *([lost] if lost else [])]
    if landed:
        told += ["Git has these on the plan's branch, and the ledger did not know them; they count as landed:", *landed]
    return Item(
        id=next_id(state),
        kind=ItemKind.STUCK,
        trigger="effect",
        plan_id=run.id,
        title="the ledger was recovered; look whether the plan stands where you left it",
        context="\n".join(told),
        options=(Option(id="leave", label="I have seen it", effect="nothing; the plan goes on as it is"),),
        asked_at=now,
    )


def differs(state: State, run: PlanRun, found: Difference, now: datetime) -> Item:
    """Something outside is not as the ledger has it; what depends on it waits, or a person is just told."""
    is_held = found.care is Care.ASKED
    options = (
        (
            Option(id="retry", label="I have put it right", effect="the plan goes on"),
            Option(id="leave", label="leave it", effect="the plan stays paused"),
        )
        if is_held
        else (Option(id="leave", label="I have seen it", effect="nothing; the plan goes on as it is"),)
    )
    return Item(
        id=next_id(state),
        kind=ItemKind.STUCK,
        trigger=DIFFERS if is_held else NOTICED,
        plan_id=run.id,
        title=found.said,
        context=f"why: {found.why}\nfix: {found.fix}\n`orchestrator validate` looks again",
        options=options,
        asked_at=now,
    )


def overdue(
    state: State, run: PlanRun, task: TaskRun, lane: Lane, spent: timedelta, limit: timedelta, now: datetime
) -> Item:
    """A note that a task is past the limit of its lane; it goes away by itself when the task moves on."""
    name = task.task.id
    shown = timedelta(seconds=int(spent.total_seconds()))
    if shown > timedelta(minutes=1):
        shown -= shown % timedelta(minutes=1)
    look = (
        f"`orchestrator logs {name}` shows what it does"
        if lane is Lane.DOING
        else f"`orchestrator why {name}` says what it waits for"
    )
    return Item(
        id=next_id(state),
        kind=ItemKind.STUCK,
        trigger=OVERDUE,
        plan_id=run.id,
        task_id=name,
        title=f"'{name}' has been in {lane.value.replace('_', ' ')} for {length_text(shown)}",
        context=(
            f"the limit of this lane is {length_text(limit)} (setting attention.{lane.value}); "
            "nothing is stopped for it\n"
            f"{look}; `orchestrator cancel {name}` ends it\n"
            "this note goes away by itself when the task moves on"
        ),
        options=(Option(id="leave", label="I have seen it", effect="the note goes away; the task goes on as it is"),),
        waits=False,
        priority=25,
        asked_at=now,
    )


def plan_items(state: State, plan: PlanId, kind: ItemKind) -> tuple[Item, ...]:
    """Open items of one kind that are about the plan itself."""
    return tuple(i for i in state.open_items() if i.plan_id == plan and i.kind is kind and i.task_id is None)
