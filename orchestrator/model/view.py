"""What a person sees. `core.report` makes these from the state; the ledger keeps them beside the events.

Faces read them without folding events. Ages and other things that depend on the present moment are worked out by the
face that shows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
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
    base: str | None = None  #: what its changes are judged against; None until its tree is made
    head: str | None = None  #: what it left; None until it has ended


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseView:
    """Who holds a task, and for how long."""

    holder: str
    token: int
    attempt: str
    state: str
    granted_at: datetime
    expires_at: datetime | None  #: None: indefinite
    heartbeat_at: datetime  #: the last that was recorded
    reason: str
    review_by: datetime | None
    by_hand: bool  #: claimed by hand, not by an agent that the daemon started


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
    undo: str = ""  #: where an undo of it is: at the gate, or what it waits for; empty: nobody asked for one
    merges: str | None = None  #: a commit of the target that it brings in; None: a task of the plan file
    lease: LeaseView | None = None  #: None: nobody holds it


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
    unpublished: bool = False  #: something has landed that the target does not have
    prepared: tuple[str, ...] = ()  #: what `prepare` puts into every tree, which never counts as a change


class TreeKind(StrEnum):
    """What a folder beside the worktrees is."""

    ATTEMPT = "attempt"
    BY_HAND = "by_hand"  #: of a person who resolves a conflict
    CHECK = "check"  #: a candidate's checkout
    SPARE = "spare"  #: waits to be used again
    TRASH = "trash"
    UNKNOWN = "unknown"  #: not ours, and never touched


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeView:
    """One tree on the disk."""

    name: str  #: `plan/task-2`, `plan/~7`; in the trash `plan/task-2/1`
    kind: TreeKind
    path: str
    plan: str | None = None
    task: str | None = None
    state: str = ""  #: of its attempt: where it is, or how it ended
    since: datetime | None = None  #: when its attempt ended, or when it was last changed
    size_bytes: int = 0
    branch: str | None = None  #: where its work is kept in the user's repository
    dirty: tuple[str, ...] | None = None  #: paths that are not committed; None: not looked at
    kept: str = ""  #: why it is there
    may_go: bool = False  #: whether `worktree prune` offers it
    salvage: tuple[str, ...] = ()
    head: str | None = None  #: the commit that was taken of it, which holds what was not committed then


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeHolds:
    """What would have to be kept of a tree."""

    uncommitted: tuple[str, ...]  #: paths
    commits: tuple[str, ...]  #: on its branch and not on the plan's: id and first line
    stashes: int
    branches: int  #: other branches with commits that nothing of ours keeps
    nested: tuple[str, ...]  #: repositories inside it
    salvage: tuple[str, ...]  #: references that keep what was taken out of it before


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    path: str
    status: str  #: as git says it: A, M, D, T
    added: int | None  #: lines; None for what is no text
    deleted: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a task changed."""

    base: str
    head: str | None  #: None: the worktree as it is
    files: tuple[FileChange, ...]
    text: bytes  #: as git shows it


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    completed: int
    in_progress: int
    failed: int
    total: int
