"""Unusual repositories and surroundings in which a plan simply runs to its end, or stops and asks: whole runs."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.person import ORCHESTRATOR, Printed
from tests.acceptance.scene import PLAN, Scene
from tests.acceptance.test_edges_repository import (
    cloned,
    identity_in_the_environment,
    led_astray,
    linked_worktree,
    of_somebody_else,
    softly,
    strange_names,
    two_sides,
)

Spoil = Callable[[Scene], object]

IDENTITY = (("config", "user.name", "Test Person"), ("config", "user.email", "person@example.com"))


def run(scene: Scene, *, before: Callable[[], object] | None = None) -> Printed:
    """The plan from the yes to its end, the daemon in the foreground of a process of its own."""
    digest = scene.digest()
    done = subprocess.run(
        [ORCHESTRATOR, "start", "plans/work.yaml", "--confirm", digest, "--foreground", "--exit-when-blocked"],
        cwd=scene.here,
        env=scene.person.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=before,
    )
    return Printed(done.returncode, done.stdout, done.stderr)


def told(scene: Scene, *words: str) -> str:
    """What git says where the command is typed."""
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", *words],
        cwd=scene.here,
        env={name: value for name, value in scene.person.environ.items() if not name.startswith("GIT_")},
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
    )
    return done.stdout


def of_the_user(scene: Scene) -> tuple[object, ...]:
    """What a run may not touch: configuration, worktrees, stash, all references but the target's and ours."""
    refs = told(scene, "for-each-ref", "--format=%(refname) %(objectname)")
    theirs = [line for line in refs.splitlines() if "/orchestrator/" not in line and "refs/heads/main " not in line]
    return (
        theirs,
        told(scene, "config", "--list", "--local"),
        told(scene, "symbolic-ref", "HEAD"),
        [line for line in told(scene, "worktree", "list", "--porcelain").splitlines() if line.startswith("worktree")],
        [line for line in told(scene, "status", "--porcelain", "-z").split("\0") if line],
    )


