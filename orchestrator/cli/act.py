"""Asking the daemon for something, on behalf of a person."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.cli.session import Answer, Session
from orchestrator.model.errors import NoDaemonError, RefusedError

if TYPE_CHECKING:
    from orchestrator.wire import Accepted, SubmitPlan

STARTING_LOOKS, STARTING_S = 150, 0.2
NOBODY_LISTENS = "nobody listens on its socket"  #: as the client says it

Verb = Literal[
    "pause",
    "resume",
    "cancel",
    "retry",
    "answer",
    "hand_in",
    "give_back",
    "prune",
    "publish",
    "undo",
    "stop",
    "claim",
    "renew",
    "heartbeat",
    "release",
    "finish",
    "evict",
]


def person() -> str:
    """Who types, for the ledger."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "somebody"  # a container without a name for its user


def only_for_people(verb: str) -> None:
    """Raises: RefusedError inside the run of an agent: what only a person may decide is not an agent's to decide."""
    if os.environ.get("ORCHESTRATOR_RUN"):
        raise RefusedError(
            f"`{verb}` is for the people who run this, and this is the run of an agent",
            why="ORCHESTRATOR_RUN is set",
            fix="an agent asks with `orch-agent ask`",
        )


def ask_daemon(session: Session, verb: Verb, *, done: str, **details: Any) -> Answer:
    """Have the daemon do something; `done` is what a person is told, unless the daemon says it better.

    Raises: NoDaemonError, and whatever the daemon refuses it with.
    """
    from orchestrator.wire import Action

    only_for_people(verb)
    door = session.connect(session.place())
    try:
        accepted = door.act(Action(verb=verb, by=person(), **details))
    except NoDaemonError as error:
        if session.daemon_pid() is None and verb != "stop":
            # without --detach `start` follows, and refuses to when the plan is over
            error.fix = f"start it, then ask again: {session.command_line('start', '--detach')}"
        raise
    finally:
        door.close()
    return said(accepted, done)


def hand_in(session: Session, plan: SubmitPlan) -> Accepted:
    """Give the daemon a confirmed plan."""
    only_for_people("start")
    for left in reversed(range(STARTING_LOOKS)):
        door = session.connect(session.place())
        try:
            return door.submit(plan)
        except NoDaemonError as error:
            # one that somebody else has just started holds its lock before it listens
            if not left or error.why != NOBODY_LISTENS or session.daemon_pid() is None:
                raise
        finally:
            door.close()
        session.wait(STARTING_S)
    raise AssertionError("the last look answers or raises")


def said(accepted: Accepted, done: str) -> Answer:
    def page() -> Any:
        from orchestrator.cli.words import prose

        yield prose(accepted.message or done)

    return Answer(data={"seq": accepted.seq, "message": accepted.message or done}, page=page)
