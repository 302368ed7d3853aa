"""Trees and changes, looked at from outside with real git: everything is seen, and nothing is touched."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.app import looking
from orchestrator.backends import trash
from orchestrator.backends.peek import change_between, peeking
from orchestrator.model.attempt import AttemptState, Workspace
from orchestrator.model.effect import DeleteTrash
from orchestrator.model.errors import NothingError, OrchestratorError, RefusedError, UsageError
from orchestrator.model.run import TaskState
from orchestrator.model.view import Change, TreeKind
from tests.fakes.repos import PLAN, Desk, UsersRepository, commit, everything_in, git, users_repository, write
from tests.unit.cli_world import a_plan, a_task, an_attempt

pytestmark = pytest.mark.anyio

NAME = "plan/task-1"


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
    return users_repository(tmp_path / "Ordner mit ü")


@pytest.fixture
async def desk(user: UsersRepository) -> Desk:
    return await Desk.ready(user)


def seen(desk: Desk, *options: str, ignore: tuple[str, ...] = ()) -> Change:
    """The change of the attempt's worktree as it is."""
    with peeking(looking._repositories(desk.user.place), NAME, ignore=ignore) as peek:
        return change_between(peek, desk.tip, None, options)


def objects_of(desk: Desk) -> set[str]:
    return {str(path) for path in (desk.user.place.repo_git / "objects").rglob("*") if path.is_file()}


def attempt_view(workspace: Workspace, desk: Desk, **changes: Any) -> Any:
    return an_attempt("task", id=NAME, worktree=workspace.path, base=desk.tip, **changes)


# ---- diff ----


async def test_a_live_tree_is_seen_with_all_that_is_in_it_and_nothing_changes(desk: Desk) -> None:
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    commit(tree, {"committed.txt": "1\n"})
    write(tree, {"neu & grün.txt": "a\nb\n", "README.md": None, "x.log": "ignored", ".env": "SECRET"})
    (tree / "binär.bin").write_bytes(bytes(range(256)))
    (tree / "link").symlink_to("/etc/passwd")
    os.chmod(tree / "src/a.txt", 0o755)
    git(tree, "add", "binär.bin")
    admin = Path(workspace.git_dir) / "worktrees/task-1"
    before = ((admin / "index").read_bytes(), everything_in(tree), objects_of(desk), objects_in(workspace))
    change = seen(desk)
    found = {one.path: (one.status, one.added, one.deleted) for one in change.files}
    assert found == {
        "committed.txt": ("A", 1, 0),
        "neu & grün.txt": ("A", 2, 0),
        "binär.bin": ("A", None, None),
        "README.md": ("D", 0, 1),
        "link": ("A", 1, 0),
        "src/a.txt": ("M", 0, 0),
    }
    assert change.head is None
    assert "neu & grün.txt" in change.text.decode()
    assert "/etc/passwd" in change.text.decode()
    assert "root:" not in change.text.decode(), "a link is shown, not what it points at"
    assert ((admin / "index").read_bytes(), everything_in(tree), objects_of(desk), objects_in(workspace)) == before


def objects_in(workspace: Workspace) -> set[str]:
    return {str(path) for path in (Path(workspace.git_dir) / "objects").rglob("*")}


async def test_a_patch_with_binary_files_can_be_applied(desk: Desk, tmp_path: Path) -> None:
    workspace = await desk.attempt()
    content = bytes(range(256)) * 3
    (Path(workspace.path) / "b.bin").write_bytes(content)
    (tmp_path / "patch").write_bytes(seen(desk, "--binary").text)
    git(desk.user.root, "apply", str(tmp_path / "patch"))
    assert (desk.user.root / "b.bin").read_bytes() == content


async def test_nothing_that_an_agent_configured_is_run(desk: Desk, tmp_path: Path) -> None:
    workspace = await desk.attempt()
    tree, witness = Path(workspace.path), tmp_path / "witness"
    for name, value in {
        "diff.external": f"touch {witness}",
        "core.fsmonitor": f"touch {witness}",
        "filter.bad.clean": f"touch {witness}; cat",
        "diff.bad.textconv": f"touch {witness}; cat",
    }.items():
        git(tree, "config", name, value)
    write(tree, {".gitattributes": "* filter=bad diff=bad\n", "new.txt": "x\n"})
    assert {one.path for one in seen(desk).files} == {".gitattributes", "new.txt"}
    assert not witness.exists()


