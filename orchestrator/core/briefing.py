"""What an agent is told about one attempt, gathered from the state. The words around it are the adapter's."""

from __future__ import annotations

from orchestrator.model.agent import Briefing, EarlierWork
from orchestrator.model.attempt import Attempt
from orchestrator.model.run import PlanRun


def commit_message(run: PlanRun, attempt: Attempt) -> str:
    """The message for work that an agent left uncommitted, from the template of the settings."""
    task = run.tasks[attempt.task_id].task
    return run.plan.execution.commit_message.format(
        task=task.id, title=task.title, plan=run.id, attempt=attempt.number, agent=attempt.agent
    )


def trailers(run: PlanRun, attempt: Attempt) -> dict[str, str]:
    """Where a commit came from, as the last lines of its message."""
    return {
        "Orchestrator-Plan": run.id,
        "Orchestrator-Task": attempt.task_id,
        "Orchestrator-Attempt": attempt.id,
        "Orchestrator-Token": str(attempt.token),
        "Orchestrator-Agent": attempt.agent,
    }


def briefing_for(run: PlanRun, attempt: Attempt, author: str) -> Briefing:
    """The briefing of an attempt whose worktree is ready."""
    task_run = run.tasks[attempt.task_id]
    task = task_run.task
    assert attempt.workspace is not None
    assert attempt.base is not None
    earlier = []
    for dependency in task.depends_on:
        before = run.tasks[dependency]
        earlier.append(
            EarlierWork(
                task_id=dependency,
                title=before.task.title,
                summary=before.hand_off.summary if before.hand_off else "",
                changed=before.hand_off.changed if before.hand_off else (),
            )
        )
    previous = [a for a in run.attempts.values() if a.task_id == task.id and a.id != attempt.id and a.head]
    return Briefing(
        plan_id=run.id,
        task_id=task.id,
        attempt_id=attempt.id,
        number=attempt.number,
        title=task.title,
        prompt=task.prompt,
        files=task.files,
        reads=task.reads,
        uses=task.uses,
        isolation=attempt.workspace.kind,
        worktree=attempt.workspace.path,
        branch=attempt.workspace.branch,
        base=attempt.base,
        target=run.plan.target,
        timeout=task.timeout,
        checks=(*run.plan.checks, *task.checks),
        commit_message=commit_message(run, attempt),
        context=task.context,
        earlier=tuple(earlier),
        findings=task_run.findings,
        answers=task_run.answers,
        earlier_head=previous[-1].head if previous else None,
        merging=attempt.start is not None or task_run.merges is not None,
        author=author,
        empty=attempt.workspace.empty,
    )
