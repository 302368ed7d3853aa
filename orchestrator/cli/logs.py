"""`logs`: what agents, checks and the daemon wrote; straight from the files, so without a daemon too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import rows
from orchestrator.cli.daemon_log import LEVELS, Line, Wanted, daemon_log, line_data
from orchestrator.cli.session import Answer, Session
from orchestrator.cli.tail import Tail, last_lines
from orchestrator.cli.verb import OptionalTask, PlanOption, verb
from orchestrator.model.errors import NothingError, UsageError
from orchestrator.model.run import OVER

if TYPE_CHECKING:
    from orchestrator.model.place import Place
    from orchestrator.model.view import PlanView, TaskView
    from orchestrator.ports import LedgerReader, Stored

STREAMS = ("agent", "daemon", "events", "checks")
#: Lines of each agent when nobody says how many, and several are shown together.
FEW = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file that a program wrote or writes."""

    task: str
    attempt: str  #: the attempt or candidate
    stream: str
    path: Path
    at: datetime  #: when it began, for the order
    ended_at: datetime | None  #: None while it is being written


@verb
def logs(
    session: Session,
    task: OptionalTask = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the task, or the plan, is over.")] = False,
    number: Annotated[
        int | None, typer.Option("-n", metavar="N", min=0, help="Only the last N lines of each program.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="T", help="10m, 2h, 1d or a time; whole attempts that ended after it."),
    ] = None,
    attempt: Annotated[
        int | None, typer.Option("--attempt", metavar="N", min=1, help="Not the last, but this.")
    ] = None,
    stream: Annotated[
        str | None, typer.Option("--stream", metavar="S", help="agent, daemon, events or checks.")
    ] = None,
    level: Annotated[
        str | None, typer.Option("--level", metavar="L", help="Of the daemon's lines: at least this.")
    ] = None,
    grep: Annotated[str | None, typer.Option("--grep", metavar="R", help="Only lines that match.")] = None,
    plan: PlanOption = None,
) -> Answer:
    """What agents, checks and the daemon wrote. Without TASK: the last attempt of every task, and the events.

    With --level, or --stream daemon: what the daemon wrote, in the files that were put aside too.
    """
    if level is not None and stream is None:
        stream = "daemon"  # nothing else has levels
    wanted = _wanted(session, task, attempt, stream, number, since, level, grep)
    place = session.place()
    if stream == "daemon":
        if task is not None or plan is not None:
            wanted = _about(session, wanted, task, plan)
        return daemon_log(session, place, wanted, follow=follow)
    reader = session.ledger()
    chosen = rows.chosen_plan(rows.plans(reader), plan)
    tasks = rows.tasks(reader, chosen.name)
    if task is not None:
        one = rows.chosen_task(tasks, task)
        tasks, wanted = [one], replace(wanted, task=one.id)
        _check_attempt(one, attempt)
    if wanted.number is None and task is None and stream != "events":
        wanted = replace(wanted, number=FEW)
    shown = _Shown(session, reader, chosen, place, wanted)
    lines = shown.first(tasks, follow=follow)
    if not follow:
        if session.json:
            return Answer(data={"lines": [line_data(line) for line in lines]})
        shown.print(lines)
        if not lines:
            session.say(_nothing_yet(tasks, wanted), talk=True)
        return Answer(streamed=True)
    shown.print(lines)
    shown.follow()
    return Answer(streamed=True)


def _about(session: Session, wanted: Wanted, task: str | None, plan: str | None) -> Wanted:
    """With the task and the plan that were meant."""
    reader = session.ledger()
    chosen = rows.chosen_plan(rows.plans(reader), plan).name
    name = rows.chosen_task(rows.tasks(reader, chosen), task).id if task is not None else None
    return replace(wanted, task=name, plan=chosen if plan is not None else None)


def _wanted(
    session: Session,
    task: str | None,
    attempt: int | None,
    stream: str | None,
    number: int | None,
    since: str | None,
    level: str | None,
    grep: str | None,
) -> Wanted:
    """What was asked for. Raises: UsageError for what does not fit together."""
    if stream is not None and stream not in STREAMS:
        raise UsageError(f"there is no stream '{stream}'", fix=f"use {', '.join(STREAMS)}")
    if attempt is not None and task is None:
        raise UsageError(
            "--attempt needs to know of which task", fix=session.command_line("logs", "TASK", "--attempt", "1")
        )
    if level is not None and level not in LEVELS:
        raise UsageError(f"there is no level '{level}'", fix=f"use {', '.join(LEVELS)}")
    if level is not None and stream != "daemon":
        raise UsageError(
            "only the daemon's lines have a level",
            fix=session.command_line("logs", "--stream", "daemon", "--level", level),
        )
    try:
        pattern = re.compile(grep) if grep is not None else None
    except re.error as error:
        raise UsageError(f"'{grep}' is no regular expression", why=str(error)) from error
    return Wanted(
        task=task,
        plan=None,
        attempt=attempt,
        stream=stream,
        number=number,
        since=moment(since, session.now()) if since is not None else None,
        level=LEVELS.index(level) if level else 0,
        grep=pattern,
    )


def moment(text: str, now: datetime) -> datetime:
    """`10m`, `2h30m` ago, or an ISO time, local when it does not say where. Raises: UsageError."""
    parts = re.findall(r"(\d+)([smhd])", text)
    if parts and "".join(f"{n}{unit}" for n, unit in parts) == text:
        seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400}
        return now - timedelta(seconds=sum(int(n) * seconds[unit] for n, unit in parts))
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError as error:
        raise UsageError(
            f"'{text}' is no time", fix="use 30s, 10m, 2h, 1d, or a time such as 2026-01-31T14:00"
        ) from error


