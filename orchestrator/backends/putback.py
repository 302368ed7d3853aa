"""A checkout of the user's in which git stopped half-way: what it had already written is taken back."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.backends.gitrun import Git
from orchestrator.core.gitformats import Entry, bytes_of, paths_of, shown, tree_entries
from orchestrator.model.ids import Commit


def changed_in(git: Git, path: Path, old: Commit, new: Commit) -> frozenset[str]:
    """Paths in a checkout that are not as its index says; and those that are there although only `new` has them."""
    tracked = git.ask("diff", "--name-only", "--no-ext-diff", "--no-renames", "--ignore-submodules=all", "-z")
    added = git.ask("diff-tree", "-r", "--no-renames", "--diff-filter=A", "--name-only", "-z", old, new)
    there = (name for name in paths_of(added.out) if os.path.lexists(path / name))
    return frozenset((*paths_of(tracked.out), *there))


def put_back(git: Git, path: Path, old: Commit, new: Commit, before: frozenset[str]) -> tuple[str, ...]:
    """Undo the first half of a fast-forward from `old` to `new` whose second half failed.

    Only a path that was clean before, and that now is just what `new` says or is gone, is touched: nothing that a
    person wrote meanwhile.

    Args:
        before: what `changed_in` said before the fast-forward was begun.

    Returns: paths that could not be put back, fit to be shown.
    """
    if _index_is_at(git, old, new):
        git.ask("read-tree", "-m", "-u", new, old)
    touched = sorted(changed_in(git, path, old, new) - before)
    if not touched:
        return ()
    then = {entry.path: entry for entry in tree_entries(git.ask("ls-tree", "-r", "-z", "--full-tree", old).out)}
    now = {entry.path: entry for entry in tree_entries(git.ask("ls-tree", "-r", "-z", "--full-tree", new).out)}
    back: list[str] = []
    for name in touched:
        file = path / name
        if then.get(name) == now.get(name) or not _is_what(git, file, now.get(name)):
            continue
        if name in then:
            back.append(name)
        elif os.path.lexists(file):
            file.unlink()
            _remove_empty(file.parent, path)
    if back:
        git.ask("checkout-index", "--force", "-z", "--stdin", stdin=b"".join(bytes_of(name) + b"\0" for name in back))
    left = changed_in(git, path, old, new)
    return tuple(shown(name) for name in touched if name in left)


def _index_is_at(git: Git, old: Commit, new: Commit) -> bool:
    """Whether the index was moved although the branch was not."""
    moved = set(paths_of(git.ask("diff-tree", "-r", "--no-renames", "--name-only", "-z", old, new).out))
    staged = set(paths_of(git.ask("diff-index", "--cached", "--no-renames", "--name-only", "-z", new).out))
    return bool(moved) and not moved & staged


def _is_what(git: Git, file: Path, entry: Entry | None) -> bool:
    """Whether a file is exactly what git would have written there; or missing, which nobody's work is."""
    if not os.path.lexists(file):
        return True
    if entry is None or (file.is_dir() and not file.is_symlink()):
        return False
    if file.is_symlink():
        blob = git.ask("hash-object", "--no-filters", "--stdin", stdin=os.fsencode(os.readlink(file)))
    else:
        blob = git.ask("hash-object", "--", str(file))
    return blob.line == entry.object_id


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
