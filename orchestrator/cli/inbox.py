"""`inbox`, `inbox show`, `answer`: what waits for a person, and the person's word on it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import conflicts, rows
from orchestrator.cli.act import ask_daemon
from orchestrator.cli.complete import complete_item
from orchestrator.cli.session import Answer, Session
from orchestrator.cli.verb import verb
from orchestrator.model.errors import ConfirmationNeeded, RefusedError, UsageError
from orchestrator.model.item import Item, Option

if TYPE_CHECKING:
    from rich.console import RenderableType

ItemArgument = Annotated[
    str, typer.Argument(metavar="ID", help="As `inbox` shows it, or the beginning of it.", autocompletion=complete_item)
]
#: The choice that carries nothing but words.
TEXT = "text"


@verb
def inbox(
    session: Session,
    everything: Annotated[bool, typer.Option("--all", help="Also what has been answered.")] = False,
) -> Answer:
    """What waits for a person, most urgent first."""
    items = rows.items(session.ledger(), open_only=not everything)
    return Answer(data={"items": [item_data(item) for item in items]}, page=lambda: _list(session, items))


@verb
def show(session: Session, item: ItemArgument) -> Answer:
    """One of them: what happened, and what each answer leads to."""
    one = _find(session, item)
    return Answer(data={"item": {**item_data(one), **_more(one)}}, page=lambda: item_page(session, one))


@verb
def answer(
    session: Session,
    item: ItemArgument,
    choice: Annotated[str | None, typer.Argument(metavar="CHOICE", help="One of its options.")] = None,
    text: Annotated[str, typer.Option("--text", metavar="T", help="Words that go with it.")] = "",
) -> Answer:
    """Answer it. Without CHOICE, on a terminal, a menu asks."""
    one = _find(session, item)
    if not one.is_open:
        raise _closed(session, one)
    if choice is None and not (text and one.free_text):
        choice, text = _from_menu(session, one, text)
    picked, words = chosen(one, choice, text)
    if picked == conflicts.BY_HAND:
        return conflicts.opened(session, one)
    return ask_daemon(session, "answer", item=one.id, choice=picked, text=words, done=f"{one.id} answered: {picked}")


def chosen(item: Item, choice: str | None, text: str) -> tuple[str, str]:
    """The option and the words that an answer means.

    Raises: UsageError with the options when the choice is none of them and the item takes no free words.
    """
    if choice is None:
        return TEXT, text
    options = {option.id: option for option in item.options}
    if choice in options:
        return choice, text
    if item.free_text and (not options or choice == TEXT):
        # A question without choices may be answered with anything, so what was typed is the answer.
        return TEXT, "\n".join(part for part in (choice if choice != TEXT else "", text) if part)
    option: Option = rows.unique(choice, options, "option", listed=f"inbox show {item.id}")
    return option.id, text


def _find(session: Session, typed: str) -> Item:
    known: dict[str, Item] = {item.id: item for item in rows.items(session.ledger(), open_only=False)}
    waiting = {name: item for name, item in known.items() if item.is_open}
    if typed not in known and any(name.startswith(typed) for name in waiting):
        # The beginning of an id means something that still waits.
        return rows.unique(typed, waiting, "item")
    return rows.unique(typed, known, "item")


def _closed(session: Session, item: Item) -> RefusedError:
    if item.withdrawn is not None:
        return RefusedError(
            f"{item.id} needs no answer any more",
            why=item.withdrawn,
            fix=f"see what is open: {session.command_line('inbox')}",
        )
    return RefusedError(
        f"{item.id} has been answered",
        why=f"{item.answered_by or 'somebody'} chose '{item.answer}'" + (f": {item.text}" if item.text else ""),
        fix=f"see what is open: {session.command_line('inbox')}",
    )


def _from_menu(session: Session, item: Item, text: str) -> tuple[str | None, str]:
    """What the person picks from the options. Raises: UsageError where there is nobody to ask."""
    names = [option.id for option in item.options]
    if not session.may_ask:
        raise UsageError(
            f"{item.id} needs a choice",
            why=f"it can be answered with {', '.join([*names, *(['--text ...'] if item.free_text else [])])}",
            fix=session.command_line("answer", item.id, names[0] if names else "--text"),
        )
    session.say(*item_page(session, item, commands=False))
    while True:
        said = session.question(f"answer [1-{len(names)}{' or words' if item.free_text else ''}, Enter leaves it]: ")
        if not said:
            raise ConfirmationNeeded(f"{item.id} was left as it is", fix=session.command_line("answer", item.id))
        if said.isdigit() and 1 <= int(said) <= len(names):
            return names[int(said) - 1], text
        if item.free_text and said not in names:
            return TEXT, said  # the question said that words will do
        try:
            return chosen(item, said, text)
        except UsageError as error:
            session.complain(error)


def item_data(item: Item) -> dict[str, Any]:
    """One entry of `inbox --json`."""
    return {
        "id": item.id,
        "kind": item.kind,
        "trigger": item.trigger,
        "task": item.task_id,
        "attempt": item.attempt_id,
        "agent": item.agent,
        "context": item.context,
        "options": [{"id": option.id, "label": option.label, "effect": option.effect} for option in item.options],
        "priority": item.priority,
        "asked_at": item.asked_at,
        "deadline": item.deadline,
        "answer": item.answer,
        "answered_by": item.answered_by,
    }


def _more(item: Item) -> dict[str, Any]:
    return {
        "plan": item.plan_id,
        "title": item.title,
        "paths": item.paths,
        "free_text": item.free_text,
        "overdue_at": item.overdue_at,
        "text": item.text,
        "answered_at": item.answered_at,
        "withdrawn": item.withdrawn,
        "worktree": item.worktree,
        "taken_by": item.taken_by,
        "taken_at": item.taken_at,
        "note": item.note,
    }


def _list(session: Session, items: list[Item]) -> Iterable[RenderableType]:
    from orchestrator.cli.words import AMBER, age, cell, grid

    if not items:
        yield cell("Nothing waits for you.")
        return
    now = session.now()
    for item in items:
        state = "" if item.is_open else f"answered: {item.answer}" if item.answer else "needs no answer any more"
        yield grid(
            [
                [
                    cell(item.id, f"bold {AMBER}" if item.is_open else "dim"),
                    cell(item.kind.value.replace("_", " ")),
                    cell(f"{age(item.asked_at, now)} ago{', too long' if item.overdue_at else ''}", "dim"),
                    cell(item.title),
                ]
            ],
            indent=0,
        )
        if item.by_hand is not None:
            where = item.worktree or "a tree that is being made"
            yield cell(f"      resolved by hand by {item.taken_by} in {where}", AMBER)
            yield cell(f"      {session.command_line('conflicts', 'done', conflicts.called(item))}", "dim")
        elif item.is_open:
            words = [*(shlex.quote(option.id) for option in item.options), *(["--text ..."] if item.free_text else [])]
            yield cell(f"      {session.command_line('answer', item.id)} CHOICE   ({', '.join(words)})", "dim")
        else:
            yield cell(f"      {state}", "dim")
    if any(item.is_open for item in items):
        yield cell(f"The whole story of one: {session.command_line('inbox', 'show', items[0].id)}")


def _by_hand(item: Item, now: datetime) -> str:
    from orchestrator.cli.words import clock

    if item.by_hand is None:
        return ""
    since = f" since {clock(item.taken_at, now)}" if item.taken_at else ""
    return f"being resolved by {item.taken_by} in {item.worktree or 'a tree that is being made'}{since}"


def item_page(session: Session, item: Item, *, commands: bool = True) -> Iterable[RenderableType]:
    """Everything about one item, and what each answer leads to."""
    from orchestrator.cli.words import AMBER, age, cell, clock, grid, indented, line

    now = session.now()
    kind = item.kind.value.replace("_", " ")
    yield line(cell(item.id, f"bold {AMBER}"), "  ", cell(kind), "  ", cell(item.title, "bold"))
    about = [
        ("plan", item.plan_id),
        ("task", item.task_id or ""),
        ("attempt", item.attempt_id or ""),
        ("agent", item.agent or ""),
        ("asked", f"{clock(item.asked_at, now)}, {age(item.asked_at, now)} ago"),
        ("answer by", clock(item.deadline, now) if item.deadline else ""),
        ("paths", ", ".join(item.paths)),
        ("by hand", _by_hand(item, now)),
        ("last try", item.note),
    ]
    yield grid([[cell(name, "dim"), cell(value)] for name, value in about if value])
    if item.context:
        yield cell("")
        yield indented(item.context)
    yield cell("")
    if not item.is_open:
        yield cell(str(_closed(session, item)))
        return
    if item.by_hand is not None:
        name = conflicts.called(item)
        yield cell(f"When it is resolved: {session.command_line('conflicts', 'done', name)}")
        yield cell(f"To decide otherwise: {session.command_line('conflicts', 'abort', name)}")
        return
    choices = [
        [cell(f"{number}.", "dim"), cell(option.id, "bold"), cell(option.label), cell(option.effect, "dim")]
        for number, option in enumerate(item.options, 1)
    ]
    if choices:
        yield grid(choices)
    if item.free_text:
        yield cell("  or in your own words: --text '...'")
    if commands:
        first = shlex.quote(item.options[0].id) if item.options else "--text ..."
        yield cell(f"Answer with: {session.command_line('answer', item.id)} {first}")
