"""What kind of trouble an error is: the machine is full or exhausted, a person can act on it, or it is our fault."""

from __future__ import annotations

import errno
import hashlib
import os
import traceback
from collections.abc import Iterator

from orchestrator.core.redact import redact
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.fact import FaultSeen

TAIL_LINES, TAIL_CHARS = 12, 2000  #: of a traceback that a person is shown

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
#: as programs that we start say it; "try again" alone may be about anything
_EXHAUSTED_WORDS = tuple(os.strerror(number) for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM))
_FULL_WORDS = (*(os.strerror(number) for number in _FULL), "the disk is full")


def is_full(error: BaseException | str) -> bool:
    """Whether it is about a disk without room, in the words of the system, which git repeats."""
    return _has(error, _FULL) or any(words in str(error) for words in _FULL_WORDS)


def is_unwritable(error: BaseException | str) -> bool:
    """Whether a disk takes nothing just now: it has no room, or was made read-only after an error."""
    return is_full(error) or _has(error, frozenset({errno.EROFS})) or os.strerror(errno.EROFS) in str(error)


def is_exhausted(error: BaseException) -> bool:
    """Whether the machine has no open file, process or memory left for us just now."""
    if isinstance(error, MemoryError) or _has(error, _EXHAUSTED):
        return True
    said = str(error)
    if isinstance(error, OrchestratorError) and error.why == os.strerror(errno.EAGAIN):
        return True
    return any(words in said for words in _EXHAUSTED_WORDS) or ("fork" in said and os.strerror(errno.EAGAIN) in said)


def _has(error: BaseException | str, numbers: frozenset[int]) -> bool:
    seen = error if isinstance(error, BaseException) else None
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in numbers:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def is_fault(error: BaseException) -> bool:
    """Whether it is an error of our own: nothing that a person can act on, and no trouble of the machine."""
    if isinstance(error, BaseExceptionGroup):
        return any(is_fault(inner) for inner in error.exceptions)
    if not isinstance(error, Exception) or isinstance(error, OrchestratorError | OSError):
        return False
    return not (is_full(error) or is_exhausted(error))


def fault_of(where: str, error: BaseException, owner: str | None = None) -> FaultSeen:
    """The fact that tells of an error of our own."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    said = str(error).split("\n", 1)[0][:200]
    return FaultSeen(
        where=where,
        error=redact(f"{type(error).__name__}: {said}" if said else type(error).__name__),
        digest=hashlib.sha256("\n".join(_frames(error)).encode()).hexdigest()[:16],
        tail=redact("\n".join(lines[-TAIL_LINES:])[-TAIL_CHARS:]),
        owner=owner,
    )


def _frames(error: BaseException) -> Iterator[str]:
    """What two equal errors have in common: their kind, and where they came from."""
    yield type(error).__qualname__
    for frame in traceback.extract_tb(error.__traceback__):
        yield f"{frame.filename}:{frame.name}:{frame.lineno}"
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _frames(inner)
