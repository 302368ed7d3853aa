"""Leases in the fold: granted, renewed, doubted, stuck, ended."""

from __future__ import annotations

from datetime import datetime

from orchestrator.core.moves import attempt_to, attempt_with, task_with
from orchestrator.core.planfold import is_withdrawn, without_task
from orchestrator.model.attempt import AttemptState
from orchestrator.model.change import replace
from orchestrator.model.event import (
    EvictionBegan,
    HolderReady,
    HolderReleased,
    LateResult,
    LeaseEnded,
    LeaseGranted,
    LeaseRenewed,
    LeaseStuck,
    LeaseSuspected,
)
from orchestrator.model.ids import TaskId
from orchestrator.model.lease import Lease, LeaseState
from orchestrator.model.run import OVER, PlanRun, TaskState

LeaseEvent = (
    LeaseGranted
    | LeaseRenewed
    | LeaseSuspected
    | LeaseStuck
    | LeaseEnded
    | EvictionBegan
    | LateResult
    | HolderReady
    | HolderReleased
)


def lease_folded(plan: PlanRun, event: LeaseEvent, at: datetime) -> PlanRun:
    match event:
        case LeaseGranted():
            lease = Lease(
                task_id=event.task_id,
                attempt_id=event.attempt_id,
                token=event.token,
                holder=event.holder,
                granted_at=at,
                expires_at=event.expires_at,
                heartbeat_at=at,
                reason=event.reason,
                review_by=event.review_by,
                beats=event.beats,
            )
            return replace(plan, leases=plan.leases | {event.task_id: lease})
        case LeaseRenewed():
            lease = replace(
                plan.leases[event.task_id],
                state=LeaseState.LIVE,
                expires_at=event.expires_at,
                heartbeat_at=event.heartbeat_at,
                review_by=event.review_by,
            )
            plan = replace(plan, leases=plan.leases | {event.task_id: lease})
            was_stuck = plan.attempts[event.attempt_id].state is AttemptState.STUCK
            return attempt_to(plan, event.attempt_id, AttemptState.RUNNING, at) if was_stuck else plan
        case LeaseSuspected():
            return _doubted(plan, event.task_id, LeaseState.SUSPECT)
        case LeaseStuck():
            plan = _doubted(plan, event.task_id, LeaseState.STUCK)
            return attempt_to(plan, event.attempt_id, AttemptState.STUCK, at)
        case LeaseEnded():
            plan = replace(plan, leases={k: v for k, v in plan.leases.items() if k != event.task_id})
            task = plan.tasks[event.task_id]
            if task.state is TaskState.CANCELLED and is_withdrawn(plan, task):
                return without_task(plan, event.task_id)
            return task_with(plan, event.task_id, holds=False) if task.state in OVER else plan
        case EvictionBegan():
            return attempt_with(plan, event.attempt_id, evicted=event.reason)
        case LateResult():
            attempt = plan.attempts[event.attempt_id]
            kept = tuple(dict.fromkeys((*attempt.salvage, *event.salvage)))
            return attempt_with(plan, event.attempt_id, salvage=kept)
        case HolderReady():
            return attempt_with(plan, event.attempt_id, state=AttemptState.RUNNING, launched_at=at)
        case HolderReleased():
            return attempt_to(plan, event.attempt_id, AttemptState.STOPPING, at, released=event.reason or "given back")


def _doubted(plan: PlanRun, task_id: TaskId, state: LeaseState) -> PlanRun:
    return replace(plan, leases=plan.leases | {task_id: replace(plan.leases[task_id], state=state)})
