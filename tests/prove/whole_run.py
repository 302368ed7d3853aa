"""A whole plan, recorded while a daemon runs it, and what each image of it has to hold.

The image is the user's git folder, with ours in it: ledger, `repo.git`, run folders, and the user's own references.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.backends.backupfolder import good_backups, list_backups
from orchestrator.backends.journal import Journal, read_journal
from orchestrator.backends.ledgerrows import LedgerRows
from orchestrator.backends.runfolder import exit_of
from orchestrator.backends.sqlite import SqliteReader, SqliteStore, verify
from orchestrator.core.state import rebuild
from orchestrator.model.attempt import ExitWhy
from orchestrator.model.errors import NothingError, OrchestratorError
from orchestrator.ports import Stored
from tests.acceptance.person import ORCHESTRATOR, Person
from tests.prove.disk import Manner
from tests.prove.frame import inherited
from tests.prove.powerloss import SEED, Verdict, images, in_memory
from tests.prove.writelog import Recording, each_mark, record

CODES = {"a": 0, "b": 0, "c": 3}  #: task -> how its program ends
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PLAN = """\
name: w
publish: each
checks:
  - {{name: ok, run: ["true"]}}
agents:
  good:
    adapter: command
    run:
      - sh
      - -c
      - |
        echo "ran $0" >>"{marker}"
        mkdir -p d/$0; seq 300 >d/$0/n.txt; echo $0 >$0.txt
        git add -A; git commit -qm one; git branch aside; git reset -q --hard HEAD~1 -- 2>/dev/null
        git merge -q aside; echo more >>$0.txt
      - "{{task}}"
  bad:
    adapter: command
    run: [sh, -c, 'echo "ran $0" >>"{marker}"; echo half >$0.txt; exit 3', "{{task}}"]
