"""The user's filters, drivers, large files and submodules count everywhere; an agent's count nowhere. Real git."""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.backends.repository import GitRepository
from orchestrator.core.gitsettings import anchored
from orchestrator.model.attempt import Workspace
from orchestrator.model.errors import RepositoryError
from orchestrator.model.ids import CandidateId
from orchestrator.ports import Conflict, Merged
from tests.fakes.repos import PLAN, Desk, UsersRepository, commit, git, place_for, users_repository, write

pytestmark = pytest.mark.anyio

#: what is stored is upside down: a letter of the first half is one of the second
ROT13 = "tr A-Za-z N-ZA-Mn-za-m"
ROTATING = {"filter.rot.clean": ROT13, "filter.rot.smudge": ROT13, "filter.rot.required": "true"}
with_git_lfs = pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed: LFS is not tried")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _a_home_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


def configured(root: Path, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        git(root, "config", name, value)


def rotating(folder: Path, attributes: str = "*.rot filter=rot\n") -> UsersRepository:
    """A repository whose user keeps `*.rot` turned by 13 letters."""
    user = users_repository(folder)
    configured(user.root, ROTATING)
    commit(user.root, {".gitattributes": attributes, "a.rot": "hello\n"})
    return user


# ---- filters ----


async def test_a_filter_of_the_user_counts_from_the_first_tree_to_their_own_checkout(tmp_path: Path) -> None:
    user = rotating(tmp_path / "my ünï repo")
    assert git(user.root, "show", "main:a.rot") == "uryyb", "stored turned"
    desk = await Desk.ready(user)
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    assert (tree / "a.rot").read_text() == "hello\n"
    assert git(tree, "status", "--porcelain") == ""
    commit(tree, {"committed.rot": "mine\n"})
    write(tree, {"a.rot": "hello you\n", "new.rot": "new\n"})
    found = await desk.collect(workspace)
    assert (found.error, set(found.changed)) == ("", {"a.rot", "committed.rot", "new.rot"})
    assert found.head is not None
    stored = {name: desk.user.ours("show", f"{found.head}:{name}") for name in found.changed}
    assert stored == {"a.rot": "uryyb lbh", "committed.rot": "zvar", "new.rot": "arj"}
    landed = await desk.land(found.head)
    candidate = await desk.repository.checkout(CandidateId("plan/~1"), landed)
    assert (Path(candidate.path) / "new.rot").read_text() == "new\n"
    assert await desk.repository.publish(PLAN, "main", landed) is None
    assert (user.root / "a.rot").read_text() == "hello you\n"
    assert git(user.root, "status", "--porcelain") == ""


@pytest.mark.parametrize("where", ["global", "included", "local"])
async def test_a_filter_counts_wherever_the_user_has_configured_it(tmp_path: Path, where: str) -> None:
    user = rotating(tmp_path / "repo")
    lines = f'[filter "rot"]\n\tclean = {ROT13}\n\tsmudge = {ROT13}\n'
    if where != "local":
        for name in ROTATING:
            git(user.root, "config", "--unset", name)
        home = tmp_path / "home"
        (home / "more").write_text(lines)
        (home / ".gitconfig").write_text(lines if where == "global" else "[include]\n\tpath = more\n")
    desk = await Desk.ready(user)
    head = await desk.handed_off("task", {"b.rot": "text\n"})
    assert desk.user.ours("show", f"{head}:b.rot") == "grkg"
    assert (await desk.repository.facts(None)).config["filter.rot.clean"] == ROT13


@pytest.mark.parametrize(
    ("smudge", "said"),
    [
        pytest.param("nosuchprogram %f", "nosuchprogram", id="missing program"),
        pytest.param("sh -c 'echo out of ink >&2; exit 3'", "out of ink", id="failing program"),
    ],
)
async def test_a_required_filter_that_fails_is_named_with_its_file(tmp_path: Path, smudge: str, said: str) -> None:
    user = rotating(tmp_path / "repo")
    configured(user.root, {"filter.rot.smudge": smudge})
    desk = await Desk.ready(user)
    with pytest.raises(RepositoryError) as refused:
        await desk.attempt()
    assert refused.value.message == "filter 'rot' failed on a.rot"
    assert said in refused.value.why
    assert "filter\\.rot" in refused.value.fix


async def test_work_whose_filter_fails_is_refused_and_kept_as_it_is(tmp_path: Path) -> None:
    user = rotating(tmp_path / "repo")
    desk = await Desk.ready(user)
    workspace = await desk.attempt()
    write(Path(workspace.path), {"a.rot": "changed\n", "b.txt": "plain\n", "zz.txt": "after it\n"})
    configured(user.root, {"filter.rot.clean": "false"})
    again = desk.again()
    await again.repository.open()
    found = await again.collect(workspace)
    assert "a.rot: clean filter 'rot' failed" in found.error
    kept = {name: desk.user.ours("show", f"{found.salvage[0]}:{name}") for name in ("a.rot", "b.txt", "zz.txt")}
    assert kept == {"a.rot": "changed", "b.txt": "plain", "zz.txt": "after it"}


async def test_excludes_attributes_and_their_order_come_from_the_user(tmp_path: Path) -> None:
    user = users_repository(tmp_path / "repo")
    configured(user.root, ROTATING | {"core.attributesFile": "~/attributes"})
    (tmp_path / "home/attributes").write_text("*.rot filter=rot\n*.no filter=rot\n")
    write(user.root / ".git", {"info/attributes": "*.no -filter\n"})
    desk = await Desk.ready(user)
    head = await desk.handed_off("task", {"a.rot": "text\n", "b.no": "text\n"})
    assert desk.user.ours("show", f"{head}:a.rot") == "grkg"
    assert desk.user.ours("show", f"{head}:b.no") == "text"


# ---- whose commands run ----


def _another_meaning(workspace: Workspace, run: str) -> None:
    for key in ("clean", "smudge", "process"):
        git(Path(workspace.path), "config", f"filter.rot.{key}", run)


def _its_own_filter(workspace: Workspace, run: str) -> None:
    tree = Path(workspace.path)
    for key in ("filter.evil.clean", "filter.evil.process", "merge.evil.driver", "diff.evil.textconv"):
        git(tree, "config", key, run)
    write(tree, {".gitattributes": "* filter=evil merge=evil diff=evil\n*.rot filter=rot\n"})


def _everything_else(workspace: Workspace, run: str) -> None:
    keys = ("core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "diff.external", "gpg.program")
    for key in (*keys, "alias.add", "alias.merge", "alias.ls-files", "credential.helper", "core.askPass"):
        git(Path(workspace.path), "config", key, run)


def _the_script_of_the_users_filter(workspace: Workspace, run: str) -> None:
    script = Path(workspace.path) / "tools/rot.sh"
    script.write_text(f"#!/bin/sh\n{run}\n")


@pytest.mark.parametrize(
    "poison",
    [_another_meaning, _its_own_filter, _everything_else, _the_script_of_the_users_filter],
    ids=lambda poison: poison.__name__.strip("_"),
)
async def test_the_users_filters_run_and_never_what_an_agent_makes_of_them(
    tmp_path: Path, poison: Callable[[Workspace, str], None]
) -> None:
    user = rotating(tmp_path / "repo")
    write(user.root, {"tools/rot.sh": f"#!/bin/sh\n{ROT13}\n"})
    (user.root / "tools/rot.sh").chmod(0o755)
    configured(user.root, {"filter.rot.clean": "./tools/rot.sh %f", "filter.rot.smudge": "sh tools/rot.sh"})
    commit(user.root, {})
    canary = tmp_path / "canary"
    desk = await Desk.ready(user)
    workspace = await desk.attempt()
    assert (Path(workspace.path) / "a.rot").read_text() == "hello\n"
    poison(workspace, f"touch '{canary}'; cat")
    canary.unlink(missing_ok=True)  # the agent's own git may have run it; ours must not
    write(Path(workspace.path), {"b.rot": "text\n"})
    found = await desk.collect(workspace)
    assert found.head is not None, found.error
    assert desk.user.ours("show", f"{found.head}:b.rot") == "grkg"
    landed = await desk.land(found.head)
    candidate = await desk.repository.checkout(CandidateId("plan/~1"), landed)
    assert (Path(candidate.path) / "b.rot").read_text() == "text\n"
    assert not canary.exists()


@pytest.mark.parametrize("how", ["printf %s tools/x", "printf %s 'tools/x'", 'printf %s "tools/x"'])
@pytest.mark.parametrize("root", ["/a b/ü", "/it's", '/a"$b`c\\d', "/(x)&;*?[y]#~"])
def test_an_anchored_path_survives_the_shell_whatever_the_checkout_is_called(how: str, root: str) -> None:
    said = subprocess.run(["sh", "-c", anchored(how, root, "tools/x".__eq__)], capture_output=True, check=True).stdout
    assert said.decode() == f"{root}/tools/x"


async def test_a_python_module_of_an_agents_tree_is_not_the_users_filter(tmp_path: Path) -> None:
    user = rotating(tmp_path / "repo")
    canary = tmp_path / "canary"
    site = tmp_path / "site"
    write(site, {"rotate.py": "import sys\nsys.stdout.write(sys.stdin.read().upper())\n"})
    configured(user.root, {"filter.rot.clean": "PYTHONPATH=" + str(site) + " python3 -m rotate"})
    desk = await Desk.ready(user)
    workspace = await desk.attempt()
    write(Path(workspace.path), {"rotate.py": f"open({str(canary)!r}, 'w')\n", "b.rot": "text\n"})
    found = await desk.collect(workspace)
    assert found.head is not None, found.error
    assert desk.user.ours("show", f"{found.head}:b.rot") == "TEXT"
    assert not canary.exists()


# ---- merging ----


@pytest.mark.parametrize(
    ("attribute", "settings", "merged"),
    [
        pytest.param("merge=union", {}, {"first", "mine", "theirs"}, id="union"),
        pytest.param("merge=ours", {"merge.ours.driver": "true"}, {"first", "theirs"}, id="a driver that keeps ours"),
        pytest.param("merge=cat", {"merge.cat.driver": "cat %B >> %A"}, {"first", "theirs", "mine"}, id="a driver"),
        pytest.param("merge=bad", {"merge.bad.driver": "false"}, None, id="a driver that gives up"),
        pytest.param("merge=unset", {}, None, id="a driver that nobody has"),
    ],
)
@pytest.mark.parametrize("place", [".gitattributes", ".git/info/attributes"])
async def test_merge_drivers_of_the_user_settle_the_same_everywhere(
    tmp_path: Path, attribute: str, settings: dict[str, str], merged: set[str] | None, place: str
) -> None:
    user = users_repository(tmp_path / "repo", {"list.txt": "first\n"})
    write(user.root, {place: f"list.txt {attribute}\n"})
    commit(user.root, {})
    configured(user.root, settings)
    desk = await Desk.ready(user)
    head = await desk.handed_off("mine", {"list.txt": "first\nmine\n"})
    await desk.land(await desk.handed_off("theirs", {"list.txt": "first\ntheirs\n"}))
    sent_back = await desk.attempt("mine", 2, start=head)
    text = (Path(sent_back.path) / "list.txt").read_text()
    candidate = await desk.merged(head)
    if merged is None:
        assert isinstance(candidate, Conflict)
        assert git(Path(sent_back.path), "status", "--porcelain") == "UU list.txt"
    else:
        assert isinstance(candidate, Merged)
        assert set(desk.user.ours("show", f"{candidate.commit}:list.txt").split()) == merged
        if attribute != "merge=ours":  # there `ours` is the other side
            assert set(text.split()) == merged
        assert (await desk.collect(sent_back, base=desk.tip)).unfinished_merge == ()


# ---- git-lfs ----


def with_lfs(folder: Path, home: Path, *, storage: str = "") -> UsersRepository:
    """A repository with a large file, of a user who ran `git lfs install`."""
    user = users_repository(folder)
    git(home, "lfs", "install", "--skip-repo")
    if storage:
        git(user.root, "config", "lfs.storage", storage)
    commit(user.root, {".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "a.bin": "large\n"})
    return user


def stored(folder: Path, content: str) -> bool:
    name = hashlib.sha256(content.encode()).hexdigest()
    path = folder / "objects" / name[:2] / name[2:4] / name
    return path.is_file() and path.read_text() == content


@with_git_lfs
@pytest.mark.parametrize("storage", ["", "large files", "/absolute"], ids=["as it comes", "named", "elsewhere"])
async def test_large_files_are_seen_by_agents_and_theirs_reach_the_users_store(tmp_path: Path, storage: str) -> None:
    if storage.startswith("/"):
        storage = str(tmp_path / "somewhere else")
    user = with_lfs(tmp_path / "my repo", tmp_path / "home", storage=storage)
    store = user.root / ".git" / (storage or "lfs")
    assert stored(store, "large\n")
    desk = await Desk.ready(user)
    assert (await desk.repository.facts(None)).lfs_missing == ()
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    assert (tree / "a.bin").read_text() == "large\n"
    commit(tree, {"committed.bin": "by the agent\n"})
    write(tree, {"a.bin": "changed\n", "left.bin": "left behind\n"})
    assert not stored(store, "by the agent\n"), "an agent writes into its own store"
    found = await desk.collect(workspace)
    assert (found.error, set(found.changed)) == ("", {"a.bin", "committed.bin", "left.bin"})
    assert found.head is not None
    for content in ("by the agent\n", "changed\n", "left behind\n"):
        assert stored(store, content)
    landed = await desk.land(found.head)
    candidate = await desk.repository.checkout(CandidateId("plan/~1"), landed)
    assert (Path(candidate.path) / "committed.bin").read_text() == "by the agent\n"
    assert await desk.repository.publish(PLAN, "main", landed) is None
    assert (user.root / "left.bin").read_text() == "left behind\n"
    assert git(user.root, "status", "--porcelain") == ""
    assert git(user.root, "lfs", "fsck") == "Git LFS fsck OK"


@with_git_lfs
async def test_an_agent_can_neither_prune_nor_poison_the_users_large_files(tmp_path: Path) -> None:
    user = with_lfs(tmp_path / "repo", tmp_path / "home")
    store = user.root / ".git/lfs"
    desk = await Desk.ready(user)
    workspace = await desk.attempt()
    tree = Path(workspace.path)
    commit(tree, {"a.bin": "changed\n"})
    own = Path(workspace.git_dir) / "lfs/objects"
    for path in [path for path in own.rglob("*") if path.is_file()]:
        path.unlink()
    lie = hashlib.sha256(b"something else\n").hexdigest()
    write(own, {f"{lie[:2]}/{lie[2:4]}/{lie}": "a lie\n"})
    linked = "0" * 64
    (own / "00/00").mkdir(parents=True)
    (own / "00/00" / linked).symlink_to("/etc/hostname")
    await desk.collect(workspace)
    assert stored(store, "large\n")
    assert not list(store.glob(f"objects/*/*/{lie}"))
    assert not list(store.glob(f"objects/*/*/{linked}"))
    assert list((store / "tmp").iterdir()) == []


@with_git_lfs
async def test_a_large_file_that_nobody_has_fetched_is_told_before_and_refused_with_the_way_out(tmp_path: Path) -> None:
    user = with_lfs(tmp_path / "repo", tmp_path / "home")
    shutil.rmtree(user.root / ".git/lfs/objects")
    desk = await Desk.ready(user)
    assert (await desk.repository.facts(None)).lfs_missing == ("a.bin",)
    with pytest.raises(RepositoryError) as refused:
        await desk.attempt()
    assert refused.value.message == "filter 'lfs' failed on a.bin"
    assert refused.value.why == "your git-lfs does not have its contents, and trees are made without the network"
    assert "git lfs fetch" in refused.value.fix


@with_git_lfs
async def test_no_tree_leads_git_lfs_to_the_network(tmp_path: Path) -> None:
    user = with_lfs(tmp_path / "repo", tmp_path / "home")
    desk = await Desk.ready(user)
    unknown = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'1' * 64}\nsize 8\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        head = await desk.handed_off("task", {".lfsconfig": f"[lfs]\n\turl = {url}\n", "b.bin": unknown})
        landed = await desk.land(head)
        with pytest.raises(RepositoryError, match=r"filter 'lfs' failed on b\.bin"):
            await desk.repository.checkout(CandidateId("plan/~1"), landed)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


@with_git_lfs
@pytest.mark.parametrize("choice", ["lfs.fetchexclude", "--skip"])
async def test_large_files_that_the_user_leaves_as_pointers_are_pointers_everywhere(
    tmp_path: Path, choice: str
) -> None:
    user = with_lfs(tmp_path / "repo", tmp_path / "home")
    shutil.rmtree(user.root / ".git/lfs/objects")
    if choice == "--skip":
        git(tmp_path / "home", "lfs", "install", "--skip-repo", "--skip-smudge", "--force")
    else:
        git(user.root, "config", choice, "*.bin")
    desk = await Desk.ready(user)
    assert (await desk.repository.facts(None)).lfs_missing == ()
    workspace = await desk.attempt()
    assert "git-lfs.github.com" in (Path(workspace.path) / "a.bin").read_text()
    assert (await desk.collect(workspace)).changed == ()


@with_git_lfs
async def test_large_files_of_a_bare_repository_are_seen(tmp_path: Path) -> None:
    user = with_lfs(tmp_path / "repo", tmp_path / "home")
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(user.root), str(bare))
    (user.root / ".git/lfs").rename(bare / "lfs")
    configured(bare, {"user.name": "x", "user.email": "x@x"})
    desk = await Desk.ready(UsersRepository(bare, place_for(bare, bare)))
    assert (await desk.repository.facts("main")).lfs_missing == ()
    assert (Path((await desk.attempt()).path) / "a.bin").read_text() == "large\n"


async def test_pointers_without_git_lfs_are_told(tmp_path: Path) -> None:
    user = users_repository(tmp_path / "repo", {".gitattributes": "*.bin filter=lfs -text\n", "a.bin": "a pointer\n"})
    desk = await Desk.ready(user)
    facts = await desk.repository.facts(None)
    assert (facts.filters_unset, facts.lfs_missing) == (("lfs",), ())
    assert (Path((await desk.attempt()).path) / "a.bin").read_text() == "a pointer\n"


# ---- what is told ----


async def test_what_the_files_need_and_nobody_has_is_told(tmp_path: Path) -> None:
    attributes = (
        "*.a filter=gone\n*.b filter=broken\n*.c merge=lost\n*.d merge=broken\n*.e filter=fine\n*.f merge=union\n"
    )
    user = users_repository(tmp_path / "repo", {"below/.gitattributes": attributes})
    configured(
        user.root,
        {
            "filter.broken.clean": "nosuchprogram -x",
            "filter.fine.clean": "cat",
            "filter.unused.clean": "nosuchprogram",
            "merge.broken.driver": "./nosuchscript %A",
            "commit.gpgSign": "true",
        },
    )
    facts = await GitRepository(user.place, inherited={}).facts(None)
    assert facts.filters_unset == ("gone",)
    assert facts.drivers_unset == ("lost",)
    assert facts.programs_missing == {
        "filter 'broken'": "nosuchprogram",
        "merge driver 'broken'": f"{user.root}/nosuchscript",
    }
    assert facts.signs_commits
    assert facts.config["filter.fine.clean"] == "cat"


async def test_nothing_is_told_of_a_plain_repository(tmp_path: Path) -> None:
    user = users_repository(tmp_path / "repo", {".gitattributes": "*.txt text eol=lf\n", "a.txt": "x\n"})
    facts = await GitRepository(user.place, inherited={}).facts(None)
    assert (facts.filters_unset, facts.drivers_unset, facts.programs_missing) == ((), (), {})
    assert (facts.lfs_missing, facts.submodules_lacking, facts.signs_commits) == ((), {}, False)


async def test_nobody_is_asked_for_a_passphrase(tmp_path: Path) -> None:
    user = users_repository(tmp_path / "repo")
    canary = tmp_path / "canary"
    script = tmp_path / "gpg"
    script.write_text(f"#!/bin/sh\ntouch '{canary}'\nexit 1\n")
    script.chmod(0o755)
    for name, value in {"commit.gpgSign": "true", "tag.gpgSign": "true", "gpg.program": str(script)}.items():
        git(tmp_path / "home", "config", "--global", name, value)
    desk = await Desk.ready(user)
    workspace = await desk.attempt()
    commit(Path(workspace.path), {"a": "x\n"})
    git(Path(workspace.path), "tag", "-a", "-m", "x", "t")
    write(Path(workspace.path), {"b": "x\n"})
    found = await desk.collect(workspace)
    assert found.head is not None
    landed = await desk.land(found.head)
    assert await desk.repository.publish(PLAN, "main", landed) is None
    assert not canary.exists()


# ---- submodules ----

LOCAL = ("-c", "protocol.file.allow=always")


def nested_submodules(tmp_path: Path) -> UsersRepository:
    """`outer`, named differently than its path, by a relative URL; in it `inner`, by another one."""
    users_repository(tmp_path / "inner", {"inner.txt": "inner\n"})
    outer = users_repository(tmp_path / "outer", {"outer.txt": "outer\n"})
    git(outer.root, *LOCAL, "submodule", "--quiet", "add", "--name", "in", "../inner", "deep/inner")
    git(outer.root, "commit", "-qm", "with inner")
    user = users_repository(tmp_path / "my repo")
    git(user.root, "config", "remote.origin.url", str(tmp_path / "nowhere.git"))
    git(user.root, *LOCAL, "submodule", "--quiet", "add", "--name", "out", "../outer", "vendor/ünï outer")
    git(user.root, *LOCAL, "submodule", "--quiet", "update", "--init", "--recursive")
    git(user.root, "commit", "-qm", "with outer")
    return user


async def test_nested_submodules_with_relative_urls_are_filled_without_their_remotes(tmp_path: Path) -> None:
    user = nested_submodules(tmp_path)
    for name in ("inner", "outer"):
        shutil.rmtree(tmp_path / name)
    desk = await Desk.ready(user)
    assert (await desk.repository.facts(None)).submodules_lacking == {}
    workspace = await desk.attempt()
    outer = Path(workspace.path) / "vendor/ünï outer"
    assert (outer / "outer.txt").read_text() == "outer\n"
    assert (outer / "deep/inner/inner.txt").read_text() == "inner\n"
    assert git(Path(workspace.path), "status", "--porcelain") == ""
    assert git(outer, "remote") == "", "an agent has nothing to push to"
    assert (await desk.collect(workspace)).changed == ()


async def test_a_commit_of_a_submodule_that_the_user_has_may_be_set_whatever_its_name(tmp_path: Path) -> None:
    user = nested_submodules(tmp_path)
    configured(user.root / "vendor/ünï outer", {"user.name": "x", "user.email": "x@x"})
    newer = commit(user.root / "vendor/ünï outer", {"outer.txt": "newer\n"})
    git(user.root / "vendor/ünï outer", "checkout", "-q", "--detach", "HEAD~1")
    desk = await Desk.ready(user)
    workspace = await desk.attempt()
    git(Path(workspace.path) / "vendor/ünï outer", "checkout", "-q", "--detach", newer)
    found = await desk.collect(workspace)
    assert (found.changed, found.nested) == (("vendor/ünï outer",), ())


@pytest.mark.parametrize("missing", ["all of it", "its repository", "the nested one", "its commit", "its name"])
async def test_submodules_that_will_be_empty_are_told_with_the_reason(tmp_path: Path, missing: str) -> None:
    user = nested_submodules(tmp_path)
    outer, inner = "vendor/ünï outer", "vendor/ünï outer/deep/inner"
    match missing:
        case "all of it":
            clone = tmp_path / "cl one"
            git(tmp_path, "clone", "-q", str(user.root), str(clone))
            configured(clone, {"user.name": "x", "user.email": "x@x"})
            user = UsersRepository(clone, place_for(clone, clone / ".git"))
            expected = {outer: "your checkout does not have it"}
        case "its repository":
            shutil.rmtree(user.root / ".git/modules/out")
            expected = {outer: "your checkout does not have it"}
        case "the nested one":
            shutil.rmtree(user.root / ".git/modules/out/modules")
            expected = {inner: "your checkout does not have it"}
        case "its commit":
            other = user.ref("main")
            git(user.root, "update-index", "--cacheinfo", f"160000,{other},{outer}")
            git(user.root, "commit", "-qm", "a commit from elsewhere")
            expected = {outer: f"your copy of it does not have commit {other[:12]}"}
        case _:
            commit(user.root, {".gitmodules": None})
            expected = {outer: "`.gitmodules` does not list it"}
    desk = await Desk.ready(user)
    assert (await desk.repository.facts(None)).submodules_lacking == expected
    workspace = await desk.attempt()
    empty = Path(workspace.path) / next(iter(expected))
    assert list(empty.iterdir()) == []
    if missing not in {"the nested one", "its name"}:
        assert workspace.empty == (await desk.attempt()).empty == (outer,)
    assert (await desk.collect(workspace)).changed == ()


async def test_filters_count_in_submodules_too(tmp_path: Path) -> None:
    rotating(tmp_path / "library")
    user = users_repository(tmp_path / "repo")
    home = f'[filter "rot"]\n\tclean = {ROT13}\n\tsmudge = {ROT13}\n\trequired = true\n'
    (tmp_path / "home/.gitconfig").write_text(home)
    git(user.root, *LOCAL, "submodule", "--quiet", "add", str(tmp_path / "library"), "lib")
    git(user.root, "commit", "-qm", "with a library")
    desk = await Desk.ready(user)
    workspace = await desk.attempt()
    lib = Path(workspace.path) / "lib"
    assert (lib / "a.rot").read_text() == "hello\n"
    (tmp_path / "home/.gitconfig").unlink()
    write(lib, {"a.rot": "bye\n"})
    git(lib, "add", "a.rot")
    assert git(lib, "show", ":a.rot") == "olr"


@with_git_lfs
async def test_large_files_of_submodules_are_seen(tmp_path: Path) -> None:
    with_lfs(tmp_path / "library", tmp_path / "home")
    user = users_repository(tmp_path / "repo")
    git(user.root, *LOCAL, "submodule", "--quiet", "add", str(tmp_path / "library"), "lib")
    git(user.root, "commit", "-qm", "with a library")
    desk = await Desk.ready(user)
    shutil.rmtree(tmp_path / "library")
    assert (Path((await desk.attempt()).path) / "lib/a.bin").read_text() == "large\n"


async def test_a_submodule_that_git_has_not_moved_is_filled_from_the_checkout(tmp_path: Path) -> None:
    user = users_repository(tmp_path / "repo")
    users_repository(user.root / "old/style", {"lib.txt": "lib\n"})
    git(user.root, *LOCAL, "submodule", "--quiet", "add", "./old/style", "old/style")
    git(user.root, "commit", "-qm", "old style")
    assert (user.root / "old/style/.git").is_dir()
    desk = await Desk.ready(user)
    assert (await desk.repository.facts(None)).submodules_lacking == {}
    assert (Path((await desk.attempt()).path) / "old/style/lib.txt").read_text() == "lib\n"


async def test_a_relative_url_that_cannot_be_filled_is_resolved_for_the_agent(tmp_path: Path) -> None:
    user = users_repository(tmp_path / "repo")
    git(user.root, "config", "remote.origin.url", "https://me:secret@host.invalid/team/app.git")
    tip = user.ref("main")
    write(user.root, {".gitmodules": '[submodule "far"]\n\tpath = far\n\turl = ../far.git\n'})
    git(user.root, "add", ".gitmodules")
    git(user.root, "update-index", "--add", "--cacheinfo", f"160000,{tip},far")
    git(user.root, "commit", "-qm", "far")
    desk = await Desk.ready(user)
    workspace = await desk.attempt()
    url = git(Path(workspace.path), "config", "submodule.far.url")
    assert url == "https://me@host.invalid/team/far.git"


# ---- trees that are used again ----


#: written last, and so late that git believes the times of the files before it
SLOW = {"filter.slow.smudge": "sleep 0.05; cat"}
SLOW_FILE = {".gitattributes": "z filter=slow\n", "z": "x\n"}


async def ended(desk: Desk, workspace: Workspace) -> None:
    await desk.collect(workspace)
    await desk.repository.remove(PLAN, desk.id_of(workspace), landed=True, ignore=())


async def test_a_tree_used_again_has_what_new_attributes_make_of_old_files(tmp_path: Path) -> None:
    user = users_repository(tmp_path / "repo", {"a.rot": "uryyb\n", **SLOW_FILE})
    configured(user.root, ROTATING | SLOW)
    desk = await Desk.ready(user)
    first = await desk.attempt("first")
    inode = Path(first.path).stat().st_ino
    await ended(desk, first)
    second = await desk.attempt("second")
    assert Path(second.path).stat().st_ino == inode, "nothing has changed"
    await ended(desk, second)
    write(user.root, {".gitattributes": "*.rot filter=rot\nz filter=slow\n"})
    git(user.root, "add", ".gitattributes")
    git(user.root, "commit", "-qm", "what is stored stays as it is")
    desk.tip = await desk.repository.target_commit("main")
    third = await desk.attempt("third")
    assert (Path(third.path) / "a.rot").read_text() == "hello\n"


async def test_a_tree_used_again_has_what_new_settings_make_of_old_files(tmp_path: Path) -> None:
    user = rotating(tmp_path / "repo", f"*.rot filter=rot\n{SLOW_FILE['.gitattributes']}")
    configured(user.root, SLOW)
    commit(user.root, {"z": "x\n"})
    desk = await Desk.ready(user)
    await ended(desk, await desk.attempt("first"))
    configured(user.root, {"filter.rot.smudge": "tr a-z A-Z"})
    again = desk.again()
    await again.repository.open()
    assert (Path((await again.attempt("second")).path) / "a.rot").read_text() == "URYYB\n"
