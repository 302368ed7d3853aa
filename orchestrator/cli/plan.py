"""`plan check`, `plan show`, `plan graph`, `plan schema`: what a plan says, before anything runs."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.session import Answer, Session, as_json, problem_data
from orchestrator.cli.verb import verb
from orchestrator.model.errors import PlanError, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestrator.model.assessment import Assessment, Overlap
    from orchestrator.model.plan import Plan
    from orchestrator.wire import Overrides

PlanArgument = Annotated[Path, typer.Argument(metavar="PLAN", help="A plan file.")]
ParallelOption = Annotated[
    int | None, typer.Option("--parallel", metavar="N", min=1, max=256, help="How many attempts at once.")
]
AgentOption = Annotated[str | None, typer.Option("--agent", metavar="A", help="For tasks that name none.")]
IsolationOption = Annotated[str | None, typer.Option("--isolation", metavar="I", help="How attempts are kept apart.")]


def assess(
    session: Session, typed: Path, *, parallel: int | None, agent: str | None, isolation: str | None
) -> tuple[Assessment, Overrides, Path]:
    """The assessment of the plan file that was typed.

    Raises: UsageError when there is no such file; PlanError is for the caller, who may have more to show.
    """
    from orchestrator.wire import Overrides

    overrides = Overrides(parallel=parallel, agent=agent, isolation=isolation)
    path = session.path(typed).resolve()
    if not path.is_file():
        from orchestrator.cli.status import plan_files

        here = plan_files(session)
        meant = (get_close_matches(str(typed), here, n=1) or here)[:1]
        raise UsageError(
            f"there is no plan file '{typed}'",
            why=f"here are {', '.join(here[:6])}" if here else "and there is none in plans/ either",
            fix=session.command_line("plan", "check", meant[0]) if meant else "",
        )
    return session.world().check_plan(session.place(), path, overrides), overrides, path


@verb
def check(
    session: Session,
    plan: PlanArgument,
    parallel: ParallelOption = None,
    agent: AgentOption = None,
    isolation: IsolationOption = None,
) -> Answer:
    """Find what is wrong with a plan, what would collide, and how it would run. Changes nothing."""
    found, _, _ = assess(session, plan, parallel=parallel, agent=agent, isolation=isolation)
    return _assessed(check_data(found), found, full=False)


@verb
def show(
    session: Session,
    plan: PlanArgument,
    parallel: ParallelOption = None,
    agent: AgentOption = None,
    isolation: IsolationOption = None,
) -> Answer:
    """The same as `plan check`, with every task and its prompt in full."""
    found, _, _ = assess(session, plan, parallel=parallel, agent=agent, isolation=isolation)
    data = check_data(found)
    if found.plan is not None:
        from orchestrator.wire import dump

        data["plan"] = dump(found.plan)
    return _assessed(data, found, full=True)


def _assessed(data: dict[str, Any], found: Assessment, *, full: bool) -> Answer:
    from orchestrator.cli.assess_view import assessment_page

    if found.errors:
        return Answer(data=data, error=PlanError(problems=found.errors))
    return Answer(data=data, page=lambda: assessment_page(found, full=full))


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
) -> Answer:
    """What depends on what, and what is kept apart."""
    if form not in {"text", "mermaid", "dot", "json"}:
        raise UsageError(f"there is no graph format '{form}'", fix="use text, mermaid, dot or json")
    found, _, _ = assess(session, plan, parallel=None, agent=None, isolation=None)
    if found.plan is None:
        return Answer(data=check_data(found), error=PlanError(problems=found.errors))
    data = graph_data(found.plan, found.overlaps)
    if form == "json":
        session.json = True
    drawn = {"text": _text, "mermaid": _mermaid, "dot": _dot, "json": as_json}[form](data)
    return Answer(data=data, page=lambda: _raw(drawn))


@verb
def schema(session: Session) -> Answer:
    """JSON Schema of plan files, for editors."""
    import json

    found = session.world().plan_schema()
    return Answer(data=found, page=lambda: _raw(json.dumps(found, indent=2, ensure_ascii=False)))


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
    lines = [
        f"{task['id']}  {task['title']}" + (f"  <- {', '.join(after[task['id']])}" if task["id"] in after else "")
        for task in data["tasks"]
    ]
    lines += [f"{pair['tasks'][0]} x {pair['tasks'][1]}  kept apart: {pair['witness']}" for pair in data["apart"]]
    return safe("\n".join(lines))


def _mermaid(data: dict[str, Any]) -> str:
    number = {task["id"]: f"t{index}" for index, task in enumerate(data["tasks"])}
    lines = ["graph LR"]
    lines += [f'  {number[task["id"]]}["{_label(task)}"]' for task in data["tasks"]]
    lines += [f"  {number[edge['on']]} --> {number[edge['task']]}" for edge in data["depends"]]
    lines += [f"  {number[pair['tasks'][0]]} -. apart .- {number[pair['tasks'][1]]}" for pair in data["apart"]]
    return "\n".join(lines)


def _dot(data: dict[str, Any]) -> str:
    lines = ["digraph plan {", "  rankdir=LR;", "  node [shape=box];"]
    lines += [f'  "{task["id"]}" [label="{_label(task)}"];' for task in data["tasks"]]
    lines += [f'  "{edge["on"]}" -> "{edge["task"]}";' for edge in data["depends"]]
    lines += [
        f'  "{pair["tasks"][0]}" -> "{pair["tasks"][1]}" [dir=none, style=dashed, constraint=false];'
        for pair in data["apart"]
    ]
    return "\n".join([*lines, "}"])


def _label(task: dict[str, Any]) -> str:
    """Id and title, without what would end a quoted label."""
    from orchestrator.cli.words import safe

    return safe(f"{task['id']}: {task['title']}").replace("\\", "/").replace('"', "'").replace("\n", " ")
