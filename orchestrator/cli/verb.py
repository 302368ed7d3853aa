"""What every command has in common: the options that all take, and how its answer is shown."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from orchestrator.cli.complete import complete_task, give_completer, words
from orchestrator.cli.session import Answer, Session
from orchestrator.model.errors import ExitCode, UsageError

P = ParamSpec("P")

JsonOption = Annotated[bool, typer.Option("--json", help="Answer as JSON; never asks anything.")]
DebugOption = Annotated[bool, typer.Option("--debug", hidden=True, help="Show tracebacks.")]
ColorOption = Annotated[
    str | None,
    typer.Option(
        "--color",
        hidden=True,
        metavar="WHEN",
        help="auto, always or never.",
        autocompletion=words("auto", "always", "never"),
    ),
]

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
    for info in (one for parameter in own for one in getattr(parameter.annotation, "__metadata__", ())):
        give_completer(info)

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


TaskArgument = Annotated[
    str, typer.Argument(metavar="TASK", help="Its id, or the beginning of it.", autocompletion=complete_task)
]
OptionalTask = Annotated[
    str | None,
    typer.Argument(metavar="TASK", help="A task's id, or the beginning of it.", autocompletion=complete_task),
]
PlanOption = Annotated[str | None, typer.Option("--plan", metavar="P", help="Another plan than the present one.")]
