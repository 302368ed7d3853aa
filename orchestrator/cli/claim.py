"""`claim ...`: a task for an agent, or a person, that somebody starts by hand; and who holds what."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import rows
from orchestrator.cli.act import ask_daemon, only_for_people, person
from orchestrator.cli.session import Answer, Session
from orchestrator.cli.verb import OptionalTask, PlanOption, TaskArgument, verb
from orchestrator.model.errors import NoDaemonError, NothingError, OrchestratorError, RefusedError, UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import RenderableType

    from orchestrator.model.view import LeaseView, TaskView
    from orchestrator.ports import Stored

EVERY_S = 0.1
GONE_AFTER = 20  #: looks in a row that find no daemon
LOOKED_BACK = 500  #: events at a time
_LENGTH = re.compile(r"(?:(\d{1,4})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?")

HolderOption = Annotated[str | None, typer.Option("--as", metavar="NAME", help="Who holds it; without, your own name.")]
TokenOption = Annotated[
    int | None,
    typer.Option("--token", metavar="N", help="Of the claim; without, that of the tree you are in, or of your own."),
]


@verb
def acquire(
    session: Session,
    task: OptionalTask = None,
    holder: HolderOption = None,
    ttl: Annotated[
        str | None,
        typer.Option("--ttl", metavar="TIME", help="How long without a sign of life: 30m; 0 is without an end."),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", metavar="R", help="Why a claim without an end.")] = "",
    review: Annotated[
        str | None, typer.Option("--review", metavar="TIME", help="When one without an end is looked at: 8h.")
    ] = None,
    plan: PlanOption = None,
) -> Answer:
    """Claim a task, or the best that may start, and print the folder to work in."""
    only_for_people("claim acquire")
    chosen, name = _named(session, task, plan) if task is not None else (plan, None)
    _be_served(session)
    who = holder or person()
    asked = ask_daemon(
        session,
        "claim",
        plan=chosen,
        task=name,
        holder=who,
        ttl_s=None if ttl is None else seconds(ttl, "--ttl"),
        review_s=None if review is None else seconds(review, "--review"),
        reason=reason,
        done="",
    )
    first = _claimed(session, asked.data["seq"], who)
    ended = {"holder_ready", "attempt_ended"}
    last = _event(session, first.seq, lambda e: e.type in ended and e.attempt == first.attempt)
    if last.type != "holder_ready":
        raise OrchestratorError(
            f"the tree of '{first.task}' could not be made ready",
            why=str(last.data.get("detail", "")),
            fix=session.command_line("why", str(first.task)),
        )
    view = _view(session, str(first.plan), str(first.task))
    path = view.history[-1].worktree or ""
    typed = session.command_line("claim", "finish", view.id, "--token", str(first.token))
    session.say(*_told(f"'{view.id}' is yours under token {first.token}. When it is done: {typed}"), talk=True)
    data = {"plan": first.plan, "task": view.id, "token": first.token, "path": path, "lease": _data(view)}
    return Answer(data=data, page=lambda: _told(path))


@verb
def renew(session: Session, task: TaskArgument, token: TokenOption = None, plan: PlanOption = None) -> Answer:
    """Have the whole time of a claim again."""
    return _speak(session, "renew", task, token, plan, "renewed")


@verb
def heartbeat(session: Session, task: TaskArgument, token: TokenOption = None, plan: PlanOption = None) -> Answer:
    """Show that you are still at it; every 30 s is often enough."""
    return _speak(session, "heartbeat", task, token, plan, "heard")


@verb
def release(
    session: Session,
    task: TaskArgument,
    token: TokenOption = None,
    reason: Annotated[str, typer.Option("--reason", metavar="R", help="For who goes on.")] = "",
    plan: PlanOption = None,
) -> Answer:
    """Give a task back; what is in its tree is kept, and the task is free."""
    return _speak(session, "release", task, token, plan, "given back; what is in its tree is kept", reason=reason)


@verb
def finish(
    session: Session,
    task: TaskArgument,
    token: TokenOption = None,
    summary: Annotated[str, typer.Option("--summary", metavar="S", help="What was done, for those after you.")] = "",
    no_change: Annotated[
        str | None, typer.Option("--no-change", metavar="R", help="Nothing had to be changed, because of R.")
    ] = None,
    plan: PlanOption = None,
) -> Answer:
    """Hand a task in: what is in its tree, committed or not, goes to the gate if it holds."""
    only_for_people("claim finish")
    chosen, name = _named(session, task, plan)
    view = _view(session, chosen, name)
    given = _token(session, view, token)
    asked = ask_daemon(
        session, "finish", plan=chosen, task=name, token=given, text=summary, no_change=no_change, done=""
    )
    attempt = next((one.id for one in reversed(view.history) if one.token == given), None)
    ends = {"attempt_ended", "late_result"}
    event = _event(
        session,
        asked.data["seq"] - 1,
        lambda e: e.type in ends and e.attempt == attempt,
        unless=lambda: not _holds(_view(session, chosen, name), given),
    )
    if event is None or event.type == "late_result":
        kept = ", ".join(event.data.get("salvage", ())) if event is not None else ""
        raise RefusedError(
            f"token {given} does not hold '{name}' any more, so nothing was taken for it",
            why="the task was taken back, and may have another holder by now",
            fix=f"what is in your tree is kept as {kept}"
            if kept
            else "what is in your tree was kept before, or is just being kept",
        )
    if event.data.get("ending") not in {"handed_off", "no_op"}:
        raise RefusedError(
            f"'{name}' was not taken",
            why=str(event.data.get("detail") or event.data.get("ending")),
            fix=f"claim it again to go on: {session.command_line('claim', 'acquire', name)}",
        )
    text = f"'{name}' is handed in. See: {session.command_line('status', name)}"
    return Answer(data={"plan": chosen, "task": name, "token": given, "message": text}, page=lambda: _told(text))


@verb
def force_evict(
    session: Session,
    task: TaskArgument,
    reason: Annotated[str, typer.Option("--reason", metavar="R", help="For the record; needed.")] = "",
    plan: PlanOption = None,
) -> Answer:
    """Take a task away from its holder: stopped first, its work kept, then free for a new claim."""
    if not reason:
        raise UsageError("taking a task away needs a reason", why="it stays in the ledger", fix="add --reason WHY")
    chosen, name = _named(session, task, plan)
    done = f"'{name}' is being taken away: stopped, kept, then free. See: {session.command_line('why', name)}"
    return ask_daemon(session, "evict", plan=chosen, task=name, reason=reason, done=done)


@verb
def status(session: Session, task: TaskArgument, plan: PlanOption = None) -> Answer:
    """Who holds a task, under which token, and for how long."""
    chosen, name = _named(session, task, plan)
    view = _view(session, chosen, name)
    return Answer(
        data={"plan": chosen, "task": name, "state": view.state, "lease": _data(view)},
        page=lambda: _list(session, [view], f"nobody holds '{name}'"),
    )


@verb
def list_(session: Session, plan: PlanOption = None) -> Answer:
    """Who holds what."""
    chosen = rows.chosen_plan(rows.plans(session.ledger()), plan).name
    held = [task for task in rows.tasks(session.ledger(), chosen) if task.lease is not None]
    data = {"plan": chosen, "leases": [{"task": task.id} | (_data(task) or {}) for task in held]}
    return Answer(data=data, page=lambda: _list(session, held, "Nobody holds anything."))


def seconds(text: str, option: str) -> float:
    """A length of time as a person types it. Raises: UsageError."""
    found = _LENGTH.fullmatch(text)
    if text == "0":
        return 0.0
    if found is None or not any(found.groups()):
        raise UsageError(f"{option} cannot be '{text}'", fix="a time such as 30m, 8h or 1h30m")
    days, hours, minutes, rest = (int(part or 0) for part in found.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    if not total:
        raise UsageError(f"{option} cannot be '{text}'", fix="write 0 for a claim without an end, or a time")
    return float(total)


def _speak(
    session: Session, what: Any, task: str, token: int | None, plan: str | None, said: str, **more: Any
) -> Answer:
    chosen, name = _named(session, task, plan)
    given = _token(session, _view(session, chosen, name), token)
    return ask_daemon(session, what, plan=chosen, task=name, token=given, done=f"'{name}': {said}.", **more)


def _named(session: Session, task: str, plan: str | None) -> tuple[str, str]:
    """The names of the plan and the task that were meant."""
    chosen = rows.chosen_plan(rows.plans(session.ledger()), plan).name
    return chosen, rows.chosen_task(rows.tasks(session.ledger(), chosen), task).id


def _view(session: Session, plan: str, task: str) -> TaskView:
    return next(one for one in rows.tasks(session.ledger(), plan) if one.id == task)


def _token(session: Session, view: TaskView, given: int | None) -> int:
    """The token to speak under: of the tree that one stands in, else of one's own claim.

    Raises: NothingError when nobody holds the task by hand; RefusedError when it is somebody else who does.
    """
    if given is not None:
        return given
    here = session.path(Path()).resolve()
    for attempt in view.history:
        if attempt.worktree and here.is_relative_to(Path(attempt.worktree).resolve()):
            return attempt.token  # it may have been replaced meanwhile, and is told so then
    if view.lease is None or not view.lease.by_hand:
        raise NothingError(
            f"'{view.id}' is not claimed by hand",
            why=f"agent '{view.lease.holder}' works on it" if view.lease else "nobody holds it",
            fix=session.command_line("claim", "list"),
        )
    if view.lease.holder != person():
        raise RefusedError(
            f"'{view.id}' is held by {view.lease.holder}",
            why=f"you are {person()}, and nobody speaks for another holder by accident",
            fix=f"if that is you: --token {view.lease.token}, or type it in {view.history[-1].worktree or 'its tree'}",
        )
    return view.lease.token


def _be_served(session: Session) -> None:
    """Start the daemon when none runs: a claim needs one."""
    if session.daemon_pid() is None:
        session.world().spawn_daemon(session.place())


def _claimed(session: Session, seq: int, holder: str) -> Stored:
    """The claim that was recorded last for a holder, up to a place in the ledger: nobody holds two at once."""
    until, reader = seq, session.ledger()
    while True:
        after = max(until - LOOKED_BACK, 0)
        for event in reversed(reader.events(after_seq=after, limit=until - after)):
            if event.type == "attempt_started" and event.data.get("held") and event.data.get("agent") == holder:
                return event
        assert after, f"{holder} has claimed nothing"
        until = after


def _holds(view: TaskView, token: int) -> bool:
    return view.lease is not None and view.lease.token == token


def _event(session: Session, after: int, holds: Any, *, unless: Callable[[], bool] | None = None) -> Any:
    """The first event after a place in the ledger for which something holds.

    Args:
        unless: None is given when this is so for a while and the event has not come.

    Raises: NoDaemonError when nobody is left to bring it.
    """
    gone, quiet, reader = 0, 0, session.ledger()
    found: Stored | None = None
    while found is None:
        for event in reader.events(after_seq=after):
            after = event.seq
            if holds(event):
                found = event
                break
        gone = gone + 1 if session.daemon_pid() is None else 0
        quiet = quiet + 1 if unless is not None and unless() else 0
        if found is None and quiet > GONE_AFTER:
            return None
        if found is None and gone > GONE_AFTER:
            raise NoDaemonError(
                "the daemon has ended meanwhile",
                why="what was asked for is in the ledger",
                fix=f"start it: {session.command_line('start', '--detach')}",
            )
        if found is None:
            session.wait(EVERY_S)
    return found


def _data(view: TaskView) -> dict[str, Any] | None:
    lease = view.lease
    if lease is None:
        return None
    return {
        "holder": lease.holder,
        "token": lease.token,
        "attempt": lease.attempt,
        "state": lease.state,
        "granted_at": lease.granted_at,
        "expires_at": lease.expires_at,
        "heartbeat_at": lease.heartbeat_at,
        "reason": lease.reason,
        "review_by": lease.review_by,
        "by_hand": lease.by_hand,
        "worktree": view.history[-1].worktree if view.history else None,
    }


def _told(*texts: str) -> Iterable[RenderableType]:
    from orchestrator.cli.words import cell

    yield from (cell(text) for text in texts)


def _list(session: Session, held: list[TaskView], nothing: str) -> Iterable[RenderableType]:
    from orchestrator.cli.words import age, cell, grid

    now = session.now()
    lines = [
        [
            cell(task.id, "bold"),
            cell(task.lease.holder),
            cell(f"token {task.lease.token}", "dim"),
            cell(f"since {age(task.lease.granted_at, now)}"),
            cell(_until(task.lease, now), "" if task.lease.state == "live" else "bold red"),
            cell("by hand" if task.lease.by_hand else "", "dim"),
        ]
        for task in held
        if task.lease is not None
    ]
    if lines:
        yield grid(lines, indent=0)
    else:
        yield cell(nothing)


def _until(lease: LeaseView, now: datetime) -> str:
    from orchestrator.cli.words import length

    if lease.state != "live":
        return lease.state
    if lease.expires_at is None:
        return f"no end: {lease.reason}"
    left = lease.expires_at - now
    return f"for {length(left)}" if left.total_seconds() > 0 else "being renewed"
