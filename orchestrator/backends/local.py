"""The executor on this machine: one supervisor for each run, and a folder through which everything goes.

A conversation with a run is files, so a new daemon takes it up by reading on.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from orchestrator.backends.process import (
    Started,
    ask_to_stop,
    is_locked,
    open_process,
    read_json,
    start_supervisor,
    supervisor_of,
)
from orchestrator.core.reports import LONGEST, read_report
from orchestrator.core.terminal import printable
from orchestrator.model.attempt import ExitWhy, ProcessId, RunExit
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.ids import RunId
from orchestrator.ports import ExitSeen, QuietSeen, ReportSeen, RunSignal, RunSpec

READY_TIMEOUT_S = 30.0
LOOK_S = 0.25  #: how often reports are looked for
LOST_PATIENCE_S = 1.0  #: between the end of a supervisor and the verdict that it left no record
TAIL_BYTES = 8 * 1024


class LocalExecutor:
    """Runs on this machine. Holds the go-bytes of supervisors that wait, and nothing else."""

    def __init__(self) -> None:
        self._waiting: dict[RunId, Started] = {}
        self._ours: list[Started] = []
        self._limiter = anyio.CapacityLimiter(16)

    async def submit(self, spec: RunSpec) -> ProcessId:
        """Make the run folder and start its supervisor, which waits for `release`."""
        run_dir = Path(spec.run_dir)
        known = await to_thread.run_sync(_take_up, run_dir, limiter=self._limiter)
        if known is not None and spec.run_id not in self._waiting and not _has_started(run_dir):
            # it waits for a go-byte that nobody can give any more: it notices, and is started anew
            with anyio.move_on_after(READY_TIMEOUT_S):
                while is_locked(run_dir / "lock"):
                    await anyio.sleep(0.02)
            known = await to_thread.run_sync(_take_up, run_dir, limiter=self._limiter)
        if known is not None:
            return known
        started = await to_thread.run_sync(_start, run_dir, spec, limiter=self._limiter)
        self._waiting[spec.run_id] = started
        self._ours.append(started)
        supervisor = supervisor_of(run_dir)
        if supervisor is None:
            raise OrchestratorError("a supervisor left no record of itself", why="", fix=f"see {run_dir}")
        return supervisor

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
        offset, quiet = reports_from, False
        supervisor = supervisor_of(folder)
        handle = open_process(supervisor) if supervisor is not None else None
        try:
            while True:
                # looked at first: what was reported before the end must not be missed
                over = not is_locked(folder / "lock")
                async for report in _reports(folder, offset):
                    offset = report.offset
                    yield report
                if over:
                    break
                silent = time.time() - _last_sign(folder) > quiet_after_s
                if silent is not quiet:
                    quiet = silent
                    yield QuietSeen(quiet=quiet)
                with anyio.move_on_after(LOOK_S):
                    if handle is not None:
                        await anyio.wait_readable(handle)
                    else:
                        await anyio.sleep_forever()
        finally:
            if handle is not None:
                os.close(handle)
            for started in self._ours:
                started.reap()
        self._waiting.pop(run_id, None)
        yield ExitSeen(exit=await _exit_of(folder), tail=tail_of(folder))

    async def send(self, run_id: RunId, run_dir: str, answer: Mapping[str, Any]) -> None:
        """Append one JSON line to the run's `answers` file, once."""
        await to_thread.run_sync(_append_once, Path(run_dir) / "answers", json.dumps(dict(answer), sort_keys=True))

    async def stop(self, run_id: RunId, run_dir: str) -> None:
        """Ask the supervisor to end the whole tree; its end comes as `ExitSeen`."""
        await to_thread.run_sync(ask_to_stop, Path(run_dir), limiter=self._limiter)
        waiting = self._waiting.pop(run_id, None)
        if waiting is not None:
            waiting.forget()


def _has_started(run_dir: Path) -> bool:
    meta = read_json(run_dir / "meta.json")
    return bool(meta and meta.get("started")) or (run_dir / "exit.json").exists()


def _take_up(run_dir: Path) -> ProcessId | None:
    """The supervisor of a folder that has one or had one; None when there is nothing, or nothing that ever ran."""
    if not run_dir.exists():
        return None
    if is_locked(run_dir / "lock"):
        return supervisor_of(run_dir)
    record = read_json(run_dir / "exit.json")
    if record is not None and record.get("why") != ExitWhy.NEVER_STARTED:
        return supervisor_of(run_dir)
    if record is None and _has_started(run_dir):
        return supervisor_of(run_dir)  # lost: who watches it will say so
    number = 1
    while (aside := run_dir.with_name(f"{run_dir.name}.unused-{number}")).exists():
        number += 1
    run_dir.rename(aside)
    return None


def _start(run_dir: Path, spec: RunSpec) -> Started:
    run_dir.mkdir(mode=0o700, parents=True)
    for name, text in spec.files.items():
        _write(run_dir / name, text)
    stdin = spec.stdin
    if stdin != "none":
        _write(run_dir / "input", spec.first)
        if stdin == "closed":
            _write(run_dir / "input.end", "")
    content = {
        "argv": list(spec.argv),
        "cwd": spec.cwd,
        "env": dict(spec.env),
        "stdin": "none" if stdin == "none" else "input",
        "timeout_s": spec.timeout_s,
        "grace_s": spec.grace_s,
        "output_limit_bytes": spec.output_limit_bytes,
        "secrets": list(spec.secrets),
    }
    _write(run_dir / "spec.json", json.dumps(content))
    return start_supervisor(run_dir, timeout_s=READY_TIMEOUT_S)


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)


def _append_once(path: Path, line: str) -> None:
    if path.exists() and line in path.read_text(encoding="utf-8").splitlines():
        return
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        os.write(fd, f"{line}\n".encode())
    finally:
        os.close(fd)


async def _reports(folder: Path, offset: int) -> AsyncIterator[ReportSeen]:
    """The whole lines after an offset; what we do not understand is passed over."""
    for line, end in _lines(folder / "reports", offset):
        report = read_report(line)
        if report is not None:
            yield ReportSeen(report=report, offset=end)


def _lines(path: Path, offset: int) -> list[tuple[bytes, int]]:
    try:
        if path.stat().st_size <= offset:
            return []
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(16 * LONGEST)
    except OSError:
        return []
    found = []
    for line in data.splitlines(keepends=True):
        if line.endswith(b"\n"):
            offset += len(line)
            found.append((line, offset))
    return found


def _last_sign(folder: Path) -> float:
    """When the run last wrote something, as seconds since the epoch."""
    times = [path.stat().st_mtime for name in ("output", "reports", "meta.json") if (path := folder / name).exists()]
    return max(times, default=0.0)


async def _exit_of(folder: Path) -> RunExit:
    """The exit record; LOST when there is none and nobody who could write it."""
    with anyio.move_on_after(LOST_PATIENCE_S):
        while True:
            record = read_json(folder / "exit.json")
            match record:
                case {"why": str(why), "code": code, "dropped_bytes": int(dropped), "detail": str(detail)}:
                    return RunExit(why=ExitWhy(why), code=code, dropped_bytes=dropped, detail=detail)
            await anyio.sleep(0.05)
    return RunExit(why=ExitWhy.LOST, detail="its supervisor is gone and left no exit record")


def tail_of(folder: Path) -> str:
    """The end of a run's output, harmless to print."""
    try:
        with (folder / "output").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            return printable(file.read().decode("utf-8", "replace")).strip()
    except OSError:
        return ""
