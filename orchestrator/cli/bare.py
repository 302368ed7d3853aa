"""`orchestrator` without a verb: where everything is and what to do next, or how to begin."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli import rows
from orchestrator.cli.conflicts import called
from orchestrator.cli.session import Answer, Session
from orchestrator.cli.status import plan_files, status_answer
from orchestrator.model.errors import NothingError, RepositoryError
from orchestrator.model.run import PlanPhase, TaskState

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestrator.model.item import Item
    from orchestrator.model.view import PlanView, TaskView

Step = tuple[str, str]  #: a command, and what it does

MOST_STEPS = 2


def bare(session: Session) -> Answer:
    """What a person gets who typed nothing but `orchestrator`."""
    try:
        found = status_answer(session)
    except NothingError:
        return _beginning(session)
    except RepositoryError as error:
        if session.json:
            raise
        return Answer(page=lambda: _outside(session), error=error)
    steps = _steps_now(session)
    return replace(
        found,
        data={**found.data, "next": [{"command": command, "does": does} for command, does in steps]},
        page=lambda: [*found.page(), *_steps_page(steps)],
    )


# ---- something has run ----


def _steps_now(session: Session) -> list[Step]:
    reader = session.ledger()
    known = rows.plans(reader)
    plan = rows.chosen_plan(known, None)
    steps = next_steps(
        session,
        plan,
        rows.tasks(reader, plan.name),
        rows.items(reader),
        ran={one.name for one in known},
        daemon_running=session.daemon_pid() is not None,
    )[:MOST_STEPS]
    return [*steps, *_left_behind(session, plan, known)[:MOST_STEPS]]


def _left_behind(session: Session, present: PlanView, known: Sequence[PlanView]) -> list[Step]:
    """What other plans have landed and never published, which nobody would come back to otherwise."""
    when = "" if rows.is_over(present) else f", when '{present.name}' is over"
    return [
        (
            session.command_line("publish", "--plan", plan.name),
            f"what '{plan.name}' has landed is not on {plan.target} yet{when}",
        )
        for plan in rows.left_behind(known, beside=present.name)
    ]


def next_steps(
    session: Session,
    plan: PlanView,
    tasks: Sequence[TaskView],
    items: Sequence[Item],
    *,
    ran: AbstractSet[str] = frozenset(),
    daemon_running: bool,
) -> list[Step]:
    """What makes sense now, the most pressing first. `ran` are the names of all plans that the ledger knows."""
    over = rows.is_over(plan)
    steps: list[Step] = []
    if not over and not daemon_running:
        steps.append((session.command_line("start"), "no daemon runs: go on where it was"))
    if any(not item.is_note and item.by_hand is None for item in items):
        steps.append((session.command_line("inbox"), "see what waits for you, and answer"))
    for item in (item for item in items if item.by_hand is not None):
        where = f"in {item.worktree}" if item.worktree else "in its tree"
        steps.append((session.command_line("conflicts", "done", called(item)), f"when you have resolved it {where}"))
    if items and all(item.is_note for item in items):
        steps.append((session.command_line("inbox"), "read what you are told; nothing waits for an answer"))
    if plan.state is PlanPhase.PAUSED and daemon_running:
        steps.append((session.command_line("resume"), "start tasks again"))
    if any(task.failed for task in tasks):
        steps.append((session.command_line("report"), "what failed, why, and what can be done"))
    if (
        plan.tip
        and plan.tip != plan.published
        and (over or plan.publish == "manual")
        and any(task.state is TaskState.LANDED and task.landed_commit for task in tasks)
        and not rows.is_resolving(plan, tasks, items)
    ):
        steps.append((session.command_line("publish"), f"move {plan.target} to what has landed"))
    if not steps and not over:
        steps.append((session.command_line("start"), "follow it"))
    if not steps:
        steps.append((session.command_line("report"), "what came of it"))
        others = [file for file in plan_files(session) if Path(file).stem.lower() not in {plan.name, *ran}]
        if others:
            steps.append((session.command_line("start", others[0]), "the next plan"))
    return steps


def _steps_page(steps: Sequence[Step]) -> Iterable[RenderableType]:
    from orchestrator.cli.words import cell, grid

    yield cell("")
    yield cell("next", "bold")
    yield grid([[cell(command, "cyan"), cell(does)] for command, does in steps])


# ---- nothing has run yet ----


def _beginning(session: Session) -> Answer:
    """The way to a first plan; at a terminal it offers to set the repository up. Raises: NothingError for programs."""
    from orchestrator.cli.words import cell
    from orchestrator.discover import has_commit

    place = session.place()
    is_set_up = os.path.lexists(place.root / "orchestrator.toml")
    begun = has_commit(place)
    if session.json:
        raise NothingError(
            "nothing has run in this repository yet",
            why="" if begun else "there is no commit yet, and agents start from one",
            fix=_first_steps(session, begun=begun, is_set_up=is_set_up)[0][0],
        )
    if begun and not is_set_up and session.may_ask:
        session.say(cell("Nothing has been started in this repository yet, and it has no settings.", "bold"))
        said = session.question("Set this repository up now? [Y]es / [n]o: ").lower()
        if said in {"y", "yes"} or (not said and not session.is_gone):
            from orchestrator.cli.init import set_up

            return set_up(session, yes=False)
    return Answer(page=lambda: _first_page(session, begun=begun, is_set_up=is_set_up))


def _first_steps(session: Session, *, begun: bool, is_set_up: bool) -> list[Step]:
    steps: list[Step] = []
    if not begun:
        steps.append(('git add . && git commit -m "first"', "agents start from a commit, and there is none yet"))
    if not is_set_up:
        steps.append((session.command_line("init"), "find checks and agents, write orchestrator.toml"))
    found = plan_files(session)
    if not found:
        steps.append((session.command_line("plan", "new"), "write a first plan, best kept in plans/"))
    for file in found[:3]:
        steps.append((session.command_line("start", file), "check it, show it, ask, run it"))
    return steps


def _first_page(session: Session, *, begun: bool, is_set_up: bool) -> Iterable[RenderableType]:
    from orchestrator.cli.words import cell, grid

    yield cell("Nothing has been started in this repository yet.", "bold")
    steps = _first_steps(session, begun=begun, is_set_up=is_set_up)
    yield grid([[cell(command, "cyan"), cell(does)] for command, does in steps])
    rest = len(plan_files(session)) - 3
    if rest > 0:
        yield cell(f"  and {rest} more in plans/")
    yield cell(f"All verbs: {session.program} --help")


def _outside(session: Session) -> Iterable[RenderableType]:
    from orchestrator.cli.words import cell

    yield cell(f"{session.program} runs a work plan with many coding agents at once on one git repository.")
    yield cell(f"Go into a git repository, or name one: {session.program} -C DIR; or make one here: git init")
    yield cell(f"Does this machine have what it needs: {session.program} doctor. All verbs: {session.program} --help")
