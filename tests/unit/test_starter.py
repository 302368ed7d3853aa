"""The text of a first `orchestrator.toml`: it loads, a plan of tasks alone passes with it, an old file is not hurt."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core.detection import CheckGuess, Signs, detect, remarks_for
from orchestrator.core.knownagents import KNOWN_AGENTS
from orchestrator.core.settings import build_settings
from orchestrator.core.starter import (
    DoesNotFitError,
    Starter,
    additions_text,
    completed_text,
    difference,
    missing_keys,
    settings_text,
    starter_of,
)
from tests.unit.test_detection import JEST, PYTEST, signs
from tests.unit.test_planfile import resolved

ONLY_TASKS = "tasks:\n  - id: one\n    prompt: do it\n    files: [a]\n"


def starter(seen: Signs) -> Starter:
    return starter_of(detect(seen), remarks_for(seen))


ALL_AGENTS = " ".join(agent.program for agent in KNOWN_AGENTS)
REPOSITORIES = [
    pytest.param(signs(), id="nothing"),
    pytest.param(signs(Makefile="test:\n", programs="claude"), id="make and claude"),
    pytest.param(signs("package-lock.json", package_json=JEST, ignored=".env node_modules"), id="node"),
    pytest.param(signs(pyproject=PYTEST, ignored=".venv", programs=ALL_AGENTS), id="python with every agent"),
    pytest.param(signs(pyproject=PYTEST, ignored=".venv", leads_back=".venv"), id="remarks alone"),
    pytest.param(signs("go.mod", "Cargo.toml", "Cargo.lock", package_json=JEST), id="three languages"),
    pytest.param(
        signs(package_json='{"scripts": {"test": "echo \\"ü\\u007f\\u0000\\ud800\\u001b[2J\\\\\\" && x"}}'),
        id="odd characters",
    ),
]


@pytest.mark.parametrize("seen", REPOSITORIES)
def test_a_plan_of_tasks_alone_passes_with_the_settings_that_are_written(seen: Signs) -> None:
    content = tomllib.loads(settings_text(starter(seen)))
    build_settings(user=None, project=("orchestrator.toml", content), environ={}, flags={})
    found = resolved(ONLY_TASKS, project=content)
    assert {problem.code for problem in found.problems} <= {"for_people"}, "without an agent program, people are told"
    plan = found.plan
    assert plan is not None
    assert plan.checks
    assert plan.tasks[0].agent == (starter(seen).agents[0].name if seen.programs else "human")


@pytest.mark.parametrize("seen", REPOSITORIES)
def test_the_file_is_readable_on_a_terminal_and_says_everything_once(seen: Signs) -> None:
    text = settings_text(starter(seen))
    assert missing_keys(text, starter(seen)) == ()
    assert completed_text(text, starter(seen)) == text
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert max(map(len, comments)) <= 120
    assert "\n\n\n" not in text


def test_a_chosen_worktree_folder_is_written_and_an_unchosen_one_only_explained() -> None:
    chosen = replace(starter(signs()), worktrees='/big disk/"trees"')
    assert tomllib.loads(settings_text(chosen))["worktrees"] == '/big disk/"trees"'
    assert "worktrees" not in tomllib.loads(settings_text(starter(signs())))


SEEN = signs(Makefile="test:\n", ignored=".env", programs="claude codex")


@pytest.mark.parametrize(
    ("existing", "missing"),
    [
        pytest.param("", ("checks", "protected", "prepare", "agents.claude", "agents.codex", "defaults"), id="empty"),
        pytest.param("# only a remark\n", 6, id="a comment"),
        pytest.param("log_level = 'debug'\n", 6, id="keys alone"),
        pytest.param("[agents.claude]\nadapter = 'demo'\n", 5, id="one of the agents"),
        pytest.param("checks = 'none'\n[defaults]\nagent = 'claude'\n", 4, id="checks and defaults"),
        pytest.param("# mine\n[attention]\nheld = '1h'\n\n# theirs\n[execution]\ngrace = '5s'\n", 6, id="tables alone"),
        pytest.param("protected = [\n  'a/**',\n]\n[resources]\ndb = 1\n", 5, id="an array over several lines"),
    ],
)
def test_an_existing_file_is_completed_and_keeps_what_it_says(existing: str, missing: Any) -> None:
    wanted = starter(SEEN)
    found = missing_keys(existing, wanted)
    assert found == missing if isinstance(missing, tuple) else len(found) == missing
    text = completed_text(existing, wanted)
    before, after = tomllib.loads(existing), tomllib.loads(text)
    for key, value in before.items():
        assert after[key] == value if key != "agents" else after[key]["claude"] == value["claude"]
    assert missing_keys(text, wanted) == ()
    diff = difference(existing, text)
    assert not [line for line in diff.splitlines() if line.startswith("-") and not line.startswith("---")]


@pytest.mark.parametrize(
    "existing",
    [
        pytest.param("agents = {mine = {adapter = 'demo'}}\n", id="a table in one line cannot be added to"),
        pytest.param("[prepare]\nrun = [\n['npm', 'ci'],\n]\n", id="brackets at the beginning of a line"),
        pytest.param('[defaults]\ntext = """\n[not a table]\n"""\n', id="brackets in a text"),
    ],
)
def test_what_does_not_fit_is_given_apart_and_never_by_breaking_the_file(existing: str) -> None:
    wanted = starter(SEEN)
    try:
        text = completed_text(existing, wanted)
    except DoesNotFitError:
        assert "checks = [" in additions_text(existing, wanted)
    else:
        assert missing_keys(text, wanted) == ()


def test_a_file_that_is_no_toml_is_said_to_be_none() -> None:
    with pytest.raises(tomllib.TOMLDecodeError):
        completed_text("checks = [", starter(SEEN))


def test_what_a_person_typed_as_a_check_is_written_as_typed() -> None:
    typed = CheckGuess(name="tests", run=("sh", "-c", "make test && echo 'gut, ö'"), because="as you said")
    content = tomllib.loads(settings_text(replace(starter(signs()), checks=(typed,))))
    assert content["checks"] == [{"name": "tests", "run": list(typed.run), "timeout": "10m"}]
