"""What has to outlast a power loss is put on the disk. git syncs its files if told to, and never their folders.

Every sync waits for the disk, so a folder that has not changed since the last time is passed over.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from orchestrator.backends.gitrun import Git

_SETTLED_NS = 100_000_000  #: a folder's time moves in steps; two changes within one step look like one
_WRITTEN_BACK_NS = 600_000_000_000  #: what is older has long been written by the system itself


def sync(path: Path) -> None:
    """Put one file, or the names in one folder, on the disk; one that is not there needs nothing."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_all_around(folder: Path) -> None:
    """Put everything on the file system of a folder on the disk: for very many files, once."""
    if sys.platform != "linux":
        os.sync()
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(fd)


def take_as_synced(git: Git) -> None:
    """What a repository holds so far is on the disk, or not ours to put there; only what comes now is looked after."""
    for folder in _object_folders(git):
        if folder not in git.synced:
            git.synced[folder] = _seen(folder, time.time_ns())


def sync_objects(git: Git) -> None:
    """Put the names of a repository's objects on the disk; git has done that for what is in them."""
    _sync_changed(git, _object_folders(git))


def make_durable(git: Git, name: str) -> None:
    """Put a reference and the names of all objects on the disk."""
    sync_objects(git)
    sync_names(git, (name,))


def sync_names(git: Git, names: Iterable[str]) -> None:
    """Put the names of references on the disk; git has done that for what is in them."""
    assert git.git_dir is not None
    folders = dict.fromkeys(str(folder) for name in names for folder in Path(name).parents if folder.name)
    _sync_changed(git, [str(git.git_dir / folder) for folder in folders])


def _object_folders(git: Git) -> list[str]:
    assert git.git_dir is not None
    objects = str(git.git_dir / "objects")
    return [objects, *(entry.path for entry in os.scandir(objects) if entry.is_dir())]


def _sync_changed(git: Git, folders: Iterable[str]) -> None:
    now_ns = time.time_ns()
    for folder in folders:
        try:
            seen = _seen(folder, now_ns, git.synced.get(folder))  # before the sync: what changes meanwhile comes next
        except FileNotFoundError:
            continue  # packed
        synced = git.synced.get(folder)
        is_old = synced is None and seen[0] < now_ns - _WRITTEN_BACK_NS
        if is_old or (synced is not None and synced[0] == seen[0] and synced[1] in (None, seen[1])):
            continue
        sync(Path(folder))
        git.synced[folder] = seen


def _seen(
    folder: str, now_ns: int, before: tuple[int, frozenset[str] | None] | None = None
) -> tuple[int, frozenset[str] | None]:
    """When a folder changed, and its names as long as the time alone may not tell."""
    changed_ns = os.stat(folder).st_mtime_ns
    in_doubt = changed_ns > now_ns - _SETTLED_NS or (before is not None and before[1] is not None)
    return changed_ns, frozenset(os.listdir(folder)) if in_doubt else None
