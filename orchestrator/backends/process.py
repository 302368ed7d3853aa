"""Starts supervisors and the daemon, and signals supervisors without ever hitting a stranger."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from orchestrator.backends.machine import boot_id, holds_lock, start_time, stat_of
from orchestrator.backends.runfolder import EXHAUSTED, exhausted, is_locked, supervisor_of
from orchestrator.model.attempt import ProcessId
from orchestrator.model.errors import OrchestratorError

SUPERVISOR = Path(__file__).with_name("supervisor.py")
_PROGRAM = re.compile(r"supervisor(\.[\w-]+)?\.pyc?")  #: its file, or bytecode of it, of another Python perhaps
READY = b"ready\n"
LINUX = sys.platform == "linux"
HAS_HANDLES = hasattr(os, "pidfd_open") and hasattr(signal, "pidfd_send_signal")
#: What the supervisor's exit status says when it did not become ready.
REFUSALS = {3: "another supervisor is at work in that folder", 4: "something has run in that folder before"}


class Started:
    """A supervisor of ours, which waits for its go-byte."""

    def __init__(self, pid: int, go: int) -> None:
        self._pid: int | None = pid
        self._go: int | None = go

    def release(self) -> None:
        """Give the go-byte. One that has gone meanwhile needs none."""
        if self._go is not None:
            try:
                os.write(self._go, b"g")
            except BrokenPipeError:
                pass
            finally:
                self.forget()

    def forget(self) -> None:
        """Close the pipe; a supervisor that still waits takes that as `never_started`."""
        if self._go is not None:
            os.close(self._go)
            self._go = None

    def reap(self) -> bool:
        """Take note of its end, so that no zombie of it stays. Returns: whether it has ended."""
        if self._pid is not None:
            try:
                if os.waitpid(self._pid, os.WNOHANG)[0] == 0:
                    return False
            except ChildProcessError:
                pass
            self._pid = None
            self.forget()
        return True


def start_supervisor(run_dir: Path, *, timeout_s: float) -> tuple[Started, ProcessId]:
    """Start the supervisor of a run folder and wait until it is ready. Blocks; for worker threads.

    It gets a pipe for the go-byte and one to say that it is ready, and nothing else of ours.

    Raises: OrchestratorError when it does not become ready.
    """
    given, go = os.pipe()
    try:
        ready, told = os.pipe()
    except BaseException:
        os.close(given)
        os.close(go)
        raise
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", str(compiled(SUPERVISOR)), str(run_dir)],
            {"PATH": os.defpath},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, given, 0),
                (os.POSIX_SPAWN_DUP2, told, 1),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            setsid=LINUX,  # elsewhere it may not be there; the supervisor does it too
        )
    except BaseException:
        os.close(go)
        os.close(ready)
        raise
    finally:
        os.close(given)
        os.close(told)
    is_ready = False
    try:
        process = ProcessId(pid=pid, start_time=start_time(pid), boot_id=boot_id())
        is_ready = _says_ready(ready, timeout_s)
    finally:
        os.close(ready)
        if not is_ready:
            os.close(go)
            os.kill(pid, signal.SIGKILL)  # our own child, not waited for yet: the number cannot be another's
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if is_ready:
        return Started(pid, go), process
    log = run_dir / "supervisor.log"
    detail = log.read_text(errors="replace")[-500:].strip() if log.exists() else ""
    raise OrchestratorError(
        "a supervisor could not be started",
        why=detail or REFUSALS.get(status, f"it ended with status {status} before it was ready"),
        fix=f"see {run_dir}",
    )


def compiled(program: Path) -> Path:
    """The bytecode that Python keeps of a file, to compile it anew takes every run some milliseconds; else the file."""
    kept = Path(importlib.util.cache_from_source(str(program)))
    try:
        with kept.open("rb") as file:
            header = file.read(16)
        source = program.stat()
    except OSError:
        return program
    # as in PEP 552: magic number, no flags, time and size of the source
    wanted = struct.pack("<4sLLL", importlib.util.MAGIC_NUMBER, 0, int(source.st_mtime) & 0xFFFFFFFF, source.st_size)
    return kept if header == wanted else program


def _says_ready(fd: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    until = time.monotonic() + timeout_s
    said = b""
    while not said.endswith(READY):
        if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
            return False
        chunk = os.read(fd, 64)
        if not chunk:
            return False
        said += chunk
    return True


def live_supervisor(run_dir: Path) -> ProcessId | None:
    """The process that supervises this run now, whatever the folder says; None when there is none.

    The record in the folder is only a hint, because the agent can write it. What counts is who holds the folder's lock
    and runs our supervisor.

    Raises: OrchestratorError when that cannot be seen just now.
    """
    if not is_locked(run_dir / "lock"):
        return None
    said = supervisor_of(run_dir)
    hint = [said.pid] if said is not None else []
    for pid in chain(hint, processes()):
        if supervises(pid, run_dir):
            return ProcessId(pid=pid, start_time=start_time(pid), boot_id=boot_id())
    return None


def open_process(process: ProcessId) -> int | None:
    """A handle on exactly that process; None when it is gone, or the system has no such handles.

    Raises: OrchestratorError when nothing can be opened just now.
    """
    if not HAS_HANDLES or process.boot_id != boot_id():
        return None
    try:
        handle = os.pidfd_open(process.pid)
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise exhausted(f"process {process.pid} could not be watched", error) from error
        return None
    is_it = False
    try:
        is_it = start_time(process.pid) == process.start_time
    finally:
        if not is_it:
            os.close(handle)
    return handle if is_it else None


def signal_process(process: ProcessId, *numbers: int) -> bool:
    """Send signals to exactly that process, one that is gone excepted. Returns: whether it was there."""
    if not HAS_HANDLES:
        # lock and command line have to do
        if process.boot_id == boot_id() and start_time(process.pid) == process.start_time:
            with contextlib.suppress(ProcessLookupError):
                for number in numbers:
                    os.kill(process.pid, number)
                return True
        return False
    handle = open_process(process)
    if handle is None:
        return False
    try:
        for number in numbers:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def ask_to_stop(run_dir: Path) -> bool:
    """TERM to the supervisor of a run. Returns: whether there was one.

    Raises: OrchestratorError when somebody holds the lock who is no supervisor of ours.
    """
    process = live_supervisor(run_dir)
    if process is not None:
        return signal_process(process, signal.SIGTERM, signal.SIGCONT)  # one that is suspended cannot hear otherwise
    if is_locked(run_dir / "lock"):
        raise OrchestratorError(
            "a run could not be stopped",
            why="its folder is locked, and not by a supervisor",
            fix=f"end whatever holds {run_dir / 'lock'}",
        )
    return False


def supervises(pid: int, run_dir: Path) -> bool:
    """Whether that process is our supervisor and holds the lock of this folder."""
    if not LINUX:
        listed = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return SUPERVISOR.stem in listed.stdout and str(run_dir) in listed.stdout
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError as error:
        return not_seen(error)
    if len(words) < 5 or words[1:3] != [b"-I", b"-S"] or not _PROGRAM.fullmatch(Path(os.fsdecode(words[3])).name):
        return False
    return holds_lock(pid, run_dir / "lock") is True


def not_seen(error: OSError) -> bool:
    """What a process that is gone, or another user's, says of itself: nothing."""
    if error.errno in EXHAUSTED:
        raise exhausted("the processes of this machine could not be looked at", error) from error
    return False


def processes() -> Iterator[int]:
    """Every process of the machine, as far as it is easily told."""
    if LINUX:
        yield from (int(name) for name in os.listdir("/proc") if name.isdecimal())


def parents() -> dict[int, int]:
    """The parent of every process of the machine."""
    if LINUX:
        return {pid: there.parent for pid in processes() if (there := stat_of(pid)) is not None}
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False)
    return {int(pid): int(parent) for pid, parent in map(str.split, listed.stdout.splitlines())}


# ---- the daemon itself ----


def start_detached(
    argv: Sequence[str], *, cwd: str, environ: Mapping[str, str], output: str
) -> Callable[[], int | None]:
    """Start a program in a session of its own, its output in a file.

    Returns: a function that gives its exit status, or None while it lives.
    """
    with open(output, "wb") as out:
        process = subprocess.Popen(
            argv, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )

    return process.poll
