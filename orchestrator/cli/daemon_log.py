"""A line of a log as it is shown, and the daemon's own log, which is made of JSON lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from orchestrator.cli.session import Answer, Session
from orchestrator.cli.tail import RotatedTail, last_lines, rotated
from orchestrator.model.errors import NothingError

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.model.place import Place

LEVELS = ("debug", "info", "warning", "error", "critical")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line as it is shown."""

    task: str | None
    attempt: str | None
    stream: str
    at: datetime | None  #: None: programs do not say when
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was asked for."""

    task: str | None
    plan: str | None  #: of the daemon's lines: only about this one
    attempt: int | None
    stream: str | None
    number: int | None
    since: datetime | None
    level: int
    grep: re.Pattern[str] | None


def line_data(line: Line) -> dict[str, Any]:
    """One line of `logs --json`."""
    return {"task": line.task, "attempt": line.attempt, "stream": line.stream, "at": line.at, "text": line.text}


def daemon_log(session: Session, place: Place, wanted: Wanted, *, follow: bool) -> Answer:
    """The daemon's log, with the files that were put aside, oldest first."""
    with closing(RotatedTail(place.daemon_log)) as tail:
        return _daemon_log(session, place, wanted, tail, follow=follow)


def _daemon_log(session: Session, place: Place, wanted: Wanted, tail: RotatedTail, *, follow: bool) -> Answer:
    filtered = wanted.task or wanted.plan or wanted.level or wanted.grep or wanted.since
    if follow or filtered or wanted.number is None:
        texts = tail.new_lines()
    else:
        texts = _last_of_all(place.daemon_log, wanted.number)
    if not filtered and wanted.number is not None:
        texts = texts[len(texts) - min(wanted.number, len(texts)) :]
    lines = [line for text in texts if _fits(line := daemon_line(text), wanted)]
    if wanted.number is not None:
        lines = lines[len(lines) - min(wanted.number, len(lines)) :]
    if not follow:
        if not any(path.exists() for path in rotated(place.daemon_log)):
            raise NothingError("the daemon has written no log", why="none has run in this repository yet")
        return Answer(
            data={"lines": [line_data(line) for line, _, _ in lines]}, page=lambda: _daemon_page(session, lines)
        )
    _print_daemon(session, lines)
    while True:
        session.wait(0.25)
        _print_daemon(session, [line for text in tail.new_lines() if _fits(line := daemon_line(text), wanted)])


def _last_of_all(path: Path, number: int) -> list[str]:
    """The last lines of a log and, where it is too short, of the files before it."""
    found: list[str] = []
    for one in rotated(path):
        if len(found) >= number:
            break
        found = [*last_lines(one, number - len(found))[0], *found]
    return found


def daemon_line(text: str) -> tuple[Line, str, dict[str, Any]]:
    """A line of the daemon's log: what it says, its level, and its facts. Anything that is not JSON stays as it is."""
    from orchestrator.core.redact import redact

    text = redact(text)
    try:
        facts = json.loads(text)
    except ValueError:
        facts = None
    if not isinstance(facts, dict):
        return Line(task=None, attempt=None, stream="daemon", at=None, text=text), "info", {}
    level = str(facts.pop("level", "info"))
    said = str(facts.pop("event", ""))
    stamp = facts.pop("timestamp", None) or facts.pop("at", None)
    try:
        at = datetime.fromisoformat(stamp) if isinstance(stamp, str) else None
    except ValueError:
        at = None
    trace = str(facts.pop("exception", ""))
    words = " ".join([said, *(f"{name}={_fact(value)}" for name, value in facts.items())])
    text = f"{words}\n{trace}" if trace else words
    task = facts.get("task")
    return (
        Line(task=str(task) if task else None, attempt=facts.get("attempt"), stream="daemon", at=at, text=text),
        level.lower(),
        facts,
    )


def _fact(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return json.dumps(text, ensure_ascii=False) if isinstance(value, str) and (" " in text or not text) else text


def _fits(parsed: tuple[Line, str, dict[str, Any]], wanted: Wanted) -> bool:
    line, level, facts = parsed
    rank = LEVELS.index(level) if level in LEVELS else 1
    return (
        rank >= wanted.level
        and (wanted.task is None or line.task == wanted.task)
        and (wanted.plan is None or facts.get("plan") == wanted.plan)
        and (wanted.since is None or line.at is None or line.at >= wanted.since)
        and (wanted.grep is None or wanted.grep.search(line.text) is not None)
    )


def _daemon_page(session: Session, lines: Sequence[tuple[Line, str, dict[str, Any]]]) -> Iterator[Any]:
    from orchestrator.cli.words import AMBER, cell, clock
    from orchestrator.cli.words import line as joined

    styles = {"warning": AMBER, "error": "red", "critical": "bold red", "debug": "dim"}
    now = session.now()
    for line, level, _ in lines:
        at = f"{clock(line.at, now)}  " if line.at is not None else ""
        yield joined(cell(at, "dim"), cell(f"{level:<8}", styles.get(level, "")), line.text)


def _print_daemon(session: Session, lines: Sequence[tuple[Line, str, dict[str, Any]]]) -> None:
    if session.json:
        for line, _, _ in lines:
            session.print_json(line_data(line))
    elif lines:
        session.say(*_daemon_page(session, lines))
