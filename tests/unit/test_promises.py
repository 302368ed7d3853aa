"""Random plans, agents, checks and people: whatever happens, the promises hold."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.core.publish import is_blocked
from orchestrator.core.schedule import is_settled
from orchestrator.core.state import rebuild
from orchestrator.model.agent import Asked, NoChange
from orchestrator.model.attempt import ExitWhy, RunExit
from orchestrator.model.errors import RefusedError
from orchestrator.model.event import CandidateMade, GatePassed, Landed, LeaseEnded, LeaseGranted, Synced
from orchestrator.model.fact import GiveBackAsked, HandInAsked
from orchestrator.model.ids import Commit, TaskId
from orchestrator.model.item import ItemKind
from orchestrator.model.plan import Plan
from orchestrator.model.run import PLAN_OVER, TaskState
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
    return a_plan(*tasks, parallel=draw(st.integers(1, 4)), prepare=draw(st.integers(0, 2)))


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
    moves = data.draw(st.integers(0, 2))

    for _ in range(60):
        world.run()
        if moves:
            moves -= 1
            world.target = Commit(f"moved-{moves}")
        if not world.inbox():
            break
        item = data.draw(st.sampled_from(world.inbox()))
        if item.by_hand is not None:
            # another answer is refused meanwhile; the person says something about their tree, or leaves it for now
            ending = data.draw(st.sampled_from(["done", "accepted", "abort", "later"]))
            if ending == "abort":
                world.give(GiveBackAsked(item_id=item.id, by="me"))
            elif ending != "later":
                world.give(HandInAsked(item_id=item.id, by="me", accept=ending == "accepted"))
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
    tip = None
    for event in world.events:
        if isinstance(event, Landed | Synced) and event.commit is not None:
            assert event.commit in tested
            tip = event.commit
    assert tip is None or tip == run.tip
    made = [e.commit for e in world.of(CandidateMade)]
    assert len(made) == len(set(made))
    # every task lands at most once, and a landed one never moves again
    landed = [e.task_id for e in world.of(Landed)]
    assert len(landed) == len(set(landed))
    assert all(run.tasks[t].state is TaskState.LANDED for t in landed)
    # tokens rise and every lease that ended had been granted
    tokens = [e.token for e in world.of(LeaseGranted)]
    assert tokens == sorted(set(tokens))
    assert {e.token for e in world.of(LeaseEnded)} <= set(tokens)
    # the ledger alone leads to the same state
    assert rebuild(zip(range(1, 10**6), world.times, world.events, strict=False)) == world.state
