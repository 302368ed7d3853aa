"""`kill -9` of the daemon at random moments: the same work is done, once, and nothing is left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.acceptance.person import ORCHESTRATOR, Person

PLAN = """
checks: [{name: ok, run: [sh, -c, "sleep 0.2"]}]
defaults: {agent: demo, retries: 3, backoff: [300ms]}
tasks:
  - {id: a, files: [a.txt], prompt: "!sleep 500ms\\n!append a.txt once\\n!commit"}
  - {id: b, files: [b.txt], prompt: "!append b.txt once\\n!sleep 300ms"}
  - {id: c, files: [a.txt, c.txt], depends_on: [a], prompt: "!sleep 200ms\\n!append c.txt once"}
  - {id: d, files: [d.txt], prompt: "!fail 1 [attempt 1]\\n!append d.txt once"}
  - {id: e, files: [e.txt], depends_on: [b, d], prompt: "!progress here\\n!append e.txt once\\n!sleep 300ms"}
  - {id: f, files: ["*.txt"], depends_on: [c, e], prompt: "!append f.txt once"}
"""


def one_run(person: Person, seed: int, kills: int) -> None:
    chance = random.Random(seed)
    plan = person.plan(PLAN)
    person.commit("plan")
    digest = person.type("plan", "check", plan, "--json").data["digest"]
    assert person.type("start", plan, "--confirm", digest, "--detach").code == 0
    for _ in range(kills):
        time.sleep(chance.uniform(0.0, 0.6))
        pid = person.daemon_pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        restart = subprocess.Popen(
            [ORCHESTRATOR, "start", "--detach"],
            cwd=person.repo,
            env=person.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if chance.random() < 0.25:
            time.sleep(chance.uniform(0.0, 0.4))  # a second kill, during the recovery
            pid = person.daemon_pid()
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
        restart.wait(timeout=60)
    if person.status()["state"] != "published":
        done = person.type("start")
        assert done.code in {0, 7}, f"seed {seed}: {done.out}{done.err}"  # 7: it was published that very moment
    assert person.status()["state"] == "published"
    for name in "abcdef":
        assert (person.repo / f"{name}.txt").read_text() == "once\n", f"seed {seed}: {name} was done twice, or lost"
    assert sorted(person.first_parents()[:6]) == [f"merge {n}: {n}" for n in "abcdef"]
    events = person.events()
    granted = [e["token"] for e in events if e["type"] == "lease_granted"]
    assert granted == sorted(set(granted)), "a token was used again"
    assert len([e for e in events if e["type"] == "landed"]) == 6
    attempts = {t["id"]: t["attempts"] for t in person.status()["tasks"]}
    assert attempts == {"a": 1, "b": 1, "c": 1, "d": 2, "e": 1, "f": 1}, f"seed {seed}: an agent was not taken up"
    person.type("stop")
    person.wait(lambda: person.daemon_pid() is None)
    # the failed attempt stays, to be looked at; a kill after the very last event leaves a tree for the next daemon
    removed = {e["data"]["owner"] for e in person.events() if e["type"] == "tree_removed"}
    assert set(person.left_trees()) == {"work/d-1"} | ({"work/f-1"} - removed)
    assert person.processes() == []


def test_kills_lose_nothing_and_repeat_nothing(person: Person) -> None:
    one_run(person, seed=2, kills=4)


def test_a_daemon_killed_while_it_publishes_leaves_no_checkout_half_moved(person: Person) -> None:
    # the user's own filter makes git take its time over the checkout, as a large repository would
    person.write(".gitattributes", "*.slow filter=slow\n")
    person.commit("attributes")
    person.git("config", "filter.slow.smudge", "sh -c 'sleep 0.3; cat'")
    person.git("config", "filter.slow.clean", "cat")
    plan = person.plan("""
checks: none
tasks:
  - id: one
    files: ["*.slow"]
    agent: demo
    prompt: |
      !append 1.slow one
      !append 2.slow two
      !append 3.slow three
      !append 4.slow four
      !append 5.slow five
""")
    digest = person.type("plan", "check", plan, "--json").data["digest"]
    assert person.type("start", plan, "--confirm", digest, "--detach").code == 0
    person.wait(lambda: (person.repo / "1.slow").exists(), what="the beginning of the publish")
    pid = person.daemon_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    done = person.type("start")
    assert done.code in {0, 7}, done.out + done.err
    assert person.status()["state"] == "published"
    assert person.git("status", "--porcelain") == "?? plans/"
    assert (person.repo / "5.slow").read_text() == "five\n"


@pytest.mark.prove
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(100, 140))
def test_many_kills_lose_nothing_and_repeat_nothing(tmp_path: Path, seed: int) -> None:
    person = Person.with_repository(tmp_path)
    try:
        one_run(person, seed, kills=5)
    finally:
        person.leave()
