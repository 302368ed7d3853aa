"""Plan text -> Plan, with every problem at its line.

`parse_plan` reads the text alone and says what has to be looked up; `resolve_plan` puts text, settings, built-in
defaults and the repository together. What can be built is built even when there are errors, so that later stages find
the rest of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePath

from orchestrator.core.planagents import Crew, choose_agents
from orchestrator.core.planfaults import checked, key_place, node_at
from orchestrator.core.planpaths import file_set
from orchestrator.core.plantables import (
    CheckTable,
    DefaultsTable,
    PlanTable,
    PrepareTable,
    SharedTables,
    TaskTable,
    check_isolation,
    plan_schema,
)
from orchestrator.core.plantext import Row, Table, read_text, tree_of
from orchestrator.core.planvalues import check_plan_name, nearest, safe_id, shown
from orchestrator.core.settings import PLAN_TABLES, Settings
from orchestrator.model.errors import PlanError, Problem
from orchestrator.model.ids import PlanId, TaskId
from orchestrator.model.plan import (
    EVERYTHING,
    Check,
    ContextFile,
    FileSet,
    Plan,
    Prepare,
    PublishMode,
    RetryPolicy,
    Task,
)
from orchestrator.model.repo import RepoFacts

__all__ = ["Draft", "Resolved", "parse_plan", "plan_schema", "resolve_plan"]

CHECK_TIMEOUT = timedelta(minutes=10)
PARALLEL = 4
_MOST_PATTERNS = 500_000  #: after braces, in all tasks together
_BUILT_IN = DefaultsTable.model_construct(
    timeout=timedelta(minutes=60),
    retries=3,
    backoff=[timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15)],
    priority=50,
    complexity=3,
    estimate=timedelta(minutes=20),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A plan as far as its text alone tells."""

    file: str
    table: PlanTable
    tree: Table  #: what is left of the text, with positions
    problems: tuple[Problem, ...] = ()

    @property
    def target(self) -> str | None:
        """The branch that the plan names; None: the current one."""
        return self.table.target

    @property
    def wanted_files(self) -> tuple[str, ...]:
        """Files of the repository whose content is needed, relative to its root."""
        wanted: dict[str, None] = {}
        for task in self.table.tasks:
            if task.prompt_file is not None:
                wanted[task.prompt_file] = None
            wanted.update(dict.fromkeys(task.context))
        return tuple(wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A plan together with everything wrong with it. It may only run if none of the problems is an error."""

    plan: Plan | None  #: None when there is not a single task to show
    problems: tuple[Problem, ...]
    places: Mapping[str, tuple[int, int]]  #: `tasks.<id>`, `tasks.<id>.depends_on` and `.files` -> line, column


def parse_plan(data: bytes | str, *, file: str) -> Draft:
    """Read a plan's text.

    Raises: PlanError when it cannot be read as one YAML table. Everything else is in the draft's problems.
    """
    tree, problems = read_text(data, file=file)
    table, more = checked(PlanTable, tree, lambda _: file)
    return Draft(file=file, table=table, tree=tree, problems=tuple(problems + more))


def resolve_plan(
    draft: Draft,
    *,
    settings: Settings,
    facts: RepoFacts,
    contents: Mapping[str, str | None],
    adapters: Mapping[str, bool],
    parallel: int | None = None,
    agent: str | None = None,
    isolation: str | None = None,
) -> Resolved:
    """The plan with defaults applied and everything it names looked up.

    Args:
        contents: text of each of `draft.wanted_files`; None: there is no such file, or it is not text.
        adapters: name -> whether a plan has to give `run:`.
        parallel, agent, isolation: what flags say instead of the plan; the agent replaces those of all tasks but a
            person's.
    """
    resolver = _Resolver(draft, settings, facts, contents)
    return resolver.resolve(adapters, parallel=parallel, agent=agent, isolation=isolation)


class _Resolver:
    """One resolving: what is looked at, and the problems found so far."""

    def __init__(
        self, draft: Draft, settings: Settings, facts: RepoFacts, contents: Mapping[str, str | None]
    ) -> None:
        self.draft = draft
        self.written = draft.table
        self.settings = settings
        self.facts = facts
        self.contents = contents
        self.problems = list(draft.problems)
        tables = {key: value for key in PLAN_TABLES if (value := getattr(settings, key))}
        self.settings_tree = tree_of(tables)
        assert isinstance(self.settings_tree, Table)
        self.shared, problems = checked(
            SharedTables, self.settings_tree, lambda loc: settings.origin_of(".".join(map(str, loc[:2])))
        )
        self.problems += problems

    # ---- saying what is wrong ----

    def report(
        self, loc: tuple[str | int, ...], code: str, message: str, why: str, fix: str, *, warning: bool = False
    ) -> None:
        """Note a problem at a place of the plan, or of the settings if the plan does not have it."""
        line = column = 0
        file = self.draft.file
        if loc and not self.in_plan(loc[:2] if loc[0] in ("agents", "resources", "defaults") else loc[:1]):
            file = self.settings.origin_of(".".join(map(str, loc[:2])))
        elif loc:
            node = node_at(self.draft.tree, loc)
            line, column = node.line, node.column
        self.problems.append(
            Problem(
                code=code, message=message, why=why, fix=fix, file=file, line=line, column=column, warning=warning
            )
        )

    def in_plan(self, loc: tuple[str | int, ...]) -> bool:
        """Whether the plan's text has this key, be it with a value that was refused."""
        table = node_at(self.draft.tree, loc[:-1])
        return isinstance(table, Table) and str(loc[-1]) in table.keys
