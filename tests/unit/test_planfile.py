"""Plan text -> Plan: what each word of a good plan means, and how plan, settings, flags and defaults meet."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.core.planfile import Resolved, parse_plan, plan_schema, resolve_plan
from orchestrator.core.plantext import plain, read_text
from orchestrator.core.settings import build_settings
from orchestrator.model.ids import Commit
from orchestrator.model.plan import EVERYTHING, NOTHING, ContextFile, FileSet, Plan, PublishMode
from orchestrator.model.repo import RepoFacts

FACTS = RepoFacts(
    root="/repo",
    common_dir="/repo/.git",
    current_branch="main",
    branches=frozenset({"main"}),
    target="main",
    target_commit=Commit("1" * 40),
    files=frozenset({"src/db/a.py", "README.md"}),
    directories=frozenset({"src", "src/db"}),
)
ADAPTERS = {"command": True, "demo": False}
ONE = "checks: none\ntasks:\n  - id: one\n    prompt: do it\n"


def minutes(*numbers: int) -> tuple[timedelta, ...]:
    return tuple(timedelta(minutes=number) for number in numbers)


def resolved(
    text: str,
    *,
    file: str = "plans/auth.yaml",
    project: dict[str, Any] | None = None,
    contents: dict[str, str | None] | None = None,
    facts: RepoFacts = FACTS,
    **flags: Any,
) -> Resolved:
    settings = build_settings(
        user=None, project=("orchestrator.toml", project) if project else None, environ={}, flags={}
    )
    draft = parse_plan(text, file=file)
    return resolve_plan(draft, settings=settings, facts=facts, contents=contents or {}, adapters=ADAPTERS, **flags)


def good(text: str, **more: Any) -> Plan:
    result = resolved(text, **more)
    assert not result.problems, "\n".join(map(str, result.problems))
    assert result.plan is not None
    return result.plan


def codes(result: Resolved) -> list[str]:
    return [problem.code for problem in result.problems]


FULL = """\
version: 1
name: auth-system
target: main
isolation: worktree
publish: manual
parallel: 3
checks:
  - {name: tests, run: [make, test], timeout: 5m}
  - {name: lint, run: [make, lint]}
prepare:
  copy: [.env]
  link: [./node_modules/]
  run: [[npm, ci, --prefer-offline]]
keep: []
protected: [".github/**", "**/*.lock"]
resources: {test-db: 1, gpu: 2}
agents:
  claude: {adapter: command, run: [claude, "{prompt}"], count: 2, capabilities: [python, sql], max_complexity: 4}
  shell: {adapter: command, run: [sh, -c, "..."], stdin: briefing, env: {MODE: fast}, pass_env: [API_KEY]}
