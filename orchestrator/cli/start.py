"""`start`: check, show, ask, start the daemon if none runs, hand the plan in, follow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.act import only_for_people
from orchestrator.cli.changes import (
    AgentOption,
    DropOption,
    FirstOption,
    IsolationOption,
    ParallelOption,
    read_overrides,
    words_of,
)
from orchestrator.cli.launch import Flags, launch, unfinished
from orchestrator.cli.plan import plan_path
from orchestrator.cli.session import Answer, Session
from orchestrator.cli.verb import verb
from orchestrator.model.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.model.assessment import Assessment
    from orchestrator.wire import Overrides

ConfirmOption = Annotated[
    str | None,
    typer.Option("--confirm", metavar="DIGEST", help="Yes to exactly this plan, by the digest that was shown."),
]
DetachOption = Annotated[bool, typer.Option("--detach", help="Return as soon as it runs.")]
ForegroundOption = Annotated[bool, typer.Option("--foreground", help="Be the daemon, until the plan ends.")]
BlockedOption = Annotated[
    bool, typer.Option("--exit-when-blocked", help="End with 5 when nothing moves without a person.")
]


@verb
def start(
    session: Session,
    plan: Annotated[Path | None, typer.Argument(metavar="PLAN", help="A plan file.")] = None,
    confirm: ConfirmOption = None,
    detach: DetachOption = False,
    foreground: ForegroundOption = False,
    parallel: ParallelOption = None,
    agent: AgentOption = None,
    first: FirstOption = None,
    drop: DropOption = None,
    isolation: IsolationOption = None,
    sequential: Annotated[bool, typer.Option("--sequential", help="Yes to running it one by one.")] = False,
    exit_when_blocked: BlockedOption = False,
) -> Answer:
    """Check a plan, show it, ask, run it, follow it. Ctrl-C leaves the view; the work goes on.

    Without PLAN: go on with what was confirmed before. Flags that change the plan can be typed at the question too.
    """
    only_for_people("start")
    flags = Flags(
        confirm=confirm,
        detach=detach,
        foreground=foreground,
        sequential=sequential,
        exit_when_blocked=exit_when_blocked,
    )
    check_flags(flags)
    given = (parallel, agent, first, drop, isolation)
    if plan is None:
        names = ("--parallel", "--agent", "--first", "--drop", "--isolation")
        changing = [name for name, value in zip(names, given, strict=True) if value]
        if changing or confirm or sequential:
            flag = changing[0] if changing else "--confirm" if confirm else "--sequential"
            raise UsageError(
                f"{flag} belongs to a plan, and none is named", fix=session.command_line("start", "PLAN", flag, "...")
            )
        return launch(session, flags, unfinished(session, or_over=detach).name, None)
    from orchestrator.cli.confirm import begin

    overrides = read_overrides(parallel=parallel, agent=agent, first=first, drop=drop, isolation=isolation)
    return begin(session, flags, PlanFile(session, plan), overrides)


def check_flags(flags: Flags) -> None:
    """Raises: UsageError when two of them cannot both be meant."""
    if flags.detach and flags.foreground:
        raise UsageError(
            "--detach returns at once and --foreground stays", why="it cannot be both", fix="choose one of them"
        )


class PlanFile:
    """A plan in a file of the person's own."""

    def __init__(self, session: Session, typed: Path) -> None:
        self._session = session
        self._typed = typed
        self._path = plan_path(session, typed)

    def assess(self, overrides: Overrides) -> Assessment:
        return self._session.world().check_plan(self._session.place(), self._path, overrides)

    def words(self, overrides: Overrides, *more: str) -> list[str]:
        return ["start", str(self._typed), *words_of(overrides), *more]

    def check_words(self, overrides: Overrides) -> list[str]:
        return ["plan", "check", str(self._typed), *words_of(overrides)]

    def file(self, overrides: Overrides) -> Path:
        return self._path

    def submitted(self, overrides: Overrides) -> tuple[Path, Overrides]:
        return self._path, overrides
