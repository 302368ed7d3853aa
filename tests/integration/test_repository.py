"""The user's repository looked at, `repo.git` made, attempts' trees made, candidates merged and landed. Real git."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import anyio
import pytest

from orchestrator.backends.gitrun import strip_git_environment
from orchestrator.backends.repository import GitRepository
from orchestrator.core.gitformats import case_clashes
from orchestrator.model.errors import OrchestratorError, RepositoryError
from orchestrator.model.ids import CandidateId, Commit, TaskId, attempt_id
from orchestrator.ports import Conflict, Merged, Moved
from tests.fakes.repos import (
    AT,
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

ODD_NAMES = {
    "with space/ü – 日本.txt": "x\n",
    "new\nline.txt": "x\n",
    "-dash": "x\n",
    ":colon": "x\n",
    "byte\udcff": "x\n",
}


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
    return users_repository(tmp_path / "my repo")


@pytest.fixture
async def desk(user: UsersRepository) -> Desk:
    return await Desk.ready(user)


def refused_fix(error: OrchestratorError) -> bool:
    return bool(error.message and error.fix)


# ---- a look ----


async def test_facts_tell_the_files_folders_and_branches_of_the_target(user: UsersRepository) -> None:
    git(user.root, "branch", "feature/x")
    facts = await GitRepository(user.place).facts(None)
    assert (facts.current_branch, facts.target) == ("main", "main")
    assert facts.target_commit == user.ref("main")
    assert facts.branches == {"main", "feature/x"}
    assert facts.files == {"README.md", "src/a.txt", ".gitignore"}
    assert facts.directories == {"src"}
    assert not user.place.state_dir.exists(), "a look makes nothing"


async def test_facts_of_a_detached_checkout_name_no_branch(user: UsersRepository) -> None:
    git(user.root, "checkout", "-q", "--detach")
    facts = await GitRepository(user.place).facts(None)
    assert (facts.current_branch, facts.target, facts.target_commit) == (None, "", None)
    assert (await GitRepository(user.place).facts("main")).target_commit == user.ref("main")


async def test_facts_of_an_empty_repository_know_its_branch_and_no_commit(tmp_path: Path) -> None:
    root = tmp_path / "empty"
    root.mkdir()
    git(root, "init", "-q", "-b", "trunk")
    facts = await GitRepository(place_for(root, root / ".git")).facts(None)
    assert (facts.current_branch, facts.target_commit, facts.files) == ("trunk", None, frozenset())


async def test_facts_of_a_bare_repository_say_so(user: UsersRepository, tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(user.root), str(bare))
    facts = await GitRepository(place_for(bare, bare)).facts("main")
    assert facts.is_bare
    assert facts.target_commit == user.ref("main")


async def test_facts_from_a_linked_worktree_tell_its_own_branch(user: UsersRepository, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    git(user.root, "worktree", "add", "-q", "-b", "side", str(linked))
    facts = await GitRepository(place_for(linked, user.root / ".git")).facts(None)
    assert (facts.current_branch, facts.is_bare) == ("side", False)


async def test_facts_of_a_shallow_clone_say_so(user: UsersRepository, tmp_path: Path) -> None:
    commit(user.root, {"b": "b\n"})
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{user.root}", str(shallow))
    assert (await GitRepository(place_for(shallow, shallow / ".git")).facts(None)).is_shallow


@pytest.mark.parametrize("name", ["main~0", "main@{0}", "-x", "no such", "HEAD", "refs/heads/main", "..", ""])
async def test_a_target_is_a_branch_and_not_an_expression(user: UsersRepository, name: str) -> None:
    assert (await GitRepository(user.place).facts(name)).target_commit is None


async def test_the_users_effective_configuration_is_taken_over_by_the_allow_list(
    user: UsersRepository, tmp_path: Path
) -> None:
    excludes = tmp_path / "home" / "my excludes"
    excludes.write_text("*.swp\n")
    (tmp_path / "home" / ".gitconfig").write_text(
        "[user]\n\tname = Globally\n[core]\n\tautocrlf = input\n\teditor = false\n\texcludesFile = ~/my excludes\n"
        '[filter "x"]\n\tclean = cat\n[alias]\n\tst = status\n'
    )
    git(user.root, "config", "--unset", "user.name")
    (user.root / ".git/info/exclude").write_text("secret-notes\n")
    desk = await Desk.ready(user)
    assert desk.repository.identity()["GIT_AUTHOR_NAME"] == "Globally"
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    taken = git(tree, "config", "--file", f"{workspace.git_dir}/config", "--list").splitlines()
    assert "core.autocrlf=input" in taken
    assert "filter.x.clean=cat" in taken
    assert not [line for line in taken if line.startswith(("alias.", "core.editor"))]
    write(tree, {"a.swp": "x", "secret-notes": "x", "b.txt": "x"})
    (tmp_path / "home" / ".gitconfig").unlink()
    assert git(tree, "status", "--porcelain") == "?? b.txt"


async def test_a_user_without_identity_is_reported(user: UsersRepository) -> None:
    for key in ("user.name", "user.email"):
        git(user.root, "config", "--unset", key)
    git(user.root, "config", "user.useConfigOnly", "true")
    assert not (await GitRepository(user.place, inherited={}).facts(None)).has_identity
    theirs = {"GIT_AUTHOR_NAME": "Env", "GIT_AUTHOR_EMAIL": "env@example.org"}
    assert (await GitRepository(user.place, inherited=theirs).facts(None)).has_identity


async def test_git_variables_of_the_surroundings_lead_nowhere(
    user: UsersRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = users_repository(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(other.root / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other.root))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "stolen"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(tmp_path / "stolen"))
    before = everything_in(other.root / ".git")
    desk = await Desk.ready(user)
    await desk.land(await desk.handed_off("task", {"new": "x\n"}))
    assert everything_in(other.root / ".git") == before
    assert not (tmp_path / "stolen").exists()
    assert strip_git_environment() == {}
    assert not [name for name in os.environ if name.startswith("GIT_")]


# ---- repo.git ----


async def test_opening_twice_and_after_a_half_made_clone_gives_the_same_repository(user: UsersRepository) -> None:
    half = user.place.state_dir / "repo.git.new"
    half.mkdir(parents=True)
    (half / "HEAD").write_text("rubbish")
    repository = GitRepository(user.place)
    await repository.open()
    (user.place.repo_git / "refs/heads/main.lock").write_text("")
    await GitRepository(user.place).open()
    assert user.ours("rev-parse", "main") == user.ref("main")
    assert not list(user.place.repo_git.rglob("*.lock"))
    assert user.ours("remote") == ""
    assert user.ours("config", "core.fsync") == "all"
    assert not half.exists()


async def test_a_lock_in_the_users_repository_is_left_alone(user: UsersRepository) -> None:
    lock = user.root / ".git/refs/heads/other.lock"
    lock.write_text("")
    ours = user.root / ".git/refs/orchestrator/p/a-1.lock"
    ours.parent.mkdir(parents=True)
    ours.write_text("")
    branch = user.root / ".git/refs/heads/orchestrator/p.lock"
    branch.parent.mkdir(parents=True)
    branch.write_text("")
    await Desk.ready(user)
    assert lock.exists()
    assert not branch.exists()
    assert not ours.exists(), "what a killed git left on a reference of ours would keep work from being shown for ever"


async def test_a_clone_that_borrows_its_objects_can_be_opened(user: UsersRepository, tmp_path: Path) -> None:
    borrower = tmp_path / "borrower"
    git(tmp_path, "clone", "-q", "--shared", str(user.root), str(borrower))
    git(borrower, "config", "user.name", "B")
    git(borrower, "config", "user.email", "b@example.org")
    desk = await Desk.ready(UsersRepository(root=borrower, place=place_for(borrower, borrower / ".git")))
    landed = await desk.land(await desk.handed_off("task", {"new": "x\n"}))
    assert await desk.repository.publish(PLAN, "main", landed) is None
    git(borrower, "fsck", "--strict")


async def test_an_object_folder_that_is_a_link_can_be_opened(user: UsersRepository, tmp_path: Path) -> None:
    (user.root / ".git/objects").rename(tmp_path / "objects")
    (user.root / ".git/objects").symlink_to(tmp_path / "objects")
    desk = await Desk.ready(user)
    assert desk.tip == user.ref("main")


async def test_a_git_that_is_too_old_is_refused_in_one_line(
    user: UsersRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "bin" / "git"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho git version 2.30.2\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{old.parent}:{os.environ['PATH']}")
    with pytest.raises(RepositoryError, match="too old") as caught:
        await GitRepository(user.place).open()
    assert refused_fix(caught.value)


async def test_the_target_comes_in_with_its_objects_when_it_moves(desk: Desk) -> None:
    new = commit(desk.user.root, {"later": "x\n"})
    assert await desk.repository.target_commit("main") == new
    assert await desk.repository.contains(Commit(new), desk.tip)
    assert not await desk.repository.contains(desk.tip, Commit(new))
    with pytest.raises(RepositoryError, match="there is no branch 'nope'") as caught:
        await desk.repository.target_commit("nope")
    assert refused_fix(caught.value)


async def test_a_branch_that_became_a_folder_of_branches_stands_in_nobodys_way(desk: Desk) -> None:
    git(desk.user.root, "branch", "topic")
    await desk.again().repository.open()
    git(desk.user.root, "branch", "-D", "topic")
    git(desk.user.root, "branch", "topic/one")
    assert await desk.repository.target_commit("topic/one") == desk.tip


# ---- the plan's branch ----


async def test_a_new_run_begins_at_the_target_and_keeps_the_old_tip(desk: Desk) -> None:
    old = await desk.land(await desk.handed_off("task", {"unpublished": "x\n"}))
    target = commit(desk.user.root, {"later": "x\n"})
    assert await desk.repository.begin_branch(PLAN, 2, "main") == (target, target)
    assert desk.user.ours("rev-parse", "refs/orchestrator/plans/plan") == target
    for ref in (desk.user.ref, lambda name: desk.user.ours("rev-parse", name)):
        assert ref("refs/orchestrator/old/plan/2") == old
    desk.tip = Commit(target)
    moved = await desk.land(await desk.handed_off("other", {"more": "x\n"}))
    assert await desk.again().repository.begin_branch(PLAN, 2, "main") == (target, target)
    assert desk.user.ours("rev-parse", "refs/orchestrator/plans/plan") == moved, "a repeat moves nothing that landed"


async def test_a_published_tip_needs_no_keeping(desk: Desk) -> None:
    landed = await desk.land(await desk.handed_off("task", {"done": "x\n"}))
    assert await desk.repository.publish(PLAN, "main", landed) is None
    assert await desk.repository.begin_branch(PLAN, 2, "main") == (landed, landed)
    assert desk.user.ref("refs/orchestrator/old/plan/2") == ""


@pytest.mark.parametrize("old_kept", [False, True], ids=["killed at once", "killed after the old tip was kept"])
async def test_beginning_goes_on_after_a_crash_before_the_branch_moved(desk: Desk, old_kept: bool) -> None:
    old = await desk.land(await desk.handed_off("task", {"unpublished": "x\n"}))
    target = desk.user.ref("main")
    if old_kept:
        desk.user.ours("update-ref", "refs/orchestrator/old/plan/2", old)
        desk.user.ours("update-ref", "refs/begun/plan/2", target)
    assert await desk.repository.begin_branch(PLAN, 2, "main") == (target, target)
    assert desk.user.ours("rev-parse", "refs/orchestrator/plans/plan") == target
    assert desk.user.ref("refs/orchestrator/old/plan/2") == old


# ---- workspaces ----


async def test_a_workspace_is_a_repository_of_its_own_on_its_own_branch(desk: Desk) -> None:
    git(desk.user.root, "tag", "v1")
    git(desk.user.root, "update-ref", "refs/remotes/origin/main", "HEAD")
    await desk.repository.open()
    workspace = await desk.attempt("db-schema", 2)
    tree = Path(workspace.path)
    assert workspace.branch == "refs/heads/agent/plan/db-schema-2"
    assert git(tree, "symbolic-ref", "HEAD") == workspace.branch
    assert git(tree, "rev-parse", "HEAD", "main", "v1", "origin/main").split() == [desk.tip] * 4
    assert git(tree, "status", "--porcelain") == git(tree, "remote") == ""
    assert git(tree, "rev-parse", "--git-common-dir") == workspace.git_dir
    git(tree, "tag", "mine")
    git(tree, "branch", "-f", "main", "HEAD")
    git(tree, "config", "core.fsmonitor", "false")
    git(tree, "gc", "-q", "--prune=now")
    assert desk.user.ref("mine") == desk.user.ours("tag", "-l", "mine") == ""
    git(tree, "fsck", "--strict")


async def test_a_finished_workspace_is_answered_as_it_is(desk: Desk) -> None:
    workspace = await desk.attempt()
    write(Path(workspace.path), {"begun": "x"})
    assert await desk.again().attempt() == workspace
    assert (Path(workspace.path) / "begun").exists()


@pytest.mark.parametrize("missing", ["marker", "tree", "other tip"])
async def test_a_half_made_workspace_goes_to_the_trash_and_is_made_again(desk: Desk, missing: str) -> None:
    workspace = await desk.attempt()
    tree, git_dir = Path(workspace.path), Path(workspace.git_dir)
    write(tree, {"left": "behind"})
    if missing == "marker":
        git_dir.with_name("workspace.json").unlink()
    elif missing == "tree":
        shutil.rmtree(tree)
    else:
        desk.tip = await desk.land(await desk.handed_off("other", {"landed": "x\n"}))
    assert await desk.attempt() == workspace
    assert git(tree, "status", "--porcelain") == ""
    assert git(tree, "rev-parse", "HEAD") == desk.tip
    trashed = [path.name for path in desk.user.place.trash.rglob("*")]
    assert ("left" in trashed) == (missing != "tree")
    assert "git" in trashed


async def test_sixteen_workspaces_are_made_at_once(desk: Desk) -> None:
    made = []

    async def make(number: int) -> None:
        made.append(await desk.attempt("task", number))

    async with anyio.create_task_group() as tasks:
        for number in range(1, 17):
            tasks.start_soon(make, number)
    assert len({workspace.path for workspace in made}) == 16
    for workspace in made:
        assert git(Path(workspace.path), "status", "--porcelain") == ""


async def test_odd_names_survive_the_whole_way(tmp_path: Path) -> None:
    user = users_repository(tmp_path / "ünï\ncode repo", {**ODD_NAMES, "keep": "x\n"})
    desk = await Desk.ready(user)
    facts = await desk.repository.facts(None)
    assert {"new\nline.txt", "-dash", ":colon", "byte\\xff", "with space/ü – 日本.txt"} < facts.files
    workspace = await desk.attempt()
    changed = dict.fromkeys(ODD_NAMES, "changed\n") | {'more\n"quoted" *?[x]': "x\n"}
    write(Path(workspace.path), changed)
    found = await desk.collect(workspace)
    assert found.error == ""
    assert {"new\nline.txt", "-dash", ":colon", "byte\\xff", 'more\n"quoted" *?[x]'} < set(found.changed)
    "\n".join(found.changed).encode()  # fit for the ledger
    assert found.head is not None
    landed = await desk.land(found.head)
    assert await desk.repository.publish(PLAN, "main", landed) is None
    assert git(user.root, "status", "--porcelain") == ""
    assert (user.root / "new\nline.txt").read_text() == "changed\n"


async def test_submodules_are_filled_from_what_the_user_has(user: UsersRepository, tmp_path: Path) -> None:
    library = users_repository(tmp_path / "library", {"lib.txt": "lib\n"})
    local = ("-c", "protocol.file.allow=always")
    git(user.root, *local, "submodule", "--quiet", "add", str(library.root), "vendor/lib")
    git(user.root, "commit", "-qm", "with a library")
    shutil.rmtree(library.root)
    desk = await Desk.ready(user)
    assert "vendor/lib" in (await desk.repository.facts(None)).submodules
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    assert (tree / "vendor/lib/lib.txt").read_text() == "lib\n"
    assert git(tree, "status", "--porcelain") == ""
    assert (await desk.collect(workspace)).changed == ()


async def test_a_submodule_that_the_user_has_not_fetched_stays_empty(user: UsersRepository, tmp_path: Path) -> None:
    tip = user.ref("main")
    write(user.root, {".gitmodules": '[submodule "far"]\n\tpath = far\n\turl = https://nowhere.invalid/x.git\n'})
    git(user.root, "add", ".gitmodules")
    git(user.root, "update-index", "--add", "--cacheinfo", f"160000,{tip},far")
    git(user.root, "commit", "-qm", "far")
    desk = await Desk.ready(user)
    workspace = await desk.attempt()
    assert list((Path(workspace.path) / "far").iterdir()) == []
    assert (await desk.collect(workspace)).changed == ()


# ---- going on ----


async def two_sides(desk: Desk, mine: dict[str, str | None], theirs: dict[str, str | None]) -> Commit:
    """A head that changed `mine`, and a plan's branch that meanwhile got `theirs`."""
    head = await desk.handed_off("mine", mine)
    await desk.land(await desk.handed_off("theirs", theirs))
    return head


