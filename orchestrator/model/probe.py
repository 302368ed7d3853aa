"""One thing that `doctor` looks at, and what it found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    """How bad it is."""

    OK = "ok"  #: works
    WARN = "warn"  #: works, and somebody may be surprised
    FAIL = "fail"  #: plans cannot run, or not safely


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What was found out about one thing, in the user's words."""

    name: str
    grade: Grade = Grade.OK
    said: str  #: what it is like
    why: str = ""
    fix: str = ""
