"""The daemon's log, as programs and as people read it."""

from __future__ import annotations

import io
import json
import logging
import stat
import sys
import threading
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from orchestrator.backends.log import setup_logging, stop_logging
from orchestrator.core.redact import MASK
from orchestrator.model.errors import OrchestratorError, SettingsError

SECRET = "ghp" + "_" + "a1B2" * 9


@pytest.fixture(autouse=True)
def _quiet_afterwards() -> Iterator[None]:
    level = logging.getLogger().level
    yield
    stop_logging()
    logging.getLogger().setLevel(level)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "daemon.log"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_is_json_with_its_facts_as_keys(path: Path) -> None:
    setup_logging(path, console=False, level="info")
    structlog.get_logger().warning("attempt_failed", exit_code=3, wait_s=1.5, plan="p", token=None, paths=("a", "b"))
    (line,) = lines(path)
    at = datetime.fromisoformat(line.pop("at"))
    assert at.utcoffset() is not None
    assert line.pop("logger")
    assert line == {
        "event": "attempt_failed",
        "level": "warning",
        "exit_code": 3,
        "wait_s": 1.5,
        "plan": "p",
        "token": None,
        "paths": ["a", "b"],
    }


def test_a_logger_made_before_the_set_up_is_heard(path: Path) -> None:
    early = structlog.get_logger()
    setup_logging(path, console=False, level="info")
    early.info("lock.waited")
    setup_logging(path.with_name("second.log"), console=False, level="info")
    early.info("lock.taken")
    assert [line["event"] for line in lines(path)] == ["lock.waited"]
    assert [line["event"] for line in lines(path.with_name("second.log"))] == ["lock.taken"]


def test_what_was_bound_in_the_context_is_in_every_line(path: Path) -> None:
    setup_logging(path, console=False, level="info")
    with structlog.contextvars.bound_contextvars(task="t"):
        structlog.get_logger().info("one")
    structlog.get_logger().info("two")
    assert [line.get("task") for line in lines(path)] == ["t", None]


def test_lines_of_the_standard_library_and_warnings_go_the_same_way(path: Path) -> None:
    setup_logging(path, console=False, level="info")
    logging.getLogger("uvicorn.error").info("Started %s", "server", extra={"color_message": "\x1b[1mx", "port": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)  # catch_warnings put the usual way of showing them back
        warnings.warn("old things", stacklevel=1)
    first, second = lines(path)
    assert (first["event"], first["logger"], first["level"], first["port"]) == (
        "Started server",
        "uvicorn.error",
        "info",
        1,
    )
    assert "color_message" not in first
    assert "old things" in second["event"]
    assert second["level"] == "warning"


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("WARNING", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
@pytest.mark.parametrize("source", ["structlog", "logging"])
def test_a_level_keeps_what_is_below_it_out(path: Path, level: str, expected: list[str], source: str) -> None:
    setup_logging(path, console=False, level=level)
    logger = structlog.get_logger() if source == "structlog" else logging.getLogger("x")
    for name in ("debug", "info", "warning", "error"):
        getattr(logger, name)(name)
    assert [line["event"] for line in lines(path)] == expected


def test_a_level_that_does_not_exist_is_a_settings_error(path: Path) -> None:
    with pytest.raises(SettingsError, match="loud") as raised:
        setup_logging(path, console=False, level="loud")
    assert "debug, info" in raised.value.fix


def test_an_exception_keeps_its_traceback_in_one_line(path: Path) -> None:
    setup_logging(path, console=False, level="info")
    try:
        raise ValueError(f"bad {SECRET}")
    except ValueError:
        structlog.get_logger().exception("loop.failed")
    (line,) = lines(path)
    assert "Traceback" in line["exception"]
    assert f"ValueError: bad {MASK}" in line["exception"]


class Odd:
    def __str__(self) -> str:
        return f"odd {SECRET}"


@pytest.mark.parametrize("console", [False, True])
@pytest.mark.parametrize(
    "value",
    [SECRET, [SECRET], {"a": {SECRET: ("b", SECRET)}}, Odd(), ValueError(SECRET), SECRET.encode(), {SECRET}],
    ids=["text", "list", "nested", "object", "error", "bytes", "set"],
)
def test_no_secret_reaches_the_log(
    path: Path, value: object, console: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logging(path, console=console, level="info")
    structlog.get_logger().info("agent.said", value=value)
    structlog.get_logger().info(f"agent said {value}")
    logging.getLogger("lib").info("agent said %s", value)
    shown = path.read_text() + capsys.readouterr().err
    assert SECRET not in shown
    assert shown.count(MASK) >= 3


def test_a_person_in_front_sees_lines_that_cannot_move_the_terminal(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logging(path, console=True, level="info")
    structlog.get_logger().info("agent.said", text="\x1b[2J\x1b]0;x\x07done\r\u202e")
    shown = capsys.readouterr().err
    assert "agent.said" in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\r" not in shown
    assert lines(path)[0]["text"].startswith("\x1b[2J")  # the file keeps what was said


def test_colours_are_for_terminals_only(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    setup_logging(path, console=True, level="info")
    structlog.get_logger().info("hello")
    assert "\x1b[" in sys.stderr.getvalue()  # type: ignore[attr-defined]


def test_the_file_is_ours_alone_and_turned_over_when_it_is_full(path: Path) -> None:
    setup_logging(path, console=False, level="info", max_bytes=2000, keep=2)
    for number in range(100):
        structlog.get_logger().info("a.line", number=number)
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["daemon.log", "daemon.log.1", "daemon.log.2"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert all(file.stat().st_size <= 2300 for file in files), "full, and the line that showed it"
    kept = [line["number"] for file in reversed(files) for line in lines(file)]
    assert kept == list(range(kept[0], 100))


def test_with_fewer_files_to_keep_the_oldest_go(path: Path) -> None:
    setup_logging(path, console=False, level="info", max_bytes=500, keep=4)
    for number in range(40):
        structlog.get_logger().info("a.line", number=number)
    setup_logging(path, console=False, level="info", max_bytes=500, keep=2)
    assert sorted(file.name for file in path.parent.iterdir()) == ["daemon.log", "daemon.log.1", "daemon.log.2"]


def test_a_second_start_goes_on_with_the_same_file(path: Path) -> None:
    for name in ("first", "second"):
        setup_logging(path, console=False, level="info")
        structlog.get_logger().info(name)
        stop_logging()
    assert [line["event"] for line in lines(path)] == ["first", "second"]


def test_lines_of_many_threads_stay_whole(path: Path) -> None:
    setup_logging(path, console=False, level="info")

    def talk() -> None:
        for _ in range(50):
            structlog.get_logger().info("x" * 200)

    threads = [threading.Thread(target=talk) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line["event"] for line in lines(path)] == ["x" * 200] * 200


def test_half_characters_do_not_stop_the_log(path: Path) -> None:
    setup_logging(path, console=False, level="info")
    structlog.get_logger().info("path.odd", path="caf\udce9", data=b"\xff")
    assert lines(path)[0]["path"] == "caf\udce9"


def test_a_log_that_cannot_be_written_is_said(path: Path) -> None:
    path.parent.mkdir()
    path.mkdir()
    with pytest.raises(OrchestratorError, match="cannot be written"):
        setup_logging(path, console=False, level="info")
