"""`run`: one task without a plan file. The same assessment, question and digest as for any plan."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import rows
from orchestrator.cli.act import only_for_people
from orchestrator.cli.changes import words_of
from orchestrator.cli.launch import Flags, ledger_or_none
from orchestrator.cli.session import Answer, Session
from orchestrator.cli.start import BlockedOption, ConfirmOption, DetachOption, ForegroundOption, check_flags
from orchestrator.cli.verb import verb
from orchestrator.model.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from orchestrator.model.assessment import Assessment
    from orchestrator.model.errors import Problem
    from orchestrator.wire import Overrides

#: What to do about problems of a plan that nobody wrote as a file.
FIXES = {
    "no_checks": "say what tests the result: --check 'make test', or --checks none; "
    "or list `checks` in orchestrator.toml, which `orchestrator start` uses too",
    "no_agents": "declare one under `agents` in orchestrator.toml, and name it: --agent NAME",
    "bad_duration": "write it as --timeout 30m",
}
MOST_PROMPT = 1024 * 1024  #: characters read from a file


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One task, as it was typed."""

    prompt: str
    source: tuple[str, ...]  #: the words that gave the prompt
    options: tuple[str, ...]  #: the words of everything else, the agent aside
    files: tuple[str, ...] | None
    agent: str | None
    checks: tuple[tuple[str, list[str]], ...] | None
    name: str | None
    timeout: str | None


@verb
def run(
    session: Session,
    prompt: Annotated[str | None, typer.Argument(metavar="PROMPT", help="What the agent is told.")] = None,
    files: Annotated[
        list[str] | None,
        typer.Option("--files", metavar="PATTERN", help="What it may change, from the root. May be repeated."),
    ] = None,
    agent: Annotated[str | None, typer.Option("--agent", metavar="A", help="Who does it.")] = None,
    check: Annotated[
        list[str] | None, typer.Option("--check", metavar="COMMAND", help="What tests it. May be repeated.")
    ] = None,
    checks: Annotated[str | None, typer.Option("--checks", metavar="none", help="Nothing tests it.")] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="N", help="Of the plan that this makes.")] = None,
    prompt_file: Annotated[
        str | None, typer.Option("--prompt-file", metavar="F", help="Where PROMPT is; `-` reads it from the input.")
    ] = None,
    timeout: Annotated[str | None, typer.Option("--timeout", metavar="T", help="At most so long, such as 30m.")] = None,
    confirm: ConfirmOption = None,
    detach: DetachOption = False,
    foreground: ForegroundOption = False,
    exit_when_blocked: BlockedOption = False,
) -> Answer:
    """Have one agent do one thing, without a plan file: checked, shown, asked, run and followed like any plan.

    Without --files it may change the whole repository. Without --check the checks of orchestrator.toml test it.
    """
    from orchestrator.cli.confirm import begin
    from orchestrator.wire import Overrides

    only_for_people("run")
    flags = Flags(confirm=confirm, detach=detach, foreground=foreground, exit_when_blocked=exit_when_blocked)
    check_flags(flags)
    told = _prompt(session, prompt, prompt_file)
    options: list[str] = []
    for option, values in (("--files", files), ("--check", check)):
        options += [word for value in values or () for word in (option, value)]
    for option, single in (("--checks", checks), ("--name", name), ("--timeout", timeout)):
        options += [option, single] if single is not None else []
    asked = Asked(
        prompt=told,
        source=(prompt,) if prompt is not None else ("--prompt-file", str(prompt_file)),
        options=tuple(options),
        files=tuple(files) if files else None,
        agent=agent,
        checks=_checks(check, checks),
        name=_name(name),
        timeout=timeout,
    )
    return begin(session, flags, OneTask(session, asked), Overrides(agent=agent))


def _prompt(session: Session, typed: str | None, file: str | None) -> str:
    """What the agent is told. Raises: UsageError when that is nothing, or said twice, or cannot be read."""
    if (typed is None) == (file is None):
        raise UsageError(
            "what is to be done is said twice" if typed is not None else "it is not said what is to be done",
            why="the prompt comes as a word or from a file",
            fix=session.command_line("run", "fix the login timeout", "--files", "src/auth/**"),
        )
    told = typed if typed is not None else _read(session, str(file))
    try:
        told.encode()
    except UnicodeEncodeError as error:
        raise UsageError("the prompt is not UTF-8 text", why=str(error), fix="give it as UTF-8") from error
    if not told.strip():
        raise UsageError("the prompt is empty", why="an agent has to be told what to do", fix="say what is to be done")
    return told


def _read(session: Session, file: str) -> str:
    try:
        data = sys.stdin.buffer.read(MOST_PROMPT + 1) if file == "-" else session.path(Path(file)).read_bytes()
        if len(data) > MOST_PROMPT:
            raise UsageError(f"the prompt in {file} is longer than 1 MiB", fix="name the large file in the prompt")
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UsageError(f"the prompt in {file} is not UTF-8 text", why=str(error), fix="save it as UTF-8") from error
    except OSError as error:
        raise UsageError(
            f"cannot read the prompt file {file}", why=error.strerror or str(error), fix="check the path"
        ) from error


