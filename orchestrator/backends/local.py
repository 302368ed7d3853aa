"""The executor on this machine: one supervisor for each run, and a folder through which everything goes.

A conversation with a run is files, so a new daemon takes it up by reading on.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import structlog
from anyio import to_thread

from orchestrator.backends import cgroups
from orchestrator.backends.machine import stat_of
from orchestrator.backends.process import (
    Started,
    ask_to_stop,
    live_supervisor,
    open_process,
    start_supervisor,
)
from orchestrator.backends.processtree import end_run, end_survivors
from orchestrator.backends.runfolder import (
    EXHAUSTED,
    Reports,
    append_once,
    exhausted,
    exit_of,
    failure_in,
    has_started,
    is_locked,
    last_beat,
    last_sign,
    supervisor_of,
    tail_of,
    token_of,
    waits_for_a_person,
    write_file,
)
from orchestrator.model.attempt import ExitWhy, ProcessId, RunExit, RunLife
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.ids import RunId
from orchestrator.ports import BeatSeen, ExitSeen, QuietSeen, RunSignal, RunSpec

READY_TIMEOUT_S = 30.0
ORPHAN_PATIENCE_S = 5.0  #: for a supervisor to notice that whoever started it is gone
LOOK_S = 0.25  #: how often reports are looked for
BUSY_LOOK_S = 0.02  #: the same when there is more to read at once
BEAT_IS_YOUNG_S = 30.0  #: as long as a supervisor takes for three
BEAT_WAIT_S = 12.0  #: within this a supervisor that works shows life, after the machine has slept too
CLOCK_SLACK_S = 5.0  #: so little ahead of our clock is no time in the future
LOST_PATIENCE_S = 1.0  #: between the end of a supervisor and the verdict that it left no record

log = structlog.get_logger(__name__)


class LocalExecutor:
    """Runs on this machine. Holds the go-bytes of supervisors that wait, and nothing else.

    Args:
        umask: of the programs; the daemon's own is too strict for files in a person's repository.
    """

    def __init__(self, *, umask: int = 0o022) -> None:
        self._umask = umask
        self._waiting: dict[RunId, Started] = {}
        self._ours: list[Started] = []
        self._limiter = anyio.CapacityLimiter(16)

    async def submit(self, spec: RunSpec) -> ProcessId:
        """Make the run folder and start its supervisor, which waits for `release`."""
        run_dir = Path(spec.run_dir)
        if spec.run_id not in self._waiting:
            # one that waits for a go-byte of a daemon that is gone notices soon, and is then started anew
            with anyio.move_on_after(ORPHAN_PATIENCE_S):
                while is_locked(run_dir / "lock") and not has_started(run_dir):
                    await anyio.sleep(BUSY_LOOK_S)
        with _in_words(f"run {spec.run_id} could not be started"):
            if await to_thread.run_sync(_is_to_be_made, run_dir, limiter=self._limiter):
                started, supervisor = await to_thread.run_sync(self._start, spec, limiter=self._limiter)
                self._waiting[spec.run_id] = started
                self._ours.append(started)
                return supervisor
            found = supervisor_of(run_dir)
        if found is None:
            raise OrchestratorError("a supervisor left no record of itself", fix=f"see {run_dir}")
        return found

    def _start(self, spec: RunSpec) -> tuple[Started, ProcessId]:
        """Raises: OrchestratorError, OSError; then nothing of the run is there that a second try would meet."""
        run_dir = Path(spec.run_dir)
        run_dir.mkdir(mode=0o700, parents=True)
        cgroup: Path | None = None
        try:
            for name, text in spec.files.items():
                write_file(run_dir / name, text)
            if spec.stdin != "none":
                write_file(run_dir / "input", spec.first)
            if spec.stdin == "closed":
                write_file(run_dir / "input.end", "")
            cgroup = cgroups.make_for(run_dir)
            content = {
                "argv": list(spec.argv),
                "cwd": spec.cwd,
                "env": dict(spec.env),
                "umask": self._umask,
                "stdin": spec.stdin,
                "timeout_s": spec.timeout_s,
                "grace_s": spec.grace_s,
                "output_limit_bytes": spec.output_limit_bytes,
                "secrets": list(spec.secrets),
                "token": spec.token,
                "nonce": secrets.token_hex(16),
                "cgroup": str(cgroup) if cgroup is not None else "",
            }
            write_file(run_dir / "spec.json", json.dumps(content))
            return start_supervisor(run_dir, timeout_s=READY_TIMEOUT_S)
        except BaseException as error:
            if cgroup is not None:
                cgroups.discard(cgroup)
            if not isinstance(error, OrchestratorError):  # else there may be a log of why it failed
                shutil.rmtree(run_dir, ignore_errors=True)
            raise

    async def release(self, run_id: RunId, run_dir: str) -> None:
        """Give the go-byte, if this daemon holds it."""
        started = self._waiting.pop(run_id, None)
        if started is not None:
            started.release()

    async def signals(
        self, run_id: RunId, run_dir: str, *, reports_from: int, quiet_after_s: float
    ) -> AsyncIterator[RunSignal]:
        """Reports, quiet spells, beats and the end of a run, from any daemon that ever watches it."""
        folder = Path(run_dir)
        with _in_words(f"run {run_id} could not be watched"):
            reports, quiet = Reports(folder, reports_from, token=token_of(folder)), False
            supervisor = await to_thread.run_sync(live_supervisor, folder, limiter=self._limiter)
            handle = open_process(supervisor) if supervisor is not None else None
        said, beat_due = "", 0.0
        try:
            while True:
                # looked at before reading: what was reported before the end must not be missed
                over = _has_ended(handle) if handle is not None else not is_locked(folder / "lock")
                more = True
                while more:
                    found, more = reports.read()
                    for report in found:
                        yield report
                    await anyio.sleep(BUSY_LOOK_S if more and not over else 0)
                if reports.trouble != said:
                    said = reports.trouble
                    log.warning("reports.disturbed", run=run_id, why=said)
                if over:
                    break
                if anyio.current_time() >= beat_due and _beats(folder):
                    beat_due = anyio.current_time() + BEAT_IS_YOUNG_S
                    yield BeatSeen()
                if (silent := _is_silent(folder, quiet_after_s)) is not quiet:
                    quiet = silent
                    yield QuietSeen(quiet=quiet)
                await _pause(handle)
        finally:
            if handle is not None:
                os.close(handle)
        if reports.skipped:
            log.warning("reports.skipped", run=run_id, lines=reports.skipped)
        if reports.foreign:
            log.warning("reports.foreign", run=run_id, lines=reports.foreign)
        self._waiting.pop(run_id, None)
        exit_ = await _final_record(folder)
        self._ours = [started for started in self._ours if not started.reap()]
        yield ExitSeen(exit=exit_, tail=tail_of(folder))

    async def send(self, run_id: RunId, run_dir: str, answer: Mapping[str, Any]) -> None:
        """Append one JSON line to the run's `answers` file, once."""
        line = json.dumps(dict(answer), sort_keys=True)
        await to_thread.run_sync(append_once, Path(run_dir) / "answers", line, limiter=self._limiter)

    async def stop(self, run_id: RunId, run_dir: str) -> None:
        """Ask the supervisor to end the whole tree; its end comes as `ExitSeen`."""
        waiting = self._waiting.pop(run_id, None)
        if waiting is not None:
            waiting.forget()
        with _in_words(f"run {run_id} could not be stopped"):
            await to_thread.run_sync(ask_to_stop, Path(run_dir), limiter=self._limiter)

    async def probe(self, run_id: RunId, run_dir: str) -> RunLife:
        """Whether the run's supervisor lives and works; waits for the next beat before it calls one silent."""
        until = anyio.current_time() + BEAT_WAIT_S
        while True:
            with _in_words(f"run {run_id} could not be looked at"):
                life, may_change = await to_thread.run_sync(_life_of, Path(run_dir), limiter=self._limiter)
            if not may_change or anyio.current_time() > until:
                return life
            await anyio.sleep(LOOK_S)

    async def kill(self, run_id: RunId, run_dir: str) -> tuple[int, ...]:
        """KILL the whole tree without the supervisor's help. Returns: what would not die."""
        waiting = self._waiting.pop(run_id, None)
        try:
            with _in_words(f"run {run_id} could not be ended"):
                left = await to_thread.run_sync(end_run, Path(run_dir), limiter=self._limiter)
        finally:
            if waiting is not None:  # not before: it would record that it never started
                waiting.forget()
        self._ours = [started for started in self._ours if not started.reap()]
        if left:
            log.error("run.undying", run=run_id, pids=left)
        return left


