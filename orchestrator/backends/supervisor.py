"""The parent of one supervised run: it owns the whole process tree, outlives the daemon and leaves an exit record.

`python -I -S supervisor.py RUN_DIR`, standard library only, one thread. On its stdin comes one byte, "go"; on its
stdout it says "ready" once. What it reads and writes in RUN_DIR:

| file | what |
|---|---|
| `spec.json` | what to run; read once, then written again without the values of the environment and the secrets |
| `lock` | locked (flock) for as long as this process lives; its time moves on while it works (a beat) |
| `meta.json` | who supervises, whether the program was started, its process and its cgroup |
| `input`, `input.end` | copied to the program's stdin; the second closes it |
| `output` | what the program wrote, capped, with literal secrets masked |
| `waiting` | locked by `orch-agent` while it waits for a person; the time limit stands still meanwhile |
| `exit.json` | how it ended; written when nothing of the process tree is left |

SIGTERM stops the run: TERM to the tree, the grace, then KILL to every descendant until there is none. Where the daemon
made a cgroup for the run, the program is put into it, and KILL goes to the cgroup too.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False  # importing `typing` would cost every run some milliseconds
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

LINUX = sys.platform == "linux"
IN_USE, USED, BROKEN = 3, 4, 70  #: our exit statuses: locked by another; has run before; our bug

CHUNK = 64 * 1024
DRAIN_CHUNKS = 64  #: more than any pipe holds
TAIL = 4096  #: of what is dropped, so much of the end is shown after all: errors stand there
LOCK_WAIT_S = 0.5  #: those who only look hold the lock for an instant
BEAT_S = 10.0  #: how often we show life
LOOK_S = 1.0  #: how often we look whether the program waits for a person
INPUT_S = 0.2  #: how often we look for more input while it is open
LINGER_S = 1.0  #: what a program leaves behind may end by itself for so long
#: What says nothing about a file, but that none can be opened just now.
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
MASK = b"[secret]"
OUTSIDE = b"\0"  #: the program's word that it could not enter its cgroup
CGROUP_KILL = "cgroup.kill"
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process, where the system has such a thing."""
    if LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


# ---- files ----


def write_record(name: str, data: dict[str, Any], *, durable: bool = True) -> None:
    """Write a JSON file in one piece: after a crash there is the old one or the new one."""
    new = f".{name}.new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(fd, "w", encoding="ascii") as file:
        json.dump(data, file)
        file.flush()
        if durable:
            os.fsync(fd)
    os.replace(new, name)
    if durable:
        folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def is_locked(name: str) -> bool:
    """Whether somebody holds a lock on that file; yes while that cannot be seen, for then nobody is to be hurried."""
    try:
        fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        return error.errno in EXHAUSTED
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(fd)


def take_lock() -> int | None:
    """Lock the run folder until this process ends. Returns: the file; None when another supervisor has it."""
    fd = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    until = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            if time.monotonic() > until:
                return None
            time.sleep(0.02)


class Beat:
    """Shows that this process does its work: the time of the lock file moves on."""

    def __init__(self, lock: int) -> None:
        self._lock = lock
        self._due = 0.0

    def give(self) -> float:
        """Show life if it is time. Returns: seconds until it is time again."""
        now = time.monotonic()
        if now >= self._due:
            with contextlib.suppress(OSError):  # a disk that fails is not our end
                os.utime(self._lock)
            self._due = now + BEAT_S
        return self._due - now


# ---- processes ----


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 where the system does not tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rsplit(b")", 1)[1].split()[19])
    except OSError:
        return 0


def boot_id() -> str:
    """The name of this boot of the machine; empty where the system does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def descendants(pid: int) -> Iterator[int]:
    """Every process below that one, parents first; of each thread, for it is the thread that has children."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                children = [int(word) for word in file.read().split()]
        except OSError:
            continue
        for child in children:
            yield child
            yield from descendants(child)


def signal_tree(group: int, *signals: int) -> None:
    """Send signals to everything that descends from us; where the system cannot list that, to the program's group."""
    for number in signals:
        if LINUX:
            for pid in list(descendants(os.getpid())):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
        elif group:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)


# ---- cgroups (version 2) ----


def tell_cgroup(path: str, name: str, value: str) -> None:
    """Write to a file of a cgroup."""
    fd = os.open(f"{path}/{name}", os.O_WRONLY)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def cgroup_members(path: str) -> list[int]:
    """The processes in a cgroup and in those below it."""
    found: list[int] = []
    for folder, _, _ in os.walk(path):
        with contextlib.suppress(OSError), open(f"{folder}/cgroup.procs", "rb") as file:
            found += map(int, file.read().split())
    return found


