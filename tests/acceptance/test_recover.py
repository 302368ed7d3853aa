"""A ledger that is deleted, cut or overwritten: refused at the start, recovered on a yes, gone on with."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.person import Person

PLAN = """
checks: none
agents:
  worker: {adapter: command, run: [sh, -c, "echo $ORCHESTRATOR_ATTEMPT > $ORCHESTRATOR_TASK.txt"]}
defaults: {agent: worker}
publish: manual
tasks:
  - {id: first, files: [first.txt], prompt: "the key is sk-a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"}
  - {id: second, files: [second.txt], prompt: x, depends_on: [first]}
  - {id: mine, files: [mine.txt], prompt: x, agent: human, depends_on: [second]}
  - {id: last, files: [last.txt], prompt: x, depends_on: [mine]}
  - {id: beside, files: [beside.txt], prompt: x, depends_on: [mine]}
"""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """A repository whose plan waits for a person in the middle, with no daemon."""
    person = Person.with_repository(tmp_path_factory.mktemp("made"), "ein Repo ü")
    plan = person.plan(PLAN)
    person.commit("the plan")
    started = person.start(plan, "--exit-when-blocked")
    assert started.code == 5, started.out + started.err
    person.type("stop", "--detach")
    person.wait(lambda: person.daemon_pid() is None, what="the daemon's end")
    yield person
    person.leave()


@pytest.fixture
def person(stopped: Person) -> Iterator[Person]:
    """The same again for every test: its state folder is put back."""
    state, kept = state_of(stopped), stopped.home.parent / "kept"
    if not kept.exists():
        shutil.copytree(state, kept, symlinks=True)
    yield stopped
    stopped.type("stop", "--now")
    stopped.wait(lambda: not lock_is_held(stopped), what="the daemon's end")
    shutil.rmtree(state)
    shutil.copytree(kept, state, symlinks=True)


def lock_is_held(person: Person) -> bool:
    import fcntl

    with (state_of(person) / "daemon.lock").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


def state_of(person: Person) -> Path:
    return person.repo / ".git" / "orchestrator"


def ledger_of(person: Person) -> Path:
    return state_of(person) / "ledger.sqlite"


def deleted(person: Person) -> None:
    for path in state_of(person).glob("ledger.sqlite*"):
        path.unlink()


def cut(person: Person) -> None:
    content = ledger_of(person).read_bytes()
    ledger_of(person).write_bytes(content[: len(content) // 2])


def flipped(person: Person) -> None:
    content = bytearray(ledger_of(person).read_bytes())
    for place in range(8192, len(content) - 8192, 700):
        content[place] ^= 0x5A
    ledger_of(person).write_bytes(content)


def other_bytes(person: Person) -> None:
    ledger_of(person).write_bytes(os.urandom(9000))


def emptied(person: Person) -> None:
    ledger_of(person).write_bytes(b"")


def older(person: Person) -> None:
    """As when the write-ahead log is lost: an earlier state, whole in itself."""
    newest = max((state_of(person) / "backups").iterdir())
    deleted(person)
    shutil.copy(newest, ledger_of(person))


@pytest.mark.parametrize(
    "harm",
    [
        deleted,
        flipped,
        older,
        *(pytest.param(harm, marks=pytest.mark.prove) for harm in (cut, other_bytes, emptied)),
    ],
)
def test_a_harmed_ledger_is_refused_recovered_and_gone_on_with(harm: Callable[[Person], None], person: Person) -> None:
    before = [(e["seq"], e["type"], e["task"]) for e in person.events()]
    tokens = [e["token"] for e in person.events() if e["type"] == "lease_granted"]
    landed = {t["id"]: t["landed_commit"] for t in person.status()["tasks"] if t["state"] == "landed"}
    digest = person.status()["digest"]
    harm(person)

    started = person.type("start", "plans/work.yaml", "--confirm", digest, "--detach")
    assert started.code == 6, started.out + started.err
    assert "orchestrator recover" in started.err
    shown = person.type("recover")
    assert (shown.code, "What would be lost" in shown.out) == (4, True), shown.err
    assert "--yes" in shown.err
    done = person.type("recover", "--yes", "--json")
    assert done.code == 0, done.out + done.err
    assert done.data["recovered"]

    after = [(e["seq"], e["type"], e["task"]) for e in person.events()]
    assert after[: len(before)] == before
    assert after[len(before)][1] == "ledger_recovered"
    again = person.type("recover")
    assert again.code == 0
    assert "is whole" in again.out
    if harm not in {deleted, flipped}:
        return

    assert person.type("start", "plans/work.yaml", "--detach").code in {0, 4}
    if person.status()["state"] == "paused":  # the journal alone held the plan's text, with a mask in it
        checked = person.type("plan", "check", "plans/work.yaml", "--json").data["digest"]
        assert person.type("start", "plans/work.yaml", "--confirm", checked, "--detach").code == 0
        assert person.type("resume").code == 0
    task = next(item for item in person.inbox() if item["kind"] == "human_task")
    assert person.type("answer", task["id"], "done").code == 0
    person.wait(lambda: set(person.states().values()) == {"landed"}, what="the plan's end")
    assert min(e["token"] for e in person.events() if e["type"] == "lease_granted" and e["seq"] > len(before)) > max(
        tokens
    )
    now = {t["id"]: t["landed_commit"] for t in person.status()["tasks"]}
    assert {task: now[task] for task in landed} == landed
    assert [line for line in person.first_parents("orchestrator/work") if "merge first" in line] == [
        "merge first: first"
    ]


def test_nothing_left_at_all_begins_a_new_ledger_with_higher_tokens(person: Person) -> None:
    deleted(person)
    for name in ("backups", "journal"):
        shutil.rmtree(state_of(person) / name)
    plan = "plans/work.yaml"
    digest = person.type("plan", "check", plan, "--json").data["digest"]
    assert person.type("start", plan, "--confirm", digest, "--detach").code == 6
    shown = person.type("recover", "--yes")
    assert shown.code == 0, shown.err
    assert "a new, empty ledger" in shown.out
    assert "refs/orchestrator/work/first-1" in shown.out
    assert person.type("start", plan, "--confirm", digest, "--detach").code == 0
    person.wait(lambda: person.states()["second"] == "landed", what="the second task")
    granted = [e for e in person.events() if e["type"] == "lease_granted"]
    assert min(e["token"] for e in granted) > 1000
    assert [e["attempt"] for e in granted] == ["work/first-2", "work/second-2"]


def test_a_whole_ledger_is_left_alone_and_a_running_daemon_refuses(person: Person) -> None:
    before = ledger_of(person).read_bytes()
    assert person.type("recover", "--from", "journal", "--yes").code == 0
    assert ledger_of(person).read_bytes() == before
    assert person.type("start", "--detach").code == 0
    assert person.type("recover", "--yes").code == 6
    assert person.type("recover", "--from", "tape").code == 2


def test_git_is_right_about_what_landed(person: Person) -> None:
    """The second task's landing is cut off the ledger, its backups and its journal: git alone knows of it."""
    events = person.events()
    landed = next(e for e in events if e["type"] == "landed" and e["task"] == "second")
    state = state_of(person)
    shutil.rmtree(state / "backups")
    shutil.rmtree(state / "journal")
    shorten(ledger_of(person), before=landed["at"])
    done = person.type("recover", "--yes", "--json")
    assert done.code == 0, done.out + done.err
    assert [(one["task"], one["commit"]) for one in done.data["landings"]] == [("second", landed["data"]["commit"])]
    assert person.states()["second"] == "landed"
    assert person.type("start", "--detach").code == 0
    person.wait(lambda: person.task("mine")["state"] == "escalated", what="the person's task")
    told = next(item for item in person.inbox() if "recovered" in item["context"] or "put together" in item["context"])
    assert landed["data"]["commit"][:12] in told["context"]
    task = next(item for item in person.inbox() if item["kind"] == "human_task")
    assert person.type("answer", task["id"], "done").code == 0
    person.wait(lambda: set(person.states().values()) == {"landed"}, what="the plan's end")
    assert sorted(e["task"] for e in person.events() if e["type"] == "landed") == ["beside", "first", "last", "mine"]


