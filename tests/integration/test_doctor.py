"""`doctor` in surroundings that are broken for real: each is told by name, and none stops the others."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from orchestrator import app
from orchestrator.backends import folderprobes, ground
from orchestrator.backends.folderprobes import Room, disk_probe
from orchestrator.backends.ground import check_file_system, file_system_of
from orchestrator.backends.probes import Named, run_all
from orchestrator.backends.sqlite import SqliteStore
from orchestrator.discover import find_place
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.event import ProgressReported
from orchestrator.model.ids import AttemptId, PlanId, TaskId
from orchestrator.model.place import Place
from orchestrator.model.probe import Grade, Probe
from orchestrator.ports import Batch
from tests.fakes.repos import commit, everything_in, git, users_repository

MIB = 1024**2
SETTINGS = """
checks = [{name = "tests", run = ["sh", "-c", "true"]}]
[agents.mine]
adapter = "command"
run = ["sh", "-c", "true"]
[defaults]
agent = "mine"
"""


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A healthy repository with settings, in a name that has to be quoted, and a home of its own."""
    home = tmp_path / "home"
    runtime = tmp_path / "r"
    for folder in (home, runtime):
        folder.mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    for name in [name for name in os.environ if name.startswith(("GIT_", "ORCHESTRATOR_", "XDG_CONFIG", "XDG_DATA"))]:
        monkeypatch.delenv(name)
    user = users_repository(tmp_path / "Bücher & more")
    commit(user.root, {"orchestrator.toml": SETTINGS})
    return user.root


def place_of(repo: Path) -> Place:
    return find_place(repo)


def examined(start: Path) -> dict[str, Probe]:
    return {probe.name: probe for probe in app.examine(start)}


def graded(found: dict[str, Probe], grade: Grade) -> set[str]:
    return {name for name, probe in found.items() if probe.grade is grade}


def state_of(repo: Path) -> Path:
    state = place_of(repo).state_dir
    state.mkdir(mode=0o700)
    return state


async def _recorded(path: Path, at: datetime) -> None:
    store = await SqliteStore.open(path)
    event = ProgressReported(
        plan_id=PlanId("p"), task_id=TaskId("t"), attempt_id=AttemptId("p/t-1"), token=1, text="x" * 20_000
    )
    await store.record(Batch(at=at, events=[event] * 5))
    await store.close()


def ledger(repo: Path, at: datetime = datetime(2026, 3, 4, tzinfo=UTC)) -> Path:
    path = place_of(repo).ledger
    anyio.run(_recorded, path, at)
    return path


# ---- all is well ----


def test_a_healthy_repository_is_all_right_and_nothing_is_changed(repo: Path) -> None:
    before = everything_in(repo), sorted((repo / ".git").iterdir()), sorted(repo.parent.iterdir())
    found = examined(repo)
    assert graded(found, Grade.OK) == set(found), [p for p in found.values() if p.grade is not Grade.OK]
    assert before == (everything_in(repo), sorted((repo / ".git").iterdir()), sorted(repo.parent.iterdir()))
    assert len(found) == 28


def test_it_works_with_a_ledger_from_a_folder_below_and_from_a_linked_worktree(repo: Path) -> None:
    ledger(repo)
    git(repo, "worktree", "add", "-q", "../linked")
    for start in (repo / "src", repo.parent / "linked"):
        found = examined(start)
        assert graded(found, Grade.FAIL) == set()
        assert "whole" in found["ledger"].said


def test_outside_of_a_repository_the_machine_is_looked_at(repo: Path, tmp_path: Path) -> None:
    found = examined(tmp_path)
    assert list(found) == ["repository", "git", "python", "system", "open files", "process trees", "agents"]
    assert found["repository"].grade is Grade.WARN
    assert graded(found, Grade.FAIL) == set()


def test_a_worktree_whose_repository_is_gone_is_a_failure(repo: Path) -> None:
    git(repo, "worktree", "add", "-q", "../linked")
    shutil.rmtree(repo)
    found = examined(repo.parent / "linked")
    assert (found["repository"].grade, found["git"].grade) == (Grade.FAIL, Grade.OK)


