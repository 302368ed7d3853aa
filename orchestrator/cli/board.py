"""The board: the plan's line, counts, progress, and one line per task under its lane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from rich.console import RenderableType
from rich.text import Text

from orchestrator.cli import rows
from orchestrator.cli.words import AMBER, age, bar, cell, counted, grid, line, short
from orchestrator.model.item import Item
from orchestrator.model.run import Lane, PlanPhase, TaskState
from orchestrator.model.view import AttemptView, PlanView, TaskView, Totals

LANE_STYLES = {
    Lane.PLANNED: "",
    Lane.DOING: "cyan",
    Lane.FOR_REVIEW: "magenta",
    Lane.MERGING: "blue",
    Lane.BLOCKED: AMBER,
    Lane.DONE: "green",
    Lane.CANCELLED: "dim",
}
PHASE_STYLES = {
    PlanPhase.RUNNING: "cyan",
    PlanPhase.BLOCKED: AMBER,
    PlanPhase.PAUSED: AMBER,
    PlanPhase.PUBLISHED: "green",
    PlanPhase.CANCELLED: "dim",
}
#: What a flag of an attempt says to a person.
FLAG_WORDS = {"quiet": "no progress", "stuck": "cannot be stopped"}


def lane_word(lane: Lane) -> str:
    return lane.value.replace("_", " ")


def counts_line(totals: Totals) -> str:
    """`N completed / M total (K in progress, F failed)`."""
    return (
        f"{totals.completed} completed / {totals.total} total "
        f"({totals.in_progress} in progress, {totals.failed} failed)"
    )


def last_attempt(task: TaskView) -> AttemptView | None:
    return task.history[-1] if task.history else None


def flags_of(task: TaskView, now: datetime) -> str:
    """What a person should look at, in words; empty most of the time."""
    said = []
    if task.overdue_at is not None:
        late = age(task.overdue_at, now)
        said.append(f"in {lane_word(task.lane)} for {lane_age(task, now)}, past its limit for {late}")
    attempt = last_attempt(task)
    if attempt is not None and attempt.ended_at is None:
        said += [FLAG_WORDS.get(flag, flag.replace("_", " ")) for flag in attempt.flags]
    return ", ".join(said)


def lane_age(task: TaskView, now: datetime) -> str:
    """How long the task has been in its lane."""
    return age(task.lane_since or task.since, now)


def note(task: TaskView, now: datetime) -> Text:
    """What there is to say about a task besides where it is."""
    said: list[Text] = []
    if flags := flags_of(task, now):
        said.append(cell(flags, AMBER))
    if task.item and task.item not in (task.waiting_for or ""):
        said.append(cell(f"asks you: {task.item}", AMBER))
    if task.state is TaskState.BACKOFF and task.retry_at is not None:
        left = task.retry_at - now
        said.append(
            cell(f"tries again in {age(now, task.retry_at)}" if left.total_seconds() > 0 else "tries again now")
        )
    if task.waiting_for and task.state is not TaskState.LANDED:
        said.append(cell(task.waiting_for, AMBER if task.item else ""))
    attempt = last_attempt(task)
    if task.state is TaskState.RUNNING and attempt is not None and attempt.progress:
        said.append(cell(attempt.progress, "dim"))
    if task.state in {TaskState.FAILED, TaskState.CANCELLED, TaskState.ESCALATED} and task.reason:
        said.append(cell(task.reason))
    if task.state is TaskState.LANDED:
        said.append(cell(short(task.landed_commit) or "nothing had to be changed", "dim"))
    return Text("; ").join(said)


def task_cells(task: TaskView, now: datetime) -> list[Text]:
    """Id, agent, age, attempt, and what there is to say."""
    return [
        cell(task.id, "bold"),
        cell(task.agent or "-"),
        cell(age(task.since, now), "dim"),
        cell(f"attempt {task.attempts}" if task.attempts else "", "" if task.attempts < 2 else AMBER),
        note(task, now),
    ]


def head(plan: PlanView, daemon_pid: int | None, program: str) -> Text:
    """`auth-system  running  run 1  target main  daemon 4242`."""
    over = rows.is_over(plan)
    daemon = f"daemon {daemon_pid}" if daemon_pid else "no daemon" if over else f"no daemon runs: {program} start"
    return Text("  ").join(
        [
            cell(plan.name, "bold"),
            # a daemon that is gone drains no more
            cell(
                "stopped" if plan.state is PlanPhase.DRAINING and daemon_pid is None else plan.state.value,
                PHASE_STYLES.get(plan.state, ""),
            ),
            cell(f"run {plan.number}", "dim"),
            cell(f"target {plan.target}", "dim"),
            cell(daemon, "dim" if daemon_pid or over else AMBER),
        ]
    )


def board(
    plan: PlanView,
    tasks: Sequence[TaskView],
    items: Sequence[Item],
    *,
    now: datetime,
    daemon_pid: int | None,
    program: str = "orchestrator",
    by_lane: bool = True,
    most: int = 200,
    output: Mapping[str, str] | None = None,
) -> list[RenderableType]:
    """The page of `status`.

    Args:
        by_lane: a heading per lane; without it a flat list whose first column is the lane.
        most: lines per lane; the rest is counted.
        output: last output line of running tasks.
    """
    totals = rows.totals(tasks)
    page: list[RenderableType] = [
        head(plan, daemon_pid, program),
        cell(counts_line(totals)),
        cell(bar(totals.completed, totals.total)),
        cell(""),
    ]
    lanes = {lane: [task for task in tasks if task.lane is lane] for lane in Lane}
    flat: list[list[Text]] = []
    for lane, inside in lanes.items():
        if not inside:
            continue
        lines = []
        for task in inside[:most]:
            cells = task_cells(task, now)
            if output and output.get(task.id):
                last = cell(output[task.id], "dim")
                cells[-1] = line(cells[-1], "  ", last) if cells[-1].plain else last
            lines.append(cells)
        hidden = len(inside) - len(lines)
        if by_lane:
            page.append(cell(f"{lane_word(lane)} ({len(inside)})", f"bold {LANE_STYLES[lane]}".strip()))
            page.append(grid(lines))
            if hidden:
                page.append(cell(f"  and {hidden} more"))
        else:
            flat += [[cell(lane_word(lane)), *cells] for cells in lines]
            if hidden:
                flat.append([cell(lane_word(lane)), cell(f"and {hidden} more")])
    if flat:
        page.append(grid(flat, indent=0))
    page += inbox_lines(plan, items, program)
    return page


def inbox_lines(plan: PlanView, items: Sequence[Item], program: str) -> list[RenderableType]:
    """What waits for a person, at the foot of the board."""
    if not items:
        return []
    verb = "waits" if len(items) == 1 else "wait"
    page: list[RenderableType] = [
        cell(""),
        cell(f"inbox: {counted(len(items), 'item')} {verb} for you ({program} inbox)", AMBER),
    ]
    page.append(
        grid([[cell(item.id, "bold"), cell(item.kind.value.replace("_", " ")), cell(item.title)] for item in items[:5]])
    )
    return page
