"""Plan and repository -> errors, verdict, digest: what a person confirms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from datetime import timedelta
from functools import cache

from orchestrator.core import forecast, graph
from orchestrator.core.contentwarnings import content_warnings
from orchestrator.core.overlap import TooManyPairs, overlapping_pairs, reading_pairs, rivals_of, witness
from orchestrator.model.assessment import Assessment, Overlap, Verdict
from orchestrator.model.errors import Problem
from orchestrator.model.ids import TaskId
from orchestrator.model.plan import Plan, Task
from orchestrator.model.repo import RepoFacts

#: Goes into every digest before the plan, so that it is never mistaken for one of something else or of another form.
DIGEST_DOMAIN = b"orchestrator/plan/1\n"
OLDEST_GIT = (2, 39)
MOST_OF_A_KIND = 50  #: warnings of one kind before the rest is only counted

Places = Mapping[str, tuple[int, int]]
Rivals = Mapping[TaskId, frozenset[TaskId]]


# ---- digest ----


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {name: getattr(value, name) for name in _field_names(type(value))}
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, frozenset):
        return sorted(value)
    raise TypeError(f"no canonical form for {type(value).__name__}")


def digest_of(plan: Plan) -> str:
    """SHA-256, in hexadecimal, of everything in a plan that a person confirms.

    It covers the resolved values and not how they were written: keys sorted, lengths of time in seconds, no spaces.
    """
    text = json.dumps(plan, default=_plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(DIGEST_DOMAIN + text.encode()).hexdigest()


# ---- the assessment ----


def assess(
    plan: Plan | None, problems: Sequence[Problem], places: Places, *, file: str, facts: RepoFacts
) -> Assessment:
    """What a person has to know before they say yes.

    Args:
        plan: None when the text could not be read as a plan; `problems` then says why.
        problems: what reading the plan has found.
        places: line and column of `tasks.<id>`, `tasks.<id>.<key>` and the like.
        file: the plan's file, as people know it.
    """
    found = [*problems, *_repository_problems(facts, file)]
    if plan is None:
        return _sorted_out(Assessment(plan=None, git_config=dict(facts.config)), found)
    place = _Placer(file, places)
    tasks = plan.tasks
    order = graph.Order(tasks)
    found += _cycle_problems(tasks, place)
    try:
        overlaps = overlapping_pairs(tasks, plan.resources, ordered=order.is_ordered)
        readings = reading_pairs(tasks, ordered=order.is_ordered)
    except TooManyPairs:
        overlaps, readings = (), ()
        found.append(place.problem(_too_many(len(tasks)), "tasks"))
    unordered = [overlap for overlap in overlaps if not overlap.ordered]
    rivals = rivals_of(overlap.tasks for overlap in unordered)
    groups = _groups(tasks, rivals)
    found += _at_most(_whole_repository(tasks, place))
    found += _at_most(_overlap_warnings(plan, groups, unordered, place))
    found += _at_most(_reading_warnings(readings, place))
    found += _at_most(_protected_warnings(plan, place))
    assessment = Assessment(
        plan=plan,
        digest=digest_of(plan),
        verdict=_verdict(len(tasks), order.ordered_count(), len(unordered)),
        overlaps=overlaps,
        groups=groups,
        waves=graph.waves(tasks),
        critical_path=graph.critical_path(tasks),
        one_by_one=forecast.one_by_one(plan),
        in_parallel=forecast.in_parallel(plan, rivals, graph.ranks(tasks, rivals)),
        git_config=dict(facts.config),
    )
    return _sorted_out(assessment, found)


def explain(assessment: Assessment, task: Task) -> list[str]:
    """Why a task may not start at once or not beside others, one reason each; empty when it is independent."""
    return explanations(assessment, (task,))[task.id]


def explanations(assessment: Assessment, tasks: Iterable[Task]) -> dict[TaskId, list[str]]:
    """`explain` for many tasks in one look at the overlaps."""
    out = {task.id: [f"after '{name}', which it depends on" for name in task.depends_on] for task in tasks}
    for overlap in assessment.overlaps:
        if not overlap.ordered:
            for name, other in (overlap.tasks, overlap.tasks[::-1]):
                if name in out:
                    out[name].append(f"not beside '{other}': {_what_both_do(overlap)}")
    return out


def _what_both_do(overlap: Overlap) -> str:
    if overlap.shared:
        return f"both use '{overlap.witness}'"
    return f"both may change {overlap.witness}" if overlap.certain else "they may overlap; the exact search gave up"


def _sorted_out(assessment: Assessment, problems: Sequence[Problem]) -> Assessment:
    errors = sorted((p for p in problems if not p.warning), key=lambda p: (p.line, p.column))
    return replace(
        assessment,
        plan=None if errors else assessment.plan,
        digest="" if errors else assessment.digest,
        errors=tuple(errors),
        warnings=tuple(p for p in problems if p.warning),
    )


def _verdict(tasks: int, ordered: int, unordered_overlaps: int) -> Verdict:
    """The two kinds of pairs have no pair in common, so together they are all pairs only if no two may run at once."""
    if tasks >= 2 and ordered + unordered_overlaps == tasks * (tasks - 1) // 2:
        return Verdict.SEQUENTIAL
    return Verdict.PARTLY if unordered_overlaps else Verdict.PARALLEL


def _groups(tasks: Sequence[Task], rivals: Rivals) -> tuple[tuple[TaskId, ...], ...]:
    place = {task.id: index for index, task in enumerate(tasks)}
    seen: set[TaskId] = set()
    groups = []
    for task in tasks:
        if task.id in rivals and task.id not in seen:
            group = [task.id]
            seen.add(task.id)
            for name in group:
                new = rivals[name] - seen
                seen |= new
                group += new
            groups.append(tuple(sorted(group, key=place.__getitem__)))
    return tuple(groups)


# ---- problems ----


class _Placer:
    """Puts problems where the plan's file shows what they are about."""

    def __init__(self, file: str, places: Places) -> None:
        self._file = file
        self._places = places

    def problem(self, problem: Problem, *keys: str) -> Problem:
        """The problem at the first of these keys that is written in the file."""
        line, column = next((self._places[key] for key in keys if key in self._places), (0, 0))
        return replace(problem, file=self._file, line=line, column=column)

    def task(self, problem: Problem, task: TaskId, key: str) -> Problem:
        return self.problem(problem, f"tasks.{task}.{key}", f"tasks.{task}")


