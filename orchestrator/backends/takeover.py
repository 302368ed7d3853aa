"""The user's repository looked at, their git configuration read by an allow-list, and `repo.git`, which gets it."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.backends.contents import Needs, needs_of
from orchestrator.backends.durable import sync, sync_all_around, take_as_synced
from orchestrator.backends.gitrun import GitFailed, Repositories
from orchestrator.backends.lfs import LargeFiles, large_files
from orchestrator.backends.machine import processes_with
from orchestrator.core.gitformats import (
    OLDEST_GIT,
    config_text,
    directories_of,
    identity_of,
    listed_settings,
    shown,
    text_of,
    tree_entries,
    version_of,
)
from orchestrator.core.gitsettings import anchored, taken_settings
from orchestrator.model.errors import RepositoryError
from orchestrator.model.ids import Commit
from orchestrator.model.place import Place
from orchestrator.model.repo import RepoFacts

CHILD_PATIENCE_S = 10.0  #: for a git that outlived its daemon

#: used where the user has none; the assessment says that it is missing
_NOBODY = ("orchestrator", "orchestrator@localhost")

#: of every repository that we make: nothing runs by itself and nothing goes away
_OURS = {
    "core.bare": "true",
    "core.hooksPath": "/dev/null",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "commit.gpgSign": "false",  # nobody is there to type a passphrase
    "tag.gpgSign": "false",
    "tag.forceSignAnnotated": "false",
}
_TRUSTED = {
    **_OURS,
    "core.fsync": "all",
    "gc.pruneExpire": "never",
    "transfer.fsckObjects": "true",
    "uploadpack.allowAnySHA1InWant": "true",
}


#: the user's git has been asked whether it trusts the repository; the one that we read it with does not know that
_TRUSTING = "--upload-pack=git -c 'safe.directory=*' upload-pack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """What our repositories take over from the user's."""

    identity: tuple[str, str]  #: name and e-mail
    has_identity: bool
    settings: dict[str, str]
    excludes: bytes  #: contents of the user's core.excludesFile
    attributes: bytes  #: contents of the user's core.attributesFile
    info_exclude: bytes
    info_attributes: bytes
    object_format: str
    large_files: LargeFiles | None  #: None when the user has no git-lfs
    remote: str  #: where their branch comes from, for relative URLs; empty when from nowhere
    signs_commits: bool

    @property
    def converts(self) -> bool:
        """Whether files in a tree may differ from what git keeps of them, be it in line endings alone."""
        settings = {name: value for name, value in self.settings.items() if name in {"core.autocrlf", "core.eol"}}
        filtered = any(name.startswith("filter.") for name in self.settings) or self.large_files is not None
        return filtered or bool(settings or self.attributes or self.info_attributes)

    @property
    def identity_environment(self) -> dict[str, str]:
        name, email = self.identity
        return {
            "GIT_AUTHOR_NAME": name,
            "GIT_AUTHOR_EMAIL": email,
            "GIT_COMMITTER_NAME": name,
            "GIT_COMMITTER_EMAIL": email,
        }

    @property
    def shown(self) -> dict[str, str]:
        """For the assessment: what is taken over, in git's names."""
        told = dict(self.settings)
        if self.has_identity:
            told["user.name"], told["user.email"] = self.identity
        for name, content in (("core.excludesFile", self.excludes), ("core.attributesFile", self.attributes)):
            if content:
                told[name] = f"its {len(content.splitlines())} lines"
        return told

    def configuration(self, git_dir: Path, *, trusted: bool) -> str:
        """The `config` file of one of our repositories."""
        name, email = self.identity
        settings = {"core.repositoryFormatVersion": "0" if self.object_format == "sha1" else "1"}
        if self.object_format != "sha1":
            settings["extensions.objectFormat"] = self.object_format
        settings |= self.settings | (_TRUSTED if trusted else _OURS)
        if self.large_files is not None:
            settings |= self.large_files.settings(git_dir, trusted=trusted)
        settings |= {"core.excludesFile": str(git_dir / "info/user-excludes")}
        settings |= {"core.attributesFile": str(git_dir / "info/user-attributes")}
        settings |= {"user.name": name, "user.email": email}
        if not trusted:
            settings["core.logAllRefUpdates"] = "true"  # off by default in a bare one, and agents look things up there
        return config_text(settings)

    def write(self, git_dir: Path, *, trusted: bool = False) -> None:
        """Put the configuration and its files into one of our repositories."""
        info = git_dir / "info"
        info.mkdir(exist_ok=True)
        for name, content in (
            ("user-excludes", self.excludes),
            ("user-attributes", self.attributes),
            ("exclude", self.info_exclude),
            ("attributes", self.info_attributes),
        ):
            write_whole(info / name, content, durable=trusted)
        text = self.configuration(git_dir, trusted=trusted)
        write_whole(git_dir / "config", text.encode("utf-8", "surrogateescape"), durable=trusted)


