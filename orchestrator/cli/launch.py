"""From a confirmed plan to one that is followed: what the ledger knows already, the daemon, the way into the view."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli import rows
from orchestrator.cli.session import Answer, Session
from orchestrator.model.errors import ExitCode, NothingError, OrchestratorError, RefusedError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestrator.model.plan import Plan
    from orchestrator.model.view import PlanView
    from orchestrator.ports import LedgerReader
    from orchestrator.wire import SubmitPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """How a plan is confirmed, run and watched."""

    confirm: str | None = None
    detach: bool = False
    foreground: bool = False
    sequential: bool = False
    exit_when_blocked: bool = False

    def words(self, *, sequential: bool = False) -> list[str]:
        """The flags that say the same, the digest aside."""
        given = (
            ("--sequential", sequential or self.sequential),
            ("--detach", self.detach),
            ("--foreground", self.foreground),
            ("--exit-when-blocked", self.exit_when_blocked),
        )
        return [name for name, is_given in given if is_given]


# ---- what the ledger knows already ----


def ledger_or_none(session: Session) -> LedgerReader | None:
    try:
        return session.ledger()
    except NothingError:
        return None


def known_run(session: Session, name: str) -> PlanView | None:
    reader = ledger_or_none(session)
    known = rows.plans(reader) if reader is not None else []
    return next((one for one in known if one.name == name), None)


def text_under_way(session: Session, known: PlanView | None) -> Plan | None:
    """The plan as it was confirmed last, when it is still under way; None otherwise."""
    reader = ledger_or_none(session)
    if reader is None or known is None or rows.is_over(known):
        return None
    from orchestrator.model.plan import Plan as PlanText
    from orchestrator.wire import load

    confirmed = [e for e in reader.events(plan=known.name) if e.type in {"plan_confirmed", "plan_revised"}]
    return load(PlanText, confirmed[-1].data["plan"]) if confirmed else None


def unfinished(session: Session, *, or_over: bool = False) -> PlanView:
    """The plan to go on with; with `or_over` one that is over will do, for a daemon that can publish and retry.

    Raises: NothingError, with plan files that could be started.
    """
    reader = ledger_or_none(session)
    known = rows.plans(reader) if reader is not None else []
    still = [plan for plan in known if not rows.is_over(plan)]
    if still or (or_over and known):
        return rows.chosen_plan(still or known)
    from orchestrator.cli.status import plan_files

    files = plan_files(session)
    raise NothingError(
        "there is nothing to go on with",
        why=f"plan '{known[0].name}' is {known[0].state}" if known else "no plan has been confirmed in this repository",
        fix="start one: " + "\n       or: ".join(session.command_line("start", name) for name in files[:6] or ["PLAN"]),
    )


# ---- running ----


def launch(session: Session, flags: Flags, name: str, submission: SubmitPlan | None) -> Answer:
    """Hand a plan in, or go on with what was confirmed, and follow it. Starts the daemon where none runs."""
    running = session.daemon_pid()
    if submission is not None and running is None:
        refuse_beside_another(session, name)
    if flags.foreground:
        if running is not None:
            raise RefusedError(
                f"a daemon already runs for this repository (process {running})",
                why="one daemon works on a repository, so that nothing is done twice",
                fix=f"leave out --foreground, or end it first: {session.command_line('stop', '--detach')}",
            )
        return _in_foreground(session, flags, name, submission)
    if running is None:
        session.world().spawn_daemon(session.place())
    # What follows is told from here on, the confirmation included.
    after_seq = _newest(session)
    if submission is not None:
        from orchestrator.cli.act import hand_in

        hand_in(session, submission)
    reader = session.ledger()
    if flags.detach:
        return _state(session, reader, name, page=lambda: _going(session, reader, name))
    from orchestrator.cli.follow import follow

    return follow(session, reader, name, exit_when_blocked=flags.exit_when_blocked, after_seq=after_seq)


def refuse_beside_another(session: Session, name: str) -> None:
    """Raises: RefusedError when another plan is unfinished; before a daemon is started, which would go on with it."""
    reader = ledger_or_none(session)
    unfinished = [plan for plan in rows.plans(reader) if plan.current and not rows.is_over(plan)] if reader else []
    for plan in unfinished:
        if plan.name != name:
            raise RefusedError(
                f"plan '{plan.name}' is not finished",
                why="one plan runs at a time, so that two agents never work on one file",
                fix=_ways_on(session),
            )


def _ways_on(session: Session) -> str:
    """What to do about another plan that is unfinished."""
    follow, end = session.command_line("start"), session.command_line("cancel", "--all")
    if session.daemon_pid() is None:
        return f"go on with it: {follow}; then `{end}` would end it"
    return f"follow it to its end: {follow}; or end it: {end}; then type this again"


def _newest(session: Session) -> int:
    """The sequence number of the last event there is."""
    reader = ledger_or_none(session)
    newest = reader.events(last=1) if reader is not None else []
    return newest[-1].seq if newest else 0


def _in_foreground(session: Session, flags: Flags, name: str, submission: SubmitPlan | None) -> Answer:
    from orchestrator.cli.follow import outcome_error, picture
    from orchestrator.cli.report import ending_lines

    world = session.world()
    ended = world.run_daemon(
        world.place_for(session.path(Path())),
        submit=submission,
        exit_when_done=True,
        exit_when_blocked=flags.exit_when_blocked,
        console=not session.json,
    )
    code = ExitCode(ended) if ended in set(ExitCode) else ExitCode.BUG
    if code is ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    reader = session.ledger()
    seen = picture(reader, name)
    error: OrchestratorError | None
    if code in {ExitCode.OK, ExitCode.NOT_ALL_LANDED, ExitCode.NEEDS_PERSON}:
        error = outcome_error(code, seen, session.program)
    else:
        error = OrchestratorError(
            "the daemon ended with an error", fix=session.command_line("logs", "--stream", "daemon")
        )
        error.exit_code = code
    return _state(session, reader, name, page=lambda: ending_lines(seen.plan, seen.tasks, session.program), error=error)


def _state(
    session: Session, reader: LedgerReader, name: str, *, page: Any, error: OrchestratorError | None = None
) -> Answer:
    """An answer with the data of `status`."""
    from orchestrator.cli.follow import picture
    from orchestrator.cli.status import status_data

    seen = picture(reader, name)
    data = status_data(seen.plan, rows.plans(reader), seen.tasks, seen.items, daemon_pid=session.daemon_pid())
    return Answer(data=data, page=page, error=error)


def _going(session: Session, reader: LedgerReader, name: str) -> Iterable[RenderableType]:
    from orchestrator.cli.words import cell

    plan = rows.chosen_plan(rows.plans(reader), name)
    over = rows.is_over(plan)
    where = f"is {plan.state}" if over else "is under way"
    follow = "" if over else f"follow: {session.command_line('start')}    "
    yield cell(f"{name} {where}; the daemon is process {session.daemon_pid()}.")
    yield cell(f"  {follow}look: {session.command_line('status')}")