def _at_most(problems: Iterable[Problem]) -> list[Problem]:
    """The first of many warnings of one kind, and how many more there are."""
    every = list(problems)
    shown, more = every[:MOST_OF_A_KIND], len(every) - MOST_OF_A_KIND
    if more > 0:
        code, file = every[0].code, every[0].file
        shown.append(Problem(code=code, message=f"{more} more warnings of this kind", file=file, warning=True))
    return shown


def _repository_problems(facts: RepoFacts, file: str) -> Iterable[Problem]:
    if facts.git_version < OLDEST_GIT:
        yield Problem(
            code="git_too_old",
            message=f"git {'.'.join(map(str, facts.git_version))} is too old",
            why="merge candidates are made with commands that came with git 2.39",
            fix="install git 2.39 or newer",
            file=file,
        )
    if facts.is_shallow:
        yield Problem(
            code="shallow_repository",
            message="the repository is a shallow clone",
            why="merges need the history that it leaves out",
            fix="run `git fetch --unshallow`",
            file=file,
        )
    if not facts.has_identity:
        yield Problem(
            code="no_identity",
            message="git does not know who commits here",
            why="every commit that lands carries your name and mail address",
            fix="run `git config user.name NAME` and `git config user.email MAIL`",
            file=file,
        )
    yield from content_warnings(facts, file)


