"""What a power loss, a deletion or a person's hand does to our repositories, and what a start makes of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.backends import takeover
from orchestrator.backends.repository import GitRepository
from orchestrator.backends.trash import older_than
from orchestrator.core.reconcile import differences, needs_of
from orchestrator.engine.reconcile import Reconciled, reconcile
from orchestrator.model.attempt import Attempt, AttemptState
from orchestrator.model.ids import Commit, TaskId, attempt_id
from orchestrator.model.run import State
from tests.fakes.repos import PLAN, Desk, UsersRepository, commit, git, users_repository, write
from tests.fakes.world import NOW, World, a_plan, a_task

pytestmark = pytest.mark.anyio
BRANCH = f"refs/orchestrator/plans/{PLAN}"
KEPT = f"refs/orchestrator/{PLAN}/task-1"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A plan with one landed task, in a folder that not every program can cope with."""
    monkeypatch.setenv("HOME", str(tmp_path))
    desk = await Desk.ready(users_repository(tmp_path / "mein büro"))
    head = await desk.handed_off("task", {"src/b.txt": "new\n", "c/d.txt": "deep\n"})
    await desk.land(head)
    await desk.repository.mirror(PLAN, desk.tip)
    return desk


def ledger(desk: Desk) -> State:
    """What the ledger would say of it."""
    world = World(a_plan(a_task("task"), name=PLAN))
    plan = world.plan_run
    name = attempt_id(PLAN, TaskId("task"), 1)
    attempt = Attempt(
        id=name,
        task_id=TaskId("task"),
        number=1,
        token=1,
        agent="a",
        state=AttemptState.ENDED,
        started_at=NOW,
        head=Commit(desk.user.ours("rev-parse", KEPT)),
    )
    start = Commit(desk.user.ref("main"))
    plan = replace(
        plan,
        tip=desk.tip,
        started_at_commit=start,
        attempts={name: attempt},
        numbers={TaskId("task"): 1},
        candidates=1,
        candidate=None,
        runs={},
        leases={},
    )
    return replace(world.state, plans={PLAN: plan})


async def a_start(desk: Desk, state: State) -> Reconciled:
    """A daemon that begins on these folders."""
    repository = GitRepository(desk.user.place, inherited={})
    await repository.open()
    return await reconcile(state, repository)


def torn(path: Path) -> None:
    """As a power loss leaves a file whose contents never reached the disk; its other names are not touched."""
    path.unlink()
    path.touch(mode=0o444)


def loose(repo: Path, object_id: str) -> Path:
    return repo / "objects" / object_id[:2] / object_id[2:]


def lose_branch(user: UsersRepository) -> None:
    (user.place.repo_git / BRANCH).unlink()


def tear_branch(user: UsersRepository) -> None:
    torn(user.place.repo_git / BRANCH)


def set_branch_back(user: UsersRepository) -> None:
    user.ours("update-ref", BRANCH, user.ref("main"))


def lose_kept(user: UsersRepository) -> None:
    user.ours("update-ref", "-d", KEPT)


def tear_tip(user: UsersRepository) -> None:
    torn(loose(user.place.repo_git, user.ours("rev-parse", BRANCH)))


def lose_tree_and_blob(user: UsersRepository) -> None:
    for what in (f"{BRANCH}:c", f"{BRANCH}:src/b.txt"):
        loose(user.place.repo_git, user.ours("rev-parse", what)).unlink()


def tear_everything(user: UsersRepository) -> None:
    ids = user.ours("rev-parse", BRANCH, f"{BRANCH}^{{tree}}", f"{BRANCH}:c", KEPT).split()
    for object_id in set(ids):
        torn(loose(user.place.repo_git, object_id))
    torn(user.place.repo_git / BRANCH)
    torn(user.place.repo_git / KEPT)


def lock_up(user: UsersRepository) -> None:
    for name in ("packed-refs.lock", f"{BRANCH}.lock"):
        (user.place.repo_git / name).touch()


def lose_repository(user: UsersRepository) -> None:
    shutil.rmtree(user.place.repo_git)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lose_branch, id="the branch is gone"),
        pytest.param(tear_branch, id="the branch is an empty file"),
        pytest.param(set_branch_back, id="the landing is undone"),
        pytest.param(lose_kept, id="the reference of an attempt is gone"),
        pytest.param(tear_tip, id="the landed commit is an empty file"),
        pytest.param(lose_tree_and_blob, id="what the landed commit holds is gone"),
        pytest.param(tear_everything, id="all of it"),
        pytest.param(lock_up, id="a killed git left locks"),
        pytest.param(lose_repository, id="repo.git is deleted"),
    ],
)
async def test_a_start_brings_back_all_that_the_ledger_relies_on(
    desk: Desk, damage: Callable[[UsersRepository], None]
) -> None:
    state, user = ledger(desk), desk.user
    kept = user.ours("rev-parse", KEPT)
    before = user.ref("main"), user.ref(f"orchestrator/{PLAN}")
    damage(user)
    found = await a_start(desk, state)
    assert user.ours("rev-parse", BRANCH, KEPT).split() == [desk.tip, kept]
    assert "missing" not in user.ours("fsck", "--connectivity-only", "--no-dangling")
    assert not list(user.place.repo_git.rglob("*.lock"))
    assert {one.kind for one in found.left or ()} <= {"repository_gone"}
    assert (user.ref("main"), user.ref(f"orchestrator/{PLAN}")) == before
    assert (await a_start(desk, state)).left == ()


