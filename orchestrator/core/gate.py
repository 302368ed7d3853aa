"""The last door: merge queue, candidates and their checks, landing, and taking in a target that moved.

One candidate at a time. What lands is the very commit that was tested.
"""

from __future__ import annotations

from orchestrator.core import escalation, undo
from orchestrator.core.draft import Draft
from orchestrator.core.failures import task_failed
from orchestrator.core.guards import gate_hold, in_safe_mode
from orchestrator.core.lease import token_of
from orchestrator.core.publish import hold_publish
from orchestrator.core.retry import failure_of, words_for
from orchestrator.core.steps import candidate_steps, request_run, step_after, stop_run
from orchestrator.model.attempt import ExitWhy, FailureKind, Run, RunExit, RunKind, RunState
from orchestrator.model.effect import BuildCandidate, LandCandidate, MirrorBranch, RemoveTree
from orchestrator.model.event import (
    CandidateDropped,
    CandidateMade,
    CandidateRequested,
    CheckPassed,
    ConflictFound,
    Escalated,
    GateFailed,
    GatePassed,
    Landed,
    PublishHeld,
    Synced,
    SyncHeld,
    TargetSeen,
)
from orchestrator.model.fact import (
    CandidateBuilt,
    CandidateConflicted,
    CandidateFailed,
    CandidateLanded,
    LandingRefused,
    TargetMoved,
    TargetRead,
)
from orchestrator.model.ids import CandidateId, Commit, TaskId, candidate_id
from orchestrator.model.run import Candidate, CandidateStage, Drain, PlanPhase, PlanRun, State

MAX_SYNCS = 5  #: in a row, while publishing: a target that moves faster than its checks run needs a person
#: phases in which nothing is taken to the gate but what publishing needs, which a person asked for
_PUBLISHES = frozenset({PlanPhase.FINISHED, PlanPhase.PAUSED})
_NO_VERDICT = frozenset({ExitWhy.NEVER_STARTED, ExitWhy.LOST, ExitWhy.RESTARTED})
MAX_CHECK_RUNS = 3  #: of one check whose supervisor was lost


def candidate_message(plan: PlanRun, candidate: Candidate) -> str:
    """The message of a candidate commit: one line, then trailers that tell where it came from."""
    if candidate.undoes is not None:
        return undo.undo_message(plan, candidate, candidate.undoes)
    if candidate.task_id is None:
        return (
            f"merge {plan.plan.target} into {plan.id}\n\n"
            f"Orchestrator-Plan: {plan.id}\nOrchestrator-Candidate: {candidate.id}\n"
        )
    task = plan.tasks[candidate.task_id]
    attempt = plan.attempts[task.attempt_id] if task.attempt_id else None
    return (
        f"merge {candidate.task_id}: {task.task.title}\n\n"
        f"Orchestrator-Plan: {plan.id}\n"
        f"Orchestrator-Task: {candidate.task_id}\n"
        f"Orchestrator-Attempt: {task.attempt_id}\n"
        f"Orchestrator-Token: {candidate.token}\n"
        f"Orchestrator-Agent: {attempt.agent if attempt else '-'}\n"
    )


def may_gate(state: State, plan: PlanRun) -> bool:
    """Whether a new candidate may be begun now."""
    return (
        (plan.phase is PlanPhase.RUNNING or (plan.phase in _PUBLISHES and plan.publish_asked))
        and state.drain is not Drain.NOW
        and plan.tip is not None
        and plan.candidate is None
        and not plan.publishing
        and not in_safe_mode(state)
    )


def may_begin(state: State, plan: PlanRun) -> bool:
    """Whether the next of the merge queue, or the next undo, may be taken to the gate: there is room for its tree."""
    return may_gate(state, plan) and gate_hold(state) is None


def begin_candidate(draft: Draft, plan: PlanRun) -> bool:
    """Take the first of the merge queue to the gate. Returns: whether there was one."""
    queue = plan.queue()
    if not queue or not may_begin(draft.state, plan):
        return False
    task = queue[0]
    assert task.hand_off is not None
    assert plan.tip is not None
    attempt = plan.attempts[task.attempt_id] if task.attempt_id else None
    candidate = candidate_id(plan.id, plan.candidates + 1)
    draft.record(
        CandidateRequested(
            plan_id=plan.id,
            task_id=task.task.id,
            candidate_id=candidate,
            token=attempt.token if attempt else 0,
            parent=plan.tip,
            other=task.hand_off.head,
        )
    )
    draft.ask(BuildCandidate(plan_id=plan.id, candidate_id=candidate))
    return True


