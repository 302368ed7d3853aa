"""`plan check`, `plan show`, `plan graph`, `plan schema`: what a plan says, before anything runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.changes import (
    AgentOption,
    DropOption,
    FirstOption,
    IsolationOption,
    ParallelOption,
    read_overrides,
)
from orchestrator.cli.complete import complete_planned
from orchestrator.cli.session import Answer, Session, as_json, problem_data
from orchestrator.cli.verb import verb
from orchestrator.model.errors import PlanError, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestrator.model.assessment import Assessment, Overlap
    from orchestrator.model.plan import Plan
    from orchestrator.wire import Overrides

PlanArgument = Annotated[Path, typer.Argument(metavar="PLAN", help="A plan file.")]


def plan_path(session: Session, typed: Path) -> Path:
    """The plan file that was typed, absolute. Raises: UsageError when there is no such file."""
    path = session.path(typed)
    # what is no ordinary file, such as a pipe, can be read once only, and a plan is read again when it is handed in
    if not os.path.isfile(path):
        raise _no_plan_file(session, typed, path)
    return path.resolve()


def _no_plan_file(session: Session, typed: Path, path: Path) -> UsageError:
    from orchestrator.cli.status import plan_files

    here = [name for name in plan_files(session) if session.path(Path(name)) != path]
    meant = (get_close_matches(str(typed), here, n=1) or here)[:1]
    message, why = f"there is no plan file '{typed}'", ""
    if os.path.isdir(path):
        message, why = f"'{typed}' is a folder, and a plan is a file", ""
    elif os.path.exists(path):
        message, why = f"'{typed}' is not a plan file", "it is a device or a pipe, and a plan is read more than once"
    known = f"here are {', '.join(here[:6])}" if here else "there is none in plans/ either"
    return UsageError(
        message,
        why=why or known,
        fix=session.command_line("plan", "check", meant[0]) if meant else "give the path of a plan file",
    )


def assess(session: Session, typed: Path, overrides: Overrides) -> Assessment:
    """The assessment of the plan file that was typed. Raises: UsageError when there is no such file."""
    return session.world().check_plan(session.place(), plan_path(session, typed), overrides)


@verb
def check(
    session: Session,
    plan: PlanArgument,
    parallel: ParallelOption = None,
    agent: AgentOption = None,
    first: FirstOption = None,
    drop: DropOption = None,
    isolation: IsolationOption = None,
) -> Answer:
    """Find what is wrong with a plan, what would collide, and how it would run. Changes nothing."""
    overrides = read_overrides(parallel=parallel, agent=agent, first=first, drop=drop, isolation=isolation)
    found = assess(session, plan, overrides)
    return _assessed(check_data(found), found, full=False)


@verb
def show(
    session: Session,
    plan: PlanArgument,
    task: Annotated[
        str | None,
        typer.Argument(
            metavar="TASK",
            help="One task in full: its id, or the beginning of it.",
            autocompletion=complete_planned,
        ),
    ] = None,
    parallel: ParallelOption = None,
    agent: AgentOption = None,
    first: FirstOption = None,
    drop: DropOption = None,
    isolation: IsolationOption = None,
) -> Answer:
    """The same as `plan check`, with every task and its prompt in full. With TASK: all about one task."""
    overrides = read_overrides(parallel=parallel, agent=agent, first=first, drop=drop, isolation=isolation)
    found = assess(session, plan, overrides)
    data = check_data(found)
    if found.plan is not None:
        from orchestrator.wire import dump

        data["plan"] = dump(found.plan)
        if task is not None:
            from orchestrator.cli import rows
            from orchestrator.cli.task_view import task_page

            one = rows.unique(task, {one.id: one for one in found.plan.tasks}, "task")
            data["plan"]["tasks"] = [dump(one)]
            whole = found.plan
            return Answer(data=data, page=lambda: task_page(found, whole, one, overrides), paged=True)
    return _assessed(data, found, full=True)


def _assessed(data: dict[str, Any], found: Assessment, *, full: bool) -> Answer:
    from orchestrator.cli.assess_view import assessment_page

    if found.errors:
        return Answer(data=data, error=PlanError(problems=found.errors))
    return Answer(data=data, page=lambda: assessment_page(found, full=full), paged=True)


def check_data(found: Assessment) -> dict[str, Any]:
    """The data of `plan check --json`."""
    return {
        "digest": found.digest,
        "verdict": found.verdict,
        "errors": [problem_data(problem) for problem in found.errors],
        "warnings": [problem_data(problem) for problem in found.warnings],
        "overlaps": [
            {"tasks": pair.tasks, "witness": pair.witness, "ordered": pair.ordered} for pair in found.overlaps
        ],
        "waves": found.waves,
        "git_config": found.git_config or {},
    }


@verb
def graph(
    session: Session,
    plan: PlanArgument,
    form: Annotated[str, typer.Option("--format", metavar="F", help="text, mermaid, dot or json.")] = "text",
    parallel: ParallelOption = None,
    agent: AgentOption = None,
    first: FirstOption = None,
    drop: DropOption = None,
    isolation: IsolationOption = None,
) -> Answer:
    """What depends on what, and what is kept apart."""
    if form not in {"text", "mermaid", "dot", "json"}:
        raise UsageError(f"there is no graph format '{form}'", fix="use text, mermaid, dot or json")
    overrides = read_overrides(parallel=parallel, agent=agent, first=first, drop=drop, isolation=isolation)
    found = assess(session, plan, overrides)
    if found.plan is None:
        return Answer(data=check_data(found), error=PlanError(problems=found.errors))
    data = graph_data(found.plan, found.overlaps)
    if form == "json":
        session.json = True
    drawn = {"text": _text, "mermaid": _mermaid, "dot": _dot, "json": as_json}[form](data)
    return Answer(data=data, page=lambda: _raw(drawn))


@verb
def schema(
    session: Session,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write it there instead of printing it.")
    ] = None,
) -> Answer:
    """JSON Schema of plan files, for editors."""
    import json

    found = session.world().plan_schema()
    text = json.dumps(found, indent=2, ensure_ascii=False)
    if output is None:
        return Answer(data=found, page=lambda: _raw(text))
    session.world().save_made(session.path(output), text + "\n")
    return Answer(data={"path": output}, page=lambda: [f"{output} is written"])


def _raw(text: str) -> Iterable[RenderableType]:
    """For programs as much as for people, so it goes out as it is."""
    sys.stdout.write(text.rstrip("\n") + "\n")
    return ()


def graph_data(plan: Plan, overlaps: Iterable[Overlap]) -> dict[str, Any]:
    """Tasks, what each waits for, and which of them are kept apart while they run."""
    return {
        "tasks": [{"id": task.id, "title": task.title, "agent": task.agent} for task in plan.tasks],
        "depends": [{"task": task.id, "on": on} for task in plan.tasks for on in task.depends_on],
        "apart": [{"tasks": pair.tasks, "witness": pair.witness} for pair in overlaps if not pair.ordered],
    }


def _text(data: dict[str, Any]) -> str:
    from orchestrator.cli.words import safe

    after: dict[str, list[str]] = {}
    for edge in data["depends"]:
        after.setdefault(edge["task"], []).append(edge["on"])
    width = max(len(task["id"]) for task in data["tasks"])
    lines = [
        f"{task['id']:<{width}}  {task['title']}"
        + (f"  <- {', '.join(after[task['id']])}" if task["id"] in after else "")
        for task in data["tasks"]
    ]
    # many tasks that share one file are many pairs and one line
    sharing: dict[str, list[str]] = {}
    for pair in data["apart"]:
        names = sharing.setdefault(pair["witness"], [])
        names += [name for name in pair["tasks"] if name not in names]
    if sharing:
        lines += ["", "kept apart, because of what they share:"]
        lines += [f"{' x '.join(names)}  {witness}" for witness, names in sharing.items()]
    return safe("\n".join(lines))


def _mermaid(data: dict[str, Any]) -> str:
    number = {task["id"]: f"t{index}" for index, task in enumerate(data["tasks"])}
    lines = ["graph LR"]
    lines += [f'  {number[task["id"]]}["{_escaped(_label(task), _MERMAID)}"]' for task in data["tasks"]]
    lines += [f"  {number[edge['on']]} --> {number[edge['task']]}" for edge in data["depends"]]
    lines += [f"  {number[pair['tasks'][0]]} -. apart .- {number[pair['tasks'][1]]}" for pair in data["apart"]]
    return "\n".join(lines)


def _dot(data: dict[str, Any]) -> str:
    lines = ["digraph plan {", "  rankdir=LR;", "  node [shape=box];"]
    lines += [f'  "{task["id"]}" [label="{_escaped(_label(task), _DOT)}"];' for task in data["tasks"]]
    lines += [f'  "{edge["on"]}" -> "{edge["task"]}";' for edge in data["depends"]]
    lines += [
        f'  "{pair["tasks"][0]}" -> "{pair["tasks"][1]}" [dir=none, style=dashed, constraint=false];'
        for pair in data["apart"]
    ]
    return "\n".join([*lines, "}"])


#: What means something in a label; Mermaid takes labels for HTML and has entities of its own.
_MERMAID = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;", "\\": "#92;"}
_DOT = {"\\": "\\\\", '"': '\\"'}


def _escaped(text: str, signs: dict[str, str]) -> str:
    return "".join(signs.get(char, char) for char in text)


def _label(task: dict[str, Any]) -> str:
    """Id and title in one line."""
    from orchestrator.cli.words import safe

    return " ".join(safe(f"{task['id']}: {task['title']}").split())
