"""Small repositories with one worktree each: made for attempts and candidates, and moved to the trash."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from orchestrator.backends import spares
from orchestrator.backends.gitrun import Git, GitFailed, Repositories
from orchestrator.backends.machine import boot_id
from orchestrator.backends.runfolder import read_record
from orchestrator.backends.snapshot import keep_index
from orchestrator.backends.submodules import empty_submodules, fill_submodules
from orchestrator.backends.takeover import Takeover, write_whole
from orchestrator.core.gitformats import alternates_line, is_commit_id, packed_refs_text
from orchestrator.model.attempt import Workspace
from orchestrator.model.errors import FencedError
from orchestrator.model.ids import AttemptId, CandidateId, Commit

MARKER = "workspace.json"  #: beside the repository, written last: one that has it is complete


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A workspace as it is asked for. Without branch: detached at `tip`, for checks, and always fresh."""

    owner: AttemptId | CandidateId
    branch: str  #: full name
    tip: Commit
    target: str
    start: Commit | None
    merge: Commit | None
    keep: tuple[str, ...] = ()  #: what a check may leave for the next one
    token: int = 0  #: of the claim it is made for; 0: none

    @property
    def first(self) -> Commit:
        """Where the worktree begins."""
        return self.start or self.tip

    @property
    def other(self) -> Commit | None:
        """What is merged in and left uncommitted."""
        return self.tip if self.start else self.merge


def make(repositories: Repositories, takeover: Takeover, wanted: Wanted) -> Workspace:
    """The workspace: as it is when it was finished for the same wish, else made anew, the leftovers in the trash."""
    place = repositories.place
    git_dir, tree = place.git_dir(wanted.owner), place.worktree(wanted.owner)
    workspace = Workspace(path=str(tree), git_dir=str(git_dir), branch=wanted.branch)
    if wanted.branch and tree.is_dir() and marker(git_dir) == _wish(wanted):
        return replace(workspace, empty=empty_submodules(repositories.ours, tree, wanted.first))
    to_trash(repositories, wanted.owner)
    _make_git_dir(repositories, takeover, wanted, git_dir)
    for folder in (place.worktrees, tree.parent):
        folder.mkdir(parents=True, exist_ok=True)
    in_tree = _check_out(repositories, wanted, git_dir, tree)
    fill_submodules(repositories, takeover, in_tree, wanted.first)
    if wanted.other is not None:
        _merge(in_tree, wanted.other, _called(repositories.small(git_dir), wanted, wanted.other))
    write_whole(git_dir.with_name(MARKER), json.dumps(_wish(wanted), indent=1).encode(), durable=False)
    return replace(workspace, empty=empty_submodules(repositories.ours, tree, wanted.first))


def release(repositories: Repositories, owner: AttemptId | CandidateId, *, has_nothing_else: bool = False) -> None:
    """Nobody needs this tree any more, and what it holds is kept: it is used again if it can be, else put away.

    Args:
        has_nothing_else: it was just seen to hold nothing but what is kept.
    """
    place = repositories.place
    made = marker(place.git_dir(owner))
    first = made.get("start") or made.get("tip")
    kind = spares.Kind.ATTEMPT if made.get("branch") else spares.Kind.CHECK
    if isinstance(first, str) and is_commit_id(first):
        with contextlib.suppress(OSError):
            spares.give(repositories, owner, kind, Commit(first), has_nothing_else=has_nothing_else)
    to_trash(repositories, owner)


def _check_out(repositories: Repositories, wanted: Wanted, git_dir: Path, tree: Path) -> Git:
    """The worktree at its first commit, linked to its repository: a spare one where there is one, else from nothing.

    The link is the files that `git worktree add` writes.
    """
    admin = git_dir / "worktrees" / tree.name
    admin.mkdir(parents=True)
    head = f"ref: {wanted.branch}" if wanted.branch else wanted.first
    for name, text in (("HEAD", head), ("commondir", "../.."), ("gitdir", str(tree / ".git"))):
        (admin / name).write_text(f"{text}\n", errors="surrogateescape")
    if wanted.branch:
        branch = git_dir / wanted.branch
        branch.parent.mkdir(parents=True, exist_ok=True)
        branch.write_text(f"{wanted.first}\n")
    in_tree = repositories.small(admin, tree)
    kind = spares.Kind.ATTEMPT if wanted.branch else spares.Kind.CHECK
    try:
        is_spare = spares.take(repositories, kind, tree, admin / "index", wanted.keep, wanted.first)
    except (OSError, GitFailed, spares.NotAgain):
        if os.path.lexists(tree):
            spares.to_trash(repositories, tree)
        (admin / "index").unlink(missing_ok=True)
        is_spare = False
    if not is_spare:
        tree.mkdir()
    # nothing is there any more, and nothing that somebody puts there this very moment is written through
    with open(os.open(tree / ".git", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644), "wb") as link:
        link.write(f"gitdir: {admin}\n".encode("utf-8", "surrogateescape"))
    in_tree.run("read-tree", "--reset", "-u", wanted.first)
    keep_index(admin / "index", repositories.place.owner_dir(wanted.owner), wanted.first)
    return in_tree


