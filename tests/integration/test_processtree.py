"""Ending a whole run without its supervisor: what is found and killed, and who is never touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends import cgroups, supervisor
from orchestrator.backends.local import LocalExecutor
from orchestrator.backends.machine import boot_id, start_time
from orchestrator.backends.process import SUPERVISOR, Started, ask_to_stop, live_supervisor
from orchestrator.backends.processtree import end_run, end_survivors
from orchestrator.backends.runfolder import is_locked, supervisor_of
from orchestrator.backends.supervisor import is_populated, kill_cgroup
from orchestrator.model.attempt import ExitWhy
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.ids import RunId
from orchestrator.ports import ExitSeen
from tests.fakes.runs import ended, is_alive, processes_in, program, ready, text_of, until

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")]

FREEZER = Path("/sys/fs/cgroup/freezer")  #: of version 1: what is frozen there does not even die

#: a child in the same group, one in a session of its own, one that went away twice and cleared its environment
TREE = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def here(name):
    with open("pid-" + name, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(60)
if os.fork() == 0:
    here("child")
if os.fork() == 0:
    os.setsid()
    here("session")
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        code = "import os, time; open('pid-daemon', 'w').write(str(os.getpid())); time.sleep(60)"
        os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", code], {})
    os._exit(0)
here("parent")
"""
NAMES = ("parent", "child", "session", "daemon")
THREADED = """
import os, subprocess, sys, threading, time
def start():
    it = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"], env={})
    open("pid-child", "w").write(str(it.pid))
    time.sleep(60)
threading.Thread(target=start).start()
"""
#: sixteen lines of processes, each of which starts the next and ends
COMETS = """
import os, time
for _ in range(16):
    if os.fork() == 0:
        os.setsid()
        end = time.monotonic() + 30
        while time.monotonic() < end:
            time.sleep(0.02)  # much quicker, and the machine runs out of numbers for processes
            if os.fork():
                os._exit(0)
        os._exit(0)
open("pid-parent", "w").write(str(os.getpid()))
time.sleep(60)
"""
HOLDER = "import fcntl, sys, time; f = open(sys.argv[1]); {lock}; print('held', flush=True); time.sleep(60)"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "a run mit Ümläuten"


@pytest.fixture(params=["sweep", "cgroup"])
def cgroup(request: pytest.FixtureRequest, run_dir: Path) -> Iterator[str]:
    """The cgroup of the run; empty where it has none."""
    if request.param == "sweep":
        yield ""
        return
    path = cgroups.make_for(run_dir)
    if path is None:
        pytest.skip("no cgroup may be made here")
    yield str(path)
    assert not path.exists(), "the cgroup is still there"


def running(run_dir: Path, code: str, **changes: Any) -> Started:
    started = ready(run_dir, program(code), **changes)
    started.release()
    return started


def pids_in(folder: Path, *names: str) -> list[int]:
    return [int(until(lambda name=name: text_of(folder / f"pid-{name}"), f"{name} runs")) for name in names]


def supervisor_in(run_dir: Path) -> int:
    return int(json.loads((run_dir / "meta.json").read_text())["supervisor"]["pid"])


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        assert process.poll() is None, "a stranger was signalled"
        process.kill()


# ---- the whole tree ----


@pytest.mark.parametrize("state", ["works", "suspended"])
def test_nothing_of_a_tree_survives_wherever_it_went(run_dir: Path, cgroup: str, state: str) -> None:
    started = running(run_dir, TREE, cgroup=cgroup)
    pids = pids_in(run_dir.parent, *NAMES)
    if cgroup:
        assert is_populated(cgroup)
        assert json.loads((run_dir / "meta.json").read_text())["cgroup"] == cgroup
    if state == "suspended":
        os.kill(supervisor_in(run_dir), signal.SIGSTOP)
    assert end_run(run_dir) == ()
    assert not any(map(is_alive, pids))
    assert not is_locked(run_dir / "lock")
    assert not (run_dir / "exit.json").exists()
    until(started.reap, "the supervisor is gone")
    assert end_run(run_dir) == ()


def test_what_a_thread_started_is_found(run_dir: Path) -> None:
    started = running(run_dir, THREADED)
    pids = pids_in(run_dir.parent, "child")
    assert end_run(run_dir) == ()
    assert not any(map(is_alive, pids))
    until(started.reap, "the supervisor is gone")


def test_a_tree_that_renews_itself_all_the_time_is_ended(run_dir: Path, cgroup: str) -> None:
    started = running(run_dir, COMETS, cgroup=cgroup)
    pids_in(run_dir.parent, "parent")
    assert end_run(run_dir) == ()
    assert processes_in(run_dir.parent) == []
    until(started.reap, "the supervisor is gone")


def test_a_run_that_waits_for_its_go_byte_is_ended_without_ever_running(run_dir: Path, cgroup: str) -> None:
    started = ready(run_dir, program("open('ran', 'w')"), cgroup=cgroup)
    assert end_run(run_dir) == ()
    started.release()
    until(started.reap, "the supervisor is gone")
    assert not (run_dir.parent / "ran").exists()


