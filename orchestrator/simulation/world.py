"""One simulation: a modelled world, and one daemon after another in it, each put together from the production parts."""

from __future__ import annotations

import itertools
import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import anyio
import structlog
from anyio.abc import TaskGroup

from orchestrator.backends.memory import MemoryLedger, MemoryStore
from orchestrator.core.lifecycle import may_exit
from orchestrator.core.state import rebuild
from orchestrator.engine.loop import Loop
from orchestrator.engine.perform import Performer
from orchestrator.engine.projections import changed_rows
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.event import Event
from orchestrator.model.fact import DaemonStarted, Fact, PressureSeen
from orchestrator.model.guard import HoldReason
from orchestrator.model.ids import AttemptId, PlanId
from orchestrator.model.place import Place
from orchestrator.model.run import PLAN_OVER, State
from orchestrator.simulation.executor import ModelExecutor, ModelRun
from orchestrator.simulation.faults import Faults, Weather, faults_for
from orchestrator.simulation.invariants import meeting
from orchestrator.simulation.person import People, moods_for
from orchestrator.simulation.plans import FIRST_FILES
from orchestrator.simulation.programs import SECRET, ModelAdapter, ModelSurroundings, Programs, manners_for
from orchestrator.simulation.repository import ModelRepository
from orchestrator.simulation.virtual import DaemonClock, Dice, VirtualClock, run_virtually
from orchestrator.simulation.watch import Watch, WatchedStore

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
PATIENCE_S = DAY_S  #: after the faults stop, until everything is over
KEEP_EVENTS = 200  #: more often than in earnest, so that starts from a kept state are seen
LOOK_S = 30.0  #: between two looks at what the machine has left
WATCHED = (HoldReason.DISK, HoldReason.DESCRIPTORS)
MOST = 20  #: violations that are kept of one seed
ROOT = Path("/model")
PLACE = Place(
    root=ROOT,
    common_dir=ROOT / ".git",
    state_dir=ROOT / ".git/orchestrator",
    worktrees=Path("/model.worktrees"),
    socket=ROOT / "socket",
)


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of one seed."""

    seed: int
    virtual_hours: float
    violations: list[str] = field(default_factory=list)
    events: int = 0
    transactions: int = 0
    daemons: int = 0
    plans: int = 0
    digest: str = ""
    faults: tuple[str, ...] = ()
    kinds: dict[str, int] = field(default_factory=dict)  #: how many events of each type


class ModelPreparer:
    """The Preparer port: nothing has to be copied in this world."""

    def __init__(self, weather: Weather) -> None:
        self._weather = weather

    async def prepare(self, worktree: str, git_dir: str, copy: Sequence[str], link: Sequence[str]) -> None:
        await self._weather.through("prepare", lambda: None, took_s=0.01)


class World:
    """Everything that outlives a daemon, and the daemons."""

    def __init__(self, seed: int, tasks: TaskGroup, faults: Faults | None = None) -> None:
        self.outcome = Outcome(seed=seed, virtual_hours=0.0)
        self._tasks = tasks
        self._dice = Dice(f"{seed}/world")
        self.faults = faults if faults is not None else faults_for(Dice(f"{seed}/faults"))
        self.outcome.faults = self.faults.names()
        self._weather = Weather(self.faults, Dice(f"{seed}/weather"), later=self._later, die=self.crash)
        self.clock = VirtualClock()
        self.repository = ModelRepository(self._weather, self.blame, self._lives_in, FIRST_FILES)
        self.programs = Programs(self.repository, Dice(f"{seed}/programs"), manners_for(Dice(f"{seed}/manners")))
        self.executor = ModelExecutor(
            self._weather,
            Dice(f"{seed}/executor"),
            tasks,
            program=self.programs.run,
            started=self._started,
            beat_s=self._dice.one_of((60.0, 120.0, 240.0)),
        )
        self.ledger = MemoryLedger()
        self.watch = Watch(self.repository, self.executor, self.programs, self.blame)
        self.people = People(
            Dice(f"{seed}/people"),
            moods_for(Dice(f"{seed}/moods")),
            self.repository,
            self.programs,
            ask=self.ask,
            state=lambda: self.watch.state,
        )
        self._loop: Loop | None = None
        self._scope: anyio.CancelScope | None = None
        self._asking: list[anyio.CancelScope] = []
        self._calm = False
        self._short: set[HoldReason] = set()  #: of what the machine has too little

    # ---- what the models call ----

    def blame(self, code: str, words: str) -> None:
        """Something that must hold does not."""
        if len(self.outcome.violations) < MOST:
            self.outcome.violations.append(f"{code} at {anyio.current_time():.0f} s: {words}")

    def _lives_in(self, path: str) -> int:
        return self.executor.lives_in(path)

    def _later(self, delay: float, act: Callable[[], object]) -> None:
        async def go_on() -> None:
            await anyio.sleep(delay)
            with suppress(OrchestratorError, OSError):  # nobody is there to hear it
                act()

        self._tasks.start_soon(go_on)

    def _started(self, run: ModelRun) -> None:
        """A program begins: the ledger knows of it, and no other that runs may write what it may."""
        name = run.spec.run_id
        plans = self.watch.state.plans
        plan = plans.get(PlanId(name.split("/", 1)[0]))
        known = plan.runs.get(name) if plan is not None else None
        if plan is None or known is None or known.supervisor != run.supervisor:
            self.blame("I10", f"{name} is started, and the ledger does not know it")
            return
        attempt = plan.attempts.get(AttemptId(known.owner))
        if attempt is None:
            return
        for other in self.executor.alive():
            theirs = plan.attempts.get(AttemptId(other.spec.run_id.rsplit("/", 1)[0]))
            if other is run or theirs is None or theirs.task_id not in plan.tasks:
                continue
            if theirs.task_id == attempt.task_id:
                self.blame("I1", f"{attempt.id} and {theirs.id} run at once")
            elif path := meeting(plan.tasks[attempt.task_id].task.files, plan.tasks[theirs.task_id].task.files):
                self.blame("I3", f"{attempt.id} and {theirs.id} run at once, and both may write {path}")

    # ---- daemons ----

    def crash(self) -> None:
        """The daemon is gone from one instant to the next."""
        if self._scope is not None:
            self._scope.cancel()

    async def ask(self, fact: Fact) -> bool:
        """Hand a request in, as the command line does."""
        loop = self._loop
        if loop is None:
            return False
        with anyio.CancelScope() as scope:
            self._asking.append(scope)
            try:
                seq = await loop.request(fact)
                if seq > len(self.ledger.events):
                    self.blame("I8", f"{type(fact).__name__} was acknowledged at {seq}, which is not in the ledger")
                return True
            except (OrchestratorError, anyio.ClosedResourceError, anyio.BrokenResourceError):
                return False
            except Exception as error:
                self.blame("I8", f"{type(fact).__name__} ended in {error!r}")
                return False
            finally:
                self._asking.remove(scope)
        return False

    async def daemons(self) -> None:
        """One after the other, for ever."""
        while True:
            self.outcome.daemons += 1
            await self._life()
            long = self._dice.chance(0.1) and not self._calm
            await anyio.sleep(self._dice.about(900) if long else self._dice.between(0.5, 5))

    async def _life(self) -> None:
        self.executor.begin_life()
        store = WatchedStore(self.ledger, self._weather, self.watch)
        clock = DaemonClock(self.clock, self.watch.at)
        dice = Dice(f"{self.outcome.seed}/daemon-{self.outcome.daemons}")
        loop = Loop(store=store, executor=self.executor, clock=clock, chance=dice, place=PLACE)
        performer = Performer(
            place=PLACE,
            repository=self.repository,
            preparer=ModelPreparer(self._weather),
            executor=self.executor,
            adapters={"model": ModelAdapter()},
            surroundings=ModelSurroundings(),
            clock=clock,
            state=lambda: loop.state,
        )
        began = DaemonStarted(
            pid=self.outcome.daemons, boot_id=self.executor.boot_id, version="0", quiet=timedelta(minutes=10)
        )
        with anyio.CancelScope() as scope:
            self._scope = scope
            if self._dice.chance(self._weather.faults.crashes_in_recovery):
                self._tasks.start_soon(self._crash_soon, scope, self._dice.between(0.0, 1.0))
            try:
                await self.repository.open()
                to_do = await loop.recover()
                if loop.state != self.watch.state:
                    self.blame("I9", "the state after a restart is not the one that was recorded")
                self._loop = loop
                began = replace(began, tokens_from=loop.highest_token)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(loop.run, performer, to_do, began)
                    tasks.start_soon(self._judge, loop, scope)
                    tasks.start_soon(self._care, loop)
                    tasks.start_soon(self._look_at_machine, loop)
            except (OrchestratorError, OSError):
                pass  # it does not come up; whoever needs it starts it again
            except Exception as error:
                self.blame("I8", f"the daemon ended by {error!r}: {getattr(error, 'exceptions', '')}")
        self._loop = self._scope = None
        for asking in list(self._asking):
            asking.cancel()
        await store.close()

    async def _crash_soon(self, scope: anyio.CancelScope, delay: float) -> None:
        await anyio.sleep(delay)
        scope.cancel()

    async def _judge(self, loop: Loop, scope: anyio.CancelScope) -> None:
        """As the production daemon: leave when it was told to and may."""
        await loop.begun.wait()
        while not (may_exit(loop.state) and not loop.under_way):
            await loop.changed()
        await loop.keep_state()
        scope.cancel()

    async def _care(self, loop: Loop) -> None:
        """Keep the state for quick starts, and have the rows compared every day."""
        for hour in itertools.count():
            await loop.keep_state(at_least=KEEP_EVENTS)
            if hour % 24 == 23:
                await loop.compare_rows()
            await anyio.sleep(HOUR_S)

    async def _look_at_machine(self, loop: Loop) -> None:
        """As the production watchers: tell of every shortage, and of its end."""
        await loop.begun.wait()
        while True:
            for reason in WATCHED:
                if (reason in self._short) is not (reason in loop.state.holds):
                    detail = "too little is left" if reason in self._short else None
                    await loop.deliver(PressureSeen(reason=reason, detail=detail))
            await anyio.sleep(LOOK_S)

    # ---- nature ----

    async def _now_and_then(self, rate: float, each_s: float, act: Callable[[], None]) -> None:
        """Do something so many times in each span, at random moments, until it becomes calm."""
        while rate:
            await anyio.sleep(each_s / rate * self._dice.between(0.1, 1.9))
            if self._calm:
                return
            act()

    def nature(self) -> None:
        """Everything that happens by itself."""
        faults = self.faults
        for rate, each_s, act in (
            (faults.crashes, HOUR_S, self.crash),
            (faults.reboots, DAY_S, self._reboot),
            (faults.clock_jumps, DAY_S, self._jump),
            (faults.sleeps, DAY_S, lambda: self.clock.move(timedelta(hours=1))),
            (faults.target_moves, HOUR_S, self._move_target),
            (faults.strangers_move, DAY_S, self._move_branch),
            (faults.full_disks, DAY_S, self._fill_disk),
            (faults.shortages, DAY_S, self._run_short),
        ):
            self._tasks.start_soon(self._now_and_then, rate, each_s, act)

    def _reboot(self) -> None:
        self.crash()
        self.executor.reboot()

    def _jump(self) -> None:
        self.clock.move(timedelta(seconds=self._dice.one_of((-7200, -600, -61, 61, 599, 601, 3600, 86400))))

    def _move_target(self) -> None:
        path = f"src/{self._dice.one_of('abcdefghijkl')}.py"
        if self._dice.chance(0.2):
            self.repository.dirty[path] = "uncommitted"
            return
        content = f"by a person at {anyio.current_time():.0f}"
        self.repository.commit_to_target("main", {path: content})

    def _move_branch(self) -> None:
        """Somebody moves the plan's branch in our own repository, and moves it back when they are told."""
        plan = self.watch.state.active
        if plan is None or plan.tip is None or plan.id not in self.repository.plans:
            return
        here = self.repository.plans[plan.id]
        tree = {**self.repository.objects[here].tree, "stranger": "was here"}
        stranger = self.repository.objects.commit((here,), tree, "a stranger's")
        self.repository.plans[plan.id] = stranger
        self.repository.strange[plan.id] = here

        async def back() -> None:
            await anyio.sleep(30)
            if self.repository.plans[plan.id] == stranger:
                self.repository.plans[plan.id] = here
            self.repository.strange.pop(plan.id, None)

        self._tasks.start_soon(back)

    def _fill_disk(self) -> None:
        self._weather.full = True

        async def make_room() -> None:
            await anyio.sleep(self._dice.about(300))
            self._weather.full = False

        self._tasks.start_soon(make_room)

    def _run_short(self) -> None:
        reason = self._dice.one_of(WATCHED)
        self._short.add(reason)

        async def recover() -> None:
            await anyio.sleep(self._dice.about(600))
            self._short.discard(reason)

        self._tasks.start_soon(recover)

    # ---- the whole ----

    async def live(self, hours: float) -> None:
        """So many hours with faults, then as long as it takes until everything is over, then the last questions."""
        self._tasks.start_soon(self.daemons)
        self._tasks.start_soon(self.people.live)
        self.nature()
        await anyio.sleep(hours * HOUR_S)
        self._calm = True
        self._short.clear()
        self._weather.calm()
        self.programs.calm()
        self.people.ending = True
        for run in self.executor.runs.values():
            run.undying_until = 0.0
        with anyio.move_on_after(PATIENCE_S):
            while not self._is_over():
                await anyio.sleep(60)
        self._last_questions(await MemoryStore(self.ledger).events())
        self.outcome.virtual_hours = anyio.current_time() / HOUR_S

    def _is_over(self) -> bool:
        plan = self.watch.state.active
        if plan is None:
            return True
        busy = plan.leases or plan.runs or plan.candidate is not None or plan.publishing or plan.undoing
        return plan.phase in PLAN_OVER and not busy and not self.watch.state.open_items()

    def _last_questions(self, events: list[tuple[int, datetime, Event]]) -> None:
        state = self.watch.state
        plan = state.active
        if not self._is_over() and plan is not None:
            states = {str(name): task.state.value for name, task in plan.tasks.items()}
            items = [(item.id, item.kind.value, item.trigger) for item in state.open_items()]
            effects = [key for key in self.watch.to_do if not key.startswith("lease")][:5]
            self.blame("I17", f"{plan.id} is {plan.phase} and never ends: {states}, open: {items}, to do: {effects}")
        if alive := [run.spec.run_id for run in self.executor.alive()]:
            self.blame("I10", f"processes are left: {alive}")
        self._replay(state, events)
        self._history(state)
        kept = self.repository.contents() | self.repository.given_up
        for (attempt, path), content in self.programs.written.items():
            if content not in kept:
                self.blame("I11", f"what {attempt} wrote in {path} is nowhere")

    def _replay(self, state: State, events: list[tuple[int, datetime, Event]]) -> None:
        """What is in the ledger, read anew, gives the state and the rows."""
        try:
            same = rebuild(events) == state
        except (AssertionError, LookupError) as error:
            self.blame("I9", f"the events cannot be folded: {error!r}")
            return
        if not same:
            self.blame("I9", "the events do not give the state that was recorded")
        if SECRET in str(self.ledger.tables):
            self.blame("I18", "a row holds a secret")
        for table in ("plan", "task", "item"):
            expected = {
                row.key: json.loads(json.dumps(row.data)) for row in changed_rows(State(), state) if row.table == table
            }
            found = {key: json.loads(text) for key, (_, _, text) in self.ledger.tables[table].items()}
            wrong = [key for key in expected if found.get(key) != expected[key]]
            if wrong:
                self.blame("I9", f"rows of {table} are not what the events say: {wrong[:5]}")

    def _history(self, state: State) -> None:
        """The branch of the active plan, first parents back to its beginning, is what the ledger recorded, in order."""
        plan = state.active
        if plan is None or plan.tip is None:
            return
        began = self.repository.began.get((plan.id, plan.number))
        line = self.repository.objects.first_parents(self.repository.plans[plan.id], began[0]) if began else None
        recorded = self.watch.landed.get((plan.id, plan.number), [])
        if line is None or list(reversed(line)) != recorded:
            self.blame("I7", f"the branch of {plan.id} is not the {len(recorded)} commits that were recorded")


