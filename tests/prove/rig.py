"""What is done to a daemon under proof, from outside its code: it dies, or the system refuses, at a named point.

A point is where the program is (the innermost function of ours) and what it is about to do or has just done there:
`candidates.land: git update-ref, before`. Nothing of this is in the product; an audit hook and wrappers around the
ports, git and SQLite see what happens anyway.
"""

from __future__ import annotations

import errno
import functools
import inspect
import os
import random
import re
import signal
import sqlite3
import sys
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import orchestrator

HOME = os.path.dirname(orchestrator.__file__) + os.sep
#: Passed over when it is asked where we are: everything goes through them.
PLUMBING = ("gitrun.", "textfile.", "repository.execute", "repository.GitRepository._in_thread", "sqlite._patiently")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
#: What the audit hook hears, and what it is called in a point.
HEARD = {
    "os.rename": "rename",
    "os.remove": "unlink",
    "os.mkdir": "mkdir",
    "os.rmdir": "rmdir",
    "os.link": "link",
    "os.symlink": "symlink",
    "os.truncate": "truncate",
    "os.chmod": "chmod",
    "os.utime": "utime",
    "shutil.rmtree": "rmtree",
    "shutil.copyfile": "copyfile",
    "shutil.move": "move",
    "os.posix_spawn": "spawn",
    "os.kill": "kill",
}
#: Commands of git, and calls of ports, that change nothing: a death there is the same as one a little earlier.
LOOKING = frozenset(
    {
        "cat-file",
        "config",
        "diff",
        "diff-index",
        "diff-tree",
        "for-each-ref",
        "ls-files",
        "ls-tree",
        "merge-base",
        "rev-list",
        "rev-parse",
        "show-ref",
        "status",
        "symbolic-ref",
        "var",
        "version",
    }
)
QUESTIONS = frozenset({"facts", "contains", "changed", "events", "to_do", "close"})
CRASH = 137  #: the exit status of a daemon that the rig ended


@dataclass(frozen=True)
class Rig:
    """What shall happen to one life of a daemon. JSON-ready by its fields."""

    seen: str = ""  #: a file: every point that is met, once, a line each; those that were hit begin with `!`
    hunt: tuple[int, int] | None = None  #: (n, of): die at the first point of this share that is not in `spared`
    spared: tuple[str, ...] = ()  #: points that were hit before
    only: tuple[str, ...] | None = None  #: die at these alone
    skip: int = 0  #: so many times past the points of `only`
    by_signal: bool = False  #: die by SIGKILL
    #: die at the nth event of all, counted from 1
    at_event: int = 0
    fault: str = ""  #: an error's name, as EIO, given back instead of what was asked
    fault_kind: str = ""  #: of which points: a word of the point's event, as `fsync`, `open`, `COMMIT`
    fault_at: int = 1  #: from which occurrence
    fault_times: int = 1
    fault_until: str = ""  #: a file: while it is there, the fault goes on


@dataclass
class _Rigged:
    rig: Rig
    places: tuple[str, ...]  #: only what happens to files below these counts
    seen_fd: int = -1
    events: int = 0
    faults: int = 0
    passed: int = 0
    met: set[str] = field(default_factory=set)
    busy: threading.local = field(default_factory=threading.local)

    def point(self, where: str, event: str, when: str = "before", *, may_fail: bool = False) -> None:
        """Something is about to happen or has happened: perhaps it is time to die, or to fail."""
        if getattr(self.busy, "now", False):
            return
        self.busy.now = True
        try:
            name = f"{where}: {event}, {when}"
            self.events += 1
            if name not in self.met:
                self.met.add(name)
                self._tell(name)
            if self._is_time(name):
                self._tell("!" + name)
                if self.rig.by_signal:
                    os.kill(os.getpid(), signal.SIGKILL)
                    time.sleep(60)
                os._exit(CRASH)
            if may_fail and self._is_to_fail(event):
                self._tell(f"?{name}")
                number = getattr(errno, self.rig.fault)
                raise OSError(number, os.strerror(number), event)
        finally:
            self.busy.now = False

    def sqlite_fault(self, statement: str) -> None:
        if self.rig.fault.startswith("SQLITE_") and self._is_to_fail(statement):
            self._tell(f"?{statement}")
            error = sqlite3.OperationalError(SQLITE_FAULTS[self.rig.fault])
            error.sqlite_errorname = self.rig.fault
            raise error

    def _tell(self, line: str) -> None:
        if self.seen_fd >= 0:
            os.write(self.seen_fd, line.encode() + b"\n")

    def _is_time(self, name: str) -> bool:
        rig = self.rig
        if rig.at_event:
            return self.events == rig.at_event
        if rig.only is not None:
            self.passed += name in rig.only
            return name in rig.only and self.passed > rig.skip
        if rig.hunt is not None:
            share, of = rig.hunt
            return share_of(name, of) == share and name not in rig.spared
        return False

    def _is_to_fail(self, event: str) -> bool:
        rig = self.rig
        if not rig.fault or rig.fault_kind not in event:
            return False
        if rig.fault_until:
            return os.path.exists(rig.fault_until)
        self.faults += 1
        return rig.fault_at <= self.faults < rig.fault_at + rig.fault_times


#: name -> what SQLite says
SQLITE_FAULTS = {
    "SQLITE_FULL": "database or disk is full",
    "SQLITE_IOERR_FSYNC": "disk I/O error",
    "SQLITE_BUSY": "database is locked",
}


