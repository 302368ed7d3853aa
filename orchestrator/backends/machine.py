"""What tells one process, and one life of the machine, from another. Standard library only, and quick to load."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 when there is none, or the system does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    # the second field is the program's name, which may hold spaces and brackets
    return int(stat.rpartition(b")")[2].split()[19])


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


def processes_with(name: str) -> dict[int, str]:
    """Other processes that have this variable in their environment, with its value; none where nobody tells."""
    mark, found = b"\0" + name.encode() + b"=", {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = b"\0" + (folder / "environ").read_bytes()
        except OSError:
            continue
        _, is_there, rest = environment.partition(mark)
        if is_there and int(folder.name) != os.getpid():
            found[int(folder.name)] = os.fsdecode(rest.partition(b"\0")[0])
    return found
