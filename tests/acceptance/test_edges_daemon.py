"""A daemon that is under way, stopped, hung up, on a full disk or with a wrong clock; output that nobody reads."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.person import ORCHESTRATOR, Person
from tests.acceptance.scene import Scene, changes, error_of, mount

#: An agent that takes its time.
SLOW = """\
checks: none
tasks:
  - id: one
    files: [one.txt]
    agent: demo
    prompt: |
      !append one.txt hello
      !sleep {seconds}
"""


def status(scene: Scene) -> Any:
    """Asked in this process, because it is asked again and again."""
    return scene.type("status", "--json").data


def states(scene: Scene) -> dict[str, str]:
    return {task["id"]: task["state"] for task in status(scene)["tasks"]}


def wait(scene: Scene, holds: Callable[[], bool], what: str) -> None:
    """Look again and again until it holds."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come: {scene.type('status').out}"
        time.sleep(0.05)


def under_way(person: Person) -> bool:
    """Whether the agent has done its first thing."""
    return (person.worktrees / "work/one-1/one.txt").exists()


def ended(scene: Scene) -> None:
    """End the daemon and its agents."""
    scene.type("stop", "--now")
    wait(scene, lambda: status(scene)["daemon_pid"] is None, "the daemon's end")


# ---- while a plan is under way ----


