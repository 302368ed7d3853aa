"""Small pieces of text, and what the ledger's rows say."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta

import pytest
from rich.console import Console, RenderableType

from orchestrator.cli import rows, words
from orchestrator.cli.event_words import HEADLINES, SILENT, WORDS
from orchestrator.cli.event_words import words as event_words
from orchestrator.model.errors import NothingError, UsageError
from orchestrator.model.event import Event, wire_name
from orchestrator.model.run import PlanPhase, TaskState
from orchestrator.wire import dump
from tests.unit.cli_world import COMMIT, NOW, Ledger, a_plan, a_task, an_attempt, an_event, an_item


def shown(part: RenderableType) -> str:
    out = io.StringIO()
    Console(file=out, width=200, color_system=None).print(part)
    return out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-3, "0s"), (0, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (7500, "2h 05m"), (90000, "1d 1h")],
)
def test_a_length_of_time_reads_like_a_person_says_it(seconds: int, said: str) -> None:
    assert words.length(timedelta(seconds=seconds)) == said


@pytest.mark.parametrize(
    ("done", "total", "said"),
    [
        pytest.param(1, 4, "██░░░░░░ 25 % (1/4 done)", id="a quarter"),
        pytest.param(0, 0, "░░░░░░░░ 0 % (0/0 done)", id="nothing to do"),
        pytest.param(299, 300, "███████░ 99 % (299/300 done)", id="never full before the last"),
        pytest.param(3, 3, "████████ 100 % (3/3 done)", id="all"),
    ],
)
def test_the_bar_says_how_much_is_done(done: int, total: int, said: str) -> None:
    assert words.bar(done, total, width=8) == said


def test_a_cell_never_carries_what_a_terminal_would_obey() -> None:
    assert "\x1b" not in shown(words.cell("red\x1b[31m \x1b]0;title\x07[bold]x[/bold]"))
    assert "[bold]x[/bold]" in shown(words.cell("[bold]x[/bold]")), "markup of others is text"


def test_a_grid_keeps_its_columns_in_line() -> None:
    table = words.grid([[words.cell("a"), words.cell("one")], [words.cell("long"), words.cell("two")]])
    assert [row.rstrip() for row in shown(table).splitlines()] == ["  a     one", "  long  two"]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        pytest.param("api", "api", id="exact wins over longer ones"),
        pytest.param("api-d", "api-docs", id="unique beginning"),
        pytest.param("DB", "db", id="whatever the case"),
    ],
)
def test_a_name_is_found_by_its_beginning(typed: str, found: str) -> None:
    assert rows.unique(typed, {name: name for name in ("api", "api-docs", "db")}, "task") == found


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        pytest.param("ap", "it could be api, api-docs", id="ambiguous"),
        pytest.param("dbb", "did you mean 'db'?", id="nearest"),
        pytest.param("", "there is no task ''", id="empty"),
    ],
)
def test_a_name_that_means_nothing_certain_is_a_usage_error(typed: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        rows.unique(typed, {name: name for name in ("api", "api-docs", "db")}, "task")
    assert said in str(raised.value)


def test_rows_read_back_as_what_was_written() -> None:
    task = a_task("api", TaskState.BACKOFF, retry_at=NOW, history=(an_attempt("api", flags=("quiet",)),))
    assert rows.task_view(dump(task)) == task
    assert rows.plan_view(dump(a_plan())) == a_plan()
    assert rows.item_view(dump(an_item())) == an_item()


def test_a_row_of_a_newer_daemon_is_read_without_what_is_unknown() -> None:
    row = {**dump(a_plan()), "mood": "fine"}
    assert rows.plan_view(row) == a_plan()


@pytest.mark.parametrize(
    ("known", "chosen"),
    [
        pytest.param(
            [a_plan("old", confirmed_at=NOW, current=False), a_plan("new", current=True)], "new", id="the present one"
        ),
        pytest.param(
            [a_plan("done", PlanPhase.PUBLISHED, confirmed_at=NOW), a_plan("open", current=False)],
            "open",
            id="unfinished before newest",
        ),
        pytest.param(
            [a_plan("a", PlanPhase.PUBLISHED), a_plan("b", PlanPhase.CANCELLED, confirmed_at=NOW)],
            "b",
            id="else the newest",
        ),
    ],
)
def test_the_plan_that_is_shown_without_being_named(known: list[object], chosen: str) -> None:
    assert rows.chosen_plan(rows.plans(Ledger(plans=known))).name == chosen


def test_without_any_plan_there_is_nothing_to_show() -> None:
    with pytest.raises(NothingError):
        rows.chosen_plan([])


@pytest.mark.parametrize(
    ("kind", "name", "said"), [("agent", "agent", "agent asked for (r)"), ("check", "unit", "check unit asked for (r)")]
)
def test_a_run_is_called_by_its_kind_and_its_name_once(kind: str, name: str, said: str) -> None:
    event = replace(an_event(1, "run_requested"), data={"kind": kind, "name": name, "run_id": "r"})
    assert event_words(event) == said


def test_every_event_has_words_of_its_own() -> None:
    kinds = {wire_name(kind) for kind in Event.__args__}
    assert kinds - WORDS.keys() == SILENT
    assert kinds >= WORDS.keys()
    assert kinds >= HEADLINES


@pytest.mark.parametrize("kind", sorted(WORDS))
def test_an_event_without_its_facts_is_still_one_line(kind: str) -> None:
    assert "\n" not in event_words(an_event(1, kind))


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (an_event(1, "landed", "api", commit=COMMIT), "landed as 1a2b3c4d"),
        (an_event(1, "landed", "api", commit=None), "done, nothing had to be changed"),
        (
            an_event(1, "attempt_ended", "api", ending="failed", failure="checks_red", detail="2 tests\nfailed"),
            "attempt ended: failed (checks red): 2 tests failed",
        ),
        (an_event(1, "escalated", "api", item=dump(an_item())), "i4 asks you: 'api' failed 4 times (agent failed)"),
        (
            an_event(1, "gate_failed", "api", check="tests", commit=COMMIT, exit={"why": "exit", "code": 2}),
            "check tests is red on 1a2b3c4d: exit status 2",
        ),
        (an_event(1, "from_the_future", "api", size=3, what="new"), "size=3 what=new"),
        (
            an_event(1, "progress_reported", "api", text="export API_TOKEN=abcdefgh12345"),
            "export API_TOKEN=[redacted]",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_event_reads_as(event: object, said: str) -> None:
    assert event_words(event) == said  # type: ignore[arg-type]
