"""What is asked of a person when a limit that protects is reached, or when the daemon itself is at fault."""

from __future__ import annotations

from datetime import datetime

from orchestrator.core.escalation import CANCEL, GIVE_UP, RETRY, next_id
from orchestrator.model.guard import FAULTS, FAULTS_WITHIN
from orchestrator.model.ids import TaskId
from orchestrator.model.item import FAULT, SAFE_MODE, Item, ItemKind, Option
from orchestrator.model.run import PlanRun, State, TaskRun

ATTEMPT_CAP = "attempt_cap"  #: the trigger of the question about a task that was started too often


def too_many_starts(
    state: State, run: PlanRun, task: TaskRun, *, context: str, agent: str | None, now: datetime
) -> Item:
    """Whether a task that was started as often as it may be is worth more."""
    return Item(
        id=next_id(state),
        kind=ItemKind.AGENT_FAILED,
        trigger=ATTEMPT_CAP,
        plan_id=run.id,
        task_id=task.task.id,
        attempt_id=task.attempt_id,
        agent=agent,
        title=f"'{task.task.id}' was started {task.starts} times and has not landed",
        context=(
            f"no task is started more often than {state.guards.attempts} times without a person's word "
            f"(setting protect.attempts)\n{context}"
        ).strip(),
        options=(RETRY, GIVE_UP, CANCEL),
        priority=task.task.priority,
        asked_at=now,
    )


def safe_mode(state: State, run: PlanRun, where: str, error: str, tail: str, now: datetime) -> Item:
    """The daemon does nothing of its own accord any more, and a person has to say when it may again."""
    minutes = int(FAULTS_WITHIN.total_seconds() // 60)
    return Item(
        id=next_id(state),
        kind=ItemKind.STUCK,
        trigger=SAFE_MODE,
        plan_id=run.id,
        title=f"safe mode: the same error of orchestrator itself came {FAULTS} times in {minutes} minutes",
        context=(
            f"while it dealt with {where}: {error}\n"
            "nothing is started, landed or published any more; agents that run go on, and nothing is lost\n"
            "to leave it: install another version or mend what the error names, start the daemon anew "
            "(`orchestrator stop --detach`, `orchestrator start`), then `orchestrator resume`\n\n"
            f"{tail}"
        ),
        options=(Option(id="retry", label="Go on", effect="safe mode ends, as with `orchestrator resume`"),),
        priority=100,
        asked_at=now,
    )


def at_fault(state: State, run: PlanRun, task_id: TaskId, where: str, error: str, tail: str, now: datetime) -> Item:
    """A note that we failed while we dealt with a task, which may have to be helped on."""
    return Item(
        id=next_id(state),
        kind=ItemKind.STUCK,
        trigger=FAULT,
        plan_id=run.id,
        task_id=task_id,
        title=f"orchestrator itself failed while it dealt with '{task_id}'",
        context=(
            f"while it dealt with {where}: {error}\n"
            f"if '{task_id}' does not go on: start the daemon anew (`orchestrator stop --detach`, `orchestrator "
            f"start`), which loses nothing, or end the task: `orchestrator cancel {task_id}`\n\n{tail}"
        ),
        options=(Option(id="leave", label="I have seen it", effect="the note goes away; the task goes on as it is"),),
        waits=False,
        asked_at=now,
    )
