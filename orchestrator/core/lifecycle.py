"""`decide`: one fact in, events and effects out. Pure; everything the daemon ever does is decided here.

A decision has two parts: what the fact itself leads to, and then whatever has become possible by it (`advance`): tasks
that may start, the next candidate, publishing, the end.
"""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from orchestrator.core import (
    answers,
    attempts,
    byhand,
    claims,
    escalation,
    eviction,
    gate,
    lanes,
    lease,
    publish,
    requests,
    undo,
)
from orchestrator.core.draft import Decision, Draft
from orchestrator.core.schedule import next_start
from orchestrator.core.steps import stop_run
from orchestrator.model.attempt import Attempt, AttemptState, RunState
from orchestrator.model.effect import ReleaseRun
from orchestrator.model.event import (
    BackoffEnded,
    BranchMade,
    DaemonBegan,
    EffectAbandoned,
    Escalated,
    PlanCancelled,
    ProjectionMended,
    RunLaunched,
    RunRecorded,
    TrashEmptied,
    TreeRemoved,
)
from orchestrator.model.fact import (
    AgentReported,
    AnswerDelivered,
    AnswerGiven,
    AttemptBeat,
    AttemptQuiet,
    BranchBegun,
    BranchRefused,
    CancelAsked,
    CandidateBuilt,
    CandidateConflicted,
    CandidateFailed,
    CandidateLanded,
    ClaimAsked,
    DaemonStarted,
    Done,
    EffectFailed,
    EvictAsked,
    Fact,
    FinishAsked,
    GiveBackAsked,
    HandInAsked,
    LandingRefused,
    LaneLong,
    LeaseDue,
    PauseAsked,
    PlanSubmitted,
    PruneAsked,
    PublishAsked,
    PublishDone,
    PublishRefused,
    ReleaseAsked,
    Removed,
    RenewAsked,
    ResumeAsked,
    RetryAsked,
    RetryDue,
    RowsDiffered,
    RunEnded,
    RunKilled,
    RunProbed,
    RunReady,
    RunReleased,
    StopAsked,
    StopDue,
    TargetMoved,
    TargetRead,
    TrashDeleted,
    TreeProbed,
    UndoAsked,
    WorkCollected,
    WorkspaceFailed,
    WorkspaceReady,
)
from orchestrator.model.ids import AttemptId, CandidateId
from orchestrator.model.run import Drain, PlanRun, State, TaskState


def decide(state: State, fact: Fact, now: datetime, chance: float) -> Decision:
    """What follows from one fact.

    Args:
        now: aware, UTC; the time that the events will carry.
        chance: in [0, 1), the only randomness.

    Raises: OrchestratorError when a person's request is refused; nothing has changed then.
    """
    draft = Draft(state, now, chance)
    _follow(draft, fact)
    advance(draft)
    lanes.watch(draft)
    return draft.decision()


