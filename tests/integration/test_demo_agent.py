"""The scripted agent, started by its adapter under a real supervisor in a real repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator.backends.local import LocalExecutor
from orchestrator.backends.registry import load_adapters
from orchestrator.model.agent import AgentPaths, Asked, Briefing, HandedIn, NoChange, Progress
from orchestrator.model.attempt import ExitWhy
from orchestrator.model.ids import AttemptId, Commit, PlanId, RunId, TaskId
from orchestrator.model.plan import AgentSpec, FileSet
from orchestrator.ports import ReportSeen, RunSpec
from orchestrator.wire import dump
from tests.fakes.runs import PATIENCE_S, processes_in, text_of

pytestmark = pytest.mark.anyio

RUN = RunId("plan/task-1/agent")
IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Ada"), ("EMAIL", "ada@example.org"))
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with one commit."""
    tree = tmp_path / "tree"
    tree.mkdir()
    git(tree, "init", "--quiet", "--initial-branch=main")
    (tree / "readme.md").write_text("hello\n")
    git(tree, "add", ".")
    git(tree, "commit", "--quiet", "-m", "first")
    return tree


def git(tree: Path, *words: str) -> str:
    env = {"PATH": os.environ["PATH"], "HOME": str(tree.parent), **IDENTITY}
    return subprocess.run(["git", *words], cwd=tree, env=env, check=True, text=True, stdout=subprocess.PIPE).stdout


def a_briefing(tree: Path, prompt: str, **changes: Any) -> Briefing:
    briefing = Briefing(
        plan_id=PlanId("plan"),
        task_id=TaskId("task"),
        attempt_id=AttemptId("plan/task-1"),
        number=1,
        title="A task",
        prompt=prompt,
        files=FileSet(include=("src/a.py", "docs/**")),
        reads=FileSet(),
        uses=(),
        isolation="worktree",
        worktree=str(tree),
        branch="refs/heads/main",
        base=Commit(git(tree, "rev-parse", "HEAD").strip()),
        target="main",
        timeout=timedelta(minutes=5),
        checks=(),
        commit_message="feat(task): A task",
    )
    return replace(briefing, **changes)


class Ran:
    """What came of a run of the demo agent."""

    def __init__(self, tree: Path, signals: list[Any]) -> None:
        self.tree = tree
        self.reports = [seen.report for seen in signals if isinstance(seen, ReportSeen)]
        self.exit = signals[-1].exit
        self.output = text_of(tree.parent / "run" / "output")
        self.commits = git(tree, "log", "--format=%s").splitlines()
        self.uncommitted = git(tree, "status", "--porcelain").splitlines()


async def demo(tree: Path, prompt: str, *, answers: str = "", timeout_s: float = 30, **changes: Any) -> Ran:
    """Run it; with `answers`, every question gets this answer."""
    adapter = load_adapters()["demo"]
    briefing = a_briefing(tree, prompt, **changes)
    run_dir = tree.parent / "run"
    paths = AgentPaths(run_dir=str(run_dir), worktree=str(tree), prompt_file="prompt.txt", briefing_file="briefing.md")
    launch = adapter.launch(AgentSpec(name="demo", adapter="demo", count=1), briefing, paths)
    env = {"PATH": os.environ["PATH"], "HOME": str(tree.parent), "ORCHESTRATOR_RUN": str(run_dir), **IDENTITY}
    spec = RunSpec(
        run_id=RUN,
        run_dir=str(run_dir),
        argv=launch.argv,
        cwd=str(tree),
        env=env | launch.env,
        stdin=launch.stdin,
        first=launch.first,
        timeout_s=timeout_s,
        grace_s=0.3,
        output_limit_bytes=1_000_000,
        files={"briefing.json": json.dumps(dump(briefing))},
    )
    executor, signals = LocalExecutor(), []
    with anyio.fail_after(PATIENCE_S):
        await executor.submit(spec)
        await executor.release(RUN, str(run_dir))
        async for seen in executor.signals(RUN, str(run_dir), reports_from=0, quiet_after_s=60):
            signals.append(seen)
            if answers and isinstance(seen, ReportSeen) and isinstance(seen.report, Asked):
                answer = {"question_id": seen.report.question_id, "choice": answers, "text": ""}
                await executor.send(RUN, str(run_dir), answer)
    return Ran(tree, signals)


async def test_without_a_script_it_changes_each_of_its_files_commits_and_hands_off(tree: Path) -> None:
    ran = await demo(tree, "Make it better.")
    assert ran.exit.code == 0, ran.output
    changed = git(tree, "diff", "--name-only", "HEAD~1").split()
    assert changed == ["docs/task.md", "src/a.py"]
    assert ran.commits == ["feat(task): A task", "first"]
    assert ran.uncommitted == []
    assert [type(report) for report in ran.reports] == [HandedIn]


