"""`status`: where everything is."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import rows
from orchestrator.cli.session import Answer, Session
from orchestrator.cli.verb import OptionalTask, PlanOption, verb
from orchestrator.model.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from orchestrator.model.item import Item
    from orchestrator.model.view import AttemptView, HoldView, PlanView, TaskView

#: Columns from which on the lanes stand side by side.
WIDE = 90
#: Tasks of one lane in a list that nobody looks at on a screen.
MOST_LISTED = 200


@verb
def status(
    session: Session,
    task: OptionalTask = None,
    plan: PlanOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Every task, however many there are.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep the picture up to date until the plan is over, or Ctrl-C.")
    ] = False,
) -> Answer:
    """Where everything is: lanes, tasks, progress. With TASK: everything about one task."""
    if watch:
        if task is not None or session.json:
            raise UsageError(
                "--watch shows the whole board to a person",
                fix="leave out TASK and --json; `events -f --json` is for programs",
            )
        from orchestrator.cli.watch import watch as keep_showing

        return keep_showing(session, plan, everything=everything)
    return status_answer(session, task, plan, everything=everything)


def status_answer(
    session: Session, task: str | None = None, plan: str | None = None, *, everything: bool = False
) -> Answer:
    reader = session.ledger()
    known = rows.plans(reader)
    chosen = rows.chosen_plan(known, plan)
    tasks = rows.tasks(reader, chosen.name)
    items = rows.items(reader)
    pid = session.daemon_pid()
    data = status_data(chosen, known, tasks, items, daemon_pid=pid)
    if task is not None:
        one = rows.chosen_task(tasks, task)
        last = last_output(session, one)
        data["tasks"] = [{**task_data(one), **detail_data(one), "last_output": last}]
        return Answer(data=data, page=lambda: task_page(session, chosen, one, items, last))
    return Answer(data=data, page=lambda: board_page(session, chosen, tasks, items, pid, everything))


def board_page(
    session: Session,
    plan: PlanView,
    tasks: list[TaskView],
    items: list[Item],
    pid: int | None,
    everything: bool = False,
) -> list[RenderableType]:
    """The board as it fits the place where it is shown."""
    from orchestrator.cli.board import Layout, board

    width, height = session.console().size if session.on_terminal else (0, 0)
    most = max(height - 12, 10) if session.on_terminal else MOST_LISTED
    return board(
        plan,
        tasks,
        items,
        now=session.now(),
        daemon_pid=pid,
        program=session.program,
        layout=Layout.COLUMNS if width >= WIDE else Layout.LANES if session.on_terminal else Layout.FLAT,
        width=width,
        most=None if everything else most,
        fine=session.is_fine,
    )


def status_data(
    plan: PlanView, known: list[PlanView], tasks: list[TaskView], items: list[Item], *, daemon_pid: int | None
) -> dict[str, Any]:
    """The data of `status --json`."""
    totals = rows.totals(tasks)
    return {
        "plan": plan.name,
        "digest": plan.digest,
        "state": plan.state,
        "plans": [{"plan": one.name, "state": one.state} for one in known],
        "daemon_pid": daemon_pid,
        "counts": rows.counts(tasks),
        "totals": {
            "completed": totals.completed,
            "in_progress": totals.in_progress,
            "failed": totals.failed,
            "total": totals.total,
        },
        "inbox": len(items),
        "tasks": [task_data(task) for task in tasks],
        "holds": [hold_data(hold) for hold in plan.holds],
    }


def hold_data(hold: HoldView) -> dict[str, Any]:
    return {name: getattr(hold, name) for name in hold.__slots__}


def task_data(task: TaskView) -> dict[str, Any]:
    return {
        "id": task.id,
        "title": task.title,
        "state": task.state,
        "lane": task.lane,
        "agent": task.agent,
        "attempts": task.attempts,
        "branch": task.branch,
        "worktree": task.worktree,
        "token": task.token,
        "waiting_for": task.waiting_for,
        "files": task.files,
        "landed_commit": task.landed_commit,
        "usage": task.usage,
        "overdue_at": task.overdue_at,
    }


def detail_data(task: TaskView) -> dict[str, Any]:
    """What `status TASK --json` says beyond the list."""
    return {
        "since": task.since,
        "lane_since": task.lane_since,
        "tries": task.tries,
        "depends_on": task.depends_on,
        "retry_at": task.retry_at,
        "item": task.item,
        "reason": task.reason,
        "summary": task.summary,
        "changed": task.changed,
        "failed": task.failed,
        "history": [attempt_data(one) for one in task.history],
    }


def attempt_data(attempt: AttemptView) -> dict[str, Any]:
    return {name: getattr(attempt, name) for name in attempt.__slots__}


def last_output(session: Session, task: TaskView) -> str:
    """The last line that the task's latest attempt printed, with obvious secrets masked."""
    from orchestrator.cli.tail import last_line
    from orchestrator.core.redact import redact

    if not task.history:
        return ""
    return redact(last_line(session.place().state_dir / task.history[-1].run_dir / "output"))


