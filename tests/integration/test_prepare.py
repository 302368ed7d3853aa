"""Copies and links from the user's checkout into a fresh tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.backends.prepare import TreePreparer
from orchestrator.model.errors import OrchestratorError
from tests.fakes.repos import Desk, git, users_repository, write

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("HOME", str(tmp_path))
    user = users_repository(tmp_path / "repo", {"README.md": "x\n", "tracked/file": "x\n", "out": "x\n"})
    write(user.root, {".env": "S=1\n", "config/a/b.toml": "b\n", "config/run.sh": "#!/bin/sh\n", "node_modules/m": "m"})
    (user.root / "config/run.sh").chmod(0o755)
    (user.root / "config/inner").symlink_to("a/b.toml")
    (user.root / "config/outer").symlink_to("../../shared")
    return await Desk.ready(user)


async def prepared(desk: Desk, copy: tuple[str, ...] = (), link: tuple[str, ...] = ()) -> Path:
    workspace = await desk.attempt()
    for _ in range(2):  # a repeat after a crash changes nothing
        await TreePreparer(desk.user.place).prepare(workspace.path, workspace.git_dir, copy, link)
    return Path(workspace.path)


async def test_copies_keep_mode_and_contents_and_links_stay_links(desk: Desk, tmp_path: Path) -> None:
    tree = await prepared(desk, (".env", "config/"))
    assert (tree / ".env").read_text() == "S=1\n"
    assert (tree / "config/a/b.toml").read_text() == "b\n"
    assert (tree / "config/run.sh").stat().st_mode & 0o111
    assert os.readlink(tree / "config/inner") == "a/b.toml"
    assert os.readlink(tree / "config/outer") == str(tmp_path / "shared")


async def test_links_lead_to_the_users_checkout(desk: Desk) -> None:
    tree = await prepared(desk, link=("node_modules",))
    assert (tree / "node_modules").resolve() == desk.user.root / "node_modules"


async def test_nothing_of_it_counts_as_a_change(desk: Desk) -> None:
    copy, link = (".env", "config/", "weird [name]* "), ("node_modules",)
    write(desk.user.root, {"weird [name]* ": "x"})
    tree = await prepared(desk, copy, link)
    assert git(tree, "status", "--porcelain") == ""
    workspace = await desk.attempt()
    assert (await desk.collect(workspace, ignore=(*copy, *link))).changed == ()
    excluded = (Path(workspace.git_dir) / "info/exclude").read_text().splitlines()
    assert len(excluded) == len(set(excluded))


async def test_only_the_copied_paths_are_excluded(desk: Desk) -> None:
    tree = await prepared(desk, (".env",))
    write(tree, {"sub/.env": "x", "new": "x"})
    assert git(tree, "status", "--porcelain", "-uall").split("\n") == ["?? new", "?? sub/.env"]


@pytest.mark.parametrize(
    ("copy", "link"),
    [
        pytest.param(("missing",), (), id="copy of nothing"),
        pytest.param((), ("missing",), id="link to nothing"),
        pytest.param(("../secret",), (), id="outside"),
        pytest.param(("/etc/passwd",), (), id="absolute"),
        pytest.param((), ("tracked",), id="link over the repository's own folder"),
    ],
)
async def test_what_cannot_be_prepared_says_why_and_what_to_do(
    desk: Desk, copy: tuple[str, ...], link: tuple[str, ...]
) -> None:
    with pytest.raises(OrchestratorError) as caught:
        await prepared(desk, copy, link)
    assert caught.value.message
    assert caught.value.why
    assert caught.value.fix


async def test_a_link_in_the_tree_leads_no_copy_out_of_it(desk: Desk, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    workspace = await desk.attempt()
    (Path(workspace.path) / "config").symlink_to(outside)
    (Path(workspace.path) / ".env").symlink_to(outside / "stolen")
    preparer = TreePreparer(desk.user.place)
    with pytest.raises(OrchestratorError, match="cannot be put"):
        await preparer.prepare(workspace.path, workspace.git_dir, ("config/run.sh",), ())
    await preparer.prepare(workspace.path, workspace.git_dir, (".env",), ())
    assert list(outside.iterdir()) == []
    assert (Path(workspace.path) / ".env").read_text() == "S=1\n"
