"""A state that is rebuilt: nobody has seen it yet, so its long dictionaries are changed where they are.

The fold says `plan.tasks | {task_id: task}`, which copies a dictionary for every event of a plan of ten thousand tasks.
While a ledger is folded, those dictionaries are of a kind that takes such a step in place. That holds because no step
of the fold looks at a dictionary again after it has made the next one from it, and because what goes in and what comes
out shares nothing with them.
"""

from __future__ import annotations

from typing import Any, Self, TypeVar

from orchestrator.model.change import replace
from orchestrator.model.run import PlanRun, State

K = TypeVar("K")
V = TypeVar("V")


class _Open(dict[K, V]):
    """A dictionary that nobody else has: what it is joined with goes into it."""

    __slots__ = ()

    def __or__(self, other: Any) -> Self:  # type: ignore[override]
        self.update(other)
        return self


def opened(state: State) -> State:
    """The state with dictionaries of its own, to be folded on."""
    plans = {plan_id: open_plan(plan) for plan_id, plan in state.plans.items()}
    return replace(state, plans=_Open(plans), items=_Open(state.items))


def closed(state: State) -> State:
    """The opposite of `opened`: what comes after makes new dictionaries."""
    plans = {plan_id: _closed_plan(plan) for plan_id, plan in state.plans.items()}
    return replace(state, plans=plans, items=dict(state.items))


def is_open(plan: PlanRun) -> bool:
    """Whether every long dictionary of the plan is its own."""
    return type(plan.tasks) is _Open and type(plan.attempts) is _Open and type(plan.numbers) is _Open


def open_plan(plan: PlanRun) -> PlanRun:
    return replace(plan, tasks=_Open(plan.tasks), attempts=_Open(plan.attempts), numbers=_Open(plan.numbers))


def _closed_plan(plan: PlanRun) -> PlanRun:
    return replace(plan, tasks=dict(plan.tasks), attempts=dict(plan.attempts), numbers=dict(plan.numbers))
