"""Tasks that somebody claims by hand, and tasks that a person takes away, as they are typed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.acceptance.person import Person

PLAN = """
checks: [{name: ok, run: [sh, -c, "test -e a.txt"]}]
defaults: {agent: demo, retries: 0}
tasks:
  - {id: a, files: [a.txt], agent: hand, prompt: "write a"}
  - {id: b, files: [b.txt], agent: hand, depends_on: [a], prompt: "write b"}
"""


def begun(person: Person, text: str = PLAN, settings: str = "") -> None:
    if settings:
        person.write("orchestrator.toml", settings)
    plan = person.plan(text)
    person.commit("plan")
    digest = person.type("plan", "check", plan, "--json").data["digest"]
    assert person.type("start", plan, "--sequential", "--confirm", digest, "--detach").code == 0


def test_a_task_is_claimed_worked_on_and_handed_in_by_hand(person: Person) -> None:
    begun(person)
    why = person.type("why", "a")
    assert "claim acquire a" in why.out
    claimed = person.type("claim", "acquire", "a", "--as", "alice")
    assert claimed.code == 0, claimed.err
    tree = Path(claimed.out.strip())
    assert (tree / ".git").is_file()
    assert "claim finish a" in claimed.err

    taken = person.type("claim", "acquire", "a", "--as", "bob")
    assert (taken.code, "held by alice" in taken.err) == (6, True)
    second = person.type("claim", "acquire", "--as", "alice")
    assert (second.code, "gives back one task" in second.err) == (6, True)
    early = person.type("claim", "acquire", "b", "--as", "bob")
    assert (early.code, "depends on 'a'" in early.err) == (6, True)

    listed = person.type("claim", "list", "--json").data["leases"]
    assert [(one["task"], one["holder"], one["by_hand"]) for one in listed] == [("a", "alice", True)]
    assert person.type("claim", "heartbeat", "a", cwd=tree).code == 0
    assert person.type("claim", "renew", "a", "--token", "99").code == 6
    other = person.type("claim", "release", "a")
    assert (other.code, "held by alice" in other.err) == (6, True), "nobody speaks for another holder by accident"

    person.kill_daemon()  # a holder needs no daemon to work
    (tree / "a.txt").write_text("by hand\n")
    assert person.type("start", "--detach").code == 0
    done = person.type("claim", "finish", "a", "--summary", "wrote a", cwd=tree)
    assert done.code == 0, done.err
    person.wait(lambda: person.task("a")["state"] == "landed")
    assert "Orchestrator-Agent: alice" in person.git("log", "-1", "--format=%B", "orchestrator/work")

    claimed = person.type("claim", "acquire", "--as", "alice", "--json")
    assert claimed.data["task"] == "b", "the next one that may start"
    assert claimed.data["token"] == claimed.data["lease"]["token"]
    assert Path(claimed.data["path"]).name == "b-1"
    released = person.type("claim", "release", "b", "--reason", "lunch", "--token", str(claimed.data["token"]))
    assert released.code == 0, released.err
    person.wait(lambda: person.type("claim", "list", "--json").data["leases"] == [])
    late = person.type("claim", "finish", "b", "--token", str(claimed.data["token"]))
    assert (late.code, "does not hold" in late.err) == (6, True)


def test_a_silent_claim_expires_and_is_given_on_only_when_its_tree_is_empty(person: Person) -> None:
    begun(person, settings='[leases]\nttl = "2s"\n')
    tree = Path(person.type("claim", "acquire", "a", "--as", "alice").out.strip())
    (tree / "a.txt").write_text("half\n")
    inside = subprocess.Popen(["sleep", "60"], cwd=tree)
    try:
        person.wait(lambda: [i["kind"] for i in person.inbox()] == ["stuck"], what="the question about the holder")
        [item] = person.inbox()
        assert str(inside.pid) in item["context"]
        assert person.type("claim", "acquire", "a", "--as", "bob").code == 6
    finally:
        inside.kill()
        inside.wait()
    assert person.type("answer", item["id"], "retry").code == 0
    person.wait(lambda: person.task("a")["state"] != "running")
    ended = [e for e in person.events() if e["type"] == "attempt_ended"]
    [kept] = ended[0]["data"]["salvage"]
    assert person.git("show", f"{kept}:a.txt") == "half", "what the silent holder had done is kept"


def test_an_agent_is_evicted_with_a_reason_and_its_whole_tree_is_gone_before_the_next_token(person: Person) -> None:
    begun(
        person,
        """
