"""References read as files, in git's own order: asking git costs a process for each."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from orchestrator.core.gitformats import is_commit_id, packed_refs
from orchestrator.model.ids import Commit


def read_reference(git_dir: Path, name: str) -> tuple[bool, Commit | None]:
    """What a reference by its full name points at, and whether the files could tell.

    Args:
        git_dir: the common directory; references of linked worktrees alone are not looked for.

    Returns: (False, None) where only git knows: a symbolic reference, another format, something half written.
    """
    try:
        if (git_dir / "reftable").exists():
            return False, None
        text = _text(git_dir / name)
        packed = _all_packed(git_dir) if text is None else {}
    except OSError:
        return False, None
    if text is not None:
        value = text.strip()
        return (True, Commit(value)) if is_commit_id(value) else (False, None)
    found = packed.get(name)
    return True, Commit(found) if found is not None else None


def reference_names(git_dir: Path, prefix: str) -> list[str]:
    """Names of references that begin so, in one of our own repositories. The prefix ends within the last part."""
    folder, _, start = prefix.rpartition("/")
    try:
        loose = [f"{folder}/{name}" for name in os.listdir(git_dir / folder) if name.startswith(start)]
    except (FileNotFoundError, NotADirectoryError):
        loose = []
    names = {name for name in loose if not name.endswith(".lock")}
    names |= {name for name in _all_packed(git_dir) if name.startswith(prefix)}
    return sorted(names)


def _all_packed(git_dir: Path) -> dict[str, str]:
    packed = git_dir / "packed-refs"
    try:
        seen = packed.stat()
    except FileNotFoundError:
        return {}
    return _packed(str(packed), seen.st_mtime_ns, seen.st_size, seen.st_ino)


def _text(path: Path) -> str | None:
    """A file's text; None when there is none: git has packed the reference, or there is no such reference."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return os.read(fd, 4096).decode("ascii", "replace")
    except IsADirectoryError:
        return None
    finally:
        os.close(fd)


@lru_cache(maxsize=4)
def _packed(path: str, _mtime_ns: int, _size: int, _inode: int) -> dict[str, str]:
    """The packed references, read again only when git has written the file anew, which it does under a new inode."""
    return packed_refs(Path(path).read_text(errors="surrogateescape"))
