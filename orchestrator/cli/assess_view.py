"""What a person looks at before saying yes: the whole assessment on one page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from orchestrator.cli.words import AMBER, cell, counted, grid, indented, joined, length, line, told
from orchestrator.model.assessment import Assessment, Overlap, Verdict
from orchestrator.model.errors import Problem
from orchestrator.model.plan import Check, FileSet, Plan, Task

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

#: Lines of one kind on a page that a person should still read.
MOST = 40

VERDICTS = {
    Verdict.PARALLEL: "parallel: no two tasks that may run at once meet in a file or a shared name",
    Verdict.PARTLY: "partly: some tasks meet, and are kept apart while they run; the rest runs at once",
    Verdict.SEQUENTIAL: "sequential: no two tasks may ever run together, so agents in parallel would gain nothing",
}


def assessment_page(found: Assessment, *, before: Plan | None = None, full: bool = False) -> Iterable[RenderableType]:
    """Everything that a person confirms.

    Args:
        before: the plan of this name that is under way; what differs comes first.
        full: every task with its prompt.
    """
    plan = found.plan
    if plan is None:
        yield from problem_lines(found.errors, "red")
        return
    yield line(cell(f"plan {plan.name}", "bold"), f"  lands on {plan.target}, published: {plan.publish.value}")
    if before is not None:
        yield from difference_lines(before, plan)
    yield cell("")
    yield from wave_lines(found, plan)
    yield cell("")
    yield task_table(found, plan)
    if full:
        for task in plan.tasks:
            yield from task_lines(task)
    yield from overlap_lines(found)
    yield from limit_lines(found, plan)
    # overlaps have been shown, pair by pair and with the ways out
    rest = [problem for problem in found.warnings if problem.code not in {"overlap", "may_overlap"}]
    if rest:
        yield cell("")
        yield from problem_lines(rest, AMBER)
    yield cell("")
    yield from verdict_lines(found, plan)


def problem_lines(problems: Sequence[Problem], style: str) -> Iterable[RenderableType]:
    for problem in problems:
        yield from told(f"{'warning: ' if problem.warning else ''}{problem}", style)


# ---- what runs when ----


def wave_lines(found: Assessment, plan: Plan) -> Iterable[RenderableType]:
    """The waves as an indented tree: what could run at once if everything before it has landed."""
    for number, wave in enumerate(found.waves, 1):
        yield cell(f"wave {number}", "bold")
        for name in wave[:MOST]:
            task = plan.task(name)
            after = f"  <- {', '.join(task.depends_on)}" if task.depends_on else ""
            yield line("  " * number, cell(name, "cyan"), f"  {task.title}", cell(after, "dim"))
        if len(wave) > MOST:
            yield cell(f"{'  ' * number}and {len(wave) - MOST} more")


def task_table(found: Assessment, plan: Plan) -> RenderableType:
    head = [cell(name, "dim") for name in ("task", "agent", "estimate", "after", "files", "may start")]
    apart = kept_apart(found)
    lines = [head]
    for task in plan.tasks[: MOST * 5]:
        lines.append(
            [
                cell(task.id, "bold"),
                cell(agent_word(task)),
                cell(length(task.estimate)),
                cell(", ".join(task.depends_on) or "-"),
                cell(files_word(task.files, most=3)),
                standing(task, apart.get(task.id, ())),
            ]
        )
    if len(plan.tasks) > MOST * 5:
        lines.append([cell(f"and {len(plan.tasks) - MOST * 5} more")] + [cell("")] * 5)
    return grid(lines, indent=0)


def kept_apart(found: Assessment) -> dict[str, list[tuple[str, str]]]:
    """For each task the ones that it may not run together with, each with a witness."""
    apart: dict[str, list[tuple[str, str]]] = {}
    for pair in found.overlaps:
        if not pair.ordered:
            first, second = pair.tasks
            apart.setdefault(first, []).append((second, pair.witness))
            apart.setdefault(second, []).append((first, pair.witness))
    return apart


def standing(task: Task, apart: Sequence[tuple[str, str]]) -> Text:
    """`at once`, or what the task waits for and why."""
    if not task.depends_on and not apart:
        return cell("at once", "green")
    said = []
    if task.depends_on:
        said.append(f"when {joined(task.depends_on)} landed")
    if apart:
        other, witness = apart[0]
        more = f" and {len(apart) - 1} more" if len(apart) > 1 else ""
        said.append(f"never together with {other} ({witness}){more}")
    return cell("; ".join(said), AMBER if apart else "")


def agent_word(task: Task) -> str:
    if task.is_human:
        return "a person"
    return task.agent or "who fits"


def files_word(files: FileSet, *, most: int = 1000) -> str:
    if files.is_everything:
        return "the whole repository"
    if files.is_empty:
        return "changes nothing"
    patterns = [*files.include, *(f"!{pattern}" for pattern in files.exclude)]
    return ", ".join(patterns[:most]) + (f" and {len(patterns) - most} more" if len(patterns) > most else "")


def task_lines(task: Task) -> Iterable[RenderableType]:
    """One task in full."""
    yield cell("")
    yield line(cell(task.id, "bold"), f"  {task.title}")
    facts = [
        ("agent", agent_word(task)),
        ("files", files_word(task.files)),
        ("reads", "" if task.reads.is_empty else files_word(task.reads)),
        ("uses", ", ".join(task.uses)),
        ("after", ", ".join(task.depends_on)),
        ("needs", ", ".join(task.needs)),
        ("context", ", ".join(file.path for file in task.context)),
        ("limits", f"{length(task.timeout)} at most, {counted(task.retry.retries, 'retry', 'retries')}"),
        ("order", f"priority {task.priority}, complexity {task.complexity}"),
        ("checks", "; ".join(check_word(check) for check in task.checks)),
    ]
    yield grid([[cell(name, "dim"), cell(value)] for name, value in facts if value])
    if task.prompt:
        yield indented(task.prompt)


# ---- what would collide ----


def overlap_lines(found: Assessment) -> Iterable[RenderableType]:
    """Each pair with its witness, then three ways out for each group that is kept apart."""
    if not found.overlaps:
        return
    open_pairs = [pair for pair in found.overlaps if not pair.ordered]
    ordered = [pair for pair in found.overlaps if pair.ordered]
    yield cell("")
    yield cell(f"{counted(len(found.overlaps), 'pair')} of tasks can meet", "bold")
    shown = [*open_pairs, *ordered]
    yield grid([overlap_cells(pair) for pair in shown[:MOST]])
    if len(shown) > MOST:
        yield cell(f"  and {len(shown) - MOST} more (see all: plan check --json)")
    for group in found.groups[:MOST]:
        yield cell("")
        yield from ways_out(group, [pair for pair in open_pairs if pair.tasks[0] in group])


def overlap_cells(pair: Overlap) -> list[Text]:
    if pair.ordered:
        how = cell("ordered by a dependency", "dim")
    elif pair.certain:
        how = cell("kept apart while they run", AMBER)
    else:
        how = cell("may overlap: kept apart while they run", AMBER)
    return [cell(" + ".join(pair.tasks), "bold"), cell(f"{'shared: ' if pair.shared else ''}{pair.witness}"), how]


def ways_out(group: Sequence[str], pairs: Sequence[Overlap]) -> Iterable[RenderableType]:
    """Three ways to let the tasks of a group run without waiting for each other by chance."""
    names = ", ".join(group[:6]) + (f" and {len(group) - 6} more" if len(group) > 6 else "")
    yield cell(f"  {names} are kept apart. Three ways out:")
    paths = sorted({pair.witness for pair in pairs if not pair.shared})
    shared = sorted({pair.witness for pair in pairs if pair.shared})
    meeting = joined([*paths, *shared][:3])
    yield cell(f"    1. order them: give '{group[1]}' depends_on: [{group[0]}]")
    if paths:
        yield cell(f"    2. narrow `files` so that they do not meet in {joined(paths[:3])}")
    else:
        yield cell(f"    2. say how many may use it at once: resources: {{{shared[0] if shared else ''}: 2}}")
    yield cell(f"    3. move {meeting} into a task that runs first, and let the others depend on it")


# ---- limits, checks, verdict ----


def check_word(check: Check) -> str:
    return f"{check.name}: {' '.join(check.run)} ({length(check.timeout)} at most)"


def limit_lines(found: Assessment, plan: Plan) -> Iterable[RenderableType]:
    checks = "; ".join(check_word(check) for check in plan.checks)
    prepare = plan.prepare
    prepared = [
        *(f"copy {path}" for path in prepare.copy),
        *(f"link {path}" for path in prepare.link),
        *(" ".join(command) for command in prepare.run),
    ]
    agents = [f"{agent.name}: {' '.join(agent.run) or agent.adapter}, {agent.count} at once" for agent in plan.agents]
    facts = [
        ("agents", "; ".join(agents)),
        (
            "limits",
            "; ".join([f"{plan.parallel} at once", *(f"{name}: {n} at once" for name, n in plan.resources.items())]),
        ),
        ("checks", checks or "none: nothing is tested before it lands"),
        ("every tree gets", "; ".join(prepared)),
        ("checks keep", ", ".join(plan.keep)),
        ("protected", "" if plan.protected.is_empty else f"{files_word(plan.protected)} (changes need your yes)"),
        ("git settings", "; ".join(git_words(found.git_config or {}))),
    ]
    yield cell("")
    yield grid([[cell(name, "dim"), cell(value)] for name, value in facts if value], indent=0)


def git_words(config: Mapping[str, str]) -> list[str]:
    """What is taken over of the user's git configuration; of filters and merge drivers, what they start."""
    drivers = {
        tuple(name.rpartition(".")[0].split(".", 1))
        for name in config
        if name.startswith(("filter.", "merge.")) and name.count(".") > 1
    }
    words = [
        f"{name}={value}"
        for name, value in config.items()
        if tuple(name.rpartition(".")[0].split(".", 1)) not in drivers
    ]
    for kind, name in sorted(drivers):
        commands = [config.get(f"{kind}.{name}.{key}", "") for key in ("process", "clean", "smudge", "driver")]
        started = [commands[0]] if commands[0] else [command for command in commands if command]
        what = "filter" if kind == "filter" else "merge driver"
        words.append(f"{what} {name} runs {' and '.join(f'`{command}`' for command in started) or 'nothing'}")
    return words


