"""`status --watch`: the same picture, kept up to date until the plan is over."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from orchestrator.cli import rows
from orchestrator.cli.follow import EVERY_S, Picture, picture, screen_page
from orchestrator.cli.session import Answer, Session
from orchestrator.cli.status import board_page
from orchestrator.cli.words import cell, clock

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestrator.ports import LedgerReader

#: Looks at the ledger after which a screen is drawn again though nothing happened, so that ages go on.
LOOKS_A_DRAWING = 4


def watch(session: Session, plan: str | None, *, everything: bool = False) -> Answer:
    """Show a plan again whenever something changes. Ctrl-C leaves the view and nothing else."""
    reader = session.ledger()
    name = rows.chosen_plan(rows.plans(reader), plan).name
    if session.has_screen:
        seen = _on_screen(session, reader, name)
        session.say(*_page(session, seen, everything))
    else:
        seen = _printed(session, reader, name, everything)
    if rows.is_over(seen.plan):
        said = f"Plan '{name}' is over ({seen.plan.state.value}); there is nothing more to watch."
        session.say(cell(said), talk=True)
    return Answer(streamed=True)


def _page(session: Session, seen: Picture, everything: bool) -> list[RenderableType]:
    return board_page(session, seen.plan, seen.tasks, seen.items, session.daemon_pid(), everything)


def _on_screen(session: Session, reader: LedgerReader, name: str) -> Picture:
    """Draw on a screen of its own, which gives the terminal back as it was. Returns: what was seen last."""
    from rich.console import Group
    from rich.live import Live

    version, seen = reader.version(), picture(reader, name)
    if rows.is_over(seen.plan):
        return seen
    looks, size = 0, (0, 0)
    with Live(console=session.console(), screen=True, auto_refresh=False, redirect_stdout=False) as live:
        try:
            while not rows.is_over(seen.plan):
                present = reader.version()
                if present != version:
                    version, seen, looks = present, picture(reader, name), 0
                if looks % LOOKS_A_DRAWING == 0 or screen_size() != size:
                    width, height = size = screen_size()
                    live.console.size = size
                    live.update(Group(*screen_page(session, seen, width, height)), refresh=True)
                looks += 1
                session.wait(EVERY_S)
        except KeyboardInterrupt:
            pass
    return seen


def screen_size() -> tuple[int, int]:
    """Columns and lines of the terminal that is written to, at this moment."""
    columns, lines = os.get_terminal_size(sys.stdout.fileno())
    return columns or 80, lines or 24


def _printed(session: Session, reader: LedgerReader, name: str, everything: bool) -> Picture:
    """Print the list again after each change, under the time of day. Returns: what was seen last."""
    version, seen, pid = reader.version(), picture(reader, name), session.daemon_pid()
    session.say(*_page(session, seen, everything))
    try:
        while not rows.is_over(seen.plan):
            session.wait(EVERY_S)
            before = (seen, pid)
            pid = session.daemon_pid()
            present = reader.version()
            if present != version:
                version, seen = present, picture(reader, name)
            if (seen, pid) != before:
                now = session.now()
                session.say(cell(f"\n-- {clock(now, now)}"), *_page(session, seen, everything))
    except KeyboardInterrupt:
        pass
    return seen
