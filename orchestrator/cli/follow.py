"""Following a plan: a live board on a terminal, event lines anywhere else, until there is nothing left to follow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group

from orchestrator.cli import rows
from orchestrator.cli.board import Layout, board
from orchestrator.cli.session import Answer, Session
from orchestrator.cli.words import cell, line
from orchestrator.model.errors import ExitCode, NoDaemonError, OrchestratorError
from orchestrator.model.item import Item
from orchestrator.model.run import PlanPhase, TaskState
from orchestrator.model.view import PlanView, TaskView

if TYPE_CHECKING:
    from rich.console import ConsoleDimensions, RenderableType
    from rich.live import Live

    from orchestrator.ports import LedgerReader, Stored

#: How often the ledger is looked at.
EVERY_S = 0.25
FOLLOW_S = 0.1  #: a person waits for the end of what they follow
#: A daemon that is restarted is away for a moment.
AWAY_LOOKS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What the ledger says at one moment."""

    plan: PlanView
    tasks: list[TaskView]
    items: list[Item]


def picture(reader: LedgerReader, name: str) -> Picture:
    plan = next(plan for plan in rows.plans(reader) if plan.name == name)
    return Picture(plan=plan, tasks=rows.tasks(reader, name), items=rows.items(reader))


def outcome(seen: Picture, *, stop_when_blocked: bool) -> ExitCode | None:
    """What a following `start` ends with; None while there is something to follow."""
    if rows.is_over(seen.plan):
        landed = all(task.state is TaskState.LANDED for task in seen.tasks)
        return ExitCode.OK if landed else ExitCode.NOT_ALL_LANDED
    stands = seen.plan.state is PlanPhase.BLOCKED or (
        seen.plan.state is PlanPhase.PAUSED and not any(task.state is TaskState.RUNNING for task in seen.tasks)
    )
    if stands and stop_when_blocked:
        return ExitCode.NEEDS_PERSON
    return None


def outcome_error(code: ExitCode, seen: Picture, program: str) -> OrchestratorError | None:
    """Why the exit code is not 0, for people and for the JSON envelope."""
    if code is ExitCode.OK:
        return None
    missing = [task.id for task in seen.tasks if task.state is not TaskState.LANDED]
    names = f"{', '.join(missing[:6])}{', ...' if len(missing) > 6 else ''}"
    if code is ExitCode.NEEDS_PERSON:
        error = OrchestratorError(
            f"plan '{seen.plan.name}' waits for a person",
            why=f"nothing can move without an answer; not landed: {names}"
            if missing
            else "nothing can move without an answer",
            fix=f"see what is asked: {program} inbox",
        )
        error.code = "needs_person"
    else:
        error = OrchestratorError(
            f"{len(missing)} of {len(seen.tasks)} tasks of plan '{seen.plan.name}' did not land",
            why=f"not landed: {names}",
            fix=f"see what happened and what can be done: {program} report",
        )
        error.code = "not_all_landed"
    error.exit_code = code
    return error


def follow(session: Session, reader: LedgerReader, name: str, *, exit_when_blocked: bool, after_seq: int) -> Answer:
    """Show a plan until it ends; Ctrl-C detaches and leaves everything running."""
    from orchestrator.cli.report import ending_lines
    from orchestrator.cli.status import status_data

    stop_when_blocked = exit_when_blocked or not session.on_terminal
    try:
        seen, code = _until_over(session, reader, name, stop_when_blocked=stop_when_blocked, after_seq=after_seq)
    except KeyboardInterrupt:
        session.say(*_detached(session), talk=True)
        return Answer(streamed=True)
    data = status_data(seen.plan, rows.plans(reader), seen.tasks, seen.items, daemon_pid=session.daemon_pid())
    return Answer(
        data=data,
        page=lambda: ending_lines(seen.plan, seen.tasks, session.program),
        error=outcome_error(code, seen, session.program),
    )


