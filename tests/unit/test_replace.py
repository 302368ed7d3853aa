"""`replace` of the fold gives what `dataclasses.replace` gives."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.model.replace import replace
from orchestrator.model.run import State


def test_a_changed_value_is_as_dataclasses_has_it() -> None:
    before = State(seq=1, token=7)
    assert replace(before, seq=2) == dataclasses.replace(before, seq=2)
    assert before.seq == 1


def test_a_field_that_is_not_there_is_refused() -> None:
    with pytest.raises(AttributeError):
        replace(State(), sequence=2)  # type: ignore[call-arg]