def write_whole(path: Path, content: bytes, *, durable: bool = True) -> None:
    """A file that is either as before or complete; `durable`: after a power loss too."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    Path(name).replace(path)


def read_takeover(repositories: Repositories) -> Takeover:
    """Ask the user's git, as the user would run it, what counts here."""
    view = repositories.users_view
    listed = listed_settings(view.run("config", "--list", "-z", "--includes").out)
    ident = view.ask("var", "GIT_AUTHOR_IDENT")
    identity = identity_of(ident.line) if ident.status == 0 else None
    object_format = view.ask("rev-parse", "--show-object-format")
    place = repositories.place
    info = place.common_dir / "info"
    settings = taken_settings(
        listed, lambda command: anchored(command, str(place.root), lambda word: (place.root / word).is_file())
    )
    return Takeover(
        identity=identity or _NOBODY,
        has_identity=identity is not None,
        settings=settings,
        excludes=_users_file(repositories, listed, "excludesfile", "ignore"),
        attributes=_users_file(repositories, listed, "attributesfile", "attributes"),
        info_exclude=_read(info / "exclude"),
        info_attributes=_read(info / "attributes"),
        object_format=object_format.line if object_format.status == 0 else "sha1",
        large_files=large_files(settings, listed, place, repositories.umask),
        remote=_remote(listed),
        signs_commits=listed.get("commit.gpgsign", "").lower() in {"true", "yes", "on", "1"},
    )


def _remote(listed: dict[str, str]) -> str:
    """The URL that relative ones are beside: of `origin`, or of the only remote."""
    urls = {name: url for name, url in listed.items() if name.startswith("remote.") and name.endswith(".url")}
    return urls.get("remote.origin.url") or (next(iter(urls.values())) if len(urls) == 1 else "")


def _users_file(repositories: Repositories, listed: dict[str, str], key: str, default: str) -> bytes:
    """Contents of a file that the configuration names, or of the one git reads when it names none."""
    if f"core.{key}" in listed:
        named = repositories.users_view.ask("config", "--type=path", "--get", f"core.{key}")
        return _read(repositories.place.root / text_of(named.out).removesuffix("\n")) if named.status == 0 else b""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return _read(Path(home) / "git" / default)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def look(repositories: Repositories, target: str | None) -> RepoFacts:
    """Everything the assessment needs to know of the user's repository; works before anything of ours is there."""
    version = git_version(repositories)
    is_shallow, is_bare = _asked_as_the_user(repositories)
    view, users = repositories.users_view, repositories.users
    head = view.ask("symbolic-ref", "--quiet", "HEAD")
    current = head.line.removeprefix("refs/heads/") if head.status == 0 else None
    asked = current or "" if target is None else target
    listing = users.run("for-each-ref", "--format=%(refname)", "refs/heads/").line
    commit = users.reference(f"refs/heads/{asked}") if asked else None
    entries = tree_entries(users.run("ls-tree", "-r", "-z", "--full-tree", commit).out) if commit else ()
    takeover = read_takeover(repositories)
    needs = needs_of(repositories, takeover, commit, entries) if commit else Needs()
    return RepoFacts(
        root=str(repositories.place.root),
        common_dir=str(repositories.place.common_dir),
        current_branch=current,
        branches=frozenset(shown(name.removeprefix("refs/heads/")) for name in listing.splitlines()),
        target=asked,
        target_commit=commit,
        files=frozenset(shown(entry.path) for entry in entries),
        directories=frozenset(shown(path) for path in directories_of(entry.path for entry in entries)),
        submodules=frozenset(shown(entry.path) for entry in entries if entry.is_submodule),
        is_shallow=is_shallow,
        is_bare=is_bare,
        absent=_absent(repositories, commit) if commit else 0,
        has_identity=takeover.has_identity,
        git_version=version,
        config=takeover.shown,
        signs_commits=takeover.signs_commits,
        filters_unset=needs.filters_unset,
        drivers_unset=needs.drivers_unset,
        programs_missing=needs.programs_missing,
        lfs_missing=needs.lfs_missing,
        submodules_lacking=needs.submodules_lacking,
    )


def _asked_as_the_user(repositories: Repositories) -> tuple[bool, bool]:
    """Whether the repository is shallow, and whether it is bare, by a git that finds it as the user's does.

    Raises: RepositoryError when that git refuses to work here, or has its files in another folder than we.
    """
    root = repositories.place.root
    git = replace(repositories.users_view, git_dir=None)
    answer = git.ask("rev-parse", "--is-shallow-repository", "--is-bare-repository")
    if answer.status != 0:
        raise _no_repository_for_git(root, answer.err.strip())
    is_shallow, is_bare = (word == "true" for word in answer.line.split())
    top = git.ask("rev-parse", "--show-toplevel")  # nothing but an error where there are no files
    if top.status == 0 and not is_bare and os.path.realpath(top.line) != os.path.realpath(root):
        raise RepositoryError(
            f"the files of {root} lie in another folder: {shown(top.line)}",
            why="the setting core.worktree says so, and results could not be brought there safely",
            fix=f"`git -C {shlex.quote(str(root))} config --unset core.worktree`, or use a clone without it",
        )
    return is_shallow, is_bare


