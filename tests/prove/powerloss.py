"""The power goes at any moment: what a disk could then hold is built, and the product's own code has to cope with it.

Each image is judged by what was promised before the cut. Recordings are made in memory, images are laid out there.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.backends.sqlite import SqliteStore, verify
from orchestrator.model.errors import NothingError, OrchestratorError
from tests.prove.disk import Disk, Manner, lay_out
from tests.prove.writelog import Recording, each_mark, record

HERE = Path(__file__).resolve().parents[2]
SCALE = float(os.environ.get("PROVE_SCALE", "1"))
SEED = int(os.environ.get("PROVE_SEED", "20260102"))
MEMORY = Path("/dev/shm")
SHOWN = 5  #: violations that are told whole


@dataclass(slots=True)
class Verdict:
    """What a series of images came to."""

    what: str
    manner: Manner
    seed: int
    images: int = 0
    lost: int = 0  #: images without something that was promised
    worst: int = 0  #: promised things missing in one image
    broken: int = 0  #: images that could not be opened, or were not whole
    told: list[str] = field(default_factory=list)

    def add(self, cut: int, missing: int, trouble: str) -> None:
        self.images += 1
        self.lost += missing > 0
        self.worst = max(self.worst, missing)
        self.broken += bool(trouble) and not missing
        if (missing or trouble) and len(self.told) < SHOWN:
            self.told.append(f"after operation {cut}: {missing} missing; {trouble}")

    @property
    def is_good(self) -> bool:
        return not self.lost and not self.broken

    def __str__(self) -> str:
        told = "".join(f"\n  {one}" for one in self.told)
        return (
            f"{self.what}, {self.manner}: {self.images} images, {self.lost} lost something acknowledged (worst "
            f"{self.worst}), {self.broken} broken; again with PROVE_SEED={self.seed}{told}"
        )


@contextmanager
def in_memory() -> Iterator[Path]:
    """A folder that costs no disk."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None, prefix="power-") as folder:
        yield Path(folder).resolve()


def images(
    recording: Recording,
    count: int,
    folder: Path,
    manner: Manner,
    *,
    seed: int,
    start: int = 0,
    wanted: Callable[[str], bool] = lambda path: True,
) -> Iterator[tuple[int, Path]]:
    """Images at random moments, in the order of time: how many operations had been done, and where it was laid out."""
    chance = random.Random(f"{seed} {manner}")
    disk = Disk.at_first(recording, manner)
    for cut in sorted(chance.randrange(start, len(recording.ops) + 1) for _ in range(count)):
        disk.forward(cut)
        lay_out(recording, disk.crash(chance), folder, wanted)
        yield cut, folder


# ---- the ledger ----


def recorded_ledger(folder: Path, count: int, *, synchronous: str = "FULL", checkpoint: int = 30) -> Recording:
    """A ledger being written through the product's store, with a mark after every batch that was acknowledged."""
    root, marker = folder / "root", folder / "marks"
    (root / "repo" / ".git").mkdir(parents=True)
    ledger = root / "repo" / ".git" / "orchestrator" / "ledger.sqlite"
    driver = [sys.executable, "-m", "tests.prove.ledger_driver", str(ledger), str(marker), str(count)]
    return record(
        [*driver, synchronous, str(checkpoint)],
        root=root,
        marker=marker,
        log=folder / "log",
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=HERE,
        timeout_s=200,
    )


async def ledger_verdict(recording: Recording, count: int, manner: Manner, *, seed: int = SEED) -> Verdict:
    """Every event that was acknowledged is there, the chain holds, and the store opens and goes on."""
    verdict = Verdict("ledger", manner, seed)
    with in_memory() as folder:
        for cut, image in images(recording, count, folder / "image", manner, seed=seed):
            promised = max((int(mark) for mark in each_mark(recording, cut)), default=-1)
            verdict.add(cut, *await _missing_events(image / "repo/.git/orchestrator/ledger.sqlite", promised))
    return verdict


async def _missing_events(ledger: Path, promised: int) -> tuple[int, str]:
    """How many acknowledged events are not there, and what else is wrong."""
    if not ledger.exists():
        return max(promised, int(promised >= 0)), "" if promised < 0 else "there is no ledger"
    try:
        store = await SqliteStore.open(ledger)
        try:
            seqs = [seq for seq, *_ in await store.events()]
        finally:
            await store.close()
        counted = verify(ledger)
    except NothingError as error:
        return max(promised, 0), str(error)
    except OrchestratorError as error:
        return 0, str(error)
    if seqs != list(range(1, len(seqs) + 1)) or counted != len(seqs):
        return 0, f"events {seqs[:3]}..{seqs[-3:]}, {counted} of them verified"
    return max(0, promised - len(seqs)), ""
