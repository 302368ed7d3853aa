"""A model of supervised runs: supervisors that outlive the daemon, programs below them, folders that tell of both."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import TaskGroup

from orchestrator.model.agent import AgentReport
from orchestrator.model.attempt import ExitWhy, ProcessId, RunExit, RunLife
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.ids import RunId
from orchestrator.ports import BeatSeen, ExitSeen, QuietSeen, ReportSeen, RunSignal, RunSpec
from orchestrator.simulation.faults import Weather
from orchestrator.simulation.virtual import Dice

LINE = 100  #: bytes of one line in a model's `reports` file
LOOK_S = 0.25  #: between something and its being seen
LOST_S = 1.0  #: after the end of a supervisor without a record, until that is believed


@dataclass(slots=True, eq=False)
class ModelRun:
    """A run folder, and the processes that belong to it."""

    spec: RunSpec
    supervisor: ProcessId
    life: int  #: of the daemon that holds its go-byte
    waits: bool = True  #: for the go-byte
    locked: bool = True  #: its supervisor lives
    silent: bool = False  #: the supervisor hangs: it shows no life, records nothing and stops nothing
    alive: bool = False  #: its program runs
    stubborn: bool = False  #: the program ignores TERM
    undying_until: float = 0.0  #: not even KILL ends the program before
    asks: bool = False  #: the program waits for a person, and its time stands still
    why: ExitWhy | None = None  #: it is being ended, and this is why; None: it is not
    exit: RunExit | None = None  #: the exit record; None: there is none
    tail: str = ""
    reports: list[AgentReport] = field(default_factory=list)
    answers: list[Mapping[str, Any]] = field(default_factory=list)
    sign_at: float = 0.0  #: its latest sign of progress
    changed: anyio.Event = field(default_factory=anyio.Event)
    program: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    def wake(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()

    def report(self, report: AgentReport) -> None:
        """`orch-agent` writes a line."""
        self.reports.append(report)
        self.sign_at = anyio.current_time()
        self.wake()

    async def ask(self) -> None:
        """The program waits for an answer, as long as it takes."""
        before, deadline = len(self.answers), self.program.deadline
        left = deadline - anyio.current_time()
        self.asks, self.program.deadline = True, math.inf
        while len(self.answers) == before:
            await self.changed.wait()
        self.asks, self.program.deadline = False, anyio.current_time() + left


Program = Callable[[ModelRun], Awaitable[RunExit]]


class ModelExecutor:
    """The Executor port over coroutines. One for the life of the machine; `life` counts its daemons.

    Args:
        program: what a run does, until its end.
        started: is told of every program, before it begins.
        beat_s: a supervisor shows life this often.
    """

    def __init__(
        self,
        weather: Weather,
        dice: Dice,
        tasks: TaskGroup,
        *,
        program: Program,
        started: Callable[[ModelRun], None],
        beat_s: float,
    ) -> None:
        self._weather = weather
        self._dice = dice
        self._tasks = tasks
        self._program = program
        self._started = started
        self._beat_s = beat_s
        self._pids = 100
        self.runs: dict[str, ModelRun] = {}  #: by run folder
        self._alive: dict[str, ModelRun] = {}  #: those whose program has a process
        self.life = 0
        self.boots = 1

    @property
    def boot_id(self) -> str:
        return f"boot-{self.boots}"

    def alive(self) -> list[ModelRun]:
        """Runs whose program has a process."""
        return list(self._alive.values())

    def lives_in(self, path: str) -> int:
        return sum(run.spec.cwd == path for run in self._alive.values())

    # ---- the port ----

    async def submit(self, spec: RunSpec) -> ProcessId:
        life = self.life
        with anyio.move_on_after(5.0):
            while (run := self.runs.get(spec.run_dir)) is not None and run.waits and run.locked and run.life != life:
                await run.changed.wait()
        return await self._weather.through("submit", lambda: self._submit(spec, life), took_s=0.1)

    async def release(self, run_id: RunId, run_dir: str) -> None:
        life = self.life
        await self._weather.through("release", lambda: self._release(run_dir, life), writes=False, took_s=0.01)

    async def signals(
        self, run_id: RunId, run_dir: str, *, reports_from: int, quiet_after_s: float
    ) -> AsyncIterator[RunSignal]:
        run = self.runs.get(run_dir)
        if run is None:
            await anyio.sleep(LOST_S)
            yield ExitSeen(exit=RunExit(why=ExitWhy.LOST, detail="its run folder is not there"), tail="")
            return
        seen, quiet, faults = reports_from // LINE, False, self._weather
        beat_at = anyio.current_time() + self._beat_s * self._dice.draw()
        while True:
            if self._dice.chance(faults.faults.unreadable):
                raise OSError(errno.EIO, os.strerror(errno.EIO), run_dir)
            over = not run.locked
            while seen < len(run.reports):
                seen += 1
                yield ReportSeen(report=run.reports[seen - 1], offset=seen * LINE)
                if self._dice.chance(faults.faults.doubled):
                    again = self._dice.count(1, seen)
                    yield ReportSeen(report=run.reports[again - 1], offset=again * LINE)
            if over:
                break
            now = anyio.current_time()
            if now >= beat_at:
                beat_at = now + self._beat_s
                if not run.silent:
                    yield BeatSeen()
            silent = now - run.sign_at > quiet_after_s and not run.asks
            if silent is not quiet:
                quiet = silent
                yield QuietSeen(quiet=quiet)
            with anyio.move_on_after(max(LOOK_S, beat_at - now)):
                await run.changed.wait()
            await anyio.sleep(LOOK_S * self._dice.draw())
        if run.exit is None:
            await anyio.sleep(LOST_S)
            while run.exit is None and self._kill(run_dir):
                await anyio.sleep(LOST_S)
        yield ExitSeen(exit=run.exit or RunExit(why=ExitWhy.LOST, detail="no exit record"), tail=run.tail)

    async def send(self, run_id: RunId, run_dir: str, answer: Mapping[str, Any]) -> None:
        await self._weather.through("send", lambda: self._append(run_dir, answer), took_s=0.01)

    async def stop(self, run_id: RunId, run_dir: str) -> None:
        await self._weather.through("stop", lambda: self._stop(run_dir), took_s=0.01, writes=False)

    async def probe(self, run_id: RunId, run_dir: str) -> RunLife:
        return await self._weather.through("probe", lambda: self._probe(run_dir), took_s=0.01, writes=False)

    async def kill(self, run_id: RunId, run_dir: str) -> tuple[int, ...]:
        return await self._weather.through("kill", lambda: self._kill(run_dir), took_s=0.1, writes=False)

    # ---- what befalls it ----

    def begin_life(self) -> None:
        """A new daemon: what waited for the last one's go-byte will never start, and says so soon."""
        self.life += 1
        for run in self.runs.values():
            if run.waits and run.locked and run.life != self.life:
                self._tasks.start_soon(self._never, run, self._dice.between(0.0, 1.0))

    def reboot(self) -> None:
        """Every process is gone, and nobody has written a record of it."""
        self.boots += 1
        for run in self.runs.values():
            self._end(run)

    # ---- the model ----

    def _submit(self, spec: RunSpec, life: int) -> ProcessId:
        run = self.runs.get(spec.run_dir)
        unused = run is not None and not run.locked and run.exit is not None and run.exit.why is ExitWhy.NEVER_STARTED
        if run is None or unused:
            self._pids += 1
            who = ProcessId(pid=self._pids, start_time=self._pids, boot_id=self.boot_id)
            run = self.runs[spec.run_dir] = ModelRun(spec=spec, supervisor=who, life=life)
            run.sign_at = anyio.current_time()
            if life != self.life:
                self._tasks.start_soon(self._never, run, self._dice.between(0.0, 1.0))
        return run.supervisor

    async def _never(self, run: ModelRun, delay: float) -> None:
        await anyio.sleep(delay)
        if run.waits and run.locked:
            run.waits, run.locked = False, False
            run.exit = RunExit(why=ExitWhy.NEVER_STARTED)
            run.wake()

    def _release(self, run_dir: str, life: int) -> None:
        run = self.runs.get(run_dir)
        if run is None or not run.waits or not run.locked or run.life != life or life != self.life:
            return
        run.waits, run.alive = False, True
        self._started(run)
        self._alive[run_dir] = run
        self._tasks.start_soon(self._run, run)
        faults, dice = self._weather.faults, self._dice
        lost, silent, undying = (
            dice.chance(p) for p in (faults.lost_supervisors, faults.silent_supervisors, faults.undying)
        )
        if undying:
            run.undying_until = anyio.current_time() + dice.between(60, 7200)
        if lost or silent:
            self._tasks.start_soon(self._lose, run, dice.about(600), silent)

    async def _run(self, run: ModelRun) -> None:
        """A supervisor, from the go-byte to the exit record."""
        ended: RunExit | None = None
        run.program.deadline = anyio.current_time() + run.spec.timeout_s
        with run.program:
            ended = await self._program(run)
        if ended is None and run.why is None:
            run.why = ExitWhy.TIMEOUT
            if run.stubborn:
                await anyio.sleep(run.spec.grace_s)
        if not run.alive:
            return  # killed, and so was its supervisor
        if anyio.current_time() < run.undying_until and ended is None:
            await anyio.sleep(run.undying_until - anyio.current_time())
        run.alive = False
        self._alive.pop(run.spec.run_dir, None)
        if run.locked and not run.silent:
            why = run.why or ExitWhy.EXIT
            run.exit = ended if ended is not None else RunExit(why=why, code=-15)
            run.locked = False
        run.wake()

    async def _lose(self, run: ModelRun, delay: float, silent: bool) -> None:
        await anyio.sleep(delay)
        if not run.locked:
            return
        if silent:
            run.silent = True
        elif self._dice.chance(0.8):
            self._end(run)  # its program dies with it
        else:
            run.locked = False
        run.wake()

    def _end(self, run: ModelRun) -> None:
        run.locked = run.waits = run.alive = False
        self._alive.pop(run.spec.run_dir, None)
        run.program.cancel()
        run.wake()

    def _append(self, run_dir: str, answer: Mapping[str, Any]) -> None:
        run = self._there(run_dir)
        if answer not in run.answers:
            run.answers.append(answer)
            run.wake()

    def _stop(self, run_dir: str) -> None:
        run = self.runs.get(run_dir)
        if run is None or not run.locked or run.silent or run.why is not None:
            return
        run.why = ExitWhy.STOPPED
        if run.waits:
            self._tasks.start_soon(self._never, run, 0.1)
        elif run.stubborn:
            self._tasks.start_soon(self._stop_late, run)
        else:
            run.program.cancel()

    async def _stop_late(self, run: ModelRun) -> None:
        await anyio.sleep(run.spec.grace_s)
        run.program.cancel()

    def _probe(self, run_dir: str) -> RunLife:
        run = self.runs.get(run_dir)
        if run is None or not run.locked:
            return RunLife.GONE
        return RunLife.SILENT if run.silent else RunLife.ALIVE

    def _kill(self, run_dir: str) -> tuple[int, ...]:
        run = self.runs.get(run_dir)
        if run is None:
            return ()
        if run.alive and anyio.current_time() < run.undying_until:
            run.why = run.why or ExitWhy.STOPPED
            run.program.cancel()  # it does nothing more, and is still there
            return (run.supervisor.pid + 10_000,)
        self._end(run)
        return ()

    def _there(self, run_dir: str) -> ModelRun:
        if run_dir not in self.runs:
            raise OrchestratorError(f"there is no run folder {run_dir}")
        return self.runs[run_dir]