defaults: {agent: claude, timeout: 30m, review: none, retries: 1, backoff: [2m, 4m]}
tasks:
  - id: db-schema
    title: Database schema
    prompt: |
      Make the tables.
      All of them.
    files: [src/db/**, tests/db/, "!src/db/gen/"]
    reads: [src/api/schema.sql]
    uses: [test-db]
    context: [specs/auth.md]
    priority: high
    complexity: 3
    estimate: 1h30m
    needs: [sql]
    review: none
    approve: []
    checks: [{name: migrate, run: [make, migrate]}]
  - id: api
    prompt_file: prompts/api.md
    depends_on: [db-schema]
    agent: shell
    files: []
    retries: 0
    backoff: [10s]
    timeout: 45m
    priority: 7
  - id: sign-off
    agent: human
    depends_on: [api]
"""


@pytest.fixture(scope="module")
def full() -> Plan:
    contents = {"specs/auth.md": "# Auth\n", "prompts/api.md": "Make the API.\n"}
    return good(FULL, contents=contents)


def test_the_plan_as_a_whole_is_read(full: Plan) -> None:
    assert (full.name, full.target, full.publish, full.parallel) == ("auth-system", "main", PublishMode.MANUAL, 3)
    assert [(check.name, check.run, check.timeout) for check in full.checks] == [
        ("tests", ("make", "test"), timedelta(minutes=5)),
        ("lint", ("make", "lint"), timedelta(minutes=10)),
    ]
    assert (full.prepare.copy, full.prepare.link) == ((".env",), ("node_modules",))
    assert full.prepare.run == (("npm", "ci", "--prefer-offline"),)
    assert full.protected == FileSet(include=(".github/**", "**/*.lock"))
    assert full.resources == {"test-db": 1, "gpu": 2}


def test_the_agents_are_read(full: Plan) -> None:
    claude, shell = full.agents
    assert (claude.count, claude.capabilities, claude.max_complexity) == (2, ("python", "sql"), 4)
    assert (claude.stdin, claude.run) == ("prompt", ("claude", "{prompt}"))
    assert (shell.stdin, shell.count, shell.env, shell.pass_env) == ("briefing", 3, {"MODE": "fast"}, ("API_KEY",))


def test_a_task_is_read(full: Plan) -> None:
    task = full.task(full.tasks[0].id)
    assert (task.id, task.title, task.prompt) == ("db-schema", "Database schema", "Make the tables.\nAll of them.\n")
    assert task.files == FileSet(include=("src/db/**", "tests/db/**"), exclude=("src/db/gen/**",))
    assert task.reads == FileSet(include=("src/api/schema.sql",))
    assert (task.uses, task.needs, task.agent) == (("test-db",), ("sql",), "claude")
    assert task.context == (ContextFile(path="specs/auth.md", text="# Auth\n"),)
    assert (task.priority, task.complexity, task.estimate) == (75, 3, timedelta(minutes=90))
    assert (task.timeout, task.retry.retries, task.retry.waits) == (timedelta(minutes=30), 1, minutes(2, 4))
    assert [check.name for check in task.checks] == ["migrate"]


def test_a_task_goes_before_the_defaults(full: Plan) -> None:
    task = full.tasks[1]
    assert (task.prompt, task.agent, task.files, task.depends_on) == (
        "Make the API.\n",
        "shell",
        NOTHING,
        ("db-schema",),
    )
    assert (task.timeout, task.retry.retries, task.retry.waits) == (timedelta(minutes=45), 0, (timedelta(seconds=10),))
    assert (task.priority, task.title) == (7, "api")


def test_a_persons_task_may_do_with_its_title(full: Plan) -> None:
    task = full.tasks[2]
    assert task.is_human
    assert task.prompt == "sign-off"


@pytest.mark.parametrize("mode", PublishMode)
def test_every_way_to_publish_is_taken(mode: PublishMode) -> None:
    plan = good(f"publish: {mode}\n" + ONE + "    agent: demo\n")
    assert plan.publish is mode


def test_the_built_in_defaults_hold_where_nothing_is_said() -> None:
    plan = good(ONE + "    agent: demo\n")
    (task,) = plan.tasks
    assert (plan.name, plan.target, plan.publish, plan.parallel) == ("auth", "main", PublishMode.END, 4)
    assert (task.files, task.priority, task.complexity, task.estimate) == (EVERYTHING, 50, 3, timedelta(minutes=20))
    assert (task.timeout, task.retry.retries, task.retry.waits) == (timedelta(hours=1), 3, minutes(1, 5, 15))
    assert plan.checks == ()


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("plans/auth-system.yaml", "auth-system"),
        ("Auth System.yml", "auth-system"),
        ("/a/b/Über.plan.yaml", "ber.plan"),
        ("x/.hidden.yaml", "hidden"),
        ("a..b.yaml", "a.b"),
        ("v1.lock.yaml", "v1"),
    ],
)
def test_the_name_comes_from_the_file_when_the_plan_has_none(file: str, name: str) -> None:
    assert good(ONE + "    agent: demo\n", file=file).name == name


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("y", "y"), ("010", 10), ("0o10", 8), ("0x1F", 31),
        ("1:30", "1:30"),
        ("1_000", "1_000"), ("0b1", "0b1"), ("1e3", 1000.0), (".5", 0.5), ("1.", 1.0), ("+1", 1), ("-0", 0),
        ("--", "--"),
        ("true", True), ("False", False), ("tRUE", "tRUE"), ("2024-01-01", "2024-01-01"),
        ("'1'", "1"), ("'true'", "true"),
        (".inf", float("inf")), ("<<", "<<"), ("=", "="), ("1.2.3", "1.2.3"), ("v1", "v1"), ("x: y", {"x": "y"}),
    ],
)  # fmt: skip
def test_words_are_typed_by_the_rules_of_yaml_1_2(written: str, value: object) -> None:
    tree, problems = read_text(f"k:\n  - {written}\n", file="p")
    assert not problems
    assert plain(tree) == {"k": [value]}
    assert type(plain(tree)["k"][0]) is type(value)  # True == 1


