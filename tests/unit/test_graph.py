"""What waits for what: cycles are named, waves and paths follow the dependencies, ranks fall along them."""

from __future__ import annotations

import itertools
from datetime import timedelta

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core import graph
from orchestrator.model.ids import TaskId
from orchestrator.model.plan import RetryPolicy, Task

RETRY = RetryPolicy(retries=3, waits=(timedelta(minutes=1),))


def a_task(name: str, *depends_on: str, minutes: int = 20) -> Task:
    return Task(
        id=TaskId(name),
        title=name,
        prompt="do it",
        depends_on=tuple(map(TaskId, depends_on)),
        estimate=timedelta(minutes=minutes),
        retry=RETRY,
    )


def tasks_of(text: str) -> list[Task]:
    """`a, b<a, c<a<b`: c depends on a and b."""
    return [a_task(*word.split("<")) for word in text.replace(" ", "").split(",") if word]


any_tasks = st.integers(0, 8).flatmap(
    lambda count: st.lists(
        st.tuples(st.sets(st.integers(0, 8), max_size=3), st.integers(0, 3)), min_size=count, max_size=count
    ).map(
        lambda rows: [
            a_task(f"t{index}", *(f"t{other}" for other in sorted(before)), minutes=minutes)
            for index, (before, minutes) in enumerate(rows)
        ]
    )
)


def only_earlier(tasks: list[Task]) -> list[Task]:
    """The same tasks without the dependencies that could close a cycle."""
    return [
        a_task(
            task.id,
            *(name for name in task.depends_on if name < task.id),
            minutes=int(task.estimate.total_seconds()) // 60,
        )
        for task in tasks
    ]


@pytest.mark.parametrize(
    ("text", "rings"),
    [
        pytest.param("", [], id="no tasks"),
        pytest.param("a, b<a, c<a<b", [], id="no cycle"),
        pytest.param("a<a", ["a"], id="a task that waits for itself"),
        pytest.param("a<b, b<a", ["ab"], id="two tasks"),
        pytest.param("a<c, b<a, c<b", ["acb"], id="every member waits for the next"),
        pytest.param("x, a<x<b, b<a, y<b", ["ab"], id="what is before and behind is no member"),
        pytest.param("d<c, c<d, b<a, a<b<c", ["dc", "ba"], id="two knots, in plan order"),
        pytest.param("a<b<c, b<c, c<a", ["ac"], id="the shorter way round"),
        pytest.param("a<nobody", [], id="a name that no task has"),
    ],
)
def test_cycles_are_named(text: str, rings: list[str]) -> None:
    assert graph.cycles(tasks_of(text)) == tuple(tuple(ring) for ring in rings)


@settings(max_examples=150, deadline=None)
@given(tasks=any_tasks)
def test_every_knot_gives_one_true_cycle(tasks: list[Task]) -> None:
    by_id = {task.id: task for task in tasks}
    rings = graph.cycles(tasks)
    for ring in rings:
        for one, following in zip(ring, (*ring[1:], ring[0]), strict=True):
            assert following in by_id[one].depends_on
    whole = graph.dependency_graph(tasks)
    knots = [
        knot for knot in nx.strongly_connected_components(whole) if len(knot) > 1 or whole.has_edge(*(list(knot) * 2))
    ]
    assert sorted(sum(1 for ring in rings if set(ring) <= knot) for knot in knots) == [1] * len(rings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a, b<a, c<b, d, e<d<b", ["ad", "b", "ce"], id="by the longest chain before them"),
        pytest.param("c<b, b<a, a", ["a", "b", "c"], id="whatever the plan's order"),
        pytest.param("a<b, b<a, c<b, d", ["d"], id="without a cycle and what is behind it"),
        pytest.param("", [], id="no tasks"),
    ],
)
def test_waves(text: str, expected: list[str]) -> None:
    assert graph.waves(tasks_of(text)) == tuple(tuple(wave) for wave in expected)


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        pytest.param([], "", id="no tasks"),
        pytest.param([a_task("a", minutes=5), a_task("b", minutes=9)], "b", id="one long task"),
        pytest.param([a_task("a"), a_task("b", "a"), a_task("c", minutes=30)], "ab", id="two short ones in a row"),
        pytest.param(
            [a_task("a"), a_task("b", "a", minutes=5), a_task("c", "a", minutes=9), a_task("d", "b", "c")],
            "acd",
            id="through the longer side of a diamond",
        ),
        pytest.param([a_task("a"), a_task("b")], "a", id="the first of equals"),
        pytest.param([a_task("a", "b"), a_task("b", "a"), a_task("c", minutes=1)], "c", id="not through a cycle"),
    ],
)
def test_critical_path(tasks: list[Task], expected: str) -> None:
    assert graph.critical_path(tasks) == tuple(expected)


