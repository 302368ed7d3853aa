"""Starts supervisors, and signals them without ever hitting a stranger."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from orchestrator.model.attempt import ProcessId
from orchestrator.model.errors import OrchestratorError

SUPERVISOR = Path(__file__).with_name("supervisor.py")
READY = b"ready\n"


class Started:
    """A supervisor that waits for its go-byte."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        assert process.stdin is not None
        self._go: int | None = os.dup(process.stdin.fileno())
        process.stdin.close()

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

    def reap(self) -> None:
        """Take note of its end, so that no zombie of it stays."""
        self._process.poll()


def start_supervisor(run_dir: Path, *, timeout_s: float) -> Started:
    """Start the supervisor of a run folder and wait until it is ready. Blocks; for worker threads.

    Raises: OrchestratorError when it does not become ready.
    """
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(SUPERVISOR), str(run_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={"PATH": os.defpath},
        start_new_session=True,
    )
    assert process.stdout is not None
    started = Started(process)
    said = b""
    with process.stdout:
        while not said.endswith(READY):
            readable, _, _ = select.select([process.stdout], [], [], timeout_s)
            chunk = os.read(process.stdout.fileno(), 64) if readable else b""
            if not chunk:
                started.forget()
                process.wait()
                log = run_dir / "supervisor.log"
                detail = log.read_text(errors="replace")[-500:] if log.exists() else f"status {process.returncode}"
                raise OrchestratorError("a supervisor could not be started", why=detail, fix=f"see {run_dir}")
            said += chunk
    return started


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file; None when there is none that is whole."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def supervisor_of(run_dir: Path) -> ProcessId | None:
    """Who supervises, or supervised, this run, as it recorded it."""
    meta = read_json(run_dir / "meta.json")
    match meta:
        case {"supervisor": {"pid": int(pid), "start_time": int(start), "boot_id": str(boot)}}:
            return ProcessId(pid=pid, start_time=start, boot_id=boot)
        case _:
            return None


def is_locked(path: Path) -> bool:
    """Whether a process holds a lock on that file."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EAGAIN)
    finally:
        os.close(fd)
    return False


def open_process(process: ProcessId) -> int | None:
    """A handle on exactly that process; None when it is gone, or the pid is another's now, or there are no handles."""
    if not hasattr(os, "pidfd_open") or process.boot_id != boot_id():
        return None
    try:
        fd = os.pidfd_open(process.pid)
    except OSError:
        return None
    if start_time(process.pid) != process.start_time:
        os.close(fd)
        return None
    return fd


def ask_to_stop(run_dir: Path) -> bool:
    """TERM to the supervisor of a run. Returns: whether there was one.

    The lock proves that a supervisor lives, and the start time that the record is its own: a forged record never gets a
    stranger signalled.
    """
    process = supervisor_of(run_dir)
    if process is None or not is_locked(run_dir / "lock"):
        return False
    if str(run_dir) not in command_line(process.pid):
        return False
    fd = open_process(process)
    if fd is None:
        if sys.platform == "linux" and hasattr(os, "pidfd_open"):
            return False
        os.kill(process.pid, signal.SIGTERM)  # no handles here: lock and command line have to do
        return True
    try:
        signal.pidfd_send_signal(fd, signal.SIGTERM)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


def command_line(pid: int) -> str:
    """The arguments of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        if sys.platform == "linux":
            return ""
        listed = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return listed.stdout


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 where the system does not tell."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()[19])
    except OSError:
        return 0


def boot_id() -> str:
    """The name of this boot of the machine; empty where the system does not tell, as the supervisor has it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
