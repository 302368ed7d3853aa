"""A world in values: answers every effect at once, as a script says. No I/O, no time but a number.

It plays repository, executor, agents and people around the production core, so that a whole plan runs in a
millisecond and every rule can be looked at as a list of events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.core.graph import ranks
from orchestrator.core.lifecycle import decide
from orchestrator.core.overlap import overlapping_pairs, rivals_of
from orchestrator.core.state import apply
from orchestrator.model.agent import AgentReport
from orchestrator.model.attempt import ExitWhy, ProcessId, RunExit, RunKind, RunLife, Workspace
from orchestrator.model.effect import (
    BeginBranch,
    BuildCandidate,
    CollectWork,
    DeleteTrash,
    Effect,
    KillRun,
    LandCandidate,
    MakeWorkspace,
    MirrorBranch,
    ProbeRun,
    ProbeTree,
    PublishPlan,
    ReleaseRun,
    RemoveTree,
    SendAnswer,
    StartRun,
    StopRun,
    WakeAt,
)
from orchestrator.model.event import Event, LeaseEnded, LeaseGranted, wire_name
from orchestrator.model.fact import (
    AgentReported,
    AnswerDelivered,
    AnswerGiven,
    BranchBegun,
    CandidateBuilt,
    CandidateConflicted,
    CandidateLanded,
    DaemonStarted,
    Done,
    Fact,
    PlanSubmitted,
    PublishDone,
    PublishRefused,
    Removed,
    RunEnded,
    RunKilled,
    RunProbed,
    RunReady,
    RunReleased,
    TargetMoved,
    TrashDeleted,
    TreeProbed,
    WorkCollected,
    WorkspaceReady,
)
from orchestrator.model.ids import AttemptId, Commit, ItemId, PlanId, RunId, TaskId
from orchestrator.model.item import Item
from orchestrator.model.plan import (
    AgentSpec,
    Check,
    FileSet,
    Plan,
    Prepare,
    PublishMode,
    RetryPolicy,
    Task,
)
from orchestrator.model.run import PlanRun, State, TaskRun, TaskState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OK = RunExit(why=ExitWhy.EXIT, code=0)
CRASH = RunExit(why=ExitWhy.EXIT, code=1)
TIMEOUT = RunExit(why=ExitWhy.TIMEOUT, code=-15)
STOPPED = RunExit(why=ExitWhy.STOPPED, code=-15)
RETRY = RetryPolicy(retries=3, waits=(timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15)))


def a_task(name: str, files: Sequence[str] | None = None, **more: Any) -> Task:
    """A task that owns a file of its own unless told otherwise."""
    include = (f"src/{name}.py",) if files is None else tuple(files)
    values: dict[str, Any] = {"title": name, "prompt": f"do {name}", "files": FileSet(include=include), "retry": RETRY}
    return Task(id=TaskId(name), **(values | more))


def a_plan(*tasks: Task, checks: Sequence[str] = ("tests",), prepare: int = 0, **more: Any) -> Plan:
    values: dict[str, Any] = {
        "name": PlanId("p"),
        "target": "main",
        "checks": tuple(Check(name=c, run=(c,), timeout=timedelta(minutes=10)) for c in checks),
        "prepare": Prepare(run=(("true",),) * prepare),
        "agents": (AgentSpec(name="a", adapter="demo", count=4), AgentSpec(name="b", adapter="demo", count=4)),
        "tasks": tasks,
        "publish": PublishMode.END,
    }
    return Plan(**(values | more))


@dataclass
class Script:
    """How one attempt goes."""

    exit: RunExit = OK
    changed: tuple[str, ...] | None = None  #: None: the first file of the task
    reports: tuple[AgentReport, ...] = ()
    hangs: bool = False  #: until it is stopped
    more: dict[str, Any] = field(default_factory=dict)  #: other fields of WorkCollected


Checker = Callable[[str | None, str], RunExit]


class World:
    """The core, and everything around it answered in order."""

    def __init__(self, plan: Plan, *, sequential: bool = False) -> None:
        self.plan = plan
        self.state = State()
        self.events: list[Event] = []
        self.times: list[datetime] = []
        self.now = NOW
        self.todo: deque[Effect] = deque()
        self.keys: set[str] = set()
        self.wakes: list[WakeAt] = []
        self.scripts: dict[str, list[Script]] = {}
        self.check: Checker = lambda task, name: OK
        self.conflicts: dict[
            str | None, list[tuple[str, ...]]
        ] = {}  #: task, `undo TASK` or None (sync) -> conflicts to come
        self.target = Commit("target-0")
        self.contained: set[str] = {"target-0"}  #: commits of the target that the plan's branch holds
        self.refuse_publish: list[str] = []
        self.sent: list[SendAnswer] = []
        self.hanging: set[RunId] = set()
        self.held: list[Effect] = []  #: effects kept back by `hold`
        self.hold: Callable[[Effect], bool] = lambda _: False
        self.life = RunLife.ALIVE  #: what a look at a supervisor shows
        self.deaf = False  #: supervisors do not hear that they are to stop
        self.undead: tuple[int, ...] = ()  #: processes that do not die when they are killed
        self.inside: tuple[int, ...] = ()  #: processes in the trees that were claimed by hand
        self.most_at_once = 0
        self.overlap_seen: list[tuple[TaskId, TaskId]] = []
        self.give(DaemonStarted(pid=1, boot_id="b", version="0", quiet=timedelta(minutes=10)))
        self.submit(plan, sequential=sequential)

    # ---- what a test does ----

    def submit(self, plan: Plan, digest: str = "d", *, sequential: bool = False) -> None:
        pairs = tuple(o.tasks for o in overlapping_pairs(plan.tasks, plan.resources, ordered=lambda a, b: False))
        self.give(
            PlanSubmitted(
                plan=plan,
                digest=digest,
                by="me",
                sequential=sequential,
                rivals=pairs,
                rank=ranks(plan.tasks, rivals_of(pairs)),
            )
        )

    def give(self, fact: Fact, chance: float = 0.5) -> None:
        """Hand a fact to the core, and keep what it decides."""
        decision = decide(self.state, fact, self.now, chance)
        for event in decision.events:
            self._watch(event)
            self.state = apply(self.state, event, self.now)
            self.events.append(event)
            self.times.append(self.now)
        assert self.state == decision.state, "the fold and the decision disagree"
        asked = [effect.key for effect in decision.effects]
        assert len(asked) == len(set(asked)), "one decision asks for one thing twice, which would be done twice at once"
        for effect in decision.effects:
            if effect.key in self.keys:
                continue
            self.keys.add(effect.key)
            if isinstance(effect, WakeAt):
                self.wakes.append(effect)
            else:
                self.todo.append(effect)

    def run(self, *, until_quiet: bool = True) -> World:
        """Answer effects until none is left, letting time pass to the next wake-up when nothing else happens."""
        for _ in range(100_000):
            if self.todo:
                self.answer(self.todo.popleft())
            elif (until_quiet and not self._pass_time()) or not until_quiet:
                return self
        raise AssertionError("the world never comes to rest")

    def settle(self) -> World:
        """Answer effects without letting time pass."""
        return self.run(until_quiet=False)

    def answer_item(self, choice: str, text: str = "", item: ItemId | None = None) -> World:
        item = item or self.inbox()[0].id
        self.give(AnswerGiven(item_id=item, choice=choice, text=text, by="me"))
        return self

    def inbox(self) -> tuple[Item, ...]:
        return self.state.open_items()

    @property
    def plan_run(self) -> PlanRun:
        return self.state.plans[self.plan.name]

    def task(self, name: str) -> TaskRun:
        return self.plan_run.tasks[TaskId(name)]

    def states(self) -> dict[str, TaskState]:
        return {str(t): run.state for t, run in self.plan_run.tasks.items()}

    def names(self) -> list[str]:
        return [wire_name(type(event)) for event in self.events]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    # ---- what the world does ----

    def answer(self, effect: Effect) -> None:
        if self.hold(effect):
            self.held.append(effect)
            return
        fact = self.fact_for(effect)
        if fact is not None:
            self.give(fact)

    def release_held(self) -> World:
        self.hold = lambda _: False
        held, self.held = self.held, []
        self.todo.extend(held)
        return self

    def script(self, attempt: AttemptId) -> Script:
        task, number = attempt.split("/")[1].rsplit("-", 1)
        scripts = self.scripts.get(task, [])
        return scripts[int(number) - 1] if int(number) <= len(scripts) else Script()

    def fact_for(self, effect: Effect) -> Fact | None:
        match effect:
            case BeginBranch():
                return BranchBegun(plan_id=effect.plan_id, number=effect.number, tip=self.target, target=self.target)
            case MakeWorkspace():
                place = Workspace(
                    path=f"/w/{effect.attempt_id}", git_dir="/g", branch=f"refs/heads/{effect.attempt_id}"
                )
                return WorkspaceReady(attempt_id=effect.attempt_id, workspace=place, base=effect.base)
            case StartRun():
                return RunReady(
                    run_id=effect.run_id, supervisor=ProcessId(pid=len(self.keys), start_time=1, boot_id="b")
                )
            case ReleaseRun():
                self.give(RunReleased(run_id=effect.run_id))
                return self._run(effect.run_id)
            case StopRun():
                if self.deaf:
                    return None
                self.hanging.discard(effect.run_id)
                return RunEnded(run_id=effect.run_id, exit=STOPPED)
            case ProbeRun():
                return RunProbed(run_id=effect.run_id, token=effect.token, life=self.life)
            case KillRun():
                if not self.undead:
                    self.hanging.discard(effect.run_id)
                return RunKilled(run_id=effect.run_id, left=self.undead)
            case ProbeTree():
                return TreeProbed(attempt_id=effect.attempt_id, token=effect.token, inside=self.inside)
            case CollectWork():
                return self._collected(effect)
            case SendAnswer():
                self.sent.append(effect)
                self.give(AnswerDelivered(item_id=effect.item_id))
                run = RunId(f"{effect.attempt_id}/agent")
                self.hanging.discard(run)
                return RunEnded(run_id=run, exit=OK)
            case BuildCandidate():
                return self._candidate(effect)
            case LandCandidate():
                candidate = self.plan_run.candidate
                if candidate is not None and candidate.task_id is None and candidate.undoes is None:
                    self.contained.add(candidate.other)
                if candidate is not None and candidate.task_id and (m := self.plan_run.tasks[candidate.task_id].merges):
                    self.contained.add(m)
                return CandidateLanded(candidate_id=effect.candidate_id, commit=effect.new)
            case MirrorBranch():
                return Done()
            case RemoveTree():
                return Removed(owner=effect.owner)
            case DeleteTrash():
                return TrashDeleted(entries=effect.entries, size_bytes=4096 * len(effect.entries))
            case PublishPlan():
                if self.target not in self.contained:
                    return TargetMoved(plan_id=effect.plan_id, target=self.target)
                if self.refuse_publish:
                    return PublishRefused(plan_id=effect.plan_id, why=self.refuse_publish.pop(0), command="git merge")
                self.target = effect.commit
                self.contained.add(effect.commit)
                return PublishDone(plan_id=effect.plan_id, commit=effect.commit)
            case WakeAt():
                raise AssertionError("kept apart")

    def _run(self, run_id: RunId) -> Fact | None:
        owner, step = run_id.rsplit("/", 1)
        run = self.plan_run.runs.get(run_id)
        if run is None:
            return None
        if run.kind is RunKind.AGENT:
            script = self.script(AttemptId(owner))
            for number, report in enumerate(script.reports, start=1):
                self.give(AgentReported(attempt_id=AttemptId(owner), report=report, offset=number))
            if script.hangs:
                self.hanging.add(run_id)
                return None
            return RunEnded(run_id=run_id, exit=script.exit, tail="agent output")
        if run.kind is RunKind.CHECK and self.plan_run.candidate is not None:
            at_gate = self.plan_run.candidate
            what = f"undo {at_gate.undoes}" if at_gate.undoes else at_gate.task_id
            return RunEnded(run_id=run_id, exit=self.check(what, step), tail="check output")
        return RunEnded(run_id=run_id, exit=OK)

    def _collected(self, effect: CollectWork) -> Fact:
        script = self.script(effect.attempt_id)
        files = self.plan_run.tasks[effect.task_id].task.files.include
        changed = script.changed if script.changed is not None else files[:1]
        attempt = self.plan_run.attempts[effect.attempt_id]
        values: dict[str, Any] = {
            "attempt_id": effect.attempt_id,
            "head": Commit(f"head-{effect.attempt_id}") if changed else attempt.base,
            "descends": True,
            "changed": changed,
            "committed_by_us": False,
            "unfinished_merge": (),
            "nested": (),
            "salvage": (),
        }
        return WorkCollected(**(values | script.more))

    def _candidate(self, effect: BuildCandidate) -> Fact:
        candidate = self.plan_run.candidate
        if candidate is None or candidate.id != effect.candidate_id:
            return Done()
        merges = candidate.task_id is not None and self.plan_run.tasks[candidate.task_id].merges is not None
        moved = self.target not in self.contained and self.target != self.plan_run.sync_held
        if candidate.task_id is not None and not merges and moved:
            return TargetMoved(plan_id=effect.plan_id, target=self.target)
        what = f"undo {candidate.undoes}" if candidate.undoes else candidate.task_id
        if self.conflicts.get(what):
            paths = self.conflicts[what].pop(0)
            return CandidateConflicted(candidate_id=effect.candidate_id, paths=paths, detail="<<<<<<<")
        commit = Commit(f"commit-{effect.candidate_id}")
        return CandidateBuilt(candidate_id=effect.candidate_id, commit=commit, tree=f"tree-{commit}", path="/c")

    def _pass_time(self) -> bool:
        due = sorted((w for w in self.wakes if self._matters(w)), key=lambda w: w.at)
        if not due:
            return False
        self.wakes.remove(due[0])
        self.now = max(self.now, due[0].at)
        self.give(due[0].fact)
        return True

    def later(self, wait: timedelta) -> World:
        """Let time pass, and bring what is due."""
        until = self.now + wait
        while due := sorted((w for w in self.wakes if w.at <= until), key=lambda w: w.at):
            self.wakes.remove(due[0])
            self.now = max(self.now, due[0].at)
            self.give(due[0].fact)
            self.settle()
        self.now = until
        return self

    def _matters(self, wake: WakeAt) -> bool:
        return "/retry/" in wake.key

    def _watch(self, event: Event) -> None:
        """The third promise, looked at with every event."""
        if isinstance(event, LeaseGranted):
            plan = self.state.plans[event.plan_id]
            for other in plan.leases:
                if other in plan.rivals.get(event.task_id, ()):
                    self.overlap_seen.append((event.task_id, other))
            self.most_at_once = max(self.most_at_once, len(plan.leases) + 1)
            assert event.token > self.state.token, "a token was used again"
        if isinstance(event, LeaseEnded):
            assert self.state.plans[event.plan_id].leases[event.task_id].token == event.token
