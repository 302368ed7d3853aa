"""What is done beside the daemon's work goes on whatever happens, and never ends it."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest
from structlog.testing import capture_logs

from orchestrator.engine import upkeep
from orchestrator.engine.upkeep import Chore, Upkeep
from orchestrator.model.errors import OrchestratorError

pytestmark = pytest.mark.anyio

SOON = timedelta(milliseconds=1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Work:
    """A chore that fails as often as it is told to."""

    def __init__(self, failures: int = 0, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or OrchestratorError("no room", why="the disk is full")
        self.times = 0
        self.enough = anyio.Event()

    async def __call__(self) -> None:
        self.times += 1
        if self.times == 6:
            self.enough.set()
        if self.times <= self.failures:
            raise self.error


async def told(work: Work) -> list[tuple[str, str]]:
    """Run it six times. Returns: level and name of what was logged."""
    keeping = Upkeep([Chore(name="backup", every=SOON, does=work)])
    with capture_logs() as lines:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keeping.run)
            await work.enough.wait()
            tasks.cancel_scope.cancel()
    return [(line["log_level"], line["event"]) for line in lines]


@pytest.mark.parametrize(
    ("failures", "levels"),
    [
        pytest.param(0, [], id="all is well"),
        pytest.param(2, ["warning", "warning"], id="two in a row are worth a line each"),
        pytest.param(5, ["warning", "warning", "error", "warning", "warning", "info"], id="the third calls, once"),
    ],
)
async def test_failures_are_told(failures: int, levels: list[str]) -> None:
    assert [level for level, _ in await told(Work(failures))] == levels


async def test_a_bug_in_a_chore_does_not_end_the_others() -> None:
    broken, other = Work(99, ZeroDivisionError("oops")), Work()
    keeping = Upkeep([Chore(name="broken", every=SOON, does=broken), Chore(name="other", every=SOON, does=other)])
    with capture_logs():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keeping.run)
            await broken.enough.wait()
            await other.enough.wait()
            tasks.cancel_scope.cancel()
    assert keeping.states["broken"].trouble == "oops"
    assert keeping.states["other"].failures == 0


async def test_only_what_asks_for_it_is_done_on_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    last, other, hangs = Work(), Work(), anyio.Event()
    monkeypatch.setattr(upkeep, "LAST_S", 0.05)
    chores = [
        Chore(name="last", every=SOON, does=last, at_end=True),
        Chore(name="other", every=SOON, does=other),
        Chore(name="hangs", every=SOON, does=hangs.wait, at_end=True),
    ]
    with capture_logs() as lines:
        await Upkeep(chores).finish()
    assert (last.times, other.times) == (1, 0)
    assert [line["event"] for line in lines] == ["upkeep.unfinished"]
