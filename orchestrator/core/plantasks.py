"""The tasks of a plan: defaults applied, prompts and context read in, dependencies looked up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TypeVar

from orchestrator.core.overrides import NO_CHANGES, Changes
from orchestrator.core.planagents import Crew
from orchestrator.core.planfaults import Loc, key_place
from orchestrator.core.planfindings import Findings
from orchestrator.core.planpaths import file_set
from orchestrator.core.plantables import CheckTable, DefaultsTable, TaskTable
from orchestrator.core.planvalues import safe_id, shown
from orchestrator.model.ids import TaskId
from orchestrator.model.plan import EVERYTHING, HUMAN, NOTHING, Check, ContextFile, FileSet, RetryPolicy, Task

T = TypeVar("T")

CHECK_TIMEOUT = timedelta(minutes=10)
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


def report_twice(findings: Findings, tables: Iterable[CheckTable], loc: Loc, taken: set[str]) -> None:
    """Report checks that cannot be told apart by name.

    Args:
        taken: names that are in use already, folded; gets those of `tables` as well.
    """
    for index, table in enumerate(tables):
        folded = table.name.casefold()
        if folded in taken:
            findings.report(
                (*loc, index, "name"),
                "duplicate_check",
                f"two checks are named {shown(table.name)}",
                "logs could not tell them apart",
                "choose another name",
            )
        taken.add(folded)


class TaskBuilder:
    """Turns task tables into tasks.

    Args:
        written: every id as it stands in the plan, those that were refused included.
        checks: names of the plan's checks, folded.
        contents: text of each file that a task names; None: there is none.
        changes: what flags ask for; a task that they leave out is not looked at.
    """

    def __init__(
        self,
        findings: Findings,
        crew: Crew,
        defaults: DefaultsTable,
        *,
        written: frozenset[str],
        checks: frozenset[str],
        directories: frozenset[str],
        contents: Mapping[str, str | None],
        changes: Changes = NO_CHANGES,
    ) -> None:
        self.findings = findings
        self.crew = crew
        self.defaults = defaults
        self.written = written
        self.checks = checks
        self.directories = directories
        self.contents = contents
        self.changes = changes
        self.places: dict[str, tuple[int, int]] = {}
        self._taken: dict[str, TaskId] = {}  #: folded -> as written
        self._first: dict[str, int] = {}  #: id -> place of the task that has it
        self._details: dict[str, tuple[int, int]] = {}

    def tasks(self, tables: list[TaskTable]) -> tuple[Task, ...]:
        """Every task that has a usable id and is not left out. Dependencies on anything else are left out."""
        for index, table in enumerate(tables):
            self._take_id(table, index)
        tasks = tuple(
            self._task(table, TaskId(table.id), index)
            for index, table in enumerate(tables)
            if table.id is not None and self._first.get(table.id) == index and table.id not in self.changes.drop
        )
        # a task may be named like the key of another (`a` and `a.files`); its own place goes first
        self.places = {**self._details, **self.places}
        return tasks

    def _take_id(self, table: TaskTable, index: int) -> None:
        """Note where a task is, and refuse an id that another has already."""
        loc: Loc = ("tasks", index)
        if table.id is None:
            if not self.findings.is_broken((*loc, "id")):
                self.findings.report(
                    loc,
                    "missing_key",
                    f"task number {index + 1}: 'id' is missing",
                    "tasks are called by their ids",
                    f"add id: {safe_id((table.title or '').lower()) or f'task-{index + 1}'}",
                )
            return
        folded = table.id.casefold()
        if folded in self._taken:
            other = self._taken[folded]
            same = "the same id" if other == table.id else f"'{other}', which differs only in case"
            self.findings.report(
                (*loc, "id"),
                "duplicate_id",
                f"another task has {same}: {shown(table.id)}",
                "ids become folders and branch names, where case may not count",
                "choose another id",
            )
            return
        self._taken[folded] = TaskId(table.id)
        self._first[table.id] = index
        self.places[f"tasks.{table.id}"] = key_place(self.findings.tree, (*loc, "id"))
        for key in ("depends_on", "files"):
            self._details[f"tasks.{table.id}.{key}"] = key_place(self.findings.tree, (*loc, key))

    def _task(self, table: TaskTable, task_id: TaskId, index: int) -> Task:
        loc: Loc = ("tasks", index)
        complexity = _or(table.complexity, self.defaults.complexity)
        agent = self.crew.agent_of(table, index, complexity)
        title = " ".join((table.title or "").split()) or task_id
        return Task(
            id=task_id,
            title=title,
            prompt=self._prompt(table, loc, is_human=agent == HUMAN, title=title),
            files=self._files(table, loc),
            reads=file_set(table.reads, self.directories),
            uses=tuple(dict.fromkeys(table.uses)),
            context=self._context(table, loc),
            depends_on=self._dependencies(table, loc),
            priority=_or(table.priority, self.defaults.priority),
            complexity=complexity,
            estimate=_or(table.estimate, self.defaults.estimate),
            needs=tuple(dict.fromkeys(table.needs)),
            agent=agent,
            checks=self._checks(table, loc),
            timeout=_or(table.timeout, self.defaults.timeout),
            retry=RetryPolicy(
                retries=_or(table.retries, self.defaults.retries),
                waits=tuple(_or(table.backoff, self.defaults.backoff)),
            ),
        )

    def _files(self, table: TaskTable, loc: Loc) -> FileSet:
        if table.files is not None:
            return file_set(table.files, self.directories)
        # refused already: a task that seems to change everything would drown it in overlaps
        return NOTHING if self.findings.is_broken((*loc, "files")) else EVERYTHING

    def _prompt(self, table: TaskTable, loc: Loc, *, is_human: bool, title: str) -> str:
        """What the agent is told; a person's task may do with its title."""
        if table.prompt is not None and table.prompt_file is not None:
            self.findings.report(
                (*loc, "prompt_file"),
                "two_prompts",
                f"task {shown(table.id)}: both 'prompt' and 'prompt_file' are given",
                "only one of them can be what the agent is told",
                "remove one of them",
            )
        if table.prompt is not None:
            if not table.prompt.strip() and not is_human:
                self._no_prompt(table, (*loc, "prompt"), "the prompt is empty")
            return table.prompt if table.prompt.strip() else title
        if table.prompt_file is not None:
            text = self._content(table, (*loc, "prompt_file"), table.prompt_file)
            if text is not None and not text.strip():
                self._no_prompt(table, (*loc, "prompt_file"), f"{shown(table.prompt_file)} is empty")
            return text or ""
        is_broken = any(self.findings.is_broken((*loc, key)) for key in ("prompt", "prompt_file"))
        if not is_human and not is_broken:
            self._no_prompt(table, loc, "'prompt' is missing")
        return title

    def _no_prompt(self, table: TaskTable, loc: Loc, what: str) -> None:
        self.findings.report(
            loc,
            "missing_prompt",
            f"task {shown(table.id)}: {what}",
            "an agent has to be told what to do",
            "add prompt: or prompt_file:, or agent: human for a task of your own",
        )

    def _content(self, table: TaskTable, loc: Loc, path: str) -> str | None:
        text = self.contents.get(path)
        if text is not None and "\0" not in text:  # no command line can carry a NUL
            return text
        self.findings.report(
            loc,
            "no_such_file",
            f"task {shown(table.id)}: {shown(path)} cannot be read",
            "there is no such text file below the root of the repository",
            "correct the path; it begins at the root of the repository",
        )
        return None

    def _context(self, table: TaskTable, loc: Loc) -> tuple[ContextFile, ...]:
        found: dict[str, ContextFile] = {}
        for index, path in enumerate(table.context):
            text = self._content(table, (*loc, "context", index), path)
            if text is not None:
                found[path] = ContextFile(path=path, text=text)
        return tuple(found.values())

    def _dependencies(self, table: TaskTable, loc: Loc) -> tuple[TaskId, ...]:
        found: dict[TaskId, None] = {}
        for index, name in enumerate(table.depends_on):
            at: Loc = (*loc, "depends_on", index)
            if name == table.id:
                self.findings.report(
                    at,
                    "self_dependency",
                    f"task {shown(table.id)} depends on itself",
                    "it could never start",
                    "remove it from depends_on",
                )
            elif TaskId(name) in found:
                self.findings.report(
                    at,
                    "duplicate_dependency",
                    f"task {shown(table.id)} names {shown(name)} twice",
                    "once is enough, so perhaps another task is meant",
                    "remove one of them, or name the other task",
                )
            elif name in self._first:
                found[TaskId(name)] = None
            elif name not in self.written:
                near = self.findings.nearest(name, self._first)
                self.findings.report(
                    at,
                    "unknown_task",
                    f"task {shown(table.id)} depends on {shown(name)}, which is not a task of this plan",
                    "it would wait for ever",
                    f"write '{near}'" if near else "remove it, or add that task",
                )
        found.update(dict.fromkeys(self.changes.after.get(TaskId(table.id or ""), ())))
        return tuple(name for name in found if name not in self.changes.drop)

    def _checks(self, table: TaskTable, loc: Loc) -> tuple[Check, ...]:
        report_twice(self.findings, table.checks, (*loc, "checks"), set(self.checks))
        return build_checks(table.checks)


def _or(*values: T | None) -> T:
    """The first value that is given; the merged defaults leave nothing but the agent open."""
    return next(value for value in values if value is not None)
