"""Names of things. Each is a plain string; the type says which.

| id | looks like | what it names |
|---|---|---|
| PlanId | `auth-system` | a plan, by its name |
| TaskId | `db-schema` | a task of a plan |
| AttemptId | `auth-system/db-schema-2` | the second attempt at that task, counted over all runs of the plan |
| CandidateId | `auth-system/~7` | the seventh merge candidate of that plan, counted over all its runs |
| RunId | `auth-system/db-schema-2/agent` | one supervised process: owner (attempt or candidate), then the step |
| ItemId | `i12` | something that waits for a person |
"""

from typing import NewType

PlanId = NewType("PlanId", str)
TaskId = NewType("TaskId", str)
AttemptId = NewType("AttemptId", str)
CandidateId = NewType("CandidateId", str)
RunId = NewType("RunId", str)
ItemId = NewType("ItemId", str)

Commit = NewType("Commit", str)
"""A full git object id of a commit, 40 or 64 hexadecimal digits."""


def attempt_id(plan: PlanId, task: TaskId, number: int) -> AttemptId:
    """The id of the `number`-th attempt at a task, counted from 1."""
    return AttemptId(f"{plan}/{task}-{number}")


def candidate_id(plan: PlanId, number: int) -> CandidateId:
    """The id of the `number`-th merge candidate of a plan, counted from 1."""
    return CandidateId(f"{plan}/~{number}")


def run_id(owner: AttemptId | CandidateId, step: str) -> RunId:
    """The id of one supervised process of an attempt or candidate."""
    return RunId(f"{owner}/{step}")
