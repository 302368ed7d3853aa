"""Real git repositories for tests: the user's, as a person would have made it, and what an agent does in a worktree.

git runs here as the outside does: by the command line, with nothing of the program under test in between.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.backends.repository import GitRepository
from orchestrator.model.attempt import Workspace
from orchestrator.model.ids import AttemptId, Commit, PlanId, TaskId, attempt_id
from orchestrator.model.place import Place
from orchestrator.ports import Collected, Conflict, Merged

PLAN = PlanId("plan")
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

_ENV = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_DATE": "1700000000 +0000",
    "GIT_COMMITTER_DATE": "1700000000 +0000",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_EDITOR": ":",
    "LC_ALL": "C.UTF-8",
}


def git(cwd: Path, *args: str, ok: bool = True, stdin: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run git as a person in that folder would. Returns: its output without the final newline."""
    done = subprocess.run(
        ["git", *args],
        cwd=cwd,
        input=stdin.encode("utf-8", "surrogateescape") if stdin is not None else None,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("GIT_")}, **_ENV, **(env or {})},
        check=False,
    )
    if ok and done.returncode != 0:
        raise AssertionError(f"git {' '.join(args)}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode("utf-8", "surrogateescape").removesuffix("\n")


def write(tree: Path, files: Mapping[str, str | None]) -> None:
    """Put files into a folder; None deletes."""
    for name, content in files.items():
        path = tree / name
        if content is None:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, errors="surrogateescape")


def commit(tree: Path, files: Mapping[str, str | None], message: str = "work") -> str:
    """Change files and commit them as the worker there. Returns: the commit."""
    write(tree, files)
    git(tree, "add", "-A", "--", ".")
    git(tree, "commit", "-q", "--allow-empty", "-m", message)
    return git(tree, "rev-parse", "HEAD")


@dataclass(frozen=True, slots=True)
class UsersRepository:
    """A repository with one commit on `main`, and the place that `orchestrator` would use for it."""

    root: Path
    place: Place

    def ref(self, name: str) -> str:
        """What a reference points at; empty when there is none."""
        return git(self.place.common_dir, "rev-parse", "--verify", "--quiet", name, ok=False)

    def ours(self, *args: str, ok: bool = True) -> str:
        """git in `repo.git`."""
        return git(self.place.repo_git, *args, ok=ok)


def place_for(root: Path, common_dir: Path) -> Place:
    return Place(
        root=root,
        common_dir=common_dir,
        state_dir=common_dir / "orchestrator",
        worktrees=root.parent / f"{root.name}.worktrees",
        socket=root.parent / "s",
    )


def users_repository(folder: Path, files: Mapping[str, str | None] | None = None) -> UsersRepository:
    """A person's repository at `folder`, with an identity of its own."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "config", "user.name", "Ada Löve")
    git(folder, "config", "user.email", "ada@example.org")
    commit(folder, files or {"README.md": "hello\n", "src/a.txt": "one\ntwo\nthree\n", ".gitignore": ".env\n*.log\n"})
    return UsersRepository(root=folder, place=place_for(folder, folder / ".git"))


def everything_in(tree: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file outside of `.git`: mode, time of change, contents. Two of these are equal only if nobody wrote."""
    found = {}
    for folder, folders, files in os.walk(tree):
        if ".git" in folders:
            folders.remove(".git")
        for name in files:
            path = Path(folder) / name
            info = path.lstat()
            content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
            found[str(path.relative_to(tree))] = (info.st_mode, info.st_mtime_ns, content)
    return found


@dataclass(slots=True)
class Desk:
    """A user's repository with the port under test in front of it, for one plan called `plan`."""

    user: UsersRepository
    repository: GitRepository
    tip: Commit

    @classmethod
    async def ready(cls, user: UsersRepository) -> Desk:
        """Opened, with the plan's branch begun."""
        repository = GitRepository(user.place, inherited={})
        await repository.open()
        tip, _ = await repository.begin_branch(PLAN, 1, "main")
        return cls(user, repository, tip)

    def again(self) -> Desk:
        """As a restarted daemon sees the same folders."""
        return Desk(self.user, GitRepository(self.user.place, inherited={}), self.tip)

    async def attempt(
        self, task: str = "task", number: int = 1, *, start: str | None = None, merge: str | None = None
    ) -> Workspace:
        return await self.repository.make_workspace(
            PLAN,
            TaskId(task),
            attempt_id(PLAN, TaskId(task), number),
            tip=self.tip,
            target="main",
            start=None if start is None else Commit(start),
            merge=None if merge is None else Commit(merge),
        )

    async def collect(
        self,
        workspace: Workspace,
        *,
        base: str = "",
        ignore: tuple[str, ...] = (),
        keep_only: bool = False,
        message: str = "what the agent did",
    ) -> Collected:
        found = await self.repository.collect(
            workspace,
            PLAN,
            self.id_of(workspace),
            base=Commit(base or self.tip),
            message=message,
            trailers={"Task": "task", "Token": "7"},
            ignore=ignore,
            keep_only=keep_only,
        )
        await self.repository.show_kept()
        return found

    async def remove(self, workspace: Workspace, *, ignore: tuple[str, ...] = ()) -> tuple[str, ...]:
        return await self.repository.remove(PLAN, self.id_of(workspace), landed=False, ignore=ignore)

    async def handed_off(self, task: str, files: Mapping[str, str | None]) -> Commit:
        """The head of an attempt that changed these files and committed nothing itself."""
        workspace = await self.attempt(task)
        write(Path(workspace.path), files)
        found = await self.collect(workspace)
        assert found.head is not None
        return found.head

    async def merged(self, other: Commit, *, parent: str = "") -> Merged | Conflict:
        return await self.repository.merge_candidate(
            Commit(parent or self.tip), other, message="merge it\n\nTask: task", at=AT
        )

    async def land(self, other: Commit) -> Commit:
        """Merge a hand-off and move the plan's branch onto it."""
        candidate = await self.merged(other)
        assert isinstance(candidate, Merged), candidate
        assert await self.repository.land(PLAN, candidate.commit, self.tip) is None
        self.tip = candidate.commit
        return candidate.commit

    def id_of(self, workspace: Workspace) -> AttemptId:
        return AttemptId(str(Path(workspace.path).relative_to(self.user.place.worktrees)))
