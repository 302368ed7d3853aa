"""`conflicts`, `conflicts open|done|abort`: what cannot be merged, resolved by the person in a tree of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import rows
from orchestrator.cli.act import ask_daemon, only_for_people
from orchestrator.cli.complete import complete_conflict
from orchestrator.cli.session import Answer, Session
from orchestrator.cli.verb import PlanOption, verb
from orchestrator.model.errors import NoDaemonError, NothingError, OrchestratorError, RefusedError
from orchestrator.model.item import Item, ItemKind

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestrator.ports import Stored

BY_HAND = "by_hand"
SYNC = "sync"  #: what a conflict between the target and the plan's branch is called, for it has no task
EVERY_S = 0.1
GONE_AFTER = 20  #: looks in a row that find no daemon

ConflictArgument = Annotated[
    str,
    typer.Argument(
        metavar="TASK", help="The task, `sync` for the target, or the item's id.", autocompletion=complete_conflict
    ),
]


@verb
def conflicts(session: Session) -> Answer:
    """What cannot be merged, and who resolves it."""
    found = _open_ones(session)
    return Answer(data={"conflicts": [conflict_data(one) for one in found]}, page=lambda: _list(session, found))


@verb
def open_(session: Session, task: ConflictArgument, plan: PlanOption = None) -> Answer:
    """Make a tree with the conflict in it, and print its path. Asked again, it is the same tree."""
    return opened(session, _find(session, task, plan), by_id=plan is not None)


@verb
def done(
    session: Session,
    task: ConflictArgument,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the tree where it is when the work has landed.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Also what lies outside of the task's files, without asking.")
    ] = False,
    plan: PlanOption = None,
) -> Answer:
    """It is resolved: take what is in the tree, committed or not, through the gate."""
    only_for_people("conflicts done")
    item = _find(session, task, plan)
    name = called(item)
    accept = yes
    while True:
        asked = ask_daemon(session, "hand_in", item=item.id, accepted=accept, keep=keep, done="")
        event = _wait(session, item, asked.data["seq"], {"by_hand_not_yet", "answered", "item_withdrawn"})
        if event.type == "answered":
            break
        if event.type == "item_withdrawn":
            raise RefusedError(f"'{name}' needs no answer any more", why=str(event.data.get("reason", "")))
        why = str(event.data.get("why", ""))
        if not event.data.get("may_accept"):
            raise RefusedError(
                f"'{name}' is not resolved yet", why=why, fix=f"go on in {item.worktree or 'the tree'}, then again"
            )
        accept = session.may_ask and _says_yes(session, why)
        if not accept:
            raise RefusedError(
                f"what was done for '{name}' was not taken",
                why=why,
                fix=f"undo it in {item.worktree}, or take it all the same: "
                + session.command_line("conflicts", "done", item.id if plan else name, "--yes"),
            )
    text = f"'{name}' is resolved and goes to the gate. See: {session.command_line('status')}"
    return Answer(data={"item": item.id, "task": item.task_id, "message": text}, page=lambda: _said(text))


@verb
def abort(session: Session, task: ConflictArgument, plan: PlanOption = None) -> Answer:
    """Give the tree back: what was done in it is kept, and the conflict is asked about again."""
    only_for_people("conflicts abort")
    item = _find(session, task, plan)
    asked = ask_daemon(session, "give_back", item=item.id, done="")
    event = _wait(session, item, asked.data["seq"], {"by_hand_ended", "item_withdrawn"})
    if item.by_hand is not None and event.type == "by_hand_ended":
        # what was kept is shown in the person's repository before the tree goes
        _wait(session, item, event.seq, {"tree_removed", "effect_abandoned"}, owner=item.by_hand)
    salvage = [str(name) for name in event.data.get("salvage", ())]

    def page() -> Iterable[RenderableType]:
        yield from _said(
            f"'{called(item)}' was given back. Decide anew: {session.command_line('inbox', 'show', item.id)}"
        )
        yield from _said(*(f"What was done is kept: git show {name}" for name in salvage))

    return Answer(data={"item": item.id, "task": item.task_id, "salvage": salvage}, page=page)


def opened(session: Session, item: Item, *, by_id: bool = False) -> Answer:
    """The tree with this conflict in it, made if it is not there yet.

    Args:
        by_id: the commands to go on with name the item, for its task's name may be that of another plan's too.
    """
    only_for_people("conflicts open")
    if item.worktree is None:
        ask_daemon(session, "answer", item=item.id, choice=BY_HAND, done="")
        item = _until(session, item.id, lambda now: now.worktree is not None or now.by_hand is None)
    if item.worktree is None:
        why = item.note or item.withdrawn or f"answered '{item.answer}'"
        raise RefusedError(f"there is no tree for '{called(item)}'", why=why, fix="mend it, then again")
    path, name = item.worktree, called(item)
    typed = item.id if by_id else name
    if not Path(path).is_dir():
        raise RefusedError(
            f"the tree for '{name}' is gone",
            why=f"there is no folder {path} any more",
            fix=f"give it back and begin anew: {session.command_line('conflicts', 'abort', typed)}",
        )
    other = f"'{item.plan_id}' and its target" if item.task_id is None else f"'{name}' and the plan's branch"
    session.say(
        *_said(
            f"Both sides of {other} are in this tree:",
            *(f"  {one}" for one in item.paths),
            "Resolve them there, and commit or leave it uncommitted. Then:",
            f"  {session.command_line('conflicts', 'done', typed)}",
            f"or give it back: {session.command_line('conflicts', 'abort', typed)}",
        ),
        talk=True,
    )
    data = {"item": item.id, "task": item.task_id, "plan": item.plan_id, "path": path, "paths": list(item.paths)}
    return Answer(data=data, page=lambda: _said(path))


def called(item: Item) -> str:
    """What a person types for a conflict."""
    return item.task_id or SYNC


def conflict_data(item: Item) -> dict[str, Any]:
    """One entry of `conflicts --json`."""
    return {
        "id": item.id,
        "plan": item.plan_id,
        "task": item.task_id,
        "title": item.title,
        "paths": list(item.paths),
        "asked_at": item.asked_at,
        "worktree": item.worktree,
        "taken_by": item.taken_by,
        "taken_at": item.taken_at,
        "note": item.note,
    }


def _open_ones(session: Session) -> list[Item]:
    return [item for item in rows.items(session.ledger()) if item.kind is ItemKind.CONFLICT]


def _find(session: Session, typed: str, plan: str | None) -> Item:
    """Raises: NothingError when nothing conflicts; UsageError when it is not clear which one is meant."""
    found = _open_ones(session)
    plans = rows.plans(session.ledger())
    if plan is not None:
        chosen = rows.chosen_plan(plans, plan).name
        found = [item for item in found if item.plan_id == chosen]
    elif plans:  # of two with one name that of the present plan is meant
        present = rows.chosen_plan(plans).name
        found.sort(key=lambda item: item.plan_id == present)
    if not found:
        raise NothingError(
            "nothing conflicts", why="", fix=f"`{session.command_line('status')}` shows where each task is"
        )
    known = {item.id: item for item in found} | {called(item): item for item in found}
    return rows.unique(typed, known, "conflict")


def _until(session: Session, item_id: str, holds: Callable[[Item], bool]) -> Item:
    gone, reader = 0, session.ledger()
    while True:
        now = next(item for item in rows.items(reader, open_only=False) if item.id == item_id)
        if not now.is_open or holds(now):
            return now
        gone = gone + 1 if session.daemon_pid() is None else 0
        if gone > GONE_AFTER:
            raise _left(session)
        session.wait(EVERY_S)


def _wait(session: Session, item: Item, after: int, types: set[str], *, owner: str = "") -> Stored:
    """The first of these events about an item, or about an owner's tree.

    Raises: NoDaemonError when nobody is left to bring it.
    """
    gone, reader = 0, session.ledger()
    while True:
        for event in reader.events(after_seq=after):
            after = event.seq
            if event.type in types and (
                _is_about_tree(event, owner) if owner else event.data.get("item_id") == item.id
            ):
                return event
        gone = gone + 1 if session.daemon_pid() is None else 0
        if gone > GONE_AFTER:
            raise _left(session)
        session.wait(EVERY_S)


def _is_about_tree(event: Stored, owner: str) -> bool:
    return event.data.get("owner") == owner or str(event.data.get("key", "")).startswith(f"{owner}/")


def _left(session: Session) -> OrchestratorError:
    return NoDaemonError(
        "the daemon has ended meanwhile",
        why="what was asked for is in the ledger",
        fix=f"start it: {session.command_line('start')}",
    )


def _says_yes(session: Session, why: str) -> bool:
    return session.question(f"{why}\nTake it all the same? [y]es / [N]o: ").lower() in {"y", "yes"}


def _said(*texts: str) -> Iterable[RenderableType]:
    from orchestrator.cli.words import cell

    yield from (cell(text) for text in texts)


def _list(session: Session, found: list[Item]) -> Iterable[RenderableType]:
    from orchestrator.cli.words import AMBER, age, cell, grid

    if not found:
        yield cell("Nothing conflicts.")
        return
    now = session.now()
    for item in found:
        name = called(item)
        yield grid(
            [[cell(name, f"bold {AMBER}"), cell(item.id, "dim"), cell(", ".join(item.paths)), cell(item.title, "dim")]],
            indent=0,
        )
        if item.by_hand is not None:
            since = f"{age(item.taken_at, now)} ago" if item.taken_at else ""
            yield cell(f"      resolved by hand in {item.worktree or 'a tree that is being made'}, begun {since}")
            yield cell(f"      {session.command_line('conflicts', 'done', name)}", "dim")
        else:
            yield cell(f"      {session.command_line('conflicts', 'open', name)}", "dim")
        if item.note:
            yield cell(f"      {item.note}", AMBER)
