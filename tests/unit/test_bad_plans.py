"""Plans that must be refused: each gives exactly the problems expected, at their lines, in words that help."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.core.planfile import parse_plan, resolve_plan
from orchestrator.core.settings import build_settings
from orchestrator.model.errors import PlanError, Problem
from orchestrator.model.ids import Commit
from orchestrator.model.repo import RepoFacts

FACTS = RepoFacts(
    root="/repo",
    common_dir="/repo/.git",
    current_branch="main",
    branches=frozenset({"main", "develop"}),
    target="main",
    target_commit=Commit("1" * 40),
)
DEFAULTS = build_settings(user=None, project=None, environ={}, flags={})
ADAPTERS = {"command": True, "demo": False}


def problems_of(data: bytes | str, facts: RepoFacts = FACTS, file: str = "plans/p.yaml") -> tuple[Problem, ...]:
    try:
        draft = parse_plan(data, file=file)
    except PlanError as error:
        return error.problems
    if draft.target not in (None, *facts.branches):
        facts = replace(facts, target=draft.target, target_commit=None)
    contents = dict.fromkeys(draft.wanted_files)
    return resolve_plan(draft, settings=DEFAULTS, facts=facts, contents=contents, adapters=ADAPTERS).problems


def task(*lines: str) -> str:
    """A plan that is good but for these keys of its one task, from line 6 on."""
    head = "checks: none\nagents: {a: {adapter: command, run: [x]}}\ntasks:\n  - id: one\n    prompt: do it\n"
    return head + "".join(f"    {line}\n" for line in lines)


def plan(*lines: str) -> str:
    """A plan that is good but for these keys, from line 1 on."""
    keys = {line.split(":")[0] for line in lines}
    rest = ["checks: none", "agents: {a: {adapter: command, run: [x]}}", "tasks: [{id: one, prompt: do it}]"]
    return "\n".join([*lines, *(line for line in rest if line.split(":")[0] not in keys)]) + "\n"


def agent(*keys: str) -> str:
    """A plan that is good but for these keys of its agent, in line 1."""
    return plan("agents: {a: {" + ", ".join(keys) + "}}")


def check(keys: str) -> str:
    """A plan that is good but for its one check, in line 1."""
    return plan("checks: [" + keys + "]")


TEXT = {
    "nothing": ("", "empty_plan", 0),
    "comments only": ("# later\n", "empty_plan", 0),
    "an empty document": ("---\n", "empty_plan", 0),
    "a list at the top": ("- id: a\n", "not_a_table", 1),
    "a text at the top": ("do it all\n", "not_a_table", 1),
    "a number at the top": ("\n42\n", "not_a_table", 2),
    "not UTF-8": (b"name: ok\ntitle: \xff\xfe\n", "not_utf8", 2),
    "UTF-16": ("tasks: []".encode("utf-16"), "not_utf8", 1),
    "a NUL": (b"name: a\x00b\n", "control_character", 1),
    "an escape": ("checks: none\ntasks: [{id: a, title: '\x1b[31mred'}]\n", "control_character", 2),
    "a BEL": ("name: a\n\n# \x07\n", "control_character", 3),
    "a C1 character": ("name: a\u009bb\n", "control_character", 1),
    "a line separator": ("name: a\u2028b\n", "control_character", 1),
    "half a surrogate": ("name: a\ud800b\n", "control_character", 1),
    "an escaped NUL": (task('title: "a\\0b"'), "control_character", 6),
    "an escaped ESC": (task('title: "a\\eb"'), "control_character", 6),
    "an escaped carriage return": (task('title: "a\\rb"'), "control_character", 6),
    "an open bracket": ("tasks: [\n", "syntax", 2),
    "an open quote": ("name: 'a\ntasks: []\n", "syntax", 3),
    "a tab as indentation": ("tasks:\n\t- id: a\n", "syntax", 2),
    "two colons": ("name: a: b\n", "syntax", 1),
    "a bad indentation": ("tasks:\n  - id: a\n   prompt: b\n", "syntax", 3),
    "two documents": ("tasks: []\n---\ntasks: []\n", "several_documents", 2),
    "a tag": (task("title: !!str 5"), "tag", 6),
    "a tag that makes objects": (task("title: !!python/object/apply:os.system [ls]"), "tag", 6),
    "a tag of one's own": (task("title: !secret x"), "tag", 6),
    "a %TAG line": ("%TAG ! tag:example.org,2000:\n---\n" + plan(), "tag", 1),
    "an anchor": (task("title: &t hello"), "alias", 6),
    "an alias": (task("title: *t"), "alias", 6),
    "a merge": (task("<<: *t"), "alias", 6),
    "a duplicate key of the plan": (plan("name: a", "name: b"), "duplicate_key", 2),
    "a duplicate key of a task": (task("title: a", "title: b"), "duplicate_key", 7),
    "a duplicate key in another writing": (plan("name: a", '"name": b'), "duplicate_key", 2),
    "a list as a key": (plan("? [a]\n: b"), "bad_key", 1),
    "a table as a key": (plan("{a: b}: c"), "bad_key", 1),
    "a key without a name": (plan("?\n: b"), "bad_key", 1),
    "deep lists": ("tasks: " + "[" * 1000, "too_deep", 1),
    "deep tables": ("".join(" " * n + "a:\n" for n in range(100)), "too_deep", 65),
    "deep and huge": ("[" * 1_000_000, "too_deep", 1),
    "too many tasks": ("checks: none\ntasks:\n" + "- {id: a}\n" * 10_001, "too_many_tasks", 10_003),
    "too many bytes": (b"#" * (16 * 1024 * 1024 + 1), "too_big", 0),
}

PLAN = {
    "an unknown key": (plan("taget: main"), "unknown_key", 1),
    "a key of tasks": (plan("depends_on: []"), "unknown_key", 1),
    "a key without value": (plan("name:"), "no_value", 1),
    "null": (plan("target: ~"), "no_value", 1),
    "no tasks": ("checks: none\n", "no_tasks", 0),
    "an empty list of tasks": (plan("tasks: []"), "no_tasks", 1),
    "tasks as a table": (plan("tasks: {one: {prompt: do it}}"), "wrong_type", 1),
    "a task that is a text": (plan("tasks: [do it]"), "wrong_type", 1),
    "another version": (plan("version: 2"), "bad_value", 1),
    "a version as text": (plan('version: "1"'), "bad_value", 1),
    "a version as true": (plan("version: true"), "bad_value", 1),
    "a version as 1.0": (plan("version: 1.0"), "bad_value", 1),
    "a name in capitals": (plan("name: Auth"), "bad_id", 1),
    "a reserved name": (plan("name: plans"), "bad_id", 1),
    "another reserved name": (plan("name: old"), "bad_id", 1),
    "a name that ends in a dot": (plan("name: auth."), "bad_id", 1),
    "a name that climbs": (plan("name: ../auth"), "bad_id", 1),
    "a name with a slash": (plan("name: a/b"), "bad_id", 1),
    "a name that is a number": (plan("name: 5"), "wrong_type", 1),
    "a target that does not exist": (plan("target: mian"), "unknown_target", 1),
    "an empty target": (plan('target: ""'), "bad_value", 1),
    "parallel 0": (plan("parallel: 0"), "out_of_range", 1),
    "parallel 1000": (plan("parallel: 1000"), "out_of_range", 1),
    "parallel as a fraction": (plan("parallel: 2.0"), "wrong_type", 1),
    "parallel as infinity": (plan("parallel: .inf"), "wrong_type", 1),
    "parallel as text": (plan("parallel: four"), "wrong_type", 1),
    "parallel as true": (plan("parallel: true"), "wrong_type", 1),
    "parallel beyond all numbers": (plan("parallel: " + "9" * 5000), "out_of_range", 1),
    "an unknown isolation": (plan("isolation: docker"), "bad_value", 1),
    "isolation branch": (plan("isolation: branch"), "not_available", 1),
    "isolation partition": (plan("isolation: partition"), "not_available", 1),
    "publish sometimes": (plan("publish: sometimes"), "bad_value", 1),
    "hooks": (plan("hooks: inherit"), "not_available", 1),
    "a resource for nobody": (plan("resources: {db: 0}"), "out_of_range", 1),
    "a resource as text": (plan("resources: {db: one}"), "wrong_type", 1),
    "a resource with a blank": (plan("resources: {test db: 1}"), "bad_value", 1),
    "protected and nothing but exclusions": (plan('protected: ["!a"]'), "bad_pattern", 1),
    "copying from outside": (plan("prepare: {copy: [../secret]}"), "bad_path", 1),
    "copying from an absolute path": (plan("prepare: {copy: [/etc/passwd]}"), "bad_path", 1),
    "linking git's folder": (plan("prepare: {link: [.git/hooks]}"), "bad_path", 1),
    "copying and linking": (plan("prepare: {copy: [a], link: [a/]}"), "duplicate_path", 1),
    "a prepare command as text": (plan("prepare: {run: [npm ci]}"), "bad_run", 1),
    "prepare as a list": (plan("prepare: [npm, ci]"), "wrong_type", 1),
    "an unknown key of prepare": (plan("prepare: {copies: [a]}"), "unknown_key", 1),
}

CHECKS = {
    "no checks at all": ("tasks: [{id: a, prompt: b, agent: demo}]\n", "no_checks", 0),
    "an empty list of checks": (plan("checks: []"), "no_checks", 1),
    "checks: None": (plan("checks: None"), "no_checks", 1),
    "checks: false": (plan("checks: false"), "wrong_type", 1),
    "a check without name": (check("{run: [make]}"), "missing_key", 1),
    "a check without command": (check("{name: t}"), "missing_key", 1),
    "a command as text": (check("{name: t, run: make test}"), "bad_run", 1),
    "an empty command": (check("{name: t, run: []}"), "bad_run", 1),
    "a command without program": (check('{name: t, run: ["", a]}'), "bad_run", 1),
    "a number in a command": (check("{name: t, run: [sleep, 5]}"), "wrong_type", 1),
    "a check with a path as name": (check("{name: a/b, run: [make]}"), "bad_id", 1),
    "a check called ..": (check("{name: .., run: [make]}"), "bad_id", 1),
    "two checks of one name": (check("{name: t, run: [a]}, {name: T, run: [b]}"), "duplicate_check", 1),
    "a check without time": (check("{name: t, run: [a], timeout: 0s}"), "bad_duration", 1),
    "an unknown key of a check": (check("{name: t, run: [a], time: 5m}"), "unknown_key", 1),
}

AGENTS = {
    "no agent at all": ("checks: none\ntasks: [{id: a, prompt: b}]\n", "no_agents", 0),
    "no adapter": (agent("run: [x]"), "missing_key", 1),
    "an unknown adapter": (agent("adapter: comand", "run: [x]"), "unknown_adapter", 1),
    "no command": (agent("adapter: command"), "missing_key", 1),
    "a command as one text": (agent("adapter: command", "run: claude -p"), "bad_run", 1),
    "an unknown input": (agent("adapter: command", "run: [x]", "stdin: promt"), "bad_value", 1),
    "count 0": (agent("adapter: command", "run: [x]", "count: 0"), "out_of_range", 1),
    "complexity 6": (agent("adapter: command", "run: [x]", "max_complexity: 6"), "out_of_range", 1),
    "a number as a variable's value": (agent("adapter: command", "run: [x]", "env: {N: 5}"), "wrong_type", 1),
    "a bad name of a variable": (agent("adapter: command", "run: [x]", "env: {A-B: x}"), "bad_value", 1),
    "a variable of ours": (agent("adapter: command", "run: [x]", "env: {ORCHESTRATOR_TASK: x}"), "bad_value", 1),
    "passing on a bad name": (agent("adapter: command", "run: [x]", "pass_env: ['A=b']"), "bad_value", 1),
    "an unknown key of an agent": (agent("adapter: command", "run: [x]", "cmd: x"), "unknown_key", 1),
    "an agent called human": (plan("agents: {human: {adapter: demo}}", "defaults: {agent: demo}"), "bad_id", 1),
    "an agent called hand": (plan("agents: {hand: {adapter: demo}}", "defaults: {agent: demo}"), "bad_id", 1),
    "an agent that climbs": (plan("agents: {../a: {adapter: demo}}", "defaults: {agent: demo}"), "bad_id", 1),
    "agents as a list": (plan("agents: [claude]"), "wrong_type", 1),
    "a default agent that is not there": (plan("defaults: {agent: b}"), "unknown_agent", 1),
    "the default review": (plan("defaults: {review: human}"), "not_available", 1),
    "defaults for files": (plan("defaults: {files: []}"), "unknown_key", 1),
}

TASKS = {
    "an unknown key": (task("promt: x"), "unknown_key", 6),
    "no id": (plan("tasks: [{prompt: do it}]"), "missing_key", 1),
    "an id that climbs": (plan("tasks: [{id: ../../etc, prompt: x}]"), "bad_id", 1),
    "an id that is an option": (plan("tasks: [{id: --force, prompt: x}]"), "bad_id", 1),
    "an id with a leading dot": (plan("tasks: [{id: .hidden, prompt: x}]"), "bad_id", 1),
    "an id with two dots": (plan("tasks: [{id: a..b, prompt: x}]"), "bad_id", 1),
    "an id that ends in .lock": (plan("tasks: [{id: a.lock, prompt: x}]"), "bad_id", 1),
    "an id with a blank": (plan("tasks: [{id: a b, prompt: x}]"), "bad_id", 1),
    "an id beyond ASCII": (plan("tasks: [{id: größe, prompt: x}]"), "bad_id", 1),
    "an id with other digits": (plan("tasks: [{id: a\u0661, prompt: x}]"), "bad_id", 1),
    "an id with a line break": (plan('tasks: [{id: "a\\n", prompt: x}]'), "bad_id", 1),
    "an id of 65 characters": (plan("tasks: [{id: " + "a" * 65 + ", prompt: x}]"), "bad_id", 1),
    "an empty id": (plan('tasks: [{id: "", prompt: x}]'), "bad_id", 1),
    "a number as id": (plan("tasks: [{id: 7, prompt: x}]"), "wrong_type", 1),
    "true as id": (plan("tasks: [{id: true, prompt: x}]"), "wrong_type", 1),
    "one id twice": (plan("tasks:\n- {id: a, prompt: x}\n- {id: a, prompt: x}"), "duplicate_id", 3),
    "ids that differ by case": (plan("tasks:\n- {id: api, prompt: x}\n- {id: API, prompt: x}"), "duplicate_id", 3),
    "no prompt": (plan("tasks: [{id: one}]"), "missing_prompt", 1),
    "an empty prompt": (plan("tasks:\n- id: one\n  prompt: ' '"), "missing_prompt", 3),
    "a list as prompt": (plan("tasks:\n- id: one\n  prompt: [x]"), "wrong_type", 3),
    "true as title": (task("title: true"), "wrong_type", 6),
    "two prompts": (task("prompt_file: a.md"), "two_prompts", 6),
    "a prompt file that is not there": (plan("tasks: [{id: one, prompt_file: a.md}]"), "no_such_file", 1),
    "a prompt file outside": (plan("tasks: [{id: one, prompt_file: ../a.md}]"), "bad_path", 1),
    "context that is not there": (task("context: [specs/a.md]"), "no_such_file", 6),
    "context from outside": (task("context: [/etc/passwd]"), "bad_path", 6),
    "an unknown dependency": (task("depends_on: [tow]"), "unknown_task", 6),
    "a dependency on itself": (task("depends_on: [one]"), "self_dependency", 6),
    "a dependency as text": (task("depends_on: one"), "wrong_type", 6),
    "an unknown agent": (task("agent: b"), "unknown_agent", 6),
    "an adapter that needs a command": (task("agent: command"), "unknown_agent", 6),
    "needs that nobody has": (task("needs: [sql]"), "no_fitting_agent", 6),
    "review human": (task("review: human"), "not_available", 6),
    "review by an agent": (task("review: agent:claude"), "not_available", 6),
    "an unknown review": (task("review: maybe"), "bad_value", 6),
    "approve": (task("approve: [start]"), "not_available", 6),
    "stall": (task("stall: 5m"), "not_available", 6),
    "priority 101": (task("priority: 101"), "out_of_range", 6),
    "priority -1": (task("priority: -1"), "out_of_range", 6),
    "an unknown priority": (task("priority: urgent"), "bad_value", 6),
    "priority 1e3": (task("priority: 1e3"), "bad_value", 6),
    "complexity 0": (task("complexity: 0"), "out_of_range", 6),
    "complexity high": (task("complexity: high"), "wrong_type", 6),
    "retries -1": (task("retries: -1"), "out_of_range", 6),
    "retries as a fraction": (task("retries: 1.5"), "wrong_type", 6),
    "a timeout without unit": (task("timeout: 60"), "bad_duration", 6),
    "a timeout as a clock shows it": (task("timeout: 1:30"), "bad_duration", 6),
    "a timeout with a fraction": (task("timeout: 1.5h"), "bad_duration", 6),
    "a timeout in words": (task("timeout: 10 minutes"), "bad_duration", 6),
    "a timeout of nothing": (task("timeout: 0m"), "bad_duration", 6),
    "a timeout below nothing": (task("timeout: -5m"), "bad_duration", 6),
    "a timeout of centuries": (task("timeout: 999999d"), "bad_duration", 6),
    "units in the wrong order": (task("estimate: 30m1h"), "bad_duration", 6),
    "backoff that is no list": (task("backoff: 5m"), "wrong_type", 6),
    "backoff of nothing": (task("backoff: []"), "bad_value", 6),
    "a bad wait": (task("backoff: [1m, 5]"), "bad_duration", 6),
    "a resource that is a number": (task("uses: [5]"), "wrong_type", 6),
    "checks: none": (task("checks: none"), "wrong_type", 6),
    "an entry without value": (task("files: [a, ~]"), "no_value", 6),
}

PATTERNS = {
    "absolute": "/etc/**",
    "a drive": "C:/x",
    "a home": "~/x",
    "above": "../x",
    "above in the middle": "a/../../x",
    "git's folder": ".git/config",
    "git's folder in capitals": "sub/.GIT/hooks",
    "an open class": "src/[ab",
    "a class over two segments": "src/[a/b]",
    "an empty class": "src/[]",
    "a backward range": "[z-a]",
    "an open brace": "src/{a,b",
    "a brace that nothing opened": "src/a}",
    "too many alternatives": "{a,b}" * 9,
    "braces too deep": "{" * 200 + "a" + "}" * 200,
    "stars beside text": "src/a**b",
    "stars before an ending": "src/**.py",
    "three stars": "src/***",
    "a backslash": "src\\\\a",
    "nothing": "",
    "only !": "!",
    "only exclusions": "!src/**",
    "a line break": "a\\nb",
    "513 characters": "a" * 513,
    "an alternative that is absolute": "{,a}/b",
}

CASES = [
    pytest.param(*case, id=f"{kind}: {name}")
    for kind, table in {"text": TEXT, "plan": PLAN, "checks": CHECKS, "agents": AGENTS, "task": TASKS}.items()
    for name, case in table.items()
]


@pytest.mark.parametrize(("data", "code", "line"), CASES)
def test_a_bad_plan_is_refused_where_it_is_bad(data: bytes | str, code: str, line: int) -> None:
    problems = problems_of(data)
    assert [(problem.code, problem.line) for problem in problems] == [(code, line)], "\n".join(map(str, problems))
    assert_helpful(problems)


@pytest.mark.parametrize("pattern", [pytest.param(text, id=name) for name, text in PATTERNS.items()])
@pytest.mark.parametrize("key", ["files", "reads"])
def test_a_bad_pattern_is_refused(key: str, pattern: str) -> None:
    problems = problems_of(task(f'{key}: ["{pattern}"]'))
    assert [(problem.code, problem.line) for problem in problems] == [("bad_pattern", 6)]
    assert_helpful(problems)


def assert_helpful(problems: tuple[Problem, ...]) -> None:
    for problem in problems:
        assert problem.file == "plans/p.yaml"
        assert not problem.warning
        for text in (problem.message, problem.why, problem.fix):
            assert text.strip()
            assert text.isprintable(), "what is shown obeys nobody"
            assert len(text) < 600


def test_a_bomb_of_aliases_is_not_built() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    problems = problems_of("\n".join(lines))
    assert {problem.code for problem in problems} == {"alias"}
    assert len(problems) == 100  # nobody reads more of them


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        pytest.param(task("promt: x"), "write 'prompt', or remove it", id="a key that is nearly right"),
        pytest.param(
            task("depends_on: [ONE, tow]", "title: x") + "  - {id: two, prompt: x}\n", "write 'one'", id="case"
        ),
        pytest.param(plan("target: refs/heads/develop"), "write target: develop", id="a full reference name"),
        pytest.param(check("{name: t, run: make -j4 test}"), "write run: [make, -j4, test]", id="a simple command"),
        pytest.param(check("{name: t, run: a && b}"), 'write run: [sh, -c, "a && b"]', id="a command for a shell"),
        pytest.param(check("{name: t, run: [python3, -m, 3.10]}"), 'write "3.10" with the quotes', id="a version"),
        pytest.param(task("files: src/a"), "write files: [src/a]", id="a single value"),
        pytest.param(task("timeout: 90"), "write 90s or 90m", id="a bare number"),
        pytest.param(task('complexity: "4"'), "write 4 without quotes", id="a quoted number"),
        pytest.param(plan("name: Auth System"), "write 'Auth-System'", id="a name with a blank"),
        pytest.param(plan("name: Auth"), "write 'auth'", id="a name in capitals"),
        pytest.param(plan("isolation: worktre"), "write worktree", id="a word that is nearly right"),
    ],
)
def test_the_fix_is_what_to_write(text: str, fix: str) -> None:
    assert fix in problems_of(text)[0].fix


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    text = """\
name: Auth
paralel: 3
target: mian
checks: [{name: t, run: make}]
agents: {a: {adapter: comand}}
tasks:
  - id: one
    prompt: x
    depends_on: [two, three, one]
    timeout: 5
  - id: two
    files: ["/etc"]
    agent: b
