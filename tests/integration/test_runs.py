"""Supervised runs with real processes: what is promised about their beginning, their output and their end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from orchestrator.backends.local import LocalExecutor
from orchestrator.backends.process import ask_to_stop, live_supervisor
from orchestrator.model.agent import Asked, HandedIn, Progress
from orchestrator.model.attempt import ExitWhy, RunExit
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.ids import RunId
from orchestrator.ports import ExitSeen, QuietSeen, ReportSeen, RunSignal, RunSpec

pytestmark = pytest.mark.anyio
RUN = RunId("p/t-1/agent")
ORCH_AGENT = Path(__file__).parents[2] / "agents" / "orchestrator_agents" / "command.py"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def spec(tmp_path: Path, *argv: str, **more: object) -> RunSpec:
    values: dict[str, object] = {
        "run_id": RUN,
        "run_dir": str(tmp_path / "attempts" / RUN),
        "argv": argv,
        "cwd": str(tmp_path),
        "env": {"PATH": os.environ["PATH"], "ORCHESTRATOR_RUN": str(tmp_path / "attempts" / RUN)},
        "timeout_s": 60.0,
        "grace_s": 0.5,
        "output_limit_bytes": 1024 * 1024,
    }
    return RunSpec(**(values | more))  # type: ignore[arg-type]


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-u", "-c", program)


async def seen_of(executor: LocalExecutor, s: RunSpec, *, reports_from: int = 0, quiet: float = 60) -> list[RunSignal]:
    with anyio.fail_after(30):
        found = executor.signals(RUN, s.run_dir, reports_from=reports_from, quiet_after_s=quiet)
        return [signal async for signal in found]


async def run_to_end(tmp_path: Path, *argv: str, **more: object) -> tuple[RunExit, str]:
    executor, s = LocalExecutor(), spec(tmp_path, *argv, **more)
    await executor.submit(s)
    await executor.release(RUN, s.run_dir)
    last = (await seen_of(executor, s))[-1]
    assert isinstance(last, ExitSeen)
    return last.exit, last.tail


async def until(holds: Callable[[], object], seconds: float = 10) -> None:
    with anyio.fail_after(seconds):
        while not holds():
            await anyio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return b" Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False


async def test_a_program_runs_only_after_the_go_byte(tmp_path: Path) -> None:
    executor, s = LocalExecutor(), spec(tmp_path, *python("open('ran', 'w')"))
    supervisor = await executor.submit(s)
    await anyio.sleep(0.2)
    assert alive(supervisor.pid)
    assert not (tmp_path / "ran").exists()
    await executor.release(RUN, s.run_dir)
    await seen_of(executor, s)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("program", "why", "code"),
    [
        pytest.param("pass", ExitWhy.EXIT, 0, id="ends well"),
        pytest.param("raise SystemExit(3)", ExitWhy.EXIT, 3, id="ends badly"),
        pytest.param("import os; os.kill(os.getpid(), 9)", ExitWhy.EXIT, -9, id="kills itself"),
    ],
)
async def test_the_end_is_recorded(tmp_path: Path, program: str, why: ExitWhy, code: int) -> None:
    exit, _ = await run_to_end(tmp_path, *python(program))
    assert (exit.why, exit.code) == (why, code)


async def test_a_program_that_is_not_there_says_so(tmp_path: Path) -> None:
    exit, _ = await run_to_end(tmp_path, "no-such-program-here")
    assert exit.why is ExitWhy.NOT_FOUND
    assert "no-such-program-here" in exit.detail


async def test_the_time_limit_ends_the_tree(tmp_path: Path) -> None:
    exit, _ = await run_to_end(tmp_path, *python("import time; time.sleep(60)"), timeout_s=0.5)
    assert exit.why is ExitWhy.TIMEOUT


async def test_stop_ends_a_deaf_tree_with_grandchildren_of_their_own_session(tmp_path: Path) -> None:
    program = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = "import os,signal,time; signal.signal(15, 1); open('pids','a').write(f'{os.getpid()} '); time.sleep(60)"
subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
subprocess.Popen([sys.executable, "-c", child])
time.sleep(60)
"""
    executor, s = LocalExecutor(), spec(tmp_path, *python(program))
    await executor.submit(s)
    await executor.release(RUN, s.run_dir)
    pids = tmp_path / "pids"
    await until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    await executor.stop(RUN, s.run_dir)
    last = (await seen_of(executor, s))[-1]
    assert isinstance(last, ExitSeen)
    assert last.exit.why is ExitWhy.STOPPED
    assert not any(alive(int(pid)) for pid in pids.read_text().split())