def count_line(found: Assessment, plan: Plan) -> str:
    """`12 tasks, 4 at once, 3 agents, 2 checks; 5 may start now`."""
    first = len(found.waves[0]) if found.waves else 0
    return ", ".join(
        [
            counted(len(plan.tasks), "task"),
            f"{plan.parallel} at once",
            counted(len(plan.agents), "agent"),
            f"{counted(len(plan.checks), 'check')}; {first} without dependencies",
        ]
    )


def verdict_lines(found: Assessment, plan: Plan) -> Iterable[RenderableType]:
    style = "green" if found.verdict is Verdict.PARALLEL else AMBER
    yield line(cell("verdict  ", "dim"), cell(VERDICTS[found.verdict], style))
    yield line(
        cell("time     ", "dim"),
        f"about {length(found.one_by_one)} one by one, {length(found.in_parallel)} in parallel",
    )
    if len(found.critical_path) > 1:
        yield line(cell("longest  ", "dim"), " -> ".join(found.critical_path))
    yield line(cell("digest   ", "dim"), found.digest)
    yield cell(count_line(found, plan), "bold")


# ---- a plan that is under way, and its new text ----


def difference_lines(before: Plan, after: Plan) -> Iterable[RenderableType]:
    """What the new text changes in the plan that is under way, as + - ~."""
    old = {task.id: task for task in before.tasks}
    new = {task.id: task for task in after.tasks}
    yield cell("")
    yield cell("This changes the plan that is under way. What has landed stays landed.", "bold")
    lines = [cell(f"  + {name}  {task.title}", "green") for name, task in new.items() if name not in old]
    lines += [cell(f"  - {name}  {task.title}", "red") for name, task in old.items() if name not in new]
    for name, task in new.items():
        if name in old and task != old[name]:
            lines.append(cell(f"  ~ {name}  {', '.join(_changed(old[name], task))}", AMBER))
    rest = [name for name in _changed(before, after) if name != "tasks"]
    if rest:
        lines.append(cell(f"  ~ plan  {', '.join(rest)}", AMBER))
    yield from lines or [cell("  only in ways that change nothing of what is executed")]


def _changed(before: Task | Plan, after: Task | Plan) -> list[str]:
    return [one.name for one in fields(before) if getattr(before, one.name) != getattr(after, one.name)]
