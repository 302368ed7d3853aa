"""Between the user's references and ours: the target comes in, the plan's branch and what we keep are shown there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from orchestrator.backends.candidates import make_durable, plan_ref
from orchestrator.backends.gitrun import Git, GitFailed, Repositories, git_dir_of
from orchestrator.backends.takeover import fetch_users
from orchestrator.core.gitformats import Checkout, checkouts
from orchestrator.model.errors import RepositoryError
from orchestrator.model.ids import Commit, PlanId

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
    assert ours is not None
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
        make_durable(repositories.place.repo_git, begun_name, begun)
    kept = ours.reference(old_name)
    if kept is not None:
        show(repositories, old_name, kept)
    # what landed in this run lies beyond `begun`: only what the last run left is moved
    if tip is None or tip == kept or (tip != begun and ours.contains(begun, tip)):
        ours.run("update-ref", "-m", f"orchestrator {plan}: begin run {number}", name, begun, tip or "")
        make_durable(repositories.place.repo_git, name, begun)
    return begun, begun


def bring_to_users(repositories: Repositories, commit: Commit) -> None:
    """Put a commit of `repo.git` with all it needs into the user's object store."""
    repositories.users.run(
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-recurse-submodules",
        "--",
        str(repositories.place.repo_git),
        commit,
    )


def show(repositories: Repositories, name: str, commit: Commit) -> None:
    """Let the user's repository have a reference of ours, under the same name.

    What stood there and is kept by nothing else gets a name beside it: after the loss of our state folder, numbers
    begin again, and an older attempt has the same one.
    """
    users = repositories.users
    present = users.reference(name)
    if present == commit:
        return
    bring_to_users(repositories, commit)
    if present is not None:
        others = ("--not", commit, f"--exclude={name}", "--all")
        if users.run("rev-list", "--max-count=1", present, *others).out:
            users.run("update-ref", f"{name}.was-{present[:12]}", present)
    users.run("update-ref", "-m", "orchestrator", name, commit, present or "0" * len(commit))


def mirror(repositories: Repositories, plan: PlanId, commit: Commit) -> str:
    """The plan's branch as `refs/heads/orchestrator/<plan>`; where somebody works on that, as a plain reference."""
    users, branch = repositories.users, f"refs/heads/orchestrator/{plan}"
    for _ in range(_TRIES):
        present = users.reference(branch)
        if present == commit:
            return branch
        if branch in {checkout.branch for checkout in checkouts_of(users)} or not _is_ours(
            repositories, plan, commit, present
        ):
            show(repositories, plan_ref(plan), commit)
            return plan_ref(plan)
        bring_to_users(repositories, commit)
        absent = "0" * len(commit)
        answer = users.ask("update-ref", "-m", f"orchestrator {plan}", branch, commit, present or absent)
        if answer.status != 0 and users.reference(branch) == present:
            raise GitFailed(("update-ref", branch), answer)
    show(repositories, plan_ref(plan), commit)
    return plan_ref(plan)


def _is_ours(repositories: Repositories, plan: PlanId, commit: Commit, present: Commit | None) -> bool:
    """Whether moving the branch away from `present` loses nothing that a person put there."""
    ours = repositories.ours
    if present is None:
        return True
    if ours.ask("cat-file", "-e", f"{present}^{{commit}}").status != 0:
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
