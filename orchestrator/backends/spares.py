"""Trees that are used again: checking out all files of a large repository is most of what an attempt costs.

A tree is given here only when its run has ended, no process of it lives, and what it holds is landed or salvaged. Who
takes it gives it a new name and a new repository. What is not in git's index is moved away first, and every file that
anything was done to since we ourselves wrote it is written anew, whatever it says now.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

from orchestrator.backends import trash
from orchestrator.backends.candidates import attributes_of
from orchestrator.backends.gitrun import Git, Repositories
from orchestrator.backends.machine import boot_id
from orchestrator.backends.snapshot import has_submodules, index_of
from orchestrator.core.gitformats import paths_of
from orchestrator.model.ids import AttemptId, CandidateId, Commit

CLOCK_NS = 20_000_000  #: the clock of a file system may be so far behind
MOST = 8  #: trees of one kind that wait to be used again


class NotAgain(Exception):
    """A tree that is not fit to be used again, and why."""


class Kind(StrEnum):
    """Whose trees they were: what a check leaves in `keep` must not reach an agent, and the other way round."""

    ATTEMPT = "attempt"
    CHECK = "check"


def give(
    repositories: Repositories,
    owner: AttemptId | CandidateId,
    kind: Kind,
    commit: Commit,
    *,
    has_nothing_else: bool = False,
) -> bool:
    """Keep an owner's tree for another. Returns: whether it was taken; else it is where it was.

    Args:
        commit: what the tree was made as; the index of that moment is kept in the owner's folder.
        has_nothing_else: it was just seen to hold nothing but what has landed.
    """
    place = repositories.place
    tree, index = place.worktree(owner), index_of(place.owner_dir(owner), commit)
    if tree.is_symlink() or not tree.is_dir() or not index.is_file() or has_submodules(index) or not boot_id():
        return False
    if not stat.S_ISREG((tree / ".git").lstat().st_mode):
        return False  # an agent has put something of its own there
    if len(_all(place.spares, kind)) >= MOST:
        return False
    fresh = place.spares / f".new-{owner.replace('/', '+')}"
    fresh.mkdir(parents=True, exist_ok=True)
    shutil.copy2(index, fresh / "index")
    note: dict[str, object] = {
        "kind": kind,
        "owner": owner,
        "state": str(place.state_dir),
        "boot_id": boot_id(),
        "rules": _rules(repositories, commit),
    }
    if has_nothing_else:
        note["seen_at_ns"] = time.time_ns() - CLOCK_NS
    (fresh / trash.NOTE).write_text(json.dumps(note))
    tree.rename(fresh / "tree")
    number = 1
    while (to := place.spares / f"{kind}-{number}").exists():
        number += 1
    fresh.rename(to)
    return True


def take(
    repositories: Repositories, kind: Kind, tree: Path, index: Path, keep: tuple[str, ...], commit: Commit
) -> bool:
    """Make a spare tree the one at `tree`, with its index at `index`, free of everything that git does not know there.

    Args:
        commit: what it will be.
        keep: paths that stay, of a check's tree.

    Returns: whether there was one.
    """
    place = repositories.place
    waiting = _all(place.spares, kind)
    rules = _rules(repositories, commit) if waiting else ""
    for spare in waiting:
        claimed = spare.with_name(f".taken-{spare.name}")
        try:
            spare.rename(claimed)
        except OSError:
            continue  # somebody else was faster
        note = _note(claimed)
        if note.get("boot_id") != boot_id() or note.get("rules") != rules or not (claimed / "tree").is_dir():
            to_trash(repositories, claimed)
            continue
        if is_lived_in(claimed / "tree"):
            to_trash(repositories, claimed)  # whoever has a shell or an editor there is not to work in another's tree
            continue
        (claimed / "tree").rename(tree)
        shutil.copy2(claimed / "index", index)
        shutil.rmtree(claimed)
        _unlink_link(tree)
        os.chmod(tree, 0o777 & ~repositories.umask)
        away = None if kind is Kind.CHECK else place.trash / str(note.get("owner", "unknown"))
        kept = {tuple(Path(path).parts) for path in keep}
        usual = frozenset(_attributes(place.worktrees))
        doubtful = list(_doubtful(tree, (), kept, index.stat().st_mtime_ns, 0o777 & ~repositories.umask, usual))
        seen_at_ns = note.get("seen_at_ns")
        if not isinstance(seen_at_ns, int) or any(changed_ns >= seen_at_ns for _, changed_ns in doubtful):
            _clear(repositories.small(index.parent, tree).with_(index=index), tree, kept, away)
        for path, changed_ns in doubtful:
            if not os.path.lexists(path):
                continue
            if away is not None and (not isinstance(seen_at_ns, int) or changed_ns >= seen_at_ns):
                _move(path, away / "beside" / path.relative_to(tree))  # perhaps a person has changed it since
            else:
                path.unlink()
        return True
    return False


def clear_stale(repositories: Repositories) -> None:
    """At the start of a daemon: what was being given or taken, and trees of another boot, are used no more."""
    spares = repositories.place.spares
    if not spares.is_dir():
        return
    for folder in sorted(spares.iterdir()):
        if not os.path.lexists(folder / "tree"):
            trash.remove(folder)  # taken, deleted or not yet given: nothing of anybody's is in it
        elif folder.name.startswith(".") or not boot_id() or _note(folder).get("boot_id") != boot_id():
            to_trash(repositories, folder)


def to_trash(repositories: Repositories, folder: Path) -> None:
    """Put a spare tree where nothing is used again."""
    _move(folder, repositories.place.trash / "spares" / folder.name.lstrip("."))


def delete(repositories: Repositories, names: Iterable[str]) -> int:
    """Delete trees that wait here for good; one that is gone or was taken meanwhile is left alone.

    Returns: the bytes that they took.
    """
    place = repositories.place
    freed, wanted = 0, frozenset(names)
    for spare in [*_all(place.spares, Kind.ATTEMPT), *_all(place.spares, Kind.CHECK)]:
        if spare.name not in wanted or spare.is_symlink() or not trash.is_ours(place, spare, place.worktrees):
            continue
        claimed = spare.with_name(f".taken-{spare.name}")
        try:
            spare.rename(claimed)
        except OSError:
            continue  # somebody else was faster
        freed += trash.size_of(claimed)
        trash.remove(claimed)
    return freed


def _all(spares: Path, kind: Kind) -> list[Path]:
    try:
        return sorted(path for path in spares.iterdir() if path.name.startswith(f"{kind}-"))
    except FileNotFoundError:
        return []


def _rules(repositories: Repositories, commit: Commit) -> str:
    """What decides, beside git's objects, what files look like: git writes no file anew because only this changed."""
    ours = repositories.place.repo_git
    seen = hashlib.sha256()
    for name in ("config", "info/attributes", "info/user-attributes"):
        seen.update(hashlib.sha256((ours / name).read_bytes()).digest())
    for entry in attributes_of(repositories.ours, commit):
        seen.update(f"{entry.mode} {entry.object_id} {entry.path}\0".encode("utf-8", "surrogateescape"))
    return seen.hexdigest()