@pytest.mark.parametrize("how", ["start", "merge"])
async def test_a_conflict_goes_back_with_markers_and_is_concluded_by_us(desk: Desk, how: str) -> None:
    head = await two_sides(desk, {"src/a.txt": "mine\n"}, {"src/a.txt": "theirs\n"})
    workspace = await desk.attempt("again", start=head) if how == "start" else await desk.attempt("again", merge=head)
    tree = Path(workspace.path)
    assert "<<<<<<<" in (tree / "src/a.txt").read_text()
    assert git(tree, "rev-parse", "MERGE_HEAD") == (desk.tip if how == "start" else head)
    assert f">>>>>>> {'orchestrator/plan' if how == 'start' else head}" in (tree / "src/a.txt").read_text()
    still = await desk.collect(workspace, base=desk.tip)
    assert still.unfinished_merge == ("src/a.txt",)
    assert not still.committed_by_us
    assert still.salvage == ("refs/orchestrator/plan/again-1.salvage-1",)
    write(tree, {"src/a.txt": "both\n"})
    done = await desk.collect(workspace, base=desk.tip)
    assert (done.unfinished_merge, done.descends, done.committed_by_us) == ((), True, True)
    assert done.changed == ("src/a.txt",)
    assert done.head is not None
    parents = desk.user.ours("log", "-1", "--format=%P", done.head).split()
    assert set(parents) == {head, desk.tip}
    assert isinstance(await desk.merged(done.head), Merged)


