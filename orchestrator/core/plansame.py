"""Whether two texts of a plan say the same, whatever they look like."""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.core.planfile import Draft


def says_the_same(one: Draft, other: Draft, *, but_files_of: Collection[str] = ()) -> bool:
    """Whether two drafts resolve to one plan and so to one digest, whatever the settings and the repository.

    Args:
        but_files_of: tasks whose `files` may differ.
    """
    if other.problems or one.ids != other.ids:
        return False
    # the order of tables counts where their names are the user's: agents are offered in it
    if list(one.table.agents) != list(other.table.agents) or len(one.table.tasks) != len(other.table.tasks):
        return False
    for mine, theirs in zip(one.table.tasks, other.table.tasks, strict=True):
        update = {"files": None} if mine.id in but_files_of else {}
        if mine.model_copy(update=update) != theirs.model_copy(update=update):
            return False
        if not update and (mine.files is None) != (theirs.files is None):
            return False
    return one.table.model_copy(update={"tasks": []}) == other.table.model_copy(update={"tasks": []})
