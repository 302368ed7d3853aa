"""What tells one process, and one life of the machine, from another. Standard library only, and quick to load."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

HIGHEST_PID = 2**22  #: no system has higher ones


class ProcessStat(NamedTuple):
    """What the kernel tells of a process."""

    state: str  #: one letter: `T` is suspended, `Z` has ended and waits for its parent to look
    parent: int
    start_time: int  #: clock ticks since boot


def stat_of(pid: int) -> ProcessStat | None:
    """What the kernel tells of a process; None when there is none, or the system does not tell.

    Raises: OSError when nothing can be read just now, which must not be taken for the end of the process.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError, NotADirectoryError):
        return None
    # the second field is the program's name, which may hold spaces and brackets
    words = stat.rpartition(b")")[2].split()
    return ProcessStat(state=words[0].decode(), parent=int(words[1]), start_time=int(words[19]))


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 when there is none, or the system does not tell."""
    found = stat_of(pid)
    return 0 if found is None else found.start_time


def holds_lock(pid: int, path: Path) -> bool | None:
    """Whether it is that process which locks a file; to have it open is not enough.

    Returns: None when the files of the process cannot be seen: another user's, or the system does not show them.
    Raises: OSError when nothing can be opened just now.
    """
    try:
        there = path.stat(follow_symlinks=False)
        with os.scandir(f"/proc/{pid}/fd") as open_files:
            same = [file.name for file in open_files if _is_same(file.path, there)]
        return any(b"FLOCK" in Path(f"/proc/{pid}/fdinfo/{fd}").read_bytes() for fd in same)
    except PermissionError:
        return None
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        return False if Path("/proc/self/fdinfo").exists() else None


def _is_same(path: str, there: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), there)
    except OSError:
        return False


def boot_id() -> str:
    """The same until the machine starts anew; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return _boot_id_of_macos() if sys.platform == "darwin" else ""


def _boot_id_of_macos() -> str:
    import ctypes

    name, size = b"kern.bootsessionuuid", ctypes.c_size_t(64)
    buffer = ctypes.create_string_buffer(size.value)
    answer = ctypes.CDLL(None).sysctlbyname(name, buffer, ctypes.byref(size), None, ctypes.c_size_t(0))
    return buffer.value.decode() if answer == 0 else ""
