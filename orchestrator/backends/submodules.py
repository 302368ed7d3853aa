"""Submodules of a tree, filled from what the user has of them; which of them cannot be, and why."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.backends.gitrun import Git, Repositories, git_dir_of
from orchestrator.core.gitformats import config_text, listed_settings, shown, tree_entries
from orchestrator.core.gitsettings import file_url, url_beside
from orchestrator.model.ids import Commit

if TYPE_CHECKING:
    from orchestrator.backends.takeover import Takeover

_DEPTH = 16  #: submodules in submodules


@dataclass(frozen=True, slots=True, kw_only=True)
class Submodule:
    """One submodule of a commit, and where the user has it."""

    path: str
    name: str
    commit: Commit
    url: str
    source: Path | None  #: the repository that the user has of it, with its commit
    lacking: str = ""  #: why there is none


def names_by_path(git: Git, commit: str) -> dict[str, str]:
    """`.gitmodules` of a commit: path -> name."""
    return {path: name for path, (name, _) in _listed(git, commit).items()}


def submodules_of(git: Git, commit: str, modules: Path, checkout: Path | None) -> Iterator[Submodule]:
    """The submodules of a commit.

    Args:
        git: on a repository that has the commit.
        modules: the folder where the user's git keeps the repositories of these submodules.
        checkout: the user's checkout, for submodules that git has not moved there.
    """
    entries = [entry for entry in tree_entries(git.run("ls-tree", "-r", "-z", commit).out) if entry.is_submodule]
    listed = _listed(git, commit) if entries else {}
    for entry in entries:
        name, url = listed.get(entry.path, ("", ""))
        source = _source(modules, name, None if checkout is None else checkout / entry.path) if name else None
        lacking = ""
        if not name:
            lacking = "`.gitmodules` does not list it"
        elif source is None:
            lacking = "your checkout does not have it"
        elif _on(git, source).ask("cat-file", "-e", f"{entry.object_id}^{{commit}}").status != 0:
            source, lacking = None, f"your copy of it does not have commit {entry.object_id[:12]}"
        yield Submodule(
            path=entry.path, name=name, commit=Commit(entry.object_id), url=url, source=source, lacking=lacking
        )


def lacking_submodules(git: Git, commit: str, modules: Path, checkout: Path | None) -> dict[str, str]:
    """Those that will be an empty folder in every tree, nested ones too: path -> why."""
    found = {}
    for path, submodule in _deeply(git, commit, modules, checkout, "", _DEPTH):
        if submodule.lacking:
            found[shown(path)] = submodule.lacking
    return found


def _deeply(
    git: Git, commit: str, modules: Path, checkout: Path | None, above: str, depth: int
) -> Iterator[tuple[str, Submodule]]:
    for submodule in submodules_of(git, commit, modules, checkout):
        yield f"{above}{submodule.path}", submodule
        if submodule.source is not None and depth:
            inside = None if checkout is None else checkout / submodule.path
            below = f"{above}{submodule.path}/"
            nested = submodule.source / "modules"
            yield from _deeply(_on(git, submodule.source), submodule.commit, nested, inside, below, depth - 1)


def fill_submodules(repositories: Repositories, takeover: Takeover, in_tree: Git, commit: str) -> None:
    """Check submodules out from what the user has of them; what the user does not have stays an empty folder."""
    tree = in_tree.work_tree
    assert tree is not None
    if not (tree / ".gitmodules").is_file():
        return
    place = repositories.place
    checkout = place.root if place.root != place.common_dir else None
    with tempfile.TemporaryDirectory(dir=repositories.scratch) as folder:
        # of all that a call of git is told, a submodule's own git hears only of this file
        settings = Path(folder, "settings")
        env = {"GIT_CONFIG_GLOBAL": str(settings)}
        _fill(in_tree.with_(env=env), takeover, tree, commit, place.common_dir / "modules", checkout, _DEPTH)


def _fill(
    git: Git, takeover: Takeover, tree: Path, commit: str, modules: Path, checkout: Path | None, depth: int
) -> None:
    # `git submodule` finds its own way
    here = Git(execute=git.execute, cwd=tree, umask=git.umask, env=git.env)
    remote = takeover.remote if depth == _DEPTH else ""
    for submodule in submodules_of(git, commit, modules, checkout):
        key, inside = f"submodule.{submodule.name}.url", tree / submodule.path
        if submodule.source is None:
            url = url_beside(remote, submodule.url) if remote and submodule.url.startswith(("./", "../")) else None
            if url is not None and here.ask("config", "--get", key).status != 0:
                here.run("config", key, url)  # so that an agent who has the network can fetch it
            continue
        settings = takeover.settings | ({"lfs.url": file_url(str(submodule.source))} if takeover.large_files else {})
        text = config_text(settings)
        Path(here.env["GIT_CONFIG_GLOBAL"]).write_text(text, encoding="utf-8", errors="surrogateescape")
        local = here.with_(settings={key: str(submodule.source)})
        local.run("submodule", "--quiet", "update", "--init", "--", submodule.path)
        own = git_dir_of(inside)
        if own is None:
            continue
        with (own / "config").open("a", encoding="utf-8", errors="surrogateescape") as config:
            config.write(text)  # for the agent's git
        there = Git(execute=git.execute, cwd=inside, git_dir=own, work_tree=inside, umask=git.umask, env=git.env)
        there.ask("remote", "remove", "origin")  # it is the user's repository, and nothing of theirs is to be pushed to
        if depth and (inside / ".gitmodules").is_file():
            nested = None if checkout is None else checkout / submodule.path
            _fill(there, takeover, inside, submodule.commit, submodule.source / "modules", nested, depth - 1)


def empty_submodules(git: Git, tree: Path, commit: str) -> tuple[str, ...]:
    """Submodules that are an empty folder in a tree that we have just made."""
    if not (tree / ".gitmodules").is_file():
        return ()
    entries = tree_entries(git.run("ls-tree", "-r", "-z", commit).out)
    paths = [entry.path for entry in entries if entry.is_submodule]
    return tuple(shown(path) for path in paths if not (tree / path).is_dir() or not any((tree / path).iterdir()))


def _listed(git: Git, commit: str) -> dict[str, tuple[str, str]]:
    """`.gitmodules` of a commit: path -> name and URL."""
    listed = listed_settings(git.ask("config", "--no-includes", f"--blob={commit}:.gitmodules", "--list", "-z").out)
    found = {}
    for key, path in listed.items():
        if key.startswith("submodule.") and key.endswith(".path"):
            name = key.removeprefix("submodule.").removesuffix(".path")
            if name and ".." not in name.split("/") and not name.startswith("/"):
                found[path] = (name, listed.get(f"submodule.{name}.url", ""))
    return found


def _source(modules: Path, name: str, inside: Path | None) -> Path | None:
    if (modules / name / "HEAD").is_file():
        return modules / name
    own = inside / ".git" if inside is not None else None
    return own if own is not None and not own.is_symlink() and (own / "HEAD").is_file() else None


def _on(git: Git, git_dir: Path) -> Git:
    return Git(execute=git.execute, cwd=git_dir, git_dir=git_dir, umask=git.umask)
