"""The loop with a real ledger: what is recorded before it is done, and what a restart makes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from orchestrator.backends.clock import SystemChance, SystemClock
from orchestrator.backends.memory import MemoryLedger, MemoryStore
from orchestrator.core.state import rebuild
from orchestrator.engine.loop import Loop, _Delivery
from orchestrator.model.errors import FencedError, NothingError, OrchestratorError, SupersededError, UnsettledError
from orchestrator.model.event import DaemonBegan, EffectAbandoned, Event, ProjectionMended
from orchestrator.model.fact import BranchBegun, DaemonStarted, Done, EffectFailed, Fact, PauseAsked, PlanSubmitted
from orchestrator.model.ids import Commit
from orchestrator.model.place import Place
from orchestrator.model.run import PlanPhase
from orchestrator.ports import Batch
from tests.fakes.world import NOW, a_plan, a_task

pytestmark = pytest.mark.anyio
STARTED = DaemonStarted(pid=1, boot_id="b", version="0", quiet=timedelta(minutes=10))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Hands:
    """Carries out nothing but the plan's branch; everything else stays to do."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def perform(self, effect: Any) -> Fact:
        self.asked.append(effect.key)
        if effect.key.endswith("/branch"):
            return BranchBegun(plan_id=effect.plan_id, number=effect.number, tip=Commit("t"), target=Commit("t"))
        await anyio.sleep_forever()
        return Done()

    async def afterwards(self, effect: Any) -> None:
        """Nothing is left to do once the answer is recorded."""


class NoRuns:
    """An executor without runs."""


class FullDisk(MemoryStore):
    """A ledger that refuses for a while."""

    refusals = 0

    async def record(self, batch: Batch) -> int:
        await anyio.lowlevel.checkpoint()  # a disk takes its time, and others go on meanwhile
        if self.refusals:
            self.refusals -= 1
            raise OrchestratorError("the disk is full", why="no space", fix="make room")
        return await super().record(batch)


def a_place(folder: Path) -> Place:
    return Place(root=folder, common_dir=folder, state_dir=folder, worktrees=folder, socket=folder / "s")


def began(**more: Any) -> DaemonBegan:
    return DaemonBegan(pid=1, boot_id="b", version="0", quiet=timedelta(minutes=10), **more)


@asynccontextmanager
async def a_loop(store: MemoryStore, tmp_path: Path, hands: Hands) -> AsyncIterator[Loop]:
    place = a_place(tmp_path)
    loop = Loop(store=store, executor=NoRuns(), clock=SystemClock(), chance=SystemChance(), place=place)  # type: ignore[arg-type]
    to_do = await loop.recover()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(loop.run, hands, to_do, STARTED)
        with anyio.fail_after(10):
            await loop.begun.wait()
        yield loop
        tasks.cancel_scope.cancel()


def submitted() -> PlanSubmitted:
    return PlanSubmitted(plan=a_plan(a_task("one")), digest="d", by="me", sequential=False, rivals=(), rank={})


async def until(holds: Any) -> None:
    with anyio.fail_after(10):
        while not holds():
            await anyio.sleep(0.01)


async def test_what_nobody_answered_is_asked_again_after_a_restart(tmp_path: Path) -> None:
    ledger, first, second = MemoryLedger(), Hands(), Hands()
    async with a_loop(MemoryStore(ledger), tmp_path, first) as loop:
        await loop.request(submitted())
        await until(lambda: "p/one-1/worktree" in first.asked)
    async with a_loop(MemoryStore(ledger), tmp_path, second) as loop:
        await until(lambda: second.asked)
        assert second.asked == ["p/one-1/worktree"], "the answered effect is not asked again, the open one is"
        assert loop.state.plans[a_plan().name].tasks


async def test_the_state_is_what_the_ledger_says(tmp_path: Path) -> None:
    store = MemoryStore(MemoryLedger())
    async with a_loop(store, tmp_path, Hands()) as loop:
        await loop.request(submitted())
        await loop.request(PauseAsked(by="me"))
        assert loop.state == rebuild(await store.events())
        assert loop.state.plans[a_plan().name].phase is PlanPhase.PAUSED


