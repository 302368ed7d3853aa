"""The supervisor alone: what it starts, keeps and ends, however the program and the daemon behave."""

from __future__ import annotations

import fcntl
import json
import os
import py_compile
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.backends.process import SUPERVISOR, compiled, start_time
from orchestrator.backends.supervisor import Masker
from orchestrator.model.errors import OrchestratorError
from tests.fakes.runs import ended, is_alive, processes_in, program, ran, ready, text_of, until

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs a subreaper")

#: writes its pid where the test finds it, then does not want to end
DEAF = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open("pid-{name}", "w").write(str(os.getpid()))
time.sleep(60)
"""
#: a child in the same group, a grandchild in a session of its own, and itself: all deaf
DEAF_TREE = """
import os
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        name = "grandchild"
    else:
        name = "child"
else:
    name = "parent"
""" + DEAF.replace('"pid-{name}"', '"pid-" + name')
DAEMONISE = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open("pid-daemon", "w").write(str(os.getpid()))
        time.sleep(60)
    os._exit(0)
while not (os.path.exists("pid-daemon") and os.path.getsize("pid-daemon")):
    time.sleep(0.01)
raise SystemExit(3)
"""


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


def pids_in(folder: Path, *names: str) -> list[int]:
    return [int(until(lambda name=name: text_of(folder / f"pid-{name}"), f"{name} runs")) for name in names]


# ---- the start ----


def test_nothing_runs_before_the_go_byte(run_dir: Path) -> None:
    started = ready(run_dir, program("open('ran', 'w')"))
    meta = json.loads((run_dir / "meta.json").read_text())
    assert meta["started"] is False
    assert meta["supervisor"]["start_time"] == start_time(meta["supervisor"]["pid"])
    assert not (run_dir.parent / "ran").exists()
    started.release()
    assert ended(run_dir, started)["why"] == "exit"
    assert (run_dir.parent / "ran").exists()
    assert json.loads((run_dir / "meta.json").read_text())["started"] is True


def test_a_daemon_that_goes_away_before_the_go_byte_leaves_never_started(run_dir: Path) -> None:
    started = ready(run_dir, program("open('ran', 'w')"))
    started.forget()
    assert ended(run_dir, started)["why"] == "never_started"
    assert not (run_dir.parent / "ran").exists()


def test_a_stop_before_the_go_byte_leaves_never_started(run_dir: Path) -> None:
    started = ready(run_dir, program("open('ran', 'w')"))
    os.kill(json.loads((run_dir / "meta.json").read_text())["supervisor"]["pid"], signal.SIGTERM)
    assert ended(run_dir, started)["why"] == "never_started"


@pytest.mark.parametrize(
    ("argv", "changes", "said"),
    [
        pytest.param(["no-such-program"], {}, "no such program on the PATH", id="no such program"),
        pytest.param(["./plain"], {}, "Permission denied", id="not executable"),
        pytest.param(["true"], {"cwd": "/no/such/folder"}, "cannot enter the folder /no/such/folder", id="no folder"),
        pytest.param(["true", "x" * 200_000], {}, "arguments are too long", id="argument too long"),
        pytest.param(["true", "a\0b"], {}, "null byte", id="impossible argument"),
    ],
)
def test_a_program_that_cannot_be_started_is_told_with_the_reason(
    run_dir: Path, argv: list[str], changes: dict[str, str], said: str
) -> None:
    (run_dir.parent / "plain").write_text("text\n")
    record = ran(run_dir, argv, **changes)
    assert record["why"] == "not_found"
    assert said in record["detail"]


def test_a_folder_has_one_supervisor(run_dir: Path) -> None:
    started = ready(run_dir, program("print('once')"))
    with pytest.raises(OrchestratorError) as refused:
        ready(run_dir, program("print('twice')"))
    assert "another supervisor" in refused.value.why
    started.release()
    assert ended(run_dir, started)["why"] == "exit"
    assert (run_dir / "output").read_text() == "once\n"


def test_a_folder_is_used_once(run_dir: Path) -> None:
    ran(run_dir, program("print('once')"))
    with pytest.raises(OrchestratorError) as refused:
        ready(run_dir, program("print('twice')"))
    assert "has run" in refused.value.why
    assert (run_dir / "output").read_text() == "once\n"


