"""`restart`: another daemon in place of the one that runs, of this version, with the agents left at work."""

from __future__ import annotations

from typing import Any

from orchestrator.cli.act import only_for_people
from orchestrator.cli.session import Answer, Session
from orchestrator.cli.verb import verb
from orchestrator.model.errors import NothingError, RefusedError
from orchestrator.model.run import PlanPhase

GONE_WITHIN_S = 30.0
EVERY_S = 0.1
_OVER = frozenset({PlanPhase.FINISHED, PlanPhase.PUBLISHED, PlanPhase.CANCELLED})


@verb
def restart(session: Session) -> Answer:
    """End the daemon and start one of this version, which takes up the agents that go on meanwhile.

    Works with a daemon of any version. Without a daemon, one is started if a plan is unfinished.
    """
    only_for_people("restart")
    place, world = session.place(), session.world()
    before = world.daemon_info(place)
    if before is None and not _unfinished(session):
        return _said("No daemon runs, and no plan is unfinished: nothing to start.", before, None)
    if before is not None:
        world.end_daemon(place)
        if not _has_gone(session, int(before["pid"])):
            raise RefusedError(
                f"the daemon, pid {before['pid']}, does not end",
                why=f"it was asked to, and is still there after {GONE_WITHIN_S:.0f} s: it was stopped, or hangs",
                fix=f"kill -KILL {before['pid']}, then {session.command_line('restart')}; nothing is lost",
            )
    world.spawn_daemon(place)
    after = world.daemon_info(place)
    if before is None:
        text = f"A daemon was started (pid {_pid(after)}), and goes on with what is unfinished."
    else:
        was, now = before.get("version"), (after or {}).get("version")
        versions = f", version {now} in place of {was}" if was and now and was != now else ""
        text = f"The daemon was restarted (pid {_pid(after)}{versions}); agents went on meanwhile."
    return _said(text, before, after)


def _unfinished(session: Session) -> bool:
    try:
        plans = session.ledger().rows("plan")
    except NothingError:
        return False
    return any(plan["state"] not in _OVER for plan in plans)


def _has_gone(session: Session, pid: int) -> bool:
    """Whether that one has; somebody else may have started another meanwhile."""
    for _ in range(round(GONE_WITHIN_S / EVERY_S)):
        if session.daemon_pid() != pid:
            return True
        session.wait(EVERY_S)
    return session.daemon_pid() != pid


def _pid(info: dict[str, Any] | None) -> int | None:
    return int(info["pid"]) if info else None


def _said(text: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> Answer:
    def page() -> Any:
        from orchestrator.cli.words import prose

        yield prose(text)

    return Answer(data={"ended": _pid(before), "pid": _pid(after), "message": text}, page=page)
