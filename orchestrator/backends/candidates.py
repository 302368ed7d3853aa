"""The plan's branch in `repo.git`: candidates merged without a checkout, and the landing."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from orchestrator.backends.durable import make_durable, sync_objects
from orchestrator.backends.gitrun import Git, GitFailed, Repositories
from orchestrator.backends.takeover import Takeover
from orchestrator.core.gitformats import (
    Change,
    Entry,
    case_clashes,
    conflict_text,
    hunks,
    merge_result,
    paths_of,
    raw_changes,
    shown,
    tree_entries,
)
from orchestrator.model.ids import Commit, PlanId
from orchestrator.ports import Conflict, Merged, Moved


def plan_ref(plan: PlanId) -> str:
    """The plan's branch, in `repo.git`."""
    return f"refs/orchestrator/plans/{plan}"


def merge_candidate(
    repositories: Repositories, takeover: Takeover, parent: Commit, other: Commit, *, message: str, at: datetime
) -> Merged | Conflict:
    """The merge as a commit; the same arguments give the same commit.

    No reference leads to it before it lands: `repo.git` is never pruned.
    """
    tree = _merged_tree(repositories, parent, other)
    if isinstance(tree, Conflict):
        return tree
    return _committed(repositories, takeover, tree, (parent, other), message=message, at=at)


def revert_candidate(
    repositories: Repositories, takeover: Takeover, parent: Commit, undone: Commit, *, message: str, at: datetime
) -> Merged | Conflict:
    """What `undone` changed against its first parent, taken back on `parent`, as a commit with that one parent.

    It is a merge with a commit that stands on `undone` and has the tree from before it, which every git that has
    `merge-tree` can do; naming the base of a merge is newer.
    """
    before = repositories.ours.run("rev-parse", "--verify", "--end-of-options", f"{undone}^1^{{tree}}").line
    env = signed_at(takeover.identity_environment, "@0 +0000")
    inverse = repositories.ours.with_(env=env).run("commit-tree", before, "-p", undone, "-F", "-", stdin=b"undo\n").line
    tree = _merged_tree(repositories, parent, Commit(inverse))
    if isinstance(tree, Conflict):
        # nobody can look that commit up
        return replace(tree, detail=tree.detail.replace(inverse[:12], f"{undone[:12]}~1"))
    return _committed(repositories, takeover, tree, (parent,), message=message, at=at)


def _merged_tree(repositories: Repositories, parent: Commit, other: Commit) -> str | Conflict:
    """The tree of the merge of two commits, without a checkout."""
    ours = repositories.ours
    with tempfile.TemporaryDirectory(dir=repositories.scratch) as folder:
        _lay_out_attributes(ours, parent, Path(folder))
        seeing = ours.with_(work_tree=Path(folder))
        answer = seeing.ask("merge-tree", "--write-tree", "-z", "--messages", parent, other)
    if answer.status not in (0, 1):
        if "unrelated histories" in answer.err:
            return Conflict(paths=(), detail="the two sides have no commit in common, so git cannot merge them")
        raise GitFailed(("merge-tree", "--write-tree"), answer)
    result = merge_result(answer.out)
    if answer.status == 1:
        files = [(path, _places(ours, result.tree, path)) for path in result.conflicted]
        paths = tuple(shown(path) for path in result.conflicted)
        detail = conflict_text(result, files).replace(parent, "the plan's branch").replace(other, other[:12])
        return Conflict(paths=paths, detail=detail)
    if ours.recall(("brings no names", other), lambda: False):
        ours.remember(("attributes", result.tree), attributes_of(ours, parent))
        ours.remember(("folders", result.tree), folders_of(ours, parent))
        return result.tree
    changes = changes_between(ours, parent, result.tree)
    clashes = _clashes(ours, changes, result.tree)
    if clashes:
        told = [f"{shown(new)} and {shown(old)} are one file where letter case does not count" for new, old in clashes]
        paths = tuple(dict.fromkeys(path for pair in clashes for path in pair))
        return Conflict(paths=tuple(shown(path) for path in paths), detail="\n".join(told))
    if not any(is_attributes(change.path) for change in changes):
        ours.remember(("attributes", result.tree), attributes_of(ours, parent))
    return result.tree