async def test_a_refused_request_changes_nothing(tmp_path: Path) -> None:
    store = MemoryStore(MemoryLedger())
    async with a_loop(store, tmp_path, Hands()) as loop:
        before = len(await store.events())
        with pytest.raises(NothingError):
            await loop.request(PauseAsked(by="me"))
        assert len(await store.events()) == before


async def test_nothing_is_begun_that_the_ledger_does_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.engine.loop.PAUSE_S", 0.01)
    store, hands = FullDisk(MemoryLedger()), Hands()
    async with a_loop(store, tmp_path, hands) as loop:
        store.refusals = 1
        with pytest.raises(OrchestratorError, match="disk is full"):
            await loop.request(submitted())
        await anyio.wait_all_tasks_blocked()
        assert hands.asked == []
        await loop.request(submitted())
        await until(lambda: "p/one-1/worktree" in hands.asked)


class Unsure(MemoryStore):
    """A ledger that does not know for a while whether it took a batch."""

    times = 0
    handed_in: list[Batch]

    async def record(self, batch: Batch) -> int:
        self.handed_in = [*getattr(self, "handed_in", []), batch]
        if self.times:
            self.times -= 1
            raise UnsettledError("not known yet", why="the disk", fix="wait")
        return await super().record(batch)


async def test_a_batch_whose_fate_is_not_known_is_handed_in_again_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.engine.loop.PAUSE_S", 0.01)
    store = Unsure(MemoryLedger())
    async with a_loop(store, tmp_path, Hands()) as loop:
        await loop.request(submitted())
        await until(lambda: loop.state.plans[a_plan().name].tip)
        before = len(store.handed_in)
        store.times = 3
        await loop.request(PauseAsked(by="me"))
        assert len({id(batch) for batch in store.handed_in[before:]}) == 1
        assert len(store.handed_in) == before + 4
        assert loop.state == rebuild(await store.events())


class Fencing(MemoryStore):
    """A ledger that knows a newer claim than the loop: whatever is about this key is late."""

    late = "p/late"

    async def record(self, batch: Batch) -> int:
        if any(isinstance(event, EffectAbandoned) and event.key == self.late for event in batch.events):
            raise FencedError("an older token")
        return await super().record(batch)


async def test_what_belongs_to_a_claim_that_was_replaced_costs_nothing_else_in_its_batch(tmp_path: Path) -> None:
    store = Fencing(MemoryLedger())
    async with a_loop(store, tmp_path, Hands()) as loop:
        await loop.request(submitted())
        for name in ("first", Fencing.late, "second"):
            loop._send.send_nowait(_Delivery(EffectFailed(key=name, detail="")))
        await until(lambda: len(loop.state.open_items()) == 2)
        await loop.request(PauseAsked(by="me"))
        kept = [event.key for _, _, event in await store.events() if isinstance(event, EffectAbandoned)]
        assert kept == ["first", "second"]


