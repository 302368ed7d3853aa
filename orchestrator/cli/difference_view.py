"""What is different between two readings of a plan: on one page, with only what changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING

from orchestrator.cli.assess_view import files_word, path_word
from orchestrator.cli.words import AMBER, cell, counted, labelled, length, line, prose, told
from orchestrator.model.assessment import Assessment
from orchestrator.model.plan import FileSet, Plan, Task

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Tasks named on a page that a person should still read.
MOST = 30
#: Fields whose values are short enough to be shown; of the others only the name is.
SHOWN = frozenset({"agent", "depends_on", "files", "reads", "uses", "parallel", "priority", "timeout", "target"})
LONGEST = 60


def under_way_lines(before: Plan, after: Plan) -> Iterable[RenderableType]:
    """What the new text changes in the plan that is under way, as + - ~."""
    yield cell("")
    yield cell("This changes the plan that is under way. What has landed stays landed.", "bold")
    yield from difference_lines(before, after) or [cell("  only in ways that change nothing of what is executed")]


def difference_lines(before: Plan, after: Plan) -> list[RenderableType]:
    """Tasks that came, went or changed, and what else changed, as + - ~; empty when nothing did."""
    old = {task.id: task for task in before.tasks}
    new = {task.id: task for task in after.tasks}
    lines = [prose(f"+ {name}  {task.title}", 2, "green") for name, task in new.items() if name not in old]
    lines += [prose(f"- {name}  {task.title}", 2, "red") for name, task in old.items() if name not in new]
    for name, task in new.items():
        if name in old and task != old[name]:
            lines.append(prose(f"~ {name}  {'; '.join(_changed(old[name], task))}", 2, AMBER))
    if len(lines) > MOST:
        lines = [*lines[:MOST], cell(f"  and {counted(len(lines) - MOST, 'more task')}", AMBER)]
    rest = [said for said in _changed(before, after) if said != "tasks"]
    return [*lines, *([prose(f"~ plan  {'; '.join(rest)}", 2, AMBER)] if rest else [])]


def _changed(before: Task | Plan, after: Task | Plan) -> list[str]:
    said = []
    for one in fields(before):
        was, now = getattr(before, one.name), getattr(after, one.name)
        if was != now:
            values = f"{_word(was)} -> {_word(now)}" if one.name in SHOWN else ""
            said.append(f"{one.name}: {values}" if 0 < len(values) <= LONGEST else one.name)
    return said


def _word(value: object) -> str:
    if isinstance(value, FileSet):
        return files_word(value)
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, timedelta):
        return length(value)
    return "none" if value is None else str(value)


def change_lines(before: Assessment, after: Assessment) -> Iterable[RenderableType]:
    """What a change made of the assessment: the tasks that differ, then the summary, with `*` where it moved."""
    if before.plan is None or after.plan is None:
        return
    yield cell("")
    yield from difference_lines(before.plan, after.plan)
    was = dict(summary(before, before.plan))
    for name, value in summary(after, after.plan):
        moved = was[name] != value
        said = line(
            cell(value, "bold" if moved else ""),
            cell(f"  (was {was[name]})" if moved and name != "digest" else "", "dim"),
        )
        yield labelled(f"{'*' if moved else ' '} {name:<8}", said, AMBER if moved else "dim")
    known = {(problem.code, problem.message) for problem in before.warnings}
    for problem in after.warnings:
        if (problem.code, problem.message) not in known and problem.code not in {"overlap", "may_overlap"}:
            yield from told(str(problem), AMBER)


def summary(found: Assessment, plan: Plan) -> list[tuple[str, str]]:
    """The assessment in seven short lines."""
    apart = sum(not pair.ordered for pair in found.overlaps)
    return [
        ("verdict", found.verdict.value),
        ("tasks", f"{len(plan.tasks)} in {counted(len(found.waves), 'wave')}, {plan.parallel} at once"),
        ("agents", ", ".join(agent.name for agent in plan.agents) or "none"),
        ("overlaps", f"{counted(apart, 'pair')} kept apart, {len(found.overlaps) - apart} ordered"),
        ("time", f"{length(found.one_by_one)} one by one, {length(found.in_parallel)} in parallel"),
        ("longest", path_word(found.critical_path)),
        ("digest", found.digest[:12]),
    ]