def _follow(draft: Draft, fact: Fact) -> None:
    match fact:
        case PlanSubmitted():
            requests.submit(draft, fact)
        case PauseAsked():
            requests.pause(draft, fact.by)
        case ResumeAsked():
            requests.resume(draft, fact.by)
        case CancelAsked():
            requests.cancel(draft, fact)
        case RetryAsked():
            requests.retry(draft, fact)
        case AnswerGiven():
            answers.answer(draft, fact)
        case HandInAsked():
            byhand.hand_in(draft, fact)
        case GiveBackAsked():
            byhand.give_back(draft, fact)
        case PruneAsked():
            requests.prune(draft, fact)
        case PublishAsked():
            requests.publish_now(draft, fact)
        case UndoAsked():
            requests.take_back(draft, fact)
        case StopAsked():
            requests.stop(draft, fact)
        case DaemonStarted():
            limits = fact.limits
            draft.record(
                DaemonBegan(
                    pid=fact.pid,
                    boot_id=fact.boot_id,
                    version=fact.version,
                    limits=limits,
                    terms=fact.terms,
                    quiet=fact.quiet,
                    tokens_from=fact.tokens_from,
                )
            )
            lease.give_grace(draft)
        case BranchBegun():
            _branch_begun(draft, fact)
        case BranchRefused():
            plan = draft.plan(fact.plan_id)
            if plan.tip is None and plan.number == fact.number:
                why = f"{fact.why}; {fact.fix}"
                draft.record(PlanCancelled(plan_id=plan.id, by="orchestrator", reason=why))
        case WorkspaceReady() if byhand.is_by_hand(draft, fact.attempt_id):
            byhand.workspace_ready(draft, fact)
        case WorkspaceFailed() if byhand.is_by_hand(draft, fact.attempt_id):
            byhand.workspace_failed(draft, fact)
        case WorkCollected() if byhand.is_by_hand(draft, fact.attempt_id):
            byhand.collected(draft, fact)
        case WorkspaceReady():
            attempts.workspace_ready(draft, fact)
        case WorkspaceFailed():
            attempts.workspace_failed(draft, fact)
        case RunReady():
            _run_ready(draft, fact)
        case RunReleased():
            _run_released(draft, fact)
        case RunEnded():
            _run_ended(draft, fact)
        case AgentReported():
            attempts.agent_reported(draft, fact)
        case AttemptBeat():
            eviction.beaten(draft, fact)
        case LeaseDue():
            eviction.due(draft, fact)
        case RunProbed():
            eviction.probed(draft, fact)
        case StopDue():
            eviction.stop_due(draft, fact)
        case RunKilled():
            eviction.killed(draft, fact)
        case TreeProbed():
            eviction.tree_probed(draft, fact)
        case EvictAsked():
            eviction.evict(draft, fact, requests.plan_of_task(draft, fact.plan_id, fact.task_id))
        case ClaimAsked():
            claims.claim(draft, fact, requests.the_active(draft, fact.plan_id))
        case RenewAsked():
            claims.show_life(draft, fact, requests.the_active(draft, fact.plan_id))
        case ReleaseAsked():
            claims.give_back(draft, fact, requests.the_active(draft, fact.plan_id))
        case FinishAsked():
            claims.finish(draft, fact, requests.the_active(draft, fact.plan_id))
        case LaneLong():
            lanes.lane_long(draft, fact)
        case AttemptQuiet():
            attempts.attempt_flagged(draft, fact)
        case WorkCollected():
            attempts.work_collected(draft, fact)
        case CandidateBuilt():
            gate.candidate_built(draft, fact)
        case CandidateFailed():
            gate.candidate_failed(draft, fact)
        case CandidateConflicted():
            gate.candidate_conflicted(draft, fact)
        case TargetMoved():
            gate.target_moved(draft, fact)
        case TargetRead():
            gate.target_read(draft, fact)
        case CandidateLanded():
            gate.candidate_landed(draft, fact)
        case LandingRefused():
            gate.landing_refused(draft, fact)
        case PublishDone():
            publish.publish_done(draft, fact)
        case PublishRefused():
            publish.publish_refused(draft, fact)
        case Removed():
            if (owner := draft.plan_of(CandidateId(fact.owner))) is not None:
                draft.record(TreeRemoved(plan_id=owner.id, owner=fact.owner, salvage=fact.salvage))
        case TrashDeleted():
            draft.record(TrashEmptied(entries=fact.entries, size_bytes=fact.size_bytes))
        case RowsDiffered():
            draft.record(ProjectionMended(keys=fact.keys, count=fact.count))
        case RetryDue():
            _retry_due(draft, fact)
        case EffectFailed():
            _effect_failed(draft, fact)
        case AnswerDelivered() | Done():
            pass
        case _:
            assert_never(fact)


def _branch_begun(draft: Draft, fact: BranchBegun) -> None:
    plan = draft.plan(fact.plan_id)
    if plan.tip is None and plan.number == fact.number:
        draft.record(BranchMade(plan_id=plan.id, tip=fact.tip, target=fact.target))


