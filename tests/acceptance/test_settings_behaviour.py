"""Every setting changes what it says: one plan is run twice, with the defaults and with everything set otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.settings import build_settings, origins
from tests.acceptance.person import Person

PLAN = r"""
name: settings
parallel: 16
publish: manual
agents:
  worker:
    adapter: command
    run:
      - sh
      - -c
      - |
        yes line | head -n 2000
        cat .env > out.txt 2> /dev/null || echo no-env > out.txt
        echo "${EXTRA:-no-extra}" >> out.txt
        sleep 2.5
  other: {adapter: command, run: [sh, -c, "echo other > who.txt"], capabilities: [one, two]}
  crash: {adapter: command, run: [sh, -c, "exit 1"], capabilities: [one, two, three]}
  scripted: {adapter: demo, capabilities: [one, two, three, four]}
tasks:
  - id: work
    title: Some work
    files: [out.txt]
    agent: worker
    prompt: work
    checks: [{name: kept, run: [sh, -c, "test -f kept/x && echo found it; mkdir -p kept; touch kept/x"]}]
  - id: who
    files: [who.txt]
    needs: [one]
    prompt: say who
    checks: [{name: kept, run: [sh, -c, "test -f kept/x && echo found it; mkdir -p kept; touch kept/x"]}]
  - {id: fails, files: [never.txt], agent: crash, prompt: crash}
  - {id: storm, files: [storm.txt], agent: crash, prompt: crash, retries: 100, backoff: [10ms]}
  - {id: asks, files: [asks.txt], agent: scripted, prompt: '!ask "Which?" one two'}
  - {id: guarded, files: [guarded.txt], agent: scripted, prompt: "!append guarded.txt x"}
  - {id: stubborn, files: [stubborn.txt], agent: scripted, prompt: "!ignore-term\n!hang"}
  - {id: first-user, files: [], uses: [gpu], agent: scripted, prompt: "!sleep 1s\n!no-change nothing to do"}
  - {id: second-user, files: [], uses: [gpu], agent: scripted, prompt: "!sleep 1s\n!no-change nothing to do"}
