"""What there is: both repositories, folders, trees, runs, and locks, as far as the ledger relies on them.

Nothing is changed here, and nothing of an agent's is run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from orchestrator.backends import trees
from orchestrator.backends.clock import SystemClock
from orchestrator.backends.gitrun import Git, Repositories, git_dir_of
from orchestrator.backends.machine import processes_with
from orchestrator.backends.mirror import checkouts_of
from orchestrator.backends.runfolder import is_locked
from orchestrator.core.gitformats import is_commit_id
from orchestrator.model.attempt import Workspace
from orchestrator.model.difference import Needs, Survey
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.ids import Commit
from orchestrator.model.place import Place

OLD_LOCK_S = 600.0  #: before that, a git is probably at work
_NOT_RUNS = {"git"}


def survey(repositories: Repositories, needs: Needs, *, made_anew: bool = False, thorough: bool = False) -> Survey:
    """Everything that the ledger can be compared with.

    Args:
        made_anew: `repo.git` was not there when this daemon started.
        thorough: read what every attempt left, and not only what is still to land.
    """
    place = repositories.place
    ours = references(repositories.ours, "refs/orchestrator/") if place.repo_git.is_dir() else {}
    users = references(repositories.users, "refs/orchestrator/", "refs/heads/orchestrator/")
    at_work = [*(tips[0] for tips in needs.tips.values()), *needs.hand_offs]
    kept = [ours.get(name) or commit or users.get(name) for name, commit in needs.kept.items()]
    wanted = list(dict.fromkeys([*at_work, *(commit for commit in kept if commit is not None)]))
    broken = set(unreadable(repositories.ours, wanted))
    deep = [commit for commit in (wanted if thorough else at_work) if commit not in broken]
    broken |= not_whole(repositories.ours, deep, needs.starts.values())
    folders = tuple(owners(place))
    return Survey(
        gone_ours=not place.repo_git.is_dir(),
        made_anew=made_anew,
        ours=ours,
        users=users,
        broken=frozenset(broken),
        within=frozenset(_within(repositories.ours, needs, ours, users, broken)),
        trees=tuple(_unknown_trees(place, needs)),
        folders=folders,
        runs=dict(_runs(place, needs, folders)),
        gone={attempt: how for attempt, tree in needs.live.items() if (how := _gone(tree))},
        locks=tuple(stale_locks(place)),
        old_locks=dict(old_locks(repositories)),
    )


# ---- git ----


def references(git: Git, *prefixes: str) -> dict[str, Commit]:
    """Name to commit of every reference that begins so; one that git cannot read is not there."""
    listed = git.ask("for-each-ref", "--format=%(objectname) %(refname)", *prefixes)
    lines = (line.partition(" ") for line in listed.line.splitlines())
    return {name: Commit(object_id) for object_id, _, name in lines if is_commit_id(object_id)}


def unreadable(ours: Git, commits: Iterable[Commit]) -> Iterator[Commit]:
    """Those of the commits that are not there, or not as commits."""
    wanted = list(commits)
    if not wanted:
        return
    asked = "".join(f"{commit}\n" for commit in wanted).encode()
    answer = ours.ask("cat-file", "--batch-check=%(objectname) %(objecttype)", stdin=asked)
    fine = {line.removesuffix(" commit") for line in answer.line.splitlines() if line.endswith(" commit")}
    yield from (commit for commit in wanted if commit not in fine)


def not_whole(ours: Git, commits: Iterable[Commit], bases: Iterable[Commit]) -> set[Commit]:
    """Those of the commits that need an object which is not there; what `bases` lead to is not looked at."""
    wanted = list(dict.fromkeys(commits))
    there = set(bases) - set(unreadable(ours, set(bases)))
    if not wanted or _is_whole(ours, wanted, there):
        return set()
    return {commit for commit in wanted if not _is_whole(ours, [commit], there)}


def _is_whole(ours: Git, commits: list[Commit], bases: set[Commit]) -> bool:
    asked = "".join(f"{line}\n" for line in (*commits, *(f"^{base}" for base in bases))).encode()
    answer = ours.ask("rev-list", "--objects", "--missing=print", "--stdin", stdin=asked)
    return answer.status == 0 and not any(line.startswith(b"?") for line in answer.out.splitlines())


def _within(
    ours: Git, needs: Needs, here: dict[str, Commit], users: dict[str, Commit], broken: set[Commit]
) -> Iterator[tuple[Commit, Commit]]:
    """Pairs of commits, the first an ancestor of the second, of those that the comparison asks about."""
    for plan, tips in needs.tips.items():
        at, shown = here.get(f"refs/orchestrator/plans/{plan}"), users.get(f"refs/heads/orchestrator/{plan}")
        pairs = [(shown, tip) for tip in tips]
        if at is not None and at not in tips:
            pairs += [(at, tips[0]), (needs.starts[plan], at)]
        for one, other in pairs:
            if one is None or other in broken:
                continue
            if one == other or _is_ancestor(ours, one, other):
                yield one, other


def _is_ancestor(ours: Git, one: Commit, other: Commit) -> bool:
    return ours.ask("merge-base", "--is-ancestor", one, other).status == 0


# ---- folders and trees ----


def owners(place: Place) -> Iterator[str]:
    """Folders of attempts and candidates in the state folder, as `plan/task-2`."""
    for plan in _folders(place.state_dir / "attempts"):
        yield from (f"{plan.name}/{owner.name}" for owner in _folders(plan))


def _runs(place: Place, needs: Needs, folders: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Run folders that the ledger has no live run for, and whether somebody is at work in them."""
    marked = set(processes_with("ORCHESTRATOR_RUN").values())
    for owner in folders:
        for folder in _folders(place.owner_dir(owner)):
            run = f"{owner}/{folder.name}"
            if folder.name in _NOT_RUNS or ".unused-" in folder.name or not (folder / "spec.json").exists():
                continue
            if run not in needs.runs:
                yield run, is_locked(folder / "lock") or str(folder) in marked


