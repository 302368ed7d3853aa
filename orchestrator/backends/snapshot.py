"""A worktree as git would commit it, through an index of ours: nothing that the agent configured is ever run."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from orchestrator.backends.candidates import folders_of
from orchestrator.backends.gitrun import Git
from orchestrator.backends.leftovers import submodule_head
from orchestrator.core.gitformats import bytes_of, index_entries, listed_settings, marked_paths, paths_of
from orchestrator.core.gitsettings import filter_failure, without_filters
from orchestrator.model.ids import Commit

_SUBMODULE_MODE = b"\x00\x00\xe0\x00"  #: 160000 as an index entry holds it


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The tree as git would commit it."""

    tree: str
    nested: tuple[str, ...]  #: repositories inside it that its commit does not know; not part of `tree`
    error: str = ""  #: why it is not complete
    is_exact: bool = False  #: `changed` and `new` are all that differs from the parent, line endings and filters aside
    changed: tuple[str, ...] = ()
    new: tuple[str, ...] = ()


def index_of(owner_dir: Path, commit: Commit) -> Path:
    """Where the index is kept that we wrote when a tree of this owner was exactly that commit.

    With it git knows by looking at a file's inode alone that it has not changed since.
    """
    return owner_dir / f"index-{commit}"


def keep_index(index: Path, owner_dir: Path, commit: Commit) -> None:
    """Keep an index that says what the tree is at that commit."""
    to = index_of(owner_dir, commit)
    half = to.with_name(f".{to.name}")
    shutil.copy2(index, half)  # with its time: git tells by it which files may have changed unseen
    half.replace(to)


def is_same(admin: Path | None, index: Path) -> bool:
    """Whether a worktree's own index is byte for byte the one that was kept."""
    try:
        return admin is not None and (admin / "index").read_bytes() == index.read_bytes()
    except OSError:
        return False


def has_submodules(index: Path) -> bool:
    """Whether an index holds submodules; now and then it only looks so."""
    return _SUBMODULE_MODE in index.read_bytes()


def snapshot(ours: Git, tree: Path, parent: Commit, ignore: tuple[str, ...], index: Path, owner_dir: Path) -> Snapshot:
    """Tracked changes and untracked files that are not ignored.

    Args:
        ignore: paths that `prepare` put there.
        index: where the index is made; nothing may be there yet.
        owner_dir: where indexes of this tree are kept.
    """
    # one flush for all new objects instead of one for each; the index is nothing that has to last
    git = ours.with_(work_tree=tree, index=index, settings={"core.fsyncMethod": "batch", "core.fsync": "all,-index"})
    _begin(git, parent, index, owner_dir)
    passed_over = [path.strip("/") for path in ignore]
    with_submodules = has_submodules(index)
    if with_submodules:
        for entry in index_entries(git.run("ls-files", "--stage", "-z").out):
            if entry.is_submodule:
                passed_over += _take_submodule(git, tree, entry.path, entry.object_id)
    listing = git.run("ls-files", "-z", "-t", "--modified", "--deleted", "--others", "--exclude-standard").out
    found = marked_paths(listing, passed_over)
    # git looks into no repository inside ours, and tells it as a folder
    nested = tuple(path.rstrip("/") for path in found.others if path.endswith("/"))
    # and tells nothing of one that was begun in a folder of ours
    inside = (folder for folder in folders_of(ours, parent) if os.path.lexists(tree / folder / ".git"))
    nested += tuple(folder for folder in inside if folder not in passed_over)
    gone = [path for path in found.changed if not _is_file(tree / path)]
    missing = set(gone)
    there = [path for path in (*found.changed, *found.others) if path not in missing and not path.endswith("/")]
    if not gone and not there and not with_submodules:
        return Snapshot(tree=ours.tree_of(parent), nested=nested)
    error = ""
    if gone:
        git.run("update-index", "-z", "--force-remove", "--stdin", stdin=_listed(gone))
    if there:
        answer = git.ask("update-index", "-z", "--add", "--replace", "--stdin", stdin=_listed(there))
        if answer.status != 0 and filter_failure(answer.err):
            # what is kept must be all there, if need be unfiltered
            error = answer.err.strip()
            git = git.with_(settings=without_filters(listed_settings(git.run("config", "--list", "-z").out)))
            git.ask("update-index", "-z", "--add", "--replace", "--stdin", stdin=_listed(there))
        elif answer.status != 0:  # it stops at the first that cannot be read; this takes the rest
            error = _add_the_rest(git, [*passed_over, *nested]) or answer.err.strip() or "git update-index failed"
    return Snapshot(
        tree=git.run("write-tree").line,
        nested=nested,
        error=error,
        is_exact=not error and not with_submodules,
        changed=found.changed,
        new=tuple(path for path in found.others if not path.endswith("/")),
    )


def is_untouched(ours: Git, tree: Path, commit: Commit, index: Path, owner_dir: Path) -> bool:
    """Whether a tree is exactly that commit, with nothing beside it, ignored or not."""
    kept = index_of(owner_dir, commit)
    if not kept.is_file() or not tree.is_dir() or tree.is_symlink():
        return False
    shutil.copy2(kept, index)
    git = ours.with_(work_tree=tree, index=index)
    answer = git.ask("ls-files", "-z", "--modified", "--deleted", "--others", "--directory")
    return answer.status == 0 and not answer.out


def _begin(git: Git, parent: Commit, index: Path, owner_dir: Path) -> None:
    """An index of the parent, with what git knew of the files when we wrote them, where that was kept."""
    kept = index_of(owner_dir, parent)
    if kept.is_file():
        shutil.copy2(kept, index)
        return
    other = next(iter(sorted(owner_dir.glob("index-*"))), None)
    if other is not None:
        shutil.copy2(other, index)
        if git.ask("read-tree", "-m", parent).status == 0:
            return
        index.unlink(missing_ok=True)
    git.run("read-tree", parent)


def _is_file(path: Path) -> bool:
    """Whether git would take what is there as one file: anything but a folder or nothing."""
    return path.is_symlink() or (os.path.lexists(path) and not path.is_dir())


def _listed(paths: list[str]) -> bytes:
    return b"".join(bytes_of(path) + b"\0" for path in paths)


def _add_the_rest(git: Git, excluded: list[str]) -> str:
    """Add whatever can be added. Returns: what git says of the rest."""
    untracked = paths_of(git.run("ls-files", "--others", "--exclude-standard", "-z").out)
    tracked = paths_of(git.run("ls-files", "-z").out)
    # `git add` takes the exclusion of a path that `.gitignore` covers as a wish to add it, and fails
    known = [path for path in excluded if any(f"{one}/".startswith(f"{path}/") for one in (*tracked, *untracked))]
    specs = _listed([".", *(f":(top,exclude,literal){path}" for path in known)])
    options = ("--all", "--ignore-errors", "--pathspec-from-file=-", "--pathspec-file-nul")
    return git.ask("add", *options, stdin=specs).err.strip()


def _take_submodule(git: Git, tree: Path, path: str, recorded: str) -> list[str]:
    """Settle one submodule in the index. Returns: the paths that `git add` must pass over.

    `git add` would run `git status` inside it, under a configuration that the agent could have written.
    """
    here = tree / path
    if here.is_dir() and not here.is_symlink():
        if not os.path.lexists(here / ".git"):
            if not any(here.iterdir()):
                return [path]
        else:
            head = submodule_head(here)
            if head is not None and head != recorded:
                git.run("update-index", "--cacheinfo", f"160000,{head},{path}")
            return [path]
    git.run("update-index", "-z", "--force-remove", "--stdin", stdin=_listed([path]))
    return []