@settings(max_examples=100, deadline=None)
@given(tasks=any_tasks.map(only_earlier))
def test_no_chain_takes_longer_than_the_critical_path(tasks: list[Task]) -> None:
    minutes = {task.id: task.estimate for task in tasks}
    path = graph.critical_path(tasks)
    whole = graph.dependency_graph(tasks)
    assert all(whole.has_edge(a, b) for a, b in itertools.pairwise(path))
    length = sum((minutes[name] for name in path), timedelta())
    rank = graph.ranks(tasks, {})
    assert length.total_seconds() == max(rank.values(), default=0.0)
    for task in tasks:
        after = [rank[other] for other in whole.successors(task.id)]
        assert rank[task.id] == minutes[task.id].total_seconds() + max(after, default=0.0)


@pytest.mark.parametrize("rounds", [1, 2])
def test_ranks_count_the_rivals_that_have_to_follow(rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "ROUNDS", rounds)
    tasks = [a_task("a", minutes=10), a_task("b", minutes=9), a_task("c", minutes=8), a_task("d", minutes=15)]
    hot = {TaskId(name): frozenset(map(TaskId, {"a", "b", "c"} - {name})) for name in "abc"}
    seconds = {name: 60.0 * minutes for name, minutes in {"a": 27, "b": 17, "c": 8, "d": 15}.items()}
    assert graph.ranks(tasks, hot) == seconds


@settings(max_examples=100, deadline=None)
@given(tasks=any_tasks, pairs=st.sets(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=12))
def test_ranks_with_rivals_never_fall_below_those_without(tasks: list[Task], pairs: set[tuple[int, int]]) -> None:
    rivals = {
        task.id: frozenset(TaskId(f"t{b}") for pair in pairs for a, b in (pair, pair[::-1]) if f"t{a}" == task.id)
        - {task.id}
        for task in tasks
    }
    plain, refined = graph.ranks(tasks, {}), graph.ranks(tasks, rivals)
    assert list(refined) == [task.id for task in tasks]
    assert all(refined[name] >= plain[name] for name in plain)
    own = {task.id: task.estimate.total_seconds() for task in tasks}
    if not graph.cycles(tasks):
        for task in tasks:
            for name in task.depends_on:
                assert name not in refined or refined[name] >= refined[task.id] + own[name]


@settings(max_examples=100, deadline=None)
@given(tasks=any_tasks.map(only_earlier), data=st.data())
def test_tasks_are_ordered_when_a_chain_of_dependencies_lies_between_them(
    tasks: list[Task], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(tasks))
    order = graph.Order(shuffled)
    whole = graph.dependency_graph(tasks)
    ordered = 0
    for a, b in itertools.combinations([task.id for task in tasks], 2):
        expected = nx.has_path(whole, a, b) or nx.has_path(whole, b, a)
        ordered += expected
        assert order.is_ordered(a, b) == order.is_ordered(b, a) == expected
    assert order.ordered_count() == ordered