def _absent(repositories: Repositories, commit: Commit) -> int:
    """How many objects of a commit's files a partial clone has not fetched yet; nothing ever fetches them for us."""
    if not any((repositories.place.common_dir / "objects" / "pack").glob("*.promisor")):
        return 0
    told = repositories.users.run("rev-list", "--objects", "--no-walk", "--missing=print", commit)
    return sum(line.startswith("?") for line in told.line.splitlines())


def _no_repository_for_git(root: Path, said: str) -> RepositoryError:
    words = said.splitlines() or ["it gave no reason"]
    place = shlex.quote(str(root))
    fix = f"see what `git -C {place} status` says, and mend that"
    if "safe.directory" in said:  # its owner is somebody else, and git leaves the judgement to the user
        words, fix = words[:1], f"if you trust it: `git config --global --add safe.directory {place}`"
    elif "extension" in said:
        fix = "install a git that knows what this repository is made with"
    return RepositoryError(f"git refuses to work with {root}", why="; ".join(words), fix=fix)


def git_version(repositories: Repositories) -> tuple[int, int]:
    """The version of git. Raises: RepositoryError when it is too old for us."""
    said = repositories.users.with_(cwd=repositories.place.common_dir).run("version").line
    version = version_of(said)
    if version is None or version < OLDEST_GIT:
        raise RepositoryError(
            f"this git is too old: {said}",
            why="candidates are merged by `git merge-tree --write-tree` as git 2.39 has it",
            fix="install git 2.39 or newer",
        )
    return version


def open_ours(repositories: Repositories, takeover: Takeover) -> None:
    """Make `repo.git` if it is not there, write the configuration anew, and clear what a killed git of ours left."""
    git_version(repositories)
    place = repositories.place
    place.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.rmtree(place.state_dir / "tmp", ignore_errors=True)  # private indexes and the like; nothing of anybody's
    if not place.repo_git.is_dir():
        _clone(repositories)
    _clear_locks(place)
    clear_torn(place.repo_git)
    takeover.write(place.repo_git, trusted=True)
    if takeover.large_files is not None:
        takeover.large_files.share()
    fetch_users(repositories)


def _clear_locks(place: Place) -> None:
    """Remove what a killed git of ours left. One that outlived its daemon is waited for: we are the only daemon."""
    patience = time.monotonic() + CHILD_PATIENCE_S
    locks = list(place.repo_git.rglob("*.lock"))
    while locks and str(place.repo_git) in processes_with("GIT_DIR").values():
        if time.monotonic() > patience:
            return  # it holds them rightly; whoever meets one waits, and then says so
        time.sleep(0.1)
        locks = [lock for lock in locks if os.path.lexists(lock)]
    for lock in locks:
        lock.unlink(missing_ok=True)


def clear_torn(git_dir: Path) -> None:
    """Remove objects and references that are empty files: a power loss leaves them, and git stumbles over them."""
    for top in ("objects", "refs"):
        for folder, inside, names in os.walk(git_dir / top):
            if top == "objects":
                inside[:] = [name for name in inside if len(name) == 2]
            for name in names:
                path = Path(folder, name)
                with contextlib.suppress(OSError):
                    if path.stat().st_size == 0 and not path.is_symlink():
                        path.unlink()


def _clone(repositories: Repositories) -> None:
    """A bare clone by hard links, complete or not there at all."""
    place = repositories.place
    if os.path.lexists(place.repo_git):
        raise RepositoryError(
            f"{place.repo_git} is no folder",
            why="something else stands in its place",
            fix="move it away, and try again",
        )
    fresh = place.state_dir / "repo.git.new"
    shutil.rmtree(fresh, ignore_errors=True)  # half made, so nothing has ever been kept in it
    users = repositories.ours.with_(cwd=place.state_dir)
    last: GitFailed | None = None
    for manner in ("--local", "--no-local"):  # git refuses links when the user's object folder is a symbolic link
        answer = users.ask("clone", "--bare", "--quiet", manner, _TRUSTING, "--", str(place.common_dir), str(fresh))
        if answer.status == 0:
            break
        last = GitFailed(("clone", "--bare"), answer)
        shutil.rmtree(fresh, ignore_errors=True)
    else:
        assert last is not None
        raise last
    sync_all_around(fresh)  # git leaves a clone to chance, and nobody makes it again once it has its name
    fresh.rename(place.repo_git)
    sync(place.state_dir)
    take_as_synced(repositories.ours)


def fetch_users(repositories: Repositories) -> None:
    """Bring the user's branches and tags, and what they last saw of `origin`, into `repo.git`.

    Those that are gone there go here: a branch `a` that stayed would stand in the way of `a/b`.
    """
    # their history is theirs: an old commit that fsck dislikes is no reason to refuse it
    trusting = repositories.ours.with_(settings={"fetch.fsckObjects": "false", "transfer.fsckObjects": "false"})
    trusting.run(
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-recurse-submodules",
        "--update-shallow",
        "--prune",
        _TRUSTING,
        "--",
        str(repositories.place.common_dir),
        "+refs/heads/*:refs/heads/*",
        "+refs/tags/*:refs/tags/*",
        "+refs/remotes/origin/*:refs/remotes/origin/*",
    )
    repositories.forget_references()
