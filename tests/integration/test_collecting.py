"""Attempts' work comes home, whatever the agent did to its repository; nothing of it is run, nothing is lost."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from orchestrator.model.attempt import Workspace
from tests.fakes.repos import PLAN, Desk, UsersRepository, commit, everything_in, git, users_repository, write

pytestmark = pytest.mark.anyio

MINE = "refs/orchestrator/plan/task-1"


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


def files_of(desk: Desk, commit_or_ref: str) -> set[str]:
    return set(desk.user.ours("ls-tree", "-r", "--name-only", "-z", commit_or_ref).split("\0")) - {""}


# ---- ordinary work ----


async def test_uncommitted_work_is_committed_on_top_of_the_agents_own(desk: Desk) -> None:
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    made = commit(tree, {"one.txt": "1\n"})
    write(tree, {"two.txt": "2\n", "README.md": None, "noise.log": "ignored", ".env": "SECRET"})
    os.chmod(tree / "src/a.txt", 0o755)
    index = (Path(workspace.git_dir) / "worktrees/task-1/index").read_bytes()
    found = await desk.collect(workspace)
    assert found.error == ""
    assert found.committed_by_us
    assert found.descends
    assert set(found.changed) == {"one.txt", "two.txt", "README.md", "src/a.txt"}
    told = desk.user.ours("log", "-1", "--format=%P|%an <%ae>|%B", str(found.head))
    assert told.startswith(f"{made}|Ada Löve <ada@example.org>|what the agent did\n\nTask: task\nToken: 7")
    assert git(tree, "rev-parse", "HEAD") == made, "the agent's tree stays as it left it"
    assert (Path(workspace.git_dir) / "worktrees/task-1/index").read_bytes() == index
    assert desk.user.ref(MINE) == desk.user.ours("rev-parse", MINE) == found.head


async def test_committed_work_comes_home_as_it_is(desk: Desk) -> None:
    workspace = await desk.attempt()
    made = commit(Path(workspace.path), {"one.txt": "1\n"})
    found = await desk.collect(workspace)
    assert (found.head, found.committed_by_us, found.changed, found.salvage) == (made, False, ("one.txt",), ())


async def test_a_rename_counts_as_both_names_and_nothing_done_as_nothing(desk: Desk) -> None:
    workspace = await desk.attempt()
    assert (await desk.collect(workspace)).changed == ()
    git(Path(workspace.path), "mv", "src/a.txt", "src/b.txt")
    assert (await desk.collect(workspace)).changed == ("src/a.txt", "src/b.txt")


async def test_collecting_again_gives_the_same_commit_and_no_new_references(desk: Desk) -> None:
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    commit(tree, {"stashed": "x\n"}, "side")
    git(tree, "branch", "side")
    git(tree, "reset", "-q", "--hard", "HEAD~1")
    write(tree, {"new.txt": "x\n"})
    first = await desk.collect(workspace)
    refs = desk.user.ours("for-each-ref")
    again = await desk.again().collect(workspace, message="told otherwise, so that a new commit would differ")
    assert again == first
    assert desk.user.ours("for-each-ref") == refs


async def test_a_crash_between_our_commit_and_the_users_reference_is_made_good(desk: Desk) -> None:
    workspace = await desk.attempt()
    write(Path(workspace.path), {"new.txt": "x\n"})
    first = await desk.collect(workspace)
    git(desk.user.root, "update-ref", "-d", MINE)
    assert (await desk.again().collect(workspace)).head == first.head == desk.user.ref(MINE)


async def test_keep_only_puts_uncommitted_work_under_salvage(desk: Desk) -> None:
    workspace = await desk.attempt()
    made = commit(Path(workspace.path), {"one.txt": "1\n"})
    write(Path(workspace.path), {"two.txt": "2\n"})
    for told in ("one", "two"):
        found = await desk.collect(workspace, keep_only=True, message=told)
        assert (found.head, found.committed_by_us, found.salvage) == (made, False, (f"{MINE}.salvage-1",))
    assert "two.txt" in files_of(desk, f"{MINE}.salvage-1")
    assert desk.user.ref(f"{MINE}.salvage-1") == desk.user.ours("rev-parse", f"{MINE}.salvage-1")


async def test_what_prepare_put_there_never_counts(desk: Desk) -> None:
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    write(tree, {"config/local.toml": "x", "README.md": "prepared\n", "real.txt": "x\n", "node/a/.git/HEAD": "x"})
    git(tree, "init", "-q", "node/deep")
    (tree / "linked").symlink_to("/etc")
    found = await desk.collect(workspace, ignore=("config/local.toml", "README.md", "node/", "linked"))
    assert (found.changed, found.nested) == (("real.txt",), ())


async def test_line_endings_of_the_user_do_not_make_changes(tmp_path: Path) -> None:
    user = users_repository(tmp_path / "r", {"a.txt": "one\ntwo\n"})
    git(user.root, "config", "core.autocrlf", "true")
    desk = await Desk.ready(user)
    workspace = await desk.attempt()
    assert b"\r\n" in (Path(workspace.path) / "a.txt").read_bytes()
    assert (await desk.collect(workspace)).changed == ()


# ---- where HEAD went ----


async def test_a_detached_head_and_another_branch_are_followed(desk: Desk) -> None:
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    for step, switch in enumerate((["checkout", "-q", "--detach"], ["checkout", "-q", "-b", "deep/er"])):
        git(tree, *switch)
        made = commit(tree, {f"{step}.txt": "x\n"})
        assert (await desk.collect(workspace)).head == made
    git(tree, "pack-refs", "--all")
    git(tree, "gc", "-q")
    assert (await desk.collect(workspace)).head == made


async def test_branches_left_behind_and_every_stash_entry_are_salvaged(desk: Desk) -> None:
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    side = commit(tree, {"side.txt": "x\n"})
    git(tree, "checkout", "-q", "-b", "other", desk.tip)
    for name in ("first", "second"):
        write(tree, {f"{name}.txt": "x\n"})
        git(tree, "stash", "-q", "-u")
    stashes = git(tree, "rev-parse", "stash@{0}", "stash@{1}").split()
    found = await desk.collect(workspace)
    kept = {desk.user.ours("rev-parse", name) for name in found.salvage}
    assert kept == {side, *stashes}
    assert {desk.user.ref(name) for name in found.salvage} == kept


async def test_an_orphan_branch_does_not_descend_and_is_kept(desk: Desk) -> None:
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    git(tree, "checkout", "-q", "--orphan", "fresh")
    made = commit(tree, {"new.txt": "x\n"})
    found = await desk.collect(workspace)
    assert (found.head, found.descends) == (made, False)
    assert desk.user.ref(MINE) == made


async def test_an_orphan_branch_without_commit_is_an_error_and_its_files_are_salvaged(desk: Desk) -> None:
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    git(tree, "checkout", "-q", "--orphan", "fresh")
    write(tree, {"new.txt": "x\n"})
    found = await desk.collect(workspace)
    assert found.head is None
    assert found.error
    assert "new.txt" in files_of(desk, found.salvage[0])


async def test_an_unfinished_rebase_is_an_error_that_loses_nothing(desk: Desk) -> None:
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    mine = commit(tree, {"src/a.txt": "mine\n"})
    git(tree, "checkout", "-q", "-b", "onto", desk.tip)
    commit(tree, {"src/a.txt": "theirs\n"})
    git(tree, "checkout", "-q", "-")
    git(tree, "rebase", "-q", "onto", ok=False)
    found = await desk.collect(workspace)
    assert "rebase" in found.error
    assert any(desk.user.ours("rev-parse", name) == mine for name in found.salvage)


async def test_a_cherry_pick_with_markers_is_no_hand_off(desk: Desk) -> None:
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    git(tree, "checkout", "-q", "-b", "side")
    side = commit(tree, {"src/a.txt": "side\n"})
    git(tree, "checkout", "-q", "-")
    commit(tree, {"src/a.txt": "mine\n"})
    git(tree, "cherry-pick", side, ok=False)
    found = await desk.collect(workspace)
    assert (found.unfinished_merge, found.committed_by_us) == (("src/a.txt",), False)


async def test_lines_that_only_look_like_markers_are_work(desk: Desk) -> None:
    workspace = await desk.attempt()
    write(Path(workspace.path), {"guide.rst": "Title\n=======\n<<<<<<< HEAD\nyours\n=======\n>>>>>>> theirs\n"})
    found = await desk.collect(workspace)
    assert (found.unfinished_merge, found.committed_by_us) == ((), True)


# ---- what is gone or replaced ----


async def test_a_deleted_dot_git_file_changes_nothing(desk: Desk) -> None:
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    made = commit(tree, {"one.txt": "1\n"})
    (tree / ".git").unlink()
    write(tree, {"two.txt": "2\n"})
    found = await desk.collect(workspace)
    assert set(found.changed) == {"one.txt", "two.txt"}
    assert desk.user.ours("rev-parse", f"{found.head}^") == made


async def test_a_tree_deleted_by_hand_still_brings_its_commits(desk: Desk) -> None:
    workspace = await desk.attempt()
    made = commit(Path(workspace.path), {"one.txt": "1\n"})
    shutil.rmtree(workspace.path)
    found = await desk.collect(workspace)
    assert (found.head, found.changed, found.error) == (made, ("one.txt",), "")
    git(Path(workspace.git_dir), "worktree", "prune")
    assert (await desk.collect(workspace)).head == made, "the branch is read when the worktree's own HEAD is gone"
    assert await desk.remove(workspace) == ()


async def test_a_deleted_repository_is_an_error_and_its_files_are_salvaged(desk: Desk) -> None:
    workspace = await desk.attempt()
    write(Path(workspace.path), {"new.txt": "x\n"})
    shutil.rmtree(workspace.git_dir)
    found = await desk.collect(workspace)
    assert found.head is None
    assert found.error
    assert "new.txt" in files_of(desk, found.salvage[0])
    assert (await desk.again().collect(workspace)).salvage == found.salvage


async def test_objects_that_are_missing_or_malformed_are_refused_with_the_reason(desk: Desk) -> None:
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    blob = git(tree, "hash-object", "-w", "--stdin", stdin="x")
    evil = git(tree, "mktree", stdin=f"100644 blob {blob}\t.git\n")
    bad = git(tree, "commit-tree", evil, "-p", "HEAD", "-m", "a tree with .git in it")
    git(tree, "update-ref", "--no-deref", "HEAD", bad)
    found = await desk.collect(workspace)
    assert found.head is None
    assert bad in found.error
    assert desk.user.ref(MINE) == ""


async def test_a_tree_that_became_a_link_is_not_followed(desk: Desk, tmp_path: Path) -> None:
    workspace = await desk.attempt()
    secret = tmp_path / "secret"
    write(secret, {"password": "x"})
    shutil.rmtree(workspace.path)
    Path(workspace.path).symlink_to(secret)
    found = await desk.collect(workspace)
    assert (found.changed, found.committed_by_us, found.error != "") == ((), False, True)
    await desk.remove(workspace)
    assert (secret / "password").exists()


async def test_a_repository_inside_is_reported_never_added_and_kept_in_an_archive(desk: Desk) -> None:
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    for name in ("with commit", "without"):
        write(tree, {f"{name}/inner.txt": "x\n"})
        git(tree / name, "init", "-q")
    git(tree / "with commit", "add", ".")
    git(tree / "with commit", "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x")
    write(tree, {"real.txt": "x\n"})
    found = await desk.collect(workspace)
    assert (found.nested, found.changed) == (("with commit", "without"), ("real.txt",))
    await desk.remove(workspace)
    archive = desk.user.place.owner_dir("plan/task-1") / "nested-repositories.tar.gz"
    with tarfile.open(archive) as packed:
        assert {"with commit/inner.txt", "without/inner.txt", "without/.git/HEAD"} <= set(packed.getnames())


async def test_a_submodule_that_moved_counts_as_changed_and_nothing_runs_inside(
    user: UsersRepository, tmp_path: Path
) -> None:
    library = users_repository(tmp_path / "library", {"lib.txt": "lib\n"})
    git(user.root, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library.root), "lib")
    git(user.root, "commit", "-qm", "with a library")
    desk = await Desk.ready(user)
    workspace = await desk.attempt()
    inside = Path(workspace.path) / "lib"
    canary = tmp_path / "canary"
    git(inside, "config", "core.fsmonitor", f"touch '{canary}'; false")
    git(inside, "config", "filter.evil.clean", f"touch '{canary}'; cat")
    inner = Path(git(inside, "rev-parse", "--absolute-git-dir"))
    write(inner, {"info/attributes": "* filter=evil\n"})
    write(inside, {"lib.txt": "changed\n"})
    assert (await desk.collect(workspace)).changed == ()
    assert not canary.exists()
    quiet = ("-c", "core.fsmonitor=false", "-c", "filter.evil.clean=cat", "-c", "user.name=x", "-c", "user.email=x@x")
    git(inside, *quiet, "commit", "-qam", "x")
    assert (await desk.collect(workspace)).changed == ("lib",)
    shutil.rmtree(inside)
    write(inside, {"plain.txt": "now ours\n"})
    assert set((await desk.collect(workspace)).changed) == {"lib", "lib/plain.txt"}
    assert not canary.exists()


# ---- hostile ----


def _filter(workspace: Workspace, run: str) -> None:
    tree = Path(workspace.path)
    for kind in ("clean", "smudge", "process"):
        git(tree, "config", f"filter.evil.{kind}", run)
    write(tree, {".gitattributes": "* filter=evil diff=evil merge=evil\n"})
    for key in ("diff.evil.command", "diff.evil.textconv", "merge.evil.driver"):
        git(tree, "config", key, run)


def _hooks(workspace: Workspace, run: str) -> None:
    folder = Path(workspace.git_dir) / "hooks"
    folder.mkdir(exist_ok=True)
    for name in ("post-checkout", "pre-commit", "reference-transaction", "post-index-change", "pre-auto-gc"):
        (folder / name).write_text(f"#!/bin/sh\n{run}\n")
        (folder / name).chmod(0o755)
    git(Path(workspace.path), "config", "core.hooksPath", str(folder))


def _fsmonitor(workspace: Workspace, run: str) -> None:
    git(Path(workspace.path), "config", "core.fsmonitor", run)


def _pack_hook(workspace: Workspace, run: str) -> None:
    git(Path(workspace.path), "config", "uploadpack.packObjectsHook", run)
    git(Path(workspace.path), "config", "core.alternateRefsCommand", run)
    git(Path(workspace.path), "config", "core.sshCommand", run)


def _swapped_pointer(workspace: Workspace, run: str) -> None:
    tree = Path(workspace.path)
    (tree / ".git").unlink()
    git(tree, "init", "-q")
    git(tree, "config", "core.fsmonitor", run)
    git(tree, "config", "filter.evil.clean", run)
    write(tree, {".gitattributes": "* filter=evil\n"})


def _broken_config(workspace: Workspace, run: str) -> None:
    (Path(workspace.git_dir) / "config").write_text("[not a configuration\n")


def _worktree_config(workspace: Workspace, run: str) -> None:
    tree = Path(workspace.path)
    git(tree, "config", "extensions.worktreeConfig", "true")
    git(tree, "config", "--worktree", "core.fsmonitor", run)
    git(tree, "config", "--worktree", "core.editor", run)


@pytest.mark.parametrize(
    "poison",
    [_filter, _hooks, _fsmonitor, _pack_hook, _swapped_pointer, _worktree_config, _broken_config],
    ids=lambda poison: poison.__name__.strip("_"),
)
async def test_nothing_the_agent_configured_is_ever_run(
    desk: Desk, tmp_path: Path, poison: Callable[[Workspace, str], None]
) -> None:
    canary = tmp_path / "canary"
    workspace = await desk.attempt()
    commit(Path(workspace.path), {"committed.txt": "x\n"})
    poison(workspace, f"touch '{canary}'; cat")
    canary.unlink(missing_ok=True)  # the agent's own git may have run it; ours must not
    write(Path(workspace.path), {"new.txt": "x\n"})
    found = await desk.collect(workspace)
    assert {"committed.txt", "new.txt"} <= set(found.changed), found.error
    assert found.head is not None
    landed = await desk.land(found.head)
    assert await desk.repository.publish(PLAN, "main", landed) is None
    await desk.remove(workspace)
    assert not canary.exists()
    assert "nothing" not in (desk.user.root / "new.txt").read_text()


async def test_the_users_hooks_run_for_none_of_our_calls(user: UsersRepository, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    hook = user.root / ".git/hooks/reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {canary}\n")
    hook.chmod(0o755)
    desk = await Desk.ready(user)
    new = await desk.land(await desk.handed_off("task", {"x.big": "x\n"}))
    await desk.repository.mirror(PLAN, new)
    await desk.repository.publish(PLAN, "other", new)
    assert not canary.exists()


async def test_attempts_are_collected_side_by_side(desk: Desk) -> None:
    workspaces = [await desk.attempt("task", number) for number in range(1, 9)]
    found: dict[str, tuple[str, ...]] = {}

    async def collect(workspace: Workspace) -> None:
        found[workspace.path] = (await desk.collect(workspace)).changed

    async with anyio.create_task_group() as tasks:
        for number, workspace in enumerate(workspaces):
            write(Path(workspace.path), {f"{number}.txt": "x\n"})
            tasks.start_soon(collect, workspace)
    assert [found[workspace.path] for workspace in workspaces] == [(f"{number}.txt",) for number in range(8)]
    assert not (desk.user.place.repo_git / "index").exists()


async def test_an_agent_reaches_neither_the_users_repository_nor_another_attempt(desk: Desk) -> None:
    before = desk.user.root / ".git/config"
    config = before.read_text()
    one, other = await desk.attempt("one"), await desk.attempt("other")
    tree = Path(one.path)
    git(tree, "config", "user.name", "Mallory")
    git(tree, "update-ref", "refs/heads/main", commit(tree, {"x": "x\n"}))
    write(tree, {"y": "y"})
    git(tree, "stash", "-q", "-u")
    assert before.read_text() == config
    assert git(Path(other.path), "rev-parse", "main") == desk.user.ref("main") == desk.tip
    assert git(Path(other.path), "stash", "list") == ""
    assert (await desk.collect(other)).committed_by_us is False


# ---- removal ----


async def test_removing_salvages_first_then_moves_tree_and_repository_to_the_trash(desk: Desk) -> None:
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    made = commit(tree, {"committed.txt": "x\n"})
    write(tree, {"new.txt": "x\n", "big.log": "ignored, and still kept as bytes"})
    salvage = await desk.remove(workspace)
    assert not tree.exists()
    assert not Path(workspace.git_dir).exists()
    assert "new.txt" in files_of(desk, salvage[0])
    assert desk.user.ref(f"{salvage[0]}^") == made
    trash = desk.user.place.trash / "plan/task-1/1"
    assert (trash / "tree/big.log").exists()
    assert (trash / "git/objects").is_dir()
    assert await desk.again().remove(workspace) == salvage


async def test_removing_what_was_handed_off_makes_no_salvage(desk: Desk) -> None:
    workspace = await desk.attempt()
    write(Path(workspace.path), {"new.txt": "x\n", ".env": "S", "local": "prepared"})
    await desk.collect(workspace, ignore=("local",))
    assert await desk.remove(workspace, ignore=("local",)) == ()


async def test_work_done_after_the_hand_off_is_salvaged_at_removal(desk: Desk) -> None:
    workspace = await desk.attempt()
    write(Path(workspace.path), {"new.txt": "x\n"})
    await desk.collect(workspace)
    late = commit(Path(workspace.path), {"late.txt": "x\n"})
    salvage = await desk.remove(workspace)
    assert [desk.user.ref(name) for name in salvage] == [late]


async def test_removing_after_a_crash_in_the_middle_goes_on(desk: Desk) -> None:
    workspace = await desk.attempt()
    made = commit(Path(workspace.path), {"new.txt": "x\n"})
    shutil.move(workspace.path, desk.user.place.worktrees / "moved before the crash")
    salvage = await desk.remove(workspace)
    assert [desk.user.ref(name) for name in salvage] == [made]
    assert not Path(workspace.git_dir).exists()


async def test_an_earlier_attempt_of_the_same_name_is_never_overwritten(desk: Desk) -> None:
    stray = commit(desk.user.root, {"stray": "x\n"})
    git(desk.user.root, "update-ref", MINE, stray)
    git(desk.user.root, "reset", "-q", "--hard", desk.tip)
    await desk.handed_off("task", {"new.txt": "x\n"})
    assert desk.user.ref(f"{MINE}.was-{stray[:12]}") == stray


async def test_the_users_own_work_is_untouched_by_all_of_it(desk: Desk) -> None:
    root = desk.user.root
    write(root, {"src/a.txt": "my edit\n", "untracked.txt": "mine", ".env": "SECRET", "staged.txt": "staged\n"})
    git(root, "add", "staged.txt")
    before = everything_in(root), git(root, "status", "--porcelain", "--ignored"), git(root, "stash", "list")
    index = (root / ".git/index").read_bytes()
    workspace = await desk.attempt()
    write(Path(workspace.path), {"new.txt": "x\n"})
    found = await desk.collect(workspace)
    assert found.head is not None
    await desk.repository.mirror(PLAN, await desk.land(found.head))
    await desk.remove(workspace)
    assert (root / ".git/index").read_bytes() == index
    assert (everything_in(root), git(root, "status", "--porcelain", "--ignored"), git(root, "stash", "list")) == before
    assert not (root / ".git/FETCH_HEAD").exists()


# ---- what is gone, or stands in the way ----


@pytest.mark.parametrize("by", ["start", "merge"])
async def test_a_conflict_whose_tree_is_gone_is_not_settled(desk: Desk, by: str) -> None:
    head = await desk.handed_off("task", {"src/a.txt": "mine\n"})
    theirs = await desk.handed_off("other", {"src/a.txt": "theirs\n", "new.txt": "theirs\n"})
    desk.tip = theirs
    workspace = await (desk.attempt("again", start=head) if by == "start" else desk.attempt("again", merge=head))
    shutil.rmtree(workspace.path)
    found = await desk.collect(workspace)
    assert "the worktree is gone" in found.error
    assert found.head in {head, theirs}, "nothing was committed for it"
    assert not found.committed_by_us


async def test_a_repository_that_was_begun_in_a_folder_of_ours_is_seen_and_kept(desk: Desk) -> None:
    workspace = await desk.attempt()
    inner = Path(workspace.path) / "src"
    git(inner, "init", "-q")
    found = await desk.collect(workspace, keep_only=True)
    assert found.nested == ("src",)
    assert (desk.user.place.owner_dir("plan/task-1") / "nested-repositories.tar.gz").exists()


async def test_pipes_among_an_agents_own_files_hold_nobody_up(desk: Desk) -> None:
    workspace = await desk.attempt()
    git_dir = Path(workspace.git_dir)
    (git_dir / "logs/refs").mkdir(parents=True, exist_ok=True)
    for name in ("logs/refs/stash", "packed-refs", "../workspace.json"):
        (git_dir / name).unlink(missing_ok=True)
        os.mkfifo(git_dir / name)
    write(Path(workspace.path), {"src/a.txt": "new\n"})
    with anyio.fail_after(20):
        assert (await desk.collect(workspace)).changed == ("src/a.txt",)
        await desk.remove(workspace)