def marker(git_dir: Path) -> dict[str, object]:
    """What a finished workspace was made for; empty when it is not finished."""
    return read_record(git_dir.with_name(MARKER)) or {}


def refuse_another_token(git_dir: Path, token: int) -> None:
    """Raises: FencedError when the workspace was made for another claim, as after an older ledger was put back."""
    made = marker(git_dir).get("token") or token
    if made != token:
        raise FencedError(
            f"the tree of {git_dir.parent.name} belongs to another claim",
            why=f"it was made under token {made}, and is asked for under {token}",
            fix=f"nothing was taken from it; look at it: {git_dir.parent}",
        )


def _wish(wanted: Wanted) -> dict[str, object]:
    said = {name: value for name, value in asdict(wanted).items() if name not in {"target", "keep"}}
    return said | {"boot_id": boot_id()}  # after a power loss its files may be anything


def _make_git_dir(repositories: Repositories, takeover: Takeover, wanted: Wanted, git_dir: Path) -> None:
    """A bare repository that borrows its objects, written as files: one process fewer for each attempt."""
    ours = repositories.place.repo_git
    for folder in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
        (git_dir / folder).mkdir(mode=0o755, parents=True)
    objects = alternates_line(str(ours / "objects"))
    (git_dir / "objects/info/alternates").write_text(objects, errors="surrogateescape")
    if (ours / "shallow").exists():
        (git_dir / "shallow").write_bytes((ours / "shallow").read_bytes())
    refs = dict(repositories.tags_and_remotes())
    if wanted.target:
        commit = repositories.ours.reference(f"refs/heads/{wanted.target}")
        if commit is not None:
            refs[f"refs/heads/{wanted.target}"] = commit
    (git_dir / "packed-refs").write_text(packed_refs_text(refs), errors="surrogateescape")
    (git_dir / "HEAD").write_text(f"ref: refs/heads/{wanted.target or 'main'}\n", errors="surrogateescape")
    takeover.write(git_dir)


def _called(small: Git, wanted: Wanted, other: Commit) -> str:
    """What conflict markers call the other side: the plan's branch, or the target when that is what comes in."""
    name = wanted.target
    if wanted.start is not None:
        name = f"orchestrator/{wanted.owner.split('/', 1)[0]}"
        small.run("update-ref", f"refs/{name}", other)  # as a branch it would count as something left in there
    # a tag of that name would come first
    found = small.ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    return name if name and not name.startswith("-") and found.line == other else other


def _merge(in_tree: Git, other: Commit, called: str) -> None:
    """Merge without committing; a conflict stays in the files, for whoever works here."""
    head = in_tree.run("rev-parse", "--verify", "HEAD").line
    if in_tree.contains(head, other):
        return
    answer = in_tree.ask("merge", "--quiet", "--no-commit", "--no-ff", "--no-verify-signatures", called)
    if answer.status not in (0, 1) or in_tree.ask("rev-parse", "--verify", "--quiet", "MERGE_HEAD").status != 0:
        raise GitFailed(("merge", "--no-commit"), answer)


def to_trash(repositories: Repositories, owner: AttemptId | CandidateId) -> None:
    """Move what is there of a tree and its repository out of the way; nothing is deleted."""
    place = repositories.place
    tree, git_dir = place.worktree(owner), place.git_dir(owner)
    git_dir.with_name(MARKER).unlink(missing_ok=True)
    if not os.path.lexists(tree) and not os.path.lexists(git_dir):
        return
    folder = _numbered(place.trash / owner)
    with contextlib.suppress(FileNotFoundError):  # a person may have asked for it just when it goes of its own accord
        tree.rename(folder / "tree")
    if os.path.lexists(git_dir):
        try:
            git_dir.rename(folder / "git")
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            git_dir.rename(_numbered(place.state_dir / "trash" / owner) / "git")


def _numbered(folder: Path) -> Path:
    """A new folder below this one, named by the next free number."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        try:
            (folder / str(number)).mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder / str(number)
