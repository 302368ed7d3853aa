"""A daemon is stopped, told to go, or told twice, while its agents work: they go on, and their work is taken up."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.prove.crashes import kept_when_it_fails, tell, told
from tests.prove.life import Life, Nursery
from tests.prove.rig import Rig

#: Works until a person lets it end, and does not listen to TERM.
STUBBORN = (
    """trap '' TERM; echo began; while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo once >> one.txt; echo ended"""
)
PLAN = {
    "checks": "none",
    "agents": {"stubborn": {"adapter": "command", "run": ["sh", "-c", STUBBORN]}},
    "tasks": [{"id": "one", "files": ["one.txt"], "agent": "stubborn", "prompt": "x"}],
}
GONE_WITHIN_S = 10.0
PATH = "plans/work.yaml"


def at_work(life: Life) -> None:
    """A daemon whose agent is in the middle of its work."""
    life.person.plan(json.dumps(PLAN))
    life.person.commit("plan")
    digest = life.digest(PATH)
    life.start()
    life.until(life.answers, "the daemon")
    assert life.submit(PATH, digest) is None
    output = life.place.run_dir("work/one-1/agent") / "output"
    life.until(lambda: output.exists() and "began" in output.read_text(), "the agent")


def working(life: Life) -> set[int]:
    """The supervisor and its agent, without what that starts for a moment."""
    return {pid for pid, command in life.processes().items() if command and not command.startswith("sleep")}


def once(life: Life) -> None:
    os.kill(life.daemon or 0, signal.SIGTERM)


def twice(life: Life) -> None:
    once(life)
    time.sleep(0.05)
    if life.is_alive():
        once(life)


def stopped_before(life: Life) -> None:
    os.kill(life.daemon or 0, signal.SIGSTOP)
    once(life)
    time.sleep(0.5)
    os.kill(life.daemon or 0, signal.SIGCONT)


@pytest.mark.parametrize("told_to_go", [once, twice, stopped_before])
def test_a_daemon_told_to_go_is_gone_soon_and_its_agent_works_on(
    nursery: Nursery, told_to_go: Callable[[Life], None]
) -> None:
    with kept_when_it_fails(f"pytest '{__file__}'") as folder:
        life = Life(folder, nursery)
        try:
            at_work(life)
            before = working(life)
            began = time.monotonic()
            told_to_go(life)
            assert life.wait_for_end(GONE_WITHIN_S) == 0
            assert time.monotonic() - began < GONE_WITHIN_S
            assert working(life) == before, "an agent went with its daemon"
            life.start()
            life.until(life.answers, "the next daemon")
            (life.person.home / "go").touch()
            life.until(lambda: life.phase() == "published", "the publish")
            assert (life.person.repo / "one.txt").read_text() == "once\n"
            assert life.tasks()["one"]["attempts"] == 1
            output = life.place.run_dir("work/one-1/agent") / "output"
            assert output.read_text() == "began\nended\n"
        finally:
            (life.person.home / "go").touch()
            life.leave()


def test_a_daemon_that_was_stopped_for_a_while_goes_on_as_if_nothing_had_been(nursery: Nursery) -> None:
    with told(nursery, f"pytest '{__file__}' -k stopped_for_a_while") as story:
        life = story.life
        life.start()
        life.until(life.answers, "the daemon")
        for _ in range(6):
            for _ in range(10):
                story.step()
                time.sleep(0.02)
            os.kill(life.daemon or 0, signal.SIGSTOP)
            time.sleep(0.4)
            os.kill(life.daemon or 0, signal.SIGCONT)
        tell(story, Rig)
        assert life.lives == 1
