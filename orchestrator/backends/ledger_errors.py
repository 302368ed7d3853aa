"""What can be wrong with the ledger's file, said to a person."""

from __future__ import annotations

from pathlib import Path

from orchestrator.model.errors import (
    FencedError,
    LedgerLostError,
    NothingError,
    OrchestratorError,
    SupersededError,
    UnsettledError,
)

#: beginning of SQLite's name for the error -> what happened, why (the error itself when empty), fix
_TROUBLES: dict[str, tuple[str, str, str]] = {
    "FULL": (
        "the ledger {path} cannot grow",
        "the disk is full",
        "make room on that disk; the daemon goes on by itself",
    ),
    "READONLY_DBMOVED": (
        "the ledger {path} was deleted or replaced while it was open",
        "",
        "put the file back, and start again",
    ),
    "READONLY": (
        "the ledger {path} cannot be written",
        "the file or its disk is read-only",
        "make the file and its folder writable for you",
    ),
    "NOTADB": (
        "{path} is not a ledger of orchestrator",
        "",
        "move the file away to begin a new ledger, or put a backup back; what has landed is safe in git",
    ),
    "CORRUPT": (
        "the ledger {path} is damaged",
        "",
        "keep a copy of the file, and put a backup back; what has landed is safe in git",
    ),
    "BUSY": (
        "the ledger {path} is being written by another program",
        "only the daemon writes it, and one transaction at a time",
        "close whatever else has the file open for writing, such as an `sqlite3` shell",
    ),
    "CANTOPEN": (
        "the ledger {path} cannot be opened",
        "the file or its folder is not readable and writable for you",
        "make both yours; the folder has to be writable even for reading",
    ),
    "IOERR": (
        "the disk refused to read or write the ledger {path}",
        "",
        "look at the disk and the system's log; nothing recorded so far is lost by this",
    ),
}
_TROUBLES |= {"LOCKED": _TROUBLES["BUSY"], "PERM": _TROUBLES["CANTOPEN"], "AUTH": _TROUBLES["CANTOPEN"]}


def sqlite_trouble(name: str, path: Path, detail: str) -> OrchestratorError | None:
    """What to tell a person about an error of SQLite, such as `IOERR_WRITE`; None when it is our bug."""
    for beginning, (message, why, fix) in _TROUBLES.items():
        if name.startswith(beginning):
            return OrchestratorError(message.format(path=path), why=why or detail, fix=fix)
    return None


def not_a_ledger(path: Path) -> OrchestratorError:
    message, _, fix = _TROUBLES["NOTADB"]
    return OrchestratorError(message.format(path=path), why="it is a database of another program", fix=fix)


def damaged(path: Path, detail: str) -> OrchestratorError:
    message, _, fix = _TROUBLES["CORRUPT"]
    return OrchestratorError(message.format(path=path), why=detail, fix=fix)


def chain_broken(path: Path, seq: int) -> OrchestratorError:
    return OrchestratorError(
        f"the ledger {path} is not as it was written, from event {seq} on",
        why="its chain of hashes is broken there: the file was changed by something else, or is damaged",
        fix="keep a copy of the file, and put a backup back; what has landed is safe in git",
    )


def replaced(path: Path) -> LedgerLostError:
    return LedgerLostError(
        f"the ledger {path} was deleted or replaced while the daemon was using it",
        why="what is recorded now would be lost with the old file",
        fix="end the daemon with `orchestrator stop --detach`, put the file back, and start again",
    )


def unsafe_settings(path: Path, name: str, found: object, expected: object) -> OrchestratorError:
    return OrchestratorError(
        f"the ledger {path} cannot be kept safely",
        why=f"SQLite's {name} is {found!r} here instead of {expected!r}; some network file systems do that",
        fix="keep the repository on a local disk",
    )


def cannot_be_made(path: Path, error: OSError) -> OrchestratorError:
    return OrchestratorError(
        f"the ledger {path} cannot be made",
        why=error.strerror or str(error),
        fix="make its folder yours and writable, and see that the disk has room",
    )


def too_new(path: Path, why: str) -> OrchestratorError:
    return OrchestratorError(
        f"the ledger {path} was written by a newer version of orchestrator",
        why=why,
        fix="use that version again, or a later one",
    )


def not_copied(path: Path, error: OSError, version: int) -> OrchestratorError:
    return OrchestratorError(
        f"the ledger {path} is of version {version}, and no copy of it can be made before it is brought up to date",
        why=error.strerror or str(error),
        fix=f"make room for {path.parent / 'backups'} and make that folder yours; the ledger is as it was",
    )


def acknowledged_lost(path: Path, seq: int, found: int) -> LedgerLostError:
    return LedgerLostError(
        f"the ledger {path} has lost what was recorded in it",
        why=f"it ends at event {found} now, and {seq} were recorded; nothing more is written to it",
        fix="look at the disk, then `orchestrator stop --detach` and `orchestrator recover`; agents go on meanwhile",
    )


def unsettled(path: Path, detail: str) -> UnsettledError:
    return UnsettledError(
        f"it is not known yet whether the ledger {path} took the last records",
        why=f"the disk refused to write them{f': {detail}' if detail else ''}",
        fix="look at the disk and the system's log; it is tried again until it is known",
    )


def fenced(what: str, token: int, newest: int) -> FencedError:
    return FencedError(
        f"{what} carries token {token}, and {newest} has been given out since",
        why="the claim that it belongs to was replaced by a newer one",
        fix="nothing: what the earlier holder did is kept, and counts no longer",
    )


def superseded(path: Path) -> SupersededError:
    return SupersededError(
        f"another daemon has begun to write the ledger {path}",
        why="it began after this one, which must not write any more; the lock file was removed or replaced",
        fix="nothing: the newer daemon goes on, and this one ends",
    )


def nothing_yet(path: Path) -> NothingError:
    return NothingError(
        "nothing has run in this repository yet",
        why=f"there is no ledger at {path}",
        fix="write a plan with `orchestrator plan new`, and run it with `orchestrator start`",
    )
