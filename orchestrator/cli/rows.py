"""What the ledger's rows say, as the values they were, and how the names that a person types are found in them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.model.attempt import AttemptState
from orchestrator.model.errors import NothingError, UsageError
from orchestrator.model.item import Item, ItemKind, Option
from orchestrator.model.run import IN_PROGRESS, OVER, PLAN_OVER, Lane, PlanPhase, TaskState
from orchestrator.model.view import AttemptView, LeaseView, PlanView, TaskView, Totals

if TYPE_CHECKING:
    from orchestrator.ports import LedgerReader

# pydantic would do this too, but loading it costs more than a quick look at the ledger takes.

T = TypeVar("T")


def _time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


#: What this version knows of each row; a newer daemon may write more.
_ROWS = (PlanView, TaskView, AttemptView, LeaseView, Item, Option)
_NAMES = {kind: tuple(field.name for field in fields(kind)) for kind in _ROWS}


def _known(kind: type[Any], row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _NAMES[kind] if name in row}


def attempt_view(row: Mapping[str, Any]) -> AttemptView:
    known = _known(AttemptView, row)
    known["state"] = AttemptState(known["state"])
    for name in ("started_at", "launched_at", "ended_at"):
        known[name] = _time(known[name])
    for name in ("flags", "salvage"):
        known[name] = tuple(known[name])
    return AttemptView(**known)


def lease_view(row: Mapping[str, Any]) -> LeaseView:
    known = _known(LeaseView, row)
    for name in ("granted_at", "expires_at", "heartbeat_at", "review_by"):
        known[name] = _time(known[name])
    return LeaseView(**known)


def task_view(row: Mapping[str, Any]) -> TaskView:
    known = _known(TaskView, row)
    known["state"] = TaskState(known["state"])
    known["lane"] = Lane(known["lane"])
    known["since"] = _time(known["since"])
    for name in ("retry_at", "lane_since", "overdue_at"):
        known[name] = _time(known.get(name))
    for name in ("files", "depends_on", "changed"):
        known[name] = tuple(known[name])
    known["history"] = tuple(attempt_view(one) for one in known["history"])
    known["lease"] = lease_view(known["lease"]) if known.get("lease") else None
    return TaskView(**known)


def plan_view(row: Mapping[str, Any]) -> PlanView:
    known = _known(PlanView, row)
    known["state"] = PlanPhase(known["state"])
    known["confirmed_at"] = _time(known["confirmed_at"])
    known["checks"] = tuple(known["checks"])
    known["prepared"] = tuple(known.get("prepared", ()))
    return PlanView(**known)


def item_view(row: Mapping[str, Any]) -> Item:
    known = _known(Item, row)
    known["kind"] = ItemKind(known["kind"])
    for name in ("asked_at", "deadline", "answered_at", "overdue_at", "taken_at"):
        known[name] = _time(known.get(name))
    known["paths"] = tuple(known.get("paths", ()))
    known["options"] = tuple(Option(**_known(Option, option)) for option in known["options"])
    return Item(**known)


# ---- reading ----


def plans(reader: LedgerReader) -> list[PlanView]:
    """Every plan the ledger knows, newest first."""
    found = [plan_view(row) for row in reader.rows("plan")]
    return sorted(found, key=lambda plan: plan.confirmed_at, reverse=True)


def tasks(reader: LedgerReader, plan: str) -> list[TaskView]:
    """The tasks of a plan in its own order."""
    return sorted((task_view(row) for row in reader.rows("task", plan=plan)), key=lambda task: task.order)


def items(reader: LedgerReader, *, open_only: bool = True, plan: str | None = None) -> list[Item]:
    """What waits for a person, most urgent first."""
    found = [item_view(row) for row in reader.rows("item", plan=plan)]
    wanted = [item for item in found if item.is_open or not open_only]
    return sorted(wanted, key=lambda item: (-item.priority, item.asked_at))


def is_over(plan: PlanView) -> bool:
    return plan.state in PLAN_OVER


def left_behind(known: Iterable[PlanView], beside: str = "") -> list[PlanView]:
    """Plans that are over and have landed something that their target does not have, but for the one named."""
    return [
        plan
        for plan in known
        if plan.unpublished and is_over(plan) and plan.state is not PlanPhase.CANCELLED and plan.name != beside
    ]


def chosen_plan(known: Sequence[PlanView], name: str | None = None) -> PlanView:
    """The plan of that name, or else the one that is worked on, or the newest unfinished, or the newest.

    Raises: NothingError when there is none at all; UsageError when none has that name.
    """
    if not known:
        raise NothingError(
            "no plan has been confirmed in this repository",
            why="the ledger knows of none",
            fix="start one: orchestrator start PLAN",
        )
    if name is not None:
        return unique(name, {plan.name: plan for plan in known}, "plan")
    unfinished = [plan for plan in known if not is_over(plan)]
    working = [plan for plan in unfinished if plan.current]
    last = [plan for plan in known if plan.current]
    return (working or unfinished or last or list(known))[0]


def chosen_task(known: Iterable[TaskView], typed: str) -> TaskView:
    return unique(typed, {task.id: task for task in known}, "task")


def is_resolving(plan: PlanView, tasks: Iterable[TaskView], items: Iterable[Item]) -> bool:
    """Whether the target conflicts with what the plan has landed, and that is not resolved yet."""
    asked = any(item.plan_id == plan.name and item.kind is ItemKind.CONFLICT and not item.task_id for item in items)
    return asked or any(task.merges and task.state not in OVER for task in tasks)


#: The command that lists things of a kind, where it is not `status`.
_LISTED = {"item": "inbox", "conflict": "conflicts", "tree": "worktree list"}


def unique(typed: str, known: Mapping[str, T], what: str, *, listed: str = "") -> T:
    """What has this name, or the only one whose name begins like it, whatever the case.

    Args:
        listed: the command that lists what there is, where the kind does not say it.

    Raises: UsageError that names the candidates, or the nearest name.
    """
    folded = typed.casefold()
    exact = [name for name in known if name.casefold() == folded]
    starting = exact or [name for name in known if folded and name.casefold().startswith(folded)]
    if len(starting) == 1:
        return known[starting[0]]
    if starting:
        raise UsageError(
            f"more than one {what} begins with '{typed}'",
            why=f"it could be {', '.join(starting[:8])}{' and more' if len(starting) > 8 else ''}",
            fix=f"type more of the {what}'s name",
        )
    near = difflib.get_close_matches(typed, list(known), n=1)
    raise UsageError(
        f"there is no {what} '{typed}'",
        why=f"known: {', '.join(list(known)[:8])}{', ...' if len(known) > 8 else ''}"
        if known
        else f"there is no {what}",
        fix=f"did you mean '{near[0]}'?"
        if near
        else f"`orchestrator {listed or _LISTED.get(what, 'status')}` lists them",
    )


# ---- counting ----


def totals(known: Iterable[TaskView]) -> Totals:
    all_of_them = list(known)
    return Totals(
        completed=sum(task.state is TaskState.LANDED for task in all_of_them),
        in_progress=sum(task.state in IN_PROGRESS for task in all_of_them),
        failed=sum(task.failed for task in all_of_them),
        total=len(all_of_them),
    )


def counts(known: Iterable[TaskView]) -> dict[str, int]:
    """How many tasks are in each lane; every lane is there."""
    found = dict.fromkeys((lane.value for lane in Lane), 0)
    for task in known:
        found[task.lane.value] += 1
    return found
