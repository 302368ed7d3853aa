"""`orch-agent` as an agent runs it: a process, a run folder, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.backends.runfolder import Reports, append_once, waits_for_a_person
from orchestrator.model.agent import AgentReport, Asked, HandedIn, NoChange, Progress
from tests.fakes.runs import until

COMMAND = Path(__file__).parents[2] / "agents" / "orchestrator_agents" / "command.py"


def argv(*words: str) -> list[str]:
    return [sys.executable, "-I", "-S", str(COMMAND), *words]


def environment(run_dir: Path | None) -> dict[str, str]:
    return {"PATH": os.environ["PATH"]} | ({"ORCHESTRATOR_RUN": str(run_dir)} if run_dir else {})


def says(run_dir: Path | None, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[str]:
    result = subprocess.run(argv(*words), env=environment(run_dir), input=given, capture_output=True, timeout=30)
    return subprocess.CompletedProcess(words, result.returncode, result.stdout.decode(), result.stderr.decode())


def asks(run_dir: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        argv("ask", *words), env=environment(run_dir), text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def heard(run_dir: Path) -> list[AgentReport]:
    """What the daemon understands of the run's reports."""
    return [seen.report for seen in Reports(run_dir, 0).read()[0]]


def question_in(run_dir: Path, number: int = 0) -> Asked:
    report: Asked = until(lambda: len(heard(run_dir)) > number and heard(run_dir)[number], "the question is there")
    return report


def answer(run_dir: Path, question: Asked, choice: str, text: str = "") -> None:
    line = {"question_id": question.question_id, "choice": choice, "text": text}
    append_once(run_dir / "answers", json.dumps(line))


@pytest.mark.parametrize(
    ("words", "given", "report"),
    [
        pytest.param(["progress", "half way"], "", Progress(text="half way"), id="progress"),
        pytest.param(["progress", "-5 % slower"], "", Progress(text="-5 % slower"), id="begins like an option"),
        pytest.param(["no-change", "is there"], "", NoChange(reason="is there"), id="no change"),
        pytest.param(["hand-off", "did it"], "", HandedIn(summary="did it"), id="hand-off"),
        pytest.param(["hand-off", "--summary", "did it"], "", HandedIn(summary="did it"), id="hand-off by name"),
        pytest.param(
            ["hand-off", "-"], "a\n\nüb\u2028c\n", HandedIn(summary="a\n\nüb\u2028c"), id="hand-off from stdin"
        ),
        pytest.param(["hand-off"], "", HandedIn(summary=""), id="hand-off without words"),
    ],
)
def test_what_an_agent_says_is_what_the_daemon_understands(
    tmp_path: Path, words: list[str], given: str, report: AgentReport
) -> None:
    result = says(tmp_path, *words, given=given.encode())
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert heard(tmp_path) == [report]


@pytest.mark.parametrize(
    ("choice", "text", "printed"),
    [
        pytest.param("sqlite", "", "sqlite\n", id="a choice"),
        pytest.param("sqlite", "but only for tests", "sqlite\nbut only for tests\n", id="a choice with words"),
        pytest.param("text", "neither, use files", "neither, use files\n", id="free words"),
    ],
)
def test_ask_waits_for_the_answer_and_prints_it(tmp_path: Path, choice: str, text: str, printed: str) -> None:
    with asks(tmp_path, "Which?", "--option", "postgres", "--option", "sqlite") as asking:
        question = question_in(tmp_path)
        assert question == Asked(question_id=question.question_id, text="Which?", options=("postgres", "sqlite"))
        assert waits_for_a_person(tmp_path)
        append_once(tmp_path / "answers", '{"question_id": "another", "choice": "no"}')
        time.sleep(0.3)
        assert asking.poll() is None
        answer(tmp_path, question, choice, text)
        assert asking.communicate(timeout=20) == (printed, None)
        assert asking.returncode == 0
    assert not waits_for_a_person(tmp_path)


def test_two_questions_at_once_get_an_answer_each(tmp_path: Path) -> None:
    with asks(tmp_path, "A?") as first, asks(tmp_path, "B?") as second:
        until(lambda: len(heard(tmp_path)) == 2, "both have asked")
        for report in heard(tmp_path):
            assert isinstance(report, Asked)
            answer(tmp_path, report, f"to {report.text}")
        assert first.communicate(timeout=20)[0] == "to A?\n"
        assert second.communicate(timeout=20)[0] == "to B?\n"


def test_a_question_cut_off_while_it_waits_goes_on_when_asked_again(tmp_path: Path) -> None:
    with asks(tmp_path, "Which?") as first:
        question = question_in(tmp_path)
        first.kill()
    assert not waits_for_a_person(tmp_path)
    answer(tmp_path, question, "this one")
    assert says(tmp_path, "ask", "Which?").stdout == "this one\n"
    assert heard(tmp_path) == [question]
    with asks(tmp_path, "Which?") as third:  # the answer was read, so this asks anew
        assert question_in(tmp_path, 1).question_id != question.question_id
        third.kill()


def test_ask_without_waiting_asks_and_goes_on(tmp_path: Path) -> None:
    assert says(tmp_path, "ask", "Which?", "--no-wait").returncode == 0
    (report,) = heard(tmp_path)
    assert isinstance(report, Asked)
    assert not report.waits


def test_ask_gives_up_after_its_time_and_the_question_stays(tmp_path: Path) -> None:
    result = says(tmp_path, "ask", "Which?", "--timeout", "0.3")
    assert result.returncode == 1
    assert "stays open" in result.stderr
    assert result.stdout == ""
    assert len(heard(tmp_path)) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["progress", ""], "no words", id="empty"),
        pytest.param(["no-change", " \n"], "no words", id="blank"),
        pytest.param(["hand-off", "-"], "65536 is the most", id="too long"),
        pytest.param([], "VERB", id="nothing to do"),
        pytest.param(["merge"], "invalid choice", id="what an agent may not"),
    ],
)
def test_what_cannot_be_said_is_refused_with_the_reason(tmp_path: Path, words: list[str], said: str) -> None:
    result = says(tmp_path, *words, given=b"x" * 70_000)
    assert result.returncode == 2
    assert said in result.stderr
    assert heard(tmp_path) == []


@pytest.mark.parametrize("folder", [None, "gone"])
def test_outside_of_a_run_it_says_that_nobody_would_hear_it(tmp_path: Path, folder: str | None) -> None:
    result = says(tmp_path / folder if folder else None, "progress", "hello")
    assert result.returncode == 2
    assert "nobody would hear it" in result.stderr


def test_many_agents_writing_at_once_mix_no_lines(tmp_path: Path) -> None:
    texts = {f"{letter * 30_000}" for letter in "abcdef"}
    writing = [subprocess.Popen(argv("hand-off", "-"), env=environment(tmp_path), stdin=subprocess.PIPE) for _ in texts]
    for process, text in zip(writing, texts, strict=True):
        process.communicate(text.encode(), timeout=30)
    assert {report.summary for report in heard(tmp_path) if isinstance(report, HandedIn)} == texts


def test_help_shows_examples_and_works_anywhere() -> None:
    result = says(None, "--help")
    assert result.returncode == 0
    for verb in ("ask", "hand-off", "no-change", "progress"):
        assert f"orch-agent {verb}" in result.stdout


def test_it_is_installed_beside_the_interpreter() -> None:
    result = subprocess.run([Path(sys.executable).with_name("orch-agent"), "--help"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
