"""Ends everything that belongs to a run, without the help of its supervisor and without ever hitting a stranger.

What belongs to a run: what is in its cgroup, what descends from its supervisor (orphans come to it, so even one that
cleared its environment and went away twice is found), and what has the run folder in its environment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.backends import cgroups
from orchestrator.backends.machine import holds_lock, stat_of
from orchestrator.backends.process import (
    HAS_HANDLES,
    LINUX,
    live_supervisor,
    not_seen,
    open_process,
    parents,
    processes,
    signal_process,
)
from orchestrator.backends.runfolder import is_locked
from orchestrator.backends.supervisor import cgroup_members, descendants, kill_cgroup, remove_cgroup
from orchestrator.model.attempt import ProcessId
from orchestrator.model.errors import OrchestratorError

PATIENCE_S = 5.0  #: for what has been killed to be gone
SUSPENDING_S = 0.5  #: for a supervisor to stand still
TIDYING_S = 0.02  #: for a supervisor to take note of those that ended
LOOKS = 2  #: so often nothing may be found, and nothing have ended meanwhile, before we believe it
BLIND_LOOKS = 6  #: the same when nobody keeps those that ended for us to see
STRIKES = 50
LITTER = 1000  #: ended processes that nobody has taken note of; the machine has not many thousands of numbers to give


def end_run(run_dir: Path) -> tuple[int, ...]:
    """KILL the whole tree of a run, its supervisor last. Blocks; for worker threads.

    Returns: the processes that would not die. Then the supervisor is left alone, for without it nobody would know
    when they end.
    Raises: OrchestratorError when the run's folder stays locked and nobody is seen who does that.
    """
    supervisor = live_supervisor(run_dir)
    left = () if supervisor is None else _end_below(supervisor, run_dir)
    if not left:
        left = end_survivors(run_dir)
    if not left and is_locked(run_dir / "lock"):
        left = tuple(sorted(pid for pid in processes() if holds_lock(pid, run_dir / "lock")))
        if not left and is_locked(run_dir / "lock"):
            raise OrchestratorError(
                "it cannot be told whether a run is over",
                why="its folder is locked by a process that cannot be seen from here, in another container perhaps",
                fix=f"end whatever holds {run_dir / 'lock'}",
            )
    return left


def end_survivors(run_dir: Path) -> tuple[int, ...]:
    """KILL what is left of a run whose supervisor is gone, so that nothing writes any more when its work is taken.

    Returns: the processes that would not die.
    """
    return _end(_Tree(run_dir, None))


class _Tree:
    """The processes of a run, as they are at each moment.

    Args:
        supervisor: suspended, so that those below it stay there; None when it is gone.
    """

    def __init__(self, run_dir: Path, supervisor: ProcessId | None) -> None:
        self._mark = b"\0ORCHESTRATOR_RUN=" + os.fsencode(run_dir) + b"\0"
        self._supervisor = supervisor.pid if supervisor is not None else None
        self._ended: set[int] = set()  #: below the supervisor; it is suspended and so does not take note of them
        self.looks = BLIND_LOOKS if supervisor is None else LOOKS
        # one that we are in ourselves would be our end: the daemon was started by an agent then
        self.cgroups = [path for path in cgroups.of_run(run_dir) if os.getpid() not in cgroup_members(str(path))]

    def members(self) -> set[int]:
        """Every process of the run that lives, the supervisor and ourselves excepted."""
        found = {pid for pid in processes() if self._is_marked(pid)}
        for path in self.cgroups:
            found.update(cgroup_members(str(path)))
        if self._supervisor is not None:
            found.update(descendants(self._supervisor), _below(self._supervisor))
        return {pid for pid in found - {os.getpid(), self._supervisor} if _lives(pid)}

    def ended(self) -> int:
        """How many processes of the run have ended under our eyes; more, when one renews itself unseen."""
        if self._supervisor is not None:
            self._ended.update(pid for pid in descendants(self._supervisor) if not _lives(pid))
        return len(self._ended)

    @property
    def is_littered(self) -> bool:
        """Whether the suspended supervisor has to be let take note of those that ended."""
        return len(self._ended) > LITTER

    def tidied(self) -> None:
        self._ended.clear()

    def strike(self) -> None:
        """KILL what has come to the supervisor, quicker than it can start another and end."""
        for _ in range(STRIKES):
            found = [] if self._supervisor is None else list(descendants(self._supervisor))
            if not (fresh := [pid for pid in found if pid not in self._ended]) or self.is_littered:
                return
            for pid in fresh:
                there = stat_of(pid)
                if there is None or there.state in "ZX":
                    self._ended.add(pid)
                elif there.parent == self._supervisor and pid != os.getpid():
                    _kill(pid, lambda pid: (now := stat_of(pid)) is not None and now.parent == self._supervisor)

    def has(self, pid: int) -> bool:
        """Whether that process belongs to the run now."""
        if self._is_marked(pid) or any(pid in cgroup_members(str(path)) for path in self.cgroups):
            return True
        seen: set[int] = set()
        while self._supervisor is not None and pid > 1 and pid not in seen:
            seen.add(pid)
            there = stat_of(pid)
            if there is None:
                return not LINUX  # nothing tells there; it was listed a moment ago
            if there.parent == self._supervisor:
                return True
            pid = there.parent
        return False

    def _is_marked(self, pid: int) -> bool:
        try:
            return self._mark in b"\0" + Path(f"/proc/{pid}/environ").read_bytes() + b"\0"
        except OSError as error:
            return not_seen(error)


def _end(tree: _Tree, tidy: Callable[[], None] = lambda: None) -> tuple[int, ...]:
    """KILL until nothing is found any more. Returns: what would not die.

    Args:
        tidy: has note taken of those that ended, so that their numbers are free again.
    """
    until, pause, empty, ended = time.monotonic() + PATIENCE_S, 0.001, 0, 0
    while True:
        for path in tree.cgroups:
            kill_cgroup(str(path))
        tree.strike()
        if tree.is_littered:
            tidy()
            tree.tidied()
            empty = ended = 0
        left, before, ended = tree.members(), ended, tree.ended()
        empty = 0 if left or ended != before else empty + 1
        if empty == tree.looks:
            for path in tree.cgroups:
                remove_cgroup(str(path))
            return ()
        for pid in left:
            _kill(pid, tree.has)
        if time.monotonic() > until:
            return tuple(sorted(left))
        time.sleep(pause)
        pause = min(0.1, 1.5 * pause)


def _kill(pid: int, is_ours: Callable[[int], bool]) -> None:
    """KILL a process if it is one of the run's, asked when the number cannot become another's any more."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if not HAS_HANDLES:
            if is_ours(pid):
                os.kill(pid, signal.SIGKILL)
            return
        handle = os.pidfd_open(pid)
        try:
            if is_ours(pid):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)


