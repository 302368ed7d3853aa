"""The user sees the plan's branch, and the target moves only when nobody's work can be harmed. Real git."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

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

BRANCH = "refs/heads/orchestrator/plan"


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
    return users_repository(tmp_path / "repo")


@pytest.fixture
async def desk(user: UsersRepository) -> Desk:
    return await Desk.ready(user)


async def landed(desk: Desk) -> Commit:
    """A landed task that changes a file, adds two and deletes one."""
    return await desk.land(
        await desk.handed_off("task", {"src/a.txt": "theirs\n", "new.txt": "x\n", "data": "x\n", "README.md": None})
    )


# ---- publish ----


async def test_a_clean_checkout_goes_forward_with_its_files(desk: Desk) -> None:
    new = await landed(desk)
    for _ in range(2):
        assert await desk.again().repository.publish(PLAN, "main", new) is None
    assert desk.user.ref("main") == new
    assert git(desk.user.root, "status", "--porcelain") == ""
    assert (desk.user.root / "new.txt").read_text() == "x\n"
    assert (desk.user.root / "new.txt").stat().st_mode & 0o777 == 0o644


async def test_the_files_are_readable_whatever_the_daemons_own_umask(desk: Desk) -> None:
    new = await landed(desk)
    before = os.umask(0o077)
    try:
        assert await desk.repository.publish(PLAN, "main", new) is None
    finally:
        os.umask(before)
    assert (desk.user.root / "new.txt").stat().st_mode & 0o777 == 0o644


async def test_a_target_that_nobody_has_checked_out_just_moves(desk: Desk) -> None:
    new = await landed(desk)
    git(desk.user.root, "checkout", "-q", "-b", "elsewhere")
    write(desk.user.root, {"src/a.txt": "my edit\n"})
    before = everything_in(desk.user.root)
    assert await desk.repository.publish(PLAN, "main", new) is None
    assert desk.user.ref("main") == new
    assert everything_in(desk.user.root) == before


async def test_a_bare_repository_is_published_to(user: UsersRepository, tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(user.root), str(bare))
    desk = await Desk.ready(UsersRepository(root=bare, place=place_for(bare, bare)))
    new = await landed(desk)
    assert await desk.repository.publish(PLAN, "main", new) is None
    assert desk.user.ref("main") == new


async def test_a_linked_worktree_that_has_the_target_goes_forward_there(desk: Desk, tmp_path: Path) -> None:
    new = await landed(desk)
    git(desk.user.root, "checkout", "-q", "--detach")
    linked = tmp_path / "linked"
    git(desk.user.root, "worktree", "add", "-q", str(linked), "main")
    assert await desk.repository.publish(PLAN, "main", new) is None
    assert (linked / "new.txt").exists()
    assert git(linked, "status", "--porcelain") == ""
    assert not (desk.user.root / "new.txt").exists()


def nothing(root: Path) -> None:
    pass


def dirty_elsewhere(root: Path) -> None:
    write(root, {".gitignore": ".env\n*.log\nmore\n", "notes.txt": "untracked", ".env": "SECRET"})


def staged_elsewhere(root: Path) -> None:
    write(root, {"staged.txt": "staged\n"})
    git(root, "add", "staged.txt")


def stashed(root: Path) -> None:
    write(root, {"src/a.txt": "stashed\n"})
    git(root, "stash", "-q")


def asks_for_the_worst(root: Path) -> None:
    for key, value in {
        "merge.ff": "false",
        "merge.autoStash": "true",
        "merge.verifySignatures": "true",
        "branch.main.mergeOptions": "--squash --overwrite-ignore --no-commit",
        "pull.rebase": "true",
    }.items():
        git(root, "config", key, value)
    hook = root / ".git/hooks/post-merge"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch hook-ran\n")
    hook.chmod(0o755)


@pytest.mark.parametrize("state", [nothing, dirty_elsewhere, staged_elsewhere, stashed, asks_for_the_worst])
async def test_work_that_is_not_in_the_way_stays_as_it_is(desk: Desk, state: Callable[[Path], None]) -> None:
    new, root = await landed(desk), desk.user.root
    state(root)
    before, stash = everything_in(root), git(root, "stash", "list")
    staged = git(root, "diff", "--cached", "--name-only")
    assert await desk.repository.publish(PLAN, "main", new) is None
    assert desk.user.ref("main") == new
    after = everything_in(root)
    touched = {"src/a.txt", "new.txt", "data", "README.md"}
    assert {name: told for name, told in before.items() if name not in touched} == {
        name: told for name, told in after.items() if name not in touched
    }
    assert (git(root, "stash", "list"), git(root, "diff", "--cached", "--name-only")) == (stash, staged)


def same_file(root: Path) -> None:
    write(root, {"src/a.txt": "my edit\n"})


def same_file_staged(root: Path) -> None:
    same_file(root)
    git(root, "add", ".")


def deleted_there(root: Path) -> None:
    write(root, {"README.md": "edited, and deleted by the plan\n"})


def untracked_in_the_way(root: Path) -> None:
    write(root, {"new.txt": "mine"})


def ignored_in_the_way(root: Path) -> None:
    write(root, {".git/info/exclude": "new.txt\n", "new.txt": "SECRET=1\n"})


def ignored_folder_in_the_way(root: Path) -> None:
    write(root, {".git/info/exclude": "data\n", "data/cache": "mine"})


def untracked_folder_in_the_way(root: Path) -> None:
    write(root, {"data/cache": "mine"})


def merging(root: Path) -> None:
    git(root, "checkout", "-q", "-b", "side")
    commit(root, {"side": "x\n"})
    git(root, "checkout", "-q", "main")
    git(root, "merge", "-q", "--no-commit", "--no-ff", "side")


def locked(root: Path) -> None:
    (root / ".git/index.lock").write_text("")


def twice(root: Path) -> None:
    git(root, "worktree", "add", "-q", "-f", str(root.parent / "second"), "main")


def checked_out_on_a_lost_disk(root: Path) -> None:
    git(root, "checkout", "-q", "--detach")
    git(root, "worktree", "add", "-q", str(root.parent / "away"), "main")
    (root.parent / "away").rename(root.parent / "unplugged")


def rebasing(root: Path) -> None:
    git(root, "checkout", "-q", "-b", "onto")
    commit(root, {"src/a.txt": "onto\n"})
    git(root, "checkout", "-q", "-b", "copy", "main")
    git(root, "checkout", "-q", "main")
    start = git(root, "rev-parse", "main")
    commit(root, {"src/a.txt": "mine\n"})
    git(root, "rebase", "-q", "onto", ok=False)
    git(root, "update-ref", "refs/heads/main", start)  # so that only the rebase stands in the way


def bisecting(root: Path) -> None:
    git(root, "bisect", "start")
    git(root, "checkout", "-q", "--detach")


REFUSALS = [
    pytest.param(same_file, "src/a.txt", id="edited in the same file"),
    pytest.param(same_file_staged, "src/a.txt", id="staged in the same file"),
    pytest.param(deleted_there, "README.md", id="edited where the plan deletes"),
    pytest.param(untracked_in_the_way, "new.txt", id="untracked in the way"),
    pytest.param(ignored_in_the_way, "new.txt", id="ignored in the way"),
    pytest.param(ignored_folder_in_the_way, "data", id="ignored folder in the way"),
    pytest.param(untracked_folder_in_the_way, "data", id="untracked folder in the way"),
    pytest.param(merging, "MERGE_HEAD", id="merging"),
    pytest.param(twice, "more than once", id="checked out twice"),
    pytest.param(checked_out_on_a_lost_disk, "not there", id="checked out where nothing is"),
    pytest.param(rebasing, "rebasing", id="rebasing"),
    pytest.param(bisecting, "bisecting", id="bisecting"),
]


@pytest.mark.parametrize(("state", "word"), REFUSALS)
async def test_what_is_in_the_way_is_left_and_named_with_a_command(
    desk: Desk, state: Callable[[Path], None], word: str
) -> None:
    new, root = await landed(desk), desk.user.root
    await desk.repository.mirror(PLAN, new)
    state(root)
    before, main = everything_in(root), desk.user.ref("main")
    said = await desk.repository.publish(PLAN, "main", new)
    assert isinstance(said, NotPublished)
    assert word in said.why
    assert said.command.startswith("git ")
    assert (everything_in(root), desk.user.ref("main")) == (before, main)


async def test_a_held_index_lock_is_waited_for_then_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    new, root = await landed(desk), desk.user.root
    locked(root)
    monkeypatch.setattr("orchestrator.backends.gitrun.LOCK_PATIENCE_S", 0.3)
    monkeypatch.setattr("orchestrator.backends.publish.LOCK_WAIT_S", 0.0)
    said = await desk.repository.publish(PLAN, "main", new)
    assert isinstance(said, NotPublished)
    assert "another git is at work" in said.why
    assert (root / ".git/index.lock").exists()
    monkeypatch.setattr("orchestrator.backends.gitrun.LOCK_PATIENCE_S", 10.0)

    async def release() -> None:
        await anyio.sleep(0.2)
        (root / ".git/index.lock").unlink()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(release)
        assert await desk.repository.publish(PLAN, "main", new) is None


@pytest.mark.parametrize("checked_out", [True, False])
async def test_a_target_that_went_elsewhere_is_told_and_left(desk: Desk, checked_out: bool) -> None:
    new = await landed(desk)
    theirs = commit(desk.user.root, {"theirs.txt": "x\n"})
    if not checked_out:
        git(desk.user.root, "checkout", "-q", "--detach")
    assert await desk.repository.publish(PLAN, "main", new) == Moved(actual=Commit(theirs))
    assert desk.user.ref("main") == theirs


async def test_a_target_that_is_already_further_needs_nothing(desk: Desk) -> None:
    new = await landed(desk)
    assert await desk.repository.publish(PLAN, "main", new) is None
    further = commit(desk.user.root, {"further": "x\n"})
    assert await desk.repository.publish(PLAN, "main", new) is None
    assert desk.user.ref("main") == further


async def test_a_deleted_target_is_refused_with_the_command_that_makes_it(desk: Desk) -> None:
    new = await landed(desk)
    await desk.repository.mirror(PLAN, new)
    git(desk.user.root, "checkout", "-q", "--detach")
    git(desk.user.root, "branch", "-q", "-D", "main")
    said = await desk.repository.publish(PLAN, "main", new)
    assert isinstance(said, NotPublished)
    git(desk.user.root, *shlex.split(said.command)[1:])
    assert desk.user.ref("main") == new


async def test_the_command_does_it_once_the_user_has_cleared_the_way(desk: Desk) -> None:
    new, root = await landed(desk), desk.user.root
    await desk.repository.mirror(PLAN, new)
    same_file(root)
    said = await desk.repository.publish(PLAN, "main", new)
    assert isinstance(said, NotPublished)
    assert said.command == "git merge --ff-only orchestrator/plan"
    git(root, "checkout", "-q", "--", "src/a.txt")
    git(root, *shlex.split(said.command)[1:])
    assert await desk.repository.publish(PLAN, "main", new) is None


# ---- mirror ----


async def test_the_plans_branch_is_shown_as_a_branch_and_moves_along(desk: Desk) -> None:
    for task in ("one", "two"):
        new = await desk.land(await desk.handed_off(task, {task: "x\n"}))
        for _ in range(2):
            assert await desk.again().repository.mirror(PLAN, new) == BRANCH
        assert desk.user.ref(BRANCH) == new
    git(desk.user.root, "fsck", "--strict", "--connectivity-only")


async def test_a_mirror_that_is_checked_out_is_not_moved_under_anybody(desk: Desk, tmp_path: Path) -> None:
    first = await landed(desk)
    await desk.repository.mirror(PLAN, first)
    git(desk.user.root, "worktree", "add", "-q", str(tmp_path / "looking"), "orchestrator/plan")
    second = await desk.land(await desk.handed_off("two", {"two": "x\n"}))
    assert await desk.repository.mirror(PLAN, second) == "refs/orchestrator/plans/plan"
    assert (desk.user.ref(BRANCH), desk.user.ref("refs/orchestrator/plans/plan")) == (first, second)
    assert git(tmp_path / "looking", "status", "--porcelain") == ""


async def test_a_persons_commit_on_the_mirror_is_not_overwritten(desk: Desk) -> None:
    await desk.repository.mirror(PLAN, await landed(desk))
    git(desk.user.root, "checkout", "-q", "orchestrator/plan")
    theirs = commit(desk.user.root, {"fix": "x\n"})
    git(desk.user.root, "checkout", "-q", "main")
    second = await desk.land(await desk.handed_off("two", {"two": "x\n"}))
    assert await desk.repository.mirror(PLAN, second) == "refs/orchestrator/plans/plan"
    assert (desk.user.ref(BRANCH), desk.user.ref("refs/orchestrator/plans/plan")) == (theirs, second)


async def test_a_new_run_moves_the_mirror_of_the_old_one(desk: Desk) -> None:
    old = await landed(desk)
    await desk.repository.mirror(PLAN, old)
    commit(desk.user.root, {"later": "x\n"})
    desk.tip, _ = await desk.repository.begin_branch(PLAN, 2, "main")
    new = await desk.land(await desk.handed_off("two", {"two": "x\n"}))
    assert await desk.repository.mirror(PLAN, new) == BRANCH
    assert (desk.user.ref(BRANCH), desk.user.ref("refs/orchestrator/old/plan/2")) == (new, old)