@pytest.mark.parametrize(
    ("written", "include", "exclude"),
    [
        ("[src/api/**]", ["src/api/**"], []),
        ("[./src/a.py]", ["src/a.py"], []),
        ("[docs/]", ["docs/**"], []),
        ("[src]", ["src/**"], []),
        ("[src/db]", ["src/db/**"], []),
        ("[README.md, docs]", ["README.md", "docs"], []),
        ("[src, '!src/db']", ["src/**"], ["src/db/**"]),
        ("['src/*']", ["src/*"], []),
        ("['src/*/']", ["src/*/**"], []),
        ("['**']", ["**"], []),
        ("[./]", ["**"], []),
        ("['a//b/./c']", ["a/b/c"], []),
        ("['src/{api,web}/**']", ["src/api/**", "src/web/**"], []),
        ("['{src,docs}']", ["src/**", "docs"], []),
        ("['a.{c,{h,hpp}}']", ["a.c", "a.h", "a.hpp"], []),
        ("['a{,.bak}']", ["a", "a.bak"], []),
        ("['[{]x', 'b[]]']", ["[{]x", "b[]]"], []),
        ("['**/**/a']", ["**/a"], []),
        ("[a, a, ./a]", ["a"], []),
        ("['[!a-z]x', './!odd']", ["[!a-z]x", "!odd"], []),
        ("[a, '!{b,c}/']", ["a"], ["b/**", "c/**"]),
        ("[.github/workflows/ci.yml, .gitignore]", [".github/workflows/ci.yml", ".gitignore"], []),
        ("[größe/, 日本/*.md]", ["größe/**", "日本/*.md"], []),
    ],
)
def test_files_are_brought_into_one_form(written: str, include: list[str], exclude: list[str]) -> None:
    plan = good(ONE + f"    agent: demo\n    files: {written}\n")
    assert plan.tasks[0].files == FileSet(include=tuple(include), exclude=tuple(exclude))


@pytest.mark.parametrize(
    ("written", "length"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("90s", timedelta(seconds=90)),
        ("10m", timedelta(minutes=10)),
        ("1h30m", timedelta(minutes=90)),
        ("2d", timedelta(days=2)),
        ("1m500ms", timedelta(seconds=60, milliseconds=500)),
    ],
)
def test_lengths_of_time_have_units(written: str, length: timedelta) -> None:
    assert good(ONE + f"    agent: demo\n    estimate: {written}\n").tasks[0].estimate == length


@pytest.mark.parametrize(
    ("written", "number"), [("critical", 100), ("high", 75), ("normal", 50), ("low", 25), ("0", 0), ("100", 100)]
)
def test_a_priority_is_a_word_or_a_number(written: str, number: int) -> None:
    assert good(ONE + f"    agent: demo\n    priority: {written}\n").tasks[0].priority == number


def test_the_draft_says_which_files_it_wants_and_which_branch() -> None:
    draft = parse_plan(
        "target: dev\ntasks:\n- {id: a, prompt_file: ./p.md, context: [x//y, p.md]}\n- {id: b, context: [z]}\n",
        file="p",
    )
    assert draft.wanted_files == ("p.md", "x/y", "z")
    assert draft.target == "dev"
    assert parse_plan(ONE, file="p").target is None


def test_places_tell_where_tasks_and_their_keys_are() -> None:
    text = (
        "checks: none\ntasks:\n"
        "  - title: A\n    id: a\n    agent: demo\n    prompt: x\n    files: [b]\n"
        "  - id: a.files\n    prompt: x\n"
    )
    places = resolved(text).places
    assert places["tasks.a"] == (4, 5)
    assert places["tasks.a.depends_on"] == (3, 5), "the task, when it does not have the key"
    assert places["tasks.a.files"] == (8, 5), "a task goes before another's key"


# ---- agents ----


def test_an_adapter_that_needs_no_command_is_an_agent_without_being_declared() -> None:
    plan = good(ONE + "    agent: demo\n")
    assert [(agent.name, agent.adapter, agent.count) for agent in plan.agents] == [("demo", "demo", 4)]
    assert plan.tasks[0].agent == "demo"


def test_a_task_without_agent_is_assigned_later_when_one_fits() -> None:
    agents = "agents: {a: {adapter: demo, capabilities: [sql], max_complexity: 3}}\n"
    assert good(agents + ONE + "    needs: [sql]\n").tasks[0].agent is None
    assert codes(resolved(agents + ONE + "    needs: [sql, go]\n")) == ["no_fitting_agent"]
    assert codes(resolved(agents + ONE + "    complexity: 4\n")) == ["no_fitting_agent"]


def test_an_agent_that_was_named_but_does_not_fit_is_a_warning() -> None:
    (problem,) = resolved("agents: {a: {adapter: demo}}\n" + ONE + "    agent: a\n    needs: [sql]\n").problems
    assert (problem.code, problem.warning, problem.line) == ("agent_does_not_fit", True, 6)


