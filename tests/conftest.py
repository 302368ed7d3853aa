"""What proofs tell is printed at the end, also when tests run in several processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

TOLD = "told"  #: `record_property(TOLD, line)` in a test


def _lines(reporter: Any) -> Iterator[str]:
    for reports in reporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == TOLD and getattr(report, "when", "") == "call":
                    yield str(value)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    told = sorted(set(_lines(terminalreporter)))
    if told:
        terminalreporter.section("what the proofs tell")
        for line in told:
            terminalreporter.write_line(line)