def is_populated(path: str) -> bool:
    """Whether something lives in a cgroup or below it."""
    try:
        with open(f"{path}/cgroup.events", "rb") as file:
            return b"populated 1" in file.read()
    except OSError:
        return False


def kill_cgroup(path: str) -> None:
    """KILL everything in a cgroup and below it."""
    if os.path.exists(f"{path}/{CGROUP_KILL}"):
        with contextlib.suppress(OSError):
            tell_cgroup(path, CGROUP_KILL, "1")
        return
    with contextlib.suppress(OSError):  # before Linux 5.14: nothing forks meanwhile; what is frozen dies all the same
        tell_cgroup(path, "cgroup.freeze", "1")
    for pid in cgroup_members(path):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(OSError):
        tell_cgroup(path, "cgroup.freeze", "0")


def remove_cgroup(path: str) -> None:
    """Remove an empty cgroup and those below it."""
    for folder, _, _ in os.walk(path, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)


class Signals:
    """What has been signalled to us: `wake` becomes readable, and SIGTERM is remembered."""

    def __init__(self) -> None:
        self.stop_asked = False
        self.wake, told = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(told, False)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)

    def _stop(self, *_: object) -> None:
        self.stop_asked = True

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake, CHUNK)


# ---- output ----


class Masker:
    """Takes literal secrets out of a stream, wherever it is cut into chunks.

    A value of fewer than 4 bytes is left alone, for masking it would hide the output. Of a value with several lines
    each longer line is a secret too.
    """

    def __init__(self, secrets: list[str]) -> None:
        values = {part for secret in secrets for part in (secret, *(s for s in secret.splitlines() if len(s) >= 8))}
        self._secrets = [raw for raw in (value.encode("utf-8", "surrogateescape") for value in values) if len(raw) >= 4]
        self._longest = max(map(len, self._secrets), default=0)
        self._held = b""  #: the end of the stream so far, when it may be the beginning of a secret
        self._covered = 0  #: bytes at its beginning that belong to a secret whose mask is already written

    def feed(self, data: bytes, *, last: bool = False) -> bytes:
        """What may be shown of the stream so far unseen."""
        if not self._secrets:
            return data
        data = self._held + data
        spans = self._spans(data)
        until = len(data) if last else self._doubtful_from(data)
        shown, at, covered = [], 0, max(0, self._covered - until)
        for start, end in spans:
            if start >= until:
                break
            shown.append(data[at:start])
            if not (start == 0 and self._covered):
                shown.append(MASK)
            at, covered = min(end, until), max(0, end - until)
        shown.append(data[at:until])
        self._held, self._covered = data[until:], covered
        return b"".join(shown)

    def _spans(self, data: bytes) -> list[tuple[int, int]]:
        """Where secrets are, in order; those that overlap are one span."""
        found = [(0, self._covered)] if self._covered else []
        for secret in self._secrets:
            at = data.find(secret)
            while at >= 0:
                found.append((at, at + len(secret)))
                at = data.find(secret, at + 1)
        merged: list[tuple[int, int]] = []
        for start, end in sorted(found):
            if merged and start < merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], end))
            else:
                merged.append((start, end))
        return merged

    def _doubtful_from(self, data: bytes) -> int:
        """The first place from which the rest of the data may be the beginning of a secret."""
        first = len(data)
        for secret in self._secrets:
            at = data.find(secret[:1], max(0, len(data) - len(secret) + 1))
            while 0 <= at < first:
                if secret.startswith(data[at:]):
                    first = at
                    break
                at = data.find(secret[:1], at + 1)
        return first


class Output:
    """The capped `output` file. Never refuses anything: what it cannot keep it counts."""

    def __init__(self, limit: int, secrets: list[str]) -> None:
        self._limit = limit
        self._room = limit
        self._masker = Masker(secrets)
        self._tail = b""
        self.dropped = 0
        self.trouble = ""  #: why it could not be written
        try:
            self._fd = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        except OSError as error:  # the program runs all the same
            self._fd, self._room = -1, 0
            self.trouble = f"the output could not be written: {error.strerror}"

    def write(self, data: bytes, *, last: bool = False) -> None:
        """Keep a chunk of what the program wrote."""
        data = self._masker.feed(data, last=last)
        kept = data[: self._room]
        written = self._append(kept)
        self._room -= written
        if written < len(kept):
            self._room = 0  # the file ends here, so that it never has a hole
        if written < len(data):
            self.dropped += len(data) - written
            self._tail = (self._tail + data[written:])[-TAIL:]

    def close(self) -> None:
        """Write what was held back and, if something was dropped, say so and show its end."""
        self.write(b"", last=True)
        if self.dropped:
            shown = len(self._tail)
            self.dropped -= shown
            note = f"\n[orchestrator: {self.dropped} bytes dropped here, output is kept up to {self._limit} bytes"
            note += f"; the last {shown} bytes were]\n"
            if self._append(note.encode() + self._tail + b"\n") == 0:
                self.dropped += shown
        if self._fd >= 0:
            os.close(self._fd)

    def _append(self, data: bytes) -> int:
        done = 0
        try:
            while self._fd >= 0 and done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError as error:
            self.trouble = f"the output could not be written: {error.strerror}"
        return done


