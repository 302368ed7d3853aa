"""What `doctor` finds out about folders: whether they can be written and locked, hold a socket, and have room."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.backends.gitrun import Repositories, inherited_git_environment
from orchestrator.backends.probes import Named
from orchestrator.backends.repository import execute
from orchestrator.discover import SOCKET_LIMIT
from orchestrator.model.place import Place
from orchestrator.model.probe import Grade, Probe

TREES = 5  #: of attempts and checks at once, with the built-in limit of four
LEAST_FREE = 200 * 1024**2  #: bytes; below that ordinary work fails too


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Room that is there, or that something takes."""

    size_bytes: int
    files: int | None  #: None: the file system does not count them


def folders(place: Place) -> Iterable[Named]:
    yield Named(name="state folder", probe=lambda: _state_folder(place))
    yield Named(name="worktrees", probe=lambda: _worktrees(place))
    yield Named(name="file locks", probe=lambda: _locks(place))
    yield Named(name="permissions", probe=lambda: _permissions(place))
    yield Named(name="socket", probe=lambda: _socket(place))
    yield Named(name="disk", probe=lambda: _disk(place))


def nearest(folder: Path) -> Path:
    """The folder itself, or what there is above it."""
    return next(path for path in (folder, *folder.parents) if os.path.lexists(path))


def _trouble(folder: Path) -> str:
    """Why no file can be made in a folder, or in what is above one that is not there yet; empty when it can."""
    where = nearest(folder)
    try:
        with tempfile.TemporaryFile(dir=where, prefix=".orchestrator-probe"):
            return ""
    except OSError as error:
        return f"{where}: {error.strerror or error}"


def _state_folder(place: Place) -> Probe:
    if trouble := _trouble(place.state_dir):
        return Probe(
            name="state folder",
            grade=Grade.FAIL,
            said=f"{place.state_dir} cannot be written",
            why=trouble,
            fix="make it a folder that is yours and writable; the ledger lies there",
        )
    return Probe(name="state folder", said=f"{place.state_dir}{'' if place.state_dir.exists() else ' (not made yet)'}")


def _worktrees(place: Place) -> Probe:
    if trouble := _trouble(place.worktrees):
        return Probe(
            name="worktrees",
            grade=Grade.FAIL,
            said=f"{place.worktrees} cannot be written",
            why=trouble,
            fix="set `worktrees` in orchestrator.toml to a folder that can be written",
        )
    if place.worktrees.is_relative_to(place.root):
        return Probe(
            name="worktrees",
            grade=Grade.FAIL,
            said=f"{place.worktrees} lies inside the repository",
            why="git, editors and checks would see the agents' trees as your files",
            fix="set `worktrees` in orchestrator.toml to a folder outside of it",
        )
    elsewhere = nearest(place.worktrees).stat().st_dev != nearest(place.state_dir).stat().st_dev
    return Probe(name="worktrees", said=f"{place.worktrees}{', on another file system' if elsewhere else ''}")


def _locks(place: Place) -> Probe:
    """Two openings of one file, of which only one may have the lock: some file systems take both, or none."""
    where = nearest(place.state_dir)
    said = "work"
    with tempfile.NamedTemporaryFile(dir=where, prefix=".orchestrator-probe") as first, open(first.name) as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
                said = "are given to everybody who asks"
            except BlockingIOError:
                pass
        except OSError as error:
            said = error.strerror or str(error)
    if said == "work":
        return Probe(name="file locks", said=said)
    return Probe(
        name="file locks",
        grade=Grade.FAIL,
        said=f"do not work in {where}: {said}",
        why="two daemons could work on one repository; some network file systems have no locks",
        fix="keep the repository on a local disk",
    )


