"""The executor on this machine: starting, watching, adopting and stopping real runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator.backends.local import LocalExecutor
from orchestrator.backends.process import boot_id, live_supervisor, start_time
from orchestrator.backends.runfolder import BLOCK, Reports, has_started, supervisor_of
from orchestrator.model.agent import HandedIn, Progress
from orchestrator.model.attempt import ExitWhy, RunExit
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.ids import RunId
from orchestrator.ports import BeatSeen, ExitSeen, QuietSeen, ReportSeen, RunSignal, RunSpec
from tests.fakes.runs import PATIENCE_S, a_spec, is_alive, program, text_of, until

pytestmark = pytest.mark.anyio
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

RUN = RunId("plan/task-1/agent")
SLEEP = program("import time; time.sleep(60)")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "attempt" / "agent"


async def seen(
    executor: LocalExecutor, run_dir: Path, *, reports_from: int = 0, quiet_after_s: float = 60
) -> list[RunSignal]:
    """Everything that a run tells until it ends, its beats excepted."""
    with anyio.fail_after(PATIENCE_S):
        signals = executor.signals(RUN, str(run_dir), reports_from=reports_from, quiet_after_s=quiet_after_s)
        return [signal async for signal in signals if not isinstance(signal, BeatSeen)]


async def run(run_dir: Path, argv: tuple[str, ...], **changes: Any) -> list[RunSignal]:
    run_dir.parent.mkdir(exist_ok=True)
    executor = LocalExecutor()
    await executor.submit(a_spec(run_dir, argv, **changes))
    await executor.release(RUN, str(run_dir))
    return await seen(executor, run_dir)


async def started(run_dir: Path, argv: tuple[str, ...], **changes: Any) -> LocalExecutor:
    """An executor whose program runs."""
    run_dir.parent.mkdir(exist_ok=True)
    executor = LocalExecutor()
    await executor.submit(a_spec(run_dir, argv, **changes))
    await executor.release(RUN, str(run_dir))
    await soon(lambda: json.loads((run_dir / "meta.json").read_text())["agent"], "the program runs")
    return executor


async def soon(is_so: Callable[[], Any], what: str) -> None:
    await anyio.to_thread.run_sync(until, is_so, what)


def exit_seen(signals: list[RunSignal]) -> RunExit:
    last = signals[-1]
    assert isinstance(last, ExitSeen)
    return last.exit


# ---- starting ----


async def test_a_run_goes_from_its_folder_to_its_exit_record(run_dir: Path) -> None:
    code = "import sys; print(sys.stdin.read(), open('agent/prompt.txt').read())"
    signals = await run(run_dir, program(code), stdin="closed", first="grüß", files={"prompt.txt": "do it"})
    assert signals == [ExitSeen(exit=RunExit(why=ExitWhy.EXIT, code=0), tail="grüß do it")]
    assert run_dir.stat().st_mode & 0o777 == 0o700


async def test_submit_answers_with_the_process_that_supervises(run_dir: Path) -> None:
    executor = LocalExecutor()
    run_dir.parent.mkdir()
    process = await executor.submit(a_spec(run_dir, SLEEP))
    assert process.boot_id == boot_id()
    assert process.start_time == start_time(process.pid)
    assert live_supervisor(run_dir) == process
    await executor.stop(RUN, str(run_dir))
    assert exit_seen(await seen(executor, run_dir)).why is ExitWhy.NEVER_STARTED


async def test_submitting_again_finds_the_same_supervisor_whether_it_waits_runs_or_has_ended(run_dir: Path) -> None:
    run_dir.parent.mkdir()
    executor, spec = LocalExecutor(), a_spec(run_dir, program("open('ran', 'a').write('x')"))
    first = await executor.submit(spec)
    assert await executor.submit(spec) == first
    await executor.release(RUN, str(run_dir))
    await executor.release(RUN, str(run_dir))
    assert await executor.submit(spec) == first
    assert exit_seen(await seen(executor, run_dir)).why is ExitWhy.EXIT
    assert await executor.submit(spec) == first
    assert await LocalExecutor().submit(spec) == first
    assert (run_dir.parent / "ran").read_text() == "x"


async def test_a_run_that_never_started_is_put_aside_and_started_again(run_dir: Path) -> None:
    run_dir.parent.mkdir()
    executor, spec = LocalExecutor(), a_spec(run_dir, program("print('ran')"))
    first = await executor.submit(spec)
    await executor.stop(RUN, str(run_dir))
    await seen(executor, run_dir)
    second = await executor.submit(spec)
    assert second != first
    await executor.release(RUN, str(run_dir))
    assert exit_seen(await seen(executor, run_dir)) == RunExit(why=ExitWhy.EXIT, code=0)
    aside = run_dir.with_name("agent.unused-1")
    assert json.loads((aside / "exit.json").read_text())["why"] == "never_started"


async def test_a_half_made_folder_is_put_aside(run_dir: Path) -> None:
    run_dir.mkdir(parents=True)
    (run_dir / "spec.json").write_text('{"argv": [')
    assert exit_seen(await run(run_dir, program("print('ran')"))).code == 0


async def test_a_lost_run_is_never_started_again(run_dir: Path) -> None:
    executor = await started(run_dir, SLEEP)
    process = supervisor_of(run_dir)
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    assert exit_seen(await seen(executor, run_dir)).why is ExitWhy.LOST
    assert await LocalExecutor().submit(a_spec(run_dir, SLEEP)) == process
    assert exit_seen(await seen(LocalExecutor(), run_dir)).why is ExitWhy.LOST


async def test_a_program_that_is_not_there_is_told(run_dir: Path) -> None:
    record = exit_seen(await run(run_dir, ("no-such-program",)))
    assert record.why is ExitWhy.NOT_FOUND
    assert "no-such-program" in record.detail


# ---- a daemon that dies ----

SUBMIT_AND_WAIT = """
import sys, anyio
from pathlib import Path
from orchestrator.backends.local import LocalExecutor
from tests.fakes.runs import a_spec
async def main():
    run_dir, release, code = Path(sys.argv[1]), sys.argv[2] == "release", sys.argv[3]
    executor = LocalExecutor()
    await executor.submit(a_spec(run_dir, [sys.executable, "-I", "-S", "-c", code]))
    if release:
        await executor.release("plan/task-1/agent", str(run_dir))
    print("submitted", flush=True)
    await anyio.sleep(60)