# ---- the run ----


class NotStarted(Exception):
    """The program could not be started; says why."""


class Run:
    """One program and everything that descends from it."""

    def __init__(self, spec: dict[str, Any], meta: dict[str, Any], signals: Signals, beat: Beat) -> None:
        self._spec = spec
        self._meta = meta
        self._signals = signals
        self._beat = beat
        self._cgroup: str = spec.get("cgroup", "")  #: empty: it is in none of its own
        self._poll = select.poll()
        self._poll.register(signals.wake, select.POLLIN)
        self._output = Output(spec["output_limit_bytes"], spec["secrets"])
        self._source = -1  #: the program's output, to be read; -1: over
        self._sink = -1  #: the program's input, to be written; -1: over
        self._pending = b""
        self._copied = 0  #: bytes of `input` that were read
        self._group = 0
        self._status: int | None = None  #: of the program; None while it runs
        self._why = "exit"
        self._kill_at: float | None = None  #: None until the tree has been asked to end
        self._kill_pause = 0.02
        self._killed: set[int] = set()
        self._used = 0.0  #: seconds of the time limit
        self._looked_at = 0.0

    def start(self) -> None:
        """Start the program. Raises: NotStarted."""
        try:
            given, sink = (os.open(os.devnull, os.O_RDONLY), -1) if self._spec["stdin"] == "none" else os.pipe()
            source, written = os.pipe()
            trouble, told = os.pipe()
            supervisor = os.getpid()
            self._group = os.fork()
        except OSError as error:
            self._leave_cgroup()
            self._output.close()
            raise NotStarted(f"cannot start '{self._spec['argv'][0]}': {error.strerror}") from error
        if self._group == 0:
            become(self._spec, supervisor, given, written, told)
        for fd in (given, written, told):
            os.close(fd)
        with open(trouble, "rb") as file:  # ends when the program runs, or could not
            said = file.read()
        if said.startswith(OUTSIDE):
            self._leave_cgroup()
        why = said.removeprefix(OUTSIDE).decode(errors="replace")
        if why:
            os.waitpid(self._group, 0)
            self._leave_cgroup()
            self._output.close()
            raise NotStarted(why)
        self._source, self._sink = source, sink
        os.set_blocking(source, False)
        self._poll.register(source, select.POLLIN)
        if sink >= 0:
            os.set_blocking(sink, False)
        self._looked_at = time.monotonic()
        self._meta["agent"] = {"pid": self._group, "start_time": start_time(self._group)}
        self._meta["cgroup"] = self._cgroup or None
        with contextlib.suppress(OSError):  # nobody depends on it
            write_record("meta.json", self._meta, durable=False)

    def attend(self) -> dict[str, Any]:
        """Keep the program's pipes moving and its time until nothing of it is left. Returns: the exit record."""
        while not self._all_gone():
            now = time.monotonic()
            self._beat.give()
            self._keep_time(now)
            self._end_tree(now)
            self._copy_input()
            for fd, _ in self._poll.poll(self._pause(now) * 1000):
                if fd == self._signals.wake:
                    self._signals.clear()
                elif fd == self._source:
                    self._copy_output()
        if not LINUX:
            signal_tree(self._group, signal.SIGKILL)  # orphans do not come to us there
        self._leave_cgroup()
        for _ in range(DRAIN_CHUNKS):  # not until its end: somebody outside the tree may hold the pipe too
            if self._source < 0 or not self._copy_output():
                break
        self._output.close()
        assert self._status is not None
        code = os.waitstatus_to_exitcode(self._status)
        return exit_record(self._why, code, self._output.dropped, self._detail(code))

    def _detail(self, code: int) -> str:
        said = []
        if self._why == "timeout":
            said.append(f"it ran longer than its time limit of {self._spec['timeout_s']:g} s")
        elif code < 0:
            said.append(f"ended by signal {-code} ({signal.strsignal(-code)})")
        if self._output.trouble:
            said.append(self._output.trouble)
        return "; ".join(said)

    def _all_gone(self) -> bool:
        """Take the exit status of every process that ended. Orphans of the tree come to us, so none is forgotten."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self._group:
                self._status = status

    def _keep_time(self, now: float) -> None:
        """Count the time that passed, unless the program waited for a person."""
        left = self._spec["timeout_s"] - self._used
        if self._status is None and now - self._looked_at >= min(LOOK_S, left, self._spec["timeout_s"] / 10):
            if not is_locked("waiting"):
                self._used += now - self._looked_at
            self._looked_at = now

    def _end_tree(self, now: float) -> None:
        """Ask the tree to end when it is time, and kill it when it does not."""
        if self._kill_at is None:
            wait = self._spec["grace_s"]
            if self._status is not None:
                wait = min(wait, LINGER_S)
            elif self._signals.stop_asked:
                self._why = "stopped"
            elif self._used >= self._spec["timeout_s"]:
                self._why = "timeout"
            else:
                return
            signal_tree(self._group, signal.SIGTERM, signal.SIGCONT)  # what is suspended cannot hear otherwise
            self._kill_at = now + wait
        if self._status is not None:
            self._kill_at = min(self._kill_at, now + LINGER_S)
        if now >= self._kill_at:
            if self._cgroup:
                kill_cgroup(self._cgroup)
            found = set(descendants(os.getpid()))
            signal_tree(self._group, signal.SIGKILL)
            # what grows while it is killed is gone after at once; what does not die is left in peace for longer
            self._kill_pause = 0.005 if found - self._killed else min(1.0, 2 * self._kill_pause)
            self._killed |= found
            self._kill_at = now + self._kill_pause

    def _pause(self, now: float) -> float:
        """Seconds until something has to be done, if nothing happens."""
        due = [LOOK_S]
        if self._kill_at is not None:
            due.append(self._kill_at - now)
        elif self._status is None:
            timeout = self._spec["timeout_s"]
            due.append(self._looked_at + min(LOOK_S, timeout - self._used, timeout / 10) - now)
        if self._sink >= 0 and not self._pending:
            due.append(INPUT_S)
        return max(0.001, min(due))

    def _leave_cgroup(self) -> None:
        """End what is in the run's cgroup without being below us, and remove it."""
        if self._cgroup:
            until = time.monotonic() + LINGER_S
            while is_populated(self._cgroup) and time.monotonic() < until:
                kill_cgroup(self._cgroup)
                time.sleep(0.005)
            remove_cgroup(self._cgroup)
            self._cgroup = ""

    def _copy_output(self) -> bool:
        """Keep one chunk of output. Returns: whether there was any."""
        try:
            data = os.read(self._source, CHUNK)
        except BlockingIOError:
            return False
        if data:
            self._output.write(data)
            return True
        self._poll.unregister(self._source)
        os.close(self._source)
        self._source = -1
        return False

    def _copy_input(self) -> None:
        """Give the program what it takes of its input, without ever waiting for it."""
        while self._sink >= 0:
            if not self._pending:
                over = os.path.exists("input.end")  # looked at first: what was written before it must not be missed
                more = self._more_input()
                self._pending = more or b""
                if not more:
                    if over and more is not None:
                        self._close_input()
                    return
            try:
                self._pending = self._pending[os.write(self._sink, self._pending) :]
            except BlockingIOError:
                self._poll.register(self._sink, select.POLLOUT)
                return
            except OSError:  # the program does not want it, which is its own affair
                self._close_input()
                return
            with contextlib.suppress(KeyError):
                self._poll.unregister(self._sink)

    def _more_input(self) -> bytes | None:
        """What has been added to the input; None when it cannot be seen just now."""
        try:
            fd = os.open("input", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            return None if error.errno in EXHAUSTED else b""
        try:
            data = os.pread(fd, CHUNK, self._copied)
        except OSError:
            return b""
        finally:
            os.close(fd)
        self._copied += len(data)
        return data

    def _close_input(self) -> None:
        with contextlib.suppress(KeyError):
            self._poll.unregister(self._sink)
        os.close(self._sink)
        self._sink, self._pending = -1, b""


def become(spec: dict[str, Any], supervisor: int, given: int, written: int, told: int) -> NoReturn:
    """Turn this forked process into the program; what hinders that is written to `told`."""
    step = f"cannot start '{spec['argv'][0]}'"
    try:
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(127)
        if spec.get("cgroup"):
            try:
                tell_cgroup(spec["cgroup"], "cgroup.procs", "0")
            except OSError:  # it runs all the same, and its tree is ended without
                os.write(told, OUTSIDE)
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals():
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)  # what is ignored would stay ignored in the program
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        for standard, fd in enumerate((given, written, written)):
            os.dup2(fd, standard)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("500")  # when memory runs out, the program goes before its supervisor
        os.umask(spec.get("umask", 0o022))
        step = f"cannot enter the folder {spec['cwd']}"
        os.chdir(spec["cwd"])
        step = f"cannot start '{spec['argv'][0]}'"
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])
    except OSError as error:
        why = error.strerror
        if error.errno == errno.E2BIG:
            why = "its arguments are too long for the system; give the text by stdin or by a file"
        elif error.errno == errno.ENOENT and step.startswith("cannot start") and "/" not in spec["argv"][0]:
            why = f"no such program on the PATH ({spec['env'].get('PATH', '')})"
        os.write(told, f"{step}: {why}".encode(errors="replace"))
    except BaseException as error:
        os.write(told, f"{step}: {error}".encode(errors="replace"))
    finally:
        os._exit(127)