def shorten(ledger: Path, *, before: str) -> None:
    """Take the end of a ledger away, and leave a hole behind so that it is found out."""
    import sqlite3
    from contextlib import closing
    from datetime import datetime

    from orchestrator.backends.ledger import microseconds

    at = microseconds(datetime.fromisoformat(before))
    with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER event_remains")
        connection.execute("DELETE FROM event WHERE at >= ? AND seq < (SELECT max(seq) FROM event)", (at,))


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((18, 24), id="some steps"),
        pytest.param(tuple(range(1, 60)), id="every step", marks=pytest.mark.prove),
    ],
)
def test_a_recovery_that_is_killed_at_a_step_can_be_run_again(steps: tuple[int, ...], person: Person) -> None:
    """The ledger alone is left, damaged: wherever the recovery dies, nothing that could be had back is lost."""
    state = state_of(person)
    shutil.rmtree(state / "backups")
    shutil.rmtree(state / "journal")
    flipped_end(person)
    kept = person.home.parent / "damaged"
    shutil.copytree(state, kept, symlinks=True)
    whole = person.type("recover", "--json").data["last"]
    assert whole > 20
    for step in steps:
        shutil.rmtree(state)
        shutil.copytree(kept, state, symlinks=True)
        killed = killed_at(person, step)
        again = person.type("recover", "--yes", "--json")
        assert again.code == 0, (step, again.out, again.err)
        recovered = [e for e in person.events() if e["type"] == "ledger_recovered"]
        assert recovered[0]["seq"] == whole + 1, step
        assert len(recovered) == 1, step
        assert not list(state.glob("recovered-*/unfinished"))
        if not killed:
            return  # that was its end