async def test_a_submodule_is_told_by_its_commit(tmp_path: Path, user: UsersRepository) -> None:
    library = users_repository(tmp_path / "library")
    git(user.root, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library.root), "lib")
    git(user.root, "commit", "-qm", "lib")
    desk = await Desk.ready(user)
    workspace = await desk.attempt()
    assert seen(desk).files == ()
    for name, value in (("user.name", "An Agent"), ("user.email", "agent@example.org")):
        git(Path(workspace.path) / "lib", "config", name, value)
    moved = commit(Path(workspace.path) / "lib", {"more.txt": "x\n"})
    change = seen(desk)
    assert [(one.path, one.status) for one in change.files] == [("lib", "M")]
    assert moved in change.text.decode()


async def test_what_prepare_put_there_is_no_change(desk: Desk) -> None:
    workspace = await desk.attempt()
    write(Path(workspace.path), {"node_modules/x.js": "x", "mine.txt": "y\n"})
    assert {one.path for one in seen(desk, ignore=("node_modules",)).files} == {"mine.txt"}


async def test_a_landed_task_shows_what_it_brought_and_nothing_of_the_rest(desk: Desk) -> None:
    await desk.land(await desk.handed_off("other", {"other.txt": "x\n"}))
    landed = await desk.land(await desk.handed_off("task", {"mine.txt": "x\n"}))
    task = a_task("task", TaskState.LANDED, landed_commit=landed)
    change = looking.change_of(desk.user.place, a_plan("plan"), task, None, ())
    assert [one.path for one in change.files] == ["mine.txt"]
    assert change.head == landed


@pytest.mark.parametrize("tree_is_there", [True, False])
async def test_a_failed_attempt_shows_what_it_left_uncommitted_too(desk: Desk, tree_is_there: bool) -> None:
    workspace = await desk.attempt()
    commit(Path(workspace.path), {"one.txt": "1\n"})
    write(Path(workspace.path), {"two.txt": "2\n"})
    found = await desk.collect(workspace, keep_only=True)
    if not tree_is_there:
        await desk.remove(workspace)
    ended = attempt_view(
        workspace,
        desk,
        state=AttemptState.ENDED,
        ending="failed",
        failure="crash",
        head=found.head,
        salvage=found.salvage,
    )
    task = a_task("task", TaskState.ESCALATED, history=(ended,))
    change = looking.change_of(desk.user.place, a_plan("plan"), task, None, ())
    assert {one.path for one in change.files} == {"one.txt", "two.txt"}


@pytest.mark.parametrize("history", [(), (an_attempt("task", state=AttemptState.PREPARING),)])
async def test_a_task_that_has_changed_nothing_yet_says_so(desk: Desk, history: Any) -> None:
    with pytest.raises(NothingError):
        looking.change_of(desk.user.place, a_plan("plan"), a_task("task", history=history), None, ())


# ---- fetch ----


async def test_a_running_attempts_commits_become_a_branch_and_it_moves_only_forward(desk: Desk) -> None:
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    with pytest.raises(NothingError, match="committed nothing yet"):
        looking.fetch_branch(desk.user.place, attempt_view(workspace, desk), "mine")
    first = commit(tree, {"one.txt": "1\n"})
    write(tree, {"two.txt": "not committed"})
    before = everything_in(tree), everything_in(desk.user.root)
    fetched = looking.fetch_branch(desk.user.place, attempt_view(workspace, desk), "mine")
    assert (fetched.commit, fetched.before) == (first, None)
    second = commit(tree, {"two.txt": "2\n"})
    assert looking.fetch_branch(desk.user.place, attempt_view(workspace, desk), "mine").before == first
    assert desk.user.ref("refs/heads/mine") == second
    assert everything_in(desk.user.root) == before[1]
    git(tree, "reset", "--hard", "-q", first)
    commit(tree, {"two.txt": "another\n"})
    with pytest.raises(RefusedError, match="commits that this work does not have"):
        looking.fetch_branch(desk.user.place, attempt_view(workspace, desk), "mine")
    assert desk.user.ref("refs/heads/mine") == second