def test_the_supervisor_itself_leaves_no_cgroup_behind(run_dir: Path, cgroup: str) -> None:
    started = running(run_dir, "raise SystemExit(3)", cgroup=cgroup)
    assert ended(run_dir, started)["code"] == 3


def test_the_supervisor_ends_what_moved_out_of_its_cgroup(run_dir: Path, cgroup: str) -> None:
    leave = f"open({str(Path(cgroup).parent / 'cgroup.procs')!r}, 'w').write('0')\n" if cgroup else ""
    started = running(run_dir, "import os\n" + leave + TREE, cgroup=cgroup, grace_s=0.1)
    pids = pids_in(run_dir.parent, *NAMES)
    ask_to_stop(run_dir)
    assert ended(run_dir, started)["why"] == "stopped"
    assert not any(map(is_alive, pids))


def test_a_cgroup_that_cannot_be_entered_hinders_nothing(run_dir: Path) -> None:
    started = running(run_dir, "raise SystemExit(3)", cgroup=str(run_dir.parent / "no-cgroup"))
    assert ended(run_dir, started)["code"] == 3
    assert json.loads((run_dir / "meta.json").read_text())["cgroup"] is None


def test_survivors_of_a_killed_supervisor_are_found_by_their_mark_and_their_cgroup(run_dir: Path, cgroup: str) -> None:
    started = running(run_dir, TREE, cgroup=cgroup, env={"ORCHESTRATOR_RUN": str(run_dir)})
    pids = pids_in(run_dir.parent, *NAMES)
    os.kill(supervisor_in(run_dir), signal.SIGKILL)
    until(started.reap, "the supervisor is gone")
    assert end_survivors(run_dir) == ()
    alive = [name for name, pid in zip(NAMES, pids, strict=True) if is_alive(pid)]
    # without a cgroup nothing tells any more where a process without our mark comes from
    assert alive == ([] if cgroup else ["daemon"])
    for pid in pids:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("file", ["cgroup.kill", "none, as before Linux 5.14"])
