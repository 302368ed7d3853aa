"""The ledger when the disk errs, when it was cut off or put back, and when its state was kept for another one."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends import ledger_state
from orchestrator.backends.backups import copy, verify_copy
from orchestrator.backends.ledger_state import state_file
from orchestrator.backends.sqlite import SqliteStore, verify
from orchestrator.model.errors import LedgerLostError, OrchestratorError, SupersededError, UnsettledError
from orchestrator.model.event import DaemonBegan, Event, ProgressReported
from orchestrator.model.ids import AttemptId, PlanId, TaskId
from orchestrator.model.run import State
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


def progress(text: str) -> Event:
    return ProgressReported(plan_id=PlanId("p"), task_id=TaskId("t"), attempt_id=AttemptId("p/t-1"), token=1, text=text)


def batch(*texts: str, **more: Any) -> Batch:
    return Batch(at=NOW, events=[progress(text) for text in texts], **more)


async def texts(store: SqliteStore) -> list[str]:
    return [event.text for _, _, event in await store.events() if isinstance(event, ProgressReported)]


class Rigged:
    """A connection that fails when it is told to commit, before or after it has."""

    def __init__(self, real: sqlite3.Connection, name: str, *, happened: bool, at: str = "COMMIT") -> None:
        self._real, self._name, self._happened, self._at = real, name, happened, at

    def execute(self, statement: str, *values: Any) -> Any:
        if statement.startswith(self._at):
            if self._happened:
                self._real.execute(statement, *values)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = self._name
            raise error
        return self._real.execute(statement, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def rig(store: SqliteStore, name: str, *, happened: bool, at: str = "COMMIT") -> sqlite3.Connection:
    real = store._open
    assert real is not None
    store._open = Rigged(real, name, happened=happened, at=at)  # type: ignore[assignment]
    return real


WITH_EVENTS = batch("b", "c")
WITHOUT_EVENTS = batch(rows=[Row(table="task", key="p/t", plan="p", state="x", data={})])


@pytest.mark.parametrize("name", ["SQLITE_IOERR_FSYNC", "SQLITE_IOERR_WRITE", "SQLITE_FULL", "SQLITE_CORRUPT"])
@pytest.mark.parametrize("what", [WITH_EVENTS, WITHOUT_EVENTS], ids=["events", "a row alone"])
async def test_a_commit_that_failed_is_looked_for_by_a_new_connection(
    path: Path, store: SqliteStore, name: str, what: Batch
) -> None:
    await store.record(batch("a"))
    rig(store, name, happened=False)
    with pytest.raises(OrchestratorError) as raised:
        await store.record(what)
    assert not isinstance(raised.value, UnsettledError), "it is known that it did not happen"
    assert await texts(store) == ["a"]
    used = rig(store, name, happened=True)
    end = 1 + len(what.events)
    assert await store.record(what) == end, "it had happened"
    assert store._open is not used
    with pytest.raises(sqlite3.ProgrammingError):
        used.execute("SELECT 1")
    assert await store.record(batch("d")) == end + 1
    assert await texts(store) == ["a", *(event.text for event in what.events), "d"]  # type: ignore[union-attr]
    assert verify(path) == end + 1


async def test_an_error_in_the_middle_of_a_batch_leaves_nothing_of_it(path: Path, store: SqliteStore) -> None:
    await store.record(batch("a"))
    rig(store, "SQLITE_IOERR_WRITE", happened=False, at="UPDATE tip")
    with pytest.raises(OrchestratorError, match="the disk refused"):
        await store.record(batch("b"))
    assert await store.record(batch("c")) == 2
    assert await texts(store) == ["a", "c"]


@pytest.mark.parametrize("happened", [True, False], ids=["it had happened", "it had not"])
async def test_while_the_ledger_cannot_be_looked_at_a_batch_is_neither_recorded_nor_refused(
    path: Path, store: SqliteStore, happened: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.record(batch("a"))
    rig(store, "SQLITE_IOERR_FSYNC", happened=happened)
    connect = sqlite3.connect

    def refused(*args: Any, **more: Any) -> sqlite3.Connection:
        error = sqlite3.OperationalError("unable to open database file")
        error.sqlite_errorname = "SQLITE_CANTOPEN"
        raise error

    what = batch("b")
    monkeypatch.setattr(sqlite3, "connect", refused)
    for _ in range(3):
        with pytest.raises(UnsettledError) as raised:
            await store.record(what)
    assert raised.value.why
    assert raised.value.fix
    monkeypatch.setattr(sqlite3, "connect", connect)
    assert await store.record(what) == 2
    assert await texts(store) == ["a", "b"], "once, whether it had happened or not"
    assert verify(path) == 2


async def test_an_fsync_that_failed_is_made_good_before_anything_counts(path: Path, store: SqliteStore) -> None:
    await store.record(batch("a"))
    rig(store, "SQLITE_IOERR_FSYNC", happened=True)
    what = batch("b")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM event").fetchone()  # what it reads keeps the log from being written back
        with pytest.raises(UnsettledError):
            await store.record(what)
        reader.execute("COMMIT")
    assert await store.record(what) == 2
    alone = path.with_name("alone.sqlite")
    shutil.copy(path, alone)  # without the write-ahead log
    assert verify(alone) == 2


@pytest.mark.parametrize("poisoned", [False, True], ids=["", "after an error of the disk"])
async def test_what_was_acknowledged_and_is_gone_is_never_written_over(
    path: Path, store: SqliteStore, poisoned: bool
) -> None:
    await store.record(batch("a"))
    await store.record(batch("b"))
    if poisoned:
        store._poison("IOERR_FSYNC")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.executescript("DROP TRIGGER event_remains; DELETE FROM event WHERE seq = 2;")
    for _ in range(2):
        with pytest.raises(LedgerLostError, match="has lost") as raised:
            await store.record(batch("c"))
        assert "ends at event 1 now, and 2" in raised.value.why


async def test_a_daemon_that_began_while_the_connection_was_gone_is_seen(path: Path, store: SqliteStore) -> None:
    await store.record(batch("a"))
    newer = await SqliteStore.open(path)
    rig(store, "SQLITE_IOERR_FSYNC", happened=False)
    store._poison("IOERR_FSYNC")
    await newer.record(Batch(at=NOW, events=[DaemonBegan(pid=2, boot_id="b", version="0", quiet=timedelta(minutes=1))]))
    await newer.close()
    with pytest.raises(SupersededError):
        await store.record(batch("b"))


# ---- files that were cut off, put back, or damaged ----


async def a_crashed(path: Path, count: int) -> Path:
    """The files of a ledger whose writer was killed, in a folder of their own."""
    store = await SqliteStore.open(path)
    for number in range(count):
        await store.record(batch(str(number), str(number)))
    to = path.parent.parent / "crashed"
    shutil.copytree(path.parent, to)
    await store.close()
    return to / path.name


def cut(log: Path) -> None:
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 3000)


def torn(log: Path) -> None:
    content = bytearray(log.read_bytes())
    content[-2500:-2000] = b"\xaa" * 500
    log.write_bytes(content)


def with_rubbish_behind(log: Path) -> None:
    with log.open("ab") as file:
        file.write(b"\x55" * 10_000)


@pytest.mark.parametrize("harm", [cut, torn, with_rubbish_behind])
async def test_a_torn_end_of_the_write_ahead_log_costs_whole_batches_at_most(
    path: Path, harm: Callable[[Path], None]
) -> None:
    crashed = await a_crashed(path, 20)
    harm(Path(f"{crashed}-wal"))
    store = await SqliteStore.open(crashed)
    assert not store.was_closed
    found = await texts(store)
    kept = 20 if harm is with_rubbish_behind else 19
    assert found == [str(number) for number in range(kept) for _ in range(2)]
    assert await store.record(batch("next")) == 2 * kept + 1
    await store.close()
    assert verify(crashed) == 2 * kept + 1


async def test_a_ledger_closed_in_order_says_so_and_one_that_was_not_does_not(path: Path) -> None:
    crashed = await a_crashed(path, 1)
    for file, closed in ((path, True), (crashed, False)):
        store = await SqliteStore.open(file)
        assert store.was_closed is closed
        assert store.last_at == NOW
        await store.close()


async def harmed(path: Path, seq: int) -> None:
    store = await SqliteStore.open(path)
    await store.record(batch(*(str(number) for number in range(12_000))))
    await store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(
            f'DROP TRIGGER event_stays; UPDATE event SET data = \'{{"text":"z"}}\' WHERE seq = {seq}; {KEEP}'
        )


KEEP = "CREATE TRIGGER event_stays BEFORE UPDATE ON event BEGIN SELECT raise(ABORT, 'events are never changed'); END;"


async def test_damage_before_the_tail_is_found_by_the_whole_look_and_no_daemon_starts_after_it(path: Path) -> None:
    await harmed(path, 500)
    store = await SqliteStore.open(path)
    assert len(await store.events(after_seq=11_000)) == 1_000, "the tail is good"
    with pytest.raises(OrchestratorError, match="from event 500 on"):
        await store.verify(NOW)
    await store.close()
    with pytest.raises(OrchestratorError, match="from event 500 on"):
        await SqliteStore.open(path)


async def test_damage_in_the_tail_is_found_by_every_start(path: Path) -> None:
    await harmed(path, 2_500)
    store = await SqliteStore.open(path)
    with pytest.raises(OrchestratorError, match="from event 2500 on"):
        await store.events(after_seq=11_990)
    await store.close()


async def test_a_ledger_that_was_looked_over_remembers_when(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.record(batch("a"))
    assert store.verified_at.year == 1970
    assert await store.verify(NOW) == 1
    await store.close()
    again = await SqliteStore.open(path)
    assert again.verified_at == NOW
    assert again.was_closed
    await again.close()


async def test_a_copy_is_one_file_that_holds_what_is_in_the_log(path: Path, store: SqliteStore) -> None:
    await store.record(batch("a", "b"))
    to = path.with_name("copy.sqlite")
    assert copy(path, to) == 2
    assert to.stat().st_mode & 0o777 == 0o600
    alone = path.parent.parent / "alone.sqlite"
    shutil.move(to, alone)
    assert verify_copy(alone) == 2
    assert {file.name for file in path.parent.iterdir()} == {path.name, f"{path.name}-wal", f"{path.name}-shm"}


async def test_a_copy_of_a_damaged_ledger_is_none(path: Path) -> None:
    await harmed(path, 5)
    with pytest.raises(OrchestratorError, match="from event 5 on"):
        copy(path, path.with_name("copy.sqlite"))
    assert not list(path.parent.glob("copy*"))


# ---- the state that is kept ----


async def a_kept_state(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.record(batch(*map(str, range(10))))
    await store.keep_snapshot(State(seq=7, token=99))
    await store.close()


def cut_off(path: Path) -> None:
    state_file(path).write_bytes(state_file(path).read_bytes()[:-3])


def changed(path: Path) -> None:
    state_file(path).write_bytes(state_file(path).read_bytes().replace(b'"token":99', b'"token":98'))


def empty(path: Path) -> None:
    state_file(path).write_bytes(b"")


def a_folder(path: Path) -> None:
    state_file(path).unlink()
    state_file(path).mkdir()


def of(**other: Any) -> Callable[[Path], None]:
    """Written well, but for something else."""

    def change(path: Path) -> None:
        found = ledger_state.kept(state_file(path))
        assert found is not None
        header = json.loads(json.dumps(ledger_state.asdict(found[0]))) | other
        ledger_state.keep(state_file(path), ledger_state.Header(**header), found[1])

    return change


UNFIT = {
    "cut off": cut_off,
    "changed": changed,
    "empty": empty,
    "a folder": a_folder,
    "of another program": of(code="other"),
    "of another ledger": of(ledger="other"),
    "of another event": of(seq=6),
    "of an event that is not there": of(seq=11, hash=""),
    "of another chain": of(hash="00" * 32),
    "of another form": of(format=2),
}


async def test_a_kept_state_that_fits_is_used(path: Path) -> None:
    await a_kept_state(path)
    state, events = SqliteStore.read_state(path)
    assert state == State(seq=7, token=99)
    assert [seq for seq, _, _ in events] == [8, 9, 10]


@pytest.mark.parametrize("unfit", UNFIT.values(), ids=UNFIT.keys())
async def test_a_kept_state_that_does_not_fit_is_ignored(path: Path, unfit: Callable[[Path], None]) -> None:
    await a_kept_state(path)
    unfit(path)
    store = await SqliteStore.open(path)
    assert await store.snapshot() is None
    assert len(await store.events()) == 10
    await store.close()
    state, events = SqliteStore.read_state(path)
    assert state is None
    assert len(events) == 10


async def test_a_ledger_put_back_from_a_backup_gives_no_token_out_twice(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.record(batch("a"))
    copy(path, path.with_name("backup.sqlite"))
    await store.record(batch("b"))
    await store.keep_snapshot(State(seq=2, token=41))
    await store.close()
    path.with_name("backup.sqlite").replace(path)
    again = await SqliteStore.open(path)
    assert await again.snapshot() is None, "it is of an event that this ledger does not have"
    assert await again.highest_token() == 41
    await again.close()
    state_file(path).unlink()
    third = await SqliteStore.open(path)
    assert await third.highest_token() == 41
    await third.close()
