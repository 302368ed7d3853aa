"""A repository whose daemon lives and dies as a proof wants it, and a person beside it who does not mind."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.app.plans import check_plan
from orchestrator.backends.sqlite import SqliteReader
from orchestrator.client import Client
from orchestrator.discover import find_place
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.run import PLAN_OVER
from orchestrator.ports import Stored
from orchestrator.wire import Action, Overrides, SubmitPlan
from tests.acceptance.person import Person
from tests.prove.rig import Rig

PROJECT = Path(__file__).parents[2]
UNRIGGED = Rig()


class Nursery:
    """A process that has everything imported, and forks daemons."""

    def __init__(self) -> None:
        # a terminal's variables and the like are given to each daemon by itself
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.prove.nursery"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def start(self, root: Path, env: dict[str, str], rig: Rig, out: Path) -> int:
        return int(self._ask(do="start", root=str(root), env=env, rig=asdict(rig), out=str(out))["pid"])

    def status(self, pid: int) -> int | None:
        """The exit status of a daemon, negative for a signal; None while it lives."""
        status: int | None = self._ask(do="status", pid=pid)["status"]
        return status

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=10)

    def _ask(self, **command: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


class Life:
    """One repository, the daemons that live in it one after the other, and who talks with them."""

    def __init__(self, folder: Path, nursery: Nursery, *, name: str = "re po ü") -> None:
        self.folder = folder
        self.person = Person.with_repository(folder, name)
        self.place = find_place(self.person.repo, environ=self.person.environ)
        self.nursery = nursery
        self.daemon: int | None = None
        self.lives = 0
        self.ends: list[int] = []  #: exit statuses, one for each life that is over
        self._reader: SqliteReader | None = None
        self._client: Client | None = None

    # ---- the daemon ----

    def start(self, rig: Rig = UNRIGGED) -> None:
        """Begin a daemon's life; it is not waited for."""
        assert self.daemon is None, "one at a time"
        self.daemon = self.nursery.start(self.person.repo, self.person.environ, rig, self.folder / "daemon.out")
        self.lives += 1

    def is_alive(self) -> bool:
        """Whether the daemon lives; takes note of its end."""
        if self.daemon is None:
            return False
        status = self.nursery.status(self.daemon)
        if status is None:
            return True
        self.ends.append(status)
        self.daemon = None
        return False

    def kill(self, *, with_children: bool = False) -> None:
        """`kill -9`, of the daemon alone or of git and whatever else it is waiting for as well."""
        if self.daemon is not None:
            with contextlib.suppress(ProcessLookupError):
                if with_children:
                    os.killpg(self.daemon, signal.SIGKILL)  # one that was just born has no group of its own yet
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.daemon, signal.SIGKILL)
            self.wait_for_end()

    def terminate(self) -> None:
        assert self.daemon is not None
        os.kill(self.daemon, signal.SIGTERM)

    def wait_for_end(self, seconds: float = 30) -> int:
        """Wait for the daemon's end. Returns: its exit status."""
        assert self.daemon is not None
        handle = None
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(self.daemon)
        if handle is not None:
            select.select([handle], [], [], seconds)
            os.close(handle)
        self.until(lambda: not self.is_alive(), "the daemon's end", seconds=5)
        return self.ends[-1]

    def leave(self) -> None:
        """End everything that runs here."""
        if self.is_alive():
            self.kill()
        self.hang_up()
        self.close_ledger()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def processes(self) -> dict[int, str]:
        """Every process that belongs to a run here, with its command line; zombies have none."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) in {os.getpid(), self.daemon}:
                continue
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                where = os.readlink(entry / "cwd")
                if str(self.folder) in command or where.startswith(str(self.folder)):
                    found[int(entry.name)] = command.strip()
        return found

    # ---- talking with it ----

    def client(self) -> Client:
        if self._client is None:
            self._client = Client(self.place, answer_within_s=60)
        return self._client

    def hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def ask(self, verb: str, **words: Any) -> OrchestratorError | None:
        """Ask the daemon for something. Returns: why it did not do it; it may just be dead."""
        try:
            self.client().act(Action.model_validate({"verb": verb, "by": "person", **words}))
        except OrchestratorError as error:
            self.hang_up()
            return error
        return None

    def digest(self, plan: str) -> str:
        return check_plan(self.place, self.person.repo / plan, Overrides()).digest

    def submit(self, plan: str, digest: str) -> OrchestratorError | None:
        try:
            self.client().submit(SubmitPlan(path=str(self.person.repo / plan), digest=digest, by="person"))
        except OrchestratorError as error:
            self.hang_up()
            return error
        return None

    # ---- the ledger ----

    def reader(self) -> SqliteReader | None:
        """The ledger, when there is one that can be read."""
        if self._reader is None and self.place.ledger.exists():
            with contextlib.suppress(OrchestratorError):
                self._reader = SqliteReader(self.place.ledger)
        return self._reader

    def close_ledger(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def rows(self, table: str) -> list[dict[str, Any]]:
        reader = self.reader()
        return [] if reader is None else reader.rows(table)

    def events(self) -> list[Stored]:
        reader = self.reader()
        return [] if reader is None else reader.events()

    def count(self, kind: str) -> int:
        return sum(1 for event in self.events() if event.type == kind)

    def phase(self) -> str:
        """The state of the newest plan."""
        plans = self.rows("plan")
        return str(plans[-1]["state"]) if plans else ""

    def is_over(self) -> bool:
        return self.phase() in PLAN_OVER

    def tasks(self) -> dict[str, dict[str, Any]]:
        return {str(task["id"]): task for task in self.rows("task")}

    def open_items(self) -> list[dict[str, Any]]:
        return [item for item in self.rows("item") if not item["answer"] and not item.get("withdrawn")]

    # ---- waiting ----

    def until(self, holds: Callable[[], object], what: str, *, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not come in {seconds} s; see {self.folder}")
            time.sleep(0.01)

    def answers(self) -> bool:
        """Whether the daemon answers."""
        try:
            with Client(self.place, answer_within_s=5) as client:
                client.hello()
        except OrchestratorError:
            return False
        return True


def database_of(place_ledger: Path) -> sqlite3.Connection:
    """The ledger as any program may open it, to look."""
    return sqlite3.connect(f"{place_ledger.as_uri()}?mode=ro", uri=True)
