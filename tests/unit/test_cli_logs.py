"""`logs`: the right lines of the right files, whoever still writes them."""

from __future__ import annotations

import json
import os
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import structlog

from orchestrator.backends.log import setup_logging, stop_logging
from orchestrator.cli.daemon_log import daemon_line
from orchestrator.cli.logs import moment
from orchestrator.cli.tail import RotatedTail, Tail, last_line, last_lines, rotated
from orchestrator.model.errors import UsageError
from orchestrator.model.run import PlanPhase, TaskState
from tests.unit.cli_world import NOW, Ledger, World, a_plan, a_task, an_attempt, an_event, run


def minutes(number: int) -> timedelta:
    return timedelta(minutes=number)


@pytest.fixture
def world(tmp_path: Path) -> World:
    first = an_attempt("api", 1, started_at=NOW - minutes(50), ended_at=NOW - minutes(40), ending="failed")
    second = an_attempt("api", 2, started_at=NOW - minutes(12))
    other = an_attempt("db", 1, started_at=NOW - minutes(20), ended_at=NOW - minutes(15), ending="handed_off")
    world = World(
        tmp_path,
        Ledger(
            plans=[a_plan()],
            tasks=[
                a_task("db", TaskState.LANDED, history=(other,)),
                a_task("api", TaskState.RUNNING, order=1, history=(first, second)),
                a_task("docs", order=2),
            ],
            events=[
                an_event(1, "attempt_started", "db", number=1, agent="claude"),
                an_event(2, "run_recorded"),
                an_event(3, "candidate_requested", "db", candidate_id="auth/~1"),
                an_event(4, "landed", "db", commit="c" * 40),
            ],
        ),
    )
    wrote(world, "auth/api-1/agent", "old one\n")
    wrote(world, "auth/api-2/prepare-1", "npm ci\n")
    wrote(world, "auth/api-2/agent", "".join(f"line {n}\n" for n in range(30)) + "half a li")
    wrote(world, "auth/db-1/agent", "created table\r\nprogress 1\rprogress 2\n")
    wrote(world, "auth/~1/check-tests", "3 passed\n")
    return world


def wrote(world: World, run_id: str, text: str) -> Path:
    folder = world.place.run_dir(run_id)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output").open("a") as file:
        file.write(text)
    return folder / "output"


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        pytest.param(["api", "-n", "2"], ["npm ci", "line 29", "half a li"], id="the end of each program"),
        pytest.param(["api", "--attempt", "1"], ["old one"], id="an earlier attempt"),
        pytest.param(["db"], ["created table", "progress 2"], id="what was overwritten is gone"),
        pytest.param(["api", "--grep", "line 1$"], ["line 1"], id="only what matches"),
        pytest.param(["db", "--since", "10m"], [], id="ended before"),
        pytest.param(["db", "--since", "1h"], ["created table", "progress 2"], id="ended after"),
        pytest.param(["db", "--stream", "checks"], ["3 passed"], id="checks"),
        pytest.param(["api", "--stream", "checks"], [], id="no checks yet"),
    ],
)
def test_logs_of_a_task_are_what_its_programs_printed(
    world: World, arguments: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, "logs", *arguments) == 0
    assert capsys.readouterr().out.splitlines() == lines


