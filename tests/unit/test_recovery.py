"""A ledger put together again: whose word counts, what is still to be done, and that the plan comes to its end."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.backends.ledger import link, microseconds
from orchestrator.core.recovery import (
    GENESIS,
    MASKED_DIGEST,
    Asked,
    Found,
    Piece,
    Source,
    effects_kept,
    is_owed,
    masked_plans,
    rebuilt,
)
from orchestrator.core.recoverysteps import first_events
from orchestrator.core.recoverytext import Examined, Landing, Proposal, lines
from orchestrator.core.state import rebuild
from orchestrator.model.effect import Effect, WakeAt
from orchestrator.model.event import Landed, LeaseGranted, LedgerRecovered
from orchestrator.model.fact import DaemonStarted, Fact
from orchestrator.model.ids import Commit, PlanId, TaskId
from orchestrator.model.plan import Plan
from orchestrator.model.run import PlanPhase, Reached, State, TaskState
from tests.fakes.world import CRASH, Script, World, a_plan, a_task

START = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def chain(count: int, *, together: int = 2, kind: str = "told", word: str = "") -> list[Piece]:
    """Events in transactions of so many."""
    pieces, last = [], GENESIS
    for seq in range(1, count + 1):
        at_us = microseconds(START) + (seq - 1) // together
        data = json.dumps({"n": seq, "word": word}, separators=(",", ":"))
        columns = ("p", None, None, None)
        digest = link(last, seq, at_us, kind, columns, data)
        pieces.append(Piece(seq=seq, at_us=at_us, type=kind, columns=columns, data=data, prev=last, hash=digest))
        last = digest
    return pieces


def found(source: Source, pieces: list[Piece], *, whole: bool = True) -> Found:
    last = max((piece.seq for piece in pieces), default=0)
    return Found(source=source, name=str(source), pieces=tuple(pieces), whole_to=last if whole else None)


def masked(piece: Piece) -> Piece:
    return replace(piece, data='{"word":"[redacted]","digest":"abc"}', redacted=True)


ALL = chain(20)
LEDGER, BACKUP, JOURNAL = Source.LEDGER, Source.BACKUP, Source.JOURNAL


@pytest.mark.parametrize(
    ("sources", "taken", "lost"),
    [
        pytest.param([], [], 0, id="nothing at all"),
        pytest.param([found(LEDGER, ALL)], ["events 1-20 from the ledger"], 0, id="a whole ledger"),
        pytest.param(
            [found(LEDGER, [], whole=False), found(BACKUP, ALL[:12]), found(JOURNAL, ALL[:16])],
            ["events 1-12 from the backup", "events 13-16 from the journal"],
            0,
            id="the ledger is gone",
        ),
        pytest.param(
            [found(LEDGER, ALL[:10]), found(JOURNAL, ALL)],
            ["events 1-10 from the ledger", "events 11-20 from the journal"],
            0,
            id="the end of the ledger is gone",
        ),
        pytest.param(
            [found(LEDGER, ALL[:7] + ALL[9:], whole=False), found(JOURNAL, ALL[:18])],
            ["events 1-7 from the ledger", "events 8-9 from the journal", "events 10-18 from the ledger"],
            2,
            id="damage in the middle; the torn transaction at the end is left",
        ),
        pytest.param([found(LEDGER, ALL[:7], whole=False)], ["events 1-6 from the ledger"], 1, id="half a transaction"),
        pytest.param([found(LEDGER, ALL[3:], whole=False)], [], 20, id="the beginning is gone"),
        pytest.param([found(JOURNAL, ALL[:6]), found(BACKUP, ALL[:4])], ["events 1-6 from the journal"], 0, id="ahead"),
        pytest.param(
            [found(LEDGER, ALL[:4]), found(BACKUP, chain(8, word="other"))],
            ["events 1-4 from the ledger"],
            4,
            id="a backup of another course of events adds nothing",
        ),
    ],
)
def test_events_are_taken_from(sources: list[Found], taken: list[str], lost: int) -> None:
    chosen = rebuilt(sources, link)
    assert [str(stretch) for stretch in chosen.stretches] == taken
    assert chosen.lost == lost
    assert list(chosen.pieces) == ALL[: chosen.last]
    assert chosen.good_seq == chosen.last


def test_what_is_masked_is_taken_only_where_nothing_else_has_it() -> None:
    journal = [*ALL[:4], masked(ALL[4]), *ALL[5:]]
    assert rebuilt([found(BACKUP, ALL[:6]), found(JOURNAL, journal)], link).redacted == ()
    chosen = rebuilt([found(BACKUP, ALL[:4]), found(JOURNAL, journal)], link)
    assert (chosen.redacted, chosen.good_seq, chosen.last) == ((5,), 4, 20)
    assert list(chosen.pieces[:4]) == ALL[:4]
    last = GENESIS
    for piece in chosen.pieces:
        assert piece.prev == last
        last = link(last, piece.seq, piece.at_us, piece.type, piece.columns, piece.data)
        assert piece.hash == last


def test_a_plan_with_a_mask_in_its_text_has_to_be_confirmed_anew() -> None:
    first = masked(chain(1, kind="plan_confirmed")[0])
    chosen = rebuilt([found(JOURNAL, [first])], link)
    assert json.loads(chosen.pieces[0].data)["digest"] == MASKED_DIGEST
    assert masked_plans(chosen.pieces) == {"p"}


def test_effects_are_those_up_to_the_last_event_and_known_exactly_only_at_a_sources_end() -> None:
    early, late = (Asked(key=key, kind="k", request={}, seq=seq) for key, seq in (("a", 2), ("b", 9)))
    source = replace(found(LEDGER, ALL[:6]), asked=(early, late), to_do=("a",))
    assert effects_kept([source], 6) == ((early,), frozenset({"a"}))
    assert effects_kept([source], 4) == ((early,), None)


# ---- a plan whose ledger ends anywhere ----


class Recorded(World):
    """A world that remembers which effects each transaction asked for."""

    def __init__(self, plan: Plan) -> None:
        self.cuts: list[tuple[int, list[Effect]]] = []
        super().__init__(plan)

    def give(self, fact: Fact, chance: float = 0.5) -> None:
        known = set(self.keys)
        super().give(fact, chance)
        fresh = [effect for effect in (*self.todo, *self.wakes) if effect.key not in known]
        self.cuts.append((len(self.events), fresh))


def the_plan() -> Plan:
    return a_plan(a_task("a"), a_task("b"), a_task("c", depends_on=(TaskId("a"),)), prepare=1)


def a_whole_run() -> Recorded:
    world = Recorded(the_plan())
    world.scripts["b"] = [Script(exit=CRASH)]
    world.run()
    assert set(world.states().values()) == {TaskState.LANDED}
    return world


def recovered(full: Recorded, cut: int, *, git: bool) -> tuple[World, State]:
    """A world that goes on from a cut; git may know of all that landed later."""
    count = full.cuts[cut][0]
    events = [(n, at, e) for n, (e, at) in enumerate(zip(full.events, full.times, strict=True), start=1)]
    state = rebuild(events[:count])
    landings = [(e.plan_id, e.task_id, e.commit) for e in full.events[count:] if isinstance(e, Landed)] if git else []
    tokens = [e.token for e in full.events if isinstance(e, LeaseGranted)]
    told = LedgerRecovered(
        source="a cut",
        good_seq=count,
        lost=len(full.events) - count,
        masked=0,
        token_floor=max(tokens) + 7,
        reached={PlanId("p"): Reached(number=1, candidates=50, attempts={TaskId("a"): 5})},
        by="me",
    )
    now = full.times[count - 1]
    _, state = first_events(
        state,
        told,
        [one for one in landings if one[2]],
        masked=frozenset(),
        lost={},
        now=now,  # type: ignore[misc]
    )
    asked = [effect for _, effects in full.cuts[: cut + 1] for effect in effects]
    world = World(the_plan())
    world.state, world.now, world.events, world.times = state, now, [], []
    owed = [effect for effect in asked if is_owed(state, effect)]
    world.todo.clear()
    world.todo.extend(effect for effect in owed if not isinstance(effect, WakeAt))
    world.wakes = [effect for effect in owed if isinstance(effect, WakeAt)]
    world.keys = {effect.key for effect in asked}
    world.target = full.plan_run.started_at_commit or Commit("target-0")
    return world, state


def watched(world: World, state: State) -> None:
    """The runs that live, as the loop watches them: here all of them end well."""
    for plan in state.plans.values():
        for run in plan.runs.values():
            fact = world._run(run.id) if run.state == "running" else None
            if fact is not None:
                world.give(fact)


CUTS = range(2, len(a_whole_run().cuts))


@pytest.mark.parametrize("git", [False, True], ids=["git stands where the ledger ends", "git is ahead"])
def test_a_plan_comes_to_its_end_wherever_its_ledger_was_cut(git: bool) -> None:
    full = a_whole_run()
    for cut in CUTS:
        world, state = recovered(full, cut, git=git)
        if not state.plans or state.plans[PlanId("p")].phase in {PlanPhase.FINISHED, PlanPhase.PUBLISHED}:
            continue
        before = {task_id for task_id, run in state.plans[PlanId("p")].tasks.items() if run.state is TaskState.LANDED}
        world.give(DaemonStarted(pid=2, boot_id="b", version="0", quiet=timedelta(minutes=10)))
        watched(world, state)
        world.run()
        assert set(world.states().values()) == {TaskState.LANDED}, (cut, world.states(), world.names())
        assert world.plan_run.phase is PlanPhase.PUBLISHED, cut
        assert not world.plan_run.leases, cut
        again = [e.task_id for e in world.of(Landed)]
        assert not before & set(again), f"cut {cut}: landed twice"
        floor = state.token
        assert all(e.token > floor for e in world.of(LeaseGranted))
        assert any(item.title.startswith("the ledger was recovered") for item in world.state.items.values())


def test_numbers_that_anything_bears_are_not_given_out_again() -> None:
    full = a_whole_run()
    _, state = recovered(full, 4, git=False)
    assert state.plans[PlanId("p")].candidates == 50
    assert state.plans[PlanId("p")].tasks[TaskId("a")].attempts == 5


def test_a_plan_that_the_new_ledger_does_not_know_goes_on_counting() -> None:
    reached = {PlanId("p"): Reached(number=3, candidates=8, attempts={TaskId("a"): 4})}
    told = LedgerRecovered(source="", good_seq=0, lost=0, masked=0, token_floor=99, reached=reached, by="me")
    _, state = first_events(State(), told, [], masked=frozenset(), lost={}, now=START)
    world = World(the_plan())
    world.state, world.events = state, []
    world.todo.clear()
    world.submit(the_plan())
    world.run()
    assert world.plan_run.number == 4
    assert world.plan_run.numbers[TaskId("a")] == 5
    assert min(e.token for e in world.of(LeaseGranted)) == 100


def test_a_masked_plan_is_paused() -> None:
    full = a_whole_run()
    _, state = recovered(full, 4, git=False)
    told = LedgerRecovered(source="", good_seq=0, lost=0, masked=1, token_floor=1, reached={}, by="me")
    _, state = first_events(state, told, [], masked=frozenset({"p"}), lost={}, now=START)
    assert state.plans[PlanId("p")].phase is PlanPhase.PAUSED


# ---- words ----


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"is_whole": True}, "nothing was changed", id="whole"),
        pytest.param({"last_at": None, "last": 0}, "a new, empty ledger is begun", id="empty"),
        pytest.param({"lost": 1}, "1 event after event 57 that cannot be read any more", id="lost"),
        pytest.param({"unknown_after": True}, "whatever was recorded after 2026-03-04 12:00:00 UTC", id="unknown"),
        pytest.param({}, "nothing that anything here knows of", id="no loss"),
        pytest.param({"masked": 2, "masked_plans": ("p",)}, "'p' is paused until you start its plan file", id="masked"),
        pytest.param({"astray": ("p",)}, "The branch of plan 'p' stands in git at a place", id="astray"),
        pytest.param({"strangers": {"p/a-1/agent": 77}}, "kill 77", id="strangers"),
        pytest.param({"branches": ("refs/orchestrator/p/a-1",)}, "refs/orchestrator/p/a-1", id="branches"),
        pytest.param({"stopped": "3 events from 55 on"}, "3 events from 55 on", id="not understood"),
        pytest.param(
            {"landings": (Landing(plan=PlanId("p"), task=TaskId("a"), commit=Commit("c" * 40)),)},
            "cccccccccccc  task 'a' on the branch of plan 'p'",
            id="landed",
        ),
    ],
)
def test_the_proposal_says(changes: dict[str, object], says: str) -> None:
    seen = Examined(name="ledger", said="missing", is_good=False)
    proposal = Proposal(ledger="/l", is_whole=False, examined=(seen,), last=57, last_at=START, aside="/a")
    assert says in "\n".join(lines(replace(proposal, **changes)))  # type: ignore[arg-type]