def _note(folder: Path) -> dict[str, object]:
    try:
        found = json.loads((folder / trash.NOTE).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def is_lived_in(tree: Path) -> bool:
    """Whether some process works there or has a file of it open. True where the system does not tell."""
    return next(residents(tree), None) is not None


def residents(tree: Path) -> Iterator[int]:
    """Processes that work there or have a file of it open; 0 stands for those of a system that does not tell."""
    try:
        processes = [name for name in os.listdir("/proc") if name.isdecimal()]
    except FileNotFoundError:
        yield 0
        return
    below = f"{os.path.realpath(tree)}/"
    for process in processes:
        links = [f"/proc/{process}/cwd", f"/proc/{process}/root"]
        with contextlib.suppress(OSError):
            links += [f"/proc/{process}/fd/{fd}" for fd in os.listdir(f"/proc/{process}/fd")]
        for link in links:
            with contextlib.suppress(OSError):
                if f"{os.readlink(link)}/".startswith(below):
                    yield int(process)
                    break


def _unlink_link(tree: Path) -> None:
    """Take away the file that led to the old repository. Raises: NotAgain when it is something else."""
    link = tree / ".git"
    if not os.path.lexists(link):
        return
    if not stat.S_ISREG(link.lstat().st_mode):
        raise NotAgain(f"{link} is no file")
    link.unlink()


def _attributes(folder: Path | str) -> list[str]:
    """Names of a folder's extended attributes, access lists among them."""
    if not hasattr(os, "listxattr"):
        return []
    try:
        return os.listxattr(folder, follow_symlinks=False)
    except OSError:
        return []  # the file system has none


def _doubtful(
    tree: Path,
    parts: tuple[str, ...],
    kept: set[tuple[str, ...]],
    since_ns: int,
    folder_mode: int,
    usual: frozenset[str],
) -> Iterator[tuple[Path, int]]:
    """Every file that anything was done to since its index was written, and when: git is to write it anew.

    git alone looks at whole seconds, and not at permissions or at other names of the same file. Folders get the
    permissions that ours have.

    Raises: NotAgain for what cannot be undone: a repository inside, attributes that `usual` folders do not have.
    """
    if not usual.issuperset(_attributes(tree.joinpath(*parts))):
        raise NotAgain(f"{tree.joinpath(*parts)} has attributes of its own")
    with os.scandir(tree.joinpath(*parts)) as entries:
        for entry in entries:
            here = (*parts, entry.name)
            if here in kept:
                continue
            if entry.name == ".git":
                raise NotAgain(f"{entry.path} is a repository inside")
            info = entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False):
                if stat.S_IMODE(info.st_mode) != folder_mode:
                    os.chmod(entry.path, folder_mode)
                yield from _doubtful(tree, here, kept, since_ns, folder_mode, usual)
            elif info.st_ctime_ns >= since_ns:
                yield Path(entry.path), info.st_ctime_ns


def _clear(git: Git, tree: Path, kept: set[tuple[str, ...]], away: Path | None) -> None:
    """Take out of the tree what its index does not know. `away`: where it goes; None: nobody's work, it is deleted."""
    for listed in paths_of(git.run("ls-files", "-z", "--others", "--directory").out):
        _clear_one(tree, tuple(Path(listed).parts), kept, away)


def _clear_one(tree: Path, parts: tuple[str, ...], kept: set[tuple[str, ...]], away: Path | None) -> None:
    path = tree.joinpath(*parts)
    if any(parts[: len(one)] == one for one in kept):
        return
    if any(one[: len(parts)] == parts for one in kept) and path.is_dir() and not path.is_symlink():
        for child in sorted(path.iterdir()):
            _clear_one(tree, (*parts, child.name), kept, away)
    elif away is not None:
        _move(path, away / "beside" / Path(*parts))
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _move(path: Path, to: Path) -> None:
    """Rename, under the first name like that which is free."""
    to.parent.mkdir(parents=True, exist_ok=True)
    free, number = to, 1
    while free.exists() or free.is_symlink():
        number += 1
        free = to.with_name(f"{to.name}.{number}")
    path.rename(free)
