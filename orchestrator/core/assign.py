"""Which agent gets a task, and why."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.model.plan import AgentSpec, Plan, Task


def fits(agent: AgentSpec, task: Task) -> bool:
    """Whether the agent has what the task needs."""
    return set(task.needs) <= set(agent.capabilities) and task.complexity <= agent.max_complexity


def candidates(plan: Plan, task: Task, avoid: str | None = None) -> tuple[AgentSpec, ...]:
    """The agents that may take a task, best first.

    A named agent is the only one, unless it timed out last (`avoid`) and another fits: then the other goes first. Among
    those that fit, the one with the fewest capabilities goes first, so that the versatile stay free.
    """
    fitting = sorted(
        (agent for agent in plan.agents if fits(agent, task)), key=lambda agent: (len(agent.capabilities), agent.name)
    )
    named = next((agent for agent in plan.agents if agent.name == task.agent), None)
    if named is not None:
        fitting = [named, *(agent for agent in fitting if agent is not named)] if avoid == named.name else [named]
    if avoid is not None:
        fitting.sort(key=lambda agent: agent.name == avoid)
    return tuple(fitting)


def free_agent(plan: Plan, task: Task, busy: Mapping[str, int], avoid: str | None = None) -> AgentSpec | None:
    """The agent that takes the task now; None when all that fit are at their limit.

    Args:
        busy: attempts that count toward each agent's limit, by agent name.
    """
    return next((a for a in candidates(plan, task, avoid) if busy.get(a.name, 0) < a.count), None)
