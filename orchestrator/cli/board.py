"""The board: the plan, its progress, and its tasks by lane: in columns where there is room, else as a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum

from rich.console import RenderableType
from rich.text import Text

from orchestrator.cli import rows
from orchestrator.cli.columns import LANE_STYLES, attempt_word, in_order, lane_columns, lane_word, shortened
from orchestrator.cli.words import AMBER, age, aligned, bar, cell, counted, grid, line, short
from orchestrator.model.item import Item
from orchestrator.model.plan import HUMAN
from orchestrator.model.run import Lane, PlanPhase, TaskState
from orchestrator.model.view import AttemptView, PlanView, TaskView, Totals

PHASE_STYLES = {
    PlanPhase.RUNNING: "cyan",
    PlanPhase.BLOCKED: AMBER,
    PlanPhase.PAUSED: AMBER,
    PlanPhase.PUBLISHED: "green",
    PlanPhase.CANCELLED: "dim",
}
#: What a flag of an attempt says to a person.
FLAG_WORDS = {"quiet": "no progress", "stuck": "cannot be stopped"}


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
        if task.undo:
            said.append(cell(f"undo: {task.undo}", AMBER))
        said.append(cell(short(task.landed_commit) or "nothing had to be changed", "dim"))
    return Text("; ").join(said)


def task_cells(task: TaskView, now: datetime, width: int | None = None, *, fine: bool = True) -> list[Text]:
    """Id, agent, age, attempt, and what there is to say; where the width is known, long names do not take all of it."""
    name, agent = task.id, task.agent or "-"
    if width is not None:
        dots = "…" if fine else ".."
        name, agent = shortened(name, max(width // 3, 16), dots), shortened(agent, max(width // 6, 10), dots)
    return [
        cell(name, "bold"),
        cell(agent),
        cell(lane_age(task, now), "dim"),
        cell(attempt_word(task) or (f"attempt {task.attempts}" if task.attempts else ""), last_style(task)),
        note(task, now),
    ]


def last_style(task: TaskView) -> str:
    return AMBER if task.attempts > 1 and task.agent != HUMAN else ""


def head(plan: PlanView, totals: Totals, daemon_pid: int | None, program: str, *, fine: bool = True) -> list[Text]:
    """What the plan is, how far it has come, and where it stands."""
    over = rows.is_over(plan)
    daemon = f"daemon {daemon_pid}" if daemon_pid else "no daemon" if over else f"no daemon runs: {program} start"
    # a daemon that is gone drains no more
    phase = "stopped" if plan.state is PlanPhase.DRAINING and daemon_pid is None else plan.state.value
    where = [
        cell(phase, PHASE_STYLES.get(plan.state, "")),
        cell(f"run {plan.number}", "dim"),
        cell(f"target {plan.target}", "dim"),
        cell(daemon, "dim" if daemon_pid or over else AMBER),
    ]
    return [
        line("plan ", cell(plan.name, "bold"), f"  {counts_line(totals)}"),
        cell(f"Progress {bar(totals.completed, totals.total, fine=fine)}"),
        Text("  ").join(where),
        *(cell(words, AMBER) for words in held_words(plan)),
    ]


def held_words(plan: PlanView) -> list[str]:
    """What keeps new work from being started and what to do about it, a line each."""
    if rows.is_over(plan):
        return []
    return [f"held back: {hold.detail}; {hold.fix}" for hold in plan.holds]


class Layout(StrEnum):
    """How the tasks are put on the page."""

    COLUMNS = "columns"  #: lanes side by side
    LANES = "lanes"  #: a heading for each lane, its tasks below
    FLAT = "flat"  #: a line for each task that begins with its lane, for `grep` and the like


def board(
    plan: PlanView,
    tasks: Sequence[TaskView],
    items: Sequence[Item],
    *,
    now: datetime,
    daemon_pid: int | None,
    program: str = "orchestrator",
    layout: Layout = Layout.LANES,
    width: int = 80,
    most: int | None = 200,
    details: int = 8,
    fine: bool = True,
    output: Mapping[str, str] | None = None,
) -> list[RenderableType]:
    """The page of `status`.

    Args:
        width: of the terminal, for columns.
        most: tasks of one lane; the rest is counted. None: all.
        details: lines below the columns, for tasks that are under way or held up.
        fine: the terminal can show more than ASCII.
        output: last output line of running tasks.
    """
    page: list[RenderableType] = [*head(plan, rows.totals(tasks), daemon_pid, program, fine=fine), cell("")]
    match layout:
        case Layout.COLUMNS:
            page += lane_columns(tasks, now=now, width=width, most=most, fine=fine)
            page += cancelled_line(tasks, width, fine=fine)
            page += detail_lines(tasks, now, details, output or {}, width, fine=fine)
        case Layout.LANES | Layout.FLAT:
            page += _listed(tasks, now, most, output or {}, None if layout is Layout.FLAT else width, fine=fine)
    return page + inbox_lines(plan, items, program)


def _listed(
    tasks: Sequence[TaskView],
    now: datetime,
    most: int | None,
    output: Mapping[str, str],
    width: int | None,
    *,
    fine: bool,
) -> list[RenderableType]:
    """The tasks one below the other: under headings where the width is known, else each with its lane before it."""
    page: list[RenderableType] = []
    lines: list[list[Text]] = []
    for lane in Lane:
        inside = in_order(lane, tasks)
        cells = [_with_output(task, task_cells(task, now, width, fine=fine), output) for task in inside[:most]]
        if hidden := len(inside) - len(cells):
            cells.append([cell(f"+{hidden} more", "dim"), *[cell("")] * 3, cell("status --all shows them", "dim")])
        if width is None:
            lines += [[cell(lane_word(lane)), *one] for one in cells]
        elif inside:
            page.append(cell(f"{lane_word(lane)} ({len(inside)})", f"bold {LANE_STYLES[lane]}".strip()))
            page.append(grid(cells))
    return [*aligned(lines)] if lines else page


def _with_output(task: TaskView, cells: list[Text], output: Mapping[str, str]) -> list[Text]:
    if output.get(task.id):
        last = cell(output[task.id], "dim")
        cells[-1] = line(cells[-1], "  ", last) if cells[-1].plain else last
    return cells


def cancelled_line(tasks: Sequence[TaskView], width: int, *, fine: bool = True) -> list[RenderableType]:
    """The tasks that are no longer wanted, apart from the lanes."""
    names = [task.id for task in tasks if task.lane is Lane.CANCELLED]
    if not names:
        return []
    text = f"{lane_word(Lane.CANCELLED)} ({len(names)}): {', '.join(names[:50])}"
    end = "…" if fine else ".."
    return [cell(""), cell(text if len(text) <= width else text[: width - len(end)] + end, "dim")]


def detail_lines(
    tasks: Sequence[TaskView], now: datetime, most: int, output: Mapping[str, str], width: int, *, fine: bool = True
) -> list[RenderableType]:
    """A line for each task that is under way or held up and has more to say than fits into a column."""
    lanes = (Lane.BLOCKED, Lane.DOING, Lane.FOR_REVIEW, Lane.MERGING)
    lines = []
    for task in (task for lane in lanes for task in in_order(lane, tasks)):
        *_, said = _with_output(task, [note(task, now)], output)
        if said.plain:
            name = shortened(task.id, max(width // 3, 16), "…" if fine else "..")
            lines.append([cell(name, "bold"), cell(lane_word(task.lane), LANE_STYLES[task.lane]), said])
    if not lines:
        return []
    page: list[RenderableType] = [cell(""), grid(lines[:most], indent=0)]
    if len(lines) > most:
        page.append(cell(f"+{len(lines) - most} more with something to say", "dim"))
    return page


def inbox_lines(plan: PlanView, items: Sequence[Item], program: str) -> list[RenderableType]:
    """What waits for a person, at the foot of the board."""
    if not items:
        return []
    notes = sum(item.is_note for item in items)
    asks = len(items) - notes
    said = [f"{counted(asks, 'item')} {'waits' if asks == 1 else 'wait'} for you"] if asks else []
    said += [counted(notes, "note")] if notes else []
    page: list[RenderableType] = [cell(""), cell(f"inbox: {', '.join(said)} ({program} inbox)", AMBER)]
    page.append(
        grid([[cell(item.id, "bold"), cell(item.kind.value.replace("_", " ")), cell(item.title)] for item in items[:5]])
    )
    return page
