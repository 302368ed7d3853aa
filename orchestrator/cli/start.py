"""`start`: check, show, ask, start the daemon if none runs, hand the plan in, follow."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import rows, streams
from orchestrator.cli.act import only_for_people
from orchestrator.cli.plan import AgentOption, IsolationOption, ParallelOption, assess, check_data
from orchestrator.cli.session import Answer, Session
from orchestrator.cli.verb import verb
from orchestrator.model.errors import (
    ConfirmationNeeded,
    ExitCode,
    NothingError,
    OrchestratorError,
    PlanError,
    RefusedError,
    UsageError,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestrator.model.assessment import Assessment
    from orchestrator.model.plan import Plan
    from orchestrator.model.view import PlanView
    from orchestrator.ports import LedgerReader
    from orchestrator.wire import Overrides, SubmitPlan

#: Digits of a digest that are enough to mean it.
DIGEST_PREFIX = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """How a plan that was confirmed is to be run and watched."""

    typed: Path | None  #: the plan; None: go on with what was confirmed
    confirm: str | None
    detach: bool
    foreground: bool
    sequential: bool
    exit_when_blocked: bool
    changes: tuple[str, ...]  #: flags that change the plan, as typed


@verb
def start(
    session: Session,
    plan: Annotated[Path | None, typer.Argument(metavar="PLAN", help="A plan file.")] = None,
    confirm: Annotated[
        str | None, typer.Option("--confirm", metavar="DIGEST", help="Yes to exactly this plan; `plan check` shows it.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return as soon as it runs.")] = False,
    foreground: Annotated[bool, typer.Option("--foreground", help="Be the daemon, until the plan ends.")] = False,
    parallel: ParallelOption = None,
    agent: AgentOption = None,
    isolation: IsolationOption = None,
    sequential: Annotated[bool, typer.Option("--sequential", help="Yes to running it one by one.")] = False,
    exit_when_blocked: Annotated[
        bool, typer.Option("--exit-when-blocked", help="End with 5 when nothing moves without a person.")
    ] = False,
) -> Answer:
    """Check a plan, show it, ask, run it, follow it. Ctrl-C leaves the view; the work goes on.

    Without PLAN: go on with what was confirmed before.
    """
    only_for_people("start")
    changes: list[str] = []
    for name, value in (("--parallel", parallel), ("--agent", agent), ("--isolation", isolation)):
        changes += [name, str(value)] if value is not None else []
    flags = Flags(
        typed=plan,
        confirm=confirm,
        detach=detach,
        foreground=foreground,
        sequential=sequential,
        exit_when_blocked=exit_when_blocked,
        changes=tuple(changes),
    )
    if detach and foreground:
        raise UsageError(
            "--detach returns at once and --foreground stays", why="it cannot be both", fix="choose one of them"
        )
    if plan is None:
        if changes or confirm or sequential:
            flag = changes[0] if changes else "--confirm" if confirm else "--sequential"
            raise UsageError(
                f"{flag} belongs to a plan, and none is named",
                fix=session.command_line("start", "PLAN", *changes),
            )
        return _go_on(session, flags, _unfinished(session, or_over=detach))
    found, overrides, path = assess(session, plan, parallel=parallel, agent=agent, isolation=isolation)
    if found.plan is None or found.errors:
        return Answer(data=check_data(found), error=PlanError(problems=found.errors))
    known = _known_run(session, found.plan)
    if known is not None and known.digest == found.digest and not rows.is_over(known):
        if flags.confirm is not None:
            _check_digest(session, flags, found)
        return _go_on(session, flags, known)
    try:
        _confirmed(session, flags, found, before=_text_under_way(session, known))
    except ConfirmationNeeded as error:
        return Answer(data=check_data(found), error=error)
    return _run(session, flags, found.plan.name, _submission(flags, found, overrides, path))


# ---- a person's yes ----


def _confirmed(session: Session, flags: Flags, found: Assessment, *, before: Plan | None) -> None:
    """Return when exactly this plan was confirmed. Raises: ConfirmationNeeded otherwise."""
    from orchestrator.cli.assess_view import assessment_page
    from orchestrator.model.assessment import Verdict

    one_by_one = found.verdict is Verdict.SEQUENTIAL and not flags.sequential
    with streams.perhaps_unheard():  # what was confirmed runs, whether or not anybody reads this again
        session.say(*assessment_page(found, before=before))
    if flags.confirm is not None:
        _check_digest(session, flags, found)
    elif not session.may_ask:
        raise ConfirmationNeeded(
            "nothing was started: a person has to confirm this plan first",
            why="there is nobody at a terminal to ask"
            + ("; and it can only run one by one, which needs a second yes" if one_by_one else ""),
            fix=_command(session, flags, found, sequential=one_by_one),
        )
    else:
        _ask(session, flags, found)
    if not one_by_one:
        return
    why = "no two of its tasks may run together, so agents in parallel would gain nothing"
    if session.may_ask and flags.confirm is None:
        said = session.question("No two tasks may run together. Run them one by one? [y]es / [N]o: ")
        if said.lower() in {"y", "yes"}:
            return
    raise ConfirmationNeeded(
        "nothing was started: this plan can only run one by one",
        why=why,
        fix=f"say yes to that too: {_command(session, flags, found, sequential=True)}",
    )


def _ask(session: Session, flags: Flags, found: Assessment) -> None:
    from orchestrator.cli.assess_view import assessment_page

    while True:
        said = session.question("Run this plan? [y]es / [N]o / [d]etails: ").lower()
        if said in {"y", "yes"}:
            return
        if said not in {"d", "details"}:
            raise ConfirmationNeeded(
                "nothing was started",
                why="the answer was not yes",
                fix=f"later: {session.command_line('start', str(flags.typed), *flags.changes)}",
            )
        session.say(*assessment_page(found, full=True))


def _check_digest(session: Session, flags: Flags, found: Assessment) -> None:
    """Raises: ConfirmationNeeded unless `--confirm` means this plan."""
    given = (flags.confirm or "").lower()
    if len(given) >= DIGEST_PREFIX and found.digest.startswith(given):
        return
    if found.digest.startswith(given):
        raise ConfirmationNeeded(
            f"nothing was started: '{flags.confirm}' is too short to mean one plan",
            why=f"at least {DIGEST_PREFIX} digits of the digest are needed",
            fix=_command(session, flags, found, sequential=False),
        )
    looks_right = re.fullmatch(r"[0-9a-f]+", given) is not None
    raise ConfirmationNeeded(
        f"nothing was started: '{flags.confirm}' is not the digest of this plan",
        why="the plan, a prompt, a setting or a flag has changed since it was confirmed"
        if looks_right
        else "a digest is made of the digits 0-9 and a-f",
        fix=f"look at it again ({session.command_line('plan', 'check', str(flags.typed), *flags.changes)}), "
        f"then: {_command(session, flags, found, sequential=False)}",
    )


def _command(session: Session, flags: Flags, found: Assessment, *, sequential: bool) -> str:
    """The exact command that confirms this plan."""
    words = ["start", str(flags.typed), *flags.changes]
    for name, given in (
        ("--sequential", sequential or flags.sequential),
        ("--detach", flags.detach),
        ("--foreground", flags.foreground),
        ("--exit-when-blocked", flags.exit_when_blocked),
    ):
        words += [name] if given else []
    return session.command_line(*words, "--confirm", found.digest)


# ---- what the ledger knows already ----


def _ledger(session: Session) -> LedgerReader | None:
    try:
        return session.ledger()
    except NothingError:
        return None


def _known_run(session: Session, plan: Plan) -> PlanView | None:
    reader = _ledger(session)
    known = rows.plans(reader) if reader is not None else []
    return next((one for one in known if one.name == plan.name), None)


def _text_under_way(session: Session, known: PlanView | None) -> Plan | None:
    """The plan as it was confirmed last, when it is still under way; None otherwise."""
    reader = _ledger(session)
    if reader is None or known is None or rows.is_over(known):
        return None
    from orchestrator.model.plan import Plan as PlanText
    from orchestrator.wire import load

    confirmed = [e for e in reader.events(plan=known.name) if e.type in {"plan_confirmed", "plan_revised"}]
    return load(PlanText, confirmed[-1].data["plan"]) if confirmed else None


def _unfinished(session: Session, *, or_over: bool = False) -> PlanView:
    """The plan to go on with; with `or_over` one that is over will do, for a daemon that can publish, undo and retry.

    Raises: NothingError, with plan files that could be started.
    """
    reader = _ledger(session)
    known = rows.plans(reader) if reader is not None else []
    unfinished = [plan for plan in known if not rows.is_over(plan)]
    if unfinished or (or_over and known):
        return rows.chosen_plan(unfinished or known)
    from orchestrator.cli.status import plan_files

    files = plan_files(session)
    raise NothingError(
        "there is nothing to go on with",
        why=f"plan '{known[0].name}' is {known[0].state}" if known else "no plan has been confirmed in this repository",
        fix="start one: " + "\n       or: ".join(session.command_line("start", name) for name in files[:6] or ["PLAN"]),
    )


# ---- running ----


def _submission(flags: Flags, found: Assessment, overrides: Overrides, path: Path) -> SubmitPlan:
    from orchestrator.cli.act import person
    from orchestrator.model.assessment import Verdict
    from orchestrator.wire import SubmitPlan

    return SubmitPlan(
        path=str(path),
        digest=found.digest,
        overrides=overrides,
        # Whoever came here said yes to one by one, by the flag or to the question.
        sequential=flags.sequential or found.verdict is Verdict.SEQUENTIAL,
        by=person(),
    )


def _go_on(session: Session, flags: Flags, plan: PlanView) -> Answer:
    return _run(session, flags, plan.name, None)


def _run(session: Session, flags: Flags, name: str, submission: SubmitPlan | None) -> Answer:
    running = session.daemon_pid()
    if submission is not None and running is None:
        _refuse_beside_another(session, name)
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


def _refuse_beside_another(session: Session, name: str) -> None:
    """Raises: RefusedError when another plan is unfinished; before a daemon is started, which would go on with it."""
    reader = _ledger(session)
    unfinished = [plan for plan in rows.plans(reader) if plan.current and not rows.is_over(plan)] if reader else []
    for plan in unfinished:
        if plan.name != name:
            raise RefusedError(
                f"plan '{plan.name}' is not finished",
                why="one plan runs at a time, so that two agents never work on one file",
                fix=f"go on with it: {session.command_line('start')}; then `cancel --all` ends it",
            )


def _newest(session: Session) -> int:
    """The sequence number of the last event there is."""
    reader = _ledger(session)
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
