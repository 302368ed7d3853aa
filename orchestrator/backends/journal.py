"""The ledger as text: `journal/<day>.jsonl`, one line per event, written after the commit and never before it.

A file begins with a header, then come events, effects that were asked for, and marks:

    {"journal":1,"ledger":"<id>","first":1,"before":"<hash>","note":"..."}
    {"seq":1,"at":"...","type":"daemon_began","plan":null,...,"data":{...},"prev":"<hash>","hash":"<hash>"}
    {"asked":"<key>","kind":"...","request":{...},"after":1}
    {"mark":1,"hash":"<hash>","effect":1,"todo":["<key>"]}

Everything up to a mark is whole and on the disk; what follows the last one is cut off and written again. It is only
ever added to. When it is missing, cut short, or of another ledger, it is put aside as `journal.old` and made anew. No
start reads it.

What looks like a secret, and every known one, is masked. A line with a mask says `"redacted":true` and keeps the hash
of what was written, so the chain still shows that no event is missing. Recovery from the journal alone therefore gives
every event, and every effect that was not answered at the last mark; where a mask stands, the secret is gone: such an
event can no longer be checked against its hash, and the chain begins anew there. A plan with a mask in its text is
paused until somebody confirms its file again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import structlog

from orchestrator.backends.ledger import GENESIS, microseconds, text_of
from orchestrator.backends.ledgerrows import LedgerRows, Tip, is_as_written
from orchestrator.core.recovery import Asked, Found, Piece, Source, moment
from orchestrator.core.redact import MASK, redact

log = structlog.get_logger(__name__)

FORMAT = 1
NOTE = "written by orchestrator from its ledger; do not edit, nothing is read from here but by `orchestrator recover`"
_SHORTEST_SECRET = 6  #: a shorter one would hide half of every line


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Up to where everything is written."""

    seq: int = 0
    hash: bytes = GENESIS
    effect: int = 0
    to_do: tuple[str, ...] | None = ()  #: None: more of the same export was to come


