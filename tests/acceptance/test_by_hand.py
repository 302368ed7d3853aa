"""A conflict that a person resolves, from the question to the landed merge, as they type it."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.person import Person

PLAN = """
checks:
  - {name: no-markers, run: [sh, -c, "! grep -l '<<<<<<<' -- *.txt"]}
defaults: {agent: demo, retries: 0}
tasks:
  - id: greet
    files: ["grüße.txt"]
    prompt: |
      !sleep 1s
      !write grüße.txt hello from the agent
"""


def with_conflict(person: Person) -> None:
    """The plan runs, and its one task conflicts with what the person committed meanwhile."""
    person.write("grüße.txt", "first\n")
    plan = person.plan(PLAN)
    person.commit("plan")
    digest = person.type("plan", "check", plan, "--json").data["digest"]
    assert person.type("start", plan, "--confirm", digest, "--detach").code == 0
    person.wait(lambda: person.task("greet")["state"] == "running")
    person.write("grüße.txt", "hello from a person\n")
    person.commit("a person's greeting")
    person.wait(lambda: bool(person.inbox()), what="the conflict")


def test_a_conflict_is_resolved_by_hand_and_lands(person: Person) -> None:
    with_conflict(person)
    listed = person.type("conflicts")
    assert "conflicts open greet" in listed.out
    opened = person.type("conflicts", "open", "greet")
    assert opened.code == 0, opened.err
    tree = Path(opened.out.strip())
    assert opened.out == f"{tree}\n", "stdout is the path and nothing else"
    assert "conflicts done greet" in opened.err
    text = (tree / "grüße.txt").read_text()
    assert "<<<<<<< HEAD\nhello from the agent\n=======\nhello from a person\n>>>>>>> orchestrator/work\n" in text
    assert person.type("answer", person.inbox()[0]["id"], "by_hand").out == f"{tree}\n", "the same tree once more"

    early = person.type("conflicts", "done", "greet")
    assert early.code == 6
    assert "not resolved yet: grüße.txt" in early.err
    assert person.type("answer", person.inbox()[0]["id"], "drop").code == 6

    # the daemon dies and comes back: the tree is the person's as before
    person.kill_daemon()
    down = person.type("conflicts", "done", "greet")
    assert down.code == 3
    assert "orchestrator start" in down.err
    assert person.type("start", "--detach").code == 0
    assert "resolved by hand in" in person.type("conflicts").out

    (tree / "grüße.txt").write_text("hello from both\n")
    (tree / "more.txt").write_text("not among the task's files\n")
    outside = person.type("conflicts", "done", "greet")
    assert outside.code == 6
    assert "not among the files of 'greet': more.txt" in outside.err
    done = person.type("conflicts", "done", "greet", "--yes", "--json")
    assert done.code == 0, done.out
    person.wait(lambda: person.status()["state"] == "published", what="the publish")
    assert (person.repo / "grüße.txt").read_text() == "hello from both\n"
    assert (person.repo / "more.txt").exists()
    body = person.git("log", "-1", "--format=%B", "main")
    assert "Orchestrator-Attempt: work/greet-2" in body
    assert "Orchestrator-Agent: human" in body
    assert not tree.exists(), "what has landed needs no tree"
    assert person.type("conflicts", "done", "greet").code == 7


def test_a_tree_that_is_given_back_keeps_what_was_done(person: Person) -> None:
    with_conflict(person)
    tree = Path(person.type("conflicts", "open", "greet").out.strip())
    (tree / "half.txt").write_text("half done\n")
    back = person.type("conflicts", "abort", "greet", "--json")
    assert back.code == 0, back.out
    salvage = back.data["salvage"][0]
    assert person.git("show", f"{salvage}:half.txt") == "half done"
    person.wait(lambda: not tree.exists(), what="the tree's removal")
    item = person.inbox()[0]
    assert [option["id"] for option in item["options"]] == ["send_back", "by_hand", "drop"]
    assert person.type("answer", item["id"], "send_back").code == 0
    person.wait(lambda: person.status()["state"] == "published", what="the publish")
    assert "hello from the agent" in (person.repo / "grüße.txt").read_text()


FAILS = """
checks: none
defaults: {agent: demo, retries: 0}
tasks:
  - id: fails
    files: ["docs/**"]
    prompt: |
      !append docs/kept.md committed
      !commit
      !append docs/übrig.md not committed
      !fail 3
