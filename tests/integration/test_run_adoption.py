"""A run from daemon to daemon: what it says is heard once, whatever happens to the daemon or to the file."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator.backends import local
from orchestrator.backends.local import LocalExecutor
from orchestrator.backends.process import live_supervisor
from orchestrator.backends.runfolder import Reports
from orchestrator.backends.supervisor import Beat
from orchestrator.model.agent import Progress
from orchestrator.model.attempt import ExitWhy, RunLife
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.ids import RunId
from orchestrator.ports import BeatSeen, ExitSeen, ReportSeen
from tests.fakes.runs import PATIENCE_S, a_spec, program, text_of, until

pytestmark = pytest.mark.anyio

RUN = RunId("plan/task-1/agent")
SLEEP = program("import time; time.sleep(60)")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "attempt").mkdir()
    return tmp_path / "attempt" / "agent"


async def soon(is_so: Callable[[], Any], what: str) -> None:
    await anyio.to_thread.run_sync(until, is_so, what)


async def started(run_dir: Path, argv: tuple[str, ...], **changes: Any) -> LocalExecutor:
    executor = LocalExecutor()
    await executor.submit(a_spec(run_dir, argv, **changes))
    await executor.release(RUN, str(run_dir))
    await soon(lambda: json.loads((run_dir / "meta.json").read_text())["agent"], "the program runs")
    return executor


def line(text: str, **more: Any) -> bytes:
    return json.dumps({"type": "progress", "text": text, **more}).encode() + b"\n"


def texts(seen: list[ReportSeen]) -> list[str]:
    return [one.report.text for one in seen if isinstance(one.report, Progress)]


# ---- one daemon after the other ----

#: writes numbered reports and output, some of both in halves, until it is told to end
COUNTING = """
import json, os, time
number = 0
with open("agent/reports", "ab", buffering=0) as file:
    while not os.path.exists("end") or number < 300:
        whole = json.dumps({"type": "progress", "text": str(number)}).encode() + b"\\n"
        half = len(whole) // 2
        file.write(whole[:half]); time.sleep(0.001); file.write(whole[half:])
        os.write(1, b"%d\\n" % number)
        number += 1
"""
#: a daemon that notes each report as the engine does: the offset together with what was said, in one transaction
DAEMON = """
import os, sys, anyio
from pathlib import Path
from orchestrator.backends.local import LocalExecutor
from orchestrator.ports import ExitSeen, ReportSeen
async def main():
    run_dir, ledger = Path(sys.argv[1]), Path(sys.argv[2])
    lines = ledger.read_text().splitlines()
    offset = int(lines[-1].split()[0]) if lines else 0
    with ledger.open("a") as file:
        executor = LocalExecutor()
        async for seen in executor.signals("plan/task-1/agent", str(run_dir), reports_from=offset, quiet_after_s=60):
            if isinstance(seen, ReportSeen):
                os.write(file.fileno(), f"{seen.offset} {seen.report.text}\\n".encode())
            elif isinstance(seen, ExitSeen):
                print(seen.exit.why, flush=True)