def _check_attempt(task: TaskView, number: int | None) -> None:
    known = [attempt.number for attempt in task.history]
    if number is not None and number not in known:
        raise NothingError(
            f"'{task.id}' has no attempt {number}",
            why=f"it has {', '.join(map(str, known))}" if known else "it has not been tried yet",
        )


def _nothing_yet(tasks: Sequence[TaskView], wanted: Wanted) -> str:
    if wanted.grep is not None or wanted.since is not None:
        return "No line matches."
    if len(tasks) == 1:
        return f"'{tasks[0].id}' has printed nothing so far."
    return "Nothing has been printed so far."


# ---- where the lines are ----


def sources(
    place: Place, reader: LedgerReader, plan: PlanView, tasks: Iterable[TaskView], wanted: Wanted
) -> list[Source]:
    """The files of the attempts, or of the checks, in the order in which they began."""
    found: list[Source] = []
    for task in tasks:
        if wanted.stream in {None, "agent"}:
            chosen = (
                [one for one in task.history if one.number == wanted.attempt] if wanted.attempt else task.history[-1:]
            )
            for attempt in chosen:
                found += [
                    Source(
                        task=task.id,
                        attempt=attempt.id,
                        stream=kind,
                        path=path,
                        at=attempt.started_at,
                        ended_at=attempt.ended_at,
                    )
                    for kind, path in _outputs(place.owner_dir(attempt.id))
                ]
    if wanted.stream == "checks":
        found += _check_sources(place, reader, plan, wanted)
    if wanted.since is not None:
        since = wanted.since
        found = [source for source in found if source.ended_at is None or source.ended_at >= since]
    return sorted(found, key=lambda source: source.at)


def _outputs(folder: Path) -> list[tuple[str, Path]]:
    """Run folders of an attempt or candidate: its preparation, then the rest."""
    if not folder.is_dir():
        return []
    runs = [path for path in folder.iterdir() if path.is_dir() and path.name != "git" and (path / "spec.json").exists()]
    runs += [path for path in folder.iterdir() if path not in runs and (path / "output").is_file()]
    runs.sort(
        key=lambda path: (
            not path.name.startswith("prepare"),
            [int(n) for n in re.findall(r"\d+", path.name)],
            path.name,
        )
    )
    return [(path.name, path / "output") for path in runs]


def _check_sources(place: Place, reader: LedgerReader, plan: PlanView, wanted: Wanted) -> list[Source]:
    """What the checks of merge candidates printed."""
    found = []
    over: dict[str, datetime] = {}
    asked: list[Stored] = []
    for event in reader.events(plan=plan.name):
        candidate = event.data.get("candidate_id")
        if event.type == "candidate_requested":
            asked.append(event)
        elif candidate and event.type in {"gate_passed", "gate_failed", "candidate_dropped", "conflict_found"}:
            over[candidate] = event.at
    for event in asked:
        if wanted.task is not None and event.task != wanted.task:
            continue
        candidate = event.data["candidate_id"]
        found += [
            Source(
                task=event.task or plan.target,
                attempt=candidate,
                stream=name,
                path=path,
                at=event.at,
                ended_at=over.get(candidate),
            )
            for name, path in _outputs(place.owner_dir(candidate))
        ]
    if wanted.task is not None and found and wanted.number is None:
        last = found[-1].attempt
        found = [source for source in found if source.attempt == last]
    return found


# ---- showing them ----