def test_a_flag_gives_every_task_but_a_persons_to_one_agent() -> None:
    text = "agents: {a: {adapter: comand}}\n" + ONE + "    agent: b\n  - {id: two, agent: human}\n"
    assert codes(resolved(text)) == ["unknown_adapter", "unknown_agent"]
    plan = good(text, agent="demo", parallel=2)
    assert [task.agent for task in plan.tasks] == ["demo", "human"]
    assert [(agent.name, agent.count) for agent in plan.agents] == [("demo", 2)], "nobody else takes over on a retry"


def test_tasks_that_go_to_people_by_default_are_told_and_a_flag_gives_them_to_an_agent() -> None:
    text = "defaults: {agent: human}\n" + ONE + "  - {id: two, agent: human}\n"
    found = resolved(text)
    assert [(problem.code, problem.warning) for problem in found.problems] == [("for_people", True)]
    assert [task.agent for task in good(text, agent="demo").tasks] == ["demo", "human"]


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ({"agent": "nobody"}, "unknown_agent"),
        ({"agent": "hand"}, "bad_value"),
        ({"agent": "human"}, "bad_value"),
        ({"isolation": "branch"}, "not_available"),
        ({"isolation": "docker"}, "bad_value"),
        ({"parallel": 0}, "out_of_range"),
        ({"parallel": 257}, "out_of_range"),
    ],
)
def test_a_bad_flag_is_refused(flags: dict[str, Any], code: str) -> None:
    (problem,) = resolved(ONE + "    agent: demo\n", **flags).problems
    assert (problem.code, problem.line) == (code, 0)
    assert all((problem.message, problem.why, problem.fix))


def test_one_problem_is_told_for_an_agent_that_many_tasks_name() -> None:
    rows = "".join(f"- {{id: t{n}, prompt: x, agent: claude}}\n" for n in range(50))
    (problem,) = resolved("checks: none\ntasks:\n" + rows).problems
    assert (problem.code, problem.line) == ("unknown_agent", 3)
    assert "adapter: command" in problem.fix


@pytest.mark.parametrize(
    ("word", "warns"),
    [("{prompt}", 0), ("--file={prompt_file}", 0), ("{promt}", 1), ("${HOME}", 0), ('{\\"a\\": 1}', 0), ("{}", 0)],
)
def test_a_placeholder_that_nobody_fills_in_is_a_warning(word: str, warns: int) -> None:
    result = resolved(f'agents: {{a: {{adapter: command, run: [x, "{word}"]}}}}\n' + ONE)
    assert [(problem.code, problem.warning) for problem in result.problems] == [("unknown_placeholder", True)] * warns


# ---- plan and settings ----


SHARED = {
    "agents": {"a": {"adapter": "demo", "count": 1}, "b": {"adapter": "demo"}},
    "checks": [{"name": "shared", "run": ["make"]}],
    "prepare": {"copy": [".env"]},
    "protected": ["ci/**"],
    "resources": {"db": 1},
    "defaults": {"agent": "a", "timeout": "10m", "retries": 1},
}


def test_tables_of_the_settings_hold_where_the_plan_says_nothing() -> None:
    plan = good("tasks: [{id: one, prompt: x}]\n", project=SHARED)
    assert [agent.name for agent in plan.agents] == ["a", "b"]
    assert [check.name for check in plan.checks] == ["shared"]
    assert plan.prepare.copy == (".env",)
    assert plan.protected == FileSet(include=("ci/**",))
    assert (plan.tasks[0].agent, plan.tasks[0].timeout) == ("a", timedelta(minutes=10))


def test_a_plan_goes_before_the_settings_name_by_name() -> None:
    text = (
        "agents: {a: {adapter: demo, count: 3}}\ndefaults: {timeout: 20m}\nchecks: none\nprotected: []\n"
        "prepare: {link: [x]}\ntasks: [{id: one, prompt: x}]\n"
    )
    plan = good(text, project=SHARED)
    assert {agent.name: agent.count for agent in plan.agents} == {"a": 3, "b": 4}
    assert (plan.checks, plan.protected) == ((), NOTHING)
    assert (plan.prepare.copy, plan.prepare.link) == ((), ("x",))
    task = plan.tasks[0]
    assert (task.agent, task.timeout, task.retry.retries) == ("a", timedelta(minutes=20), 1)


def test_the_execution_settings_become_part_of_the_plan() -> None:
    execution = good(ONE + "    agent: demo\n", project={"execution": {"grace": "3s", "pass_env": ["A"]}}).execution
    assert (execution.grace, execution.pass_env) == (timedelta(seconds=3), ("A",))


