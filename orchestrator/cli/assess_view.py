"""What a person looks at before saying yes: the whole assessment on one page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.cli.words import AMBER, cell, counted, grid, joined, labelled, length, line, prose, told
from orchestrator.model.assessment import Assessment, Overlap, Verdict
from orchestrator.model.errors import Problem
from orchestrator.model.ids import TaskId
from orchestrator.model.plan import Check, FileSet, Plan, PublishMode, Task

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

#: Tasks that are still shown one by one on the short page.
FEW = 12
#: Waves and warnings on the short page.
FEW_WAVES = 6
#: Groups whose ways out are spelled out on the short page.
FEW_WAYS = 2
FEW_WARNINGS = 5
#: Steps of indentation; a chain of hundreds would walk off the screen.
DEEPEST = 8
#: Characters of names in a line of the short page.
NAMES_WIDTH = 44

VERDICTS = {
    Verdict.PARALLEL: "parallel: no two tasks that may run at once meet in a file or a shared name",
    Verdict.PARTLY: "partly: some tasks meet, and are kept apart while they run; the rest runs at once",
    Verdict.SEQUENTIAL: "sequential: no two tasks may ever run together, so agents in parallel would gain nothing",
}


def assessment_page(found: Assessment, *, before: Plan | None = None, full: bool = False) -> Iterable[RenderableType]:
    """Everything that a person confirms, short enough to be read at any size.

    Args:
        before: the plan of this name that is under way; what differs comes first.
        full: every task with its prompt, every pair, every warning.
    """
    plan = found.plan
    if plan is None:
        yield from problem_lines(found.errors, "red")
        return
    yield prose(line(cell(f"plan {plan.name}", "bold"), f"  lands on {plan.target}, {publish_word(plan)}"))
    if len(plan.tasks) > 1:
        yield verdict_line(found)
    if before is not None:
        from orchestrator.cli.difference_view import under_way_lines

        yield from under_way_lines(before, plan)
    if len(plan.tasks) > 1:
        yield cell("")
        yield from wave_lines(found, plan) if full else wave_counts(found)
        if full or len(plan.tasks) <= FEW:
            yield cell("")
            yield task_table(found, plan)
        else:
            yield from standing_counts(found, plan)
    if full or len(plan.tasks) == 1:
        from orchestrator.cli.task_view import task_lines

        for task in plan.tasks:
            yield from task_lines(plan, task)
    yield from overlap_lines(found) if full else group_lines(found)
    yield from limit_lines(found, plan)
    # overlaps have been shown, with the ways out
    rest = [problem for problem in found.warnings if problem.code not in {"overlap", "may_overlap"}]
    if rest:
        yield cell("")
        most = len(rest) if full else FEW_WARNINGS
        yield from problem_lines(rest[:most], AMBER)
        if len(rest) > most:
            yield prose(f"and {counted(len(rest) - most, 'more warning')}: details show them", style=AMBER)
    yield cell("")
    yield from outcome_lines(found, plan)


def publish_word(plan: Plan) -> str:
    """When the user's own branch moves, in words."""
    match plan.publish:
        case PublishMode.END:
            return f"which moves once, when everything has landed (publish: {plan.publish.value})"
        case PublishMode.EACH:
            return f"which moves after every task that lands (publish: {plan.publish.value})"
        case PublishMode.MANUAL:
            return f"which moves only when you say `orchestrator publish` (publish: {plan.publish.value})"


def problem_lines(problems: Sequence[Problem], style: str) -> Iterable[RenderableType]:
    for problem in problems:
        yield from told(f"{'warning: ' if problem.warning else ''}{problem}", style)


# ---- what runs when ----


def wave_lines(found: Assessment, plan: Plan) -> Iterable[RenderableType]:
    """The waves as an indented tree: what could run at once if everything before it has landed."""
    tasks = {task.id: task for task in plan.tasks}
    for number, wave in enumerate(found.waves, 1):
        yield cell(f"wave {number}", "bold")
        for name in wave:
            task = tasks[name]
            after = f"  <- {', '.join(task.depends_on)}" if task.depends_on else ""
            yield line("  " * min(number, DEEPEST), cell(name, "cyan"), f"  {task.title}", cell(after, "dim"))