async def test_a_lock_that_a_living_git_of_ours_holds_is_left_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "CHILD_PATIENCE_S", 0.2)
    lock = desk.user.place.repo_git / "packed-refs.lock"
    lock.touch()
    env = {**os.environ, "GIT_DIR": str(desk.user.place.repo_git)}
    with subprocess.Popen(["sleep", "30"], env=env) as outlived:
        try:
            await GitRepository(desk.user.place, inherited={}).open()
            assert lock.exists()
        finally:
            outlived.kill()
    await GitRepository(desk.user.place, inherited={}).open()
    assert not lock.exists()


async def test_a_branch_that_is_anywhere_else_is_never_forced(desk: Desk) -> None:
    state, user = ledger(desk), desk.user
    strange = git(
        user.place.repo_git, "-c", "user.name=x", "-c", "user.email=x", "commit-tree", f"{BRANCH}^{{tree}}", "-m", "x"
    )
    user.ours("update-ref", BRANCH, strange)
    found = await a_start(desk, state)
    assert [one.kind for one in found.left or ()] == ["foreign_position"]
    assert user.ours("rev-parse", BRANCH) == strange


async def test_what_nobody_has_any_more_is_left_to_a_person(desk: Desk) -> None:
    state, user = ledger(desk), desk.user
    blob = user.ours("rev-parse", f"{BRANCH}:src/b.txt")
    for store in (user.place.repo_git, user.place.common_dir, user.place.git_dir(f"{PLAN}/task-1")):
        loose(store, blob).unlink(missing_ok=True)
    found = await a_start(desk, state)
    assert {one.kind for one in found.left or ()} == {"lost_objects"}
    assert found.mended == ()


async def test_a_users_branch_with_commits_of_their_own_is_told_and_left_alone(desk: Desk) -> None:
    state, user = ledger(desk), desk.user
    git(user.root, "checkout", "-q", f"orchestrator/{PLAN}")
    mine = commit(user.root, {"mine.txt": "mine\n"})
    found = await a_start(desk, state)
    assert [one.kind for one in found.left or ()] == ["branch_moved"]
    assert user.ref(f"orchestrator/{PLAN}") == mine


@pytest.mark.parametrize(
    ("spoil", "how"),
    [
        pytest.param(lambda tree: shutil.rmtree(tree), "was removed", id="removed"),
        pytest.param(lambda tree: (tree / ".git").unlink(), "has lost its `.git`", id="its link is gone"),
        pytest.param(
            lambda tree: (shutil.rmtree(tree), tree.symlink_to("/")), "was replaced by something", id="a link instead"
        ),
        pytest.param(
            lambda tree: (shutil.rmtree(tree), git(tree.parent, "init", "-q", tree.name)),
            "was replaced by a tree",
            id="another repository instead",
        ),
    ],
)
async def test_a_live_tree_that_is_not_its_own_any_more_is_told_and_not_made_again(
    desk: Desk, spoil: Callable[[Path], object], how: str
) -> None:
    workspace = await desk.attempt("live")
    state = ledger(desk)
    plan = state.plans[PLAN]
    name = attempt_id(PLAN, TaskId("live"), 1)
    live = replace(
        plan.attempts[attempt_id(PLAN, TaskId("task"), 1)],
        id=name,
        task_id=TaskId("live"),
        state=AttemptState.RUNNING,
        workspace=workspace,
        head=None,
    )
    plan = replace(plan, attempts=plan.attempts | {name: live}, numbers=plan.numbers | {TaskId("live"): 1})
    state = replace(state, plans={PLAN: plan})
    assert (await a_start(desk, state)).left == ()
    spoil(Path(workspace.path))
    (one,) = (await a_start(desk, state)).left or ()
    assert one.kind == "tree_gone"
    assert how in one.said


async def test_unknown_trees_folders_and_references_are_told_and_stay(desk: Desk) -> None:
    state, user = ledger(desk), desk.user
    write(user.place.worktrees, {"somebody/tree/x.txt": "x\n"})
    user.place.owner_dir("other/one-1").mkdir(parents=True)
    git(user.root, "update-ref", "refs/orchestrator/other/one-1", "main")
    found = await a_start(desk, state)
    assert len(found.left or ()) == 3
    assert {one.kind for one in found.left or ()} == {"unknown"}
    assert (user.place.worktrees / "somebody/tree/x.txt").exists()
    assert user.place.owner_dir("other/one-1").is_dir()
    assert user.ref("refs/orchestrator/other/one-1")


async def test_a_tree_of_another_repository_in_the_same_folder_is_nothing_unknown(desk: Desk, tmp_path: Path) -> None:
    other = await Desk.ready(users_repository(tmp_path / "other"))
    workspace = await other.attempt("theirs")
    shutil.copytree(workspace.path, desk.user.place.worktrees / "theirs" / "theirs-1")
    assert (await a_start(desk, ledger(desk))).left == ()


