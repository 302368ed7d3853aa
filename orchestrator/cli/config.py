"""`config show`: the settings in force."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.session import Answer, Session, as_json
from orchestrator.cli.verb import verb

if TYPE_CHECKING:
    from rich.console import RenderableType


@verb
def show(
    session: Session,
    origin: Annotated[bool, typer.Option("--origin", help="Also where each value comes from.")] = False,
) -> Answer:
    """Every setting in force, and with --origin where it comes from."""
    world = session.world()
    found = world.setting_origins(world.load_settings(session.place(), {}))

    def page() -> Iterable[RenderableType]:
        from orchestrator.cli.words import cell, grid

        yield grid(
            [
                [cell(key, "bold"), cell(said(value)), *([cell(where, "dim")] if origin else [])]
                for key, value, where in found
            ],
            indent=0,
        )

    data = [{"key": key, "value": plain(value), "origin": where} for key, value, where in found]
    return Answer(data={"settings": data}, page=page)


def plain(value: Any) -> Any:
    """A setting's value as JSON has it."""
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value, timedelta_mode="float")


def said(value: Any) -> str:
    """A setting's value as a person would write it."""
    from datetime import timedelta

    from orchestrator.cli.words import length

    if isinstance(value, timedelta):
        return length(value)
    if value is None:
        return ""
    return value if isinstance(value, str) else as_json(plain(value))
