"""The only fold: events in, state out. Rebuilding after a restart is this and nothing else, so it never decides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, assert_never

from orchestrator.model.attempt import Attempt, AttemptState, Lease, Run, RunKind, RunState
from orchestrator.model.event import (
    Answered,
    AttemptEnded,
    AttemptFlagged,
    AttemptStarted,
    AttemptStopping,
    BackoffEnded,
    BackoffStarted,
    BranchMade,
    CandidateDropped,
    CandidateMade,
    CandidateRequested,
    CheckPassed,
    ConflictFound,
    DaemonBegan,
    DrainBegan,
    EffectAbandoned,
    EndDeclared,
    Escalated,
    Event,
    GateFailed,
    GatePassed,
    HandedOff,
    HandOffDeclared,
    ItemWithdrawn,
    Landed,
    LeaseEnded,
    LeaseGranted,
    NoChangeDeclared,
    PlanCancelled,
    PlanConfirmed,
    PlanFinished,
    PlanPaused,
    PlanResumed,
    PlanRevised,
    ProgressReported,
    PublishBegan,
    Published,
    PublishHeld,
    PublishRequested,
    ReportsRead,
    ReviewAsked,
    ReviewDecided,
    RunFinished,
    RunLaunched,
    RunRecorded,
    RunRequested,
    SentBack,
    Synced,
    SyncHeld,
    SyncReleased,
    TargetSeen,
    TaskAdded,
    TaskCancelled,
    TaskFailed,
    TaskQueued,
    TaskReopened,
    TreeRemoved,
    WorkspaceMade,
)
from orchestrator.model.ids import AttemptId, CandidateId, ItemId, PlanId, TaskId
from orchestrator.model.item import Item, ItemKind
from orchestrator.model.run import (
    OVER,
    TASK_MOVES,
    Candidate,
    CandidateStage,
    Drain,
    PlanPhase,
    PlanRun,
    State,
    TaskRun,
    TaskState,
)


def apply(state: State, event: Event, at: datetime) -> State:
    """The state after one more event, which was recorded at `at`."""
    state = replace(state, seq=state.seq + 1)
    match event:
        case DaemonBegan():
            return replace(state, drain=Drain.NO, held=event.held, quiet=event.quiet)
        case DrainBegan():
            return replace(state, drain=Drain.NOW if event.now else Drain.FINISH)
        case EffectAbandoned():
            return state
        case PlanConfirmed():
            return _confirmed(state, event, at)
        case Escalated():
            return _escalated(state, event, at)
        case Answered():
            return _answered(state, event, at)
        case ItemWithdrawn():
            item = replace(state.items[event.item_id], withdrawn=event.reason)
            return _free_item(_with_item(state, item), event.plan_id, event.task_id, event.item_id)
        case LeaseGranted():
            state = replace(state, token=max(state.token, event.token))
            return _with_plan(state, _in_plan(state.plans[event.plan_id], event, at, state.seq))
        case _:
            plan = state.plans[event.plan_id]
            return _with_plan(state, _in_plan(plan, event, at, state.seq))


def _in_plan(plan: PlanRun, event: Event, at: datetime, seq: int) -> PlanRun:
    match event:
        case PlanRevised():
            return _revised(plan, event, at)
        case BranchMade():
            return replace(plan, tip=event.tip, started_at_commit=event.target, target_seen=event.target)
        case PlanPaused():
            return replace(plan, phase=PlanPhase.PAUSED)
        case PlanResumed():
            return replace(plan, phase=PlanPhase.RUNNING)
        case PlanFinished():
            return replace(plan, phase=PlanPhase.FINISHED)
        case PlanCancelled():
            return replace(plan, phase=PlanPhase.CANCELLED)
        case LeaseGranted():
            lease = Lease(
                task_id=event.task_id,
                attempt_id=event.attempt_id,
                token=event.token,
                granted_at=at,
                expires_at=event.expires_at,
            )
            return replace(plan, leases=plan.leases | {event.task_id: lease})
        case LeaseEnded():
            plan = replace(plan, leases={k: v for k, v in plan.leases.items() if k != event.task_id})
            task = plan.tasks[event.task_id]
            if task.state is TaskState.CANCELLED and _is_withdrawn(plan, task):
                return _without(plan, event.task_id)
            return _task(plan, event.task_id, holds=False) if task.state in OVER else plan
        case AttemptStarted():
            attempt = Attempt(
                id=event.attempt_id,
                task_id=event.task_id,
                number=event.number,
                token=event.token,
                agent=event.agent,
                started_at=at,
                start=event.start,
            )
            plan = replace(
                plan,
                attempts=plan.attempts | {event.attempt_id: attempt},
                numbers=plan.numbers | {event.task_id: event.number},
            )
            return _move(
                plan,
                event.task_id,
                TaskState.RUNNING,
                at,
                holds=True,
                attempts=event.number,
                attempt_id=event.attempt_id,
            )
        case WorkspaceMade():
            return _attempt(plan, event.attempt_id, workspace=event.workspace, base=event.base)
        case RunRequested():
            run = Run(id=event.run_id, owner=event.owner, kind=event.kind, name=event.name, try_number=event.try_number)
            return _set_run(plan, run)
        case RunRecorded():
            run = replace(plan.runs[event.run_id], state=RunState.READY, supervisor=event.supervisor)
            plan = _set_run(plan, run)
            if run.kind is RunKind.AGENT:
                return _attempt(plan, AttemptId(run.owner), state=AttemptState.STARTING)
            return plan
        case RunLaunched():
            run = replace(plan.runs[event.run_id], state=RunState.RUNNING)
            plan = _set_run(plan, run)
            if run.kind is RunKind.AGENT:
                attempt = plan.attempts[AttemptId(run.owner)]
                runs = AttemptState.RUNNING if attempt.state is AttemptState.STARTING else attempt.state
                return _attempt(plan, attempt.id, state=runs, launched_at=at)
            return plan
        case RunFinished():
            return replace(plan, runs={k: v for k, v in plan.runs.items() if k != event.run_id})
        case ReportsRead():
            return _attempt(plan, event.attempt_id, reports_offset=event.offset)
        case ProgressReported():
            return _attempt(plan, event.attempt_id, progress=event.text)
        case HandOffDeclared():
            return _attempt(plan, event.attempt_id, summary=event.summary)
        case NoChangeDeclared():
            return _attempt(plan, event.attempt_id, no_change=event.reason)
        case EndDeclared():
            return _attempt(plan, event.attempt_id, contrary=event.failure, detail=event.text)
        case AttemptFlagged():
            flags = tuple(f for f in plan.attempts[event.attempt_id].flags if f != event.flag)
            return _attempt(plan, event.attempt_id, flags=(*flags, event.flag) if event.on else flags)
        case AttemptStopping():
            attempt = plan.attempts[event.attempt_id]
            return _attempt(
                plan,
                event.attempt_id,
                state=AttemptState.STOPPING,
                stop_as=event.stop_as or attempt.stop_as,
                cancelled=event.cancelled or attempt.cancelled,
                exit=event.exit or attempt.exit,
            )
        case AttemptEnded():
            return _attempt(
                plan,
                event.attempt_id,
                state=AttemptState.ENDED,
                ended_at=at,
                ending=event.ending,
                failure=event.failure,
                detail=event.detail,
                head=event.head,
                salvage=event.salvage,
                flags=(),
            )
        case HandedOff():
            return _task(plan, event.task_id, hand_off=event.hand_off, findings=(), resume_from=None)
        case TaskQueued():
            return _move(plan, event.task_id, TaskState.QUEUED, at, queued_seq=seq, item_id=None)
        case ReviewAsked():
            return _move(plan, event.task_id, TaskState.FOR_REVIEW, at)
        case ReviewDecided():
            return plan
        case BackoffStarted():
            return _move(
                plan,
                event.task_id,
                TaskState.BACKOFF,
                at,
                holds=False,
                failures=event.failures,
                last_failure=event.failure,
                retry_at=event.retry_at,
                findings=event.findings,
                resume_from=None,
                avoid_agent=event.avoid_agent,
            )
        case BackoffEnded():
            return _move(plan, event.task_id, TaskState.PENDING, at, retry_at=None)
        case SentBack():
            task = plan.tasks[event.task_id]
            return _move(
                plan,
                event.task_id,
                TaskState.PENDING,
                at,
                work_failures=task.work_failures + (event.failure is not None),
                last_failure=event.failure or task.last_failure,
                findings=event.findings,
                resume_from=event.resume_from,
                item_id=None,
            )
        case TaskFailed():
            return _over(plan, event.task_id, TaskState.FAILED, at, reason=event.reason)
        case TaskCancelled():
            return _over(plan, event.task_id, TaskState.CANCELLED, at, reason=event.reason)
        case TaskReopened():
            if plan.phase is PlanPhase.FINISHED:
                plan = replace(plan, phase=PlanPhase.RUNNING)
            return _move(
                plan,
                event.task_id,
                TaskState.PENDING,
                at,
                failures=0,
                work_failures=0,
                retry_at=None,
                findings=event.findings,
                resume_from=None,
                avoid_agent=None,
                item_id=None,
                reason="",
            )
        case TaskAdded():
            number = plan.numbers.get(event.task.id, 0)
            added = TaskRun(task=event.task, since=at, merges=event.merges, attempts=number)
            rivals = dict(plan.rivals)
            rivals[event.task.id] = frozenset(event.rivals)
            for other in event.rivals:
                rivals[other] = rivals.get(other, frozenset()) | {event.task.id}
            phase = PlanPhase.RUNNING if plan.phase is PlanPhase.FINISHED else plan.phase
            return replace(plan, tasks=plan.tasks | {event.task.id: added}, rivals=rivals, phase=phase)
        case CandidateRequested():
            candidate = Candidate(
                id=event.candidate_id,
                task_id=event.task_id,
                token=event.token,
                parent=event.parent,
                other=event.other,
            )
            plan = replace(plan, candidate=candidate, candidates=plan.candidates + 1)
            return _move(plan, event.task_id, TaskState.GATING, at) if event.task_id else plan
        case CandidateMade():
            return _candidate(
                plan, commit=event.commit, tree=event.tree, path=event.path, stage=CandidateStage.CHECKING
            )
        case CheckPassed():
            assert plan.candidate is not None
            return _candidate(plan, passed=(*plan.candidate.passed, event.check))
        case GatePassed():
            return _candidate(plan, stage=CandidateStage.LANDING)
        case GateFailed() | ConflictFound():
            return plan
        case CandidateDropped():
            plan = replace(plan, candidate=None)
            if event.requeued and event.task_id:
                # its place in the queue stays, so nobody overtakes it
                return _move(plan, event.task_id, TaskState.QUEUED, at)
            return plan
        case TargetSeen():
            return replace(plan, target_seen=event.target)
        case PublishRequested():
            return replace(plan, publish_asked=True)
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
                published=event.commit,
                published_at=at,
                target_seen=event.commit,
                phase=PlanPhase.PUBLISHED if event.final else plan.phase,
            )
        case TreeRemoved():
            if event.owner in plan.attempts:
                owner = AttemptId(event.owner)
                return _attempt(plan, owner, removed=True, salvage=(*plan.attempts[owner].salvage, *event.salvage))
            return plan
        case (
            DaemonBegan()
            | DrainBegan()
            | EffectAbandoned()
            | PlanConfirmed()
            | Escalated()
            | Answered()
            | ItemWithdrawn()
        ):
            raise AssertionError("handled by apply")
        case _:
            assert_never(event)


def _with_plan(state: State, plan: PlanRun) -> State:
    return replace(state, plans=state.plans | {plan.id: plan})


def _with_item(state: State, item: Item) -> State:
    return replace(state, items=state.items | {item.id: item})


def _task(plan: PlanRun, task_id: TaskId, **changes: Any) -> PlanRun:
    return replace(plan, tasks=plan.tasks | {task_id: replace(plan.tasks[task_id], **changes)})


def _move(plan: PlanRun, task_id: TaskId, to: TaskState, at: datetime, **changes: Any) -> PlanRun:
    """A task in another state. Raises: AssertionError for a move that the table does not have, which is our bug."""
    now = plan.tasks[task_id].state
    assert to in TASK_MOVES[now], f"{task_id}: {now} -> {to}"
    return _task(plan, task_id, state=to, since=at, **changes)


def _over(plan: PlanRun, task_id: TaskId, to: TaskState, at: datetime, *, reason: str) -> PlanRun:
    # while a process of its attempt may live, its files stay reserved: LeaseEnded frees them
    return _move(plan, task_id, to, at, reason=reason, retry_at=None, item_id=None, holds=task_id in plan.leases)


def _attempt(plan: PlanRun, attempt_id: AttemptId, **changes: Any) -> PlanRun:
    return replace(plan, attempts=plan.attempts | {attempt_id: replace(plan.attempts[attempt_id], **changes)})


def _candidate(plan: PlanRun, **changes: Any) -> PlanRun:
    assert plan.candidate is not None
    return replace(plan, candidate=replace(plan.candidate, **changes))


def _set_run(plan: PlanRun, run: Run) -> PlanRun:
    plan = replace(plan, runs=plan.runs | {run.id: run})
    if run.owner in plan.attempts:
        return _attempt(plan, AttemptId(run.owner), run_id=run.id)
    if plan.candidate is not None and plan.candidate.id == CandidateId(run.owner):
        return _candidate(plan, run_id=run.id)
    return plan


def _landed(plan: PlanRun, event: Landed, at: datetime) -> PlanRun:
    plan = _move(
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
    plan = replace(plan, candidate=None, tip=event.commit)
    merges = plan.tasks[event.task_id].merges
    return replace(plan, target_seen=merges, sync_held=None) if merges else plan


def rivals_of(pairs: Iterable[tuple[TaskId, TaskId]]) -> dict[TaskId, frozenset[TaskId]]:
    """Pairs of tasks that can meet, as a look-up in both directions."""
    found: dict[TaskId, set[TaskId]] = {}
    for one, two in pairs:
        found.setdefault(one, set()).add(two)
        found.setdefault(two, set()).add(one)
    return {task: frozenset(others) for task, others in found.items()}


def _confirmed(state: State, event: PlanConfirmed, at: datetime) -> State:
    old = state.plans.get(event.plan_id)
    numbers = old.numbers if old else {}
    tasks = {task.id: TaskRun(task=task, since=at, attempts=numbers.get(task.id, 0)) for task in event.plan.tasks}
    run = PlanRun(
        plan=event.plan,
        digest=event.digest,
        number=event.number,
        confirmed_at=at,
        confirmed_by=event.by,
        sequential=event.sequential,
        tasks=tasks,
        rivals=rivals_of(event.rivals),
        rank=event.rank,
        candidates=old.candidates if old else 0,
        numbers=numbers,
    )
    return replace(_with_plan(state, run), current=event.plan_id)


def _without(plan: PlanRun, task_id: TaskId) -> PlanRun:
    """The plan without a task; its attempts and their numbers are remembered."""
    return replace(
        plan,
        tasks={k: v for k, v in plan.tasks.items() if k != task_id},
        rivals={k: v - {task_id} for k, v in plan.rivals.items() if k != task_id},
    )


def _is_withdrawn(plan: PlanRun, task: TaskRun) -> bool:
    """Whether a revision of the plan took the task out."""
    return task.merges is None and all(task.task.id != one.id for one in plan.plan.tasks)


def _revised(plan: PlanRun, event: PlanRevised, at: datetime) -> PlanRun:
    # what the new text does not have goes: at once, or when the last process of it is gone
    tasks = {task_id: run for task_id, run in plan.tasks.items() if run.merges or task_id in plan.leases}
    renewed: dict[TaskId, TaskRun] = {}
    for task in event.plan.tasks:
        before = plan.tasks.get(task.id)
        number = plan.numbers.get(task.id, 0)
        renewed[task.id] = replace(before, task=task) if before else TaskRun(task=task, since=at, attempts=number)
    return replace(
        plan,
        plan=event.plan,
        digest=event.digest,
        confirmed_at=at,
        confirmed_by=event.by,
        sequential=event.sequential,
        tasks=renewed | {task_id: run for task_id, run in tasks.items() if task_id not in renewed},
        rivals=rivals_of(event.rivals),
        rank=event.rank,
    )


def _escalated(state: State, event: Escalated, at: datetime) -> State:
    state = replace(_with_item(state, event.item), item_count=state.item_count + 1)
    if event.task_id is None:
        return state
    plan = state.plans[event.plan_id]
    run = plan.tasks[event.task_id]
    if event.failure is not None and event.item.kind is ItemKind.WORK_FAILED:
        plan = _task(plan, event.task_id, work_failures=run.work_failures + 1, last_failure=event.failure)
    elif event.failure is not None:
        plan = _task(plan, event.task_id, failures=run.failures + 1, last_failure=event.failure)
    if event.holds_task:
        holds = False if event.releases_files else run.holds or event.item.kind is ItemKind.HUMAN_TASK
        if event.item.kind is ItemKind.PROTECTED:
            plan = _task(plan, event.task_id, item_id=event.item.id)
        else:
            plan = _move(
                plan, event.task_id, TaskState.ESCALATED, at, item_id=event.item.id, holds=holds, retry_at=None
            )
    elif event.item.attempt_id is not None:
        plan = _task(plan, event.task_id, item_id=event.item.id)
        if event.item.waits and plan.attempts[event.item.attempt_id].state in {
            AttemptState.STARTING,
            AttemptState.RUNNING,
        }:
            plan = _attempt(plan, event.item.attempt_id, state=AttemptState.WAITING)
    return _with_plan(state, plan)


def _answered(state: State, event: Answered, at: datetime) -> State:
    item = replace(
        state.items[event.item_id], answer=event.choice, text=event.text, answered_by=event.by, answered_at=at
    )
    state = _with_item(state, item)
    if item.kind is ItemKind.QUESTION and event.task_id is not None:
        # later attempts read it too, whether or not this one lives to hear it
        said = " ".join(part for part in (event.choice if event.choice != "text" else "", event.text) if part)
        plan = state.plans[event.plan_id]
        told = (*plan.tasks[event.task_id].answers, f"you asked: {item.context}\nthe answer: {said}")
        state = _with_plan(state, _task(plan, event.task_id, answers=told))
    return _free_item(state, event.plan_id, event.task_id, event.item_id)


def _free_item(state: State, plan_id: PlanId, task_id: TaskId | None, item_id: ItemId) -> State:
    """The item holds its task and its attempt no longer."""
    plan = state.plans.get(plan_id)
    if plan is None or task_id is None or task_id not in plan.tasks:
        return state
    run = plan.tasks[task_id]
    if run.item_id == item_id:
        others = (i.id for i in state.items.values() if i.is_open and i.plan_id == plan_id and i.task_id == task_id)
        plan = _task(plan, task_id, item_id=next(others, None))
    attempt_id = state.items[item_id].attempt_id
    if attempt_id is not None and attempt_id in plan.attempts:
        open_still = any(i.is_open and i.waits and i.attempt_id == attempt_id for i in state.items.values())
        if plan.attempts[attempt_id].state is AttemptState.WAITING and not open_still:
            plan = _attempt(plan, attempt_id, state=AttemptState.RUNNING)
    return _with_plan(state, plan)


def rebuild(events: Iterable[tuple[int, datetime, Event]]) -> State:
    """The state after a whole ledger."""
    state = State()
    for _, at, event in events:
        state = apply(state, event, at)
    return state
