"""The `Preparer` port: what a fresh tree needs and git does not carry comes from the user's checkout."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from anyio import to_thread

from orchestrator.core.gitformats import ignore_pattern
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.place import Place


class TreePreparer:
    """Copies and links from `place.root`; doing it twice gives the same tree."""

    def __init__(self, place: Place) -> None:
        self._root = place.root

    async def prepare(self, worktree: str, git_dir: str, copy: Sequence[str], link: Sequence[str]) -> None:
        await to_thread.run_sync(self._prepare, Path(worktree), Path(git_dir), tuple(copy), tuple(link))

    def _prepare(self, tree: Path, git_dir: Path, copy: tuple[str, ...], link: tuple[str, ...]) -> None:
        # excluded first: a crash in the middle must not leave a file that counts as a change
        _exclude(git_dir / "info" / "exclude", (*copy, *link))
        for path in copy:
            self._copy(self._source(path, "copy"), self._destination(tree, path))
        for path in link:
            self._link(self._source(path, "link"), self._destination(tree, path), path)

    def _source(self, path: str, verb: str) -> Path:
        parts = Path(path).parts
        if not parts or Path(path).is_absolute() or ".." in parts:
            raise OrchestratorError(
                f"'{path}' cannot be prepared",
                why="paths under `prepare` lie inside the repository",
                fix=f"correct it in the plan's `prepare: {verb}:`",
            )
        source = self._root / path
        if not os.path.lexists(source):
            raise OrchestratorError(
                f"'{path}' is not in {self._root}",
                why=f"the plan wants to {verb} it from there into every fresh tree",
                fix=f"put it there, or take it out of the plan's `prepare: {verb}:`",
            )
        return source

    def _destination(self, tree: Path, path: str) -> Path:
        """The place in the tree, its folders made. Raises: OrchestratorError if a link leads elsewhere."""
        folder = tree
        for part in Path(path).parts[:-1]:
            folder = folder / part
            if folder.is_symlink():
                raise OrchestratorError(
                    f"'{path}' cannot be put into {tree}",
                    why=f"'{folder.relative_to(tree)}' is a symbolic link there, so it would land somewhere else",
                    fix="name the real place in the plan's `prepare`",
                )
            folder.mkdir(exist_ok=True)
        return tree / path

    def _copy(self, source: Path, destination: Path) -> None:
        if source.is_symlink():
            _put_link(_kept_target(source, self._root), destination)
        elif source.is_dir():
            if destination.is_symlink():
                destination.unlink()
            destination.mkdir(exist_ok=True)
            for child in sorted(source.iterdir()):
                self._copy(child, destination / child.name)
            shutil.copystat(source, destination)
        elif source.is_file():
            if destination.is_symlink():
                destination.unlink()  # copying would write through it
            shutil.copy2(source, destination)

    def _link(self, source: Path, destination: Path, path: str) -> None:
        if destination.is_dir() and not destination.is_symlink() and any(destination.iterdir()):
            raise OrchestratorError(
                f"'{path}' cannot be linked",
                why="the repository itself has files there",
                fix="take it out of the plan's `prepare: link:`, or copy it",
            )
        if destination.is_dir() and not destination.is_symlink():
            destination.rmdir()
        _put_link(str(source), destination)


def _kept_target(link: Path, root: Path) -> str:
    """What a copied link has to say to lead to the same place: relative inside the checkout, else absolute."""
    target = os.readlink(link)
    lead = Path(os.path.normpath(link.parent / target))
    return target if Path(target).is_absolute() or lead.is_relative_to(root) else str(lead)


def _put_link(target: str, destination: Path) -> None:
    if os.path.lexists(destination):
        if destination.is_symlink() and os.readlink(destination) == target:
            return
        destination.unlink()
    destination.symlink_to(target)


def _exclude(file: Path, paths: tuple[str, ...]) -> None:
    """Add the paths to an exclude file that may already have them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = file.read_text(errors="surrogateescape") if file.exists() else ""
    known = set(text.splitlines())
    fresh = [pattern for pattern in dict.fromkeys(map(ignore_pattern, paths)) if pattern not in known]
    if fresh:
        if text and not text.endswith("\n"):
            text += "\n"
        file.write_text(text + "\n".join(fresh) + "\n", errors="surrogateescape")
