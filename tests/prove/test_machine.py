"""The state machine of leases and tasks over real SQLite: short here, long in `make prove`."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.prove.machine import Machine

STEPS = 50
CALM = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def proved(examples: int) -> None:
    chosen = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        suppress_health_check=CALM,
        phases=(Phase.generate,),
        report_multiple_bugs=False,
        print_blob=True,
    )
    run_state_machine_as_test(Machine, settings=chosen)


@pytest.mark.parametrize("half", [1, pytest.param(2, marks=pytest.mark.prove)])
def test_leases_and_tasks_keep_their_invariants(half: int) -> None:
    proved(examples=1000)


@pytest.mark.prove
def test_leases_and_tasks_keep_their_invariants_for_long() -> None:
    proved(examples=20_000)