@pytest.mark.parametrize(
    ("agent", "why"),
    [("claude", "claude is still at work"), ("human", "a person resolves a conflict in its tree")],
)
async def test_where_nothing_is_committed_yet_it_says_who_is_at_work(desk: Desk, agent: str, why: str) -> None:
    workspace = await desk.attempt()
    with pytest.raises(NothingError) as told:
        looking.fetch_branch(desk.user.place, attempt_view(workspace, desk, agent=agent), "mine")
    assert (told.value.why, told.value.fix) == (why, "`orchestrator diff task` shows what is not committed")


async def test_an_ended_attempt_is_fetched_from_what_was_kept(desk: Desk) -> None:
    workspace = await desk.attempt()
    write(Path(workspace.path), {"one.txt": "1\n"})
    head = (await desk.collect(workspace)).head
    await desk.remove(workspace)
    ended = attempt_view(workspace, desk, state=AttemptState.ENDED)
    assert looking.fetch_branch(desk.user.place, ended, f"agent/{NAME}").commit == head
    assert looking.fetch_branch(desk.user.place, ended, f"agent/{NAME}").before == head, "it is safe to repeat"


@pytest.mark.parametrize(
    ("branch", "error"),
    [
        pytest.param("main", RefusedError, id="checked out"),
        pytest.param("main/below", RefusedError, id="below a branch"),
        pytest.param("orchestrator/plan", UsageError, id="the daemon's"),
        pytest.param("two words", UsageError, id="no name for a branch"),
        pytest.param("--force", UsageError, id="looks like an option"),
        pytest.param("", UsageError, id="empty"),
    ],
)
async def test_a_branch_that_is_not_ours_to_move_is_refused(desk: Desk, branch: str, error: Any) -> None:
    workspace = await desk.attempt()
    commit(Path(workspace.path), {"one.txt": "1\n"})
    before = git(desk.user.root, "for-each-ref", "refs/heads")
    with pytest.raises(error):
        looking.fetch_branch(desk.user.place, attempt_view(workspace, desk), branch)
    assert git(desk.user.root, "for-each-ref", "refs/heads") == before


# ---- trees ----


async def test_every_tree_is_told_and_what_is_not_ours_is_marked(desk: Desk) -> None:
    workspace = await desk.attempt()
    write(Path(workspace.path), {"new.txt": "x\n"})
    gone = await desk.attempt("gone")
    await desk.remove(gone)
    await desk.attempt("old")
    worktrees = desk.user.place.worktrees
    (worktrees / "mine" / "src").mkdir(parents=True)
    (worktrees / "plan" / "stranger").mkdir()
    git(desk.user.root, "worktree", "add", "-q", str(worktrees / "feature"))
    task = a_task("task", TaskState.RUNNING, plan="plan", attempts=1, history=(attempt_view(workspace, desk),))
    found = {one.name: one for one in looking.trees(desk.user.place, [a_plan("plan")], [task])}
    kinds = {name: (one.kind, one.may_go) for name, one in found.items()}
    assert kinds == {
        "feature": (TreeKind.UNKNOWN, False),
        "mine": (TreeKind.UNKNOWN, False),
        NAME: (TreeKind.ATTEMPT, False),
        "plan/old-1": (TreeKind.ATTEMPT, True),
        "plan/stranger": (TreeKind.UNKNOWN, False),
        "plan/gone-1/1": (TreeKind.TRASH, False),
    }
    assert found[NAME].dirty == ("new.txt",)
    assert found["plan/old-1"].dirty == ()
    assert found[NAME].size_bytes > 0


