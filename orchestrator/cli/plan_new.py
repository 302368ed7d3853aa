"""`plan new`: a first plan, asked for on a terminal, else a skeleton in which every key is explained."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.session import Answer, Session
from orchestrator.cli.verb import verb
from orchestrator.model.errors import ConfirmationNeeded, OrchestratorError, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestrator.core.planskeleton import Ground, NewTask

FOLDER = "plans"


@verb
def new(
    session: Session,
    path: Annotated[
        str | None,
        typer.Argument(metavar="PATH", help="Where it goes; `-` is standard output. Asked for on a terminal."),
    ] = None,
    skeleton: Annotated[
        bool, typer.Option("--skeleton", help="Ask nothing: a plan to fill in, with every key explained.")
    ] = False,
) -> Answer:
    """Write a first plan. On a terminal it asks; otherwise it is a skeleton to fill in. Nothing is ever overwritten."""
    if path is not None and path != "-":
        _check_free(session, path)
    if skeleton or path == "-" or not session.may_ask:
        return _skeleton(session, None if path == "-" else path)
    return _asked(session, path)


def _check_free(session: Session, path: str) -> None:
    target = session.path(Path(path))
    if os.path.lexists(target):
        what = "a folder" if target.is_dir() else "there already"
        raise UsageError(
            f"{path} is {what}",
            why="a plan is one file, and an existing one is never overwritten",
            fix="choose another name, or move it",
        )


def schema_reference(session: Session, plan: Path | None) -> str:
    """Where an editor that opens the plan finds the schema: relative as long as both lie in the repository."""
    place = session.place()
    folder = (plan.parent if plan is not None else place.root / FOLDER).resolve()
    inside = folder.is_relative_to(place.root.resolve()) and place.common_dir.is_relative_to(place.root)
    named = Path(os.path.relpath(place.plan_schema.resolve(), folder)).as_posix()
    # editors read the name up to the first space
    return named if inside and " " not in named else place.plan_schema.resolve().as_uri()


def _ground(session: Session, plan: Path | None) -> Ground:
    from orchestrator.core.detection import detect
    from orchestrator.core.planskeleton import Ground

    world = session.world()
    place = session.place()
    settings = world.load_settings(place)
    found = detect(world.look_around(place))
    has_agent = bool(settings.agents or settings.defaults.get("agent"))
    return Ground(
        schema=schema_reference(session, plan),
        # what holds everywhere says nothing about this project, so the person has to
        checks=tuple(check for check in found.checks if not check.is_last_resort),
        has_checks=settings.checks is not None,
        agents=() if has_agent else found.agents,
        has_agent=has_agent,
    )


def _skeleton(session: Session, path: str | None) -> Answer:
    from orchestrator.core.planskeleton import skeleton_text

    target = session.path(Path(path)) if path is not None else None
    text = skeleton_text(_ground(session, target), session.world().plan_schema())
    if target is None or path is None:
        _offer_schema(session)

        def raw() -> Iterable[RenderableType]:
            sys.stdout.write(text)
            return ()

        return Answer(data={"path": None, "text": text}, page=raw)
    _write(session, target, text)
    return Answer(data={"path": path, "text": text}, page=lambda: _done(session, path, "fill it in, then:"))


def _write(session: Session, target: Path, text: str) -> None:
    _offer_schema(session)
    session.world().save_text(target, text)


def _offer_schema(session: Session) -> None:
    with contextlib.suppress(OrchestratorError):  # a plan is good without help for editors
        session.world().write_schema(session.place())


def _done(session: Session, path: str, then: str) -> Iterable[RenderableType]:
    from orchestrator.cli.words import cell

    yield cell(f"{path} is written; {then}")
    yield cell(f"  {session.command_line('plan', 'check', path)}")


# ---- asking ----


def _asked(session: Session, path: str | None) -> Answer:
    from orchestrator.cli.words import cell
    from orchestrator.core.planskeleton import plan_text
    from orchestrator.core.planvalues import check_plan_name, safe_id

    session.say(cell("Enter takes what stands in brackets; nothing is written before the end.", "dim"))
    proposed = safe_id(Path(path).stem.lower()) if path is not None else "my-plan"
    name = _ask(session, f"Name of the plan [{proposed}]: ", proposed, check_plan_name)
    path = path or _shown_path(session, f"{FOLDER}/{name}.yaml")
    _check_free(session, path)
    target = session.path(Path(path))
    facts = session.world().repo_facts(session.place())
    ground = replace(_ground(session, target), name=name, target=_target(session, facts.current_branch, facts.branches))
    ground = _crew(session, _checks(session, ground))
    tasks: list[NewTask] = []
    while (task := _task(session, tasks, ground)) is not None:
        tasks.append(task)
    if not tasks:
        raise UsageError(
            "a plan has at least one task, so nothing was written",
            fix=f"{session.command_line('plan', 'new', '--skeleton', path)} writes one to fill in",
        )
    text = plan_text(ground, tasks)
    session.say(cell(""), *(cell(f"  {row}") for row in text.rstrip("\n").split("\n")), cell(""))
    if _question(session, f"Write this to {path}? [Y]es / [n]o: ").lower() not in {"", "y", "yes"}:
        raise _nothing(session, "the answer was not yes")
    _write(session, target, text)
    return Answer(data={"path": path, "text": text}, page=lambda: _done(session, path, "next:"))


def _shown_path(session: Session, path: str) -> str:
    """A path below the repository's root as somebody types it who stands where the command was typed."""
    return os.path.relpath(session.place().root / path, session.path(Path()))


