"""Kind of failure -> wait, send back, or ask. The only place that maps one to the other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.model.attempt import ExitWhy, FailureKind, RunExit
from orchestrator.model.plan import RetryPolicy

#: The agent ran, and its work did not do.
WORK_FAILURES = frozenset(
    {
        FailureKind.NO_CHANGE,
        FailureKind.OUTSIDE_FILES,
        FailureKind.CHECKS_RED,
        FailureKind.REVIEW_REJECTED,
        FailureKind.REFUSED,
        FailureKind.CONTEXT_TOO_LONG,
    }
)


@dataclass(frozen=True, slots=True)
class Wait:
    """Try again at this time, from a fresh worktree."""

    retry_at: datetime


@dataclass(frozen=True, slots=True)
class SendBack:
    """Try again at once, with what was found."""


@dataclass(frozen=True, slots=True)
class AskPerson:
    """It is a person's turn."""


def is_work(kind: FailureKind) -> bool:
    """Whether the agent's work failed, rather than the machinery around it."""
    return kind in WORK_FAILURES


def wait_after(policy: RetryPolicy, failures: int, chance: float) -> timedelta:
    """How long a task rests after its latest failed attempt.

    Args:
        failures: failed attempts so far, counted from 1.
        chance: in [0, 1), drawn by the caller; keeps agents that failed together apart.

    Returns: `policy.waits[min(failures, len(policy.waits)) - 1]`, scaled by 0.8 to 1.2.
    Raises: ValueError if `failures` is below 1 or `policy.waits` is empty.
    Source: fixed steps of 1, 5, 15 minutes from the plan; jitter after M. Brooker, AWS Architecture Blog, 2015.
    """
    if failures < 1 or not policy.waits:
        raise ValueError("a wait needs a failure and a policy with waits")
    return policy.waits[min(failures, len(policy.waits)) - 1] * (0.8 + 0.4 * chance)


def after_failure(
    kind: FailureKind, policy: RetryPolicy, *, failures: int, work_failures: int, now: datetime, chance: float
) -> Wait | SendBack | AskPerson:
    """What follows from a failure.

    Args:
        failures: of the infrastructure, this one included if it is one.
        work_failures: of the work, this one included if it is one.
    """
    if is_work(kind):
        return SendBack() if work_failures < 2 else AskPerson()
    if failures > policy.retries:
        return AskPerson()
    return Wait(now + wait_after(policy, failures, chance))


def failure_of(exit: RunExit) -> FailureKind | None:
    """Why an agent's run did not end well; None for exit status 0, which only means that a program ended."""
    match exit.why:
        case ExitWhy.EXIT:
            return None if exit.code == 0 else FailureKind.CRASH
        case ExitWhy.NOT_FOUND:
            return FailureKind.CRASH
        case ExitWhy.TIMEOUT:
            return FailureKind.TIMEOUT
        case ExitWhy.STOPPED | ExitWhy.RESTARTED:
            return FailureKind.INTERRUPTED
        case ExitWhy.NEVER_STARTED | ExitWhy.LOST:
            return FailureKind.LOST


def words_for(exit: RunExit) -> str:
    """The end of a run in words."""
    match exit.why:
        case ExitWhy.EXIT if exit.code is not None and exit.code < 0:
            return f"ended by signal {-exit.code}"
        case ExitWhy.EXIT:
            return f"exit status {exit.code}"
        case ExitWhy.NOT_FOUND:
            return f"could not be started: {exit.detail}" if exit.detail else "could not be started"
        case ExitWhy.TIMEOUT:
            return "ran past its time limit and was stopped"
        case ExitWhy.STOPPED:
            return "was stopped"
        case ExitWhy.NEVER_STARTED:
            return "never started"
        case ExitWhy.LOST:
            return "disappeared without an exit record"
        case ExitWhy.RESTARTED:
            return "was running when the machine was restarted"
