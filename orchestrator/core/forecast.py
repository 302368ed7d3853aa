"""How long a plan would take, by its estimates and under its limits: the schedule, played through in virtual time."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from datetime import timedelta

from orchestrator.core.assign import candidates
from orchestrator.model.ids import TaskId
from orchestrator.model.plan import Plan

_Key = tuple[int, float, int]  #: lower goes first


def one_by_one(plan: Plan) -> timedelta:
    """How long the tasks take one after the other."""
    return sum((task.estimate for task in plan.tasks), timedelta())


def in_parallel(plan: Plan, rivals: Mapping[TaskId, frozenset[TaskId]], rank: Mapping[TaskId, float]) -> timedelta:
    """How long the tasks take with the plan's dependencies, overlaps and limits.

    Nothing fails here, and landing takes no time. Tasks in a cycle are left out; one that no agent fits finds one.
    """
    return _Forecast(plan, rivals, rank).run()


class _Forecast:
    """One run in virtual time. Tasks and kinds are numbers here.

    A kind is a set of tasks that the same agents may take. A task that is ready waits in the heap of its kind or, when
    something else keeps it, apart from all heaps: behind its rivals until the last of them ends, or in the line of one
    shared thing until a place is free there. So an event costs what it changes, not what is waiting.
    """

    def __init__(self, plan: Plan, rivals: Mapping[TaskId, frozenset[TaskId]], rank: Mapping[TaskId, float]) -> None:
        tasks = plan.tasks
        place = {task.id: index for index, task in enumerate(tasks)}
        self.tasks = tasks
        self.keys: list[_Key] = [(-task.priority, -rank.get(task.id, 0.0), index) for index, task in enumerate(tasks)]
        before = [{place[name] for name in task.depends_on if name in place} for task in tasks]
        self.waits = [len(earlier) for earlier in before]
        self.after: list[list[int]] = [[] for _ in tasks]
        for index, earlier in enumerate(before):
            for other in earlier:
                self.after[other].append(index)
        self.rivals = [[place[name] for name in rivals.get(task.id, ()) if name in place] for task in tasks]
        self.kept_off = [0] * len(tasks)  # by so many rivals that run
        limits = {name: capacity for name, capacity in plan.resources.items() if capacity > 1}
        self.limited = [[name for name in dict.fromkeys(task.uses) if name in limits] for task in tasks]
        self.places = limits
        self.line: dict[str, list[_Key]] = {name: [] for name in limits}
        self.room = plan.parallel
        self.agent_room = {agent.name: agent.count for agent in plan.agents}
        self.kinds: list[tuple[str, ...] | None] = []  # names of agents, best first; None for people
        self.heaps: list[list[_Key]] = []
        self.kind: list[int] = []
        known: dict[object, tuple[str, ...] | None] = {}
        number: dict[tuple[str, ...] | None, int] = {}
        for task in tasks:
            same = (task.agent, frozenset(task.needs), task.complexity)
            if same not in known:
                known[same] = None if task.is_human else tuple(agent.name for agent in candidates(plan, task))
            names = known[same]
            if names not in number:
                number[names] = len(self.kinds)
                self.kinds.append(names)
                self.heaps.append([])
            self.kind.append(number[names])
        self.taken: dict[int, str] = {}
        self.listed = [False] * len(tasks)  # in a heap or a line, running, or done

    def run(self) -> timedelta:
        now = timedelta()
        running: list[tuple[timedelta, int]] = []
        for index, count in enumerate(self.waits):
            if not count:
                self._ready(index)
        while True:
            while (chosen := self._next()) is not None:
                self._start(chosen)
                heapq.heappush(running, (now + self.tasks[chosen].estimate, chosen))
            if not running:
                return now
            now = running[0][0]
            while running and running[0][0] == now:
                self._end(heapq.heappop(running)[1])

    def _ready(self, index: int) -> None:
        if not self.listed[index]:
            self.listed[index] = True
            heapq.heappush(self.heaps[self.kind[index]], self.keys[index])

    def _free_agent(self, kind: int) -> str | None:
        """The agent that takes a task of this kind; empty when it needs none, None when there is no room."""
        names = self.kinds[kind]
        if names is None:
            return ""
        if self.room <= 0:
            return None
        return next((name for name in names if self.agent_room[name] > 0), None if names else "")

    def _next(self) -> int | None:
        open_kinds = [kind for kind in range(len(self.heaps)) if self._free_agent(kind) is not None]
        while True:
            best = min((heap[0] for kind in open_kinds if (heap := self.heaps[kind])), default=None)
            if best is None:
                return None
            index = best[2]
            heapq.heappop(self.heaps[self.kind[index]])
            full = next((name for name in self.limited[index] if not self.places[name]), None)
            if not self.kept_off[index] and full is None:
                return index
            if self.kept_off[index]:
                self.listed[index] = False
            elif full is not None:
                heapq.heappush(self.line[full], best)
            for name in self.limited[index]:  # it does not take the place it may have been called up for
                self._call_up(name)

    def _call_up(self, name: str) -> None:
        if self.places[name] and self.line[name]:
            index = heapq.heappop(self.line[name])[2]
            heapq.heappush(self.heaps[self.kind[index]], self.keys[index])

    def _start(self, index: int) -> None:
        agent = self._free_agent(self.kind[index])
        if agent:
            self.agent_room[agent] -= 1
            self.taken[index] = agent
        if not self.tasks[index].is_human:
            self.room -= 1
        for name in self.limited[index]:
            self.places[name] -= 1
        for other in self.rivals[index]:
            self.kept_off[other] += 1

    def _end(self, index: int) -> None:
        agent = self.taken.pop(index, None)
        if agent is not None:
            self.agent_room[agent] += 1
        if not self.tasks[index].is_human:
            self.room += 1
        for name in self.limited[index]:
            self.places[name] += 1
            self._call_up(name)
        for other in self.rivals[index]:
            self.kept_off[other] -= 1
            if not self.kept_off[other] and not self.waits[other]:
                self._ready(other)
        for other in self.after[index]:
            self.waits[other] -= 1
            if not self.waits[other] and not self.kept_off[other]:
                self._ready(other)