def install(rig: Rig, root: Path) -> None:
    """Rig this process. There is no way back."""
    state = root / ".git" / "orchestrator"
    rigged = _Rigged(rig, places=tuple(str(p) for p in (state, root.with_name(f"{root.name}.worktrees"), root)))
    if rig.seen:
        rigged.seen_fd = os.open(rig.seen, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    _wrap_ports(rigged)
    _wrap_git(rigged)
    _wrap_sqlite(rigged)
    _wrap_fsync(rigged)
    _listen(rigged)


def where_from(frame: FrameType | None) -> str | None:
    """The innermost function of ours, plumbing passed over; None when there is none."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(HOME):
            module = code.co_filename.rsplit(os.sep, 1)[1].removesuffix(".py")
            name = f"{module}.{code.co_qualname}".replace(".<locals>", "")
            if not name.startswith(PLUMBING):
                return name
        frame = frame.f_back
    return None


def _listen(rigged: _Rigged) -> None:
    def hear(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = args
            writes = bool(flags & WRITING) if isinstance(flags, int) else isinstance(mode, str) and mode[:1] in "wax"
            if not writes or not isinstance(path, str | bytes | os.PathLike):
                return
            what = "open"
        elif event in HEARD:
            path, what = args[0], HEARD[event]
        else:
            return
        if what not in {"spawn", "kill"}:
            text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
            if text.startswith("/") and not text.startswith(rigged.places):
                return
            what = f"{what} {_kind_of(text)}"
        where = where_from(sys._getframe(1))
        if where is not None:
            rigged.point(where, what, may_fail=True)

    sys.addaudithook(hear)


#: Files whose names are the same in every run; of others only the ending is told, where it is one of these.
_OURS = re.compile(r"[a-z]{2,12}(\.(json|lock|git|sqlite|new|log|end|txt|file))?$")
_ENDING = re.compile(r"\.(json|lock|git|sqlite|new|log|pack|idx|tmp)$")


def _kind_of(path: str) -> str:
    """The file's name without what differs from run to run."""
    name = path.rstrip("/").rsplit("/", 1)[-1]
    if _OURS.match(name):
        return name
    ending = _ENDING.search(name)
    return "*" + (ending[0] if ending else "")


PORTS = {
    "orchestrator.backends.repository:GitRepository": "repository",
    "orchestrator.backends.local:LocalExecutor": "executor",
    "orchestrator.backends.prepare:TreePreparer": "preparer",
    "orchestrator.backends.sqlite:SqliteStore": "store",
}


def _wrap_ports(rigged: _Rigged) -> None:
    """A point before and after every call that the engine makes of a port."""
    from importlib import import_module

    for path, port in PORTS.items():
        module, name = path.split(":")
        kind = getattr(import_module(module), name)
        for method, function in list(vars(kind).items()):
            if not method.startswith("_") and method not in QUESTIONS and inspect.iscoroutinefunction(function):
                setattr(kind, method, _around(rigged, port, method, function))


def _around(rigged: _Rigged, port: str, method: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def around(self: Any, *args: Any, **named: Any) -> Any:
        what = method
        if (port, method) == ("store", "record"):
            batch = args[0]
            what = f"record {' '.join(sorted({type(e).__name__ for e in batch.events})[:2]) or 'nothing'}"
        rigged.point(port, what)
        result = await function(self, *args, **named)
        rigged.point(port, what, "after")
        return result

    return around


def _wrap_git(rigged: _Rigged) -> None:
    from orchestrator.backends import repository

    execute = repository.execute

    def around(command: Any) -> Any:
        verb = next((word for word in command.args if not word.startswith("-")), "git")
        if verb in LOOKING:
            return execute(command)
        where = where_from(sys._getframe(1)) or "git"
        rigged.point(where, f"git {verb}", may_fail=True)
        answer = execute(command)
        rigged.point(where, f"git {verb}", "after")
        return answer

    repository.execute = around


def _wrap_sqlite(rigged: _Rigged) -> None:
    class Connection(sqlite3.Connection):
        """Every statement that writes is a point."""

        def execute(self, sql: str, *rest: Any) -> Any:
            return _stated(rigged, sql, lambda: super(Connection, self).execute(sql, *rest))

        def executemany(self, sql: str, *rest: Any) -> Any:
            return _stated(rigged, sql, lambda: super(Connection, self).executemany(sql, *rest))

        def executescript(self, sql: str) -> Any:
            return _stated(rigged, "SCRIPT", lambda: super(Connection, self).executescript(sql))

    connect = sqlite3.connect

    def connected(*args: Any, **named: Any) -> Any:
        if "mode=ro" in str(args[0]):
            return connect(*args, **named)
        return connect(*args, factory=Connection, **named)

    sqlite3.connect = connected  # type: ignore[assignment]


def _stated(rigged: _Rigged, sql: str, do: Callable[[], Any]) -> Any:
    words = sql.split()
    if words[0] in {"SELECT", "WITH"} or (words[0] == "PRAGMA" and "=" not in words):
        return do()
    statement = " ".join(words[:3]) if words[0] in {"INSERT", "PRAGMA"} else " ".join(words[:2])
    where = where_from(sys._getframe(2)) or "sqlite"
    rigged.point(where, statement)
    rigged.sqlite_fault(statement)
    result = do()
    if words[0] in {"COMMIT", "SCRIPT"}:
        rigged.point(where, statement, "after")
    return result


def _wrap_fsync(rigged: _Rigged) -> None:
    fsync = os.fsync

    def around(fd: Any) -> None:
        where = where_from(sys._getframe(1)) or "somebody"
        rigged.point(where, "fsync", may_fail=True)
        fsync(fd)

    os.fsync = around


def share_of(point: str, of: int) -> int:
    """In which of several shares of all points one is, always the same."""
    return zlib.crc32(point.encode()) % of


def some_moment(chance: random.Random, longest: float) -> float:
    """A time to wait before a kill; short ones are more frequent, because more happens at the beginning."""
    return longest * chance.random() ** 2
