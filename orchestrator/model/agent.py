"""What passes between us and an agent program."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from orchestrator.model.ids import AttemptId, Commit, PlanId, TaskId
from orchestrator.model.plan import Check, ContextFile, FileSet


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierWork:
    """What a task that this one depends on handed off."""

    task_id: TaskId
    title: str
    summary: str
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Briefing:
    """Everything an agent is told about one attempt."""

    plan_id: PlanId
    task_id: TaskId
    attempt_id: AttemptId
    number: int
    title: str
    prompt: str
    files: FileSet
    reads: FileSet
    uses: tuple[str, ...]
    isolation: str
    worktree: str
    branch: str
    base: Commit
    target: str
    timeout: timedelta
    checks: tuple[Check, ...]
    commit_message: str
    context: tuple[ContextFile, ...] = ()
    earlier: tuple[EarlierWork, ...] = ()
    findings: tuple[str, ...] = ()  #: why the last attempt did not do
    answers: tuple[str, ...] = ()  #: what a person answered to earlier questions
    earlier_head: Commit | None = None  #: where the work of the last attempt can be seen
    merging: bool = False  #: the tree holds a merge that has to be finished
    author: str = ""  #: `Name <mail>` that commits carry
    empty: tuple[str, ...] = ()  #: submodules that could not be filled


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentPaths:
    """Where things of one attempt are while its agent runs. Absolute."""

    run_dir: str
    worktree: str
    prompt_file: str
    briefing_file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start an agent program."""

    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    #: none: /dev/null; open: stays writable; closed: ends after `first`
    stdin: Literal["none", "open", "closed"] = "none"
    first: str = ""  #: written to the program's input before it starts


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The agent has a question. `question_id` is the agent's own, unique within the attempt."""

    question_id: str
    text: str
    options: tuple[str, ...] = ()
    waits: bool = True  #: the program does nothing until the answer comes


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedIn:
    """The agent says it is done, in its own words."""

    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoChange:
    """The agent says nothing had to be changed."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The agent says where it is."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """The program's own word on how it ended, where its protocol has one."""

    ok: bool
    kind: str = ""  #: a value of FailureKind when not ok and known
    text: str = ""


AgentReport = Asked | HandedIn | NoChange | Progress | Terminal
