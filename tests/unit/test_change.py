"""Values with some of their fields changed."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.model import attempt, item, lease, run
from orchestrator.model.change import replace
from orchestrator.model.ids import PlanId
from orchestrator.model.run import State, Undo
from tests.fakes.world import a_task

KINDS = [
    kind
    for module in (run, attempt, item, lease)
    for kind in vars(module).values()
    if dataclasses.is_dataclass(kind) and isinstance(kind, type) and kind.__module__ == module.__name__
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_changed_copy_is_what_the_standard_library_makes(kind: Any) -> None:
    value = kind(**{field.name: object() for field in dataclasses.fields(kind)})
    for field in dataclasses.fields(kind):
        new = object()
        changed = replace(value, **{field.name: new})
        assert changed == dataclasses.replace(value, **{field.name: new})
        assert type(changed) is kind
        assert getattr(value, field.name) is not new, "the one it was made from stays as it is"
    with pytest.raises(dataclasses.FrozenInstanceError):
        changed.__setattr__(field.name, 1)


def test_a_field_that_it_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError):
        replace(State(), nothing=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        replace(Undo(by="me", reason=""), nothing=1)  # type: ignore[call-arg]


def test_several_fields_change_at_once() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    task = run.TaskRun(task=a_task("t"), since=at)
    changed = replace(task, attempts=2, reason="x")
    assert (changed.attempts, changed.reason, changed.task, changed.since) == (2, "x", task.task, at)
    assert replace(State(), current=PlanId("p")) == State(current=PlanId("p"))