def _effect_failed(draft: Draft, fact: EffectFailed) -> None:
    """Nothing else follows from it, so a person has to know."""
    draft.record(EffectAbandoned(key=fact.key, detail=fact.detail))
    plan = draft.state.active
    if plan is not None:
        item = escalation.not_done(draft.state, plan, fact.key, fact.detail, draft.now)
        draft.record(Escalated(plan_id=plan.id, task_id=None, item=item, holds_task=False))


def _retry_due(draft: Draft, fact: RetryDue) -> None:
    plan = draft.state.plans.get(fact.plan_id)
    task = plan.tasks.get(fact.task_id) if plan else None
    if plan and task and task.state is TaskState.BACKOFF and task.retry_at and task.retry_at <= draft.now:
        draft.record(BackoffEnded(plan_id=plan.id, task_id=fact.task_id))


def _run_released(draft: Draft, fact: RunReleased) -> None:
    plan = draft.plan_of(fact.run_id)
    run = plan.runs.get(fact.run_id) if plan else None
    if plan is not None and run is not None and run.state is RunState.READY and _is_wanted(plan, run.owner):
        draft.record(RunLaunched(plan_id=plan.id, run_id=fact.run_id))


def _run_ready(draft: Draft, fact: RunReady) -> None:
    plan = draft.plan_of(fact.run_id)
    run = plan.runs.get(fact.run_id) if plan else None
    if plan is None or run is None or run.state is not RunState.REQUESTED:
        return
    draft.record(RunRecorded(plan_id=plan.id, run_id=run.id, supervisor=fact.supervisor))
    if _is_wanted(plan, run.owner):
        draft.ask(ReleaseRun(run_id=run.id, try_number=run.try_number))
    else:
        stop_run(draft, plan, run)  # it was asked to stop while its supervisor came up


def _is_wanted(plan: PlanRun, owner: str) -> bool:
    if owner in plan.attempts:
        return plan.attempts[AttemptId(owner)].state is not AttemptState.STOPPING
    return plan.candidate is not None and plan.candidate.id == owner


def _run_ended(draft: Draft, fact: RunEnded) -> None:
    plan = draft.plan_of(fact.run_id)
    run = plan.runs.get(fact.run_id) if plan else None
    if plan is None or run is None:
        return
    eviction.ended(draft, plan, run, fact.exit, fact.tail)


def advance(draft: Draft) -> None:
    """Whatever has become possible, until nothing more is."""
    plan = draft.state.active
    if plan is None:
        return
    while (start := next_start(draft.state, draft.plan(plan.id))) is not None:
        attempts.start_task(draft, draft.plan(plan.id), start)
    publish.request_each(draft, draft.plan(plan.id))
    plan = draft.plan(plan.id)
    if plan.publish_asked and gate.may_gate(draft.state, plan):
        publish.begin_publish(draft, plan, by="orchestrator")
        return
    if not (gate.may_gate(draft.state, plan) and undo.begin_undo(draft, plan)):
        gate.begin_candidate(draft, plan)
    publish.conclude(draft, draft.plan(plan.id))


def may_exit(state: State) -> bool:
    """Whether a daemon that was asked to stop may leave: nothing runs, and nothing is being moved."""
    if state.drain is Drain.NO:
        return False
    for plan in state.plans.values():
        # a tree in which a person works needs no daemon
        working = (plan.attempts[held.attempt_id] for held in plan.leases.values())
        if any(attempt.by_hand is None and not is_in_hand(attempt) for attempt in working):
            return False
        if plan.runs or plan.candidate is not None or plan.publishing:
            return False
        if state.drain is Drain.FINISH and (plan.queue() or plan.next_undo()) and gate.may_gate(state, plan):
            return False
    return True


def is_in_hand(attempt: Attempt) -> bool:
    """Whether somebody who claimed the task works on it just now, which needs no daemon."""
    return attempt.held and attempt.state in {AttemptState.RUNNING, AttemptState.STUCK}
