"""What faces may see and take of trees and changes, with and without a daemon: the reading half of the composition.

Nothing here writes into a tree, and nothing of a tree is run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.model.attempt import AttemptState
from orchestrator.model.errors import NothingError
from orchestrator.model.run import TaskState
from orchestrator.model.view import AttemptView, PlanView, TaskView, TreeHolds, TreeKind, TreeView

if TYPE_CHECKING:
    from orchestrator.backends.fetching import Fetched
    from orchestrator.backends.gitrun import Repositories
    from orchestrator.backends.trees import Folder
    from orchestrator.model.place import Place
    from orchestrator.model.view import Change


def _repositories(place: Place) -> Repositories:
    from orchestrator.backends.gitrun import Repositories, inherited_git_environment
    from orchestrator.backends.repository import execute

    return Repositories(place=place, execute=execute, inherited=inherited_git_environment(), umask=-1)


# ---- trees ----


def trees(place: Place, plans: Sequence[PlanView], tasks: Sequence[TaskView], *, look: bool = True) -> list[TreeView]:
    """Every tree beside the repository, as the ledger and the disk know it.

    Args:
        plans, tasks: all that the ledger knows.
        look: also how large each is, and what is not committed in it, which takes a while.
    """
    from orchestrator.backends import trees as disk

    attempts = {attempt.id: (task, attempt) for task in tasks for attempt in task.history}
    known = {plan.name: plan for plan in plans}
    repositories = _repositories(place)
    found = []
    for folder in disk.folders(place, frozenset(known)):
        view = _tree(folder, attempts, known)
        if look:
            view = replace(view, size_bytes=disk.size_of(place, folder))
            if view.kind in {TreeKind.ATTEMPT, TreeKind.BY_HAND}:
                prepared = known[view.plan].prepared if view.plan in known else ()
                view = replace(view, dirty=disk.uncommitted(repositories, view.name, prepared, view.head))
        found.append(view)
    return found


def _tree(
    folder: Folder, attempts: Mapping[str, tuple[TaskView, AttemptView]], plans: Mapping[str, PlanView]
) -> TreeView:
    from orchestrator.backends.trees import changed_at
    from orchestrator.core.trees import kept_because

    since = changed_at(folder.path)
    plan, _, tree = folder.name.partition("/")
    task = tree.split("/")[0].rpartition("-")[0] or None
    view = TreeView(name=folder.name, kind=TreeKind.UNKNOWN, path=str(folder.path), since=since)
    if folder.in_trash:
        kept = "in the trash; what it held was salvaged before"
        return replace(view, kind=TreeKind.TRASH, plan=plan, task=task, kept=kept)
    if folder.is_spare:
        kept = "waits to be used again, which saves checking out all files; nothing of anybody's is in it"
        return replace(view, kind=TreeKind.SPARE, kept=kept)
    if folder.name in attempts:
        owner, attempt = attempts[folder.name]
        kept, may_go = kept_because(owner, attempt)
        return replace(
            view,
            kind=TreeKind.BY_HAND if attempt.agent == "human" else TreeKind.ATTEMPT,
            plan=plan,
            task=owner.id,
            state=attempt.ending or attempt.state.value,
            since=attempt.ended_at or attempt.started_at,
            branch=attempt.branch,
            kept=kept,
            may_go=may_go,
            salvage=attempt.salvage,
            head=attempt.head,
        )
    if folder.made_by_us and plan in plans and tree.startswith("~"):
        at_gate = plans[plan].gating is not None
        kept = "checks run in it" if at_gate else "left by checks that were interrupted"
        return replace(view, kind=TreeKind.CHECK, plan=plan, kept=kept, may_go=not at_gate)
    if folder.made_by_us and plan in plans:
        kept = "of an earlier run of the plan, so that you can look at it"
        return replace(view, kind=TreeKind.ATTEMPT, plan=plan, task=task, kept=kept, may_go=True)
    return replace(view, kept="not known to the ledger; never touched")


def tree_holds(place: Place, view: TreeView, prepared: Sequence[str]) -> TreeHolds:
    """What would have to be kept of a tree."""
    from orchestrator.backends.peek import peeking

    with peeking(_repositories(place), view.name, ignore=prepared) as peek:
        return peek.holds(view.plan or "", view.salvage, view.head)


# ---- changes ----


def change_of(
    place: Place,
    plan: PlanView,
    task: TaskView,
    attempt: AttemptView | None,
    options: Sequence[str],
) -> Change:
    """What a task changed: what landed of it, or what one of its attempts did, uncommitted work of a live one too.

    Args:
        attempt: None: what landed, else the latest attempt.
        options: of `git diff`, for the text.
    """
    from orchestrator.backends.peek import change_between, kept_at, parent_of, peeking

    if attempt is None and task.state is TaskState.LANDED and task.landed_commit is None:
        raise NothingError(f"'{task.id}' landed without a change", why=task.summary)
    if attempt is None and task.landed_commit is not None:
        with peeking(_repositories(place), "") as peek:
            return change_between(peek, parent_of(peek, task.landed_commit), task.landed_commit, options)
    attempt = attempt or (task.history[-1] if task.history else None)
    if attempt is None or attempt.base is None:
        waits = f"its tree is not made yet ({attempt.state})" if attempt else f"'{task.id}' is {task.state}"
        raise NothingError(f"'{task.id}' has changed nothing yet", why=waits)
    with peeking(_repositories(place), attempt.id, ignore=plan.prepared) as peek:
        is_over = attempt.state is AttemptState.ENDED
        handed_off = is_over and attempt.failure is None and attempt.ending in {"handed_off", "no_op", "asked"}
        if not handed_off and peek.head is not None and peek.tree.is_dir():
            return change_between(peek, attempt.base, None, options)
        kept = (kept_at(peek, name) for name in attempt.salvage[::-1])
        head = attempt.head if handed_off else next((one for one in kept if one), attempt.head)
        if head is None:
            raise NothingError(f"attempt {attempt.number} of '{task.id}' left nothing", why=attempt.detail)
        return change_between(peek, attempt.base, head, options)


# ---- branches ----


def fetch_branch(place: Place, attempt: AttemptView, branch: str) -> Fetched:
    """The work of an attempt as a branch of the user's; what a live one has committed so far."""
    from orchestrator.backends.fetching import fetch

    at_work = attempt.agent if attempt.state is not AttemptState.ENDED else None
    return fetch(_repositories(place), attempt.id, branch, agent=at_work, base=attempt.base)


# ---- programs of the person ----


def run_here(
    argv: Sequence[str], *, cwd: str | None = None, environ: Mapping[str, str] | None = None, stdin: bytes | None = None
) -> int:
    """Run a program of the person's on their terminal, to its end: a shell, an editor, a pager."""
    from orchestrator.backends.foreground import run

    return run(argv, cwd=cwd, environ={**os.environ, **(environ or {})}, stdin=stdin)
