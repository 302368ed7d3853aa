"""Repositories and gits that a plan cannot run on: one clear error each, and nothing is changed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.scene import PLAN, Edge, Scene, accepted, refused

# ---- repositories ----


def no_repository(scene: Scene) -> None:
    shutil.rmtree(scene.dot_git)


def no_commits(scene: Scene) -> None:
    shutil.rmtree(scene.dot_git)
    scene.git("init", "-q", "-b", "main")
    scene.git("config", "user.name", "x")
    scene.git("config", "user.email", "x@example.com")


def unborn_branch(scene: Scene) -> None:
    scene.git("checkout", "-q", "--orphan", "new")


def detached(scene: Scene) -> None:
    scene.git("checkout", "-q", "--detach")


def cloned(scene: Scene, *options: str, name: str = "clone") -> None:
    scene.git("clone", "-q", *options, f"file://{scene.repo}", f"../{name}")
    scene.here = scene.top / name
    for key, value in (("user.name", "Test Person"), ("user.email", "person@example.com")):
        scene.git("-C", str(scene.here), "config", key, value)


def shallow(scene: Scene) -> None:
    scene.git("commit", "-q", "--allow-empty", "-m", "second")
    cloned(scene, "--depth", "1")


def partial_without_its_remote(scene: Scene) -> None:
    scene.git("config", "uploadpack.allowFilter", "true")
    cloned(scene, "--filter=blob:none", "--no-checkout")
    (scene.here / "plans").mkdir()
    shutil.copy(scene.repo / "plans/work.yaml", scene.here / "plans")
    scene.repo.rename(scene.top / "offline")


def bare(scene: Scene) -> None:
    cloned(scene, "--bare")


def left_by_its_repository(scene: Scene) -> None:
    scene.git("worktree", "add", "-q", "../linked", "-b", "side")
    scene.here = scene.top / "linked"
    shutil.rmtree(scene.repo)


def files_elsewhere(scene: Scene) -> None:
    (scene.top / "other").mkdir()
    scene.git("config", "core.worktree", str(scene.top / "other"))


def files_nowhere(scene: Scene) -> None:
    scene.git("config", "core.worktree", str(scene.top / "nowhere"))


def of_somebody_else(scene: Scene) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    for path in (scene.repo, *scene.repo.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)


def unknown_extension(scene: Scene) -> None:
    scene.git("config", "core.repositoryFormatVersion", "1")
    scene.git("config", "extensions.madeOfGlass", "true")


def damaged_tree(scene: Scene) -> None:
    name = scene.git("rev-parse", "HEAD^{tree}")
    file = scene.dot_git / "objects" / name[:2] / name[2:]
    file.chmod(0o600)
    file.write_bytes(b"x")


def rebasing(scene: Scene) -> None:
    two_sides(scene)
    softly(scene, "rebase", "side")


def two_sides(scene: Scene) -> None:
    for branch in ("side", "main"):
        scene.git(*(("checkout", "-q", "-b", branch) if branch == "side" else ("checkout", "-q", branch)))
        scene.write("src/a.txt", f"{branch}\n")
        scene.git("commit", "-q", "-a", "-m", branch)


def softly(scene: Scene, *words: str) -> None:
    """git, which is going to fail."""
    subprocess.run(["git", *words], cwd=scene.repo, env=scene.person.environ, capture_output=True, check=False)


# ---- who and with which git ----


def nobody(scene: Scene) -> None:
    scene.git("config", "--unset", "user.name")
    scene.git("config", "--unset", "user.email")
    scene.git("config", "user.useConfigOnly", "true")


def no_git(scene: Scene) -> None:
    (scene.top / "bin").mkdir()
    scene.set("PATH", str(scene.top / "bin"))


def old_git(scene: Scene) -> None:
    (scene.top / "bin").mkdir()
    script = scene.top / "bin" / "git"
    real = shutil.which("git")
    script.write_text(f'#!/bin/sh\ncase "$1" in version) echo git version 2.30.2;; *) exec {real} "$@";; esac\n')
    script.chmod(0o755)
    scene.set("PATH", f"{scene.top / 'bin'}:{os.environ['PATH']}")


def target(name: str, plan: str = PLAN) -> str:
    return f"target: {name}\n{plan}"


def aims_at(name: str):  # type: ignore[no-untyped-def]
    return lambda scene: scene.write("plans/work.yaml", target(name))


def tag(scene: Scene) -> None:
    scene.git("tag", "v1")
    scene.write("plans/work.yaml", target("v1"))


def only_at_the_remote(scene: Scene) -> None:
    scene.git("update-ref", "refs/remotes/origin/develop", "HEAD")
    scene.write("plans/work.yaml", target("origin/develop"))


def own_branch(scene: Scene) -> None:
    scene.git("branch", "orchestrator/work")
    scene.write("plans/work.yaml", target("orchestrator/work"))


REPOSITORIES = [
    Edge(name="not a repository", spoil=no_repository, message="is not in a git repository", fix="git init"),
    Edge(name="no commits", spoil=no_commits, message="'main' has no commit yet", fix="make a first commit"),
    Edge(name="unborn branch", spoil=unborn_branch, message="'new' has no commit yet", fix="make a first commit"),
    Edge(name="detached HEAD", spoil=detached, message="not clear where the work should land", fix="target: main"),
    Edge(name="shallow clone", spoil=shallow, message="is a shallow clone", fix="git fetch --unshallow"),
    Edge(
        name="partial clone, its remote away",
        spoil=partial_without_its_remote,
        message="a partial clone, and 3 objects of 'main' are not in it",
        fix="git archive --output=/dev/null main",
    ),
    Edge(name="bare, plan not found", spoil=bare, message="there is no plan file", fix="give the path of a plan file"),
    Edge(name="worktree left behind", spoil=left_by_its_repository, message="no longer there", fix="worktree repair"),
    Edge(
        name="core.worktree elsewhere",
        spoil=files_elsewhere,
        message="lie in another folder",
        fix="--unset core.worktree",
    ),
    Edge(name="core.worktree nowhere", spoil=files_nowhere, message="lie in another folder", fix="core.worktree"),
    Edge(
        name="owned by somebody else",
        spoil=of_somebody_else,
        message="git refuses to work with {repo}",
        fix="git config --global --add safe.directory {repo}",
    ),
    Edge(
        name="broken git configuration",
        spoil=lambda scene: (scene.dot_git / "config").write_text("[core\n"),
        message="git refuses to work with {repo}",
        fix="git -C {repo} status",
    ),
    Edge(
        name="garbage in HEAD",
        spoil=lambda scene: (scene.dot_git / "HEAD").write_text("garbage\n"),
        message="git refuses to work with {repo}",
        fix="git -C {repo} status",
    ),
    Edge(
        name="extension that git does not know",
        spoil=unknown_extension,
        message="git refuses to work with {repo}",
        fix="install a git that knows",
    ),
    Edge(name="damaged object", spoil=damaged_tree, message="`git ls-tree -r` failed", fix="look at the repository"),
    Edge(name="in the middle of a rebase", spoil=rebasing, message="not clear where the work", fix="target: main"),
    Edge(name="no identity", spoil=nobody, message="does not know who commits here", fix="git config user.name"),
    Edge(name="no git", spoil=no_git, message="git cannot be started", fix="install git 2.39 or newer"),
    Edge(name="old git", spoil=old_git, message="too old: git version 2.30.2", fix="install git 2.39 or newer"),
    Edge(
        name="branch named orchestrator",
        spoil=lambda scene: scene.git("branch", "orchestrator"),
        message="there is a branch named 'orchestrator'",
        fix="git branch -m orchestrator",
    ),
    Edge(
        name="branch below the plan's own",
        spoil=lambda scene: scene.git("branch", "orchestrator/work/x"),
        message="there is a branch named 'orchestrator/work/x'",
        fix="git branch -m orchestrator/work/x",
    ),
    Edge(name="target misspelt", spoil=aims_at("mian"), message="there is no branch 'mian'", fix="target: main"),
    Edge(name="target by its full name", spoil=aims_at("refs/heads/main"), message="no branch", fix="target: main"),
    Edge(name="target is a tag", spoil=tag, message="there is no branch 'v1'", fix="create the branch"),
    Edge(
        name="target only at the remote",
        spoil=only_at_the_remote,
        message="there is no branch 'origin/develop'",
        fix="create the branch",
    ),
    Edge(
        name="target is the plan's branch", spoil=own_branch, message="is the plan's own branch", fix="another target"
    ),
    Edge(
        name="state folder named that is none",
        spoil=lambda scene: scene.set("ORCHESTRATOR_STATE", str(scene.top)),
        message="is not a state folder",
        fix="unset ORCHESTRATOR_STATE",
    ),
]


@pytest.mark.parametrize("edge", [pytest.param(edge, id=edge.name) for edge in REPOSITORIES])
def test_what_cannot_run_is_said_and_nothing_is_changed(scene: Scene, edge: Edge) -> None:
    refused(scene, edge)


# ---- what works all the same ----


def linked_worktree(scene: Scene) -> None:
    scene.git("worktree", "add", "-q", "../linked", "-b", "side")
    scene.here = scene.top / "linked"


def by_a_symbolic_link(scene: Scene) -> None:
    (scene.top / "link").symlink_to(scene.repo)
    scene.here = scene.top / "link"


def where_worktrees_are(scene: Scene) -> None:
    (scene.top / "repo.worktrees").mkdir()
    cloned(scene, name="repo.worktrees/clone")


def led_astray(scene: Scene) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"):
        scene.set(name, str(scene.top / "nowhere"))


def many_branches(scene: Scene) -> None:
    commit = scene.git("rev-parse", "HEAD")
    names = "".join(f"{commit} refs/heads/b{number:05}\n" for number in range(5000))
    (scene.dot_git / "packed-refs").write_text(f"# pack-refs with: peeled fully-peeled sorted \n{names}")


def strange_names(scene: Scene) -> None:
    for name in ("a\nb\x01.txt", "Ärger/ü b.txt", "u\u0308", "A.TXT", "a.txt", '"q"'):
        scene.write(name, "x")
    Path(os.fsdecode(os.fsencode(scene.repo) + b"/\xff.bin")).write_text("x")
    scene.git("add", "-A")
    scene.git("commit", "-q", "-m", "names")


def identity_in_the_environment(scene: Scene) -> None:
    nobody(scene)
    for who in ("AUTHOR", "COMMITTER"):
        scene.set(f"GIT_{who}_NAME", "Env Person")
        scene.set(f"GIT_{who}_EMAIL", "env@example.com")


@pytest.mark.parametrize(
    ("spoil", "plan"),
    [
        pytest.param(linked_worktree, "plans/work.yaml", id="from a linked worktree"),
        pytest.param(lambda scene: setattr(scene, "here", scene.repo / "src"), "../plans/work.yaml", id="a subfolder"),
        pytest.param(by_a_symbolic_link, "plans/work.yaml", id="by a symbolic link"),
        pytest.param(where_worktrees_are, "plans/work.yaml", id="inside a folder of worktrees"),
        pytest.param(bare, "../repo/plans/work.yaml", id="a bare repository, the plan elsewhere"),
        pytest.param(led_astray, "plans/work.yaml", id="GIT_DIR and the like lead nowhere"),
        pytest.param(many_branches, "plans/work.yaml", id="5000 branches"),
        pytest.param(strange_names, "plans/work.yaml", id="strange names in the tree"),
        pytest.param(identity_in_the_environment, "plans/work.yaml", id="identity in the environment"),
        pytest.param(lambda scene: (scene.dot_git / "index.lock").touch(), "plans/work.yaml", id="the index is locked"),
        pytest.param(
            lambda scene: scene.git("branch", "orchestrator/other"), "plans/work.yaml", id="another plan's branch"
        ),
        pytest.param(lambda scene: scene.set("HOME", None), "plans/work.yaml", id="no HOME"),
        pytest.param(lambda scene: scene.set("HOME", "/dev/null"), "plans/work.yaml", id="HOME is no folder"),
        pytest.param(
            lambda scene: scene.set("XDG_RUNTIME_DIR", "/no/where"), "plans/work.yaml", id="no runtime folder"
        ),
    ],
)
def test_what_is_only_unusual_is_checked_as_ever(scene: Scene, spoil: object, plan: str) -> None:
    spoil(scene)  # type: ignore[operator]
    accepted(scene, ("plan", "check", plan))