def test_the_program_has_exactly_its_environment_and_folder_and_nothing_inherited(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRAY", "1")
    code = """
import json, os
print(json.dumps({"env": dict(os.environ), "cwd": os.getcwd(), "fds": sorted(map(int, os.listdir("/proc/self/fd"))),
    "umask": os.umask(0), "leads": os.getsid(0) == os.getpid()}))
"""
    leak = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(leak, True)
    ran(run_dir, program(code), env={"ONLY": "this"}, umask=0o027)
    os.close(leak)
    told = json.loads((run_dir / "output").read_text())
    assert {name: value for name, value in told["env"].items() if name != "LC_CTYPE"} == {"ONLY": "this"}
    assert told["cwd"] == str(run_dir.parent)
    assert told["fds"] == [0, 1, 2, 3]  # the last is the listing itself
    assert told["umask"] == 0o027
    assert told["leads"]


@linux_only
def test_no_signal_is_ignored_or_blocked_in_the_program(run_dir: Path) -> None:
    ran(run_dir, ["grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"])
    for line in (run_dir / "output").read_text().splitlines():
        assert int(line.split()[1], 16) & 0x7FFFFFFF == 0, line  # those above belong to the C library


def test_the_supervisor_keeps_nothing_of_whoever_started_it(run_dir: Path) -> None:
    leak = os.open(run_dir.parent, os.O_RDONLY)
    os.set_inheritable(leak, True)
    started = ready(run_dir, program("import time; time.sleep(60)"))
    os.close(leak)
    started.release()
    meta = until(lambda: (m := json.loads((run_dir / "meta.json").read_text()))["agent"] and m, "the program runs")
    pid = meta["supervisor"]["pid"]
    held = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    assert {path for path in held if path.startswith("/") and path != os.devnull} == {
        str(run_dir / "lock"),
        str(run_dir / "output"),
    }
    assert os.readlink(f"/proc/{pid}/cwd") == str(run_dir)
    assert os.getsid(pid) == pid
    os.kill(pid, signal.SIGINT)  # as from a terminal
    os.kill(pid, signal.SIGHUP)
    time.sleep(0.1)
    assert is_alive(meta["agent"]["pid"])
    os.kill(pid, signal.SIGTERM)
    assert ended(run_dir, started)["why"] == "stopped"


def test_values_of_the_environment_do_not_stay_on_disk(run_dir: Path) -> None:
    ran(run_dir, program("print('hi')"), env={"TOKEN": "canary-3141"}, secrets=["canary-3141"])
    for path in run_dir.iterdir():
        assert b"canary-3141" not in path.read_bytes(), path.name
        assert path.stat().st_mode & 0o077 == 0, path.name


# ---- the end ----


@pytest.mark.parametrize(
    ("code", "exit_code", "detail"),
    [
        pytest.param("raise SystemExit(0)", 0, "", id="well"),
        pytest.param("raise SystemExit(7)", 7, "", id="badly"),
        pytest.param("import os; os.kill(os.getpid(), 9)", -9, "ended by signal 9 (Killed)", id="by a signal"),
    ],
)
def test_the_exit_record_says_how_the_program_ended(run_dir: Path, code: str, exit_code: int, detail: str) -> None:
    assert ran(run_dir, program(code)) == {"why": "exit", "code": exit_code, "dropped_bytes": 0, "detail": detail}


@linux_only
def test_stop_ends_a_tree_that_does_not_listen(run_dir: Path) -> None:
    started = ready(run_dir, program(DEAF_TREE), grace_s=0.2)
    started.release()
    pids = pids_in(run_dir.parent, "parent", "child", "grandchild")
    os.kill(json.loads((run_dir / "meta.json").read_text())["supervisor"]["pid"], signal.SIGTERM)
    record = ended(run_dir, started)
    assert (record["why"], record["code"]) == ("stopped", -9)
    assert not any(map(is_alive, pids))


def test_stop_gives_a_listening_program_time_to_end_well(run_dir: Path) -> None:
    code = """
import os, signal, sys, time
def end(*_):
    time.sleep(0.2)
    os.write(1, b"saved\\n")  # `print` within an interrupted `print` fails
    sys.exit(4)
signal.signal(signal.SIGTERM, end)
os.write(1, b"ready\\n")
time.sleep(60)
"""
    started = ready(run_dir, program(code))
    started.release()
    until(lambda: "ready" in text_of(run_dir / "output"), "the program listens")
    os.kill(json.loads((run_dir / "meta.json").read_text())["supervisor"]["pid"], signal.SIGTERM)
    assert ended(run_dir, started) == {"why": "stopped", "code": 4, "dropped_bytes": 0, "detail": ""}
    assert (run_dir / "output").read_text() == "ready\nsaved\n"


@linux_only
def test_a_suspended_program_is_stopped_too(run_dir: Path) -> None:
    started = ready(run_dir, program("import os; os.kill(os.getpid(), 19)"), grace_s=5)
    started.release()
    pid = until(lambda: (json.loads((run_dir / "meta.json").read_text())["agent"] or {}).get("pid"), "it runs")
    until(lambda: Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T", "it is suspended")
    begun = time.monotonic()
    os.kill(json.loads((run_dir / "meta.json").read_text())["supervisor"]["pid"], signal.SIGTERM)
    assert ended(run_dir, started)["code"] == -signal.SIGTERM
    assert time.monotonic() - begun < 4


@linux_only
def test_a_program_that_ends_leaves_no_daemon_behind_and_keeps_its_code(run_dir: Path) -> None:
    record = ran(run_dir, program(DAEMONISE))
    assert (record["why"], record["code"]) == ("exit", 3)
    assert not is_alive(*pids_in(run_dir.parent, "daemon"))


@linux_only
def test_a_killed_supervisor_takes_the_program_along_and_leaves_no_record(run_dir: Path) -> None:
    started = ready(run_dir, program(DEAF.format(name="it")))
    started.release()
    (pid,) = pids_in(run_dir.parent, "it")
    os.kill(json.loads((run_dir / "meta.json").read_text())["supervisor"]["pid"], signal.SIGKILL)
    until(started.reap, "the supervisor is gone")
    until(lambda: not is_alive(pid), "the program is gone")
    assert not (run_dir / "exit.json").exists()


@linux_only
def test_a_tree_that_grows_while_it_is_killed_is_killed(run_dir: Path) -> None:
    bomb = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open("pid-first", "w").write(str(os.getpid()))
end = time.monotonic() + 20
while time.monotonic() < end:
    if os.fork() == 0:
        os.setsid()
        time.sleep(0.05)
    else:
        time.sleep(0.02)
        os._exit(0) if os.getpid() != int(open("pid-first").read()) else None
"""
    started = ready(run_dir, program(bomb), grace_s=0.2)
    started.release()
    pids_in(run_dir.parent, "first")
    time.sleep(0.2)
    os.kill(json.loads((run_dir / "meta.json").read_text())["supervisor"]["pid"], signal.SIGTERM)
    assert ended(run_dir, started)["why"] == "stopped"
    assert processes_in(run_dir.parent) == []


# ---- time ----


def test_the_time_limit_holds_without_a_daemon(run_dir: Path) -> None:
    record = ran(run_dir, program("import time; time.sleep(60)"), timeout_s=0.3)
    assert (record["why"], record["code"]) == ("timeout", -signal.SIGTERM)
    assert "0.3 s" in record["detail"]


@pytest.mark.parametrize("then", ["exit", "timeout"])
def test_the_time_limit_stands_still_while_the_program_waits_for_a_person(run_dir: Path, then: str) -> None:
    code = "import os, time\nwhile not os.path.exists('go-on'): time.sleep(0.01)"
    started = ready(run_dir, program(code), timeout_s=0.5)
    with (run_dir / "waiting").open("w") as waiting:
        fcntl.flock(waiting, fcntl.LOCK_SH)  # as `orch-agent ask` does
        started.release()
        time.sleep(1.2)
        assert not (run_dir / "exit.json").exists()
        if then == "exit":
            (run_dir.parent / "go-on").touch()
            assert ended(run_dir, started)["why"] == "exit"
    if then == "timeout":  # nobody is waited for any more, and it does not end
        assert ended(run_dir, started)["why"] == "timeout"


def test_a_quiet_run_costs_next_to_nothing(run_dir: Path) -> None:
    started = ready(run_dir, program("import time; time.sleep(60)"))
    started.release()
    pid = json.loads((run_dir / "meta.json").read_text())["supervisor"]["pid"]
    until(lambda: json.loads((run_dir / "meta.json").read_text())["agent"], "the program runs")

    def ticks() -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(1)
    assert ticks() - before <= 2  # hundredths of a second
    os.kill(pid, signal.SIGTERM)
    ended(run_dir, started)


# ---- output ----


def test_a_flood_is_capped_and_never_blocks_the_program(run_dir: Path) -> None:
    code = "import os\nfor _ in range(400): os.write(1, b'x' * 65535 + b'\\n')\nprint('the end')"
    record = ran(run_dir, program(code), output_limit_bytes=100_000)
    output = (run_dir / "output").read_bytes()
    assert record["why"] == "exit"
    assert len(output) < 100_000 + 5_000
    assert b"bytes dropped here" in output
    assert output.endswith(b"the end\n\n")
    head, _, rest = output.partition(b"\n[orchestrator: ")
    tail = rest.partition(b" were]\n")[2].removesuffix(b"\n")
    assert len(head) + len(tail) + record["dropped_bytes"] == 400 * 65536 + len("the end\n")


@pytest.mark.parametrize("secrets", [[], ["canary-2718"]], ids=["plain", "masked"])
@pytest.mark.parametrize(
    "code",
    [
        pytest.param("block = b'x' * 65535 + b'\\n'\nfor _ in range(3200): os.write(1, block)", id="200 MB"),
        pytest.param("block = b'x' * 65536\nfor _ in range(1024): os.write(1, block)", id="one line of 64 MB"),
        pytest.param("for _ in range(100): os.write(1, b'\\0' * 65536)", id="nothing but NULs"),
        pytest.param("for _ in range(500): os.write(1, b'\\x1b[31m\\x1b]0;title\\x07' * 1000)", id="escapes"),
        pytest.param("for _ in range(20000): os.write(1, b'canary-27' + b'canary' * 9)", id="half secrets in pieces"),
    ],
)
def test_no_flood_of_any_kind_blocks_the_program_or_outgrows_its_limit(
    run_dir: Path, code: str, secrets: list[str]
) -> None:
    record = ran(
        run_dir, program(f"import os\n{code}\nprint('the end')"), output_limit_bytes=1_000_000, secrets=secrets
    )
    assert (record["why"], record["code"]) == ("exit", 0)
    output = (run_dir / "output").read_bytes()
    assert len(output) < 1_000_000 + 5_000
    assert record["dropped_bytes"] > 0
    assert output.endswith(b"the end\n\n")


def with_limit(pid: int, kind: int, soft: int) -> None:
    """Let a process have no more of something, until it is asked again."""
    resource.prlimit(pid, kind, (soft, resource.prlimit(pid, kind)[1]))


@linux_only
@pytest.mark.parametrize(
    ("kind", "soft"),
    [
        pytest.param(resource.RLIMIT_FSIZE, 0, id="nothing can be written"),
        pytest.param(resource.RLIMIT_NOFILE, 4, id="nothing can be opened"),
    ],
)
def test_a_supervisor_that_can_do_nothing_keeps_the_pipe_moving_and_records_the_end_when_it_can(
    run_dir: Path, kind: int, soft: int
) -> None:
    code = """
import os, sys, time
print("begun", flush=True)
while not os.path.exists("go-on"): time.sleep(0.01)
for _ in range(100): os.write(1, b"x" * 65536)
open("read", "w").write(str(len(sys.stdin.read())))
raise SystemExit(5)
"""
    run_dir.mkdir()
    started = ready(run_dir, program(code), stdin="open", output_limit_bytes=10**9)
    started.release()
    until(lambda: "begun" in text_of(run_dir / "output"), "it runs")
    pid = json.loads((run_dir / "meta.json").read_text())["supervisor"]["pid"]
    before = resource.prlimit(pid, kind)[0]
    with_limit(pid, kind, soft)
    (run_dir / "input").write_text("y" * 1000)
    (run_dir / "input.end").touch()
    (run_dir.parent / "go-on").touch()
    if kind == resource.RLIMIT_NOFILE:
        time.sleep(0.5)
        assert text_of(run_dir.parent / "read") == "", "its input was closed before its end"
    else:
        until(lambda: text_of(run_dir.parent / "read"), "it goes on")
        time.sleep(0.3)
        assert not (run_dir / "exit.json").exists()
        assert is_alive(pid)
    with_limit(pid, kind, before)
    record = ended(run_dir, started)
    assert (record["why"], record["code"]) == ("exit", 5)
    assert text_of(run_dir.parent / "read") == "1000"
    if kind == resource.RLIMIT_FSIZE:
        assert "could not be written" in record["detail"]
        assert record["dropped_bytes"] > 6_000_000
    else:
        assert (run_dir / "output").stat().st_size == len("begun\n") + 100 * 65536


@linux_only
def test_an_end_that_cannot_be_recorded_is_recorded_later_even_when_a_stop_was_asked_for(run_dir: Path) -> None:
    started = ready(run_dir, program("import time; time.sleep(60)"))
    started.release()
    meta = until(lambda: (m := json.loads((run_dir / "meta.json").read_text()))["agent"] and m, "the program runs")
    pid = meta["supervisor"]["pid"]
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)[0]
    with_limit(pid, resource.RLIMIT_FSIZE, 0)
    os.kill(pid, signal.SIGTERM)
    until(lambda: not is_alive(meta["agent"]["pid"]), "the program ends")
    time.sleep(0.2)
    assert is_alive(pid)
    with_limit(pid, resource.RLIMIT_FSIZE, before)
    assert ended(run_dir, started)["why"] == "stopped"


@linux_only
@pytest.mark.parametrize("then", ["room", "stop"])
def test_nothing_starts_before_its_start_is_on_the_disk(run_dir: Path, then: str) -> None:
    started = ready(run_dir, program("open('ran', 'w')"))
    pid = json.loads((run_dir / "meta.json").read_text())["supervisor"]["pid"]
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)[0]
    with_limit(pid, resource.RLIMIT_FSIZE, 0)
    started.release()
    time.sleep(0.2)
    assert is_alive(pid)
    assert not (run_dir.parent / "ran").exists()
    if then == "stop":
        os.kill(pid, signal.SIGTERM)
        time.sleep(0.1)
    with_limit(pid, resource.RLIMIT_FSIZE, before)
    assert ended(run_dir, started)["why"] == ("exit" if then == "room" else "never_started")
    assert (run_dir.parent / "ran").exists() is (then == "room")


def test_output_that_cannot_be_opened_is_told_and_the_program_runs_all_the_same(run_dir: Path) -> None:
    run_dir.mkdir()
    (run_dir / "output").mkdir()
    record = ran(run_dir, program("print('x' * 100)"))
    assert (record["why"], record["code"], record["dropped_bytes"]) == ("exit", 0, 101)
    assert "could not be written" in record["detail"]


def test_output_at_the_limit_is_complete(run_dir: Path) -> None:
    record = ran(run_dir, program("print('x' * 999)"), output_limit_bytes=1000)
    assert record["dropped_bytes"] == 0
    assert (run_dir / "output").read_text() == "x" * 999 + "\n"


def test_both_streams_and_any_bytes_are_kept_in_order(run_dir: Path) -> None:
    code = "import os\nos.write(1, bytes(range(256)))\nos.write(2, b'\\xff\\xfe err\\n')\nos.write(1, b'\\0\\x1b[2J')"
    ran(run_dir, program(code))
    assert (run_dir / "output").read_bytes() == bytes(range(256)) + b"\xff\xfe err\n\0\x1b[2J"


def test_a_secret_written_in_pieces_is_masked_and_the_rest_comes_at_once(run_dir: Path) -> None:
    code = """
import os, time
for piece in (b"before ", b"can", b"ary-", b"2718 after", b" can", b"ot end: canary-27"):
    os.write(1, piece); time.sleep(0.05)
"""
    ran(run_dir, program(code), secrets=["canary-2718"])
    assert (run_dir / "output").read_text() == "before [secret] after canot end: canary-27"


@pytest.mark.parametrize(
    ("secrets", "text", "shown"),
    [
        pytest.param(["hush-hush"], "say hush-hush!", "say [secret]!", id="one"),
        pytest.param(["hush", "hush-hush"], "a hush-hush b hush", "a [secret] b [secret]", id="one within another"),
        pytest.param(["xxab", "abcd"], "xxabcd.", "[secret].", id="overlapping"),
        pytest.param(["abab"], "abababab.", "[secret].", id="overlapping itself"),
        pytest.param(["abcd"], "ababcabcdab", "ababc[secret]ab", id="false beginnings"),
        pytest.param(["k1", ""], "k1 k1", "k1 k1", id="too short to be one"),
        pytest.param(["line one of it\nline two of it"], "> line two of it\n", "> [secret]\n", id="a line of a longer"),
        pytest.param(["päss-wörd"], "is päss-wörd", "is [secret]", id="not ascii"),
    ],
)
def test_secrets_are_masked_wherever_the_stream_is_cut(secrets: list[str], text: str, shown: str) -> None:
    data = text.encode()
    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1):
            masker = Masker(secrets)
            pieces = [masker.feed(data[:first]), masker.feed(data[first:second]), masker.feed(data[second:], last=True)]
            assert b"".join(pieces).decode() == shown, (first, second)


# ---- input ----


def test_input_is_copied_as_it_grows_and_closed_by_its_end(run_dir: Path) -> None:
    code = "import sys\nfor line in sys.stdin: print('got', line, end='', flush=True)\nprint('over')"
    run_dir.mkdir()
    (run_dir / "input").write_text("one\n")
    started = ready(run_dir, program(code), stdin="open")
    started.release()
    until(lambda: "one" in text_of(run_dir / "output"), "the first line arrives")
    with (run_dir / "input").open("a") as file:
        file.write("two\n")
    until(lambda: "two" in text_of(run_dir / "output"), "the second line arrives")
    (run_dir / "input.end").touch()
    assert ended(run_dir, started)["code"] == 0
    assert (run_dir / "output").read_text() == "got one\ngot two\nover\n"


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("print('done')", id="does not read"),
        pytest.param("import os; os.close(0); print('done')", id="closes its input"),
        pytest.param("import sys, time; time.sleep(.2); print('done' * (len(sys.stdin.read()) == 5000000))", id="late"),
    ],
)
def test_more_input_than_a_pipe_holds_harms_nobody(run_dir: Path, code: str) -> None:
    run_dir.mkdir()
    (run_dir / "input").write_bytes(b"y" * 5_000_000)
    (run_dir / "input.end").touch()
    assert ran(run_dir, program(code), stdin="closed")["code"] == 0
    assert (run_dir / "output").read_text() == "done\n"


def test_without_input_the_program_reads_nothing(run_dir: Path) -> None:
    ran(run_dir, program("import sys; print(repr(sys.stdin.read()))"))
    assert (run_dir / "output").read_text() == "''\n"


@pytest.mark.parametrize("kept", ["fresh", "of an older file", "of another Python", "half written", "none"])
def test_the_supervisor_starts_from_bytecode_only_when_that_is_of_its_file(tmp_path: Path, kept: str) -> None:
    source = tmp_path / "supervisor.py"
    source.write_text("print('this one')")
    cached = Path(py_compile.compile(str(source), doraise=True) or "")
    if kept == "of an older file":
        source.write_text("print('the newer one')")
    elif kept == "of another Python":
        cached.write_bytes(b"\0\0\r\n" + cached.read_bytes()[4:])
    elif kept == "half written":
        cached.write_bytes(cached.read_bytes()[:10])
    elif kept == "none":
        cached.unlink()
    chosen = compiled(source)
    assert chosen == (cached if kept == "fresh" else source)
    said = subprocess.run([sys.executable, "-I", "-S", str(chosen)], capture_output=True, text=True)
    assert said.stdout == ("the newer one\n" if kept == "of an older file" else "this one\n")


def test_the_supervisor_needs_no_installed_package() -> None:
    code = f"import runpy, sys; runpy.run_path({str(SUPERVISOR)!r}); print('orchestrator' in sys.modules)"
    result = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert result.stdout == "False\n", result.stderr
