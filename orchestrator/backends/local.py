"""The executor on this machine: one supervisor for each run, and a folder through which everything goes.

A conversation with a run is files, so a new daemon takes it up by reading on.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import structlog
from anyio import to_thread

from orchestrator.backends.process import (
    Started,
    ask_to_stop,
    end_survivors,
    live_supervisor,
    open_process,
    start_supervisor,
)
from orchestrator.backends.runfolder import (
    Reports,
    append_once,
    exit_of,
    has_started,
    is_locked,
    last_sign,
    supervisor_of,
    tail_of,
    waits_for_a_person,
    write_file,
)
from orchestrator.model.attempt import ExitWhy, ProcessId, RunExit, RunLife
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.ids import RunId
from orchestrator.ports import ExitSeen, QuietSeen, RunSignal, RunSpec

READY_TIMEOUT_S = 30.0
ORPHAN_PATIENCE_S = 5.0  #: for a supervisor to notice that whoever started it is gone
LOOK_S = 0.25  #: how often reports are looked for
BUSY_LOOK_S = 0.02  #: the same when there is more to read at once
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
        if await to_thread.run_sync(_is_to_be_made, run_dir, limiter=self._limiter):
            started = await to_thread.run_sync(self._start, spec, limiter=self._limiter)
            self._waiting[spec.run_id] = started
            self._ours.append(started)
        supervisor = supervisor_of(run_dir)
        if supervisor is None:
            raise OrchestratorError("a supervisor left no record of itself", fix=f"see {run_dir}")
        return supervisor

    def _start(self, spec: RunSpec) -> Started:
        run_dir = Path(spec.run_dir)
        run_dir.mkdir(mode=0o700, parents=True)
        for name, text in spec.files.items():
            write_file(run_dir / name, text)
        if spec.stdin != "none":
            write_file(run_dir / "input", spec.first)
        if spec.stdin == "closed":
            write_file(run_dir / "input.end", "")
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
        }
        write_file(run_dir / "spec.json", json.dumps(content))
        return start_supervisor(run_dir, timeout_s=READY_TIMEOUT_S)

    async def release(self, run_id: RunId, run_dir: str) -> None:
        """Give the go-byte, if this daemon holds it."""
        started = self._waiting.pop(run_id, None)
        if started is not None:
            started.release()

    async def signals(
        self, run_id: RunId, run_dir: str, *, reports_from: int, quiet_after_s: float
    ) -> AsyncIterator[RunSignal]:
        """Reports, quiet spells and the end of a run, from any daemon that ever watches it."""
        folder = Path(run_dir)
        reports, quiet = Reports(folder, reports_from), False
        supervisor = await to_thread.run_sync(live_supervisor, folder, limiter=self._limiter)
        handle = open_process(supervisor) if supervisor is not None else None
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
                if over:
                    break
                if (silent := _is_silent(folder, quiet_after_s)) is not quiet:
                    quiet = silent
                    yield QuietSeen(quiet=quiet)
                await _pause(handle)
        finally:
            if handle is not None:
                os.close(handle)
        if reports.skipped:
            log.warning("reports.skipped", run=run_id, lines=reports.skipped)
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
        await to_thread.run_sync(ask_to_stop, Path(run_dir), limiter=self._limiter)

    async def probe(self, run_id: RunId, run_dir: str) -> RunLife:
        """Whether a supervisor of ours holds the run's lock."""
        alive = await to_thread.run_sync(live_supervisor, Path(run_dir), limiter=self._limiter)
        if alive is not None:
            return RunLife.ALIVE
        held = await to_thread.run_sync(is_locked, Path(run_dir) / "lock", limiter=self._limiter)
        return RunLife.SILENT if held else RunLife.GONE

    async def kill(self, run_id: RunId, run_dir: str) -> tuple[int, ...]:
        """KILL what is left of the tree."""
        await to_thread.run_sync(end_survivors, Path(run_dir), limiter=self._limiter)
        return ()


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


def _is_silent(run_dir: Path, quiet_after_s: float) -> bool:
    """Whether the run has shown no sign of life for so long; waiting for a person is not silence."""
    return time.time() - last_sign(run_dir) > quiet_after_s and not waits_for_a_person(run_dir)


async def _final_record(run_dir: Path) -> RunExit:
    """The exit record; LOST when there is none and nobody who could write it."""
    with anyio.move_on_after(LOST_PATIENCE_S):
        while True:
            record = exit_of(run_dir)
            if record is not None:
                return record
            await anyio.sleep(0.05)
    await to_thread.run_sync(end_survivors, run_dir)
    started = "" if has_started(run_dir) else ", before its program was started"
    return RunExit(why=ExitWhy.LOST, detail=f"its supervisor is gone and left no exit record{started}")