"""

DEFAULT = 'checks = "none"\n'
CHANGED = """
worktrees = "{trees}"
log_level = "debug"
protected = ["guarded.*"]
keep = ["kept/"]
checks = [{{name = "slow", run = ["sleep", "1.5"]}}]
[log]
max_size = "4KiB"
keep = 2
[attention]
doing = "1s"
for_review = "1s"
merging = "1s"
blocked = "1s"
quiet = "1s"
[protect]
free_disk = "1KiB"
spawn_rate = 60
spawn_burst = 2
attempts = 4
[execution]
commit_message = "{{agent}} did {{title}}"
grace = "200ms"
output_limit = "2000"
pass_env = ["EXTRA"]
[prepare]
copy = [".env"]
[resources]
gpu = 2
[defaults]
retries = 0
[agents.eager]
adapter = "command"
run = ["sh", "-c", "echo eager > who.txt"]
capabilities = ["one"]
"""


@dataclass
class Ran:
    """A run as far as it gets without a person."""

    person: Person
    events: list[Any]
    log_files: list[Path]
    log_lines: list[dict[str, Any]]

    def of(self, kind: str, task: str) -> list[Any]:
        return [event for event in self.events if event["type"] == kind and event["task"] == task]

    def first(self, kind: str, task: str) -> int:
        return int(self.of(kind, task)[0]["seq"])

    def told(self, lane: str) -> bool:
        return any(e["type"] == "lane_overdue" and e["data"]["lane"] == lane for e in self.events)

    def hold(self) -> Any:
        return next(event for event in self.events if event["type"] == "dispatch_held")

    def before_hold(self, kind: str, task: str) -> int:
        return sum(event["seq"] < self.hold()["seq"] for event in self.of(kind, task))

    def held_for(self) -> timedelta:
        return datetime.fromisoformat(self.hold()["data"]["until"]) - datetime.fromisoformat(self.hold()["at"])

    def shown(self, path: str) -> str:
        return self.person.git("show", f"orchestrator/settings:{path}")


PROBES: dict[str, tuple[Callable[[Ran], Any], Any, Any]] = {
    # key: what is looked at, what it is with the default, what it is with the changed value
    "worktrees": (lambda ran: Path(ran.person.task("asks")["worktree"]).parts[-3], "repo.worktrees", "other trees"),
    "log_level": (lambda ran: any(line["level"] == "debug" for line in ran.log_lines), False, True),
    "log.max_size": (lambda ran: all(file.stat().st_size <= 8192 for file in ran.log_files), False, True),
    "log.keep": (lambda ran: len(ran.log_files), 1, 3),
    "attention.doing": (lambda ran: ran.told("doing"), False, True),
    "attention.for_review": (lambda ran: ran.told("for_review"), False, True),
    "attention.merging": (lambda ran: ran.told("merging"), False, True),
    "attention.blocked": (lambda ran: ran.told("blocked"), False, True),
    "attention.quiet": (lambda ran: bool(ran.of("attempt_flagged", "work")), False, True),
    "protect.free_disk": (
        # what comes of it below the floor is looked at in tests/integration/test_faults.py: no disk is filled here
        lambda ran: next(e["data"]["guards"]["free_disk"] for e in ran.events if e["type"] == "daemon_began"),
        2 * 1024**3, 1024,
    ),
    "protect.spawn_burst": (lambda ran: ran.before_hold("attempt_started", "storm"), 5, 3),
    "protect.spawn_rate": (lambda ran: ran.held_for() > timedelta(seconds=2), True, False),
    "protect.attempts": (
        lambda ran: [e["data"]["item"]["trigger"] for e in ran.of("escalated", "storm")], [], ["attempt_cap"],
    ),
    "execution.commit_message": (
        lambda ran: ran.person.git("log", "-1", "--format=%s", "refs/orchestrator/settings/work-1"),
        "feat(work): Some work",
        "worker did Some work",
    ),
    "execution.grace": (lambda ran: bool(ran.of("attempt_ended", "stubborn")), False, True),
    "execution.output_limit": (
        lambda ran: len(ran.person.type("logs", "work").out.splitlines()) >= 2000, True, False,
    ),
    "execution.pass_env": (lambda ran: ran.shown("out.txt").splitlines()[1], "no-extra", "the value"),
    "agents": (lambda ran: ran.shown("who.txt"), "other", "eager"),
    "checks": (lambda ran: "check-slow" in [e["data"]["check"] for e in ran.of("check_passed", "work")], False, True),
    "keep": (
        lambda ran: "found it" in ran.person.type("logs", "--stream", "checks").out, False, True,
    ),
    "prepare": (lambda ran: ran.shown("out.txt").splitlines()[0], "no-env", "KEY=1"),
    "protected": (lambda ran: bool(ran.of("review_asked", "guarded")), False, True),
    "resources": (
        lambda ran: ran.first("attempt_started", "second-user") < ran.first("landed", "first-user"), False, True,
    ),
    "defaults": (lambda ran: bool(ran.of("escalated", "fails")), False, True),
}  # fmt: skip

#: What takes hours, or holders of its own: see test_chores.py, test_claims.py, test_reconcile.py and test_looking.py.
ELSEWHERE = {
    *("ledger.backup_every", "ledger.keep_hourly", "ledger.keep_daily", "ledger.journal_days"),
    *("leases.ttl", "leases.heartbeat", "leases.stale", "leases.review"),
    *("leases.indefinite", "leases.indefinite_per_agent"),
    *("trash.keep", "network_disk"),
}

LANDED = ("work", "who", "first-user", "second-user")


def ran(person: Person, settings: str) -> Ran:
    person.extra["EXTRA"] = "the value"
    person.write("orchestrator.toml", settings)
    plan = person.plan(PLAN, "settings")
    person.write(".gitignore", ".env\n")
    person.commit("the plan")
    person.write(".env", "KEY=1\n")
    checked = person.type("plan", "check", plan, "--json")
    assert checked.code == 0, checked.out + checked.err
    started = person.type("start", plan, "--confirm", checked.data["digest"], "--detach")
    assert started.code == 0, started.err
    person.wait(lambda: person.task("stubborn")["state"] == "running", what="the stubborn agent")
    person.wait(lambda: "demo: " in person.type("logs", "stubborn").out, what="its first word")
    assert person.type("cancel", "stubborn").code == 0
    person.wait(lambda: has_settled(person), what="the plan")
    events = person.events()
    state = person.repo / ".git" / "orchestrator"
    files = sorted(state.glob("daemon.log*"))
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return Ran(person=person, events=events, log_files=files, log_lines=lines)


def has_settled(person: Person) -> bool:
    """Nothing happens any more but what has to wait: for a person, or for a minute."""
    states = person.states()
    told = {event["data"]["lane"] for event in person.events() if event["type"] == "lane_overdue"}
    held = any(event["type"] == "dispatch_held" for event in person.events())
    wanted = {"doing", "for_review", "merging", "blocked"} if states["guarded"] == "for_review" else set()
    return (
        all(states[task] == "landed" for task in LANDED)
        and states["guarded"] in {"landed", "for_review"}
        and states["fails"] in {"backoff", "escalated"}
        and wanted <= told
        and (states["storm"] == "escalated" if wanted else held)
    )


@pytest.fixture(scope="module")
def with_defaults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    person = Person.with_repository(tmp_path_factory.mktemp("defaults"))
    yield ran(person, DEFAULT)
    person.leave()


@pytest.fixture(scope="module")
def with_changes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    person = Person.with_repository(tmp_path_factory.mktemp("changed"))
    yield ran(person, CHANGED.format(trees=person.home / "other trees"))
    person.leave()


@pytest.mark.parametrize("key", PROBES)
def test_changing_a_setting_changes_what_happens(key: str, with_defaults: Ran, with_changes: Ran) -> None:
    look, before, after = PROBES[key]
    assert before != after
    assert (look(with_defaults), look(with_changes)) == (before, after)


def test_every_setting_is_looked_at() -> None:
    keys = {key for key, _, _ in origins(build_settings(user=None, project=None, environ={}, flags={}))}
    assert PROBES.keys() | ELSEWHERE == keys
