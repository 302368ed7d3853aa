"""What a person is shown before they say yes, and the digest of what they say yes to."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core import assessment as module
from orchestrator.core import forecast, overlap
from orchestrator.core.assessment import assess, digest_of, explain
from orchestrator.core.overlap import rivals_of
from orchestrator.model.assessment import Assessment, Verdict
from orchestrator.model.errors import Problem
from orchestrator.model.ids import PlanId, TaskId
from orchestrator.model.plan import (
    EVERYTHING,
    HUMAN,
    NOTHING,
    AgentSpec,
    Check,
    ContextFile,
    Execution,
    FileSet,
    Plan,
    Prepare,
    PublishMode,
    RetryPolicy,
    Task,
)
from orchestrator.model.repo import RepoFacts

RETRY = RetryPolicy(retries=3, waits=(timedelta(minutes=1),))
FACTS = RepoFacts(root="/r", common_dir="/r/.git", config={"core.autocrlf": "input"})


def files(*texts: str) -> FileSet:
    return FileSet(
        include=tuple(text for text in texts if not text.startswith("!")),
        exclude=tuple(text[1:] for text in texts if text.startswith("!")),
    )


def a_task(name: str, *listed: str, after: str = "", minutes: int = 10, **more: object) -> Task:
    task = Task(
        id=TaskId(name),
        title=name,
        prompt="do it",
        files=files(*listed),
        depends_on=tuple(map(TaskId, after.split())),
        estimate=timedelta(minutes=minutes),
        retry=RETRY,
    )
    return replace(task, **more)  # type: ignore[arg-type]


def a_plan(*tasks: Task, **more: object) -> Plan:
    agent = AgentSpec(name="claude", adapter="command", run=("sh",), count=4)
    return replace(Plan(name=PlanId("p"), target="main", agents=(agent,), tasks=tasks), **more)  # type: ignore[arg-type]


def assessed(plan: Plan | None, *problems: Problem, facts: RepoFacts = FACTS) -> Assessment:
    places = {} if plan is None else {f"tasks.{task.id}": (index + 10, 5) for index, task in enumerate(plan.tasks)}
    return assess(plan, problems, places, file="p.yaml", facts=facts)


# ---- verdict ----


@pytest.mark.parametrize(
    ("tasks", "verdict"),
    [
        pytest.param([a_task("a", "x")], Verdict.PARALLEL, id="a single task"),
        pytest.param([a_task("a", "x"), a_task("b", "y")], Verdict.PARALLEL, id="nothing shared"),
        pytest.param([a_task("a", "x"), a_task("b", "x")], Verdict.SEQUENTIAL, id="two on one file"),
        pytest.param([a_task("a", "x"), a_task("b", "X")], Verdict.SEQUENTIAL, id="two on one file but for case"),
        pytest.param([a_task("a", "x"), a_task("b", "x", after="a")], Verdict.SEQUENTIAL, id="one after the other"),
        pytest.param([a_task("a", "x"), a_task("b", "y", after="a")], Verdict.SEQUENTIAL, id="a chain of two"),
        pytest.param(
            [a_task("a", "x"), a_task("b", "y", after="a"), a_task("c", "z", after="b")],
            Verdict.SEQUENTIAL,
            id="a chain of three",
        ),
        pytest.param(
            [a_task("a", "x"), a_task("b", "y", after="a"), a_task("c", "y")],
            Verdict.PARTLY,
            id="one pair may run together",
        ),
        pytest.param(
            [a_task("a", "x"), a_task("b", "y", after="a"), a_task("c", "y"), a_task("d", "**")],
            Verdict.PARTLY,
            id="one that runs alone, and one pair",
        ),
        pytest.param(
            [a_task("a", "x", "y"), a_task("b", "y", after="a"), a_task("c", "x", "y")],
            Verdict.SEQUENTIAL,
            id="order and overlap together",
        ),
        pytest.param(
            [a_task("a", "x"), a_task("b", "x", "y", after="a"), a_task("c", "z")],
            Verdict.PARALLEL,
            id="overlaps that are ordered",
        ),
        pytest.param(
            [a_task("a", "x", uses=("db",)), a_task("b", "y", uses=("db",))], Verdict.SEQUENTIAL, id="a shared thing"
        ),
        pytest.param(
            [a_task("a", "x", uses=("pool",)), a_task("b", "y", uses=("pool",))],
            Verdict.PARALLEL,
            id="a shared thing with two places",
        ),
        pytest.param([a_task("a", "**"), a_task("b", "**")], Verdict.SEQUENTIAL, id="no files declared"),
        pytest.param([a_task("a"), a_task("b")], Verdict.PARALLEL, id="two that change nothing"),
        pytest.param(
            [a_task("a", "x", agent=HUMAN), a_task("b", "x"), a_task("c", "y")], Verdict.PARTLY, id="people count too"
        ),
    ],
)
def test_verdict(tasks: list[Task], verdict: Verdict) -> None:
    assert assessed(a_plan(*tasks, resources={"pool": 2})).verdict is verdict


def test_everything_about_a_small_plan() -> None:
    plan = a_plan(
        a_task("db", "src/db/**", minutes=20),
        a_task("api", "src/api/**", after="db", minutes=30),
        a_task("docs", "docs/**", "src/api/README.md"),
        a_task("site", "site/**", minutes=15),
    )
    result = assessed(plan)
    assert result.plan is plan
    assert result.digest == digest_of(plan)
    assert result.errors == ()
    assert result.verdict is Verdict.PARTLY
    assert [(one.tasks, one.witness, one.ordered) for one in result.overlaps] == [
        (("api", "docs"), "src/api/README.md", False)
    ]
    assert result.groups == (("api", "docs"),)
    assert result.waves == (("db", "docs", "site"), ("api",))
    assert result.critical_path == ("db", "api")
    assert (result.one_by_one, result.in_parallel) == (timedelta(minutes=75), timedelta(minutes=50))
    assert result.git_config == {"core.autocrlf": "input"}
    [warning] = result.warnings
    assert (warning.code, warning.file, warning.line, warning.column) == ("overlap", "p.yaml", 12, 5)
    assert "'api' and 'docs' overlap: both may change src/api/README.md" in warning.message
    for way in ("make 'docs' depend on 'api'", "narrow `files`", "a task that runs first"):
        assert way in warning.fix


def test_groups_join_what_overlaps_through_others() -> None:
    plan = a_plan(
        a_task("a", "x"), a_task("b", "p"), a_task("c", "x", "y"), a_task("d", "p"), a_task("e", "y"), a_task("f", "q")
    )
    assert assessed(plan).groups == (("a", "c", "e"), ("b", "d"))


def test_what_a_task_waits_for_is_explained() -> None:
    plan = a_plan(
        a_task("a", "x", uses=("db",)),
        a_task("b", "x", after="a"),
        a_task("c", "y", "x"),
        a_task("d", "z", uses=("db",)),
        a_task("e", "w"),
    )
    result = assessed(plan)
    assert {task.id: explain(result, task) for task in plan.tasks} == {
        "a": ["not beside 'c': both may change x", "not beside 'd': both use 'db'"],
        "b": ["after 'a', which it depends on", "not beside 'c': both may change x"],
        "c": ["not beside 'a': both may change x", "not beside 'b': both may change x"],
        "d": ["not beside 'a': both use 'db'"],
        "e": [],
    }


# ---- errors and warnings ----


def test_errors_leave_no_plan_and_no_digest_but_the_rest_of_the_picture() -> None:
    plan = a_plan(
        a_task("a", "x", after="c"), a_task("b", "x", after="a"), a_task("c", "y", after="b"), a_task("d", "x")
    )
    earlier = Problem(code="unknown_key", message="?", file="p.yaml", line=3, column=1)
    aside = Problem(code="unknown_agent", message="?", file="p.yaml", line=4, column=1, warning=True)
    result = assess(plan, (aside, earlier), {"tasks.a.depends_on": (11, 7)}, file="p.yaml", facts=FACTS)
    assert (result.plan, result.digest) == (None, "")
    assert [(error.code, error.line, error.column) for error in result.errors] == [
        ("unknown_key", 3, 1),
        ("cycle", 11, 7),
    ]
    assert "a -> c -> b -> a" in result.errors[1].message
    assert aside in result.warnings
    assert result.waves == (("d",),)
    assert result.overlaps


def test_a_text_that_is_no_plan_keeps_its_problems() -> None:
    problem = Problem(code="syntax", message="?", file="p.yaml", line=1, column=1)
    result = assessed(None, problem)
    assert (result.plan, result.digest, result.errors, result.overlaps) == (None, "", (problem,), ())


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        pytest.param(replace(FACTS, is_shallow=True), "shallow_repository", id="shallow"),
        pytest.param(replace(FACTS, has_identity=False), "no_identity", id="nobody to commit as"),
        pytest.param(replace(FACTS, git_version=(2, 34)), "git_too_old", id="old git"),
    ],
)
def test_a_repository_that_cannot_be_worked_on_is_an_error(facts: RepoFacts, code: str) -> None:
    for plan in (a_plan(a_task("a", "x")), None):
        result = assessed(plan, facts=facts)
        assert [error.code for error in result.errors] == [code]
        assert result.plan is None
        assert result.errors[0].why
        assert result.errors[0].fix


@pytest.mark.parametrize(
    ("facts", "code", "said"),
    [
        pytest.param(replace(FACTS, filters_unset=("lfs",)), "lfs_not_installed", "git lfs install", id="pointers"),
        pytest.param(replace(FACTS, filters_unset=("x",)), "filter_unset", "filter.x.clean", id="unknown filter"),
        pytest.param(replace(FACTS, drivers_unset=("y",)), "merge_driver_unset", "merge.y.driver", id="unknown driver"),
        pytest.param(replace(FACTS, programs_missing={"filter 'x'": "prog"}), "program_missing", "prog", id="program"),
        pytest.param(
            replace(FACTS, lfs_missing=tuple("abcdefg")), "lfs_missing", "a, b, c, d, e and 2 more", id="large files"
        ),
        pytest.param(
            replace(FACTS, submodules_lacking={"s": "because"}), "submodule_empty", "s (because)", id="submodule"
        ),
        pytest.param(replace(FACTS, signs_commits=True), "unsigned_commits", "publish: manual", id="signed commits"),
    ],
)
def test_what_the_trees_will_not_have_is_a_warning_that_stops_nothing(facts: RepoFacts, code: str, said: str) -> None:
    result = assessed(a_plan(a_task("a", "x")), facts=facts)
    (warning,) = result.warnings
    assert (warning.code, result.errors) == (code, ())
    assert result.plan is not None
    assert said in str(warning)
    assert warning.why
    assert warning.fix


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        pytest.param(a_plan(a_task("a", "x")), [], id="nothing to say"),
        pytest.param(a_plan(a_task("a", "**")), [], id="one task alone is alone anyway"),
        pytest.param(a_plan(a_task("a", "**"), a_task("b", "x")), [("runs_alone", 10)], id="no files declared"),
        pytest.param(
            a_plan(a_task("a", "x"), a_task("b", "y", reads=files("x"))),
            [("reads_unordered", 11)],
            id="unordered reading",
        ),
        pytest.param(a_plan(a_task("a", "x"), a_task("b", "y", after="a", reads=files("x"))), [], id="ordered reading"),
        pytest.param(
            a_plan(a_task("a", ".github/x"), a_task("b", "y"), protected=files(".github/**")),
            [("protected", 10)],
            id="a protected path",
        ),
        pytest.param(
            a_plan(a_task("a", "x", uses=("db",)), a_task("b", "y", uses=("db",))),
            [("overlap", 11)],
            id="a shared thing",
        ),
        pytest.param(a_plan(a_task("a", "x"), a_task("b", "x", after="a")), [], id="overlaps that are ordered"),
    ],
)
def test_warnings(plan: Plan, expected: list[tuple[str, int]]) -> None:
    result = assessed(plan)
    assert [(warning.code, warning.line) for warning in result.warnings] == expected
    assert all(warning.warning for warning in result.warnings)
    assert result.plan is plan


def test_an_overlap_that_could_not_be_decided_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.core.patterns.SEGMENT_LIMIT", 100)
    result = assessed(a_plan(a_task("a", "*p" * 90 + "b"), a_task("b", "p*" * 90 + "c"), a_task("c", "d")))
    assert [warning.code for warning in result.warnings] == ["may_overlap"]
    assert "may overlap" in result.warnings[0].message
    assert result.groups == (("a", "b"),)


def test_more_overlaps_than_can_be_listed_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "PAIR_LIMIT", 5)
    result = assessed(a_plan(*(a_task(f"t{index}", "x") for index in range(6))))
    assert [error.code for error in result.errors] == ["too_many_overlaps"]
    assert result.plan is None


def test_many_warnings_of_a_kind_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_OF_A_KIND", 3)
    result = assessed(a_plan(*(a_task(f"t{index}", "**") for index in range(5))))
    assert [warning.code for warning in result.warnings] == ["runs_alone"] * 4
    assert result.warnings[-1].message == "2 more warnings of this kind"


# ---- digest ----


BASE = a_plan(
    a_task("a", "src/**", "!src/x", context=(ContextFile(path="spec.md", text="text"),), uses=("db",)),
    checks=(Check(name="tests", run=("make", "test"), timeout=timedelta(minutes=10)),),
    prepare=Prepare(copy=(".env",), run=(("npm", "ci"),)),
    resources={"db": 1, "pool": 2},
)


def with_task(**changes: object) -> Plan:
    return replace(BASE, tasks=(replace(BASE.tasks[0], **changes),))  # type: ignore[arg-type]


def with_agent(**changes: object) -> Plan:
    return replace(BASE, agents=(replace(BASE.agents[0], **changes),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(with_task(prompt="do it "), id="prompt"),
        pytest.param(with_task(title="A"), id="title"),
        pytest.param(with_task(files=files("src/**", "!src/y")), id="an excluded pattern"),
        pytest.param(with_task(files=files("src/**", "src/x")), id="an exclusion that became an inclusion"),
        pytest.param(with_task(files=files("SRC/**", "!src/x")), id="a pattern in another case"),
        pytest.param(with_task(reads=files("a")), id="reads"),
        pytest.param(with_task(context=(ContextFile(path="spec.md", text="other"),)), id="context contents"),
        pytest.param(with_task(estimate=timedelta(minutes=10, microseconds=1)), id="estimate"),
        pytest.param(with_task(retry=replace(RETRY, retries=4)), id="retries"),
        pytest.param(with_task(agent="claude"), id="agent of a task"),
        pytest.param(with_task(agent="None"), id="a word that looks like nothing"),
        pytest.param(with_agent(run=("sh", "-c")), id="argv"),
        pytest.param(with_agent(run=("sh ",)), id="argv by one space"),
        pytest.param(with_agent(env={"A": "1"}), id="environment"),
        pytest.param(with_agent(count=3), id="count"),
        pytest.param(replace(BASE, checks=()), id="checks"),
        pytest.param(replace(BASE, parallel=5), id="parallel"),
        pytest.param(replace(BASE, publish=PublishMode.EACH), id="publish"),
        pytest.param(replace(BASE, prepare=Prepare(copy=(".env",), run=(("npm ci",),))), id="prepare"),
        pytest.param(replace(BASE, protected=files("x")), id="protected"),
        pytest.param(replace(BASE, resources={"db": 1}), id="resources"),
        pytest.param(replace(BASE, execution=Execution(grace=timedelta(seconds=11))), id="settings of execution"),
        pytest.param(replace(BASE, target="dev"), id="target"),
    ],
)
def test_any_change_of_what_runs_changes_the_digest(other: Plan) -> None:
    assert digest_of(other) != digest_of(BASE)


def test_the_same_plan_has_the_same_digest_however_its_mappings_were_ordered() -> None:
    again = replace(BASE, resources={"pool": 2, "db": 1})
    assert digest_of(again) == digest_of(BASE)
    assert len(digest_of(BASE)) == 64
    assert int(digest_of(BASE), 16)


# ---- expected duration ----


def spent(plan: Plan) -> int:
    rivals = rivals_of(overlap.tasks for overlap in assessed(plan).overlaps)
    return int(forecast.in_parallel(plan, rivals, {}).total_seconds()) // 60


def many(count: int, *listed: str, **more: object) -> list[Task]:
    return [a_task(f"t{index}", *(listed or (f"f{index}",)), **more) for index in range(count)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("plan", "minutes"),
    [
        pytest.param(a_plan(*many(8)), 20, id="four at once"),
        pytest.param(a_plan(*many(8), parallel=2), 40, id="two at once"),
        pytest.param(a_plan(*many(6), agents=(AgentSpec(name="a", adapter="c", count=3),)), 20, id="an agent's limit"),
        pytest.param(a_plan(*many(3, "x")), 30, id="all on one file"),
        pytest.param(a_plan(*many(4, uses=("pool",)), resources={"pool": 2}), 20, id="two places in a shared thing"),
        pytest.param(
            a_plan(*many(4, uses=("p", "q")), resources={"p": 2, "q": 3}),
            20,
            id="two shared things, the scarcer counts",
        ),
        pytest.param(
            a_plan(
                a_task("first", "a", uses=("pool",)),
                a_task("second", "b", uses=("pool",), minutes=30),
                a_task("held", "x", uses=("pool",)),
                a_task("rival", "x", minutes=60),
                a_task("long", "d", uses=("pool",), minutes=60),
                resources={"pool": 2},
            ),
            70,
            id="a place that one cannot take goes to the next",
        ),
        pytest.param(a_plan(a_task("a", "x"), a_task("b", "y", after="a")), 20, id="one after the other"),
        pytest.param(a_plan(*many(5), parallel=4), 20, id="one too many"),
        pytest.param(
            a_plan(
                *[a_task(f"h{index}", f"h{index}", agent=HUMAN) for index in range(3)], a_task("a", "x"), parallel=1
            ),
            10,
            id="people take no agent's room",
        ),
        pytest.param(
            a_plan(
                *[a_task(f"s{index}", f"s{index}", needs=("sql",)) for index in range(2)],
                *many(2),
                agents=(
                    AgentSpec(name="both", adapter="c", count=1, capabilities=("sql",)),
                    AgentSpec(name="plain", adapter="c", count=1),
                ),
            ),
            20,
            id="the versatile agent is left to those who need it",
        ),
        pytest.param(a_plan(*many(2), agents=()), 10, id="no agent fits, which others report"),
        pytest.param(
            a_plan(a_task("a", "x", after="b"), a_task("b", "y", after="a"), a_task("c", "z")), 10, id="a cycle"
        ),
        pytest.param(a_plan(), 0, id="no tasks"),
    ],
)
def test_expected_duration(plan: Plan, minutes: int) -> None:
    assert spent(plan) == minutes


def test_the_longest_path_goes_first() -> None:
    plan = a_plan(
        a_task("a", "a"), a_task("b", "b"), a_task("c", "c"), a_task("d", "d", after="c", minutes=20), parallel=2
    )
    assert assessed(plan).in_parallel == timedelta(minutes=30)


rows = st.lists(
    st.tuples(
        st.sets(st.integers(0, 11), max_size=2),  # depends on, if earlier
        st.sets(st.sampled_from("vwxyz"), max_size=2),  # files
        st.sets(st.sampled_from(["db", "p", "q"]), max_size=2),  # uses
        st.integers(1, 4),
        st.sampled_from([None, "one", HUMAN]),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(rows=rows, parallel=st.integers(1, 4))
def test_the_forecast_runs_every_task_once_within_every_limit(
    rows: list[tuple[set[int], set[str], set[str], int, str | None]], parallel: int
) -> None:
    tasks = [
        a_task(
            f"t{index}",
            *sorted(names),
            after=" ".join(f"t{other}" for other in sorted(before) if other < index),
            minutes=minutes,
            uses=tuple(sorted(uses)),
            agent=agent,
        )
        for index, (before, names, uses, minutes, agent) in enumerate(rows)
    ]
    agents = (AgentSpec(name="one", adapter="c", count=1), AgentSpec(name="two", adapter="c", count=2))
    plan = a_plan(*tasks, parallel=parallel, agents=agents, resources={"p": 2, "q": 3})
    result = assessed(plan)
    rivals = rivals_of(overlap.tasks for overlap in result.overlaps)
    run = _Watched(plan, rivals)
    took = run.run()
    assert sorted(run.started) == list(range(len(tasks)))
    longest = sum((task.estimate for task in tasks if task.id in result.critical_path), timedelta())
    assert longest <= took <= result.one_by_one
    assert took == forecast.in_parallel(plan, rivals, {})


class _Watched(forecast._Forecast):
    """Looks at every start for a broken limit."""

    def __init__(self, plan: Plan, rivals: dict[TaskId, frozenset[TaskId]]) -> None:
        super().__init__(plan, rivals, {})
        self.plan = plan
        self.named_rivals = rivals
        self.started: list[int] = []
        self.now_running: set[int] = set()

    def _start(self, index: int) -> None:
        task = self.plan.tasks[index]
        done = {self.plan.tasks[other].id for other in self.started} - {
            self.plan.tasks[other].id for other in self.now_running
        }
        running = [self.plan.tasks[other] for other in self.now_running]
        assert set(task.depends_on) <= done
        assert not self.named_rivals.get(task.id, frozenset()) & {other.id for other in running}
        self.started.append(index)
        self.now_running.add(index)
        running.append(task)
        assert sum(not other.is_human for other in running) <= self.plan.parallel
        assert sum(other.agent == "one" for other in running) <= 1
        for name, places in self.plan.resources.items():
            assert sum(name in other.uses for other in running) <= places
        super()._start(index)

    def _end(self, index: int) -> None:
        self.now_running.remove(index)
        super()._end(index)


def test_nothing_and_everything_are_told_apart() -> None:
    result = assessed(a_plan(replace(a_task("a"), files=NOTHING), replace(a_task("b"), files=EVERYTHING)))
    assert result.overlaps == ()
    assert result.verdict is Verdict.PARALLEL