"""


def test_a_failed_attempts_tree_goes_only_when_asked_and_its_work_stays(person: Person) -> None:
    plan = person.plan(FAILS)
    person.commit("plan")
    assert person.start(plan).code == 5
    listed = person.type("worktree", "list", "--json").data["trees"]
    assert [(tree["name"], tree["state"], tree["dirty"]) for tree in listed] == [
        ("work/fails-1", "failed", ["docs/übrig.md"])
    ]
    assert "docs/übrig.md" in person.type("diff", "fails").out
    assert person.type("worktree", "prune", "--dry-run").code == 0
    unasked = person.type("worktree", "prune")
    assert unasked.code == 4
    assert "worktree prune --yes" in unasked.err
    assert person.left_trees() == ["work/fails-1"]

    pruned = person.type("worktree", "prune", "--yes", "--json")
    assert pruned.code == 0, pruned.out
    salvage = pruned.data["salvage"][0]
    assert person.git("show", f"{salvage}:docs/übrig.md") == "not committed"
    assert person.git("show", f"{salvage}:docs/kept.md") == "committed"
    assert person.left_trees() == []
    gone = person.type("open", "fails")
    assert gone.code == 7
    assert "orchestrator fetch fails --attempt 1" in gone.err
    assert person.type("fetch", "fails").out == "agent/work/fails-1\n"
    assert person.git("show", "agent/work/fails-1:docs/kept.md") == "committed"

    assert person.type("worktree", "prune", "--yes").out == "Nothing to prune.\n", "young trash stays"
    assert person.type("worktree", "prune", "--trash", "--yes").code == 0
    assert not any(path.is_file() for path in person.worktrees.rglob("*"))
    assert person.git("show", f"{salvage}:docs/übrig.md") == "not committed"

    person.type("stop", "--now")
    person.wait(lambda: person.daemon_pid() is None, what="the daemon's end")
    assert person.type("diff", "fails", "--stat").code == 0, "looking needs no daemon"


TARGET_MOVES = """
checks:
  - {name: no-markers, run: [sh, -c, "! grep -l '<<<<<<<' -- *.txt"]}
defaults: {agent: demo, retries: 0}
tasks:
  - {id: first, files: [shared.txt], prompt: "!write shared.txt from the plan"}
  - id: second
    files: [other.txt]
    prompt: |
      !sleep 4s
      !write other.txt x
"""


def test_a_conflict_with_the_target_is_resolved_by_hand_and_published(person: Person) -> None:
    person.write("shared.txt", "at first\n")
    plan = person.plan(TARGET_MOVES)
    person.commit("plan")
    digest = person.type("plan", "check", plan, "--json").data["digest"]
    assert person.type("start", plan, "--confirm", digest, "--detach").code == 0
    person.wait(lambda: person.task("first")["state"] == "landed")
    person.write("shared.txt", "from a person\n")
    mine = person.commit("a person's own")
    person.wait(lambda: bool(person.inbox()) and person.states()["second"] == "landed", what="the conflict")
    [asked] = person.inbox()
    refused = person.type("publish")
    assert (refused.code, asked["id"] in refused.err) == (6, True), "nothing has changed since it was asked about"
    assert [item["id"] for item in person.inbox()] == [asked["id"]]
    tree = Path(person.type("conflicts", "open", "sync").out.strip())
    nothing = person.type("fetch", "sync")
    assert (nothing.code, "a person resolves a conflict" in nothing.err) == (7, True)
    assert ">>>>>>> main\n" in (tree / "shared.txt").read_text()
    assert person.type("publish").code == 6, "not while somebody resolves it"
    (tree / "shared.txt").write_text("from both\n")
    assert person.type("conflicts", "done", "sync", "--keep", cwd=tree).code == 0
    person.wait(lambda: person.status()["state"] == "published", what="the publish")
    assert (person.repo / "shared.txt").read_text() == "from both\n"
    person.git("merge-base", "--is-ancestor", mine, "main")
    assert tree.exists()
    assert [
        one["dirty"] for one in person.type("worktree", "list", "--json").data["trees"] if one["path"] == str(tree)
    ] == [[]]
    assert person.type("worktree", "prune", "--yes", "--json").data["trees"][0]["kept"] == "it was to be kept"
    assert not tree.exists()
