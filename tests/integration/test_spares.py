"""Trees that are used again: nothing of the one before is in them, and nothing of it is lost."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from orchestrator.backends import spares
from orchestrator.model.attempt import Workspace
from orchestrator.model.ids import CandidateId, Commit
from tests.fakes.repos import PLAN, Desk, UsersRepository, git, users_repository, write

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _a_home_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


@pytest.fixture
def user(tmp_path: Path) -> UsersRepository:
    text = {"README.md": "hello\n", "src/a.txt": "one\n", "src/b.txt": "two\n", ".gitignore": ".env\n*.log\n"}
    return users_repository(tmp_path / "my repo", text)


@pytest.fixture
async def desk(user: UsersRepository) -> Desk:
    return await Desk.ready(user)


async def landed(desk: Desk, workspace: Workspace) -> tuple[str, ...]:
    await desk.collect(workspace)
    return await desk.repository.remove(PLAN, desk.id_of(workspace), landed=True, ignore=())


def contents(tree: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every path below a tree but `.git`, with permissions, number of names and content."""
    found = {}
    for folder, folders, files in os.walk(tree):
        for name in [*folders, *files]:
            path = Path(folder) / name
            if path.relative_to(tree).parts[0] != ".git":
                names = 1 if path.is_dir() else path.lstat().st_nlink
                said = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
                found[str(path.relative_to(tree))] = (stat.S_IMODE(path.lstat().st_mode), names, said)
    return found


def meddle_links(tree: Path, tmp_path: Path) -> None:
    os.link(tree / "src/a.txt", tmp_path / "the same file")


def meddle_folder(tree: Path, tmp_path: Path) -> None:
    (tree / "src").rename(tree / "elsewhere")
    (tree / "src").symlink_to("elsewhere")


def meddle_unseen(tree: Path, tmp_path: Path) -> None:
    path = tree / "src/a.txt"
    before = path.stat()
    path.write_bytes(b"x" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def meddle_index(tree: Path, tmp_path: Path) -> None:
    git(tree, "update-index", "--assume-unchanged", "src/a.txt")
    git(tree, "update-index", "--skip-worktree", "src/b.txt")
    write(tree, {"src/a.txt": "unseen\n", "src/b.txt": "unseen too\n"})


MEDDLING = {
    "a file with another name elsewhere": meddle_links,
    "a folder replaced by a link to itself": meddle_folder,
    "content changed under the same size and time": meddle_unseen,
    "files that its own index does not look at": meddle_index,
    "permissions of a folder": lambda tree, _: os.chmod(tree / "src", 0o700),
    "permissions": lambda tree, _: os.chmod(tree / "src/a.txt", 0o600),
    "an executable": lambda tree, _: os.chmod(tree / "src/a.txt", 0o755),
    "a file replaced by a folder": lambda tree, _: write(tree, {"src/a.txt": None, "src/a.txt/x": "inside\n"}),
    "ignored files and empty folders": lambda tree, _: (
        write(tree, {"noise.log": "x"}),
        (tree / "e/f").mkdir(parents=True),
    ),
    "permissions of the tree itself": lambda tree, _: os.chmod(tree, 0o777),
    "settings and hooks": lambda tree, _: git(tree, "config", "core.autocrlf", "true"),
    "everything removed": lambda tree, _: write(tree, {"src/a.txt": None, "src/b.txt": None, "README.md": None}),
}


@pytest.mark.parametrize("meddle", MEDDLING.values(), ids=MEDDLING.keys())
async def test_the_next_attempt_finds_exactly_its_commit_whatever_the_last_one_did(
    desk: Desk, tmp_path: Path, meddle: object
) -> None:
    fresh = contents(Path((await desk.attempt("fresh")).path))
    first = await desk.attempt("first")
    inode = Path(first.path).stat().st_ino
    assert callable(meddle)
    meddle(Path(first.path), tmp_path)
    await landed(desk, first)
    assert not Path(first.path).exists()
    second = await desk.attempt("second")
    assert Path(second.path).stat().st_ino == inode, "the tree was not used again"
    assert contents(Path(second.path)) == fresh
    assert git(Path(second.path), "status", "--porcelain", "--ignored") == ""
    assert git(Path(second.path), "symbolic-ref", "HEAD") == second.branch
    assert git(Path(second.path), "config", "core.autocrlf", ok=False) == ""
    write(Path(second.path), {"src/a.txt": "second\n"})
    assert (await desk.collect(second)).changed == ("src/a.txt",)


def meddle_with_the_link(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tree / ".git").unlink()
    (tree / ".git").symlink_to(tmp_path / "precious")


def meddle_with_a_pipe(tree: Path, _: Path) -> None:
    (tree / ".git").unlink()
    os.mkfifo(tree / ".git")


def meddle_with_a_new_repository(tree: Path, _: Path) -> None:
    (tree / ".git").unlink()
    git(tree, "init", "-q")


def meddle_with_attributes(tree: Path, _: Path) -> None:
    try:
        os.setxattr(tree / "src", "user.mark", b"x")
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error}")


UNFIT = {
    "a link in the place of its repository": meddle_with_the_link,
    "a pipe in the place of its repository": meddle_with_a_pipe,
    "another repository in the place of its own": meddle_with_a_new_repository,
    "an ignored repository inside": lambda tree, _: git(tree, "init", "-q", "inner.log"),
    "a repository in a folder of ours": lambda tree, _: git(tree / "src", "init", "-q"),
    "attributes of a folder": meddle_with_attributes,
}