def begin_sync(draft: Draft, plan: PlanRun, target: Commit) -> None:
    """Take the target in as a candidate of its own."""
    assert plan.tip is not None
    candidate = candidate_id(plan.id, plan.candidates + 1)
    draft.record(
        TargetSeen(plan_id=plan.id, target=target),
        CandidateRequested(
            plan_id=plan.id, task_id=None, candidate_id=candidate, token=0, parent=plan.tip, other=target
        ),
    )
    draft.ask(BuildCandidate(plan_id=plan.id, candidate_id=candidate))


def current_candidate(draft: Draft, candidate: CandidateId) -> tuple[PlanRun, Candidate] | None:
    """The candidate at the gate, if it is still this one."""
    plan = draft.plan_of(candidate)
    if plan is None or plan.candidate is None or plan.candidate.id != candidate:
        return None
    return plan, plan.candidate


def drop(draft: Draft, plan: PlanRun, reason: str, *, requeued: bool) -> None:
    """The candidate at the gate is not wanted any more; its checkout goes to the trash once its processes are gone."""
    candidate = plan.candidate
    assert candidate is not None
    assert candidate.stage is not CandidateStage.LANDING, "the plan's branch may be moving this very moment"
    draft.record(
        CandidateDropped(
            plan_id=plan.id,
            task_id=candidate.task_id,
            candidate_id=candidate.id,
            reason=reason,
            requeued=requeued,
        )
    )
    run = plan.runs.get(candidate.run_id) if candidate.run_id else None
    if run is not None:
        if run.state is not RunState.REQUESTED:  # else it is stopped as soon as its supervisor is there
            stop_run(draft, plan, run)
    elif candidate.stage is not CandidateStage.BUILDING:  # else its tree goes when it is reported as built
        draft.ask(RemoveTree(plan_id=plan.id, owner=candidate.id))


def target_moved(draft: Draft, fact: TargetMoved) -> None:
    plan = draft.plan(fact.plan_id)
    if plan.candidate is not None:
        # else it is the late word on an earlier one; an undo never looks at the target
        if plan.candidate.stage is CandidateStage.BUILDING and plan.candidate.undoes is None:
            drop(draft, plan, f"'{plan.plan.target}' moved", requeued=True)
            begin_sync(draft, draft.plan(plan.id), fact.target)
    elif plan.publishing and plan.phase is PlanPhase.CANCELLED:
        draft.record(PublishHeld(plan_id=plan.id, why="the plan was cancelled"))
    elif plan.publishing:
        if plan.sync_tries >= MAX_SYNCS:
            hold_publish(draft, plan, f"'{plan.plan.target}' moved {MAX_SYNCS} times while it was being taken in", "")
            return
        draft.record(PublishHeld(plan_id=plan.id, why=f"'{plan.plan.target}' moved", again=True))
        if in_safe_mode(draft.state):
            return  # it is looked at anew when a person has ended that
        begin_sync(draft, draft.plan(plan.id), fact.target)


def target_read(draft: Draft, fact: TargetRead) -> None:
    plan = draft.plan(fact.plan_id)
    if plan.target_seen != fact.target:
        draft.record(TargetSeen(plan_id=plan.id, target=fact.target))


def candidate_built(draft: Draft, fact: CandidateBuilt) -> None:
    if (found := current_candidate(draft, fact.candidate_id)) is None:
        owner = draft.plan_of(fact.candidate_id)
        if owner is not None:
            draft.ask(RemoveTree(plan_id=owner.id, owner=fact.candidate_id))
        return
    plan, candidate = found
    draft.record(
        CandidateMade(
            plan_id=plan.id,
            task_id=candidate.task_id,
            candidate_id=candidate.id,
            commit=fact.commit,
            tree=fact.tree,
            path=fact.path,
        )
    )
    go_on(draft, draft.plan(plan.id), None)


