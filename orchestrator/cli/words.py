"""Small pieces of text that every screen uses: lengths of time, counts, bars, safe cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchestrator.core.redact import redact
from orchestrator.core.terminal import printable

#: Colours of task names where the output of several is mixed.
PREFIX_STYLES = ("cyan", "green", "magenta", "blue", "bright_cyan", "bright_green", "bright_magenta", "bright_blue")
AMBER = "yellow"


def safe(text: str) -> str:
    """Text from outside, line by line without anything that a terminal would obey."""
    return "\n".join(printable(line) for line in text.split("\n"))


def cell(text: object, style: str = "") -> Text:
    """One piece of text for a table or line, never read as markup."""
    return Text(safe(str(text)), style=style)


def line(*parts: str | Text) -> Text:
    """Several pieces in one line."""
    whole = Text()
    for part in parts:
        whole.append_text(part if isinstance(part, Text) else cell(part))
    return whole


def prose(text: str | Text, indent: int = 0, style: str = "") -> RenderableType:
    """Sentences, broken between words where the terminal ends; the lines that follow stay under the first.

    A command that a person may copy is no prose: nothing is ever put into it.
    """
    return Padding(text if isinstance(text, Text) else cell(text, style), (0, 0, 0, indent), expand=False)


def labelled(label: str, text: str | Text, style: str = "dim") -> RenderableType:
    """A word and what is to be said about it; the lines that follow stay under the first."""
    return grid([[cell(label, style), text if isinstance(text, Text) else cell(text)]], indent=0)


def told(error: str, style: str = "") -> Iterable[RenderableType]:
    """What went wrong, why, and what to do. The last is often a command to copy, so it is left in one piece."""
    for row in error.split("\n"):
        text = row.lstrip(" ")
        yield cell(row, style) if text.startswith("fix: ") or not text else prose(text, len(row) - len(text), style)


def indented(text: str, by: str = "    ", style: str = "") -> RenderableType:
    """A text of several lines that others wrote, moved to the right, with obvious secrets masked."""
    return prose(cell(redact(text).rstrip("\n"), style), len(by))


def grid(rows: Iterable[Sequence[Text]], *, indent: int = 2, wrap_last: bool = True) -> Table:
    """Rows with aligned columns and no lines between them. Only the last column wraps."""
    table = Table.grid(padding=(0, 2, 0, 0))
    filled = [[cell(" " * (indent - 2)), *row] if indent >= 2 else list(row) for row in rows]
    width = max((len(row) for row in filled), default=0)
    for index in range(width):
        last = index == width - 1
        table.add_column(no_wrap=not (last and wrap_last), overflow="fold" if last else "ellipsis")
    for row in filled:
        table.add_row(*row)
    return table


def aligned(rows: Sequence[Sequence[Text]]) -> list[Text]:
    """Rows with aligned columns, a line each, never broken. For long lists: much faster than a grid."""
    columns = max((len(row) for row in rows), default=0)
    widths = [max((row[at].cell_len for row in rows if at < len(row)), default=0) for at in range(columns)]
    return [
        Text("  ").join(
            [*(line(text, " " * (widths[at] - text.cell_len)) for at, text in enumerate(row[:-1])), *row[-1:]]
        )
        for row in rows
    ]


def length(span: timedelta) -> str:
    """`5s`, `3m`, `2h 05m`, `3d 4h`."""
    seconds = max(int(span.total_seconds()), 0)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 60:
        return f"{seconds}s"
    if minutes < 60:
        return f"{minutes}m"
    if hours < 24:
        return f"{hours}h {minutes % 60:02d}m"
    return f"{days}d {hours % 24}h"


def age(since: datetime, now: datetime) -> str:
    return length(now - since)


def clock(at: datetime, now: datetime) -> str:
    """The local time of day, with the date when it was another day."""
    local, today = at.astimezone(), now.astimezone()
    return f"{local:%H:%M:%S}" if local.date() == today.date() else f"{local:%Y-%m-%d %H:%M:%S}"


def short(commit: str | None) -> str:
    return commit[:8] if commit else ""


def counted(number: int, one: str, many: str = "") -> str:
    """`1 task`, `2 tasks`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def joined(names: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def bar(done: int, total: int, width: int = 20, *, fine: bool = True) -> str:
    """`████░░░░ 25 % (1/4 done)`, or where there are no blocks `[####----] 25 % (1/4 done)`."""
    share = done / total if total else 0.0
    full = int(share * width)
    drawn = f"{'█' * full}{'░' * (width - full)}" if fine else f"[{'#' * full}{'-' * (width - full)}]"
    return f"{drawn} {int(share * 100)} % ({done}/{total} done)"
