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

from orchestrator.backends.machine import HIGHEST_PID
from orchestrator.core.agent_lines import LONGEST, read_report, token_in
from orchestrator.core.terminal import printable
from orchestrator.model.attempt import ExitWhy, ProcessId, RunExit
from orchestrator.model.errors import OrchestratorError
from orchestrator.ports import ReportSeen

RECORD_BYTES = 1024 * 1024  #: more than any record of ours
TAIL_BYTES = 8 * 1024
BLOCK = 256 * 1024
#: What says nothing about a file, but that none can be opened just now.
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})


def exhausted(what: str, error: OSError) -> OrchestratorError:
    """The error for something that could not be done because the machine has no more of what it takes."""
    fixes = {
        errno.EMFILE: "allow the daemon more open files (`ulimit -n`), or run fewer agents at once",
        errno.ENFILE: "the whole machine has too many files open: end what holds them, or raise fs.file-max",
        errno.EAGAIN: "there are too many processes: end what you do not need, or raise the limit (`ulimit -u`)",
    }
    fix = fixes.get(error.errno or 0, "free some memory, or run fewer agents at once")
    return OrchestratorError(what, why=error.strerror or str(error), fix=fix)


def open_file(path: Path, flags: int = os.O_RDONLY) -> int | None:
    """An open regular file; None when there is no such thing.

    Raises: OrchestratorError when no file can be opened just now, which must never read as "there is none".
    """
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise exhausted(f"{path} could not be opened", error) from error
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
    meta = read_record(run_dir / "meta.json") or {}
    match meta:
        case {"supervisor": {"pid": int(pid), "start_time": int(start), "boot_id": str(boot)}}:
            wanted = (read_record(run_dir / "spec.json") or {}).get("nonce")
            # with another nonce it is the record of another run
            if 0 < pid <= HIGHEST_PID and wanted in {None, meta.get("nonce")}:
                return ProcessId(pid=pid, start_time=start, boot_id=boot)
    return None


def last_beat(run_dir: Path) -> float:
    """When the run's supervisor last showed life, in seconds since the epoch; 0 when it never did."""
    try:
        return (run_dir / "lock").lstat().st_mtime
    except OSError:
        return 0.0


def token_of(run_dir: Path) -> int:
    """The token of the lease that a run was started under; 0 when it has none."""
    match (read_record(run_dir / "spec.json") or {}).get("token"):
        case int(token):
            return token
        case _:
            return 0


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


def failure_in(run_dir: Path) -> str:
    """Why the supervisor itself failed, as it noted last; empty when it did not."""
    fd = open_file(run_dir / "supervisor.log")
    if fd is None:
        return ""
    with open(fd, "rb") as file:
        lines = file.read(RECORD_BYTES).decode("utf-8", "replace").strip().splitlines()
    return printable(lines[-1]) if lines else ""


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
    """What a run says in its `reports` file, from an offset on.

    The file belongs to the agent, who may cut it short, or put another thing in its place. Another file than the one
    that was read so far is read from its beginning, and its reports count on from the last offset: to hear one a
    second time is harmless, and to miss a question is not.

    Args:
        token: of the run's lease; a line with another one was written for another attempt. 0: any will do.
    """

    def __init__(self, run_dir: Path, offset: int, *, token: int = 0) -> None:
        self._path = run_dir / "reports"
        self._token = token
        self._at = offset  #: where we are in the file
        self._ahead = 0  #: by so much offsets are more than places in the file, when that is another one by now
        self._file: tuple[int, int] | None = None  #: device and inode; None until it was opened
        self._rest = b""  #: the beginning of a line that has no end yet
        self._too_long = False  #: the beginning of this line was thrown away
        self.skipped = 0  #: lines that say nothing to us
        self.foreign = 0  #: lines with the token of another attempt
        self.trouble = ""  #: what is wrong with the file

    def read(self) -> tuple[list[ReportSeen], bool]:
        """Reports in the next block of the file, and whether there is more to read at once."""
        fd = open_file(self._path)
        if fd is None:
            if os.path.lexists(self._path):
                self.trouble = "something that is no file, or cannot be read, stands in its place"
            return [], False
        try:
            self._look_at(fd)
            data = os.pread(fd, BLOCK, self._at)
        finally:
            os.close(fd)
        end = self._at - len(self._rest)
        self._at += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        found = []
        for line in lines:
            end += len(line) + 1
            report = None if self._too_long else read_report(line)
            self._too_long = False
            if report is None:
                self.skipped += 1
            elif self._token and token_in(line) not in {None, self._token}:
                self.foreign += 1
            else:
                found.append(ReportSeen(report=report, offset=end + self._ahead))
        if len(self._rest) > LONGEST:
            self._rest, self._too_long = b"", True
        return found, len(data) == BLOCK

    def _look_at(self, fd: int) -> None:
        """Begin anew when this is another file than the one we are in."""
        there = os.fstat(fd)
        known, self._file = self._file, (there.st_dev, there.st_ino)
        if known is not None and known != self._file:
            self.trouble = "it was replaced"
        elif there.st_size < self._at:
            self.trouble = "it was cut short"
        elif known is None and self._at and os.pread(fd, 1, self._at - 1) != b"\n":
            self.trouble = "it is not the file that was read before"
        else:
            return
        self._ahead += self._at - len(self._rest)
        self._at, self._rest, self._too_long = 0, b"", False
