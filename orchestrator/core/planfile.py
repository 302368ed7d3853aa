"""Plan text -> Plan, with every problem at its line.

`parse_plan` reads the text alone and says what has to be looked up; `resolve_plan` puts text, settings, built-in
defaults and the repository together. What can be built is built even when there are errors, so that later stages find
the rest of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

from pydantic_core import PydanticCustomError

from orchestrator.core.planagents import Crew
from orchestrator.core.planfaults import checked
from orchestrator.core.planfindings import Findings
from orchestrator.core.planpaths import file_set
from orchestrator.core.plantables import (
    ISOLATIONS,
    PlanTable,
    PrepareTable,
    SharedTables,
    check_isolation,
    plan_schema,
)
from orchestrator.core.plantasks import TaskBuilder, build_checks, merged_defaults, report_twice
from orchestrator.core.plantext import Leaf, Row, Table, read_text
from orchestrator.core.planvalues import check_plan_name, fault, fault_words, safe_id, shown
from orchestrator.core.settings import Settings
from orchestrator.model.errors import Problem
from orchestrator.model.ids import PlanId
from orchestrator.model.plan import Check, Plan, Prepare, PublishMode
from orchestrator.model.repo import RepoFacts

__all__ = ["Draft", "Resolved", "parse_plan", "plan_schema", "resolve_plan"]

PARALLEL = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A plan as far as its text alone tells."""

    file: str
    table: PlanTable
    tree: Table  #: what is left of the text, with positions
    ids: frozenset[str]  #: of the tasks, as written
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
    ids = _written_ids(tree)
    table, more = checked(PlanTable, tree, lambda _: file)
    return Draft(file=file, table=table, tree=tree, ids=ids, problems=tuple(problems + more))


def _written_ids(tree: Table) -> frozenset[str]:
    tasks = tree.entries.get("tasks")
    tables = (
        [item.entries.get("id") for item in tasks.items if isinstance(item, Table)] if isinstance(tasks, Row) else []
    )
    return frozenset(leaf.text for leaf in tables if isinstance(leaf, Leaf))


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
    findings = Findings(draft.file, draft.tree, settings, draft.problems)
    written, shared = draft.table, findings.shared
    _check_flags(findings, parallel, isolation)
    name = _name(findings, written, draft.file)
    target = _target(findings, written, facts)
    _check_branches(findings, facts, name, target)
    checks = _checks(findings, written, shared)
    limit = parallel or written.parallel or PARALLEL
    defaults = merged_defaults(written.defaults, shared.defaults)
    declared = {**shared.agents, **written.agents}
    crew = Crew(findings, declared, defaults, adapters=adapters, parallel=limit, only=agent)
    builder = TaskBuilder(
        findings,
        crew,
        defaults,
        written=draft.ids,
        checks=frozenset(check.name.casefold() for check in checks),
        directories=facts.directories,
        contents=contents,
    )
    tasks = builder.tasks(written.tasks)
    if not written.tasks and not findings.is_broken(("tasks",)):
        why = "there would be nothing to do"
        findings.report(("tasks",), "no_tasks", "the plan has no tasks", why, "list at least one below `tasks:`")
    keep = written.keep if written.keep is not None else shared.keep
    protected = written.protected if written.protected is not None else shared.protected
    plan = Plan(
        name=name,
        target=target,
        publish=PublishMode(written.publish),
        parallel=limit,
        checks=checks,
        prepare=_prepare(findings, written.prepare or shared.prepare or PrepareTable()),
        keep=tuple(dict.fromkeys(keep or ())),
        protected=file_set(protected or (), facts.directories),
        resources={**shared.resources, **written.resources},
        agents=tuple(crew.specs.values()),
        tasks=tasks,
        execution=settings.as_execution(),
    )
    return Resolved(plan=plan if tasks else None, problems=findings.in_order(), places=builder.places)


def _check_flags(findings: Findings, parallel: int | None, isolation: str | None) -> None:
    if parallel is not None and not 1 <= parallel <= 256:
        why = "at least 1 and at most 256 agents work at once"
        findings.report((), "out_of_range", f"the flag for parallel says {parallel}", why, "give a number in between")
    if isolation is None:
        return
    try:
        if isolation not in ISOLATIONS:
            why = f"it can be {', '.join(ISOLATIONS)}"
            raise fault("bad_value", f"{shown(isolation)} is no isolation", why=why, fix="write worktree")
        check_isolation(isolation)
    except PydanticCustomError as error:
        findings.report((), *fault_words(error))


