"""The formats of `plan graph`, read back by small parsers of their own."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from orchestrator.model.plan import Task
from tests.unit.cli_world import World, a_plan_task, a_plan_text, an_assessment, an_overlap, run

TITLE = 'Größe "x" \\ #1 <b> & `y`\nzwei'


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "p.yaml").write_text("tasks: []")
    return World(tmp_path)


def drawn(world: World, form: str, tasks: tuple[Task, ...], capsys: pytest.CaptureFixture[str]) -> str:
    world.assessment = an_assessment(a_plan_text(*tasks), overlaps=(an_overlap("a", "c.d", "s.py"),))
    assert run(world, "plan", "graph", "p.yaml", "--format", form) == 0
    return capsys.readouterr().out


def three() -> tuple[Task, ...]:
    odd = a_plan_task("a")
    return (
        Task(id=odd.id, title=TITLE, prompt="p", files=odd.files, agent=odd.agent, retry=odd.retry),
        a_plan_task("b_2", after=("a",)),
        a_plan_task("c.d"),
    )


def read_mermaid(text: str) -> tuple[dict[str, str], list[tuple[str, str]], list[tuple[str, str]]]:
    """Labels by node, arrows, and what is kept apart. Fails on anything else."""
    labels, arrows, apart = {}, [], []
    head, *rows = text.splitlines()
    assert re.fullmatch(r"(graph|flowchart) (LR|TD)", head)
    for row in rows:
        if node := re.fullmatch(r'  (t\d+)\["([^"<>`\\]*)"\]', row):
            numbered = re.sub(r"#(\d+);", r"&#\1;", node[2])
            labels[node[1]] = html.unescape(re.sub(r"(?<!&)#(\w+);", r"&\1;", numbered))
        elif arrow := re.fullmatch(r"  (t\d+) --> (t\d+)", row):
            arrows.append((arrow[1], arrow[2]))
        else:
            pair = re.fullmatch(r"  (t\d+) -\. apart \.- (t\d+)", row)
            assert pair, row
            apart.append((pair[1], pair[2]))
    return labels, arrows, apart


def read_dot(text: str) -> tuple[dict[str, str], list[tuple[str, str]], list[tuple[str, str]]]:
    """The same of the DOT language: statements that end in `;` between braces, and quoted ids."""
    string = r'"((?:[^"\\]|\\.)*)"'
    rows = text.splitlines()
    assert rows[0] == "digraph plan {"
    assert rows[-1] == "}"
    labels, arrows, apart = {}, [], []
    for row in rows[1:-1]:
        if re.fullmatch(r"  (rankdir=LR|node \[shape=box\]);", row):
            continue
        if node := re.fullmatch(rf"  {string} \[label={string}\];", row):
            labels[node[1]] = re.sub(r"\\(.)", r"\1", node[2])
        elif arrow := re.fullmatch(rf"  {string} -> {string};", row):
            arrows.append((arrow[1], arrow[2]))
        else:
            pair = re.fullmatch(rf"  {string} -> {string} \[dir=none, style=dashed, constraint=false\];", row)
            assert pair, row
            apart.append((pair[1], pair[2]))
    return labels, arrows, apart


def test_mermaid_has_every_task_edge_and_pair_and_labels_that_end_nowhere(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, arrows, apart = read_mermaid(drawn(world, "mermaid", three(), capsys))
    assert labels["t0"] == 'a: Größe "x" \\ #1 <b> & `y` zwei'
    assert list(labels) == ["t0", "t1", "t2"]
    assert arrows == [("t0", "t1")]
    assert apart == [("t0", "t2")]


def test_dot_has_every_task_edge_and_pair_and_labels_that_end_nowhere(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, arrows, apart = read_dot(drawn(world, "dot", three(), capsys))
    assert labels["a"] == 'a: Größe "x" \\ #1 <b> & `y` zwei'
    assert list(labels) == ["a", "b_2", "c.d"]
    assert arrows == [("a", "b_2")]
    assert apart == [("a", "c.d")]


def test_two_hundred_tasks_that_share_one_file_are_as_many_lines_and_a_few(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = tuple(a_plan_task(f"t-{n:03}") for n in range(200))
    pairs = [an_overlap(a.id, b.id, "CHANGES.md") for a in tasks for b in tasks if a.id < b.id]
    world.assessment = an_assessment(a_plan_text(*tasks), overlaps=tuple(pairs))
    assert run(world, "plan", "graph", "p.yaml") == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) < 210
    assert out[0] == "t-000  Title of t-000"
    assert out[-1].endswith("t-199  CHANGES.md")


def test_an_unknown_format_names_those_that_there_are(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "plan", "graph", "p.yaml", "--format", "svg") == 2
    assert "text, mermaid, dot or json" in capsys.readouterr().err
