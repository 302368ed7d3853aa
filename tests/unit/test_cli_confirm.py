"""The conversation before a plan runs: what a person types there has the same effect, and digest, as the flags."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.assessment import assess
from orchestrator.core.planfile import parse_plan, resolve_plan
from orchestrator.core.settings import build_settings
from orchestrator.model.assessment import Assessment
from orchestrator.model.errors import PlanError, UsageError
from orchestrator.model.place import Place
from orchestrator.model.run import PlanPhase
from orchestrator.wire import Overrides, dump
from tests.unit.cli_world import Ledger, World, a_plan, a_task, an_event, run
from tests.unit.test_planfile import ADAPTERS, FACTS

PLAN = """\
name: auth
checks: none
agents:
  one: {adapter: demo}
  two: {adapter: demo}
defaults: {agent: one}
tasks:
  - {id: db, prompt: make tables, files: [db, shared]}
  - {id: api, prompt: make it, files: [api, shared]}
  - {id: docs, prompt: write, files: [docs], depends_on: [api]}
  - {id: web, prompt: draw, files: [web]}
"""


class PlanWorld(World):
    """Reads plan files with the real core; a plan that is handed in is over at once."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, Ledger())
        self.project: dict[str, Any] = {}
        self.on_submit = self.lands

    def check_plan(self, place: Place, path: Path, overrides: Overrides, text: str | None = None) -> Assessment:
        self.checked.append((path, overrides))
        draft_text = path.read_text() if text is None else text
        settings = build_settings(user=None, project=("orchestrator.toml", self.project), environ={}, flags={})
        try:
            draft = parse_plan(draft_text, file=path.name)
        except PlanError as error:
            return Assessment(plan=None, errors=error.problems)
        changes: dict[str, Any] = dump(overrides)
        resolved = resolve_plan(draft, settings=settings, facts=FACTS, contents={}, adapters=ADAPTERS, **changes)
        return assess(resolved.plan, resolved.problems, resolved.places, file=path.name, facts=FACTS)

    def keep_plan(self, place: Place, name: str, text: str) -> Path:
        path = super().keep_plan(place, name, text)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def lands(self) -> None:
        assert self.ledger is not None
        submitted = self.submitted[-1]
        found = self.check_plan(self.place, Path(submitted.path), submitted.overrides)
        assert found.plan is not None
        assert found.digest == submitted.digest, "the daemon would refuse this"
        name = found.plan.name
        self.ledger.plans = [a_plan(name, PlanPhase.PUBLISHED, digest=found.digest)]
        self.ledger.tasks = [a_task(task.id, plan=name, order=n) for n, task in enumerate(found.plan.tasks)]
        self.ledger.changes += 1


@pytest.fixture
def world(tmp_path: Path) -> PlanWorld:
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "auth.yaml").write_text(PLAN)
    return PlanWorld(tmp_path)


START = ("start", "plans/auth.yaml")