def _name(findings: Findings, written: PlanTable, file: str) -> PlanId:
    if written.name is not None:
        return PlanId(written.name)
    name = safe_id(PurePath(file).stem.lower())
    if findings.is_broken(("name",)):
        return PlanId(name or "plan")
    try:
        return PlanId(check_plan_name(name))
    except PydanticCustomError as error:
        _, message, why, _ = fault_words(error)
        message = f"the plan has no name, and that of its file gives none: {message}"
        findings.report((), "bad_id", message, why, "give it a name, such as name: auth-system")
        return PlanId("plan")


def _target(findings: Findings, written: PlanTable, facts: RepoFacts) -> str:
    target = written.target or facts.current_branch
    if findings.is_broken(("target",)) and written.target is None:
        return target or ""
    if target is None:
        why = "the plan names none, and no branch is checked out, so there is no current one"
        findings.report((), "missing_target", "it is not clear where the work should land", why, "write target: main")
    elif facts.target_commit is None and not facts.branches:
        why = "agents start from a commit, and the repository has none"
        fix = "make a first commit, an empty one if need be"
        findings.report(("target",), "unknown_target", f"the branch {shown(target)} has no commit yet", why, fix)
    elif facts.target_commit is None or target not in facts.branches:
        short = target.removeprefix("refs/").removeprefix("heads/")
        near = findings.nearest(short, facts.branches)
        why = "the work lands on a branch of this repository that exists"
        fix = f"write target: {near}" if near else "create the branch, or name another one"
        findings.report(("target",), "unknown_target", f"there is no branch {shown(target)}", why, fix)
    return target or ""


def _check_branches(findings: Findings, facts: RepoFacts, name: PlanId, target: str) -> None:
    """Report branches that leave no room for the one that shows the plan's work."""
    if "orchestrator" in facts.branches:
        why = f"the plan's work is shown as branch orchestrator/{name}, and git cannot have both"
        fix = "rename it: git branch -m orchestrator <another name>"
        findings.report((), "branch_named_orchestrator", "there is a branch named 'orchestrator'", why, fix)
    below = sorted(branch for branch in facts.branches if branch.startswith(f"orchestrator/{name}/"))
    if below:
        why = f"the plan's work is shown as branch orchestrator/{name}, and git cannot have both"
        fix = f"rename it, or give the plan another name: git branch -m {below[0]} <another name>"
        findings.report(("name",), "branch_in_the_way", f"there is a branch named '{below[0]}'", why, fix)
    if target == f"orchestrator/{name}":
        why = "that branch shows what has landed so far, so it cannot be where the work lands in the end"
        fix = "name another target, or give the plan another name"
        findings.report(("target",), "bad_target", f"the target '{target}' is the plan's own branch", why, fix)


def _checks(findings: Findings, written: PlanTable, shared: SharedTables) -> tuple[Check, ...]:
    tables = written.checks
    if tables is None and not findings.is_broken(("checks",)):
        tables = shared.checks
        if tables is None:
            why = "work that no check has seen would land, so having none has to be said"
            fix = (
                "list at least one, such as checks: [{name: tests, run: [make, test]}]; "
                "`orchestrator init` finds those of your project; or write checks: none"
            )
            findings.report((), "no_checks", "the plan has no checks", why, fix)
    report_twice(findings, tables or [], ("checks",), set())
    return build_checks(tables or ())


def _prepare(findings: Findings, table: PrepareTable) -> Prepare:
    for number, path in enumerate(table.link):
        if path in table.copy_paths:
            why = "it can be one or the other"
            message = f"prepare: {shown(path)} is copied and linked"
            findings.report(("prepare", "link", number), "duplicate_path", message, why, "remove one of the two")
    return Prepare(
        copy=tuple(dict.fromkeys(table.copy_paths)),
        link=tuple(dict.fromkeys(table.link)),
        run=tuple(tuple(words) for words in table.run),
    )