anyio.run(main)
"""
REPORTING = """
import json, os, time
def say(text):
    with open("agent/reports", "a") as file:
        file.write(json.dumps({"type": "progress", "text": text}) + "\\n")
say("one")
while not os.path.exists("go-on"):
    time.sleep(0.01)
say("two")
print("still here")
raise SystemExit(5)
"""


def daemon_that_dies(run_dir: Path, then: str, code: str) -> None:
    """A process that submits a run and is killed."""
    run_dir.parent.mkdir(exist_ok=True)
    argv = [sys.executable, "-c", SUBMIT_AND_WAIT, str(run_dir), then, code]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "submitted\n"
        if then == "release":
            until(lambda: "one" in text_of(run_dir / "reports"), "the program reports")
        daemon.kill()


async def test_a_run_outlives_its_daemon_and_the_next_one_reads_on(run_dir: Path) -> None:
    await anyio.to_thread.run_sync(daemon_that_dies, run_dir, "release", REPORTING)
    first_line = (run_dir / "reports").stat().st_size
    adopting = LocalExecutor()
    (run_dir.parent / "go-on").touch()
    signals = await seen(adopting, run_dir, reports_from=first_line)
    end = (run_dir / "reports").stat().st_size
    assert signals == [
        ReportSeen(report=Progress(text="two"), offset=end),
        ExitSeen(exit=RunExit(why=ExitWhy.EXIT, code=5), tail="still here"),
    ]


async def test_a_run_of_a_dead_daemon_can_be_stopped_by_the_next(run_dir: Path) -> None:
    await anyio.to_thread.run_sync(daemon_that_dies, run_dir, "release", REPORTING)
    adopting = LocalExecutor()
    await adopting.stop(RUN, str(run_dir))
    assert exit_seen(await seen(adopting, run_dir)).why is ExitWhy.STOPPED


async def test_a_daemon_that_dies_before_the_go_byte_lets_nothing_run_and_the_next_starts_it(run_dir: Path) -> None:
    await anyio.to_thread.run_sync(daemon_that_dies, run_dir, "wait", "open('ran', 'a').write('x')")
    adopting = LocalExecutor()
    await adopting.submit(a_spec(run_dir, program("open('ran', 'a').write('y')")))
    await adopting.release(RUN, str(run_dir))
    assert exit_seen(await seen(adopting, run_dir)).why is ExitWhy.EXIT
    assert (run_dir.parent / "ran").read_text() == "y"


async def test_what_ended_while_no_daemon_was_there_is_told_to_the_next(run_dir: Path) -> None:
    await run(run_dir, program("print('bye')"))
    again = await seen(LocalExecutor(), run_dir)
    assert again == [ExitSeen(exit=RunExit(why=ExitWhy.EXIT, code=0), tail="bye")]


# ---- reports ----


async def test_reports_come_once_in_order_and_before_the_end_whatever_stands_between_them(run_dir: Path) -> None:
    code = """