@pytest.mark.parametrize("tagged", [False, True], ids=["a branch", "a tag of the same name"])
async def test_a_conflict_with_the_target_is_marked_with_its_name(desk: Desk, tagged: bool) -> None:
    await desk.land(await desk.handed_off("mine", {"src/a.txt": "mine\n"}))
    theirs = commit(desk.user.root, {"src/a.txt": "theirs\n"})
    if tagged:
        git(desk.user.root, "tag", "main", f"{theirs}^")
    await desk.repository.target_commit("main")
    tree = Path((await desk.attempt("again", merge=theirs)).path)
    assert git(tree, "rev-parse", "MERGE_HEAD") == theirs
    assert f">>>>>>> {theirs if tagged else 'main'}" in (tree / "src/a.txt").read_text()


async def test_a_clean_merge_is_left_uncommitted_and_judged_against_the_tip(desk: Desk) -> None:
    head = await two_sides(desk, {"mine.txt": "mine\n"}, {"theirs.txt": "theirs\n"})
    workspace = await desk.attempt("again", start=head)
    assert git(Path(workspace.path), "rev-parse", "MERGE_HEAD") == desk.tip
    found = await desk.collect(workspace, base=desk.tip)
    assert (found.descends, found.changed, found.committed_by_us) == (True, ("mine.txt",), True)


