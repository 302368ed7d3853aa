"""The tests are shown to fail: every planted defect is noticed at its level. A survivor fails.

`python -m tests.prove.defects [ID...]` prints the table alone.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import TOLD
from tests.prove.defects import DEFECTS
from tests.prove.frame import Defect, Edit, run
from tests.prove.writelog import STRACE

WANTED = 40  #: that the issue asks for


def test_there_are_enough_defects_and_each_has_a_name_of_its_own() -> None:
    assert len({defect.id for defect in DEFECTS}) == len(DEFECTS) >= WANTED


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.id)
def test_a_defect_still_finds_the_place_that_it_is_planted_in(defect: Defect) -> None:
    if isinstance(defect.plant, Edit):
        assert defect.plant.finds_its_place, f"{defect.plant.file} changed: give '{defect.id}' its text as it is now"
        assert defect.plant.was != defect.plant.becomes


@pytest.mark.parametrize("defect", [one for one in DEFECTS if one.quick], ids=lambda defect: defect.id)
def test_a_planted_defect_is_noticed(defect: Defect, record_property: Callable[[str, object], None]) -> None:
    outcome = run(defect)
    record_property(TOLD, str(outcome))
    assert outcome.is_caught, f"{outcome}\n{outcome.said}"


@pytest.mark.prove
@pytest.mark.parametrize("defect", [one for one in DEFECTS if not one.quick], ids=lambda defect: defect.id)
def test_every_planted_defect_is_noticed(defect: Defect, record_property: Callable[[str, object], None]) -> None:
    if STRACE is None and any("test_powerloss" in node for node in defect.caught_by):
        pytest.skip("strace is not installed, and it is what records the writes")
    outcome = run(defect)
    record_property(TOLD, str(outcome))
    assert outcome.is_caught, f"{outcome}\n{outcome.said}"