async def test_a_daemon_that_was_replaced_records_nothing_and_ends(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    before = 0
    with pytest.raises(BaseExceptionGroup) as raised:  # noqa: PT012
        async with a_loop(MemoryStore(ledger), tmp_path, Hands()) as loop:
            await loop.request(submitted())
            async with a_loop(MemoryStore(ledger), tmp_path, Hands()):
                pass
            before = len(ledger.events)
            await loop.request(PauseAsked(by="me"))
    assert raised.group_contains(SupersededError, depth=None)
    assert len(ledger.events) == before


async def test_facts_that_change_nothing_are_not_written(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    async with a_loop(MemoryStore(ledger), tmp_path, Hands()) as loop:
        await loop.request(submitted())
        await until(lambda: loop.state.plans[a_plan().name].tip)
        await anyio.wait_all_tasks_blocked()
        before = ledger.commits
        assert await loop.request(Done()) == loop.seq
        assert ledger.commits == before


# ---- what a restart starts from ----


async def test_a_restart_goes_on_from_the_state_that_was_kept(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    async with a_loop(MemoryStore(ledger), tmp_path, Hands()) as loop:
        await loop.request(submitted())
        await until(lambda: loop.state.plans[a_plan().name].tip)
        await loop.keep_state(at_least=1)
        await loop.request(PauseAsked(by="me"))
    assert ledger.snapshot is not None
    store = MemoryStore(ledger)
    marked = replace(ledger.snapshot, item_count=77)  # what no event says: so it was read, and not folded
    ledger.snapshot = marked
    async with a_loop(store, tmp_path, Hands()) as loop:
        assert loop.state.item_count == 77
        assert loop.state.plans[a_plan().name].phase is PlanPhase.PAUSED, "and what followed is folded"
        assert replace(loop.state, item_count=0) == rebuild(await store.events())


async def test_a_token_that_was_given_out_before_an_older_ledger_was_put_back_is_never_given_out_again(
    tmp_path: Path,
) -> None:
    ledger = MemoryLedger(highest_token=41)
    store = MemoryStore(ledger)
    loop = Loop(store=store, executor=NoRuns(), clock=SystemClock(), chance=SystemChance(), place=a_place(tmp_path))  # type: ignore[arg-type]
    with loop._send, loop._receive:
        await loop.recover()
    assert loop.highest_token == 41
    await store.record(Batch(at=NOW, events=[began(tokens_from=loop.highest_token)]))
    assert rebuild(await store.events()).token == 41


async def test_rows_that_do_not_follow_from_the_events_are_mended_and_told(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    async with a_loop(MemoryStore(ledger), tmp_path, Hands()) as loop:
        await loop.request(submitted())
        await until(lambda: loop.state.plans[a_plan().name].tip)
    good = {table: dict(rows) for table, rows in ledger.tables.items()}
    ledger.tables["task"]["p/one"] = ("p", "landed", "{}")
    ledger.tables["task"]["p/ghost"] = ("p", "landed", "{}")
    async with a_loop(MemoryStore(ledger), tmp_path, Hands()) as loop:
        assert ledger.tables == good
        assert mendings(await MemoryStore(ledger).events()) == [("task p/one", "task p/ghost")]
        del ledger.tables["plan"]["p"]
        await loop.compare_rows()
        await until(lambda: ledger.tables == good)
        await until(lambda: loop.state.seq == len(ledger.events))
    assert mendings(await MemoryStore(ledger).events())[1:] == [("plan p",)]


async def test_rows_that_are_as_they_should_be_are_neither_written_nor_told(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    async with a_loop(MemoryStore(ledger), tmp_path, Hands()) as loop:
        await loop.request(submitted())
        await until(lambda: loop.state.plans[a_plan().name].tip)
    written = Written(ledger)
    async with a_loop(written, tmp_path, Hands()) as loop:
        await loop.compare_rows()
        await loop.request(PauseAsked(by="me"))
    assert mendings(await MemoryStore(ledger).events()) == []
    assert written.rows[0] == 0, "the daemon's beginning changes no row"


class Written(MemoryStore):
    """A ledger that counts the rows of each batch."""

    rows: tuple[int, ...] = ()

    async def record(self, batch: Batch) -> int:
        self.rows = (*self.rows, len(batch.rows))
        return await super().record(batch)


def mendings(events: list[tuple[int, datetime, Event]]) -> list[tuple[str, ...]]:
    return [event.keys for _, _, event in events if isinstance(event, ProjectionMended)]


async def test_a_full_disk_refuses_people_and_keeps_the_worlds_facts_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.engine.loop.PAUSE_S", 0.01)
    store = FullDisk(MemoryLedger())
    async with a_loop(store, tmp_path, Hands()) as loop:
        await loop.request(submitted())
        store.refusals = 1
        with pytest.raises(OrchestratorError, match="disk is full"):
            await loop.request(PauseAsked(by="me"))
        assert loop.state.plans[a_plan().name].phase is PlanPhase.RUNNING
        store.refusals = 3
        for name in ("first", "second", "third"):
            await loop._deliver(EffectFailed(key=name, detail=""), None)
        await until(lambda: len(loop.state.open_items()) == 3)
        assert [item.title.split()[-1] for item in loop.state.open_items()] == ["first", "second", "third"]