async def test_a_task_without_files_is_declared_unchanged(tree: Path) -> None:
    ran = await demo(tree, "Look around.", files=FileSet())
    assert [type(report) for report in ran.reports] == [NoChange]
    assert ran.commits == ["first"]


async def test_a_script_is_carried_out_line_by_line(tree: Path) -> None:
    script = """
        Words that are no step.
        !write src/a.py one two
        !append src/a.py three
        !delete readme.md
        !progress half way
        !commit my message
        !write left.txt uncommitted
        !sleep 10ms
        !noise 2
        !hand-off did this and that
    """
    ran = await demo(tree, script)
    assert ran.exit.code == 0, ran.output
    assert (tree / "src/a.py").read_text() == "one two\nthree\n"
    assert not (tree / "readme.md").exists()
    assert ran.commits == ["my message", "first"]
    assert ran.uncommitted == ["?? left.txt"]
    assert ran.reports == [Progress(text="half way"), HandedIn(summary="did this and that")]
    assert "thinking about it, 1" in ran.output


@pytest.mark.parametrize(
    ("number", "code"), [(1, 1), (2, 1), (3, 0), (4, 9)], ids=["first", "second", "third", "fourth"]
)
async def test_a_step_may_be_limited_to_attempts(tree: Path, number: int, code: int) -> None:
    ran = await demo(tree, "!fail 1 [attempt 1-2]\n!fail 9 [attempt 4-]\n!lie", number=number)
    assert ran.exit.code == code


@pytest.mark.parametrize(
    ("script", "why", "code"),
    [
        pytest.param("!fail 7", ExitWhy.EXIT, 7, id="fails"),
        pytest.param("!lie", ExitWhy.EXIT, 0, id="lies"),
        pytest.param("!crash", ExitWhy.EXIT, -9, id="crashes"),
        pytest.param("!hang", ExitWhy.TIMEOUT, -15, id="hangs"),
        pytest.param("!ignore-term\n!hang", ExitWhy.TIMEOUT, -9, id="hangs and does not listen"),
        pytest.param("!daemonise 60s", ExitWhy.EXIT, 0, id="leaves a process"),
        pytest.param("!flood 5MB", ExitWhy.EXIT, 0, id="floods"),
        pytest.param("!nonsense", ExitWhy.EXIT, 2, id="does not know the step"),
    ],
)
async def test_it_misbehaves_on_demand(tree: Path, script: str, why: ExitWhy, code: int) -> None:
    ran = await demo(tree, script, timeout_s=1 if why is ExitWhy.TIMEOUT else 30)
    assert (ran.exit.why, ran.exit.code) == (why, code), ran.output
    assert ran.commits == ["first"]
    if sys.platform == "linux":
        assert processes_in(tree) == []


async def test_it_asks_and_goes_on_with_the_answer(tree: Path) -> None:
    ran = await demo(tree, '!ask "Which one?" red blue\n!write-answer choice.txt\n!commit', answers="blue")
    asked = ran.reports[0]
    assert isinstance(asked, Asked)
    assert (asked.text, asked.options, asked.waits) == ("Which one?", ("red", "blue"), True)
    assert (tree / "choice.txt").read_text() == "blue\n"
    assert "the answer is: blue" in ran.output


async def test_it_asks_and_leaves(tree: Path) -> None:
    ran = await demo(tree, '!ask-and-leave "Which one?"\n!write never.txt x')
    (asked,) = ran.reports
    assert isinstance(asked, Asked)
    assert not asked.waits
    assert not (tree / "never.txt").exists()


@pytest.mark.parametrize("style", ["merge", "diff3"])
async def test_it_finishes_a_merge_with_both_sides(tree: Path, style: str) -> None:
    git(tree, "switch", "--quiet", "-c", "other")
    (tree / "readme.md").write_bytes(b"theirs\r\n")
    git(tree, "commit", "--quiet", "-am", "theirs")
    git(tree, "switch", "--quiet", "main")
    (tree / "readme.md").write_bytes(b"ours\r\n")
    git(tree, "commit", "--quiet", "-am", "ours")
    with pytest.raises(subprocess.CalledProcessError):
        git(tree, "-c", f"merge.conflictStyle={style}", "merge", "other")
    ran = await demo(tree, "!hand-off merged", merging=True)
    assert ran.exit.code == 0, ran.output
    kept = (tree / "readme.md").read_bytes()
    assert b"ours\r\n" in kept
    assert b"theirs\r\n" in kept
    assert b"<<<<<<<" not in kept
    assert b"hello" not in kept
    assert len(git(tree, "log", "-1", "--format=%P").split()) == 2
    assert ran.uncommitted == []