async def test_a_tree_whose_uncommitted_work_was_taken_is_clean_until_it_is_changed_again(desk: Desk) -> None:
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    write(tree, {"new.txt": "x\n", "src/a.txt": "changed\n"})
    head = (await desk.collect(workspace)).head
    ended = attempt_view(workspace, desk, state=AttemptState.ENDED, ending="handed_off", head=head, agent="human")
    task = a_task("task", TaskState.LANDED, plan="plan", attempts=1, history=(ended,))

    def look() -> tuple[Any, Any]:
        view = next(one for one in looking.trees(desk.user.place, [a_plan("plan")], [task]) if one.name == NAME)
        return view.dirty, looking.tree_holds(desk.user.place, view, ()).uncommitted

    assert look() == ((), ())
    write(tree, {"new.txt": "x\ny\n"})
    assert look() == (("new.txt",), ("new.txt",))
    commit(tree, {"new.txt": "x\ny\n"})
    assert look() == ((), ())


async def test_what_a_tree_holds_is_counted(desk: Desk) -> None:
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    commit(tree, {"one.txt": "1\n"}, "the first")
    write(tree, {"one.txt": "2\n"})
    git(tree, "stash", "-q")
    git(tree, "branch", "side")
    git(tree, "checkout", "-q", "side")
    commit(tree, {"side.txt": "s\n"}, "on the side")
    git(tree, "checkout", "-q", "-")
    write(tree, {"grün.txt": "x"})
    (tree / "inside").mkdir()
    git(tree / "inside", "init", "-q")
    view = next(one for one in looking.trees(desk.user.place, [a_plan("plan")], []) if one.name == NAME)
    holds = looking.tree_holds(desk.user.place, view, ())
    assert holds.uncommitted == ("grün.txt",)
    assert [line.split(" ", 1)[1] for line in holds.commits] == ["the first"]
    assert (holds.stashes, holds.branches, holds.nested) == (1, 1, ("inside",))


# ---- the trash ----


async def test_trash_is_deleted_and_what_its_links_point_at_is_not(desk: Desk, tmp_path: Path) -> None:
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("mine")
    (tree / "link").symlink_to(tmp_path / "precious")
    (tree / "locked").mkdir()
    (tree / "locked" / "file").write_text("x")
    os.chmod(tree / "locked", 0o500)
    await desk.remove(workspace)
    place = desk.user.place
    assert trash.entries(place) == ("plan/task-1/1",)
    assert await desk.repository.delete_trash(("plan/task-1/1",)) > 0
    assert trash.entries(place) == ()
    assert await desk.repository.delete_trash(("plan/task-1/1",)) == 0, "it is safe to repeat"
    assert (tmp_path / "precious" / "file").read_text() == "mine"
    assert git(desk.user.root, "ls-tree", "-r", "--name-only", "refs/orchestrator/plan/task-1.salvage-1")


@pytest.mark.parametrize(
    "entry", ["../..", "plan/../1", "plan/task-1", "/etc/x/y", "a/b/c/d", "", "a//b", "plan/link/1"]
)
async def test_nothing_outside_of_the_trash_is_ever_deleted(desk: Desk, tmp_path: Path, entry: str) -> None:
    outside = tmp_path / "outside" / "1"
    outside.mkdir(parents=True)
    (outside / "file").write_text("mine")
    (desk.user.place.trash / "plan").mkdir(parents=True)
    (desk.user.place.trash / "plan" / "link").symlink_to(outside.parent)
    before = everything_in(desk.user.root)
    if entry == "plan/link/1":
        assert await desk.repository.delete_trash((entry,)) == 0
    else:
        with pytest.raises(OrchestratorError):
            await desk.repository.delete_trash((entry,))
    assert (outside / "file").read_text() == "mine"
    assert everything_in(desk.user.root) == before


async def test_trash_of_another_repository_in_the_same_folder_is_not_ours(desk: Desk, tmp_path: Path) -> None:
    other = users_repository(tmp_path / "other")
    place = replace(other.place, worktrees=desk.user.place.worktrees)
    theirs = await Desk.ready(UsersRepository(root=other.root, place=place))
    await theirs.remove(await theirs.attempt("theirs"))
    await desk.remove(await desk.attempt("mine"))
    assert trash.entries(desk.user.place) == ("plan/mine-1/1",)
    assert await desk.repository.delete_trash(("plan/theirs-1/1",)) == 0
    assert trash.entries(place) == ("plan/theirs-1/1",)