def flipped_end(person: Person) -> None:
    """Damage that only the chain shows, near the end."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(ledger_of(person), isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER event_stays")
        connection.execute("UPDATE event SET data = '{}' WHERE seq = (SELECT max(seq) - 2 FROM event)")


STEPS = """
import os, signal, sys
step, left = int(sys.argv.pop(1)), [0]
def counted(name, real):
    def call(*args, **more):
        left[0] += 1
        if left[0] == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **more)
    return call
for name in ("link", "replace", "rename", "unlink", "fsync"):
    setattr(os, name, counted(name, getattr(os, name)))
from orchestrator.cli.main import main
sys.exit(main(["recover", "--yes"]))
"""


def killed_at(person: Person, step: int) -> bool:
    """Whether it was killed: at its so-many-th call that changes names or makes something durable."""
    result = subprocess.run(
        [sys.executable, "-c", STEPS, str(step)], cwd=person.repo, env=person.environ, capture_output=True, text=True
    )
    assert result.returncode in {0, -signal.SIGKILL}, result.stderr
    return result.returncode != 0


def test_an_older_ledger_is_found_out_by_the_attempts_that_it_does_not_know(person: Person) -> None:
    """As when the write-ahead log is lost within the minute before the journal is written: only the disk knows."""
    events, state = person.events(), state_of(person)
    granted = next(e for e in events if e["type"] == "lease_granted" and e["task"] == "second")
    shutil.rmtree(state / "backups")
    shutil.rmtree(state / "journal")
    cut_off(ledger_of(person), before=granted["at"])
    refused = person.type("start", "--detach")
    assert (refused.code != 0, "attempt work/second-1 was begun under token" in refused.err) == (True, True)
    done = person.type("recover", "--yes", "--json")
    assert (done.code, done.data["recovered"]) == (0, True)
    assert "is whole" in person.type("recover").out
    assert person.type("start", "--detach").code == 0
    person.wait(lambda: person.task("mine")["state"] == "escalated", what="the person's task")
    tokens = [e["token"] for e in person.events() if e["type"] == "lease_granted" and e["task"] != "first"]
    assert all(token > granted["token"] for token in tokens)


def cut_off(ledger: Path, *, before: str) -> None:
    """Take the end of a ledger away; what is left is whole in itself."""
    import sqlite3
    from contextlib import closing
    from datetime import datetime

    from orchestrator.backends.ledger import microseconds

    at = microseconds(datetime.fromisoformat(before))
    with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER event_remains")
        connection.execute("DELETE FROM event WHERE at >= ?", (at,))
        connection.execute("UPDATE tip SET token = (SELECT max(token) FROM event WHERE type = 'lease_granted')")
