"""From a plan file to tested work on the target branch, as a person does it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.acceptance.person import Person

PLANS = Path(__file__).parents[2] / "plans"

TWO = """
checks:
  - {name: both-say-hello, run: [sh, -c, "! grep -L hello *.txt | grep ."]}
tasks:
  - id: one
    files: [one.txt]
    agent: demo
    prompt: |
      !append one.txt hello from one
      !commit
  - id: two
    files: [two.txt]
    agent: demo
    prompt: |
      !append two.txt hello from two
"""


def test_two_tasks_land_tested_and_the_target_moves(person: Person) -> None:
    plan = person.plan(TWO)
    person.commit("plan")
    done = person.start(plan)
    assert done.code == 0, done.out + done.err
    assert (person.repo / "one.txt").read_text() == "hello from one\n"
    assert (person.repo / "two.txt").read_text() == "hello from two\n"
    assert sorted(person.first_parents()[:2]) == ["merge one: one", "merge two: two"]
    assert person.git("status", "--porcelain") == ""
    body = person.git("log", "-1", "--format=%B", "main")
    assert "Orchestrator-Attempt: work/" in body
    assert "Orchestrator-Token: " in body
    assert person.git("log", "-1", "--format=%an <%ae>", "main") == "Test Person <person@example.com>"
    assert person.status()["totals"] == {"completed": 2, "in_progress": 0, "failed": 0, "total": 2}
    assert person.left_trees() == []
    assert person.git("rev-parse", "orchestrator/work") == person.git("rev-parse", "main")


def test_the_daemons_commit_for_what_an_agent_left_has_our_form(person: Person) -> None:
    plan = person.plan(TWO)
    person.commit("plan")
    person.start(plan)
    assert "feat(two): two" in person.git("log", "--format=%s", "main").splitlines()


def test_dirty_untracked_and_ignored_files_stay_as_they_were(person: Person) -> None:
    person.write(".gitignore", ".env\n")
    person.write("notes.md", "old\n")
    plan = person.plan(TWO)
    person.commit("plan")
    person.write(".env", "SECRET=1\n")
    person.write("notes.md", "changed, not committed\n")
    person.write("scratch.txt2", "untracked\n")
    before = person.git("status", "--porcelain", "--ignored")
    assert person.start(plan).code == 0
    assert person.git("status", "--porcelain", "--ignored") == before
    assert (person.repo / ".env").read_text() == "SECRET=1\n"
    assert (person.repo / "notes.md").read_text() == "changed, not committed\n"


def test_a_file_in_the_way_refuses_the_publish_and_nothing_is_overwritten(person: Person) -> None:
    plan = person.plan(TWO)
    person.commit("plan")
    person.write("one.txt", "mine, untracked\n")
    done = person.start(plan)
    assert done.code == 5
    item = person.inbox()[0]
    assert item["kind"] == "publish_refused"
    assert "git" in item["context"]
    assert (person.repo / "one.txt").read_text() == "mine, untracked\n"
    (person.repo / "one.txt").unlink()
    assert person.type("answer", item["id"], "retry").code == 0
    person.wait(lambda: person.status()["state"] == "published", what="the publish")
    assert (person.repo / "one.txt").read_text() == "hello from one\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        pytest.param([], 4, id="no digest"),
        pytest.param(["--confirm", "0" * 64], 4, id="another digest"),
    ],
)
def test_nothing_is_launched_without_a_yes_to_this_plan(person: Person, words: list[str], code: int) -> None:
    plan = person.plan(TWO)
    refused = person.type("start", plan, *words)
    assert refused.code == code
    assert "--confirm" in refused.err
    assert not (person.repo / ".git" / "orchestrator").exists()
    assert not person.worktrees.exists()


def test_a_plan_that_changed_after_the_yes_is_not_launched(person: Person) -> None:
    plan = person.plan(TWO)
    digest = person.type("plan", "check", plan, "--json").data["digest"]
    person.plan(TWO.replace("hello from one", "hello, one"))
    assert person.type("start", plan, "--confirm", digest).code == 4


def test_a_sequential_plan_needs_its_own_yes(person: Person) -> None:
    text = (PLANS / "sequential.yaml").read_text()
    plan = person.plan(text, "sequential")
    checked = person.type("plan", "check", plan, "--json")
    assert (checked.code, checked.data["verdict"]) == (0, "sequential")
    assert person.type("start", plan, "--confirm", checked.data["digest"]).code == 4
    assert person.start(plan, "--sequential").code == 0
    assert len((person.repo / "theme.css").read_text().splitlines()) == 3


@pytest.mark.parametrize("name", ["fan-out", "diamond", "three-modules", "migration"])
def test_every_example_plan_runs_to_its_end(person: Person, name: str) -> None:
    plan = person.plan((PLANS / f"{name}.yaml").read_text(), name)
    done = person.start(plan)
    assert done.code == 0, done.out + done.err + person.type("report").out
    assert person.status()["state"] == "published"
    assert person.left_trees() in ([], ["migration/accounts-1"])  # a failed attempt's tree stays to be looked at


def test_a_second_plan_is_refused_while_one_runs(person: Person) -> None:
    plan = person.plan(TWO.replace("!commit", "!hang"))
    digest = person.type("plan", "check", plan, "--json").data["digest"]
    assert person.type("start", plan, "--confirm", digest, "--detach").code == 0
    person.wait(lambda: person.task("one")["state"] == "running")
    other = person.plan(TWO, "other")
    digest = person.type("plan", "check", other, "--json").data["digest"]
    refused = person.type("start", other, "--confirm", digest)
    assert refused.code == 6
    assert "cancel --all" in refused.err
    assert person.type("cancel", "--all").code == 0
    person.wait(lambda: person.status()["state"] == "cancelled", what="the end of the plan")
    person.wait(lambda: not any("demo" in p for p in person.processes()), what="the end of its agents")


def test_a_second_daemon_says_who_holds_the_first(person: Person) -> None:
    plan = person.plan(TWO.replace("!commit", "!sleep 3s"))
    digest = person.type("plan", "check", plan, "--json").data["digest"]
    person.type("start", plan, "--confirm", digest, "--detach")
    refused = person.type("start", plan, "--confirm", digest, "--foreground")
    assert refused.code == 6
    assert str(person.daemon_pid()) in refused.err


def test_kill_9_of_the_daemon_in_the_middle_loses_nothing_and_repeats_nothing(person: Person) -> None:
    text = """
