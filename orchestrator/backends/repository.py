"""The `Repository` port on real git: the one place that calls it, and one method for each promise of the port."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from anyio import CapacityLimiter, Lock, to_thread

from orchestrator.backends import candidates, collecting, mending, mirror, publish, spares, trash, workspaces
from orchestrator.backends.gitrun import (
    GitAnswer,
    GitCommand,
    Repositories,
    inherited_git_environment,
    strip_git_environment,
)
from orchestrator.backends.survey import survey as look_over
from orchestrator.backends.takeover import Takeover, look, open_ours, read_takeover
from orchestrator.model.attempt import Workspace
from orchestrator.model.difference import Needs, Remedy, Survey
from orchestrator.model.errors import RepositoryError
from orchestrator.model.ids import AttemptId, CandidateId, Commit, PlanId, TaskId
from orchestrator.model.place import Place
from orchestrator.model.repo import RepoFacts
from orchestrator.ports import Collected, Conflict, Merged, Moved, NotPublished

__all__ = ["GitRepository", "execute", "strip_git_environment"]

#: A git whose reader is killed dies of a broken pipe, in the middle of what it does. This one writes into files.
_OUTLIVING = ("sh", "-c", 'trap "" PIPE HUP; exec "$@" >"$0/out" 2>"$0/err"')
_INSTALL = "install git 2.39 or newer and put it on your PATH"
AT_ONCE = 4  #: operations of git; more only make each other slower

T = TypeVar("T")


def execute(command: GitCommand) -> GitAnswer:
    """Run git to its end, in this thread, and give what it said."""
    try:
        from git.cmd import Git
        from git.exc import GitCommandNotFound
    except ImportError as error:  # GitPython looks for git when it is loaded, and fails like this without one
        raise RepositoryError("git cannot be started", why="there is none on your PATH", fix=_INSTALL) from error

    if not command.cwd.is_dir():
        # GitPython would fall back on the daemon's own folder, and git would act on whatever is there
        return GitAnswer(status=128, out=b"", err=f"there is no folder {command.cwd}")
    foreign = [name for name in os.environ if name.startswith("GIT_") and name not in command.env]
    argv = ["env", *(f"--unset={name}" for name in foreign)] if foreign else []
    with contextlib.ExitStack() as open_files:
        said = stdin = None
        if command.outlives:
            said = open_files.enter_context(tempfile.TemporaryDirectory())
            argv = [*_OUTLIVING, said, *argv]
        if command.stdin is not None:
            stdin = open_files.enter_context(tempfile.TemporaryFile())
            stdin.write(command.stdin)
            stdin.seek(0)
        try:
            status, out, err = Git(command.cwd).execute(
                [*argv, "git", *command.args],
                istream=stdin,
                with_extended_output=True,
                with_exceptions=False,
                stdout_as_string=False,
                strip_newline_in_stdout=False,
                shell=False,
                env=dict(command.env),
                umask=command.umask,
                start_new_session=command.outlives,  # Ctrl-C in the daemon's terminal is not meant for it
            )
        except GitCommandNotFound as error:
            raise RepositoryError("git cannot be started", why=str(error), fix=_INSTALL) from error
        if said is not None:
            out = Path(said, "out").read_bytes()
            err = Path(said, "err").read_text(errors="replace")
    return GitAnswer(status=status, out=out, err=err)


class GitRepository:
    """Everything git, in worker threads.

    Args:
        place: where the user's repository and our folders are.
        inherited: what `strip_git_environment` took away; None: look at this process's environment.
        umask: for files that the user will see; the daemon's own is stricter.
    """

    def __init__(self, place: Place, *, inherited: Mapping[str, str] | None = None, umask: int = 0o022) -> None:
        self._repositories = Repositories(
            place=place,
            execute=execute,
            inherited=inherited_git_environment() if inherited is None else dict(inherited),
            umask=umask,
        )
        self._limiter = CapacityLimiter(AT_ONCE)
        self._showing = Lock()  #: the user's repository is written by one at a time
        self._removing: dict[str, Lock] = {}  #: trees that are being removed or have been, each by one at a time
        self._waiting = mirror.Waiting(place.state_dir / "to-show")
        self._takeover: Takeover | None = None
        self._made_anew = False

    async def facts(self, target: str | None) -> RepoFacts:
        return await self._in_thread(lambda: look(self._repositories, target))

    async def open(self) -> None:
        def opened() -> Takeover:
            takeover = read_takeover(self._repositories)
            self._made_anew = not self._repositories.place.repo_git.is_dir()
            open_ours(self._repositories, takeover)
            spares.clear_stale(self._repositories)
            self._waiting.load(self._repositories.ours)
            mirror.unlock_shown(self._repositories)
            return takeover

        self._takeover = await self._in_thread(opened)
        await self.show_kept()

    async def survey(self, needs: Needs, *, thorough: bool = False) -> Survey:
        """What there is of all that the ledger relies on, and what is not known to it; see `Surveyor`."""
        made_anew = self._made_anew
        return await self._in_thread(
            lambda: look_over(self._repositories, needs, made_anew=made_anew, thorough=thorough)
        )

    async def mend(self, remedy: Remedy, needs: Needs) -> None:
        """Put one difference right; see `Surveyor`."""
        bases = tuple(needs.starts.values())
        await self._in_thread(lambda: mending.mend(self._repositories, remedy, bases))

    def identity(self) -> dict[str, str]:
        """The user's identity as environment for git, for agents and for us."""
        return self._taken().identity_environment

    async def begin_branch(self, plan: PlanId, number: int, target: str) -> tuple[Commit, Commit]:
        return await self._in_thread(lambda: mirror.begin_branch(self._repositories, plan, number, target))

    async def target_commit(self, target: str) -> Commit:
        return await self._in_thread(lambda: mirror.target_commit(self._repositories, target))

    async def contains(self, commit: Commit, ancestor: Commit) -> bool:
        return await self._in_thread(lambda: self._repositories.ours.contains(commit, ancestor))

    async def changed(self, base: Commit, head: Commit) -> tuple[str, ...]:
        return await self._in_thread(lambda: collecting.changed(self._repositories.ours, base, head))

    async def make_workspace(
        self,
        plan: PlanId,
        task: TaskId,
        attempt: AttemptId,
        *,
        tip: Commit,
        target: str,
        start: Commit | None,
        merge: Commit | None,
        token: int = 0,
    ) -> Workspace:
        wanted = workspaces.Wanted(
            owner=attempt,
            branch=f"refs/heads/agent/{attempt}",
            tip=tip,
            target=target,
            start=start,
            merge=merge,
            token=token,
        )
        if await self._in_thread(lambda: workspaces.is_anothers(self._repositories, wanted)):
            home = collecting.Homecoming(self._repositories, self._taken(), attempt, ignore=())
            await self._in_thread(home.salvage)
            await self._has_to_show(home.to_show)
        return await self._in_thread(lambda: workspaces.make(self._repositories, self._taken(), wanted))

    async def checkout(self, candidate: CandidateId, commit: Commit, *, keep: Sequence[str] = ()) -> Workspace:
        wanted = workspaces.Wanted(
            owner=candidate, branch="", tip=commit, target="", start=None, merge=None, keep=tuple(keep)
        )
        return await self._in_thread(lambda: workspaces.make(self._repositories, self._taken(), wanted))

    async def collect(
        self,
        workspace: Workspace,
        plan: PlanId,
        attempt: AttemptId,
        *,
        base: Commit,
        message: str,
        trailers: Mapping[str, str],
        ignore: Sequence[str],
        keep_only: bool,
        token: int = 0,
    ) -> Collected:
        def collected() -> tuple[Collected, collecting.Homecoming]:
            workspaces.refuse_another_token(Path(workspace.git_dir), token)
            home = collecting.Homecoming(self._repositories, self._taken(), attempt, ignore=tuple(ignore))
            return home.collect(workspace, base=base, message=message, trailers=trailers, keep_only=keep_only), home

        found, home = await self._in_thread(collected)
        await self._has_to_show(home.to_show)
        return found

    async def merge_candidate(self, parent: Commit, other: Commit, *, message: str, at: datetime) -> Merged | Conflict:
        return await self._in_thread(
            lambda: candidates.merge_candidate(self._repositories, self._taken(), parent, other, message=message, at=at)
        )

    async def revert_candidate(
        self, parent: Commit, undone: Commit, *, message: str, at: datetime
    ) -> Merged | Conflict:
        return await self._in_thread(
            lambda: candidates.revert_candidate(
                self._repositories, self._taken(), parent, undone, message=message, at=at
            )
        )

    async def land(self, plan: PlanId, new: Commit, old: Commit) -> Moved | None:
        return await self._in_thread(lambda: candidates.land(self._repositories, plan, new, old))

    async def mirror(self, plan: PlanId, commit: Commit) -> str:
        async with self._showing:
            waiting = self._waiting.names
            try:
                shown = await self._in_thread(lambda: mirror.mirror(self._repositories, plan, commit, waiting))
            except RepositoryError:
                if not waiting:
                    raise
                await self._show_waiting()  # perhaps it is one of them that cannot be shown
                return await self._in_thread(lambda: mirror.mirror(self._repositories, plan, commit, {}))
            self._waiting.remove(waiting)
            return shown

    async def show_kept(self) -> None:
        async with self._showing:
            await self._show_waiting()

    async def _has_to_show(self, names: Mapping[str, Commit]) -> None:
        self._waiting.add(names)
        if names:
            await self._in_thread(self._waiting.sync)

    async def _show_waiting(self) -> None:
        wanted = self._waiting.names
        if wanted:
            await self._in_thread(lambda: self._show_each(wanted))
            self._waiting.remove(wanted)

    def _show_each(self, wanted: Mapping[str, Commit]) -> None:
        """Show them together; where that fails, one by one, so that one bad name stands in nobody's way.

        What cannot be shown is kept in `repo.git` all the same.
        """
        import structlog  # slow, and faces that only look import this file

        try:
            mirror.show(self._repositories, wanted)
        except RepositoryError:
            for name, commit in wanted.items():
                try:
                    mirror.show(self._repositories, {name: commit})
                except RepositoryError as error:
                    log = structlog.get_logger(__name__)
                    log.warning("reference.not_shown", reference=name, commit=commit, error=str(error))

    async def publish(self, plan: PlanId, target: str, commit: Commit) -> NotPublished | Moved | None:
        return await self._in_thread(lambda: publish.publish(self._repositories, plan, target, commit))

    async def remove(
        self, plan: PlanId, owner: AttemptId | CandidateId, *, landed: bool, ignore: Sequence[str]
    ) -> tuple[str, ...]:
        # two prunes may ask for the same: the second finds it done
        async with self._removing.setdefault(owner, Lock()):
            return await self._remove(owner, landed=landed, ignore=ignore)

    async def _remove(self, owner: AttemptId | CandidateId, *, landed: bool, ignore: Sequence[str]) -> tuple[str, ...]:
        if owner.rsplit("/", 1)[-1].startswith("~"):
            # its commit stays in `repo.git`, and nobody works in its tree
            await self._in_thread(lambda: workspaces.release(self._repositories, owner))
            return ()
        home = collecting.Homecoming(self._repositories, self._taken(), AttemptId(owner), ignore=tuple(ignore))
        salvage = await self._in_thread(home.salvage)
        if home.to_show:
            await self._has_to_show(home.to_show)
            await self.show_kept()
        if landed:
            await self._in_thread(
                lambda: workspaces.release(self._repositories, owner, has_nothing_else=home.found_untouched)
            )
        else:
            await self._in_thread(lambda: workspaces.to_trash(self._repositories, owner))
        return salvage

    async def residents(self, workspace: Workspace) -> tuple[int, ...]:
        return await self._in_thread(lambda: tuple(spares.residents(Path(workspace.path))))

    async def delete_trash(self, entries: Sequence[str]) -> int:
        place = self._repositories.place
        waiting = f"{place.spares.name}/"
        spare = [entry.removeprefix(waiting) for entry in entries if entry.startswith(waiting)]
        rest = [entry for entry in entries if not entry.startswith(waiting)]
        return await self._in_thread(lambda: trash.delete(place, rest) + spares.delete(self._repositories, spare))

    def _taken(self) -> Takeover:
        if self._takeover is None:
            self._takeover = read_takeover(self._repositories)
        return self._takeover

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await to_thread.run_sync(work, limiter=self._limiter)
