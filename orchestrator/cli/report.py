"""`report`: one screen that says what came of it and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import rows
from orchestrator.cli.session import Answer, Session
from orchestrator.cli.verb import PlanOption, verb
from orchestrator.model.errors import ExitCode
from orchestrator.model.item import ItemKind
from orchestrator.model.run import IN_PROGRESS, PlanPhase, TaskState

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestrator.model.item import Item
    from orchestrator.model.view import PlanView, TaskView


@verb
def report(
    session: Session,
    exit_code: Annotated[
        bool,
        typer.Option("--exit-code", help="End with 1 when some task did not land, with 5 when a person is needed."),
    ] = False,
    plan: PlanOption = None,
) -> Answer:
    """What landed, what did not, where everything is, and what to do next."""
    reader = session.ledger()
    chosen = rows.chosen_plan(rows.plans(reader), plan)
    tasks = rows.tasks(reader, chosen.name)
    items = rows.items(reader, plan=chosen.name)
    running = session.daemon_pid() is not None
    steps = next_steps(chosen, tasks, items, daemon_running=running, session=session)
    error = None
    if exit_code:
        from orchestrator.cli.follow import Picture, outcome_error

        error = outcome_error(
            exit_code_of(chosen, tasks), Picture(plan=chosen, tasks=tasks, items=items), session.program
        )
    return Answer(
        data=report_data(chosen, tasks, items, steps),
        page=lambda: report_page(chosen, tasks, items, steps, session),
        error=error,
    )


def exit_code_of(plan: PlanView, tasks: Sequence[TaskView]) -> ExitCode:
    """5 when nothing moves without a person, else 1 when something has not landed."""
    if plan.state is PlanPhase.BLOCKED:
        return ExitCode.NEEDS_PERSON
    landed = all(task.state is TaskState.LANDED for task in tasks)
    return ExitCode.OK if landed else ExitCode.NOT_ALL_LANDED


def short_branch(plan: PlanView) -> str:
    """The plan's branch as a person names it."""
    return plan.branch.removeprefix("refs/heads/")


def headline(plan: PlanView, tasks: Sequence[TaskView]) -> str:
    """One sentence for a newcomer."""
    landed = sum(task.state is TaskState.LANDED for task in tasks)
    how = {
        PlanPhase.RUNNING: "is under way",
        PlanPhase.PAUSED: "is paused: nothing new starts",
        PlanPhase.DRAINING: "finishes what runs and starts nothing more",
        PlanPhase.BLOCKED: "waits for you: nothing can move without an answer",
        PlanPhase.FINISHED: "is finished",
        PlanPhase.PUBLISHED: "is finished and published",
        PlanPhase.CANCELLED: "was cancelled",
    }[plan.state]
    return f"{plan.name} {how}: {landed} of {len(tasks)} tasks landed"


def target_line(plan: PlanView) -> str:
    """Whether the user's own branch has moved."""
    from orchestrator.cli.words import short

    if plan.published is None:
        return f"{plan.target} has not been moved"
    if not plan.unpublished:
        return f"{plan.target} was moved to {short(plan.published)}"
    return f"{plan.target} was moved to {short(plan.published)}; what landed since is only on {short_branch(plan)}"