def wave_counts(found: Assessment) -> Iterable[RenderableType]:
    """The waves as counts, each with its first names."""
    shown = found.waves if len(found.waves) <= FEW_WAVES else found.waves[: FEW_WAVES - 1]
    rows = [
        [cell(f"wave {number}", "bold"), cell(counted(len(wave), "task")), cell(first_names(wave), "cyan")]
        for number, wave in enumerate(shown, 1)
    ]
    yield grid(rows, indent=0)
    if len(shown) < len(found.waves):
        rest = found.waves[len(shown) :]
        yield prose(f"and {counted(len(rest), 'more wave')} with {counted(sum(map(len, rest)), 'task')}")


def first_names(names: Sequence[str]) -> str:
    """As many names as a line holds, and how many there are besides."""
    taken, width = 0, 0
    while taken < len(names) and (taken == 0 or width + len(names[taken]) + 2 <= NAMES_WIDTH):
        width += len(names[taken]) + 2
        taken += 1
    more = f" and {len(names) - taken} more" if taken < len(names) else ""
    return f"{', '.join(names[:taken])}{more}"


def standing_counts(found: Assessment, plan: Plan) -> Iterable[RenderableType]:
    """How many tasks may start at once, wait for others, or are kept apart, each with its first names."""
    apart = kept_apart(found)
    free = [task.id for task in plan.tasks if not task.depends_on and task.id not in apart]
    waiting = [task.id for task in plan.tasks if task.depends_on]
    meeting = [task.id for task in plan.tasks if task.id in apart]
    people = [task.id for task in plan.tasks if task.is_human]
    kinds = (
        ("at once", free, "green"),
        ("wait for others", waiting, ""),
        ("kept apart", meeting, AMBER),
        ("for a person", people, AMBER),
    )
    yield cell("")
    rows = [
        [cell(kind, style), cell(str(len(names))), cell(first_names(names))] for kind, names, style in kinds if names
    ]
    yield grid(rows, indent=0)


def task_table(found: Assessment, plan: Plan) -> RenderableType:
    head = [cell(name, "dim") for name in ("task", "agent", "estimate", "after", "files", "may start")]
    apart = kept_apart(found)
    lines = [head]
    for task in plan.tasks:
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


# ---- what would collide ----


def overlap_lines(found: Assessment) -> Iterable[RenderableType]:
    """Each pair with its witness, then three ways out for each group that is kept apart."""
    if not found.overlaps:
        return
    open_pairs = [pair for pair in found.overlaps if not pair.ordered]
    ordered = [pair for pair in found.overlaps if pair.ordered]
    yield cell("")
    yield cell(f"{counted(len(found.overlaps), 'pair')} of tasks can meet", "bold")
    yield grid([overlap_cells(pair) for pair in [*open_pairs, *ordered]])
    for group, pairs in pairs_of_groups(found):
        yield cell("")
        yield from ways_out(group, pairs)


def pairs_of_groups(found: Assessment) -> list[tuple[tuple[TaskId, ...], list[Overlap]]]:
    """Each group of tasks that are kept apart, with its pairs."""
    home = {name: index for index, group in enumerate(found.groups) for name in group}
    pairs: list[list[Overlap]] = [[] for _ in found.groups]
    for pair in found.overlaps:
        if not pair.ordered and pair.tasks[0] in home:
            pairs[home[pair.tasks[0]]].append(pair)
    return list(zip(found.groups, pairs, strict=True))


