"""`start` and `plan`: nothing runs that a person did not confirm, and following ends as documented."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.model.assessment import Verdict
from orchestrator.model.errors import Problem, RefusedError
from orchestrator.model.ids import TaskId
from orchestrator.model.plan import FileSet, PublishMode
from orchestrator.model.run import PlanPhase, TaskState
from orchestrator.wire import dump
from tests.unit.cli_world import (
    COMMIT,
    DIGEST,
    OTHER_DIGEST,
    Ledger,
    World,
    a_plan,
    a_plan_task,
    a_plan_text,
    a_task,
    an_assessment,
    an_event,
    an_item,
    an_overlap,
    run,
)

LANDED = (a_task("db", TaskState.LANDED), a_task("api", TaskState.LANDED, order=1))


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "auth.yaml").write_text("tasks: []")
    return World(tmp_path, Ledger())


def runs_as(world: World, state: PlanPhase, *tasks: Any, items: Any = ()) -> None:
    """Let the daemon record this when the plan is handed in."""

    def recorded() -> None:
        assert world.ledger is not None
        world.ledger.plans = [a_plan(state=state)]
        world.ledger.tasks, world.ledger.items = list(tasks), list(items)
        world.ledger.stored.append(an_event(1, "plan_confirmed", number=1, by="ada", digest=DIGEST))
        world.ledger.changes += 1

    world.on_submit = recorded


START = ("start", "plans/auth.yaml")


# ---- confirming ----


@pytest.mark.parametrize(
    ("typed", "submitted"),
    [
        pytest.param(("y",), True, id="yes"),
        pytest.param(("YES",), True, id="yes in full"),
        pytest.param(("d", "y"), True, id="details first"),
        pytest.param(("",), False, id="just Enter"),
        pytest.param(("n",), False, id="no"),
        pytest.param(("sure", "yes please", ""), False, id="anything else"),
    ],
)
def test_only_a_yes_starts_the_plan(
    world: World, typed: tuple[str, ...], submitted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    runs_as(world, PlanPhase.PUBLISHED, *LANDED)
    code = run(world, *START, terminal=True, typed=typed)
    assert code == (0 if submitted else 4)
    assert [plan.digest for plan in world.submitted] == ([DIGEST] if submitted else [])
    assert ("Then say so." in capsys.readouterr().out) is ("d" in typed), "details show the prompts"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param([], 4, f"start plans/auth.yaml --confirm {DIGEST}", id="nobody to ask"),
        pytest.param(["--confirm", DIGEST], 0, "", id="the digest"),
        pytest.param(["--confirm", DIGEST[:12].upper()], 0, "", id="twelve digits of it"),
        pytest.param(["--confirm", DIGEST[:11]], 4, "at least 12 digits", id="eleven digits"),
        pytest.param(["--confirm", OTHER_DIGEST], 4, "has changed since", id="another digest"),
        pytest.param(["--confirm", "latest"], 4, "not the digest", id="no digest at all"),
        pytest.param(["--confirm", ""], 4, "too short", id="empty"),
    ],
)
def test_without_a_terminal_only_the_digest_is_a_yes(
    world: World, arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runs_as(world, PlanPhase.PUBLISHED, *LANDED)
    assert run(world, *START, *arguments) == code
    assert len(world.submitted) == (1 if code == 0 else 0)
    assert said in capsys.readouterr().err


def test_the_command_to_confirm_repeats_every_flag_that_was_given(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, *START, "--parallel", "2", "--agent", "codex", "--detach") == 4
    assert f"plans/auth.yaml --parallel 2 --agent codex --detach --confirm {DIGEST}" in capsys.readouterr().err
    [(path, overrides)] = world.checked
    assert path == world.place.root / "plans" / "auth.yaml"
    assert (overrides.parallel, overrides.agent) == (2, "codex")


def test_json_never_asks_and_carries_the_digest(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, *START, "--json", terminal=True) == 4
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert answer["error"]["code"] == "confirmation_needed"
    assert answer["data"]["digest"] == DIGEST
    assert captured.err == ""


@pytest.mark.parametrize(
    ("arguments", "terminal", "typed", "code"),
    [
        pytest.param(["--confirm", DIGEST], False, (), 4, id="confirmed, but not one by one"),
        pytest.param(["--confirm", DIGEST, "--sequential"], False, (), 0, id="both said"),
        pytest.param([], True, ("y", "n"), 4, id="second question: no"),
        pytest.param([], True, ("y", "y"), 0, id="second question: yes"),
        pytest.param(["--sequential"], True, ("y",), 0, id="the flag is the second yes"),
    ],
)
def test_a_plan_that_cannot_run_in_parallel_needs_a_second_yes(
    world: World,
    arguments: list[str],
    terminal: bool,
    typed: tuple[str, ...],
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    world.assessment = an_assessment(verdict=Verdict.SEQUENTIAL)
    runs_as(world, PlanPhase.PUBLISHED, *LANDED)
    assert run(world, *START, *arguments, terminal=terminal, typed=typed) == code
    assert [plan.sequential for plan in world.submitted] == ([True] if code == 0 else [])
    if code and not terminal:
        assert f"--sequential --confirm {DIGEST}" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [("start",), ("plan", "check"), ("plan", "show"), ("plan", "graph")])
def test_plan_errors_come_all_at_once(world: World, verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    first = Problem(code="unknown_key", message="no 'agnet'", why="w", fix="agent", file="a.yaml", line=3, column=5)
    second = Problem(code="cycle", message="tasks wait for each other", file="a.yaml", line=9, column=1)
    world.assessment = an_assessment().__class__(plan=None, errors=(first, second))
    assert run(world, *verb, "plans/auth.yaml") == 2
    err = capsys.readouterr().err
    assert "a.yaml:3:5: no 'agnet'\n  why: w\n  fix: agent" in err
    assert "a.yaml:9:1: tasks wait" in err
    assert run(world, *verb, "plans/auth.yaml", "--json") == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert [one["code"] for one in answer["data"]["errors"]] == ["unknown_key", "cycle"]
    assert list(answer["data"]["errors"][0]) == ["file", "line", "column", "code", "message", "why", "fix"]
    assert answer["error"] == {"code": "unknown_key", "message": "no 'agnet'", "why": "w", "fix": "agent"}
    assert world.submitted == []


def test_a_plan_file_that_is_not_there_is_a_usage_error_naming_those_that_are(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, "start", "auth.yaml") == 2
    assert "plans/auth.yaml" in capsys.readouterr().err


# ---- what is under way already ----


def test_the_same_plan_under_way_is_followed_without_a_question(world: World) -> None:
    world.ledger = Ledger(plans=[a_plan()], tasks=LANDED)

    def ends(seconds: float) -> None:
        assert world.ledger is not None
        world.ledger.plans = [a_plan(state=PlanPhase.PUBLISHED)]
        world.ledger.changes += 1

    assert run(world, *START, terminal=True, wait=ends) == 0
    assert world.submitted == []


def test_the_same_plan_under_way_still_refuses_a_wrong_digest(world: World) -> None:
    world.ledger = Ledger(plans=[a_plan()], tasks=LANDED)
    assert run(world, *START, "--confirm", OTHER_DIGEST) == 4


def test_another_text_of_the_plan_under_way_shows_what_differs(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    before = a_plan_text(a_plan_task("db"), a_plan_task("old"), parallel=2)
    changed = a_plan_task("db", files=FileSet(include=("db/**",)))
    world.assessment = an_assessment(a_plan_text(changed, a_plan_task("new")), waves=())
    world.ledger = Ledger(
        plans=[a_plan(digest=OTHER_DIGEST)],
        events=[an_event(1, "plan_confirmed", plan=dump(before), digest=OTHER_DIGEST)],
    )
    assert run(world, *START) == 4
    out = capsys.readouterr().out
    assert "  + new  Title of new\n  - old  Title of old\n  ~ db  files: src/db/** -> db/**\n" in out
    assert "  ~ plan  parallel: 2 -> 4\n" in out


def test_a_finished_plan_is_asked_about_again(world: World) -> None:
    world.ledger = Ledger(plans=[a_plan(state=PlanPhase.PUBLISHED)], tasks=LANDED)
    assert run(world, *START) == 4


# ---- starting and following ----


def test_starting_another_plan_tells_of_landed_work_that_was_never_published(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.ledger is not None
    world.ledger.plans = [a_plan("old", PlanPhase.FINISHED, unpublished=True)]
    assert run(world, *START) == 4
    err = capsys.readouterr().err
    assert "What plan 'old' has landed is not on main yet. To publish it:\n" in err
    assert "publish --plan old\n" in err


def test_a_daemon_is_started_only_when_none_runs(world: World) -> None:
    runs_as(world, PlanPhase.RUNNING, a_task("db"))
    assert run(world, *START, "--confirm", DIGEST, "--detach") == 0
    assert world.spawned == 0
    world.pid, world.ledger = None, Ledger()
    assert run(world, *START, "--confirm", DIGEST, "--detach") == 0
    assert world.spawned == 1


def test_detached_start_says_how_to_come_back(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    runs_as(world, PlanPhase.RUNNING, a_task("db"))
    run(world, *START, "--confirm", DIGEST, "--detach")
    assert "auth is under way; the daemon is process 4242." in capsys.readouterr().out


def test_a_refusal_of_the_daemon_is_shown_with_its_exit_code(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.refusal = RefusedError("plan 'other' is running", fix="cancel it")
    assert run(world, *START, "--confirm", DIGEST) == 6
    assert "plan 'other' is running" in capsys.readouterr().err


def changes(world: World, *steps: Callable[[], None]) -> Callable[[float], None]:
    """A wait in which one thing after the other happens."""
    left = list(steps)

    def wait(seconds: float) -> None:
        assert world.ledger is not None
        left.pop(0)()
        world.ledger.changes += 1

    return wait


@pytest.mark.parametrize(
    ("state", "tasks", "arguments", "terminal", "code"),
    [
        pytest.param(PlanPhase.PUBLISHED, LANDED, [], False, 0, id="published"),
        pytest.param(PlanPhase.FINISHED, LANDED, [], False, 0, id="nothing to publish"),
        pytest.param(PlanPhase.PUBLISHED, (a_task("x", TaskState.FAILED),), [], False, 1, id="one failed"),
        pytest.param(PlanPhase.CANCELLED, (a_task("x", TaskState.CANCELLED),), [], False, 1, id="cancelled"),
        pytest.param(PlanPhase.BLOCKED, (a_task("x", TaskState.FAILED),), [], False, 5, id="blocked, piped"),
        pytest.param(PlanPhase.BLOCKED, (a_task("x"),), ["--exit-when-blocked"], True, 5, id="blocked, asked for"),
        pytest.param(PlanPhase.BLOCKED, (a_task("x"),), ["--json"], True, 5, id="blocked, JSON"),
    ],
)
def test_following_ends_with_the_code_that_tells_how_it_went(
    world: World,
    state: PlanPhase,
    tasks: tuple[Any, ...],
    arguments: list[str],
    terminal: bool,
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs_as(world, PlanPhase.RUNNING, *tasks, items=[an_item()])

    def ends() -> None:
        assert world.ledger is not None
        world.ledger.plans = [a_plan(state=state)]

    said = run(world, *START, "--confirm", DIGEST, *arguments, terminal=terminal, wait=changes(world, ends))
    assert said == code
    if "--json" in arguments:
        answer = json.loads(capsys.readouterr().out)
        assert answer["data"]["state"] == state
        assert answer["error"]["code"] == "needs_person"


def test_on_a_terminal_a_blocked_plan_is_followed_on(world: World) -> None:
    runs_as(world, PlanPhase.BLOCKED, a_task("x"), items=[an_item()])
    ledger = world.ledger
    assert ledger is not None

    def answered() -> None:
        ledger.plans = [a_plan()]

    def published() -> None:
        ledger.plans, ledger.tasks = [a_plan(state=PlanPhase.PUBLISHED)], list(LANDED)

    code = run(world, *START, terminal=True, typed=("y",), wait=changes(world, lambda: None, answered, published))
    assert code == 0


def test_piped_following_prints_what_happens_once(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    runs_as(world, PlanPhase.RUNNING, a_task("db"))
    ledger = world.ledger
    assert ledger is not None

    def lands() -> None:
        ledger.stored += [an_event(2, "run_recorded"), an_event(3, "landed", "db", commit=COMMIT)]

    def ends() -> None:
        ledger.plans, ledger.tasks = [a_plan(state=PlanPhase.PUBLISHED)], list(LANDED)

    assert run(world, *START, "--confirm", DIGEST, wait=changes(world, lands, ends)) == 0
    out = capsys.readouterr().out
    assert out.count("run 1 confirmed by ada") == 1
    assert out.count("db: landed as 1a2b3c4d") == 1
    assert "auth is finished and published: 2 of 2 tasks landed" in out
    assert "main was moved to 1a2b3c4d" in out


def test_ctrl_c_while_following_leaves_everything_running(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    runs_as(world, PlanPhase.RUNNING, a_task("db"))

    def interrupted() -> None:
        raise KeyboardInterrupt

    assert run(world, *START, "--confirm", DIGEST, wait=changes(world, interrupted)) == 0
    assert "come back:" in capsys.readouterr().err
    assert world.acted == []


def test_ctrl_c_before_the_plan_is_handed_in_starts_nothing(world: World) -> None:
    def gone(*_: object) -> Any:
        raise KeyboardInterrupt

    world.check_plan = gone  # type: ignore[method-assign]
    assert run(world, *START, terminal=True) == 130
    assert world.submitted == []


def test_a_daemon_that_dies_while_followed_is_told_with_exit_3(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    runs_as(world, PlanPhase.RUNNING, a_task("db", TaskState.RUNNING))

    def dies(seconds: float) -> None:
        world.pid = None

    assert run(world, *START, "--confirm", DIGEST, wait=dies) == 3
    err = capsys.readouterr().err
    assert "the daemon ended while plan 'auth' was under way" in err
    assert "go on by themselves: db" in err


def test_a_daemon_that_is_restarted_is_waited_for(world: World) -> None:
    runs_as(world, PlanPhase.RUNNING, *LANDED)
    ledger = world.ledger
    assert ledger is not None

    def away() -> None:
        world.pid = None

    def back() -> None:
        world.pid = 4300

    def ends() -> None:
        ledger.plans = [a_plan(state=PlanPhase.PUBLISHED)]

    assert run(world, *START, "--confirm", DIGEST, wait=changes(world, away, away, back, ends)) == 0


@pytest.mark.parametrize(("ended", "code"), [(0, 0), (1, 1), (5, 5), (130, 130)])
def test_foreground_is_the_daemon_and_ends_as_it_ends(world: World, ended: int, code: int) -> None:
    world.pid = None
    world.foreground_code = ended
    runs_as(world, PlanPhase.PUBLISHED, *LANDED)
    assert run(world, *START, "--confirm", DIGEST, "--foreground", "--exit-when-blocked") == code
    assert world.foreground["submit"].digest == DIGEST
    assert world.foreground["exit_when_done"] is True
    assert world.foreground["exit_when_blocked"] is True
    assert world.spawned == 0


def test_foreground_is_refused_while_a_daemon_runs(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, *START, "--confirm", DIGEST, "--foreground") == 6
    assert "process 4242" in capsys.readouterr().err


# ---- without a plan ----


def test_start_without_a_plan_goes_on_with_what_was_confirmed(world: World) -> None:
    world.pid = None
    world.ledger = Ledger(plans=[a_plan()], tasks=[a_task("db")])
    assert run(world, "start", "--detach") == 0
    assert world.spawned == 1
    assert world.submitted == []


@pytest.mark.parametrize("ledger", [None, Ledger(), Ledger(plans=[a_plan(state=PlanPhase.PUBLISHED)])])
def test_start_without_a_plan_names_plan_files_when_there_is_nothing_to_go_on_with(
    world: World, ledger: Ledger | None, capsys: pytest.CaptureFixture[str]
) -> None:
    world.ledger = ledger
    assert run(world, "start") == 7
    assert "start plans/auth.yaml" in capsys.readouterr().err
    assert world.spawned == 0


@pytest.mark.parametrize("flag", [["--parallel", "2"], ["--confirm", DIGEST], ["--sequential"]])
def test_flags_of_a_plan_need_one(world: World, flag: list[str]) -> None:
    assert run(world, "start", *flag) == 2


def test_detach_and_foreground_do_not_go_together(world: World) -> None:
    assert run(world, *START, "--detach", "--foreground") == 2


# ---- the page that a person confirms ----


def test_the_assessment_says_what_collides_and_three_ways_out(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.assessment = an_assessment(
        verdict=Verdict.PARTLY,
        overlaps=(
            an_overlap("db", "docs", "src/shared.py"),
            an_overlap("db", "api", "src/db/a.py", ordered=True),
            an_overlap("api", "docs", "test-db", shared=True, certain=False),
        ),
        groups=((TaskId("db"), TaskId("docs")),),
        warnings=(Problem(code="shallow", message="the history is cut off", warning=True),),
    )
    assert run(world, "plan", "check", "plans/auth.yaml") == 0, "every verdict is good news for `plan check`"
    out = capsys.readouterr().out
    for said in (
        "wave 1  2 tasks  db, docs\n",
        "wave 2  1 task   api\n",
        "3 pairs of tasks can meet: 2 kept apart, 1 ordered",
        "never together with docs (src/shared.py)",
        "db + docs   src/shared.py    kept apart while they run",
        "db + api    src/db/a.py      ordered by a dependency",
        "shared: test-db  may overlap: kept apart while they run",
        "1. order them: --first db:docs, or give 'docs' depends_on: [db]",
        "2. narrow `files` so that they do not meet in src/shared.py",
        "3. move src/shared.py into a task that runs first",
        "checks        tests: make test (10m at most)",
        "git settings  user.name=Ada",
        "warning: ",
        "verdict  partly: ",
        "about 1h 00m one by one, 40m in parallel",
        "longest  db -> api",
        f"digest   {DIGEST}",
        "3 tasks, 4 at once, 1 agent, 1 check; 2 without dependencies",
    ):
        assert said in out


def test_what_filters_and_merge_drivers_start_is_shown_before_anything_runs(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {
        "core.autocrlf": "input",
        "merge.renames": "false",
        "filter.lfs.clean": "git-lfs clean -- %f",
        "filter.lfs.process": "git-lfs filter-process",
        "filter.lfs.required": "true",
        "filter.a.b.clean": "in",
        "filter.a.b.smudge": "out",
        "merge.keep.driver": "true",
    }
    world.assessment = an_assessment(git_config=config)
    assert run(world, "plan", "check", "plans/auth.yaml") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert (
        "git settings core.autocrlf=input; merge.renames=false; filter a.b runs `in` and `out`; "
        "filter lfs runs `git-lfs filter-process`; merge driver keep runs `true`"
    ) in out
    assert run(world, "plan", "check", "plans/auth.yaml", "--json") == 0
    assert json.loads(capsys.readouterr().out)["data"]["git_config"] == config


def test_plan_check_json_has_exactly_the_documented_keys(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.assessment = an_assessment(overlaps=(an_overlap("db", "api", "x", ordered=True),))
    assert run(world, "plan", "check", "plans/auth.yaml", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["command"] == "plan check"
    assert {"digest", "verdict", "errors", "overlaps", "waves"} <= answer["data"].keys()
    assert answer["data"]["overlaps"] == [{"tasks": ["db", "api"], "witness": "x", "ordered": True}]
    assert answer["data"]["waves"] == [["db", "docs"], ["api"]]


@pytest.mark.parametrize(
    ("form", "lines"),
    [
        ("text", ["api   Title of api  <- db", "db x docs  s.py"]),
        ("mermaid", ["graph LR", '  t0["db: Title of db"]', "  t0 --> t1", "  t0 -. apart .- t2"]),
        ("dot", ["digraph plan {", '  "db" -> "api";', "}"]),
    ],
)
def test_the_graph_is_drawn_as(world: World, form: str, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    world.assessment = an_assessment(overlaps=(an_overlap("db", "docs", "s.py"),))
    assert run(world, "plan", "graph", "plans/auth.yaml", "--format", form) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line not in out] == []


def test_the_graph_as_json_is_in_the_envelope(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "plan", "graph", "plans/auth.yaml", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["data"]["depends"] == [{"task": "api", "on": "db"}]


def test_the_schema_can_be_saved_to_a_file(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "plan", "schema") == 0
    assert json.loads(capsys.readouterr().out) == {"title": "plan"}


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        pytest.param(PublishMode.END, "moves once, when everything has landed", id="end"),
        pytest.param(PublishMode.EACH, "moves after every task that lands", id="each"),
        pytest.param(PublishMode.MANUAL, "moves only when you say `orchestrator publish`", id="manual"),
    ],
)
def test_what_is_confirmed_says_when_the_target_moves(
    world: World, mode: PublishMode, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world.assessment = an_assessment(a_plan_text(publish=mode))
    assert run(world, "plan", "check", "plans/auth.yaml") == 0
    assert f"lands on main, which {words} (publish: {mode})" in capsys.readouterr().out
