"""What has to outlast a power loss is put on the disk. git syncs its files if told to, and never their folders."""

from __future__ import annotations

import os
import time
from pathlib import Path

from orchestrator.backends.gitrun import Git

_SETTLED_NS = 100_000_000  #: a folder's time moves in steps; a change within one step would not show


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


def sync_tree(folder: Path) -> None:
    """Put everything in a folder of ours on the disk."""
    for here, _, files in os.walk(folder):
        for name in files:
            path = Path(here, name)
            if not path.is_symlink():
                sync(path)
        sync(Path(here))


def sync_objects(git: Git) -> None:
    """Put the names of a repository's objects on the disk, in every folder that has changed since the last time."""
    assert git.git_dir is not None
    objects = git.git_dir / "objects"
    folders = [objects, *(Path(entry.path) for entry in os.scandir(objects) if entry.is_dir(follow_symlinks=True))]
    for folder in folders:
        changed_ns = folder.stat().st_mtime_ns  # before the sync: what changes meanwhile is for the next time
        question = ("synced", str(folder))
        if git.known is not None and git.known.get(question) == changed_ns:
            continue
        sync(folder)
        if changed_ns < time.time_ns() - _SETTLED_NS:
            git.remember(question, changed_ns)


def make_durable(git: Git, name: str) -> None:
    """Put a reference, its folders, and the names of all objects on the disk."""
    assert git.git_dir is not None
    sync_objects(git)
    sync(git.git_dir / name)  # packed, it is not there
    for folder in (git.git_dir / name).parents:
        if folder == git.git_dir:
            break
        sync(folder)
