"""`init`, `doctor` and the bare command: what is asked, what is shown, what is written and what is not."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.cli.session import Session
from orchestrator.core.detection import Signs
from orchestrator.model.ids import PlanId
from orchestrator.model.probe import Grade, Probe
from orchestrator.model.run import PlanPhase, TaskState
from tests.unit.cli_world import Ledger, World, a_plan, a_task, an_item, run
from tests.unit.test_detection import JEST, signs

NODE = signs("package-lock.json", package_json=JEST, ignored=".env node_modules", programs="claude codex")


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.signs = NODE
    return world


def written(world: World) -> dict[str, object]:
    assert world.written is not None
    return tomllib.loads(world.written)


# ---- init without asking ----


def test_init_yes_writes_what_was_found_and_says_what_is_next(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "init", "--yes") == 0
    out = capsys.readouterr().out
    assert "checks = [" in out
    assert "orchestrator.toml is written" in out
    assert "plan new" in out
    assert [check["run"] for check in written(world)["checks"]] == [["npm", "test"]]  # type: ignore[attr-defined,index]
    assert written(world)["defaults"]["agent"] == "claude"  # type: ignore[index]


@pytest.mark.parametrize("words", [["init"], ["init", "--json"]], ids=" ".join)
def test_init_without_a_terminal_prints_the_file_and_writes_nothing(
    world: World, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, *words) == 4
    captured = capsys.readouterr()
    if "--json" in words:
        answer = json.loads(captured.out)
        assert (answer["ok"], answer["error"]["code"]) == (False, "confirmation_needed")
        text = answer["data"]["text"]
        assert answer["data"]["written"] is False
    else:
        text = captured.out
        assert "init --yes" in captured.err
    assert tomllib.loads(text)["protected"] == [".github/**", "package-lock.json", "orchestrator.toml"]
    assert world.written is None


def test_init_json_says_what_it_wrote(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.signs = Signs(has_commit=False)
    assert run(world, "init", "--yes", "--json") == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert data["written"] is True
    assert data["path"].endswith("orchestrator.toml")
    assert len(data["warnings"]) == 3, "no commit, no tests, no agents"


def test_an_existing_file_is_left_and_shown_what_it_lacks(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    file = world.place.root / "orchestrator.toml"
    file.write_text('checks = "none"\n')
    for words in (["init"], ["init", "--yes"]):
        assert run(world, *words, terminal=True) == 0
        out = capsys.readouterr().out
        assert "is left as it is" in out
        assert "+[agents.claude]" in out
        assert "+checks" not in out
    assert file.read_text() == 'checks = "none"\n'
    assert run(world, "init", "--json") == 0
    assert json.loads(capsys.readouterr().out)["data"]["written"] is False


def test_what_does_not_fit_into_an_existing_file_is_shown_apart(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    (world.place.root / "orchestrator.toml").write_text("agents = {x = {adapter = 'demo'}}\n")
    assert run(world, "init", terminal=True) == 0
    out = capsys.readouterr().out
    assert "[agents.claude]" in out
    assert "+" not in out


def test_an_existing_file_that_says_everything_is_said_to(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "init", "--yes") == 0
    capsys.readouterr()
    assert run(world, "init") == 0
    assert "says everything that would be proposed" in capsys.readouterr().out


def test_an_existing_file_that_is_no_toml_is_an_error(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.place.root / "orchestrator.toml").write_text("checks = [")
    assert run(world, "init", "--yes") == 2
    assert "cannot be read" in capsys.readouterr().err


# ---- init at a terminal ----


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        pytest.param(
            ["", "", "", "", "", ""],
            {"checks": [["npm", "test"]], "prepare": {"copy", "run"}, "agents": ["claude", "codex"]},
            id="Enter takes all",
        ),
        pytest.param(
            ["make it && test it", "n", "y", "codex", "/big/trees", "yes"],
            {
                "checks": [["sh", "-c", "make it && test it"]],
                "prepare": {"run"},
                "agents": ["codex"],
                "worktrees": "/big/trees",
            },
            id="everything otherwise",
        ),
        pytest.param(
            ["./run tests 'a b'", "", "n", "vim", "codex, claude", "", "y"],
            {"checks": [["./run", "tests", "a b"]], "prepare": {"copy"}, "agents": ["codex", "claude"]},
            id="an agent that there is not is asked again",
        ),
        pytest.param(
            ["CI=1 npm test", "y", "y", "codex", "no", "./trees", "~/trees", "y"],
            {
                "checks": [["sh", "-c", "CI=1 npm test"]],
                "prepare": {"copy", "run"},
                "agents": ["codex"],
                "worktrees": "~/trees",
            },
            id="a folder inside the repository is asked about again",
        ),
        pytest.param(
            ["no", "no", "no", "claude", "", "y"],
            {"checks": [["git"]], "prepare": set(), "agents": ["claude"]},
            id="no check at all is the last resort",
        ),
    ],
)
def test_what_the_person_says_is_what_is_written(world: World, typed: list[str], wanted: dict[str, object]) -> None:
    assert run(world, "init", terminal=True, typed=tuple(typed)) == 0
    content: dict[str, object] = written(world)
    runs = [check["run"] for check in content["checks"]]  # type: ignore[attr-defined]
    assert runs == wanted["checks"] or runs[0][:1] == wanted["checks"][0]  # type: ignore[index]
    assert set(content.get("prepare", {})) == wanted["prepare"]  # type: ignore[call-overload]
    assert list(content["agents"]) == wanted["agents"]  # type: ignore[call-overload]
    assert content["defaults"]["agent"] == wanted["agents"][0]  # type: ignore[index]
    assert content.get("worktrees") == wanted.get("worktrees")


def test_nobody_but_a_person_is_a_choice_too(world: World) -> None:
    assert run(world, "init", terminal=True, typed=("", "", "", "none", "", "y")) == 0
    assert "agents" not in written(world)
    assert written(world)["defaults"] == {"agent": "human"}


def test_a_no_at_the_end_writes_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "init", terminal=True, typed=("", "", "", "", "", "n")) == 4
    assert world.written is None
    assert "nothing was written" in capsys.readouterr().err


def test_somebody_who_goes_away_has_not_agreed(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    session = Session(terminal=True, world=lambda: world, known_place=world.place, directory=world.place.root)
    assert main(["init"], session=session) == 4
    assert world.written is None
    assert "nothing was written" in capsys.readouterr().err


# ---- bare ----


def begun(world: World) -> World:
    """A repository with a commit, as far as its files tell."""
    heads = world.place.common_dir / "refs" / "heads"
    heads.mkdir(parents=True)
    (heads / "main").write_text("1" * 40)
    return world


def test_bare_offers_to_set_up_and_does(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(begun(world), terminal=True, typed=("", "", "", "", "", "", "")) == 0
    assert "is written" in capsys.readouterr().out
    assert world.written is not None


def test_bare_takes_a_no(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(begun(world), terminal=True, typed=("n",)) == 0
    assert "plan new" in capsys.readouterr().out
    assert world.written is None


@pytest.mark.parametrize(
    ("settings", "plans", "has_commit", "said", "unsaid"),
    [
        pytest.param(False, [], False, ["git commit", " init", "plan new"], ["start plans"], id="nothing at all"),
        pytest.param(False, [], True, [" init", "plan new"], ["git commit"], id="a commit"),
        pytest.param(True, [], True, ["plan new"], [" init", "git commit"], id="settings"),
        pytest.param(True, ["b.yaml", "a.yml"], True, ["start plans/a.yml", "start plans/b.yaml"], ["new"], id="plans"),
        pytest.param(True, [f"{n}.yaml" for n in range(6)], True, ["and 3 more"], ["3.yaml"], id="many plans"),
    ],
)
def test_bare_says_how_to_begin(
    tmp_path: Path,
    settings: bool,
    plans: list[str],
    has_commit: bool,
    said: list[str],
    unsaid: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    world = World(tmp_path)
    if has_commit:
        begun(world)
    if settings:
        (tmp_path / "orchestrator.toml").write_text("")
    (tmp_path / "plans").mkdir()
    for name in plans:
        (tmp_path / "plans" / name).write_text("tasks: []")
    assert run(world) == 0
    out = capsys.readouterr().out
    assert [text for text in said if text not in out] == []
    assert [text for text in unsaid if text in out] == []
    assert run(world, "--json", terminal=True) == 7
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "nothing"


LANDED = a_task("db", TaskState.LANDED)


@pytest.mark.parametrize(
    ("ledger", "pid", "steps"),
    [
        pytest.param(Ledger(plans=[a_plan()], tasks=[a_task("db")]), 7, ["start"], id="runs: follow it"),
        pytest.param(Ledger(plans=[a_plan()], tasks=[a_task("db")]), None, ["start"], id="no daemon"),
        pytest.param(
            Ledger(plans=[a_plan()], tasks=[a_task("db")], items=[an_item()]), 7, ["inbox"], id="somebody is asked"
        ),
        pytest.param(
            Ledger(plans=[a_plan()], tasks=[a_task("db")], items=[an_item()]),
            None,
            ["start", "inbox"],
            id="asked, and no daemon that would hear the answer",
        ),
        pytest.param(Ledger(plans=[a_plan(state=PlanPhase.PAUSED)], tasks=[a_task("db")]), 7, ["resume"], id="paused"),
        pytest.param(
            Ledger(plans=[a_plan(state=PlanPhase.PAUSED)], tasks=[a_task("db")]), None, ["start"], id="paused and gone"
        ),
        pytest.param(
            Ledger(plans=[a_plan(state=PlanPhase.FINISHED)], tasks=[LANDED]), 7, ["publish"], id="not published"
        ),
        pytest.param(
            Ledger(plans=[a_plan(state=PlanPhase.FINISHED)], tasks=[LANDED, a_task("x", TaskState.FAILED)]),
            7,
            ["report", "publish"],
            id="failed and not published",
        ),
        pytest.param(Ledger(plans=[a_plan(state=PlanPhase.PUBLISHED)], tasks=[LANDED]), 7, ["report"], id="all done"),
        pytest.param(
            Ledger(plans=[a_plan(state=PlanPhase.CANCELLED)], tasks=[a_task("x", TaskState.CANCELLED)]),
            None,
            ["report"],
            id="cancelled",
        ),
    ],
)
def test_bare_says_what_is_next(
    tmp_path: Path, ledger: Ledger, pid: int | None, steps: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path, ledger, pid=pid)
    assert run(world) == 0
    out = capsys.readouterr().out
    tail = out.partition("\nnext\n")[2].splitlines()
    assert [line.split()[3] for line in tail] == steps, out
    assert run(world, "--json") == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert [step["command"].split()[-1] for step in data["next"]] == steps
    assert data["plan"] == "auth"


def test_bare_names_another_plan_when_one_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plans").mkdir()
    for name in ("auth.yaml", "next.yaml"):
        (tmp_path / "plans" / name).write_text("tasks: []")
    done = a_plan(str(PlanId("auth")), PlanPhase.PUBLISHED)
    assert run(World(tmp_path, Ledger(plans=[done], tasks=[LANDED]))) == 0
    out = capsys.readouterr().out
    assert "start plans/next.yaml" in out
    assert "start plans/auth.yaml" not in out


# ---- doctor ----

GOOD = Probe(name="git", said="2.39.5")
WARNED = Probe(name="disk", grade=Grade.WARN, said="little room", why="trees are large", fix="make room")
BROKEN = Probe(name="ledger", grade=Grade.FAIL, said="damaged", why="page 3", fix="put a backup back")


@pytest.mark.parametrize(
    ("probes", "code", "said"),
    [
        pytest.param((GOOD,), 0, "Everything that was looked at works", id="all is well"),
        pytest.param((GOOD, WARNED), 0, "1 warning", id="a warning is no failure"),
        pytest.param((GOOD, WARNED, BROKEN), 1, "put a backup back", id="a failure"),
    ],
)
def test_doctor(
    world: World, probes: tuple[Probe, ...], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world.probes = probes
    assert run(world, "doctor") == code
    captured = capsys.readouterr()
    assert said in captured.out
    assert ("not everything works: ledger" in captured.err) is bool(code)
    assert run(world, "doctor", "--json") == code
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is not bool(code)
    assert [one["grade"] for one in answer["data"]["probes"]] == [probe.grade.value for probe in probes]
