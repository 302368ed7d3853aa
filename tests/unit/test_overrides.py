"""Flags that change a plan: each has its effect, is part of the digest, and is refused where it makes no sense."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core.assessment import digest_of
from orchestrator.model.plan import Plan
from tests.unit.test_planfile import codes, good, resolved

PLAN = """
name: auth
checks: none
agents:
  one: {adapter: demo}
  two: {adapter: demo, capabilities: [sql]}
defaults: {agent: one}
tasks:
  - {id: db, prompt: x, files: [db]}
  - {id: api, prompt: x, files: [api], depends_on: [db]}
  - {id: api-docs, prompt: x, files: [docs], depends_on: [api]}
  - {id: web, prompt: x, files: [web]}
  - {id: check, agent: human}
"""


def shape(plan: Plan) -> dict[str, tuple[str | None, list[str]]]:
    return {task.id: (task.agent, list(task.depends_on)) for task in plan.tasks}


AS_WRITTEN = {
    "db": ("one", []),
    "api": ("one", ["db"]),
    "api-docs": ("one", ["api"]),
    "web": ("one", []),
    "check": ("human", []),
}


@pytest.mark.parametrize(
    ("flags", "changed"),
    [
        pytest.param({"first": [("db", "web")]}, {"web": ("one", ["db"])}, id="one before another"),
        pytest.param({"first": [("web", "api")]}, {"api": ("one", ["db", "web"])}, id="added to what is written"),
        pytest.param({"first": [("db", "api-docs")]}, {"api-docs": ("one", ["api", "db"])}, id="ordered already"),
        pytest.param({"first": [("we", "db")]}, {"db": ("one", ["web"])}, id="the beginning of an id"),
        pytest.param({"first": [("web", "api")] * 2}, {"api": ("one", ["db", "web"])}, id="the same twice"),
        pytest.param({"drop": ["web"]}, {"web": None}, id="left out"),
        pytest.param({"drop": ["api", "api-docs"]}, {"api": None, "api-docs": None}, id="with what depends on it"),
        pytest.param({"drop": ["api-docs", "api", "db"]}, {"api-docs": None, "api": None, "db": None}, id="a chain"),
        pytest.param({"agents": {"web": "two"}}, {"web": ("two", [])}, id="one task to another agent"),
        pytest.param({"agents": {"web": "human"}}, {"web": ("human", [])}, id="one task to a person"),
        pytest.param({"agents": {"check": "two"}}, {"check": ("two", [])}, id="a person's task to an agent"),
        pytest.param({"agents": {"web": "demo"}}, {"web": ("demo", [])}, id="an agent that needs no declaration"),
        pytest.param(
            {"agent": "two", "agents": {"web": "one"}},
            {"db": ("two", []), "api": ("two", ["db"]), "api-docs": ("two", ["api"])},
            id="all but one",
        ),
    ],
)
def test_a_flag_changes_the_plan_and_its_digest(flags: dict[str, Any], changed: dict[str, Any]) -> None:
    if "check" in flags.get("agents", {}):
        plan = good(PLAN.replace("agent: human", "agent: human, prompt: x"), **flags)
    else:
        plan = good(PLAN, **flags)
    expected = {task: changed.get(task, was) for task, was in AS_WRITTEN.items()}
    assert shape(plan) == {task: said for task, said in expected.items() if said is not None}
    assert digest_of(plan) != digest_of(good(PLAN))


@pytest.mark.parametrize(
    "flags",
    [
        {"first": [("db", "api")]},
        {"agents": {"db": "one"}},
        {"parallel": 4},
        {"isolation": "worktree"},
        {"first": [], "drop": [], "agents": {}},
    ],
    ids=str,
)
def test_a_flag_that_says_what_the_plan_says_changes_nothing(flags: dict[str, Any]) -> None:
    assert digest_of(good(PLAN, **flags)) == digest_of(good(PLAN))


def test_the_order_of_flags_does_not_count() -> None:
    first = [("db", "web"), ("api", "web")]
    one = good(PLAN, first=first, drop=["check", "api-docs"])
    assert one == good(PLAN, first=first[::-1], drop=["api-docs", "check"])
    assert shape(one)["web"] == ("one", ["db", "api"])


def test_flags_read_as_the_plan_would_that_says_the_same() -> None:
    written = PLAN.replace("id: web, prompt: x", "id: web, prompt: x, agent: two, depends_on: [db]").replace(
        "  - {id: check, agent: human}\n", ""
    )
    flags = {"first": [("db", "web")], "drop": ["check"], "agents": {"web": "two"}}
    assert digest_of(good(PLAN, **flags)) == digest_of(good(written))


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        pytest.param({"first": [("api", "db")]}, "cycle", "db -> api -> db", id="against the plan"),
        pytest.param({"first": [("api-docs", "db")]}, "cycle", "db -> api-docs -> api -> db", id="over several steps"),
        pytest.param({"first": [("web", "db"), ("db", "web")]}, "cycle", "web -> db -> web", id="against a flag"),
        pytest.param({"first": [("db", "db")]}, "bad_value", "before itself", id="before itself"),
        pytest.param({"first": [("bd", "web")]}, "unknown_task", "'bd' to put first", id="a typo"),
        pytest.param({"first": [("ap", "web")]}, "unknown_task", "api, api-docs", id="two that begin so"),
        pytest.param({"first": [("", "web")]}, "unknown_task", "''", id="nothing"),
        pytest.param({"drop": ["db"]}, "dropped_dependency", "'api' depends on it", id="others depend on it"),
        pytest.param({"drop": ["db"]}, "dropped_dependency", "--drop api --drop api-docs", id="what to drop too"),
        pytest.param({"drop": ["db", "api"]}, "dropped_dependency", "'api-docs' depends", id="one is still left"),
        pytest.param({"drop": ["nothing"]}, "unknown_task", "no task 'nothing' to leave out", id="no such task"),
        pytest.param({"drop": list(AS_WRITTEN)}, "no_tasks", "no task is left", id="all of them"),
        pytest.param({"drop": ["web"], "first": [("db", "web")]}, "bad_value", "'web' is left out", id="both at once"),
        pytest.param({"drop": ["web"], "agents": {"web": "two"}}, "bad_value", "'web' is left out", id="no agent"),
        pytest.param({"agents": {"web": "nobody"}}, "unknown_agent", "no agent 'nobody'", id="no such agent"),
        pytest.param({"agents": {"wbe": "two"}}, "unknown_task", "write 'web'", id="the nearest task"),
        pytest.param({"agents": {"check": "two"}}, "missing_prompt", "'prompt' is missing", id="no prompt for it"),
    ],
)
def test_a_flag_that_cannot_be_followed_is_refused(flags: dict[str, Any], code: str, said: str) -> None:
    result = resolved(PLAN, **flags)
    assert codes(result) == [code]
    (problem,) = result.problems
    assert said in str(problem)
    assert all((problem.message, problem.why, problem.fix))


def test_an_agent_for_everything_that_is_not_there_names_those_the_plan_declares() -> None:
    problem = resolved(PLAN, agent="twoo").problems[0]
    assert problem.code == "unknown_agent"
    assert problem.why == "the agents of this plan are one, two"
    assert "write 'two'" in problem.fix


def test_an_agent_by_flag_that_does_not_fit_is_a_warning() -> None:
    result = resolved(PLAN.replace("id: web,", "id: web, needs: [sql], agent: two,"), agents={"web": "one"})
    assert [(problem.code, problem.warning) for problem in result.problems] == [("agent_does_not_fit", True)]
    assert result.plan is not None
    assert shape(result.plan)["web"][0] == "one"


def test_only_agents_that_a_flag_names_take_over_on_a_retry() -> None:
    assert [agent.name for agent in good(PLAN, agent="two", agents={"web": "demo"}).agents] == ["two", "demo"]


def test_what_is_wrong_with_a_task_that_is_left_out_is_no_obstacle() -> None:
    text = PLAN + "  - {id: late, prompt_file: none.md, agent: nobody}\n"
    assert codes(resolved(text)) == ["no_such_file", "unknown_agent"]
    assert digest_of(good(text, drop=["late"])) == digest_of(good(PLAN))