import json, time
def line(**data): return json.dumps(data).encode() + b"\\n"
with open("agent/reports", "ab", buffering=0) as file:
    file.write(line(type="progress", text="first"))
    file.write(b"garbage\\n\\xff\\xfe\\0\\n[1, 2]\\n{\\"type\\": \\"unknown\\"}\\n" + b"[" * 5000 + b"\\n")
    whole = line(type="progress", text="in two pieces")
    file.write(whole[:10]); time.sleep(0.6); file.write(whole[10:])
    file.write(b"a\\rb\\n")
    file.write(b'{"type": "progress", "text": "' + b"x" * 700000 + b'"}\\n')
    file.write(line(type="hand-off", summary="last"))
    file.write(b'{"type": "progress", "text": "without end')
"""
    signals = await run(run_dir, program(code))
    data = (run_dir / "reports").read_bytes()
    *reports, _ = signals
    assert [one.report for one in reports if isinstance(one, ReportSeen)] == [
        Progress(text="first"),
        Progress(text="in two pieces"),
        HandedIn(summary="last"),
    ]
    for one in reports:
        assert isinstance(one, ReportSeen)
        assert data[: one.offset].endswith(b"}\n")
    middle = reports[1]
    assert isinstance(middle, ReportSeen)
    again = await seen(LocalExecutor(), run_dir, reports_from=middle.offset)
    assert [type(one) for one in again] == [ReportSeen, ExitSeen]
    assert again[0] == reports[2]


def test_the_end_of_a_line_that_is_too_long_is_no_report(run_dir: Path) -> None:
    run_dir.mkdir(parents=True)
    report = b'{"type": "progress", "text": "smuggled in"}\n'
    (run_dir / "reports").write_bytes(b"x" * BLOCK + report + report)
    reports = Reports(run_dir, 0)
    assert reports.read() == ([], True)
    assert [seen.offset for seen in reports.read()[0]] == [BLOCK + 2 * len(report)]
    assert reports.skipped == 1


async def test_things_that_are_no_files_do_not_hold_the_daemon_up(run_dir: Path) -> None:
    code = "import os\nfor name in ('reports', 'waiting', 'answers'): os.mkfifo('agent/' + name)"
    executor = await started(run_dir, program(code + "\nos.symlink('/etc/passwd', 'agent/x')\nprint('harmless')"))
    signals = await seen(executor, run_dir, quiet_after_s=0)
    assert exit_seen(signals).code == 0
    with anyio.fail_after(5), pytest.raises(OrchestratorError, match="answers"):
        await executor.send(RUN, str(run_dir), {"question_id": "q1"})


# ---- answers ----


async def test_an_answer_is_one_line_however_often_it_is_sent(run_dir: Path) -> None:
    run_dir.mkdir(parents=True)
    (run_dir / "answers").write_text('{"question_id": "q0", "cho')  # a daemon died here
    executor = LocalExecutor()
    answer = {"question_id": "q1", "choice": "yes", "text": "ü\n"}
    await executor.send(RUN, str(run_dir), answer)
    await executor.send(RUN, str(run_dir), dict(reversed(answer.items())))
    await LocalExecutor().send(RUN, str(run_dir), answer)
    await executor.send(RUN, str(run_dir), answer | {"question_id": "q2"})
    lines = (run_dir / "answers").read_text().splitlines()[1:]
    assert [json.loads(line)["question_id"] for line in lines] == ["q1", "q2"]
    assert json.loads(lines[0]) == answer


# ---- quiet ----


async def test_a_run_without_a_sign_of_life_is_quiet_until_it_moves_again(run_dir: Path) -> None:
    code = """
import os, time
def wait_for(name):
    while not os.path.exists(name): time.sleep(0.01)
wait_for("speak")
print("hi", flush=True)
wait_for("end")
"""
    executor = await started(run_dir, program(code))
    with anyio.fail_after(PATIENCE_S):
        async for one in executor.signals(RUN, str(run_dir), reports_from=0, quiet_after_s=0.4):
            match one:
                case QuietSeen(quiet=True):
                    (run_dir.parent / "speak").touch()
                case QuietSeen(quiet=False):
                    (run_dir.parent / "end").touch()
    assert (run_dir / "output").read_text() == "hi\n"


async def test_waiting_for_a_person_is_not_quiet(run_dir: Path) -> None:
    code = """
