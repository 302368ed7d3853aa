"""The state at one event, kept in a file beside the ledger, so that a start need not fold everything again.

It is never the truth: what was written by another version of the fold, is not whole, or does not belong to an event of
this very ledger is ignored, and the whole ledger is folded. Three lines: a digest of the rest, a header, the state.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a kept state belongs to."""

    ledger: str  #: id of the ledger
    seq: int  #: of the last event in the state
    hash: str  #: of that event
    token: int  #: the highest given out by then
    code: str  #: of the fold
    format: int = _FORMAT


@cache
def code_version() -> str:
    """Which program folds events and makes rows of them: another text of it may come to another state."""
    from importlib.resources import files

    package = files("orchestrator")
    folders = [package.joinpath("model"), package.joinpath("core")]
    texts = [text for folder in folders for text in folder.iterdir() if text.name.endswith(".py")]
    texts += [package.joinpath("wire.py"), package.joinpath("engine/projections.py")]
    told = hashlib.sha256()
    for text in sorted(texts, key=str):
        told.update(text.name.encode() + b"\0" + text.read_bytes())
    return told.hexdigest()


def state_file(ledger: Path) -> Path:
    return ledger.with_suffix(".state")


def keep(path: Path, header: Header, state: bytes) -> None:
    """Replace the kept state, whole and durable or not at all. Raises: OSError."""
    content = json.dumps(asdict(header)).encode() + b"\n" + state
    part = path.with_suffix(".state.part")
    part.unlink(missing_ok=True)
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb") as file:
        file.write(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
        file.flush()
        os.fsync(file.fileno())
    # the folder is not synced: an old state is as good, and a torn one is seen
    part.replace(path)


def kept(path: Path) -> tuple[Header, bytes] | None:
    """The kept state and what it belongs to; None when there is none, or it is not as it was written."""
    try:
        digest, _, content = path.read_bytes().partition(b"\n")
        if hashlib.sha256(content).hexdigest().encode() != digest:
            return None
        header, _, state = content.partition(b"\n")
        known = Header(**json.loads(header))
        return (known, state) if known.format == _FORMAT else None
    except (OSError, ValueError, TypeError):
        return None
