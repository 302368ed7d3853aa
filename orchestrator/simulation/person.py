"""Modelled people: they start plans, answer late, twice, wrongly or never, and change their minds at any moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import anyio

from orchestrator.core.schedule import startable
from orchestrator.model.attempt import AttemptState
from orchestrator.model.fact import (
    AnswerGiven,
    CancelAsked,
    ClaimAsked,
    EvictAsked,
    Fact,
    FinishAsked,
    GiveBackAsked,
    HandInAsked,
    PauseAsked,
    PruneAsked,
    PublishAsked,
    ReleaseAsked,
    RenewAsked,
    ResumeAsked,
    RetryAsked,
    StopAsked,
    UndoAsked,
)
from orchestrator.model.ids import AttemptId, TaskId
from orchestrator.model.item import Item
from orchestrator.model.lease import Lease
from orchestrator.model.run import PLAN_OVER, PlanPhase, PlanRun, State, TaskState
from orchestrator.simulation.plans import NAMES, a_plan, revised, submission
from orchestrator.simulation.programs import Programs
from orchestrator.simulation.repository import ModelRepository
from orchestrator.simulation.virtual import Dice

#: what somebody says who wants everything to come to an end, best first
_ENDING = ("approve", "done", "publish", "retry", "send_back", "drop", "give_up", "leave", "cancel")
_TRIES = 3  #: so often somebody says the same about the same thing
ME, OTHER = "me", "somebody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moods:
    """How the people of a seed are."""

    pause_s: float  #: between two looks
    attentive: float  #: probability that an open item is answered at a look
    wrong: float  #: probability that an answer is none
    twice: float  #: probability that an answer is given twice
    meddling: float  #: probability of another command at a look
    claims: float  #: probability of a claim by hand at a look
    stops: float  #: probability that the daemon is told to stop at a look


def moods_for(dice: Dice) -> Moods:
    return Moods(
        pause_s=dice.one_of((60.0, 300.0, 900.0)),
        attentive=dice.one_of((0.2, 0.6, 0.95)),
        wrong=dice.one_of((0.0, 0.1)),
        twice=dice.one_of((0.0, 0.2)),
        meddling=dice.one_of((0.0, 0.1, 0.3)),
        claims=dice.one_of((0.0, 0.0, 0.1)),
        stops=dice.one_of((0.0, 0.0, 0.02)),
    )


class People:
    """Everybody who uses the modelled daemon.

    Args:
        ask: hands a request in. Answers whether it was taken; refused, lost or nobody there: False.
        state: what `status` shows.
    """

    def __init__(
        self,
        dice: Dice,
        moods: Moods,
        repository: ModelRepository,
        programs: Programs,
        *,
        ask: Callable[[Fact], Awaitable[bool]],
        state: Callable[[], State],
    ) -> None:
        self._dice = dice
        self._moods = moods
        self._repository = repository
        self._programs = programs
        self._ask = ask
        self._state = state
        self._said: dict[tuple[str, str | None, str], int] = {}
        self._number = 0
        self.plans = 0
        self.ending = False  #: no new plans; whatever is open is brought to an end

    async def live(self) -> None:
        """For ever."""
        while True:
            state = self._state()
            if self.ending:
                await anyio.sleep(self._dice.between(30, 120))
                await self._end(state)
            else:
                await anyio.sleep(self._dice.about(self._moods.pause_s))
                await self._look(state)

    async def _look(self, state: State) -> None:
        dice, moods = self._dice, self._moods
        plan = state.active
        if plan is None or (plan.phase in PLAN_OVER and not plan.leases):
            await self._begin(plan)
            return
        if plan.phase is PlanPhase.PAUSED and dice.chance(0.3):
            await self._ask(ResumeAsked(by=ME))
        for item in state.open_items():
            if item.is_open and dice.chance(moods.attentive):
                await self._answer(item)
        await self._tend_claims(plan)
        if not moods.claims:
            await self._drop_unclaimed(state, plan)
        if dice.chance(moods.claims):
            await self._claim(state, plan)
        if dice.chance(moods.meddling):
            await self._meddle(state, plan)
        if dice.chance(moods.stops):
            await self._ask(StopAsked(by=ME, now=dice.chance(0.5)))

    async def _begin(self, last: PlanRun | None) -> None:
        """Start a plan, or the last one once more."""
        self._number += 1
        plan = a_plan(self._dice, self._dice.one_of(NAMES))
        if await self._ask(submission(plan, f"digest-{self._number}", ME)):
            self.plans += 1
        elif last is not None and last.phase not in {PlanPhase.CANCELLED}:
            await self._ask(PublishAsked(by=ME, plan_id=last.id))

    async def _answer(self, item: Item) -> None:
        dice = self._dice
        choices = [option.id for option in item.options] or ["text"]
        if item.by_hand is not None:
            await self._resolve(item)
            return
        choice = "nonsense" if dice.chance(self._moods.wrong) else dice.one_of(choices)
        fact = AnswerGiven(item_id=item.id, choice=choice, text="as I said" if dice.chance(0.5) else "", by=ME)
        await self._ask(fact)
        if dice.chance(self._moods.twice):
            await self._ask(fact)

    async def _resolve(self, item: Item) -> None:
        """Resolve a conflict in the tree that was made for it."""
        tree = self._repository.trees.get(str(item.by_hand))
        if tree is None or item.worktree is None:
            return
        if self._dice.chance(0.15) and not self.ending:
            await self._ask(GiveBackAsked(item_id=item.id, by=ME))
            return
        for path in sorted(tree.unmerged):
            self._programs.write(tree, path)
        if self._dice.chance(0.5):
            self._repository.commit_in(tree.owner, "resolved")
        taken = await self._ask(HandInAsked(item_id=item.id, by=ME, accepted=self._dice.chance(0.5)))
        if not taken and self.ending:
            await self._ask(GiveBackAsked(item_id=item.id, by=ME))

    # ---- claims by hand ----

    def _held(self, plan: PlanRun) -> list[Lease]:
        return [lease for lease in plan.leases.values() if plan.attempts[lease.attempt_id].held]

    async def _claim(self, state: State, plan: PlanRun) -> None:
        if startable(state, plan):
            holder = f"{OTHER}-{self._dice.count(1, 2)}"
            ttl = self._dice.one_of((None, None, timedelta(), timedelta(hours=1)))
            await self._ask(ClaimAsked(task_id=None, holder=holder, ttl=ttl, reason="I want it", by=holder))

    async def _tend_claims(self, plan: PlanRun) -> None:
        """Those who hold a task work in its tree, show life or do not, and hand in, give back, or walk away."""
        dice = self._dice
        for lease in self._held(plan):
            attempt = plan.attempts[lease.attempt_id]
            tree = self._repository.trees.get(attempt.id)
            if attempt.state is not AttemptState.RUNNING or tree is None:
                continue
            what = dice.weighted((("work", 4.0), ("beat", 3.0), ("finish", 3.0), ("release", 1.0), ("leave", 2.0)))
            if self.ending:
                what = "finish" if dice.chance(0.5) else "release"
            if what in {"work", "finish"}:
                pattern = dice.one_of(plan.tasks[lease.task_id].task.files.include)
                self._programs.write(tree, pattern.replace("**", f"f{dice.count(1, 4)}"))
                for path in sorted(tree.unmerged):
                    self._programs.write(tree, path)
                self._repository.inside[attempt.id] = (7,) if what == "work" else ()
            if what == "beat":
                await self._ask(
                    RenewAsked(task_id=lease.task_id, token=lease.token, renew=dice.chance(0.5), by=lease.holder)
                )
            elif what == "finish":
                await self._ask(FinishAsked(task_id=lease.task_id, token=lease.token, by=lease.holder))
            elif what == "release":
                self._repository.inside[attempt.id] = ()
                await self._ask(ReleaseAsked(task_id=lease.task_id, token=lease.token, by=lease.holder))
            elif what == "leave":
                self._repository.inside[attempt.id] = ()

    # ---- changes of mind ----

    async def _meddle(self, state: State, plan: PlanRun) -> None:
        dice = self._dice
        tasks = list(plan.tasks)
        task = dice.one_of(tasks) if tasks else TaskId("t0")
        match dice.count(1, 12):
            case 1:
                await self._ask(PauseAsked(by=ME))
            case 2:
                await self._ask(CancelAsked(task_id=task, by=ME, reason="not wanted"))
            case 3:
                await self._ask(CancelAsked(task_id=None, by=ME) if dice.chance(0.2) else ResumeAsked(by=ME))
            case 4 | 5:
                await self._ask(RetryAsked(task_id=task, by=ME))
            case 6 | 7:
                landed = [name for name, run in plan.tasks.items() if run.state is TaskState.LANDED]
                await self._ask(
                    UndoAsked(task_id=dice.one_of(landed) if landed else task, by=ME, accepted=dice.chance(0.7))
                )
            case 8:
                await self._ask(PublishAsked(by=ME))
            case 9 | 10:
                self._number += 1
                await self._ask(submission(revised(dice, plan.plan), f"digest-{self._number}", ME))
            case 11:
                await self._ask(EvictAsked(task_id=task, reason="I want it myself", by=ME))
            case _:
                await self._prune(plan)

    async def _prune(self, plan: PlanRun) -> None:
        ended = [a.id for a in plan.attempts.values() if a.state is AttemptState.ENDED and a.id in self._trees()]
        trash = self._dice.some_of(sorted(self._repository.trash), 2) if self._dice.chance(0.3) else []
        await self._ask(PruneAsked(owners=tuple(self._dice.some_of(ended, 2)), trash=tuple(trash), by=ME))

    def _trees(self) -> set[AttemptId]:
        return {AttemptId(owner) for owner in self._repository.trees}

    # ---- the end ----

    async def _end(self, state: State) -> None:
        """Whatever waits for a person is answered in the way that brings it to an end."""
        plan = state.active
        if plan is None:
            return
        self._repository.dirty.clear()
        if plan.phase is PlanPhase.PAUSED:
            await self._ask(ResumeAsked(by=ME))
        for item in state.open_items():
            if item.by_hand is not None:
                await self._resolve(item)
                continue
            offered = [option.id for option in item.options] or ["text"]
            usual = [choice for choice in _ENDING if choice in offered] or offered
            about = (item.kind.value, item.task_id)
            fresh = [choice for choice in usual if self._said.get((*about, choice), 0) < _TRIES]
            choice = (fresh or usual[-1:])[0]
            self._said[*about, choice] = self._said.get((*about, choice), 0) + 1
            await self._ask(AnswerGiven(item_id=item.id, choice=choice, text="go on", by=ME))
        await self._tend_claims(plan)
        await self._drop_unclaimed(state, plan)

    async def _drop_unclaimed(self, state: State, plan: PlanRun) -> None:
        free = startable(state, plan)
        for task_id in free:
            if plan.tasks[task_id].task.is_for_hand:
                await self._ask(CancelAsked(task_id=task_id, by=ME, reason="nobody claims it"))