def report_data(
    plan: PlanView, tasks: Sequence[TaskView], items: Sequence[Item], steps: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    totals = rows.totals(tasks)
    return {
        "plan": plan.name,
        "run": plan.number,
        "digest": plan.digest,
        "state": plan.state,
        "target": plan.target,
        "published": plan.published,
        "tip": plan.tip,
        "branch": plan.branch,
        "totals": {
            "completed": totals.completed,
            "in_progress": totals.in_progress,
            "failed": totals.failed,
            "total": totals.total,
        },
        "landed": [
            {"task": task.id, "title": task.title, "commit": task.landed_commit}
            for task in tasks
            if task.state is TaskState.LANDED
        ],
        "failed": [
            {"task": task.id, "title": task.title, "attempts": task.attempts, "reason": why_failed(task)}
            for task in tasks
            if task.failed
        ],
        "waiting": [
            {"id": item.id, "kind": item.kind, "task": item.task_id, "title": item.title}
            for item in items
            if item.kind is not ItemKind.CONFLICT
        ],
        "conflicts": [
            {"id": item.id, "task": item.task_id, "paths": item.paths}
            for item in items
            if item.kind is ItemKind.CONFLICT
        ],
        "salvage": [{"task": task, "reference": reference} for task, reference in salvage_of(tasks)],
        "holds": [{"reason": hold.reason, "detail": hold.detail, "fix": hold.fix} for hold in plan.holds],
        "worktrees": [{"task": task.id, "path": task.worktree} for task in tasks if task.worktree],
        "next": [{"command": command, "does": does} for command, does in steps],
    }


def why_failed(task: TaskView) -> str:
    if task.reason:
        return task.reason
    last = task.history[-1] if task.history else None
    if last is None:
        return ""
    return ": ".join(part for part in ((last.failure or "").replace("_", " "), last.detail) if part)


def salvage_of(tasks: Sequence[TaskView]) -> list[tuple[str, str]]:
    """References that keep work of tasks that did not land."""
    return [
        (task.id, reference)
        for task in tasks
        if task.state is not TaskState.LANDED
        for attempt in task.history
        for reference in attempt.salvage
    ]


def next_steps(
    plan: PlanView, tasks: Sequence[TaskView], items: Sequence[Item], *, daemon_running: bool, session: Session
) -> list[tuple[str, str]]:
    """Commands that make sense now, each with what it does."""
    steps = [
        (session.command_line("inbox", "show", item.id), f"{item.kind.value.replace('_', ' ')}: {item.title}")
        for item in items[:5]
    ]
    over = rows.is_over(plan)
    named = [] if plan.current else ["--plan", plan.name]
    if not over and not daemon_running:
        steps.append((session.command_line("start"), "no daemon runs: go on where it was"))
    if plan.state is PlanPhase.PAUSED:
        steps.append((session.command_line("resume"), "start tasks again"))
    asked = {item.task_id for item in items}
    for task in [task for task in tasks if task.failed and task.id not in asked][:3]:
        steps.append((session.command_line("logs", task.id, *named), f"what {task.id} printed"))
        steps.append((session.command_line("retry", task.id, *named), f"try {task.id} again"))
    if plan.unpublished and plan.state is not PlanPhase.CANCELLED and (over or plan.publish == "manual"):
        steps.append((f"git log --first-parent {plan.target}..{short_branch(plan)}", "see what has landed"))
        if not rows.is_resolving(plan, tasks, items):
            steps.append((session.command_line("publish", *named), f"move {plan.target} to what has landed"))
    elif plan.published:
        steps.append((f"git log --first-parent {plan.target}", "see what came in"))
    if plan.state is PlanPhase.RUNNING and daemon_running:
        steps.append((session.command_line("start"), "follow it"))
    return steps


def ending_lines(plan: PlanView, tasks: Sequence[TaskView], program: str) -> Iterable[RenderableType]:
    """What a following `start` says at its end."""
    from orchestrator.cli.words import cell

    yield cell(headline(plan, tasks), "bold")
    yield cell(f"  {target_line(plan)}; the whole story: {program} report")


def report_page(
    plan: PlanView,
    tasks: Sequence[TaskView],
    items: Sequence[Item],
    steps: Sequence[tuple[str, str]],
    session: Session,
) -> Iterable[RenderableType]:
    from orchestrator.cli.board import counts_line, held_words, note
    from orchestrator.cli.words import AMBER, cell, grid, joined, short

    now = session.now()
    yield cell(headline(plan, tasks), "bold")
    yield cell(f"  {counts_line(rows.totals(tasks))}; run {plan.number}")
    yield cell(f"  {target_line(plan)}")
    for words in held_words(plan):
        yield cell(f"  {words}", AMBER)

    def part(title: str, inside: list[list[Any]], style: str = "") -> Iterable[RenderableType]:
        if inside:
            yield cell("")
            yield cell(f"{title} ({len(inside)})", f"bold {style}".strip())
            yield grid(inside[:30])
            if len(inside) > 30:
                yield cell(f"  and {len(inside) - 30} more ({session.program} status)")

    landed = [task for task in tasks if task.state is TaskState.LANDED]
    yield from part(
        "landed",
        [[cell(t.id, "bold"), cell(short(t.landed_commit) or "no change"), cell(t.title)] for t in landed],
        "green",
    )
    yield from part("failed", [[cell(t.id, "bold"), cell(why_failed(t))] for t in tasks if t.failed], "red")
    conflicts = [item for item in items if item.kind is ItemKind.CONFLICT]
    others = [item for item in items if item.kind is not ItemKind.CONFLICT]
    yield from part(
        "conflicts",
        [[cell(i.id, "bold"), cell(i.task_id or plan.target), cell(joined(i.paths))] for i in conflicts],
        AMBER,
    )
    yield from part(
        "waits for you",
        [[cell(i.id, "bold"), cell(i.kind.value.replace("_", " ")), cell(i.title)] for i in others],
        AMBER,
    )
    under_way = [task for task in tasks if task.state in IN_PROGRESS]
    yield from part(
        "in progress", [[cell(t.id, "bold"), cell(t.lane.value.replace("_", " ")), note(t, now)] for t in under_way]
    )
    told = {task.id for task in (*landed, *under_way)} | {task.id for task in tasks if task.failed}
    rest = [task for task in tasks if task.id not in told]
    yield from part("not done", [[cell(t.id, "bold"), cell(t.state.value), note(t, now)] for t in rest])
    yield cell("")
    yield cell("where things are", "bold")
    places = [[cell("plan's branch"), cell(short_branch(plan) if plan.tip else "not made yet")]]
    places += [[cell(f"kept of {task}"), cell(reference)] for task, reference in salvage_of(tasks)[:10]]
    places += [[cell(f"tree of {task.id}"), cell(task.worktree)] for task in tasks if task.worktree][:10]
    yield grid(places)
    if steps:
        yield cell("")
        yield cell("what to do next", "bold")
        yield grid([[cell(command, "cyan"), cell(does)] for command, does in steps])
