"""One daemon per repository: a lock that the kernel keeps and gives back when its holder is gone."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

from orchestrator import __version__
from orchestrator.backends.clock import SystemClock
from orchestrator.backends.machine import HIGHEST_PID, boot_id, holds_lock, start_time, stat_of
from orchestrator.model.attempt import ProcessId
from orchestrator.model.errors import OrchestratorError, RefusedError

_PROBES_S = 5.0  #: how long those who only look may stand in the way of a start
_WRITING_S = 0.5  #: how long a fresh holder may take to say who it is
_HELD = {errno.EWOULDBLOCK, errno.EACCES}


class DaemonLock:
    """Held from `acquire` to `release`, or to the end of the process.

    The file stays for ever: a lock on a file that somebody deletes and makes anew would be two locks.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd

    @classmethod
    def acquire(cls, path: Path) -> DaemonLock:
        """Take the lock or refuse at once. Raises: RefusedError that says who holds it."""
        fd = _opened(path)
        try:
            _take(fd, path)
            lock = cls(path, fd)
            if not lock.is_held():
                raise RefusedError(
                    f"{path} was deleted while a daemon was being started",
                    why="another program removes files from the state folder",
                    fix="find out what deletes it, and start again",
                )
            process = this_process()
            content = {
                "pid": process.pid,
                "start_time": process.start_time,
                "boot_id": process.boot_id,
                "version": __version__,
                "at": SystemClock().now().isoformat(),
            }
            _write(fd, path, json.dumps(content).encode() + b"\n")
        except BaseException:
            os.close(fd)
            raise
        return lock

    def is_held(self) -> bool:
        """Whether the file under our name is still the one we locked; False after somebody deleted or replaced it."""
        try:
            ours, there = os.fstat(self._fd), os.stat(self._path)
        except OSError:
            return False
        return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)

    def release(self) -> None:
        """Give the lock back. Does nothing the second time."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> DaemonLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @staticmethod
    def holder(path: Path) -> dict[str, Any] | None:
        """Who holds the lock, as it wrote itself; None when nobody does. `pid` is 0 for one that has not said yet."""
        return _holder(path)


def _holder(path: Path) -> dict[str, Any] | None:
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _not_opened(path, error) from error
    try:
        deadline = time.monotonic() + _WRITING_S
        while not _try(fd, path, fcntl.LOCK_SH):
            content = _content(fd)
            if content is not None and _is_fresh(content, path):
                return content
            if time.monotonic() > deadline:
                # whoever wrote it had the time to, so it is the holder, in another container perhaps
                return {"pid": 0} if content is None or _is_forged(content, path) else content
            time.sleep(0.01)
        return None
    finally:
        os.close(fd)


def this_process() -> ProcessId:
    """This process, for ever: the pid alone is used again."""
    return ProcessId(pid=os.getpid(), start_time=start_time(os.getpid()), boot_id=boot_id())


def _opened(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _not_opened(path, error) from error


def _write(fd: int, path: Path, content: bytes) -> None:
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, content, 0)
    except OSError as error:
        raise OrchestratorError(
            f"{path} cannot be written",
            why=error.strerror or str(error),
            fix="make room on that disk, and start again; nothing was started",
        ) from error


def _not_opened(path: Path, error: OSError) -> OrchestratorError:
    if isinstance(error, NotADirectoryError):
        return OrchestratorError(
            f"{path.parent} is not a folder",
            why="a file, or something else, stands where the daemon keeps its state",
            fix="move it away, and start again",
        )
    return OrchestratorError(
        f"{path} cannot be opened",
        why=error.strerror or str(error),
        fix="make its folder yours and writable; the daemon keeps its state there",
    )


def _take(fd: int, path: Path) -> None:
    """Lock exclusively. Those who look hold a shared lock for an instant, and are waited for."""
    deadline = time.monotonic() + _PROBES_S
    while True:
        if _try(fd, path, fcntl.LOCK_EX):
            return
        if not _try(fd, path, fcntl.LOCK_SH):
            holder = _holder(path)
            if holder is None and time.monotonic() < deadline:
                continue  # what a killed daemon was just starting had it for a moment
            raise _refusal(path, holder)
        fcntl.flock(fd, fcntl.LOCK_UN)
        if time.monotonic() > deadline:
            raise _refusal(path, _holder(path))
        time.sleep(0.001 * (1 + os.getpid() % 7))  # several who try at once fall out of step


def _try(fd: int, path: Path, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise OrchestratorError(
            f"{path} cannot be locked",
            why=f"{error.strerror}; some network file systems have no locks",
            fix="keep the repository on a local disk",
        ) from error
    return True


def _refusal(path: Path, holder: dict[str, Any] | None) -> RefusedError:
    info = holder or {"pid": 0}
    pid = info["pid"]
    since = f", since {info['at']}" if info.get("at") else ""
    return RefusedError(
        f"a daemon already runs for this repository (pid {pid or 'not known yet'}{since})",
        why=f"it holds {path}, and two would work against each other",
        fix="follow it with `orchestrator status --watch`, or end it with `orchestrator stop`"
        + (f" (`kill {pid}` if it does not answer)" if pid else ""),
    )


def _content(fd: int) -> dict[str, Any] | None:
    """What is written in the file, by the holder or by an earlier one; None while there is nothing whole."""
    try:
        content = json.loads(os.pread(fd, 4096, 0))
        content["pid"] = int(content["pid"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return dict(content) if 0 < content["pid"] <= HIGHEST_PID else None


def _is_fresh(content: dict[str, Any], path: Path) -> bool:
    """Whether the process that wrote it is alive and holds the lock; one that died cannot be who holds it."""
    if not _is_alive(content):
        return False
    return not Path("/proc/self/stat").exists() or holds_lock(content["pid"], path) is not False


def _is_forged(content: dict[str, Any], path: Path) -> bool:
    """Whether it names a process of this machine that is not the holder: a stranger, whom nobody may be told to end."""
    return _is_alive(content) and holds_lock(content["pid"], path) is False


def _is_alive(content: dict[str, Any]) -> bool:
    if content.get("boot_id") != boot_id():
        return False
    if not Path("/proc/self/stat").exists():
        return True  # the system does not tell
    there = stat_of(content["pid"])
    return there is not None and there.start_time == content.get("start_time")