@pytest.mark.parametrize("meddle", UNFIT.values(), ids=UNFIT.keys())
async def test_a_tree_that_is_no_longer_ours_is_put_away_and_a_fresh_one_is_made(
    desk: Desk, tmp_path: Path, meddle: object
) -> None:
    fresh = contents(Path((await desk.attempt("fresh")).path))
    first = await desk.attempt("first")
    inode = Path(first.path).stat().st_ino
    assert callable(meddle)
    meddle(Path(first.path), tmp_path)
    await landed(desk, first)
    second = await desk.attempt("second")
    assert Path(second.path).stat().st_ino != inode
    assert contents(Path(second.path)) == fresh
    assert git(Path(second.path), "symbolic-ref", "HEAD") == second.branch
    assert not (tmp_path / "precious").exists() or (tmp_path / "precious").read_text() == "precious"
    assert any(path.stat().st_ino == inode for path in desk.user.place.trash.rglob("*")), "it is lost"


async def test_a_tree_in_which_somebody_has_a_shell_is_nobody_elses(desk: Desk) -> None:
    first = await desk.attempt("first")
    inode = Path(first.path).stat().st_ino
    shell = subprocess.Popen(["sleep", "60"], cwd=Path(first.path) / "src")
    try:
        await landed(desk, first)
        second = await desk.attempt("second")
    finally:
        shell.kill()
        shell.wait()
    assert Path(second.path).stat().st_ino != inode


async def test_what_git_does_not_know_of_a_landed_tree_is_in_the_trash(desk: Desk) -> None:
    first = await desk.attempt("first")
    write(Path(first.path), {"deep/noise.log": "ignored", "new.txt": "work\n"})
    await landed(desk, first)
    await desk.attempt("second")
    trash = desk.user.place.trash / "plan/first-1"
    assert next(trash.rglob("noise.log")).read_text() == "ignored"


async def test_what_a_person_changes_in_a_tree_that_waits_is_in_the_trash(desk: Desk) -> None:
    first = await desk.attempt("first")
    write(Path(first.path), {"src/a.txt": "landed\n"})
    await landed(desk, first)
    write(desk.user.place.spares / "attempt-1/tree", {"src/b.txt": "a person's\n", "new.txt": "theirs too\n"})
    second = await desk.attempt("second")
    assert (Path(second.path) / "src/b.txt").read_text() == "two\n"
    trash = desk.user.place.trash / "plan/first-1"
    assert next(trash.rglob("b.txt")).read_text() == "a person's\n"
    assert next(trash.rglob("new.txt")).read_text() == "theirs too\n"


async def test_a_tree_that_did_not_land_is_never_used_again(desk: Desk) -> None:
    first = await desk.attempt("first")
    await desk.collect(first)
    await desk.remove(first)
    assert not list(desk.user.place.spares.glob("*"))


async def test_a_check_finds_what_the_last_one_left_where_the_plan_keeps_it_and_nothing_else(desk: Desk) -> None:
    head = await desk.handed_off("task", {"src/a.txt": "new\n"})
    one = await desk.repository.checkout(CandidateId("plan/~1"), Commit(desk.tip), keep=("cache", "pkg/deps/"))
    write(Path(one.path), {"cache/x.log": "kept", "pkg/deps/y.log": "kept", "pkg/out.log": "gone", "build.log": "gone"})
    meddle_unseen(Path(one.path), Path())
    await desk.repository.remove(PLAN, CandidateId("plan/~1"), landed=False, ignore=())
    two = await desk.repository.checkout(CandidateId("plan/~2"), Commit(head), keep=("cache", "pkg/deps/"))
    found = {path for path in contents(Path(two.path)) if path.endswith(".log")}
    assert found == {"cache/x.log", "pkg/deps/y.log"}
    assert (Path(two.path) / "src/a.txt").read_text() == "new\n"
    await desk.repository.remove(PLAN, CandidateId("plan/~2"), landed=False, ignore=())
    three = await desk.repository.checkout(CandidateId("plan/~3"), Commit(desk.tip))
    assert not [path for path in contents(Path(three.path)) if path.endswith(".log")]


async def test_an_agent_never_gets_the_tree_of_a_check(desk: Desk) -> None:
    await desk.repository.checkout(CandidateId("plan/~1"), Commit(desk.tip))
    await desk.repository.remove(PLAN, CandidateId("plan/~1"), landed=False, ignore=())
    waiting = list(desk.user.place.spares.iterdir())
    await desk.attempt("task")
    assert list(desk.user.place.spares.iterdir()) == waiting


async def test_trees_of_another_boot_and_half_moved_ones_go_to_the_trash(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for task in ("one", "two"):
        workspace = await desk.attempt(task)
        await landed(desk, workspace)
    kept = desk.user.place.spares
    (kept / "attempt-1").rename(kept / ".taken-attempt-1")
    again = desk.again()
    await again.repository.open()
    assert [path.name for path in kept.iterdir()] == ["attempt-2"] or not list(kept.iterdir())
    monkeypatch.setattr(spares, "boot_id", lambda: "another boot")
    await desk.again().repository.open()
    assert list(kept.iterdir()) == []
    assert list((desk.user.place.trash / "spares").iterdir())


async def test_no_more_trees_wait_than_are_ever_useful(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spares, "MOST", 1)
    for task in ("one", "two"):
        await desk.attempt(task)
    for task in ("one", "two"):
        await landed(desk, await desk.attempt(task))
    assert len(list(desk.user.place.spares.iterdir())) == 1
