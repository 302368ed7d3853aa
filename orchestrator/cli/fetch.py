"""`fetch TASK`, `open TASK`: a task's work as a branch of one's own, and a shell or an editor in its tree."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.act import only_for_people
from orchestrator.cli.diff import AttemptOption, attempt_of, named_task
from orchestrator.cli.session import Answer, Session
from orchestrator.cli.verb import PlanOption, TaskArgument, verb
from orchestrator.model.attempt import AttemptState
from orchestrator.model.errors import NothingError, UsageError
from orchestrator.model.plan import HUMAN
from orchestrator.model.view import AttemptView, TaskView

if TYPE_CHECKING:
    from rich.console import RenderableType


@verb
def fetch(
    session: Session,
    task: TaskArgument,
    attempt: AttemptOption = None,
    branch: Annotated[str | None, typer.Option("--branch", metavar="NAME", help="Default: agent/PLAN/TASK-N.")] = None,
    plan: PlanOption = None,
) -> Answer:
    """A local branch with a task's work; what a running agent has committed so far. No checkout is touched."""
    only_for_people("fetch")
    chosen, one = named_task(session, task, plan)
    which = attempt_of(one, attempt)
    name = branch if branch is not None else f"agent/{which.id}"
    fetched = session.sight().fetch_branch(session.place_of_trees(), which, name)
    base = which.base or chosen.target

    def page() -> Iterable[RenderableType]:
        from orchestrator.cli.words import cell, short

        yield cell(fetched.branch)
        news = "is new" if fetched.before is None else "was there" if fetched.before == fetched.commit else "moved on"
        who = "a person" if which.agent == HUMAN else which.agent
        so_far = f"; {who} is still at work" if which.state is not AttemptState.ENDED else ""
        talk = [f"Branch {fetched.branch} {news}, at {short(fetched.commit)}{so_far}. Look at it:"]
        talk += [f"  git log {short(base)}..{shlex.quote(fetched.branch)}"]
        talk += [f"  git diff {short(base)} {shlex.quote(fetched.branch)}"]
        talk += [f"What it left uncommitted: {kept}" for kept in which.salvage]
        session.say(*(cell(row) for row in talk), talk=True)

    data = {
        "branch": fetched.branch,
        "commit": fetched.commit,
        "before": fetched.before,
        "attempt": which.id,
        "salvage": list(which.salvage),
    }
    return Answer(data=data, page=page)


@verb
def open_(
    session: Session,
    task: TaskArgument,
    attempt: AttemptOption = None,
    shell: Annotated[bool, typer.Option("--shell", help="A shell in it; what happens without any of these.")] = False,
    editor: Annotated[bool, typer.Option("--editor", help="$VISUAL or $EDITOR on it.")] = False,
    path: Annotated[bool, typer.Option("--print", help="Only its path.")] = False,
    plan: PlanOption = None,
) -> Answer:
    """A shell or an editor in a task's tree. Without a terminal, its path."""
    if shell + editor + path > 1:
        raise UsageError("--shell, --editor and --print are three ways to open it", fix="choose one of them")
    chosen, one = named_task(session, task, plan)
    which = attempt_of(one, attempt)
    tree = _tree(session, one, which)
    data = {"path": str(tree), "task": one.id, "attempt": which.id, "live": which.state is not AttemptState.ENDED}
    if path or not (session.may_ask or editor or shell) or session.json:
        return Answer(data=data, page=lambda: _line(str(tree)))
    only_for_people("open")
    from orchestrator.cli.words import AMBER, cell

    if which.state is not AttemptState.ENDED and which.agent != "human":
        warning = f"{which.agent} is at work in this tree: what you change, it may overwrite or hand off."
        session.say(cell(warning, AMBER), talk=True)
    environ = {
        "ORCHESTRATOR_PLAN": chosen.name,
        "ORCHESTRATOR_TASK": one.id,
        "ORCHESTRATOR_ATTEMPT": str(which.number),
        "ORCHESTRATOR_WORKTREE": str(tree),
    }
    if editor:
        program = session.world().editor()
        session.sight().run_here([*program, str(tree)], cwd=str(tree), environ=environ)
    else:
        program = [os.environ.get("SHELL") or "/bin/sh"]
        session.say(cell(f"{tree}: a shell in the tree of '{one.id}'. `exit` leads back."), talk=True)
        if os.environ.get("PS1"):  # a shell with settings of its own sets it anew
            environ["PS1"] = f"({one.id}) {os.environ['PS1']}"
        session.sight().run_here(program, cwd=str(tree), environ=environ)
    return Answer(data=data, streamed=True)


def _tree(session: Session, task: TaskView, attempt: AttemptView) -> Path:
    """Where an attempt works. Raises: NothingError that says where its work is when the tree is gone."""
    if attempt.worktree is not None and Path(attempt.worktree).is_dir():
        return Path(attempt.worktree)
    if attempt.state is AttemptState.PREPARING:
        raise NothingError(f"the tree of '{task.id}' is being made", fix="try again in a moment")
    kept = ", ".join(name for name in (attempt.branch, *attempt.salvage) if name)
    fetching = session.command_line("fetch", task.id, "--attempt", str(attempt.number))
    raise NothingError(
        f"the tree of '{task.id}' is gone",
        why=f"its work is kept as {kept}" if kept else "nothing was left in it",
        fix=f"get it as a branch: {fetching}" if attempt.branch else "",
    )


def _line(text: str) -> Iterable[RenderableType]:
    from orchestrator.cli.words import cell

    yield cell(text)