@contextmanager
def _logs_watched(tell: Callable[[str], None]) -> Iterator[None]:
    """Nothing is logged; but where the loop took an error of ours for a fact that changes nothing, that is told."""
    before = structlog.get_config()

    def look(_: object, __: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if entry["event"] in {"loop.failed", "effect.failed"} and not isinstance(sys.exc_info()[1], OSError):
            tell(f"{entry['event']} {entry.get('fact', entry.get('effect'))}: {traceback.format_exc(limit=-3)}")
        raise structlog.DropEvent

    structlog.configure(
        processors=[look],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)


def simulate_seed(seed: int, hours: float = 24.0, faults: Faults | None = None) -> Outcome:
    """Run one seed. The same seed gives the same ledger, byte for byte.

    Args:
        hours: virtual ones, with faults; the time until everything is over comes on top.
        faults: None: those of the seed.
    """
    found: list[World] = []

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            world = World(seed, tasks, faults)
            found.append(world)
            await world.live(hours)
            tasks.cancel_scope.cancel()

    with _logs_watched(lambda words: found[0].blame("I8", words)):
        run_virtually(main)
    world = found[0]
    outcome, watch = world.outcome, world.watch
    outcome.events, outcome.transactions, outcome.digest = watch.events, watch.transactions, watch.digest
    outcome.plans, outcome.kinds = world.people.plans, dict(watch.kinds)
    return outcome
