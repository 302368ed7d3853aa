"""The agents of a plan: those that are declared, those that may be used without, and whether every task finds one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from orchestrator.core.planfaults import Loc
from orchestrator.core.planfindings import Findings
from orchestrator.core.plantables import AgentTable, DefaultsTable, TaskTable
from orchestrator.core.planvalues import shown
from orchestrator.model.ids import TaskId
from orchestrator.model.plan import HAND, HUMAN, AgentSpec

#: who works on a task and is no program that we start
NOBODYS_PROGRAM = frozenset({HUMAN, HAND})
_PLACEHOLDER = re.compile(r"(?<!\$)\{([a-z_]+)\}")
_FILLED_IN = frozenset({"prompt", "prompt_file", "briefing", "task", "attempt", "worktree"})
_EXAMPLE = "agents: {mine: {adapter: command, run: [my-agent, --prompt, '{prompt}'], stdin: none}}"


class Crew:
    """Who can work on a plan.

    Args:
        adapters: name -> whether a plan has to give `run:`.
        parallel: how many attempts of an agent run at once if nothing else is said.
        only: an agent that a flag names; nobody else works then, but for those of `chosen`.
        chosen: the agents of single tasks, by flags that go before everything else.
    """

    def __init__(
        self,
        findings: Findings,
        declared: Mapping[str, AgentTable],
        defaults: DefaultsTable,
        *,
        adapters: Mapping[str, bool],
        parallel: int,
        only: str | None,
        chosen: Mapping[TaskId, str] | None = None,
    ) -> None:
        self.findings = findings
        self.adapters = adapters
        self.parallel = parallel
        self.default = defaults.agent
        self.declared = tuple(declared)
        self.specs: dict[str, AgentSpec] = {}
        self._told: set[str] = set()  #: unknown agents that have been reported; "": that there is none at all
        self._told_of_people = False
        self._fitting = cache(self._fits_any)
        self.chosen = chosen or {}
        for name, table in declared.items():
            if only is None or name == only or name in self.chosen.values():
                self.specs[name] = self._spec(name, table)
        self.is_overridden = only is not None
        self.only = only if only is not None and self._may_be_only(only) and self._find(only, ()) else None

    def agent_of(self, task: TaskTable, index: int, complexity: int) -> str | None:
        """The agent of the task at that place of the list; None: it is assigned later, or there is a problem."""
        name = task.agent or self.default
        loc: Loc = ("tasks", index, "agent") if task.agent else ("defaults", "agent")
        flag = self.chosen.get(TaskId(task.id or ""))
        if flag is not None:
            name, loc = flag, ()
        asked_for = not NOBODYS_PROGRAM.isdisjoint(
            (task.agent, flag)
        )  # a default is what a flag for all tasks is there to replace
        if self.is_overridden and flag is None and not asked_for:
            return self.only
        if name == HUMAN and not asked_for:
            self._tell_of_people()
        if name in NOBODYS_PROGRAM:
            return name
        where = f"task {shown(task.id or str(index + 1))}: "
        if name is not None:
            spec = self._find(name, loc)
            if spec is None:
                return None
            if not _fits(spec, tuple(task.needs), complexity):
                self.findings.report(
                    ("tasks", index, "agent") if flag is None else (),
                    "agent_does_not_fit",
                    f"{where}agent '{name}' does not have what the task says it needs",
                    f"it has {_offer(spec)}",
                    "choose another agent, or leave the agent out to have one assigned",
                    warning=True,
                )
            return name
        if not self.specs:
            self._nobody()
        elif not self._fitting(tuple(task.needs), complexity):
            asks = ", ".join(task.needs) or "nothing special"
            offers = "; ".join(f"{spec.name}: {_offer(spec)}" for spec in list(self.specs.values())[:5])
            self.findings.report(
                ("tasks", index, "needs"),
                "no_fitting_agent",
                f"{where}no agent fits",
                f"it needs {asks} and has complexity {complexity}; there is {offers}",
                "give an agent these `capabilities` or a higher `max_complexity`, or name an agent for the task",
            )
        return None

    # ---- declared agents ----

    def _spec(self, name: str, table: AgentTable) -> AgentSpec:
        needs_run = self.adapters.get(table.adapter)
        if needs_run is None:
            near = self.findings.nearest(table.adapter, self.adapters)
            self.findings.report(
                ("agents", name, "adapter"),
                "unknown_adapter",
                f"agent '{name}': there is no adapter {shown(table.adapter)}",
                f"the installed ones are {', '.join(sorted(self.adapters)) or 'none'}",
                f"write '{near}'" if near else "use `command` with `run:`, which starts any program",
            )
        elif needs_run and table.run is None and not self.findings.is_broken(("agents", name, "run")):
            self.findings.report(
                ("agents", name),
                "missing_key",
                f"agent '{name}': 'run' is missing",
                f"the adapter '{table.adapter}' starts the command that the plan gives",
                "add its command, such as run: [my-agent, --prompt, '{prompt}']",
            )
        for index, word in enumerate(table.run or ()):
            for inner in _PLACEHOLDER.findall(word):
                if inner not in _FILLED_IN:
                    self.findings.report(
                        ("agents", name, "run", index),
                        "unknown_placeholder",
                        f"agent '{name}': {{{inner}}} stays as it is",
                        f"only {', '.join(sorted(_FILLED_IN))} are filled in",
                        "nothing, if the program expects the braces",
                        warning=True,
                    )
        return AgentSpec(
            name=name,
            adapter=table.adapter,
            run=tuple(table.run or ()),
            stdin=table.stdin,
            count=table.count or self.parallel,
            capabilities=tuple(dict.fromkeys(table.capabilities)),
            max_complexity=table.max_complexity,
            env=dict(table.env),
            pass_env=tuple(dict.fromkeys(table.pass_env)),
        )

    def _may_be_only(self, name: str) -> bool:
        if name in NOBODYS_PROGRAM:
            why = "tasks of agents are written for programs"
            fix = f"name an agent program, or write agent: {name} in the plan"
            self.findings.report((), "bad_value", "a flag cannot give every task to a person", why, fix)
            return False
        return True

    # ---- finding one ----

    def _find(self, name: str, loc: Loc) -> AgentSpec | None:
        """The agent of that name, declared by the plan or usable without; None after saying that there is none."""
        spec = self.specs.get(name)
        if spec is None and self.adapters.get(name) is False:
            spec = self.specs[name] = AgentSpec(name=name, adapter=name, count=self.parallel)
            self._fitting = cache(self._fits_any)
        if spec is None and name not in self._told and not self.findings.is_broken(("agents", name)):
            ready = [adapter for adapter, needs_run in self.adapters.items() if not needs_run]
            near = self.findings.nearest(name, [*self.declared, *ready, HUMAN])
            self.findings.report(
                loc,
                "unknown_agent",
                f"there is no agent {shown(name)}",
                f"the agents of this plan are {', '.join(self.declared) or 'none'}",
                f"write '{near}', or declare it under `agents`" if near else f"declare it: {_EXAMPLE}",
            )
        if spec is None:
            self._told.add(name)
        return spec

    def _tell_of_people(self) -> None:
        if not self._told_of_people:
            self._told_of_people = True
            self.findings.report(
                ("defaults", "agent"),
                "for_people",
                "tasks that name no agent are given to a person",
                "`defaults: agent:` says 'human'",
                "name an agent program there, or try the plan with `--agent demo`",
                warning=True,
            )

    def _nobody(self) -> None:
        if not self._told and not self.findings.is_broken(("agents",)):
            self.findings.report(
                (),
                "no_agents",
                "the plan has tasks for agents and no agent",
                "neither the plan nor the settings declare one",
                f"declare one: {_EXAMPLE}",
            )
        self._told.add("")

    def _fits_any(self, needs: tuple[str, ...], complexity: int) -> bool:
        return any(_fits(spec, needs, complexity) for spec in self.specs.values())


def _fits(spec: AgentSpec, needs: tuple[str, ...], complexity: int) -> bool:
    return complexity <= spec.max_complexity and set(needs) <= set(spec.capabilities)


def _offer(spec: AgentSpec) -> str:
    return f"{', '.join(spec.capabilities) or 'no capabilities'}, up to complexity {spec.max_complexity}"
