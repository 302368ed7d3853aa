"""What waits for a person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orchestrator.model.ids import AttemptId, CandidateId, ItemId, PlanId, RunId, TaskId

OVERDUE = "overdue"  #: the trigger of a note that a task is past the limit of its lane


class ItemKind(StrEnum):
    QUESTION = "question"  #: an agent asks
    APPROVAL = "approval"
    CONFLICT = "conflict"  #: two changes cannot be merged
    OUTSIDE_FILES = "outside_files"
    PROTECTED = "protected"  #: protected paths changed
    WORK_FAILED = "work_failed"  #: the agent ran, and its work did not pass twice
    AGENT_FAILED = "agent_failed"  #: the last retry failed
    AUTH = "auth"
    HUMAN_TASK = "human_task"
    PUBLISH_REFUSED = "publish_refused"
    INCOMPLETE = "incomplete"  #: nothing can move any more, and not everything landed
    STUCK = "stuck"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One possible answer and what it leads to."""

    id: str
    label: str
    effect: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Something in the inbox."""

    id: ItemId
    kind: ItemKind
    trigger: str | None = None  #: failure kind or escalation trigger; None: nothing triggered it
    plan_id: PlanId
    task_id: TaskId | None = None  #: None: about the plan
    attempt_id: AttemptId | None = None
    candidate_id: CandidateId | None = None
    agent: str | None = None
    question_id: str | None = None  #: the agent's own id of its question
    run_id: RunId | None = None  #: the supervised run that it is about
    title: str
    context: str = ""  #: what happened, in our words, then what the agent or the tools said
    paths: tuple[str, ...] = ()
    options: tuple[Option, ...]
    waits: bool = True  #: a question: the agent does nothing until the answer comes
    free_text: bool = False  #: any text is an answer
    priority: int = 50
    asked_at: datetime
    deadline: datetime | None = None
    answer: str | None = None  #: the id of the chosen option; None while open
    text: str = ""  #: the words that came with the answer
    answered_by: str | None = None
    answered_at: datetime | None = None
    overdue_at: datetime | None = None  #: when its task was found past the limit of its lane; None: it is not
    withdrawn: str | None = None  #: why nobody has to answer any more; None: somebody has to
    by_hand: AttemptId | None = None  #: the attempt in which a person resolves it; None: nobody does
    taken_by: str | None = None  #: who that is
    taken_at: datetime | None = None
    worktree: str | None = None  #: where they do; None until it is made
    note: str = ""  #: what came of the last try to resolve it by hand

    @property
    def is_note(self) -> bool:
        """Whether it only tells something: it holds nothing, and nothing waits for its answer."""
        return self.trigger == OVERDUE

    @property
    def is_open(self) -> bool:
        return self.answer is None and self.withdrawn is None