def go_on(draft: Draft, plan: PlanRun, after: str | None) -> None:
    """The next step of the candidate at the gate; after the last one it lands."""
    candidate = plan.candidate
    assert candidate is not None
    step = step_after(candidate_steps(plan, candidate), after)
    if step is not None:
        request_run(draft, plan, candidate.id, *step)
        return
    assert candidate.commit is not None
    assert candidate.tree is not None
    task = plan.tasks[candidate.task_id] if candidate.task_id else None
    token = token_of(plan, task) if task else None
    if task is not None and (token or 0) != candidate.token:
        could_not(draft, candidate.id, "the task has another holder by now", f"token {token}, not {candidate.token}")
        return
    draft.record(
        GatePassed(
            plan_id=plan.id,
            task_id=candidate.task_id,
            candidate_id=candidate.id,
            commit=candidate.commit,
            tree=candidate.tree,
            token=token,
        )
    )
    draft.ask(
        LandCandidate(
            plan_id=plan.id, candidate_id=candidate.id, old=candidate.parent, new=candidate.commit, token=token
        )
    )


def run_ended(draft: Draft, plan: PlanRun, run: Run, exit: RunExit, tail: str) -> None:
    """A prepare step or a check in a candidate's checkout is over."""
    if (found := current_candidate(draft, CandidateId(run.owner))) is None:
        draft.ask(RemoveTree(plan_id=plan.id, owner=run.owner))
        return
    plan, candidate = found
    if exit.why in _NO_VERDICT and run.try_number < MAX_CHECK_RUNS:
        request_run(draft, plan, candidate.id, run.kind, run.name, run.try_number + 1)
    elif exit.why in _NO_VERDICT:
        could_not(draft, candidate.id, f"{run.name} was lost {MAX_CHECK_RUNS} times", words_for(exit))
    elif failure_of(exit) is None:
        if run.kind is RunKind.CHECK:
            draft.record(
                CheckPassed(plan_id=plan.id, task_id=candidate.task_id, candidate_id=candidate.id, check=run.name)
            )
        go_on(draft, draft.plan(plan.id), run.name)
    elif run.kind is RunKind.PREPARE and run.try_number == 1:
        # a fault of the network is over by now; what fails twice has to do with the work
        request_run(draft, plan, candidate.id, run.kind, run.name, 2)
    else:
        red(draft, plan, candidate, run, exit, tail)


def red(draft: Draft, plan: PlanRun, candidate: Candidate, run: Run, exit: RunExit, tail: str) -> None:
    """A check failed, timed out or could not run: all the same, this tree does not land."""
    assert candidate.commit is not None
    draft.record(
        GateFailed(
            plan_id=plan.id,
            task_id=candidate.task_id,
            candidate_id=candidate.id,
            commit=candidate.commit,
            check=run.name,
            exit=exit,
        )
    )
    drop(draft, plan, f"{run.name} {words_for(exit)}", requeued=False)
    plan = draft.plan(plan.id)
    what = f"{run.name} {words_for(exit)} on the merge with {candidate.parent[:12]}; the end of its output:\n{tail}"
    if candidate.task_id is not None and resolved_by_hand(plan, candidate.task_id):
        # what a person resolved goes back to them, and not to an agent that would begin afresh
        task = plan.tasks[candidate.task_id]
        item = escalation.red_by_hand(draft.state, plan, task, candidate.id, what, draft.now)
        draft.record(Escalated(plan_id=plan.id, task_id=candidate.task_id, item=item, holds_task=True))
        return
    if candidate.task_id is not None:
        task_failed(draft, plan, candidate.task_id, FailureKind.CHECKS_RED, what)
        return
    if candidate.undoes is not None:
        undo.undo_red(draft, plan, candidate, what)
        return
    draft.record(SyncHeld(plan_id=plan.id, target=candidate.other))
    item = escalation.sync_red(draft.state, plan, candidate.id, what, draft.now)
    draft.record(Escalated(plan_id=plan.id, task_id=None, item=item, holds_task=False))


