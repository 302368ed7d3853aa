"""The ledger of a simulation, watched: every event is folded a second time, and every invariant asked about it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from orchestrator.backends.memory import MemoryLedger, MemoryStore
from orchestrator.core.state import apply
from orchestrator.model.effect import Effect
from orchestrator.model.event import GatePassed, Landed, LeaseGranted, Synced, Undone, wire_name
from orchestrator.model.ids import Commit, PlanId, RunId, TaskId
from orchestrator.model.run import State
from orchestrator.ports import Batch
from orchestrator.simulation.executor import ModelExecutor
from orchestrator.simulation.faults import Weather
from orchestrator.simulation.invariants import AFTER_EVENT, AFTER_TRANSACTION, Moment, Step
from orchestrator.simulation.programs import SECRET, Programs
from orchestrator.simulation.repository import ModelRepository
from orchestrator.simulation.virtual import EPOCH


class Watch:
    """Sees every transaction of every daemon."""

    def __init__(
        self,
        repository: ModelRepository,
        executor: ModelExecutor,
        programs: Programs,
        blame: Callable[[str, str], None],
    ) -> None:
        self._repository = repository
        self._executor = executor
        self._programs = programs
        self._blame = blame
        self._hash = hashlib.sha256()
        self._moves = 0
        self._passed: set[Commit] = set()
        self._tokens: dict[tuple[PlanId, TaskId], int] = {}
        self.state = State()
        self.at: datetime = EPOCH
        self.to_do: dict[str, Effect] = {}
        self._known: set[str] = set()
        self._owners: Counter[str] = Counter()
        self.transactions = 0
        self.events = 0
        self.kinds: dict[str, int] = {}
        #: (plan, number of its run) -> what its branch moved to, in the order of the ledger
        self.landed: dict[tuple[PlanId, int], list[Commit]] = {}

    @property
    def digest(self) -> str:
        """One word for everything that was ever recorded."""
        return self._hash.hexdigest()

    def recorded(self, batch: Batch) -> None:
        """A transaction is in the ledger."""
        self.transactions += 1
        for event in batch.events:
            self.events += 1
            name = wire_name(type(event))
            self.kinds[name] = self.kinds.get(name, 0) + 1
            text = f"{batch.at.isoformat()} {event!r}\n"
            self._hash.update(text.encode())
            if SECRET in text:
                self._blame("I18", f"{name} holds a secret")
            before, self.state = self.state, apply(self.state, event, batch.at)
            if isinstance(event, LeaseGranted):
                self._tokens[event.plan_id, event.task_id] = event.token
            if isinstance(event, GatePassed):
                self._passed.add(event.commit)
            if isinstance(event, Landed | Synced | Undone) and event.commit is not None:
                number = self.state.plans[event.plan_id].number
                self.landed.setdefault((event.plan_id, number), []).append(event.commit)
            step = Step(before, event, self.state, batch.at, self.at, self._tokens, self._programs.green)
            for code, ask in AFTER_EVENT.items():
                for words in ask(step):
                    self._blame(code, words)
            self.at = batch.at
        for effect in batch.effects:
            if effect.key not in self._known:
                self._known.add(effect.key)
                if SECRET in repr(effect):
                    self._blame("I18", f"{effect.key} holds a secret")
                self.to_do[effect.key] = effect
                self._owners[_owner(effect.key)] += 1
        for key in batch.done:
            if self.to_do.pop(key, None) is not None:
                self._owners[_owner(key)] -= 1
        if batch.events:
            self._look()

    def _look(self) -> None:
        moved = tuple(self._repository.landed[self._moves :])
        self._moves = len(self._repository.landed)
        alive = tuple(RunId(run.spec.run_id) for run in self._executor.alive())
        tips = {**self._repository.plans, **self._repository.strange}
        moment = Moment(self.state, self.to_do, self._owners, tips, alive, moved, self._passed)
        for code, ask in AFTER_TRANSACTION.items():
            for words in ask(moment):
                self._blame(code, words)


def _owner(key: str) -> str:
    """The attempt or candidate that an effect is for, by its key."""
    return "/".join(key.split("/", 2)[:2])


class WatchedStore(MemoryStore):
    """The Store port in memory, with the weather before it and the watch behind it."""

    def __init__(self, ledger: MemoryLedger, weather: Weather, watch: Watch) -> None:
        super().__init__(ledger)
        self._weather = weather
        self._watch = watch
        self._saved: Batch | None = None  #: the latest; handed in again, it is known by its being the same

    async def record(self, batch: Batch) -> int:
        if batch is self._saved:
            return len(self.ledger.events)

        async def commit() -> int:
            seq = await MemoryStore.record(self, batch)
            self._saved = batch
            self._watch.recorded(batch)
            return seq

        return await self._weather.committing(commit)
