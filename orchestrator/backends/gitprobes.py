"""What `doctor` finds out about git and the user's repository."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from orchestrator.backends.gitrun import Git, Repositories, inherited_git_environment
from orchestrator.backends.probes import Named
from orchestrator.backends.repository import execute
from orchestrator.core.gitformats import OLDEST_GIT, identity_of, listed_settings, version_of
from orchestrator.model.place import Place
from orchestrator.model.probe import Grade, Probe

_OLDEST = ".".join(map(str, OLDEST_GIT))
_PROMISOR = (".promisor", ".partialclonefilter")


def git(place: Place | None) -> Named:
    """Whether git works here; without a repository, whether it works at all."""
    if place is None:
        return Named(name="git", probe=lambda: _version(Git(execute=execute, cwd=Path("/"), users={})))
    repositories = _repositories(place)
    return Named(name="git", probe=lambda: _version(repositories.users_view, repositories.users))


def repository(place: Place) -> Iterable[Named]:
    """What a git that works says of the user's repository, with the user's configuration."""
    view = _repositories(place).users_view
    yield Named(name="identity", probe=lambda: _identity(view))
    yield Named(name="repository", probe=lambda: _repository(view, place))
    yield Named(name="large files", probe=lambda: _large_files(view))
    yield Named(name="submodules", probe=lambda: _submodules(view))


def _repositories(place: Place) -> Repositories:
    return Repositories(place=place, execute=execute, inherited=inherited_git_environment(), umask=0o022)


def _version(git: Git, users: Git | None = None) -> Probe:
    said = git.ask("version")
    path = shutil.which("git") or "git"
    version = version_of(said.line) if said.status == 0 else None
    if version is None:
        return Probe(
            name="git",
            grade=Grade.FAIL,
            said=f"{path} does not say its version",
            why=said.err.strip() or said.line.strip() or f"it ended with status {said.status}",
            fix=f"install git {_OLDEST} or newer and put it on your PATH",
        )
    number = said.line.removeprefix("git version ")
    if version < OLDEST_GIT:
        return Probe(
            name="git",
            grade=Grade.FAIL,
            said=f"{number}, {path}",
            why=f"candidates are merged by `git merge-tree --write-tree` as git {_OLDEST} has it",
            fix=f"install git {_OLDEST} or newer and put it first on your PATH",
        )
    if users is not None and (trouble := _cannot_merge(users)):
        return Probe(
            name="git",
            grade=Grade.FAIL,
            said=f"{number}, {path}, cannot merge without a checkout",
            why=trouble,
            fix="see that no script of yours stands in for git, and that the repository is whole: git fsck",
        )
    return Probe(name="git", said=f"{number}, {path}")


def _cannot_merge(users: Git) -> str:
    """Why a merge without a checkout fails; empty when it works, or when there is no commit to try it on."""
    head = users.ask("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if head.status != 0:
        return ""
    # a commit with itself: nothing is written that is not there
    merged = users.ask("merge-tree", "--write-tree", head.line, head.line)
    return "" if merged.status == 0 else merged.err.strip() or f"`git merge-tree` ended with status {merged.status}"


def _identity(view: Git) -> Probe:
    said = view.ask("var", "GIT_AUTHOR_IDENT")
    identity = identity_of(said.line) if said.status == 0 else None
    if identity is None:
        return Probe(
            name="identity",
            grade=Grade.WARN,
            said="git does not know who you are",
            why="what agents leave uncommitted is committed in your name, and would carry a made-up one",
            fix="git config --global user.name 'Your Name' && git config --global user.email you@example.org",
        )
    return Probe(name="identity", said=f"{identity[0]} <{identity[1]}>")


def _repository(view: Git, place: Place) -> Probe:
    def fail(said: str, why: str, fix: str, grade: Grade = Grade.FAIL) -> Probe:
        return Probe(name="repository", grade=grade, said=f"{place.root}: {said}", why=why, fix=fix)

    head = view.ask("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if head.status not in (0, 1):
        return fail("git cannot read it", head.err.strip(), "mend what git says there")
    bare = view.ask("rev-parse", "--is-bare-repository").line == "true"
    if head.status == 1:
        return fail("no commit yet", "agents start from one", 'git add . && git commit -m "first"')
    if view.reference("refs/heads/orchestrator") is not None:
        return fail(
            "it has a branch named 'orchestrator'",
            "the branches of plans are named orchestrator/PLAN, and git cannot have both",
            "git branch -m orchestrator another-name",
        )
    if bare:
        return fail("bare", "there is no checkout to copy and link from", "nothing, if you want that", Grade.WARN)
    settings = listed_settings(view.run("config", "--list", "-z", "--includes").out)
    if any(name.startswith("remote.") and name.endswith(_PROMISOR) for name in settings):
        return fail(
            "a partial clone",
            "files of old commits may be missing, and the daemon never downloads",
            "git fetch --refetch --no-filter, or clone without --filter",
            Grade.WARN,
        )
    if view.ask("rev-parse", "--is-shallow-repository").line == "true":
        return fail(
            "a shallow clone",
            "history ends early, so merges may not find where branches parted",
            "git fetch --unshallow",
            Grade.WARN,
        )
    branch = view.ask("symbolic-ref", "--quiet", "--short", "HEAD")
    if branch.status != 0:
        return fail("no branch is checked out", "plans have to name their `target`", "git switch BRANCH", Grade.WARN)
    return Probe(name="repository", said=f"{place.root}, on {branch.line}")


def _large_files(view: Git) -> Probe:
    found = view.ask("grep", "-l", "--fixed-strings", "filter=lfs", "HEAD", "--", ".gitattributes", "**/.gitattributes")
    if found.status != 0:
        return Probe(name="large files", said="no LFS here")
    configured = view.ask("config", "--get", "filter.lfs.process").status == 0
    if shutil.which("git-lfs") and configured:
        return Probe(name="large files", said="LFS is used and installed")
    return Probe(
        name="large files",
        grade=Grade.FAIL,
        said="LFS is used here" + (" and not set up" if shutil.which("git-lfs") else " and not installed"),
        why="agents and checks would see pointers in place of the files",
        fix="install git-lfs, then: git lfs install && git lfs pull",
    )


def _submodules(view: Git) -> Probe:
    listed = view.ask("config", "--blob", "HEAD:.gitmodules", "--get-regexp", r"^submodule\..*\.path$")
    paths = [line.partition(" ")[2] for line in listed.line.splitlines()] if listed.status == 0 else []
    missing = [path for path in paths if not (view.cwd / path / ".git").exists()]
    if missing:
        return Probe(
            name="submodules",
            grade=Grade.WARN,
            said=f"not checked out: {', '.join(missing[:5])}" + (" and more" if len(missing) > 5 else ""),
            why="trees of agents and checks get what your checkout has; these folders stay empty",
            fix="git submodule update --init --recursive",
        )
    return Probe(name="submodules", said=", ".join(paths[:5]) + (" and more" if len(paths) > 5 else "") or "none")
