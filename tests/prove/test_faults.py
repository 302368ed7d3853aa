"""The disk is full, or broken, or there are no descriptors: nothing is lost, and it goes on when that is over."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest

from tests.prove.crashes import tell, told
from tests.prove.life import Nursery
from tests.prove.rig import Rig
from tests.prove.size import scaled


@dataclass(frozen=True)
class Fault:
    """What is given back, of what, from which time on, how often."""

    error: str
    of: str
    at: int = 1
    times: int = 1

    def __str__(self) -> str:
        return f"{self.error} {self.of} {self.at} x{self.times}"


TABLE = (
    Fault("SQLITE_FULL", "COMMIT", 6, 2),
    Fault("SQLITE_IOERR_FSYNC", "COMMIT", 8),
    Fault("SQLITE_FULL", "INSERT", 10),
    Fault("ENOSPC", "open", 30, 3),
    Fault("ENOSPC", "git", 12, 2),
    Fault("EIO", "fsync", 1, 2),
    Fault("EIO", "rename", 4),
    Fault("EMFILE", "spawn", 2, 2),
    Fault("EMFILE", "git", 20, 3),
)
KINDS = (
    *((error, of) for error in ("SQLITE_FULL", "SQLITE_IOERR_FSYNC") for of in ("COMMIT", "INSERT", "BEGIN", "UPDATE")),
    *((error, of) for error in ("EIO", "ENOSPC") for of in ("open", "fsync", "rename", "mkdir", "git", "unlink")),
    *(("EMFILE", of) for of in ("open", "git", "spawn")),
)
PROVE_CASES = 100
#: How a daemon may end by itself then, having said what cannot be used and how to mend it.
CLEAR = frozenset({2, 6})


def endure(nursery: Nursery, fault: Fault, repeat: str) -> None:
    rig = Rig(fault=fault.error, fault_kind=fault.of, fault_at=fault.at, fault_times=fault.times)
    with told(nursery, repeat) as story:
        story.may_retry = True
        rigs = iter([replace(rig, seen=str(story.life.folder / "seen"))])
        tell(story, lambda: next(rigs, Rig()), may_end=CLEAR)
        out = (story.life.folder / "daemon.out").read_text()
        assert "Traceback" not in out, out
        seen = (story.life.folder / "seen").read_text().splitlines()
        assert any(line.startswith("?") for line in seen), "the fault never came to be"


@pytest.mark.parametrize(
    "fault", [*TABLE[:5], *(pytest.param(one, marks=pytest.mark.prove) for one in TABLE[5:])], ids=str
)
def test_a_fault_of_the_system_is_survived(nursery: Nursery, fault: Fault) -> None:
    endure(nursery, fault, f"pytest '{__file__}' -k '{fault}'")


@pytest.mark.prove
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(scaled(PROVE_CASES)))
def test_many_faults_of_the_system_are_survived(nursery: Nursery, seed: int) -> None:
    chance = random.Random(seed)
    error, of = KINDS[seed % len(KINDS)]
    fault = Fault(error, of, chance.randrange(1, 6), chance.randrange(1, 4))
    endure(nursery, fault, f"pytest -m prove '{__file__}' -k 'many_faults and {seed}'  # {fault}")
