"""One task of a plan in full: what it is told, may change, waits for, and never runs beside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.cli.assess_view import agent_word, check_word, files_word, overlap_cells
from orchestrator.cli.words import AMBER, cell, counted, grid, indented, length, line
from orchestrator.model.assessment import Assessment
from orchestrator.model.plan import Plan, Task

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestrator.wire import Overrides

#: Characters of a value that fit on a line.
SHORT = 60


def task_lines(
    plan: Plan, task: Task, *, behind: Iterable[str] = (), agent: str = "", checks: bool = False
) -> Iterable[RenderableType]:
    """What a plan says about one task.

    Args:
        behind: the tasks that wait for it.
        agent: who takes it, and why; empty: just who.
        checks: the plan's checks too, not only the task's own.
    """
    facts = [
        ("agent", agent or agent_word(task)),
        ("files", files_word(task.files)),
        ("reads", "" if task.reads.is_empty else files_word(task.reads)),
        ("uses", ", ".join(task.uses)),
        ("waits for", ", ".join(task.depends_on)),
        ("before", ", ".join(behind)),
        ("needs", ", ".join(task.needs)),
        ("context", ", ".join(file.path for file in task.context)),
        ("estimate", length(task.estimate)),
        ("limits", f"{length(task.timeout)} at most, {counted(task.retry.retries, 'retry', 'retries')}"),
        ("order", f"priority {task.priority}, complexity {task.complexity}"),
        ("checks", "; ".join(check_word(check) for check in (*(plan.checks if checks else ()), *task.checks))),
    ]
    yield cell("")
    yield line(cell(task.id, "bold"), f"  {task.title}")
    yield from _fact_lines([(name, value) for name, value in facts if value])
    if task.prompt:
        yield indented(task.prompt)


def _fact_lines(facts: Sequence[tuple[str, str]]) -> Iterable[RenderableType]:
    """Names and values in two columns."""
    if any(len(value) > SHORT for _, value in facts):
        yield grid([[cell(name, "dim"), cell(value)] for name, value in facts])
        return
    # what does not wrap needs no table, and thousands of tables take their time
    width = max(len(name) for name, _ in facts)
    yield from (line("  ", cell(f"{name:<{width}}  ", "dim"), value) for name, value in facts)


def task_page(found: Assessment, plan: Plan, task: Task, overrides: Overrides) -> Iterable[RenderableType]:
    """One task with all that the assessment knows about it."""
    behind = [other.id for other in plan.tasks if task.id in other.depends_on]
    yield from task_lines(plan, task, behind=behind, agent=agent_reason(plan, task, overrides), checks=True)
    meeting = [pair for pair in found.overlaps if task.id in pair.tasks]
    yield cell("")
    if meeting:
        yield cell(f"  meets {counted(len(meeting), 'other task')}", "bold")
        yield grid([overlap_cells(pair) for pair in sorted(meeting, key=lambda pair: pair.ordered)], indent=4)
    else:
        yield cell("  meets no other task", "green")
    yield cell(f"  {standing_word(found, task)}", AMBER if task.depends_on or meeting else "green")


def agent_reason(plan: Plan, task: Task, overrides: Overrides) -> str:
    """Who takes a task, and why."""
    from orchestrator.core.assign import candidates

    if task.is_human:
        return "a person: it becomes an item in the inbox"
    if task.agent is None:
        fitting = ", ".join(agent.name for agent in candidates(plan, task))
        return f"who fits and is free: {fitting}"
    chosen: Mapping[str, str] = {name.casefold(): agent for name, agent in overrides.agents.items()}
    if task.id.casefold() in chosen:
        return f"{task.agent}, by --agent {task.id}={task.agent}"
    if overrides.agent == task.agent:
        return f"{task.agent}, by --agent {task.agent}"
    return f"{task.agent}, by the task or the defaults"


def standing_word(found: Assessment, task: Task) -> str:
    """Whether a task may start at once, or all that keeps it."""
    from orchestrator.core.assessment import explain

    reasons = explain(found, task)
    if not reasons:
        return "independent: it may start at once"
    return f"dependent: {'; '.join(reasons[:20])}{f'; and {len(reasons) - 20} more' if len(reasons) > 20 else ''}"
