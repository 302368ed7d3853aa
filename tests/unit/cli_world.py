"""The outside of the command line, played: a ledger, a daemon, a clock, and builders of what they would say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.app.validation import Validation
from orchestrator.cli.main import main
from orchestrator.cli.session import Session
from orchestrator.core.detection import Signs
from orchestrator.model.assessment import Assessment, Overlap, Verdict
from orchestrator.model.attempt import AttemptState
from orchestrator.model.errors import NoDaemonError, NothingError, OrchestratorError
from orchestrator.model.ids import AttemptId, ItemId, PlanId, TaskId
from orchestrator.model.item import Item, ItemKind, Option
from orchestrator.model.place import Place
from orchestrator.model.plan import AgentSpec, Check, FileSet, Plan, RetryPolicy, Task
from orchestrator.model.probe import Probe
from orchestrator.model.run import Lane, PlanPhase, TaskState
from orchestrator.model.view import AttemptView, PlanView, TaskView
from orchestrator.ports import Stored
from orchestrator.wire import Accepted, Action, Hello, Overrides, SubmitPlan, dump

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DIGEST = "3f2a" * 16
OTHER_DIGEST = "9b1c" * 16
COMMIT = "1a2b3c4d5e6f" + "0" * 28

LANES = {
    TaskState.PENDING: Lane.PLANNED,
    TaskState.RUNNING: Lane.DOING,
    TaskState.BACKOFF: Lane.PLANNED,
    TaskState.ESCALATED: Lane.BLOCKED,
    TaskState.FOR_REVIEW: Lane.FOR_REVIEW,
    TaskState.QUEUED: Lane.MERGING,
    TaskState.GATING: Lane.MERGING,
    TaskState.LANDED: Lane.DONE,
    TaskState.FAILED: Lane.BLOCKED,
    TaskState.CANCELLED: Lane.CANCELLED,
}


def an_attempt(task: str, number: int = 1, **changes: Any) -> AttemptView:
    fields: dict[str, Any] = {
        "id": f"auth/{task}-{number}",
        "number": number,
        "agent": "claude",
        "token": number,
        "state": AttemptState.RUNNING,
        "ending": None,
        "failure": None,
        "detail": "",
        "started_at": NOW - timedelta(minutes=12),
        "launched_at": None,
        "ended_at": None,
        "worktree": None,
        "branch": None,
        "run_dir": f"attempts/auth/{task}-{number}/agent",
        "progress": "",
        "flags": (),
        "salvage": (),
    }
    return AttemptView(**{**fields, **changes})


def a_task(name: str, state: TaskState = TaskState.PENDING, **changes: Any) -> TaskView:
    history = changes.get("history", ())
    fields: dict[str, Any] = {
        "plan": "auth",
        "id": name,
        "title": f"Title of {name}",
        "order": 0,
        "state": state,
        "lane": LANES[state],
        "since": NOW - timedelta(minutes=12),
        "agent": "claude",
        "attempts": len(history),
        "branch": None,
        "worktree": None,
        "token": None,
        "waiting_for": None,
        "files": (f"src/{name}/**",),
        "depends_on": (),
        "landed_commit": COMMIT if state is TaskState.LANDED else None,
        "retry_at": None,
        "item": None,
        "reason": "",
        "summary": "",
        "changed": (),
        "usage": None,
        "failed": state is TaskState.FAILED,
        "history": (),
    }
    return TaskView(**{**fields, **changes})


def a_plan(name: str = "auth", state: PlanPhase = PlanPhase.RUNNING, **changes: Any) -> PlanView:
    fields: dict[str, Any] = {
        "name": name,
        "number": 1,
        "digest": DIGEST,
        "state": state,
        "target": "main",
        "publish": "end",
        "parallel": 4,
        "confirmed_at": NOW - timedelta(hours=1),
        "confirmed_by": "ada",
        "tip": COMMIT,
        "branch": f"orchestrator/{name}",
        "published": COMMIT if state is PlanPhase.PUBLISHED else None,
        "current": True,
        "gating": None,
        "checks": ("tests",),
    }
    return PlanView(**{**fields, **changes})


RETRY = Option(id="retry", label="Try again", effect="a fresh attempt starts")
GIVE_UP = Option(id="give_up", label="Give up", effect="the task fails")


def an_item(name: str = "i4", kind: ItemKind = ItemKind.AGENT_FAILED, **changes: Any) -> Item:
    fields: dict[str, Any] = {
        "id": ItemId(name),
        "kind": kind,
        "trigger": "crash",
        "plan_id": PlanId("auth"),
        "task_id": TaskId("api"),
        "attempt_id": AttemptId("auth/api-4"),
        "agent": "claude",
        "title": "'api' failed 4 times",
        "context": "exit status 1\nImportError: no module named jwt",
        "options": (RETRY, GIVE_UP),
        "asked_at": NOW - timedelta(minutes=5),
    }
    return Item(**{**fields, **changes})


def an_event(seq: int, kind: str, task: str | None = None, **data: Any) -> Stored:
    return Stored(
        seq=seq,
        at=NOW - timedelta(minutes=30) + timedelta(seconds=seq),
        type=kind,
        plan="auth",
        task=task,
        attempt=None,
        token=None,
        data=data,
    )


class Ledger:
    """A ledger in lists."""

    newer: str | None = None

    def __init__(self, *, plans: Any = (), tasks: Any = (), items: Any = (), events: Any = ()) -> None:
        self.plans, self.tasks, self.items = list(plans), list(tasks), list(items)
        self.stored: list[Stored] = list(events)
        self.changes = 0

    def rows(self, table: str, *, plan: str | None = None) -> list[dict[str, Any]]:
        held = {"plan": self.plans, "task": self.tasks, "item": self.items}[table]
        found = [dump(value) for value in held]
        name = {"plan": "name", "task": "plan", "item": "plan_id"}[table]
        return [row for row in found if plan in {None, row[name]}]

    def events(
        self,
        *,
        after_seq: int = 0,
        limit: int | None = None,
        plan: str | None = None,
        task: str | None = None,
        last: int | None = None,
    ) -> list[Stored]:
        found = [e for e in self.stored if e.seq > after_seq and plan in {None, e.plan} and task in {None, e.task}]
        return found[:limit] if last is None else found[-last:]

    def version(self) -> int:
        return self.changes

    def close(self) -> None:
        pass


class World:
    """What `orchestrator.app` would do, and a daemon that takes what it is given."""

    def __init__(self, root: Path, ledger: Ledger | None = None, *, pid: int | None = 4242) -> None:
        self.ledger = ledger
        self.pid = pid
        self.place = Place(
            root=root,
            common_dir=root / ".git",
            state_dir=root / ".git" / "orchestrator",
            worktrees=root.parent / "trees",
            socket=root / "socket",
        )
        self.assessment = an_assessment()
        self.checked: list[tuple[Path, Overrides]] = []
        self.spawned = 0
        self.foreground: dict[str, Any] = {}
        self.foreground_code = 0
        self.submitted: list[SubmitPlan] = []
        self.acted: list[Action] = []
        self.refusal: OrchestratorError | None = None
        self.on_submit: Callable[[], None] = lambda: None
        self.on_act: Callable[[], None] = lambda: None
        self.signs = Signs(files=frozenset({"Makefile"}), texts={"Makefile": "test:\n"})
        self.written: str | None = None
        self.probes: tuple[Probe, ...] = ()
        self.on_edit: Callable[[Path], int] = lambda path: 0
        self.kept: dict[str, str] = {}
        self.paged: list[tuple[bytes, bool]] = []
        self.has_pager = False
        self.validation = Validation(events=0, mended=(), left=())
        self.fixes: list[bool] = []
        self.pid_after: int | None = None  #: who holds the lock once the daemon was asked to end
        self.ended: list[int | None] = []

    def place_for(self, start: Path) -> Place:
        return self.place

    def open_ledger(self, place: Place) -> Ledger:
        if self.ledger is None:
            raise NothingError("nothing has run in this repository yet")
        return self.ledger

    def validate(self, place: Place, *, fix: bool) -> Validation:
        self.fixes.append(fix)
        return self.validation

    def end_daemon(self, place: Place) -> bool:
        self.ended.append(self.pid)
        self.pid = self.pid_after
        return True

    def daemon_info(self, place: Place) -> dict[str, Any] | None:
        return None if self.pid is None else {"pid": self.pid, "start_time": 1, "boot_id": "b"}

    def load_settings(self, place: Place, flags: Mapping[str, Any] | None = None) -> Any:
        return {"log_level": ("info", "built in"), "grace": (timedelta(seconds=10), "orchestrator.toml")}

    def look_around(self, place: Place) -> Signs:
        return self.signs

    def settings_file(self, place: Place) -> str | None:
        path = place.root / "orchestrator.toml"
        return path.read_text() if path.exists() else None

    def write_settings(self, place: Place, text: str) -> Path:
        path = place.root / "orchestrator.toml"
        path.write_text(text)
        self.written = text
        return path

    def examine(self, start: Path) -> tuple[Probe, ...]:
        return self.probes

    def setting_origins(self, settings: Any) -> list[tuple[str, Any, str]]:
        return [(key, value, origin) for key, (value, origin) in settings.items()]

    def check_plan(self, place: Place, path: Path, overrides: Overrides, text: str | None = None) -> Assessment:
        self.checked.append((path, overrides))
        return self.assessment

    def kept_plan(self, place: Place, name: str) -> str | None:
        return self.kept.get(name)

    def keep_plan(self, place: Place, name: str, text: str) -> Path:
        self.kept[name] = text
        return place.kept_plans / f"{name}.yaml"

    def edit_file(self, path: Path) -> int:
        return self.on_edit(path)

    def editor(self) -> list[str]:
        return ["my editor", "--wait"]

    def page(self, text: bytes, *, like_git: bool = False) -> bool:
        self.paged.append((text, like_git))
        return self.has_pager

    def plan_schema(self) -> dict[str, Any]:
        return {"title": "plan"}

    def spawn_daemon(self, place: Place, *, log_level: str | None = None) -> None:
        self.spawned += 1
        self.pid = 4243

    def run_daemon(self, place: Place, **given: Any) -> int:
        self.foreground = given
        self.on_submit()
        return self.foreground_code

    def why(self, place: Place, task: str, plan: str) -> list[str]:
        return [f"'{task}' is pending (lane: planned)", "depends on 'db', which is running"]

    # the local API

    def hello(self) -> Hello:
        return Hello(version="1", pid=self.pid or 0, root=str(self.place.root), plan=None, draining=False)

    def submit(self, plan: SubmitPlan) -> Accepted:
        self.answer()
        self.submitted.append(plan)
        self.on_submit()
        return Accepted(seq=7)

    def act(self, action: Action) -> Accepted:
        self.answer()
        self.acted.append(action)
        self.on_act()
        return Accepted(seq=8)

    def answer(self) -> None:
        if self.pid is None:
            raise NoDaemonError("no daemon runs here", fix="start it: orchestrator start")
        if self.refusal is not None:
            raise self.refusal

    def close(self) -> None:
        pass


def run(
    world: World,
    *arguments: str,
    terminal: bool = False,
    typed: tuple[str, ...] = (),
    wait: Callable[[float], None] | None = None,
    columns: int | None = None,
) -> int:
    """Run a command against a played world. `typed` is what the person answers, one question after the other."""
    answers = list(typed)
    session = Session(
        directory=world.place.root,
        terminal=terminal,
        world=lambda: world,
        sight=lambda: world,
        connect=lambda place: world,
        now=lambda: NOW,
        wait=wait or never_ends,
        ask=lambda question: answers.pop(0),
        known_place=world.place,
        columns=columns,
    )
    return main(arguments, session=session)


def never_ends(seconds: float) -> None:
    raise AssertionError("the command waits for something that this test does not let happen")


# ---- plans that a person would confirm ----


def a_plan_task(name: str, *, after: tuple[str, ...] = (), files: FileSet | None = None, **changes: Any) -> Task:
    return Task(
        id=TaskId(name),
        title=f"Title of {name}",
        prompt=f"Do {name}.\nThen say so.",
        files=files or FileSet(include=(f"src/{name}/**",)),
        depends_on=tuple(TaskId(one) for one in after),
        agent=changes.pop("agent", "claude"),
        retry=RetryPolicy(retries=3, waits=(timedelta(minutes=1),)),
        **changes,
    )


def a_plan_text(*tasks: Task, **changes: Any) -> Plan:
    return Plan(
        name=PlanId("auth"),
        target="main",
        checks=(Check(name="tests", run=("make", "test"), timeout=timedelta(minutes=10)),),
        agents=(AgentSpec(name="claude", adapter="claude", count=2),),
        tasks=tasks or (a_plan_task("db"), a_plan_task("api", after=("db",)), a_plan_task("docs")),
        **changes,
    )


def an_assessment(plan: Plan | None = None, **changes: Any) -> Assessment:
    fields: dict[str, Any] = {
        "plan": plan or a_plan_text(),
        "digest": DIGEST,
        "verdict": Verdict.PARALLEL,
        "waves": ((TaskId("db"), TaskId("docs")), (TaskId("api"),)),
        "critical_path": (TaskId("db"), TaskId("api")),
        "one_by_one": timedelta(minutes=60),
        "in_parallel": timedelta(minutes=40),
        "git_config": {"user.name": "Ada"},
    }
    return Assessment(**{**fields, **changes})


def an_overlap(first: str, second: str, witness: str, **changes: Any) -> Overlap:
    return Overlap(tasks=(TaskId(first), TaskId(second)), witness=witness, **changes)
