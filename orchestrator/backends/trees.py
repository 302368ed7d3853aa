"""What is on the disk beside the repository: worktrees of ours, what is in the trash, and what is not ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.backends import trash
from orchestrator.backends.gitrun import Repositories
from orchestrator.backends.peek import peeking
from orchestrator.backends.workspaces import marker
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.place import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder that may be a tree of ours."""

    name: str  #: `plan/task-2`; for what is not ours the path below the worktree folder
    path: Path
    made_by_us: bool  #: its repository carries our mark
    in_trash: bool = False
    is_spare: bool = False


def folders(place: Place, plans: frozenset[str]) -> Iterator[Folder]:
    """Every tree, those of plans first. A folder of somebody else is told as one, whatever is in it."""
    for above in _folders_in(place.worktrees):
        if above == place.trash:
            continue
        if above == place.spares:
            for spare in _folders_in(above):
                yield Folder(name=f"{above.name}/{spare.name}", path=spare, made_by_us=True, is_spare=True)
            continue
        inside = [] if (above / ".git").exists() else _folders_in(above)
        names = {tree: f"{above.name}/{tree.name}" for tree in inside}
        ours = above.name in plans or any(marker(place.git_dir(name)) for name in names.values())
        if not ours or above.is_symlink():
            yield Folder(name=above.name, path=above, made_by_us=False)
            continue
        for tree, name in names.items():
            yield Folder(name=name, path=tree, made_by_us=_is_marked(place, name))
    for entry in trash.entries(place):
        for path in trash.parts(place, entry)[:1]:  # none: it is being deleted just now
            yield Folder(name=entry, path=path, made_by_us=True, in_trash=True)


def size_of(place: Place, folder: Folder) -> int:
    """The bytes of a tree with its repository; what it borrows from ours is not counted."""
    if folder.in_trash:
        return sum(trash.size_of(part) for part in trash.parts(place, folder.name))
    own = place.git_dir(folder.name) if folder.made_by_us and not folder.is_spare else None
    return trash.size_of(folder.path) + (trash.size_of(own) if own and own.is_dir() else 0)


def changed_at(path: Path) -> datetime | None:
    """When something was last put into a folder or taken out of it."""
    try:
        return datetime.fromtimestamp(path.lstat().st_mtime, UTC)
    except OSError:
        return None


def uncommitted(
    repositories: Repositories, name: str, ignore: tuple[str, ...], taken: str | None = None
) -> tuple[str, ...] | None:
    """Paths that are not committed in a tree of ours, nor in what was taken of it; None: that cannot be found out."""
    try:
        with peeking(repositories, name, ignore=ignore) as peek:
            return peek.uncommitted(peek.as_it_is(), taken)
    except OrchestratorError:
        return None


def _is_marked(place: Place, name: str) -> bool:
    return marker(place.git_dir(name)).get("owner") == name


def _folders_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []
