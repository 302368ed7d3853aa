"""Nothing that was acknowledged is lost with the power: the ledger, run folders, `repo.git`, the user's references."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import TOLD
from tests.prove.after_power import brought_to_its_end
from tests.prove.disk import Manner
from tests.prove.powerloss import SCALE, SEED, in_memory, ledger_verdict, recorded_ledger
from tests.prove.whole_run import recorded_run, run_verdict
from tests.prove.writelog import STRACE, Recording

BATCHES, IMAGES, RUN_IMAGES = 50, 150, 60  #: of the short form
PROVE_BATCHES, PROVE_IMAGES, PROVE_RUN_IMAGES = int(300 * SCALE), int(3000 * SCALE), int(1000 * SCALE)
PROVE_RESTARTS = int(6 * SCALE)

Tell = Callable[[str, object], None]

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(STRACE is None, reason="strace is not installed, and it is what records the writes"),
]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with in_memory() as made:
        yield made


@pytest.fixture(scope="module")
def short_ledger(folder: Path) -> Recording:
    return recorded_ledger(folder / "ledger", BATCHES)


@pytest.fixture(scope="module")
def whole_run(folder: Path) -> Recording:
    return recorded_run(folder / "whole run")


@pytest.mark.parametrize("manner", list(Manner))
async def test_what_the_ledger_says_of_commits_references_and_runs_is_there(
    whole_run: Recording, manner: Manner, record_property: Tell
) -> None:
    verdict = await run_verdict(whole_run, RUN_IMAGES, manner)
    record_property(TOLD, str(verdict))
    assert verdict.is_good, str(verdict)


@pytest.mark.parametrize("manner", list(Manner))
async def test_no_acknowledged_event_is_lost_with_the_power(
    short_ledger: Recording, manner: Manner, record_property: Tell
) -> None:
    verdict = await ledger_verdict(short_ledger, IMAGES, manner)
    record_property(TOLD, str(verdict))
    assert verdict.is_good, str(verdict)


async def test_a_ledger_that_syncs_less_is_seen_to_lose_events(folder: Path) -> None:
    recording = recorded_ledger(folder / "normal", BATCHES, synchronous="NORMAL")
    verdict = await ledger_verdict(recording, IMAGES // 2, Manner.ORDERED)
    assert verdict.lost, str(verdict)


@pytest.mark.prove
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("checkpoint", [30, 1000], ids=["frequent checkpoints", "checkpoints as they come"])
@pytest.mark.parametrize("manner", list(Manner))
async def test_in_thousands_of_images_no_acknowledged_event_is_lost(
    folder: Path, manner: Manner, checkpoint: int, record_property: Tell
) -> None:
    recording = recorded_ledger(folder / f"{manner}-{checkpoint}", PROVE_BATCHES, checkpoint=checkpoint)
    verdict = await ledger_verdict(recording, PROVE_IMAGES, manner)
    record_property(TOLD, str(verdict))
    assert verdict.is_good, str(verdict)


@pytest.mark.prove
@pytest.mark.timeout(1200)
async def test_in_thousands_of_images_syncing_less_loses_events(folder: Path, record_property: Tell) -> None:
    recording = recorded_ledger(folder / "normal-long", PROVE_BATCHES, synchronous="NORMAL")
    verdict = await ledger_verdict(recording, PROVE_IMAGES, Manner.ORDERED)
    record_property(TOLD, str(verdict))
    assert verdict.lost, str(verdict)


@pytest.mark.prove
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("manner", list(Manner))
async def test_in_many_images_of_a_whole_run_everything_agrees(
    whole_run: Recording, manner: Manner, record_property: Tell
) -> None:
    verdict = await run_verdict(whole_run, PROVE_RUN_IMAGES, manner)
    record_property(TOLD, str(verdict))
    assert verdict.is_good, str(verdict)


@pytest.mark.prove
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("manner", list(Manner))
def test_a_daemon_started_after_a_power_loss_brings_the_plan_to_its_end_once(folder: Path, manner: Manner) -> None:
    where = folder / f"after {manner}"
    recording = recorded_run(where)
    wrong = [brought_to_its_end(recording, where, manner, f"{SEED}-{number}") for number in range(PROVE_RESTARTS)]
    assert [one for one in wrong if one] == []
