"""Tasks and what they wait for: cycles, waves, the critical path, and how far from the end each task is.

A plan with cycles is in error, and people want the rest of the picture all the same: here the members of a cycle, and
what waits for them, belong to no wave and no path. A name in `depends_on` that no task has is passed over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from orchestrator.model.ids import TaskId
from orchestrator.model.plan import Task

if TYPE_CHECKING:
    import networkx as nx

ROUNDS = 2  #: of refining ranks; more than two change nothing worth having


class _Links:
    """Tasks by their place in the plan, with arcs in both directions and a topological order."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        place = {task.id: index for index, task in enumerate(tasks)}
        self.place = place
        self.before = [[place[name] for name in dict.fromkeys(task.depends_on) if name in place] for task in tasks]
        self.after: list[list[int]] = [[] for _ in tasks]
        for index, earlier in enumerate(self.before):
            for other in earlier:
                self.after[other].append(index)
        waits = [len(earlier) for earlier in self.before]
        self.order = [index for index, count in enumerate(waits) if not count]
        for index in self.order:
            for other in self.after[index]:
                waits[other] -= 1
                if not waits[other]:
                    self.order.append(other)
        sortable = set(self.order)
        self.rest = [index for index in range(len(tasks)) if index not in sortable]  #: in or behind a cycle


def dependency_graph(tasks: Sequence[Task]) -> nx.DiGraph[TaskId]:
    """The tasks in plan order, with an arc from each to those that wait for it."""
    import networkx as nx

    graph: nx.DiGraph[TaskId] = nx.DiGraph()
    graph.add_nodes_from(task.id for task in tasks)
    graph.add_edges_from((name, task.id) for task in tasks for name in task.depends_on if name in graph)
    return graph


def cycles(tasks: Sequence[Task]) -> tuple[tuple[TaskId, ...], ...]:
    """Tasks that wait for each other, each cycle once round: every member waits for the next, the last for the first.

    One for every knot of cycles, a shortest through its first task in plan order.
    """
    links = _Links(tasks)
    if not links.rest:
        return ()
    import networkx as nx

    knotted = nx.strongly_connected_components(dependency_graph([tasks[index] for index in links.rest]))
    members = [sorted(links.place[name] for name in knot) for knot in knotted]
    rings = [_ring(links, knot) for knot in sorted(members) if len(knot) > 1 or knot[0] in links.before[knot[0]]]
    return tuple(tuple(tasks[index].id for index in ring) for ring in rings)


def _ring(links: _Links, knot: list[int]) -> list[int]:
    first, inside = knot[0], set(knot)
    came: dict[int, int] = {}
    todo = deque([first])
    while first not in came:
        index = todo.popleft()
        for earlier in links.before[index]:
            if earlier in inside and earlier not in came:
                came[earlier] = index
                todo.append(earlier)
    ring = [came[first]]
    while ring[-1] != first:
        ring.append(came[ring[-1]])
    return ring[::-1]


def waves(tasks: Sequence[Task]) -> tuple[tuple[TaskId, ...], ...]:
    """Tasks by the length of the longest chain before them: what could run at once if only dependencies counted."""
    links = _Links(tasks)
    level = [0] * len(tasks)
    for index in links.order:
        level[index] = max((level[other] + 1 for other in links.before[index]), default=0)
    out: list[list[TaskId]] = [[] for _ in range(max((level[index] + 1 for index in links.order), default=0))]
    for index in sorted(links.order):
        out[level[index]].append(tasks[index].id)
    return tuple(map(tuple, out))


def critical_path(tasks: Sequence[Task]) -> tuple[TaskId, ...]:
    """The chain of dependencies that takes longest by the estimates, first task first."""
    links = _Links(tasks)
    left = [timedelta()] * len(tasks)
    then: list[int | None] = [None] * len(tasks)
    for index in reversed(links.order):
        after = links.after[index]
        then[index] = max(after, key=lambda other: (left[other], -other), default=None)
        left[index] = tasks[index].estimate + max((left[other] for other in after), default=timedelta())
    at = max(links.order, key=lambda index: (left[index], -index), default=None)
    path = []
    while at is not None:
        path.append(tasks[at].id)
        at = then[at]
    return tuple(path)


def ranks(tasks: Sequence[Task], rivals: Mapping[TaskId, frozenset[TaskId]]) -> dict[TaskId, float]:
    """Seconds of the longest way from the start of a task to the end of the plan, its own estimate included.

    Rivals run one after the other, so the way may go through them too: each task is followed by the rival that comes
    next by the ranks so far. Those fall along every dependency, so no way can close into a ring.

    Args:
        rivals: tasks that may not run at the same time; may be empty.

    Source: upward rank after H. Topcuoglu et al., 2002, extended by chains of tasks that share a file.
    """
    links = _Links(tasks)
    estimate = [task.estimate.total_seconds() for task in tasks]
    rank = estimate[:]
    for index in reversed(links.order):
        rank[index] += max((rank[other] for other in links.after[index]), default=0.0)
    near = [[links.place[name] for name in rivals.get(task.id, ()) if name in links.place] for task in tasks]
    sortable = {index: position for position, index in enumerate(links.order)}
    for _ in range(ROUNDS if any(near) else 0):
        line = sorted(links.order, key=lambda index: (-rank[index], sortable[index]))
        turn = [-1] * len(tasks)  # of tasks outside the line: before everything, so they are nobody's next
        for position, index in enumerate(line):
            turn[index] = position
        refined = rank[:]
        for index in reversed(line):
            mine = turn[index]
            following = min((turn[other] for other in near[index] if turn[other] > mine), default=None)
            longest = max((refined[other] for other in links.after[index]), default=0.0)
            if following is not None:
                longest = max(longest, refined[line[following]])
            refined[index] = estimate[index] + longest
        rank = refined
    return {task.id: rank[index] for index, task in enumerate(tasks)}


class Order:
    """Which tasks wait for which, over any number of steps. One bit for each pair of tasks."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        links = _Links(tasks)
        order = [*links.order, *links.rest]
        bit = [0] * len(tasks)
        for position, index in enumerate(order):
            bit[index] = position
        earlier = [0] * len(tasks)
        for index in order:
            mask = 0
            for other in links.before[index]:
                mask |= earlier[other] | 1 << bit[other]
            earlier[index] = mask
        self._bit = {task.id: bit[index] for index, task in enumerate(tasks)}
        self._earlier = {task.id: earlier[index] for index, task in enumerate(tasks)}

    def is_ordered(self, a: TaskId, b: TaskId) -> bool:
        """Whether one of the two has to land before the other may start."""
        if self._bit[a] > self._bit[b]:
            a, b = b, a
        return bool(self._earlier[b] >> self._bit[a] & 1)

    def ordered_count(self) -> int:
        """How many pairs of tasks are ordered."""
        return sum(mask.bit_count() for mask in self._earlier.values())