def hooks_that_fail(scene: Scene, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    names = "pre-commit commit-msg post-checkout reference-transaction pre-push post-merge pre-merge-commit update"
    for name in names.split():
        (folder / name).write_text(f"#!/bin/sh\necho {name} >> '{scene.top}/hooked'\nexit 1\n")
        (folder / name).chmod(0o755)


def odd_settings(scene: Scene) -> None:
    """Settings and hooks that would stop or change what git does, were they asked."""
    scene.write(".gitattributes", "*.txt merge=union\n")
    scene.git("add", "-A")
    scene.git("commit", "-q", "-m", "attributes")
    for name, value in {
        "core.autocrlf": "true",
        "core.fsmonitor": "/bin/false",
        "core.ignoreCase": "true",
        "core.pager": "false",
        "core.editor": "false",
        "commit.gpgSign": "true",
        "user.signingKey": "0000",
        "gpg.program": "/bin/false",
        "merge.verifySignatures": "true",
        "merge.ff": "false",
        "i18n.commitEncoding": "ISO-8859-1",
        "color.ui": "always",
        "alias.merge": "!false",
    }.items():
        scene.git("config", name, value)
    hooks_that_fail(scene, scene.dot_git / "hooks")


def odd_history(scene: Scene) -> None:
    """Objects borrowed, a commit replaced, a graft, packed references with peeled tags; and hooks that fail."""
    scene.git("commit", "-q", "--allow-empty", "-m", "second")
    scene.git("clone", "-q", "--shared", ".", "../clone")
    scene.here = scene.top / "clone"
    for words in (*IDENTITY, ("tag", "-a", "v1", "-m", "one"), ("pack-refs", "--all")):
        scene.git("-C", str(scene.here), *words)
    other = scene.git("-C", str(scene.here), "commit-tree", "-m", "other", "HEAD^{tree}")
    scene.git("-C", str(scene.here), "replace", "HEAD", other)
    (scene.here / ".git" / "info").mkdir(exist_ok=True)
    (scene.here / ".git" / "info" / "grafts").write_text(scene.git("rev-parse", "HEAD") + "\n")
    hooks_that_fail(scene, scene.top / "hooks")
    scene.git("-C", str(scene.here), "config", "core.hooksPath", str(scene.top / "hooks"))


def odd_places(scene: Scene) -> None:
    """A path with a newline, a quote, a blank and a decomposed umlaut; strange names in the tree; locale C."""
    strange_names(scene)
    folder = scene.top / "Mein Ordner u\u0308'\n"
    scene.repo.rename(folder)
    scene.person.repo = scene.here = folder
    scene.set("LANG", "C")
    scene.set("LC_ALL", "POSIX")
    scene.write("plans/work.yaml", PLAN.replace("- id: one", "- id: one\n    title: Ärger mit Öl →"))


def deep(scene: Scene) -> None:
    """Folders too long for a socket, whichever of them is taken."""
    folder = scene.top.joinpath(*["d" * 20] * 8)
    folder.mkdir(parents=True)
    scene.repo.rename(folder / "repo")
    scene.person.repo = scene.here = folder / "repo"
    runtime = scene.top / ("r" * 90)
    runtime.mkdir(mode=0o700)
    scene.set("XDG_RUNTIME_DIR", str(runtime))


def other_worktrees(scene: Scene) -> None:
    """From one of several worktrees; of the others one is locked and one lost; a file is where ours would be."""
    linked_worktree(scene)
    scene.git("worktree", "add", "-q", "../locked", "-b", "locked")
    scene.git("worktree", "lock", "../locked")
    scene.git("worktree", "add", "-q", "../gone", "-b", "gone")
    shutil.rmtree(scene.top / "gone")
    (scene.top / "repo.worktrees").write_text("a file")


def another_file_system(scene: Scene) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == scene.top.stat().st_dev:
        pytest.skip("there is no second file system to write to")
    folder = memory / f"orchestrator-edges-{os.getpid()}"
    folder.mkdir()
    scene.cleanup.callback(shutil.rmtree, folder)
    scene.write("orchestrator.toml", f'worktrees = "{folder}"\n')


def odd_tree(scene: Scene) -> None:
    """A repository that nobody knows, a link to one without .gitmodules, a submodule near by, pointers of LFS."""
    (scene.repo / "inner").mkdir()
    scene.git("-C", "inner", "init", "-q")
    submodule(scene)
    scene.git("update-index", "--add", "--cacheinfo", f"160000,{scene.git('rev-parse', 'HEAD')},vendor/lib")
    scene.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
    scene.write("a.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n")
    scene.git("add", ".gitattributes", "a.bin")
    scene.git("commit", "-q", "-m", "links and pointers")


def submodule(scene: Scene) -> None:
    scene.git("clone", "-q", ".", "../lib")
    scene.git("remote", "add", "origin", str(scene.repo))
    scene.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", "../lib", "sub")
    scene.git("commit", "-q", "-m", "submodule")


def inside_a_submodule(scene: Scene) -> None:
    submodule(scene)
    scene.here = scene.repo / "sub"
    for words in IDENTITY:
        scene.git("-C", "sub", *words)


def sha256(scene: Scene) -> None:
    shutil.rmtree(scene.dot_git)
    scene.git("init", "-q", "-b", "main", "--object-format=sha256")
    for words in (*IDENTITY, ("add", "-A")):
        scene.git(*words)
    scene.git("commit", "-q", "-m", "first")


def owned_and_trusted(scene: Scene) -> None:
    of_somebody_else(scene)
    (scene.person.home / ".gitconfig").write_text(f"[safe]\n\tdirectory = {scene.repo}\n")


def partial_but_whole(scene: Scene) -> None:
    """A partial clone that has what its branch needs; its remote is away."""
    scene.git("config", "uploadpack.allowFilter", "true")
    scene.git("config", "uploadpack.allowAnySHA1InWant", "true")
    scene.write("README.md", "changed\n")
    scene.git("commit", "-q", "-a", "-m", "second")
    cloned(scene, "--filter=blob:none")
    scene.repo.rename(scene.top / "offline")


def bare_with_a_worktree(scene: Scene) -> None:
    cloned(scene, "--bare")
    scene.git("-C", str(scene.here), "worktree", "add", "-q", str(scene.top / "tree"), "main")
    scene.here = scene.top / "tree"


def only_the_environment(scene: Scene) -> None:
    identity_in_the_environment(scene)
    led_astray(scene)
    scene.set("HOME", "/dev/null")


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(odd_settings, id="hooks that fail; union, autocrlf, fsmonitor, signed commits, aliases"),
        pytest.param(
            odd_history, id="alternates, a graft, a replaced commit, packed and peeled references; core.hooksPath"
        ),
        pytest.param(odd_places, id="newline and umlauts in path, title and names; locale C"),
        pytest.param(deep, id="paths longer than a socket may have"),
        pytest.param(other_worktrees, id="from a linked worktree; locked and lost ones; a file where ours would be"),
        pytest.param(another_file_system, id="worktrees on another file system"),
        pytest.param(odd_tree, id="nested repository, bare link, submodule by relative URL, pointers of LFS"),
        pytest.param(inside_a_submodule, id="the repository is a submodule"),
        pytest.param(
            lambda scene: scene.git("init", "-q", "--separate-git-dir", "../apart.git"), id="git folder apart"
        ),
        pytest.param(bare_with_a_worktree, id="a bare repository with a worktree"),
        pytest.param(sha256, id="object names of SHA-256"),
        pytest.param(owned_and_trusted, id="owned by somebody else, and trusted"),
        pytest.param(partial_but_whole, id="a partial clone that has all it needs"),
        pytest.param(only_the_environment, id="GIT_DIR leads nowhere, identity in the environment, HOME is no folder"),
    ],
)
def test_a_plan_lands_and_the_rest_is_as_it_was(scene: Scene, spoil: Spoil) -> None:
    spoil(scene)
    before = of_the_user(scene)
    done = run(scene)
    assert done.code == 0, done.out + done.err
    assert told(scene, "show", "main:one.txt") == "hello\n"
    if told(scene, "symbolic-ref", "HEAD") == "refs/heads/main\n":
        assert (scene.here / "one.txt").read_bytes().replace(b"\r", b"") == b"hello\n"
    assert of_the_user(scene) == before
    assert not (scene.top / "hooked").exists()


