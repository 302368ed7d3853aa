"""The daemon's log: JSON lines in a file for programs, coloured lines on stderr for a person in front of it.

What the standard library's `logging` gets (uvicorn, warnings) goes the same way.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from orchestrator.core.redact import redact
from orchestrator.core.terminal import printable
from orchestrator.model.errors import OrchestratorError, SettingsError

LEVELS = ("debug", "info", "warning", "error")

_installed: list[logging.Handler] = []


def setup_logging(path: Path, *, console: bool, level: str, max_bytes: int = 10 * 1024 * 1024, keep: int = 5) -> None:
    """Send every log line from here on to `path`, and with `console` to stderr too. A second call replaces the first.

    Args:
        max_bytes: a file that has become larger is put aside as `<path>.1`, the one before as `<path>.2`, and so on.
        keep: files kept beside the one being written, at least 1.

    Raises: SettingsError for a level that does not exist, OrchestratorError when the file cannot be written.
    """
    if level.lower() not in LEVELS:
        raise SettingsError(
            f"there is no log level '{level}'", why="it says how much is logged", fix=f"use one of {', '.join(LEVELS)}"
        )
    number = logging.getLevelNamesMapping()[level.upper()]
    stop_logging()
    file = _file_handler(path, max_bytes, keep)
    handlers: list[logging.Handler] = [file]
    if console:
        handlers.append(_console_handler())
    root = logging.getLogger()
    for handler in handlers:
        root.addHandler(handler)
    _installed.extend(handlers)
    root.setLevel(number)
    logging.captureWarnings(True)
    # our own lines go straight to the file when it is the only place: most of what a line costs is the way through
    # the standard library
    last = [structlog.stdlib.ProcessorFormatter.wrap_for_formatter] if console else _as_json()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *_described(), *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory() if console else lambda *name: _Lines(file, *name),
        cache_logger_on_first_use=False,  # loggers made at import time follow a later call
    )


def stop_logging() -> None:
    """Take down what `setup_logging` put up; its files are closed."""
    logging.captureWarnings(False)
    while _installed:
        handler = _installed.pop()
        logging.getLogger().removeHandler(handler)
        handler.close()
    structlog.reset_defaults()


class _PrivateFile(RotatingFileHandler):
    """A log file that only we can read, from its first moment."""

    def shouldRollover(self, record: logging.LogRecord) -> int:  # noqa: N802 - the name is the standard library's
        """Whether the file is full; what the line to come is, which would have to be worked out twice, counts not."""
        return int(self.stream is not None and self.stream.tell() >= self.maxBytes)

    def write_line(self, text: str) -> None:
        """Add a line that is complete. A log that cannot be written stops nobody."""
        with self.lock or contextlib.nullcontext(), contextlib.suppress(OSError, ValueError):
            if self.stream is None:
                self.stream = self._open()
            if self.stream.tell() >= self.maxBytes:
                self.doRollover()
            self.stream.write(f"{text}\n")
            self.stream.flush()

    def _open(self) -> Any:
        def private(name: str, flags: int) -> int:
            return os.open(name, flags, 0o600)

        return open(self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors, opener=private)


class _Lines:
    """What structlog writes to: a file, under the name of whoever logs."""

    def __init__(self, file: _PrivateFile, name: str = "orchestrator") -> None:
        self.name = name
        self._file = file

    def msg(self, text: str) -> None:
        self._file.write_line(text)

    debug = info = warning = error = critical = exception = msg


def _file_handler(path: Path, max_bytes: int, keep: int) -> _PrivateFile:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _drop_older(path, keep)
        handler = _PrivateFile(path, maxBytes=max_bytes, backupCount=keep, encoding="utf-8", errors="replace")
    except OSError as error:
        raise OrchestratorError(
            f"the daemon's log {path} cannot be written",
            why=error.strerror or str(error),
            fix="make the file and its folder writable for you",
        ) from error
    handler.setFormatter(_formatter(*_as_json()))
    return handler


def _as_json() -> list[Processor]:
    """The last steps of a line for the file."""
    return [structlog.processors.format_exc_info, _redacted, structlog.processors.JSONRenderer(default=str)]


def _drop_older(path: Path, keep: int) -> None:
    """Remove what an earlier daemon put aside beyond what is kept now."""
    number = keep + 1
    while (old := path.with_name(f"{path.name}.{number}")).exists():
        old.unlink()
        number += 1


def _console_handler() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    renderer = structlog.dev.ConsoleRenderer(colors=colours, timestamp_key="at", pad_event_to=24)
    handler.setFormatter(_formatter(structlog.processors.format_exc_info, _redacted, _made_printable, renderer))
    return handler


def _described() -> list[Processor]:
    """What every line says, wherever it came from."""
    return [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]


def _formatter(*last: Processor) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_described(), structlog.stdlib.ExtraAdder()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )


def _redacted(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    line.pop("color_message", None)  # uvicorn says some things twice
    return {key: _mapped(value, redact) for key, value in line.items()}


def _made_printable(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    return {key: _mapped(value, printable) for key, value in line.items()}


def _mapped(value: Any, change: Any) -> Any:
    """A value with every text in it changed; anything that is not plain data becomes text first."""
    match value:
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {change(str(key)): _mapped(inner, change) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_mapped(inner, change) for inner in value]
        case _:
            return change(str(value))