import fcntl, os, time
file = open("agent/waiting", "w")
fcntl.flock(file, fcntl.LOCK_SH)
open("waits", "w").close()
while not os.path.exists("end"): time.sleep(0.01)
print("heard", flush=True)
"""
    executor = await started(run_dir, program(code))
    await soon(lambda: (run_dir.parent / "waits").exists(), "it waits")
    with anyio.move_on_after(1.5):
        async for one in executor.signals(RUN, str(run_dir), reports_from=0, quiet_after_s=0.3):
            assert isinstance(one, BeatSeen)
    (run_dir.parent / "end").touch()
    assert exit_seen(await seen(executor, run_dir)).code == 0


# ---- stopping, and who is never stopped ----


async def test_stop_ends_the_run_and_stopping_again_is_harmless(run_dir: Path) -> None:
    executor = await started(run_dir, SLEEP)
    await executor.stop(RUN, str(run_dir))
    await executor.stop(RUN, str(run_dir))
    record = exit_seen(await seen(executor, run_dir))
    assert (record.why, record.code) == (ExitWhy.STOPPED, -signal.SIGTERM)
    await executor.stop(RUN, str(run_dir))
    await executor.stop(RUN, str(run_dir.with_name("never-made")))


@linux_only
async def test_a_forged_record_gets_no_stranger_stopped_and_the_run_is_stopped_all_the_same(run_dir: Path) -> None:
    executor = await started(run_dir, SLEEP)
    # one that looks like a supervisor of this very run, but does not hold its lock
    likeness = run_dir.parent / "supervisor.py"
    likeness.write_text("import time; time.sleep(60)")
    with subprocess.Popen([sys.executable, "-I", "-S", str(likeness), str(run_dir)]) as stranger:
        meta = json.loads((run_dir / "meta.json").read_text())
        me = {"pid": stranger.pid, "start_time": start_time(stranger.pid), "boot_id": boot_id()}
        (run_dir / "meta.json").write_text(json.dumps(meta | {"supervisor": me}))
        adopting = LocalExecutor()
        await adopting.stop(RUN, str(run_dir))
        assert exit_seen(await seen(adopting, run_dir)).why is ExitWhy.STOPPED
        assert stranger.poll() is None
        stranger.kill()
    await seen(executor, run_dir)


@linux_only
async def test_the_end_of_a_stranger_is_not_taken_for_the_end_of_the_run(run_dir: Path) -> None:
    executor = await started(run_dir, program("import time; time.sleep(1); print('real end')"))
    with subprocess.Popen(["sleep", "60"]) as stranger:
        me = {"pid": stranger.pid, "start_time": start_time(stranger.pid), "boot_id": boot_id()}
        (run_dir / "meta.json").write_text(json.dumps({"supervisor": me, "started": True}))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_kill_soon, stranger)
            signals = await seen(LocalExecutor(), run_dir)
    assert signals == [ExitSeen(exit=RunExit(why=ExitWhy.EXIT, code=0), tail="real end")]
    await seen(executor, run_dir)


async def _kill_soon(process: subprocess.Popen[bytes]) -> None:
    await anyio.sleep(0.3)
    process.kill()


@linux_only
async def test_a_lock_held_by_somebody_else_is_not_stopped_but_told(run_dir: Path) -> None:
    run_dir.mkdir(parents=True)
    (run_dir / "lock").touch()
    me = {"pid": os.getpid(), "start_time": start_time(os.getpid()), "boot_id": boot_id()}
    (run_dir / "meta.json").write_text(json.dumps({"supervisor": me, "started": True}))
    code = (
        "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, 2); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([*program(code), str(run_dir / "lock")], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(OrchestratorError, match="could not be stopped"):
            await LocalExecutor().stop(RUN, str(run_dir))
        assert holder.poll() is None
        holder.kill()


async def test_a_run_is_not_over_while_its_lock_is_held_even_by_somebody_unknown(run_dir: Path) -> None:
    run_dir.mkdir(parents=True)
    (run_dir / "lock").touch()
    code = (
        "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, 2); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([*program(code), str(run_dir / "lock")], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with anyio.move_on_after(1.5):
            pytest.fail(f"told {await seen(LocalExecutor(), run_dir)}")
        holder.kill()
    assert exit_seen(await seen(LocalExecutor(), run_dir)).why is ExitWhy.LOST


@pytest.mark.parametrize(
    "record",
    [
        pytest.param("", id="empty"),
        pytest.param('{"why": "exit", "co', id="torn"),
        pytest.param('{"why": "glory", "code": 0, "dropped_bytes": 0, "detail": ""}', id="unknown reason"),
        pytest.param('{"why": "exit", "code": "0", "dropped_bytes": 0, "detail": ""}', id="wrong type"),
        pytest.param("[" * 100_000, id="deep"),
    ],
)
async def test_an_exit_record_that_says_nothing_is_a_lost_run(run_dir: Path, record: str) -> None:
    run_dir.mkdir(parents=True)
    (run_dir / "meta.json").write_text('{"started": true}')
    (run_dir / "exit.json").write_text(record)
    assert exit_seen(await seen(LocalExecutor(), run_dir)).why is ExitWhy.LOST


@linux_only
async def test_a_tree_that_outlived_its_program_is_gone_before_the_end_is_told(run_dir: Path) -> None:
    code = """
