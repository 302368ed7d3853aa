"""The supervised runs of an attempt or a candidate, one after the other: prepare steps first, then agent or checks."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.core.draft import Draft
from orchestrator.model.attempt import Run, RunKind
from orchestrator.model.effect import StartRun, StopRun, WakeAt
from orchestrator.model.event import RunRequested
from orchestrator.model.fact import StopDue
from orchestrator.model.ids import AttemptId, CandidateId, run_id
from orchestrator.model.plan import Check
from orchestrator.model.run import Candidate, PlanRun

AGENT = "agent"
STOP_PATIENCE = timedelta(seconds=30)  #: beyond the grace, before a supervisor that was asked to stop is not believed


def prepare_name(index: int) -> str:
    """The name of the `index`-th prepare step, counted from 0."""
    return f"prepare-{index + 1}"


def attempt_steps(run: PlanRun) -> tuple[tuple[RunKind, str], ...]:
    """What runs in an attempt's worktree, in order."""
    prepare = ((RunKind.PREPARE, prepare_name(i)) for i in range(len(run.plan.prepare.run)))
    return (*prepare, (RunKind.AGENT, AGENT))


def checks_of(run: PlanRun, candidate: Candidate) -> dict[str, Check]:
    """The checks behind the gate for this candidate, by the name of their run, in order."""
    own = run.tasks[candidate.task_id].task.checks if candidate.task_id else ()
    named = {f"check-{check.name}": check for check in run.plan.checks}
    return named | {f"task-check-{check.name}": check for check in own}


def candidate_steps(run: PlanRun, candidate: Candidate) -> tuple[tuple[RunKind, str], ...]:
    """What runs in a candidate's checkout, in order; nothing when there is nothing to check."""
    checks = tuple((RunKind.CHECK, name) for name in checks_of(run, candidate))
    if not checks:
        return ()
    prepare = ((RunKind.PREPARE, prepare_name(i)) for i in range(len(run.plan.prepare.run)))
    return (*prepare, *checks)


def step_after(steps: tuple[tuple[RunKind, str], ...], name: str | None) -> tuple[RunKind, str] | None:
    """The step that follows `name`; the first for None; None after the last."""
    if name is None:
        return steps[0] if steps else None
    names = [step for _, step in steps]
    place = names.index(name) + 1
    return steps[place] if place < len(steps) else None


def request_run(
    draft: Draft, plan: PlanRun, owner: AttemptId | CandidateId, kind: RunKind, name: str, try_number: int = 1
) -> None:
    """Have a supervised run started, every try of a step in a folder of its own.

    Only an agent keeps its folder: it is tried again just when its program never started, and is called by that name.
    """
    run = run_id(owner, name if kind is RunKind.AGENT or try_number == 1 else f"{name}.try-{try_number}")
    draft.record(RunRequested(plan_id=plan.id, run_id=run, owner=owner, kind=kind, name=name, try_number=try_number))
    draft.ask(StartRun(run_id=run, try_number=try_number))


def stop_run(draft: Draft, plan: PlanRun, run: Run) -> None:
    """Have a run ended, and look whether it is over when it should be."""
    draft.ask(
        StopRun(run_id=run.id),
        WakeAt(at=draft.now + plan.plan.execution.grace + STOP_PATIENCE, fact=StopDue(run_id=run.id)),
    )
