"""What was put aside is deleted for good: only inside our trash, and never what a link points at."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from orchestrator.model.errors import RepositoryError
from orchestrator.model.place import Place

NOTE = "spare.json"  #: beside a tree that waited to be used again


def folders(place: Place) -> tuple[Path, ...]:
    """Where trash is: beside the worktrees, and in the state folder when a repository could not be moved there."""
    return (place.trash, place.state_dir / "trash")


def entries(place: Place) -> tuple[str, ...]:
    """What lies there, in order: as `PLAN/TREE/NUMBER`, and trees that were to be used again as `spares/NAME`."""
    found: set[str] = set()
    for top in folders(place):
        for above in (tree for plan in _children(top) for tree in _children(plan)):
            inside = [above] if _is_spare(above) else _children(above)
            found |= {str(path.relative_to(top)) for path in inside if is_ours(place, path, top)}
    return tuple(sorted(found))


def older_than(place: Place, age_s: float, now_s: float) -> tuple[str, ...]:
    """Entries that were put there longer ago than that.

    Args:
        now_s: seconds since the epoch, as the file system counts them.
    """

    def put_at(entry: str) -> float:
        # the time of the folder itself: a tree that is moved here keeps the times of what is in it
        return max((folder.lstat().st_ctime for folder in parts(place, entry)), default=now_s)

    return tuple(entry for entry in entries(place) if now_s - put_at(entry) > age_s)


def is_ours(place: Place, folder: Path, top: Path) -> bool:
    """Whether a folder below `top` was put there for this repository: settings can lead several to one."""
    state = str(place.state_dir)
    marks = [_text(folder / "tree" / ".git").removeprefix("gitdir: "), _text(folder / "git/objects/info/alternates")]
    told = [mark.strip().strip('"') for mark in marks if mark]
    if told:
        return any(mark == state or mark.startswith(f"{state}/") for mark in told)
    if not any(files for _, _, files in os.walk(folder)):
        return True  # a deletion was cut off right before its end
    note = _text(folder / NOTE)
    if note:
        return f'"state": {json.dumps(state)}' in note
    owner = "/".join(folder.relative_to(top).parts[:2])
    return place.owner_dir(owner).is_dir()


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="surrogateescape") if path.is_file() and not path.is_symlink() else ""
    except OSError:
        return ""


def _is_spare(folder: Path) -> bool:
    return folder.parent.name == "spares" and not folder.joinpath("1").is_dir()


def parts(place: Place, entry: str) -> tuple[Path, ...]:
    """The folders of one entry. Raises: RepositoryError for a name that leads out of the trash."""
    names = entry.split("/")
    whole = len(names) == 3 or (len(names) == 2 and names[0] == "spares")
    if not whole or any(name in {"", ".", ".."} or "\0" in name for name in names):
        raise RepositoryError(
            f"'{entry}' is nothing in the trash",
            why="entries are named PLAN/TREE/NUMBER",
            fix="`orchestrator worktree list` shows what is there",
        )
    found = []
    for top in folders(place):
        folder = top
        for name in names:
            if folder.is_symlink():
                break  # somebody put a link there: what it points at is not ours
            folder = folder / name
        else:
            if folder.is_dir() and not folder.is_symlink() and is_ours(place, folder, top):
                found.append(folder)
    return tuple(found)


def delete(place: Place, wanted: Sequence[str]) -> int:
    """Delete these entries; one that is gone already counts as deleted. Returns: the bytes that they took."""
    freed = 0
    for entry in wanted:
        for folder in parts(place, entry):
            size = size_of(folder)
            while folder.is_dir():
                try:
                    remove(folder)
                except FileNotFoundError:
                    continue  # a second prune deletes the same at the same time
            freed += size
            for above in tuple(folder.parents)[: entry.count("/")]:
                try:
                    above.rmdir()
                except OSError:
                    break  # there is more in it
    return freed


def remove(folder: Path) -> None:
    """Delete a folder of the trash, what says whose it is last, so that one cut off half way is known again."""
    open_up(folder)
    inside = [path for path in (folder / "tree").glob("*") if path.name != ".git"]
    for path in (*inside, *(path for path in folder.iterdir() if path.name not in {"tree", NOTE})):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    if (folder / "tree").is_dir():
        shutil.rmtree(folder / "tree")
    shutil.rmtree(folder)


def open_up(folder: Path) -> None:
    """Let folders that an agent made read-only be emptied; git writes its objects into such files, too."""
    for here, names, _ in os.walk(folder):
        for path in (here, *(os.path.join(here, name) for name in names)):
            found = os.lstat(path)
            if stat.S_ISDIR(found.st_mode) and found.st_mode & 0o700 != 0o700:
                os.chmod(path, found.st_mode | 0o700)


def size_of(folder: Path) -> int:
    """The bytes that a folder takes on the disk; a file with several names counts once, links are not followed."""
    total, seen = 0, set()
    for here, names, files in os.walk(folder):
        for name in (*names, *files):
            try:
                found = os.lstat(os.path.join(here, name))
            except OSError:
                continue
            if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
                if (found.st_dev, found.st_ino) in seen:
                    continue
                seen.add((found.st_dev, found.st_ino))
            total += found.st_blocks * 512
    return total


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return []
