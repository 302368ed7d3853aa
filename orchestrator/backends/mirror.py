"""Between the user's references and ours: the target comes in, the plan's branch and what we keep are shown there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from orchestrator.backends.candidates import plan_ref
from orchestrator.backends.durable import make_durable, sync, sync_names, sync_objects, take_as_synced
from orchestrator.backends.gitrun import Git, GitFailed, Repositories, git_dir_of
from orchestrator.backends.leftovers import mark_kept
from orchestrator.backends.references import reference_names
from orchestrator.backends.takeover import fetch_users
from orchestrator.core.gitformats import Checkout, bytes_of, checkouts
from orchestrator.model.errors import RepositoryError
from orchestrator.model.ids import Commit, PlanId

LOOSE_OBJECTS = 100  #: more are kept as a pack, as `git fetch` does
_TRIES = 5  #: a reference that other programs move too


def target_commit(repositories: Repositories, target: str) -> Commit:
    """The target in the user's repository, its objects in `repo.git`."""
    name = f"refs/heads/{target}"
    theirs = repositories.users.reference(name)
    if theirs is None:
        raise RepositoryError(
            f"there is no branch '{target}' in {repositories.place.root}",
            why="it is the branch where the plan's work lands",
            fix=f"make it (`git branch {target}`), or name another `target:` in the plan",
        )
    ours = repositories.ours.reference(name)
    if ours != theirs:
        fetch_users(repositories)
        ours = repositories.ours.reference(name)  # it may have moved on while we fetched
        sync_objects(repositories.ours)
    assert ours is not None
    mark_kept(repositories.ours, ours)
    return ours


def begin_branch(repositories: Repositories, plan: PlanId, number: int, target: str) -> tuple[Commit, Commit]:
    """The plan's branch at the target, the old tip kept; `refs/begun/<plan>/<number>` remembers where it began."""
    ours, name, begun_name = repositories.ours, plan_ref(plan), f"refs/begun/{plan}/{number}"
    old_name = f"refs/orchestrator/old/{plan}/{number}"
    begun = ours.reference(begun_name)
    tip = ours.reference(name)
    if begun is None:
        begun = target_commit(repositories, target)
        if tip is not None and not ours.contains(begun, tip):
            ours.run("update-ref", old_name, tip)
        ours.run("update-ref", begun_name, begun)
        make_durable(ours, begun_name)
    kept = ours.reference(old_name)
    if kept is not None:
        show(repositories, {old_name: kept})
    # what landed in this run lies beyond `begun`: only what the last run left is moved
    if tip is None or tip == kept or (tip != begun and ours.contains(begun, tip)):
        ours.run("update-ref", "-m", f"orchestrator {plan}: begin run {number}", name, begun, tip or "")
        make_durable(ours, name)
    return begun, begun


def bring_to_users(repositories: Repositories, *commits: Commit) -> None:
    """Put commits of `repo.git` with all they need into the user's object store.

    Only what no reference of the user's leads to is packed, so the user's store is whole whatever happens meanwhile.
    """
    ours, users = repositories.ours, repositories.users
    take_as_synced(users)
    there = [commit for commit in _shown_there(repositories) if ours.has(commit)]
    wanted = [commit for commit in commits if commit not in there]
    if not wanted:
        return
    revisions = "".join(f"{line}\n" for line in (*wanted, "--not", *there))
    packed = ours.ask("pack-objects", "--revs", "--stdout", "--quiet", "--delta-base-offset", stdin=revisions.encode())
    if packed.status != 0:
        raise GitFailed(("pack-objects", "--revs"), packed)
    count = int.from_bytes(packed.out[8:12], "big")
    if count > LOOSE_OBJECTS:
        users.run("index-pack", "--stdin", "--fix-thin", stdin=packed.out)
    elif count:
        users.run("unpack-objects", "-q", stdin=packed.out)
    if count:
        sync_objects(users)  # a reference of theirs must never outlast what it leads to


LOCK_PATIENCE_S = 1.0


def unlock_shown(repositories: Repositories) -> None:
    """Remove what a killed git left of its locks on the references of ours in the user's repository.

    Nobody but the daemon of this repository, and only one at a time, writes there. A person may commit on the branch of
    a plan that they have checked out: there a lock has to stay for longer than any git holds one.
    """
    refs = repositories.place.common_dir / "refs"
    for lock in (refs / "orchestrator").rglob("*.lock"):
        lock.unlink(missing_ok=True)
    locks = {lock: lock.lstat().st_ino for lock in (refs / "heads" / "orchestrator").rglob("*.lock")}
    if locks:
        time.sleep(LOCK_PATIENCE_S)
    for lock, was in locks.items():
        with contextlib.suppress(FileNotFoundError):
            if lock.lstat().st_ino == was:
                lock.unlink()