def _permissions(place: Place) -> Probe:
    wrong = []
    for path in (place.state_dir, place.ledger, place.daemon_lock, place.daemon_log):
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        if found.st_uid != os.getuid():
            return Probe(
                name="permissions",
                grade=Grade.FAIL,
                said=f"{path} belongs to another user (number {found.st_uid}, you are {os.getuid()})",
                why="the daemon keeps its records there; running it with sudo once does this",
                fix=f"sudo chown -R $(id -u):$(id -g) '{place.state_dir}'",
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            wrong.append(path)
    if wrong:
        return Probe(
            name="permissions",
            grade=Grade.WARN,
            said=f"{', '.join(str(path) for path in wrong)}: others can look inside",
            why="prompts, logs and answers are in there",
            fix=f"chmod -R go= '{place.state_dir}'",
        )
    return Probe(name="permissions", said="only you" if place.state_dir.exists() else "nothing made yet")


def _socket(place: Place) -> Probe:
    def fail(why: str, fix: str = "set XDG_RUNTIME_DIR to a short path of a folder that is yours alone") -> Probe:
        return Probe(
            name="socket", grade=Grade.FAIL, said=f"{place.socket}: the daemon cannot listen there", why=why, fix=fix
        )

    length = len(os.fsencode(place.socket))
    if length > SOCKET_LIMIT:
        return fail(f"its path has {length} bytes, and {SOCKET_LIMIT} are the most that every system takes")
    folder = place.socket.parent
    try:
        found = folder.lstat()
    except FileNotFoundError:
        found = None
    except OSError as error:
        return fail(error.strerror or str(error))
    if found is not None and (
        not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) != 0o700
    ):
        return fail(
            f"{folder} is not a folder that belongs to you and that nobody else may enter (mode 0700)",
            f"remove {folder}, or set XDG_RUNTIME_DIR to a folder that is yours alone",
        )
    try:
        with (
            tempfile.TemporaryDirectory(dir=nearest(folder), prefix=".o") as scratch,
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door,
        ):
            door.bind(f"{scratch}/s")
    except OSError as error:
        return fail(error.strerror or str(error))
    return Probe(name="socket", said=str(place.socket))


def _disk(place: Place) -> Probe:
    return disk_probe(_checkout(place), state=_room(nearest(place.state_dir)), trees=_room(nearest(place.worktrees)))


def disk_probe(tree: Room, *, state: Room, trees: Room) -> Probe:
    """What to say about the room that there is.

    Args:
        tree: what one checkout takes.
        state, trees: what is free for the state folder and for worktrees.
    """
    said = (
        f"{size_text(trees.size_bytes)} free for worktrees; a tree has {size_text(tree.size_bytes)}, {tree.files} files"
    )
    least = min(state.size_bytes, trees.size_bytes)
    if least < LEAST_FREE or trees.size_bytes < tree.size_bytes:
        return Probe(
            name="disk",
            grade=Grade.FAIL,
            said=f"almost full, {size_text(least)} free" if least < LEAST_FREE else said,
            why="a tree, the ledger and logs have to fit",
            fix="make room, or set `worktrees` in orchestrator.toml to a folder on another disk",
        )
    short = "bytes" if trees.size_bytes < tree.size_bytes * TREES else ""
    if trees.files is not None and tree.files is not None and trees.files < tree.files * TREES:
        short = "inodes"
    if short:
        return Probe(
            name="disk",
            grade=Grade.WARN,
            said=said,
            why=f"too few {short} for {TREES} trees, which is what four agents and a check need at once",
            fix="make room, lower `parallel`, or set `worktrees` to a folder on another disk",
        )
    return Probe(name="disk", said=said)


def _room(folder: Path) -> Room:
    found = os.statvfs(folder)
    return Room(size_bytes=found.f_bavail * found.f_frsize, files=found.f_favail if found.f_files else None)


def _checkout(place: Place) -> Room:
    """Files and bytes of a checkout of HEAD; none when there is no commit."""
    repositories = Repositories(place=place, execute=execute, inherited=inherited_git_environment(), umask=0o022)
    listed = repositories.users.ask("ls-tree", "-r", "-z", "--long", "HEAD")
    rows = [row for row in listed.out.split(b"\0") if row] if listed.status == 0 else []
    sizes = [row.partition(b"\t")[0].split()[-1] for row in rows]
    return Room(size_bytes=sum(int(size) for size in sizes if size.isdigit()), files=len(sizes))


def size_text(size: int) -> str:
    """A number of bytes as a person reads it."""
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