checks: [{name: ok, run: ["true"]}]
tasks:
"""
    for n in range(4):
        text += f"""
  - id: t{n}
    files: [t{n}.txt]
    agent: demo
    prompt: |
      !append runs-{n}.log started
      !sleep 3s
      !append t{n}.txt done
      !delete runs-{n}.log
      !commit
"""
    plan = person.plan(text)
    person.commit("plan")
    digest = person.type("plan", "check", plan, "--json").data["digest"]
    assert person.type("start", plan, "--confirm", digest, "--detach").code == 0
    person.wait(lambda: all(s == "running" for s in person.states().values()))
    person.wait(lambda: sum("orchestrator_agents" in p or "demo" in p for p in person.processes()) >= 4)
    person.kill_daemon()
    assert person.type("status").code == 0, "reading works without a daemon"
    done = person.type("start")
    assert done.code == 0, done.out + done.err
    assert [t["attempts"] for t in person.status()["tasks"]] == [1, 1, 1, 1], "the same agents went on"
    assert sorted(person.first_parents()[:4]) == [f"merge t{n}: t{n}" for n in range(4)]
    started = [e for e in person.events() if e["type"] == "attempt_started"]
    assert len(started) == 4


def test_an_agents_question_is_answered_by_a_person(person: Person) -> None:
    plan = person.plan("""
checks: none
tasks:
  - id: ask
    files: [choice.txt]
    agent: demo
    prompt: |
      !ask "Which colour?" red blue
      !write-answer choice.txt
""")
    digest = person.type("plan", "check", plan, "--json").data["digest"]
    followed = person.type("start", plan, "--confirm", digest)
    assert followed.code == 5, "without a terminal a plan that needs a person ends the following"
    item = person.inbox()[0]
    assert item["kind"] == "question"
    assert "Which colour?" in item["context"]
    assert person.type("answer", item["id"], "blue").code == 0
    person.wait(lambda: person.status()["state"] == "published")
    assert "blue" in (person.repo / "choice.txt").read_text()


def test_reading_verbs_agree_with_what_happened(person: Person) -> None:
    plan = person.plan(TWO)
    person.start(plan)
    assert "2" in person.type("report").out
    assert "hello" in person.type("logs").out or "one" in person.type("logs").out
    lines = person.type("events", "--json").data["events"]
    assert [e["seq"] for e in lines] == sorted(e["seq"] for e in lines)
    assert {"plan_confirmed", "attempt_started", "gate_passed", "landed", "published"} <= {e["type"] for e in lines}
    assert "landed" in person.type("why", "one").out


def test_a_worktree_cannot_reach_the_users_repository(person: Person) -> None:
    plan = person.plan("""
checks: none
agents:
  nosy:
    adapter: command
    run: [sh, -c, "git remote -v > remotes.txt; git config user.email evil@example.com; git stash list; git tag t"]
tasks:
  - {id: one, files: [remotes.txt], agent: nosy, prompt: look around}
""")
    assert person.start(plan).code == 0
    assert (person.repo / "remotes.txt").read_text() == ""
    assert person.git("config", "user.email") == "person@example.com"
    assert person.git("tag") == ""


def test_prepare_copies_what_an_agent_needs_and_it_never_counts_as_a_change(person: Person) -> None:
    person.write(".gitignore", ".env\n")
    person.commit("ignore")
    person.write(".env", "KEY=value\n")
    plan = person.plan("""
