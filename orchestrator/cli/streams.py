"""The three standard streams when something is wrong with them: closed, read by nobody any more, on a full disk."""

from __future__ import annotations

import os
import sys
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


def give_up(stream: TextIO) -> None:
    """Let what is left for a lost stream go nowhere; Python would complain about it once more at exit."""
    if is_lost(stream):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