def _until_over(
    session: Session, reader: LedgerReader, name: str, *, stop_when_blocked: bool, after_seq: int
) -> tuple[Picture, ExitCode]:
    version, away = -1, 0
    seen = picture(reader, name)
    with _screen(session) as live:
        drawn = None
        while True:
            present = reader.version()
            if present != version:
                version = present
                new = reader.events(after_seq=after_seq)
                after_seq = new[-1].seq if new else after_seq
                seen = picture(reader, name)
                if live is None:
                    print_headlines(session, new)
            drawn = _draw(session, live, seen, drawn)
            code = outcome(seen, stop_when_blocked=stop_when_blocked)
            if code is not None:
                return seen, code
            away = 0 if session.daemon_pid() is not None else away + 1
            if away > AWAY_LOOKS:
                raise _daemon_gone(session, seen)
            session.wait(FOLLOW_S)


def print_headlines(session: Session, new: Iterable[Stored]) -> None:
    """Event lines for people who read them in a file or a build log."""
    from orchestrator.cli.event_words import HEADLINES, words
    from orchestrator.cli.words import clock

    if session.json:
        return
    now = session.now()
    session.say(
        *(
            line(f"{clock(event.at, now)}  ", f"{event.task or event.plan or 'daemon'}: ", words(event))
            for event in new
            if event.type in HEADLINES
        )
    )


@contextmanager
def _screen(session: Session) -> Iterator[Live | None]:
    """A part of the terminal that is drawn again and again; None where there is no terminal."""
    if not session.has_screen:
        yield None
        return
    from rich.live import Live

    console = session.console()
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis", redirect_stdout=False) as live:
        yield live


def _draw(
    session: Session, live: Live | None, seen: Picture, drawn: ConsoleDimensions | None
) -> ConsoleDimensions | None:
    """Draw once more. Returns: the size of the terminal it was drawn for."""
    if live is None:
        return None
    size = live.console.size
    if drawn not in {None, size}:
        live.console.clear()  # the terminal has broken the lines anew, so they are not where we left them
    live.update(Group(*screen_page(session, seen, size.width, size.height)), refresh=True)
    return size


def screen_page(session: Session, seen: Picture, width: int, height: int) -> list[RenderableType]:
    """The board for one screen: no longer than it, with the last words of those who work."""
    from orchestrator.cli.status import WIDE, last_output

    running = [task for task in seen.tasks if task.state is TaskState.RUNNING]
    beside = width >= WIDE
    details = min(max((height - 20) // 2, 3), 8)
    foot = 2 + (2 + min(len(seen.items), 5) if seen.items else 0)
    page = board(
        seen.plan,
        seen.tasks,
        seen.items,
        now=session.now(),
        daemon_pid=session.daemon_pid(),
        program=session.program,
        layout=Layout.COLUMNS if beside else Layout.LANES,
        width=width,
        most=max(height - 9 - details - foot if beside else (height - 14) // 4, 3),
        details=details,
        fine=session.is_fine,
        output={task.id: last_output(session, task)[:160] for task in running[:16]},
    )
    return [*page, cell(""), cell("Ctrl-C leaves this view; the work goes on.", "dim")]


def _detached(session: Session) -> list[RenderableType]:
    return [
        cell("Detached. The daemon and the agents go on."),
        cell(f"  come back:  {session.command_line('start')}"),
        cell(f"  look:       {session.command_line('status')}"),
        cell(f"  stop:       {session.command_line('stop')}"),
    ]


def _daemon_gone(session: Session, seen: Picture) -> NoDaemonError:
    alive = [task.id for task in seen.tasks if task.state is TaskState.RUNNING]
    return NoDaemonError(
        f"the daemon ended while plan '{seen.plan.name}' was under way",
        why=f"agents that were running go on by themselves: {', '.join(alive)}" if alive else "no agent was running",
        fix=f"go on where it was: {session.command_line('start')}; "
        f"what it said last: {session.command_line('logs', '--stream', 'daemon', '-n', '50')}",
    )