class _Shown:
    """What has been shown so far, and what comes next."""

    def __init__(self, session: Session, reader: LedgerReader, plan: PlanView, place: Place, wanted: Wanted) -> None:
        self._session, self._reader, self._plan, self._place, self._wanted = session, reader, plan, place, wanted
        self._tails: dict[Path, tuple[Source, Tail]] = {}
        self._seq = 0
        self._ids: list[str] = []
        # With one task nothing has to be told apart, so its output is shown as it is.
        self._prefixed = wanted.task is None

    @property
    def _with_events(self) -> bool:
        return self._wanted.stream == "events" or (self._wanted.stream is None and self._wanted.task is None)

    def first(self, tasks: Sequence[TaskView], *, follow: bool) -> list[Line]:
        """What is there already. Programs do not say when they printed, so each comes whole, where it ended."""
        now = self._session.now()
        timed: list[tuple[datetime, int, Line]] = []
        self._ids = [task.id for task in tasks]
        for source in sources(self._place, self._reader, self._plan, tasks, self._wanted):
            texts, offset = last_lines(source.path, self._wanted.number, whole=follow and source.ended_at is None)
            self._tails[source.path] = (source, Tail(source.path, offset))
            timed += [(source.ended_at or now, len(timed), line) for line in self._lines(source, texts)]
        if self._with_events:
            for event in self._new_events(self._wanted.number):
                timed.append((event.at, len(timed), _event_line(event)))
        return self._matching(line for _, _, line in sorted(timed, key=lambda one: one[:2]))

    def follow(self) -> None:
        """New lines until the task, or the plan, is over."""
        version = -1
        while True:
            present = self._reader.version()
            lines: list[Line] = []
            over = False
            if present != version:
                version = present
                plan = next(one for one in rows.plans(self._reader) if one.name == self._plan.name)
                tasks = [t for t in rows.tasks(self._reader, plan.name) if self._wanted.task in {None, t.id}]
                over = rows.is_over(plan) or (self._wanted.task is not None and all(t.state in OVER for t in tasks))
                self._look_for_files(tasks)
                if self._with_events:
                    lines += [_event_line(event) for event in self._new_events(None)]
            for source, tail in self._tails.values():
                ended = source.ended_at is not None or over
                lines += self._lines(source, tail.new_lines(ended=ended))
            self.print(self._matching(lines))
            if over:
                return
            self._session.wait(0.25)

    def _look_for_files(self, tasks: Sequence[TaskView]) -> None:
        self._ids = [task.id for task in tasks]
        for source in sources(self._place, self._reader, self._plan, tasks, self._wanted):
            known = self._tails.get(source.path)
            self._tails[source.path] = (source, known[1] if known else Tail(source.path))

    def _new_events(self, last: int | None) -> list[Stored]:
        found = self._reader.events(after_seq=self._seq, plan=self._plan.name, task=self._wanted.task, last=last)
        if found:
            self._seq = found[-1].seq
        if self._wanted.stream is None:
            from orchestrator.cli.event_words import HEADLINES

            found = [event for event in found if event.type in HEADLINES]
        elif not self._session.json:
            from orchestrator.cli.event_words import SILENT

            found = [event for event in found if event.type not in SILENT]
        return [event for event in found if self._wanted.since is None or event.at >= self._wanted.since]

    def _lines(self, source: Source, texts: Sequence[str]) -> list[Line]:
        """Masked as a whole, for a private key has many lines."""
        from orchestrator.core.redact import redact

        masked = redact("\n".join(texts)).split("\n") if texts else []
        return [
            Line(task=source.task, attempt=source.attempt, stream=source.stream, at=None, text=text) for text in masked
        ]

    def _matching(self, lines: Iterable[Line]) -> list[Line]:
        pattern = self._wanted.grep
        return [line for line in lines if pattern is None or pattern.search(line.text)]

    def print(self, lines: Sequence[Line]) -> None:
        session = self._session
        if session.json:
            for line in lines:
                session.print_json(line_data(line))
        elif lines:
            session.say(*self._texts(lines))

    def _texts(self, lines: Sequence[Line]) -> Iterator[Any]:
        from orchestrator.cli.words import PREFIX_STYLES, cell, clock
        from orchestrator.cli.words import line as joined

        now = self._session.now()
        width = min(max((len(name) for name in self._ids), default=0), 24)
        for line in lines:
            name = line.task or self._plan.name
            at = f"{clock(line.at, now)} " if line.at is not None else ""
            if not self._prefixed:
                yield joined(cell(at, "dim"), line.text)
                continue
            number = self._ids.index(name) if name in self._ids else 0
            mark = "*" if line.stream == "events" else "|"
            style = PREFIX_STYLES[number % len(PREFIX_STYLES)]
            yield joined(cell(f"{name:<{width}} {mark} ", style), cell(at, "dim"), line.text)


def _event_line(event: Stored) -> Line:
    from orchestrator.cli.event_words import words

    return Line(task=event.task, attempt=event.attempt, stream="events", at=event.at, text=words(event))
