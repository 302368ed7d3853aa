"""`validate`: whether ledger, disk, repositories and processes agree, and what puts right what differs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.act import only_for_people
from orchestrator.cli.session import Answer, Session
from orchestrator.cli.verb import verb
from orchestrator.model.difference import Difference
from orchestrator.model.errors import ExitCode, OrchestratorError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestrator.app.validation import Validation


@verb
def validate(
    session: Session,
    fix: Annotated[bool, typer.Option("--fix", help="Put right what loses nothing; say the rest.")] = False,
) -> Answer:
    """Compare the ledger with itself, the disk, both repositories and the processes.

    Ends with 0 when all agrees and with 1 otherwise. --fix works while no daemon runs; one that starts does most of it
    by itself.
    """
    if fix:
        only_for_people("validate --fix")
    found = session.world().validate(session.place(), fix=fix)
    data = {
        "events": found.events,
        "mended": [_data(one) for one in found.mended],
        "differences": [_data(one) for one in found.left],
    }
    return Answer(data=data, page=lambda: _page(session, found, fix), error=_error(session, found, fix))


def _data(one: Difference) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "said": one.said,
        "why": one.why,
        "fix": one.fix,
        "plan": one.plan_id,
        "safe": one.remedy is not None,
    }


def _error(session: Session, found: Validation, fix: bool) -> OrchestratorError | None:
    if not found.left:
        return None
    from orchestrator.cli.words import counted

    safe = sum(one.remedy is not None for one in found.left)
    rest = len(found.left) - safe
    said = []
    if safe and not fix:
        daemon = session.daemon_pid() is not None
        words = session.command_line("restart") if daemon else session.command_line("validate", "--fix")
        said.append(f"{words} puts {counted(safe, 'difference')} right")
    elif safe:
        said.append(f"{counted(safe, 'difference')} could not be put right")
    if rest:
        said.append(f"{counted(rest, 'difference')} {'is' if rest == 1 else 'are'} for you to look at, as said above")
    error = OrchestratorError(
        f"not everything agrees: {counted(len(found.left), 'difference')}", why=found.left[0].said, fix="; ".join(said)
    )
    error.code = "differs"
    error.exit_code = ExitCode.NOT_ALL_LANDED
    return error


def _page(session: Session, found: Validation, fix: bool) -> Iterable[RenderableType]:
    from orchestrator.cli.words import cell, counted, grid

    rows = []
    for one in found.mended:
        rows += [
            [cell("mended", "green"), cell(one.said)],
            [cell(""), cell(f"why: {one.why}", "dim")],
            [cell(""), cell(f"done: {one.fix}", "dim")],
        ]
    for one in found.left:
        word, style = ("safe", "yellow") if one.remedy is not None else ("look", "bold red")
        rows += [
            [cell(word, style), cell(one.said)],
            [cell(""), cell(f"why: {one.why}", "dim")],
            [cell(""), cell(f"fix: {one.fix}")],
        ]
    if rows:
        yield grid(rows, indent=0)
    if not found.left:
        if rows:
            yield cell("")
        now = "now " if found.mended else ""
        yield cell(f"Everything agrees {now}with the {counted(found.events, 'event')} of the ledger.", "green")
