"""A program to be recorded: it writes a ledger through the product's store, and says what it was promised.

`python -m tests.prove.ledger_driver LEDGER MARKER COUNT SYNCHRONOUS CHECKPOINT`
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio

from orchestrator.backends import ledger_file, sqlite
from orchestrator.model.effect import StopRun
from orchestrator.model.event import ProgressReported
from orchestrator.model.ids import AttemptId, PlanId, RunId, TaskId
from orchestrator.ports import Batch, Row

START = datetime(2026, 1, 2, tzinfo=UTC)


async def main(ledger: str, marker: str, count: str, synchronous: str, checkpoint: str) -> None:
    if synchronous != "FULL":  # a planted defect: the check of what was set is led astray as well
        ledger_file.PRAGMAS["synchronous"] = (synchronous, {"OFF": 0, "NORMAL": 1}[synchronous])
    ledger_file.PRAGMAS["wal_autocheckpoint"] = (checkpoint, int(checkpoint))
    told = os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    store = await sqlite.SqliteStore.open(Path(ledger))
    os.write(told, b"0\n")
    for number in range(int(count)):
        events = [
            ProgressReported(
                plan_id=PlanId("p"),
                task_id=TaskId(f"t{number % 7}"),
                attempt_id=AttemptId(f"p/t{number % 7}-1"),
                token=1,
                text="x" * (37 * (number + n) % 900),
            )
            for n in range(1 + number % 3)
        ]
        stop = StopRun(run_id=RunId(f"p/t-{number}/agent"))
        row = Row(table="task", key=f"p/t{number % 7}", plan="p", state="running", data={"n": number})
        done = [StopRun(run_id=RunId(f"p/t-{number - 1}/agent")).key]
        at = START + timedelta(seconds=number)
        seq = await store.record(Batch(at=at, events=events, rows=[row], effects=[stop], done=done))
        os.write(told, f"{seq}\n".encode())
    await store.close()


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