def test_a_cgroup_is_emptied_with_and_without_the_file_for_it(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    path = cgroups.make_for(run_dir)
    if path is None:
        pytest.skip("no cgroup may be made here")
    monkeypatch.setattr(supervisor, "CGROUP_KILL", file)
    started = running(run_dir, COMETS, cgroup=str(path))
    pids_in(run_dir.parent, "parent")
    until(lambda: kill_cgroup(str(path)) or not is_populated(str(path)), "the cgroup is empty")
    assert ended(run_dir, started)["code"] == -signal.SIGKILL
    assert not path.exists()


@pytest.mark.skipif(not os.access(FREEZER / "tasks", os.W_OK), reason="needs a freezer of cgroups version 1")
def test_what_does_not_die_is_told_and_its_supervisor_goes_on_to_watch_it(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.backends.processtree.PATIENCE_S", 0.3)
    started = running(run_dir, TREE)
    pids = pids_in(run_dir.parent, *NAMES)
    ice = FREEZER / f"test-{os.getpid()}"
    ice.mkdir()
    try:
        (ice / "tasks").write_text(str(pids[3]))
        (ice / "freezer.state").write_text("FROZEN")
        assert end_run(run_dir) == (pids[3],)
        assert live_supervisor(run_dir) is not None
        (ice / "freezer.state").write_text("THAWED")
        assert ended(run_dir, started)["code"] == -signal.SIGKILL
        assert end_run(run_dir) == ()
    finally:
        (ice / "freezer.state").write_text("THAWED")
        until(lambda: not is_alive(pids[3]), "it is gone")
        ice.rmdir()


@pytest.mark.skipif(not os.access(FREEZER / "tasks", os.W_OK), reason="needs a freezer of cgroups version 1")
async def test_a_run_is_not_called_lost_while_something_of_it_lives(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.backends.processtree.PATIENCE_S", 0.3)
    started = running(run_dir, TREE, env={"ORCHESTRATOR_RUN": str(run_dir)})
    pids = pids_in(run_dir.parent, *NAMES)
    ice = FREEZER / f"test-lost-{os.getpid()}"
    ice.mkdir()
    try:
        (ice / "tasks").write_text(str(pids[1]))
        (ice / "freezer.state").write_text("FROZEN")
        os.kill(supervisor_in(run_dir), signal.SIGKILL)
        until(started.reap, "the supervisor is gone")
        signals = LocalExecutor().signals(RunId("r"), str(run_dir), reports_from=0, quiet_after_s=60)
        with pytest.raises(OrchestratorError, match=str(pids[1])):
            await anext(signals)
    finally:
        (ice / "freezer.state").write_text("THAWED")
        until(lambda: not is_alive(pids[1]), "it is gone")
        ice.rmdir()
        os.kill(pids[3], signal.SIGKILL)  # it cleared its environment, so nothing tells whose it is
    signals = LocalExecutor().signals(RunId("r"), str(run_dir), reports_from=0, quiet_after_s=60)
    last = await anext(signals)
    assert isinstance(last, ExitSeen)
    assert last.exit.why is ExitWhy.LOST


async def test_why_a_supervisor_failed_is_told(run_dir: Path) -> None:
    run_dir.mkdir()
    (run_dir / "meta.json").write_text('{"started": true}')
    (run_dir / "supervisor.log").write_text(
        "Traceback (most recent call last):\n  ...\nOSError: [Errno 5] \x1b[2Jgone\n"
    )
    signals = LocalExecutor().signals(RunId("r"), str(run_dir), reports_from=0, quiet_after_s=60)
    last = await anext(signals)
    assert isinstance(last, ExitSeen)
    assert last.exit.detail.endswith("OSError: [Errno 5] gone")


# ---- who is never touched ----


def forged(pid: int, **changes: Any) -> dict[str, Any]:
    return {"pid": pid, "start_time": start_time(pid) if pid > 0 else 0, "boot_id": boot_id()} | changes


@pytest.mark.parametrize("end", [end_run, ask_to_stop])
@pytest.mark.parametrize(
    ("pid", "changes"),
    [
        pytest.param(0, {}, id="a stranger, every detail right"),
        pytest.param(0, {"start_time": 1}, id="a number used again"),
        pytest.param(0, {"boot_id": "of another start"}, id="before the machine started"),
        pytest.param(1, {}, id="the first process"),
        pytest.param(os.getpid(), {}, id="ourselves"),
        pytest.param(-1, {}, id="everybody"),
        pytest.param(-os.getpgid(0), {}, id="our group"),
        pytest.param(2**22, {}, id="higher than any"),
        pytest.param(2**31, {}, id="beyond an int"),
        pytest.param(10**30, {}, id="beyond any integer of the machine"),
    ],
)
def test_a_forged_record_gets_no_stranger_signalled_and_the_run_is_ended_all_the_same(
    run_dir: Path, bystander: subprocess.Popen[bytes], end: Any, pid: int, changes: dict[str, Any]
) -> None:
    started = running(run_dir, "import time; time.sleep(60)")
    until(lambda: json.loads((run_dir / "meta.json").read_text())["agent"], "the program runs")
    meta = json.loads((run_dir / "meta.json").read_text())
    lie = forged(pid or bystander.pid, **changes)
    (run_dir / "meta.json").write_text(json.dumps(meta | {"supervisor": lie, "agent": lie}))
    end(run_dir)
    until(started.reap, "the supervisor is gone")
    assert not is_alive(meta["agent"]["pid"])


def test_a_record_with_another_nonce_is_of_another_run(run_dir: Path) -> None:
    started = ready(run_dir, program("pass"), nonce="one")
    assert supervisor_of(run_dir) == live_supervisor(run_dir)
    meta = json.loads((run_dir / "meta.json").read_text())
    (run_dir / "meta.json").write_text(json.dumps(meta | {"nonce": "two"}))
    assert supervisor_of(run_dir) is None
    started.forget()
    assert ended(run_dir, started)["why"] == "never_started"


def test_one_that_looks_like_the_supervisor_and_has_the_lock_open_is_not_taken_for_it(run_dir: Path) -> None:
    started = running(run_dir, "import time; time.sleep(60)")
    real = supervisor_in(run_dir)
    (run_dir.parent / SUPERVISOR.name).write_text(HOLDER.format(lock="pass").replace("argv[1]", "argv[1] + '/lock'"))
    argv = [sys.executable, "-I", "-S", str(run_dir.parent / SUPERVISOR.name), str(run_dir)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as likeness:
        assert likeness.stdout is not None
        assert likeness.stdout.readline() == b"held\n"
        meta = json.loads((run_dir / "meta.json").read_text())
        (run_dir / "meta.json").write_text(json.dumps(meta | {"supervisor": forged(likeness.pid)}))
        found = live_supervisor(run_dir)
        assert found is not None
        assert found.pid == real
        assert end_run(run_dir) == ()
        assert likeness.poll() is None
        likeness.kill()
    until(started.reap, "the supervisor is gone")


def test_a_stranger_that_holds_the_lock_is_named_and_left_alone(run_dir: Path) -> None:
    run_dir.mkdir()
    (run_dir / "lock").touch()
    argv = [*program(HOLDER.format(lock="fcntl.flock(f, 2)")), str(run_dir / "lock")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert end_run(run_dir) == (holder.pid,)
        assert holder.poll() is None
        holder.kill()
    assert end_run(run_dir) == ()


def test_the_mark_of_another_run_is_not_ours(run_dir: Path) -> None:
    run_dir.mkdir()
    others = [
        subprocess.Popen(["sleep", "60"], env={"PATH": os.environ["PATH"], name: value})
        for name, value in (
            ("ORCHESTRATOR_RUN", f"{run_dir}-2"),
            ("ORCHESTRATOR_RUN", f"{run_dir}/deeper"),
            ("ORCHESTRATOR_RUN", str(run_dir.parent)),
            ("NOT_ORCHESTRATOR_RUN", str(run_dir)),
            ("OTHER", f"ORCHESTRATOR_RUN={run_dir}"),
        )
    ]
    assert end_run(run_dir) == ()
    assert [other.poll() for other in others] == [None] * len(others)
    for other in others:
        other.kill()
        other.wait()
