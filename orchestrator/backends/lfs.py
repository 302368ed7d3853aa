"""Large files of git-lfs: attempts see their contents, and what an agent adds reaches the user's store.

git keeps pointers; git-lfs keeps the contents in a folder of its own, `lfs/objects` beside the repository. It looks for
them beside the repositories that objects are borrowed from, too. So `repo.git/lfs` leads to the user's store, each
attempt reads from there, and writes into its own: an agent's `git lfs prune` reaches nothing of anybody else.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from orchestrator.core.gitsettings import LFS, file_url
from orchestrator.model.place import Place

_OBJECT = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeFiles:
    """Where the contents of large files are."""

    store: Path  #: the user's
    ours: Path  #: `repo.git`
    umask: int  #: for what is put into the user's store

    def settings(self, git_dir: Path, *, trusted: bool) -> dict[str, str]:
        """For one of our repositories. The URL keeps git-lfs from the network, whatever an agent's tree says."""
        return {
            "lfs.storage": str(self.store if trusted else git_dir / LFS),
            "lfs.url": file_url(str(self.ours)),
            "lfs.locksVerify": "false",
            "lfs.repositoryFormatVersion": "0",
        }

    def share(self) -> None:
        """Let `repo.git` lead to the user's store."""
        link = self.ours / LFS
        if link.is_symlink() and os.readlink(link) != str(self.store):
            link.unlink()
        if not os.path.lexists(link):
            link.symlink_to(self.store)

    def has(self, name: str) -> bool:
        return self._place(name).is_file()

    def bring_home(self, git_dir: Path) -> None:
        """Copy what an attempt has added into the user's store; only what is what its name says."""
        for name, path in _objects_in(git_dir / LFS / "objects"):
            if not self.has(name):
                self._take(name, path)

    def _place(self, name: str) -> Path:
        return self.store / "objects" / name[:2] / name[2:4] / name

    def _take(self, name: str, source: Path) -> None:
        place = self._place(name)
        waiting = self.store / "tmp"  # git-lfs clears it by itself
        for folder in (self.store, waiting, self.store / "objects", place.parent.parent, place.parent):
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o777 & ~self.umask)
        fd, half = tempfile.mkstemp(dir=waiting)
        try:
            with os.fdopen(fd, "wb") as file:
                if _copied(source, file) != name:
                    return
                file.flush()
                os.fsync(file.fileno())
            os.chmod(half, 0o666 & ~self.umask)
            Path(half).replace(place)
        finally:
            Path(half).unlink(missing_ok=True)


def large_files(settings: Mapping[str, str], listed: Mapping[str, str], place: Place, umask: int) -> LargeFiles | None:
    """None when the user has no git-lfs."""
    if not any(name.startswith(f"filter.{LFS}.") for name in settings):
        return None
    store = place.common_dir / os.path.expanduser(listed.get("lfs.storage") or LFS)
    return LargeFiles(store=store, ours=place.repo_git, umask=umask)


def _objects_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """Objects by name; links are not followed, as an agent has made them."""
    if folder.is_symlink() or folder.parent.is_symlink():
        return
    for at, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(at) / name
            if _OBJECT.fullmatch(name) and not path.is_symlink():
                yield name, path


def _copied(source: Path, file: IO[bytes]) -> str:
    """Copy one object. Returns: its true name; empty when it is no plain file."""
    try:
        fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    with os.fdopen(fd, "rb") as reading:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return ""
        seen = hashlib.sha256()
        while chunk := reading.read(_CHUNK_BYTES):
            seen.update(chunk)
            file.write(chunk)
    return seen.hexdigest()
