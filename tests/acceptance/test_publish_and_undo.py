"""The target moves after every landing, and what landed is taken back: with the real command, agents and git."""

from __future__ import annotations

from tests.acceptance.person import Person

EACH = """
publish: each
checks:
  - {name: greets, run: [sh, -c, "while [ -e '@HOLD@' ]; do sleep 0.05; done; ! grep -L hello *.txt | grep ."]}
tasks:
  - id: one
    files: [one.txt]
    agent: demo
    prompt: |
      !append one.txt hello from one
  - id: two
    files: [two.txt]
    depends_on: [one]
    agent: demo
    prompt: |
      !append two.txt hello from two
"""


def each(person: Person) -> str:
    plan = person.plan(EACH.replace("@HOLD@", str(person.home / "hold")))
    person.commit("plan")
    return plan


def wait_for_state(person: Person, task: str, state: str) -> None:
    person.wait(lambda: person.states()[task] == state, what=f"'{task}' {state}")


def test_a_published_task_is_undone_and_tried_again(person: Person) -> None:
    assert person.start(each(person), "--sequential").code == 0
    assert person.first_parents()[:2] == ["merge two: two", "merge one: one"]
    assert [e["type"] for e in person.events() if e["type"] in {"landed", "published"}] == ["landed", "published"] * 2
    assert "orchestrator work: publish" in person.git("reflog", "-1", "main")

    # what others have built on needs a yes, and says which command is one
    asked = person.type("undo", "one", "--json")
    assert asked.code == 4
    assert "'two' depends on it and has landed" in asked.json["error"]["why"]
    assert asked.json["error"]["fix"].endswith("orchestrator undo one --yes")

    person.write("notes.txt2", "mine, untracked\n")
    assert person.type("undo", "one", "--reason", "too loud", "--yes").code == 0
    wait_for_state(person, "one", "cancelled")
    person.wait(lambda: person.status()["state"] == "published", what="the publish")
    assert person.first_parents()[0] == "undo one: one"
    body = person.git("log", "-1", "--format=%B%n%P", "main")
    assert "too loud" in body
    assert "Orchestrator-Undo: one" in body
    assert len(body.splitlines()[-1].split()) == 1, "a commit with one parent"
    assert not (person.repo / "one.txt").exists()
    assert (person.repo / "two.txt").read_text() == "hello from two\n"
    assert person.git("status", "--porcelain") == "?? notes.txt2"
    assert person.task("one")["lane"] == "cancelled"
    assert person.status()["counts"]["done"] == 1
    assert "undone: too loud" in person.type("report").out
    assert "undone: too loud" in person.type("why", "one").out
    assert person.left_trees() == []
    assert person.type("undo", "one").code == 6
    assert person.type("publish").code == 7

    assert person.type("retry", "one").code == 0
    wait_for_state(person, "one", "landed")
    person.wait(lambda: (person.repo / "one.txt").exists(), what="the publish")
    assert person.git("rev-parse", "main") == person.git("rev-parse", "orchestrator/work")


def test_a_file_in_the_way_holds_each_once_and_the_answer_goes_on(person: Person) -> None:
    plan = each(person)
    person.write("one.txt", "mine, untracked\n")
    assert person.start(plan, "--sequential").code == 5
    assert person.states() == {"one": "landed", "two": "landed"}, "landing goes on"
    [item] = person.inbox()
    assert item["kind"] == "publish_refused"
    assert (person.repo / "one.txt").read_text() == "mine, untracked\n"
    (person.repo / "one.txt").unlink()
    assert person.type("answer", item["id"], "retry").code == 0
    person.wait(lambda: person.status()["state"] == "published", what="the publish")
    assert (person.repo / "two.txt").exists()


def test_a_daemon_that_is_killed_in_the_middle_of_an_undo_leaves_it_to_the_next(person: Person) -> None:
    assert person.start(each(person), "--sequential").code == 0
    hold = person.home / "hold"
    hold.write_text("")
    assert person.type("undo", "two").code == 0
    person.wait(lambda: any(e["type"] == "run_launched" for e in person.events()[-3:]), what="the check")
    person.kill_daemon()
    assert (person.repo / "two.txt").exists()
    refused = person.type("undo", "one", "--yes")
    assert refused.code == 3
    assert "orchestrator start --detach" in refused.err
    hold.unlink()
    assert person.type("start", "--detach").code == 0
    wait_for_state(person, "two", "cancelled")
    person.wait(lambda: person.status()["state"] == "published", what="the publish")
    assert person.first_parents()[:2] == ["undo two: two", "merge two: two"]
    assert not (person.repo / "two.txt").exists()
    assert person.left_trees() == []


def test_an_undo_that_makes_the_checks_red_does_not_land(person: Person) -> None:
    text = EACH.replace("! grep -L hello *.txt | grep .", "test ! -e two.txt || test -e one.txt")
    plan = person.plan(text.replace("@HOLD@", str(person.home / "hold")))
    person.commit("plan")
    assert person.start(plan, "--sequential").code == 0
    main = person.git("rev-parse", "main")
    assert person.type("undo", "one", "--yes").code == 0
    person.wait(lambda: bool(person.inbox()), what="the question")
    [item] = person.inbox()
    assert (item["kind"], item["trigger"], item["task"]) == ("work_failed", "undo", "one")
    assert [option["id"] for option in item["options"]] == ["retry", "drop"]
    assert person.type("answer", item["id"], "drop").code == 0
    person.wait(lambda: person.status()["state"] == "published", what="the plan's end")
    assert person.states() == {"one": "landed", "two": "landed"}
    assert person.git("rev-parse", "main") == main