defaults: {{retries: 0}}
tasks:
  - {{id: a, agent: good, files: [a.txt, d/a/**], prompt: x}}
  - {{id: b, agent: good, files: [b.txt, d/b/**], prompt: x, depends_on: [a]}}
  - {{id: c, agent: bad, files: [c.txt], prompt: x}}
"""


def recorded_run(folder: Path) -> Recording:
    """Two tasks that land and are published, and one that fails and is salvaged."""
    folder.mkdir(parents=True)
    person, marker = Person.with_repository(folder), folder / "marks"
    person.write("plans/w.yaml", _PLAN.format(marker=marker))
    person.commit("plan")
    digest = person.type("plan", "check", "plans/w.yaml", "--json").data["digest"]
    start = [str(ORCHESTRATOR), "start", "plans/w.yaml", "--confirm", digest, "--foreground", "--exit-when-blocked"]
    return record(
        start,
        root=person.repo / ".git",
        marker=marker,
        log=folder / "log",
        env=person.environ | inherited(),
        cwd=person.repo,
        timeout_s=120,
        code=5,
    )


async def run_verdict(recording: Recording, count: int, manner: Manner, *, seed: int = SEED) -> Verdict:
    """Whatever survives agrees with itself: what the ledger says is there."""
    verdict = Verdict("whole run", manner, seed)
    with in_memory() as folder:
        for cut, image in images(recording, count, folder / "image", manner, seed=seed, wanted=_is_judged):
            ran = {mark.removeprefix("ran ") for mark in each_mark(recording, cut)}
            wrong = [text async for text in _wrong_with(image, ran)]
            verdict.add(cut, len(wrong), "; ".join(wrong))
    return verdict


def _is_judged(path: str) -> bool:
    return not re.search(r"^hooks$|/git$|daemon\.log", path)


async def _wrong_with(git_dir: Path, ran: set[str]) -> Any:
    """Each thing of an image that is not as it was promised."""
    state_dir = git_dir / "orchestrator"
    try:
        stored = await _events(state_dir / "ledger.sqlite")
    except NothingError:
        stored = []
    except OrchestratorError as error:
        yield str(error)
        return
    for text in _wrong_runs(state_dir, stored, ran):
        yield text
    if stored:
        async for text in _wrong_copies(state_dir):
            yield text
    for text in _wrong_objects(git_dir, ["--all"]):
        yield f"the user's repository: {text}"
    ours = state_dir / "repo.git"
    named = sorted({one for event in stored for one in _commits_in(event.data)})
    if not named:
        return
    if not ours.is_dir():
        yield "the ledger names commits, and repo.git is gone"
        return
    salvage = [name for event in stored for name in event.data.get("salvage", ())]
    for text in _wrong_objects(ours, ["--all", *named, *salvage]):
        yield f"repo.git: {text}"
    events = [event.type for event in stored]
    for kind, where, name in (
        ("landed", ours, "refs/orchestrator/plans/w"),
        ("published", git_dir, "refs/heads/main"),
    ):
        commits = [event.data["commit"] for event in stored if event.type == kind and event.data["commit"]]
        if commits and _git(where, "merge-base", "--is-ancestor", commits[-1], name).returncode != 0:
            yield f"{kind} {commits[-1][:8]} is in the ledger ({len(events)} events), and {name} is not there"


async def _events(ledger: Path) -> list[Stored]:
    if not ledger.exists():
        return []
    store = await SqliteStore.open(ledger)  # as a daemon opens it: what the write-ahead log holds counts
    try:
        rebuild(await store.events())
    finally:
        await store.close()
    verify(ledger)
    reader = SqliteReader(ledger)
    try:
        return reader.events()
    finally:
        reader.close()


async def _wrong_copies(state_dir: Path) -> Any:
    """The kept state, the journal and the backups say nothing that the ledger does not, and are whole."""
    ledger = state_dir / "ledger.sqlite"
    store = await SqliteStore.open(ledger)
    try:
        kept, events = await store.snapshot(), await store.events()
    finally:
        await store.close()
    if kept is not None and kept != rebuild(events[: kept.seq]):
        yield f"the state that was kept at event {kept.seq} is not what the ledger comes to"
    rows = LedgerRows(ledger)
    try:
        hashes = {piece.seq: piece.hash for piece in rows.events(0, len(events))}
    finally:
        rows.close()
    for piece in read_journal(state_dir / "journal").pieces:
        if piece.seq not in hashes:
            yield f"the journal has event {piece.seq}, and the ledger ends at {len(events)}"
        elif piece.hash != hashes[piece.seq]:
            yield f"the journal has another event {piece.seq} than the ledger"
    journal = Journal(state_dir / "journal", ledger)
    journal.export()
    if (found := read_journal(state_dir / "journal")).trouble or found.last != len(events):
        yield f"the journal cannot be written on: {found.trouble} it ends at {found.last} of {len(events)}"
    folder = state_dir / "backups"
    good = {backup.name for backup, _ in good_backups(folder)}
    for backup in list_backups(folder):
        if backup.name not in good:
            yield f"backup {backup.name} is not whole"
        elif backup.seq > len(events):
            yield f"backup {backup.name} is ahead of the ledger, which ends at {len(events)}"


def _wrong_runs(state_dir: Path, stored: list[Stored], ran: set[str]) -> Iterator[str]:
    """A program that ran is known to have, and its end is the true one or lost."""
    for task in sorted(ran):
        run = f"w/{task}-1/agent"
        told = {event.type for event in stored if event.data.get("run_id") == run}
        if "run_recorded" not in told:
            yield f"{run} ran, and the ledger would start it again"
        record = exit_of(state_dir / "attempts" / run)
        if record is not None and (record.why is not ExitWhy.EXIT or record.code != CODES[task]):
            yield f"{run} ended with {CODES[task]}, and its record says {record.why} {record.code}"
    for task in sorted(CODES.keys() - ran):
        record = exit_of(state_dir / "attempts" / f"w/{task}-1/agent")
        if record is not None and record.why is not ExitWhy.NEVER_STARTED:
            yield f"w/{task}-1/agent never ran, and its record says {record.why}"


def _commits_in(value: Any) -> Iterator[str]:
    """Every commit that the data of an event names."""
    if isinstance(value, str):
        if _COMMIT.fullmatch(value):
            yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _commits_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _commits_in(inner)


def _wrong_objects(git_dir: Path, tips: list[str]) -> Iterator[str]:
    """Everything that these lead to is read, byte for byte."""
    listed = _git(git_dir, "rev-list", "--objects", *tips)
    if listed.returncode != 0 or listed.stderr:
        yield listed.stderr.decode(errors="replace").strip()[:200] or "rev-list failed"
        return
    wanted = b"".join(line.split(b" ")[0] + b"\n" for line in listed.stdout.splitlines())
    read = _git(git_dir, "cat-file", "--batch", "--buffer", stdin=wanted)
    if read.returncode != 0 or read.stderr or b" missing\n" in read.stdout:
        yield read.stderr.decode(errors="replace").strip()[:200] or "an object is missing"


def _git(git_dir: Path, *args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    env = {"PATH": "/usr/bin:/bin:/usr/local/bin", "GIT_DIR": str(git_dir), "GIT_CONFIG_NOSYSTEM": "1", "HOME": "/"}
    return subprocess.run(["git", *args], input=stdin, capture_output=True, env=env, cwd=git_dir, check=False)