def test_logs_of_all_tasks_have_a_prefix_and_the_events_between(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, "logs", "-n", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == ["db   | progress 2", "api  | npm ci", "api  | half a li"]
    assert lines[0].startswith("db   * ")
    assert lines[0].endswith("landed as cccccccc")
    assert not any("run_recorded" in line for line in lines)


def test_logs_of_a_task_that_has_not_run_say_so_on_stderr(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "logs", "docs") == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "'docs' has printed nothing so far." in captured.err


def test_logs_json_is_one_envelope_and_with_follow_a_line_each(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, "logs", "db", "--json") == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert data["lines"][0] == {
        "task": "db", "attempt": "auth/db-1", "stream": "agent", "at": None, "text": "created table",
    }  # fmt: skip
    assert run(world, "logs", "db", "--json", "-f") == 0, "the task is over, so there is nothing to follow"
    assert [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()] == [
        "created table",
        "progress 2",
    ]


def test_following_joins_half_lines_finds_new_attempts_and_ends_with_the_plan(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = world.ledger
    assert ledger is not None

    def finishes_line() -> None:
        wrote(world, "auth/api-2/agent", "ne\nlast wor")

    def next_attempt() -> None:
        wrote(world, "auth/api-3/agent", "fresh\n")
        ledger.tasks[1] = a_task("api", TaskState.RUNNING, order=1, history=(an_attempt("api", 3),))
        ledger.stored.append(an_event(5, "attempt_started", "api", number=3, agent="claude"))

    def ends() -> None:
        wrote(world, "auth/api-3/agent", "bye")
        ledger.plans = [a_plan(state=PlanPhase.PUBLISHED)]

    steps = [finishes_line, next_attempt, ends]

    def wait(seconds: float) -> None:
        steps.pop(0)()
        ledger.changes += 1

    assert run(world, "logs", "-f", "-n", "1", wait=wait) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("api  | half a line") == 1
    assert [line for line in lines if line in {"api  | fresh", "api  | last wor", "api  | bye"}] == [
        "api  | fresh",
        "api  | last wor",
        "api  | bye",
    ]
    assert sum("attempt 3 started" in line for line in lines) == 1


def test_secrets_in_output_are_masked(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"
    wrote(world, "auth/db-1/agent", f"token ghp_abcdefghijklmnopqrstuvwxyz0123\n{key}\n")
    run(world, "logs", "db")
    out = capsys.readouterr().out
    assert "ghp_" not in out
    assert "MIIEow" not in out
    run(world, "logs", "db", "--json")
    assert "MIIEow" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--stream", "nope"], 2, "agent, daemon, events, checks"),
        (["--attempt", "1"], 2, "of which task"),
        (["api", "--attempt", "9"], 7, "it has 1, 2"),
        (["api", "--since", "soon"], 2, "'soon' is no time"),
        (["api", "--grep", "("], 2, "no regular expression"),
        (["api", "--level", "info", "--stream", "agent"], 2, "only the daemon's lines"),
        (["--level", "info"], 7, "the daemon has written no log"),
        (["--stream", "daemon", "--grep", "*"], 2, "no regular expression"),
        (["--stream", "daemon", "--level", "loud"], 2, "there is no level"),
        (["--stream", "daemon"], 7, "the daemon has written no log"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_logs_that_cannot_be_shown_say_why(
    world: World, arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, "logs", *arguments) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("2h30m", NOW - timedelta(minutes=150)),
        ("1d", NOW - timedelta(days=1)),
        ("2026-02-28T10:00:00+00:00", datetime(2026, 2, 28, 10, tzinfo=UTC)),
    ],
)
def test_a_moment_is_an_age_or_a_time(text: str, at: datetime) -> None:
    assert moment(text, NOW) == at


@pytest.mark.parametrize("text", ["", "10", "m", "10m later", "yesterday"])
def test_anything_else_is_no_moment(text: str) -> None:
    with pytest.raises(UsageError):
        moment(text, NOW)


# ---- the daemon's own log ----


def log_line(**facts: Any) -> str:
    return json.dumps({"timestamp": "2026-03-01T11:59:00Z", **facts}) + "\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param([], ["info    loop.began pid=7", "warning lock.waited", "not json"], id="all"),
        pytest.param(["-n", "1"], ["not json"], id="last"),
        pytest.param(["--level", "warning"], ["lock.waited"], id="level"),
        pytest.param(["ap", "--level", "info"], ["lock.waited"], id="of a task, by the beginning of its name"),
        pytest.param(["--plan", "auth"], ["lock.waited"], id="of a plan"),
        pytest.param(["--since", "30s"], ["not json"], id="since"),
        pytest.param(["--level", "info", "--grep", "pid", "-n", "5"], ["loop.began"], id="all at once"),
        pytest.param(["--grep", "pid"], ["loop.began"], id="grep"),
        pytest.param(["api"], ["lock.waited"], id="of a task"),
    ],
)
def test_the_daemons_log_reads_like_sentences(
    world: World, arguments: list[str], said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    world.place.daemon_log.parent.mkdir(parents=True, exist_ok=True)
    world.place.daemon_log.write_text(
        log_line(level="info", event="loop.began", pid=7)
        + log_line(level="warning", event="lock.waited", wait_s=1.5, plan="auth", task="api", why="it is busy")
        + "not json\n"
    )
    stream = [] if "--level" in arguments else ["--stream", "daemon"]
    assert run(world, "logs", *stream, *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(said)
    for line, expected in zip(lines, said, strict=True):
        assert expected in line


def test_a_log_line_keeps_its_traceback_and_quotes_words() -> None:
    line, level, _ = daemon_line(log_line(level="ERROR", event="x", why="two words", exception="Traceback\n  boom"))
    assert (line.text, level) == ('x why="two words"\nTraceback\n  boom', "error")


# ---- files that grow ----


@pytest.mark.parametrize(
    ("content", "number", "lines"),
    [
        pytest.param("a\nb\nc\n", 2, ["b", "c"], id="two of three"),
        pytest.param("a\nb\nc", 2, ["b", "c"], id="the last has no end"),
        pytest.param("a\n", 9, ["a"], id="fewer than asked"),
        pytest.param("", 3, [], id="empty"),
        pytest.param("x" * 100_000 + "\nend\n", 1, ["end"], id="more than a block"),
        pytest.param("a\n\nb\n", None, ["a", "", "b"], id="all"),
        pytest.param("a\nb\n", 0, [], id="none"),
    ],
)
def test_the_last_lines_of_a_file(tmp_path: Path, content: str, number: int | None, lines: list[str]) -> None:
    path = tmp_path / "output"
    path.write_text(content)
    assert last_lines(path, number) == (lines, len(content))


def test_nothing_is_read_but_a_file_that_stands_there_itself(tmp_path: Path) -> None:
    secret, pipe = tmp_path / "secret", tmp_path / "pipe"
    secret.write_text("the secret\n")
    (tmp_path / "link").symlink_to(secret)
    os.mkfifo(pipe)  # opened as any other file, it would keep us until somebody writes
    for path in (tmp_path / "link", pipe, tmp_path):
        assert last_lines(path, None) == ([], 0)
        assert Tail(path).new_lines() == []


def test_the_last_line_is_the_last_that_says_anything(tmp_path: Path) -> None:
    (tmp_path / "output").write_text("one\n two \n\n")
    assert last_line(tmp_path / "output") == "two"
    assert last_line(tmp_path / "missing") == ""


def test_a_tail_follows_a_file_from_before_it_exists(tmp_path: Path) -> None:
    path = tmp_path / "output"
    tail = Tail(path)
    assert tail.new_lines() == []
    path.write_bytes(b"one\ntw")
    assert tail.new_lines() == ["one"]
    path.write_bytes(b"one\ntwo\nth\xff")
    assert tail.new_lines() == ["two"]
    assert tail.new_lines(ended=True) == ["th\ufffd"]
    path.write_bytes(b"new\n")
    assert tail.new_lines() == ["new"], "a file that was replaced is read from its beginning"


# ---- a log that is put aside ----


class Log:
    """A log as the daemon writes it, with so many bytes in each file."""

    def __init__(self, path: Path, *, keep: int = 3) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.keep = keep
        path.touch()

    def says(self, *names: str) -> Log:
        with self.path.open("a") as file:
            file.writelines(log_line(level="info", event=name) for name in names)
        return self

    def turns_over(self) -> Log:
        older = [self.path, *(self.path.with_name(f"{self.path.name}.{n}") for n in range(1, self.keep + 1))]
        for one, next_one in reversed(list(pairwise(older))):
            if one.exists():
                one.replace(next_one)
        self.path.touch()
        return self


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param([], ["one", "two", "three", "four", "five", "six"], id="all, in order"),
        pytest.param(["-n", "1"], ["six"], id="from the last file"),
        pytest.param(["-n", "3"], ["four", "five", "six"], id="from the files before it"),
        pytest.param(["-n", "99"], ["one", "two", "three", "four", "five", "six"], id="more than there is"),
        pytest.param(["-n", "0"], [], id="none"),
        pytest.param(["--grep", "^t"], ["two", "three"], id="what matches, wherever it is"),
        pytest.param(["--grep", "e$", "-n", "2"], ["three", "five"], id="the last that match"),
    ],
)
def test_the_daemons_log_is_read_over_the_files_that_were_put_aside(
    world: World, arguments: list[str], said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    log = Log(world.place.daemon_log)
    log.says("one", "two").turns_over().says("three", "four").turns_over().says("five", "six")
    assert run(world, "logs", "--stream", "daemon", *arguments) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == said


def test_following_the_daemons_log_goes_on_over_files_that_are_put_aside(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Log(world.place.daemon_log, keep=2)
    log.says("old").turns_over().says("one")
    steps = [
        lambda: log.says("two").turns_over(),
        lambda: log.says("three").turns_over().says("four").turns_over().says("five"),
        lambda: log.turns_over(),
        lambda: log.says("six"),
        lambda: [log.says(str(n)).turns_over() for n in range(7, 12)],  # more often than files are kept
    ]

    def wait(seconds: float) -> None:
        if not steps:
            raise KeyboardInterrupt
        steps.pop(0)()

    assert run(world, "logs", "--stream", "daemon", "-f", "-n", "1", wait=wait) == 130
    said = [line.split()[-1] for line in capsys.readouterr().out.splitlines()]
    assert said == ["one", "two", "three", "four", "five", "six", "7", "10", "11"], "8 and 9 were dropped, 7 was not"


def test_a_log_that_somebody_emptied_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = Log(tmp_path / "daemon.log").says("one", "two")
    with closing(RotatedTail(log.path)) as tail:
        assert len(tail.new_lines()) == 2
        log.path.write_text("")
        assert tail.new_lines() == []
        log.says("three")
        assert [daemon_line(text)[0].text for text in tail.new_lines()] == ["three"]


def test_a_real_log_under_a_real_reader_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "daemon.log"
    setup_logging(path, console=False, level="info", max_bytes=1500, keep=50)
    try:
        with closing(RotatedTail(path)) as tail:
            seen: list[str] = []
            for number in range(100):
                structlog.get_logger().info("counted", number=number)
                if number % 7 == 0:
                    seen += tail.new_lines()
            seen += tail.new_lines()
    finally:
        stop_logging()
    assert [json.loads(text)["number"] for text in seen] == list(range(100))
    assert len(rotated(path)) > 5