@contextlib.contextmanager
def _in_words(what: str) -> Iterator[None]:
    """Tell a person when the machine has no more descriptors, processes or memory."""
    try:
        yield
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise exhausted(what, error) from error
        raise


def _is_to_be_made(run_dir: Path) -> bool:
    """Whether a run has to be started; a folder in which nothing ever ran is put aside for that."""
    if not run_dir.exists():
        return True
    if is_locked(run_dir / "lock"):
        return False
    record = exit_of(run_dir)
    if (record is None and has_started(run_dir)) or (record is not None and record.why is not ExitWhy.NEVER_STARTED):
        return False  # over, or lost: who watches it will say so
    number = 1
    while (aside := run_dir.with_name(f"{run_dir.name}.unused-{number}")).exists():
        number += 1
    run_dir.rename(aside)
    return True


async def _pause(handle: int | None) -> None:
    """Wait a little, but not beyond the end of the supervisor."""
    with anyio.move_on_after(LOOK_S):
        if handle is None:
            await anyio.sleep_forever()
        else:
            await anyio.wait_readable(handle)


def _has_ended(handle: int) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(0))


def _beats(run_dir: Path) -> bool:
    """Whether whoever has the lock has shown life lately."""
    return -CLOCK_SLACK_S < time.time() - last_beat(run_dir) < BEAT_IS_YOUNG_S