def exit_record(why: str, code: int | None = None, dropped: int = 0, detail: str = "") -> dict[str, Any]:
    return {"why": why, "code": code, "dropped_bytes": dropped, "detail": detail}


def insist(name: str, record: dict[str, Any], beat: Beat, signals: Signals | None = None) -> bool:
    """Write a record, however long the disk is full.

    Returns: whether it stands there; not when the folder is gone or, with `signals`, when we are to stop meanwhile.
    """
    while signals is None or not signals.stop_asked:
        try:
            write_record(name, record)
            return True
        except FileNotFoundError:
            return False
        except OSError:
            beat.give()
            time.sleep(1)
    return False


def go_given(signals: Signals, beat: Beat) -> bool:
    """Wait for the go-byte. False: whoever started us went away, or does not want it any more."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(signals.wake, select.POLLIN)
    while not signals.stop_asked:
        if any(fd == 0 for fd, _ in poll.poll(beat.give() * 1000)):
            return os.read(0, 1) != b""
        signals.clear()
    return False


def hush(fd: int) -> None:
    """Put nothing in the place of what we were started with."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, fd)
    os.close(nothing)


def detach(run_dir: str) -> None:
    """Keep nothing of whoever started us but the two pipes; their terminal and folders are not ours."""
    os.chdir(run_dir)
    with contextlib.suppress(OSError):
        os.setsid()
    os.closerange(3, 65536)
    hush(2)
    os.umask(0o077)


