"""Reading the ends of files that are still being written."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

BLOCK = 64 * 1024
#: A line without an end is cut here, so that a program that never breaks its lines cannot fill our memory.
LONGEST = 1024 * 1024


def as_line(raw: bytes) -> str:
    """One line as a person would have seen it: what a carriage return overwrote is gone."""
    return raw.rstrip(b"\r").rsplit(b"\r", 1)[-1].decode("utf-8", errors="replace")


def _opened(path: Path) -> BinaryIO:
    """A file to read. Raises: FileNotFoundError, also when what stands there is none.

    The folder of a run belongs to the agent: a link there may lead to a file that is nobody's output, and a pipe
    would keep us for ever.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if path.is_symlink() or not path.is_file():
            raise FileNotFoundError(path) from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(path)
    return open(fd, "rb")


def last_lines(path: Path, number: int | None, *, whole: bool = False) -> tuple[list[str], int]:
    """The last lines of a file (None: all), and the offset behind them. A file that is not there has none.

    With `whole`, a last line that has no end yet is left for later.
    """
    try:
        with _opened(path) as file:
            end = file.seek(0, 2)
            start, data = end, b""
            if number is None:
                file.seek(0)
                data = file.read(end)
            else:
                while start > 0 and data.count(b"\n") <= number:
                    size = min(BLOCK, start)
                    start -= size
                    file.seek(start)
                    data = file.read(size) + data
    except (FileNotFoundError, NotADirectoryError):
        return [], 0
    lines = data.split(b"\n")
    unfinished = lines.pop()
    if whole:
        end -= len(unfinished)
    elif unfinished:
        lines.append(unfinished)
    wanted = lines if number is None else lines[len(lines) - min(number, len(lines)) :]
    return [as_line(raw) for raw in wanted], end


def last_line(path: Path) -> str:
    """The last line that says anything; empty when there is none."""
    lines, _ = last_lines(path, 20)
    return next((row.strip() for row in reversed(lines) if row.strip()), "")


class Tail:
    """The lines that are appended to a file from now on."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._path = path
        self._offset = offset
        self._rest = b""

    def new_lines(self, *, ended: bool = False) -> list[str]:
        """Whole lines since the last call; with `ended` also what has no line end."""
        try:
            with _opened(self._path) as file:
                if file.seek(0, 2) < self._offset:
                    self._offset, self._rest = 0, b""  # it was replaced by a new file
                file.seek(self._offset)
                data = file.read()
        except (FileNotFoundError, NotADirectoryError):
            data = b""
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        if self._rest and (ended or len(self._rest) > LONGEST):
            whole.append(self._rest)
            self._rest = b""
        return [as_line(raw) for raw in whole]


class RotatedTail:
    """The lines of a file that is put aside now and then, as `<path>.1`, `<path>.2` and so on, and begun anew.

    The file that was read last stays open: so what was written to it before it was put aside, or even dropped, is not
    missed, and no other file can be mistaken for it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""

    def new_lines(self) -> list[str]:
        """Whole lines since the last call, the first time all there are: of every file, in the order written."""
        lines = self._read()
        for file in self._newer():
            if self._file is not None:
                self._file.close()
            if self._rest:  # it was put aside in the middle of a line
                lines.append(self._rest)
            self._file, self._rest = file, b""
            lines += self._read()
        return [as_line(raw) for raw in lines]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _read(self) -> list[bytes]:
        if self._file is None:
            return []
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)  # somebody emptied it
            self._rest = b""
        *whole, self._rest = (self._rest + self._file.read()).split(b"\n")
        return whole

    def _newer(self) -> list[BinaryIO]:
        """The files that were begun after the one that was read last, oldest first.

        They are opened newest first: one that is put aside in between is seen twice, and none is missed.
        """
        last = os.fstat(self._file.fileno()).st_ino if self._file is not None else None
        files: dict[int, BinaryIO] = {}
        for path in rotated(self._path):
            try:
                file = path.open("rb")
            except OSError:
                continue
            inode = os.fstat(file.fileno()).st_ino
            if inode == last or inode in files:
                file.close()
                if inode == last:
                    break
            else:
                files[inode] = file
        return list(reversed(files.values()))


def rotated(path: Path) -> list[Path]:
    """The file and those that were put aside, newest first."""
    number = 1
    found = [path]
    while (older := path.with_name(f"{path.name}.{number}")).exists():
        found.append(older)
        number += 1
    return found