async def test_there_is_nothing_to_merge_when_the_start_has_the_tip(desk: Desk) -> None:
    head = await desk.handed_off("mine", {"mine.txt": "x\n"})
    workspace = await desk.attempt("again", start=head)
    assert git(Path(workspace.path), "rev-parse", "--verify", "-q", "MERGE_HEAD", ok=False) == ""
    assert (await desk.collect(workspace)).head == head


async def test_markers_that_the_agent_committed_are_found(desk: Desk) -> None:
    head = await two_sides(desk, {"src/a.txt": "mine\n"}, {"src/a.txt": "theirs\n"})
    workspace = await desk.attempt("again", start=head)
    commit(Path(workspace.path), {}, "done, I think")
    assert (await desk.collect(workspace, base=desk.tip)).unfinished_merge == ("src/a.txt",)


async def test_a_deletion_that_nobody_settled_is_an_unfinished_merge(desk: Desk) -> None:
    head = await two_sides(desk, {"src/a.txt": None}, {"src/a.txt": "theirs\n"})
    workspace = await desk.attempt("again", start=head)
    assert (await desk.collect(workspace, base=desk.tip)).unfinished_merge == ("src/a.txt",)
    git(Path(workspace.path), "rm", "-q", "src/a.txt")
    done = await desk.collect(workspace, base=desk.tip)
    assert (done.unfinished_merge, done.changed) == ((), ("src/a.txt",))


