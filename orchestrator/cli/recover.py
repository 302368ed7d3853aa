"""`recover`: a ledger that is damaged or missing, put together again from what is left."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.act import only_for_people, person
from orchestrator.cli.complete import words
from orchestrator.cli.session import Answer, Session
from orchestrator.cli.verb import verb
from orchestrator.model.errors import ConfirmationNeeded, OrchestratorError, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestrator.core.recoverytext import Proposal

SOURCES = ("ledger", "backup", "journal")


@verb
def recover(
    session: Session,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="SOURCE",
            help="Take events from nothing else: ledger, backup or journal.",
            autocompletion=words(*SOURCES),
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do what is shown, without asking.")] = False,
) -> Answer:
    """Put a damaged or missing ledger together again, from itself, its newest backup and its journal.

    Shows what it found, what would be taken from where and what would be lost, and asks. The old files are kept. It
    changes nothing while the ledger is whole, and is refused while a daemon runs.
    """
    only_for_people("recover")
    if from_ is not None and from_ not in SOURCES:
        raise UsageError(f"--from cannot be '{from_}'", fix=f"use {', '.join(SOURCES[:-1])} or {SOURCES[-1]}")
    with session.world().recovery(session.place_of_trees(), from_) as found:
        proposal = found.proposal
        if proposal.is_whole:
            return Answer(data=_data(proposal, done=False), page=lambda: _page(proposal))
        if not yes:
            if not session.json:
                session.say(*_page(proposal))
            refused = _refused(session, from_)
            if refused is not None:
                return Answer(data=_data(proposal, done=False), error=refused)
        aside = found.carry_out(person())
        shown = () if not yes else tuple(_page(proposal))
        return Answer(data=_data(proposal, done=True), page=lambda: (*shown, *_done(session, str(aside))))


def _refused(session: Session, source: str | None) -> OrchestratorError | None:
    """Why it is not done; None when the person said yes."""
    if session.may_ask:
        said = session.question("Do this? [y]es / [n]o: ").lower()
        if said in {"y", "yes"}:
            return None
    again = session.command_line("recover", *(["--from", source] if source else []), "--yes")
    return ConfirmationNeeded(
        "nothing was changed",
        why="the answer was not yes" if session.may_ask else "there is no terminal to ask at",
        fix=f"{again} does what is shown",
    )


def _page(proposal: Proposal) -> Iterable[RenderableType]:
    from orchestrator.cli.words import cell
    from orchestrator.core.recoverytext import lines

    for line in lines(proposal):
        yield cell(line)


def _done(session: Session, aside: str) -> Iterable[RenderableType]:
    from orchestrator.cli.words import cell, prose

    yield cell("")
    yield prose(f"Done: the ledger is whole again. What was there before is in {aside}.")
    yield prose(f"Go on with {session.command_line('start')}; look at {session.command_line('inbox')} first.")


def _data(proposal: Proposal, *, done: bool) -> dict[str, Any]:
    return {
        "ledger": proposal.ledger,
        "whole": proposal.is_whole or done,
        "recovered": done,
        "examined": [{"name": one.name, "said": one.said, "good": one.is_good} for one in proposal.examined],
        "taken": list(proposal.stretches),
        "last": proposal.last,
        "last_at": proposal.last_at,
        "lost": proposal.lost,
        "may_lack_more": proposal.unknown_after,
        "masked": proposal.masked,
        "masked_plans": list(proposal.masked_plans),
        "stopped": proposal.stopped,
        "token_floor": proposal.token_floor,
        "landings": [{"plan": one.plan, "task": one.task, "commit": one.commit} for one in proposal.landings],
        "astray": list(proposal.astray),
        "branches": list(proposal.branches),
        "strangers": [{"run": run, "pid": pid} for run, pid in (proposal.strangers or {}).items()],
        "aside": proposal.aside,
    }
