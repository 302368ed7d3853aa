"""What a person sees, worked out from the state: lanes, counts, and the rows that the ledger keeps for the faces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from orchestrator.core.guards import FIXES, gate_hold, holds_on, words_of
from orchestrator.core.publish import is_blocked
from orchestrator.core.schedule import busy_agents, holders_of, is_dead_end, limits_of, waits_for
from orchestrator.core.steps import AGENT
from orchestrator.model.attempt import Attempt, AttemptState
from orchestrator.model.ids import TaskId, attempt_id, run_id
from orchestrator.model.item import ItemKind
from orchestrator.model.lease import Lease
from orchestrator.model.plan import FileSet
from orchestrator.model.run import PLAN_OVER, STATE_LANES, Lane, PlanPhase, PlanRun, State, TaskRun, TaskState
from orchestrator.model.view import AttemptView, HoldView, LeaseView, PlanView, TaskView


def lane_of(run: PlanRun, task: TaskRun) -> Lane:
    """The column in which people see a task."""
    match task.state:
        case TaskState.PENDING | TaskState.BACKOFF:
            return Lane.BLOCKED if is_dead_end(run, task.task.id) is not None else Lane.PLANNED
        case TaskState.RUNNING:
            attempt = run.attempts.get(task.attempt_id) if task.attempt_id else None
            waits = attempt is not None and attempt.state is AttemptState.WAITING
            return Lane.BLOCKED if waits else Lane.DOING
        case _:
            return STATE_LANES[task.state]


def counts_as_failed(state: State, task: TaskRun) -> bool:
    """Given up, or out of retries; work that a person may still send back is not counted as failed."""
    if task.state is TaskState.FAILED:
        return True
    item = state.items.get(task.item_id) if task.item_id else None
    return task.state is TaskState.ESCALATED and item is not None and item.kind is ItemKind.AGENT_FAILED


def waiting_words(state: State, run: PlanRun, task: TaskRun) -> str | None:
    """What keeps a task from moving, in one line; None when nothing does."""
    attempt = run.attempts.get(task.attempt_id) if task.attempt_id else None
    if task.state is TaskState.RUNNING and attempt is not None and attempt.by_hand is not None:
        at = f" in {attempt.workspace.path}" if attempt.workspace else ""
        return f"a person: {attempt.by_hand.by} resolves it by hand{at} (inbox {attempt.by_hand.item_id})"
    asked = state.items[task.item_id] if task.item_id is not None else None
    if task.undo is not None and task.undo.held:
        about = (i for i in state.open_items() if i.plan_id == run.id and i.task_id == task.task.id)
        asked = asked or next(about, None)
    if asked is not None:
        return f"a person: {asked.title} (inbox {asked.id})"
    match task.state:
        case TaskState.PENDING:
            return next(waits_for(state, run, task), None)
        case TaskState.BACKOFF:
            kind = task.last_failure.value if task.last_failure else "failure"
            return f"another try after {kind} ({task.failures} of {task.task.retry.retries} retries)"
        case TaskState.QUEUED if (hold := gate_hold(state)) is not None:
            return words_of(hold)
        case TaskState.QUEUED:
            ahead = [other.task.id for other in run.queue() if other.queued_seq < task.queued_seq]
            at_gate = run.candidate.task_id if run.candidate and run.candidate.task_id else None
            before = [*([at_gate] if at_gate else []), *ahead]
            return f"the merge queue, behind {', '.join(before)}" if before else "the gate"
        case TaskState.LANDED if task.undo is not None:
            at_gate_now = run.candidate is not None and run.candidate.undoes == task.task.id
            if not at_gate_now and run.phase is PlanPhase.PAUSED:
                return "its undo, when the plan is resumed"
            return "its undo, which is at the gate" if at_gate_now else "its undo, as soon as the gate is free"
        case TaskState.GATING:
            running = run.candidate.run_id if run.candidate else None
            return f"{running.rsplit('/', 1)[1]}" if running else "its merge candidate"
        case _:
            return None


def undo_words(run: PlanRun, task: TaskRun) -> str:
    """Where the undo of a task is, in a word or two; empty when nobody asked for one."""
    if task.undo is None:
        return ""
    if task.undo.held:
        return "held"
    if run.candidate is not None and run.candidate.undoes == task.task.id:
        return "at the gate"
    return "paused" if run.phase is PlanPhase.PAUSED else "waits for the gate"


def why_lines(state: State, run: PlanRun, task: TaskRun) -> Iterator[str]:
    """Where a task is, what it waits for and who holds it, one reason a line."""
    yield f"'{task.task.id}' is {task.state} (lane: {lane_of(run, task)})"
    if task.state is TaskState.PENDING and run.phase in PLAN_OVER:
        yield f"plan '{run.id}' is {run.phase}, so it does not start"
    elif task.state is TaskState.PENDING:
        reasons = list(waits_for(state, run, task))
        yield from reasons or ["it starts as soon as the daemon runs"]
    elif (words := waiting_words(state, run, task)) is not None:
        yield f"it waits for {words}"
    if task.retry_at is not None:
        yield f"next try at {task.retry_at.isoformat(timespec='seconds')}"
    if task.reason:
        yield task.reason
    yield from task.findings


def patterns(files: FileSet) -> tuple[str, ...]:
    return (*files.include, *(f"!{pattern}" for pattern in files.exclude))


def attempts_of(run: PlanRun, task: TaskRun) -> list[Attempt]:
    """The attempts at a task in this run of the plan, oldest first."""
    last = max(task.attempts, run.numbers.get(task.task.id, 0))
    ids = (attempt_id(run.id, task.task.id, number) for number in range(1, last + 1))
    return [run.attempts[one] for one in ids if one in run.attempts]


def attempt_view(attempt: Attempt) -> AttemptView:
    workspace = attempt.workspace
    kept = attempt.ended_at is not None and (attempt.head is not None)
    return AttemptView(
        id=attempt.id,
        number=attempt.number,
        agent=attempt.agent,
        token=attempt.token,
        state=attempt.state,
        ending=attempt.ending.value if attempt.ending else None,
        failure=attempt.failure.value if attempt.failure else None,
        detail=attempt.detail,
        started_at=attempt.started_at,
        launched_at=attempt.launched_at,
        ended_at=attempt.ended_at,
        worktree=workspace.path if workspace and not attempt.removed else None,
        branch=f"refs/orchestrator/{attempt.id}" if kept else None,
        run_dir=f"attempts/{run_id(attempt.id, AGENT)}",
        progress=attempt.progress,
        flags=attempt.flags,
        salvage=attempt.salvage,
        base=attempt.base,
        head=attempt.head,
    )


def last_try(task: TaskRun) -> int:
    """The number of the attempt after which a person is asked, if none of those to come goes well."""
    left = max(task.task.retry.retries - task.failures, 0)
    return task.attempts + left + (task.state in {TaskState.PENDING, TaskState.BACKOFF})


def task_view(state: State, run: PlanRun, task: TaskRun, order: int) -> TaskView:
    attempts = attempts_of(run, task)
    latest = attempts[-1] if attempts else None
    view = attempt_view(latest) if latest else None
    lease = run.leases.get(task.task.id)
    return TaskView(
        plan=run.id,
        id=task.task.id,
        title=task.task.title,
        order=order,
        state=task.state,
        lane=lane_of(run, task),
        since=task.since,
        agent=latest.agent if latest else task.task.agent,
        attempts=task.attempts,
        branch=view.branch if view else None,
        worktree=view.worktree if view else None,
        token=lease.token if lease else None,
        waiting_for=waiting_words(state, run, task),
        files=patterns(task.task.files),
        depends_on=task.task.depends_on,
        landed_commit=task.landed_commit,
        retry_at=task.retry_at,
        item=task.item_id,
        reason=task.reason,
        summary=task.hand_off.summary if task.hand_off else "",
        changed=task.hand_off.changed if task.hand_off else (),
        usage=None,
        failed=counts_as_failed(state, task),
        history=tuple(attempt_view(a) for a in attempts),
        tries=last_try(task),
        lane_since=task.lane_since or task.since,
        overdue_at=task.overdue_at,
        undo=undo_words(run, task),
        merges=task.merges,
        lease=lease_view(run, lease) if lease else None,
    )


def lease_view(run: PlanRun, lease: Lease) -> LeaseView:
    return LeaseView(
        holder=lease.holder or run.attempts[lease.attempt_id].agent,
        token=lease.token,
        attempt=lease.attempt_id,
        state=lease.state.value,
        granted_at=lease.granted_at,
        expires_at=lease.expires_at,
        heartbeat_at=lease.heartbeat_at,
        reason=lease.reason,
        review_by=lease.review_by,
        by_hand=run.attempts[lease.attempt_id].held,
    )


def phase_of(state: State, run: PlanRun) -> PlanPhase:
    """The phase with `blocked` and `draining` worked out."""
    if run.phase in PLAN_OVER:
        return run.phase
    if state.drain.value != "no":
        return PlanPhase.DRAINING
    return PlanPhase.BLOCKED if run.phase is PlanPhase.RUNNING and is_blocked(state, run) else run.phase


def plan_view(state: State, run: PlanRun) -> PlanView:
    at_gate = run.candidate
    return PlanView(
        name=run.id,
        number=run.number,
        digest=run.digest,
        state=phase_of(state, run),
        target=run.plan.target,
        publish=run.plan.publish.value,
        parallel=run.plan.parallel,
        confirmed_at=run.confirmed_at,
        confirmed_by=run.confirmed_by,
        tip=run.tip,
        branch=f"orchestrator/{run.id}",
        published=run.published,
        current=state.current == run.id,
        gating=(at_gate.task_id or at_gate.undoes or "target") if at_gate else None,
        checks=tuple(check.name for check in run.plan.checks),
        unpublished=run.unpublished,
        prepared=(*run.plan.prepare.copy, *run.plan.prepare.link),
        holds=tuple(
            HoldView(reason=h.reason, detail=h.detail, fix=FIXES[h.reason], since=h.since, until=h.until)
            for h in holds_on(state, run)
        ),
    )


def touched_tasks(before: PlanRun | None, after: PlanRun, state_before: State, state: State) -> Iterator[TaskId]:
    """The tasks of a plan whose view may have changed."""
    if (
        before is None
        or before.plan is not after.plan
        or before.phase is not after.phase
        or state_before.drain is not state.drain
    ):
        yield from after.tasks
        return
    changed = {t for t, run in after.tasks.items() if before.tasks.get(t) is not run}
    owners = {a.task_id for key, a in after.attempts.items() if before.attempts.get(key) is not a}
    items = {i.task_id for key, i in state.items.items() if state_before.items.get(key) is not i and i.task_id}
    # what another task waits for is part of its view, so those that still wait are looked at again
    waits = {TaskState.PENDING, TaskState.QUEUED, TaskState.GATING}
    moved = bool(changed) or before.leases is not after.leases or before.candidate is not after.candidate
    moved = moved or state_before.holds is not state.holds or (before.tip is None) is not (after.tip is None)
    waiting = {t for t, run in after.tasks.items() if run.state in waits or run.undo} if moved else set()
    stranded = {t for t, run in after.tasks.items() if run.state is TaskState.BACKOFF} if moved else set()
    if moved and _common(state_before, before) == _common(state, after):
        # in a large plan that is nearly always so, and then only those near to what moved can wait for another thing
        near = _near(before, after, changed)
        ahead = _line(before)
        still = {TaskState.PENDING, TaskState.QUEUED} if _line(after)[: len(ahead)] == ahead else {TaskState.PENDING}
        waiting = {t for t in waiting if t in near or after.tasks[t].state not in still}
        stranded &= near
    held = {t for t, lease in after.leases.items() if before.leases.get(t) is not lease}
    touched = changed | owners | items | waiting | stranded | held
    yield from (t for t in after.tasks if t in touched)


#: Of the state, what no task's waiting depends on, or what is looked at by task.
_BY_TASK = frozenset({"seq", "plans", "items", "token", "item_count"})


def _common(state: State, run: PlanRun) -> tuple[object, ...]:
    """What any waiting task may wait for, whichever it is: room, agents, places in shared things, the daemon."""
    busy = busy_agents(run)
    full = busy.total() if busy.total() >= run.plan.parallel else None
    at_limit = tuple((a.name, busy[a.name]) for a in run.plan.agents if busy[a.name] >= a.count and full is None)
    places = tuple((name, holders_of(run, name)) for name in limits_of(run))
    rest = tuple(getattr(state, field.name) for field in fields(state) if field.name not in _BY_TASK)
    return (run.tip is None, full, at_limit, places, tuple(run.tasks), rest)


def _line(run: PlanRun) -> tuple[TaskId | None, ...]:
    """Who is at the gate, and who waits for it."""
    return run.candidate.task_id if run.candidate else None, *(task.task.id for task in run.queue())


def _near(before: PlanRun, after: PlanRun, changed: set[TaskId]) -> set[TaskId]:
    """Tasks whose dependencies or rivals are now seen in another way."""

    def seen(task: TaskRun) -> tuple[object, ...]:
        return task.state, task.undo, task.holds

    moved = {t for t in changed if seen(before.tasks[t]) != seen(after.tasks[t])}
    if not moved:
        return moved
    dependents: dict[TaskId, list[TaskId]] = {}
    for task_id, task in after.tasks.items():
        for dependency in task.task.depends_on:
            dependents.setdefault(dependency, []).append(task_id)
    near, todo = set(moved), list(moved)
    while todo:
        found = [t for t in dependents.get(todo.pop(), ()) if t not in near]
        near.update(found)
        todo += found
    # a rival holds its files or not, depending on its own dependencies
    return near.union(*(after.rivals.get(t, frozenset()) for t in near))