# ---- candidates ----


async def test_a_candidate_has_both_parents_the_users_name_and_always_the_same_id(desk: Desk) -> None:
    head = await desk.handed_off("task", {"new.txt": "x\n"})
    first, second = await desk.merged(head), await desk.again().merged(head)
    assert isinstance(first, Merged)
    assert first == second
    told = desk.user.ours("log", "-1", "--format=%P|%an|%ce|%at|%B", first.commit)
    assert told.startswith(f"{desk.tip} {head}|Ada Löve|ada@example.org|{int(AT.timestamp())}|merge it\n\nTask: task")
    assert desk.user.ours("rev-parse", f"{first.commit}^{{tree}}") == first.tree


CONFLICTS = [
    pytest.param({"src/a.txt": "mine\n"}, {"src/a.txt": "theirs\n"}, "src/a.txt", "<<<<<<<", id="same lines"),
    pytest.param({"src/a.txt": None}, {"src/a.txt": "theirs\n"}, "src/a.txt", "deleted", id="deleted and changed"),
    pytest.param({"n.txt": "mine\n"}, {"n.txt": "theirs\n"}, "n.txt", "theirs", id="both added"),
    pytest.param({"d/x": "f\n"}, {"d": "a file\n"}, "d", "directory", id="file and folder"),
    pytest.param({"n.bin": "\0mine"}, {"n.bin": "\0theirs"}, "n.bin", "binary", id="binary"),
    pytest.param({"Docs.md": "x\n"}, {"docs.md": "y\n"}, "docs.md", "letter case", id="differ by case"),
    pytest.param({"Straße": "x\n"}, {"STRASSE/x": "y\n"}, "Straße", "letter case", id="file and folder by case"),
]


