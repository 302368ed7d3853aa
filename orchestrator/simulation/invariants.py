"""What must hold after every event, after every transaction, and at the end. Each is a pure question with a name.

The names are those of the study of reliability. Every answer is a sentence for each way in which it does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from orchestrator.core.guards import gate_hold, general_hold
from orchestrator.core.overlap import witness
from orchestrator.core.schedule import busy_agents, missing_dependencies, next_start, waits_for
from orchestrator.core.steps import checks_of
from orchestrator.model.attempt import AttemptState
from orchestrator.model.effect import Effect, WakeAt
from orchestrator.model.event import (
    AttemptStarted,
    Event,
    GatePassed,
    Landed,
    LateResult,
    LeaseEnded,
    LeaseGranted,
    PlanConfirmed,
    PlanRevised,
    TaskCancelled,
    TaskReopened,
    Undone,
    wire_name,
)
from orchestrator.model.ids import Commit, PlanId, RunId, TaskId
from orchestrator.model.plan import FileSet
from orchestrator.model.run import OVER, Drain, PlanPhase, PlanRun, State, TaskRun, TaskState

Found = Iterator[str]


@dataclass(frozen=True, slots=True)
class Step:
    """One event: what was known before it and after it."""

    before: State
    event: Event
    after: State
    at: datetime
    last_at: datetime
    tokens: Mapping[tuple[PlanId, TaskId], int]  #: the highest that each task was ever given, with this event
    green: frozenset[tuple[str, str]] | set[tuple[str, str]]  #: (commit, check) that really passed

    @property
    def plan(self) -> PlanRun | None:
        """The plan that it is about, afterwards."""
        name = getattr(self.event, "plan_id", None)
        return self.after.plans.get(name) if name is not None else None


@dataclass(frozen=True, slots=True)
class Moment:
    """What holds between two transactions."""

    state: State
    to_do: Mapping[str, Effect]  #: effects that nobody has answered
    owners: Mapping[str, int]  #: attempts and candidates, and how many of those effects are theirs
    tips: Mapping[PlanId, Commit]  #: where the plans' branches really are
    alive: tuple[RunId, ...]  #: runs whose program has processes
    moved: tuple[tuple[PlanId, Commit, Commit], ...]  #: every move of a plan's branch that we made since the last
    passed: frozenset[Commit] | set[Commit]  #: commits whose gate the ledger says was passed


def meeting(one: FileSet, two: FileSet) -> str | None:
    """A path that two tasks may both write; None when there is none."""
    found = witness(one, two)
    return None if found is None else found.path


# ---- after every event ----


def one_lease_per_task(step: Step) -> Found:
    """I1."""
    event = step.event
    if isinstance(event, LeaseGranted) and event.task_id in step.before.plans[event.plan_id].leases:
        yield f"{event.task_id} is granted while somebody holds it"


def tokens_rise(step: Step) -> Found:
    """I2."""
    if isinstance(step.event, LeaseGranted) and step.event.token <= step.before.token:
        yield f"token {step.event.token} is given out after {step.before.token}"


def granted_only_when_free(step: Step) -> Found:
    """I3."""
    event, plan = step.event, step.plan
    if not isinstance(event, LeaseGranted) or plan is None:
        return
    task = plan.tasks[event.task_id]
    if event.beats and (missing := missing_dependencies(plan, task)):
        yield f"{event.task_id} is granted before {', '.join(missing)} landed"
    for other_id in plan.leases:
        path = meeting(task.task.files, plan.tasks[other_id].task.files) if other_id != event.task_id else None
        if path is not None:
            yield f"{event.task_id} is granted while {other_id} is at work, and both may write {path}"


def limits_hold(step: Step) -> Found:
    """I4."""
    event, plan = step.event, step.plan
    if not isinstance(event, AttemptStarted) or plan is None:
        return
    lease = plan.leases[event.task_id]
    if not lease.beats:
        return  # a person resolves a conflict; that counts for nothing
    busy = busy_agents(plan)
    if busy.total() > plan.plan.parallel:
        yield f"{event.attempt_id} is started as number {busy.total()} of {plan.plan.parallel}"
    for agent in plan.plan.agents:
        if agent.name == event.agent and busy[agent.name] > agent.count:
            yield f"{event.attempt_id} is started as number {busy[agent.name]} of {agent.count} of '{agent.name}'"


def green_means_that_tree(step: Step) -> Found:
    """I5."""
    event = step.event
    if isinstance(event, GatePassed):
        plan = step.before.plans[event.plan_id]
        if plan.candidate is None:
            yield f"{event.candidate_id} passed and is not at the gate"
            return
        for check in checks_of(plan, plan.candidate).values():
            if (event.commit, check.run[1]) not in step.green:
                yield f"{event.candidate_id} passed, and {check.name} was never green on {event.commit[:8]}"


def landed_once(step: Step) -> Found:
    """I6."""
    event = step.event
    if isinstance(event, Landed) and step.before.plans[event.plan_id].tasks[event.task_id].state is TaskState.LANDED:
        yield f"{event.task_id} lands twice"


def old_tokens_change_nothing(step: Step) -> Found:
    """I8."""
    token, task = getattr(step.event, "token", None), getattr(step.event, "task_id", None)
    if not token or task is None or isinstance(step.event, LateResult):
        return
    latest = step.tokens.get((getattr(step.event, "plan_id", PlanId("")), task), token)
    if token != latest:
        yield f"{wire_name(type(step.event))} of {task} is recorded under token {token}, and {latest} was given out"


_REOPENS = (TaskReopened, Undone, PlanConfirmed, PlanRevised, LeaseEnded)


def over_is_over(step: Step) -> Found:
    """I13."""
    name = getattr(step.event, "plan_id", None)
    before = step.before.plans.get(name) if name is not None else None
    task_id = getattr(step.event, "task_id", None)
    if before is None or step.plan is None or task_id is None or task_id not in before.tasks:
        return
    was = before.tasks[task_id].state
    now = step.plan.tasks[task_id].state if task_id in step.plan.tasks else was
    gone_for_good = isinstance(step.event, TaskCancelled) and was is TaskState.FAILED
    if was in OVER and now is not was and not gone_for_good and not isinstance(step.event, _REOPENS):
        yield f"{task_id} was {was} and is {now} by {wire_name(type(step.event))}"


def failures_are_capped(step: Step) -> Found:
    """I15."""
    plan, task_id = step.plan, getattr(step.event, "task_id", None)
    task = plan.tasks.get(task_id) if plan is not None and task_id is not None else None
    if task is None:
        return
    if task.failures > task.task.retry.retries + 1:
        yield f"{task_id} failed {task.failures} times with {task.task.retry.retries} retries"
    if task.starts > max(step.after.guards.attempts, step.before.guards.attempts):
        yield f"{task_id} was started {task.starts} times without a person"
    if isinstance(step.event, AttemptStarted) and (held := general_hold(step.before)) is not None:
        yield f"{step.event.attempt_id} is started while the machine is short: {held.reason}"


def time_never_runs_back(step: Step) -> Found:
    """I16."""
    if step.at < step.last_at:
        yield f"{wire_name(type(step.event))} is recorded at {step.at}, after {step.last_at}"


AFTER_EVENT: dict[str, Callable[[Step], Found]] = {
    "I1": one_lease_per_task,
    "I2": tokens_rise,
    "I3": granted_only_when_free,
    "I4": limits_hold,
    "I5": green_means_that_tree,
    "I6": landed_once,
    "I8": old_tokens_change_nothing,
    "I13": over_is_over,
    "I15": failures_are_capped,
    "I16": time_never_runs_back,
}

# ---- after every transaction ----


def branch_is_where_the_ledger_says(moment: Moment) -> Found:
    """I7."""
    plan = moment.state.active
    if plan is None or plan.tip is None or plan.id not in moment.tips:
        return
    here, candidate = moment.tips[plan.id], plan.candidate
    if here != plan.tip and (candidate is None or here != candidate.commit):
        yield f"{plan.id} is at {here[:8]}, and the ledger says {plan.tip[:8]}"


def only_what_passed_lands(moment: Moment) -> Found:
    """I5, of the branch itself."""
    for plan, _, new in moment.moved:
        if new not in moment.passed:
            yield f"{plan} was moved to {new[:8]}, whose gate was never passed"


def no_process_without_a_run(moment: Moment) -> Found:
    """I10."""
    for run in moment.alive:
        plan = moment.state.plans.get(PlanId(run.split("/", 1)[0]))
        if plan is None or run not in plan.runs:
            yield f"{run} has processes, and the ledger says that it is over"


def nothing_is_stuck_in_silence(moment: Moment) -> Found:
    """I14."""
    plan = moment.state.active
    if plan is None or plan.tip is None:
        return
    for task_id, task in plan.tasks.items():
        why = _why_it_moves(moment, plan, task)
        if why is None:
            yield f"{task_id} is {task.state}, and nothing will ever move it"


def _why_it_moves(moment: Moment, plan: PlanRun, task: TaskRun) -> str | None:
    """What will move a task on, or whom it waits for; None when there is nothing."""
    state, task_id = moment.state, task.task.id
    item = state.items.get(task.item_id) if task.item_id is not None else None
    match task.state:
        case TaskState.LANDED | TaskState.FAILED | TaskState.CANCELLED:
            return "over"
        case TaskState.ESCALATED | TaskState.FOR_REVIEW:
            if item is not None and item.is_open:
                return "a person"
            return "its attempt" if task_id in plan.leases else None
        case TaskState.BACKOFF:
            wakes = (e for e in moment.to_do.values() if isinstance(e, WakeAt))
            return "its retry" if any(task_id == getattr(wake.fact, "task_id", None) for wake in wakes) else None
        case TaskState.RUNNING:
            return _why_it_runs(moment, plan, task_id)
        case TaskState.GATING:
            at_gate = plan.candidate
            if at_gate is None or at_gate.task_id != task_id:
                return None
            doing = moment.owners.get(at_gate.id, 0) > 0
            return "the gate" if doing or any(run.owner == at_gate.id for run in plan.runs.values()) else None
        case TaskState.QUEUED:
            free = plan.candidate is None and not plan.publishing and plan.phase is PlanPhase.RUNNING
            return None if free and state.drain is not Drain.NOW and gate_hold(state) is None else "the queue"
        case TaskState.PENDING:
            if plan.phase is not PlanPhase.RUNNING:
                return "the plan"
            start = next_start(state, plan)
            return None if start is not None else next(iter(waits_for(state, plan, task)), None)


def _why_it_runs(moment: Moment, plan: PlanRun, task_id: TaskId) -> str | None:
    lease = plan.leases.get(task_id)
    if lease is None:
        return None
    attempt = plan.attempts[lease.attempt_id]
    if moment.owners.get(attempt.id, 0) > 0:
        return "an effect"
    if any(run.owner == attempt.id for run in plan.runs.values()):
        return "its run"
    if attempt.held or attempt.by_hand is not None:
        return "whoever holds it"
    return "a person" if attempt.state in {AttemptState.WAITING, AttemptState.STUCK} else None


AFTER_TRANSACTION: dict[str, Callable[[Moment], Found]] = {
    "I5": only_what_passed_lands,
    "I7": branch_is_where_the_ledger_says,
    "I10": no_process_without_a_run,
    "I14": nothing_is_stuck_in_silence,
}