def group_lines(found: Assessment) -> Iterable[RenderableType]:
    """The groups that are kept apart, each with one witness and three ways out; ordered pairs only counted."""
    if not found.overlaps:
        return
    ordered = sum(pair.ordered for pair in found.overlaps)
    apart = len(found.overlaps) - ordered
    yield cell("")
    yield prose(
        f"{counted(len(found.overlaps), 'pair')} of tasks can meet: {apart} kept apart, {ordered} ordered", style="bold"
    )
    if len(found.overlaps) <= FEW:
        yield grid([overlap_cells(pair) for pair in sorted(found.overlaps, key=lambda pair: pair.ordered)])
    groups = [(group, pairs) for group, pairs in pairs_of_groups(found) if pairs]
    if len(groups) <= FEW_WAYS:
        for group, pairs in groups:
            yield cell("")
            yield from ways_out(group, pairs)
        return
    if len(found.overlaps) > FEW:
        yield grid([[cell(first_names(group), "bold"), cell(witness_word(pairs))] for group, pairs in groups[:FEW]])
        if len(groups) > FEW:
            rest = sum(len(group) for group, _ in groups[FEW:])
            yield prose(
                f"and {counted(len(groups) - FEW, 'more group')} of {counted(rest, 'task')}: details show them", 2
            )
    ways = "order two of them (--first A:B, or depends_on), narrow `files`, or move what they share into a task"
    yield prose(f"Three ways out of each: {ways} that runs first. Details say it for every group.", 2)


def witness_word(pairs: Sequence[Overlap]) -> str:
    """Where the tasks of a group meet: one path or name, and between whom when there are several pairs."""
    first = pairs[0]
    who = f"{first.tasks[0]} and {first.tasks[1]}: " if len(pairs) > 1 else ""
    return f"{who}{'shared: ' if first.shared else ''}{first.witness}"


def overlap_cells(pair: Overlap) -> list[Text]:
    if pair.ordered:
        how = cell("ordered by a dependency", "dim")
    elif pair.certain:
        how = cell("kept apart while they run", AMBER)
    else:
        how = cell("may overlap: kept apart while they run", AMBER)
    return [cell(" + ".join(pair.tasks), "bold"), cell(f"{'shared: ' if pair.shared else ''}{pair.witness}"), how]


def ways_out(group: Sequence[str], pairs: Sequence[Overlap]) -> Iterable[RenderableType]:
    """One witness of a group, and three ways to let its tasks run without waiting for each other by chance."""
    first = pairs[0]
    one, two = first.tasks
    witness = f" ({witness_word(pairs)})" if len(pairs) > 1 else ""
    yield prose(f"{first_names(group)} are kept apart{witness}. Three ways out:", 2, AMBER)
    paths = sorted({pair.witness for pair in pairs if not pair.shared})
    shared = sorted({pair.witness for pair in pairs if pair.shared})
    meeting = joined([*paths, *shared][:3])
    yield prose(f"1. order them: --first {one}:{two}, or give '{two}' depends_on: [{one}]", 4)
    if paths:
        yield prose(f"2. narrow `files` so that they do not meet in {joined(paths[:3])}", 4)
    else:
        yield prose(f"2. say how many may use it at once: resources: {{{shared[0] if shared else ''}: 2}}", 4)
    yield prose(f"3. move {meeting} into a task that runs first, and let the others depend on it", 4)


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


def path_word(names: Sequence[str]) -> str:
    """A chain of tasks; of a long one both ends."""
    shown = names if len(names) <= 8 else (*names[:4], f"({len(names) - 7} more)", *names[-3:])
    return " -> ".join(shown)


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


def verdict_line(found: Assessment) -> RenderableType:
    style = "green" if found.verdict is Verdict.PARALLEL else AMBER
    return labelled("verdict", cell(VERDICTS[found.verdict], style))


def outcome_lines(found: Assessment, plan: Plan) -> Iterable[RenderableType]:
    yield labelled("time   ", f"about {length(found.one_by_one)} one by one, {length(found.in_parallel)} in parallel")
    if len(found.critical_path) > 1:
        yield labelled("longest", path_word(found.critical_path))
    yield line(cell("digest   ", "dim"), found.digest)
    yield prose(count_line(found, plan), style="bold")
