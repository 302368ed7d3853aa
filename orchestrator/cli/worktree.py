"""`worktree list|info|prune`: what is on the disk, what it holds, and what may go."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import rows
from orchestrator.cli.act import ask_daemon, only_for_people
from orchestrator.cli.complete import complete_task
from orchestrator.cli.session import Answer, Session
from orchestrator.cli.verb import PlanOption, verb
from orchestrator.model.errors import ConfirmationNeeded, NoDaemonError, NothingError, RefusedError, UsageError
from orchestrator.model.view import PlanView, TaskView, TreeKind, TreeView

if TYPE_CHECKING:
    from rich.console import RenderableType

TRASH_STAYS = timedelta(days=7)
EVERY_S = 0.1
GONE_AFTER = 20  #: looks in a row that find no daemon
SHOWN = 20  #: paths or commits of one tree
_AGE = re.compile(r"(\d+)([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

TreeArgument = Annotated[
    str,
    typer.Argument(
        metavar="TREE", help="A task, or a tree as `worktree list` shows it, or its path.", autocompletion=complete_task
    ),
]


@verb
def list_(
    session: Session,
    plan: PlanOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Each tree in the trash too.")] = False,
) -> Answer:
    """Every tree beside the repository: whose it is, what is not committed in it, why it is there.

    Of the trash it tells how much there is; --all, and --json, show each.
    """
    found = [view for view in _trees(session)[0] if plan in {None, view.plan}]
    return Answer(data={"trees": [tree_data(view) for view in found]}, page=lambda: _list(session, found, everything))


@verb
def info(session: Session, tree: TreeArgument, plan: PlanOption = None) -> Answer:
    """What one tree holds that is nowhere else, and where its work is kept."""
    found, plans, tasks = _trees(session, look=False)
    if plan is not None:
        chosen = rows.chosen_plan(plans, plan).name
        found = [view for view in found if view.plan == chosen]
        tasks = [task for task in tasks if task.plan == chosen]
    elif plans:  # of two tasks with one name that of the present plan is meant
        present = rows.chosen_plan(plans).name
        tasks.sort(key=lambda task: task.plan == present)
    name = _named(session, tree, found, tasks).name
    view = next(one for one in _trees(session)[0] if one.name == name)
    if view.kind in {TreeKind.SPARE, TreeKind.TRASH, TreeKind.UNKNOWN}:
        return Answer(data={"tree": tree_data(view), "holds": None}, page=lambda: _about(session, view))
    prepared = next((one.prepared for one in plans if one.name == view.plan), ())
    holds = session.sight().tree_holds(session.place_of_trees(), view, prepared)
    data = {
        "uncommitted": list(holds.uncommitted),
        "commits": list(holds.commits),
        "stashes": holds.stashes,
        "branches": holds.branches,
        "nested": list(holds.nested),
        "salvage": list(holds.salvage),
    }

    def page() -> Iterable[RenderableType]:
        from orchestrator.cli.words import cell

        yield from _about(session, view)
        for title, rows_ in (
            ("not committed", holds.uncommitted),
            ("commits that have not landed", holds.commits),
            ("repositories inside it", holds.nested),
            ("salvaged before", holds.salvage),
        ):
            if rows_:
                yield cell(f"{title}:", "bold")
                yield from (cell(f"  {row}") for row in rows_[:SHOWN])
                if len(rows_) > SHOWN:
                    yield cell(f"  and {len(rows_) - SHOWN} more", "dim")
        if holds.stashes or holds.branches:
            yield cell(f"stash entries: {holds.stashes}, other branches: {holds.branches}", "bold")
        if not any((holds.uncommitted, holds.commits, holds.stashes, holds.branches, holds.nested)):
            yield cell("nothing in it that is not kept elsewhere")

    return Answer(data={"tree": tree_data(view), "holds": data}, page=page)


@verb
def prune(
    session: Session,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="AGE", help="Only what ended that long ago: 12h, 7d.")
    ] = None,
    plan: PlanOption = None,
    trash: Annotated[
        bool,
        typer.Option(
            "--trash", help="All of the trash and of the trees to be used again; else only what is over 7 days."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> Answer:
    """Move trees that nobody works in to the trash, salvaged before, and delete old trash for good.

    Trees that only wait to be used again go like trash: nothing of anybody's is in them.
    """
    age = None if older_than is None else _age(older_than)
    if not dry_run:
        only_for_people("worktree prune")
    now = session.now()
    going, deleted = [], []
    for view in _trees(session)[0]:
        past = now - view.since if view.since else timedelta(0)
        if plan not in {None, view.plan}:
            continue
        if view.kind is TreeKind.TRASH or (view.kind is TreeKind.SPARE and not _is_moving(view)):
            if past >= (age if age is not None else timedelta(0) if trash else TRASH_STAYS):
                deleted.append(view)
        elif view.may_go and (age is None or past >= age):
            going.append(view)
    data: dict[str, Any] = {
        "trees": [tree_data(view) for view in going],
        "trash": [tree_data(view) for view in deleted],
        "dry_run": dry_run,
        "salvage": [],
    }
    if not going and not deleted:
        return Answer(data=data, page=lambda: _lines("Nothing to prune."))
    if dry_run:
        return Answer(data=data, page=lambda: _plan(session, going, deleted))
    again = session.command_line("worktree", "prune", *_again(older_than, plan, trash), "--yes")
    if session.daemon_pid() is None:
        raise NoDaemonError(
            f"no daemon runs for {session.place().root}",
            why="the one that salvages and removes trees",
            fix=f"{session.command_line('start', '--detach')} && {again}",
        )
    if not session.json:
        session.say(*_plan(session, going, deleted))
    if not yes:
        if not session.may_ask:
            raise ConfirmationNeeded("nothing was removed", why="nobody could be asked", fix=again)
        if session.question("Go on? [y]es / [N]o: ").lower() not in {"y", "yes"}:
            raise ConfirmationNeeded("nothing was removed", why="the answer was not yes", fix=again)
    data["salvage"], left = _remove(session, going, deleted)
    if left:
        raise RefusedError(
            f"{len(left)} could not be removed", why="\n".join(left), fix=f"see `{session.command_line('inbox')}`"
        )

    def page() -> Iterable[RenderableType]:
        from orchestrator.cli.words import counted

        yield from _lines(
            *(f"kept: {name}" for name in data["salvage"]),
            f"{counted(len(going), 'tree')} in the trash, {counted(len(deleted), 'tree')} deleted for good.",
        )

    return Answer(data=data, page=page)


def _is_moving(view: TreeView) -> bool:
    """Whether a tree is just being put to those that wait, or taken from them."""
    return view.name.rpartition("/")[2].startswith(".")


def _remove(session: Session, going: list[TreeView], deleted: list[TreeView]) -> tuple[list[str], list[str]]:
    """Have it done, and wait until it is. Returns: the salvage references made, and what could not be removed."""
    reader = session.ledger()
    asked = ask_daemon(
        session, "prune", owners=[view.name for view in going], trash=[view.name for view in deleted], done=""
    )
    after = asked.data["seq"]
    waiting = {view.name for view in going} | ({"trash"} if deleted else set())
    salvage: list[str] = []
    left: list[str] = []
    gone = 0
    while waiting:
        for event in reader.events(after_seq=after):
            after = event.seq
            if event.type == "tree_removed" and event.data.get("owner") in waiting:
                waiting.discard(str(event.data["owner"]))
                salvage += [str(name) for name in event.data.get("salvage", ())]
            elif event.type == "trash_emptied":
                waiting.discard("trash")
            elif event.type == "effect_abandoned":
                owner = str(event.data.get("key", "")).rpartition("/")[0]
                if owner in waiting:
                    waiting.discard(owner)
                    left.append(f"{owner}: {event.data.get('detail', '')}")
        gone = gone + 1 if session.daemon_pid() is None else 0
        if gone > GONE_AFTER:
            raise NoDaemonError(
                "the daemon has ended meanwhile",
                why="it goes on with this when it is back",
                fix=session.command_line("start"),
            )
        if waiting:
            session.wait(EVERY_S)
    return salvage, left


def _again(older_than: str | None, plan: str | None, trash: bool) -> list[str]:
    words = ["--older-than", older_than] if older_than else []
    return [*words, *(["--plan", plan] if plan else []), *(["--trash"] if trash else [])]


def _age(text: str) -> timedelta:
    found = _AGE.fullmatch(text.strip())
    if found is None or len(found[1]) > 6:
        raise UsageError(f"--older-than cannot be '{text}'", fix="a number and s, m, h, d or w, such as 7d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _trees(session: Session, *, look: bool = True) -> tuple[list[TreeView], list[PlanView], list[TaskView]]:
    plans: list[PlanView] = []
    tasks: list[TaskView] = []
    lost = None
    try:
        reader = session.ledger()
        plans = rows.plans(reader)
        tasks = [task for plan in plans for task in rows.tasks(reader, plan.name)]
    except NothingError as error:
        lost = error  # the state folder can be gone, and the trees still there
    found = session.sight().trees(session.place_of_trees(), plans, tasks, look=look)
    if lost is not None and not found:
        raise lost
    return found, plans, tasks


def _named(session: Session, typed: str, found: list[TreeView], tasks: list[TaskView]) -> TreeView:
    """The tree that a person means. Raises: UsageError, NothingError."""
    known = {view.name: view for view in found}
    if typed in known:
        return known[typed]
    as_path = session.path(Path(typed)).absolute()
    for view in found:
        if as_path == Path(view.path):
            return view
    latest = {task.id: known.get(task.history[-1].id if task.history else "") for task in tasks}
    if typed in latest and latest[typed] is None:
        raise NothingError(
            f"'{typed}' has no tree",
            why="it landed, or it was pruned, or it has not been tried yet",
            fix=session.command_line("fetch", typed) + " gets its work as a branch",
        )
    return rows.unique(typed, known | {name: view for name, view in latest.items() if view is not None}, "tree")


def tree_data(view: TreeView) -> dict[str, Any]:
    """One entry of `worktree list --json`."""
    return {
        "name": view.name,
        "kind": view.kind.value,
        "path": view.path,
        "plan": view.plan,
        "task": view.task,
        "state": view.state,
        "since": view.since,
        "size_bytes": view.size_bytes,
        "branch": view.branch,
        "dirty": None if view.dirty is None else list(view.dirty),
        "kept": view.kept,
        "may_go": view.may_go,
        "salvage": list(view.salvage),
    }


# ---- pages ----


def _lines(*texts: str) -> Iterable[RenderableType]:
    from orchestrator.cli.words import cell

    yield from (cell(text) for text in texts)


def size(count: int) -> str:
    """`340 kB`, `1.2 MB`."""
    for unit, step in (("GB", 1000**3), ("MB", 1000**2), ("kB", 1000)):
        if count >= step:
            return f"{count / step:.1f} {unit}" if count < 10 * step else f"{count // step} {unit}"
    return f"{count} B"


def _shown(view: TreeView) -> str:
    return f".trash/{view.name}" if view.kind is TreeKind.TRASH else view.name


def _dirty(view: TreeView) -> str:
    if view.dirty is None:
        return ""
    return f"{len(view.dirty)} not committed" if view.dirty else "clean"


def _list(session: Session, found: list[TreeView], everything: bool) -> Iterable[RenderableType]:
    from orchestrator.cli.words import AMBER, age, cell, counted, grid, prose

    if not found:
        yield cell("No trees.")
        return
    now = session.now()
    trash = [] if everything else [view for view in found if view.kind is TreeKind.TRASH]
    shown = [view for view in found if view not in trash]
    yield grid(
        [
            [
                cell(_shown(view), "bold"),
                cell(view.kind.value.replace("_", " "), "dim"),
                cell(age(view.since, now) if view.since else ""),
                cell(size(view.size_bytes)),
                cell(_dirty(view), AMBER if view.dirty else "dim"),
                cell(view.kept),
            ]
            for view in shown
        ],
        indent=0,
    )
    if trash:
        total = size(sum(view.size_bytes for view in trash))
        each = session.command_line("worktree", "list", "--all")
        yield prose(f"In the trash: {counted(len(trash), 'tree')}, {total}. Each: {each}")
    if any(view.may_go for view in found):
        yield cell(f"What may go: {session.command_line('worktree', 'prune', '--dry-run')}", "dim")


def _about(session: Session, view: TreeView) -> Iterable[RenderableType]:
    from orchestrator.cli.words import age, cell, grid

    about = [
        ("tree", view.name),
        ("path", view.path),
        ("task", view.task or ""),
        ("state", view.state.replace("_", " ")),
        ("age", age(view.since, session.now()) if view.since else ""),
        ("size", size(view.size_bytes)),
        ("its work", view.branch or ""),
        ("there because", view.kept),
    ]
    yield grid([[cell(name, "dim"), cell(value)] for name, value in about if value], indent=0)


def _plan(session: Session, going: list[TreeView], deleted: list[TreeView]) -> Iterable[RenderableType]:
    from orchestrator.cli.words import AMBER, age, cell, counted, grid

    now = session.now()
    if going:
        total = size(sum(view.size_bytes for view in going))
        yield cell(f"To the trash, salvaged before ({counted(len(going), 'tree')}, {total}):", "bold")
        yield grid(
            [
                [
                    cell(view.name),
                    cell(age(view.since, now) if view.since else ""),
                    cell(size(view.size_bytes)),
                    cell(_dirty(view), AMBER if view.dirty else "dim"),
                    cell(f"its work: {view.branch}" if view.branch else "", "dim"),
                    cell(view.kept, "dim"),
                ]
                for view in going
            ]
        )
        if any(view.dirty or view.dirty is None for view in going):
            yield cell("  What is not committed is kept as refs/orchestrator/PLAN/TASK-N.salvage-N before.", "dim")
    if deleted:
        total = size(sum(view.size_bytes for view in deleted))
        yield cell(f"To be deleted for good ({counted(len(deleted), 'tree')}, {total}):", "bold")
        yield grid(
            [[cell(_shown(v)), cell(age(v.since, now) if v.since else ""), cell(size(v.size_bytes))] for v in deleted]
        )
