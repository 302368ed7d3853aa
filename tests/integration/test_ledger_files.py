"""The ledger as a file: its settings, its chain, its rights, what can happen to it, and a power cut in small."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from orchestrator.backends.ledger_errors import sqlite_trouble
from orchestrator.backends.sqlite import APPLICATION_ID, VERSION, SqliteReader, SqliteStore, verify
from orchestrator.model.effect import StopRun
from orchestrator.model.errors import NothingError, OrchestratorError
from orchestrator.model.event import ProgressReported
from orchestrator.model.ids import AttemptId, PlanId, RunId, TaskId
from orchestrator.ports import Batch, Row

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 3, 4, tzinfo=UTC)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.sqlite"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(path, patience=timedelta(milliseconds=50))
    yield store
    await store.close()


def event(text: str) -> ProgressReported:
    return ProgressReported(plan_id=PlanId("p"), task_id=TaskId("t"), attempt_id=AttemptId("p/t-1"), token=1, text=text)


def batch(*texts: str) -> Batch:
    return Batch(at=NOW, events=[event(text) for text in texts])


def raw(path: Path) -> closing[sqlite3.Connection]:
    """The file as another program would open it."""
    return closing(sqlite3.connect(path, isolation_level=None, timeout=0.1))


async def written(path: Path, *texts: str) -> None:
    store = await SqliteStore.open(path)
    await store.record(batch(*texts))
    await store.close()


# ---- settings and rights ----


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),
        ("synchronous", 2),
        ("foreign_keys", 1),
        ("cell_size_check", 1),
        ("trusted_schema", 0),
        ("temp_store", 2),
        ("busy_timeout", 50),
        ("application_id", APPLICATION_ID),
        ("user_version", VERSION),
    ],
)
async def test_the_writing_connection_is_set(store: SqliteStore, pragma: str, value: object) -> None:
    assert store._connection.execute(f"PRAGMA {pragma}").fetchone() == (value,)


async def test_a_setting_that_does_not_hold_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.backends import ledger_file

    monkeypatch.setitem(ledger_file.PRAGMAS, "synchronous", ("NORMAL", 2))
    with pytest.raises(OrchestratorError, match="cannot be kept safely"):
        await SqliteStore.open(path)


async def test_only_we_can_read_the_ledger(path: Path) -> None:
    before = os.umask(0)
    try:
        store = await SqliteStore.open(path)
        await store.record(batch("a"))
        with closing(SqliteReader(path)) as reader:
            reader.events()
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        await store.close()
    finally:
        os.umask(before)
    assert modes == {"ledger.sqlite": 0o600, "ledger.sqlite-wal": 0o600, "ledger.sqlite-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_rights_that_were_too_wide_are_narrowed(path: Path) -> None:
    await written(path, "a")
    path.chmod(0o644)
    path.parent.chmod(0o755)
    await written(path, "b")
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)


def test_the_reading_side_starts_without_heavy_imports() -> None:
    program = (
        "import sys, orchestrator.backends.sqlite\n"
        "print(*{'pydantic', 'anyio', 'tenacity', 'structlog', 'git'} & sys.modules.keys())"
    )
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == ""


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("SELECT seq FROM event WHERE seq > 5 ORDER BY seq LIMIT 10", "INTEGER PRIMARY KEY"),
        ("SELECT seq FROM event WHERE seq > 5 AND plan = 'p' ORDER BY seq DESC LIMIT 10", "event_by_plan"),
        ("SELECT seq FROM event WHERE seq > 5 AND plan = 'p' AND task = 't' ORDER BY seq LIMIT 9", "event_by_task"),
        ("SELECT data FROM task WHERE plan = 'p' ORDER BY number", "task_by_plan"),
        ("SELECT key FROM effect WHERE state = 'todo' ORDER BY number", "effect_to_do"),
    ],
)
async def test_questions_are_answered_by_an_index_and_never_sorted(path: Path, statement: str, index: str) -> None:
    await written(path, "a")
    with raw(path) as connection:
        steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    assert len(steps) == 1
    assert index in steps[0]


# ---- the chain ----


@pytest.mark.parametrize("statement", ["UPDATE event SET data = '{}' WHERE seq = 2", "DELETE FROM event WHERE seq = 2"])
async def test_events_cannot_be_changed_or_deleted(path: Path, statement: str) -> None:
    await written(path, "a", "b", "c")
    with raw(path) as connection, pytest.raises(sqlite3.IntegrityError, match="events are never"):
        connection.execute(statement)
    assert verify(path) == 3


@pytest.mark.parametrize(
    ("statement", "seq"),
    [
        pytest.param('UPDATE event SET data = \'{"text":"z"}\' WHERE seq = 2', 2, id="other words"),
        pytest.param("UPDATE event SET at = at + 1 WHERE seq = 1", 1, id="another time"),
        pytest.param("UPDATE event SET token = NULL WHERE seq = 3", 3, id="no token"),
        pytest.param("UPDATE event SET task = 'u' WHERE seq = 3", 3, id="another task"),
        pytest.param("DELETE FROM event WHERE seq = 2", 3, id="one missing"),
        pytest.param("DELETE FROM event WHERE seq = 1", 2, id="the first missing"),
        pytest.param("UPDATE event SET prev = zeroblob(32) WHERE seq = 3", 3, id="another link"),
    ],
)
async def test_a_ledger_that_was_changed_is_found_out_and_not_used(path: Path, statement: str, seq: int) -> None:
    await written(path, "a", "b", "c")
    with raw(path) as connection:
        connection.executescript(f"DROP TRIGGER event_stays; DROP TRIGGER event_remains; {statement};")
    with pytest.raises(OrchestratorError, match=f"from event {seq} on"):
        verify(path)
    store = await SqliteStore.open(path)
    with pytest.raises(OrchestratorError, match=f"from event {seq} on"):
        await store.events()
    await store.close()


async def test_an_event_of_a_newer_version_is_said_to_be_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await written(path, "a")
    from orchestrator.backends import ledger

    known = {name: places for name, places in ledger._places().items() if name != "progress_reported"}
    monkeypatch.setattr(ledger, "_places", lambda: known)
    with pytest.raises(OrchestratorError, match="newer version") as raised:
        await SqliteStore.read_events(path)
    assert "progress_reported" in raised.value.why


async def test_events_can_be_read_without_writing(path: Path) -> None:
    await written(path, "a", "b")
    before = path.read_bytes()
    assert await SqliteStore.read_events(path) == [(1, NOW, event("a")), (2, NOW, event("b"))]
    assert path.read_bytes() == before


# ---- files that are not what they should be ----


def another_program(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("CREATE TABLE theirs (a)")


def some_text(path: Path) -> None:
    path.write_text("hello, this is no database at all\n" * 100)


def a_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (another_program, "is not a ledger"),
        (some_text, "is not a ledger"),
        (a_folder, r"cannot be opened|refused to read"),
    ],
)
async def test_what_is_no_ledger_of_ours_is_refused_and_left_alone(
    path: Path, make: Callable[[Path], None], message: str
) -> None:
    path.parent.mkdir()
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(OrchestratorError, match=message) as raised:
        await SqliteStore.open(path)
    assert raised.value.why
    assert raised.value.fix
    with pytest.raises(OrchestratorError, match=message):
        SqliteReader(path)
    assert (path.read_bytes() if path.is_file() else None) == before


@pytest.mark.parametrize(
    ("change", "readable"),
    [
        pytest.param("ALTER TABLE event ADD COLUMN more TEXT", True, id="with more in it"),
        pytest.param("ALTER TABLE task RENAME TO work", False, id="of another shape"),
    ],
)
async def test_a_newer_ledger_is_never_written_and_read_as_far_as_it_is_known(
    path: Path, change: str, readable: bool
) -> None:
    store = await SqliteStore.open(path)
    await store.record(
        Batch(at=NOW, events=[event("a")], rows=[Row(table="task", key="p/t", plan="p", state="x", data={})])
    )
    await store.close()
    with raw(path) as connection:
        connection.executescript(f"{change}; PRAGMA user_version = {VERSION + 1};")
    before = path.read_bytes()
    with pytest.raises(OrchestratorError, match="newer version") as raised:
        await SqliteStore.open(path)
    assert f"version {VERSION + 1}" in raised.value.why
    with closing(SqliteReader(path)) as reader:
        assert reader.newer is not None
        assert [one.data for one in reader.events()] == [{"text": "a"}]
        if readable:
            assert reader.rows("task") == [{}]
        else:
            with pytest.raises(OrchestratorError, match="newer version"):
                reader.rows("task")
    assert path.read_bytes() == before


async def test_a_damaged_page_is_found(path: Path) -> None:
    await written(path, *("x" * 500 for _ in range(200)))
    content = bytearray(path.read_bytes())
    content[4096 * 12 : 4096 * 20] = os.urandom(4096 * 8)
    path.write_bytes(content)
    with pytest.raises(OrchestratorError, match=r"damaged|not as it was written"):
        verify(path)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.touch()], ids=["no file", "an empty file"])
def test_a_reader_says_when_nothing_has_run_yet_and_makes_nothing(path: Path, make: Callable[[Path], None]) -> None:
    path.parent.mkdir()
    make(path)
    before = sorted(path.parent.iterdir())
    with pytest.raises(NothingError, match="nothing has run"):
        SqliteReader(path)
    assert sorted(path.parent.iterdir()) == before


async def test_a_file_left_empty_by_a_crash_becomes_a_ledger(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    await written(path, "a")
    assert verify(path) == 1


# ---- trouble while it is open ----


async def test_another_writer_is_waited_for_then_named(path: Path, store: SqliteStore) -> None:
    with raw(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(OrchestratorError, match="being written by another program"):
            await store.record(batch("a"))
        connection.execute("ROLLBACK")
    assert await store.record(batch("b")) == 1


async def test_a_full_disk_stops_the_batch_and_not_the_store(path: Path, store: SqliteStore) -> None:
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(OrchestratorError, match="cannot grow") as raised:
        await store.record(batch("kept?", "x" * 100_000))
    assert "full" in raised.value.why
    assert await store.events() == []
    store._connection.execute("PRAGMA max_page_count = 100000")
    assert await store.record(batch("after")) == 1
    assert verify(path) == 1


async def test_a_ledger_that_became_read_only_is_said_to_be(store: SqliteStore) -> None:
    store._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(OrchestratorError, match="cannot be written"):
        await store.record(batch("a"))


def moved_away(path: Path) -> None:
    path.rename(path.with_suffix(".old"))


def replaced_by_a_copy(path: Path) -> None:
    copy = path.with_suffix(".copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


def without_its_log(path: Path) -> None:
    Path(f"{path}-wal").unlink()


@pytest.mark.parametrize("change", [moved_away, replaced_by_a_copy, without_its_log])
async def test_a_ledger_that_was_deleted_or_replaced_is_not_written_on(
    path: Path, store: SqliteStore, change: Callable[[Path], None]
) -> None:
    await store.record(batch("a"))
    change(path)
    with pytest.raises(OrchestratorError, match="deleted or replaced"):
        await store.record(batch("b"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("FULL", "cannot grow"),
        ("READONLY", "cannot be written"),
        ("READONLY_DBMOVED", "deleted or replaced"),
        ("IOERR_FSYNC", "the disk refused"),
        ("CORRUPT_INDEX", "damaged"),
        ("BUSY_SNAPSHOT", "another program"),
        ("LOCKED", "another program"),
        ("CANTOPEN", "cannot be opened"),
    ],
)
def test_errors_of_the_disk_are_said_in_words(name: str, message: str) -> None:
    trouble = sqlite_trouble(name, Path("/r/ledger.sqlite"), "detail")
    assert trouble is not None
    assert message in trouble.message
    assert trouble.why
    assert trouble.fix


@pytest.mark.parametrize("name", ["CONSTRAINT_UNIQUE", "MISUSE", "ERROR", "", "RANGE"])
def test_errors_of_ours_keep_their_traceback(name: str) -> None:
    assert sqlite_trouble(name, Path("/r/ledger.sqlite"), "detail") is None


async def test_a_cancelled_caller_never_leaves_half_a_transaction(path: Path) -> None:
    store = await SqliteStore.open(path)
    with raw(path) as other:
        other.execute("BEGIN IMMEDIATE")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.record, batch("a", "b"))
            await anyio.sleep(0.05)  # it waits for the lock in its thread
            tasks.cancel_scope.cancel()
            other.execute("ROLLBACK")
    assert not store._connection.in_transaction
    assert await store.record(batch("c")) == 3
    await store.close()
    assert verify(path) == 3


# ---- a power cut in small ----

WRITER = """
import sys, anyio
from datetime import datetime, UTC
from pathlib import Path
from orchestrator.backends.sqlite import SqliteStore
from orchestrator.model.effect import StopRun
from orchestrator.model.event import ProgressReported
from orchestrator.ports import Batch, Row

