"""A person at a terminal changes a plan before they say yes, and runs single tasks without a plan file."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import subprocess
import time
from pathlib import Path

from tests.acceptance.person import ORCHESTRATOR, Person

PLAN = """
checks: [{name: ok, run: ["true"]}]
agents: {one: {adapter: demo}, two: {adapter: demo}}
defaults: {agent: one}
tasks:
  - {id: alpha, files: [a.txt, both.txt], prompt: "!append both.txt alpha"}
  - {id: beta, files: [b.txt, both.txt], prompt: "!append both.txt beta"}
  - {id: gamma, files: [gamma.txt], prompt: "!append gamma.txt old words"}
  - {id: delta, files: [delta.txt], prompt: "!append delta.txt delta"}
"""


class Terminal:
    """A command on a terminal of its own, with a person who reads before they type."""

    def __init__(self, person: Person, *words: str, **environ: str) -> None:
        self.fd, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [str(ORCHESTRATOR), *words],
            cwd=person.repo,
            env=person.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "50", "NO_COLOR": "1"} | environ,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.said = ""

    def read_until(self, words: str, seconds: float = 60) -> str:
        """What was shown up to these words."""
        until = time.monotonic() + seconds
        while words not in self.said:
            ready, _, _ = select.select([self.fd], [], [], max(until - time.monotonic(), 0))
            assert ready, f"waited for {words!r} and read:\n{self.said}"
            self.said += os.read(self.fd, 65536).decode(errors="replace").replace("\r\n", "\n")
        before, _, self.said = self.said.partition(words)
        return before

    def type(self, line: str) -> None:
        os.write(self.fd, f"{line}\n".encode())

    def answer(self, line: str) -> str:
        """Type this at the next question. Returns: what was shown up to it."""
        shown = self.read_until("[?] more: ")
        self.type(line)
        return shown

    def end(self, seconds: float = 60) -> int:
        """Read on to the end. Returns: the exit code."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.said += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:  # how Linux says that the other side is closed
                    break
        code = self.process.wait(timeout=max(until - time.monotonic(), 1))
        os.close(self.fd)
        return code


def test_a_plan_is_changed_at_the_question_and_runs_as_changed(person: Person) -> None:
    plan = person.plan(PLAN)
    person.commit("plan")
    terminal = Terminal(person, "start", plan, EDITOR="sed -i 's/old words/new words/'")
    assert "verdict  partly" in terminal.answer("first beta alpha")
    assert "~ alpha  depends_on: none -> beta" in terminal.answer("drop delta")
    assert "- delta" in terminal.answer("agent gamma two")
    assert "agent: one -> two" in terminal.answer("edit")
    assert "~ gamma  prompt" in terminal.answer("details gamma")
    assert "two, by --agent gamma=two" in terminal.answer("yes")
    assert terminal.end() == 0, terminal.said
    told = re.search(r"the same without a question: (.*?--confirm [0-9a-f]+)", terminal.said, re.S)
    assert told, terminal.said
    assert (person.repo / "both.txt").read_text() == "beta\nalpha\n"
    assert (person.repo / "gamma.txt").read_text() == "new words\n"
    assert not (person.repo / "delta.txt").exists()
    assert {task["id"]: task["agent"] for task in person.status()["tasks"]} == {
        "alpha": "one",
        "beta": "one",
        "gamma": "two",
    }
    words = shlex.split(" ".join(told[1].split()))
    assert words[1:-1] == [
        "start", plan, "--agent", "gamma=two", "--first", "beta:alpha", "--drop", "delta", "--confirm",
    ]  # fmt: skip
    assert person.status()["digest"] == words[-1]
    checked = person.type("plan", "check", *words[2:-2], "--json")
    assert checked.data["digest"] == words[-1], "the flags mean what was typed at the question"
    assert person.type(*words[1:]).code == 0, "a script repeats it as a new run"


def test_a_broken_plan_is_mended_in_the_editor_and_a_no_starts_nothing(person: Person) -> None:
    plan = person.plan(PLAN.replace("id: beta", "id: beta, agnet: one"))
    terminal = Terminal(person, "start", plan, VISUAL="sed -i s/agnet/agent/")
    shown = terminal.read_until("[e]dit / [r]ead again / [Q]uit: ")
    assert re.search(rf"{plan}:7:\d+: .*agnet", shown), shown
    terminal.type("e")
    terminal.answer("n")
    assert terminal.end() == 4
    assert not (person.repo / ".git" / "orchestrator").exists()


def test_a_long_page_goes_through_the_pager_and_the_question_comes_after(person: Person, tmp_path: Path) -> None:
    rows = "".join(f"  - {{id: t{n}, prompt: x, files: [f{n}]}}\n" for n in range(200))
    plan = person.plan(PLAN.partition("tasks:")[0] + "tasks:\n" + rows)
    pager = tmp_path / "my pager"
    pager.write_text(f"#!/bin/sh\ncat > '{tmp_path}/paged'\n")
    pager.chmod(0o755)
    terminal = Terminal(person, "start", plan, PAGER=f"'{pager}'")
    assert "t199" not in terminal.answer("details")
    terminal.answer("n")
    assert terminal.end() == 4
    assert "t199" in (tmp_path / "paged").read_text()
    (tmp_path / "paged").unlink()
    answered = Terminal(person, "start", plan, "--confirm", "0" * 64, LINES="10", PAGER=f"'{pager}'")
    assert answered.end() == 4
    assert not (tmp_path / "paged").exists(), "where nothing is asked, nobody may be there to leave a pager"


def test_a_single_task_is_run_without_a_plan_file(person: Person) -> None:
    words = ("run", '!append größer.txt it: "works"', "--files", "größer.txt", "--agent", "demo")
    refused = person.type(*words)
    assert refused.code == 2
    assert "--check 'make test', or --checks none" in refused.err
    words = (*words, "--check", "grep -q works größer.txt && true")
    asked = person.type(*words)
    assert asked.code == 4
    assert not (person.repo / ".git" / "orchestrator").exists(), "nothing is kept without a yes"
    confirm = shlex.split(asked.err)[-2:]
    assert confirm[0] == "--confirm"
    done = person.type(*words, *confirm)
    assert done.code == 0, done.out + done.err
    assert "works" in (person.repo / "größer.txt").read_text()
    (task,) = person.status()["tasks"]
    assert task["id"] == "append-groesser-txt-it-works"
    assert "landed" in person.type("why", "append").out
    assert person.git("status", "--porcelain") == ""


def test_a_run_beside_an_unfinished_plan_is_refused_with_what_to_do(person: Person) -> None:
    hanging = ("run", "!hang", "--files", "x", "--agent", "demo", "--checks", "none")
    digest = person.type(*hanging, "--json").data["digest"]
    assert person.type(*hanging, "--confirm", digest, "--detach").code == 0
    person.wait(lambda: person.task("hang")["state"] == "running")
    other = person.type("run", "something else", "--agent", "demo", "--checks", "none")
    assert other.code == 6
    assert "plan 'hang' is not finished" in other.err
    assert person.type("cancel", "--all").code == 0
    person.wait(lambda: person.status()["state"] == "cancelled", what="the end of the plan")
