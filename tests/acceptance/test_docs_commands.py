"""Every command line of README and docs is typed as it stands there; `typed.py` says how a page marks exceptions."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tests.acceptance.person import ORCHESTRATOR, Person
from tests.acceptance.typed import ROOT, Line, in_text, lines, parse

#: Lines that are not run, by how they begin, and why. What calls `orchestrator` is parsed all the same.
NOT_RUN = {
    r"make( |$)": "that the target exists is looked up; each is run by a test of its own, or is the test",
    r"python3? -m venv .* install": "it installs from a package index",
    r"orch-agent ": "it speaks for a running attempt; tests/integration/test_orch_agent.py types all of it",
    r"(orchestrator|orch) answer i\d+ ": "the item is an example; test_main_job answers real ones",
    r"(orchestrator|orch) .*(--watch|--install-completion)": "it runs until it is stopped, or changes a shell's files",
}
#: What an example calls something -> what the scratch repository has.
MEANT = {"TASK": "index", "api": "index", "PLAN": "plans/first.yaml", "plans/auth.yaml": "plans/first.yaml"}
#: Verbs that ask: without a terminal they say what to type instead, and end with 4.
ASK = {"init", "start", "run"}
#: What else is a good end: things that depend on the machine, or on there being nothing left to do.
GOOD = {"conflicts": {0, 7}, "doctor": {0, 1}, "open": {0, 7}, "publish": {0, 7}, "start": {0, 4, 7}}


def reason_not_to_run(line: Line) -> str | None:
    return line.reason or next((why for begin, why in NOT_RUN.items() if re.match(begin, line.text)), None)


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))


@pytest.mark.parametrize("line", [line for line in lines() if line.is_ours], ids=str)
def test_every_line_is_one_that_its_command_takes(line: Line) -> None:
    parse(line.text)


@pytest.mark.parametrize("text", in_text())
def test_what_a_sentence_tells_to_type_can_be_typed(text: str) -> None:
    try:
        parse(text)
    except typer.exceptions.TyperException as error:
        # a sentence may name a verb alone; a page that names one that does not exist, or an option, is wrong
        assert type(error).__name__ in {"MissingParameter", "NoArgsIsHelpError"}, error  # noqa: PT017


@pytest.mark.parametrize("line", [line for line in lines() if line.text.split()[0] == "make"], ids=str)
def test_every_make_target_that_a_page_names_exists(line: Line) -> None:
    assert set(line.text.split()[1:]) <= targets()


def test_every_reason_not_to_run_something_is_still_needed() -> None:
    for begin in NOT_RUN:
        if "--watch" not in begin:
            assert any(re.match(begin, line.text) for line in lines()), begin


@pytest.mark.timeout(300)
def test_every_line_of_the_pages_runs_in_a_repository_where_somebody_follows_them(person: Person) -> None:
    readme = (ROOT / "README.md").read_text()
    plan = next(text for text in re.findall(r"```yaml\n(.*?)```", readme, re.S) if "id: greeting" in text)
    person.write("plans/first.yaml", plan)
    person.write("Makefile", "test:\n\ttrue\n")
    person.commit("what the pages start from")
    person.extra["PATH"] = f"{ORCHESTRATOR.parent}:{os.environ['PATH']}"
    failed, ran = [], 0
    for line in lines():
        if reason_not_to_run(line) is None:
            ran += 1
            failed += run(person, line)
    assert not failed, "\n".join([*failed, "Mend the line, or say above its block: <!-- not run: why -->"])
    assert ran >= 10


def run(person: Person, line: Line) -> list[str]:
    """Type one line. Returns: what went wrong."""
    if not line.is_ours:
        words, good = ["sh", "-c", line.text], {0}
        result = subprocess.run(
            words, cwd=person.repo, env=person.environ, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        code, said = result.returncode, result.stdout + result.stderr
    else:
        typed = [MEANT.get(word, word) for word in line.words]
        good = GOOD.get(typed[0], {0}) | ({4} if typed[0] in ASK else set())
        yes = typed[:1] == ["start"] and len(typed) > 1 and typed[1].endswith(".yaml")
        done = person.start(typed[1], *typed[2:]) if yes else person.type(*typed)
        code, said = done.code, done.out + done.err
        good = {0} if yes else good
    return [] if code in good else [f"{line}\n  ended with {code}: {said[-600:]}"]


def test_the_program_that_is_typed_is_the_one_under_test() -> None:
    assert Path(sys.executable).with_name("orchestrator") == ORCHESTRATOR
