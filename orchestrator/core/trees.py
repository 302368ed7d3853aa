"""Why a worktree is still there, and whether it may go."""

from __future__ import annotations

from orchestrator.model.attempt import AttemptState
from orchestrator.model.run import TaskState
from orchestrator.model.view import AttemptView, TaskView

#: states of a task whose hand-off is about to land; its tree goes then of its own accord
_ON_ITS_WAY = frozenset({TaskState.FOR_REVIEW, TaskState.QUEUED, TaskState.GATING})


def kept_because(task: TaskView, attempt: AttemptView) -> tuple[str, bool]:
    """Why the tree of an attempt is there, and whether `worktree prune` offers it."""
    if attempt.state is not AttemptState.ENDED:
        if attempt.agent == "human":
            return "a person resolves a conflict in it", False
        return f"{attempt.agent} works in it", False
    is_latest = task.attempts == attempt.number
    ended = attempt.failure or attempt.ending or "ended"
    if attempt.ending == "handed_off" and is_latest and task.state in _ON_ITS_WAY:
        return "its work waits to land", False
    if task.state is TaskState.LANDED:
        return "its task has landed" if not is_latest else "it was to be kept", True
    if not is_latest:
        return f"{ended.replace('_', ' ')}; a later attempt has taken over", True
    if attempt.ending == "handed_off" and task.state is TaskState.ESCALATED:
        return "its hand-off waits for your answer", False
    return f"{ended.replace('_', ' ')}, so that you can look at it", True
