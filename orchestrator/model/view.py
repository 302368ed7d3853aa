"""What a person sees. `core.report` makes these from the state; the ledger keeps them beside the events.

Faces read them without folding events. Ages and other things that depend on the present moment are worked out by the
face that shows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.model.attempt import AttemptState
from orchestrator.model.run import Lane, PlanPhase, TaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    id: str
    number: int
    agent: str
    token: int
    state: AttemptState
    ending: str | None
    failure: str | None
    detail: str
    started_at: datetime
    launched_at: datetime | None
    ended_at: datetime | None
    worktree: str | None  #: None until made, and after it went to the trash
    branch: str | None  #: as the user sees it in their own repository
    run_dir: str  #: relative to the state folder
    progress: str
    flags: tuple[str, ...]
    salvage: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    plan: str
    id: str
    title: str
    order: int  #: place in the plan
    state: TaskState
    lane: Lane
    since: datetime
    agent: str | None
    attempts: int
    branch: str | None
    worktree: str | None
    token: int | None
    waiting_for: str | None  #: what a pending, backing-off or held task waits for, in words
    files: tuple[str, ...]  #: patterns, exclusions with a leading `!`
    depends_on: tuple[str, ...]
    landed_commit: str | None
    retry_at: datetime | None
    item: str | None  #: id of the open item that holds it
    reason: str
    summary: str
    changed: tuple[str, ...]
    usage: dict[str, Any] | None
    failed: bool  #: counts as failed in the totals
    history: tuple[AttemptView, ...]  #: its attempts, oldest first
    tries: int = 0  #: number of the attempt after which a person is asked, when none goes well; 0: not known
    lane_since: datetime | None = None  #: None: a row of an older version
    overdue_at: datetime | None = None  #: when it was found past the limit of its lane; None: it is not


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanView:
    name: str
    number: int
    digest: str
    state: PlanPhase  #: with `blocked` worked out
    target: str
    publish: str
    parallel: int
    confirmed_at: datetime
    confirmed_by: str
    tip: str | None
    branch: str  #: where the user's repository shows the plan's branch
    published: str | None
    current: bool
    gating: str | None  #: task whose candidate is at the gate; `target` for a sync
    checks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    completed: int
    in_progress: int
    failed: int
    total: int
