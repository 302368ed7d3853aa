from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.retry import AskPerson, SendBack, Wait, after_failure, failure_of, is_work, wait_after
from orchestrator.model.attempt import ExitWhy, FailureKind, RunExit
from tests.fakes.world import NOW, RETRY


@pytest.mark.parametrize(
    ("failures", "minutes"),
    [
        pytest.param(1, 1, id="first"),
        pytest.param(2, 5, id="second"),
        pytest.param(3, 15, id="third"),
        pytest.param(9, 15, id="the last wait repeats"),
    ],
)
@given(chance=st.floats(0, 1, exclude_max=True))
def test_the_wait_follows_the_steps_within_a_fifth(failures: int, minutes: int, chance: float) -> None:
    wait = wait_after(RETRY, failures, chance)
    step = timedelta(minutes=minutes)
    assert 0.8 * step <= wait <= 1.2 * step


def test_a_wait_before_any_failure_is_our_bug() -> None:
    with pytest.raises(ValueError, match="failure"):
        wait_after(RETRY, 0, 0.5)


@pytest.mark.parametrize("kind", list(FailureKind))
def test_the_first_failure_of_any_kind_does_not_ask_a_person(kind: FailureKind) -> None:
    outcome = after_failure(kind, RETRY, failures=1, work_failures=1, now=NOW, chance=0.5)
    assert isinstance(outcome, SendBack if is_work(kind) else Wait)


@pytest.mark.parametrize("kind", list(FailureKind))
def test_every_kind_asks_a_person_in_the_end(kind: FailureKind) -> None:
    outcome = after_failure(kind, RETRY, failures=4, work_failures=2, now=NOW, chance=0.5)
    assert isinstance(outcome, AskPerson)


@pytest.mark.parametrize(
    ("exit", "kind"),
    [
        pytest.param(RunExit(why=ExitWhy.EXIT, code=0), None, id="status 0"),
        pytest.param(RunExit(why=ExitWhy.EXIT, code=2), FailureKind.CRASH, id="status 2"),
        pytest.param(RunExit(why=ExitWhy.EXIT, code=-9), FailureKind.CRASH, id="killed"),
        pytest.param(RunExit(why=ExitWhy.NOT_FOUND), FailureKind.CRASH, id="not found"),
        pytest.param(RunExit(why=ExitWhy.TIMEOUT, code=-15), FailureKind.TIMEOUT, id="time limit"),
        pytest.param(RunExit(why=ExitWhy.TIMEOUT, code=0), FailureKind.TIMEOUT, id="time limit, then status 0"),
        pytest.param(RunExit(why=ExitWhy.STOPPED, code=0), FailureKind.INTERRUPTED, id="stopped"),
        pytest.param(RunExit(why=ExitWhy.LOST), FailureKind.LOST, id="lost"),
    ],
)
def test_an_exit_means(exit: RunExit, kind: FailureKind | None) -> None:
    assert failure_of(exit) is kind