def resolved_by_hand(plan: PlanRun, task_id: TaskId) -> bool:
    """Whether the latest attempt at a task was a person's."""
    attempt = plan.tasks[task_id].attempt_id
    return attempt is not None and plan.attempts[attempt].by_hand is not None


def candidate_conflicted(draft: Draft, fact: CandidateConflicted) -> None:
    if (found := current_candidate(draft, fact.candidate_id)) is None:
        return
    plan, candidate = found
    draft.record(
        ConflictFound(
            plan_id=plan.id,
            task_id=candidate.task_id,
            candidate_id=candidate.id,
            paths=fact.paths,
            other=candidate.other,
        )
    )
    drop(draft, plan, "conflict", requeued=False)
    plan = draft.plan(plan.id)
    if candidate.undoes is not None:
        undo.undo_conflicted(draft, plan, candidate, fact.paths, fact.detail)
    elif candidate.task_id is not None:
        task = plan.tasks[candidate.task_id]
        item = escalation.conflict(draft.state, plan, task, candidate.id, fact.paths, fact.detail, draft.now)
        draft.record(Escalated(plan_id=plan.id, task_id=candidate.task_id, item=item, holds_task=True))
    else:
        draft.record(SyncHeld(plan_id=plan.id, target=candidate.other))
        item = escalation.sync_conflict(draft.state, plan, candidate.id, fact.paths, fact.detail, draft.now)
        draft.record(Escalated(plan_id=plan.id, task_id=None, item=item, holds_task=False))


def could_not(draft: Draft, candidate: CandidateId, what: str, detail: str) -> None:
    """The machine stood in the way, not the work: a person is asked, and the hand-off keeps."""
    if (found := current_candidate(draft, candidate)) is None:
        return
    plan, at_gate = found
    if at_gate.stage is CandidateStage.LANDING:
        # the answer is here: the branch did not move
        draft.record(
            CandidateDropped(
                plan_id=plan.id, task_id=at_gate.task_id, candidate_id=at_gate.id, reason=what, requeued=False
            )
        )
    else:
        drop(draft, plan, what, requeued=False)
    draft.ask(RemoveTree(plan_id=plan.id, owner=at_gate.id))
    plan = draft.plan(plan.id)
    if at_gate.undoes is not None:
        undo.undo_stuck(draft, plan, at_gate, what, detail)
        return
    task = plan.tasks[at_gate.task_id] if at_gate.task_id else None
    if task is None:
        draft.record(SyncHeld(plan_id=plan.id, target=at_gate.other))
    item = escalation.stuck(draft.state, plan, task, what, detail, draft.now)
    draft.record(Escalated(plan_id=plan.id, task_id=at_gate.task_id, item=item, holds_task=task is not None))


def candidate_failed(draft: Draft, fact: CandidateFailed) -> None:
    could_not(draft, fact.candidate_id, "a merge candidate could not be made", fact.detail)


def landing_refused(draft: Draft, fact: LandingRefused) -> None:
    could_not(draft, fact.candidate_id, "a tested commit could not be landed", fact.detail)


def candidate_landed(draft: Draft, fact: CandidateLanded) -> None:
    if (found := current_candidate(draft, fact.candidate_id)) is None:
        return
    plan, candidate = found
    if candidate.task_id is not None:
        attempt = plan.tasks[candidate.task_id].attempt_id
        mine = plan.attempts[attempt].by_hand if attempt else None
        draft.record(
            Landed(
                plan_id=plan.id,
                task_id=candidate.task_id,
                candidate_id=candidate.id,
                commit=fact.commit,
                token=token_of(plan, plan.tasks[candidate.task_id]),
            )
        )
        if attempt is not None and not (mine and mine.keep):
            # a person may still have a shell or an editor in theirs, so it is not for others to use again
            draft.ask(RemoveTree(plan_id=plan.id, owner=attempt, landed=mine is None))
    elif candidate.undoes is not None:
        undo.undo_landed(draft, plan, candidate, fact.commit)
    else:
        draft.record(Synced(plan_id=plan.id, candidate_id=candidate.id, commit=fact.commit, target=candidate.other))
    draft.ask(
        MirrorBranch(plan_id=plan.id, commit=fact.commit),
        RemoveTree(plan_id=plan.id, owner=candidate.id, landed=True),
    )
