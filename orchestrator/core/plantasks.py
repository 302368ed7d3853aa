"""The tasks of a plan: defaults applied, prompts and context read in, dependencies looked up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from orchestrator.core.planagents import Crew
from orchestrator.core.planfaults import key_place
from orchestrator.core.planfindings import Findings
from orchestrator.core.planpaths import PathPattern, file_set
from orchestrator.core.plantables import CheckTable, DefaultsTable, TaskTable
from orchestrator.core.planvalues import safe_id, shown
from orchestrator.model.ids import TaskId
from orchestrator.model.plan import EVERYTHING, HUMAN, NOTHING, Check, ContextFile, FileSet, RetryPolicy, Task

CHECK_TIMEOUT = timedelta(minutes=10)
_MOST_PATTERNS = 500_000  #: of all tasks together, after braces; they are compared pair by pair later
_BUILT_IN = DefaultsTable.model_construct(
    timeout=timedelta(minutes=60),
    retries=3,
    backoff=[timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15)],
    priority=50,
    complexity=3,
    estimate=timedelta(minutes=20),
)


def merged_defaults(written: DefaultsTable, shared: DefaultsTable) -> DefaultsTable:
    """What tasks have unless they say otherwise: the plan's word, else that of the settings, else the built-in one."""
    values = {}
    for name in DefaultsTable.model_fields:
        for table in (written, shared, _BUILT_IN):
            if (value := getattr(table, name)) is not None:
                values[name] = value
                break
    return DefaultsTable.model_construct(**values)


def build_checks(tables: Iterable[CheckTable]) -> tuple[Check, ...]:
    return tuple(
        Check(name=table.name, run=tuple(table.run), timeout=table.timeout or CHECK_TIMEOUT) for table in tables
    )


class TaskBuilder:
    """Turns task tables into tasks, one after the other.

    Args:
        known: every id written in the plan, those that were refused included.
        checks: names of the plan's checks, folded.
    """

    def __init__(
        self,
        findings: Findings,
        crew: Crew,
        defaults: DefaultsTable,
        *,
        known: frozenset[str],
        checks: frozenset[str],
        directories: frozenset[str],
        contents: Mapping[str, str | None],
    ) -> None:
        self.findings = findings
        self.crew = crew
        self.defaults = defaults
        self.known = known
        self.checks = checks
        self.directories = directories
        self.contents = contents
        self.places: dict[str, tuple[int, int]] = {}
        self._details: dict[str, tuple[int, int]] = {}
        self._taken: dict[str, TaskId] = {}  #: folded -> as written
        self._patterns = 0

    def tasks(self, tables: list[TaskTable]) -> tuple[Task, ...]:
        """Every task that has a usable id. Dependencies on anything else are left out."""
        for index, table in enumerate(tables):
            self._take_id(table, index)
        tasks = tuple(
            self._task(table, TaskId(table.id), index)
            for index, table in enumerate(tables)
            if table.id is not None and f"tasks.{table.id}" in self.places and self._index[table.id] == index
        )
        # a task may be named like the key of another (`a` and `a.files`); its own place goes first
        self.places = {**self._details, **self.places}
        return tasks
