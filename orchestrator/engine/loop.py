"""The only loop and the only writer: fact -> decide -> record -> perform.

Facts that are ready together share one transaction. Callers are answered, and effects begun, after the commit.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskGroup

from orchestrator.core.lifecycle import decide
from orchestrator.core.state import rebuild
from orchestrator.engine.faults import Faults
from orchestrator.engine.perform import Performer, failed
from orchestrator.engine.projections import changed_rows
from orchestrator.engine.timers import Timers
from orchestrator.engine.trouble import fault_of, is_fault, is_full
from orchestrator.model.attempt import Run, RunKind, RunState
from orchestrator.model.effect import Effect, WakeAt
from orchestrator.model.errors import (
    FencedError,
    InternalError,
    OrchestratorError,
    SupersededError,
    UnsettledError,
)
from orchestrator.model.event import Event, wire_name
from orchestrator.model.fact import (
    AgentReported,
    AttemptBeat,
    AttemptQuiet,
    Done,
    Fact,
    FaultSeen,
    RowsDiffered,
    RunEnded,
)
from orchestrator.model.ids import AttemptId
from orchestrator.model.place import Place
from orchestrator.model.run import State
from orchestrator.ports import Batch, BeatSeen, Chance, Clock, Executor, ExitSeen, QuietSeen, ReportSeen, Row, Store

log = structlog.get_logger(__name__)

BATCH = 256  #: facts in one transaction at most
PAUSE_S = 1.0  #: before the ledger is tried again
LONGEST_PAUSE_S = 30.0  #: before a run is looked at again that could not be watched
TRIES = 3  #: of a batch that fails by an error of ours, before each fact of it is taken by itself
ASIDE_S = 30.0  #: before a fact that fails even by itself is tried again; others go on meanwhile
KEEP_EVERY = 20_000  #: events, after which the state is kept once more
KEYS_TOLD = 20  #: of rows that differed
KEEP_AT_END = 2_000  #: events that are worth it when the daemon ends


@dataclass(slots=True)
class _Delivery:
    """A fact on its way in, the effect it answers, and who waits for the outcome."""

    fact: Fact
    key: str | None = None
    done: anyio.Event | None = None
    error: Exception | None = None
    seq: int = 0
    tries: int = 0  #: that ended in an error of ours


@dataclass(slots=True)
class _Outcome:
    events: list[Event] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


class Loop:
    """The daemon's heart."""

    def __init__(
        self,
        *,
        store: Store,
        executor: Executor,
        clock: Clock,
        chance: Chance,
        place: Place,
    ) -> None:
        self._store = store
        self._executor = executor
        self._clock = clock
        self._chance = chance
        self._place = place
        self._send, self._receive = anyio.create_memory_object_stream[_Delivery](math.inf)
        self._timers = Timers(clock, self._deliver)
        self.faults = Faults(request=self.request, state=lambda: self.state, clock=clock)
        #: gives up what was put aside for a full disk; says whether there was any
        self.make_room: Callable[[], Awaitable[bool]] | None = None
        self._recovered = False
        self._watched: set[tuple[str, int]] = set()
        self._performer: Performer | None = None
        self._changed = anyio.Event()
        self.under_way = 0  #: effects that are being carried out
        self.begun = anyio.Event()  #: this daemon's first transaction is recorded
        self.state = State()
        self.seq = 0
        self.highest_token = 0  #: ever given out, as the ledger knows it at the start
        self._kept_seq = 0  #: the last event in the state that was kept
        self._keeping = False
        self._mend: tuple[Row, ...] = ()  #: rows that are kept otherwise than they should be
        self._compare = False  #: the rows are to be looked at

    # ---- what others call ----

    async def request(self, fact: Fact) -> int:
        """Hand in a fact and wait until it is recorded.

        Returns: the sequence number of the ledger's last event then.
        Raises: OrchestratorError when it is refused.
        """
        delivery = _Delivery(fact, done=anyio.Event())
        assert delivery.done is not None
        await self._send.send(delivery)
        await delivery.done.wait()
        if delivery.error is not None:
            raise delivery.error
        return delivery.seq

    async def changed(self) -> None:
        """Wait for the next transaction."""
        await self._changed.wait()

    def wake(self) -> None:
        """Let everybody who waits for a change look again."""
        self._changed.set()
        self._changed = anyio.Event()

    async def recover(self) -> list[Effect]:
        """Rebuild the state from the ledger. Returns: the effects that nobody has answered yet."""
        kept = await self._store.snapshot()
        before = kept if kept is not None else State()
        events = await self._store.events(after_seq=before.seq)
        self.state = rebuild(events, before)
        self.seq, self._kept_seq = self.state.seq, before.seq
        self.highest_token = await self._store.highest_token()
        self._recovered = True
        return await self._store.to_do()

    async def keep_state(self, *, at_least: int = KEEP_AT_END) -> None:
        """Keep the state for the next start, if so many events have come since it was kept last."""
        state = self.state
        if self._keeping or state.seq - self._kept_seq < at_least:
            return
        self._keeping = True
        try:
            await self._store.keep_snapshot(state)
            self._kept_seq = state.seq
        except (OSError, OrchestratorError) as error:
            log.warning("state.not_kept", error=str(error), why="the next start takes longer, and nothing is lost")
        except Exception as error:
            self.faults.note("keeping the state for the next start", error)
        finally:
            self._keeping = False

    async def compare_rows(self) -> None:
        """Have the rows beside the events compared with what they should be, and mended."""
        self._compare = True
        await self._deliver(Done(), None)

    async def run(self, performer: Performer, to_do: list[Effect], first: Fact) -> None:
        """Run until cancelled. `first` opens this daemon's life; `to_do` is what the last one left undone."""
        self._performer = performer
        async with self._send, self._receive, anyio.create_task_group() as tasks:
            await self._deliver(first, None)
            await self._look_at_rows()
            tasks.start_soon(self.faults.run)
            tasks.start_soon(self.faults.kept_up, "its timers", self._timers.run)
            self._begin(tasks, to_do)
            self._watch_new(tasks)
            async for delivery in self._receive:
                batch = [delivery]
                while len(batch) < BATCH:
                    try:
                        batch.append(self._receive.receive_nowait())
                    except anyio.WouldBlock:
                        break
                while batch:
                    # what was refused by an error of ours is taken by itself, so that it holds up nobody else
                    size = 1 if batch[0].tries >= TRIES else len(batch)
                    batch = await self._take(tasks, batch[:size]) + batch[size:]
                if self._compare:
                    await self._look_at_rows()
                if self.state.seq - self._kept_seq >= KEEP_EVERY and not self._keeping:
                    tasks.start_soon(self.keep_state)

    # ---- one transaction ----

    async def _deliver(self, fact: Fact, key: str | None) -> None:
        await self._send.send(_Delivery(fact, key))

    async def deliver(self, fact: Fact) -> None:
        """Hand in what the world told, without waiting for what comes of it."""
        await self._deliver(fact, None)

    async def _take(self, tasks: TaskGroup, batch: list[_Delivery]) -> list[_Delivery]:
        """Decide and record. Returns: what has to be taken again, in the same order, because the ledger refused it."""
        outcome = _Outcome()
        taken = list(batch)
        try:
            now = self._clock.now()
            chances = [self._chance.draw() for _ in batch]
            taken, state = self._decided(batch, now, chances, outcome)
            if not taken:
                return []
            record = Batch(
                at=now,
                events=outcome.events,
                rows=(*self._mend, *changed_rows(self.state, state)),
                effects=outcome.effects,
                done=outcome.keys,
            )
            if record.events or record.rows or record.effects or record.done:
                self.seq = await self._recorded(record)
        except SupersededError:
            raise
        except FencedError as error:
            return await self._fenced(tasks, taken, error)
        except OrchestratorError as error:
            return await self._not_recorded(taken, error)
        except Exception as error:
            return await self._at_fault(tasks, taken, error)
        self.state, self._mend = state, ()
        try:
            if outcome.events:
                _log_events(outcome.events)
            self._begin(tasks, outcome.effects)
            self._watch_new(tasks)
        except Exception as error:
            self.faults.note("what follows a transaction", error)
        for delivery in taken:
            delivery.seq = self.seq
            if delivery.done is not None:
                delivery.done.set()
        self.begun.set()
        self.wake()
        return []

    def _decided(
        self, batch: list[_Delivery], now: datetime, chances: list[float], outcome: _Outcome
    ) -> tuple[list[_Delivery], State]:
        """What each fact leads to, one after the other. Returns: those that lead to something, and the state then."""
        state = self.state
        taken: list[_Delivery] = []
        for delivery, chance in zip(batch, chances, strict=True):
            try:
                decision = decide(state, delivery.fact, now, chance)
            except OrchestratorError as error:
                delivery.error = error
                if delivery.done is not None:
                    delivery.done.set()
                continue
            except Exception as error:
                # our bug: this fact changes nothing, the rest goes on; its effect stays to do for a mended daemon
                if not isinstance(delivery.fact, FaultSeen):
                    self.faults.note(f"the fact {type(delivery.fact).__name__}", error, _owner_of(delivery.fact))
                delivery.error = _internal(error)
                if delivery.done is not None:
                    delivery.done.set()
                continue
            state = decision.state
            outcome.events += decision.events
            outcome.effects += decision.effects
            if delivery.key is not None:
                outcome.keys.append(delivery.key)
            taken.append(delivery)
        return taken, state

    async def _recorded(self, batch: Batch) -> int:
        """Save a batch; after an error of the disk the very same one, until it is known what became of it."""
        while True:
            try:
                return await self._store.record(batch)
            except UnsettledError as error:
                log.error("ledger.unsettled", error=str(error))
                await anyio.sleep(PAUSE_S)

    async def _fenced(self, tasks: TaskGroup, taken: list[_Delivery], error: FencedError) -> list[_Delivery]:
        """Something in it belongs to a claim that was replaced: that alone counts no longer."""
        if len(taken) > 1:
            for delivery in taken:
                again = [delivery]
                while again:
                    again = await self._take(tasks, again)
            return []
        (delivery,) = taken
        log.error("loop.fenced", fact=type(delivery.fact).__name__, effect=delivery.key, error=str(error))
        delivery.error = error
        if delivery.done is not None:
            delivery.done.set()
        return []

    async def _look_at_rows(self) -> None:
        """Compare the rows that faces read with the state, and have those that differ written with the next batch."""
        self._compare = False
        state = self.state
        rows = await anyio.to_thread.run_sync(lambda: tuple(changed_rows(State(), state)))
        try:
            found = await self._store.differences(rows)
        except Exception as error:
            self.faults.note("comparing the rows beside the events", error)
            self._mend = rows
            return
        self._mend = found.rows
        if found.rows and not found.by_other_code:
            keys = tuple(f"{row.table} {row.key}" for row in found.rows)
            log.error("rows.differed", rows=len(keys), keys=keys[:KEYS_TOLD])
            await self._deliver(RowsDiffered(keys=keys[:KEYS_TOLD], count=len(keys)), None)

    async def _not_recorded(self, taken: list[_Delivery], error: OrchestratorError) -> list[_Delivery]:
        """The ledger could not be written: nothing has happened. People hear it, the world's facts are kept."""
        log.error("ledger.refused", error=str(error))
        if is_full(error) and self.make_room is not None and await self.make_room():
            return taken
        for delivery in taken:
            if delivery.done is not None:
                delivery.error = error
                delivery.done.set()
        await anyio.sleep(PAUSE_S)
        return [delivery for delivery in taken if delivery.done is None]

    async def _at_fault(self, tasks: TaskGroup, taken: list[_Delivery], error: Exception) -> list[_Delivery]:
        """We failed before anything was recorded. As when the ledger is refused; but nothing may hold up the rest."""
        left = []
        for delivery in taken:
            delivery.tries += 1
            if delivery.done is None:
                left.append(delivery)
            else:
                delivery.error = _internal(error)
                delivery.done.set()
        if not all(isinstance(delivery.fact, FaultSeen) for delivery in taken):
            self.faults.note("recording what happened", error)
        if len(taken) == 1 and left and left[0].tries > TRIES:
            tasks.start_soon(self._again_later, left[0])
            return []
        await anyio.sleep(PAUSE_S)
        return left

    async def _again_later(self, delivery: _Delivery) -> None:
        await anyio.sleep(ASIDE_S)
        await self._send.send(delivery)

    async def last_words(self, error: BaseException) -> None:
        """Record an error that ends this daemon, so that the next one knows. Nothing is done if that fails too."""
        if not (self._recovered and is_fault(error)):
            return
        try:
            now = self._clock.now()
            decision = decide(self.state, fault_of("its whole life", error), now, self._chance.draw())
            rows = tuple(changed_rows(self.state, decision.state))
            await self._store.record(Batch(at=now, events=decision.events, rows=rows, effects=decision.effects))
        except Exception:
            log.exception("daemon.silent")

    # ---- effects and runs ----

    def _begin(self, tasks: TaskGroup, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, WakeAt):
                self._timers.add(effect)
            else:
                tasks.start_soon(self._perform, effect, name=effect.key)

    async def _perform(self, effect: Effect) -> None:
        assert self._performer is not None
        self.under_way += 1
        try:
            await self._deliver(await self._carried_out(effect), effect.key)
            try:
                await self._performer.afterwards(effect)
            except Exception as error:
                self.faults.note(f"what follows {effect.key}", error)
        finally:
            self.under_way -= 1
            self.wake()  # a daemon that is to leave waits for this

    async def _carried_out(self, effect: Effect) -> Fact:
        """What came of an effect. When we fail ourselves, that is an answer too, and its task goes on from there."""
        assert self._performer is not None
        try:
            return await self._performer.perform(effect)
        except Exception as error:
            self.faults.note(effect.key, error, _owner_of(effect))
            return failed(effect, f"{type(error).__name__}: {error}")

    def _watch_new(self, tasks: TaskGroup) -> None:
        """Watch every run that has a supervisor: those just started, and after a restart those that live on."""
        for plan in self.state.plans.values():
            for run in plan.runs.values():
                known = (run.id, run.try_number)
                if run.state is not RunState.REQUESTED and known not in self._watched:
                    self._watched.add(known)
                    attempt = plan.attempts.get(AttemptId(run.owner))
                    offset = attempt.reports_offset if attempt is not None and run.kind is RunKind.AGENT else 0
                    tasks.start_soon(self._watch, run, offset, self.state.quiet, name=f"watch {run.id}")

    async def _watch(self, run: Run, offset: int, quiet: timedelta) -> None:
        run_dir = str(self._place.run_dir(run.id))
        attempt = AttemptId(run.owner)
        pause = PAUSE_S
        if run.state is RunState.RUNNING and run.kind is not RunKind.CHECK:
            # taken up from an earlier daemon: a spell of quiet that it told may be over
            await self._deliver(AttemptQuiet(attempt_id=attempt, quiet=False), None)
        while True:
            try:
                async for seen in self._executor.signals(
                    run.id, run_dir, reports_from=offset, quiet_after_s=quiet.total_seconds()
                ):
                    pause = PAUSE_S
                    match seen:
                        case ReportSeen():
                            offset = seen.offset
                            if run.kind is RunKind.AGENT:
                                await self._deliver(
                                    AgentReported(attempt_id=attempt, report=seen.report, offset=seen.offset), None
                                )
                        case BeatSeen():
                            if run.kind is not RunKind.CHECK:
                                await self._deliver(AttemptBeat(attempt_id=attempt), None)
                        case QuietSeen():
                            if run.kind is not RunKind.CHECK:
                                await self._deliver(AttemptQuiet(attempt_id=attempt, quiet=seen.quiet), None)
                        case ExitSeen():
                            await self._deliver(RunEnded(run_id=run.id, exit=seen.exit, tail=seen.tail), None)
                            return
            except (OSError, OrchestratorError) as error:
                log.warning("run.unreadable", run=run.id, error=str(error))
                await anyio.sleep(PAUSE_S)
            except Exception as error:
                self.faults.note(f"watching {run.id}", error, run.id)
                await anyio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)


def _owner_of(about: Fact | Effect) -> str | None:
    """The attempt, candidate or run that something is about."""
    names = ("run_id", "attempt_id", "candidate_id", "owner")
    return next((str(found) for name in names if (found := getattr(about, name, None))), None)


def _internal(error: Exception) -> InternalError:
    return InternalError(
        "the daemon failed while it dealt with this, and did nothing of it",
        why=f"an error of orchestrator itself: {type(error).__name__}: {error}",
        fix="`orchestrator logs --stream daemon -n 50` shows where; the daemon goes on",
    )


#: Fields of an event that every line about it has, and what they are called there.
_FACTS = {"plan_id": "plan", "task_id": "task", "attempt_id": "attempt", "token": "token"}


def _log_events(events: list[Event]) -> None:
    bound = log.bind()  # made once: the logger behind `log` is looked up at every call
    for event in events:
        facts = {name: getattr(event, field) for field, name in _FACTS.items() if hasattr(event, field)}
        bound.info(wire_name(type(event)), **facts)
