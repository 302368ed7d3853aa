"""What a person confirms: the plan, what would collide, and how it would run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from orchestrator.model.errors import Problem
from orchestrator.model.ids import TaskId
from orchestrator.model.plan import Plan


class Verdict(StrEnum):
    SEQUENTIAL = "sequential"  #: at least two tasks, and no two of them may ever run together
    PARALLEL = "parallel"  #: no two unordered tasks overlap
    PARTLY = "partly"  #: some unordered tasks overlap and are kept apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Two tasks that cannot run at once, and one path (or shared name) that shows it."""

    tasks: tuple[TaskId, TaskId]
    witness: str
    shared: bool = False  #: the witness is a name in `uses`, not a path
    ordered: bool = False  #: a dependency already keeps the two apart
    certain: bool = True  #: False: "may overlap", the search gave up; kept apart all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """The result of `plan check`. `plan` is None when there are errors."""

    plan: Plan | None
    digest: str = ""
    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    verdict: Verdict = Verdict.PARALLEL
    overlaps: tuple[Overlap, ...] = ()
    groups: tuple[tuple[TaskId, ...], ...] = ()  #: tasks joined by unordered overlaps, two or more each
    waves: tuple[tuple[TaskId, ...], ...] = ()
    critical_path: tuple[TaskId, ...] = ()
    one_by_one: timedelta = timedelta()
    in_parallel: timedelta = timedelta()  #: expected with the plan's limits, dependencies and overlaps
    git_config: dict[str, str] | None = None
