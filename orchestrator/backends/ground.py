"""What a daemon needs under its feet, looked at before it starts: room on the disk, a folder for worktrees."""

from __future__ import annotations

import os
import re
from pathlib import Path

from orchestrator.model.errors import ExitCode, OrchestratorError
from orchestrator.model.place import Place

#: file systems of other machines: SQLite's log and kernel locks hold only for the programs of one
REMOTE = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "afs",
        "ceph",
        "lustre",
        "gpfs",
        "beegfs",
        "ocfs2",
        "gfs2",
        "9p",
        "virtiofs",
    }
    | {f"fuse.{name}" for name in ("sshfs", "glusterfs", "ceph", "s3fs", "rclone", "curlftpfs", "davfs", "gcsfuse")}
)
ROOM_BYTES = 64 * 1024  #: a disk without even this is full


def check_room(output: Path) -> None:
    """Raises: OSError on a full disk, where the daemon could not even write down why it ends."""
    output.write_bytes(bytes(ROOM_BYTES))


def check_file_system(place: Place, *, may_be_remote: bool) -> None:
    """Raises: OrchestratorError for a state folder on a network disk, unless the person has allowed that."""
    kind = file_system_of(place.state_dir)
    if kind in REMOTE and not may_be_remote:
        raise OrchestratorError(
            f"{place.state_dir} lies on a network disk ({kind})",
            why="the ledger and its locks are not safe there: other machines can write at the same time",
            fix='keep the repository on a local disk; if only this machine uses it: network_disk = "allow" in '
            "orchestrator.toml",
        )


def file_system_of(path: Path, mounts: str | None = None) -> str:
    """The type of the file system that a path is on, as the system calls it; empty where it does not tell.

    Args:
        mounts: the text of `/proc/self/mounts`; None: look at it.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text(errors="surrogateescape")
        except OSError:
            return ""
    here, found, longest = os.path.realpath(path), "", -1
    for line in mounts.splitlines():
        _, folder, kind, *_ = line.split(" ")
        folder = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), folder)
        inside = here == folder or here.startswith(folder.rstrip("/") + "/")
        if inside and len(folder) >= longest:  # a later one hides an earlier one at the same place
            found, longest = kind, len(folder)
    return found


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
