"""Random plans, agents, checks and people: whatever happens, the promises hold."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.core.publish import is_blocked
from orchestrator.core.schedule import is_settled
from orchestrator.core.state import rebuild
from orchestrator.model.agent import Asked, NoChange
from orchestrator.model.attempt import ExitWhy, RunExit
from orchestrator.model.errors import OrchestratorError, RefusedError
from orchestrator.model.event import (
    CandidateMade,
    CandidateRequested,
    CheckPassed,
    GatePassed,
    Landed,
    LeaseEnded,
    LeaseGranted,
    Published,
    Synced,
    Undone,
)
from orchestrator.model.fact import CancelAsked, GiveBackAsked, HandInAsked, PublishAsked, RetryAsked, UndoAsked
from orchestrator.model.ids import Commit, TaskId
from orchestrator.model.item import ItemKind
from orchestrator.model.plan import Plan, PublishMode
from orchestrator.model.run import PLAN_OVER, PlanPhase, TaskState
from tests.fakes.world import CRASH, OK, TIMEOUT, Script, World, a_plan, a_task

FILES = ["a.py", "b.py", "c.py", "d/**", "d/x.py"]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    count = draw(st.integers(1, 6))
    tasks = []
    for n in range(count):
        before = [TaskId(f"t{m}") for m in range(n)]
        tasks.append(
            a_task(
                f"t{n}",
                files=draw(st.lists(st.sampled_from(FILES), min_size=1, max_size=2, unique=True)),
                uses=tuple(draw(st.lists(st.sampled_from(["db", "port"]), max_size=1))),
                depends_on=tuple(draw(st.lists(st.sampled_from(before), max_size=2, unique=True))) if before else (),
                priority=draw(st.sampled_from([25, 50, 75])),
                agent=draw(st.sampled_from([None, "a", "b", "human"])),
            )
        )
    return a_plan(
        *tasks,
        parallel=draw(st.integers(1, 4)),
        prepare=draw(st.integers(0, 2)),
        publish=draw(st.sampled_from(list(PublishMode))),
    )


SCRIPTS = st.sampled_from(
    [
        Script(),
        Script(),
        Script(),
        Script(exit=CRASH),
        Script(exit=TIMEOUT),
        Script(exit=RunExit(why=ExitWhy.LOST)),
        Script(changed=()),
        Script(changed=("elsewhere",)),
        Script(changed=(), reports=(NoChange(reason="fine"),)),
        Script(reports=(Asked(question_id="q1", text="?", options=("x",)),)),
        Script(hangs=True, reports=(Asked(question_id="q2", text="?"),)),
    ]
)


def wish(world: World, what: str, task: TaskId) -> None:
    """What a person asks for out of the blue; a refusal changes nothing."""
    facts = {
        "undo": UndoAsked(task_id=task, by="me", accepted=True),
        "retry": RetryAsked(task_id=task, by="me"),
        "publish": PublishAsked(by="me"),
        "withdraw": CancelAsked(task_id=task, by="me"),
    }
    with suppress(OrchestratorError):
        world.give(facts[what])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(plan=plans(), data=st.data())
def test_whatever_happens_the_promises_hold(plan: Plan, data: st.DataObject) -> None:
    world = World(plan)
    for task in plan.tasks:
        world.scripts[task.id] = data.draw(st.lists(SCRIPTS, max_size=3))
    red = data.draw(st.lists(st.booleans(), max_size=4))
    world.check = lambda task, name: CRASH if red and red.pop() else OK
    conflicting = data.draw(st.lists(st.sampled_from([None, *[t.id for t in plan.tasks]]), max_size=2))
    for key in conflicting:
        world.conflicts.setdefault(key, []).append(("a.py",))
        world.conflicts.setdefault(f"undo {key}", []).append(("a.py",))
    world.refuse_publish = data.draw(st.lists(st.just("a file is in the way"), max_size=2))
    moves = data.draw(st.integers(0, 2))
    asked_for = data.draw(st.lists(st.sampled_from(["undo", "retry", "publish", "withdraw"]), max_size=5))

    for _ in range(60):
        world.run()
        if moves:
            moves -= 1
            world.target = Commit(f"moved-{moves}")
        if asked_for:
            wish(world, asked_for.pop(), data.draw(st.sampled_from([t.id for t in plan.tasks])))
            continue
        if not world.inbox():
            break
        item = data.draw(st.sampled_from(world.inbox()))
        if item.by_hand is not None:
            # another answer is refused meanwhile; the person says something about their tree, or leaves it for now
            ending = data.draw(st.sampled_from(["done", "accepted", "abort", "later"]))
            if ending == "abort":
                world.give(GiveBackAsked(item_id=item.id, by="me"))
            elif ending != "later":
                world.give(HandInAsked(item_id=item.id, by="me", accepted=ending == "accepted"))
            world.run()
            continue
        choices = [option.id for option in item.options] or ["text"]
        try:
            world.answer_item(data.draw(st.sampled_from(choices)), "words", item.id)
        except RefusedError:
            assert item.kind is ItemKind.CONFLICT, "only a conflict may be impossible to take on right now"
        world.run()

    run = world.plan_run
    # two agents never work on one file at once
    assert world.overlap_seen == []
    waiting = sum(1 for i in world.state.items.values() if i.question_id)
    persons = sum(1 for a in run.attempts.values() if a.by_hand)
    assert world.most_at_once <= plan.parallel + waiting + persons
    # nothing is stuck in silence: it is over, or a person has been asked
    assert run.phase in PLAN_OVER or is_blocked(world.state, run) or world.inbox()
    if run.phase in PLAN_OVER:
        assert is_settled(run)
        assert not run.leases
        assert not run.runs
    # what landed is what was tested, on top of what had landed
    tested = {e.commit for e in world.of(GatePassed)}
    green = Counter(e.candidate_id for e in world.of(CheckPassed))
    assert all(green[e.candidate_id] == len(plan.checks) for e in world.of(GatePassed))
    tip = None
    for event in world.events:
        if isinstance(event, CandidateRequested) and tip is not None:
            assert event.parent == tip
        if isinstance(event, Landed | Synced | Undone) and event.commit is not None:
            assert event.commit in tested
            tip = event.commit
    assert tip is None or tip == run.tip
    made = [e.commit for e in world.of(CandidateMade)]
    assert len(made) == len(set(made))
    # what the target points at passed the checks, and it moves by itself as the plan says
    assert {e.commit for e in world.of(Published)} <= tested
    if plan.publish is PublishMode.EACH and run.phase is PlanPhase.PUBLISHED:
        assert not run.unpublished
    # a task lands once between being taken back, and never moves otherwise once it has
    standing: set[str] = set()
    for event in world.events:
        if isinstance(event, Landed):
            assert event.task_id not in standing
            standing.add(event.task_id)
        elif isinstance(event, Undone):
            standing.remove(event.task_id)
    assert standing == {t for t, task in run.tasks.items() if task.state is TaskState.LANDED}
    # nothing waits at the gate for ever
    if run.phase in PLAN_OVER:
        assert all(task.undo is None for task in run.tasks.values())
    # tokens rise and every lease that ended had been granted
    tokens = [e.token for e in world.of(LeaseGranted)]
    assert tokens == sorted(set(tokens))
    assert {e.token for e in world.of(LeaseEnded)} <= set(tokens)
    # the ledger alone leads to the same state
    events = list(zip(range(1, 10**6), world.times, world.events, strict=False))
    assert rebuild(events) == world.state
    # folding on changes nothing of the state that it began with, and comes to one that is as any other
    at = data.draw(st.integers(0, len(events)))
    half = rebuild(events[:at])
    assert rebuild(events[at:], half) == world.state
    assert half == rebuild(events[:at])
    assert {type(held) for plan in half.plans.values() for held in (plan.tasks, plan.attempts, plan.numbers)} <= {dict}
    assert type(half.plans) is type(half.items) is dict