import os, time
if os.fork() == 0:
    os.setsid()
    open("pid", "w").write(str(os.getpid()))
    time.sleep(60)
while not (os.path.exists("pid") and os.path.getsize("pid")): time.sleep(0.01)
"""
    assert exit_seen(await run(run_dir, program(code))).code == 0
    assert not is_alive(int((run_dir.parent / "pid").read_text()))


async def test_the_tail_is_the_end_of_the_output_and_harmless_to_print(run_dir: Path) -> None:
    code = "import os; os.write(1, b'x' * 20000 + b'\\n\\x1b]0;title\\x07\\x1b[31mred\\x1b[0m \\xff\\x9b2J end\\n')"
    (last,) = await run(run_dir, program(code))
    assert isinstance(last, ExitSeen)
    assert len(last.tail) < 9000
    assert last.tail.endswith(" end")
    assert "\x1b" not in last.tail
    assert "title" not in last.tail
    assert "red" in last.tail


async def test_many_runs_at_once_leave_no_process_and_no_descriptor(run_dir: Path) -> None:
    run_dir.parent.mkdir()
    executor = LocalExecutor()
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    dead = zombies_of_ours()  #: of other tests

    async def one(number: int) -> None:
        spec = a_spec(
            run_dir.with_name(f"run-{number}"), program("print('hi')"), run_id=RunId(f"plan/t-{number}/agent")
        )
        await executor.submit(spec)
        await executor.release(spec.run_id, spec.run_dir)
        signals = executor.signals(spec.run_id, spec.run_dir, reports_from=0, quiet_after_s=60)
        assert exit_seen([signal async for signal in signals]).code == 0

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(one, number)
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/fd")) <= before + 3  # the event loop's own
        assert zombies_of_ours() <= dead


def zombies_of_ours() -> set[int]:
    if sys.platform != "linux":
        return set()
    return {int(name) for name in os.listdir("/proc") if name.isdecimal() and is_zombie_of_ours(int(name))}


def is_zombie_of_ours(pid: int) -> bool:
    fields = text_of(Path(f"/proc/{pid}/stat")).rsplit(")", 1)[-1].split()
    return fields[:2] == ["Z", str(os.getpid())]


async def test_nothing_has_started_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    begun = time.monotonic()
    assert not has_started(tmp_path / "none")
    assert exit_seen(await seen(LocalExecutor(), tmp_path / "none")).why is ExitWhy.LOST
    assert time.monotonic() - begun < 5


async def test_what_a_killed_supervisor_leaves_alive_is_ended_before_the_run_is_called_lost(tmp_path: Path) -> None:
    forever = "while :; do echo late >> x; sleep 0.1; done"
    starts_it = f"import subprocess, time; subprocess.Popen(['sh', '-c', {forever!r}]); time.sleep(60)"
    executor = LocalExecutor()
    spec = RunSpec(
        run_id=RunId("p/t-1/agent"),
        run_dir=str(tmp_path / "run"),
        argv=(sys.executable, "-c", starts_it),
        cwd=str(tmp_path),
        env={"PATH": os.environ["PATH"], "ORCHESTRATOR_RUN": str(tmp_path / "run")},
        timeout_s=60,
        grace_s=1,
        output_limit_bytes=1000,
    )
    supervisor = await executor.submit(spec)
    await executor.release(spec.run_id, spec.run_dir)
    with anyio.fail_after(20):
        while not (tmp_path / "x").exists():
            await anyio.sleep(0.05)
        os.kill(supervisor.pid, signal.SIGKILL)
        seen = [s async for s in executor.signals(spec.run_id, spec.run_dir, reports_from=0, quiet_after_s=60)]
    assert isinstance(seen[-1], ExitSeen)
    assert seen[-1].exit.why is ExitWhy.LOST
    size = (tmp_path / "x").stat().st_size
    await anyio.sleep(0.5)
    assert (tmp_path / "x").stat().st_size == size, "somebody still writes"
