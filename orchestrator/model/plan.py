"""What a person wrote, resolved: defaults applied, prompts and context read. Equal plans have equal digests."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Literal

from orchestrator.model.ids import PlanId, TaskId

HUMAN = "human"  #: the agent name that makes a task a person's
HAND = "hand"  #: the agent name for tasks that are left to agents that somebody starts by hand, and that claim them


class PublishMode(StrEnum):
    """When the target branch moves."""

    END = "end"  #: once, when no task can move any more
    EACH = "each"  #: after every landing
    MANUAL = "manual"  #: when a person says `orchestrator publish`


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSet:
    """A set of paths: everything a pattern of `include` covers, less everything a pattern of `exclude` covers.

    Patterns are anchored at the root of the repository, with `/` between segments, without a leading `./`. A pattern
    that ends in `/**` covers the path before it and everything below. A set without `include` is empty.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def is_everything(self) -> bool:
        """Whether this is the whole repository, as for a task that declares no files."""
        return "**" in self.include and not self.exclude

    @property
    def is_empty(self) -> bool:
        return not self.include


def exactly(paths: tuple[str, ...]) -> FileSet:
    """The set of just these paths, whatever characters they hold."""
    return FileSet(include=tuple(re.sub(r"([*?\[])", r"[\1]", path) for path in paths))


EVERYTHING = FileSet(include=("**",))
NOTHING = FileSet()


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One command behind the gate; green means exit status 0 within the timeout."""

    name: str
    run: tuple[str, ...]
    timeout: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """What every fresh tree gets before use: files copied or linked from the user's checkout, then commands."""

    copy: tuple[str, ...] = ()
    link: tuple[str, ...] = ()
    run: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """An agent program as this plan uses it."""

    name: str
    adapter: str
    run: tuple[str, ...] = ()  #: argv for adapters that take one
    stdin: Literal["prompt", "briefing", "none"] = "prompt"
    count: int  #: how many attempts of it may run at once
    capabilities: tuple[str, ...] = ()
    max_complexity: int = 5
    env: dict[str, str] = field(default_factory=dict)  #: set for the program, in the open
    pass_env: tuple[str, ...] = ()  #: names taken over from the daemon's environment; the values are secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextFile:
    """A file given to the agent as it was when the plan was confirmed."""

    path: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and after which waits a task is tried again when the infrastructure failed."""

    retries: int
    waits: tuple[timedelta, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A unit of work that one agent can finish."""

    id: TaskId
    title: str
    prompt: str
    files: FileSet = EVERYTHING
    reads: FileSet = NOTHING
    uses: tuple[str, ...] = ()
    context: tuple[ContextFile, ...] = ()
    depends_on: tuple[TaskId, ...] = ()
    priority: int = 50  #: 0..100, higher goes first
    complexity: int = 3  #: 1..5
    estimate: timedelta = timedelta(minutes=20)
    needs: tuple[str, ...] = ()
    agent: str | None = None  #: None: assigned among those that fit
    checks: tuple[Check, ...] = ()  #: in addition to the plan's
    timeout: timedelta = timedelta(minutes=60)
    retry: RetryPolicy

    @property
    def is_human(self) -> bool:
        return self.agent == HUMAN

    @property
    def is_for_hand(self) -> bool:
        """Whether nobody starts it but who claims it."""
        return self.agent == HAND


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Settings that change what is executed, so they belong to what a person confirms."""

    commit_message: str = "feat({task}): {title}"  #: for work that an agent left uncommitted
    grace: timedelta = timedelta(seconds=10)  #: between asking a process tree to stop and killing it
    output_limit_bytes: int = 64 * 1024 * 1024  #: of one supervised run; the rest is counted and dropped
    pass_env: tuple[str, ...] = ()  #: names of variables passed to every agent and check


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole work plan, ready to run."""

    name: PlanId
    target: str  #: short name of the branch where the work lands
    publish: PublishMode = PublishMode.END
    parallel: int = 4
    checks: tuple[Check, ...] = ()  #: empty only when the plan says `checks: none`
    prepare: Prepare = field(default_factory=Prepare)
    keep: tuple[str, ...] = ()  #: paths in a check's tree that the next check may find as they were left
    protected: FileSet = NOTHING
    resources: dict[str, int] = field(default_factory=dict)  #: capacity of shared things; others have 1
    agents: tuple[AgentSpec, ...] = ()
    tasks: tuple[Task, ...] = ()
    execution: Execution = field(default_factory=Execution)

    def task(self, task_id: TaskId) -> Task:
        """The task of that id. Raises: KeyError if the plan has none."""
        for task in self.tasks:
            if task.id == task_id:
                return task
        raise KeyError(task_id)

    def agent(self, name: str) -> AgentSpec:
        """The agent of that name. Raises: KeyError if the plan has none."""
        for agent in self.agents:
            if agent.name == name:
                return agent
        raise KeyError(name)