"""
    assert [(problem.code, problem.line) for problem in problems_of(text)] == [
        ("bad_id", 1),
        ("unknown_key", 2),
        ("unknown_target", 3),
        ("bad_run", 4),
        ("unknown_adapter", 5),
        ("unknown_task", 9),
        ("self_dependency", 9),
        ("bad_duration", 10),
        ("missing_prompt", 11),
        ("bad_pattern", 12),
        ("unknown_agent", 13),
    ]


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        pytest.param({"current_branch": None}, "missing_target", id="a detached HEAD"),
        pytest.param({"target_commit": None, "branches": frozenset()}, "unknown_target", id="no commit yet"),
        pytest.param(
            {"branches": frozenset({"main", "orchestrator"})}, "branch_named_orchestrator", id="the name taken"
        ),
        pytest.param({"branches": frozenset({"main", "orchestrator/p/x"})}, "branch_in_the_way", id="the place taken"),
        pytest.param(
            {"current_branch": "orchestrator/p", "branches": frozenset({"orchestrator/p"})},
            "bad_target",
            id="the plan's own branch",
        ),
    ],
)
def test_a_repository_without_room_for_the_plan_is_refused(facts: dict[str, Any], code: str) -> None:
    known = {
        name: getattr(FACTS, name) for name in ("root", "common_dir", "current_branch", "branches", "target_commit")
    }
    problems = problems_of(plan(), RepoFacts(**{**known, **facts}))
    assert [problem.code for problem in problems] == [code]
    assert_helpful(problems)


@pytest.mark.parametrize("file", ["plans/old.yaml", "plans/plans.yml", "-", "...", "日本.yaml"])
def test_a_file_whose_name_gives_no_plan_name_has_to_say_it(file: str) -> None:
    assert [problem.code for problem in problems_of(plan(), file=file)] == ["bad_id"]
    assert problems_of(plan("name: p"), file=file) == ()


def test_ten_thousand_typos_are_told_in_reasonable_number() -> None:
    rows = "".join(f"- {{id: t{n}, prompt: x, depends_on: [q{n}]}}\n" for n in range(2000))
    assert len(problems_of("checks: none\nagents: {a: {adapter: demo}}\ntasks:\n" + rows)) == 1000


# ---- nothing that anybody can type may do more than be refused ----

WORDS = st.sampled_from(
    """
    version name target isolation publish parallel checks prepare keep protected resources agents defaults tasks
    id prompt files reads uses context depends_on priority timeout retries backoff run adapter command demo none human
    hand a b.lock ../x .git ** {a,b} [a ! 10m 1:30 5 1.5 true null ~ -1 .inf 0x10 é
    """.split()  # noqa: SIM905  # a list of quoted words would be as long as the rest of the file
)
TREES = st.recursive(
    WORDS | st.integers() | st.floats() | st.booleans() | st.none() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=4), inner, max_size=5),
    max_leaves=30,
)
QUICK = settings(max_examples=150, deadline=2000, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    problems_of(data)


@QUICK
@given(st.text(alphabet="ab:-[]{}&*!|>'\"%#\n\t ,?\\0é\x00~.1", max_size=120))
def test_any_punctuation_is_read_or_refused(text: str) -> None:
    problems_of(text)


@QUICK
@given(st.dictionaries(WORDS, TREES, max_size=8))
def test_any_tree_is_resolved_or_refused(tree: dict[str, object]) -> None:
    for problem in problems_of(json.dumps(tree)):
        assert problem.code
        assert problem.message
        assert problem.why
        assert problem.fix


@QUICK
@given(st.lists(TREES, max_size=4), TREES, TREES)
def test_any_tree_in_the_places_that_matter_is_resolved_or_refused(
    tasks: object, agents: object, checks: object
) -> None:
    problems_of(json.dumps({"tasks": tasks, "agents": agents, "checks": checks, "defaults": agents}))
