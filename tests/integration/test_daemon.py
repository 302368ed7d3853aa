"""The loop with a real ledger: what is recorded before it is done, and what a restart makes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from orchestrator.backends.clock import SystemChance, SystemClock
from orchestrator.backends.memory import MemoryLedger, MemoryStore
from orchestrator.core.state import rebuild
from orchestrator.engine.loop import Loop
from orchestrator.model.errors import NothingError, OrchestratorError
from orchestrator.model.fact import BranchBegun, DaemonStarted, Done, EffectFailed, Fact, PauseAsked, PlanSubmitted
from orchestrator.model.ids import Commit
from orchestrator.model.place import Place
from orchestrator.model.run import PlanPhase
from orchestrator.ports import Batch
from tests.fakes.world import a_plan, a_task

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


@asynccontextmanager
async def a_loop(store: MemoryStore, tmp_path: Path, hands: Hands) -> AsyncIterator[Loop]:
    place = Place(root=tmp_path, common_dir=tmp_path, state_dir=tmp_path, worktrees=tmp_path, socket=tmp_path / "s")
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
