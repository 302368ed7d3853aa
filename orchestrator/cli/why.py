"""`why TASK`: what a task waits for, and who holds it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from orchestrator.cli import rows
from orchestrator.cli.session import Answer, Session
from orchestrator.cli.verb import PlanOption, TaskArgument, verb

if TYPE_CHECKING:
    from rich.console import RenderableType


@verb
def why(session: Session, task: TaskArgument, plan: PlanOption = None) -> Answer:
    """What a task waits for, and who holds it."""
    reader = session.ledger()
    chosen = rows.chosen_plan(rows.plans(reader), plan)
    one = rows.chosen_task(rows.tasks(reader, chosen.name), task)
    reasons = session.world().why(session.place(), one.id, chosen.name)

    def page() -> Iterable[RenderableType]:
        from orchestrator.cli.words import cell, prose

        head, *rest = reasons or [f"nothing holds '{one.id}'"]
        yield prose(cell(head, "bold"))
        yield from (prose(reason, 2) for reason in rest)

    return Answer(data={"plan": chosen.name, "task": one.id, "state": one.state, "reasons": reasons}, page=page)