prepare: {copy: [.env], run: [[sh, -c, "cat .env"]]}
checks: [{name: has-env, run: [grep, KEY, .env]}]
agents: {reader: {adapter: command, run: [sh, -c, "cat .env > seen.txt"]}}
tasks:
  - {id: one, files: [seen.txt], agent: reader, prompt: read it}
""")
    done = person.start(plan)
    assert done.code == 0, done.out + person.type("logs").out
    assert (person.repo / "seen.txt").read_text() == "KEY=value\n"
    assert ".env" not in person.git("ls-files").splitlines()


def test_a_prepare_that_cannot_be_done_fails_loudly(person: Person) -> None:
    plan = person.plan("""
prepare: {copy: [.env]}
checks: none
defaults: {retries: 0, agent: demo}
tasks:
  - {id: one, files: [one.txt], prompt: do it}
""")
    assert person.start(plan).code == 5
    item = person.inbox()[0]
    assert item["kind"] == "agent_failed"
    assert item["trigger"] == "prepare"
    assert ".env" in item["context"]


def test_publish_manual_moves_the_target_by_hand(person: Person) -> None:
    plan = person.plan("publish: manual" + TWO)
    before = person.git("rev-parse", "main")
    done = person.start(plan)
    assert done.code == 0
    assert person.git("rev-parse", "main") == before
    assert person.type("publish").code == 0
    person.wait(lambda: person.status()["state"] == "published")
    assert (person.repo / "one.txt").exists()


def test_json_is_one_envelope_and_never_asks(person: Person) -> None:
    answer = person.type("start", person.plan(TWO), "--json")
    assert answer.code == 4
    assert answer.json["ok"] is False
    assert answer.json["error"]["fix"]
    assert set(answer.json) == {"contract", "command", "ok", "data", "error"}


def test_stop_finishes_what_runs_and_a_new_start_goes_on(person: Person) -> None:
    text = TWO.replace("!commit", "!sleep 2s").replace("id: two", "id: two\n    depends_on: [one]")
    plan = person.plan(text)
    digest = person.type("plan", "check", plan, "--json").data["digest"]
    assert person.type("start", plan, "--confirm", digest, "--sequential", "--detach").code == 0
    person.wait(lambda: person.task("one")["state"] == "running")
    assert person.type("stop").code == 0
    person.wait(lambda: person.daemon_pid() is None, what="the daemon's end")
    assert person.states() == {"one": "landed", "two": "pending"}
    assert person.type("start").code == 0
    assert person.states() == {"one": "landed", "two": "landed"}


def test_a_command_in_a_subfolder_or_in_an_attempts_worktree_finds_the_repository(person: Person) -> None:
    plan = person.plan(TWO.replace("!commit", "!hang"))
    digest = person.type("plan", "check", plan, "--json").data["digest"]
    person.type("start", plan, "--confirm", digest, "--detach")
    person.wait(lambda: person.task("one")["worktree"] is not None)
    inside = Path(person.task("one")["worktree"])
    for where in (person.repo / "plans", inside):
        assert json.loads(person.type("status", "--json", cwd=where).out)["data"]["plan"] == "work"
    assert os.listdir(inside)


def test_an_agent_may_not_do_what_only_a_person_may(person: Person) -> None:
    plan = person.plan("""
checks: none
agents: {eager: {adapter: command, run: [sh, -c, "orchestrator stop --now 2> said.txt; test $? = 6"]}}
tasks:
  - {id: one, files: [said.txt], agent: eager, prompt: stop it}
""")
    assert person.start(plan).code == 0
    assert "orch-agent ask" in (person.repo / "said.txt").read_text()


def test_a_commit_in_a_submodule_that_only_the_attempt_has_does_not_land(person: Person) -> None:
    library = Person(home=person.home, repo=person.repo.with_name("library"), extra=person.extra)
    library.repo.mkdir()
    for words in (["init", "--quiet"], ["config", "user.name", "T"], ["config", "user.email", "t@example.com"]):
        library.git(*words)
    library.write("f", "1\n")
    library.commit("library")
    person.git("-c", "protocol.file.allow=always", "submodule", "add", "--quiet", str(library.repo), "lib")
    person.commit("submodule")
    plan = person.plan("""
checks: none
agents: {deep: {adapter: command, run: [sh, -c, "cd lib && echo 2 >> f && git commit -qam inside"]}}
tasks:
  - {id: one, files: [lib], agent: deep, prompt: change the library}
""")
    before = person.git("rev-parse", "main")
    assert person.start(plan).code == 5
    assert "lib" in person.inbox()[0]["context"]
    assert person.git("rev-parse", "main") == before


def test_a_state_folder_that_cannot_be_used_is_told_plainly(person: Person) -> None:
    plan = person.plan(TWO)
    digest = person.type("plan", "check", plan, "--json").data["digest"]
    person.write(".git/orchestrator", "in the way\n")
    refused = person.type("start", plan, "--confirm", digest)
    assert refused.code == 6
    assert "is not a folder" in refused.err
    assert "move it away" in refused.err
    (person.repo / ".git" / "orchestrator").unlink()