def _unknown_trees(place: Place, needs: Needs) -> Iterator[str]:
    for folder in trees.folders(place, needs.plans):
        if folder.in_trash or folder.is_spare or folder.made_by_us or folder.name in needs.live:
            continue
        if folder.name.split("/")[0] in needs.plans and place.owner_dir(folder.name).is_dir():
            continue  # its mark goes first when it is put away
        if not _is_of_another(place, folder.path):
            yield str(folder.path)


def _is_of_another(place: Place, path: Path) -> bool:
    """Whether it is of another repository whose worktrees are kept in the same folder."""
    for tree in (path, *_folders(path)):
        git_dir = git_dir_of(tree)
        if git_dir is not None:
            return "attempts" in git_dir.parts and not git_dir.is_relative_to(place.state_dir)
    return False


def _gone(tree: Workspace) -> str:
    """How the tree of a live attempt is not its own any more; empty when it is."""
    path, git_dir = Path(tree.path), Path(tree.git_dir)
    if not os.path.lexists(path):
        return "was removed"
    if path.is_symlink() or not path.is_dir():
        return "was replaced by something that is no folder"
    if not git_dir.is_dir():
        return "has lost its repository"
    linked = git_dir_of(path)
    if linked is None:
        return "has lost its `.git`, or was replaced by another folder"
    return "" if linked.is_relative_to(git_dir.resolve()) else "was replaced by a tree of another repository"


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(inside for inside in path.iterdir() if inside.is_dir() and not inside.is_symlink())
    except OSError:
        return []


# ---- locks ----


def stale_locks(place: Place) -> list[str]:
    """Locks in `repo.git` while no git of ours is at work there."""
    found = [lock for lock in place.repo_git.rglob("*.lock") if lock.is_file() or lock.is_symlink()]
    if not found or str(place.repo_git) in processes_with("GIT_DIR").values():
        return []
    return sorted(str(lock.relative_to(place.repo_git)) for lock in found)


def old_locks(repositories: Repositories) -> Iterator[tuple[str, int]]:
    """`index.lock` and the like of the user's checkouts that are older than any git takes."""
    now = SystemClock().now().timestamp()
    try:
        checkouts = checkouts_of(repositories.users, repositories.place.root)
    except OrchestratorError:
        checkouts = ()
    places = {repositories.place.common_dir, *(git_dir_of(Path(one.path)) for one in checkouts)}
    for folder in sorted(path for path in places if path is not None):
        for lock in (folder / "index.lock", folder / "HEAD.lock", folder / "packed-refs.lock", folder / "config.lock"):
            try:
                age = now - lock.stat().st_mtime
            except OSError:
                continue
            if age > OLD_LOCK_S:
                yield str(lock), int(age // 60)