async def test_what_a_program_leaves_behind_is_ended_and_its_status_kept(tmp_path: Path) -> None:
    program = """
import subprocess, sys
left = subprocess.Popen(['sleep', '60'], start_new_session=True)
open('pid', 'w').write(str(left.pid))
sys.exit(4)
"""
    exit, _ = await run_to_end(tmp_path, *python(program))
    assert exit.code == 4
    assert not alive(int((tmp_path / "pid").read_text()))


async def test_a_daemon_that_goes_before_the_go_byte_never_started_anything(tmp_path: Path) -> None:
    executor, s = LocalExecutor(), spec(tmp_path, *python("open('ran', 'w')"))
    await executor.submit(s)
    executor._waiting[RUN].forget()  # what the kernel does for a daemon that was killed
    run_dir = Path(s.run_dir)
    await until(lambda: (run_dir / "exit.json").exists())
    assert json.loads((run_dir / "exit.json").read_text())["why"] == "never_started"
    again = LocalExecutor()
    await again.submit(s)
    await again.release(RUN, s.run_dir)
    await seen_of(again, s)
    assert (tmp_path / "ran").exists()


async def test_a_run_outlives_kill_9_of_the_daemon_and_is_taken_up_by_the_next(tmp_path: Path) -> None:
    s = spec(tmp_path, *python("import time\nfor n in range(20): print(n); time.sleep(0.1)"))
    daemon = f"""
import anyio, json, time
from orchestrator.backends.local import LocalExecutor
from orchestrator.ports import RunSpec
spec = RunSpec(**json.loads({json.dumps(json.dumps({name: getattr(s, name) for name in s.__slots__}))}))
async def main():
    executor = LocalExecutor()
    await executor.submit(spec)
    await executor.release(spec.run_id, spec.run_dir)
    print("released", flush=True)
    await anyio.sleep(60)
anyio.run(main)
"""
    process = subprocess.Popen([sys.executable, "-c", daemon], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"released\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    executor = LocalExecutor()
    await executor.submit(s)  # answered as it is
    last = (await seen_of(executor, s))[-1]
    assert isinstance(last, ExitSeen)
    assert (last.exit.why, last.exit.code) == (ExitWhy.EXIT, 0)
    assert (Path(s.run_dir) / "output").read_text().split() == [str(n) for n in range(20)]


async def test_a_killed_supervisor_takes_its_program_along_and_the_run_is_lost(tmp_path: Path) -> None:
    executor, s = (
        LocalExecutor(),
        spec(tmp_path, *python("import os,time; open('pid','w').write(str(os.getpid())); time.sleep(60)")),
    )
    supervisor = await executor.submit(s)
    await executor.release(RUN, s.run_dir)
    await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    os.kill(supervisor.pid, signal.SIGKILL)
    last = (await seen_of(executor, s))[-1]
    assert isinstance(last, ExitSeen)
    assert last.exit.why is ExitWhy.LOST
    pid = int((tmp_path / "pid").read_text())
    await until(lambda: not alive(pid))


async def test_output_is_capped_counted_and_never_blocks(tmp_path: Path) -> None:
    program = "import sys\nfor _ in range(200): sys.stdout.write('x' * 65536)\nopen('wrote-all', 'w')"
    exit, _ = await run_to_end(tmp_path, *python(program), output_limit_bytes=100_000)
    assert (tmp_path / "wrote-all").exists()
    assert exit.dropped_bytes > 10_000_000
    assert (tmp_path / "attempts" / RUN / "output").stat().st_size < 200_000


async def test_secrets_are_masked_across_any_split(tmp_path: Path) -> None:
    program = """
import os, sys, time
for letter in f"before {os.environ['KEY']} after":
    sys.stdout.write(letter)
    sys.stdout.flush()
    time.sleep(0.005)
"""
    env = {"PATH": os.environ["PATH"], "KEY": "s3cr3t-value"}
    await run_to_end(tmp_path, *python(program), secrets=("s3cr3t-value",), env=env)
    kept = (tmp_path / "attempts" / RUN / "output").read_text()
    assert "s3cr3t" not in kept
    assert kept.startswith("before ")
    assert kept.endswith(" after")
    assert "s3cr3t" not in (tmp_path / "attempts" / RUN / "spec.json").read_text()


async def test_input_reaches_the_program_and_is_closed(tmp_path: Path) -> None:
    exit, tail = await run_to_end(
        tmp_path, *python("import sys; print(sys.stdin.read().upper())"), stdin="closed", first="hello\n"
    )
    assert (exit.code, tail) == (0, "HELLO")


async def test_a_program_that_reads_nothing_is_no_failure(tmp_path: Path) -> None:
    exit, _ = await run_to_end(tmp_path, *python("pass"), stdin="closed", first="x" * 1_000_000)
    assert exit.code == 0


async def test_reports_come_once_each_before_the_end_and_from_an_offset(tmp_path: Path) -> None:
    executor = LocalExecutor()
    s = spec(
        tmp_path, "sh", "-c", f"{sys.executable} {ORCH_AGENT} progress one; {sys.executable} {ORCH_AGENT} hand-off two"
    )
    await executor.submit(s)
    await executor.release(RUN, s.run_dir)
    seen = await seen_of(executor, s)
    reports = [one for one in seen if isinstance(one, ReportSeen)]
    assert [r.report for r in reports] == [Progress(text="one"), HandedIn(summary="two")]
    again = await seen_of(LocalExecutor(), s, reports_from=reports[0].offset)
    assert [r.report for r in again if isinstance(r, ReportSeen)] == [HandedIn(summary="two")]


async def test_garbage_in_the_reports_harms_nobody(tmp_path: Path) -> None:
    executor = LocalExecutor()
    s = spec(
        tmp_path,
        "sh",
        "-c",
        'printf \'\\377\\n[]\\n{"type":"ask"}\\n{"type":"progress","text":"ok"}\\nhalf\' >> $ORCHESTRATOR_RUN/reports',
    )
    await executor.submit(s)
    await executor.release(RUN, s.run_dir)
    seen = await seen_of(executor, s)
    assert [one.report for one in seen if isinstance(one, ReportSeen)] == [Progress(text="ok")]


async def test_a_question_waits_for_its_answer_and_the_time_limit_stands_still(tmp_path: Path) -> None:
    executor = LocalExecutor()
    s = spec(tmp_path, sys.executable, str(ORCH_AGENT), "ask", "which?", "--option", "a", timeout_s=1.0)
    await executor.submit(s)
    await executor.release(RUN, s.run_dir)
    found: list[RunSignal] = []

    async def watch() -> None:
        async for one in executor.signals(RUN, s.run_dir, reports_from=0, quiet_after_s=60):
            found.append(one)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await until(lambda: found)
            await anyio.sleep(2)  # longer than the limit
            first = found[0]
            assert isinstance(first, ReportSeen)
            assert isinstance(first.report, Asked)
            for _ in range(2):  # given twice, heard once
                await executor.send(
                    RUN, s.run_dir, {"question_id": first.report.question_id, "choice": "a", "text": "yes"}
                )
    last = found[-1]
    assert isinstance(last, ExitSeen)
    assert (last.exit.why, last.exit.code) == (ExitWhy.EXIT, 0)
    assert last.tail.endswith("a\nyes")


async def test_silence_is_noticed_and_its_end_too(tmp_path: Path) -> None:
    executor = LocalExecutor()
    s = spec(tmp_path, *python("import time; print('a'); time.sleep(1.2); print('b'); time.sleep(0.4)"))
    await executor.submit(s)
    await executor.release(RUN, s.run_dir)
    seen = await seen_of(executor, s, quiet=0.6)
    assert [one.quiet for one in seen if isinstance(one, QuietSeen)] == [True, False]


async def test_a_forged_record_never_gets_a_stranger_signalled(tmp_path: Path) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        run_dir = tmp_path / "attempts" / RUN
        run_dir.mkdir(parents=True)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        start = int(Path(f"/proc/{bystander.pid}/stat").read_bytes().rsplit(b")", 1)[1].split()[19])
        record = {"supervisor": {"pid": bystander.pid, "start_time": start, "boot_id": boot}, "started": True}
        (run_dir / "meta.json").write_text(json.dumps(record))
        (run_dir / "lock").touch()
        assert not ask_to_stop(run_dir), "nobody holds the lock"
        holder = subprocess.Popen(["flock", str(run_dir / "lock"), "sleep", "5"])
        await anyio.sleep(0.2)
        assert live_supervisor(run_dir) is None
        with pytest.raises(OrchestratorError, match="could not be stopped"):
            ask_to_stop(run_dir)
        holder.kill()
        holder.wait()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


async def test_the_tail_is_harmless_to_print(tmp_path: Path) -> None:
    _, tail = await run_to_end(tmp_path, *python(r"print('a\x1b[31mred\x1b]0;title\x07b\xff')"))
    assert "\x1b" not in tail
    assert "red" in tail


async def test_a_supervisor_idles_without_using_the_processor(tmp_path: Path) -> None:
    executor, s = LocalExecutor(), spec(tmp_path, "sleep", "30")
    supervisor = await executor.submit(s)
    await executor.release(RUN, s.run_dir)

    def ticks() -> int:
        fields = Path(f"/proc/{supervisor.pid}/stat").read_bytes().rsplit(b")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    await anyio.sleep(0.3)
    before, begun = ticks(), time.monotonic()
    await anyio.sleep(2)
    share = (ticks() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - begun)
    await executor.stop(RUN, s.run_dir)
    await seen_of(executor, s)
    assert share < 0.2
