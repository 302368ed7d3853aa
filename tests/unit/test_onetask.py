"""A plan of one task reads back as exactly what was typed, and has a name that people recognise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.onetask import check_of, one_task_plan, task_name, task_title
from orchestrator.core.planvalues import check_plan_name
from orchestrator.model.plan import EVERYTHING, FileSet, Plan
from tests.unit.test_planfile import good


def the_plan(prompt: str, **changes: object) -> Plan:
    said: dict[str, object] = {"files": ["src/**"], "agent": "demo", "checks": [], "timeout": None, **changes}
    return good(one_task_plan(name="fix", prompt=prompt, **said))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "prompt",
    [
        "fix the login timeout",
        'say "hello": it\'s #1, {a: b}, [c] & *d',
        "Straße, naïve, 日本語, 🎉",
        "first line\nsecond line\n",
        "first line\n\n  indented\nlast",
        "trailing space \nsecond",
        "  leading space\nsecond",
        "\nempty first\nsecond",
        "two newlines\nat the end\n\n",
        "one line\n",
        "a tab\there\nand there",
        "- not a list\n- either",
        "null",
        "true",
        "0o17",
        "1e3",
        "~",
        "---\nnot a document\n...",
        "key: value\nother: value",
        "back\\slash \\n and \\u0041",
        "%TAG",
        "| block",
        "> folded",
        "!tag &anchor *alias",
        "a" * 5000 + "\n" + "b " * 500 + "b",
    ],
)
def test_a_prompt_reads_back_as_it_was_typed(prompt: str) -> None:
    plan = the_plan(prompt)
    assert plan.tasks[0].prompt == prompt


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn"), include_characters="\n\t"), min_size=1, max_size=60)


@given(TEXT.filter(lambda text: text.strip() and not set(text) & set("\u2028\u2029\ufeff\x85")))
def test_any_prompt_reads_back(prompt: str) -> None:
    assert the_plan(prompt).tasks[0].prompt == prompt


def test_every_flag_is_in_the_plan() -> None:
    plan = the_plan("Fix it", files=["src/a b.py", "!x"], checks=[("t", ["sh", "-c", 'echo "x: y"'])], timeout="5m")
    (task,) = plan.tasks
    assert (plan.name, task.id, task.title, task.agent) == ("fix", "fix-it", "Fix it", "demo")
    assert task.files == FileSet(include=("src/a b.py",), exclude=("x",))
    assert [check.run for check in plan.checks] == [("sh", "-c", 'echo "x: y"')]
    assert task.timeout.total_seconds() == 300
    assert the_plan("x", files=None).tasks[0].files == EVERYTHING


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("fix the login timeout", "fix-the-login-timeout"),
        ("Fix the Login-Timeout!", "fix-the-login-timeout"),
        ("Größe der Überschrift ändern", "groesse-der-ueberschrift-aendern"),
        ("café à la crème", "cafe-a-la-creme"),
        ("make it so that nobody ever has to wait again", "make-it-so-that-nobody-ever-has-to-wait"),
        ("x" * 80, "x" * 40),
        ("日本語", "task"),
        ("...", "task"),
        ("old", "task-old"),
        ("Plans", "task-plans"),
        ("first line\nsecond", "first-line-second"),
        ("--help me", "help-me"),
        ("delete yarn.lock", "delete-yarn-lock"),
    ],
)
def test_the_name_comes_from_the_prompt(prompt: str, name: str) -> None:
    assert task_name(prompt) == name


@given(TEXT)
def test_any_prompt_gives_a_name_that_a_plan_may_have(prompt: str) -> None:
    assert check_plan_name(task_name(prompt))


def test_a_long_title_ends_at_a_word() -> None:
    assert task_title("\n  Fix   it\nand more") == "Fix it"
    assert task_title("word " * 20) == "word word word word word word word word word word word..."
    assert len(task_title("x" * 100)) <= 60


@pytest.mark.parametrize(
    ("command", "name", "words"),
    [
        ("make test", "make-test", ["make", "test"]),
        ("pytest -q 'tests/a b.py'", "pytest-q-tests-a-b-py", ["pytest", "-q", "tests/a b.py"]),
        ("npm test && npm run lint", "npm-test-npm-run-lint", ["sh", "-c", "npm test && npm run lint"]),
        ("CI=1 make", "ci-1-make", ["sh", "-c", "CI=1 make"]),
        ("ls *.py | wc -l", "ls-py-wc-l", ["sh", "-c", "ls *.py | wc -l"]),
        ("./ü", "ue", ["./ü"]),
        ("./試験", "check", ["./試験"]),
    ],
)
def test_a_check_is_read_as_a_shell_would(command: str, name: str, words: list[str]) -> None:
    found = check_of(command)
    assert found[1] == words
    plan = the_plan("x", checks=[found])
    assert list(plan.checks[0].run) == words
    assert found[0] == name


@pytest.mark.parametrize("command", ["", "  ", "make 'test"])
def test_a_check_that_cannot_be_read_is_refused(command: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_of(command)
