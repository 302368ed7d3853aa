"""`config show`: the settings in force."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.session import Answer, Session
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

    return Answer(data={"settings": [{"key": k, "value": v, "origin": o} for k, v, o in found]}, page=page)


def said(value: Any) -> str:
    """A setting's value as a person would write it."""
    from datetime import timedelta

    from orchestrator.cli.words import length

    if isinstance(value, timedelta):
        return length(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(said(one) for one in value)}]"
    return "" if value is None else str(value)
