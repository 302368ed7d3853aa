"""`logs`: the right lines of the right files, whoever still writes them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.daemon_log import daemon_line
from orchestrator.cli.logs import moment
from orchestrator.cli.tail import Tail, last_line, last_lines
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
        (["api", "--level", "info"], 2, "only the daemon's lines"),
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
        + log_line(level="warning", event="lock.waited", wait_s=1.5, task="api", why="it is busy")
        + "not json\n"
    )
    assert run(world, "logs", "--stream", "daemon", *arguments) == 0
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