async def test_a_look_changes_nothing(desk: Desk) -> None:
    state, user = ledger(desk), desk.user
    lose_branch(user)
    lock_up(user)
    repository = GitRepository(user.place, inherited={})
    needs = needs_of(state)
    found = differences(state, needs, await repository.survey(needs, thorough=True))
    assert {one.kind for one in found} == {"stale_lock", "lost_reference"}
    assert not (user.place.repo_git / BRANCH).exists()
    assert (user.place.repo_git / "packed-refs.lock").exists()


async def test_only_old_trash_of_ours_is_deleted(desk: Desk) -> None:
    place = desk.user.place
    workspace = await desk.attempt("gone")
    await desk.remove(workspace)
    (entry,) = older_than(place, -1.0, os.stat(place.trash).st_ctime)
    now = (place.trash / entry).stat().st_ctime
    assert older_than(place, 60.0, now + 59) == ()
    assert older_than(place, 60.0, now + 61) == (entry,)
    write(place.trash, {"somebody/else/1/x": "x"})
    assert older_than(place, 60.0, now + 10_000) == (entry,)


async def test_an_attempt_whose_tree_was_removed_is_not_taken_for_one_that_changed_nothing(desk: Desk) -> None:
    workspace = await desk.attempt("live")
    write(Path(workspace.path), {"lost.txt": "not committed\n"})
    shutil.rmtree(workspace.path)
    found = await desk.collect(workspace)
    assert "the worktree was removed by somebody" in found.error


async def test_what_was_committed_in_a_tree_that_was_removed_comes_home(desk: Desk) -> None:
    workspace = await desk.attempt("live")
    head = commit(Path(workspace.path), {"kept.txt": "committed\n"})
    shutil.rmtree(workspace.path)
    found = await desk.collect(workspace)
    assert (found.head, found.changed, found.error) == (head, ("kept.txt",), "")


def dirty(tree: Path) -> None:
    write(tree, {"src/a.txt": "changed\n", "new.txt": "untracked\n"})


def stashed(tree: Path) -> None:
    write(tree, {"src/a.txt": "stashed\n"})
    git(tree, "stash", "-q")


def half_rebased(tree: Path) -> None:
    commit(tree, {"src/a.txt": "mine\n"})
    git(tree, "checkout", "-q", "-b", "other", "HEAD~1")
    commit(tree, {"src/a.txt": "other\n"})
    git(tree, "rebase", "-q", "-", ok=False)


def half_merged(tree: Path) -> None:
    commit(tree, {"src/a.txt": "mine\n"})
    git(tree, "checkout", "-q", "-b", "other", "HEAD~1")
    commit(tree, {"src/a.txt": "other\n"})
    git(tree, "merge", "-q", "-", ok=False)


def nested(tree: Path) -> None:
    (tree / "inner").mkdir()
    git(tree / "inner", "init", "-q")
    write(tree, {"inner/x.txt": "mine\n"})


def detached(tree: Path) -> None:
    git(tree, "checkout", "-q", "--detach")
    commit(tree, {"src/a.txt": "mine\n"})


@pytest.mark.parametrize(
    ("leave", "text"),
    [
        pytest.param(dirty, "untracked", id="changed and untracked"),
        pytest.param(stashed, "stashed", id="stashed"),
        pytest.param(half_rebased, "mine", id="in the middle of a rebase"),
        pytest.param(half_merged, "mine", id="in the middle of a merge"),
        pytest.param(detached, "mine", id="committed on no branch"),
        pytest.param(nested, "mine", id="a repository inside"),
    ],
)
@pytest.mark.parametrize("landed", [True, False], ids=["after a landing", "by prune"])
async def test_no_tree_goes_before_all_that_it_holds_is_kept(
    desk: Desk, leave: Callable[[Path], None], text: str, landed: bool
) -> None:
    workspace = await desk.attempt("left")
    tree, owner = Path(workspace.path), desk.id_of(workspace)
    leave(tree)
    salvage = await desk.repository.remove(PLAN, owner, landed=landed, ignore=())
    assert not tree.exists()
    kept = [desk.user.ours("log", "-p", "-m", "--all", "--format=%H")]
    archive = desk.user.place.owner_dir(owner) / "nested-repositories.tar.gz"
    if archive.exists():
        kept.append(subprocess.run(["tar", "-xzOf", archive], capture_output=True, text=True, check=True).stdout)
    assert any(text in one for one in kept), salvage


async def test_what_an_older_ledger_forgot_is_kept_before_its_number_is_used_again(desk: Desk) -> None:
    workspace = await desk.attempt("left")
    write(Path(workspace.path), {"forgotten.txt": "not committed\n"})
    desk.tip = Commit(desk.user.ref("main"))
    again = await desk.attempt("left")
    assert not Path(again.path, "forgotten.txt").exists()
    assert desk.user.ours("show", f"refs/orchestrator/{PLAN}/left-1.salvage-1:forgotten.txt") == "not committed"
