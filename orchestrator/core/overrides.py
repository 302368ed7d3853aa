"""What flags change in a plan before it is built: tasks left out, tasks put first, agents chosen for single tasks."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.core.planfindings import Findings
from orchestrator.core.plantables import TaskTable
from orchestrator.core.planvalues import shown
from orchestrator.model.ids import TaskId

_Waits = dict[str, list[str]]  #: task -> those it depends on


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Flags, with every task found that they name."""

    drop: frozenset[TaskId] = frozenset()
    after: Mapping[TaskId, tuple[TaskId, ...]] = field(default_factory=dict)  #: dependencies to add, in plan order
    agents: Mapping[TaskId, str] = field(default_factory=dict)


NO_CHANGES = Changes()


def find_changes(
    findings: Findings,
    tables: Sequence[TaskTable],
    *,
    first: Iterable[tuple[str, str]],
    drop: Iterable[str],
    agents: Mapping[str, str],
) -> Changes:
    """The changes that flags ask for. What cannot be done is reported and left out.

    Args:
        first: pairs, the first of which has to land before the second starts.
        drop: tasks to leave out; refused while others depend on them.
        agents: task -> the agent that takes it. Tasks may be given by the beginning of their ids.
    """
    first, drop = list(first), list(drop)
    if not (first or drop or agents):
        return NO_CHANGES
    names = _Names(findings, [table.id for table in tables if table.id is not None])
    dropped = {found: None for name in drop if (found := names.find(name, "leave out"))}
    waits: _Waits = {}
    for table in tables:
        if table.id is not None and table.id not in dropped:
            waits.setdefault(table.id, list(table.depends_on))
    _report_dropped(findings, dropped, waits)
    added: dict[str, set[str]] = {}
    for one, two in first:
        before, after = names.find(one, "put first"), names.find(two, "put second")
        if before is None or after is None or not _may_order(findings, before, after, dropped, waits):
            continue
        if before not in waits[after]:
            waits[after].append(before)
            added.setdefault(after, set()).add(before)
    chosen: dict[TaskId, str] = {}
    for name, agent in agents.items():
        found = names.find(name, f"give to {shown(agent)}")
        if found is not None and found in dropped:
            _refuse(findings, f"task '{found}' is left out, so no agent can take it", "leave out one of the two flags")
        elif found is not None:
            chosen[TaskId(found)] = agent
    return Changes(
        drop=frozenset(map(TaskId, dropped)),
        after={TaskId(t): tuple(TaskId(n) for n in names.ids if n in before) for t, before in added.items()},
        agents=chosen,
    )


class _Names:
    """Task ids as a person types them."""

    def __init__(self, findings: Findings, ids: list[str]) -> None:
        self.findings = findings
        self.ids = list(dict.fromkeys(ids))
        self._known = {name.casefold(): name for name in reversed(self.ids)}

    def find(self, name: str, what_for: str) -> str | None:
        """The task of that id, or the only one that begins so, whatever the case; None after saying there is none."""
        folded = name.casefold()
        if folded in self._known:
            return self._known[folded]
        begin = [one for one in self.ids if folded and one.casefold().startswith(folded)]
        if len(begin) == 1:
            return begin[0]
        if begin:
            why = f"it could be {', '.join(begin[:6])}{' and more' if len(begin) > 6 else ''}"
            message, fix = f"{shown(name)} is not one task to {what_for}", "type more of its id"
        else:
            near = self.findings.nearest(name, self.ids)
            why = f"the tasks are {', '.join(self.ids[:6])}{' and more' if len(self.ids) > 6 else ''}"
            message = f"there is no task {shown(name)} to {what_for}"
            fix = f"write '{near}'" if near else "use an id of the plan"
        self.findings.report((), "unknown_task", message, why, fix)
        return None


def _refuse(findings: Findings, message: str, fix: str, *, code: str = "bad_value", why: str = "") -> None:
    findings.report((), code, message, why or "flags may not contradict each other", fix)


def _report_dropped(findings: Findings, dropped: Collection[str], waits: _Waits) -> None:
    """Report tasks that are left out although others depend on them."""
    for task in dropped:
        needing = [name for name, earlier in waits.items() if task in earlier]
        if needing:
            more = _behind(task, waits)
            _refuse(
                findings,
                f"task '{task}' cannot be left out: {_listed(needing)} {_depend(needing)} on it",
                f"leave out what waits for it too ({' '.join(f'--drop {name}' for name in more)}), "
                "or take the dependency out of the plan",
                code="dropped_dependency",
                why="what depends on a task that never lands could never start",
            )
    if dropped and not waits:
        _refuse(findings, "no task is left", "leave out fewer", code="no_tasks", why="all of them are left out")


def _behind(task: str, waits: _Waits) -> list[str]:
    """Everything that waits for a task, over any number of steps, in plan order."""
    found = {task}
    todo = [task]
    while todo:
        last = todo.pop()
        new = [name for name, earlier in waits.items() if last in earlier and name not in found]
        found.update(new)
        todo += new
    return [name for name in waits if name in found]


def _may_order(findings: Findings, before: str, after: str, dropped: Collection[str], waits: _Waits) -> bool:
    fix = "leave it out, or put them the other way round"
    out = [name for name in (before, after) if name in dropped]
    if out:
        _refuse(findings, f"task '{out[0]}' is left out, so it has no order", "leave out one of the two flags")
    elif before == after:
        _refuse(findings, f"task '{before}' cannot go before itself", "name two tasks", why="it could never start")
    elif (way := _way(before, after, waits)) is not None:
        _refuse(
            findings,
            f"'{before}' before '{after}' makes tasks wait for each other: {' -> '.join([after, *way])}",
            fix,
            code="cycle",
            why=f"'{before}' waits for '{after}' already, so none of them could start first",
        )
    else:
        return True
    return False


def _way(start: str, goal: str, waits: _Waits) -> list[str] | None:
    """A shortest chain from a task to one that it waits for; None when it does not wait for it."""
    came: dict[str, str] = {}
    todo = deque([start])
    while todo and goal not in came:
        at = todo.popleft()
        for earlier in waits.get(at, ()):
            if earlier not in came:
                came[earlier] = at
                todo.append(earlier)
    if goal not in came:
        return None
    way = [goal]
    while way[-1] != start:
        way.append(came[way[-1]])
    return way[::-1]


def _listed(names: Sequence[str]) -> str:
    quoted = [f"'{name}'" for name in names[:6]]
    if len(names) > 6:
        return f"{', '.join(quoted)} and {len(names) - 6} more"
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _depend(names: Sequence[str]) -> str:
    return "depends" if len(names) == 1 else "depend"
