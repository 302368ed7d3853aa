"""`events`: the ledger, one line for each thing that happened."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import rows
from orchestrator.cli.session import Answer, Session
from orchestrator.cli.verb import PlanOption, verb
from orchestrator.model.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from orchestrator.ports import LedgerReader, Stored


@verb
def events(
    session: Session,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what happens from now on.")] = False,
    after_seq: Annotated[int, typer.Option("--after-seq", metavar="N", min=0, help="Only what came after N.")] = 0,
    number: Annotated[int | None, typer.Option("-n", metavar="N", min=0, help="Only the last N.")] = None,
    kinds: Annotated[list[str] | None, typer.Option("--type", metavar="T", help="Only these; may be repeated.")] = None,
    plan: PlanOption = None,
) -> Answer:
    """Everything that happened, oldest first. With -f and --json one JSON object a line."""
    reader = session.ledger()
    name = None if plan is None else rows.chosen_plan(rows.plans(reader), plan).name
    wanted = {kind for given in kinds or () for kind in given.split(",")}
    if wanted:
        _check_types(wanted)
    hidden = _hidden(session, wanted)
    # Looked up before anything is read, so that what happens meanwhile is told once, below.
    newest = reader.events(last=1)
    seen = newest[-1].seq if newest else 0
    chosen = read_events(reader, after_seq=after_seq, number=number, kinds=wanted, hidden=hidden, plan=name)
    if not follow:
        from orchestrator.cli.event_words import event_data

        return Answer(data={"events": [event_data(event) for event in chosen]}, page=lambda: _page(session, chosen))
    print_events(session, [event for event in chosen if event.seq <= seen])
    last = max(after_seq, seen)
    follow_events(
        session,
        reader,
        last,
        lambda new: print_events(session, [e for e in new if _is_wanted(e, wanted, hidden)]),
        name,
    )
    return Answer(streamed=True)


def _hidden(session: Session, wanted: set[str]) -> Set[str]:
    """Types that only the daemon needs: told to programs, and to people who ask for them."""
    from orchestrator.cli.event_words import SILENT

    return frozenset() if session.json or wanted else SILENT


def _is_wanted(event: Stored, kinds: Set[str], hidden: Set[str]) -> bool:
    return event.type in kinds if kinds else event.type not in hidden


def read_events(
    reader: LedgerReader,
    *,
    after_seq: int,
    number: int | None,
    kinds: Set[str],
    hidden: Set[str] = frozenset(),
    plan: str | None,
) -> list[Stored]:
    """The last so many events of these kinds, or else of all that are not hidden."""
    if number == 0:
        return []
    found = reader.events(after_seq=after_seq, plan=plan, last=None if kinds or hidden else number)
    chosen = [event for event in found if _is_wanted(event, kinds, hidden)]
    return chosen if number is None else chosen[-number:]


def follow_events(
    session: Session,
    reader: LedgerReader,
    after_seq: int,
    tell: Callable[[list[Stored]], None],
    plan: str | None = None,
) -> None:
    """Tell new events for ever; Ctrl-C ends it."""
    version = -1
    while True:
        present = reader.version()
        if present != version:
            version = present
            new = reader.events(after_seq=after_seq, plan=plan)
            if new:
                after_seq = new[-1].seq
                tell(new)
        session.wait(0.25)


def print_events(session: Session, chosen: Sequence[Stored]) -> None:
    """Events at once, as text or as one JSON object a line."""
    if not chosen:
        return
    if session.json:
        from orchestrator.cli.event_words import event_data

        for event in chosen:
            session.print_json(event_data(event))
    else:
        session.say(*_page(session, chosen))


def _page(session: Session, chosen: Sequence[Stored]) -> Iterable[RenderableType]:
    from orchestrator.cli.words import clock

    now = session.now()
    return [event_line(event, clock(event.at, now)) for event in chosen]


def event_line(event: Stored, at: str) -> Text:
    """`  41  20:39:04  attempt_started  api  attempt 1 started with claude`."""
    from orchestrator.cli.event_words import words
    from orchestrator.cli.words import cell, line

    return line(
        cell(f"{event.seq:>6}  ", "dim"),
        cell(f"{at}  ", "dim"),
        cell(f"{event.type:<18}", "bold"),
        "  ",
        cell(f"{event.task or '-':<16}", "cyan"),
        "  ",
        words(event),
    )


def _check_types(wanted: set[str]) -> None:
    """Raises: UsageError for a type that no event has, with the nearest one."""
    import difflib

    from orchestrator.cli.event_words import SILENT, WORDS

    known = sorted(SILENT | WORDS.keys())
    for name in sorted(wanted):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise UsageError(
                f"there is no event type '{name}'",
                why=f"known: {', '.join(known)}",
                fix=f"did you mean '{near[0]}'?" if near else "",
            )
