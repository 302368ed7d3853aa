"""The gate in the fold: candidates, landing, taking in the target, publishing."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from orchestrator.core.moves import candidate_with, move
from orchestrator.model.change import replace
from orchestrator.model.event import (
    CandidateDropped,
    CandidateMade,
    CandidateRequested,
    CheckPassed,
    ConflictFound,
    GateFailed,
    GatePassed,
    Landed,
    PublishBegan,
    Published,
    PublishHeld,
    PublishRequested,
    Synced,
    SyncHeld,
    SyncReleased,
    TargetSeen,
)
from orchestrator.model.run import Candidate, CandidateStage, PlanPhase, PlanRun, TaskState

GateEvent = (
    CandidateRequested
    | CandidateMade
    | CheckPassed
    | GatePassed
    | GateFailed
    | ConflictFound
    | CandidateDropped
    | TargetSeen
    | PublishRequested
    | SyncReleased
    | SyncHeld
    | Landed
    | Synced
    | PublishBegan
    | PublishHeld
    | Published
)


def at_the_gate(plan: PlanRun, event: GateEvent, at: datetime) -> PlanRun:
    """The plan after one event of its gate."""
    match event:
        case CandidateRequested():
            candidate = Candidate(
                id=event.candidate_id,
                task_id=event.task_id,
                token=event.token,
                parent=event.parent,
                other=event.other,
                undoes=event.undoes,
            )
            plan = replace(plan, candidate=candidate, candidates=plan.candidates + 1)
            return move(plan, event.task_id, TaskState.GATING, at) if event.task_id else plan
        case CandidateMade():
            return candidate_with(
                plan, commit=event.commit, tree=event.tree, path=event.path, stage=CandidateStage.CHECKING
            )
        case CheckPassed():
            assert plan.candidate is not None
            return candidate_with(plan, passed=(*plan.candidate.passed, event.check))
        case GatePassed():
            return candidate_with(plan, stage=CandidateStage.LANDING)
        case GateFailed() | ConflictFound():
            return plan
        case CandidateDropped():
            plan = replace(plan, candidate=None)
            if event.requeued and event.task_id:
                # its place in the queue stays, so nobody overtakes it
                return move(plan, event.task_id, TaskState.QUEUED, at)
            return plan
        case TargetSeen():
            return replace(plan, target_seen=event.target)
        case PublishRequested():
            return replace(plan, publish_asked=True, publish_left=False)
        case SyncReleased():
            return replace(plan, sync_held=None)
        case SyncHeld():
            return replace(plan, sync_held=event.target, publish_asked=False, sync_tries=0)
        case Landed():
            return _landed(plan, event, at)
        case Synced():
            return replace(plan, tip=event.commit, candidate=None, target_seen=event.target, sync_held=None)
        case PublishBegan():
            return replace(plan, publishing=True, publish_asked=True, publish_tries=event.try_number)
        case PublishHeld():
            tries = plan.sync_tries + 1 if event.again else 0
            return replace(plan, publishing=False, publish_asked=event.again, sync_tries=tries)
        case Published():
            return replace(
                plan,
                publishing=False,
                publish_asked=False,
                sync_tries=0,
                unpublished=False,
                published=event.commit,
                published_at=at,
                target_seen=event.commit,
                phase=PlanPhase.PUBLISHED if event.final else plan.phase,
            )
        case _:
            assert_never(event)


def _landed(plan: PlanRun, event: Landed, at: datetime) -> PlanRun:
    plan = move(
        plan,
        event.task_id,
        TaskState.LANDED,
        at,
        holds=False,
        landed_commit=event.commit,
        landed_at=at,
        item_id=None,
        work_failures=0,
        findings=(),
    )
    if event.candidate_id is None:
        return plan
    plan = replace(plan, candidate=None, tip=event.commit, unpublished=True)
    merges = plan.tasks[event.task_id].merges
    return replace(plan, target_seen=merges, sync_held=None) if merges else plan
