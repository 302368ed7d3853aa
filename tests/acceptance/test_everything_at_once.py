"""One plan with everything that goes wrong in real life, on repositories like real ones, runs to the expected end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.person import Person

PLAN = r"""
name: everything
parallel: 4
prepare: {copy: [.env]}
checks:
  - name: no-broken-files
    run: [sh, -c, "test -f .env && ! find . -name 'broken*' -not -path './.git/*' | grep ."]
    timeout: 1m
defaults: {agent: demo, timeout: 2m, retries: 2, backoff: [1s, 1s]}
agents:
  demo: {adapter: demo, capabilities: [scripts]}
  exits-twice:
    adapter: command
    run: [sh, -c, 'test "$ORCHESTRATOR_ATTEMPT" -ge 3 || exit 1; echo third > flaky.txt']
tasks:
  - {id: root, files: [core/root.txt], prompt: "!append core/root.txt root"}
  - {id: left, files: [core/left.txt], depends_on: [root], prompt: "!append core/left.txt left"}
  - {id: right, files: [core/right.txt], depends_on: [root], prompt: "!append core/right.txt right"}
  - {id: join, files: ["core/**"], depends_on: [left, right], prompt: "!append core/join.txt join"}
  - id: shared-one
    files: [shared.txt, one.txt]
    prompt: |
      !append shared.txt one
      !sleep 1s
  - id: shared-two
    files: ["shar*.txt", two.txt]
    prompt: |
      !append shared.txt two
      !sleep 1s
  - {id: flaky, files: [flaky.txt], agent: exits-twice, prompt: fail twice}
  - id: always-red
    files: ["broken*"]
    prompt: |
      !append broken-by-me.txt the checks do not want this
  - {id: hangs, files: [hangs.txt], timeout: 4s, needs: [scripts], prompt: "!hang [attempt 1]\n!append hangs.txt done"}
  - {id: liar, files: [liar.txt], prompt: "!lie"}
  - {id: stray, files: [stray.txt], prompt: "!append stray.txt mine\n!append core/root.txt not mine"}
  - id: meets-person
    files: [greeting.txt]
    prompt: |
      !sleep 4s
      !write greeting.txt hello from the agent
  - {id: after-red, files: [after.txt], depends_on: [always-red], prompt: "!append after.txt never"}
  - {id: spaces, files: ["Ordner mit Leerzeichen/**"], prompt: "!noise 3"}
