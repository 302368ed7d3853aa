"""The outside of the engine, played: a repository, an executor and what else an effect needs, all of it going well."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio

from orchestrator.model.agent import AgentPaths, Briefing, Launch
from orchestrator.model.attempt import ExitWhy, ProcessId, RunExit, Workspace
from orchestrator.ports import Collected, ExitSeen, Merged, RunSignal, RunSpec


class PlayedRepository:
    """Every piece of work merges, lands and is published."""

    def __init__(self) -> None:
        self.landed: list[str] = []
        self.published: list[str] = []

    async def begin_branch(self, plan: str, number: int, target: str) -> tuple[str, str]:
        return "c0", "c0"

    async def target_commit(self, target: str) -> str:
        return "c0"

    async def contains(self, commit: str, ancestor: str) -> bool:
        return ancestor == "c0"

    async def make_workspace(self, plan: str, task: str, attempt: str, **_: Any) -> Workspace:
        return Workspace(path=f"/w/{attempt}", git_dir="/g", branch=f"refs/heads/{attempt}")

    async def collect(self, workspace: Workspace, plan: str, attempt: str, **_: Any) -> Collected:
        task = attempt.split("/")[1].rsplit("-", 1)[0]
        return Collected(
            head=f"head-{attempt}",  # type: ignore[arg-type]
            descends=True,
            changed=(f"src/{task}.py",),
            committed_by_us=False,
        )

    async def changed(self, base: str, head: str) -> tuple[str, ...]:
        return ()

    async def merge_candidate(self, parent: str, other: str, **_: Any) -> Merged:
        return Merged(commit=f"{parent}+{other}", tree="t")  # type: ignore[arg-type]

    async def checkout(self, candidate: str, commit: str, **_: Any) -> Workspace:
        return Workspace(path=f"/w/{candidate}", git_dir="/g", branch="")

    async def land(self, plan: str, new: str, old: str) -> None:
        self.landed.append(new)

    async def mirror(self, plan: str, commit: str) -> str:
        return "refs/heads/x"

    async def show_kept(self) -> None:
        """Nothing to show."""

    async def publish(self, plan: str, target: str, commit: str) -> None:
        self.published.append(commit)

    async def remove(self, plan: str, owner: str, **_: Any) -> tuple[str, ...]:
        return ()

    async def delete_trash(self, entries: Any) -> int:
        return 0


class PlayedExecutor:
    """Every run ends well as soon as it has its go."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self._goes: dict[str, anyio.Event] = {}

    def _go(self, run_id: str) -> anyio.Event:
        return self._goes.setdefault(run_id, anyio.Event())

    async def submit(self, spec: RunSpec) -> ProcessId:
        self.started.append(spec.run_id)
        return ProcessId(pid=len(self.started), start_time=1, boot_id="b")

    async def release(self, run_id: str, run_dir: str) -> None:
        self._go(run_id).set()

    async def signals(self, run_id: str, run_dir: str, **_: Any) -> AsyncIterator[RunSignal]:
        await self._go(run_id).wait()
        yield ExitSeen(exit=RunExit(why=ExitWhy.EXIT, code=0), tail="")

    async def send(self, run_id: str, run_dir: str, answer: Any) -> None:
        """Nobody asks here."""

    async def stop(self, run_id: str, run_dir: str) -> None:
        self._go(run_id).set()


class PlayedAdapter:
    """A program that needs nothing."""

    name = "demo"
    needs_run = False

    def launch(self, spec: Any, briefing: Briefing, paths: AgentPaths) -> Launch:
        return Launch(argv=("true",))

    def briefing_text(self, briefing: Briefing) -> str:
        return "do it"

    def translator(self) -> None:
        return None


class PlayedSurroundings:
    """An empty environment."""

    def environment(self, names: Any, values: Any) -> dict[str, str]:
        return dict(values)

    def secrets(self, names: Any) -> tuple[str, ...]:
        return ()

    def identity(self) -> dict[str, str]:
        return {}

    def author(self) -> str:
        return "A <a@example.com>"


class PlayedPreparer:
    async def prepare(self, worktree: str, git_dir: str, copy: Any, link: Any) -> None:
        """There is nothing to copy."""


class Failing:
    """A port of which one method raises, the first `times` times it is called."""

    def __init__(self, port: Any, method: str, times: int, error: Callable[[], Exception] | None = None) -> None:
        self._port = port
        self._method = method
        self._left = times
        self._error = error or (lambda: RuntimeError(f"{method} is broken"))
        self.raised = 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._port, name)
        if name != self._method:
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._left:
                self._left -= 1
                self.raised += 1
                raise self._error()
            return real(*args, **kwargs)

        return call