class Waiting:
    """References that the user's repository is still to be shown; in a file, so that a killed daemon forgets none."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._names: dict[str, Commit] = {}

    @property
    def names(self) -> dict[str, Commit]:
        return dict(self._names)

    def add(self, names: Mapping[str, Commit]) -> None:
        if names:
            with self._file.open("a", encoding="utf-8", errors="surrogateescape") as file:
                file.writelines(f"{commit} {name}\n" for name, commit in names.items())
            self._names |= names

    def sync(self) -> None:
        """Put it on the disk, before anybody is told that there is something to show."""
        sync(self._file)
        sync(self._file.parent)

    def remove(self, names: Mapping[str, Commit]) -> None:
        """They have been shown."""
        self._names = {name: commit for name, commit in self._names.items() if names.get(name) != commit}
        if not self._names:
            self._file.unlink(missing_ok=True)

    def load(self, ours: Git) -> None:
        """What an earlier daemon left, where it is still so."""
        try:
            lines = self._file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        except FileNotFoundError:
            return
        for commit, _, name in (line.partition(" ") for line in lines):
            if name and ours.reference(name) == commit:
                self._names[name] = Commit(commit)


def show(repositories: Repositories, wanted: Mapping[str, Commit], *, moving: frozenset[str] = frozenset()) -> None:
    """Let the user's repository have references of ours, under the same names.

    What stood there and is kept by nothing else gets a name beside it: after the loss of our state folder, numbers
    begin again, and an older attempt has the same one. `moving` are those whose old place is known to be kept, and
    which the user may move at the same instant; that is no error.
    """
    users = repositories.users
    present = {name: users.reference(name) for name in wanted}
    missing = {name: commit for name, commit in wanted.items() if present[name] != commit}
    if not missing:
        return
    bring_to_users(repositories, *dict.fromkeys(missing.values()))
    lines = []
    for name, commit in missing.items():
        old = present[name]
        if old is not None and name not in moving:
            others = ("--not", commit, f"--exclude={name}", "--all")
            if users.run("rev-list", "--max-count=1", old, *others).out:
                lines.append(f"update {name}.was-{old[:12]}\0{old}\0\0")
        lines.append(f"update {name}\0{commit}\0{old or '0' * len(commit)}\0")
    update = ("update-ref", "-m", "orchestrator", "-z", "--stdin")
    answer = users.ask(*update, stdin=bytes_of("".join(lines)))
    moved_meanwhile = any(users.reference(name) != present[name] for name in moving)
    if answer.status != 0 and not moved_meanwhile:
        raise GitFailed(("update-ref", *missing), answer)
    sync_names(users, missing)  # whoever shows them forgets then that they are to be shown


def _shown_there(repositories: Repositories) -> list[Commit]:
    """Commits that references of the user's lead to, near to what we are going to show there."""
    users, common = repositories.users, repositories.place.common_dir
    head = _head_of(common)
    names = [*reference_names(common, "refs/heads/orchestrator/"), *reference_names(common, "refs/orchestrator/plans/")]
    names += [head] if head.startswith("refs/heads/") else []
    near = [users.reference(name) for name in names]
    found = list(dict.fromkeys(commit for commit in near if commit is not None))
    if not found:
        listing = users.run("for-each-ref", "--format=%(objectname)", "refs/heads").line
        found = [Commit(line) for line in listing.splitlines()]
    return found


def _head_of(git_dir: Path) -> str:
    """The branch that a HEAD is on; empty when it is on none."""
    try:
        kind, _, name = (git_dir / "HEAD").read_text(errors="surrogateescape").partition(":")
    except OSError:
        return ""
    return name.strip() if kind == "ref" else ""


def _worked_on(repositories: Repositories) -> set[str]:
    """Branches that the user has checked out somewhere."""
    common = repositories.place.common_dir
    return {_head_of(git_dir) for git_dir in (common, *sorted((common / "worktrees").glob("*")))}


def mirror(repositories: Repositories, plan: PlanId, commit: Commit, waiting: Mapping[str, Commit]) -> str:
    """The plan's branch as `refs/heads/orchestrator/<plan>`; where somebody works on that, as a plain reference.

    It is shown as it is now: `commit` was its tip once, and it may have moved on. What else waits goes along.
    """
    users, branch = repositories.users, f"refs/heads/orchestrator/{plan}"
    commit = repositories.ours.reference(plan_ref(plan)) or commit
    for _ in range(_TRIES):
        present = users.reference(branch)
        if present == commit:
            show(repositories, waiting)
            return branch
        if branch in _worked_on(repositories) or not _is_ours(repositories, plan, commit, present):
            break
        show(repositories, {**waiting, branch: commit}, moving=frozenset({branch}))
    show(repositories, {**waiting, plan_ref(plan): commit})
    return plan_ref(plan)


def _is_ours(repositories: Repositories, plan: PlanId, commit: Commit, present: Commit | None) -> bool:
    """Whether moving the branch away from `present` loses nothing that a person put there."""
    ours = repositories.ours
    if present is None:
        return True
    if not ours.has(present):
        return False
    if ours.contains(commit, present):
        return True
    kept = (plan_ref(plan), f"refs/orchestrator/old/{plan}")
    return bool(ours.run("for-each-ref", "--count=1", "--contains", present, *kept).out)


def checkouts_of(users: Git, root: Path | None = None) -> tuple[Checkout, ...]:
    """The user's checkouts of their repository, those whose folder is gone too.

    Args:
        root: the main one. For a submodule, and where the git folder lies apart, git itself names only that folder.
    """
    found = checkouts(users.run("worktree", "list", "--porcelain", "-z").out)
    if root is None or not found or found[0].is_bare or git_dir_of(Path(found[0].path)) is not None:
        return found
    git_dir = git_dir_of(root)
    if git_dir is None or git_dir.resolve() != users.cwd.resolve():
        return found
    return (replace(found[0], path=str(root)), *found[1:])