@pytest.mark.parametrize(("mine", "theirs", "path", "word"), CONFLICTS)
async def test_sides_that_cannot_be_merged_are_a_conflict_with_both_shown(
    desk: Desk, mine: dict[str, str | None], theirs: dict[str, str | None], path: str, word: str
) -> None:
    head = await two_sides(desk, mine, theirs)
    conflict = await desk.merged(head)
    assert isinstance(conflict, Conflict)
    assert any(told == path or told.startswith(f"{path}~") for told in conflict.paths), conflict.paths
    assert word in conflict.detail


async def test_names_that_already_differed_only_by_case_are_the_users_business(tmp_path: Path) -> None:
    desk = await Desk.ready(users_repository(tmp_path / "r", {"Docs.md": "x\n", "docs.md": "y\n"}))
    assert isinstance(await desk.merged(await desk.handed_off("task", {"new": "x\n", "docs.md": "z\n"})), Merged)
    assert case_clashes(["A/b"], ["A/b", "a/c"]) == (("A/b", "a"),)


async def test_a_union_merge_of_the_base_is_honoured_below_its_folder(tmp_path: Path) -> None:
    files = {"log/.gitattributes": "*.txt merge=union\n", "log/changes.txt": "first\n"}
    desk = await Desk.ready(users_repository(tmp_path / "r", files))
    head = await two_sides(desk, {"log/changes.txt": "first\nmine\n"}, {"log/changes.txt": "first\ntheirs\n"})
    merged = await desk.merged(head)
    assert isinstance(merged, Merged)
    assert desk.user.ours("show", f"{merged.commit}:log/changes.txt").splitlines()[0] == "first"


