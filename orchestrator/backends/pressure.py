"""What this machine has left, and the little that is put aside for the ledger."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Sequence
from pathlib import Path

from orchestrator.model.place import Place
from orchestrator.ports import Room

RESERVE_BYTES = 8 * 1024 * 1024
_PIECE = 1024 * 1024


class LocalMachine:
    """The machine that the daemon runs on."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._reserve = place.state_dir / "reserve"

    def rooms(self) -> Sequence[Room]:
        """The disk of the state folder and that of the worktrees; one room when they are the same."""
        found: dict[int, Room] = {}
        for folder in (self._place.state_dir, self._place.worktrees):
            with contextlib.suppress(OSError):
                there = _nearest(folder)
                stat = os.statvfs(there)
                free, total = stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize
                found.setdefault(os.stat(there).st_dev, Room(path=str(folder), free=free, total=total))
        return tuple(found.values())

    def descriptors(self) -> tuple[int, int] | None:
        """Files that this process has open, and how many it may have."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if limit == resource.RLIM_INFINITY:
            return None
        for folder in ("/proc/self/fd", "/dev/fd"):
            with contextlib.suppress(FileNotFoundError):
                try:
                    return len(os.listdir(folder)) - 1, limit  # one was opened for looking
                except OSError:
                    return limit, limit  # not even one more can be opened
        return None

    def keep_reserve(self) -> None:
        """Put room aside in a file that really takes it."""
        if self._reserve.exists():
            return
        new = self._reserve.with_name("reserve.new")
        try:
            stat = os.statvfs(self._place.state_dir)
            if stat.f_bavail * stat.f_frsize < 2 * RESERVE_BYTES:
                return
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            try:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(fd, 0, RESERVE_BYTES)
                else:
                    for _ in range(RESERVE_BYTES // _PIECE):
                        os.write(fd, bytes(_PIECE))
            finally:
                os.close(fd)
            new.replace(self._reserve)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink()

    def give_up_reserve(self) -> bool:
        """Delete that file."""
        try:
            self._reserve.unlink()
        except OSError:
            return False
        return True


def _nearest(folder: Path) -> Path:
    """The folder, or the first above it that is there."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


# ---- our own limits ----

_before: tuple[int, int] | None = None  #: the limit of open files that this process was started with


def raise_descriptors() -> int:
    """Let this process open as many files as it may. Returns: how many that are."""
    global _before
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _before is None:
        _before = (soft, hard)
    with contextlib.suppress(OSError, ValueError):  # some systems name a limit that they do not allow
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def inherited_descriptors() -> tuple[int, int] | None:
    """The limit of open files for programs that we start; None when it is ours."""
    return _before


def outlive_agents() -> None:
    """When memory runs out, agents and not the daemon should be ended, as far as we may say so."""
    file = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError, ValueError):
        now = int(file.read_text())
        for wanted in (-500, 0):
            if now <= wanted:
                return
            try:
                file.write_text(str(wanted))
            except OSError:
                continue  # only a privileged process may go below what it was given
            return
