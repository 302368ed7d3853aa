"""A decision in the making: events are folded in as they are decided, so each step sees what the last one did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

from orchestrator.core.state import apply
from orchestrator.model.attempt import Attempt
from orchestrator.model.effect import Effect
from orchestrator.model.event import Event
from orchestrator.model.ids import AttemptId, CandidateId, PlanId, RunId, TaskId
from orchestrator.model.run import PlanRun, State


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from one fact, and the state after it."""

    events: tuple[Event, ...]
    effects: tuple[Effect, ...]
    state: State


class Draft:
    """Collects events and effects of one decision.

    Args:
        chance: in [0, 1), the only randomness of this decision.
    """

    def __init__(self, state: State, now: datetime, chance: float) -> None:
        self.before = state
        self.state = state
        self.now = now
        self.chance = chance
        self._events: list[Event] = []
        self._effects: list[Effect] = []

    def record(self, *events: Event) -> None:
        """Decide that something is so."""
        for event in events:
            self.state = apply(self.state, event, self.now)
            self._events.append(event)

    def ask(self, *effects: Effect) -> None:
        """Ask for something to be done; asked twice in one decision, it is done once."""
        asked = {effect.key for effect in self._effects}
        self._effects.extend(effect for effect in effects if effect.key not in asked)

    def touched(self) -> Iterator[tuple[PlanRun, TaskId]]:
        """The tasks that something was decided about, each once, with their plan as it is now."""
        told = ((getattr(event, "plan_id", None), getattr(event, "task_id", None)) for event in self._events)
        for plan_id, task_id in dict.fromkeys(told):
            plan = self.state.plans.get(plan_id) if plan_id is not None else None
            if plan is not None and task_id is not None:
                yield plan, task_id

    def plan(self, plan_id: PlanId) -> PlanRun:
        return self.state.plans[plan_id]

    def plan_of(self, owner: AttemptId | CandidateId | RunId) -> PlanRun | None:
        """The plan that an attempt, candidate or run belongs to; None when a newer run of the plan forgot it."""
        return self.state.plans.get(PlanId(owner.split("/", 1)[0]))

    def decision(self) -> Decision:
        return Decision(tuple(self._events), tuple(self._effects), self.state)


class AttemptKeys(TypedDict):
    """The columns that every event about an attempt carries."""

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int


def keys_of(plan: PlanRun, attempt: Attempt) -> AttemptKeys:
    return {"plan_id": plan.id, "task_id": attempt.task_id, "attempt_id": attempt.id, "token": attempt.token}