def _checks(commands: list[str] | None, word: str | None) -> tuple[tuple[str, list[str]], ...] | None:
    from orchestrator.core.onetask import check_of

    if word is not None and word != "none":
        raise UsageError(f"--checks cannot be '{word}'", fix="write --check COMMAND for each check, or --checks none")
    if word is not None and commands:
        raise UsageError("--checks none and --check contradict each other", fix="choose one of them")
    if word is not None:
        return ()
    found: dict[str, list[str]] = {}
    for command in commands or ():
        try:
            name, words = check_of(command)
        except ValueError as error:
            raise UsageError(
                f"--check cannot read '{command}'", why=str(error).lower(), fix="write it as --check 'make test'"
            ) from error
        numbered = (name if n == 1 else f"{name}-{n}" for n in count(1))
        found[next(one.lower() for one in numbered if one.lower() not in found)] = words
    return tuple(found.items()) or None


def _name(name: str | None) -> str | None:
    from pydantic_core import PydanticCustomError

    from orchestrator.core.planvalues import check_plan_name, fault_words

    if name is None:
        return None
    try:
        return check_plan_name(name)
    except PydanticCustomError as error:
        _, message, why, fix = fault_words(error)
        raise UsageError(message, why=why, fix=fix) from error


class OneTask:
    """A plan that we write: kept with our own things, so that it can be looked up, changed and started again."""

    def __init__(self, session: Session, asked: Asked) -> None:
        self._session = session
        self._asked = asked
        self._path: Path | None = None  #: set once a person had the file in their editor; from then on it is the truth
        self._written: Overrides | None = None  #: what the file held of these when it was written

    def assess(self, overrides: Overrides) -> Assessment:
        if self._path is not None:
            return self._session.world().check_plan(self._session.place(), self._path, self._unwritten(overrides))
        name, text = self._made(overrides)
        path = self._session.place().kept_plans / f"{name}.yaml"
        found = self._session.world().check_plan(self._session.place(), path, _rest(overrides), text)
        return replace(
            found,
            errors=tuple(map(_said_for_run, found.errors)),
            warnings=(*(() if self._asked.files else (_whole_repository(),)), *map(_said_for_run, found.warnings)),
        )

    def words(self, overrides: Overrides, *more: str) -> list[str]:
        if self._path is not None:
            return ["start", str(self._path), *words_of(self._unwritten(overrides)), *more]
        agent = self._agent(overrides)
        options = [*self._asked.options, *(["--agent", agent] if agent is not None else []), *more]
        source = self._asked.source
        if len(source) == 1 and source[0].startswith("-"):
            return ["run", *options, "--", *source]  # not to be taken for an option
        return ["run", *source, *options]

    def check_words(self, overrides: Overrides) -> list[str]:
        return self.words(overrides)

    def file(self, overrides: Overrides) -> Path:
        if self._path is None:
            # Before anybody's yes, because the editor needs a file; nothing reads it without one.
            self._path, _ = self.submitted(overrides)
            self._written = overrides
        return self._path

    def submitted(self, overrides: Overrides) -> tuple[Path, Overrides]:
        if self._path is not None:
            return self._path, self._unwritten(overrides)
        name, text = self._made(overrides)
        return self._session.world().keep_plan(self._session.place(), name, text), _rest(overrides)

    def _unwritten(self, overrides: Overrides) -> Overrides:
        """What is not in the file yet; a person may have written another agent into it."""
        written = self._written
        if written is not None and (written.agent, written.agents) == (overrides.agent, overrides.agents):
            return _rest(overrides)
        return overrides

    def _agent(self, overrides: Overrides) -> str | None:
        return next(iter(overrides.agents.values()), overrides.agent)

    def _made(self, overrides: Overrides) -> tuple[str, str]:
        """The plan's name and text; the name is that of an earlier plan only if it says the same.

        Raises: RefusedError when the name that a person chose belongs to a plan of another kind.
        """
        from orchestrator.core.onetask import one_task_plan, task_name

        asked, place, world = self._asked, self._session.place(), self._session.world()
        reader = ledger_or_none(self._session)
        taken = {plan.name for plan in rows.plans(reader)} if reader is not None else set()

        def text_of(name: str) -> str:
            return one_task_plan(
                name=name,
                prompt=asked.prompt,
                files=asked.files,
                agent=self._agent(overrides),
                checks=asked.checks,
                timeout=asked.timeout,
            )

        if asked.name is not None:
            if asked.name in taken and world.kept_plan(place, asked.name) is None:
                raise RefusedError(
                    f"there is a plan named '{asked.name}' already",
                    why="it came from a plan file, and this would take its tasks away",
                    fix="choose another --name, or leave it out",
                )
            return asked.name, text_of(asked.name)
        base = task_name(asked.prompt)
        for number in count(1):
            name = base if number == 1 else f"{base}-{number}"
            kept, text = world.kept_plan(place, name), text_of(name)
            if kept == text or (kept is None and name not in taken):
                return name, text
        raise AssertionError("there are more names than plans")


def _rest(overrides: Overrides) -> Overrides:
    """What is not in the text already."""
    return overrides.model_copy(update={"agent": None, "agents": {}})


def _whole_repository() -> Problem:
    from orchestrator.model.errors import Problem

    return Problem(
        code="runs_alone",
        message="the agent may change the whole repository",
        why="--files was not given",
        fix="say what it may change, such as --files 'src/auth/**'",
        warning=True,
    )


def _said_for_run(problem: Problem) -> Problem:
    """In the words of the command line: the place in a text that nobody has seen helps nobody."""
    return replace(problem, file="", line=0, column=0, fix=FIXES.get(problem.code, problem.fix))