def _end_below(supervisor: ProcessId, run_dir: Path) -> tuple[int, ...]:
    """KILL what a supervisor looks after, and then itself. Returns: what would not die; then it goes on."""
    handle = open_process(supervisor)  # held to the end: one that is suspended must be told to go on, come what may
    if handle is None and HAS_HANDLES:
        return ()  # it has gone meanwhile

    def tell(number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            if handle is not None:
                signal.pidfd_send_signal(handle, number)
            else:
                signal_process(supervisor, number)

    def suspend() -> None:
        tell(signal.SIGSTOP)  # it would start, take note of an end, or record something meanwhile
        _wait_for(lambda: (there := stat_of(supervisor.pid)) is None or there.state in "TZ", SUSPENDING_S)

    def tidy() -> None:
        tell(signal.SIGCONT)
        time.sleep(TIDYING_S)
        suspend()

    gone = False
    try:
        suspend()
        left = _end(_Tree(run_dir, supervisor), tidy)
        if not left:
            tell(signal.SIGKILL)
            gone = _wait_for(lambda: not _lives(supervisor.pid), PATIENCE_S)
            left = () if gone else (supervisor.pid,)
    finally:
        if not gone:
            tell(signal.SIGCONT)
        if handle is not None:
            os.close(handle)
    return left


def _wait_for(is_so: Callable[[], bool], within_s: float) -> bool:
    until = time.monotonic() + within_s
    while not (done := is_so()) and time.monotonic() < until:
        time.sleep(0.001)
    return done


def _lives(pid: int) -> bool:
    """Whether a process runs; one that only waits for its parent to look does not."""
    there = stat_of(pid)
    return not LINUX if there is None else there.state not in "ZX"


def _below(pid: int) -> set[int]:
    """Every process that descends from that one, worked out from everybody's parent."""
    everybody, found = parents(), {pid}
    while more := {child for child, parent in everybody.items() if parent in found} - found:
        found |= more
    return found - {pid}
