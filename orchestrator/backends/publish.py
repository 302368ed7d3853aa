"""The user's own branch moves: only forward, only to a commit that contains it, and never over anybody's work."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

from orchestrator.backends.durable import make_durable
from orchestrator.backends.gitrun import LASTING, Git, Repositories, git_dir_of
from orchestrator.backends.mirror import bring_to_users, checkouts_of
from orchestrator.backends.putback import changed_in, put_back
from orchestrator.core.gitformats import Checkout
from orchestrator.model.ids import Commit, PlanId
from orchestrator.ports import Moved, NotPublished

LOCK_WAIT_S = 20.0  #: a large checkout takes its time
_LOOKS = 5  #: at a checkout in which other programs work too

#: each flag closes a hole: a plain `--ff-only` overwrote an ignored file, and the user's settings may ask for the rest
_FORWARD = (
    "merge",
    "--ff-only",
    "--no-squash",
    "--no-autostash",
    "--no-overwrite-ignore",
    "--no-stat",
    "--no-progress",
)


def publish(repositories: Repositories, plan: PlanId, target: str, commit: Commit) -> NotPublished | Moved | None:
    """Move the target to `commit`; on any doubt leave everything and say why, and the command that does it."""
    users = repositories.users
    name = _behind(users, f"refs/heads/{target}")
    present = users.reference(name)
    if present is None:
        command = f"git branch {shlex.quote(target)} {_shown_as(users, plan, commit)}"
        return NotPublished(why=f"there is no branch '{target}' any more", command=command)
    bring_to_users(repositories, commit)
    if users.contains(present, commit):
        return None
    if not users.contains(commit, present):
        return Moved(actual=present)
    for _ in range(_LOOKS):
        everywhere = checkouts_of(users, repositories.place.root)
        command = f"git merge --ff-only {_shown_as(users, plan, commit)}"
        for checkout in everywhere:
            busy = _busy_with(repositories, checkout, name)
            if busy:
                why = f"{checkout.path} is {busy} '{target}', and would set it back"
                there = f"git -C {shlex.quote(checkout.path)} {command.removeprefix('git ')}"
                return NotPublished(why=why, command=there)
        inside = [checkout for checkout in everywhere if checkout.branch == name and not checkout.is_bare]
        if not inside:
            answer = users.ask("update-ref", "-m", f"orchestrator {plan}: publish", name, commit, present)
            if users.reference(name) == commit:
                make_durable(users, name)
                return None
            by_hand = f"git fetch . {_shown_as(users, plan, commit)}:{target}"
            return _refused(repositories, name, commit, answer.err, by_hand)
        path = Path(inside[0].path)
        if path != repositories.place.root:
            command = f"git -C {shlex.quote(str(path))} {command.removeprefix('git ')}"
        if len(inside) > 1:
            places = ", ".join(checkout.path for checkout in inside)
            return NotPublished(why=f"'{target}' is checked out more than once: {places}", command=command)
        git_dir = git_dir_of(path)
        if git_dir is None:
            why = f"'{target}' is checked out in {path}, which is not there"
            return NotPublished(why=why, command=f"git worktree prune && git branch -f {shlex.quote(target)} {commit}")
        locks = (git_dir / "index.lock", git_dir / "HEAD.lock", repositories.place.common_dir / f"{name}.lock")
        if not _wait_for(locks):
            break
    held = next((lock for lock in locks if lock.exists()), None)
    if held is not None and held.name != "index.lock":  # git would move the files first, and only then find it held
        why = f"another git is at work there, or one that was killed left its lock: {held}"
        return NotPublished(why=why, command=command)
    if users.reference(name) == commit:
        return None
    return _forward(repositories, plan, path, name, present, commit, command)


def _behind(users: Git, name: str) -> str:
    """The branch that a branch is another name for; mostly itself."""
    for _ in range(_LOOKS):
        answer = users.ask("symbolic-ref", "--quiet", name)
        if answer.status != 0 or not answer.line.startswith("refs/heads/"):
            break
        name = answer.line
    return name


def _wait_for(locks: tuple[Path, ...]) -> bool:
    """Wait while a git is at work in a checkout: perhaps the one of a daemon that was killed, which finishes alone.

    Returns: whether it had to wait, so that everything is to be looked at anew: it may have been a `git switch`.
    """
    until = time.monotonic() + LOCK_WAIT_S
    waited = False
    while any(lock.exists() for lock in locks) and time.monotonic() < until:
        waited = True
        time.sleep(0.1)
    return waited and not any(lock.exists() for lock in locks)


def _forward(
    repositories: Repositories, plan: PlanId, path: Path, name: str, present: Commit, commit: Commit, command: str
) -> NotPublished | Moved | None:
    """Move the branch where it is checked out, its files with it."""
    users = repositories.users
    git = _forward_git(repositories, path).with_(env={"GIT_REFLOG_ACTION": f"orchestrator {plan}: publish"})
    before = changed_in(git, path, present, commit)
    answer = git.ask(*_FORWARD, commit, outlives=True)
    if answer.status == 0 and users.reference(name) == commit:
        make_durable(users, name)
        return None
    said = answer.err or answer.line
    if users.reference(name) == present:
        left = put_back(git, path, present, commit, before)
        if left:
            said = f"{said.strip()}\ngit stopped in the middle, and these files are as it left them: {', '.join(left)}"
    return _refused(repositories, name, commit, said, command)


def _forward_git(repositories: Repositories, path: Path) -> Git:
    """git in the user's checkout, with the user's configuration except for what could surprise them."""
    return repositories.checkout(path).with_(
        settings={
            **LASTING,
            "merge.verifySignatures": "false",
            "advice.diverging": "false",
            "core.hooksPath": "/dev/null",
        }
    )


def _refused(
    repositories: Repositories, name: str, commit: Commit, said: str, command: str
) -> NotPublished | Moved | None:
    """What to answer when git did not do it: the target as it is now decides."""
    users = repositories.users
    actual = users.reference(name)
    if actual is None or not users.contains(commit, actual):
        if actual is not None and users.contains(actual, commit):
            return None
        return Moved(actual=actual)
    why = said.strip() or "git gave no reason"
    if ".lock': File exists" in said and "another git" not in said:
        why = f"another git is at work there, or one that was killed left its lock: {why}"
    return NotPublished(why=why, command=command)


def _busy_with(repositories: Repositories, checkout: Checkout, name: str) -> str:
    """`rebasing` or `bisecting` when a checkout is in the middle of that with the target; it will set it back."""
    if checkout.is_bare:
        return ""
    git_dir = git_dir_of(Path(checkout.path)) or _kept_for(repositories.place.common_dir, checkout.path)
    for folder in ("rebase-merge", "rebase-apply"):
        if _first_line(git_dir / folder / "head-name") == name:
            return "rebasing"
    others = _first_lines(git_dir / "rebase-merge" / "update-refs")
    if name in others:
        return "rebasing"
    if _first_line(git_dir / "BISECT_START") == name.removeprefix("refs/heads/"):
        return "bisecting"
    return ""


def _kept_for(common_dir: Path, checkout: str) -> Path:
    """The git folder of a checkout that is not there now, as on a disk that is not plugged in."""
    for told in (common_dir / "worktrees").glob("*/gitdir"):
        if _first_line(told) == f"{checkout}/.git":
            return told.parent
    return common_dir


def _first_line(path: Path) -> str:
    return next(iter(_first_lines(path)), "")


def _first_lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []


def _shown_as(users: Git, plan: PlanId, commit: Commit) -> str:
    """How the user can name the commit in a command."""
    branch = f"orchestrator/{plan}"
    return branch if users.reference(f"refs/heads/{branch}") == commit else commit
