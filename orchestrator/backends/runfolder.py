"""The files of a run folder, as the daemon reads and writes them.

The agent can write there too, by accident or not: nothing here waits for a pipe that stands where a file should,
follows a link out of the folder, or takes in more than it asked for.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from pathlib import Path
from typing import Any

from orchestrator.core.agent_lines import LONGEST, read_report
from orchestrator.core.terminal import printable
from orchestrator.model.attempt import ExitWhy, ProcessId, RunExit
from orchestrator.model.errors import OrchestratorError
from orchestrator.ports import ReportSeen

RECORD_BYTES = 1024 * 1024  #: more than any record of ours
TAIL_BYTES = 8 * 1024
BLOCK = 256 * 1024


#: errors that say nothing about the file
_NOTHING_LEFT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO})


def open_file(path: Path, flags: int = os.O_RDONLY) -> int | None:
    """An open regular file; None when there is no such thing.

    Raises: OSError when the machine has nothing left to look with; a run would be taken for gone otherwise.
    """
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if error.errno in _NOTHING_LEFT:
            raise
        return None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None


def write_file(path: Path, text: str) -> None:
    """Write a new file that only we can read. Raises: FileExistsError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(fd, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(text)


def append_once(path: Path, line: str) -> None:
    """Append a line that is not there yet, durable. Raises: OrchestratorError when something is in the way."""
    fd = open_file(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    if fd is None:
        raise OrchestratorError(
            f"cannot write {path}", why="something that is no file stands there, or its folder is gone"
        )
    with open(fd, "r+b", buffering=0) as file:
        present = file.read()
        if line.encode() in present.split(b"\n")[:-1]:
            return
        broken = b"\n" if present and not present.endswith(b"\n") else b""  # somebody died while writing
        os.write(fd, broken + line.encode() + b"\n")
        os.fsync(fd)


def read_record(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file; None when there is none that is whole."""
    fd = open_file(path)
    if fd is None:
        return None
    with open(fd, "rb") as file:
        try:
            data = json.loads(file.read(RECORD_BYTES))
        except (OSError, ValueError, RecursionError):
            return None
    return data if isinstance(data, dict) else None


def is_locked(path: Path) -> bool:
    """Whether a process holds a lock on that file."""
    fd = open_file(path, os.O_RDWR)
    if fd is None:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def waits_for_a_person(run_dir: Path) -> bool:
    """Whether `orch-agent ask` waits for an answer there; it shares its lock with others who wait."""
    fd = open_file(run_dir / "waiting", os.O_RDWR)
    if fd is None:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def supervisor_of(run_dir: Path) -> ProcessId | None:
    """Who supervises, or supervised, this run, as the folder says; anybody may have written that."""
    match read_record(run_dir / "meta.json"):
        case {"supervisor": {"pid": int(pid), "start_time": int(start), "boot_id": str(boot)}} if pid > 0:
            return ProcessId(pid=pid, start_time=start, boot_id=boot)
        case _:
            return None


def has_started(run_dir: Path) -> bool:
    """Whether the program of a run was started, or could not be."""
    meta = read_record(run_dir / "meta.json")
    return bool(meta and meta.get("started"))


def exit_of(run_dir: Path) -> RunExit | None:
    """The exit record; None when there is none."""
    match read_record(run_dir / "exit.json"):
        case {"why": str(why), "code": int() | None as code, "dropped_bytes": int(dropped), "detail": str(detail)}:
            if why in {known.value for known in ExitWhy}:
                return RunExit(why=ExitWhy(why), code=code, dropped_bytes=dropped, detail=printable(detail))
    return None


def last_sign(run_dir: Path) -> float:
    """When the run last wrote something, in seconds since the epoch."""
    times = [0.0]
    for name in ("output", "reports", "meta.json"):
        try:
            times.append((run_dir / name).lstat().st_mtime)
        except OSError:
            continue
    return max(times)


def tail_of(run_dir: Path) -> str:
    """The end of a run's output, harmless to print."""
    fd = open_file(run_dir / "output")
    if fd is None:
        return ""
    with open(fd, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
        return printable(file.read(TAIL_BYTES).decode("utf-8", "replace")).strip()


class Reports:
    """What a run says in its `reports` file, from an offset on. `skipped` counts lines that say nothing to us."""

    def __init__(self, run_dir: Path, offset: int) -> None:
        self._path = run_dir / "reports"
        self._read_to = offset
        self._rest = b""  #: the beginning of a line that has no end yet
        self._too_long = False  #: the beginning of this line was thrown away
        self.skipped = 0

    def read(self) -> tuple[list[ReportSeen], bool]:
        """Reports in the next block of the file, and whether there is more to read at once."""
        fd = open_file(self._path)
        if fd is None:
            return [], False
        try:
            data = os.pread(fd, BLOCK, self._read_to)
        finally:
            os.close(fd)
        end = self._read_to - len(self._rest)
        self._read_to += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        found = []
        for line in lines:
            end += len(line) + 1
            report = None if self._too_long else read_report(line)
            self._too_long = False
            if report is None:
                self.skipped += 1
            else:
                found.append(ReportSeen(report=report, offset=end))
        if len(self._rest) > LONGEST:
            self._rest, self._too_long = b"", True
        return found, len(data) == BLOCK