def _life_of(run_dir: Path) -> tuple[RunLife, bool]:
    """What is seen of a supervisor, and whether that may be otherwise in a moment."""
    supervisor = live_supervisor(run_dir)
    if supervisor is None:
        return (RunLife.SILENT if is_locked(run_dir / "lock") else RunLife.GONE), False
    there = stat_of(supervisor.pid)
    if there is not None and there.state == "T":
        return RunLife.SILENT, False
    return (RunLife.ALIVE, False) if _beats(run_dir) else (RunLife.SILENT, True)


def _is_silent(run_dir: Path, quiet_after_s: float) -> bool:
    """Whether the run has shown no sign of life for so long; waiting for a person is not silence."""
    return time.time() - last_sign(run_dir) > quiet_after_s and not waits_for_a_person(run_dir)


async def _final_record(run_dir: Path) -> RunExit:
    """The exit record; LOST when there is none and nobody who could write it.

    Raises: OrchestratorError while something of the run lives on all the same.
    """
    with anyio.move_on_after(LOST_PATIENCE_S):
        while True:
            record = exit_of(run_dir)
            if record is not None:
                return record
            await anyio.sleep(0.05)
    left = await to_thread.run_sync(end_survivors, run_dir)
    if left:
        raise OrchestratorError(
            "a run is not over",
            why=f"its supervisor is gone, and processes {', '.join(map(str, left))} of it would not die",
            fix="end them, or what they wait for",
        )
    started = "" if has_started(run_dir) else ", before its program was started"
    failure = failure_in(run_dir)
    detail = f"its supervisor is gone and left no exit record{started}" + (f": {failure}" if failure else "")
    return RunExit(why=ExitWhy.LOST, detail=detail)