def test_variables_that_lead_git_elsewhere_are_not_followed(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere/index")
    assert graded(examined(repo), Grade.FAIL) == set()


# ---- git ----


@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param("echo git version 2.30.2", "2.30.2", id="too old"),
        pytest.param("echo something else", "does not say its version", id="another program"),
        pytest.param("exit 3", "does not say its version", id="one that fails"),
        pytest.param('[ "$1" != merge-tree ] && exec REAL "$@"; exit 129', "cannot merge", id="a version and no deeds"),
    ],
)
def test_a_git_that_will_not_do(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "git").write_text(f"#!/bin/sh\n{script.replace('REAL', str(shutil.which('git')))}\n")
    (tools / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    found = examined(repo)
    shown = found["git"]
    assert shown.grade is Grade.FAIL
    assert said in f"{shown.said} {shown.why}"
    assert shown.fix
    assert found["state folder"].grade is Grade.OK


def test_no_git_at_all(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    for tool in ("sh", "env"):
        (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = examined(repo)
    assert "git cannot be started" in found["git"].said
    assert found["git"].grade is Grade.FAIL
    assert found["file locks"].grade is Grade.OK


def test_nobody(repo: Path) -> None:
    git(repo, "config", "--unset", "user.name")
    git(repo, "config", "--unset", "user.email")
    git(repo, "config", "user.useConfigOnly", "true")
    probe = examined(repo)["identity"]
    assert (probe.grade, "user.email" in probe.fix) == (Grade.WARN, True)


def lfs(repo: Path) -> None:
    commit(repo, {"assets/.gitattributes": "*.png filter=lfs diff=lfs merge=lfs -text\n"})


def submodule(repo: Path) -> None:
    users_repository(repo.parent / "lib")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repo.parent / "lib"), "lib")
    commit(repo, {})
    git(repo, "submodule", "--quiet", "deinit", "-f", "lib")


@pytest.mark.parametrize(
    ("change", "name", "grade", "said"),
    [
        pytest.param(lambda r: git(r, "branch", "orchestrator"), "repository", Grade.FAIL, "orchestrator", id="branch"),
        pytest.param(
            lambda r: git(r, "checkout", "-q", "--detach"), "repository", Grade.WARN, "no branch", id="detached"
        ),
        pytest.param(
            lambda r: git(r, "config", "remote.origin.partialclonefilter", "blob:none"),
            "repository",
            Grade.WARN,
            "partial",
            id="partial clone",
        ),
        pytest.param(
            lambda r: git(r, "update-ref", "-d", "refs/heads/main"),
            "repository",
            Grade.FAIL,
            "no commit",
            id="no commit",
        ),
        pytest.param(
            lambda r: (r / ".git/config").write_text("[core\n"),
            "repository",
            Grade.FAIL,
            "cannot read",
            id="bad config",
        ),
        pytest.param(lfs, "large files", Grade.FAIL, "LFS", id="LFS that is not set up"),
        pytest.param(submodule, "submodules", Grade.WARN, "lib", id="a submodule that is not there"),
    ],
)
def test_a_repository_with_something_to_it(repo: Path, change: object, name: str, grade: Grade, said: str) -> None:
    change(repo)  # type: ignore[operator]
    probe = examined(repo)[name]
    assert (probe.grade, said in probe.said) == (grade, True), probe
    assert probe.why
    assert probe.fix


def test_shallow_and_bare_clones_are_warned_about(repo: Path, tmp_path: Path) -> None:
    commit(repo, {"more": "x"})
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repo}", "shallow")
    assert "shallow" in examined(tmp_path / "shallow")["repository"].said
    git(tmp_path, "clone", "-q", "--bare", str(repo), "bare.git")
    found = examined(tmp_path / "bare.git")
    assert "bare" in found["repository"].said
    assert graded(found, Grade.FAIL) == set()


# ---- settings and programs ----