class Journal:
    """The writing side.

    Args:
        secrets: literal values that must not stand in it.
    """

    def __init__(self, folder: Path, ledger: Path, secrets: Callable[[], Iterable[str]] = tuple) -> None:
        self._folder = folder
        self._ledger = ledger
        self._secrets = secrets
        self._mark: Mark | None = None  #: None: look at what is there first
        self._file: Path | None = None
        self._seen: tuple[int, int] | None = None  #: inode and size of the file as we left it

    def export(self) -> int:
        """Write what is new in the ledger. Returns: how many events that was. Raises: OSError, sqlite3.Error."""
        rows = LedgerRows(self._ledger)
        try:
            with rows.snapshot():
                tip = rows.tip()
                if self._mark is None or self._is_changed():
                    self._mark = self._resumed(rows, tip)
                if (tip.seq, tip.effect, tip.to_do) == (self._mark.seq, self._mark.effect, self._mark.to_do):
                    return 0
                before = self._mark.seq
                try:
                    self._write(rows, tip)
                except BaseException:
                    self._mark = None  # half a line may stand there
                    raise
                return tip.seq - before
        finally:
            rows.close()

    def drop_before(self, day: datetime, covered: int) -> int:
        """Delete the files of days before `day` whose events all are in a backup that goes up to `covered`.

        Returns: how many went. The newest file always stays.
        """
        gone = 0
        segments = segments_of(self._folder)
        for segment, after in pairwise(segments):
            header = _header(after)
            if segment.stem >= f"{day:%Y-%m-%d}" or header is None or header["first"] - 1 > covered:
                break
            segment.unlink()
            gone += 1
        return gone

    # ---- where it goes on ----

    def _is_changed(self) -> bool:
        return self._file is not None and _identity(self._file) != self._seen

    def _resumed(self, rows: LedgerRows, tip: Tip) -> Mark:
        """The last mark, with what follows it cut off; the beginning when there is nothing that fits the ledger."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        segments = segments_of(self._folder)
        if segments and _last_mark(segments[-1]) is None:
            segments.pop().unlink()  # begun, and nothing in it was whole when the crash came
        if not segments:
            self._file, self._seen = None, None
            return Mark()
        mark = self._checked(segments, rows, tip)
        if mark is None:
            old = self._folder.with_name(f"{self._folder.name}.old")
            _remove(old)
            self._folder.rename(old)
            self._folder.mkdir(mode=0o700)
            self._file, self._seen = None, None
            log.warning("journal.begun_anew", kept=str(old))
            return Mark()
        self._file = segments[-1]
        self._seen = _identity(self._file)
        return mark

    def _checked(self, segments: list[Path], rows: LedgerRows, tip: Tip) -> Mark | None:
        last: Mark | None = None
        for segment in segments:
            header = _header(segment)
            if header is None or header["ledger"] != tip.id:
                return None
            if last is not None and (header["first"] != last.seq + 1 or header["before"] != last.hash.hex()):
                return None
            if last is None and header["first"] > 1 and rows.hash_at(header["first"] - 1) != _bytes(header["before"]):
                return None
            found = _last_mark(segment)
            if found is None:
                return None
            last, end = found
            if segment is segments[-1] and end != segment.stat().st_size:
                os.truncate(segment, end)
        is_ours = last is not None and (last.seq == 0 or rows.hash_at(last.seq) == last.hash)
        return last if is_ours else None

    # ---- writing ----

    def _write(self, rows: LedgerRows, tip: Tip) -> None:
        assert self._mark is not None
        mark, secrets = self._mark, tuple(s for s in self._secrets() if len(s) >= _SHORTEST_SECRET)
        effect = mark.effect
        lines: list[str] = []
        while mark.seq < tip.seq:
            page = rows.events(mark.seq)
            for piece in page:
                day = f"{moment(piece.at_us):%Y-%m-%d}"
                if self._file is None or day > self._file.stem:
                    if lines:
                        self._append([*lines, _mark_line(replace(mark, effect=mark.effect, to_do=None))])
                        lines = []
                    self._begin(day, tip.id, piece)
                lines.append(_event_line(piece, secrets))
                mark = Mark(seq=piece.seq, hash=piece.hash, effect=mark.effect, to_do=None)
            if mark.seq < tip.seq:
                self._append([*lines, _mark_line(mark)])
                lines = []
        while effect < tip.effect:
            for number, asked, _ in rows.effects(effect):
                lines.append(_effect_line(asked, secrets))
                effect = number
        mark = Mark(seq=tip.seq, hash=tip.hash, effect=tip.effect, to_do=tip.to_do)
        if self._file is None:  # nothing has happened yet
            return
        self._append([*lines, _mark_line(mark)])
        self._mark = mark

    def _begin(self, day: str, ledger_id: str, first: Piece) -> None:
        header = {"journal": FORMAT, "ledger": ledger_id, "first": first.seq, "before": first.prev.hex(), "note": NOTE}
        path = self._folder / f"{day}.jsonl"
        fresh = self._folder / f".{day}.{os.getpid()}"
        with suppress(FileNotFoundError):
            fresh.unlink()
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _written(fd, f"{text_of(header)}\n")
            os.fsync(fd)
        finally:
            os.close(fd)
        fresh.rename(path)  # so that a file without a whole header is never there
        _sync_folder(self._folder)
        self._file = path

    def _append(self, lines: list[str]) -> None:
        assert self._file is not None
        fd = os.open(self._file, os.O_WRONLY | os.O_APPEND)
        try:
            _written(fd, "".join(f"{line}\n" for line in lines))
            os.fsync(fd)
        finally:
            os.close(fd)
        self._seen = _identity(self._file)


# ---- reading ----


def segments_of(folder: Path) -> list[Path]:
    """The files of a journal, oldest first."""
    return sorted(folder.glob("????-??-??.jsonl"))


def read_journal(folder: Path) -> Found:
    """Everything that a journal holds whole. What cannot be read is left out, and said."""
    pieces: list[Piece] = []
    asked: list[Asked] = []
    mark: Mark | None = None
    ledger_id, trouble = "", ""
    for segment in segments_of(folder):
        waiting: list[Piece] = []  # what has no mark yet, and may be half of a transaction
        waiting_effects: list[Asked] = []
        for line in _lines(segment):
            try:
                values = json.loads(line)
                if "journal" in values:
                    ledger_id = str(values["ledger"])
                elif "mark" in values:
                    mark = _mark_of(values)
                    pieces += waiting
                    asked += waiting_effects
                    waiting, waiting_effects = [], []
                elif "seq" in values:
                    waiting.append(_piece_of(values))
                else:
                    waiting_effects.append(_asked_of(values))
            except (ValueError, KeyError, TypeError, AttributeError):
                trouble = f"{segment.name} has lines that cannot be read"
        if waiting or waiting_effects:
            trouble = trouble or f"{segment.name} ends in the middle"
    whole = [piece for piece in pieces if piece.redacted or is_as_written(piece)]
    if len(whole) < len(pieces):
        trouble = f"{len(pieces) - len(whole)} of its events are not as they were written"
    return Found(
        source=Source.JOURNAL,
        name=str(folder),
        id=ledger_id,
        pieces=tuple(whole),
        asked=tuple(asked),
        to_do=mark.to_do if mark else None,
        whole_to=mark.seq if mark and mark.to_do is not None else None,
        trouble=trouble,
    )


def last_mark(folder: Path) -> tuple[str, Mark] | None:
    """Id of the ledger and the last mark of its journal; None when there is none."""
    for segment in reversed(segments_of(folder)):
        header, found = _header(segment), _last_mark(segment)
        if header is not None and found is not None:
            return str(header["ledger"]), found[0]
    return None


def _lines(segment: Path) -> Iterator[bytes]:
    with suppress(OSError), segment.open("rb") as file:
        yield from file


def _last_mark(segment: Path) -> tuple[Mark, int] | None:
    """The last mark of a file, and where its line ends."""
    size = segment.stat().st_size
    chunk = 64 * 1024
    while True:
        start = max(size - chunk, 0)
        with segment.open("rb") as file:
            file.seek(start)
            tail = file.read(size - start)
        end = len(tail)
        while (at := tail.rfind(b'\n{"mark":', 0, end)) >= 0:
            stop = tail.find(b"\n", at + 1)
            if stop >= 0:
                with suppress(ValueError, KeyError, TypeError):
                    return _mark_of(json.loads(tail[at + 1 : stop])), start + stop + 1
            end = at
        if start == 0:
            return None
        chunk *= 8


def _header(segment: Path) -> dict[str, Any] | None:
    try:
        with segment.open("rb") as file:
            values = json.loads(file.readline(4096))
        bytes.fromhex(values["before"])
        return dict(values) if values["journal"] == FORMAT and isinstance(values["first"], int) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


# ---- lines ----


def _event_line(piece: Piece, secrets: tuple[str, ...]) -> str:
    plan, task, attempt, token = piece.columns
    data = json.loads(piece.data)
    shown = _masked(data, secrets)
    line: dict[str, Any] = {
        "seq": piece.seq,
        "at": moment(piece.at_us).isoformat(timespec="microseconds"),
        "type": piece.type,
        "plan": plan,
        "task": task,
        "attempt": attempt,
        "token": token,
        "data": shown,
        "prev": piece.prev.hex(),
        "hash": piece.hash.hex(),
    }
    return text_of(line if shown == data else line | {"redacted": True})


def _effect_line(asked: Asked, secrets: tuple[str, ...]) -> str:
    shown = _masked(dict(asked.request), secrets)
    return text_of({"asked": asked.key, "kind": asked.kind, "request": shown, "after": asked.seq})


def _mark_line(mark: Mark) -> str:
    line: dict[str, Any] = {"mark": mark.seq, "hash": mark.hash.hex(), "effect": mark.effect}
    return text_of(line if mark.to_do is None else line | {"todo": mark.to_do})


def _mark_of(values: dict[str, Any]) -> Mark:
    to_do = values.get("todo")
    return Mark(
        seq=int(values["mark"]),
        hash=_bytes(values["hash"]),
        effect=int(values["effect"]),
        to_do=None if to_do is None else tuple(str(key) for key in to_do),
    )


def _piece_of(values: dict[str, Any]) -> Piece:
    return Piece(
        seq=int(values["seq"]),
        at_us=microseconds(datetime.fromisoformat(values["at"])),
        type=str(values["type"]),
        columns=(values["plan"], values["task"], values["attempt"], values["token"]),
        data=text_of(values["data"]),
        prev=_bytes(values["prev"]),
        hash=_bytes(values["hash"]),
        redacted=values.get("redacted") is True,
    )


def _asked_of(values: dict[str, Any]) -> Asked:
    return Asked(
        key=str(values["asked"]), kind=str(values["kind"]), request=dict(values["request"]), seq=int(values["after"])
    )


def _masked(value: Any, secrets: tuple[str, ...]) -> Any:
    """The same with every text in it masked; keys are names of ours, and of tasks."""
    match value:
        case str():
            for secret in secrets:
                value = value.replace(secret, MASK)
            return redact(value)
        case dict():
            return {key: _masked(inner, secrets) for key, inner in value.items()}
        case list():
            return [_masked(inner, secrets) for inner in value]
        case _:
            return value


# ---- files ----


def _bytes(text: str) -> bytes:
    found = bytes.fromhex(text)
    if len(found) != len(GENESIS):
        raise ValueError(f"{text!r} is no hash")
    return found


def _written(fd: int, text: str) -> None:
    left = memoryview(text.encode("ascii"))
    while left:
        left = left[os.write(fd, left) :]


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