def tight_and_open() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    os.umask(0)


def test_a_plan_lands_with_64_open_files_and_an_open_umask_that_counts_only_for_the_user(scene: Scene) -> None:
    done = run(scene, before=tight_and_open)
    assert done.code == 0, done.out + done.err
    assert (scene.repo / "one.txt").stat().st_mode & 0o777 == 0o666
    assert [path for path in scene.state.iterdir() if path.stat().st_mode & 0o077] == []


def merging(scene: Scene) -> None:
    two_sides(scene)
    softly(scene, "merge", "side")


def bisecting(scene: Scene) -> None:
    two_sides(scene)
    for words in (("start",), ("bad", "main"), ("good", "main~1")):
        scene.git("bisect", *words)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(merging, "you have unmerged files", id="in the middle of a merge"),
        pytest.param(bisecting, "bisecting 'main'", id="in the middle of a bisection"),
        pytest.param(lambda scene: scene.write("one.txt", "mine\n"), "one.txt", id="an untracked file in the way"),
    ],
)
def test_a_checkout_that_cannot_take_the_result_is_left_alone_and_a_person_asked(
    scene: Scene, spoil: Spoil, reason: str
) -> None:
    spoil(scene)
    before = (of_the_user(scene), told(scene, "rev-parse", "main"), scene.look(state=False).get("repo/one.txt"))
    assert run(scene).code == 5
    item = scene.type("inbox", "show", "i1")
    assert "publish refused" in item.out
    assert reason in item.out
    assert "by hand: " in item.out
    assert (of_the_user(scene), told(scene, "rev-parse", "main"), scene.look(state=False).get("repo/one.txt")) == before
