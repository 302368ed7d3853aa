"""`conflicts`, `worktree`, `open`, `fetch`, `diff` at the command line: what is printed, asked and sent."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.cli.worktree import size
from orchestrator.core.trees import kept_because
from orchestrator.model.attempt import AttemptState
from orchestrator.model.errors import RefusedError
from orchestrator.model.ids import AttemptId, ItemId, PlanId, TaskId
from orchestrator.model.item import Item, ItemKind, Option
from orchestrator.model.run import PlanPhase, TaskState
from orchestrator.model.view import Change, FileChange, TreeHolds, TreeKind, TreeView
from tests.unit.cli_world import COMMIT, NOW, Ledger, World, a_plan, a_task, an_attempt, an_event, an_item, run

BY_HAND = Option(id="by_hand", label="Resolve it by hand", effect="a tree")
DROP = Option(id="drop", label="Drop the task", effect="cancelled")


def a_conflict(**changes: Any) -> Item:
    fields: dict[str, Any] = {
        "kind": ItemKind.CONFLICT,
        "trigger": "conflict",
        "title": "'api' conflicts with what is on the plan's branch",
        "paths": ("src/routes.py",),
        "options": (BY_HAND, DROP),
    }
    return an_item(**{**fields, **changes})


HERE = str(Path(__file__).parent)  #: a folder that is there


def taken(item: Item, path: str | None = HERE) -> Item:
    return replace(item, by_hand=AttemptId("auth/api-2"), taken_by="ada", taken_at=NOW, worktree=path)


class Seeing(World):
    """A world whose trees and changes are what the test says."""

    def __init__(self, root: Path, ledger: Ledger, **given: Any) -> None:
        super().__init__(root, ledger, **given)
        self.found: list[TreeView] = []
        self.ran: list[tuple[list[str], Any, Any, Any]] = []
        self.change = Change(
            base="b" * 40,
            head=None,
            files=(FileChange(path="ü.txt", status="A", added=1, deleted=0),),
            text="+grün\n".encode(),
        )
        self.asked: list[Any] = []

    def trees(self, place: Any, plans: Any, tasks: Any, *, look: bool = True) -> list[TreeView]:
        return self.found

    def tree_holds(self, place: Any, view: TreeView, prepared: Any) -> TreeHolds:
        return TreeHolds(
            uncommitted=("a.txt",), commits=("1234 work",), stashes=1, branches=0, nested=(), salvage=view.salvage
        )

    def change_of(self, place: Any, plan: Any, task: Any, attempt: Any, options: Any) -> Change:
        self.asked.append((task.id, attempt.number if attempt else None, list(options)))
        return self.change

    def fetch_branch(self, place: Any, attempt: Any, branch: str) -> Any:
        self.asked.append((attempt.id, branch))
        return SimpleNamespace(branch=branch, commit=COMMIT, before=None)

    def run_here(self, argv: Any, *, cwd: Any = None, environ: Any = None, stdin: Any = None) -> int:
        self.ran.append((list(argv), cwd, dict(environ or {}), stdin))
        return 0


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    tree = tmp_path / "tree"
    tree.mkdir()
    ended = an_attempt("done", state=AttemptState.ENDED, branch="refs/orchestrator/auth/done-1", salvage=("refs/s",))
    tasks = [
        a_task("api", TaskState.RUNNING, attempts=1, history=(an_attempt("api", worktree=str(tree), base="b" * 40),)),
        a_task("done", TaskState.ESCALATED, attempts=1, history=(ended,)),
        a_task("new"),
    ]
    return Ledger(plans=[a_plan()], tasks=tasks, items=[a_conflict()])


@pytest.fixture
def world(tmp_path: Path, ledger: Ledger) -> Seeing:
    return Seeing(tmp_path, ledger)


# ---- conflicts ----


def test_conflicts_lists_what_is_open_and_who_is_at_it(
    world: Seeing, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.items.append(taken(a_conflict(name="i5", task_id=None, paths=("main.py",)), "/w/sync"))
    assert run(world, "conflicts") == 0
    said = capsys.readouterr().out
    assert "src/routes.py" in said
    assert "conflicts open api" in said
    assert "resolved by hand in /w/sync" in said
    assert "conflicts done sync" in said


def test_conflicts_json_has_exactly_the_documented_shape(world: Seeing, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "conflicts", "--json") == 0
    (one,) = json.loads(capsys.readouterr().out)["data"]["conflicts"]
    names = {"id", "plan", "task", "title", "paths", "asked_at", "worktree", "taken_by", "taken_at", "note"}
    assert set(one) == names


@pytest.mark.parametrize("words", [("conflicts", "open", "api"), ("answer", "i4", "by_hand")])
def test_opening_prints_the_path_alone_and_says_what_to_do(
    world: Seeing, ledger: Ledger, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    def made() -> None:
        ledger.items[0] = taken(ledger.items[0])

    world.on_act = made
    assert run(world, *words) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{HERE}\n"
    assert "conflicts done api" in printed.err
    assert [(action.verb, action.item, action.choice) for action in world.acted] == [("answer", "i4", "by_hand")]
    assert run(world, *words, "--json") == 0
    assert json.loads(capsys.readouterr().out)["data"]["path"] == HERE
    assert len(world.acted) == 1, "it is there already"
    ledger.items[0] = replace(ledger.items[0], worktree="/nowhere/at/all")
    assert run(world, *words) == 6
    assert "conflicts abort api" in capsys.readouterr().err


def test_a_tree_that_could_not_be_made_is_an_error_with_its_reason(
    world: Seeing, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    def failed() -> None:
        ledger.items[0] = replace(ledger.items[0], note="the disk is full")

    world.on_act = failed
    assert run(world, "conflicts", "open", "api") == 6
    assert "the disk is full" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("terminal", "typed", "words", "accepted", "code"),
    [
        pytest.param(True, ("y",), (), [False, True], 0, id="a yes"),
        pytest.param(True, ("",), (), [False], 6, id="a no"),
        pytest.param(False, (), (), [False], 6, id="nobody to ask"),
        pytest.param(False, (), ("--yes",), [True], 0, id="--yes"),
    ],
)
def test_what_lies_outside_is_taken_only_with_a_yes(
    world: Seeing,
    ledger: Ledger,
    terminal: bool,
    typed: tuple[str, ...],
    words: tuple[str, ...],
    accepted: list[bool],
    code: int,
) -> None:
    ledger.items[0] = taken(ledger.items[0])

    def looked_at() -> None:
        seq = 8 + len(world.acted)
        if world.acted[-1].accepted:
            ledger.stored.append(an_event(seq, "answered", "api", item_id="i4", choice="by_hand"))
        else:
            why = "changed, and not among the files of 'api': x"
            ledger.stored.append(an_event(seq, "by_hand_not_yet", "api", item_id="i4", why=why, may_accept=True))

    world.act = with_seq(world)  # type: ignore[method-assign]
    world.on_act = looked_at
    assert run(world, "conflicts", "done", "api", *words, terminal=terminal, typed=typed) == code
    assert [action.accepted for action in world.acted] == accepted


def with_seq(world: World) -> Any:
    """A daemon whose answers come after what is in the ledger so far."""
    plain = world.act

    def act(action: Any) -> Any:
        before = 8 + len(world.acted)
        return plain(action).model_copy(update={"seq": before})

    return act


def test_markers_that_are_left_cannot_be_accepted(
    world: Seeing, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.items[0] = taken(ledger.items[0])
    event = an_event(9, "by_hand_not_yet", "api", item_id="i4", why="not resolved yet: src/routes.py", may_accept=False)
    world.on_act = lambda: ledger.stored.append(event)
    assert run(world, "conflicts", "done", "api", "--yes", terminal=True) == 6
    assert "not resolved yet: src/routes.py" in capsys.readouterr().err


def test_a_daemon_that_goes_away_meanwhile_is_said_to_be_gone(world: Seeing, ledger: Ledger) -> None:
    ledger.items[0] = taken(ledger.items[0])

    def gone() -> None:
        world.pid = None

    world.on_act = gone
    assert run(world, "conflicts", "done", "api", wait=lambda seconds: None) == 3
    assert run(world, "conflicts", "abort", "api") == 3


def test_giving_back_names_what_is_kept(world: Seeing, ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.items[0] = taken(ledger.items[0])
    event = an_event(9, "by_hand_ended", "api", item_id="i4", why="given back", salvage=["refs/orchestrator/x"])
    removed = an_event(10, "tree_removed", owner="auth/api-2", salvage=[])
    world.on_act = lambda: ledger.stored.extend((event, removed))
    assert run(world, "conflicts", "abort", "i4") == 0
    assert "git show refs/orchestrator/x" in capsys.readouterr().out


def test_the_inbox_says_that_it_is_being_resolved(
    world: Seeing, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.items[0] = replace(taken(ledger.items[0]), note="not resolved yet: x")
    assert run(world, "inbox") == 0
    assert f"resolved by hand by ada in {HERE}" in capsys.readouterr().out
    assert run(world, "inbox", "show", "i4") == 0
    said = capsys.readouterr().out
    assert f"being resolved by ada in {HERE} since" in said
    assert "not resolved yet: x" in said
    assert "conflicts done api" in said
    assert "drop" not in said, "no other answer is taken meanwhile"


@pytest.fixture
def two_plans(world: Seeing, ledger: Ledger) -> Seeing:
    """`api` conflicts in the present plan, and in one that is over; both trees are there."""
    ledger.plans.append(a_plan("old", PlanPhase.FINISHED, current=False, confirmed_at=NOW - timedelta(days=2)))
    ledger.tasks.append(a_task("api", plan="old", attempts=1, history=(an_attempt("api", id="old/api-1"),)))
    ledger.items += [
        taken(a_conflict(id=ItemId("i5"), plan_id=PlanId("old"))),
        a_conflict(id=ItemId("i6"), task_id=TaskId("docs")),
    ]
    ledger.items[0] = taken(ledger.items[0])
    world.found = [a_tree("old/api-1", plan="old", kept="of the old plan"), a_tree("auth/api-1", kept="of the present")]
    return world


@pytest.mark.parametrize(
    ("words", "item"), [((), "i4"), (("--plan", "old"), "i5"), (("--plan", "auth"), "i4")], ids=["", "old", "present"]
)
@pytest.mark.parametrize("verb", ["done", "abort"])
def test_a_conflict_is_that_of_the_present_plan_or_of_the_named_one(
    two_plans: Seeing, ledger: Ledger, verb: str, words: tuple[str, ...], item: str
) -> None:
    two_plans.on_act = lambda: ledger.stored.extend(
        [
            an_event(9, "answered", item_id=item),
            an_event(10, "by_hand_ended", item_id=item, salvage=[]),
            an_event(11, "tree_removed", owner="auth/api-2", salvage=[]),
        ]
    )
    assert run(two_plans, "conflicts", verb, "api", *words) == 0
    assert two_plans.acted[0].item == item


def test_what_to_do_with_an_opened_conflict_of_another_plan_names_the_item(
    two_plans: Seeing, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(two_plans, "conflicts", "open", "api", "--plan", "old") == 0
    assert "conflicts done i5\n" in capsys.readouterr().err
    assert run(two_plans, "conflicts", "open", "docs", "--plan", "old") == 2
    assert run(two_plans, "conflicts", "open", "api", "--plan", "nosuch") == 2


@pytest.mark.parametrize(
    ("words", "kept"), [((), "of the present"), (("--plan", "old"), "of the old plan")], ids=["present", "old"]
)
def test_a_tasks_tree_is_that_of_the_present_plan_or_of_the_named_one(
    two_plans: Seeing, words: tuple[str, ...], kept: str, capsys: pytest.CaptureFixture[str]
) -> None:
    two_plans.ledger.tasks[0] = a_task("api", attempts=1, history=(an_attempt("api", id="auth/api-1"),))  # type: ignore[union-attr]
    assert run(two_plans, "worktree", "info", "api", *words) == 0
    assert kept in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param(("open", "nosuch"), 2, id="no such conflict"),
        pytest.param(("done",), 2, id="no task"),
    ],
)
def test_a_conflict_that_is_not_there(world: Seeing, ledger: Ledger, arguments: tuple[str, ...], code: int) -> None:
    assert run(world, "conflicts", *arguments) == code
    ledger.items.clear()
    if len(arguments) == 2:
        assert run(world, "conflicts", *arguments) == 7


# ---- diff ----


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        pytest.param((), ("api", None, ["--color=never"]), id="plain"),
        pytest.param(("--attempt", "1"), ("api", 1, ["--color=never"]), id="one attempt"),
        pytest.param(("--stat",), ("api", None, ["--color=never", "--stat=1000"]), id="stat"),
        pytest.param(("--name-only",), ("api", None, ["--color=never", "--name-only"]), id="names"),
        pytest.param(("--color", "always"), ("api", None, ["--color=always"]), id="in colour"),
    ],
)
def test_diff_prints_what_git_says(
    world: Seeing, words: tuple[str, ...], asked: Any, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run(world, "diff", "api", *words) == 0
    assert capsysbinary.readouterr().out == "+grün\n".encode()
    assert world.asked == [asked]


def test_diff_json_has_exactly_the_documented_shape(world: Seeing, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "diff", "api", "--json") == 0
    assert json.loads(capsys.readouterr().out)["data"] == {
        "base": "b" * 40,
        "head": None,
        "files": [{"path": "ü.txt", "status": "A", "added": 1, "deleted": 0}],
        "patch": "+grün\n",
    }
    world.change = replace(world.change, text=b"\xff")
    assert run(world, "diff", "api", "--json") == 0
    assert json.loads(capsys.readouterr().out)["data"]["patch_base64"] == "/w=="


@pytest.mark.parametrize("has_pager", [True, False])
def test_on_a_terminal_the_persons_pager_shows_it(
    world: Seeing, capfdbinary: pytest.CaptureFixture[bytes], has_pager: bool
) -> None:
    world.has_pager = has_pager
    assert run(world, "diff", "api", terminal=True) == 0
    assert world.paged == [("+grün\n".encode(), True)]
    assert ("+grün\n".encode() in capfdbinary.readouterr().out) is not has_pager


@pytest.mark.parametrize("arguments", [("api", "--attempt", "9"), ("api", "--stat", "--name-only"), ("nosuch",)])
def test_a_diff_of_what_is_not_there_is_a_usage_error(world: Seeing, arguments: tuple[str, ...]) -> None:
    assert run(world, "diff", *arguments) == 2


# ---- fetch and open ----


def test_fetch_prints_the_branch_and_says_how_to_look(world: Seeing, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "fetch", "api") == 0
    printed = capsys.readouterr()
    assert printed.out == "agent/auth/api-1\n"
    assert "git diff bbbbbbbb agent/auth/api-1" in printed.err
    assert "still at work" in printed.err
    assert run(world, "fetch", "done", "--branch", "mine") == 0
    assert world.asked == [("auth/api-1", "agent/auth/api-1"), ("auth/done-1", "mine")]
    assert "refs/s" in capsys.readouterr().err
    assert run(world, "fetch", "new") == 7


def test_an_agent_may_not_fetch_into_its_masters_repository(world: Seeing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_RUN", "/run")
    assert run(world, "fetch", "api") == 6
    assert world.asked == []


def test_open_is_a_path_without_a_terminal_and_a_shell_on_one(
    world: Seeing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHELL", "/bin/zsh")
    tree = str(tmp_path / "tree")
    assert run(world, "open", "api") == 0
    assert capsys.readouterr().out == f"{tree}\n"
    assert run(world, "open", "api", "--print", terminal=True) == 0
    assert world.ran == []
    assert run(world, "open", "api", terminal=True) == 0
    argv, cwd, environ, _ = world.ran[0]
    assert (argv, cwd, environ["ORCHESTRATOR_TASK"]) == (["/bin/zsh"], tree, "api")
    assert "claude is at work in this tree" in capsys.readouterr().err


def test_open_starts_the_persons_editor(world: Seeing, tmp_path: Path) -> None:
    assert run(world, "open", "api", "--editor") == 0
    assert [one[0] for one in world.ran] == [["my editor", "--wait", str(tmp_path / "tree")]]


def test_a_tree_that_is_gone_says_where_its_work_is(world: Seeing, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "open", "done") == 7
    said = capsys.readouterr().err
    assert "refs/orchestrator/auth/done-1, refs/s" in said
    assert "fetch done --attempt 1" in said


# ---- worktree ----


def a_tree(name: str, kind: TreeKind = TreeKind.ATTEMPT, **changes: Any) -> TreeView:
    fields: dict[str, Any] = {
        "path": f"/w/{name}",
        "plan": "auth",
        "task": "api",
        "state": "failed",
        "since": NOW - timedelta(days=2),
        "size_bytes": 1_234_567,
        "dirty": ("x",),
        "kept": "crash, so that you can look at it",
        "may_go": True,
    }
    return TreeView(name=name, kind=kind, **{**fields, **changes})


@pytest.fixture
def full(world: Seeing) -> Seeing:
    world.found = [
        a_tree("auth/api-1"),
        a_tree("auth/api-2", may_go=False, kept="claude works in it"),
        a_tree("other/x-1", plan="other", since=NOW - timedelta(days=9)),
        a_tree("mine", TreeKind.UNKNOWN, plan=None, task=None, may_go=False, dirty=None),
        a_tree("auth/api-0/1", TreeKind.TRASH, may_go=False, since=NOW - timedelta(days=8)),
        a_tree("auth/api-0/2", TreeKind.TRASH, may_go=False, since=NOW - timedelta(days=1)),
    ]
    return world


@pytest.mark.parametrize(
    ("words", "owners", "trash"),
    [
        pytest.param((), ["auth/api-1", "other/x-1"], ["auth/api-0/1"], id="what may go, and old trash"),
        pytest.param(("--older-than", "7d"), ["other/x-1"], ["auth/api-0/1"], id="only old ones"),
        pytest.param(("--older-than", "1h"), ["auth/api-1", "other/x-1"], ["auth/api-0/1", "auth/api-0/2"], id="1h"),
        pytest.param(("--plan", "other"), ["other/x-1"], [], id="of one plan"),
        pytest.param(("--trash",), ["auth/api-1", "other/x-1"], ["auth/api-0/1", "auth/api-0/2"], id="all the trash"),
    ],
)
def test_prune_asks_for_just_what_may_go(
    full: Seeing, ledger: Ledger, words: tuple[str, ...], owners: list[str], trash: list[str]
) -> None:
    def removed() -> None:
        for number, owner in enumerate(owners):
            ledger.stored.append(an_event(9 + number, "tree_removed", owner=owner, salvage=[f"refs/{owner}"]))
        ledger.stored.append(an_event(50, "trash_emptied", entries=trash, size_bytes=1))

    full.on_act = removed
    assert run(full, "worktree", "prune", *words, "--yes") == 0
    (action,) = full.acted
    assert (action.verb, list(action.owners), list(action.trash)) == ("prune", owners, trash)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        pytest.param((), [".spare/check-1"], id="only those that waited for long"),
        pytest.param(("--trash",), [".spare/attempt-1", ".spare/check-1"], id="all of them"),
        pytest.param(("--older-than", "2h"), [".spare/check-1"], id="by age"),
        pytest.param(("--trash", "--plan", "auth"), [], id="none, for they are of no plan"),
    ],
)
def test_trees_that_wait_to_be_used_again_go_like_trash_and_never_one_that_is_being_taken(
    world: Seeing, words: tuple[str, ...], names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    ages = {".spare/attempt-1": timedelta(hours=1), ".spare/check-1": timedelta(days=8), ".spare/.taken-check-2": None}
    world.found = [
        a_tree(name, TreeKind.SPARE, plan=None, task=None, may_go=False, since=NOW - past if past else None)
        for name, past in ages.items()
    ]
    assert run(world, "worktree", "prune", *words, "--dry-run", "--json") == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["data"]["trash"]] == names


@pytest.mark.parametrize(
    ("words", "terminal", "typed", "code"),
    [
        pytest.param(("--dry-run",), False, (), 0, id="only shown"),
        pytest.param((), False, (), 4, id="nobody to ask"),
        pytest.param((), True, ("n",), 4, id="a no"),
        pytest.param(("--older-than", "soon"), False, (), 2, id="no length of time"),
    ],
)
def test_nothing_is_pruned_without_a_yes(
    full: Seeing,
    words: tuple[str, ...],
    terminal: bool,
    typed: tuple[str, ...],
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(full, "worktree", "prune", *words, terminal=terminal, typed=typed) == code
    assert full.acted == []
    if code != 2:
        said = capsys.readouterr().out
        assert "auth/api-1" in said
        assert "1 not committed" in said
        assert "auth/api-2" not in said, "nothing that somebody works in is ever offered"
        assert "mine" not in said


def test_prune_needs_a_daemon_and_says_how_to_get_one(full: Seeing, capsys: pytest.CaptureFixture[str]) -> None:
    full.pid = None
    assert run(full, "worktree", "prune", "--yes") == 3
    printed = capsys.readouterr()
    assert "start --detach" in printed.err
    assert printed.out == "", "nothing is announced that cannot be done"
    assert run(full, "worktree", "prune", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "To be deleted for good (1 tree" in said
    assert "Deleted for good" not in said


def test_what_could_not_be_removed_is_told(full: Seeing, ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    full.found = full.found[:1]
    event = an_event(9, "effect_abandoned", key="auth/api-1/remove-8", detail="the disk is full")
    full.on_act = lambda: ledger.stored.append(event)
    assert run(full, "worktree", "prune", "--yes") == 6
    assert "the disk is full" in capsys.readouterr().err


def test_list_and_info_say_whose_a_tree_is(full: Seeing, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(full, "worktree", "list") == 0
    said = capsys.readouterr().out
    assert "claude works in it" in said
    assert "unknown" in said
    assert "1.2 MB" in said
    assert "In the trash: 2 trees, 2.5 MB." in said
    assert "auth/api-0" not in said
    assert run(full, "worktree", "list", "--all") == 0
    said = capsys.readouterr().out
    assert ".trash/auth/api-0/1" in said
    assert "In the trash:" not in said
    assert run(full, "worktree", "list", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["data"]["trees"]) == len(full.found)
    for name in ("api", "auth/api-1", "/w/auth/api-1"):
        assert run(full, "worktree", "info", name) == 0
        said = capsys.readouterr().out
        assert "a.txt" in said
        assert "stash entries: 1" in said
    assert run(full, "worktree", "info", "mine", "--json") == 0
    assert json.loads(capsys.readouterr().out)["data"]["holds"] is None
    assert run(full, "worktree", "info", "done") == 7
    assert run(full, "worktree", "info", "nosuch") == 2


def test_trees_are_shown_when_the_ledger_is_gone(full: Seeing, capsys: pytest.CaptureFixture[str]) -> None:
    full.ledger = None
    full.pid = None
    assert run(full, "worktree", "list") == 0
    said = capsys.readouterr().out
    assert "mine" in said
    assert "In the trash: 2 trees" in said
    assert run(full, "worktree", "prune", "--yes") == 3
    full.found = []
    assert run(full, "worktree", "list") == 7


@pytest.mark.parametrize(("count", "said"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (45_000_000, "45 MB")])
def test_a_size_reads_like_a_person_says_it(count: int, said: str) -> None:
    assert size(count) == said


@pytest.mark.parametrize(
    ("task", "attempt", "said", "may_go"),
    [
        pytest.param({"state": TaskState.RUNNING}, {}, "claude works in it", False, id="live"),
        pytest.param({"state": TaskState.RUNNING}, {"agent": "human"}, "a person resolves", False, id="by hand"),
        pytest.param({"state": TaskState.QUEUED}, {"ending": "handed_off"}, "waits to land", False, id="in the queue"),
        pytest.param({"state": TaskState.ESCALATED}, {"ending": "handed_off"}, "your answer", False, id="asked about"),
        pytest.param({"state": TaskState.ESCALATED}, {"failure": "crash"}, "crash, so that", True, id="failed"),
        pytest.param({"state": TaskState.BACKOFF}, {"failure": "timeout"}, "timeout, so that", True, id="backoff"),
        pytest.param({"attempts": 2}, {"failure": "crash"}, "a later attempt", True, id="followed by another"),
        pytest.param({"state": TaskState.LANDED}, {"ending": "handed_off"}, "to be kept", True, id="kept"),
        pytest.param({"state": TaskState.LANDED, "attempts": 2}, {"ending": "failed"}, "has landed", True, id="landed"),
    ],
)
def test_why_a_tree_is_still_there(task: dict[str, Any], attempt: dict[str, Any], said: str, may_go: bool) -> None:
    ended = {"state": AttemptState.ENDED} if attempt and "agent" not in attempt else {}
    one = an_attempt("api", **{**ended, **attempt})
    kept, offered = kept_because(a_task("api", **{"attempts": 1, **task}), one)
    assert said in kept
    assert offered is may_go


def test_a_refusal_of_the_daemon_keeps_its_exit_code(world: Seeing) -> None:
    world.refusal = RefusedError("the daemon is stopping")
    assert run(world, "conflicts", "open", "api") == 6
