"""The user's own branch moves: when everything landed, when a person says so, and never as a surprise."""

from __future__ import annotations

from orchestrator.core import escalation
from orchestrator.core.draft import Draft
from orchestrator.core.schedule import is_settled
from orchestrator.model.attempt import AttemptState
from orchestrator.model.effect import PublishPlan
from orchestrator.model.event import (
    Escalated,
    PlanFinished,
    PublishBegan,
    Published,
    PublishHeld,
    PublishRequested,
    SyncReleased,
)
from orchestrator.model.fact import (
    PublishDone,
    PublishRefused,
)
from orchestrator.model.plan import PublishMode
from orchestrator.model.run import PLAN_OVER, PlanPhase, PlanRun, State, TaskState


def release_sync(draft: Draft, plan: PlanRun) -> None:
    """Let the next candidate look at the target anew."""
    if plan.sync_held is not None:
        draft.record(SyncReleased(plan_id=plan.id))


def begin_publish(draft: Draft, plan: PlanRun, by: str) -> None:
    """Move the target to what has landed."""
    assert plan.tip is not None
    number = plan.publish_tries + 1
    draft.record(PublishBegan(plan_id=plan.id, commit=plan.tip, by=by, try_number=number))
    draft.ask(PublishPlan(plan_id=plan.id, number=plan.number, commit=plan.tip, try_number=number))


def hold_publish(draft: Draft, plan: PlanRun, why: str, command: str) -> None:
    draft.record(PublishHeld(plan_id=plan.id, why=why))
    plan = draft.plan(plan.id)
    item = escalation.publish_refused(draft.state, plan, why, command, draft.now)
    draft.record(Escalated(plan_id=plan.id, task_id=None, item=item, holds_task=False))


def publish_done(draft: Draft, fact: PublishDone) -> None:
    plan = draft.plan(fact.plan_id)
    if plan.publishing:
        draft.record(Published(plan_id=plan.id, commit=fact.commit, final=is_settled(plan)))


def publish_refused(draft: Draft, fact: PublishRefused) -> None:
    plan = draft.plan(fact.plan_id)
    if plan.publishing and plan.phase is PlanPhase.CANCELLED:
        draft.record(PublishHeld(plan_id=plan.id, why=fact.why))
    elif plan.publishing:
        hold_publish(draft, plan, fact.why, fact.command)


def request_each(draft: Draft, plan: PlanRun) -> None:
    """With `publish: each`, ask for the target to be moved after a landing, unless a person is asked about that."""
    if (
        plan.plan.publish is PublishMode.EACH
        and plan.phase is PlanPhase.RUNNING
        and plan.unpublished
        and not (plan.publish_asked or plan.publishing or plan.publish_left)
        and plan.sync_held is None
        and not _is_asked_about(draft.state, plan)
    ):
        draft.record(PublishRequested(plan_id=plan.id, by="orchestrator"))


def _is_asked_about(state: State, plan: PlanRun) -> bool:
    """Whether a question about the plan itself is not answered yet."""
    about_plan = (i for i in state.open_items() if i.plan_id == plan.id and i.task_id is None)
    return any(item.trigger != "effect" for item in about_plan)


def conclude(draft: Draft, plan: PlanRun) -> None:
    """When no task can move any more: publish, ask whether to, or say that it is over."""
    if plan.phase is not PlanPhase.RUNNING or plan.publishing or plan.tip is None or not is_settled(plan):
        return
    if _is_asked_about(draft.state, plan):
        return
    if plan.published is not None and not plan.unpublished:
        draft.record(Published(plan_id=plan.id, commit=plan.published, final=True))
    elif plan.plan.publish is PublishMode.MANUAL or not plan.unpublished or plan.publish_left:
        draft.record(PlanFinished(plan_id=plan.id))
    elif plan.plan.publish is PublishMode.EACH or all(t.state is TaskState.LANDED for t in plan.tasks.values()):
        begin_publish(draft, plan, by="plan")
    else:
        item = escalation.incomplete(draft.state, plan, draft.now)
        draft.record(Escalated(plan_id=plan.id, task_id=None, item=item, holds_task=False))


def is_blocked(state: State, plan: PlanRun) -> bool:
    """Whether nothing can move without a person: something waits for them, and nothing else is under way or due."""
    if plan.phase in PLAN_OVER or plan.candidate is not None or plan.publishing or plan.tip is None:
        return False
    if plan.phase is PlanPhase.PAUSED:
        return not plan.leases
    if not any(item.plan_id == plan.id and not item.is_note for item in state.open_items()):
        return False
    live = (plan.attempts[lease.attempt_id] for lease in plan.leases.values())
    if any(attempt.state not in {AttemptState.WAITING, AttemptState.STUCK} for attempt in live):
        return False
    if plan.next_undo() is not None:
        return False
    return not any(task.state in {TaskState.BACKOFF, TaskState.QUEUED} for task in plan.tasks.values())
