"""A look at a worktree from outside: nothing of it is run, nothing in it or in any repository changes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.backends.gitrun import Git, Repositories
from orchestrator.backends.leftovers import Left, look_at
from orchestrator.backends.runfolder import open_file
from orchestrator.backends.snapshot import Snapshot, snapshot
from orchestrator.backends.workspaces import marker
from orchestrator.core.gitformats import alternates_line, is_commit_id, paths_of, shown, stashed
from orchestrator.model.errors import NothingError, RepositoryError
from orchestrator.model.ids import Commit
from orchestrator.model.view import Change, FileChange, TreeHolds

_COMMITS = 50  #: that are listed


@dataclass(slots=True)
class Peek:
    """A git that sees the objects of ours and of one attempt, and writes new ones where nobody looks."""

    git: Git
    git_dir: Path
    tree: Path
    left: Left
    ignore: tuple[str, ...]
    scratch: Path

    @property
    def head(self) -> Commit | None:
        """Where the worktree is; None when that commit cannot be found."""
        head = self.left.head
        return head if head is not None and self.has(head) else None

    def has(self, commit: str) -> bool:
        return self.git.ask("cat-file", "-e", f"{commit}^{{commit}}").status == 0

    def as_it_is(self) -> Snapshot:
        """The worktree as git would commit it, untracked files too."""
        parent = self.head
        if parent is None or not self.tree.is_dir() or self.tree.is_symlink():
            raise NothingError(
                f"{self.tree} cannot be looked at",
                why="its repository is gone or damaged" if self.tree.is_dir() else "it is no folder",
            )
        index = self.scratch / "index"
        index.unlink(missing_ok=True)
        return snapshot(self.git, self.tree, parent, self.ignore, index, self.git_dir.parent)

    def uncommitted(self, found: Snapshot, taken: str | None = None) -> tuple[str, ...]:
        """Paths that differ from HEAD, and from the commit that was taken of it, which HEAD does not follow."""
        differing = self._differing(str(self.head), found)
        if differing and taken is not None and taken != self.head and self.has(taken):
            unkept = set(self._differing(taken, found))
            differing = [path for path in differing if path in unkept]
        return tuple(shown(path) for path in differing)

    def _differing(self, commit: str, found: Snapshot) -> list[str]:
        listing = self.git.run("diff-tree", "-r", "--no-renames", "--name-only", "-z", commit, found.tree)
        return list(paths_of(listing.out))

    def holds(self, plan: str, salvage: Sequence[str], taken: str | None = None) -> TreeHolds:
        """What would have to be kept of it."""
        found = self.as_it_is()
        landed = [f"refs/orchestrator/plans/{plan}", "--branches"]
        if self.git.reference(landed[0]) is None:
            del landed[0]
        commits = self.git.run(
            "log", f"--max-count={_COMMITS}", "--format=%h %s", str(self.head), "--not", *landed
        ).out.decode("utf-8", "replace")
        stash = _read(self.git_dir / "logs/refs/stash")
        stashes = len(stashed(stash)) or int((self.git_dir / "refs/stash").is_file())
        in_stash = set(stashed(stash)) | {_read(self.git_dir / "refs/stash").strip()}
        others = [one for one in self.left.others if one != self.left.head and one not in in_stash and self.has(one)]
        unkept = [one for one in others if self.git.ask("rev-list", "-1", one, "--not", "--all").out]
        return TreeHolds(
            uncommitted=self.uncommitted(found, taken),
            commits=tuple(commits.splitlines()),
            stashes=stashes,
            branches=len(unkept),
            nested=tuple(shown(path) for path in found.nested),
            salvage=tuple(salvage),
        )


@contextmanager
def peeking(repositories: Repositories, owner: str, *, ignore: Sequence[str] = ()) -> Iterator[Peek]:
    """A look at one attempt or candidate, or at `repo.git` alone for an owner that has no repository any more."""
    place = repositories.place
    if not place.repo_git.is_dir():
        raise NothingError("nothing has run in this repository yet", fix="`orchestrator start plans/YOUR-PLAN.yaml`")
    git_dir, tree = place.git_dir(owner), place.worktree(owner)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for made in ("objects/info", "objects/pack"):
            (scratch / made).mkdir(parents=True)
        stores = [place.repo_git / "objects", *([git_dir / "objects"] if (git_dir / "objects").is_dir() else [])]
        lines = "".join(alternates_line(str(store)) for store in stores)
        (scratch / "objects/info/alternates").write_text(lines, errors="surrogateescape")
        env = {"GIT_OBJECT_DIRECTORY": str(scratch / "objects")}
        git = repositories.ours.with_(cwd=scratch, env=env, settings={"core.fsync": "none"})
        left = look_at(git_dir, tree, str(marker(git_dir).get("branch", "")))
        yield Peek(git=git, git_dir=git_dir, tree=tree, left=left, ignore=tuple(ignore), scratch=scratch)


def change_between(peek: Peek, base: str, head: str | None, options: Sequence[str]) -> Change:
    """What lies between two commits, or between a commit and the worktree.

    Args:
        head: None: the worktree as it is.
        options: of `git diff`, for the text.
    """
    end = head if head is not None else peek.as_it_is().tree
    for one in (base, *([head] if head is not None else [])):
        if not peek.has(one):
            raise RepositoryError(
                f"commit {one[:12]} is not in {peek.git.git_dir}",
                why="it was removed from there by hand, or the state folder was made anew",
                fix="`orchestrator worktree list` shows what is left",
            )
    git = peek.git.with_(settings={"core.quotePath": "false", "diff.external": "", "submodule.recurse": "false"})
    plain = ("--no-ext-diff", "--no-textconv", "--ignore-submodules=none")
    counted = git.run("diff", *plain, "--no-renames", "--numstat", "-z", base, end).out
    named = git.run("diff", *plain, "--no-renames", "--name-status", "-z", base, end).out
    text = git.run("diff", *plain, *options, base, end).out
    return Change(base=base, head=head, files=_files(counted, named), text=text)


def _files(counted: bytes, named: bytes) -> tuple[FileChange, ...]:
    numbers = {}
    for row in paths_of(counted):
        added, deleted, path = row.split("\t", 2)
        numbers[path] = (_count(added), _count(deleted))
    fields = paths_of(named)
    return tuple(
        FileChange(path=shown(path), status=status[:1], added=numbers[path][0], deleted=numbers[path][1])
        for status, path in zip(fields[::2], fields[1::2], strict=True)
    )


def _count(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def parent_of(peek: Peek, commit: str) -> str:
    """The first parent of a commit. Raises: RepositoryError when there is none."""
    answer = peek.git.ask("rev-parse", "--verify", "--quiet", f"{commit}^1")
    if answer.status != 0 or not is_commit_id(answer.line):
        raise RepositoryError(
            f"commit {commit[:12]} is not in {peek.git.git_dir}", why="it was removed from there by hand"
        )
    return answer.line


def kept_at(peek: Peek, name: str) -> str | None:
    """The commit that a reference of ours keeps."""
    return peek.git.reference(name)


LONGEST_BYTES = 16_000_000  #: of a file that the agent could have written


def _read(path: Path) -> str:
    fd = open_file(path)
    if fd is None:
        return ""
    with open(fd, "rb") as file:
        return file.read(LONGEST_BYTES).decode("utf-8", "surrogateescape")
