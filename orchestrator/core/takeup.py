"""Which plan is worked on: one at a time, and one that is over can be taken up again for what is left to do with it."""

from __future__ import annotations

from orchestrator.core.draft import Draft
from orchestrator.model.errors import NothingError, RefusedError
from orchestrator.model.event import PlanTakenUp
from orchestrator.model.ids import PlanId
from orchestrator.model.run import PLAN_OVER, PlanPhase, PlanRun, State


def take_up(draft: Draft, named: PlanId | None, by: str) -> None:
    """Make this the plan that is worked on; None means the one that is already.

    Raises: NothingError for a plan that nobody knows; RefusedError while another one is at work.
    """
    state = draft.state
    if is_meant(state, named):
        return
    assert named is not None
    active = state.active
    if active is not None and is_at_work(active):
        raise RefusedError(
            f"plan '{named}' is not the one that is worked on",
            why=f"that is '{active.id}', which is not over, and one plan is worked on at a time",
            fix=f"ask again when '{active.id}' is over: `orchestrator start` follows it",
        )
    draft.record(PlanTakenUp(plan_id=named, by=by))


def is_meant(state: State, named: PlanId | None) -> bool:
    """Whether the plan that is worked on is the one that was named. Raises: NothingError when nobody knows the name."""
    if named is None or named == state.current:
        return True
    if named not in state.plans:
        raise NothingError(f"no plan '{named}' has run here", why="", fix="`orchestrator status` shows the present one")
    return False


def is_at_work(plan: PlanRun) -> bool:
    """Whether anything of a plan can still move, or is being moved."""
    return bool(
        plan.phase not in PLAN_OVER
        or plan.leases
        or plan.runs
        or plan.candidate is not None
        or plan.publishing
        or plan.publish_asked
    )


def left_behind(state: State) -> tuple[PlanRun, ...]:
    """Plans that are over, are not worked on, and have landed something that the target does not have."""
    return tuple(
        plan
        for plan in state.plans.values()
        if plan.unpublished and plan.phase in PLAN_OVER - {PlanPhase.CANCELLED} and plan.id != state.current
    )
