"""Every way in which a user's checkout can stand in the way of publishing. Real git, real files, compared whole.

For each: the target has moved or it has not, nothing of the user's is lost, and a refusal says what to type.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from orchestrator.backends import publish as publishing
from orchestrator.backends.gitrun import GitAnswer, GitCommand
from orchestrator.backends.repository import execute
from orchestrator.model.ids import Commit
from orchestrator.ports import Moved, NotPublished
from tests.fakes.repos import (
    PLAN,
    Desk,
    UsersRepository,
    commit,
    everything_in,
    git,
    place_for,
    users_repository,
    write,
)

pytestmark = pytest.mark.anyio

#: what the plan lands: a change, additions beside and in a new folder, a deletion, a folder that becomes a file, a file
#: that was ignored and is tracked now
WORK = {
    "src/a.txt": "theirs\n",
    "new.txt": "x\n",
    "lib/x.py": "x\n",
    "data": "x\n",
    "README.md": None,
    "old": None,
    ".gitignore": "*.log\n",
    ".env": "EXAMPLE=1\n",
}
TOUCHED = {*WORK, "old/one.txt"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _a_home_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr("orchestrator.backends.gitrun.LOCK_PATIENCE_S", 0.2)
    monkeypatch.setattr("orchestrator.backends.publish.LOCK_WAIT_S", 0.0)


@pytest.fixture
def user(tmp_path: Path) -> UsersRepository:
    return users_repository(
        tmp_path / "ein repo, größer",
        {
            "README.md": "hello\n",
            "src/a.txt": "one\ntwo\nthree\n",
            "src/b.txt": "b\n",
            "old/one.txt": "1\n",
            ".gitignore": ".env\n*.log\n",
        },
    )


@pytest.fixture
async def desk(user: UsersRepository) -> Desk:
    return await Desk.ready(user)


async def landed(desk: Desk, work: dict[str, str | None] | None = None) -> Commit:
    new = await desk.land(await desk.handed_off("task", WORK if work is None else work))
    await desk.repository.mirror(PLAN, new)
    return new


def state_of(root: Path) -> tuple[dict[str, tuple[int, int, bytes]], str, str, str]:
    """Files, index, stash and what is under way."""
    return (
        everything_in(root),
        git(root, "ls-files", "--stage", "-v"),
        git(root, "stash", "list"),
        git(root, "status", "--porcelain=v2", "--branch", "--ignored", "--untracked-files=all"),
    )


# ---- what does not stand in the way ----


def edited_elsewhere(root: Path) -> None:
    write(root, {"src/b.txt": "my edit\n"})


def staged_elsewhere(root: Path) -> None:
    write(root, {"src/b.txt": "staged\n", "mine/new.txt": "staged too\n"})
    git(root, "add", "src/b.txt", "mine/new.txt")
    write(root, {"src/b.txt": "and edited again\n"})


def untracked_beside(root: Path) -> None:
    write(root, {"notes.txt": "mine\n", "build.log": "ignored\n", "src/new.txt": "another place\n"})


def other_case(root: Path) -> None:
    write(root, {"NEW.txt": "mine, and another file where case counts\n", "Lib2": "x"})


def reverting(root: Path) -> None:
    start = git(root, "rev-parse", "HEAD")
    git(root, "checkout", "-q", "-b", "side")
    made = commit(root, {"src/b.txt": "of the side\n"})
    git(root, "checkout", "-q", "main")
    git(root, "cherry-pick", "--no-commit", made)
    assert git(root, "rev-parse", "HEAD") == start


def worktree_settings(root: Path) -> None:
    for key, value in {
        "merge.ff": "no",
        "merge.autoStash": "true",
        "rebase.autoStash": "true",
        "merge.verifySignatures": "true",
        "branch.main.mergeOptions": "--squash --overwrite-ignore --no-commit",
        "branch.main.rebase": "true",
        "merge.log": "true",
        "commit.gpgSign": "true",
        "gpg.program": "/bin/false",
        "user.useConfigOnly": "true",
        "core.fsmonitor": "/bin/false",
        "submodule.recurse": "true",
        "advice.detachedHead": "true",
    }.items():
        git(root, "config", key, value)
    edited_elsewhere(root)


def hooks_that_fail(root: Path) -> None:
    for name in ("post-merge", "post-checkout", "pre-merge-commit", "reference-transaction", "post-index-change"):
        hook = root / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch '{root}/hook-ran'\nexit 1\n")
        hook.chmod(0o755)


def rebasing_onto_the_target(root: Path) -> None:
    git(root, "worktree", "add", "-q", "-b", "feature", str(root.parent / "feature"))
    commit(root.parent / "feature", {"src/a.txt": "feature\n"})
    clash = commit(root.parent / "feature", {"src/a.txt": "feature again\n"})
    # stops at the first commit, so that it is under way
    git(root.parent / "feature", "-c", "sequence.editor=sed -i s/^pick/edit/", "rebase", "-q", "-i", "HEAD~1")
    assert (root / ".git/worktrees/feature/rebase-merge/head-name").exists()
    assert clash


def bisecting_something_else(root: Path) -> None:
    git(root, "worktree", "add", "-q", "-b", "feature", str(root.parent / "feature"))
    git(root.parent / "feature", "bisect", "start")


def assumed_unchanged_elsewhere(root: Path) -> None:
    git(root, "update-index", "--assume-unchanged", "src/b.txt")
    write(root, {"src/b.txt": "my edit that git does not see\n"})


HARMLESS = [
    edited_elsewhere,
    staged_elsewhere,
    untracked_beside,
    other_case,
    worktree_settings,
    hooks_that_fail,
    rebasing_onto_the_target,
    bisecting_something_else,
    assumed_unchanged_elsewhere,
]


@pytest.mark.parametrize("state", HARMLESS)
async def test_what_is_not_in_the_way_stays_as_it_is_and_the_target_moves(
    desk: Desk, state: Callable[[Path], None]
) -> None:
    new, root = await landed(desk), desk.user.root
    state(root)
    before, stash = everything_in(root), git(root, "stash", "list")
    feature = root.parent / "feature"
    beside = state_of(feature) if feature.exists() else None
    assert await desk.repository.publish(PLAN, "main", new) is None
    assert desk.user.ref("main") == new == git(root, "rev-parse", "HEAD")
    after = everything_in(root)
    assert {n: told for n, told in before.items() if n not in TOUCHED} == {
        n: told for n, told in after.items() if n not in TOUCHED
    }
    assert not (root / "hook-ran").exists()
    assert git(root, "stash", "list") == stash
    assert beside is None or state_of(feature) == beside
    assert f"orchestrator {PLAN}: publish" in git(root, "reflog", "-1", "main"), "the reflog says who it was"


async def test_a_detached_head_at_the_targets_commit_stays_where_it_is(desk: Desk) -> None:
    new, root = await landed(desk), desk.user.root
    git(root, "checkout", "-q", "--detach", "main")
    write(root, {"src/a.txt": "my edit\n"})
    before = state_of(root)
    assert await desk.repository.publish(PLAN, "main", new) is None
    assert desk.user.ref("main") == new
    assert state_of(root) == before
    assert f"orchestrator {PLAN}: publish" in git(root, "reflog", "-1", "main")


async def test_a_staged_revert_that_meets_nothing_goes_on_afterwards(desk: Desk) -> None:
    new, root = await landed(desk), desk.user.root
    reverting(root)
    assert await desk.repository.publish(PLAN, "main", new) is None
    assert git(root, "diff", "--cached", "--name-only") == "src/b.txt"
    assert (root / "src/b.txt").read_text() == "of the side\n"


# ---- what stands in the way ----


def edited(root: Path) -> None:
    write(root, {"src/a.txt": "my edit\n"})


def edited_to_the_same(root: Path) -> None:
    write(root, {"src/a.txt": "theirs\n"})


def staged(root: Path) -> None:
    write(root, {"src/a.txt": "staged\n"})
    git(root, "add", ".")


def staged_at_a_new_path(root: Path) -> None:
    write(root, {"new.txt": "mine\n"})
    git(root, "add", "new.txt")


def staged_deletion_of_a_changed_file(root: Path) -> None:
    git(root, "rm", "-q", "--cached", "src/a.txt")


def assumed_unchanged(root: Path) -> None:
    git(root, "update-index", "--assume-unchanged", "src/a.txt")
    edited(root)


def skipped(root: Path) -> None:
    git(root, "update-index", "--skip-worktree", "src/a.txt")
    edited(root)


def edited_where_it_is_deleted(root: Path) -> None:
    write(root, {"README.md": "my edit\n"})


def untracked_in_the_way(root: Path) -> None:
    write(root, {"new.txt": "mine\n"})


def ignored_in_the_way(root: Path) -> None:
    write(root, {".env": "SECRET=1\n"})


def excluded_in_the_way(root: Path) -> None:
    write(root, {".git/info/exclude": "new.txt\n", "new.txt": "mine\n"})


def untracked_folder_where_a_file_comes(root: Path) -> None:
    write(root, {"data/cache": "mine\n"})


def ignored_folder_where_a_file_comes(root: Path) -> None:
    write(root, {".git/info/exclude": "data/\n", "data/cache": "mine\n"})


def untracked_file_where_a_folder_comes(root: Path) -> None:
    write(root, {"lib": "mine\n"})


def ignored_file_where_a_folder_comes(root: Path) -> None:
    write(root, {".git/info/exclude": "lib\n", "lib": "mine\n"})


def symlink_in_the_way(root: Path) -> None:
    write(root.parent, {"outside.txt": "somewhere else\n"})
    (root / "new.txt").symlink_to(root.parent / "outside.txt")


def symlinked_folder_in_the_way(root: Path) -> None:
    write(root.parent, {"outside/keep": "x\n"})
    (root / "lib").symlink_to(root.parent / "outside")


def ignored_symlinked_folder_in_the_way(root: Path) -> None:
    write(root, {".git/info/exclude": "lib\n"})
    symlinked_folder_in_the_way(root)


def merging(root: Path) -> None:
    git(root, "checkout", "-q", "-b", "side")
    commit(root, {"side": "x\n"})
    git(root, "checkout", "-q", "main")
    git(root, "merge", "-q", "--no-commit", "--no-ff", "side")


def picking(root: Path) -> None:
    git(root, "checkout", "-q", "-b", "side")
    made = commit(root, {"src/b.txt": "side\n"})
    git(root, "checkout", "-q", "main")
    write(root, {"src/b.txt": "main\n"})
    git(root, "commit", "-q", "-a", "-m", "main")
    git(root, "cherry-pick", made, ok=False)
    git(root, "update-ref", "refs/heads/main", "HEAD~1")  # so that only the cherry-pick stands in the way
    git(root, "reset", "-q", "--mixed")
    (root / ".git/CHERRY_PICK_HEAD").write_text(f"{made}\n")
    git(root, "checkout", "-q", "--", ".")


def locked_index(root: Path) -> None:
    (root / ".git/index.lock").write_text("")


def locked_branch(root: Path) -> None:
    (root / ".git/refs/heads/main.lock").write_text("")


def locked_head(root: Path) -> None:
    (root / ".git/HEAD.lock").write_text("")


def twice(root: Path) -> None:
    git(root, "worktree", "add", "-q", "-f", str(root.parent / "second"), "main")


def on_a_lost_disk(root: Path) -> None:
    git(root, "checkout", "-q", "--detach")
    git(root, "worktree", "add", "-q", str(root.parent / "away"), "main")
    (root.parent / "away").rename(root.parent / "unplugged")


def rebasing(root: Path) -> None:
    git(root, "checkout", "-q", "-b", "onto")
    commit(root, {"src/b.txt": "onto\n"})
    git(root, "checkout", "-q", "main")
    start = git(root, "rev-parse", "main")
    commit(root, {"src/b.txt": "mine\n"})
    git(root, "rebase", "-q", "onto", ok=False)
    git(root, "update-ref", "refs/heads/main", start)  # so that only the rebase stands in the way


def rebasing_on_a_lost_disk(root: Path) -> None:
    git(root, "checkout", "-q", "--detach")
    git(root, "worktree", "add", "-q", str(root.parent / "away"), "main")
    rebasing(root.parent / "away")
    (root.parent / "away").rename(root.parent / "unplugged")


def bisecting(root: Path) -> None:
    git(root, "bisect", "start")
    git(root, "checkout", "-q", "--detach")


def bisecting_in_a_linked_worktree(root: Path) -> None:
    git(root, "checkout", "-q", "--detach")
    git(root, "worktree", "add", "-q", str(root.parent / "linked"), "main")
    bisecting(root.parent / "linked")


REFUSALS = [
    pytest.param(edited, "src/a.txt", id="edited in the same file"),
    pytest.param(edited_to_the_same, "src/a.txt", id="edited to the same text"),
    pytest.param(staged, "src/a.txt", id="staged in the same file"),
    pytest.param(staged_at_a_new_path, "new.txt", id="staged at a path that comes"),
    pytest.param(staged_deletion_of_a_changed_file, "src/a.txt", id="taken out of the index"),
    pytest.param(assumed_unchanged, "src/a.txt", id="edited and assumed unchanged"),
    pytest.param(skipped, "src/a.txt", id="edited and skipped"),
    pytest.param(edited_where_it_is_deleted, "README.md", id="edited where it is deleted"),
    pytest.param(untracked_in_the_way, "new.txt", id="untracked in the way"),
    pytest.param(ignored_in_the_way, ".env", id="ignored in the way"),
    pytest.param(excluded_in_the_way, "new.txt", id="excluded in the way"),
    pytest.param(untracked_folder_where_a_file_comes, "data", id="untracked folder where a file comes"),
    pytest.param(ignored_folder_where_a_file_comes, "data", id="ignored folder where a file comes"),
    pytest.param(untracked_file_where_a_folder_comes, "lib", id="untracked file where a folder comes"),
    pytest.param(ignored_file_where_a_folder_comes, "lib", id="ignored file where a folder comes"),
    pytest.param(symlink_in_the_way, "new.txt", id="symlink in the way"),
    pytest.param(symlinked_folder_in_the_way, "lib", id="symlinked folder in the way"),
    pytest.param(ignored_symlinked_folder_in_the_way, "lib", id="ignored symlinked folder in the way"),
    pytest.param(merging, "MERGE_HEAD", id="merging"),
    pytest.param(picking, "cherry-pick", id="cherry-picking"),
    pytest.param(locked_index, "another git", id="index locked"),
    pytest.param(locked_branch, "main.lock", id="branch locked"),
    pytest.param(locked_head, "HEAD.lock", id="HEAD locked"),
    pytest.param(twice, "more than once", id="checked out twice"),
    pytest.param(on_a_lost_disk, "not there", id="checked out where nothing is"),
    pytest.param(rebasing, "rebasing", id="rebasing it"),
    pytest.param(rebasing_on_a_lost_disk, "rebasing", id="rebasing it on a lost disk"),
    pytest.param(bisecting, "bisecting", id="bisecting it"),
    pytest.param(bisecting_in_a_linked_worktree, "bisecting", id="bisecting it in a linked worktree"),
]


@pytest.mark.parametrize(("state", "word"), REFUSALS)
async def test_what_is_in_the_way_is_left_and_named_with_a_command(
    desk: Desk, state: Callable[[Path], None], word: str
) -> None:
    new, root = await landed(desk), desk.user.root
    state(root)
    before, main = state_of(root), desk.user.ref("main")
    said = await desk.repository.publish(PLAN, "main", new)
    assert isinstance(said, NotPublished)
    assert word in said.why
    assert said.command.startswith("git ")
    assert shlex.split(said.command)
    assert (state_of(root), desk.user.ref("main")) == (before, main)


CLEARED = [
    pytest.param(edited, lambda root: git(root, "checkout", "-q", "--", "src/a.txt"), id="edited"),
    pytest.param(ignored_in_the_way, lambda root: (root / ".env").unlink(), id="ignored in the way"),
    pytest.param(merging, lambda root: git(root, "merge", "--abort"), id="merging"),
    pytest.param(bisecting, lambda root: git(root, "bisect", "reset"), id="bisecting"),
    pytest.param(locked_branch, lambda root: (root / ".git/refs/heads/main.lock").unlink(), id="locked"),
    pytest.param(twice, lambda root: git(root, "worktree", "remove", str(root.parent / "second")), id="twice"),
]


@pytest.mark.parametrize("by_hand", [True, False], ids=["the command", "publish again"])
@pytest.mark.parametrize(("state", "clear"), CLEARED)
async def test_once_the_way_is_clear_the_command_does_it_and_so_does_publish(
    desk: Desk, state: Callable[[Path], None], clear: Callable[[Path], None], by_hand: bool
) -> None:
    new, root = await landed(desk), desk.user.root
    state(root)
    said = await desk.repository.publish(PLAN, "main", new)
    assert isinstance(said, NotPublished)
    clear(root)
    if by_hand:
        git(root, *shlex.split(said.command)[1:])
    assert await desk.repository.publish(PLAN, "main", new) is None
    assert desk.user.ref("main") == new
    assert git(root, "status", "--porcelain") == ""


# ---- git stops in the middle ----


@pytest.fixture
def frozen() -> Iterator[Callable[[Path], None]]:
    """Makes a file that cannot be replaced, whoever we are."""
    thawed: list[Path] = []

    def freeze(path: Path) -> None:
        if os.geteuid():
            path.parent.chmod(0o555)
        elif subprocess.run(["chattr", "+i", path], capture_output=True, check=False).returncode:
            pytest.skip("nothing is immutable for root on this file system")
        thawed.append(path)

    yield freeze
    for path in thawed:
        path.parent.chmod(0o755)
        if not os.geteuid():
            subprocess.run(["chattr", "-i", path], check=True)


async def test_a_file_that_cannot_be_written_leaves_the_checkout_as_it_was(
    desk: Desk, frozen: Callable[[Path], None]
) -> None:
    new, root = await landed(desk), desk.user.root
    edited_elsewhere(root)
    write(root, {"notes.txt": "mine\n"})
    files = {name: told[2] for name, told in everything_in(root).items()}
    status = git(root, "status", "--porcelain")
    frozen(root / "src/a.txt")
    said = await desk.repository.publish(PLAN, "main", new)
    assert isinstance(said, NotPublished)
    assert "src/a.txt" in said.why
    assert desk.user.ref("main") != new
    assert {name: told[2] for name, told in everything_in(root).items()} == files
    assert git(root, "status", "--porcelain") == status


async def test_a_file_that_cannot_be_deleted_is_published_and_stays_as_untracked(
    desk: Desk, frozen: Callable[[Path], None]
) -> None:
    new, root = await landed(desk, {"src/a.txt": "theirs\n", "old": None}), desk.user.root
    frozen(root / "old/one.txt")
    assert await desk.repository.publish(PLAN, "main", new) is None
    assert git(root, "status", "--porcelain") == "?? old/"
    assert (root / "old/one.txt").read_text() == "1\n"


async def test_a_filter_that_fails_leaves_the_checkout_as_it_was(desk: Desk) -> None:
    new = await landed(desk, {"src/a.txt": "theirs\n", "big.bin": "x\n", ".gitattributes": "*.bin filter=lfs\n"})
    root = desk.user.root
    git(root, "config", "filter.lfs.smudge", "false")
    git(root, "config", "filter.lfs.required", "true")
    files = everything_in(root).keys()
    said = await desk.repository.publish(PLAN, "main", new)
    assert isinstance(said, NotPublished)
    assert "big.bin" in said.why
    assert everything_in(root).keys() == files
    assert git(root, "status", "--porcelain") == ""
    git(root, "config", "--remove-section", "filter.lfs")
    assert await desk.repository.publish(PLAN, "main", new) is None


class Saboteur:
    """A git that does the files of a merge and is then refused the branch, as by a lock that comes at that moment."""

    def __init__(self, root: Path, meanwhile: dict[str, str | None]) -> None:
        self.root = root
        self.meanwhile = meanwhile

    def __call__(self, command: GitCommand) -> GitAnswer:
        if "merge" not in command.args:
            return execute(command)
        lock = self.root / ".git/refs/heads/main.lock"
        lock.write_text("")
        try:
            return execute(command)
        finally:
            lock.unlink()
            write(self.root, self.meanwhile)


@pytest.mark.parametrize(
    "meanwhile", [{}, {"src/a.txt": "written at that very moment\n"}], ids=["nobody writes", "somebody writes"]
)
async def test_files_that_moved_before_the_branch_was_refused_are_put_back(
    desk: Desk, meanwhile: dict[str, str | None]
) -> None:
    new, root = await landed(desk), desk.user.root
    staged_elsewhere(root)
    before = {name: told[2] for name, told in everything_in(root).items()}
    index = git(root, "ls-files", "--stage")
    repositories = replace(desk.repository._repositories, execute=Saboteur(root, meanwhile))
    said = publishing.publish(repositories, PLAN, "main", new)
    assert isinstance(said, NotPublished)
    after = {name: told[2] for name, told in everything_in(root).items()}
    if meanwhile:
        assert after["src/a.txt"] == b"written at that very moment\n", "nothing that a person wrote is touched"
    else:
        assert after == before
        assert git(root, "ls-files", "--stage") == index
    assert desk.user.ref("main") != new


# ---- unusual checkouts ----


async def test_a_sparse_checkout_stays_sparse(desk: Desk) -> None:
    root = desk.user.root
    git(root, "sparse-checkout", "set", "--cone", "src")
    new = await landed(desk)
    assert not (root / "old").exists()
    assert await desk.repository.publish(PLAN, "main", new) is None
    assert (root / "src/a.txt").read_text() == "theirs\n"
    assert not (root / "lib").exists()
    assert git(root, "status", "--porcelain") == ""


async def test_an_untracked_file_outside_of_a_sparse_checkout_is_kept(desk: Desk) -> None:
    root = desk.user.root
    git(root, "sparse-checkout", "set", "--cone", "src")
    new = await landed(desk)
    write(root, {"lib/x.py": "mine\n", "old/mine.txt": "mine too\n"})
    said = await desk.repository.publish(PLAN, "main", new)
    assert (root / "lib/x.py").read_text() == "mine\n"
    assert (root / "old/mine.txt").read_text() == "mine too\n"
    assert (desk.user.ref("main") == new) is (said is None)


async def test_a_submodule_is_moved_in_the_index_and_left_alone_in_the_tree(tmp_path: Path) -> None:
    library = users_repository(tmp_path / "library", {"x": "1\n"})
    user = users_repository(tmp_path / "repo")
    git(user.root, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library.root), "sub")
    git(user.root, "commit", "-q", "-m", "with a submodule")
    further = commit(library.root, {"x": "2\n"})
    desk = await Desk.ready(user)
    write(user.root, {"sub/x": "my edit\n"})
    before = everything_in(user.root / "sub")
    base = user.ref("main")
    tree = git(user.root, "rev-parse", "main^{tree}")
    env = {"GIT_INDEX_FILE": str(tmp_path / "index")}
    git(user.root, "read-tree", tree, env=env)
    git(user.root, "update-index", "--cacheinfo", f"160000,{further},sub", env=env)
    made = git(user.root, "commit-tree", git(user.root, "write-tree", env=env), "-p", base, "-m", "bump")
    git(user.place.repo_git, "fetch", "-q", str(user.root), f"{made}:refs/candidates/{made}")
    assert await desk.repository.land(PLAN, Commit(made), desk.tip) is None
    assert await desk.repository.publish(PLAN, "main", Commit(made)) is None
    assert user.ref("main") == made
    assert everything_in(user.root / "sub") == before


async def test_a_checkout_with_carriage_returns_gets_its_files_with_them(tmp_path: Path) -> None:
    user = users_repository(tmp_path / "repo")
    git(user.root, "config", "core.autocrlf", "true")
    git(user.root, "rm", "-q", "--cached", "-r", ".")
    git(user.root, "reset", "-q", "--hard")
    assert (user.root / "src/a.txt").read_bytes() == b"one\r\ntwo\r\nthree\r\n"
    desk = await Desk.ready(user)
    new = await landed(desk, {"src/a.txt": "theirs\n", "new.txt": "x\ny\n"})
    assert await desk.repository.publish(PLAN, "main", new) is None
    assert (user.root / "new.txt").read_bytes() == b"x\r\ny\r\n"
    assert git(user.root, "status", "--porcelain") == ""


async def test_names_that_differ_only_by_case_come_as_they_are(desk: Desk) -> None:
    root = desk.user.root
    (root / "probe").write_text("")
    if (root / "PROBE").exists():
        pytest.skip("letter case does not count on this file system")
    (root / "probe").unlink()
    new = await landed(desk, {"README.md": None, "Readme.md": "hello\n"})
    assert await desk.repository.publish(PLAN, "main", new) is None
    assert {path.name for path in root.iterdir()} & {"README.md", "Readme.md"} == {"Readme.md"}


async def test_a_bare_repository_goes_forward_in_the_worktree_that_has_the_target(
    user: UsersRepository, tmp_path: Path
) -> None:
    bare, tree = tmp_path / "bare.git", tmp_path / "tree"
    git(tmp_path, "clone", "-q", "--bare", str(user.root), str(bare))
    git(bare, "worktree", "add", "-q", str(tree), "main")
    for key, value in {"user.name": "Ada", "user.email": "ada@example.org"}.items():
        git(bare, "config", key, value)
    desk = await Desk.ready(UsersRepository(root=tree, place=place_for(tree, bare)))
    new = await landed(desk)
    write(tree, {"src/a.txt": "mine\n"})
    before = everything_in(tree)
    assert isinstance(await desk.repository.publish(PLAN, "main", new), NotPublished)
    assert everything_in(tree) == before
    git(tree, "checkout", "-q", "--", ".")
    assert await desk.repository.publish(PLAN, "main", new) is None
    assert (tree / "new.txt").exists()
    assert git(tree, "status", "--porcelain") == ""


@pytest.mark.parametrize("checked_out", [True, False])
async def test_a_target_that_is_another_name_moves_what_it_stands_for_with_its_files(
    desk: Desk, checked_out: bool
) -> None:
    root = desk.user.root
    git(root, "branch", "-q", "-m", "main", "trunk")
    git(root, "symbolic-ref", "refs/heads/main", "refs/heads/trunk")
    if not checked_out:
        git(root, "checkout", "-q", "--detach")
    new = await landed(desk)
    assert await desk.repository.publish(PLAN, "main", new) is None
    assert desk.user.ref("refs/heads/trunk") == desk.user.ref("refs/heads/main") == new
    assert git(root, "symbolic-ref", "refs/heads/main") == "refs/heads/trunk"
    assert (root / "new.txt").exists() is checked_out
    assert git(root, "status", "--porcelain") == ""


async def test_another_name_with_a_file_in_the_way_is_refused(desk: Desk) -> None:
    root = desk.user.root
    git(root, "branch", "-q", "-m", "main", "trunk")
    git(root, "symbolic-ref", "refs/heads/main", "refs/heads/trunk")
    new = await landed(desk)
    write(root, {"new.txt": "mine\n"})
    before = state_of(root)
    assert isinstance(await desk.repository.publish(PLAN, "main", new), NotPublished)
    assert state_of(root) == before


async def test_a_name_for_a_branch_that_is_gone_is_refused(desk: Desk) -> None:
    new, root = await landed(desk), desk.user.root
    git(root, "checkout", "-q", "--detach")
    git(root, "symbolic-ref", "refs/heads/main", "refs/heads/gone")
    said = await desk.repository.publish(PLAN, "main", new)
    assert isinstance(said, NotPublished)
    assert "no branch" in said.why


# ---- others work there too ----


async def test_a_person_who_switches_branches_meanwhile_keeps_theirs(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their `git switch` holds the index while we look; then another branch is there, which is not ours to move."""
    monkeypatch.setattr("orchestrator.backends.publish.LOCK_WAIT_S", 10.0)
    new, root = await landed(desk), desk.user.root
    git(root, "branch", "mine")
    mine = desk.user.ref("mine")
    locked_index(root)

    async def switch() -> None:
        await anyio.sleep(0.3)
        git(root, "symbolic-ref", "HEAD", "refs/heads/mine")
        (root / ".git/index.lock").unlink()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(switch)
        assert await desk.repository.publish(PLAN, "main", new) is None
    assert (desk.user.ref("mine"), desk.user.ref("main")) == (mine, new)
    assert git(root, "status", "--porcelain") == ""


async def test_a_commit_between_the_check_and_the_publish_is_told_and_kept(desk: Desk) -> None:
    new = await landed(desk)
    theirs = commit(desk.user.root, {"theirs.txt": "x\n"})
    assert await desk.repository.publish(PLAN, "main", new) == Moved(actual=Commit(theirs))
    assert desk.user.ref("main") == theirs
