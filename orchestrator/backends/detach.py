"""Starts the daemon so that it outlives the terminal it was asked for from."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence


def start_detached(
    argv: Sequence[str], *, cwd: str, environ: Mapping[str, str], output: str
) -> Callable[[], int | None]:
    """Start a program in a session of its own, its output in a file.

    Returns: a function that gives its exit status, or None while it lives.
    """
    with open(output, "wb") as out:
        process = subprocess.Popen(
            argv, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )

    return process.poll
