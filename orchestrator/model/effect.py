"""Requests to act. Each has a key made from what it is for, so that doing it twice is harmless.

An effect is saved in the transaction of the decision that asked for it and stays "to do" until the fact that answers
it is recorded. After a restart whatever is still to do is asked of its port again, which first looks whether it has
already happened.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from orchestrator.model.fact import HoldDue, LaneLong, LeaseDue, RetryDue, StopDue
from orchestrator.model.guard import hold_key
from orchestrator.model.ids import AttemptId, CandidateId, Commit, ItemId, PlanId, RunId, TaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginBranch:
    """Make the plan's branch in `repo.git`, at the target or where an unfinished run left it."""

    plan_id: PlanId
    number: int

    @property
    def key(self) -> str:
        return f"{self.plan_id}/run-{self.number}/branch"


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeWorkspace:
    """Make the repository and worktree of an attempt at `base`, with copies and links.

    With `start`, at that commit, with the base merged in and left uncommitted. With `merge`, at the base, with that
    commit merged in and left uncommitted.
    """

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    base: Commit  #: the tip of the plan's branch when the task was claimed
    start: Commit | None = None
    merge: Commit | None = None

    @property
    def key(self) -> str:
        return f"{self.attempt_id}/worktree"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRun:
    """Start the supervisor of a run; it waits for `ReleaseRun`. `try_number` rises when one never started."""

    run_id: RunId
    try_number: int = 1

    @property
    def key(self) -> str:
        return f"{self.run_id}/start-{self.try_number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRun:
    """Give the go-byte, and watch the run."""

    run_id: RunId
    try_number: int = 1

    @property
    def key(self) -> str:
        return f"{self.run_id}/release-{self.try_number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRun:
    """End the whole process tree of a run: ask, wait, kill. Its end comes as `RunEnded`."""

    run_id: RunId

    @property
    def key(self) -> str:
        return f"{self.run_id}/stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRun:
    """Look whether the holder of an expired lease lives."""

    run_id: RunId
    token: int
    asked: int  #: where the ledger was then

    @property
    def key(self) -> str:
        return f"{self.run_id}/probe-{self.asked}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTree:
    """Look whether anybody is in the tree of an attempt that was claimed by hand."""

    attempt_id: AttemptId
    token: int
    asked: int

    @property
    def key(self) -> str:
        return f"{self.attempt_id}/probe-{self.asked}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KillRun:
    """Kill the whole process tree of a run whose supervisor does not."""

    run_id: RunId
    asked: int

    @property
    def key(self) -> str:
        return f"{self.run_id}/kill-{self.asked}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectWork:
    """Commit what a finished agent left, bring its head into `repo.git`, and say what changed.

    When `keep_only`, nothing is handed off: everything is put under salvage references.
    """

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    token: int
    keep_only: bool = False
    also: Commit | None = None  #: only paths that differ from this commit as well count as changed
    try_number: int = 1  #: rises when a person was told that their work is not done yet

    @property
    def key(self) -> str:
        return f"{self.attempt_id}/collect" + (f"-{self.try_number}" if self.try_number > 1 else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class SendAnswer:
    """Give a person's answer to a live agent."""

    attempt_id: AttemptId
    item_id: ItemId
    question_id: str
    choice: str
    text: str

    @property
    def key(self) -> str:
        return f"{self.attempt_id}/answer-{self.item_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildCandidate:
    """Merge, commit and check out a candidate. For a task it first looks whether the target has moved."""

    plan_id: PlanId
    candidate_id: CandidateId

    @property
    def key(self) -> str:
        return f"{self.candidate_id}/build"


@dataclass(frozen=True, slots=True, kw_only=True)
class LandCandidate:
    """Move the plan's branch from `old` to `new` by compare-and-swap, and read it back."""

    plan_id: PlanId
    candidate_id: CandidateId
    old: Commit
    new: Commit
    token: int | None = None  #: of the attempt whose work it is; None: a sync or an undo

    @property
    def key(self) -> str:
        return f"{self.candidate_id}/land"


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorBranch:
    """Show the plan's branch in the user's repository."""

    plan_id: PlanId
    commit: Commit

    @property
    def key(self) -> str:
        return f"{self.plan_id}/mirror/{self.commit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveTree:
    """Move the tree of an attempt or candidate to the trash; an attempt's is salvaged first."""

    plan_id: PlanId
    owner: str
    landed: bool = False  #: what it handed off is on the plan's branch
    asked: int = 0  #: when a person asked for it: where the ledger was then, for it may have been tried before

    @property
    def key(self) -> str:
        return f"{self.owner}/remove" + (f"-{self.asked}" if self.asked else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteTrash:
    """Delete trees from the trash for good, and such that wait to be used again, as a person asked."""

    entries: tuple[str, ...]  #: paths relative to the trash, or `.spare/NAME`
    asked: int  #: where the ledger was then

    @property
    def key(self) -> str:
        # asked for twice while nothing else happened, by a person and of its own accord, it can be other trees
        what = hashlib.sha256("\0".join(self.entries).encode("utf-8", "surrogateescape")).hexdigest()[:12]
        return f"trash/delete-{self.asked}-{what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishPlan:
    """Move the target to `commit`, which contains it; otherwise say what it holds that we do not."""

    plan_id: PlanId
    number: int  #: of the plan's run
    commit: Commit
    try_number: int

    @property
    def key(self) -> str:
        return f"{self.plan_id}/run-{self.number}/publish-{self.try_number}/{self.commit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeAt:
    """Bring `fact` when `at` has come."""

    at: datetime
    fact: LaneLong | LeaseDue | RetryDue | StopDue | HoldDue

    @property
    def key(self) -> str:
        match self.fact:
            case RetryDue():
                return f"{self.fact.plan_id}/{self.fact.task_id}/retry/{self.at.isoformat()}"
            case LaneLong():
                # time that does not count moves what is due: two stays can be too long at the same moment
                stay = f"{self.fact.lane}/{self.fact.since.isoformat()}"
                return f"{self.fact.plan_id}/{self.fact.task_id}/{stay}/{self.at.isoformat()}"
            case HoldDue():
                return f"hold/{hold_key(self.fact.reason, self.fact.plan_id)}/{self.at.isoformat()}"
            case LeaseDue():
                return f"{self.fact.plan_id}/{self.fact.task_id}/lease-{self.fact.token}/{self.at.isoformat()}"
            case StopDue():
                return f"{self.fact.run_id}/stopped/{self.at.isoformat()}"


Effect = (
    BeginBranch
    | MakeWorkspace
    | StartRun
    | ReleaseRun
    | StopRun
    | ProbeRun
    | ProbeTree
    | KillRun
    | CollectWork
    | SendAnswer
    | BuildCandidate
    | LandCandidate
    | MirrorBranch
    | RemoveTree
    | DeleteTrash
    | PublishPlan
    | WakeAt
)