def _committed(
    repositories: Repositories,
    takeover: Takeover,
    tree: str,
    parents: tuple[Commit, ...],
    *,
    message: str,
    at: datetime,
) -> Merged:
    """A commit of that tree."""
    ours = repositories.ours
    env = signed_at(takeover.identity_environment, f"{int(at.timestamp())} +0000")
    named = [word for parent in parents for word in ("-p", parent)]
    commit = Commit(ours.with_(env=env).run("commit-tree", tree, *named, "-F", "-", stdin=message.encode()).line)
    sync_objects(ours)  # the ledger is going to name it
    ours.born(commit, parents, tree)
    return Merged(commit=commit, tree=tree)


def signed_at(identity: Mapping[str, str], when: str) -> dict[str, str]:
    """An identity with a fixed time."""
    return {**identity, "GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when}


def _lay_out_attributes(ours: Git, commit: Commit, folder: Path) -> None:
    """Every `.gitattributes` of the commit as a file: merge-tree in a bare repository sees none otherwise."""
    for entry in attributes_of(ours, commit):
        path = folder / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(ours.run("cat-file", "blob", entry.object_id).out)


def attributes_of(ours: Git, commit: Commit) -> tuple[Entry, ...]:
    """Every `.gitattributes` of a commit."""

    def looked_up() -> tuple[Entry, ...]:
        entries = tree_entries(ours.run("ls-tree", "-r", "-z", "--full-tree", commit).out)
        return tuple(e for e in entries if is_attributes(e.path) and e.mode in {"100644", "100755"})

    return ours.recall(("attributes", ours.tree_of(commit)), looked_up)


def folders_of(ours: Git, commit: Commit) -> tuple[str, ...]:
    """Every folder of a commit."""

    def looked_up() -> tuple[str, ...]:
        return paths_of(ours.run("ls-tree", "-r", "-d", "-z", "--name-only", "--full-tree", commit).out)

    return ours.recall(("folders", ours.tree_of(commit)), looked_up)


def is_attributes(path: str) -> bool:
    """Whether a path is a file of attributes."""
    return path.rsplit("/", 1)[-1] == ".gitattributes"


def _places(ours: Git, tree: str, path: str) -> str:
    """The conflicting places of a text file in a merged tree; empty for anything else."""
    answer = ours.ask("cat-file", "blob", f"{tree}:{path}")
    if answer.status != 0 or b"\0" in answer.out:
        return ""
    return hunks(answer.out.decode("utf-8", "backslashreplace"))


def changes_between(ours: Git, one: str, other: str) -> tuple[Change, ...]:
    """What differs between two commits or trees, renames as both names."""
    return raw_changes(ours.run("diff-tree", "-r", "--no-renames", "--raw", "--no-abbrev", "-z", one, other).out)


def _clashes(ours: Git, changes: tuple[Change, ...], tree: str) -> tuple[tuple[str, str], ...]:
    names = tuple(change.path for change in changes if change.is_new)
    if not names:
        return ()
    return case_clashes(names, paths_of(ours.run("ls-tree", "-r", "-z", "--name-only", "--full-tree", tree).out))


def land(repositories: Repositories, plan: PlanId, new: Commit, old: Commit) -> Moved | None:
    """Compare-and-swap of the plan's branch, on the disk before this returns."""
    ours, name = repositories.ours, plan_ref(plan)
    answer = ours.ask("update-ref", "-m", f"orchestrator {plan}: land", name, new, old)
    actual = ours.reference(name)
    if actual != new:
        if answer.status != 0 and actual == old:
            raise GitFailed(("update-ref", name), answer)
        return Moved(actual=actual)
    make_durable(ours, name)
    return None
