"""Starts that come to nothing: one clear error each, no agent, and the repository as it was."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests.acceptance.scene import PLAN, Edge, Scene, changes, mount, refused
from tests.acceptance.test_edges_typed import ledger, newer_ledger, with_prompt_file

START = ("start", "plans/work.yaml", "--detach", "--confirm", "{digest}")


def read_only_disk(scene: Scene) -> None:
    mount(scene, scene.dot_git, "--bind", str(scene.dot_git))
    subprocess.run(["mount", "-o", "remount,ro,bind", str(scene.dot_git)], check=True)


def full_disk(scene: Scene) -> None:
    kept = scene.repo.rename(scene.top / "kept")
    scene.repo.mkdir()
    mount(scene, scene.repo, "-t", "tmpfs", "-o", "size=400k", "none")
    shutil.copytree(kept, scene.repo, symlinks=True, dirs_exist_ok=True)
    with open(scene.repo / "filler", "wb", buffering=0) as filler:
        try:
            while filler.write(b"x" * 4096):
                pass
        except OSError:
            return


def no_locks(scene: Scene) -> None:
    """As some network file systems are: `flock` is not implemented there."""

    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    scene.state.mkdir(mode=0o700)
    (scene.state / "daemon.lock").touch()
    scene.monkeypatch.setattr("fcntl.flock", refuse)


def plan_changed(scene: Scene) -> None:
    scene.write("plans/work.yaml", PLAN.replace("hello", "goodbye"))


def nowhere_to_work(scene: Scene) -> None:
    (scene.top / "repo.worktrees").write_text("a file")
    scene.set("HOME", "/dev/null")


STARTS = [
    Edge(
        name="nobody confirmed",
        spoil=lambda scene: None,
        typed=("start", "plans/work.yaml"),
        code=4,
        message="a person has to confirm this plan first",
        fix="orchestrator start plans/work.yaml --confirm ",
    ),
    Edge(name="plan changed", spoil=plan_changed, typed=START, code=4, message="is not the digest", fix="plan check"),
    Edge(
        name="state folder is a file",
        spoil=lambda scene: scene.state.write_text("x"),
        typed=START,
        code=6,
        message="{repo}/.git/orchestrator is not a folder",
        fix="move it away",
    ),
    Edge(
        name="lock is a folder",
        spoil=lambda scene: (scene.state / "daemon.lock").mkdir(parents=True),
        typed=START,
        code=6,
        message="{repo}/.git/orchestrator/daemon.lock cannot be opened",
        fix="make its folder yours",
        state=False,
    ),
    Edge(
        name="read-only disk",
        spoil=read_only_disk,
        typed=START,
        code=6,
        message="cannot be used",
        fix="make it writable",
    ),
    Edge(name="full disk", spoil=full_disk, typed=START, code=6, message="cannot be used", fix="room", state=False),
    Edge(name="no locks", spoil=no_locks, typed=START, code=6, message="cannot be locked", fix="on a local disk"),
    Edge(
        name="garbage",
        spoil=ledger(b"x" * 9999),
        typed=START,
        code=6,
        message="is not a ledger",
        fix="orchestrator recover",
    ),
    Edge(
        name="newer ledger",
        spoil=newer_ledger,
        typed=START,
        code=6,
        message="written by a newer version",
        fix="use that version again",
    ),
    Edge(
        name="worktrees where a file is",
        spoil=lambda scene: scene.write("orchestrator.toml", 'worktrees = "README.md/trees"\n'),
        typed=START,
        code=6,
        message="worktrees cannot be made in {repo}/README.md/trees",
        fix="orchestrator.toml",
        state=False,
    ),
    Edge(
        name="no folder for worktrees anywhere",
        spoil=nowhere_to_work,
        typed=START,
        code=6,
        message="worktrees cannot be made in /dev/null/",
        fix="orchestrator.toml",
        state=False,
    ),
    Edge(
        name="inside the run of an agent",
        spoil=lambda scene: scene.set("ORCHESTRATOR_RUN", "x"),
        typed=START,
        code=6,
        message="this is the run of an agent",
        fix="orch-agent ask",
    ),
    Edge(
        name="both background and foreground",
        spoil=lambda scene: None,
        typed=(*START, "--foreground"),
        message="--detach returns at once",
        fix="choose one",
    ),
]


@pytest.mark.parametrize("edge", [pytest.param(edge, id=edge.name) for edge in STARTS])
def test_what_cannot_be_started_is_said_and_nothing_is_changed(scene: Scene, edge: Edge) -> None:
    refused(scene, edge)


def test_a_prompt_file_that_changed_after_the_yes_needs_a_new_yes(scene: Scene) -> None:
    scene.write("plans/one.md", "what was agreed\n")
    scene.write("plans/work.yaml", with_prompt_file("plans/one.md"))
    agreed = scene.digest()
    scene.write("plans/one.md", "what nobody has seen\n")
    before = scene.look()
    printed = scene.type("start", "plans/work.yaml", "--confirm", agreed, "--json")
    assert (printed.code, json.loads(printed.out)["error"]["code"]) == (4, "confirmation_needed")
    assert changes(before, scene.look()) == []
