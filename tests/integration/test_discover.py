"""Every way to stand in a repository, made by git itself, and the way back from our own trees."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.discover import SOCKET_LIMIT, ensure_socket_folder, find_place, has_commit, write_place
from orchestrator.model.errors import OrchestratorError, RepositoryError
from orchestrator.model.place import Place

CLEAN = {"HOME": "/home/nobody-here"}  #: an environment that names no folder of ours


def git(folder: Path, *arguments: str) -> None:
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    command = ["git", "-c", "protocol.file.allow=always", "-C", str(folder), *arguments]
    subprocess.run(command, check=True, capture_output=True, env=environ)


def a_repository(folder: Path, *options: str) -> Path:
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main", *options)
    git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path.resolve()


@pytest.fixture
def repo(home: Path) -> Path:
    return a_repository(home / "work" / "app")


def place_of(start: Path, **environ: str) -> Place:
    return find_place(start, environ=CLEAN | environ)


# ---- where one can stand ----


def main_checkout(repo: Path) -> Path:
    return repo


def subfolder(repo: Path) -> Path:
    (repo / "src" / "deep").mkdir(parents=True)
    return repo / "src" / "deep"


def folder_that_is_gone(repo: Path) -> Path:
    return repo / "was" / "here"


def inside_the_git_folder(repo: Path) -> Path:
    return repo / ".git" / "refs" / "heads"


def linked_worktree(repo: Path) -> Path:
    git(repo, "worktree", "add", "-q", "-b", "other", "../elsewhere/other")
    return repo.parent / "elsewhere" / "other"


def subfolder_of_a_linked_worktree(repo: Path) -> Path:
    (linked_worktree(repo) / "src").mkdir()
    return repo.parent / "elsewhere" / "other" / "src"


def link_to_the_checkout(repo: Path) -> Path:
    (repo.parent / "shortcut").symlink_to(repo)
    return repo.parent / "shortcut"


def empty_folder_named_git(repo: Path) -> Path:
    (repo / "vendor" / ".git").mkdir(parents=True)
    return repo / "vendor"


def the_state_folder(repo: Path) -> Path:
    (repo / ".git" / "orchestrator" / "attempts").mkdir(parents=True)
    return repo / ".git" / "orchestrator" / "attempts"


def our_repository(repo: Path) -> Path:
    state = repo / ".git" / "orchestrator"
    git(repo, "clone", "-q", "--bare", ".", str(state / "repo.git"))
    return state / "repo.git" / "refs"


def tree_of_an_attempt(repo: Path, owner: str = "plan/task-1") -> Path:
    """As the daemon makes it: a small bare repository in the state folder, a worktree outside."""
    small = repo / ".git" / "orchestrator" / "attempts" / owner / "git"
    git(repo, "clone", "-q", "--bare", ".", str(small))
    tree = repo.parent / "app.worktrees" / owner
    git(small, "worktree", "add", "-q", "--detach", str(tree))
    (tree / "src").mkdir()
    return tree / "src"


def tree_of_a_candidate(repo: Path) -> Path:
    return tree_of_an_attempt(repo, "plan/~3")


@pytest.mark.parametrize(
    "stand",
    [
        main_checkout,
        subfolder,
        folder_that_is_gone,
        inside_the_git_folder,
        linked_worktree,
        subfolder_of_a_linked_worktree,
        link_to_the_checkout,
        empty_folder_named_git,
        the_state_folder,
        our_repository,
        tree_of_an_attempt,
        tree_of_a_candidate,
    ],
)
def test_every_way_leads_to_the_same_place(repo: Path, stand: Callable[[Path], Path]) -> None:
    place = place_of(stand(repo))
    assert place == place_of(repo)
    assert place.root == repo
    assert place.common_dir == repo / ".git"
    assert place.state_dir == repo / ".git" / "orchestrator"
    assert place.worktrees == repo.parent / "app.worktrees"


def test_a_worktree_made_by_older_git_with_paths_that_are_relative_is_found(repo: Path) -> None:
    tree = linked_worktree(repo)
    (tree / ".git").write_text("gitdir: ../../app/.git/worktrees/other\n")
    assert place_of(tree) == place_of(repo)


@pytest.mark.parametrize("where", ["", "hooks"])
def test_a_bare_repository_is_its_own_root(home: Path, repo: Path, where: str) -> None:
    git(home, "clone", "-q", "--bare", str(repo), "mirror.git")
    place = place_of(home / "mirror.git" / where)
    assert place.root == place.common_dir == home / "mirror.git"
    assert place.worktrees == home / "mirror.git.worktrees"


@pytest.mark.parametrize("name", [".bare", ".git"])
@pytest.mark.parametrize("stand", ["main", "."])
def test_a_bare_repository_with_worktrees_around_it_is_one_place(home: Path, repo: Path, name: str, stand: str) -> None:
    project = home / "project"
    project.mkdir()
    git(home, "clone", "-q", "--bare", str(repo), f"project/{name}")
    if name == ".bare":
        (project / ".git").write_text("gitdir: ./.bare\n")
    git(project / name, "worktree", "add", "-q", str(project / "main"))
    place = place_of(project / stand)
    assert place.root == place.common_dir == project / name


def test_a_submodule_is_a_repository_of_its_own_with_worktrees_outside_of_both(home: Path, repo: Path) -> None:
    library = a_repository(home / "library")
    git(repo, "submodule", "add", "-q", str(library), "libs/one")
    place = place_of(repo / "libs" / "one", XDG_DATA_HOME=str(home / "data"))
    assert place.root == repo / "libs" / "one"
    assert place.common_dir == repo / ".git" / "modules" / "libs" / "one"
    assert place.worktrees.parent == home / "data" / "orchestrator" / "worktrees"
    git(place.root, "worktree", "add", "-q", "-b", "x", str(home / "x"))
    assert place_of(home / "x", XDG_DATA_HOME=str(home / "data")) == place


def test_a_repository_whose_git_folder_is_elsewhere_is_found_from_its_checkout(home: Path) -> None:
    repo = a_repository(home / "app", "--separate-git-dir", str(home / "store.git"))
    place = place_of(repo)
    assert (place.root, place.common_dir) == (repo, home / "store.git")
    write_place(place)
    git(repo, "worktree", "add", "-q", "-b", "x", str(home / "x"))
    assert place_of(home / "x") == place  # only what was left in the state folder tells the root


# ---- where there is nothing ----


def test_outside_of_a_repository_the_error_says_what_to_do(home: Path) -> None:
    with pytest.raises(RepositoryError) as raised:
        place_of(home)
    assert str(home) in raised.value.message
    assert raised.value.why
    assert "git init" in raised.value.fix


@pytest.mark.parametrize("content", ["gitdir: /nowhere/.git/worktrees/x\n", "hello\n", "gitdir: \n", ""])
def test_a_worktree_whose_repository_is_gone_is_said_to_be_one(repo: Path, content: str) -> None:
    tree = repo / "stale"  # inside another repository, which must not be taken for it
    tree.mkdir()
    (tree / ".git").write_text(content)
    with pytest.raises(RepositoryError, match="no longer there") as raised:
        place_of(tree)
    assert "git worktree repair" in raised.value.fix


# ---- from an agent's surroundings ----


def test_the_variable_names_the_state_folder_wherever_one_stands(home: Path, repo: Path) -> None:
    assert place_of(home, ORCHESTRATOR_STATE=str(repo / ".git" / "orchestrator")) == place_of(repo)


def test_a_variable_that_names_no_state_folder_is_an_error(home: Path, repo: Path) -> None:
    with pytest.raises(RepositoryError, match="not a state folder"):
        place_of(repo, ORCHESTRATOR_STATE=str(home))


def test_a_repository_that_an_agent_makes_in_its_tree_is_not_ours(repo: Path) -> None:
    tree = tree_of_an_attempt(repo)
    inner = a_repository(tree / "fixture")
    assert place_of(inner).root == inner


def test_what_was_written_is_used_by_who_has_another_environment(home: Path, repo: Path) -> None:
    runtime = Path(tempfile.mkdtemp(prefix="orch"))
    try:
        place = place_of(repo, XDG_RUNTIME_DIR=str(runtime))
        assert place.socket.is_relative_to(runtime)
        ensure_socket_folder(place)
        write_place(place)
        assert place_of(repo).socket != place.socket  # no daemon listens there yet
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(place.socket))
            assert place_of(repo).socket == place.socket
    finally:
        shutil.rmtree(runtime)
    assert place_of(repo).socket != place.socket


def test_what_was_written_before_the_repository_moved_is_not_used(home: Path, repo: Path) -> None:
    place = replace(place_of(repo), socket=home / "old.sock")
    (home / "old.sock").touch()
    write_place(place)
    repo.rename(home / "moved")
    found = place_of(home / "moved")
    assert found.root == home / "moved"
    assert found.socket != home / "old.sock"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"root": 3, "common_dir": null}', "\xff\x00"])
def test_a_note_that_cannot_be_read_does_no_harm(repo: Path, content: str) -> None:
    place = place_of(repo)
    place.state_dir.mkdir()
    (place.state_dir / "place.json").write_text(content, encoding="latin-1")
    assert place_of(repo) == place


def test_the_note_is_private_and_whole(repo: Path) -> None:
    place = place_of(repo)
    write_place(place)
    write_place(place)
    note = place.state_dir / "place.json"
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.state_dir.stat().st_mode) == 0o700
    assert json.loads(note.read_text())["root"] == str(repo)
    assert [file.name for file in place.state_dir.iterdir()] == ["place.json"]


# ---- worktrees ----


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param("/fast/trees", "/fast/trees", id="absolute"),
        pytest.param("../trees", "{root}/../trees", id="relative to the root"),
    ],
)
def test_worktrees_go_where_the_settings_say(repo: Path, wanted: str, expected: str) -> None:
    place = find_place(subfolder(repo), worktrees=Path(wanted), environ=CLEAN)
    assert place.worktrees == Path(os.path.normpath(expected.format(root=repo)))


def test_worktrees_of_a_repository_inside_another_one_do_not_litter_it(home: Path, repo: Path) -> None:
    inner = a_repository(repo / "vendor" / "tool")
    place = place_of(inner, XDG_DATA_HOME=str(home / "data"))
    assert place.worktrees.parent == home / "data" / "orchestrator" / "worktrees"
    assert place.worktrees.name.startswith("tool-")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_worktrees_go_to_the_data_folder_when_there_is_no_writing_beside_the_repository(home: Path, repo: Path) -> None:
    repo.parent.chmod(0o500)
    try:
        place = place_of(repo, HOME=str(home))
    finally:
        repo.parent.chmod(0o700)
    assert place.worktrees.is_relative_to(home)
    assert not place.worktrees.is_relative_to(repo.parent)


# ---- the socket ----


@pytest.mark.parametrize("runtime", ["", "relative", "/no/such/folder", "open", "x" * 90, "file"])
def test_the_socket_is_short_wherever_the_runtime_folder_is(home: Path, repo: Path, runtime: str) -> None:
    if runtime == "open":
        runtime = str(home / "open")
        Path(runtime).mkdir()
        Path(runtime).chmod(0o777)
    elif runtime == "file":
        (home / "file").touch()
        runtime = str(home / "file")
    elif len(runtime) == 90:
        runtime = str(home / runtime)
        Path(runtime).mkdir(mode=0o700)
    place = place_of(repo, XDG_RUNTIME_DIR=runtime)
    assert place.socket.parent == Path(f"/tmp/orchestrator-{os.getuid()}")
    assert len(os.fsencode(place.socket)) < SOCKET_LIMIT


def test_two_repositories_have_two_sockets(home: Path, repo: Path) -> None:
    assert place_of(repo).socket != place_of(a_repository(home / "other" / "app")).socket


def test_the_folder_of_the_socket_is_made_for_us_alone(home: Path, repo: Path) -> None:
    place = replace(place_of(repo), socket=home / "sockets" / "x.sock")
    ensure_socket_folder(place)
    ensure_socket_folder(place)
    assert stat.S_IMODE((home / "sockets").stat().st_mode) == 0o700


def open_to_others(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)


def a_link(folder: Path) -> None:
    (folder.parent / "target").mkdir(mode=0o700)
    folder.symlink_to(folder.parent / "target")


def a_file(folder: Path) -> None:
    folder.touch()


def no_folder_above(folder: Path) -> None:
    folder.parent.rename(folder.parent.with_name("gone"))


@pytest.mark.parametrize("make", [open_to_others, a_link, a_file, no_folder_above])
def test_a_folder_that_others_could_reach_into_is_refused(home: Path, repo: Path, make: Callable[[Path], None]) -> None:
    folder = home / "run" / "sockets"
    folder.parent.mkdir()
    make(folder)
    with pytest.raises(OrchestratorError) as raised:
        ensure_socket_folder(replace(place_of(repo), socket=folder / "x.sock"))
    assert str(folder) in raised.value.message
    assert "XDG_RUNTIME_DIR" in raised.value.fix


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(home: Path, repo: Path) -> None:
    folder = home / "sockets"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    with pytest.raises(OrchestratorError, match="not safe"):
        ensure_socket_folder(replace(place_of(repo), socket=folder / "x.sock"))


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        pytest.param([], True, id="a branch"),
        pytest.param([["pack-refs", "--all"]], True, id="a packed branch"),
        pytest.param([["branch", "-m", "deep/down/below"]], True, id="a branch in folders"),
        pytest.param([["checkout", "-q", "--detach"], ["branch", "-D", "main"]], True, id="no branch, but a commit"),
        pytest.param([["checkout", "-q", "--orphan", "new"]], True, id="another branch has one"),
        pytest.param([["update-ref", "-d", "refs/heads/main"]], False, id="no commit"),
    ],
)
def test_whether_there_is_a_commit_is_told_without_git(repo: Path, commands: list[list[str]], expected: bool) -> None:
    for words in commands:
        subprocess.run(["git", *words], cwd=repo, check=True, capture_output=True)
    assert has_commit(find_place(repo)) is expected
