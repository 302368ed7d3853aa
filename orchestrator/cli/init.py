"""`init`: settings for a repository that has none, proposed from what is in it, asked about, shown, written."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.session import Answer, Session
from orchestrator.cli.verb import verb
from orchestrator.model.errors import ConfirmationNeeded, SettingsError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestrator.core.detection import CheckGuess, PrepareGuess, Signs
    from orchestrator.core.knownagents import KnownAgent
    from orchestrator.core.starter import Starter
    from orchestrator.model.place import Place

FILE = "orchestrator.toml"


@verb
def init(
    session: Session,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write what was found, without asking.")] = False,
) -> Answer:
    """Set this repository up: finds checks, agents and what fresh trees need, asks, writes `orchestrator.toml`.

    An existing file is never changed: it shows what it would add.
    """
    return set_up(session, yes=yes)


def set_up(session: Session, *, yes: bool) -> Answer:
    from orchestrator.core.detection import detect, remarks_for
    from orchestrator.core.starter import settings_text, starter_of

    world = session.world()
    place = world.place_for(session.path(Path()))
    existing = world.settings_file(place)
    signs = world.look_around(place)
    starter = starter_of(detect(signs), remarks_for(signs))
    if existing is not None:
        return _shown_only(place, existing, starter)
    asks = session.may_ask and not yes
    if asks:
        starter = _asked(session, place, signs, starter)
    text = settings_text(starter)
    data = {
        "path": str(place.root / FILE),
        "written": False,
        "text": text,
        "checks": [{"name": one.name, "run": list(one.run), "because": one.because} for one in starter.checks],
        "agents": [agent.name for agent in starter.agents],
        "warnings": warnings_for(signs, starter),
    }
    if asks:
        session.say(*_file_page(text))
    if not yes and not (asks and _agrees(session, f"Write this to {FILE}? [Y]es / [n]o: ")):
        return Answer(
            data=data,
            page=tuple if asks else lambda: [text.rstrip("\n")],
            error=ConfirmationNeeded(
                "nothing was written",
                why="the answer was not yes" if asks else "there is no terminal to ask at",
                fix=f"{session.command_line('init', '--yes')} writes it as it is shown; it can be edited afterwards",
            ),
        )
    path = world.write_settings(place, text)
    data["written"] = True
    return Answer(
        data=data,
        page=lambda: _done_page(session, path.name, starter, signs, text=None if asks else text),
    )


def warnings_for(signs: Signs, starter: Starter) -> list[str]:
    """What a person should see before the first plan, in whole sentences."""
    said = []
    if not signs.has_commit:
        said.append('There is no commit yet, and agents start from one: git add . && git commit -m "first"')
    if any(check.is_last_resort for check in starter.checks):
        said.append("No tests were recognised, so the gate only looks for conflict markers: put your command there.")
    if not starter.agents:
        said.append("No agent is declared, so tasks would come to you: declare yours there.")
    if signs.trouble and starter.worktrees is None:
        said.append(f"Worktrees cannot be made: {signs.trouble}. Set `worktrees` to a folder that can be written.")
    return said


# ---- an existing file ----


def _shown_only(place: Place, existing: str, starter: Starter) -> Answer:
    """What the file lacks, as a difference; the file stays as it is."""
    from tomllib import TOMLDecodeError

    from orchestrator.core.starter import DoesNotFitError, additions_text, completed_text, difference, missing_keys

    path = place.root / FILE
    try:
        missing = missing_keys(existing, starter)
        try:
            diff = difference(existing, completed_text(existing, starter))
        except DoesNotFitError:
            diff = additions_text(existing, starter)
    except TOMLDecodeError as error:
        raise SettingsError(f"{path} cannot be read", why=str(error), fix="mend the file, or move it away") from error

    def page() -> Iterable[RenderableType]:
        from orchestrator.cli.words import cell, joined

        if not missing:
            yield cell(f"{path.name} is there, and says everything that would be proposed.")
            return
        yield cell(f"{path.name} is there and is left as it is. What it does not say, and this would add:", "bold")
        for row in diff.splitlines():
            yield cell(row, "green" if row.startswith("+") else "dim" if row.startswith("@@") else "")
        yield cell(f"Add what you like of {joined(missing)} by hand.")

    return Answer(data={"path": str(path), "written": False, "missing": list(missing), "diff": diff}, page=page)


# ---- asking ----


def _asked(session: Session, place: Place, signs: Signs, starter: Starter) -> Starter:
    """What the person makes of the proposal, item by item; Enter takes what is proposed."""
    from orchestrator.cli.words import cell

    session.say(cell("Enter takes what is proposed; nothing is written before the end.", "dim"))
    return replace(
        starter,
        checks=_checks(session, starter),
        prepare=tuple(
            one
            for one in starter.prepare
            if _agrees(session, f"In every fresh tree: {_deed(one)}\n  ({one.because})\n  [Y]es / [n]o: ")
        ),
        agents=_agents(session, starter),
        worktrees=_worktrees(session, place, signs),
    )


def _deed(guess: PrepareGuess) -> str:
    if guess.run:
        return f"run `{shlex.join(guess.run)}`"
    return f"copy {guess.copy}" if guess.copy else f"link {guess.link}"


def _checks(session: Session, starter: Starter) -> tuple[CheckGuess, ...]:
    from orchestrator.core.detection import LAST_RESORT, CheckGuess

    kept = []
    for check in starter.checks:
        question = (
            f"Check `{shlex.join(check.run)}`\n  ({check.because})\n  [Y]es / [n]o / another command: "
            if not check.is_last_resort
            else "No tests were recognised. Which command tests your project? (Enter: look for conflict markers only): "
        )
        said = session.question(question)
        if said.lower() in {"", "y", "yes"}:
            kept.append(check)
        elif said.lower() not in {"n", "no"}:
            name = "tests" if check.is_last_resort else check.name
            kept.append(CheckGuess(name=name, run=_words(said), because="as you said"))
    if kept:
        return tuple(kept)
    from orchestrator.cli.words import cell

    session.say(cell("Then the gate looks for conflict markers only.", "dim"), talk=True)
    return (LAST_RESORT,)


def _words(said: str) -> tuple[str, ...]:
    """A command as typed, as words; through a shell when it has things that only a shell knows."""
    first = said.split(maxsplit=1)[0]
    if any(sign in said for sign in "|&;<>$`*?~(){}#") or "=" in first or first in {"cd", "source", "."}:
        return ("sh", "-c", said)
    try:
        return tuple(shlex.split(said))
    except ValueError:
        return ("sh", "-c", said)


def _agents(session: Session, starter: Starter) -> tuple[KnownAgent, ...]:
    if not starter.agents:
        return ()
    names = [agent.name for agent in starter.agents]
    while True:
        said = session.question(
            f"Agents found: {', '.join(names)}. Which ones, the main one first? (Enter: {_default(names)}): "
        )
        wanted = said.replace(",", " ").split()
        if wanted in ([], ["y"], ["yes"]):
            return starter.agents
        if wanted in (["n"], ["no"], ["none"]):
            return ()
        unknown = [name for name in wanted if name not in names]
        if not unknown:
            by_name = {agent.name: agent for agent in starter.agents}
            return tuple(by_name[name] for name in dict.fromkeys(wanted))
        from orchestrator.cli.words import cell

        session.say(cell(f"There is no {', '.join(unknown)} among them.", "yellow"), talk=True)


def _default(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"all, {names[0]} first"


def _worktrees(session: Session, place: Place, signs: Signs) -> str | None:
    from orchestrator.cli.words import cell

    trouble = f"\n  (that will not do: {signs.trouble})" if signs.trouble else ""
    question = f"Worktrees go to {signs.worktrees}{trouble}\n  [Y]es / another folder: "
    while True:
        said = session.question(question)
        if said.lower() in {"", "y", "yes"}:
            return None
        if said.lower() in {"n", "no"}:
            question = "Which folder? (Enter: leave it as it is): "
        elif (place.root / Path(said).expanduser()).resolve().is_relative_to(place.root.resolve()):
            session.say(
                cell("That is inside the repository, where they would count as your files.", "yellow"), talk=True
            )
        else:
            return said


def _agrees(session: Session, question: str) -> bool:
    """Yes, or Enter; no when the person has gone away."""
    said = session.question(question).lower()
    return said in {"y", "yes"} or (not said and not session.is_gone)


# ---- pages ----


def _file_page(text: str) -> Iterable[RenderableType]:
    from orchestrator.cli.words import cell

    yield cell("")
    for row in text.rstrip("\n").split("\n"):
        yield cell(f"  {row}", "dim" if row.lstrip().startswith("#") else "")
    yield cell("")


def _done_page(
    session: Session, name: str, starter: Starter, signs: Signs, *, text: str | None
) -> Iterable[RenderableType]:
    from orchestrator.cli.words import AMBER, cell, grid

    if text is not None:
        yield from _file_page(text)
    yield cell(f"{name} is written.", "bold")
    for warning in warnings_for(signs, starter):
        yield cell(f"  {warning}", AMBER)
    yield cell("Next:")
    yield grid(
        [
            [cell(session.command_line("doctor"), "cyan"), cell("does everything it needs work on this machine?")],
            [cell(session.command_line("plan", "new"), "cyan"), cell("a first plan")],
            [cell(f"git add {name}", "cyan"), cell("so that everybody who runs plans here has the same settings")],
        ]
    )
