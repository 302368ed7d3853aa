"""The screens of `status` at fixed widths, as a person sees them, and the one that keeps itself up to date."""

from __future__ import annotations

import io
import os
import pty
import sys
import termios
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from orchestrator.cli.columns import Entry, entry, lane_columns, shares, shortened
from orchestrator.cli.session import Session
from orchestrator.model.run import Lane, PlanPhase, TaskState
from orchestrator.model.view import TaskView
from tests.unit.cli_world import NOW, Ledger, World, a_plan, a_task, an_attempt, an_item, run

LONG = "refactor-the-authentication-middleware-and-its-sessions"


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def a_busy_plan() -> list[TaskView]:
    return [
        a_task("db", TaskState.LANDED, order=0),
        a_task("api", TaskState.ESCALATED, order=1, item="i4", failed=True, reason="gave up"),
        a_task("ui", TaskState.RUNNING, order=2, attempts=2, tries=4, overdue_at=NOW - minutes(2),
               history=(an_attempt("ui", 2, progress="übersetzt 日本語"),)),
        a_task(LONG, TaskState.RUNNING, order=3, attempts=1, tries=4, history=(an_attempt(LONG),)),
        a_task("docs", order=4, waiting_for="depends on 'api', which is escalated"),
        a_task("lint", TaskState.BACKOFF, order=5, retry_at=NOW + minutes(4)),
        a_task("gone", TaskState.CANCELLED, order=6),
    ]  # fmt: skip


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("LINES", "40")
    return World(tmp_path, Ledger(plans=[a_plan()], tasks=a_busy_plan(), items=[an_item()]))


HEAD = [
    "plan auth  1 completed / 7 total (2 in progress, 1 failed)",
    "Progress ██░░░░░░░░░░░░░░░░░░ 14 % (1/7 done)",
    "running  run 1  target main  daemon 4242",
    "",
]
FOOT = ["", "inbox: 1 item waits for you (orchestrator inbox)", "  i4  agent failed  'api' failed 4 times"]

SCREENS = {
    80: [
        "planned (2)",
        "  docs  claude  12m    depends on 'api', which is escalated",
        "  lint  claude  12m    tries again in 4m",
        "doing (2)",
        "  ui                          claude  12m  attempt 2/4  in doing for 12m, past",
        "                                                        its limit for 2m;",
        "                                                        übersetzt 日本語",
        "  refactor-the-auth…sessions  claude  12m  attempt 1",
        "blocked (1)",
        "  api  claude  12m    asks you: i4; gave up",
        "done (1)",
        "  db  claude  12m    1a2b3c4d",
        "cancelled (1)",
        "  gone  claude  12m",
    ],
    100: [
        "planned (2)                doing (2)                               blocked (1)           done (1)",
        "docs (claude) waits        ui (claude) attempt 2/4 12m!            api (claude) asks i4  db (claude)",
        "lint (claude) again in 4m  refactor-the-authenticati…its-sessions",
        "",
        "cancelled (1): gone",
        "",
        "api  blocked  asks you: i4; gave up",
        "ui   doing    in doing for 12m, past its limit for 2m; übersetzt 日本語",
    ],
    200: [
        "planned (2)                doing (2)                                                             "
        "for review (0)  merging (0)  blocked (1)           done (1)",
        "docs (claude) waits        ui (claude) attempt 2/4 12m!                                          "
        "                             api (claude) asks i4  db (claude)",
        "lint (claude) again in 4m  refactor-the-authentication-middleware-and-its-sessions (claude) 12m",
        "",
        "cancelled (1): gone",
        "",
        "api  blocked  asks you: i4; gave up",
        "ui   doing    in doing for 12m, past its limit for 2m; übersetzt 日本語",
    ],
}


@pytest.mark.parametrize("width", SCREENS)
def test_status_on_a_terminal_of_this_width(world: World, width: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "status", terminal=True, columns=width) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [*HEAD, *SCREENS[width], *FOOT]