async def test_a_tree_that_was_to_be_used_again_is_deleted_as_a_whole(desk: Desk) -> None:
    workspace = await desk.attempt()
    head = (await desk.collect(workspace)).head
    assert head is not None
    await desk.repository.remove(PLAN, desk.id_of(workspace), landed=True, ignore=())
    (spare,) = desk.user.place.spares.iterdir()
    found = looking.trees(desk.user.place, [a_plan("plan")], [])
    assert (".spare/attempt-1", TreeKind.SPARE, False) in [(one.name, one.kind, one.may_go) for one in found]
    (desk.user.place.trash / "spares").mkdir(parents=True, exist_ok=True)
    spare.rename(desk.user.place.trash / "spares" / "attempt-1")
    assert "spares/attempt-1" in trash.entries(desk.user.place)
    assert await desk.repository.delete_trash(trash.entries(desk.user.place)) > 0
    assert not any(desk.user.place.trash.rglob("*"))


@pytest.mark.parametrize("left", ["spare.json", "tree", "nothing"])
async def test_what_a_deletion_that_was_cut_off_left_is_found_again(desk: Desk, left: str) -> None:
    workspace = await desk.attempt()
    await desk.collect(workspace)
    await desk.repository.remove(PLAN, desk.id_of(workspace), landed=True, ignore=())
    half = desk.user.place.trash / "spares" / "taken-attempt-1"
    half.parent.mkdir(parents=True, exist_ok=True)
    (desk.user.place.spares / "attempt-1").rename(half)
    for path in sorted(half.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        elif path.name != left:
            path.unlink()
    if left == "tree":
        (half / "tree").mkdir()
    assert "spares/taken-attempt-1" in trash.entries(desk.user.place)
    await desk.repository.delete_trash(trash.entries(desk.user.place))
    assert not any(desk.user.place.trash.rglob("*"))


def test_two_deletions_asked_for_at_one_place_of_the_ledger_are_two() -> None:
    keys = {DeleteTrash(entries=entries, asked=7).key for entries in (("plan/a-1/1",), ("plan/b-1/1",))}
    assert len(keys) == 2


async def test_a_tree_that_waits_to_be_used_again_can_be_freed_unless_it_is_being_taken(
    desk: Desk, tmp_path: Path
) -> None:
    for workspace in [await desk.attempt("one"), await desk.attempt("two")]:
        await desk.collect(workspace)
        await desk.repository.remove(PLAN, desk.id_of(workspace), landed=True, ignore=())
    place = desk.user.place
    assert sorted(path.name for path in place.spares.iterdir()) == ["attempt-1", "attempt-2"]
    (place.spares / "attempt-1").rename(place.spares / ".taken-attempt-1")
    (place.spares / "attempt-2/tree/src").chmod(0o500)
    (tmp_path / "outside").mkdir()
    (place.spares / "attempt-9").symlink_to(tmp_path / "outside")
    wanted = (".spare/attempt-9", ".spare/.taken-attempt-1", ".spare/../plan", ".spare/attempt-1", ".spare/attempt-2")
    assert await desk.repository.delete_trash(wanted) > 0
    assert {path.name for path in place.spares.iterdir()} == {".taken-attempt-1", "attempt-9"}
    assert (tmp_path / "outside").is_dir()
    assert await desk.repository.delete_trash(wanted) == 0, "it is safe to repeat"


# ---- programs ----


def test_a_program_of_the_person_gets_its_folder_its_variables_and_its_input(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = looking.run_here(
        ["sh", "-c", f'pwd >"{out}"; echo "$ORCHESTRATOR_TASK" >>"{out}"; cat >>"{out}"; exit 7'],
        cwd=str(tmp_path),
        environ={"ORCHESTRATOR_TASK": "api"},
        stdin=b"read\n",
    )
    assert (code, out.read_text()) == (7, f"{tmp_path}\napi\nread\n")
    assert looking.run_here(["sh", "-c", "exec 0<&-"], stdin=b"x" * 1_000_000) == 0, "it need not read to the end"
    with pytest.raises(OrchestratorError, match="cannot be started"):
        looking.run_here(["/nowhere/editor"])
