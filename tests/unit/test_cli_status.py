"""`status`, `why`, `report`, `events`: what a person and a program read."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from orchestrator.model.item import OVERDUE, Item, ItemKind
from orchestrator.model.run import PlanPhase, TaskState
from orchestrator.model.view import HoldView
from tests.unit.cli_world import (
    COMMIT,
    DIGEST,
    NOW,
    Ledger,
    World,
    a_plan,
    a_task,
    an_attempt,
    an_event,
    an_item,
    run,
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, a_busy_ledger())


def a_busy_ledger() -> Ledger:
    crashed = an_attempt("api", ended_at=NOW - timedelta(minutes=7), ending="failed", failure="crash", detail="exit 1")
    return Ledger(
        plans=[a_plan()],
        tasks=[
            a_task("db", TaskState.LANDED, order=0),
            a_task("api", TaskState.ESCALATED, order=1, history=(crashed,), item="i4", failed=True, reason="gave up"),
            a_task(
                "ui", TaskState.RUNNING, order=2, overdue_at=NOW - timedelta(minutes=2), history=(an_attempt("ui"),)
            ),
            a_task("docs", order=3, waiting_for="depends on 'api', which is escalated"),
            a_task("lint", TaskState.BACKOFF, order=4, retry_at=NOW + timedelta(minutes=4)),
        ],
        items=[an_item()],
        events=[
            an_event(1, "plan_confirmed", by="ada", number=1, digest=DIGEST),
            an_event(2, "attempt_started", "api", number=1, agent="claude"),
            an_event(3, "landed", "db", commit=COMMIT),
        ],
    )


def data_of(capsys: pytest.CaptureFixture[str]) -> Any:
    answer = json.loads(capsys.readouterr().out)
    assert answer["contract"] == 1
    assert answer["ok"] is True
    assert answer["error"] is None
    return answer["data"]


def test_status_shows_counts_progress_and_a_line_per_task(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "status") == 0
    assert capsys.readouterr().out.splitlines() == [
        "plan auth  1 completed / 5 total (1 in progress, 1 failed)",
        "Progress ████░░░░░░░░░░░░░░░░ 20 % (1/5 done)",
        "running  run 1  target main  daemon 4242",
        "",
        "planned  docs  claude  12m             depends on 'api', which is escalated",
        "planned  lint  claude  12m             tries again in 4m",
        "doing    ui    claude  12m  attempt 1  in doing for 12m, past its limit for 2m",
        "blocked  api   claude  12m  attempt 1  asks you: i4; gave up",
        "done     db    claude  12m             1a2b3c4d",
        "",
        "inbox: 1 item waits for you (orchestrator inbox)",
        "  i4  agent failed  'api' failed 4 times",
    ]


def test_status_says_when_no_daemon_works_on_the_plan(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.pid = None
    run(world, "status")
    assert "no daemon runs: orchestrator start" in capsys.readouterr().out


def test_status_json_has_exactly_the_documented_shape(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "status", "--json") == 0
    data = data_of(capsys)
    assert list(data) == [
        "plan", "digest", "state", "plans", "daemon_pid", "counts", "totals", "inbox", "tasks", "holds",
    ]  # fmt: skip
    assert list(data["tasks"][0]) == [
        "id", "title", "state", "lane", "agent", "attempts", "branch", "worktree", "token", "waiting_for", "files",
        "landed_commit", "usage", "overdue_at",
    ]  # fmt: skip
    assert data["counts"] == {
        "planned": 2, "doing": 1, "for_review": 0, "merging": 0, "blocked": 1, "done": 1, "cancelled": 0,
    }  # fmt: skip
    assert data["totals"] == {"completed": 1, "in_progress": 1, "failed": 1, "total": 5}
    assert data["plans"] == [{"plan": "auth", "state": "running"}]
    assert (data["daemon_pid"], data["inbox"], data["digest"]) == (4242, 1, DIGEST)
    assert data["tasks"][0]["landed_commit"] == COMMIT


def test_status_of_a_task_tells_its_whole_story(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    output = world.place.state_dir / "attempts/auth/api-1/agent/output"
    output.parent.mkdir(parents=True)
    output.write_text("first\nImportError: jwt\x1b[0m\n\n")
    assert run(world, "status", "ap") == 0
    out = capsys.readouterr().out
    assert "api  blocked  Title of api" in out
    assert "failed: crash  exit 1" in out
    assert "last output  ImportError: jwt\n" in out
    assert "inbox show i4" in out


def test_status_of_a_task_in_json_adds_its_attempts(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    run(world, "--json", "status", "api")
    data = data_of(capsys)
    assert [task["id"] for task in data["tasks"]] == ["api"]
    assert data["tasks"][0]["history"][0]["failure"] == "crash"
    assert data["totals"]["total"] == 5, "counts are still the plan's"


@pytest.mark.parametrize(
    ("arguments", "columns", "last", "more"),
    [
        pytest.param([], None, 199, 300, id="piped"),
        pytest.param(["--all"], None, 499, 0, id="piped, all"),
        pytest.param([], 80, 12, 487, id="narrow terminal"),
        pytest.param([], 120, 12, 487, id="wide terminal"),
        pytest.param(["--all"], 120, 499, 0, id="wide terminal, all"),
    ],
)
def test_long_lanes_are_cut_and_the_rest_is_counted(
    tmp_path: Path,
    arguments: list[str],
    columns: int | None,
    last: int,
    more: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LINES", "25")
    many = [a_task(f"t{n}", order=n) for n in range(500)]
    world = World(tmp_path, Ledger(plans=[a_plan()], tasks=many))
    run(world, "status", *arguments, terminal=columns is not None, columns=columns)
    words = capsys.readouterr().out.split()
    assert f"t{last}" in words
    assert f"t{last + 1}" not in words
    assert (f"+{more}" in words) is (more > 0)


def test_why_prints_the_reasons(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "why", "do") == 0
    assert capsys.readouterr().out == "'docs' is pending (lane: planned)\n  depends on 'db', which is running\n"


@pytest.mark.parametrize("arguments", [["why", "nope"], ["status", "nope"], ["status", "--plan", "nope"]])
def test_a_name_that_is_not_known_is_a_usage_error(
    world: World, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "'nope'" in captured.err


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        pytest.param(["retry", "ap"], {"task": "api", "plan": None}, id="retry, the present plan"),
        pytest.param(["retry", "pa", "--plan", "ol"], {"task": "page", "plan": "old"}, id="retry"),
        pytest.param(["cancel", "page", "--plan", "old"], {"task": "page", "plan": "old"}, id="cancel"),
        pytest.param(["cancel", "--all", "--plan", "old"], {"task": None, "plan": "old"}, id="cancel all"),
        pytest.param(["cancel", "--all"], {"task": None, "plan": None}, id="cancel all of the present plan"),
    ],
)
def test_a_task_of_another_plan_is_asked_for_with_its_plan(
    two_plans: World, arguments: list[str], asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(two_plans, *arguments) == 0
    (action,) = two_plans.acted
    assert {"task": action.task, "plan": action.plan} == asked


@pytest.mark.parametrize(
    "arguments", [["status", "page"], ["why", "page"], ["logs", "page"], ["report"]], ids=lambda words: words[0]
)
def test_every_verb_that_looks_at_a_task_takes_a_plan(
    two_plans: World, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(two_plans, *arguments, "--plan", "old", "--json") == 0
    assert "page" in capsys.readouterr().out or arguments[0] == "logs"
    if arguments[0] != "report":
        assert run(two_plans, *arguments) == 2, "the present plan has no such task"


@pytest.fixture
def two_plans(tmp_path: Path) -> World:
    ledger = a_busy_ledger()
    ledger.plans.append(a_plan("old", PlanPhase.FINISHED, current=False, confirmed_at=NOW - timedelta(days=2)))
    ledger.tasks.append(a_task("page", TaskState.FAILED, plan="old"))
    return World(tmp_path, ledger)


# ---- bare ----


def test_bare_command_is_status(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world) == 0
    assert "1 completed / 5 total" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (PlanPhase.PUBLISHED, "publish --plan old  what 'old' has landed is not on main yet"),
        (PlanPhase.RUNNING, "publish --plan old  what 'old' has landed is not on main yet, when 'auth' is over"),
    ],
)
def test_bare_command_names_a_plan_that_was_never_published(
    world: World, state: PlanPhase, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.ledger is not None
    world.ledger.items = []
    world.ledger.plans = [a_plan(state=state), a_plan("old", PlanPhase.FINISHED, unpublished=True, current=False)]
    run(world)
    assert any(row.endswith(said) for row in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(("current", "command"), [(True, "publish"), (False, "publish --plan old")])
def test_report_names_the_plan_in_its_commands_when_another_one_is_worked_on(
    world: World, current: bool, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.ledger is not None
    old = a_plan("old", PlanPhase.FINISHED, unpublished=True, current=current)
    world.ledger.plans, world.ledger.items = [a_plan(state=PlanPhase.PUBLISHED), old], []
    run(world, "report", "--plan", "old", "--json")
    assert data_of(capsys)["next"][-1]["command"].endswith(command)


SYNC = {"kind": ItemKind.CONFLICT, "task_id": None, "attempt_id": None, "title": "'main' moved, and conflicts"}
TAKEN = {**SYNC, "by_hand": "auth/sync-1-1", "worktree": "/trees/sync", "taken_by": "ada"}


@pytest.mark.parametrize(
    ("items", "tasks", "commands"),
    [
        pytest.param([], [], ["publish"], id="nothing in the way"),
        pytest.param([an_item(**SYNC)], [], ["inbox"], id="a conflict with the target"),
        pytest.param([an_item(**TAKEN)], [], ["conflicts done sync"], id="resolved by hand"),
        pytest.param(
            [an_item(**TAKEN), an_item("i5")], [], ["inbox", "conflicts done sync"], id="by hand, and a question"
        ),
        pytest.param([], [a_task("sync-1", TaskState.RUNNING, merges=COMMIT)], ["report"], id="an agent resolves it"),
        pytest.param([], [a_task("sync-1", TaskState.LANDED, merges=COMMIT)], ["publish"], id="resolved"),
        pytest.param([an_item(trigger=OVERDUE)], [], ["inbox", "publish"], id="a note alone"),
    ],
)
def test_bare_command_names_the_verb_that_leads_on(
    world: World, items: list[Item], tasks: list[Any], commands: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.ledger is not None
    world.ledger.plans = [a_plan(state=PlanPhase.FINISHED, publish="manual", unpublished=True)]
    world.ledger.tasks, world.ledger.items = [a_task("db", TaskState.LANDED), *tasks], items
    run(world, "--json")
    steps = [step["command"] for step in data_of(capsys)["next"]]
    assert [step.split(str(world.place.root))[-1].strip().removeprefix("orchestrator ") for step in steps] == commands
    run(world, "report", "--json")
    following = [step["command"] for step in data_of(capsys)["next"]]
    assert any(one.endswith(" publish") for one in following) is ("publish" in commands)


def test_bare_command_offers_only_plans_that_have_not_run(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert world.ledger is not None
    world.ledger.items, world.ledger.tasks = [], []
    world.ledger.plans = [a_plan(state=PlanPhase.PUBLISHED), a_plan("old", PlanPhase.PUBLISHED, current=False)]
    (world.place.root / "plans").mkdir()
    for name in ("auth", "old", "zebra"):
        (world.place.root / "plans" / f"{name}.yaml").write_text("")
    run(world, "--json")
    assert data_of(capsys)["next"][-1] == {"command": ANY, "does": "the next plan"}
    run(world)
    out = capsys.readouterr().out
    assert "start plans/zebra.yaml" in out
    assert "plans/old.yaml" not in out


@pytest.mark.parametrize(
    ("arguments", "listing"),
    [
        (("conflicts", "open", "q"), "`orchestrator conflicts` lists them"),
        (("answer", "i4", "q"), "`orchestrator inbox show i4` lists them"),
        (("answer", "q", "retry"), "`orchestrator inbox` lists them"),
        (("status", "q"), "`orchestrator status` lists them"),
    ],
)
def test_a_name_that_is_like_no_other_says_where_the_names_are(
    world: World, arguments: tuple[str, ...], listing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.ledger is not None
    world.ledger.items += [an_item("i9", **SYNC)]
    assert run(world, *arguments) == 2
    assert listing in capsys.readouterr().err


def test_where_all_plans_are_over_the_one_that_was_taken_up_is_shown(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.ledger is not None
    world.ledger.plans = [a_plan("new", PlanPhase.PUBLISHED, current=False), a_plan("old", PlanPhase.PUBLISHED)]
    run(world, "status", "--json")
    assert data_of(capsys)["plan"] == "old"


def test_bare_command_says_what_to_do_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "auth.yaml").write_text("tasks: []")
    assert run(World(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "Nothing has been started" in out
    assert "start plans/auth.yaml" in out


# ---- events ----


def test_events_prints_one_line_each(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "events") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].split()[0] == "2"
    assert lines[1].endswith("attempt 1 started with claude")


@pytest.mark.parametrize(
    ("arguments", "seqs"),
    [
        pytest.param([], ["1", "2", "3"], id="all"),
        pytest.param(["-n", "1"], ["3"], id="the last that a person sees"),
        pytest.param(["--type", "reports_read"], ["4"], id="asked for by name"),
    ],
)
def test_what_only_the_daemon_needs_is_told_to_programs_and_to_who_asks_for_it(
    world: World, arguments: list[str], seqs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.ledger is not None
    world.ledger.stored.append(an_event(4, "reports_read", "api", run_id="api-1.agent"))
    assert run(world, "events", *arguments) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == seqs
    assert run(world, "events", "--json") == 0
    assert [event["seq"] for event in data_of(capsys)["events"]] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "seqs"),
    [
        pytest.param([], [1, 2, 3], id="all"),
        pytest.param(["--after-seq", "1"], [2, 3], id="after"),
        pytest.param(["-n", "1"], [3], id="last"),
        pytest.param(["-n", "0"], [], id="none"),
        pytest.param(["--type", "landed"], [3], id="type"),
        pytest.param(["--type", "landed,attempt_started", "-n", "1"], [3], id="types, last"),
    ],
)
def test_events_json_holds_what_was_asked_for(
    world: World, arguments: list[str], seqs: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, "events", "--json", *arguments) == 0
    found = data_of(capsys)["events"]
    assert [event["seq"] for event in found] == seqs
    for event in found:
        assert list(event) == ["seq", "at", "type", "plan", "task", "attempt", "token", "data"]


def test_an_event_type_that_does_not_exist_is_named(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "events", "--type", "landet") == 2
    assert "did you mean 'landed'?" in capsys.readouterr().err


def test_following_events_prints_each_once_and_one_json_object_a_line(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.ledger is not None
    ledger, waits = world.ledger, 0

    def wait(seconds: float) -> None:
        nonlocal waits
        waits += 1
        if waits == 3:
            raise KeyboardInterrupt
        if waits == 1:
            ledger.stored.append(an_event(4, "published", commit=COMMIT))
            ledger.changes += 1

    assert run(world, "events", "-f", "--json", "-n", "1", wait=wait) == 130
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["seq"] for line in lines] == [3, 4]


# ---- report ----


def test_report_tells_a_newcomer_what_came_of_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "report") == 0
    out = capsys.readouterr().out
    for said in (
        "auth is under way: 1 of 5 tasks landed",
        "main has not been moved",
        "landed (1)\n  db  1a2b3c4d  Title of db",
        "failed (1)\n  api  gave up",
        "waits for you (1)\n  i4  agent failed",
        "in progress (1)\n  ui",
        "not done (2)\n  docs",
        "plan's branch  orchestrator/auth",
        "inbox show i4",
    ):
        assert said in out


@pytest.mark.parametrize(
    ("plan", "states", "code"),
    [
        pytest.param(a_plan(state=PlanPhase.PUBLISHED), [TaskState.LANDED], 0, id="all landed"),
        pytest.param(a_plan(state=PlanPhase.PUBLISHED), [TaskState.LANDED, TaskState.FAILED], 1, id="one failed"),
        pytest.param(a_plan(state=PlanPhase.CANCELLED), [TaskState.CANCELLED], 1, id="cancelled"),
        pytest.param(a_plan(state=PlanPhase.BLOCKED), [TaskState.FAILED], 5, id="a person is needed, which wins"),
        pytest.param(a_plan(), [TaskState.RUNNING], 1, id="under way"),
    ],
)
def test_report_ends_with_the_code_that_tells_how_it_went(
    tmp_path: Path, plan: Any, states: list[TaskState], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [a_task(f"t{n}", state, order=n) for n, state in enumerate(states)]
    world = World(tmp_path, Ledger(plans=[plan], tasks=tasks))
    assert run(world, "report") == 0, "only when it is asked for"
    capsys.readouterr()
    assert run(world, "report", "--exit-code", "--json") == code
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is (code == 0)
    assert answer["data"]["plan"] == "auth"
    assert (answer["error"] or {}).get("code") == {0: None, 1: "not_all_landed", 5: "needs_person"}[code]


@pytest.mark.parametrize(
    ("plan", "pid", "item", "step"),
    [
        pytest.param(a_plan(), None, None, "start", id="no daemon"),
        pytest.param(a_plan(state=PlanPhase.PAUSED), 1, None, "resume", id="paused"),
        pytest.param(
            a_plan(state=PlanPhase.FINISHED, publish="manual", unpublished=True),
            1,
            None,
            "publish",
            id="left to publish",
        ),
        pytest.param(a_plan(state=PlanPhase.FINISHED), 1, None, "retry lost", id="a failed task"),
        pytest.param(a_plan(state=PlanPhase.PUBLISHED), 1, None, "git log --first-parent main", id="published"),
        pytest.param(
            a_plan(state=PlanPhase.BLOCKED),
            1,
            an_item(kind=ItemKind.CONFLICT, paths=("a.py",)),
            "inbox show i4",
            id="conflict",
        ),
    ],
)
def test_report_names_the_next_command(
    tmp_path: Path, plan: Any, pid: int | None, item: Any, step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [a_task("done", TaskState.LANDED), a_task("lost", TaskState.FAILED, order=1)]
    world = World(tmp_path, Ledger(plans=[plan], tasks=tasks, items=[item] if item else []), pid=pid)
    run(world, "report", "--json")
    commands = [one["command"] for one in data_of(capsys)["next"]]
    assert any(command.endswith(step) for command in commands), commands


def test_report_says_where_work_is_kept_that_did_not_land(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attempt = an_attempt("api", ended_at=NOW, salvage=("refs/orchestrator/auth/api-1",))
    task = a_task("api", TaskState.FAILED, history=(attempt,), worktree="/trees/auth/api-1")
    run(World(tmp_path, Ledger(plans=[a_plan(state=PlanPhase.FINISHED)], tasks=[task])), "report")
    out = capsys.readouterr().out
    assert "refs/orchestrator/auth/api-1" in out
    assert "/trees/auth/api-1" in out


def test_what_holds_new_work_back_is_shown_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hold = HoldView(reason="disk", detail="only 1 GiB is free", fix="make room", since=NOW, until=None)
    world = World(tmp_path, Ledger(plans=[a_plan(holds=(hold,))], tasks=[a_task("db")]))
    assert run(world, "report") == 0
    assert "held back: only 1 GiB is free; make room" in capsys.readouterr().out
    assert run(world, "status") == 0
    assert "held back: only 1 GiB is free; make room" in capsys.readouterr().out
    run(world, "status", "--json")
    assert [one["reason"] for one in data_of(capsys)["holds"]] == ["disk"]


def test_a_ledger_of_a_newer_version_is_shown_and_said_to_be_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = a_busy_ledger()
    ledger.newer = "it is of version 9, and this program knows up to 2"
    assert run(World(tmp_path, ledger), "status") == 0
    shown = capsys.readouterr()
    assert "a newer version of orchestrator keeps this ledger (it is of version 9" in shown.err
    assert "api" in shown.out
