"""The work of an attempt as a branch of the user's, which moves only forward and never under anybody's feet."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from orchestrator.backends.gitrun import Repositories
from orchestrator.backends.leftovers import bring_home, look_at
from orchestrator.backends.mirror import bring_to_users, checkouts_of
from orchestrator.backends.workspaces import marker
from orchestrator.model.errors import NothingError, RefusedError, RepositoryError, UsageError
from orchestrator.model.ids import Commit
from orchestrator.model.plan import HUMAN


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    branch: str
    commit: Commit
    before: Commit | None  #: where the branch was; None: it is new


def fetch(repositories: Repositories, attempt: str, branch: str, *, agent: str | None, base: str | None) -> Fetched:
    """Put a branch at what an attempt has committed.

    Needs no daemon: the user's references are moved by compare-and-swap, and `repo.git` only gains objects.

    Args:
        agent: who is at work in it, so that its own repository is asked; None: it has ended, and what was kept counts.
    """
    users, name = repositories.users, f"refs/heads/{branch}"
    if users.ask("check-ref-format", name).status != 0 or branch.startswith("-"):
        raise UsageError(f"'{branch}' cannot be the name of a branch", fix="give another one: --branch NAME")
    if branch.startswith("orchestrator/"):
        raise UsageError(
            f"'{branch}' is where the work of plans is shown",
            why="branches below orchestrator/ are moved by the daemon",
            fix="give another one: --branch NAME",
        )
    commit = _committed(repositories, attempt) if agent is not None else _kept(repositories, attempt)
    if agent is not None and commit == base:
        raise NothingError(
            f"{attempt} has committed nothing yet",
            why="a person resolves a conflict in its tree" if agent == HUMAN else f"{agent} is still at work",
            fix=f"`orchestrator diff {attempt.partition('/')[2].rpartition('-')[0]}` shows what is not committed",
        )
    bring_to_users(repositories, commit)
    present = users.reference(name)
    if present == commit:
        return Fetched(branch=branch, commit=commit, before=present)
    inside = next((one.path for one in checkouts_of(users) if one.branch == name), None)
    if inside is not None:
        raise RefusedError(
            f"branch '{branch}' is checked out in {inside}",
            why="moving it would make that checkout look changed",
            fix=f"`git -C {inside} merge {commit[:12]}` brings it in there, or give another name: --branch NAME",
        )
    if present is not None and not users.contains(commit, present):
        raise RefusedError(
            f"branch '{branch}' has commits that this work does not have",
            why="a branch of yours is only ever moved forward",
            fix="give another name: --branch NAME",
        )
    answer = users.ask("update-ref", "-m", f"orchestrator fetch {attempt}", name, commit, present or "0" * len(commit))
    if users.reference(name) != commit:
        raise RefusedError(
            f"branch '{branch}' could not be made",
            why=answer.err.strip() or "somebody else moved it this very moment",
            fix="give another name: --branch NAME",
        )
    return Fetched(branch=branch, commit=commit, before=present)


def _kept(repositories: Repositories, attempt: str) -> Commit:
    name = f"refs/orchestrator/{attempt}"
    commit = repositories.ours.reference(name) or repositories.users.reference(name)
    if commit is None:
        raise NothingError(
            f"{attempt} left no commit",
            why=f"there is no {name}",
            fix="`orchestrator worktree info` shows what it left",
        )
    return commit


def _committed(repositories: Repositories, attempt: str) -> Commit:
    """What a running agent has committed so far, checked and in `repo.git`; its repository is only read."""
    git_dir, tree = repositories.place.git_dir(attempt), repositories.place.worktree(attempt)
    head = look_at(git_dir, tree, str(marker(git_dir).get("branch", ""))).head
    if head is None:
        raise NothingError(f"the tree of {attempt} is not there yet", fix="try again in a moment")
    with tempfile.TemporaryDirectory() as scratch:
        why = bring_home(repositories, git_dir, head, Path(scratch))
    if why:
        raise RepositoryError(f"git refused commit {head[:12]} of {attempt}", why=why)
    return head