"""


def small(person: Person) -> None:
    person.write("src/main.py", "print('hello')\n")


def large(person: Person) -> None:
    for number in range(5000):
        person.write(f"data/d{number // 50}/f{number}.txt", f"file {number}\n")
    person.git("-c", "protocol.file.allow=always", "submodule", "add", "--quiet", str(make_library(person)), "lib")


def this_project(person: Person) -> None:
    source = Path(__file__).parents[2]
    for file in [*source.glob("orchestrator/**/*.py"), *source.glob("tests/**/*.py"), source / "README.md"]:
        person.write(str(file.relative_to(source)), file.read_text())


def make_library(person: Person) -> Path:
    library = Person(home=person.home, repo=person.repo.with_name("library"), extra=person.extra)
    library.repo.mkdir()
    library.git("init", "--quiet", "--initial-branch=main")
    library.git("config", "user.name", "Test Person")
    library.git("config", "user.email", "person@example.com")
    library.write("library.txt", "a submodule\n")
    library.commit("library")
    return library.repo


def running_spans(events: list[Any]) -> dict[str, list[tuple[int, int]]]:
    """For each task, from which to which event it was held by an attempt."""
    spans: dict[str, list[tuple[int, int]]] = {}
    begun: dict[tuple[str, int], int] = {}
    for event in events:
        if event["type"] == "lease_granted":
            begun[event["task"], event["token"]] = event["seq"]
        elif event["type"] == "lease_ended":
            start = begun.pop((event["task"], event["token"]))
            spans.setdefault(event["task"], []).append((start, event["seq"]))
    assert not begun, "a lease never ended"
    return spans


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(small, id="small"),
        pytest.param(this_project, id="this-project", marks=pytest.mark.prove),
        pytest.param(large, id="5000-files", marks=pytest.mark.prove),
    ],
)
def test_a_plan_with_everything_that_goes_wrong(person: Person, shape: Any) -> None:
    shape(person)
    person.write("Ordner mit Leerzeichen/grüße.txt", "äöü\n")
    person.write(".gitignore", ".env\n")
    person.write("greeting.txt", "first\n")
    person.write("notes.txt", "notes\n")
    person.commit("the project")
    plan = person.plan(PLAN, "everything")
    person.commit("the plan")
    person.write(".env", "KEY=1\n")
    person.write("notes.txt", "dirty\n")
    digest = person.type("plan", "check", plan, "--json").data["digest"]
    assert person.type("start", plan, "--confirm", digest, "--detach").code == 0

    # a person commits to the target meanwhile, in a file that a task is changing
    person.wait(lambda: person.task("meets-person")["state"] == "running", seconds=120)
    person.write("greeting.txt", "hello from a person\n")
    person.git("commit", "--quiet", "-m", "a person's greeting", "--", "greeting.txt")
    mine = person.git("rev-parse", "main")

    person.wait(lambda: person.status()["state"] == "blocked", seconds=240, what="the end of all that can move")
    waiting = {(item["task"], item["kind"], item["trigger"]) for item in person.inbox()}
    assert waiting == {
        ("always-red", "work_failed", "checks_red"),
        ("liar", "work_failed", "no_change"),
        ("stray", "work_failed", "outside_files"),
        ("meets-person", "conflict", "conflict"),
        ("spaces", "work_failed", "no_change"),
    }
    states = person.states()
    for task in ("root", "left", "right", "join", "shared-one", "shared-two", "flaky", "hangs"):
        assert states[task] == "landed", task
    assert states["after-red"] == "pending"
    attempts = {t["id"]: t["attempts"] for t in person.status()["tasks"]}
    assert (attempts["flaky"], attempts["hangs"], attempts["liar"], attempts["root"]) == (3, 2, 2, 1)
    assert person.git("rev-parse", "main") == mine, "nothing is published while a person is needed"

    # overlapping tasks were never running at once
    spans = running_spans(person.events())
    for one, two in [("shared-one", "shared-two")]:
        for a in spans[one]:
            for b in spans[two]:
                assert a[1] < b[0] or b[1] < a[0], f"{one} and {two} ran at once"

    # the person decides
    by_task = {item["task"]: item["id"] for item in person.inbox()}
    assert person.type("answer", by_task["meets-person"], "send_back").code == 0
    for task in ("always-red", "liar", "stray", "spaces"):
        assert person.type("answer", by_task[task], "give_up").code == 0
    person.wait(
        lambda: any(i["kind"] == "incomplete" for i in person.inbox()) and person.states()["meets-person"] == "landed",
        what="the question whether to publish an incomplete result",
    )
    incomplete = next(i for i in person.inbox() if i["kind"] == "incomplete")
    assert "liar" in incomplete["context"]
    assert person.type("answer", incomplete["id"], "publish").code == 0
    person.wait(lambda: person.status()["state"] == "published", what="the publish")
    assert person.type("report", "--exit-code").code == 1

    # one commit for each task on the first-parent line, with trailers; the person's own commit is inside
    landed = {"root", "left", "right", "join", "shared-one", "shared-two", "flaky", "hangs", "meets-person"}
    line = person.git("log", "--first-parent", "--format=%s", f"{mine}^..main").splitlines()
    assert {s.split(":")[0].removeprefix("merge ") for s in line if ":" in s} == landed
    for task in landed:
        body = person.git("log", "--first-parent", f"--grep=Orchestrator-Task: {task}$", "--format=%B", "main")
        assert body.count("Orchestrator-Attempt:") == 1
    person.git("merge-base", "--is-ancestor", mine, "main")
    greeting = (person.repo / "greeting.txt").read_text()
    assert "hello from the agent" in greeting
    assert "<<<<<<<" not in greeting

    # the person's things are as they were, and nothing is left that should not be
    assert (person.repo / "notes.txt").read_text() == "dirty\n"
    assert (person.repo / ".env").read_text() == "KEY=1\n"
    assert person.git("status", "--porcelain").splitlines() == ["M notes.txt"]
    gone = {f"everything/{task}-{attempts[task]}" for task in ("root", "left", "right", "join", "flaky", "hangs")}
    assert not gone & set(person.left_trees())
    assert not any("/~" in tree for tree in person.left_trees()), "no check's tree is left"
    person.type("stop")
    person.wait(lambda: person.daemon_pid() is None, what="the daemon's end")
    assert person.processes() == []