@pytest.mark.parametrize("width", range(90, 161, 7))
def test_no_line_of_the_columns_is_wider_than_the_terminal(width: int) -> None:
    tasks = a_busy_plan() + [
        a_task(f"{LONG}-{n}", state, order=9 + n, agent="an-agent-with-a-long-name", item="i12", overdue_at=NOW)
        for n, state in enumerate(TaskState)
    ]
    for row in lane_columns(tasks, now=NOW, width=width, most=3):
        assert cell_len(row.plain.rstrip()) <= width


def test_lanes_of_many_tasks_end_with_a_count(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert world.ledger is not None
    world.ledger.tasks, world.ledger.items = [a_task(f"t{n}", order=n) for n in range(200)], []
    run(world, "status", terminal=True, columns=120)
    lines = capsys.readouterr().out.splitlines()
    assert lines[4].startswith("planned (200)  doing (0)")
    assert lines[-1].strip() == "+172 more"
    assert len(lines) < 40, "it fits the terminal"


@pytest.mark.parametrize("state", [None, "overdue"])
def test_what_is_said_in_colour_is_said_in_words_too(
    world: World, state: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    run(world, "status", "--color", "always", terminal=True, columns=200)
    coloured = capsys.readouterr().out
    assert "\x1b[" in coloured
    run(world, "status", "--color", "never", terminal=True, columns=200)
    plain = capsys.readouterr().out
    assert "\x1b[" not in plain
    assert "12m!" in plain
    assert "past its limit" in plain


def test_where_there_are_no_blocks_the_screen_is_ascii(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert world.ledger is not None
    world.ledger.tasks = [task for task in world.ledger.tasks if task.id != "ui"]
    run(world, "status", terminal=True, columns=100)
    out.seek(0)
    text = out.read()
    assert "Progress [###-----------------] 16 % (1/6 done)" in text
    assert "refactor-the-authenticat..its-sessions" in text, text
    assert "?" not in text


@pytest.mark.parametrize(
    ("encoding", "fine"), [("utf-8", True), ("ascii", False), ("latin-1", False), ("cp437", False), ("", False)]
)
def test_blocks_are_drawn_where_the_encoding_has_them(
    encoding: str, fine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Out:
        pass

    out: Any = Out()
    out.encoding = encoding
    monkeypatch.setattr(sys, "stdout", out)
    assert Session().is_fine is fine


def test_sentences_are_broken_between_words_and_a_command_is_left_whole(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, "status", "a-task-that-does-not-exist-at-all", terminal=True, columns=60) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: there is no task 'a-task-that-does-not-exist-at-all'",
        "  why: known: db, api, ui,",
        f"  {LONG},",
        "  docs, lint, gone",
        "  fix: `orchestrator status` lists them",
    ]


def test_a_command_in_an_error_is_left_in_one_piece(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "logs", "api", "--level", "info", "--stream", "agent", terminal=True, columns=40) == 2
    fix = capsys.readouterr().err.splitlines()[-1]
    assert fix.startswith("  fix: ")
    assert fix.endswith("logs --stream daemon --level info")


# ---- one line for a task ----


@pytest.mark.parametrize(
    ("task", "text"),
    [
        pytest.param(a_task("a"), "a (claude)", id="may start"),
        pytest.param(a_task("a", agent=None), "a", id="no agent yet"),
        pytest.param(a_task("a", waiting_for="x"), "a (claude) waits", id="waits"),
        pytest.param(a_task("a", lane=Lane.BLOCKED), "a (claude) cannot start", id="behind a failed one"),
        pytest.param(
            a_task("a", TaskState.BACKOFF, retry_at=NOW + minutes(4)), "a (claude) again in 4m", id="tries again"
        ),
        pytest.param(
            a_task("a", TaskState.BACKOFF, retry_at=NOW - minutes(4)), "a (claude) again now", id="is due already"
        ),
        pytest.param(a_task("a", TaskState.RUNNING, attempts=1), "a (claude) 12m", id="first attempt"),
        pytest.param(
            a_task("a", TaskState.RUNNING, attempts=2, tries=3), "a (claude) attempt 2/3 12m", id="second attempt"
        ),
        pytest.param(
            a_task("a", TaskState.RUNNING, attempts=9, tries=3), "a (claude) attempt 9 12m", id="of a later run"
        ),
        pytest.param(
            a_task("a", TaskState.RUNNING, attempts=2, tries=5, agent="human"), "a (human) by hand 12m", id="a person's"
        ),
        pytest.param(a_task("a", TaskState.RUNNING, overdue_at=NOW), "a (claude) 12m!", id="too long"),
        pytest.param(
            a_task("a", TaskState.RUNNING, lane=Lane.BLOCKED, item="i3"), "a (claude) asks i3", id="agent asks"
        ),
        pytest.param(
            a_task("a", TaskState.ESCALATED, item="i3", overdue_at=NOW), "a (claude) asks i3 12m!", id="asks for long"
        ),
        pytest.param(a_task("a", TaskState.FAILED), "a (claude) failed", id="failed"),
        pytest.param(a_task("a", TaskState.QUEUED), "a (claude) queued 12m", id="queued"),
        pytest.param(a_task("a", TaskState.GATING), "a (claude) at the gate 12m", id="at the gate"),
        pytest.param(a_task("a", TaskState.LANDED), "a (claude)", id="landed"),
        pytest.param(a_task("a", TaskState.LANDED, undo="held"), "a (claude) undo: held", id="cannot be undone"),
        pytest.param(a_task("a", TaskState.LANDED, landed_commit=None), "a (claude) no change", id="no change"),
    ],
)
def test_a_task_says_in_its_line(task: TaskView, text: str) -> None:
    assert entry(task, NOW).fitted(80, "…") == text


@pytest.mark.parametrize("columns", [80, 100], ids=["list", "columns"])
def test_an_undo_under_way_is_on_the_board(world: World, columns: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert world.ledger is not None
    late = a_task("late", TaskState.LANDED, since=NOW)
    world.ledger.tasks = [late, a_task("db", TaskState.LANDED, order=1, undo="at the gate")]
    run(world, "status", terminal=True, columns=columns)
    out = capsys.readouterr().out
    assert "undo: at the gate" in out
    assert out.index("db (" if columns == 100 else "db ") < out.index("late")


CALM = Entry(name="task-one", agent="claude", marks=("attempt 2/3 12m", "12m", ""))
LATE = Entry(name="task-one", agent="claude", marks=("attempt 2/3 12m!", "12m!", "!"))


@pytest.mark.parametrize(
    ("line", "width", "text"),
    [
        (CALM, 40, "task-one (claude) attempt 2/3 12m"),
        (CALM, 24, "task-one (claude) 12m"),
        (CALM, 18, "task-one (claude)"),
        (CALM, 13, "task-one 12m"),
        (CALM, 10, "task-one"),
        (CALM, 7, "task…ne"),
        (LATE, 24, "task-one (claude) 12m!"),
        (LATE, 19, "task-one (claude) !"),
        (LATE, 13, "task-one 12m!"),
        (LATE, 10, "task-one !"),
        (LATE, 9, "task…ne !"),
    ],
)
def test_what_does_not_fit_is_left_out_in_this_order(line: Entry, width: int, text: str) -> None:
    assert line.fitted(width, "…") == text


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [
        ("abcdefghij", 10, "abcdefghij"),
        ("abcdefghij", 7, "abcd…ij"),
        ("日本語の長い名前", 9, "日本語…前"),
        ("abcdef", 3, "abc"),
        ("abcdef", 0, ""),
    ],
)
def test_a_name_loses_its_middle(text: str, width: int, short: str) -> None:
    assert shortened(text, width, "…") == short
    assert cell_len(shortened(text, width, "…")) <= width


@pytest.mark.parametrize(
    ("wanted", "least", "room", "given"),
    [
        ([10, 20], [5, 5], 40, [10, 20]),
        ([10, 20], [5, 5], 20, [10, 10]),
        ([30, 30, 6], [5, 5, 6], 26, [10, 10, 6]),
        ([12, 12], [12, 12], 20, [10, 10]),
        ([1, 1], [1, 1], 1, [1, 1]),
    ],
)
def test_the_room_is_shared_so_that_the_greediest_give_way(
    wanted: list[int], least: list[int], room: int, given: list[int]
) -> None:
    assert shares(wanted, least, room) == given


# ---- kept up to date ----


def changing(world: World, *steps: Callable[[], None]) -> Callable[[float], None]:
    """Each look at the ledger, one more thing has happened; then Ctrl-C."""
    left = list(steps)

    def wait(seconds: float) -> None:
        assert world.ledger is not None
        if not left:
            raise KeyboardInterrupt
        left.pop(0)()

    return wait


def sets(world: World, **changes: Any) -> Callable[[], None]:
    def step() -> None:
        assert world.ledger is not None
        world.ledger.changes += 1
        for name, value in changes.items():
            setattr(world.ledger, name, value)

    return step


def test_a_watched_plan_is_printed_after_each_change_and_to_its_end(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    landed = [a_task("db", TaskState.LANDED)]
    steps = [
        lambda: None,
        sets(world),  # an event that changes nothing a person sees
        sets(world, tasks=[a_task("db", TaskState.GATING)]),
        sets(world, tasks=landed, plans=[a_plan(state=PlanPhase.PUBLISHED)]),
    ]
    assert run(world, "status", "--watch", wait=changing(world, *steps)) == 0
    said = capsys.readouterr()
    assert said.out.count("plan auth") == 3
    assert said.out.count("\n-- ") == 2
    assert "100 % (1/1 done)" in said.out
    assert "Plan 'auth' is over (published); there is nothing more to watch." in said.err


def test_a_watched_plan_is_printed_again_when_the_daemon_goes(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    def gone() -> None:
        world.pid = None

    assert run(world, "status", "--watch", wait=changing(world, gone)) == 0
    out = capsys.readouterr().out
    assert out.count("plan auth") == 2
    assert "no daemon runs: orchestrator start" in out


def test_watching_a_plan_that_is_over_shows_it_once(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    sets(world, plans=[a_plan(state=PlanPhase.CANCELLED)])()
    assert run(world, "status", "--watch") == 0
    said = capsys.readouterr()
    assert said.out.count("plan auth") == 1
    assert "is over (cancelled)" in said.err


class Screen:
    """A terminal of our own: what a program writes to it, and how big it is."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        self.out = os.fdopen(slave, "w", encoding="utf-8")
        self.size(24, 100)

    def size(self, lines: int, columns: int) -> None:
        termios.tcsetwinsize(self.out.fileno(), (lines, columns))

    def read(self) -> str:
        os.set_blocking(self.master, False)
        parts = []
        try:
            while part := os.read(self.master, 65536):
                parts.append(part)
        except BlockingIOError:
            pass
        return b"".join(parts).decode()


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("LINES", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    made = Screen()
    yield made
    made.out.close()
    os.close(made.master)


def test_watching_on_a_terminal_draws_in_place_and_gives_the_terminal_back(
    world: World, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", screen.out)
    seen: list[str] = []

    def look() -> None:
        seen.append(screen.read())

    def resized() -> None:
        look()
        screen.size(24, 200)

    def moved() -> None:
        look()
        sets(world, tasks=[a_task("db", TaskState.RUNNING)])()

    wait = changing(world, moved, look, resized, look)
    assert run(world, "status", "--watch", terminal=True, wait=wait) == 0
    first, after_change, nothing, after_resize = seen
    assert first.startswith("\x1b[?1049h")
    assert "doing (2)" in first
    assert "doing (1)" in after_change
    assert nothing == "", "nothing happened, so nothing is drawn"
    assert "for review (0)" in after_resize, "the wider screen has room for every lane"
    last = screen.read()
    assert "\x1b[?1049l" in last
    assert "\x1b[?25h" in last, "the cursor is back"
    assert "0 completed / 1 total" in last.split("\x1b[?1049l")[1], "what was seen last stays"