@pytest.fixture(scope="module")
def busy(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """Somebody whose daemon has an agent at work that will not end."""
    folder = tmp_path_factory.mktemp("busy")
    someone = Person(home=folder / "home", repo=folder / "repo", extra={"XDG_RUNTIME_DIR": str(folder / "run")})
    shutil.copytree(template, folder, symlinks=True, dirs_exist_ok=True)
    someone.write("plans/work.yaml", SLOW.format(seconds=600))
    checked = someone.type("plan", "check", "plans/work.yaml", "--json")
    started = someone.type("start", "plans/work.yaml", "--confirm", checked.data["digest"], "--detach")
    assert started.code == 0, started.err
    someone.wait(lambda: under_way(someone), what="the agent's start")
    yield someone
    someone.leave()


@pytest.fixture
def meanwhile(busy: Person, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Scene]:
    """Commands typed in this process while that goes on."""
    busy.write("plans/work.yaml", SLOW.format(seconds=600))
    with ExitStack() as cleanup:
        yield Scene(person=busy, monkeypatch=monkeypatch, capsys=capsys, cleanup=cleanup, here=busy.repo)


def edited(scene: Scene) -> None:
    scene.write("plans/work.yaml", SLOW.format(seconds=601))


def deleted(scene: Scene) -> None:
    (scene.repo / "plans/work.yaml").unlink()


def of_the_same_name(scene: Scene) -> None:
    scene.write("plans/again.yaml", "name: work\n" + SLOW.format(seconds=7))


def another(scene: Scene) -> None:
    scene.write("plans/other.yaml", SLOW.format(seconds=600))
    scene.set("DIGEST", scene.digest("plans/other.yaml"))


def stopped(scene: Scene) -> None:
    """The whole daemon stands still, as after Ctrl-Z or in a frozen container."""
    pid = status(scene)["daemon_pid"]
    os.kill(pid, signal.SIGSTOP)
    scene.cleanup.callback(os.kill, pid, signal.SIGCONT)
    scene.monkeypatch.setattr("orchestrator.client.HELLO_WITHIN_S", 0.5)


@pytest.mark.parametrize(
    ("spoil", "typed", "code", "message", "fix"),
    [
        pytest.param(edited, "start plans/work.yaml", 4, "has to confirm", "--confirm", id="the plan was edited"),
        pytest.param(deleted, "start plans/work.yaml", 2, "no plan file", "plan file", id="the plan was deleted"),
        pytest.param(of_the_same_name, "start plans/again.yaml", 4, "confirm", "--confirm", id="another of its name"),
        pytest.param(
            another,
            "start plans/other.yaml --confirm {}",
            6,
            "'work' is not finished",
            "cancel --all",
            id="a second plan",
        ),
        pytest.param(
            lambda _: None, "start --foreground", 6, "a daemon already runs", "stop --detach", id="a second daemon"
        ),
        pytest.param(lambda _: None, "why nothing", 2, "nothing", "orchestrator status", id="a task that is not there"),
        pytest.param(lambda _: None, "answer i9 retry", 2, "i9", "inbox", id="an item that is not there"),
        pytest.param(stopped, "pause", 3, "does not answer", "kill -CONT", id="a stopped daemon is asked"),
        pytest.param(stopped, "stop --now", 3, "does not answer", "kill -CONT", id="a stopped daemon is to stop"),
        pytest.param(stopped, "status", 0, "", "", id="a stopped daemon is looked at"),
    ],
)
def test_what_cannot_be_done_now_is_said_and_the_work_goes_on(
    meanwhile: Scene, spoil: Callable[[Scene], None], typed: str, code: int, message: str, fix: str
) -> None:
    pid = status(meanwhile)["daemon_pid"]
    spoil(meanwhile)
    before = meanwhile.look(state=False)
    words = typed.format(meanwhile.person.extra.get("DIGEST", "")).split()
    printed = meanwhile.type(*words, "--json")
    assert printed.code == code, printed.out
    assert message in error_of(printed)["message"]
    assert fix in error_of(printed)["fix"]
    assert changes(before, meanwhile.look(state=False)) == []
    meanwhile.cleanup.close()
    assert status(meanwhile)["daemon_pid"] == pid
    assert states(meanwhile) == {"one": "running"}


# ---- terminals ----


def on_a_terminal(person: Person, *words: str, hangups: bool = True) -> tuple[subprocess.Popen[bytes], int]:
    """A command on a terminal of its own. Returns: the process, and the other end of the terminal."""
    ours, theirs = pty.openpty()

    def take_the_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGHUP, signal.SIG_DFL if hangups else signal.SIG_IGN)

    process = subprocess.Popen(
        [ORCHESTRATOR, *words],
        cwd=person.repo,
        env=person.environ | {"TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=take_the_terminal,
    )
    os.close(theirs)
    threading.Thread(target=drained, args=(ours,), daemon=True).start()
    return process, ours


def drained(terminal: int) -> None:
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        return


@pytest.mark.parametrize(
    ("words", "hangups", "daemon_lives"),
    [
        pytest.param((), True, True, id="of one who follows"),
        pytest.param(("--foreground",), True, False, id="of the daemon itself"),
        pytest.param(("--foreground",), False, True, id="of the daemon itself under nohup"),
    ],
)
def test_a_closed_terminal_ends_no_agent(
    scene: Scene, words: tuple[str, ...], hangups: bool, daemon_lives: bool
) -> None:
    scene.write("plans/work.yaml", SLOW.format(seconds=60))
    typed = ("start", "plans/work.yaml", "--confirm", scene.digest(), *words)
    process, terminal = on_a_terminal(scene.person, *typed, hangups=hangups)
    try:
        wait(scene, lambda: under_way(scene.person), "the agent's start")
        os.kill(process.pid, signal.SIGHUP)
        if hangups:
            assert process.wait(20) is not None
        else:
            time.sleep(0.3)  # the time in which it would have left
        assert (status(scene)["daemon_pid"] is not None) is daemon_lives
        assert states(scene) == {"one": "running"}
        assert any("demo.py" in command for command in scene.person.processes())
        if not daemon_lives:
            assert '"why": "detached"' in (scene.state / "daemon.log").read_text()
    finally:
        if not daemon_lives:
            scene.person.type("start", "--detach")
        ended(scene)
        process.kill()
        process.wait()
        os.close(terminal)


def test_a_follower_that_was_suspended_sees_the_end_all_the_same(scene: Scene) -> None:
    scene.write("plans/work.yaml", SLOW.format(seconds=4))
    process = subprocess.Popen(
        [ORCHESTRATOR, "start", "plans/work.yaml", "--confirm", scene.digest()],
        cwd=scene.repo,
        env=scene.person.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait(scene, lambda: under_way(scene.person), "the agent's start")
        os.kill(process.pid, signal.SIGTSTP)
        wait(scene, lambda: states(scene) == {"one": "landed"}, "the landing")
        assert process.poll() is None
        os.kill(process.pid, signal.SIGCONT)
        out, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        assert "work is finished and published: 1 of 1 tasks landed" in out
    finally:
        process.kill()
        ended(scene)


# ---- clocks, full disks, a lock that somebody left; and output that nobody reads ----

#: `orchestrator` with a clock that is two days ahead.
AHEAD = """
import sys
from datetime import timedelta
from orchestrator.backends.clock import SystemClock
from orchestrator.cli.main import main
right = SystemClock.now
SystemClock.now = lambda self: right(self) + timedelta(days=2)
sys.exit(main(sys.argv[1:]))
"""


def test_after_a_clock_that_was_ahead_and_a_lock_of_the_dead_a_plan_still_runs(scene: Scene) -> None:
    typed = ["start", "plans/work.yaml", "--confirm", scene.digest(), "--foreground"]
    ahead = subprocess.run(
        [sys.executable, "-c", AHEAD, *typed],
        cwd=scene.repo,
        env=scene.person.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ahead.returncode == 0, ahead.stderr
    lock = {"pid": os.getpid(), "start_time": 1, "boot_id": "another", "version": "0"}
    (scene.state / "daemon.lock").write_text(json.dumps(lock))
    assert status(scene)["daemon_pid"] is None
    before = len(scene.type("events", "--json").data["events"])
    again = scene.person.type(*typed)
    assert again.code == 0, again.err
    times = [event["at"] for event in scene.type("events", "--json").data["events"]]
    assert len(times) > before
    assert times == sorted(times), "the clock went back, and the ledger never does"
    assert scene.type("status").code == scene.type("report").code == 0
    assert scene.git("show", "main:one.txt") == "hello\nhello"


FILL = """\
checks: none
agents:
  fill: {adapter: command, run: [sh, -c, "head -c 99000000 /dev/zero > $HOME/../repo/.git/filler; echo hi > one.txt"]}
tasks:
  - {id: one, files: [one.txt], agent: fill, prompt: x}
"""


def test_a_disk_that_is_full_for_a_while_loses_nothing(scene: Scene) -> None:
    kept = scene.repo.rename(scene.top / "kept")
    scene.repo.mkdir()
    mount(scene, scene.repo, "-t", "tmpfs", "-o", "size=3m", "none")
    shutil.copytree(kept, scene.repo, symlinks=True, dirs_exist_ok=True)
    scene.write("plans/work.yaml", FILL)
    started = scene.person.type("start", "plans/work.yaml", "--confirm", scene.digest(), "--detach")
    assert started.code == 0, started.err
    try:
        wait(scene, lambda: shutil.disk_usage(scene.repo).free == 0, "a full disk")
        told = error_of(scene.type("pause", "--json"))
        assert "cannot grow" in told["message"]
        assert "make room" in told["fix"]
        assert states(scene) == {"one": "running"}
    finally:
        (scene.dot_git / "filler").unlink()
    try:
        wait(scene, lambda: states(scene) == {"one": "landed"}, "the landing")
    finally:
        ended(scene)


def in_a_shell(scene: Scene, line: str) -> subprocess.CompletedProcess[str]:
    """A line of shell, `{}` in it the program. Returns: with the exit code of its first command."""
    return subprocess.run(
        ["bash", "-c", line.format(ORCHESTRATOR) + '; exit "${PIPESTATUS[0]}"'],
        cwd=scene.repo,
        env=scene.person.environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        pytest.param("{} plan schema | true", 0, "", id="nobody reads a long page"),
        pytest.param("{} plan check plans/work.yaml | true", 0, "", id="nobody reads the assessment"),
        pytest.param("{} --help | true", 0, "", id="nobody reads help"),
        pytest.param(
            "{} plan check plans/work.yaml > /dev/full | true",
            6,
            "the output could not be written",
            id="a full disk behind it",
        ),
        pytest.param(
            "{} config show --json > /dev/full | true", 6, "could not be written", id="a full disk behind JSON"
        ),
        pytest.param("{} plan check plans/work.yaml >&- | true", 0, "", id="output closed"),
        pytest.param("{} plan check plans/work.yaml 2>&- <&- | true", 0, "", id="input and errors closed"),
    ],
)
def test_output_that_cannot_be_heard_is_no_bug(scene: Scene, line: str, code: int, says: str) -> None:
    done = in_a_shell(scene, line)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "bug" not in done.stderr
    assert says or not done.stderr


def test_what_was_confirmed_runs_although_nobody_reads_on(scene: Scene) -> None:
    line = f"{{}} start plans/work.yaml --confirm {scene.digest()} --foreground 2>&1 | true"
    assert in_a_shell(scene, line).returncode == 0
    assert scene.git("show", "main:one.txt") == "hello"


def test_a_daemon_that_was_told_to_stop_hinders_no_plan_in_the_foreground(scene: Scene) -> None:
    begin = f"{{}} start plans/work.yaml --confirm {scene.digest()}"
    assert in_a_shell(scene, f"{begin} --detach").returncode == 0
    assert in_a_shell(scene, "{} stop --now").returncode == 0
    done = in_a_shell(scene, f"{begin} --foreground")
    assert done.returncode == 0, done.stderr
    assert scene.git("show", "main:one.txt").startswith("hello")
