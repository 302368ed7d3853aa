"""`why TASK`: what a task waits for, and who holds it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from orchestrator.cli import rows
from orchestrator.cli.session import Answer, Session
from orchestrator.cli.verb import TaskArgument, verb

if TYPE_CHECKING:
    from rich.console import RenderableType


@verb
def why(session: Session, task: TaskArgument) -> Answer:
    """What a task waits for, and who holds it."""
    reader = session.ledger()
    plan = rows.chosen_plan(rows.plans(reader))
    one = rows.chosen_task(rows.tasks(reader, plan.name), task)
    reasons = session.world().why(session.place(), one.id)

    def page() -> Iterable[RenderableType]:
        from orchestrator.cli.words import cell

        head, *rest = reasons or [f"nothing holds '{one.id}'"]
        yield cell(head, "bold")
        yield from (cell(f"  {reason}") for reason in rest)

    return Answer(data={"plan": plan.name, "task": one.id, "state": one.state, "reasons": reasons}, page=page)