async def main(path):
    store = await SqliteStore.open(path)
    number = len(await store.events()) // 3
    while True:
        number += 1
        events = [ProgressReported(plan_id="p", task_id="t", attempt_id="p/t-1", token=number, text="x" * 300)] * 3
        await store.record(Batch(
            at=datetime.now(UTC),
            events=events,
            rows=[Row(table="task", key="p/t", plan="p", state="running", data={"number": number})],
            effects=[StopRun(run_id=f"p/t-{number}/agent")],
            done=[f"p/t-{number - 1}/agent/stop"],
        ))
        print(number, flush=True)

anyio.run(main, Path(sys.argv[1]))
"""


async def test_readers_see_whole_batches_and_a_killed_writer_loses_nothing_it_acknowledged(path: Path) -> None:
    acknowledged = 0
    for life in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        with writer:
            lines = [writer.stdout.readline()]
            readers = [SqliteReader(path), SqliteReader(path)]
            looks = 0
            until = time.monotonic() + 0.25 + 0.03 * life
            while time.monotonic() < until:
                for reader in readers:
                    seen = reader.events(last=4)
                    assert seen[-1].seq % 3 == 0
                    assert seen[-1].token == seen[-3].token
                    looks += 1
            writer.send_signal(signal.SIGKILL)
            lines += writer.stdout.readlines()
        acknowledged = int([line for line in lines if line.endswith("\n")][-1])
        assert looks > 10
        # without a writer, with the write-ahead log that it left behind
        total = len(readers[0].events())
        assert total == len(readers[1].events()) == verify(path)
        assert total % 3 == 0
        assert total >= acknowledged * 3
        assert readers[0].rows("task") == [{"number": total // 3}]
        for reader in readers:
            reader.close()
    store = await SqliteStore.open(path)
    end = await store.record(batch("after")) - 1
    # a batch that was on disk, and neither acknowledged nor seen, when the writer died, may turn up whole
    assert end in (total, total + 3)
    assert await store.to_do() == [StopRun(run_id=RunId(f"p/t-{end // 3}/agent"))]
    await store.close()
    assert acknowledged > 3


async def test_rows_of_a_killed_writer_can_be_read_from_a_fresh_reader(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.record(Batch(at=NOW, rows=[Row(table="item", key="i1", plan="p", state="open", data={"a": 1})]))
    with closing(SqliteReader(path)) as reader:
        assert reader.rows("item") == [{"a": 1}]
    await store.close()
    with closing(SqliteReader(path)) as reader:
        assert reader.rows("item") == [{"a": 1}]
