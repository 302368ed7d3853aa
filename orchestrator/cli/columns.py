"""The lanes side by side, as far as the terminal is wide: one line for a task, `task (agent) state`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from orchestrator.cli.words import AMBER, age, safe
from orchestrator.model.plan import HUMAN
from orchestrator.model.run import Lane, TaskState
from orchestrator.model.view import TaskView

GAP = 2  #: blank columns between two lanes
BESIDE = tuple(lane for lane in Lane if lane is not Lane.CANCELLED)  #: cancelled tasks are shown apart

LANE_STYLES = {
    Lane.PLANNED: "",
    Lane.DOING: "cyan",
    Lane.FOR_REVIEW: "magenta",
    Lane.MERGING: "blue",
    Lane.BLOCKED: AMBER,
    Lane.DONE: "green",
    Lane.CANCELLED: "dim",
}


def lane_word(lane: Lane) -> str:
    return lane.value.replace("_", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What there is to say about a task in one short line."""

    name: str
    agent: str
    marks: tuple[str, ...]  #: its state in a word or two, then shorter; ends with "" where it may be left out

    def fitted(self, width: int, dots: str) -> str:
        """As much of it as fits, the name above all."""
        for agent in (f" ({self.agent})", "") if self.agent else ("",):
            for mark in self.marks:
                text = f"{self.name}{agent}{mark and ' '}{mark}"
                if cell_len(text) <= width:
                    return text
        last = self.marks[-1]
        return shortened(self.name, width - cell_len(last) - bool(last), dots) + (last and f" {last}")


def shortened(text: str, width: int, dots: str) -> str:
    """A text without its middle, for names often differ at their ends."""
    if cell_len(text) <= width:
        return text
    room = width - len(dots)
    if room < 4:
        return set_cell_size(text, max(width, 0)).rstrip()
    tail = room // 3
    end = text
    while cell_len(end) > tail:
        end = end[1:]
    return set_cell_size(text, room - cell_len(end)).rstrip() + dots + end


def entry(task: TaskView, now: datetime) -> Entry:
    """A task as it stands in its column."""
    late = task.overdue_at is not None
    stay = age(task.lane_since or task.since, now) + ("!" if late else "")
    always: tuple[str, ...] = ("!",) if late else ("",)
    words: tuple[str, ...] = ()
    match task.state:
        case TaskState.BACKOFF if task.retry_at is not None:
            words = (f"again in {age(now, task.retry_at)}" if task.retry_at > now else "again now",)
        case TaskState.PENDING if task.lane is Lane.BLOCKED:
            words = ("cannot start",)
        case TaskState.PENDING:
            words = ("waits",) if task.waiting_for else ()
        case TaskState.GATING:
            words = (f"at the gate {stay}", stay)
        case TaskState.QUEUED:
            words = (f"queued {stay}", stay)
        case TaskState.RUNNING | TaskState.ESCALATED | TaskState.FOR_REVIEW if task.item:
            asks = f"{task.item}{'!' if late else ''}"
            words, always = (f"asks {task.item}{f' {stay}' if late else ''}", f"asks {asks}"), (asks,)
        case TaskState.RUNNING:
            words = (f"{attempt_word(task)} {stay}".lstrip(), stay)
        case TaskState.FAILED:
            words = ("failed",)
        case TaskState.LANDED if task.undo:
            words, always = (f"undo: {task.undo}", f"undo {task.undo}"), ("undo",)
        case TaskState.LANDED if task.landed_commit is None:
            words = ("no change",)
    return Entry(
        name=safe(task.id), agent=safe(task.agent or ""), marks=tuple(safe(mark) for mark in (*words, *always))
    )


def attempt_word(task: TaskView) -> str:
    """`attempt 2/4`; empty for a first one, and a person's is not counted."""
    if task.agent == HUMAN:
        return "by hand" if task.attempts else ""
    if task.attempts < 2:
        return ""
    return f"attempt {task.attempts}/{task.tries}" if task.attempts <= task.tries else f"attempt {task.attempts}"


def in_order(lane: Lane, tasks: Sequence[TaskView]) -> list[TaskView]:
    """The tasks of a lane: what is being undone, landed last or is late comes first, else as in the plan."""
    inside = [task for task in tasks if task.lane is lane]
    if lane is Lane.DONE:
        newest = sorted(inside, key=lambda task: task.since, reverse=True)
        return sorted(newest, key=lambda task: not task.undo)
    return sorted(inside, key=lambda task: task.overdue_at is None)


def lane_columns(
    tasks: Sequence[TaskView], *, now: datetime, width: int, most: int | None, fine: bool = True
) -> list[Text]:
    """The lanes side by side.

    Args:
        width: of the terminal, in cells. Where it is short, empty lanes are left out, and then texts are cut.
        most: tasks of one lane; the rest is counted. None: all.
        fine: the terminal can show more than ASCII.
    """
    dots = "…" if fine else ".."
    lanes = {lane: in_order(lane, tasks) for lane in BESIDE}
    texts = {lane: [entry(task, now) for task in inside[:most]] for lane, inside in lanes.items()}
    heads = {lane: f"{lane_word(lane)} ({len(inside)})" for lane, inside in lanes.items()}
    wanted = {
        lane: max([len(heads[lane]), *(cell_len(one.fitted(width, dots)) for one in texts[lane])]) for lane in BESIDE
    }
    shown = list(BESIDE)
    if sum(wanted.values()) + GAP * (len(shown) - 1) > width:
        shown = [lane for lane in BESIDE if lanes[lane]] or list(BESIDE)
    least = [len(heads[lane]) for lane in shown]
    given = shares([wanted[lane] for lane in shown], least, width - GAP * (len(shown) - 1))
    hidden = {lane: len(lanes[lane]) - len(texts[lane]) for lane in shown}
    height = max(len(texts[lane]) + bool(hidden[lane]) for lane in shown)
    rows = [Text() for _ in range(height + 1)]
    for lane, room in zip(shown, given, strict=True):
        last = lane is shown[-1]
        cells = [(shortened(heads[lane], room, dots), f"bold {LANE_STYLES[lane]}".strip())]
        for task, one in zip(lanes[lane], texts[lane], strict=False):
            cells.append((one.fitted(room, dots), AMBER if task.overdue_at else LANE_STYLES[lane]))
        if hidden[lane]:
            cells.append((f"+{hidden[lane]} more", "dim"))
        cells += [("", "")] * (len(rows) - len(cells))
        for row, (text, style) in zip(rows, cells, strict=True):
            row.append(text, style)
            if not last:
                row.append(" " * (room + GAP - cell_len(text)))
    return rows


def shares(wanted: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """What each gets of the room: as much as it wants, and where that is too much, the greediest are cut alike.

    Nobody gets less than their least before everybody has come down to it.
    """
    given = list(wanted)
    while (over := sum(given) - room) > 0 and max(given) > 1:
        greedy = [index for index, one in enumerate(given) if one > least[index]] or list(range(len(given)))
        widest = max(given[index] for index in greedy)
        for index in [index for index in greedy if given[index] == widest][:over]:
            given[index] -= 1
    return given
