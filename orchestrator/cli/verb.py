"""What every command has in common: the options that all take, and how its answer is shown."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from orchestrator.cli.session import Answer, Session
from orchestrator.model.errors import ExitCode, UsageError

P = ParamSpec("P")

JsonOption = Annotated[bool, typer.Option("--json", help="Answer as JSON; never asks anything.")]
DebugOption = Annotated[bool, typer.Option("--debug", hidden=True, help="Show tracebacks.")]
ColorOption = Annotated[str | None, typer.Option("--color", hidden=True, metavar="WHEN", help="auto, always or never.")]

_COMMON = [
    inspect.Parameter("json_", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JsonOption),
    inspect.Parameter("debug_", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=DebugOption),
    inspect.Parameter("color_", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=ColorOption),
]
_CONTEXT = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)


def verb(function: Callable[Concatenate[Session, P], Answer]) -> Callable[..., None]:
    """A function of a session as a typer command that takes the common options before and after its name."""
    signature = inspect.signature(function, eval_str=True)
    own = list(signature.parameters.values())[1:]

    def run(context: typer.Context, **given: Any) -> None:
        session: Session = context.obj
        take_common(session, given)
        if context.invoked_subcommand is not None:
            return
        session.command = " ".join(context.command_path.split()[1:])
        try:
            code = session.show(function(session, **given))  # type: ignore[call-arg]
        except BrokenPipeError:
            # Whoever read our output has seen enough. Python would complain once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = ExitCode.OK
        raise typer.Exit(code)

    parameters = [_CONTEXT, *own, *_COMMON]
    run.__name__ = function.__name__
    run.__doc__ = function.__doc__
    run.__signature__ = signature.replace(parameters=parameters, return_annotation=None)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def take_common(session: Session, given: dict[str, Any]) -> None:
    """Move the common options out of what was given and into the session."""
    session.json |= given.pop("json_")
    session.debug |= given.pop("debug_")
    color = given.pop("color_")
    if color is not None:
        if color not in {"auto", "always", "never"}:
            raise UsageError(f"--color cannot be '{color}'", fix="use auto, always or never")
        session.color = color


def complete_task(context: typer.Context, incomplete: str) -> list[str]:
    """Task ids for the shell; none when there is anything wrong."""
    return _complete(context, incomplete, lambda session: _task_ids(session, context.params.get("plan")))


def complete_item(context: typer.Context, incomplete: str) -> list[str]:
    from orchestrator.cli import rows

    return _complete(context, incomplete, lambda session: [item.id for item in rows.items(session.ledger())])


def complete_conflict(context: typer.Context, incomplete: str) -> list[str]:
    from orchestrator.cli import rows

    def names(session: Session) -> list[str]:
        return [i.task_id or "sync" for i in rows.items(session.ledger()) if i.kind.value == "conflict"]

    return _complete(context, incomplete, names)


def _task_ids(session: Session, plan: str | None) -> list[str]:
    from orchestrator.cli import rows

    reader = session.ledger()
    return [task.id for task in rows.tasks(reader, rows.chosen_plan(rows.plans(reader), plan).name)]


def _complete(context: typer.Context, incomplete: str, names: Callable[[Session], list[str]]) -> list[str]:
    session = context.obj if isinstance(context.obj, Session) else Session()
    directory = context.find_root().params.get("directory")
    if directory:
        session.directory = Path(directory)
    try:
        return [name for name in names(session) if name.startswith(incomplete)]
    except Exception:
        return []  # a shell in the middle of a line is no place for an error


TaskArgument = Annotated[
    str, typer.Argument(metavar="TASK", help="Its id, or the beginning of it.", autocompletion=complete_task)
]
OptionalTask = Annotated[
    str | None,
    typer.Argument(metavar="TASK", help="A task's id, or the beginning of it.", autocompletion=complete_task),
]
PlanOption = Annotated[str | None, typer.Option("--plan", metavar="P", help="Another plan than the present one.")]
