"""Supervised runs for tests: a folder, a program in Python, and what came of it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.backends.process import Started, start_supervisor
from orchestrator.model.ids import RunId
from orchestrator.ports import RunSpec

PATIENCE_S = 20.0


def program(code: str) -> tuple[str, ...]:
    """The argv of a program that runs this Python code."""
    return (sys.executable, "-I", "-S", "-c", code)


def a_spec(run_dir: Path, argv: Sequence[str], **changes: Any) -> RunSpec:
    """A run in the folder beside its run folder."""
    values: dict[str, Any] = {
        "run_id": RunId("plan/task-1/agent"),
        "run_dir": str(run_dir),
        "argv": tuple(argv),
        "cwd": str(run_dir.parent),
        "env": {"PATH": os.environ["PATH"]},
        "timeout_s": 30.0,
        "grace_s": 5.0,
        "output_limit_bytes": 1_000_000,
    }
    return RunSpec(**(values | changes))


def ready(run_dir: Path, argv: Sequence[str], **changes: Any) -> Started:
    """A supervisor that waits for its go-byte."""
    content: Mapping[str, Any] = {
        "argv": list(argv),
        "cwd": str(run_dir.parent),
        "env": {"PATH": os.environ["PATH"]},
        "stdin": "none",
        "timeout_s": 30.0,
        "grace_s": 5.0,
        "output_limit_bytes": 1_000_000,
        "secrets": [],
    }
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "spec.json").write_text(json.dumps({**content, **changes}))
    return start_supervisor(run_dir, timeout_s=PATIENCE_S)[0]


def ran(run_dir: Path, argv: Sequence[str], **changes: Any) -> dict[str, Any]:
    """The exit record of a run from its beginning to its end."""
    started = ready(run_dir, argv, **changes)
    started.release()
    return ended(run_dir, started)


def ended(run_dir: Path, started: Started) -> dict[str, Any]:
    """The exit record of a run, when it has one and its supervisor is gone."""
    until(started.reap, "the supervisor ends")
    record: dict[str, Any] = json.loads((run_dir / "exit.json").read_text())
    return record


def until(is_so: Callable[[], Any], what: str) -> Any:
    """Wait for something that happens outside. Returns: what it gave."""
    deadline = time.monotonic() + PATIENCE_S
    while not (given := is_so()):
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.01)
    return given


def text_of(path: Path) -> str:
    """What stands in a file; nothing when there is none."""
    try:
        return path.read_text()
    except OSError:
        return ""


def processes_in(folder: Path) -> list[int]:
    """Processes whose working directory is that folder."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{name}/cwd") == str(folder):
                found.append(int(name))
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits for its parent to look does not."""
    fields = text_of(Path(f"/proc/{pid}/stat")).rsplit(")", 1)[-1].split()
    return bool(fields) and fields[0] != "Z"
