"""What a failed attempt means for its task: wait, send back, or ask."""

from __future__ import annotations

from datetime import datetime

from orchestrator.core import escalation, guarditems
from orchestrator.core.draft import Draft
from orchestrator.core.guards import at_cap
from orchestrator.core.retry import AskPerson, SendBack, Wait, after_failure, is_work
from orchestrator.model.attempt import (
    FailureKind,
)
from orchestrator.model.effect import WakeAt
from orchestrator.model.event import (
    BackoffStarted,
    Escalated,
    SentBack,
)
from orchestrator.model.fact import (
    RetryDue,
)
from orchestrator.model.ids import TaskId
from orchestrator.model.run import OVER, PlanRun


def task_failed(draft: Draft, plan: PlanRun, task_id: TaskId, kind: FailureKind, detail: str) -> None:
    """Wait, send back, or ask: what a failure means for its task."""
    task = plan.tasks[task_id]
    if task.state in OVER:
        return
    agent = plan.attempts[task.attempt_id].agent if task.attempt_id else None
    work = is_work(kind)
    outcome = after_failure(
        kind,
        task.task.retry,
        failures=task.failures + (not work),
        work_failures=task.work_failures + work,
        now=draft.now,
        chance=draft.chance,
    )
    findings = (f"{kind.value}: {detail}",)
    if not isinstance(outcome, AskPerson) and at_cap(draft.state.guards, task):
        item = guarditems.too_many_starts(draft.state, plan, task, context=findings[0], agent=agent, now=draft.now)
        draft.record(
            Escalated(
                plan_id=plan.id, task_id=task_id, item=item, holds_task=True, releases_files=not work, failure=kind
            )
        )
        return
    match outcome:
        case Wait(retry_at):
            draft.record(
                BackoffStarted(
                    plan_id=plan.id,
                    task_id=task_id,
                    failure=kind,
                    failures=task.failures + 1,
                    retry_at=retry_at,
                    findings=findings,
                    avoid_agent=agent if kind is FailureKind.TIMEOUT else None,
                )
            )
            draft.ask(wake_for_retry(plan, task_id, retry_at))
        case SendBack():
            # a merge that did not do is done again from the same head, or the conflict would only come back later
            attempt = plan.attempts[task.attempt_id] if task.attempt_id else None
            draft.record(
                SentBack(
                    plan_id=plan.id,
                    task_id=task_id,
                    failure=kind,
                    findings=findings,
                    resume_from=attempt.start if attempt and kind is FailureKind.REFUSED else None,
                )
            )
        case AskPerson():
            ask = escalation.work_failed if work else escalation.agent_failed
            item = ask(draft.state, plan, task, kind, context=findings[0], agent=agent, now=draft.now)
            draft.record(
                Escalated(
                    plan_id=plan.id,
                    task_id=task_id,
                    item=item,
                    holds_task=True,
                    releases_files=not work,
                    failure=kind,
                )
            )


def wake_for_retry(plan: PlanRun, task_id: TaskId, at: datetime) -> WakeAt:
    return WakeAt(at=at, fact=RetryDue(plan_id=plan.id, task_id=task_id))