@pytest.mark.parametrize(
    ("settings", "name", "grade", "said"),
    [
        pytest.param("checks = [", "settings", Grade.FAIL, "cannot be read", id="no TOML"),
        pytest.param("colour = 'red'", "settings", Grade.FAIL, "colour", id="an unknown key"),
        pytest.param("", "checks", Grade.WARN, "none", id="no checks"),
        pytest.param("checks = 'none'", "checks", Grade.WARN, "none", id="checks that are none"),
        pytest.param('checks = [{name="t", run=["no-such"]}]', "checks", Grade.FAIL, "no-such", id="no such check"),
        pytest.param('checks = [{name="t", run=["./own"]}]', "checks", Grade.OK, "t", id="a check in the tree"),
        pytest.param('checks = ["odd", {run = 3}]', "checks", Grade.OK, "?", id="checks that only a plan will refuse"),
        pytest.param("", "agents", Grade.WARN, "none", id="no agents"),
        pytest.param('[defaults]\nagent = "human"', "agents", Grade.OK, "human", id="a person"),
        pytest.param('[agents.a]\nrun = ["no-such"]', "agents", Grade.FAIL, "a (no-such)", id="the only one"),
        pytest.param(
            '[agents.a]\nrun = ["no-such"]\n[agents.b]\nrun = ["sh"]', "agents", Grade.WARN, "a (no-such)", id="another"
        ),
        pytest.param(
            '[agents.a]\nrun = ["no-such"]\n[agents.b]\nrun = ["sh"]\n[defaults]\nagent = "a"',
            "agents",
            Grade.FAIL,
            "no-such",
            id="the default one is missing",
        ),
        pytest.param('worktrees = "README.md/x"', "worktrees", Grade.FAIL, "cannot", id="a file for a folder"),
        pytest.param('worktrees = "trees"', "worktrees", Grade.FAIL, "inside", id="worktrees in the repository"),
    ],
)
def test_settings(repo: Path, settings: str, name: str, grade: Grade, said: str) -> None:
    (repo / "orchestrator.toml").write_text(settings)
    found = examined(repo)
    assert (found[name].grade, said in found[name].said) == (grade, True), found[name]
    assert found["git"].grade is Grade.OK