@pytest.mark.parametrize(
    ("project", "code"),
    [
        ({"agents": {"x": {"adapter": "demo", "cuont": 1}}}, "unknown_key"),
        ({"agents": {"x": {"adapter": "nothing"}}}, "unknown_adapter"),
        ({"agents": {"x": {"adapter": "command"}}}, "missing_key"),
        ({"checks": [{"name": "t", "run": "make"}]}, "bad_run"),
        ({"checks": [{"name": "t", "run": ["a"]}, {"name": "T", "run": ["a"]}]}, "duplicate_check"),
        ({"keep": ["../x"]}, "bad_path"),
        ({"protected": ["../x"]}, "bad_pattern"),
        ({"resources": {"db": 0}}, "out_of_range"),
        ({"defaults": {"timeout": 5}}, "bad_duration"),
        ({"defaults": {"agent": "nobody"}}, "unknown_agent"),
        ({"prepare": {"copy": ["/x"]}}, "bad_path"),
    ],
)
def test_a_problem_in_the_settings_names_their_file(project: dict[str, Any], code: str) -> None:
    text = "tasks: [{id: one, prompt: x}]\n"
    extra = {"agents": {"d": {"adapter": "demo"}}, "checks": "none"}
    merged = {**extra, **project, "agents": {**extra["agents"], **project.get("agents", {})}}
    (problem,) = resolved(text, project=merged).problems
    assert (problem.code, problem.file, problem.line) == (code, "orchestrator.toml", 0)
    assert all((problem.message, problem.why, problem.fix))


def test_what_is_good_is_built_even_when_the_rest_is_not() -> None:
    result = resolved(
        "checks: none\nagents: {a: {adapter: demo}}\n"
        "tasks:\n- {id: a, prompt: x, files: [b, /c]}\n- {id: b!, prompt: x}\n"
        "- {id: c, prompt: x, depends_on: [a, b!]}\n"
    )
    assert codes(result) == ["bad_pattern", "bad_id"]
    assert result.plan is not None
    assert [(task.id, task.depends_on) for task in result.plan.tasks] == [("a", ()), ("c", ("a",))]
    assert result.plan.tasks[0].files == FileSet(include=("b",))


def test_a_prompt_that_no_command_line_can_carry_is_refused() -> None:
    text = "checks: none\ntasks: [{id: a, agent: demo, prompt_file: p}]\n"
    assert codes(resolved(text, contents={"p": "a\0b"})) == ["no_such_file"]
    assert codes(resolved(text, contents={"p": " \n"})) == ["missing_prompt"]
    assert good(text, contents={"p": "hello"}).tasks[0].prompt == "hello"


def test_line_ends_and_a_byte_order_mark_of_other_systems_change_nothing() -> None:
    text = ONE + "    agent: demo\n    title: A\n"
    other = "\ufeff" + text.replace("\n", "\r\n")
    assert good(other) == good(text)
    draft = parse_plan(other.encode(), file="plans/auth.yaml")
    assert not draft.problems


def test_a_title_is_one_line() -> None:
    assert good(ONE + "    agent: demo\n    title: |\n      A\n      B\n").tasks[0].title == "A B"


def test_ten_thousand_tasks_are_read() -> None:
    rows = "".join(
        f"  - {{id: t{n}, prompt: x, files: [src/m{n}/**], depends_on: [t{n - 1}]}}\n" for n in range(1, 10_000)
    )
    plan = good("checks: none\ndefaults: {agent: demo}\ntasks:\n  - {id: t0, prompt: x, files: []}\n" + rows)
    assert len(plan.tasks) == 10_000
    assert plan.tasks[-1].depends_on == ("t9998",)


def test_a_detached_head_is_no_obstacle_when_the_target_is_named() -> None:
    assert (
        good("target: main\n" + ONE + "    agent: demo\n", facts=replace(FACTS, current_branch=None)).target == "main"
    )


# ---- schema ----


def test_the_schema_describes_every_key() -> None:
    schema = plan_schema()
    tables = [schema, *schema["$defs"].values()]
    for table in tables:
        assert table["additionalProperties"] is False
        for name, key in table["properties"].items():
            assert key.get("description"), f"{table['title']}.{name} has no description"
    assert schema["required"] == ["tasks"]
    assert "null" not in str(schema)
    assert "None" not in str(schema)
    keys = set("version name target isolation publish parallel checks prepare keep protected resources agents".split())  # noqa: SIM905
    assert set(schema["properties"]) == keys | {"defaults", "tasks", "hooks"}
