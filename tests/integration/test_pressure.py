"""What the machine has left: looked at with real files, limits and threads."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest
import structlog

from orchestrator.backends.pressure import RESERVE_BYTES, LocalMachine
from orchestrator.backends.runfolder import exit_of, is_locked
from orchestrator.backends.watchdog import Watchdog
from orchestrator.engine.trouble import is_exhausted
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.place import Place


def a_place(folder: Path) -> Place:
    state = folder / "state"
    state.mkdir()
    return Place(root=folder, common_dir=folder, state_dir=state, worktrees=folder / "ü b" / "w", socket=folder / "s")


def test_folders_on_one_disk_are_one_room_and_one_that_is_not_there_yet_is_looked_at_above(tmp_path: Path) -> None:
    (room,) = LocalMachine(a_place(tmp_path)).rooms()
    assert room.path == str(tmp_path / "state")
    assert 0 < room.free <= room.total


def test_open_files_are_counted() -> None:
    machine = LocalMachine(a_place_nowhere())
    before = machine.descriptors()
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(10)]
    after = machine.descriptors()
    for fd in opened:
        os.close(fd)
    assert before is not None
    assert after is not None
    assert after[0] - before[0] == 10
    assert after[1] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def a_place_nowhere() -> Place:
    nowhere = Path("/nowhere")
    return Place(root=nowhere, common_dir=nowhere, state_dir=nowhere, worktrees=nowhere, socket=nowhere)


def test_the_reserve_really_takes_room_is_kept_once_and_given_up_once(tmp_path: Path) -> None:
    machine = LocalMachine(a_place(tmp_path))
    machine.keep_reserve()
    file = tmp_path / "state" / "reserve"
    first = file.stat()
    assert first.st_blocks * 512 >= RESERVE_BYTES
    assert first.st_mode & 0o077 == 0
    machine.keep_reserve()
    assert file.stat().st_ino == first.st_ino
    assert [machine.give_up_reserve(), machine.give_up_reserve()] == [True, False]
    assert list(file.parent.iterdir()) == []


def test_where_nothing_can_be_put_aside_nobody_is_stopped() -> None:
    machine = LocalMachine(a_place_nowhere())
    machine.keep_reserve()
    assert not machine.give_up_reserve()


def test_the_daemon_may_open_all_that_it_may_and_what_it_starts_gets_what_was_given(tmp_path: Path) -> None:
    """In a process of its own: a limit cannot be taken back."""
    code = f"""
import resource, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
from orchestrator.backends.pressure import raise_descriptors
assert raise_descriptors() == 300
assert raise_descriptors() == 300
from tests.fakes.runs import program, ran
run = Path({str(tmp_path)!r}) / "run"
print(ran(run, program("import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))"))["code"])
print((run / "output").read_text())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[0] == "0", done.stderr
    assert "(200, 300)" in done.stdout


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN])
def test_a_run_is_not_taken_for_gone_because_the_machine_has_nothing_left_to_look_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    (tmp_path / "lock").touch()
    assert not is_locked(tmp_path / "lock")
    assert exit_of(tmp_path) is None
    monkeypatch.setattr(os, "open", refuse)
    for look in (lambda: is_locked(tmp_path / "lock"), lambda: exit_of(tmp_path)):
        with pytest.raises(OrchestratorError, match=os.strerror(number)) as raised:
            look()
        assert is_exhausted(raised.value)


@pytest.mark.anyio
async def test_a_loop_that_does_not_turn_is_told_with_what_it_did_and_for_how_long() -> None:
    def busy_with_one_thing() -> None:
        time.sleep(0.5)

    with structlog.testing.capture_logs() as logged:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Watchdog(blocked_s=0.15, beat_s=0.02, look_s=0.03).run)
            await anyio.sleep(0.1)
            busy_with_one_thing()
            await anyio.sleep(0.2)
            tasks.cancel_scope.cancel()
    assert [line["event"] for line in logged] == ["loop.blocked", "loop.turns_again"]
    assert any("busy_with_one_thing" in line for line in logged[0]["stack"])
    assert logged[1]["blocked_s"] >= 0.4


@pytest.mark.anyio
async def test_a_loop_that_turns_is_left_in_peace() -> None:
    with structlog.testing.capture_logs() as logged:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Watchdog(blocked_s=0.5, beat_s=0.02, look_s=0.05).run)
            await anyio.sleep(0.4)
            tasks.cancel_scope.cancel()
    assert not logged


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
