"""What a daemon needs under its feet, looked at before it starts: room on the disk, a folder for worktrees."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.model.errors import ExitCode, OrchestratorError
from orchestrator.model.place import Place

ROOM_BYTES = 64 * 1024  #: a disk without even this is full


def check_room(output: Path) -> None:
    """Raises: OSError on a full disk, where the daemon could not even write down why it ends."""
    output.write_bytes(bytes(ROOM_BYTES))


def check_worktrees(place: Place) -> None:
    """Raises: OrchestratorError when no worktree could ever be made; each attempt would fail by itself."""
    folder = place.worktrees
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise OrchestratorError(
            f"worktrees cannot be made in {place.worktrees}",
            why=f"{folder} is not a folder that you may write to",
            fix='name another folder in orchestrator.toml: worktrees = "..."',
        )


def ended_while_starting(place: Place, output: str, code: int) -> OrchestratorError:
    """The error that a daemon wrote as its last words, else all that it wrote."""
    said = output[-2000:].strip()
    message, _, rest = said.partition("\n  why: ")
    why, found, fix = rest.partition("\n  fix: ")
    if found and "\n" not in message:
        error = OrchestratorError(message, why=why, fix=fix)
        error.exit_code = ExitCode(code) if code in set(ExitCode) else error.exit_code
        return error
    return OrchestratorError(
        "the daemon ended while starting", why=said or f"exit status {code}", fix=f"see {place.daemon_log}"
    )