checks: none
defaults: {agent: demo, retries: 0}
tasks:
  - {id: a, files: [a.txt], prompt: "!append a.txt some work\\n!sleep 30s [attempt 1]"}
""",
    )
    person.wait(lambda: bool(person.processes()) and person.task("a")["state"] == "running")
    time.sleep(0.5)
    bare = person.type("claim", "force-evict", "a")
    assert (bare.code, "reason" in bare.err) == (2, True)
    assert person.type("claim", "force-evict", "a", "--reason", "wrong branch").code == 0
    person.wait(lambda: person.task("a")["state"] == "landed", what="the second attempt")
    names = [(e["type"], e["token"]) for e in person.events() if e["type"] in {"lease_granted", "lease_ended"}]
    assert names == [("lease_granted", 1), ("lease_ended", 1), ("lease_granted", 2), ("lease_ended", 2)]
    [first, _] = [e for e in person.events() if e["type"] == "attempt_ended"]
    assert first["data"]["ending"] == "evicted"


def test_an_agent_whose_supervisor_was_stopped_is_found_out_killed_and_tried_again(person: Person) -> None:
    begun(
        person,
        """
checks: none
defaults: {agent: demo, retries: 2, backoff: [100ms]}
tasks:
  - {id: a, files: [a.txt], prompt: "!append a.txt done\\n!sleep 60s [attempt 1]"}
""",
        settings='[leases]\nttl = "2s"\n[execution]\ngrace = "1s"\n',
    )
    person.wait(lambda: any("supervisor" in line for line in person.processes()))
    supervisor = next(e for e in person.events() if e["type"] == "run_recorded")["data"]["supervisor"]["pid"]
    person.wait(lambda: any(e["type"] == "run_launched" for e in person.events()))
    os.kill(supervisor, signal.SIGSTOP)
    person.wait(lambda: person.task("a")["state"] == "landed", seconds=90, what="the second attempt")
    types = [e["type"] for e in person.events()]
    assert "lease_suspected" in types
    assert [e["token"] for e in person.events() if e["type"] == "lease_granted"] == [1, 2]
    assert person.processes() == [] or person.daemon_pid() is not None


def test_the_numbers_of_leases_are_those_of_the_settings(person: Person) -> None:
    begun(
        person,
        settings='[leases]\nttl = "20s"\nheartbeat = "5s"\nstale = "2s"\nreview = "1s"\nindefinite = 1\n'
        "indefinite_per_agent = 1\n",
        text="""
checks: none
defaults: {agent: demo, retries: 0}
tasks:
  - {id: a, files: [a.txt], agent: hand, prompt: "write a"}
  - {id: b, files: [b.txt], agent: hand, prompt: "write b"}
""",
    )
    tree = Path(
        person.type("claim", "acquire", "a", "--as", "alice", "--ttl", "0", "--reason", "on a train").out.strip()
    )
    (tree / "a.txt").write_text("a\n")
    endless = person.type("claim", "acquire", "b", "--as", "bob", "--ttl", "0", "--reason", "too")
    assert (endless.code, "1 of 1 in this repository" in endless.err) == (6, True)
    bob = person.type("claim", "acquire", "b", "--as", "bob")
    assert (bob.code, Path(bob.out.strip()).name) == (0, "b-1"), "his own tree, and not that of an earlier claim"
    person.wait(lambda: any("on a train" in item["context"] for item in person.inbox()), what="the review")
    time.sleep(2)
    doubtful = person.type("claim", "finish", "a", cwd=tree)
    assert (doubtful.code, "nothing was heard of it for more than 2s" in doubtful.err) == (6, True)

    def renewed_and_finished() -> bool:  # on a slow machine it may be in doubt again between the two
        return (
            person.type("claim", "renew", "a", cwd=tree).code == 0
            and person.type("claim", "finish", "a", cwd=tree).code == 0
        )

    person.wait(renewed_and_finished, what="the hand-in")
    person.kill_daemon()
    assert person.type("start", "--detach").code == 0
    [granted] = [e for e in person.events() if e["type"] == "lease_granted" and e["task"] == "b"]
    [graced] = [e for e in person.events() if e["type"] == "lease_renewed" and e["data"]["cause"] == "restart"]
    assert _lasts(granted) == timedelta(seconds=20)
    assert _lasts(graced) == timedelta(seconds=2 * 5 + 30), "two heartbeats and thirty seconds"


def _lasts(event: dict[str, Any]) -> timedelta:
    return datetime.fromisoformat(event["data"]["expires_at"]) - datetime.fromisoformat(event["at"])
