"""The daemon's life: recover, serve, run, and leave without touching what runs."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import StrEnum

import anyio
import structlog
from anyio.abc import TaskGroup

from orchestrator.core.lifecycle import may_exit
from orchestrator.core.publish import is_blocked
from orchestrator.engine.control import Control
from orchestrator.engine.loop import Loop
from orchestrator.engine.perform import Performer
from orchestrator.engine.reconcile import reconcile
from orchestrator.engine.upkeep import Upkeep
from orchestrator.model.effect import Effect
from orchestrator.model.errors import ExitCode, OrchestratorError, SupersededError
from orchestrator.model.fact import DaemonStarted, PlanSubmitted
from orchestrator.model.run import PLAN_OVER, PlanRun, State, TaskState
from orchestrator.ports import Surveyor

log = structlog.get_logger(__name__)

LOOK_AT_LOCK_S = 5.0


class Leaving(StrEnum):
    """Why a daemon ends."""

    STOPPED = "stopped"  #: what ran is finished, as `stop` asked
    DETACHED = "detached"  #: agents go on, and the next daemon adopts them
    INTERRUPTED = "interrupted"  #: Ctrl-C in the foreground; agents go on
    PLAN_OVER = "plan_over"  #: in the foreground: the plan is over
    BLOCKED = "blocked"  #: in the foreground: nothing moves without a person


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a daemon ends by itself. One in the background stays until it is told to stop."""

    exit_when_over: bool = False
    exit_when_blocked: bool = False


def outcome_of(state: State, plan: PlanRun) -> ExitCode | None:
    """The exit code that a plan has come to; None while it is under way."""
    if plan.phase in PLAN_OVER and not plan.leases and plan.candidate is None:
        landed = all(task.state is TaskState.LANDED for task in plan.tasks.values())
        return ExitCode.OK if landed else ExitCode.NOT_ALL_LANDED
    return ExitCode.NEEDS_PERSON if is_blocked(state, plan) else None


class Daemon:
    """One daemon for one repository; who makes it holds the lock.

    Args:
        is_ours: whether the lock is still held; somebody may have deleted the state folder under us.
        surveyor: looks at the world before anything is begun; None: nobody does.
    """

    def __init__(
        self, *, loop: Loop, manner: Manner, is_ours: Callable[[], bool], surveyor: Surveyor | None = None
    ) -> None:
        self._surveyor = surveyor
        self._loop = loop
        self._is_ours = is_ours
        self._manner = manner
        self._leaving = Leaving.STOPPED
        self._leave = anyio.Event()
        self._refused: OrchestratorError | None = None
        self.control: Control | None = None
        #: what goes on beside the loop for the whole life: a name for the log, and what is done, for ever
        self.beside: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        self.upkeep: Upkeep | None = None  #: what is done every so often, and once more at the end

    def leave(self, why: Leaving = Leaving.DETACHED) -> None:
        """End this daemon and nothing else."""
        if not self._leave.is_set():
            self._leaving = why
            self._leave.set()

    def fail(self, error: OrchestratorError) -> None:
        """End this daemon, and nothing else, because it must not go on."""
        self._refused = self._refused or error
        self.leave(Leaving.DETACHED)

    async def run(self, performer: Performer, started: DaemonStarted, submit: PlanSubmitted | None) -> Leaving:
        """Live until there is a reason to leave, beginning with a plan if there is one. Returns: the reason."""
        to_do = await self._loop.recover()
        started = replace(started, tokens_from=self._loop.highest_token)
        if self._surveyor is not None:
            found = await reconcile(self._loop.state, self._surveyor)
            started = replace(started, mended=found.mended, differing=found.left)
        log.info("daemon.began", pid=started.pid, events=self._loop.seq, to_do=len(to_do))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._signals, tasks)
            tasks.start_soon(self._run_loop, performer, to_do, started)
            if self.control is not None:
                tasks.start_soon(self._serve, self.control)
            for name, work in self.beside:
                tasks.start_soon(self._loop.faults.kept_up, name, work)
            tasks.start_soon(self._begin_with, submit)
            tasks.start_soon(self._loop.faults.kept_up, "its lock", self._look_at_lock)
            if self.upkeep is not None:
                tasks.start_soon(self._loop.faults.kept_up, "its upkeep", self._keep_up)
            await self._leave.wait()
            log.info("daemon.leaving", why=self._leaving.value)
            if self.control is not None:
                self.control.close()
                with anyio.move_on_after(5):
                    await self.control.closed.wait()
            tasks.cancel_scope.cancel()
        await self._loop.keep_state()
        if self.upkeep is not None and self._is_ours():
            await self.upkeep.finish()
        if self._refused is not None:
            raise self._refused
        return self._leaving

    async def _serve(self, control: Control) -> None:
        """Serve the local API; a daemon that cannot begin to is none, and one that could keeps doing so."""
        try:
            await control.serve()
        except Exception as error:
            if not control.has_served:
                raise
            self._loop.faults.note("its local API", error)
            await self._loop.faults.kept_up("its local API", control.serve)

    async def _run_loop(self, performer: Performer, to_do: list[Effect], started: DaemonStarted) -> None:
        try:
            await self._loop.run(performer, to_do, started)
        except* SupersededError as group:
            error = group.exceptions[0]
            while isinstance(error, ExceptionGroup):
                error = error.exceptions[0]
            log.error("ledger.superseded", error=str(error))
            assert isinstance(error, SupersededError)
            self.fail(error)

    async def _begin_with(self, submit: PlanSubmitted | None) -> None:
        """Take up the plan if there is one, and from then on leave when it is time to.

        Never on the word of an earlier daemon's life, which may have been told to stop.
        """
        await self._loop.begun.wait()
        if submit is not None:
            try:
                await self._loop.request(submit)
            except OrchestratorError as error:
                self.fail(error)
        await self._loop.faults.kept_up("whether to leave", self._judge)

    async def _judge(self) -> None:
        while True:
            state = self._loop.state
            if may_exit(state) and not self._loop.under_way:
                self.leave(Leaving.STOPPED)
            plan = state.active
            if plan is not None and not self._loop.under_way:
                outcome = outcome_of(state, plan)
                if self._manner.exit_when_over and outcome in {ExitCode.OK, ExitCode.NOT_ALL_LANDED}:
                    self.leave(Leaving.PLAN_OVER)
                if self._manner.exit_when_blocked and outcome is ExitCode.NEEDS_PERSON:
                    self.leave(Leaving.BLOCKED)
            await self._loop.changed()

    async def _keep_up(self) -> None:
        assert self.upkeep is not None
        await self._loop.begun.wait()  # what this daemon began with is recorded
        await self.upkeep.run()

    async def _look_at_lock(self) -> None:
        """Leave when another daemon could be started beside this one."""
        while True:
            await anyio.sleep(LOOK_AT_LOCK_S)
            if not self._is_ours():
                log.error("lock.lost", fix="the state folder was deleted or replaced while the daemon ran")
                self.leave(Leaving.DETACHED)

    async def _signals(self, tasks: TaskGroup) -> None:
        ending = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` has it
            ending.append(signal.SIGHUP)  # the terminal of a daemon in the foreground was closed
        with anyio.open_signal_receiver(*ending) as signals:
            async for number in signals:
                log.info("signal.received", signal=int(number))
                if self._leave.is_set():
                    tasks.cancel_scope.cancel()  # the second one: at once, and still safe
                self.leave(Leaving.INTERRUPTED if number == signal.SIGINT else Leaving.DETACHED)