def test_few_open_files_are_warned_about(repo: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    try:
        probe = examined(repo)["open files"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (probe.grade, "ulimit -n 1024" in probe.fix) == (Grade.WARN, True)


# ---- folders ----


def test_a_file_in_place_of_the_state_folder(repo: Path) -> None:
    place_of(repo).state_dir.write_text("mine")
    found = examined(repo)
    assert found["state folder"].grade is Grade.FAIL
    assert found["worktrees"].grade is Grade.OK


def test_locks_that_do_not_work(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    assert "No locks available" in examined(repo)["file locks"].said
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    assert "everybody" in examined(repo)["file locks"].said


def test_others_who_can_look_inside_are_warned_about(repo: Path) -> None:
    state_of(repo).chmod(0o755)
    probe = examined(repo)["permissions"]
    assert (probe.grade, "chmod" in probe.fix) == (Grade.WARN, True)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_state_folder_of_another_user_is_a_failure(repo: Path) -> None:
    os.chown(state_of(repo), 12345, 12345)
    assert "another user" in examined(repo)["permissions"].said


def _at(place: Place, path: str) -> Place:
    return replace(place, socket=Path(path))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(lambda p, t: _at(p, f"{t}/{'long' * 30}/s"), "bytes", id="a path that is too long"),
        pytest.param(lambda p, t: ((t / "s").mkdir(0o755), _at(p, f"{t}/s/d"))[1], "0700", id="others may enter"),
        pytest.param(lambda p, t: ((t / "s").write_text(""), _at(p, f"{t}/s/d"))[1], "0700", id="a file"),
        pytest.param(lambda p, t: ((t / "f").write_text(""), _at(p, f"{t}/f/s/d"))[1], "Not a dir", id="below a file"),
        pytest.param(lambda p, t: ((t / "s").symlink_to(t), _at(p, f"{t}/s/d"))[1], "0700", id="a link"),
    ],
)
def test_a_place_where_no_socket_can_be(repo: Path, make: object, said: str) -> None:
    # the path of a test's own folder may be too long by itself
    short = Path(os.environ["XDG_RUNTIME_DIR"])
    scratch = Path("/tmp") / f"o{os.getpid()}{short.stat().st_ino}"
    scratch.mkdir(mode=0o700)
    try:
        place = make(place_of(repo), scratch)  # type: ignore[operator]
        probe = folderprobes._socket(place)
        assert (probe.grade, said in probe.why) == (Grade.FAIL, True), probe
    finally:
        shutil.rmtree(scratch)


@pytest.mark.parametrize(
    ("tree", "state", "trees", "grade", "said"),
    [
        pytest.param(Room(size_bytes=MIB, files=10), 900, (900, 10_000), Grade.OK, "900.0 MiB", id="plenty"),
        pytest.param(Room(size_bytes=MIB, files=10), 900, (900, None), Grade.OK, "free", id="inodes are not counted"),
        pytest.param(Room(size_bytes=MIB, files=10), 10, (900, 10_000), Grade.FAIL, "10.0 MiB", id="the state's disk"),
        pytest.param(Room(size_bytes=MIB, files=10), 900, (10, 10_000), Grade.FAIL, "10.0 MiB", id="the trees' disk"),
        pytest.param(Room(size_bytes=950 * MIB, files=10), 900, (900, 10_000), Grade.FAIL, "950", id="not one tree"),
        pytest.param(Room(size_bytes=300 * MIB, files=10), 900, (900, 10_000), Grade.WARN, "bytes", id="not for five"),
        pytest.param(Room(size_bytes=MIB, files=900), 900, (900, 1000), Grade.WARN, "inodes", id="few inodes"),
        pytest.param(Room(size_bytes=0, files=0), 900, (900, 0), Grade.OK, "0 files", id="no commit yet"),
    ],
)
def test_room(tree: Room, state: int, trees: tuple[int, int | None], grade: Grade, said: str) -> None:
    probe = disk_probe(
        tree,
        state=Room(size_bytes=state * MIB, files=10_000),
        trees=Room(size_bytes=trees[0] * MIB, files=trees[1]),
    )
    assert (probe.grade, said in f"{probe.said} {probe.why}") == (grade, True), probe


def test_a_disk_that_is_full_for_real_is_told(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(tmp_path)
    full = os.statvfs_result((*real[:4], 0, *real[5:]))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    assert "almost full" in examined(repo)["disk"].said


# ---- what has run ----


def garbage(path: Path) -> None:
    path.write_bytes(b"no database at all" * 500)


def torn(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:40960] = b"\xff" * (40960 - 4096)
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def altered(path: Path) -> None:
    content = path.read_bytes()
    assert b"xxxx" in content
    path.write_bytes(content.replace(b"xxxx", b"xxyx", 1))


@pytest.mark.parametrize("damage", [garbage, torn, cut, folder, altered], ids=lambda damage: damage.__name__)
def test_a_damaged_ledger(repo: Path, damage: object) -> None:
    damage(ledger(repo))  # type: ignore[operator]
    found = examined(repo)
    assert found["ledger"].grade is Grade.FAIL
    assert found["ledger"].fix
    assert found["daemon"].grade is Grade.OK


def test_a_clock_that_was_set_back(repo: Path) -> None:
    ledger(repo, at=datetime.now(UTC) + timedelta(days=2))
    probe = examined(repo)["clock"]
    assert (probe.grade, "set back" in probe.why) == (Grade.FAIL, True)


def test_folders_that_the_ledger_does_not_know_are_counted(repo: Path) -> None:
    ledger(repo)
    for name in ("old/api-1", "old/~check-2", ".trash/x", "auth/db-1"):
        (place_of(repo).worktrees / name).mkdir(parents=True)
    probe = examined(repo)["leftovers"]
    assert (probe.grade, probe.said.split()[0]) == (Grade.WARN, "2")


def test_what_is_left_when_the_state_folder_is_gone_is_counted_with_the_trash(repo: Path) -> None:
    for name in ("auth/db-1", ".trash/auth/api-1/1", ".spare/attempt-1"):
        (place_of(repo).worktrees / name).mkdir(parents=True)
    probe = examined(repo)["leftovers"]
    assert (probe.grade, probe.said.split()[0]) == (Grade.WARN, "3")


HOLDER = """
import socket, sys, time
from pathlib import Path
from orchestrator.backends.lock import DaemonLock
lock = DaemonLock.acquire(Path(sys.argv[1]))
door = socket.socket(socket.AF_UNIX)
door.bind(sys.argv[2])
door.listen()
print("ready", flush=True)
time.sleep(60)
"""


@contextmanager
def a_daemon_that_hangs(place: Place) -> Iterator[int]:
    """A process that holds the daemon's lock and listens on its socket, and never says anything."""
    place.socket.parent.mkdir(mode=0o700, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(place.daemon_lock), str(place.socket)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()
        place.socket.unlink(missing_ok=True)


def test_a_daemon_that_hangs_and_one_that_is_stopped(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.reading, "HELLO_WITHIN_S", 0.3)
    state_of(repo)
    place = place_of(repo)
    with a_daemon_that_hangs(place) as pid:
        probe = examined(repo)["daemon"]
        assert (probe.grade, "does not answer" in probe.said, f"kill {pid}" in probe.fix) == (Grade.FAIL, True, True)
        os.kill(pid, signal.SIGSTOP)
        probe = examined(repo)["daemon"]
        assert (probe.grade, "state T" in probe.said, probe.fix) == (Grade.FAIL, True, f"kill -CONT {pid}")
        os.kill(pid, signal.SIGCONT)
    assert examined(repo)["daemon"].grade is Grade.OK


# ---- probes that misbehave ----


def test_a_probe_that_hangs_or_breaks_does_not_stop_the_others() -> None:
    never = threading.Event()

    def hangs() -> Probe:
        never.wait()
        raise AssertionError

    def breaks() -> Probe:
        raise ZeroDivisionError("oops")

    def refuses() -> Probe:
        raise OrchestratorError("what", why="the reason", fix="do this")

    names = {"hangs": hangs, "breaks": breaks, "refuses": refuses, "works": lambda: Probe(name="works", said="yes")}
    began = time.monotonic()
    found = run_all([Named(name=name, probe=probe) for name, probe in names.items()], within_s=0.2)
    assert time.monotonic() - began < 5
    never.set()
    assert [probe.name for probe in found] == list(names)
    assert [probe.grade for probe in found] == [Grade.FAIL, Grade.FAIL, Grade.FAIL, Grade.OK]
    assert ["within" in found[0].said, "oops" in found[1].why, found[2].fix] == [True, True, "do this"]


def test_the_socket_probe_leaves_nothing_behind(repo: Path) -> None:
    place = place_of(repo)
    assert folderprobes._socket(place).grade is Grade.OK
    assert list(Path(os.environ["XDG_RUNTIME_DIR"]).iterdir()) == []


MOUNTS = """\
/dev/root / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/me/my\\040disk xfs rw 0 0
host:/x /data fuse.sshfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        pytest.param("/usr/x", "ext4", id="the root"),
        pytest.param("/home/you/repo", "nfs4", id="below a network disk"),
        pytest.param("/home/me/my disk/repo", "xfs", id="a local disk below it, with a space"),
        pytest.param("/homestead", "ext4", id="a name that only begins alike"),
        pytest.param("/data", "fuse.sshfs", id="the mount itself"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_the_nearest_mount(path: str, kind: str) -> None:
    assert file_system_of(Path(path), MOUNTS) == kind


def test_a_state_folder_on_a_network_disk_is_refused_unless_it_is_allowed(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ground, "REMOTE", frozenset({file_system_of(repo)}))
    place = find_place(repo)
    with pytest.raises(OrchestratorError, match="network disk") as refused:
        check_file_system(place, may_be_remote=False)
    assert 'network_disk = "allow"' in refused.value.fix
    check_file_system(place, may_be_remote=True)


def test_an_old_lock_in_the_users_repository_is_told_and_stays(repo: Path) -> None:
    lock = find_place(repo).common_dir / "index.lock"
    lock.touch()
    assert probe_of(repo, "git locks").grade is Grade.OK
    os.utime(lock, (time.time() - 1200, time.time() - 1200))
    found = probe_of(repo, "git locks")
    assert (found.grade, str(lock) in found.said) == (Grade.WARN, True)
    assert lock.exists()


def test_a_program_without_its_supervisor_is_told(repo: Path) -> None:
    run = find_place(repo).run_dir("p/one-1/agent")
    run.mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"], env={**os.environ, "ORCHESTRATOR_RUN": str(run)}) as orphan:
        try:
            time.sleep(0.2)  # until it is the program, and not the copy of us that becomes it
            found = probe_of(repo, "processes")
        finally:
            orphan.kill()
    assert (found.grade, str(orphan.pid) in found.said) == (Grade.WARN, True)


def test_the_bytes_are_told_by_task(repo: Path) -> None:
    folder = find_place(repo).run_dir("p/one-1/agent")
    folder.mkdir(parents=True)
    (folder / "output").write_bytes(bytes(MIB))
    assert "p/one 1.0 MiB" in probe_of(repo, "bytes").said


def probe_of(repo: Path, name: str) -> Probe:
    return next(probe for probe in app.examine(repo) if probe.name == name)