def task_page(
    session: Session, plan: PlanView, task: TaskView, items: list[Item], last: str
) -> Iterable[RenderableType]:
    from orchestrator.cli.board import flags_of
    from orchestrator.cli.columns import LANE_STYLES, lane_word
    from orchestrator.cli.words import AMBER, age, cell, grid, indented, line, short

    now = session.now()
    yield line(cell(task.id, "bold"), "  ", cell(lane_word(task.lane), LANE_STYLES[task.lane]), "  ", task.title)
    facts: list[tuple[str, Text]] = [
        ("plan", cell(plan.name)),
        ("state", cell(f"{task.state.value.replace('_', ' ')} for {age(task.since, now)}")),
        ("agent", cell(task.agent or "not assigned yet")),
        ("waits for", cell(task.waiting_for or "")),
        ("look at", cell(flags_of(task, now), AMBER)),
        ("reason", cell(task.reason)),
        ("tries again", cell(f"in {age(now, task.retry_at)}" if task.retry_at else "")),
        ("files", cell(", ".join(task.files) or "none: it changes nothing")),
        ("depends on", cell(", ".join(task.depends_on))),
        ("branch", cell(task.branch or "")),
        ("worktree", cell(task.worktree or "")),
        ("landed as", cell(short(task.landed_commit))),
        ("changed", cell(", ".join(task.changed))),
    ]
    yield grid([[cell(name, "dim"), value] for name, value in facts if value.plain])
    if task.summary:
        yield cell("  in the agent's words", "dim")
        yield indented(task.summary)
    if task.history:
        yield cell("")
        yield cell("attempts", "bold")
        yield grid([_attempt_cells(session, one) for one in task.history])
        kept = [reference for one in task.history for reference in one.salvage]
        if kept:
            yield line("  kept from earlier attempts: ", ", ".join(kept))
    if last:
        yield cell("")
        yield line(cell("last output  ", "dim"), last)
    for item in items:
        if item.id == task.item:
            yield cell("")
            yield cell(f"asks you: {item.title}", AMBER)
            yield cell(f"  {session.command_line('inbox', 'show', item.id)}")


def _attempt_cells(session: Session, attempt: AttemptView) -> list[Text]:
    from orchestrator.cli.words import age, cell, clock

    now = session.now()
    end = attempt.ended_at or now
    how = attempt.ending.replace("_", " ") if attempt.ending else attempt.state.value
    said = f"{how}: {attempt.failure.replace('_', ' ')}" if attempt.failure else how
    return [
        cell(str(attempt.number), "bold"),
        cell(attempt.agent),
        cell(clock(attempt.started_at, now), "dim"),
        cell(age(attempt.started_at, end)),
        cell(said, "red" if attempt.failure else ""),
        cell(attempt.detail or attempt.progress),
    ]


def plan_files(session: Session) -> list[str]:
    """Plan files in `plans/` of the repository, as a person would type them."""
    folder = session.place().root / "plans"
    found = sorted(path for ending in ("*.yaml", "*.yml") for path in folder.glob(ending))
    return [os.path.relpath(path, session.path(Path())) for path in found]
