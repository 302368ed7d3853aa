"""Evidence, not words: what an attempt left behind decides whether its work holds."""

from __future__ import annotations

from orchestrator.core.overlap import covers
from orchestrator.core.retry import failure_of
from orchestrator.model.attempt import (
    Attempt,
    FailureKind,
)
from orchestrator.model.fact import (
    WorkCollected,
)
from orchestrator.model.run import TaskRun


def failure_before_evidence(attempt: Attempt) -> FailureKind | None:
    """Why an attempt failed whatever it left behind; None when its work decides."""
    if attempt.stop_as is not None:
        return attempt.stop_as
    if attempt.exit is not None and (failure := failure_of(attempt.exit)) is not None:
        return failure
    return attempt.contrary


def one_line(path: str) -> str:
    """A path that cannot look like two."""
    return path if path.isprintable() else repr(path)


def outside_files(task: TaskRun, changed: tuple[str, ...]) -> list[str]:
    """Those of the changed paths that the task does not list."""
    return [path for path in changed if not covers(task.task.files, path)]


def what_is_wrong(task: TaskRun, attempt: Attempt, fact: WorkCollected) -> tuple[FailureKind, str] | None:
    """What speaks against the work of an agent that ended well; None when nothing does."""
    if fact.error or fact.head is None:
        return FailureKind.LOST, f"its work could not be read: {fact.error or 'no commit found'}"
    if fact.unfinished_merge:
        return FailureKind.REFUSED, "conflict markers are left in " + ", ".join(fact.unfinished_merge)
    if not fact.descends:
        return FailureKind.REFUSED, (
            f"its branch does not contain commit {(attempt.base or '')[:12]}, which it started from; "
            "commit on top of it instead"
        )
    if fact.nested:
        return FailureKind.OUTSIDE_FILES, (
            "a git repository was left inside the worktree, which would be lost: " + ", ".join(fact.nested)
        )
    outside = outside_files(task, fact.changed)
    if outside:
        listed = "\n".join(f"- {one_line(path)}" for path in outside[:50])
        more = f"\nand {len(outside) - 50} more" if len(outside) > 50 else ""
        return (
            FailureKind.OUTSIDE_FILES,
            f"these paths were changed, and are not among the task's files:\n{listed}{more}",
        )
    if task.merges is not None:
        return None if fact.merged else (FailureKind.REFUSED, f"the merge of {task.merges} was not committed")
    if not fact.changed and attempt.no_change is None and not task.task.files.is_empty:
        return FailureKind.NO_CHANGE, (
            "the agent ended well and changed nothing; if nothing has to be changed, "
            "`orch-agent no-change REASON` says so"
        )
    return None
