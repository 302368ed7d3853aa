"""What a landed commit changed is taken back on the plan's branch, and nothing else. Real git."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.model.ids import Commit
from orchestrator.ports import Conflict, Merged
from tests.fakes.repos import AT, PLAN, Desk, UsersRepository, commit, git, users_repository

pytestmark = pytest.mark.anyio

MESSAGE = "undo task: a title\n\nOrchestrator-Undo: task\n"
LONG = "".join(f"{n}\n" for n in range(1, 30))


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
    files = {"README.md": "hello\n", "long.txt": LONG, "gone.txt": "g\n", "Dir/größe.txt": "ü\n"}
    return users_repository(tmp_path / "repo", files)


@pytest.fixture
async def desk(user: UsersRepository) -> Desk:
    return await Desk.ready(user)


async def reverted(desk: Desk, undone: str) -> Merged | Conflict:
    return await desk.repository.revert_candidate(desk.tip, Commit(undone), message=MESSAGE, at=AT)


async def land(desk: Desk, task: str, files: dict[str, str | None]) -> Commit:
    return await desk.land(await desk.handed_off(task, files))


async def test_everything_that_a_task_did_is_taken_back_by_one_commit_with_one_parent(desk: Desk) -> None:
    before = desk.user.ours("rev-parse", f"{desk.tip}^{{tree}}")
    undone = await land(
        desk, "task", {"README.md": "changed\n", "gone.txt": None, "new/x.py": "x\n", "Dir/größe.txt": "ß\n"}
    )
    found = await reverted(desk, undone)
    assert isinstance(found, Merged)
    assert found.tree == before
    assert desk.user.ours("log", "-1", "--format=%P", found.commit) == undone
    body = desk.user.ours("log", "-1", "--format=%B%an <%ae>", found.commit)
    assert body.startswith(MESSAGE)
    assert body.endswith("Ada Löve <ada@example.org>")
    assert await desk.repository.land(PLAN, found.commit, desk.tip) is None


async def test_what_landed_before_and_after_stays(desk: Desk) -> None:
    await land(desk, "before", {"before.txt": "b\n"})
    undone = await land(desk, "task", {"long.txt": LONG.replace("3\n", "three\n", 1), "mine.txt": "m\n"})
    await land(
        desk, "after", {"long.txt": LONG.replace("3\n", "three\n", 1).replace("29\n", "end\n"), "after.txt": "a\n"}
    )
    found = await reverted(desk, undone)
    assert isinstance(found, Merged)
    names = desk.user.ours("ls-tree", "-r", "--name-only", found.commit).splitlines()
    assert {"before.txt", "after.txt"} <= set(names)
    assert "mine.txt" not in names
    assert desk.user.ours("show", f"{found.commit}:long.txt") + "\n" == LONG.replace("29\n", "end\n")


async def test_a_later_change_in_the_same_place_is_a_conflict_that_shows_both_sides(desk: Desk) -> None:
    undone = await land(desk, "task", {"README.md": "task\n"})
    await land(desk, "after", {"README.md": "task\nand after\n"})
    tip, count = desk.user.ours("rev-parse", "refs/orchestrator/plans/plan"), desk.user.ours("for-each-ref")
    found = await reverted(desk, undone)
    assert isinstance(found, Conflict)
    assert found.paths == ("README.md",)
    assert "and after" in found.detail
    assert "hello" in found.detail
    assert (desk.user.ours("rev-parse", "refs/orchestrator/plans/plan"), desk.user.ours("for-each-ref")) == (tip, count)


async def test_a_file_that_was_deleted_and_has_come_again_is_a_conflict(desk: Desk) -> None:
    undone = await land(desk, "task", {"gone.txt": None})
    await land(desk, "after", {"gone.txt": "another\n"})
    assert isinstance(await reverted(desk, undone), Conflict)


async def test_what_is_gone_already_is_taken_back_by_an_empty_commit(desk: Desk) -> None:
    undone = await land(desk, "task", {"new.txt": "x\n"})
    await land(desk, "after", {"new.txt": None})
    found = await reverted(desk, undone)
    assert isinstance(found, Merged)
    assert found.tree == desk.user.ours("rev-parse", f"{desk.tip}^{{tree}}")


async def test_a_rename_is_taken_back_together_with_what_others_did_to_the_file_since(desk: Desk) -> None:
    undone = await land(desk, "task", {"long.txt": None, "moved.txt": LONG})
    await land(desk, "after", {"moved.txt": LONG.replace("29\n", "end\n")})
    found = await reverted(desk, undone)
    assert isinstance(found, Merged)
    assert desk.user.ours("show", f"{found.commit}:long.txt") + "\n" == LONG.replace("29\n", "end\n")


async def test_an_undo_can_itself_be_followed_by_the_same_work_again(desk: Desk) -> None:
    undone = await land(desk, "task", {"README.md": "task\n", "new.txt": "x\n"})
    found = await reverted(desk, undone)
    assert isinstance(found, Merged)
    assert await desk.repository.land(PLAN, found.commit, desk.tip) is None
    desk.tip = found.commit
    again = await desk.land(await desk.handed_off("again", {"README.md": "task\n", "new.txt": "x\n"}))
    assert desk.user.ours("rev-parse", f"{again}^{{tree}}") == desk.user.ours("rev-parse", f"{undone}^{{tree}}")


async def test_asked_twice_it_is_the_same_commit(desk: Desk) -> None:
    undone = await land(desk, "task", {"README.md": "task\n"})
    assert await reverted(desk, undone) == await reverted(desk.again(), undone)


async def test_attributes_decide_as_in_a_checkout(desk: Desk) -> None:
    await land(desk, "rules", {".gitattributes": "*.log merge=union\n", "a.log": "1\n"})
    undone = await land(desk, "task", {"a.log": "1\n2\n"})
    await land(desk, "after", {"a.log": "1\n2\n3\n"})
    found = await reverted(desk, undone)
    assert isinstance(found, Merged), "union has no conflicts"


async def test_a_task_that_landed_after_the_target_was_taken_in_is_taken_back_alone(
    desk: Desk, user: UsersRepository
) -> None:
    commit(user.root, {"theirs.txt": "t\n"})
    target = await desk.repository.target_commit("main")
    sync = await desk.land(target)
    undone = await land(desk, "task", {"new.txt": "x\n"})
    found = await reverted(desk, undone)
    assert isinstance(found, Merged)
    assert found.tree == desk.user.ours("rev-parse", f"{sync}^{{tree}}")
    assert "theirs.txt" in git(user.place.repo_git, "ls-tree", "--name-only", found.commit)
