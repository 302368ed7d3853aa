"""A text file of the user's, made or replaced whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path

from orchestrator.model.errors import OrchestratorError, UsageError


def read_file(path: Path) -> str:
    """The text of an ordinary file. Raises: OSError, for a pipe or a device too, which might never end."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        kind = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(kind):
            raise OSError(errno.EINVAL, "it is no ordinary file")
        return file.read().decode("utf-8")


def create(path: Path, text: str) -> None:
    """Make a file, and the folders to it. Raises: UsageError when there is something, OrchestratorError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = _written(path.parent, path.name, text, mode=0o666 & ~_umask())
        try:
            os.link(fresh, path)  # unlike a rename it refuses to take the place of another file
        except FileExistsError:
            raise
        except OSError:
            if os.path.lexists(path):
                raise FileExistsError(path) from None
            fresh.rename(path)  # some file systems have no links
        finally:
            with contextlib.suppress(FileNotFoundError):
                fresh.unlink()
    except FileExistsError:
        raise exists_already(path) from None
    except OSError as error:
        raise _unwritable(path, error) from error


def replace(path: Path, text: str, *, instead_of: bytes) -> None:
    """Put a text in the place of a file's contents, keeping its mode; a symbolic link stays one.

    Raises: UsageError when it no longer holds `instead_of`; OrchestratorError when it cannot be written.
    """
    try:
        real = path.resolve(strict=True)
        if real.read_bytes() != instead_of:
            raise UsageError(
                f"{path} was changed by somebody else just now",
                why="it no longer holds what was read",
                fix="run the same again",
            )
        fresh = _written(real.parent, real.name, text, mode=stat.S_IMODE(real.stat().st_mode))
        try:
            fresh.replace(real)
        finally:
            with contextlib.suppress(FileNotFoundError):
                fresh.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error


def replace_or_create(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Make a file that is made by us hold this text; does nothing when it does. Raises: OrchestratorError."""
    try:
        if path.exists() and path.read_bytes() == text.encode():
            return
        _written(path.parent, path.name, text, mode=mode).replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error


def exists_already(path: Path) -> UsageError:
    return UsageError(
        f"{path} is there already", why="an existing file is never overwritten", fix="choose another name, or move it"
    )


def _written(folder: Path, name: str, text: str, *, mode: int) -> Path:
    """A new file beside the real one, on the disk for certain."""
    fd, fresh = tempfile.mkstemp(prefix=f".{name[:100]}.", dir=folder)
    try:
        with os.fdopen(fd, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(fresh, mode)
    except BaseException:
        os.unlink(fresh)
        raise
    return Path(fresh)


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current


def _unwritable(path: Path, error: OSError) -> OrchestratorError:
    return OrchestratorError(
        f"{path} cannot be written",
        why=error.strerror or str(error),
        fix="make the folder writable and see that the disk has room; nothing was changed",
    )
