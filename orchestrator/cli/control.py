"""`pause`, `resume`, `cancel`, `retry`, `publish`, `undo`, `stop`: what a person may ask of the daemon."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from orchestrator.cli import rows
from orchestrator.cli.act import ask_daemon
from orchestrator.cli.session import Answer, Session
from orchestrator.cli.verb import OptionalTask, PlanOption, TaskArgument, verb
from orchestrator.core.terminal import printable
from orchestrator.model.errors import ConfirmationNeeded, NoDaemonError, UsageError
from orchestrator.model.run import TaskState
from orchestrator.model.view import TaskView

#: How long `stop` waits for the daemon to be gone before it leaves it to itself.
GONE_WITHIN_S = {"drain": 1.0, "now": 30.0, "detach": 30.0}
EVERY_S = 0.1


@verb
def pause(session: Session) -> Answer:
    """Start nothing more; what runs goes on."""
    again = session.command_line("resume")
    return ask_daemon(session, "pause", done=f"Paused: what runs goes on, nothing new starts. Go on: {again}")


@verb
def resume(session: Session) -> Answer:
    """Start tasks again after a pause."""
    return ask_daemon(session, "resume", done="Resumed.")


@verb
def cancel(
    session: Session,
    task: OptionalTask = None,
    everything: Annotated[bool, typer.Option("--all", help="The whole plan.")] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="R", help="For the record.")] = "",
    plan: PlanOption = None,
) -> Answer:
    """Give a task up, or with --all the whole plan. Work that was done is kept."""
    if (task is None) != everything:
        raise UsageError(
            "it is not clear what to cancel" if task is None else "either TASK or --all, not both",
            fix=f"name one task: {session.command_line('cancel', 'TASK')}, "
            f"or everything: {session.command_line('cancel', '--all')}",
        )
    if task is not None:
        chosen, view = _view(session, task, plan)
        done = f"'{view.id}' is cancelled; its work is kept."
        if view.state is TaskState.LANDED:  # refused unless it is being undone
            done = f"'{view.id}' stays landed; it is not undone."
        return ask_daemon(session, "cancel", plan=chosen, task=view.id, reason=reason, done=done)
    whole = rows.chosen_plan(rows.plans(session.ledger()), plan).name if plan is not None else None
    if session.may_ask:
        said = session.question("Cancel the whole plan? Agents that run are ended, their work is kept. [y]es / [N]o: ")
        if said.lower() not in {"y", "yes"}:
            raise ConfirmationNeeded("nothing was cancelled", why="the answer was not yes")
    done = "The plan is cancelled; work that was done is kept."
    return ask_daemon(session, "cancel", plan=whole, reason=reason, done=done)


@verb
def retry(session: Session, task: TaskArgument, plan: PlanOption = None) -> Answer:
    """Try a task again that failed, was cancelled or was undone, with all counts at zero."""
    chosen, view = _view(session, task, plan)
    return ask_daemon(session, "retry", plan=chosen, task=view.id, done=f"'{view.id}' will be tried again.")


@verb
def publish(session: Session, plan: PlanOption = None) -> Answer:
    """Move the target branch to what has landed so far."""
    named = None if plan is None else rows.chosen_plan(rows.plans(session.ledger()), plan).name
    look = session.command_line("status")
    return ask_daemon(session, "publish", plan=named, done=f"Publishing what has landed; see `{look}`.")


@verb
def undo(
    session: Session,
    task: TaskArgument,
    reason: Annotated[str, typer.Option("--reason", metavar="R", help="For the commit message and the record.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Although other tasks have built on it.")] = False,
    plan: PlanOption = None,
) -> Answer:
    """Take back what a task landed, by a commit of its own that passes the checks like any other."""
    chosen, view = _view(session, task, plan)
    name = view.id
    reason = printable(reason)  # bytes that are no text do not travel
    look = session.command_line("status", name)
    done = f"'{name}' is taken back as soon as the checks are green without it; see `{look}`."
    try:
        return ask_daemon(session, "undo", plan=chosen, task=name, reason=reason, accepted=yes, done=done)
    except ConfirmationNeeded as error:
        error.fix = f"only '{name}' is taken back, the others stay: {_again(session, name, reason, chosen)}"
        if not session.may_ask:
            raise
        from orchestrator.cli.words import cell

        lines = (cell(f"  {line}") for line in error.why.split("; "))  # paths in them are named by agents
        session.say(cell(f"Other tasks have built on '{name}':"), *lines, talk=True)
        said = session.question(f"Take back only '{name}', and leave the others as they are? [y]es / [N]o: ")
        if said.lower() not in {"y", "yes"}:
            raise ConfirmationNeeded("nothing was undone", why="the answer was not yes") from None
        return ask_daemon(session, "undo", plan=chosen, task=name, reason=reason, accepted=True, done=done)


def _again(session: Session, task: str, reason: str, plan: str | None) -> str:
    named = ["--plan", plan] if plan else []
    return session.command_line("undo", task, *named, *(["--reason", reason] if reason else []), "--yes")


@verb
def stop(
    session: Session,
    now: Annotated[bool, typer.Option("--now", help="End the agents too; their work is kept.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Leave the agents running for the next daemon.")] = False,
) -> Answer:
    """End the daemon: when what runs is done, or --now, or --detach at once with the agents left running."""
    if now and detach:
        raise UsageError("--now ends the agents and --detach leaves them running", fix="choose one of them")
    mode: Literal["drain", "now", "detach"] = "now" if now else "detach" if detach else "drain"
    if session.daemon_pid() is None:
        raise NoDaemonError(f"no daemon runs for {session.place().root}", why="", fix="nothing has to be stopped")
    answer = ask_daemon(session, "stop", mode=mode, done="")
    gone = _wait_until_gone(session, GONE_WITHIN_S[mode])
    if gone:
        text = (
            f"The daemon has ended; agents go on and are taken up by the next `{session.command_line('start')}`."
            if detach
            else f"The daemon has ended. Go on later: {session.command_line('start')}"
        )
    elif mode == "drain":
        at_once = session.command_line("stop", "--now")
        text = f"The daemon ends when what runs is done, and starts nothing more. At once: {at_once}"
    else:
        text = f"The daemon is still ending. See: {session.command_line('status')}"

    def page() -> list[object]:
        from orchestrator.cli.words import cell

        return [cell(text)]

    return Answer(data={"seq": answer.data["seq"], "message": text, "ended": gone}, page=page)  # type: ignore[arg-type]


def _wait_until_gone(session: Session, within_s: float) -> bool:
    for _ in range(round(within_s / EVERY_S)):
        if session.daemon_pid() is None:
            return True
        session.wait(EVERY_S)
    return session.daemon_pid() is None


def _view(session: Session, typed: str, plan: str | None) -> tuple[str | None, TaskView]:
    """The plan, when one was named, and the task that was meant."""
    reader = session.ledger()
    chosen = rows.chosen_plan(rows.plans(reader), plan).name
    return chosen if plan is not None else None, rows.chosen_task(rows.tasks(reader, chosen), typed)
