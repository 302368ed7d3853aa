"""What `doctor` finds out about what has run here: the daemon, the ledger, the clock, what lies around."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator import __version__
from orchestrator.backends.clock import SystemClock
from orchestrator.backends.folderprobes import size_text
from orchestrator.backends.lock import DaemonLock
from orchestrator.backends.probes import Named
from orchestrator.backends.sqlite import SqliteReader, quick_check
from orchestrator.model.errors import NoDaemonError, NothingError
from orchestrator.model.place import Place
from orchestrator.model.probe import Grade, Probe

CHECK_WITHIN = timedelta(seconds=2)  #: for the structure of the ledger's file, and the chain of its events
SKEW = timedelta(minutes=2)  #: that a clock may go wrong without anybody being told
#: Before this no version of the program was there.
_FIRST = datetime.fromisoformat("2026-01-01T00:00:00+00:00")

Hello = Callable[[], Any]


def runs(place: Place, hello: Hello) -> Iterable[Named]:
    """
    Args:
        hello: asks the daemon who it is. Raises: NoDaemonError when it does not answer in time.
    """
    yield Named(name="daemon", probe=lambda: _daemon(place, hello))
    yield Named(name="ledger", probe=lambda: _ledger(place))
    yield Named(name="clock", probe=lambda: _clock(place))
    yield Named(name="leftovers", probe=lambda: _leftovers(place))


def _daemon(place: Place, hello: Hello) -> Probe:
    holder = DaemonLock.holder(place.daemon_lock)
    if holder is None:
        return Probe(name="daemon", said="none runs; `orchestrator start` starts one")
    pid = int(holder["pid"])
    try:
        answer = hello()
    except NoDaemonError as error:
        if pid and _state_of(pid) in {"T", "t"}:
            return Probe(
                name="daemon",
                grade=Grade.FAIL,
                said=f"pid {pid} is stopped (state T)",
                why="somebody sent it SIGSTOP or SIGTSTP, or a debugger holds it; agents go on, nobody looks at them",
                fix=f"kill -CONT {pid}",
            )
        return Probe(
            name="daemon",
            grade=Grade.FAIL,
            said=f"pid {pid} runs and does not answer",
            why=error.why or error.message,
            fix=f"look at {place.daemon_log}; kill {pid} ends it, agents go on and the next start takes them up"
            if pid
            else f"look at {place.daemon_log}",
        )
    if answer.version != __version__:
        return Probe(
            name="daemon",
            grade=Grade.WARN,
            said=f"pid {pid} is version {answer.version}, this command is {__version__}",
            why="it was started before the program was replaced",
            fix="orchestrator restart; agents go on meanwhile",
        )
    return Probe(name="daemon", said=f"pid {pid} answers, version {answer.version}")


def _state_of(pid: int) -> str:
    """The letter that the kernel has for what a process does; empty when it does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def _ledger(place: Place) -> Probe:
    try:
        complete = quick_check(place.ledger, CHECK_WITHIN)
    except NothingError:
        return Probe(name="ledger", said="none yet; nothing has run here")
    size = size_text(sum(part.stat().st_size for part in place.ledger.parent.glob(f"{place.ledger.name}*")))
    told = "whole" if complete else "whole as far as it was read; `orchestrator validate` reads all of it"
    return Probe(name="ledger", said=f"{size}, {told}")


def _clock(place: Place) -> Probe:
    now = SystemClock().now()
    try:
        reader = SqliteReader(place.ledger)
    except NothingError:
        last = None
    else:
        try:
            last = next((event.at for event in reader.events(last=1)), None)
        finally:
            reader.close()
    if last is not None and last > now + SKEW:
        return Probe(
            name="clock",
            grade=Grade.FAIL,
            said=f"it says {now:%Y-%m-%d %H:%M} UTC, and the newest event is of {last:%Y-%m-%d %H:%M} UTC",
            why="the clock was set back, so waits and time limits would last too long",
            fix="set the clock right",
        )
    if now < _FIRST:
        return Probe(
            name="clock",
            grade=Grade.FAIL,
            said=f"it says {now:%Y-%m-%d %H:%M} UTC",
            why="that is before this program was made",
            fix="set the clock right",
        )
    return Probe(name="clock", said=f"{now:%Y-%m-%d %H:%M} UTC")


def _leftovers(place: Place) -> Probe:
    """Folders of attempts that no plan in the ledger knows; without a ledger, the trash too."""
    there = _folders(place, "[!.]*/*")
    if not place.ledger.exists():
        there |= _folders(place, ".spare/*") | _folders(place, ".trash/*/*")
    if not there:
        return Probe(name="leftovers", said="none")
    try:
        reader = SqliteReader(place.ledger)
    except NothingError:
        known = set()
    else:
        try:
            known = {attempt["id"] for task in reader.rows("task") for attempt in task["history"]}
        finally:
            reader.close()
    # trees of checks come and go, and their names begin with a tilde
    unknown = [path for path in there if str(path.relative_to(place.worktrees)) not in known and path.name[0] != "~"]
    if not unknown:
        return Probe(name="leftovers", said="none")
    return Probe(
        name="leftovers",
        grade=Grade.WARN,
        said=f"{len(unknown)} in {place.worktrees} that the ledger does not know",
        why="another repository or an older ledger left them; they take room, and may hold work",
        fix="look into them (`orchestrator worktree list --all`), and remove what you do not need",
    )


def _folders(place: Place, pattern: str) -> set[Path]:
    return {path for path in place.worktrees.glob(pattern) if path.is_dir() and not path.is_symlink()}
