"""`diff TASK`: what a task changed, live, handed off or landed."""

from __future__ import annotations

import base64
import os
import shutil
import sys
from typing import Annotated

import typer

from orchestrator.cli import rows
from orchestrator.cli.session import Answer, Session
from orchestrator.cli.verb import PlanOption, TaskArgument, verb
from orchestrator.model.errors import NothingError, UsageError
from orchestrator.model.view import AttemptView, Change, PlanView, TaskView

AttemptOption = Annotated[
    int | None, typer.Option("--attempt", metavar="N", min=1, help="One attempt instead of the latest.")
]


@verb
def diff(
    session: Session,
    task: TaskArgument,
    attempt: AttemptOption = None,
    plan: PlanOption = None,
    stat: Annotated[bool, typer.Option("--stat", help="Only how much, file by file.")] = False,
    names: Annotated[bool, typer.Option("--name-only", help="Only the paths.")] = False,
) -> Answer:
    """What a task changed: what landed, else what its attempt did, uncommitted and new files too."""
    if stat and names:
        raise UsageError("--stat and --name-only are two ways to show it", fix="choose one of them")
    chosen, one = named_task(session, task, plan)
    which = None if attempt is None else attempt_of(one, attempt)
    in_colour = session.color == "always" or (session.on_terminal and session.color == "auto" and not _no_colour())
    options = ["--color=always" if in_colour else "--color=never"]
    if session.json:
        options += ["--binary"]
    elif names:
        options += ["--name-only"]
    elif stat:
        options += [f"--stat={shutil.get_terminal_size().columns if session.on_terminal else 1000}"]
    change = session.sight().change_of(session.place_of_trees(), chosen, one, which, options)
    if not session.json:
        _show(session, change.text)
    return Answer(data=_data(change), streamed=not session.json)


def named_task(session: Session, typed: str, plan: str | None) -> tuple[PlanView, TaskView]:
    """The task that a person means, and its plan."""
    reader = session.ledger()
    chosen = rows.chosen_plan(rows.plans(reader), plan)
    return chosen, rows.chosen_task(rows.tasks(reader, chosen.name), typed)


def attempt_of(task: TaskView, number: int | None) -> AttemptView:
    """One attempt at a task; the latest for None. Raises: NothingError when there is none."""
    if not task.history:
        raise NothingError(
            f"'{task.id}' has not been tried yet", why=task.waiting_for or "", fix=f"`orchestrator why {task.id}`"
        )
    if number is None:
        return task.history[-1]
    found = next((attempt for attempt in task.history if attempt.number == number), None)
    if found is None:
        known = ", ".join(str(attempt.number) for attempt in task.history)
        raise UsageError(f"'{task.id}' has no attempt {number}", why=f"known: {known}", fix="choose one of them")
    return found


def _data(change: Change) -> dict[str, object]:
    files = [
        {"path": one.path, "status": one.status, "added": one.added, "deleted": one.deleted} for one in change.files
    ]
    try:
        patch = {"patch": change.text.decode()}
    except UnicodeDecodeError:
        patch = {"patch": "", "patch_base64": base64.b64encode(change.text).decode()}  # whole, or not at all
    return {"base": change.base, "head": change.head, "files": files, **patch}


def _no_colour() -> bool:
    return bool(os.environ.get("NO_COLOR"))


def _show(session: Session, text: bytes) -> None:
    """On a terminal by the person's pager, as git does it; else as it is."""
    if not text:
        session.say("nothing has changed", talk=True)
    if not (text and session.on_terminal and session.world().page(text, like_git=True)):
        sys.stdout.flush()
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