async def test_a_diamond_of_tasks_lands_one_commit_each_in_order(desk: Desk) -> None:
    base = desk.tip
    await desk.land(await desk.handed_off("root", {"root": "x\n"}))
    left, right = await desk.handed_off("left", {"l": "x\n"}), await desk.handed_off("right", {"r": "x\n"})
    for head in (left, right):
        await desk.land(head)
    last = await desk.land(await desk.handed_off("join", {"j": "x\n"}))
    line = desk.user.ours("rev-list", "--first-parent", "--count", f"{base}..{last}")
    assert line == "4"
    assert desk.user.ours("ls-tree", "-r", "--name-only", last).split() == [
        ".gitignore", "README.md", "j", "l", "r", "root", "src/a.txt",
    ]  # fmt: skip


async def test_histories_with_nothing_in_common_are_a_conflict(desk: Desk) -> None:
    tree = desk.user.ours("rev-parse", "main^{tree}")
    stray = git(desk.user.place.repo_git, "-c", "user.name=x", "-c", "user.email=x@x", "commit-tree", tree, "-m", "x")
    conflict = await desk.merged(Commit(stray))
    assert isinstance(conflict, Conflict)
    assert "no commit in common" in conflict.detail


async def test_a_candidate_is_checked_out_afresh_and_detached(desk: Desk) -> None:
    merged = await desk.merged(await desk.handed_off("task", {"new.txt": "x\n"}))
    assert isinstance(merged, Merged)
    candidate = CandidateId("plan/~1")
    for _ in range(2):
        workspace = await desk.repository.checkout(candidate, merged.commit)
        tree = Path(workspace.path)
        assert git(tree, "rev-parse", "HEAD") == merged.commit
        assert git(tree, "symbolic-ref", "-q", "HEAD", ok=False) == workspace.branch == ""
        assert git(tree, "status", "--porcelain", "--ignored") == ""
        write(tree, {"built.log": "left by a check"})
    assert await desk.repository.remove(PLAN, candidate, landed=True, ignore=()) == ()
    assert not tree.exists()
    assert not Path(workspace.git_dir).exists()


async def test_landing_is_a_compare_and_swap_that_can_be_repeated(desk: Desk) -> None:
    first = await desk.merged(await desk.handed_off("one", {"one": "x\n"}))
    second = await desk.merged(await desk.handed_off("two", {"two": "x\n"}))
    assert isinstance(first, Merged)
    assert isinstance(second, Merged)
    old = desk.tip
    assert await desk.repository.land(PLAN, first.commit, old) is None
    assert await desk.again().repository.land(PLAN, first.commit, old) is None
    assert await desk.repository.land(PLAN, second.commit, old) == Moved(actual=first.commit)
    assert desk.user.ours("rev-parse", "refs/orchestrator/plans/plan") == first.commit


async def test_a_ref_lock_held_for_a_moment_is_waited_for(desk: Desk) -> None:
    merged = await desk.merged(await desk.handed_off("one", {"one": "x\n"}))
    assert isinstance(merged, Merged)
    lock = desk.user.place.repo_git / "refs/orchestrator/plans/plan.lock"
    lock.write_text("")

    async def release() -> None:
        await anyio.sleep(0.3)
        lock.unlink()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(release)
        assert await desk.repository.land(PLAN, merged.commit, desk.tip) is None


async def test_a_repository_with_long_object_ids_works_throughout(tmp_path: Path) -> None:
    root = tmp_path / "long"
    root.mkdir()
    git(root, "init", "-q", "-b", "main", "--object-format=sha256")
    git(root, "config", "user.name", "L")
    git(root, "config", "user.email", "l@example.org")
    commit(root, {"a": "a\n"})
    desk = await Desk.ready(UsersRepository(root=root, place=place_for(root, root / ".git")))
    workspace = await desk.attempt()
    made = commit(Path(workspace.path), {"b": "b\n"})
    assert len(made) == 64
    found = await desk.collect(workspace)
    assert found.head == made, found.error
    landed = await desk.land(found.head)
    assert await desk.repository.publish(PLAN, "main", landed) is None


async def test_an_attempts_id_names_its_folder_and_branch(desk: Desk) -> None:
    workspace = await desk.attempt("a.b-c_1", 12)
    assert desk.id_of(workspace) == attempt_id(PLAN, TaskId("a.b-c_1"), 12)
