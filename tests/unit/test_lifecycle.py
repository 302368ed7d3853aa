"""What each fact leads to, told as whole stories in a world of values."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.core.lifecycle import may_exit
from orchestrator.model.agent import Asked, HandedIn, NoChange, Progress
from orchestrator.model.attempt import ExitWhy, FailureKind, ProcessId, RunExit, RunKind
from orchestrator.model.effect import BuildCandidate, CollectWork, LandCandidate, MakeWorkspace, StartRun, StopRun
from orchestrator.model.errors import NothingError, OrchestratorError, RefusedError
from orchestrator.model.event import (
    AttemptEnded,
    AttemptStarted,
    BackoffStarted,
    CandidateRequested,
    CheckPassed,
    GateFailed,
    Landed,
    LeaseEnded,
    LeaseGranted,
    ProgressReported,
    PublishBegan,
    Published,
    RunLaunched,
    RunRequested,
    SentBack,
    Synced,
    TaskAdded,
    TreeRemoved,
)
from orchestrator.model.fact import (
    AgentReported,
    CancelAsked,
    CandidateLanded,
    EffectFailed,
    PauseAsked,
    PublishAsked,
    ResumeAsked,
    RetryAsked,
    RunEnded,
    RunReady,
    StopAsked,
    TargetMoved,
)
from orchestrator.model.ids import Commit, PlanId, RunId, TaskId, attempt_id, candidate_id
from orchestrator.model.item import ItemKind
from orchestrator.model.plan import FileSet, PublishMode, RetryPolicy
from orchestrator.model.run import PlanPhase, TaskState
from tests.fakes.world import CRASH, OK, TIMEOUT, Script, World, a_plan, a_task


def landed_order(world: World) -> list[str]:
    return [event.task_id for event in world.of(Landed)]


def test_two_independent_tasks_land_and_are_published() -> None:
    world = World(a_plan(a_task("one"), a_task("two"))).run()
    assert world.states() == {"one": TaskState.LANDED, "two": TaskState.LANDED}
    assert world.plan_run.phase is PlanPhase.PUBLISHED
    assert world.most_at_once == 2
    assert world.of(Published)[0].commit == world.plan_run.tip


def test_a_dependant_starts_only_after_its_dependency_has_landed() -> None:
    world = World(a_plan(a_task("base"), a_task("top", depends_on=(TaskId("base"),)))).run()
    names = [(type(e).__name__, e.task_id) for e in world.events if isinstance(e, Landed | AttemptStarted)]
    assert names.index(("Landed", "base")) < names.index(("AttemptStarted", "top"))


def test_a_diamond_lands_with_one_candidate_for_each_task() -> None:
    tasks = [
        a_task("root"),
        a_task("left", depends_on=(TaskId("root"),)),
        a_task("right", depends_on=(TaskId("root"),)),
        a_task("join", depends_on=(TaskId("left"), TaskId("right"))),
    ]
    world = World(a_plan(*tasks)).run()
    assert landed_order(world)[0] == "root"
    assert landed_order(world)[-1] == "join"
    parents = [e.parent for e in world.of(CandidateRequested)]
    assert len(set(parents)) == 4, "each candidate stands on the one before"


def test_tasks_that_share_a_file_never_run_at_once() -> None:
    world = World(a_plan(*(a_task(f"t{n}", files=["src/same.py"]) for n in range(4)))).run()
    assert world.most_at_once == 1
    assert all(state is TaskState.LANDED for state in world.states().values())


def test_tasks_that_share_a_resource_never_run_at_once() -> None:
    world = World(a_plan(a_task("one", uses=("db",)), a_task("two", uses=("db",)))).run()
    assert world.most_at_once == 1


def test_parallel_and_the_agents_count_limit_what_runs_at_once() -> None:
    assert World(a_plan(*(a_task(f"t{n}") for n in range(6)), parallel=2)).run().most_at_once == 2


def test_a_blocked_task_blocks_nobody_behind_it() -> None:
    tasks = [
        a_task("first", files=["a.py"]),
        a_task("second", files=["a.py"], priority=90),
        a_task("third", files=["b.py"]),
    ]
    world = World(a_plan(*tasks)).run()
    starts = [e.task_id for e in world.of(LeaseGranted)]
    assert starts.index("third") < starts.index("first")
    assert starts[0] == "second", "the higher priority goes first"


@pytest.mark.parametrize(
    ("crashes", "state", "waits"),
    [
        pytest.param(1, TaskState.LANDED, [60], id="one crash is waited out"),
        pytest.param(3, TaskState.LANDED, [60, 300, 900], id="three crashes are waited out longer and longer"),
        pytest.param(4, TaskState.ESCALATED, [60, 300, 900], id="the fourth asks a person"),
    ],
)
def test_crashes_lead_to(crashes: int, state: TaskState, waits: list[int]) -> None:
    world = World(a_plan(a_task("one")))
    world.scripts["one"] = [Script(exit=CRASH)] * crashes
    world.run()
    assert world.task("one").state is state
    backoffs = world.of(BackoffStarted)
    times = [t for t, e in zip(world.times, world.events, strict=True) if isinstance(e, BackoffStarted)]
    assert [(e.retry_at - t).total_seconds() for e, t in zip(backoffs, times, strict=True)] == waits
    if state is TaskState.ESCALATED:
        assert world.inbox()[0].kind is ItemKind.AGENT_FAILED
        assert not world.task("one").holds, "nobody works on it, so its files are free"


def test_no_retries_asks_at_the_first_failure() -> None:
    world = World(a_plan(a_task("one", retry=RetryPolicy(retries=0, waits=(timedelta(minutes=1),)))))
    world.scripts["one"] = [Script(exit=CRASH)]
    assert world.run().inbox()[0].trigger == "crash"


def test_after_a_time_out_another_fitting_agent_goes_first() -> None:
    world = World(a_plan(a_task("one", agent="a")))
    world.scripts["one"] = [Script(exit=TIMEOUT)]
    world.run()
    assert [e.agent for e in world.of(AttemptStarted)] == ["a", "b"]


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        pytest.param(Script(changed=()), FailureKind.NO_CHANGE, id="said done and did nothing"),
        pytest.param(
            Script(changed=("src/one.py", "README.md")), FailureKind.OUTSIDE_FILES, id="strayed outside its files"
        ),
        pytest.param(Script(more={"descends": False}), FailureKind.REFUSED, id="threw its base away"),
        pytest.param(Script(more={"unfinished_merge": ("a",)}), FailureKind.REFUSED, id="left conflict markers"),
        pytest.param(Script(more={"nested": ("lib",)}), FailureKind.OUTSIDE_FILES, id="left a repository inside"),
    ],
)
def test_work_that_does_not_hold_goes_back_once_and_then_asks(script: Script, kind: FailureKind) -> None:
    world = World(a_plan(a_task("one")))
    world.scripts["one"] = [script, script]
    world.run()
    assert [e.failure for e in world.of(SentBack)] == [kind]
    item = world.inbox()[0]
    assert (item.kind, item.trigger) == (ItemKind.WORK_FAILED, kind.value)
    assert world.task("one").holds, "a person may still send it back"
    assert not world.of(Landed)


def test_findings_reach_the_next_attempt_and_a_persons_retry_counts_anew() -> None:
    world = World(a_plan(a_task("one")))
    world.scripts["one"] = [Script(changed=("x",)), Script(changed=("x",)), Script(changed=("x",))]
    world.run()
    assert "outside_files" in world.task("one").findings[0]
    world.answer_item("retry", "stay inside").run()
    assert world.task("one").work_failures == 0
    assert world.task("one").state is TaskState.LANDED
    assert world.task("one").attempts == 4, "the third goes back once more, the fourth does well"


def test_a_declared_no_op_lands_without_commit_or_gate() -> None:
    world = World(a_plan(a_task("one"), a_task("two", depends_on=(TaskId("one"),))))
    world.scripts["one"] = [Script(changed=(), reports=(NoChange(reason="it is so already"),))]
    world.run()
    assert world.task("one").landed_commit is None
    assert world.states() == {"one": TaskState.LANDED, "two": TaskState.LANDED}
    assert [e.task_id for e in world.of(CandidateRequested)] == ["two"]


def test_a_task_with_empty_files_needs_no_commit() -> None:
    world = World(a_plan(a_task("look", files=[])))
    world.scripts["look"] = [Script(changed=())]
    assert world.run().task("look").state is TaskState.LANDED


def test_red_checks_go_back_with_their_output_and_the_second_red_asks() -> None:
    world = World(a_plan(a_task("one")))
    world.check = lambda task, name: CRASH
    world.run()
    assert len(world.of(GateFailed)) == 2
    assert "check output" in world.of(SentBack)[0].findings[0]
    assert world.inbox()[0].trigger == "checks_red"
    assert world.plan_run.tip == "target-0", "nothing red lands"


@pytest.mark.parametrize(
    "exit",
    [
        pytest.param(RunExit(why=ExitWhy.TIMEOUT, code=-15), id="timed out"),
        pytest.param(RunExit(why=ExitWhy.NOT_FOUND), id="could not be started"),
        pytest.param(RunExit(why=ExitWhy.STOPPED, code=-15), id="was stopped"),
        pytest.param(RunExit(why=ExitWhy.EXIT, code=-9), id="was killed"),
    ],
)
def test_a_check_that_did_not_end_well_is_never_green(exit: RunExit) -> None:
    world = World(a_plan(a_task("one")))
    world.check = lambda task, name: exit
    world.run()
    assert not world.of(Landed)


def test_a_check_whose_supervisor_was_lost_runs_again() -> None:
    world = World(a_plan(a_task("one")))
    exits = [RunExit(why=ExitWhy.LOST), OK]
    world.check = lambda task, name: exits.pop(0)
    assert world.run().task("one").state is TaskState.LANDED


def test_a_conflict_asks_and_sent_back_it_goes_on_from_its_branch() -> None:
    world = World(a_plan(a_task("one"), a_task("two")))
    world.conflicts["two"] = [("src/two.py",)]
    world.run()
    item = world.inbox()[0]
    assert item.kind is ItemKind.CONFLICT
    assert [option.id for option in item.options] == ["send_back", "by_hand", "drop"]
    head = world.task("two").hand_off
    assert head is not None
    seen: list[MakeWorkspace] = []
    world.hold = lambda effect: bool(isinstance(effect, MakeWorkspace) and seen.append(effect))
    world.answer_item("send_back").run()
    assert seen[0].start == head.head
    assert seen[0].base == world.of(Landed)[0].commit
    assert world.plan_run.phase is PlanPhase.PUBLISHED


def test_a_conflict_dropped_cancels_the_task_and_the_rest_is_asked_about() -> None:
    world = World(a_plan(a_task("one"), a_task("two"), a_task("three", depends_on=(TaskId("two"),))))
    world.conflicts["two"] = [("src/two.py",)]
    world.run().answer_item("drop").run()
    assert world.states() == {
        "one": TaskState.LANDED,
        "two": TaskState.CANCELLED,
        "three": TaskState.PENDING,
    }
    item = world.inbox()[0]
    assert item.kind is ItemKind.INCOMPLETE
    assert world.target == "target-0", "an incomplete result is a person's decision"
    world.answer_item("publish").run()
    assert world.plan_run.phase is PlanPhase.PUBLISHED


def test_an_incomplete_result_may_be_left() -> None:
    world = World(a_plan(a_task("one"), a_task("two")))
    world.conflicts["two"] = [("x",)]
    world.run().answer_item("drop").run().answer_item("leave").run()
    assert world.plan_run.phase is PlanPhase.FINISHED
    assert world.target == "target-0"


def test_a_target_that_moved_is_taken_in_before_the_next_task() -> None:
    world = World(a_plan(a_task("one"), a_task("two")))
    world.target = Commit("target-1")
    world.run()
    order = [type(e).__name__ for e in world.events if isinstance(e, Synced | Landed)]
    assert order == ["Synced", "Landed", "Landed"]
    assert world.of(Synced)[0].target == "target-1"
    assert world.plan_run.phase is PlanPhase.PUBLISHED


def test_a_target_that_moves_at_publish_is_taken_in_then() -> None:
    world = World(a_plan(a_task("one")))
    world.hold = lambda effect: type(effect).__name__ == "PublishPlan"
    world.run()
    world.target = Commit("target-1")
    world.release_held().run()
    assert [type(e).__name__ for e in world.events if isinstance(e, Synced | Published)] == ["Synced", "Published"]
    assert len(world.of(PublishBegan)) == 2


def test_a_sync_conflict_asks_and_an_agent_may_resolve_it() -> None:
    world = World(a_plan(a_task("one")))
    world.hold = lambda effect: type(effect).__name__ == "PublishPlan"
    world.run()
    world.target = Commit("target-1")
    world.conflicts[None] = [("src/one.py",)]
    world.release_held().run()
    item = world.inbox()[0]
    assert (item.kind, item.task_id, item.paths) == (ItemKind.CONFLICT, None, ("src/one.py",))
    assert "'one'" in item.context, "the landed tasks that touched the paths are named"
    world.answer_item("send_back").run()
    added = world.of(TaskAdded)[0]
    assert added.task.files == FileSet(include=("src/one.py",))
    assert added.merges == "target-1"
    assert world.plan_run.phase is PlanPhase.PUBLISHED


def test_a_sync_conflict_may_be_left_and_nothing_landed_is_dropped() -> None:
    world = World(a_plan(a_task("one")))
    world.hold = lambda effect: type(effect).__name__ == "PublishPlan"
    world.run()
    world.target = Commit("target-1")
    world.conflicts[None] = [("src/one.py",)]
    world.release_held().run().answer_item("leave").run()
    assert world.plan_run.phase is PlanPhase.FINISHED
    assert world.task("one").state is TaskState.LANDED
    assert world.target == "target-1"


def test_a_sync_with_red_checks_asks_and_tasks_go_on_landing() -> None:
    world = World(a_plan(a_task("one"), a_task("two")))
    world.target = Commit("target-1")
    world.check = lambda task, name: CRASH if task is None else OK
    world.run()
    assert set(world.states().values()) == {TaskState.LANDED}
    assert world.inbox()[0].trigger == "checks_red"
    assert world.target == "target-1"


def test_a_target_that_never_rests_is_given_to_a_person() -> None:
    world = World(a_plan(a_task("one")))
    moves = iter(range(1, 100))

    def always_moves(effect: object) -> bool:
        if type(effect).__name__ == "PublishPlan":
            world.target = Commit(f"target-{next(moves)}")
        return False

    world.hold = always_moves
    world.run()
    assert world.inbox()[0].kind is ItemKind.PUBLISH_REFUSED
    assert len(world.of(Synced)) == 5


def test_a_refused_publish_leaves_all_and_asks() -> None:
    world = World(a_plan(a_task("one")))
    world.refuse_publish = ["src/one.py would be overwritten"]
    world.run()
    assert world.inbox()[0].kind is ItemKind.PUBLISH_REFUSED
    assert "git merge" in world.inbox()[0].context
    world.answer_item("retry").run()
    assert world.plan_run.phase is PlanPhase.PUBLISHED


def test_publish_manual_waits_for_the_verb() -> None:
    world = World(a_plan(a_task("one"), publish=PublishMode.MANUAL)).run()
    assert world.plan_run.phase is PlanPhase.FINISHED
    assert world.target == "target-0"
    world.give(PublishAsked(by="me"))
    assert world.run().plan_run.phase is PlanPhase.PUBLISHED


def test_protected_paths_need_a_persons_yes() -> None:
    plan = a_plan(a_task("one", files=["src/one.py", "Makefile"]), protected=FileSet(include=("makefile",)))
    world = World(plan)
    world.scripts["one"] = [Script(changed=("src/one.py", "Makefile")), Script(changed=("src/one.py",))]
    world.run()
    assert world.task("one").state is TaskState.FOR_REVIEW
    assert world.inbox()[0].kind is ItemKind.PROTECTED
    world.answer_item("reject", "leave the Makefile alone").run()
    assert world.task("one").state is TaskState.LANDED
    assert "leave the Makefile alone" in world.of(SentBack)[0].findings[0]


def test_protected_paths_approved_go_to_the_gate() -> None:
    world = World(a_plan(a_task("one", files=["Makefile"]), protected=FileSet(include=("Makefile",))))
    world.run().answer_item("approve").run()
    assert world.task("one").state is TaskState.LANDED


def test_a_question_of_a_live_agent_waits_without_taking_a_place() -> None:
    world = World(a_plan(a_task("one"), a_task("two"), parallel=1))
    world.scripts["one"] = [Script(hangs=True, reports=(Asked(question_id="q", text="which?", options=("x", "y")),))]
    world.run()
    assert world.task("one").state is TaskState.RUNNING
    assert world.task("two").state is TaskState.LANDED, "a waiting attempt leaves its place"
    world.answer_item("x").run()
    assert world.sent[0].choice == "x"
    assert world.task("one").state is TaskState.LANDED


def test_a_question_answered_after_its_agent_ended_goes_to_the_next_attempt() -> None:
    world = World(a_plan(a_task("one")))
    world.scripts["one"] = [Script(reports=(Asked(question_id="q", text="which?"),))]
    world.run()
    assert world.task("one").state is TaskState.ESCALATED
    world.answer_item("text", "the blue one").run()
    assert "the blue one" in world.task("one").answers[0]
    assert world.task("one").state is TaskState.LANDED
    assert world.of(AttemptStarted)[1].start == "head-p/one-1", "it goes on with its branch"


def test_a_persons_task_is_an_item_and_holds_its_files() -> None:
    world = World(a_plan(a_task("mine", agent="human", files=["a.py"]), a_task("other", files=["a.py"])))
    world.run()
    assert world.inbox()[0].kind is ItemKind.HUMAN_TASK
    assert world.task("other").state is TaskState.PENDING, "two never work on one file, people included"
    world.answer_item("done").run()
    assert world.states() == {"mine": TaskState.LANDED, "other": TaskState.LANDED}


def test_pause_starts_nothing_and_resume_goes_on() -> None:
    world = World(a_plan(a_task("one")))
    world.give(PauseAsked(by="me"))
    world.run()
    assert world.task("one").state is TaskState.PENDING
    world.give(ResumeAsked(by="me"))
    assert world.run().task("one").state is TaskState.LANDED


def test_cancel_stops_the_agent_before_its_files_are_free() -> None:
    world = World(a_plan(a_task("one", files=["a.py"]), a_task("two", files=["a.py"])))
    world.scripts["one"] = [Script(hangs=True)]
    world.run()
    world.hold = lambda effect: isinstance(effect, CollectWork)
    world.give(CancelAsked(task_id=TaskId("one"), by="me"))
    world.settle()
    assert world.task("one").state is TaskState.CANCELLED
    assert world.task("two").state is TaskState.PENDING, "its processes may still write"
    world.release_held().run()
    assert world.task("two").state is TaskState.LANDED


def test_cancel_all_ends_the_plan_and_stops_everything() -> None:
    world = World(a_plan(a_task("one"), a_task("two", depends_on=(TaskId("one"),))))
    world.scripts["one"] = [Script(hangs=True)]
    world.run()
    world.give(CancelAsked(task_id=None, by="me", reason="enough"))
    world.run()
    assert set(world.states().values()) == {TaskState.CANCELLED}
    assert world.plan_run.phase is PlanPhase.CANCELLED
    assert not world.plan_run.leases
    assert world.of(AttemptEnded)[0].ending == "cancelled"


def test_retry_of_a_given_up_task_starts_afresh() -> None:
    world = World(a_plan(a_task("one")))
    world.scripts["one"] = [Script(exit=CRASH)] * 4
    world.run().answer_item("give_up").run()
    assert world.task("one").state is TaskState.FAILED
    world.give(RetryAsked(task_id=TaskId("one"), by="me"))
    assert world.run().plan_run.phase is PlanPhase.PUBLISHED


def test_stop_now_ends_agents_and_they_are_tried_again_later() -> None:
    world = World(a_plan(a_task("one")))
    world.scripts["one"] = [Script(hangs=True)]
    world.run()
    world.give(StopAsked(by="me", now=True))
    world.settle()
    assert world.task("one").last_failure is FailureKind.INTERRUPTED
    assert world.task("one").state is TaskState.BACKOFF


@pytest.mark.parametrize("asked", [CancelAsked(task_id=TaskId("one"), by="me"), StopAsked(by="me", now=True)])
def test_an_agent_asked_to_stop_while_its_supervisor_comes_up_is_never_started(asked: CancelAsked | StopAsked) -> None:
    world = World(a_plan(a_task("one")))
    world.hold = lambda effect: isinstance(effect, StartRun | StopRun)
    world.settle()
    world.give(asked)
    run = RunId("p/one-1/agent")
    world.give(RunReady(run_id=run, supervisor=ProcessId(pid=2, start_time=1, boot_id="b")))
    world.give(RunEnded(run_id=run, exit=RunExit(why=ExitWhy.NEVER_STARTED, code=None)))
    world.settle()
    assert len(world.of(RunRequested)) == 1
    assert not world.of(RunLaunched)
    assert not world.plan_run.runs


def test_stop_finishes_what_runs_and_starts_nothing() -> None:
    world = World(a_plan(a_task("one"), a_task("two", depends_on=(TaskId("one"),))))
    world.hold = lambda effect: isinstance(effect, CollectWork)
    world.run()
    world.give(StopAsked(by="me"))
    world.release_held().run()
    assert world.states() == {"one": TaskState.LANDED, "two": TaskState.PENDING}


def test_a_second_plan_is_refused_while_one_runs() -> None:
    world = World(a_plan(a_task("one")))
    with pytest.raises(RefusedError, match="'p' is running") as refused:
        world.submit(a_plan(a_task("x"), name="other"))
    assert "cancel --all" in refused.value.fix


def test_the_same_plan_again_changes_nothing() -> None:
    world = World(a_plan(a_task("one")))
    before = world.state
    world.submit(world.plan)
    assert world.state == before


def test_a_revision_keeps_what_landed_and_never_rescopes_what_runs() -> None:
    world = World(a_plan(a_task("one"), a_task("two", depends_on=(TaskId("one"),))))
    world.scripts["two"] = [Script(hangs=True)]
    world.run()
    with pytest.raises(RefusedError, match="'two' is running"):
        world.submit(a_plan(a_task("one"), a_task("two", prompt="other words")), "d2")
    world.submit(a_plan(a_task("two", depends_on=(TaskId("one"),)), a_task("one"), a_task("three")), "d2")
    world.run()
    assert world.states()["one"] is TaskState.LANDED
    assert world.states()["three"] is TaskState.LANDED


NEVER = RetryPolicy(retries=0, waits=(timedelta(minutes=1),))


def test_another_text_for_a_task_that_failed_is_an_answer_and_it_begins_anew() -> None:
    world = World(a_plan(a_task("one", retry=NEVER)))
    world.scripts["one"] = [Script(exit=CRASH)]
    world.run()
    assert world.task("one").state is TaskState.ESCALATED
    assert "agent output" in world.inbox()[0].context, "what the program said last is what a person looks for"
    world.submit(a_plan(a_task("one", retry=NEVER, prompt="better words")), "d2")
    world.run()
    assert world.states()["one"] is TaskState.LANDED
    assert not world.inbox()


def test_a_finished_plan_started_again_is_a_new_run_and_attempt_numbers_go_on() -> None:
    world = World(a_plan(a_task("one"))).run()
    world.submit(world.plan)
    world.run()
    assert world.plan_run.number == 2
    assert world.task("one").attempts == 2
    assert world.plan_run.phase is PlanPhase.PUBLISHED


@pytest.mark.parametrize(
    ("plan", "error", "said"),
    [
        pytest.param("p", None, "", id="the one that is worked on"),
        pytest.param(None, None, "", id="none named"),
        pytest.param("gone", NothingError, "no plan 'gone' has run here", id="unknown"),
        pytest.param("first", RefusedError, "plan 'first' is not the one that is worked on", id="an earlier one"),
    ],
)
@pytest.mark.parametrize("ask", [RetryAsked, CancelAsked])
def test_what_is_asked_for_another_plan_is_refused(
    ask: type[Any], plan: str | None, error: type[Exception] | None, said: str
) -> None:
    world = World(a_plan(a_task("one"), name=PlanId("first"))).run()
    world.plan = a_plan(a_task("one"), name=PlanId("p"))
    world.scripts["one"] = [Script(exit=CRASH)]
    world.submit(world.plan)
    world.settle()
    assert world.task("one").state is TaskState.BACKOFF
    fact = ask(task_id=TaskId("one"), by="me", plan_id=PlanId(plan) if plan else None)
    if error is None:
        world.give(fact)
        assert world.task("one").state is not TaskState.BACKOFF
        return
    with pytest.raises(error, match=said):
        world.give(fact)


def test_the_word_of_an_evicted_attempt_changes_nothing() -> None:
    world = World(a_plan(a_task("one")))
    world.scripts["one"] = [Script(exit=CRASH), Script(hangs=True)]
    world.run()
    old = attempt_id(world.plan.name, TaskId("one"), 1)
    before = world.state
    world.give(world._collected(CollectWork(plan_id=world.plan.name, task_id=TaskId("one"), attempt_id=old, token=1)))
    assert world.state == before


def test_a_report_that_is_told_twice_is_taken_once() -> None:
    world = World(a_plan(a_task("one")))
    world.scripts["one"] = [Script(hangs=True)]
    world.run()
    attempt = attempt_id(world.plan.name, TaskId("one"), 1)
    told = AgentReported(attempt_id=attempt, report=Progress(text="half way"), offset=40)
    world.give(told)
    world.give(told)  # a daemon that takes a run up may have read a line that it had not recorded
    world.give(replace(told, offset=39))
    assert [event.text for event in world.of(ProgressReported)] == ["half way"]


def test_a_hand_off_summary_reaches_the_dependants_briefing() -> None:
    world = World(a_plan(a_task("one")))
    world.scripts["one"] = [Script(reports=(HandedIn(summary="made it"),))]
    world.run()
    hand_off = world.task("one").hand_off
    assert hand_off is not None
    assert hand_off.summary == "made it"


@pytest.mark.parametrize("choice", ["", "nonsense", "approve"])
def test_an_answer_that_is_no_option_is_refused(choice: str) -> None:
    world = World(a_plan(a_task("one")))
    world.scripts["one"] = [Script(exit=CRASH)] * 4
    world.run()
    with pytest.raises(OrchestratorError):
        world.answer_item(choice)
    assert world.inbox()


def test_every_lease_that_was_granted_has_ended_when_the_plan_is_over() -> None:
    world = World(a_plan(*(a_task(f"t{n}") for n in range(5)))).run()
    assert [e.token for e in world.of(LeaseGranted)] == sorted(e.token for e in world.of(LeaseEnded))


def test_attempt_numbers_are_never_used_again_even_over_a_run_without_the_task() -> None:
    world = World(a_plan(a_task("a"), a_task("b"))).run()
    world.submit(a_plan(a_task("a")), "d2")
    world.run()
    world.submit(a_plan(a_task("a"), a_task("b")), "d3")
    world.run()
    started = [e.attempt_id for e in world.of(AttemptStarted)]
    assert len(started) == len(set(started))
    assert world.task("b").attempts == 2


@pytest.mark.parametrize("ask", ["cancel", "cancel-all", "stop"])
def test_what_is_landing_lands_whatever_is_asked_that_moment(ask: str) -> None:
    world = World(a_plan(a_task("one"), a_task("two", depends_on=(TaskId("one"),))))
    world.hold = lambda effect: isinstance(effect, LandCandidate)
    world.run()
    match ask:
        case "cancel":
            with pytest.raises(RefusedError, match="landing"):
                world.give(CancelAsked(task_id=TaskId("one"), by="me"))
        case "cancel-all":
            world.give(CancelAsked(task_id=None, by="me"))
        case "stop":
            world.give(StopAsked(by="me", now=True))
            assert not may_exit(world.state), "the answer of the repository is still to come"
    world.release_held().settle()
    assert world.task("one").state is TaskState.LANDED
    assert world.plan_run.tip == world.of(Landed)[-1].commit


def test_retry_of_a_red_sync_never_publishes() -> None:
    world = World(a_plan(a_task("one"), a_task("two")))
    world.scripts["two"] = [Script(hangs=True)]
    world.target = Commit("target-1")
    world.check = lambda task, name: CRASH if task is None else OK
    world.run()
    world.check = lambda task, name: OK
    world.answer_item("retry").run()
    assert not world.of(PublishBegan)
    assert world.target == "target-1"


def test_publish_by_hand_takes_in_a_target_that_moved_after_the_plan_finished() -> None:
    world = World(a_plan(a_task("one"), publish=PublishMode.MANUAL)).run()
    world.target = Commit("target-1")
    world.give(PublishAsked(by="me"))
    world.run()
    assert [type(e).__name__ for e in world.events if isinstance(e, Synced | Published)] == ["Synced", "Published"]
    assert world.plan_run.phase is PlanPhase.PUBLISHED


def test_publish_by_hand_may_hit_a_conflict_that_an_agent_resolves() -> None:
    world = World(a_plan(a_task("one"), publish=PublishMode.MANUAL)).run()
    world.target = Commit("target-1")
    world.conflicts[None] = [("src/one.py",)]
    world.give(PublishAsked(by="me"))
    world.run().answer_item("send_back").run()
    assert world.of(TaskAdded)
    assert all(run.state is TaskState.LANDED for run in world.plan_run.tasks.values())


def test_an_answer_given_while_the_gate_is_busy_is_not_lost() -> None:
    world = World(a_plan(a_task("one"), a_task("two")))
    world.hold = lambda effect: isinstance(effect, BuildCandidate)
    world.run()
    world.hold = lambda effect: isinstance(effect, LandCandidate)
    world.todo.extend(world.held[:])
    world.held.clear()
    world.settle()
    world.give(PublishAsked(by="me")) if world.plan_run.tip != world.plan_run.started_at_commit else None
    world.release_held().run()
    assert world.plan_run.phase is PlanPhase.PUBLISHED


def test_a_check_lost_three_times_is_no_fault_of_the_work() -> None:
    world = World(a_plan(a_task("one")))
    world.check = lambda task, name: RunExit(why=ExitWhy.LOST)
    world.run()
    assert world.inbox()[0].kind is ItemKind.STUCK
    assert world.task("one").work_failures == 0
    world.check = lambda task, name: OK
    world.answer_item("retry").run()
    assert world.task("one").state is TaskState.LANDED


def test_every_try_of_a_check_has_a_folder_of_its_own() -> None:
    world = World(a_plan(a_task("one")))
    exits = [RunExit(why=ExitWhy.LOST), OK]
    world.check = lambda task, name: exits.pop(0)
    world.run()
    runs = [e.run_id for e in world.of(RunRequested) if e.kind is RunKind.CHECK]
    assert len(runs) == len(set(runs)) == 2


def test_a_revision_sends_the_candidate_to_the_gate_again_with_the_new_checks() -> None:
    world = World(a_plan(a_task("one"), checks=("old",)))
    world.hold = lambda effect: isinstance(effect, StartRun) and "check" in effect.run_id
    world.run()
    world.submit(a_plan(a_task("one"), checks=("new",)), "d2")
    world.release_held().run()
    assert [e.check for e in world.of(CheckPassed)] == ["check-new"]
    assert world.task("one").state is TaskState.LANDED


def test_a_revision_keeps_what_a_withdrawn_task_still_holds() -> None:
    world = World(a_plan(a_task("one", files=["same.py"])))
    world.scripts["one"] = [Script(hangs=True)]
    world.run()
    world.hold = lambda effect: isinstance(effect, CollectWork)
    world.submit(a_plan(a_task("new", files=["same.py"])), "d2")
    world.settle()
    assert world.states()["new"] is TaskState.PENDING, "the process of the old task may still write"
    world.release_held().run()
    assert world.states()["new"] is TaskState.LANDED


def test_protected_work_rejected_twice_is_escalated_and_may_be_tried_again() -> None:
    world = World(a_plan(a_task("one", files=["Makefile"]), protected=FileSet(include=("Makefile",))))
    world.run().answer_item("reject").run().answer_item("reject").run()
    assert world.task("one").state is TaskState.ESCALATED
    assert world.inbox()[0].kind is ItemKind.WORK_FAILED
    world.give(RetryAsked(task_id=TaskId("one"), by="me"))


def test_a_sync_resolved_wholly_to_one_side_still_goes_through_the_gate() -> None:
    world = World(a_plan(a_task("one")))
    world.hold = lambda effect: type(effect).__name__ == "PublishPlan"
    world.run()
    world.target = Commit("target-1")
    world.conflicts[None] = [("src/one.py",)]
    world.release_held().run()
    world.scripts["sync-target-1"] = [Script(changed=(), more={"head": Commit("the-merge")})]
    world.answer_item("send_back").run()
    assert world.plan_run.phase is PlanPhase.PUBLISHED
    assert "target-1" in world.contained


def test_a_question_nobody_waits_for_does_not_hold_up_work_that_is_done() -> None:
    world = World(a_plan(a_task("one")))
    world.scripts["one"] = [Script(reports=(Asked(question_id="q", text="?", waits=False),))]
    assert world.run().task("one").state is TaskState.LANDED


def test_an_effect_that_nothing_waits_for_and_that_failed_is_told_to_a_person() -> None:
    world = World(a_plan(a_task("one")))
    world.scripts["one"] = [Script(hangs=True)]
    world.run()
    world.give(EffectFailed(key="p/mirror/x", detail="disk full"))
    assert world.inbox()[0].kind is ItemKind.STUCK
    world.answer_item("leave")
    assert world.inbox() == ()


def test_a_late_word_on_an_earlier_candidate_does_not_touch_the_one_that_lands() -> None:
    world = World(a_plan(a_task("one")))
    world.hold = lambda effect: isinstance(effect, LandCandidate)
    world.run()
    world.give(TargetMoved(plan_id=world.plan.name, target=Commit("target-1")))
    assert world.task("one").state is TaskState.GATING
    world.release_held().run()
    assert world.task("one").state is TaskState.LANDED


def test_a_landing_that_is_told_again_lands_nothing_else() -> None:
    world = World(a_plan(a_task("one"), a_task("two")))
    second = candidate_id(world.plan.name, 2)
    world.hold = lambda effect: isinstance(effect, LandCandidate) and effect.candidate_id == second
    world.run()
    (first,) = world.of(Landed)
    before = world.state
    world.give(CandidateLanded(candidate_id=first.candidate_id, commit=first.commit))
    assert world.state == before
    assert world.plan_run.candidate is not None
    assert world.plan_run.candidate.id == second


def test_the_tree_of_a_candidate_that_could_not_be_checked_is_removed_once() -> None:
    world = World(a_plan(a_task("one")))
    world.check = lambda task, name: RunExit(why=ExitWhy.LOST)
    world.run()
    assert [e.owner for e in world.of(TreeRemoved)] == ["p/~1"]