def supervise() -> int:
    """From the lock to the exit record, in the run folder. Returns: the exit status."""
    signals = Signals()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    lock = take_lock()
    if lock is None:
        return IN_USE
    beat = Beat(lock)
    if os.path.exists("meta.json") or os.path.exists("exit.json"):
        return USED
    with open("spec.json", encoding="ascii") as file:
        spec = json.load(file)
    public = spec | {"env": sorted(spec["env"]), "secrets": len(spec["secrets"])}
    write_record("spec.json", public, durable=False)
    me = {"pid": os.getpid(), "start_time": start_time(os.getpid()), "boot_id": boot_id()}
    meta: dict[str, Any] = {"supervisor": me, "nonce": spec.get("nonce", ""), "started": False, "agent": None}
    write_record("meta.json", meta, durable=False)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    with contextlib.suppress(OSError):
        os.write(1, b"ready\n")
    hush(1)
    if not go_given(signals, beat):
        return never_started(spec, beat)
    hush(0)
    meta["started"] = True
    if not insist("meta.json", meta, beat, signals):  # before the program: nobody may think that it never ran
        return never_started(spec, beat)
    run = Run(spec, meta, signals, beat)
    try:
        run.start()
    except NotStarted as error:
        insist("exit.json", exit_record("not_found", detail=str(error)), beat)
    else:
        insist("exit.json", run.attend(), beat)
    return 0


def never_started(spec: dict[str, Any], beat: Beat) -> int:
    """Leave the record of a program that was not wanted any more. Returns: the exit status."""
    remove_cgroup(spec.get("cgroup", ""))
    insist("exit.json", exit_record("never_started"), beat)
    return 0


def main(run_dir: str) -> int:
    detach(run_dir)
    try:
        return supervise()
    except BaseException:
        signal_tree(0, signal.SIGKILL)
        import traceback

        with contextlib.suppress(OSError), open("supervisor.log", "a", encoding="utf-8") as log:
            traceback.print_exc(file=log)
        return BROKEN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
