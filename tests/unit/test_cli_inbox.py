"""`inbox`, `answer` and the verbs that steer: what reaches the daemon, and what a person is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.inbox import chosen
from orchestrator.model.errors import ConfirmationNeeded, NothingError, RefusedError, UsageError
from orchestrator.model.item import ItemKind, Option
from orchestrator.model.run import PlanPhase, TaskState
from tests.unit.cli_world import NOW, Ledger, World, a_plan, a_task, an_item, run

QUESTION = an_item(
    "i5",
    ItemKind.QUESTION,
    title="'api' asks",
    context="Which database?",
    free_text=True,
    priority=90,
    options=(Option(id="postgres", label="postgres", effect="the agent is told this"),),
)
ANSWERED = an_item("i1", answer="retry", answered_by="ada", answered_at=NOW)
WITHDRAWN = an_item("i2", withdrawn="the task was cancelled")


@pytest.fixture
def world(tmp_path: Path) -> World:
    tasks = [a_task("api", TaskState.ESCALATED), a_task("api-docs", order=1), a_task("db", TaskState.FAILED, order=2)]
    return World(tmp_path, Ledger(plans=[a_plan()], tasks=tasks, items=[ANSWERED, WITHDRAWN, an_item(), QUESTION]))


def test_inbox_shows_what_is_open_most_urgent_first(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "inbox") == 0
    out = capsys.readouterr().out
    assert out.index("i5  question") < out.index("i4  agent failed")
    assert "answer i4 CHOICE   (retry, give_up)\n" in out
    assert "answer i5 CHOICE   (postgres, --text ...)\n" in out
    assert "i1" not in out


def test_an_empty_inbox_is_good_news(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.ledger = Ledger(plans=[a_plan()])
    assert run(world, "inbox") == 0
    assert capsys.readouterr().out == "Nothing waits for you.\n"


def test_inbox_json_has_exactly_the_documented_shape(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "inbox", "--json", "--all") == 0
    items = json.loads(capsys.readouterr().out)["data"]["items"]
    assert {item["id"]: item["answer"] for item in items} == {"i5": None, "i4": None, "i2": None, "i1": "retry"}
    assert list(items[0]) == [
        "id", "kind", "trigger", "task", "attempt", "agent", "context", "options", "priority", "asked_at", "deadline",
        "answer", "answered_by",
    ]  # fmt: skip
    assert items[0]["asked_at"] == "2026-03-01T11:55:00Z"
    assert items[1]["options"][0] == {"id": "retry", "label": "Try again", "effect": "a fresh attempt starts"}


def test_inbox_show_tells_what_happened_and_what_each_answer_leads_to(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, "inbox", "show", "i4") == 0
    out = capsys.readouterr().out
    assert "    exit status 1\n    ImportError: no module named jwt\n" in out
    assert "1.  retry    Try again  a fresh attempt starts" in out
    assert "asked    " in out
    assert "5m ago" in out


def test_what_an_agent_wrote_is_shown_without_secrets_and_escapes(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.ledger = Ledger(items=[an_item(context="\x1b[2Jkey ghp_abcdefghijklmnopqrstuvwxyz0123")])
    run(world, "inbox", "show", "i4")
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "ghp_" not in out


@pytest.mark.parametrize(
    ("arguments", "choice", "text"),
    [
        pytest.param(["i4", "retry"], "retry", "", id="an option"),
        pytest.param(["i4", "give"], "give_up", "", id="its beginning"),
        pytest.param(["i4", "retry", "--text", "use jwt 2"], "retry", "use jwt 2", id="with words"),
        pytest.param(["i5", "--text", "sqlite"], "text", "sqlite", id="only words"),
        pytest.param(["i5", "--text", "sqlite"], "text", "sqlite", id="words in place of an option"),
        pytest.param(["i5", "postgres"], "postgres", "", id="the agent's own option"),
    ],
)
def test_an_answer_reaches_the_daemon(world: World, arguments: list[str], choice: str, text: str) -> None:
    assert run(world, "answer", *arguments) == 0
    [action] = world.acted
    assert (action.verb, action.item, action.choice, action.text) == ("answer", arguments[0], choice, text)
    assert action.by


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(["i4"], 2, "retry, give_up", id="no choice and nobody to ask"),
        pytest.param(["i4", "--text", "hm"], 2, "retry, give_up", id="words where an option is needed"),
        pytest.param(["i5", "postgrse"], 2, "did you mean 'postgres'", id="a slip is no answer in words"),
        pytest.param(["i4", "explode"], 2, "there is no option 'explode'", id="no such option"),
        pytest.param(["i9", "retry"], 2, "there is no item 'i9'", id="no such item"),
        pytest.param(["i1", "retry"], 6, "ada chose 'retry'", id="answered"),
        pytest.param(["i2", "retry"], 6, "the task was cancelled", id="withdrawn"),
    ],
)
def test_an_answer_that_means_nothing_is_refused_before_the_daemon(
    world: World, arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, "answer", *arguments) == code
    assert said in capsys.readouterr().err
    assert world.acted == []


@pytest.mark.parametrize(
    ("item", "typed", "choice"),
    [
        pytest.param("i4", ("2",), "give_up", id="by number"),
        pytest.param("i4", ("nope", "retry"), "retry", id="asked again after nonsense"),
        pytest.param("i5", ("mysql 8",), "text", id="in words"),
    ],
)
def test_the_menu_takes_a_number_or_a_name(world: World, item: str, typed: tuple[str, ...], choice: str) -> None:
    assert run(world, "answer", item, terminal=True, typed=typed) == 0
    assert world.acted[0].choice == choice


def test_leaving_the_menu_answers_nothing(world: World) -> None:
    assert run(world, "answer", "i4", terminal=True, typed=("",)) == 4
    assert world.acted == []


def test_a_choice_of_words_needs_no_option() -> None:
    assert chosen(replace(QUESTION, options=()), "sqlite", "in memory") == ("text", "sqlite\nin memory")
    assert chosen(QUESTION, None, "in memory") == ("text", "in memory")
    with pytest.raises(UsageError):
        chosen(an_item(), "sqlite", "")


# ---- steering ----


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (["pause"], {"verb": "pause"}),
        (["resume"], {"verb": "resume"}),
        (["publish"], {"verb": "publish", "plan": None}),
        (["publish", "--plan", "au"], {"verb": "publish", "plan": "auth"}),
        (["undo", "db", "--reason", "slow"], {"verb": "undo", "task": "db", "reason": "slow", "accepted": False}),
        (["undo", "db", "--yes"], {"verb": "undo", "task": "db", "accepted": True}),
        (["retry", "db"], {"verb": "retry", "task": "db"}),
        (["retry", "api"], {"verb": "retry", "task": "api"}),
        (["cancel", "API-D", "--reason", "late"], {"verb": "cancel", "task": "api-docs", "reason": "late"}),
        (["cancel", "--all"], {"verb": "cancel", "task": None}),
        (["stop"], {"verb": "stop", "mode": "drain"}),
        (["stop", "--now"], {"verb": "stop", "mode": "now"}),
        (["stop", "--detach"], {"verb": "stop", "mode": "detach"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_verb_reaches_the_daemon(
    world: World, arguments: list[str], sent: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    world.on_act = lambda: setattr(world, "pid", None)
    assert run(world, *arguments) == 0
    [action] = world.acted
    assert {name: getattr(action, name) for name in sent} == sent
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    "arguments",
    [["pause"], ["stop"], ["retry", "db"], ["answer", "i4", "retry"], ["publish"], ["undo", "db"]],
)
def test_writing_verbs_need_a_daemon(world: World, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    world.pid = None
    assert run(world, *arguments) == 3
    fix = "nothing has to be stopped" if arguments == ["stop"] else "start --detach"
    assert fix in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"), [(RefusedError("it is running"), 6), (NothingError("nothing to publish"), 7)]
)
def test_a_refusal_keeps_its_exit_code(world: World, error: Any, code: int) -> None:
    world.refusal = error
    assert run(world, "publish") == code


@pytest.mark.parametrize(
    "arguments",
    [["cancel"], ["cancel", "db", "--all"], ["cancel", "nope"], ["stop", "--now", "--detach"], ["retry"]],
    ids=" ".join,
)
def test_verbs_that_are_not_clear_are_usage_errors(world: World, arguments: list[str]) -> None:
    assert run(world, *arguments) == 2
    assert world.acted == []


@pytest.mark.parametrize(("typed", "code"), [("y", 0), ("", 4)])
def test_cancelling_everything_asks_on_a_terminal(world: World, typed: str, code: int) -> None:
    assert run(world, "cancel", "--all", terminal=True, typed=(typed,)) == code
    assert len(world.acted) == (1 if code == 0 else 0)


@pytest.mark.parametrize(
    ("arguments", "gone_after", "ended", "said"),
    [
        pytest.param([], 1, True, "has ended", id="nothing ran"),
        pytest.param([], None, False, "when what runs is done", id="drains"),
        pytest.param(["--now"], 20, True, "has ended", id="now takes a while"),
        pytest.param(["--detach"], 3, True, "agents go on", id="detach"),
        pytest.param(["--now"], None, False, "still ending", id="too slow"),
    ],
)
def test_stop_says_whether_the_daemon_is_gone(
    world: World,
    arguments: list[str],
    gone_after: int | None,
    ended: bool,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    waits = 0

    def wait(seconds: float) -> None:
        nonlocal waits
        waits += 1
        if waits == gone_after:
            world.pid = None

    assert run(world, "stop", *arguments, wait=wait) == 0
    assert said in capsys.readouterr().out
    assert (world.pid is None) is ended


def test_a_task_is_looked_for_in_the_plan_that_is_under_way(world: World) -> None:
    world.ledger = Ledger(
        plans=[a_plan("old", PlanPhase.PUBLISHED, confirmed_at=NOW, current=False), a_plan()],
        tasks=[a_task("x", plan="old"), a_task("xy")],
    )
    assert run(world, "retry", "x") == 0
    assert world.acted[0].task == "xy"


def test_config_shows_where_each_value_comes_from(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "config", "show", "--origin") == 0
    assert capsys.readouterr().out == "log_level  info  built in\ngrace      10s   orchestrator.toml\n"
    run(world, "config", "show")
    assert "built in" not in capsys.readouterr().out
    run(world, "config", "show", "--json")
    settings = json.loads(capsys.readouterr().out)["data"]["settings"]
    assert settings[1] == {"key": "grace", "value": 10.0, "origin": "orchestrator.toml"}


def built_on() -> ConfirmationNeeded:
    return ConfirmationNeeded(
        "other tasks have built on 'db'", why="'api' depends on it and has landed; 'x' landed after it", fix="--yes"
    )


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        pytest.param(("y",), 0, id="yes"),
        pytest.param(("n",), 4, id="no"),
        pytest.param(("",), 4, id="gone away"),
    ],
)
def test_undo_names_what_was_built_on_it_and_asks(
    world: World, typed: tuple[str, ...], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def only_with_a_yes() -> None:
        if not world.acted[-1].accepted:
            raise built_on()

    world.on_act = only_with_a_yes
    assert run(world, "undo", "db", terminal=True, typed=typed) == code
    err = capsys.readouterr().err
    assert "'api' depends on it and has landed\n" in err
    assert [action.accepted for action in world.acted] == ([False, True] if code == 0 else [False])


def test_undo_without_a_terminal_says_the_command_that_is_a_yes(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.refusal = built_on()
    assert run(world, "undo", "db", "--reason", "too slow", "--json") == 4
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["fix"].endswith("undo db --reason 'too slow' --yes")
    assert "'api' depends on it" in error["why"]


def test_a_daemon_is_started_for_a_plan_that_is_over_only_without_following(world: World) -> None:
    assert world.ledger is not None
    world.ledger.plans = [a_plan(state=PlanPhase.PUBLISHED)]
    world.pid = None
    assert run(world, "start") == 7
    assert world.pid is None
    assert run(world, "start", "--detach") == 0
    assert world.pid is not None