def _nothing(session: Session, why: str) -> ConfirmationNeeded:
    return ConfirmationNeeded("nothing was written", why=why, fix=session.command_line("plan", "new"))


def _question(session: Session, text: str) -> str:
    said = session.question(text)
    if not said and session.is_gone:
        raise _nothing(session, "the input ended before the last question")
    return said


def _ask(session: Session, text: str, default: str, read: Callable[[str], Any]) -> str:
    """An answer that `read` accepts; what it does not accept is explained, and asked for again."""
    from pydantic_core import PydanticCustomError

    from orchestrator.cli.words import cell
    from orchestrator.core.planvalues import fault_words

    while True:
        said = _question(session, text) or default
        try:
            read(said)
        except PydanticCustomError as error:
            _, message, why, fix = fault_words(error)
            session.say(cell(f"  {message}: {why}; {fix}", "yellow"), talk=True)
        else:
            return said


def _again(session: Session, said: str) -> None:
    from orchestrator.cli.words import cell

    session.say(cell(f"  {said}", "yellow"), talk=True)


def _target(session: Session, current: str | None, branches: frozenset[str]) -> str | None:
    while True:
        said = _question(session, f"Branch where the work lands [{current or 'the current one'}]: ") or current
        if said is None or said in branches or not branches:
            return said
        _again(session, f"there is no branch '{said}'; there are {', '.join(sorted(branches)[:8])}")


def _checks(session: Session, ground: Ground) -> Ground:
    from orchestrator.core.detection import CheckGuess

    if ground.has_checks:
        return ground
    found = "; ".join(shlex.join(check.run) for check in ground.checks)
    while True:
        said = _question(session, f"Command that tests the project [{found or 'such as make test'}]: ")
        if said:
            return replace(ground, checks=(CheckGuess(name="tests", run=_command(said), because="as you said"),))
        if ground.checks:
            return ground
        _again(session, "what lands is what the checks pass; `true` is a command that passes everything")


def _command(said: str) -> tuple[str, ...]:
    """A command as words; through a shell when it has things that only a shell knows."""
    try:
        if not any(sign in said for sign in "|&;<>$`*"):
            return tuple(shlex.split(said))
    except ValueError:
        pass
    return ("sh", "-c", said)


def _crew(session: Session, ground: Ground) -> Ground:
    from orchestrator.core.knownagents import KnownAgent

    if ground.has_agent:
        return ground
    known = {agent.name: agent for agent in ground.agents}
    if not known:
        said = _question(session, "Command of your agent, with {prompt} where it goes [none: the tasks are yours]: ")
        if not said:
            return replace(ground, is_human=True)
        stdin = "none" if "{prompt}" in said or "{briefing}" in said else "prompt"
        agent = KnownAgent(name="mine", run=_command(said), stdin=stdin, allows="does what you gave it leave to do")
        return replace(ground, agents=(agent,))
    names = list(known)
    while True:
        said = _question(session, f"Agents, the main one first; installed are {', '.join(names)} [{names[0]}]: ")
        wanted = said.replace(",", " ").split() or names[:1]
        unknown = [name for name in wanted if name not in known]
        if not unknown:
            return replace(ground, agents=tuple(known[name] for name in dict.fromkeys(wanted)))
        _again(session, f"{', '.join(unknown)} was not found here")


def _task(session: Session, before: Sequence[NewTask], ground: Ground) -> NewTask | None:
    from orchestrator.core.planskeleton import NewTask
    from orchestrator.core.planvalues import check_id

    known = {task.id.casefold() for task in before}
    more = " [no more]" if before else ""
    while True:
        name = _ask(session, f"\nTask {len(before) + 1}, a short id{more}: ", "", lambda said: said and check_id(said))
        if name.casefold() not in known:
            break
        _again(session, f"there is a task '{name}' already")
    if not name:
        return None
    title = _question(session, f"  Title [{name}]: ") or name
    return NewTask(
        id=name,
        title=title,
        prompt=_prompt(session, ground),
        files=_files(session),
        depends_on=_after(session, before),
    )


def _prompt(session: Session, ground: Ground) -> str:
    rows: list[str] = []
    while True:
        row = _question(session, "  What to do, an empty line ends it: " if not rows else "    ... ")
        if row:
            rows.append(row)
        elif rows or ground.is_human:
            return "\n".join(rows)


def _files(session: Session) -> tuple[str, ...] | None:
    from orchestrator.core.planpaths import read_pattern

    def read(said: str) -> None:
        for word in _split(said):
            read_pattern(word)

    said = _ask(session, "  Files it may change, such as src/api/** README.md [all, so it runs alone]: ", "", read)
    return _split(said) or None


def _split(said: str) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(shlex.split(said)))
    except ValueError:
        return tuple(dict.fromkeys(said.split()))


def _after(session: Session, before: Sequence[NewTask]) -> tuple[str, ...]:
    known = [task.id for task in before]
    while known:
        wanted = _question(session, f"  After which of {', '.join(known)} [none]: ").replace(",", " ").split()
        unknown = [name for name in wanted if name not in known]
        if not unknown:
            return tuple(dict.fromkeys(wanted))
        _again(session, f"there is no task {', '.join(unknown)} so far")
    return ()