def _cycle_problems(tasks: Sequence[Task], place: _Placer) -> Iterable[Problem]:
    for ring in graph.cycles(tasks):
        if len(ring) == 1:
            message = f"task '{ring[0]}' depends on itself"
        else:
            message = f"tasks wait for each other: {' -> '.join([*ring, ring[0]])}"
        problem = Problem(
            code="cycle",
            message=message,
            why="none of them can start first",
            fix="remove one depends_on among them",
        )
        yield place.task(problem, ring[0], "depends_on")


def _too_many(tasks: int) -> Problem:
    return Problem(
        code="too_many_overlaps",
        message=f"too many of the {tasks} tasks overlap to list every pair",
        why="most of them declare no `files`, the same files, or patterns that reach across the whole repository",
        fix="declare narrower `files`, or divide the plan",
    )


def _whole_repository(tasks: Sequence[Task], place: _Placer) -> Iterable[Problem]:
    for task in tasks if len(tasks) > 1 else ():
        if task.files.is_everything:
            problem = Problem(
                code="runs_alone",
                message=f"task '{task.id}' may change every file, so it runs alone",
                why="it declares no `files`, or `**`",
                fix="list in `files` what it may change",
                warning=True,
            )
            yield place.task(problem, task.id, "files")


def _overlap_warnings(
    plan: Plan, groups: Sequence[tuple[TaskId, ...]], unordered: Sequence[Overlap], place: _Placer
) -> Iterable[Problem]:
    """One for each group, with the three ways out of it."""
    group_of = {name: index for index, group in enumerate(groups) for name in group}
    members: list[list[Overlap]] = [[] for _ in groups]
    for overlap in unordered:
        members[group_of[overlap.tasks[0]]].append(overlap)
    whole = {task.id for task in plan.tasks if task.files.is_everything}
    for group, overlaps in zip(groups, members, strict=True):
        narrow = [one for one in overlaps if not whole & {*one.tasks}]
        if not narrow:
            continue  # said already: these run alone
        first = narrow[0]
        a, b = first.tasks
        if len(group) == 2:
            message = f"tasks '{a}' and '{b}' overlap: {_what_both_do(first)}"
        else:
            names = ", ".join(f"'{name}'" for name in group[:6]) + (" and more" if len(group) > 6 else "")
            message = f"{len(group)} tasks overlap ({names}); for one, '{a}' and '{b}': {_what_both_do(first)}"
        problem = Problem(
            code="overlap" if all(one.certain for one in narrow) else "may_overlap",
            message=message,
            why="nothing orders them, so they are kept apart and run one after the other, in no order of yours",
            fix=_ways_out(first),
            warning=True,
        )
        yield place.task(problem, b, "uses" if first.shared else "files")


def _ways_out(overlap: Overlap) -> str:
    a, b = overlap.tasks
    order = f"order them (make '{b}' depend on '{a}')"
    if overlap.shared:
        first = f"do what needs '{overlap.witness}' in a task that runs first"
        return f"{order}, or raise '{overlap.witness}' in `resources` if it bears several users, or {first}"
    return f"{order}, or narrow `files` of one, or move the shared files into a task that runs first"


def _reading_warnings(readings: Iterable[tuple[TaskId, TaskId, str]], place: _Placer) -> Iterable[Problem]:
    for reader, writer, path in readings:
        problem = Problem(
            code="reads_unordered",
            message=f"task '{reader}' reads {path}, which '{writer}' may change",
            why="nothing orders them, so it may read the file before the change or after it",
            fix=f"make '{reader}' depend on '{writer}', or the other way round",
            warning=True,
        )
        yield place.task(problem, reader, "reads")


def _protected_warnings(plan: Plan, place: _Placer) -> Iterable[Problem]:
    for task in plan.tasks if not plan.protected.is_empty else ():
        meeting = witness(task.files, plan.protected)
        if meeting is not None:
            problem = Problem(
                code="protected",
                message=f"task '{task.id}' may change {meeting.path}, which is protected",
                why="a change to a protected path waits for a person's yes before it lands",
                fix="expect to be asked, or narrow `files`",
                warning=True,
            )
            yield place.task(problem, task.id, "files")
