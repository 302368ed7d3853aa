"""The system itself refuses calls, or ends who makes them: strace does that to a daemon and to all that it starts.

What `test_faults.py` gives back from inside Python comes from outside here: it meets SQLite, git, supervisors and
agents too, anywhere. After a few seconds it is over, and everything goes on.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.conftest import TOLD
from tests.prove.crashes import tell, told
from tests.prove.life import Life, Nursery
from tests.prove.rig import Rig
from tests.prove.size import scaled
from tests.prove.test_faults import CLEAR
from tests.prove.writelog import STRACE

LASTS_S = 3  #: of one daemon's life, from its beginning
LIVES = 3  #: so many daemons meet it, one after the other
PROVE_ROUNDS = 3

pytestmark = [
    pytest.mark.prove,
    pytest.mark.timeout(600),
    pytest.mark.skipif(STRACE is None, reason="strace is not installed, and it is what makes calls fail"),
]


@dataclass(frozen=True)
class Injection:
    """Which calls of each thread fail or kill, and how: every `step`th one after the first so many."""

    calls: str
    what: str  #: as strace says it
    step: tuple[int, int]  #: the least and the most

    def __str__(self) -> str:
        return f"{self.what.partition('=')[2]} of {self.calls}"

    def words(self, chance: random.Random) -> str:
        first, step = chance.randint(1, self.step[1]), chance.randint(*self.step)
        return f"inject={self.calls}:{self.what}:when={first}+{step}"


TABLE = (
    Injection("fdatasync", "error=EIO", (3, 8)),
    Injection("fsync", "error=EIO", (2, 6)),
    Injection("pwrite64", "error=ENOSPC", (10, 40)),
    Injection("openat", "error=EMFILE", (30, 90)),
    Injection("openat", "error=EIO", (40, 120)),
    Injection("rename,renameat,renameat2", "error=EIO", (2, 6)),
    Injection("clone,clone3,vfork", "error=EAGAIN", (2, 5)),
    Injection("mmap", "error=ENOMEM", (10, 40)),
    Injection("fdatasync", "signal=SIGKILL", (4, 20)),
    Injection("pwrite64", "signal=SIGKILL", (10, 60)),
    Injection("rename,renameat,renameat2", "signal=SIGKILL", (2, 12)),
    Injection("unlink,unlinkat,rmdir", "signal=SIGKILL", (3, 20)),
    Injection("openat", "signal=SIGKILL", (60, 300)),
)


@pytest.mark.parametrize("seed", range(scaled(PROVE_ROUNDS)))
@pytest.mark.parametrize("injection", TABLE, ids=str)
def test_calls_that_fail_or_kill_lose_nothing(
    nursery: Nursery, injection: Injection, seed: int, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(seed)
    tracers: list[subprocess.Popen[bytes]] = []
    with told(nursery, f"pytest -m prove '{__file__}' -k 'calls_that and {seed}'  # {injection}") as story:
        life = story.life
        story.may_retry = True
        heard = life.folder / "injected"

        def traced(life: Life = life) -> None:
            if life.lives > LIVES:
                return
            follow = [STRACE or "", "-f", "-A", "-o", str(heard), "-p", str(life.daemon)]
            inject = ["-e", f"trace={injection.calls}", "-e", injection.words(chance)]
            command = ["timeout", str(LASTS_S), *follow, *inject]
            tracers.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))

        try:
            tell(story, Rig, moment=traced, may_end=CLEAR)
        finally:
            for tracer in tracers:
                tracer.terminate()
                tracer.wait(timeout=30)
        lines = heard.read_text(errors="replace").splitlines()
        injected = sum("(INJECTED)" in line for line in lines) + sum("killed by SIGKILL" in line for line in lines)
        assert injected, "nothing was injected"
        out = life.folder / "daemon.out"
        assert "Traceback" not in out.read_text(), out.read_text()
        record_property(TOLD, f"{injection}, seed {seed}: {injected} times, {life.lives} daemons")