anyio.run(main)
"""


async def test_eight_daemons_that_are_killed_one_after_the_other_hear_everything_once(run_dir: Path) -> None:
    executor = await started(run_dir, program(COUNTING), timeout_s=120)
    before = live_supervisor(run_dir)
    ledger = run_dir.parent / "ledger"
    ledger.touch()
    argv = [sys.executable, "-c", DAEMON, str(run_dir), str(ledger)]

    def heard() -> int:
        return len(text_of(ledger).splitlines())

    for _ in range(8):
        count = heard()
        with subprocess.Popen(argv, cwd=Path(__file__).parents[2]) as daemon:
            await soon(lambda count=count: heard() > count + 5, "the daemon hears something")
            daemon.kill()
        assert live_supervisor(run_dir) == before
    (run_dir.parent / "end").touch()
    last = await anyio.to_thread.run_sync(
        lambda: subprocess.run(argv, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60)
    )
    assert last.stdout == "exit\n", last.stderr
    numbers = [int(entry.split()[1]) for entry in text_of(ledger).splitlines()]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 300
    assert [int(number) for number in text_of(run_dir / "output").split()] == numbers
    async for _ in executor.signals(RUN, str(run_dir), reports_from=0, quiet_after_s=60):
        pass  # takes note of its end


def test_a_report_is_heard_once_from_every_offset_and_in_every_piece(tmp_path: Path) -> None:
    data = line("one") + b"garbage\n" + line("two") + line("three")[:-9]
    (tmp_path / "reports").write_bytes(data)
    seen, _ = Reports(tmp_path, 0).read()
    assert texts(seen) == ["one", "two"]
    for first in seen:
        again = Reports(tmp_path, first.offset)
        rest, _ = again.read()
        assert rest == [one for one in seen if one.offset > first.offset]
        (tmp_path / "reports").write_bytes(data + line("three")[-9:])
        assert texts(again.read()[0]) == ["three"]
        (tmp_path / "reports").write_bytes(data)


# ---- a file that is not what it was ----


def cut(path: Path) -> None:
    path.write_bytes(b"")


def replaced(path: Path) -> None:
    path.with_name("new").write_bytes(b"")
    path.with_name("new").rename(path)


@pytest.mark.parametrize(("disturb", "why"), [(cut, "cut short"), (replaced, "replaced")])
def test_what_is_said_after_the_file_was_cut_short_or_replaced_is_heard(tmp_path: Path, disturb: Any, why: str) -> None:
    path = tmp_path / "reports"
    path.write_bytes(line("a long first report, longer than all that follows") + b'{"type": "pro')
    reports = Reports(tmp_path, 0)
    ((first, *_), _) = reports.read()
    disturb(path)
    with path.open("ab") as file:
        file.write(line("two") + line("three"))
    later, _ = reports.read()
    assert texts(later) == ["two", "three"]
    assert first.offset < later[0].offset < later[1].offset, "an offset that goes back would be taken for an old report"
    assert why in reports.trouble


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(line("new"), id="shorter than the offset"),
        pytest.param(b"x" * 400 + b"\n" + line("new"), id="no line ends at the offset"),
    ],
)
def test_a_file_that_changed_between_two_daemons_is_read_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "reports").write_bytes(content)
    reports = Reports(tmp_path, 300)
    seen, _ = reports.read()
    assert texts(seen) == ["new"]
    assert seen[0].offset > 300
    assert reports.trouble


@pytest.mark.parametrize("thing", ["fifo", "link", "folder", "socket"])
async def test_what_is_no_file_is_passed_over_and_told(run_dir: Path, thing: str) -> None:
    make = {
        "fifo": "os.mkfifo('agent/reports')",
        "link": "os.symlink('/etc/passwd', 'agent/reports')",
        "folder": "os.mkdir('agent/reports')",
        "socket": "import socket; socket.socket(socket.AF_UNIX).bind('agent/reports')",
    }
    executor = await started(run_dir, program(f"import os\n{make[thing]}\nprint('harmless')"))
    with anyio.fail_after(PATIENCE_S):
        seen = [one async for one in executor.signals(RUN, str(run_dir), reports_from=10, quiet_after_s=60)]
    assert isinstance(seen[-1], ExitSeen)
    assert seen[-1].tail == "harmless"
    reports = Reports(run_dir, 0)
    assert reports.read() == ([], False)
    assert "no file" in reports.trouble


# ---- tokens ----


def test_a_report_with_the_token_of_another_attempt_is_none_of_this_run(tmp_path: Path) -> None:
    (tmp_path / "reports").write_bytes(
        line("mine", token=7)
        + line("older", token=6)
        + line("newer", token=8)
        + line("without")
        + line("text", token="6")
        + line("true", token=True)
    )
    reports = Reports(tmp_path, 0, token=7)
    assert texts(reports.read()[0]) == ["mine", "without", "text", "true"]
    assert reports.foreign == 2
    assert len(Reports(tmp_path, 0).read()[0]) == 6


async def test_the_token_reaches_the_next_daemon_by_the_run_folder(run_dir: Path) -> None:
    code = "import json\nwith open('agent/reports', 'w') as f:\n"
    for token in (6, 7):
        code += f"    f.write(json.dumps({{'type': 'progress', 'text': 'of {token}', 'token': {token}}}) + '\\n')\n"
    await started(run_dir, program(code), token=7)
    signals = LocalExecutor().signals(RUN, str(run_dir), reports_from=0, quiet_after_s=60)
    with anyio.fail_after(PATIENCE_S):
        assert texts([one async for one in signals if isinstance(one, ReportSeen)]) == ["of 7"]


# ---- life ----


def age(path: Path, seconds: float) -> None:
    at = path.stat().st_mtime - seconds
    os.utime(path, (at, at))


def test_a_beat_moves_the_time_of_the_lock_and_is_due_again_after_ten_seconds(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    age(tmp_path / "lock", 500)
    old = (tmp_path / "lock").stat().st_mtime
    fd = os.open(tmp_path / "lock", os.O_RDWR)
    beat = Beat(fd)
    assert 9 < beat.give() <= 10
    assert (tmp_path / "lock").stat().st_mtime > old + 400
    age(tmp_path / "lock", 500)
    assert beat.give() <= 10
    assert (tmp_path / "lock").stat().st_mtime < old + 100
    os.close(fd)
    assert beat.give() <= 10
    Beat(fd).give()  # a disk that fails is not our end


@pytest.mark.parametrize("stage", ["waits for its go-byte", "runs", "waits for a person", "waits for room on the disk"])
async def test_a_supervisor_beats_whatever_it_waits_for(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    quick = tmp_path / "quick" / "supervisor.py"  # the same, a hundred times as often
    quick.parent.mkdir()
    original = Path(local.__file__).with_name("supervisor.py").read_text()
    quick.write_text(original.replace("BEAT_S = 10.0", "BEAT_S = 0.1"))
    assert quick.read_text() != original
    monkeypatch.setattr("orchestrator.backends.process.SUPERVISOR", quick)
    code = "import time; time.sleep(60)"
    if stage == "waits for a person":
        code = "import fcntl\nfile = open('agent/waiting', 'w')\nfcntl.flock(file, fcntl.LOCK_SH)\n" + code
    elif stage == "waits for room on the disk":
        code = "import os\nos.mkdir('agent/.exit.json.new')"  # the exit record cannot be written
    if stage == "waits for its go-byte":
        executor = LocalExecutor()
        await executor.submit(a_spec(run_dir, program(code)))
    else:
        executor = await started(run_dir, program(code))
    age(run_dir / "lock", 500)
    old = (run_dir / "lock").stat().st_mtime
    await soon(lambda: (run_dir / "lock").stat().st_mtime > old + 400, "it beats")
    if stage == "waits for room on the disk":
        (run_dir / ".exit.json.new").rmdir()
        with anyio.fail_after(PATIENCE_S):
            seen = [one async for one in executor.signals(RUN, str(run_dir), reports_from=0, quiet_after_s=60)]
        assert isinstance(seen[-1], ExitSeen)
        assert (seen[-1].exit.why, seen[-1].exit.code) == (ExitWhy.EXIT, 0)
    else:
        assert await executor.kill(RUN, str(run_dir)) == ()


async def test_a_run_tells_its_beats_at_most_every_half_minute(run_dir: Path) -> None:
    executor = await started(run_dir, program("import time; time.sleep(1)"))
    signals = executor.signals(RUN, str(run_dir), reports_from=0, quiet_after_s=60)
    with anyio.fail_after(PATIENCE_S):
        assert [type(one) for one in [one async for one in signals]] == [BeatSeen, ExitSeen]


async def test_life_is_probed(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "BEAT_WAIT_S", 0.3)
    executor = await started(run_dir, SLEEP)
    daemon = LocalExecutor()
    assert await daemon.probe(RUN, str(run_dir)) is RunLife.ALIVE
    age(run_dir / "lock", 31)
    assert await daemon.probe(RUN, str(run_dir)) is RunLife.SILENT
    age(run_dir / "lock", -1000)  # the clock was set back: this time says nothing
    assert await daemon.probe(RUN, str(run_dir)) is RunLife.SILENT
    os.utime(run_dir / "lock")
    assert await daemon.probe(RUN, str(run_dir)) is RunLife.ALIVE
    supervisor = live_supervisor(run_dir)
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGSTOP)
    await soon(lambda: Path(f"/proc/{supervisor.pid}/stat").read_text().split(") ")[1][0] == "T", "it is suspended")
    assert await daemon.probe(RUN, str(run_dir)) is RunLife.SILENT
    assert await daemon.kill(RUN, str(run_dir)) == ()
    assert await daemon.probe(RUN, str(run_dir)) is RunLife.GONE
    with anyio.fail_after(PATIENCE_S):
        seen = [one async for one in executor.signals(RUN, str(run_dir), reports_from=0, quiet_after_s=60)]
    assert isinstance(seen[-1], ExitSeen)
    assert seen[-1].exit.why is ExitWhy.LOST
    assert await daemon.probe(RUN, str(run_dir.with_name("never made"))) is RunLife.GONE


async def test_a_suspended_supervisor_can_be_stopped(run_dir: Path) -> None:
    executor = await started(run_dir, SLEEP)
    supervisor = live_supervisor(run_dir)
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGSTOP)
    await executor.stop(RUN, str(run_dir))
    with anyio.fail_after(PATIENCE_S):
        seen = [one async for one in executor.signals(RUN, str(run_dir), reports_from=0, quiet_after_s=60)]
    assert isinstance(seen[-1], ExitSeen)
    assert seen[-1].exit.why is ExitWhy.STOPPED


# ---- descriptors ----


class Exhausted:
    """While it lasts, this process can open so many files more and no others."""

    def __init__(self, left: int) -> None:
        self._left = left
        self._held: list[int] = []

    def __enter__(self) -> None:
        self._limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, self._limits[0]), self._limits[1]))
        try:
            while True:
                self._held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            for fd in self._held[len(self._held) - self._left :]:
                os.close(fd)
            del self._held[len(self._held) - self._left :]

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, self._limits)
        for fd in self._held:
            os.close(fd)


async def refusal(call: Callable[[], Any], allowed: set[Any] | None = None) -> OrchestratorError | None:
    """Why something was refused; None when it gave one of the allowed answers."""
    try:
        given = await call()
    except OrchestratorError as error:
        return error
    assert allowed is None or given in allowed
    return None


def open_now() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("left", range(9))
async def test_a_start_without_descriptors_says_so_leaks_nothing_and_can_be_tried_again(
    run_dir: Path, left: int
) -> None:
    executor = LocalExecutor()
    spec = a_spec(run_dir, program("print('ran')"))
    await anyio.to_thread.run_sync(int)  # the thread is there
    before = open_now()
    with Exhausted(left):
        error = await refusal(lambda: executor.submit(spec))
    if error is not None:
        assert "open files" in str(error)
        assert "ulimit -n" in error.fix
    else:
        assert left >= 4, "it was started with nothing to start it with"
    assert open_now() - before in {0, 1}, "1: it waits for its go-byte"
    await executor.submit(spec)
    await executor.release(RUN, str(run_dir))
    with anyio.fail_after(PATIENCE_S):
        seen = [one async for one in executor.signals(RUN, str(run_dir), reports_from=0, quiet_after_s=60)]
    assert isinstance(seen[-1], ExitSeen)
    assert seen[-1].tail == "ran"
    assert open_now() == before


@pytest.mark.parametrize("left", range(4))
async def test_a_run_is_never_taken_for_lost_because_nothing_can_be_opened(run_dir: Path, left: int) -> None:
    executor = await started(run_dir, SLEEP)
    adopting = LocalExecutor()
    before = open_now()
    supervisor = live_supervisor(run_dir)

    async def first_signal() -> object:
        signals = adopting.signals(RUN, str(run_dir), reports_from=0, quiet_after_s=60)
        try:
            return await anext(signals)
        finally:
            await signals.aclose()  # type: ignore[attr-defined]

    calls: list[Callable[[], Any]] = [
        first_signal,
        lambda: adopting.probe(RUN, str(run_dir)),
        lambda: adopting.stop(RUN, str(run_dir)) if left == 0 else anyio.sleep(0),
        lambda: adopting.kill(RUN, str(run_dir)) if left == 0 else anyio.sleep(0),
        lambda: adopting.submit(a_spec(run_dir, SLEEP)),
    ]
    with Exhausted(left):
        for call in calls:
            error = await refusal(call, {None, RunLife.ALIVE, BeatSeen(), supervisor})
            if error is not None:
                assert "open files" in str(error)
                assert "ulimit -n" in error.fix
            else:
                assert left
    assert open_now() == before
    assert live_supervisor(run_dir) == supervisor
    await executor.stop(RUN, str(run_dir))
    with anyio.fail_after(PATIENCE_S):
        seen = [one async for one in executor.signals(RUN, str(run_dir), reports_from=0, quiet_after_s=60)]
    assert isinstance(seen[-1], ExitSeen)
    assert seen[-1].exit.why is ExitWhy.STOPPED


@pytest.mark.parametrize("left", range(8))
async def test_a_kill_without_descriptors_leaves_a_supervisor_that_goes_on(run_dir: Path, left: int) -> None:
    executor = await started(run_dir, SLEEP)
    supervisor = live_supervisor(run_dir)
    assert supervisor is not None
    before = open_now()
    with Exhausted(left):
        error = await refusal(lambda: executor.kill(RUN, str(run_dir)), {()})
    assert open_now() == before
    if error is not None:
        assert "open files" in str(error)
        assert live_supervisor(run_dir) == supervisor
        assert Path(f"/proc/{supervisor.pid}/stat").read_text().split(") ")[1][0] != "T"
    else:
        assert left
        assert live_supervisor(run_dir) is None
    assert await executor.kill(RUN, str(run_dir)) == ()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_a_watched_run_costs_one_descriptor(run_dir: Path) -> None:
    executor = LocalExecutor()
    await anyio.to_thread.run_sync(int)
    before = open_now()
    specs = [
        a_spec(run_dir.with_name(f"run-{number}"), SLEEP, run_id=RunId(f"plan/t-{number}/agent")) for number in range(6)
    ]
    async with anyio.create_task_group() as tasks:
        for spec in specs:
            await executor.submit(spec)
            await executor.release(spec.run_id, spec.run_dir)
            tasks.start_soon(watch, executor, spec.run_id, spec.run_dir)
        await soon(lambda: open_now() >= before + len(specs), "all are watched")
        await anyio.sleep(0.3)
        assert open_now() - before <= len(specs) + 1  # the last: one that is looked at just now
        for spec in specs:
            assert await executor.kill(spec.run_id, spec.run_dir) == ()


async def watch(executor: LocalExecutor, run_id: RunId, run_dir: str) -> None:
    async for _ in executor.signals(run_id, run_dir, reports_from=0, quiet_after_s=60):
        pass
