"""A ledger of every version that was ever released: opened, brought up to date, and killed on the way."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.backends.backups import verify_copy
from orchestrator.backends.ledger_file import STEPS, VERSION
from orchestrator.backends.sqlite import SqliteReader, SqliteStore, verify
from orchestrator.core.state import rebuild
from orchestrator.model.effect import StopRun
from orchestrator.model.errors import FencedError, OrchestratorError
from orchestrator.model.event import LeaseGranted
from orchestrator.model.ids import AttemptId, PlanId, RunId, TaskId
from orchestrator.model.run import TaskState
from orchestrator.ports import Batch
from tests.fakes.world import NOW

pytestmark = pytest.mark.anyio
CORPUS = Path(__file__).parents[1] / "fakes" / "ledgers"
OLD = range(1, VERSION)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def a_ledger_of(version: int, folder: Path) -> Path:
    path = folder / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((CORPUS / f"version-{version}.sql").read_text())
    return path


def contents(path: Path) -> list[object]:
    """What every version holds."""
    with closing(sqlite3.connect(path)) as connection:
        tables = ("event", "effect", "plan", "task", "item")
        return [connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in tables]


def test_every_version_that_was_released_is_in_the_corpus() -> None:
    assert sorted(file.name for file in CORPUS.iterdir()) == [f"version-{version}.sql" for version in OLD]


@pytest.mark.parametrize("version", OLD)
async def test_an_old_ledger_is_read_as_it_is_and_brought_up_to_date_by_a_writer(tmp_path: Path, version: int) -> None:
    path = a_ledger_of(version, tmp_path)
    before = contents(path)
    with closing(SqliteReader(path)) as reader:
        seqs = [event.seq for event in reader.events()]
        assert reader.rows("task")
    store = await SqliteStore.open(path)
    events = await store.events()
    assert [seq for seq, _, _ in events] == seqs
    assert {task.state for task in rebuild(events).plans[PlanId("p")].tasks.values()} == {TaskState.LANDED}
    assert await store.to_do() == [StopRun(run_id=RunId("p/two-1/agent"))]
    token = await store.highest_token()
    assert token == 2
    again = LeaseGranted(
        plan_id=PlanId("p"), task_id=TaskId("one"), attempt_id=AttemptId("p/one-2"), token=token, expires_at=NOW
    )
    with pytest.raises(FencedError):
        await store.record(Batch(at=NOW, events=[again]))
    await store.close()
    assert contents(path) == before
    assert verify(path) == len(seqs)
    (copy,) = (tmp_path / "backups").iterdir()
    assert verify_copy(copy) == len(seqs)
    assert contents(copy) == before


def killed_at(statement: int, work: Callable[[], object]) -> bool:
    """Do it in a process that is gone when SQLite begins that statement. Returns: whether it came so far."""
    child = os.fork()
    if child == 0:
        connect = sqlite3.connect

        def watched(*args: object, **more: object) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*args, **more)  # type: ignore[call-overload]
            count = 0

            def look(_: str) -> None:
                nonlocal count
                count += 1
                if count == statement:
                    os._exit(9)

            if not str(args[0]).startswith("file:"):  # the one that writes
                connection.set_trace_callback(look)
            return connection

        sqlite3.connect = watched  # type: ignore[assignment]
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 9


@pytest.mark.parametrize("version", OLD)
def test_a_ledger_that_was_killed_at_any_statement_of_its_migration_is_whole(tmp_path: Path, version: int) -> None:
    from orchestrator.backends.ledger_file import PATIENCE, open_for_writing

    path = a_ledger_of(version, tmp_path)
    before = contents(path)
    statement = 1
    while killed_at(statement, lambda: open_for_writing(path, PATIENCE).close()):
        statement += 1
        assert contents(path) == before
    assert statement > 20, "each of its statements was hit"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert verify(path) == len(before[0])  # type: ignore[arg-type]
    assert sorted(file.suffix for file in (tmp_path / "backups").iterdir()) == [".sqlite"]


def test_a_copy_that_cannot_be_made_leaves_the_ledger_as_it_was(tmp_path: Path) -> None:
    from orchestrator.backends.ledger_file import PATIENCE, open_for_writing

    path = a_ledger_of(1, tmp_path)
    (tmp_path / "backups").write_text("in the way")
    with pytest.raises(OrchestratorError, match="no copy of it can be made") as raised:
        open_for_writing(path, PATIENCE)
    assert "as it was" in raised.value.fix
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


def test_there_is_a_step_for_each_version() -> None:
    assert len(STEPS) == VERSION == len(set(STEPS))