def digest(world: PlanWorld, *flags: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run(world, "plan", "check", "plans/auth.yaml", *flags, "--json") == 0
    found: str = json.loads(capsys.readouterr().out)["data"]["digest"]
    return found


@pytest.mark.parametrize(
    ("typed", "flags"),
    [
        pytest.param(["first db api"], ["--first", "db:api"], id="first"),
        pytest.param(["f db:api"], ["--first", "db:api"], id="first, short"),
        pytest.param(["F Db, a"], ["--first", "db:api"], id="the beginnings of ids"),
        pytest.param(["f db api", "f api db"], ["--first", "api:db"], id="the other way round after all"),
        pytest.param(["drop web"], ["--drop", "web"], id="drop"),
        pytest.param(["x api,docs web"], ["--drop", "api", "--drop", "docs", "--drop", "web"], id="drop several"),
        pytest.param(["f web api", "x web"], ["--drop", "web"], id="an order goes with its task"),
        pytest.param(["a web two", "x web"], ["--drop", "web"], id="an agent goes with its task"),
        pytest.param(["agent two"], ["--agent", "two"], id="agent of all"),
        pytest.param(["a two", "a web one"], ["--agent", "two", "--agent", "web=one"], id="agent of all but one"),
        pytest.param(["a web=two"], ["--agent", "web=two"], id="agent of one"),
        pytest.param(["parallel 2"], ["--parallel", "2"], id="parallel"),
        pytest.param(["p 2", "p 9"], ["--parallel", "9"], id="parallel twice"),
        pytest.param(["p 2", "f db api", "u"], ["--parallel", "2"], id="undo the last"),
        pytest.param(["p 2", "f db api", "u", "u", "u"], [], id="undo everything and more"),
        pytest.param(
            ["f db web", "x docs", "a db two", "p 3"],
            ["--parallel", "3", "--agent", "db=two", "--first", "db:web", "--drop", "docs"],
            id="all of them",
        ),
        pytest.param(["?", "d", "d web", "s", "i", "c", "r", "nonsense"], [], id="only looking"),
        pytest.param(["f api api", "f docs api", "x api", "a nobody", "p 0", "p x", "f db", "x", "a", "a 1 2 3", "i x"],
                     [], id="nothing that can be done"),
    ],
)  # fmt: skip
def test_what_is_typed_at_the_question_is_what_the_flags_say(
    world: PlanWorld, typed: list[str], flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run(world, *START, terminal=True, typed=(*typed, "yes"))
    (submitted,) = world.submitted
    err = capsys.readouterr().err
    assert submitted.digest == digest(world, *flags, capsys=capsys)
    (line,) = [line for line in err.splitlines() if line.startswith("the same without a question: ")]
    words = shlex.split(line.partition(": ")[2])
    assert words[words.index("start") :] == [*START, *flags, "--confirm", submitted.digest]
    again = PlanWorld(world.place.root)
    assert run(again, *words[words.index("start") :]) == 1
    assert again.submitted[0].digest == submitted.digest


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("f docs api", "api -> docs -> api"),
        ("x api", "'docs' depends on it"),
        ("x nothing", "there is no task 'nothing'"),
        ("a nobody", "no agent 'nobody'"),
        ("p 1000", "from 1 to 256"),
        ("i branch", "not available yet"),
        ("i", "There is no other way yet"),
        ("f db", "takes two tasks"),
        ("dance", "? lists what can be typed"),
        ("y please", "? lists what can be typed"),
        ("p 4", "That changes nothing"),
        ("u", "Nothing was changed here"),
        ("c", "start plans/auth.yaml"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    world: PlanWorld, typed: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, *START, terminal=True, typed=(typed, "n")) == 4
    captured = capsys.readouterr()
    assert said in captured.err
    assert "digest   " in captured.out
    assert captured.out.count("* ") == 0
    assert world.submitted == []


def test_a_change_is_shown_with_what_it_moves(world: PlanWorld, capsys: pytest.CaptureFixture[str]) -> None:
    run(world, *START, terminal=True, typed=("f db api", "x web", ""))
    out = capsys.readouterr().out
    assert "  ~ api  depends_on: none -> db\n* verdict   sequential  (was partly)\n" not in out
    assert "  ~ api  depends_on: none -> db\n* verdict   parallel  (was partly)\n" in out
    assert "* overlaps  0 pairs kept apart, 1 ordered  (was 1 pair kept apart, 0 ordered)\n" in out
    assert "  - web  web\n* verdict   sequential  (was parallel)\n" in out
    assert "  agents    one, two\n" in out


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_word_of_the_page_or_of_a_change_is_cut_at_the_edge_of_the_screen(
    world: PlanWorld, width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run(world, *START, terminal=True, columns=width, typed=("isolation", "f db api", "p 1", "x web", "?", ""))
    said = capsys.readouterr()
    lines = [line for line in (said.out + said.err).splitlines() if len(line) > width]
    # what is to be copied stays in one piece
    assert [line for line in lines if not re.match(r"digest |  fix: |changed here: ", line)] == []
    assert "kept apart while they run" in " ".join(said.out.split())


def test_the_answer_no_tells_how_to_come_back_with_every_change(
    world: PlanWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, *START, "--detach", terminal=True, typed=("f db api", "")) == 4
    assert "start plans/auth.yaml --first db:api --detach\n" in capsys.readouterr().err


def test_one_task_is_shown_with_all_that_concerns_it(world: PlanWorld, capsys: pytest.CaptureFixture[str]) -> None:
    run(world, *START, terminal=True, typed=("a api two", "d api", "n"))
    out = capsys.readouterr().out
    for said in (
        "before    docs",
        "agent     two, by --agent api=two",
        "files     api, shared",
        "estimate  20m",
        "    make it\n",
        "db + api  shared  kept apart while they run",
        "dependent: not beside 'db': both may change shared",
    ):
        assert said in out
    assert run(world, "plan", "show", "plans/auth.yaml", "api", "--agent", "api=two") == 0
    assert "agent     two, by --agent api=two" in capsys.readouterr().out


# ---- the editor ----


def test_an_edited_plan_is_checked_again_and_what_changed_is_shown(
    world: PlanWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    def edited(path: Path) -> int:
        path.write_text(PLAN.replace("files: [db, shared]", "files: [db]"))
        return 0

    world.on_edit = edited
    run(world, *START, terminal=True, typed=("p 2", "e", "y"))
    assert world.submitted[0].digest == digest(world, "--parallel", "2", capsys=capsys)
    assert world.submitted[0].overrides.parallel == 2


def test_an_edit_that_breaks_the_plan_is_mended_and_nothing_is_lost(
    world: PlanWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [PLAN.replace("[api, shared]", "[/api]"), PLAN.replace("depends_on: [api]", "depends_on: [apo]"), PLAN]

    def edited(path: Path) -> int:
        path.write_text(texts.pop(0))
        return 0

    world.on_edit = edited
    run(world, *START, terminal=True, typed=("f db api", "e", "e", "what?", "e", "y"))
    captured = capsys.readouterr()
    assert "auth.yaml:9:" in captured.out, "the place of what is wrong"
    assert "write 'api'" in captured.out
    assert world.submitted[0].overrides.first == (("db", "api"),)


def test_an_edit_that_a_change_made_here_does_not_fit_can_be_undone(world: PlanWorld) -> None:
    def edited(path: Path) -> int:
        path.write_text(PLAN.replace("id: web", "id: page"))
        return 0

    world.on_edit = edited
    run(world, *START, terminal=True, typed=("p 2", "x web", "e", "u", "y"))
    assert world.submitted[0].overrides == Overrides(parallel=2)


@pytest.mark.parametrize(("answers", "code"), [(("q",), 2), (("",), 2), (("e", "n"), 4)])
def test_a_plan_with_errors_can_be_edited_before_anything_else(
    world: PlanWorld, answers: tuple[str, ...], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = world.place.root / "plans" / "auth.yaml"
    path.write_text("tasks: [")

    def edited(path: Path) -> int:
        path.write_text(PLAN)
        return 1

    world.on_edit = edited
    assert run(world, *START, terminal=True, typed=answers) == code
    captured = capsys.readouterr()
    assert "auth.yaml:2:1: " in captured.out
    assert ("the plan has 1 error" in captured.err) is (code == 2)
    assert captured.out.count("verdict  partly") == (1 if code == 4 else 0)


def test_no_editor_leads_back_to_the_question(world: PlanWorld, capsys: pytest.CaptureFixture[str]) -> None:
    def nothing(path: Path) -> int:
        raise UsageError("there is no editor to open", fix="export EDITOR=nano")

    world.on_edit = nothing
    run(world, *START, terminal=True, typed=("e", "y"))
    assert "export EDITOR=nano" in capsys.readouterr().err
    assert len(world.submitted) == 1


def test_without_a_terminal_errors_are_printed_and_nothing_is_asked(world: PlanWorld) -> None:
    (world.place.root / "plans" / "auth.yaml").write_text("tasks: [")
    assert run(world, *START) == 2


# ---- beside what is under way ----


def test_a_change_back_to_what_runs_already_is_followed(world: PlanWorld, capsys: pytest.CaptureFixture[str]) -> None:
    found = world.check_plan(world.place, world.place.root / "plans" / "auth.yaml", Overrides())
    assert world.ledger is not None
    world.ledger.plans = [a_plan("auth", digest=found.digest)]
    world.ledger.tasks = [a_task("db")]
    world.ledger.stored = [an_event(1, "plan_confirmed", plan=dump(found.plan), digest=found.digest)]

    def ends(seconds: float) -> None:
        assert world.ledger is not None
        world.ledger.plans = [a_plan("auth", PlanPhase.PUBLISHED, digest=found.digest)]
        world.ledger.changes += 1

    run(world, *START, "--drop", "web", terminal=True, typed=("f db api", "u", "y"), wait=ends)
    out = capsys.readouterr().out
    assert "This changes the plan that is under way" in out
    assert "  - web  web\n" in out
    assert len(world.submitted) == 1
    world.submitted.clear()
    world.ledger.plans = [a_plan("auth", digest=found.digest)]
    edited = (world.place.root / "plans" / "auth.yaml").read_text()
    (world.place.root / "plans" / "auth.yaml").write_text(edited.replace("draw", "paint"))
    world.on_edit = lambda path: path.write_text(edited) and 0
    run(world, *START, terminal=True, typed=("e", "y"), wait=ends)
    assert world.submitted == []


def test_another_unfinished_plan_refuses_before_anything_is_asked(
    world: PlanWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world.ledger = Ledger(plans=[a_plan("other")], tasks=[a_task("db")])
    for words in (START, ("run", "fix it", "--checks", "none", "--agent", "demo")):
        assert run(world, *words, terminal=True) == 6
        assert "plan 'other' is not finished" in capsys.readouterr().err


# ---- flags ----


@pytest.mark.parametrize("verb", [("plan", "check"), ("plan", "show"), ("plan", "graph"), ("start",)])
def test_every_verb_of_a_plan_takes_the_same_flags(world: PlanWorld, verb: tuple[str, ...]) -> None:
    flags = ["--first", "db:api", "--drop", "web", "--agent", "two", "--agent", "db=one", "--parallel", "3"]
    assert run(world, *verb, "plans/auth.yaml", *flags) == (4 if verb == ("start",) else 0)
    assert world.checked[0][1] == Overrides(
        first=(("db", "api"),), drop=("web",), agent="two", agents={"db": "one"}, parallel=3
    )


@pytest.mark.parametrize(
    "flags",
    [
        ["--first", "a"],
        ["--first", "a:"],
        ["--first", "a:b:c"],
        ["--agent", ""],
        ["--agent", "a="],
        ["--agent", "=a"],
        ["--agent", "a", "--agent", "b"],
        ["--agent", "t=a", "--agent", "t=b"],
        ["--parallel", "0"],
    ],
    ids=" ".join,
)
def test_flags_that_cannot_be_read_are_usage_errors(
    world: PlanWorld, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, *START, *flags) == 2
    assert run(world, "plan", "check", "plans/auth.yaml", *flags) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert world.checked == []


# ---- many tasks ----


def many(count: int) -> str:
    rows = "".join(
        f"  - {{id: task-{n:03}, title: Part {n}, prompt: do part {n}, files: [m{n - n % 2 if n % 10 < 2 else n}/**]"
        f"{f', depends_on: [task-{n - 50:03}]' if n >= 50 else ''}}}\n"
        for n in range(count)
    )
    return PLAN.partition("tasks:")[0] + "tasks:\n" + rows


def test_two_hundred_tasks_fit_on_a_page_and_details_show_them_all(
    world: PlanWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    (world.place.root / "plans" / "auth.yaml").write_text(many(200))
    assert run(world, "plan", "check", "plans/auth.yaml") == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) <= 45
    assert "wave 1  50 tasks  task-000, task-001, " in out
    assert "and 46 more" in out
    assert "task-000, task-001  m0/a" in out
    assert "details show them" in out
    assert "do part 7" not in out
    assert run(world, "plan", "show", "plans/auth.yaml") == 0
    out = capsys.readouterr().out
    assert all(f"do part {n}\n" in out for n in range(200))


# ---- where nothing is to be asked ----


@pytest.mark.parametrize("words", [START, ("start",), ("run", "fix it", "--checks", "none", "--agent", "demo")])
def test_an_agent_in_its_run_may_start_nothing(
    world: PlanWorld, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_RUN", "/somewhere")
    assert run(world, *words) == 6
    assert "orch-agent ask" in capsys.readouterr().err
    assert world.checked == []


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.mkdir(), "is a folder, and a plan is a file"),
        (lambda path: os.mkfifo(path), "a plan is read more than once"),
        (lambda path: None, "there is no plan file"),
    ],
    ids=["a folder", "a pipe", "nothing"],
)
def test_what_is_no_plan_file_is_said_to_be_none(
    world: PlanWorld, make: Callable[[Path], object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make(world.place.root / "x.yaml")
    for words in (("start",), ("plan", "check")):
        assert run(world, *words, "x.yaml", terminal=True) == 2
        err = capsys.readouterr().err
        assert said in err
        assert "plans/auth.yaml" in err


def test_a_daemon_can_be_started_for_a_plan_that_is_over(world: PlanWorld, capsys: pytest.CaptureFixture[str]) -> None:
    world.ledger = Ledger(plans=[a_plan(state=PlanPhase.FINISHED)], tasks=[a_task("db")])
    world.pid = None
    assert run(world, "start") == 7
    assert run(world, "start", "--detach") == 0
    assert "auth is finished; the daemon is process 4243." in capsys.readouterr().out
