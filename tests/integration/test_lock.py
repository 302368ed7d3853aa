"""One daemon per repository, whoever comes at once and however the holder goes."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator import __version__
from orchestrator.backends.lock import DaemonLock, this_process
from orchestrator.backends.machine import boot_id, start_time
from orchestrator.model.errors import ExitCode, OrchestratorError, RefusedError

HOLD = """
import sys
from pathlib import Path
from orchestrator.backends.lock import DaemonLock
lock = DaemonLock.acquire(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""

#: many processes by fork, so that they are ready at the same instant; each waits at the gate, tries once, and stays
RACE = """
import os, sys
from pathlib import Path
from orchestrator.backends.lock import DaemonLock
from orchestrator.model.errors import RefusedError
path, count = Path(sys.argv[1]), int(sys.argv[2])
gate_out, gate_in = os.pipe()
said_out, said_in = os.pipe()
stay_out, stay_in = os.pipe()
for _ in range(count):
    if os.fork() == 0:
        os.close(gate_in), os.close(stay_in)
        os.read(gate_out, 1)
        try:
            lock = DaemonLock.acquire(path)
            os.write(said_in, b"W")
        except RefusedError:
            os.write(said_in, b"R")
        except BaseException:
            os.write(said_in, b"X")
        os.read(stay_out, 1)
        os._exit(0)
os.close(gate_in)
said = b""
while len(said) < count:
    said += os.read(said_out, count)
os.close(stay_in)
for _ in range(count):
    os.wait()
print(said.decode())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "daemon.lock"


@contextmanager
def another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_holder_says_who_it_is(path: Path) -> None:
    with DaemonLock.acquire(path):
        content = DaemonLock.holder(path)
        assert content is not None
        assert content["pid"] == os.getpid()
        assert content["version"] == __version__
        assert (content["start_time"], content["boot_id"]) == (this_process().start_time, this_process().boot_id)
        assert content["at"].endswith("+00:00")
        assert path.stat().st_mode & 0o777 == 0o600


def test_the_lock_is_free_after_release_and_the_file_stays(path: Path) -> None:
    lock = DaemonLock.acquire(path)
    lock.release()
    lock.release()
    assert DaemonLock.holder(path) is None
    assert path.exists()
    DaemonLock.acquire(path).release()


def test_a_second_daemon_is_refused_and_told_who_holds_it(path: Path) -> None:
    with another_process(path) as process:
        with pytest.raises(RefusedError) as raised:
            DaemonLock.acquire(path)
        assert f"pid {process.pid}" in raised.value.message
        assert "orchestrator stop" in raised.value.fix
        assert f"kill {process.pid}" in raised.value.fix
        assert raised.value.exit_code == ExitCode.REFUSED
        info = DaemonLock.holder(path)
        assert info is not None
        assert info["pid"] == process.pid


def test_a_second_lock_in_the_same_process_is_refused_too(path: Path) -> None:
    with DaemonLock.acquire(path), pytest.raises(RefusedError):
        DaemonLock.acquire(path)


def test_a_killed_holder_holds_nothing_and_what_it_wrote_is_not_believed(path: Path) -> None:
    with another_process(path):
        pass
    assert json.loads(path.read_text())["pid"] > 0
    assert DaemonLock.holder(path) is None
    with DaemonLock.acquire(path):
        info = DaemonLock.holder(path)
        assert info is not None
        assert info["pid"] == os.getpid()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing yet"),
        pytest.param(b'{"pid": 12', id="half a line"),
        pytest.param(b"[]", id="something else"),
    ],
)
def test_a_holder_that_has_not_said_who_it_is_still_holds(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with path.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert DaemonLock.holder(path) == {"pid": 0}


def test_what_a_killed_daemon_was_just_starting_keeps_nobody_from_starting(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    inherited = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(inherited, fcntl.LOCK_EX)
    threading.Timer(0.1, os.close, [inherited]).start()
    with DaemonLock.acquire(path) as lock:
        assert lock.is_held()


def test_a_holder_that_cannot_be_named_is_respected(path: Path) -> None:
    path.parent.mkdir()
    with path.open("w+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RefusedError, match="not known yet"):
            DaemonLock.acquire(path)


def test_what_a_dead_holder_left_is_not_taken_for_the_words_of_a_fresh_one(path: Path) -> None:
    with another_process(path) as process:
        dead = process.pid
    with path.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # a fresh holder that is about to write

        def write() -> None:
            os.ftruncate(held.fileno(), 0)
            mine = this_process()
            words = {"pid": mine.pid, "start_time": mine.start_time, "boot_id": mine.boot_id}
            os.pwrite(held.fileno(), json.dumps(words).encode(), 0)

        timer = threading.Timer(0.05, write)
        timer.start()
        info = DaemonLock.holder(path)
        timer.join()
    assert info is not None
    assert info["pid"] == os.getpid() != dead


def test_a_pid_that_was_given_to_another_process_is_not_believed(path: Path) -> None:
    with DaemonLock.acquire(path):
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"start_time": 1}))
        with path.open("r+b") as file:
            # after a while nobody can be about to write, and the holder may live where we cannot see it
            assert DaemonLock.holder(path) == content | {"start_time": 1}
            file.truncate(0)
        assert DaemonLock.holder(path) == {"pid": 0}


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("pid", [0, 1, -1, -(2**31), 2**31, 10**30], ids=str)
def test_a_forged_holder_is_not_named_so_nobody_is_told_to_end_a_stranger(path: Path, pid: int) -> None:
    with DaemonLock.acquire(path), subprocess.Popen(["sleep", "60"]) as stranger:
        lie = {"pid": pid or stranger.pid, "boot_id": boot_id()}
        path.write_text(json.dumps(lie | {"start_time": start_time(lie["pid"]) if lie["pid"] > 0 else 0}))
        assert DaemonLock.holder(path) == {"pid": 0}
        with pytest.raises(RefusedError) as refused:
            DaemonLock.acquire(path)
        assert "pid not known yet" in str(refused.value)
        assert "kill" not in str(refused.value)
        stranger.kill()


def test_nobody_holds_a_lock_that_was_never_made(path: Path) -> None:
    assert DaemonLock.holder(path) is None
    assert not path.parent.exists()


def test_who_only_looks_never_keeps_a_daemon_from_starting(path: Path) -> None:
    DaemonLock.acquire(path).release()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            DaemonLock.holder(path)

    lookers = [threading.Thread(target=look) for _ in range(4)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(100):
            DaemonLock.acquire(path).release()
    finally:
        stop.set()
        for looker in lookers:
            looker.join()


def test_of_fifty_at_once_exactly_one_wins(path: Path) -> None:
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", RACE, str(path), "50"], capture_output=True, text=True, timeout=60, check=True
        )
        assert sorted(done.stdout.strip()) == ["R"] * 49 + ["W"]


def test_a_holder_notices_that_its_file_was_taken_away(path: Path) -> None:
    with DaemonLock.acquire(path) as lock:
        assert lock.is_held()
        path.unlink()
        assert not lock.is_held()
        path.touch()
        assert not lock.is_held()


def test_programs_that_the_holder_starts_do_not_hold_it(path: Path) -> None:
    lock = DaemonLock.acquire(path)
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    with child:
        lock.release()
        assert DaemonLock.holder(path) is None


def test_a_link_in_the_place_of_the_file_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    victim = tmp_path / "precious"
    victim.write_text("precious")
    path.symlink_to(victim)
    with pytest.raises(OrchestratorError, match="cannot be opened"):
        DaemonLock.acquire(path)
    assert victim.read_text() == "precious"
