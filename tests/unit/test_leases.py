"""Leases as lists of events: renewed, expired, looked at, stopped, stuck, taken away, claimed by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from orchestrator.model.attempt import AttemptState, Ending, FailureKind, RunLife
from orchestrator.model.effect import ReleaseRun
from orchestrator.model.errors import OrchestratorError, RefusedError, UsageError
from orchestrator.model.event import (
    AttemptEnded,
    Landed,
    LateResult,
    LeaseEnded,
    LeaseGranted,
    LeaseRenewed,
    LeaseStuck,
    LeaseSuspected,
)
from orchestrator.model.fact import (
    AttemptBeat,
    ClaimAsked,
    DaemonStarted,
    EvictAsked,
    FinishAsked,
    ReleaseAsked,
    RenewAsked,
    RunEnded,
    WorkCollected,
)
from orchestrator.model.ids import Commit, ItemId, RunId, TaskId, attempt_id
from orchestrator.model.lease import Lease, LeaseState, LeaseTerms
from orchestrator.model.plan import HAND
from orchestrator.model.run import TaskState
from tests.fakes.world import STOPPED, Script, World, a_plan, a_task

ONE = TaskId("one")
MINUTE = timedelta(minutes=1)


def hanging(**more: Any) -> World:
    """A world whose one agent never ends by itself."""
    world = World(a_plan(a_task("one"), **more))
    world.scripts["one"] = [Script(hangs=True)] * 5
    return world.settle()


def held(world: World, task: str = "one") -> Lease:
    return world.plan_run.leases[TaskId(task)]


def beat(world: World, task: str = "one") -> None:
    world.give(AttemptBeat(attempt_id=held(world, task).attempt_id))


def started(world: World, **more: Any) -> None:
    world.give(DaemonStarted(pid=2, boot_id=more.pop("boot_id", "b"), version="0", quiet=10 * MINUTE, **more))


# ---- agents ----


def test_signs_of_life_renew_a_lease_when_half_of_its_time_is_over() -> None:
    world = hanging()
    granted = held(world).expires_at
    for _ in range(4):
        world.later(MINUTE)
        beat(world)
    assert held(world).expires_at == granted
    world.later(2 * MINUTE)
    beat(world)
    assert held(world).expires_at == world.now + LeaseTerms().ttl
    assert len(world.of(LeaseRenewed)) == 1


def test_an_agent_that_beats_is_never_doubted() -> None:
    world = hanging()
    for _ in range(200):
        world.later(MINUTE)
        beat(world)
    assert world.of(LeaseSuspected) == []
    assert held(world).state is LeaseState.LIVE


def test_an_expired_holder_that_a_look_finds_alive_keeps_its_task() -> None:
    world = hanging().later(11 * MINUTE)
    assert len(world.of(LeaseSuspected)) == 1
    assert [event.cause for event in world.of(LeaseRenewed)] == ["look"]
    assert held(world).state is LeaseState.LIVE
    assert world.task("one").state is TaskState.RUNNING


@pytest.mark.parametrize("life", [RunLife.SILENT, RunLife.GONE])
def test_an_expired_holder_without_life_is_stopped_salvaged_and_gets_a_new_token(life: RunLife) -> None:
    world = hanging()
    world.life = life
    world.later(10 * MINUTE)
    [first] = world.of(AttemptEnded)
    assert (first.ending, first.failure) == (Ending.FAILED, FailureKind.LOST)
    assert world.task("one").state is TaskState.BACKOFF
    world.later(2 * MINUTE)
    assert [e.token for e in world.of(LeaseGranted)] == [1, 2]
    names = world.names()
    order = ["lease_suspected", "run_finished", "attempt_ended", "lease_ended", "backoff_started"]
    assert [name for name in names if name in order] == order
    assert names.index("lease_ended") < len(names) - names[::-1].index("lease_granted") - 1


def test_a_late_beat_does_not_make_up_for_a_missed_renewal() -> None:
    world = hanging()
    world.hold = lambda effect: effect.key.split("/")[-1].startswith("probe")
    world.later(11 * MINUTE)
    beat(world)
    assert held(world).state is LeaseState.SUSPECT


def test_a_tree_that_cannot_be_stopped_is_stuck_asked_about_and_never_given_to_another() -> None:
    world = hanging()
    world.life, world.undead = RunLife.SILENT, (41, 42)
    world.later(11 * MINUTE)
    assert held(world).state is LeaseState.STUCK
    [item] = world.inbox()
    assert "41, 42" in item.context
    world.later(timedelta(days=3))
    assert len(world.of(LeaseGranted)) == 1, "given to another while its processes live"
    assert world.plan_run.attempts[held(world).attempt_id].state is AttemptState.STUCK
    world.undead = ()
    world.answer_item("retry", item=item.id).settle()
    assert world.task("one").state is TaskState.BACKOFF
    assert [i.id for i in world.inbox() if i.trigger == "stop"] == []


def test_a_stuck_tree_that_ends_by_itself_goes_on_without_a_person() -> None:
    world = hanging()
    world.life, world.undead = RunLife.SILENT, (41,)
    world.later(11 * MINUTE)
    world.give(RunEnded(run_id=RunId("p/one-1/agent"), exit=STOPPED))
    world.settle()
    assert world.task("one").state is TaskState.BACKOFF
    assert world.inbox() == ()


def test_a_supervisor_that_does_not_hear_is_killed_after_its_grace() -> None:
    world = hanging()
    world.deaf = True
    world.give(EvictAsked(task_id=ONE, reason="wrong branch", by="me"))
    world.settle()
    assert ONE in world.plan_run.leases, "free while its agent runs"
    world.later(2 * MINUTE)
    assert [e.cause for e in world.of(LeaseEnded)][:1] == ["evicted"]


def test_an_evicted_task_is_free_at_once_and_its_next_holder_is_told() -> None:
    world = hanging()
    world.give(EvictAsked(task_id=ONE, reason="wrong approach", by="me"))
    world.settle()
    [ended, *_] = world.of(AttemptEnded)
    assert ended.ending is Ending.EVICTED
    assert [e.token for e in world.of(LeaseGranted)] == [1, 2]
    assert "wrong approach" in world.task("one").findings[0]
    assert world.task("one").failures == 0, "a person's word is no failure of the infrastructure"


def test_nobody_can_be_evicted_from_a_task_that_nobody_holds() -> None:
    world = World(a_plan(a_task("one"), a_task("two", agent=HAND))).run()
    with pytest.raises(RefusedError, match="nobody holds"):
        world.give(EvictAsked(task_id=ONE, reason="x", by="me"))


def test_a_new_daemon_gives_every_holder_time_to_be_heard() -> None:
    world = hanging()
    world.now += timedelta(hours=5)  # no daemon was there, so nothing was due
    started(world)
    assert held(world).expires_at == world.now + LeaseTerms().grace
    beat(world)
    world.later(2 * MINUTE)
    assert world.of(LeaseSuspected) == []


def test_what_a_restart_of_the_machine_ended_is_told_as_that() -> None:
    world = hanging()
    started(world, boot_id="another")
    from orchestrator.model.attempt import ExitWhy, RunExit

    world.give(RunEnded(run_id=RunId("p/one-1/agent"), exit=RunExit(why=ExitWhy.LOST)))
    world.settle()
    assert "restarted" in world.task("one").findings[0]


def test_what_a_replaced_holder_brings_is_kept_and_shown_and_taken_for_nothing() -> None:
    world = hanging()
    world.give(EvictAsked(task_id=ONE, reason="x", by="me"))
    world.settle()
    old = attempt_id(world.plan.name, ONE, 1)
    before = world.task("one")
    world.give(
        WorkCollected(
            attempt_id=old,
            head=Commit("late"),
            descends=True,
            changed=("src/one.py",),
            committed_by_us=False,
            unfinished_merge=(),
            nested=(),
            salvage=("refs/orchestrator/p/one-1.salvage-1",),
        )
    )
    [late] = world.of(LateResult)
    assert late.salvage == ("refs/orchestrator/p/one-1.salvage-1",)
    assert world.task("one") == before
    assert world.plan_run.attempts[old].salvage == late.salvage


def test_the_daemon_itself_is_never_doubted_while_it_makes_a_tree() -> None:
    world = World(a_plan(a_task("one")))
    world.hold = lambda effect: effect.key.endswith("/worktree")
    world.settle().later(timedelta(hours=2))
    assert world.of(LeaseSuspected) == []
    world.release_held().run()
    assert world.task("one").state is TaskState.LANDED


# ---- claims by hand ----


def by_hand(*tasks: str, **more: Any) -> World:
    """A world whose tasks are left to who claims them."""
    return World(a_plan(*(a_task(name, agent=HAND) for name in tasks or ("one",)), **more)).settle()


def claim(world: World, holder: str = "alice", task: str | None = "one", **more: Any) -> int:
    world.give(ClaimAsked(task_id=TaskId(task) if task else None, holder=holder, by="me", **more))
    world.settle()
    return max(lease.token for lease in world.plan_run.leases.values())


def test_a_task_for_hand_started_agents_starts_only_when_it_is_claimed() -> None:
    world = by_hand()
    assert world.of(LeaseGranted) == []
    token = claim(world)
    assert world.plan_run.attempts[held(world).attempt_id].state is AttemptState.RUNNING
    world.give(FinishAsked(task_id=ONE, token=token, by="me", summary="done"))
    world.run()
    assert world.task("one").state is TaskState.LANDED
    assert len(world.of(Landed)) == 1


def test_what_a_holder_hands_in_is_judged_as_an_agents_work_is() -> None:
    world = by_hand()
    world.scripts["one"] = [Script(changed=("elsewhere.py",)), Script()]
    token = claim(world)
    world.give(FinishAsked(task_id=ONE, token=token, by="me"))
    world.settle()
    assert world.task("one").state is TaskState.PENDING
    assert "elsewhere.py" in world.task("one").findings[0]
    assert claim(world) > token


def test_without_a_task_the_best_that_may_start_is_claimed() -> None:
    world = World(
        a_plan(
            a_task("low", agent=HAND, priority=10),
            a_task("high", agent=HAND, priority=90),
            a_task("later", agent=HAND, priority=99, depends_on=(TaskId("low"),)),
        )
    ).settle()
    claim(world, task=None)
    assert list(world.plan_run.leases) == ["high"]


def test_a_holder_gives_back_before_it_claims_again() -> None:
    world = by_hand("one", "two")
    token = claim(world)
    with pytest.raises(RefusedError, match="holds 'one' already"):
        claim(world, task="two")
    world.give(ReleaseAsked(task_id=ONE, token=token, by="me", reason="lunch"))
    world.settle()
    assert claim(world, task="two") == token + 1
    assert world.task("one").state is TaskState.PENDING
    assert world.of(AttemptEnded)[0].ending is Ending.RELEASED


def test_whoever_is_refused_hears_how_long_the_holder_has_left() -> None:
    world = by_hand()
    claim(world)
    world.later(3 * MINUTE)
    with pytest.raises(RefusedError) as refused:
        claim(world, "bob")
    assert "for another 7m" in refused.value.why


def test_what_would_not_die_under_a_claim_by_hand_is_killed_again_and_not_only_looked_for() -> None:
    world = World(a_plan(a_task("one", agent=HAND), prepare=1)).settle()
    world.deaf, world.undead = True, (41,)
    world.hold = lambda effect: isinstance(effect, ReleaseRun)
    claim(world)
    world.give(EvictAsked(task_id=ONE, reason="wrong", by="me"))
    world.settle()
    world.later(2 * MINUTE)
    [item] = world.inbox()
    world.answer_item("retry", item=item.id).settle()
    assert held(world).state is LeaseState.STUCK, "free while a process of it lives"
    world.undead = ()
    world.answer_item("retry").settle()
    assert held_by_nobody(world)


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        pytest.param({"holder": "bob"}, "is held by alice", id="somebody else has it"),
        pytest.param({"holder": "bob", "task": "after"}, "may not start yet", id="its dependency has not landed"),
        pytest.param({"holder": "bob", "task": "beside"}, "may not start yet", id="its files are held"),
        pytest.param({"holder": "bob", "task": "nothing"}, "has no task", id="no such task"),
    ],
)
def test_a_claim_is_checked_as_every_start_is(refused: dict[str, Any], said: str) -> None:
    world = World(
        a_plan(
            a_task("one", agent=HAND),
            a_task("after", agent=HAND, depends_on=(ONE,)),
            a_task("beside", ["src/one.py"], agent=HAND),
        )
    ).settle()
    claim(world)
    with pytest.raises(OrchestratorError) as caught:
        claim(world, **refused)
    assert said in f"{caught.value}"


def test_a_claim_without_an_end_needs_a_reason_and_there_are_few_of_them() -> None:
    world = by_hand("one", "two", "three", "four", parallel=8)
    started(world, terms=LeaseTerms(indefinite=2))
    with pytest.raises(UsageError, match="needs a reason"):
        claim(world, ttl=timedelta())
    claim(world, ttl=timedelta(), reason="on a train")
    claim(world, "bob", "two", ttl=timedelta(), reason="on a plane")
    with pytest.raises(RefusedError, match="too many"):
        claim(world, "carol", "three", ttl=timedelta(), reason="on a boat")
    claim(world, "carol", "three", ttl=MINUTE)


def test_a_claim_without_an_end_is_brought_up_when_its_time_to_be_looked_at_has_come() -> None:
    world = by_hand()
    claim(world, ttl=timedelta(), reason="on a train", review=timedelta(minutes=30))
    world.later(29 * MINUTE)
    assert world.inbox() == ()
    world.later(2 * MINUTE)
    [item] = world.inbox()
    assert "on a train" in item.context
    world.answer_item("leave", item=item.id).later(2 * MINUTE)
    assert world.inbox() == ()
    assert held(world).review_by == world.now - 2 * MINUTE + LeaseTerms().review


def test_under_a_stale_claim_nothing_is_handed_in_until_its_holder_is_heard_again() -> None:
    world = by_hand()
    token = claim(world, ttl=timedelta(), reason="on a train")
    world.later(timedelta(hours=2))
    with pytest.raises(RefusedError, match="in doubt"):
        world.give(FinishAsked(task_id=ONE, token=token, by="me"))
    world.give(RenewAsked(task_id=ONE, token=token, renew=True, by="me"))
    world.give(FinishAsked(task_id=ONE, token=token, by="me"))
    world.run()
    assert world.task("one").state is TaskState.LANDED


def test_a_silent_holder_loses_its_task_when_nobody_is_in_its_tree() -> None:
    world = by_hand()
    token = claim(world)
    world.later(11 * MINUTE)
    assert held_by_nobody(world)
    with pytest.raises(RefusedError, match="does not hold"):
        world.give(RenewAsked(task_id=ONE, token=token, renew=True, by="me"))
    world.later(2 * MINUTE)
    assert claim(world, "bob") == token + 1


def held_by_nobody(world: World) -> bool:
    return not world.plan_run.leases


def test_a_silent_holder_keeps_its_task_while_a_process_is_in_its_tree() -> None:
    world = by_hand()
    world.inside = (77,)
    claim(world)
    world.later(11 * MINUTE)
    assert held(world).state is LeaseState.STUCK
    [item] = world.inbox()
    assert "77" in item.context
    with pytest.raises(RefusedError, match="is held by alice"):
        claim(world, "bob")
    world.answer_item("leave", item=item.id).settle()
    assert held(world).state is LeaseState.LIVE
    world.later(11 * MINUTE)
    world.inside = ()
    world.answer_item("retry").settle()
    assert held_by_nobody(world)
    assert world.of(LeaseStuck)


def test_heartbeats_keep_a_claim() -> None:
    world = by_hand()
    token = claim(world, ttl=10 * MINUTE)
    for _ in range(60):
        world.later(MINUTE)
        world.give(RenewAsked(task_id=ONE, token=token, renew=False, by="me"))
    assert world.of(LeaseSuspected) == []


@pytest.mark.parametrize(
    "asked",
    [
        RenewAsked(task_id=ONE, token=9, renew=True, by="me"),
        ReleaseAsked(task_id=ONE, token=9, by="me"),
        FinishAsked(task_id=ONE, token=9, by="me"),
    ],
)
def test_another_token_is_refused(asked: Any) -> None:
    world = by_hand()
    claim(world)
    before = world.state
    with pytest.raises(RefusedError, match="token 9 does not hold"):
        world.give(asked)
    assert world.state == before


def test_a_cancelled_claim_frees_its_files_only_when_nobody_is_in_the_tree() -> None:
    world = World(a_plan(a_task("one", agent=HAND), a_task("two", ["src/one.py"], agent=HAND))).settle()
    world.inside = (5,)
    claim(world)
    from orchestrator.model.fact import CancelAsked

    world.give(CancelAsked(task_id=ONE, by="me"))
    world.settle()
    with pytest.raises(RefusedError, match="may not start"):
        claim(world, "bob", "two")
    world.inside = ()
    [item] = [i for i in world.inbox() if i.trigger == "stop"]
    world.answer_item("retry", item=ItemId(item.id)).settle()
    claim(world, "bob", "two")
