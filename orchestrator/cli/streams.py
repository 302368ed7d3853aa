"""The three standard streams when something is wrong with them: closed, read by nobody any more, on a full disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


def open_closed() -> None:
    """Put /dev/null where a stream was closed, as by `>&-`; else the next file opened would take its place."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def is_lost(stream: TextIO) -> bool:
    """Whether nothing can be written there any more."""
    try:
        stream.flush()
    except OSError:
        return True
    return False


@contextmanager
def perhaps_unheard() -> Iterator[None]:
    """Go on when whoever read our output has seen enough: there is more to do than to print."""
    try:
        yield
    except (BrokenPipeError, SystemExit) as end:
        if not is_unread(end):
            raise
        give_up(sys.stdout)


def is_unread(end: BaseException) -> bool:
    """Whether this is how a write ends that nobody reads; typer and rich make a SystemExit of it."""
    return isinstance(end, BrokenPipeError) or isinstance(end.__context__, BrokenPipeError)


def give_up(stream: TextIO) -> None:
    """Let what is left for a lost stream go nowhere; Python would complain about it once more at exit."""
    if is_lost(stream):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
