"""Leases and tasks under everything that the world can tell in any order: the production core over real SQLite.

The model around it is small: which supervised runs exist, where the plan's branch and the target are. Every fact that
the core is given comes from a rule; every decision is recorded by the production store; a crash forgets all but the
ledger. After each step the invariants of the lease protocol are looked at, by the names that the study gives them.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.core.guards import gate_hold, general_hold
from orchestrator.core.lifecycle import decide
from orchestrator.core.recoverysteps import first_events
from orchestrator.core.schedule import is_dead_end
from orchestrator.core.state import rebuild
from orchestrator.engine.projections import changed_rows
from orchestrator.model.agent import Asked, HandedIn, NoChange, Progress, Terminal
from orchestrator.model.attempt import AttemptState, ExitWhy, ProcessId, RunExit, RunLife, RunState, Workspace
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
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.event import (
    Answered,
    AttemptStarted,
    CandidateDropped,
    CandidateRequested,
    Event,
    GatePassed,
    HandedOff,
    Landed,
    LeaseEnded,
    LeaseGranted,
    LedgerRecovered,
    Published,
    Synced,
    TaskReopened,
    Undone,
)
from orchestrator.model.fact import (
    AgentReported,
    AnswerDelivered,
    AnswerGiven,
    AttemptBeat,
    AttemptQuiet,
    BranchBegun,
    CancelAsked,
    CandidateBuilt,
    CandidateConflicted,
    CandidateFailed,
    CandidateLanded,
    ClaimAsked,
    DaemonStarted,
    Done,
    EffectFailed,
    EvictAsked,
    Fact,
    FaultSeen,
    FinishAsked,
    GiveBackAsked,
    HandInAsked,
    LandingRefused,
    PauseAsked,
    PlanSubmitted,
    PressureSeen,
    PublishAsked,
    PublishDone,
    PublishRefused,
    ReleaseAsked,
    Removed,
    RenewAsked,
    ResumeAsked,
    RetryAsked,
    RunEnded,
    RunKilled,
    RunProbed,
    RunReady,
    RunReleased,
    StopAsked,
    TargetMoved,
    TrashDeleted,
    TreeProbed,
    UndoAsked,
    WorkCollected,
    WorkspaceFailed,
    WorkspaceReady,
)
from orchestrator.model.guard import FOLLOWS_WITHIN, Guards, HoldReason
from orchestrator.model.ids import AttemptId, Commit, ItemId, RunId, TaskId, run_id
from orchestrator.model.lease import LeaseState
from orchestrator.model.plan import HAND, PublishMode
from orchestrator.model.run import OVER, PLAN_OVER, Drain, PlanPhase, PlanRun, Reached, State, TaskState
from orchestrator.ports import Batch
from tests.fakes.world import NOW, a_plan, a_task
from tests.prove.ledger import LedgerInThread

SECONDS = [1, 29, 30, 31, 61, 299, 301, 570, 599, 600, 601, 631, 930, 3600, 3601, 90_000]
OK, CRASH = RunExit(why=ExitWhy.EXIT, code=0), RunExit(why=ExitWhy.EXIT, code=1)
EXITS = [
    OK,
    OK,
    OK,
    CRASH,
    RunExit(why=ExitWhy.EXIT, code=-9),
    RunExit(why=ExitWhy.TIMEOUT, code=-15),
    RunExit(why=ExitWhy.STOPPED, code=-15),
    RunExit(why=ExitWhy.LOST),
    RunExit(why=ExitWhy.NOT_FOUND),
    RunExit(why=ExitWhy.NEVER_STARTED),
]
REPORTS = [
    Progress(text="half way"),
    HandedIn(summary="done"),
    NoChange(reason="it was there"),
    Terminal(ok=False, kind="refused", text="no"),
    Asked(question_id="q1", text="which?", options=("x", "y")),
    Asked(question_id="q2", text="by the way?", options=(), waits=False),
]
TASKS = ("a", "b", "c", "d", "e")
SHM = Path("/dev/shm")
PLAN = a_plan(
    a_task("a", ["src/a.py"]),
    a_task("b", ["src/a.py", "src/b.py"]),
    a_task("c", ["src/c.py"], depends_on=(TaskId("a"),)),
    a_task("d", ["docs/**"], agent=HAND, uses=("db",)),
    a_task("e", ["docs/e.md", "other.py"], uses=("db",)),
    parallel=3,
    publish=PublishMode.END,
)
GUARDS = Guards(attempts=5, spawn_rate=2, spawn_burst=2)  #: low, so that they are met
SHORT_OF = (HoldReason.DISK, HoldReason.DESCRIPTORS, HoldReason.PROCESSES)
EDGES = (timedelta(microseconds=-1), timedelta(), timedelta(microseconds=1))
#: of the machine, what a backup of everything holds; tokens that were seen and numbers of commits are not in it
IN_BACKUPS = ("todo", "wakes", "known", "tip", "target", "tested", "standing", "line", "offered", "starts")
RIVALS = ((TaskId("a"), TaskId("b")), (TaskId("d"), TaskId("e")))


class Violation(AssertionError):
    """An invariant does not hold; its name comes first."""


def hold(name: str, holds: bool, *about: object) -> None:
    if not holds:
        raise Violation(f"{name}: {' '.join(map(str, about))}")


class Machine(RuleBasedStateMachine):
    """One repository, its ledger, and everything that may be told about it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="machine-", dir=SHM if SHM.is_dir() else None))
        self.ledger = LedgerInThread(self.folder / "ledger.sqlite")
        self.state = State()
        self.now = NOW
        self.todo: list[Effect] = []
        self.wakes: list[WakeAt] = []
        self.known: set[str] = set()
        self.told: list[tuple[Fact, str | None]] = []  #: for who looks into a failure
        self.said: list[Fact] = []  #: facts that may be told once more, late
        self.runs: set[RunId] = set()  #: what really runs
        self.tip, self.target = Commit("c0"), Commit("c0")
        self.commits = 0
        self.parents: dict[Commit, tuple[Commit, ...]] = {}
        self.granted: list[int] = []
        self.tested: set[Commit] = set()
        self.standing: set[TaskId] = set()
        self.line: list[Commit] = []
        self.first_of: dict[Commit, Commit] = {}
        self.offered: set[tuple[TaskId, int]] = set()  #: hand-offs, as task and token
        self.starts: dict[TaskId, int] = {}  #: since a person had their say about it
        self.hasty: list[datetime] = []  #: starts that followed a failure
        self.folded = State()  #: what the file was seen to lead to, when it was last opened
        self.boots = 0
        self.backup: tuple[Path, State, dict[str, Any]] | None = None

    def teardown(self) -> None:
        try:
            self.come_to_rest()
            self.look_at_the_ledger()
        finally:
            self.ledger.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    # ---- the loop in small ----

    def give(self, fact: Fact, key: str | None = None, chance: float = 0.5) -> None:
        self.told.append((fact, key))
        decision = decide(self.state, fact, self.now, chance)
        before, state = self.state, decision.state
        batch = Batch(
            at=self.now,
            events=decision.events,
            rows=tuple(changed_rows(before, state)),
            effects=decision.effects,
            done=(key,) if key is not None else (),
        )
        self.ledger.record(batch)
        self.state = state
        for event in decision.events:
            self.watch(event)
        self.look_at_holds(before, decision.events)
        asked = [effect.key for effect in decision.effects]
        hold("I8", len(asked) == len(set(asked)), "one decision asks for one thing twice", asked)
        for effect in decision.effects:
            if effect.key in self.known:
                continue
            self.known.add(effect.key)
            (self.wakes if isinstance(effect, WakeAt) else self.todo).append(effect)  # type: ignore[arg-type]

    def ask(self, fact: Fact) -> None:
        """What a person asks for; a refusal changes nothing."""
        before = self.state
        try:
            self.give(fact)
        except OrchestratorError:
            hold("I8", self.state is before, "a refusal changed something")

    @property
    def plan(self) -> PlanRun:
        return self.state.plans[PLAN.name]

    def commit(self, *parents: Commit) -> Commit:
        self.commits += 1
        new = Commit(f"c{self.commits}")
        self.parents[new] = parents
        return new

    def contains(self, commit: Commit, ancestor: Commit) -> bool:
        todo, seen = [commit], set()
        while todo:
            here = todo.pop()
            if here == ancestor:
                return True
            if here not in seen:
                seen.add(here)
                todo.extend(self.parents.get(here, ()))
        return False

    # ---- what is looked at with every event ----

    def watch(self, event: Event) -> None:
        match event:
            case LeaseGranted():
                hold("I2", not self.granted or event.token > max(self.granted), "token", event.token, self.granted)
                self.granted.append(event.token)
            case AttemptStarted():
                self.look_at_claim(event.task_id)
                self.count_start(event)
            case TaskReopened():
                self.starts.pop(event.task_id, None)
            case Answered():
                about = self.state.items[event.item_id].task_id
                self.starts.pop(about or TaskId(""), None)
            case HandedOff():
                newest = max(self.granted)
                tokens = [a.token for a in self.plan.attempts.values() if a.task_id == event.task_id]
                hold("I5", event.token == max(tokens), "handed off under an old token", event.token, tokens, newest)
                self.offered.add((event.task_id, event.token))
            case GatePassed():
                self.tested.add(event.commit)
            case Landed():
                hold("I6", event.task_id not in self.standing, event.task_id, "landed twice")
                self.standing.add(event.task_id)
                if event.commit is not None:
                    hold("I5", event.commit in self.tested, event.commit, "landed untested")
                    self.line.append(event.commit)
            case Synced() | Undone():
                hold("I5", event.commit in self.tested, event.commit, "landed untested")
                self.line.append(event.commit)
                if isinstance(event, Undone):
                    self.standing.discard(event.task_id)
            case Published():
                hold("I5", event.commit in {*self.tested, Commit("c0")}, event.commit, "published untested")
            case LeaseEnded():
                run = self.plan.attempts[event.attempt_id].run_id
                hold("I10", run not in self.runs, "the lease ended while", run, "runs")
            case CandidateDropped():
                pass
            case _:
                pass

    def look_at_claim(self, task_id: TaskId) -> None:
        plan = self.plan
        task = plan.tasks[task_id].task
        for dependency in task.depends_on:
            hold("I3", plan.tasks[dependency].state is TaskState.LANDED, task_id, "before", dependency)
        for other in plan.rivals.get(task_id, ()):
            hold("I3", other not in plan.leases, task_id, "beside", other)
        counted = [
            lease
            for lease in plan.leases.values()
            if plan.attempts[lease.attempt_id].state is not AttemptState.WAITING
            and plan.attempts[lease.attempt_id].by_hand is None
        ]
        hold("I4", len(counted) <= PLAN.parallel, len(counted), "at once")
        endless = [lease for lease in plan.leases.values() if lease.is_indefinite and lease.beats]
        terms = self.state.terms
        hold("I4", len(endless) <= terms.indefinite, "indefinite leases")
        for holder in {lease.holder for lease in endless}:
            mine = [lease for lease in endless if lease.holder == holder]
            hold("I4", len(mine) <= terms.indefinite_per_agent, holder)

    def count_start(self, event: AttemptStarted) -> None:
        """I15."""
        if event.held:
            return
        self.starts[event.task_id] = self.starts.get(event.task_id, 0) + 1
        hold("I15", self.starts[event.task_id] <= GUARDS.attempts, event.task_id, "is started", self.starts)
        failed_at = self.plan.tasks[event.task_id].failed_at
        if failed_at is not None and self.now - failed_at < FOLLOWS_WITHIN:
            self.hasty = [at for at in self.hasty if self.now - at < timedelta(minutes=1)] + [self.now]
            most = GUARDS.spawn_burst + GUARDS.spawn_rate
            hold("I15", len(self.hasty) <= most, len(self.hasty), "starts after failures within a minute")

    def look_at_holds(self, before: State, events: tuple[Event, ...]) -> None:
        """While something holds new work back, none begins."""
        if general_hold(before) is not None and general_hold(self.state) is not None:
            hold("I15", not any(isinstance(e, AttemptStarted) for e in events), "started while", self.state.holds)
        if gate_hold(before) is not None and gate_hold(self.state) is not None:
            # a target that moved under a candidate that was begun before is taken in all the same
            next_one = any(isinstance(e, CandidateRequested) and e.task_id is not None for e in events)
            hold("I15", not next_one, "built while", self.state.holds)

    # ---- what is looked at after every step ----

    @invariant()
    def leases_are_sound(self) -> None:
        if PLAN.name not in self.state.plans:
            return
        plan = self.plan
        live = {a.id for a in plan.attempts.values() if a.state is not AttemptState.ENDED}
        held = [lease.attempt_id for lease in plan.leases.values()]
        hold("I1", set(held) == live and len(held) == len(live), "attempts", live, "leases", held)
        for task_id, lease in plan.leases.items():
            hold("I1", plan.attempts[lease.attempt_id].task_id == task_id, task_id, lease.attempt_id)
            if lease.state is LeaseState.STUCK:
                state = plan.attempts[lease.attempt_id].state
                hold("I1", state in {AttemptState.STUCK, AttemptState.STOPPING}, lease.attempt_id, "is", state)
        holding = [task_id for task_id, task in plan.tasks.items() if task.holds]
        for task_id in holding:
            rivals = plan.rivals.get(task_id, frozenset())
            both = [other for other in plan.leases if other in rivals and task_id in plan.leases]
            hold("I3", not both, task_id, "and", both, "at once")

    @invariant()
    def branch_is_the_recorded_landings(self) -> None:
        if PLAN.name not in self.state.plans:
            return
        if self.line:
            hold("I7", self.plan.tip == self.line[-1], self.plan.tip, self.line)
            for earlier, later in zip(self.line, self.line[1:], strict=False):
                first = self.parents[later][0]
                hold("I7", first == earlier, later, "stands on", first, "and not on", earlier)

    @invariant()
    def nothing_is_stuck_in_silence(self) -> None:
        if PLAN.name not in self.state.plans:
            return
        plan, state = self.plan, self.state
        if state.drain is not Drain.NO or plan.phase is not PlanPhase.RUNNING or self.todo or self.runs:
            return
        asked = {item.task_id for item in state.open_items()}
        for task_id, task in plan.tasks.items():
            if task.state in OVER or task_id in plan.leases or task_id in asked:
                continue
            due = any(getattr(wake.fact, "task_id", None) == task_id for wake in self.wakes)
            if task.state is TaskState.BACKOFF:
                hold("I14", due, task_id, "backs off without a wake-up")
            elif task.state is TaskState.PENDING:
                waits = task.task.is_for_hand or task.task.depends_on or plan.rivals.get(task_id)
                held = bool(waits or state.holds)
                hold("I14", held or is_dead_end(plan, task_id) is not None or bool(asked), task_id, "waits")
            else:
                moves = plan.candidate is not None or plan.publishing or bool(state.open_items() or state.holds)
                hold("I14", moves, task_id, task.state, "and nothing moves")

    # ---- the beginning ----

    @initialize()
    def begins(self) -> None:
        self.daemon_starts()
        self.give(
            PlanSubmitted(plan=PLAN, digest="d", by="me", sequential=False, rivals=RIVALS, rank={}),
        )

    def daemon_starts(self, boot: str = "b") -> None:
        self.give(
            DaemonStarted(
                pid=1,
                boot_id=boot,
                version="0",
                quiet=timedelta(minutes=10),
                guards=GUARDS,
                tokens_from=self.ledger.highest_token(),
            )
        )

    # ---- the world answers what it was asked ----

    @precondition(lambda self: self.todo)
    @rule(which=st.integers(0, 7), how=st.integers(0, 9))
    def answers(self, which: int, how: int) -> None:
        effect = self.todo.pop(which % len(self.todo))
        self.tell(self.fact_for(effect, how), effect.key)

    @precondition(lambda self: self.todo)
    @rule(count=st.integers(2, 12))
    def answers_well(self, count: int) -> None:
        for _ in range(count):
            if not self.todo:
                break
            effect = self.todo.pop(0)
            self.tell(self.fact_for(effect, 0), effect.key)

    def tell(self, fact: Fact, key: str | None = None) -> None:
        self.said.append(fact)
        del self.said[:-30]
        self.give(fact, key)

    def fact_for(self, effect: Effect, how: int) -> Fact:
        """What came of an effect. `how` 0: what was wanted."""
        match effect:
            case BeginBranch():
                return BranchBegun(plan_id=effect.plan_id, number=effect.number, tip=self.tip, target=self.target)
            case MakeWorkspace():
                if how == 1:
                    return WorkspaceFailed(attempt_id=effect.attempt_id, detail="no room")
                place = Workspace(path=f"/w/{effect.attempt_id}", git_dir="/g", branch="refs/heads/x")
                return WorkspaceReady(attempt_id=effect.attempt_id, workspace=place, base=effect.base)
            case StartRun():
                if how == 1:
                    return RunEnded(run_id=effect.run_id, exit=RunExit(why=ExitWhy.LOST, detail="no supervisor"))
                supervisor = ProcessId(pid=7, start_time=1, boot_id=self.state.boot_id)
                return RunReady(run_id=effect.run_id, supervisor=supervisor)
            case ReleaseRun():
                if effect.run_id in self.plan.runs:
                    self.runs.add(effect.run_id)
                return RunReleased(run_id=effect.run_id)
            case StopRun():
                if how == 1:
                    return Done()  # the supervisor does not hear
                return self.over(effect.run_id, EXITS[6])
            case ProbeRun():
                lives = RunLife.SILENT if how in {1, 2} else RunLife.ALIVE
                life = lives if effect.run_id in self.runs else RunLife.GONE
                return RunProbed(run_id=effect.run_id, token=effect.token, life=life)
            case ProbeTree():
                inside = (41,) if how in {1, 2} else ()
                return TreeProbed(attempt_id=effect.attempt_id, token=effect.token, inside=inside)
            case KillRun():
                if how == 1:
                    return RunKilled(run_id=effect.run_id, left=(42,))
                self.runs.discard(effect.run_id)
                return RunKilled(run_id=effect.run_id, left=())
            case CollectWork():
                return self.collected(effect, how)
            case SendAnswer():
                return AnswerDelivered(item_id=effect.item_id)
            case BuildCandidate():
                return self.built(effect, how)
            case LandCandidate():
                return self.landed(effect, how)
            case MirrorBranch():
                return EffectFailed(key=effect.key, detail="it is checked out") if how == 1 else Done()
            case RemoveTree():
                return Removed(owner=effect.owner)
            case DeleteTrash():
                return TrashDeleted(entries=effect.entries, size_bytes=1)
            case PublishPlan():
                return self.published(effect, how)
            case _:
                raise AssertionError(effect)

    def over(self, run: RunId, exit: RunExit) -> Fact:
        self.runs.discard(run)
        return RunEnded(run_id=run, exit=exit, tail="said")

    def collected(self, effect: CollectWork, how: int) -> Fact:
        run = run_id(effect.attempt_id, "agent")
        hold("I11", run not in self.runs, "collected while", run, "runs")
        attempt = self.plan.attempts[effect.attempt_id]
        changed = {1: (), 2: ("elsewhere.py",)}.get(how, self.plan.tasks[effect.task_id].task.files.include[:1])
        base = attempt.base or self.tip
        # asked again after a crash, the same commit is found: its name is made from what it holds
        head = Commit(f"{effect.attempt_id}/{'kept' if effect.keep_only else 'head'}") if changed else base
        if changed:
            self.parents.setdefault(head, (base,))
        return WorkCollected(
            attempt_id=effect.attempt_id,
            head=None if how == 3 else head,
            descends=how != 4,
            changed=changed,
            committed_by_us=True,
            unfinished_merge=("src/a.py",) if how == 5 else (),
            nested=("sub",) if how == 6 else (),
            salvage=("refs/orchestrator/s",) if effect.keep_only else (),
            error="unreadable" if how == 3 else "",
        )

    def built(self, effect: BuildCandidate, how: int) -> Fact:
        at_gate = self.plan.candidate
        if at_gate is None or at_gate.id != effect.candidate_id:
            return Done()
        if at_gate.task_id is not None and self.plan.tasks[at_gate.task_id].merges is None:
            held = self.plan.sync_held
            if self.target != held and not self.contains(at_gate.parent, self.target):
                return TargetMoved(plan_id=effect.plan_id, target=self.target)
        if how == 1:
            return CandidateConflicted(candidate_id=at_gate.id, paths=("src/a.py",), detail="<<<<<<<")
        if how == 2:
            return CandidateFailed(candidate_id=at_gate.id, detail="no room")
        undoes = at_gate.undoes is not None
        new = self.commit(at_gate.parent) if undoes else self.commit(at_gate.parent, at_gate.other)
        return CandidateBuilt(candidate_id=at_gate.id, commit=new, tree=f"tree-{new}", path="/c")

    def landed(self, effect: LandCandidate, how: int) -> Fact:
        if self.tip == effect.new or (self.tip == effect.old and how != 1):
            hold("I5", effect.new in self.tested, effect.new, "moved untested")
            self.tip = effect.new
            return CandidateLanded(candidate_id=effect.candidate_id, commit=effect.new)
        hold("I7", self.tip == effect.old, "the branch is at", self.tip, "and not at", effect.old)
        return LandingRefused(candidate_id=effect.candidate_id, detail="somebody else moved it")

    def published(self, effect: PublishPlan, how: int) -> Fact:
        if not self.contains(effect.commit, self.target):
            return TargetMoved(plan_id=effect.plan_id, target=self.target)
        if how == 1:
            return PublishRefused(plan_id=effect.plan_id, why="a file is in the way", command="git merge")
        self.target = effect.commit
        return PublishDone(plan_id=effect.plan_id, commit=effect.commit)

    # ---- the world says things by itself ----

    @precondition(lambda self: self.runs)
    @rule(which=st.integers(0, 5), exit=st.sampled_from(EXITS))
    def a_run_ends(self, which: int, exit: RunExit) -> None:
        run = sorted(self.runs)[which % len(self.runs)]
        self.tell(self.over(run, exit))

    @precondition(lambda self: self.runs)
    @rule(report=st.sampled_from(REPORTS), offset=st.integers(1, 9), quiet=st.booleans())
    def an_agent_says(self, report: Any, offset: int, quiet: bool) -> None:
        attempt = AttemptId(sorted(self.runs)[0].rsplit("/", 1)[0])
        self.tell(AgentReported(attempt_id=attempt, report=report, offset=offset))
        self.give(AttemptQuiet(attempt_id=attempt, quiet=quiet))

    @precondition(lambda self: self.runs)
    @rule()
    def supervisors_beat(self) -> None:
        for run in sorted(self.runs):
            self.give(AttemptBeat(attempt_id=AttemptId(run.rsplit("/", 1)[0])))

    @rule(seconds=st.sampled_from(SECONDS))
    def time_passes(self, seconds: int) -> None:
        self.it_becomes(self.now + timedelta(seconds=seconds))

    @precondition(lambda self: self.wakes)
    @rule(which=st.integers(0, 7), edge=st.sampled_from(EDGES))
    def it_is_almost_time(self, which: int, edge: timedelta) -> None:
        """A moment before something is due, just then, and a moment after."""
        self.it_becomes(max(self.now, sorted(wake.at for wake in self.wakes)[which % len(self.wakes)] + edge))

    @rule(reason=st.sampled_from(SHORT_OF), short=st.booleans())
    def the_machine_is_looked_at(self, reason: HoldReason, short: bool) -> None:
        self.give(PressureSeen(reason=reason, detail="too little" if short else None))

    @rule(which=st.integers(0, 2), task=st.sampled_from(TASKS))
    def the_daemon_errs(self, which: int, task: str) -> None:
        error = FaultSeen(where="here", error="KeyError", digest=f"d{which}", tail="...", owner=f"{PLAN.name}/{task}-1")
        self.give(error if which else FaultSeen(where="here", error="KeyError", digest="d0", tail="..."))

    def it_becomes(self, until: datetime) -> None:
        while due := sorted((wake for wake in self.wakes if wake.at <= until), key=lambda wake: wake.at):
            wake = due[0]
            self.wakes.remove(wake)
            self.now = max(self.now, wake.at)
            self.give(wake.fact, wake.key)
        self.now = until

    @rule()
    def the_target_moves(self) -> None:
        self.target = self.commit(self.target)

    @precondition(lambda self: self.said)
    @rule(which=st.integers(0, 29))
    def something_is_told_once_more(self, which: int) -> None:
        fact = self.said[which % len(self.said)]
        if isinstance(fact, RunEnded | RunKilled) and fact.run_id in self.runs:
            return  # it would not be true
        if isinstance(fact, CandidateLanded) and self.tip != fact.commit:
            return
        if isinstance(fact, RunReleased):
            return
        self.give(fact)

    # ---- a person ----

    @rule(what=st.integers(0, 14), task=st.sampled_from(TASKS), token=st.integers(0, 3), text=st.booleans())
    def a_person_asks(self, what: int, task: str, token: int, text: bool) -> None:
        name = TaskId(task)
        under = self.granted[-1 - token] if len(self.granted) > token else 0
        held = self.plan.leases.get(name)
        if held is not None and text:
            under = held.token
        facts: dict[int, Callable[[], Fact]] = {
            0: lambda: CancelAsked(task_id=name, by="me"),
            1: lambda: RetryAsked(task_id=name, by="me"),
            2: lambda: PauseAsked(by="me") if text else ResumeAsked(by="me"),
            3: lambda: ResumeAsked(by="me"),
            4: lambda: EvictAsked(task_id=name, reason="wrong", by="me"),
            5: lambda: ClaimAsked(task_id=name if text else None, holder=f"h{token % 2}", by="me"),
            6: lambda: ClaimAsked(task_id=name, holder=f"h{token}", ttl=timedelta(), reason="train", by="me"),
            7: lambda: RenewAsked(task_id=name, token=under, renew=text, by="me"),
            8: lambda: ReleaseAsked(task_id=name, token=under, by="me"),
            9: lambda: FinishAsked(task_id=name, token=under, by="me", no_change="as is" if token == 2 else None),
            10: lambda: FinishAsked(task_id=name, token=under, by="me"),
            11: lambda: PublishAsked(by="me"),
            12: lambda: UndoAsked(task_id=name, by="me", accepted=text),
            13: lambda: ResumeAsked(by="me"),
            14: lambda: StopAsked(by="me", now=text) if token == 3 else ResumeAsked(by="me"),
        }
        self.ask(facts[what]())

    @precondition(lambda self: self.state.open_items())
    @rule(which=st.integers(0, 5), option=st.integers(0, 4))
    def a_person_answers(self, which: int, option: int) -> None:
        items = self.state.open_items()
        item = items[which % len(items)]
        if item.by_hand is not None:
            facts: list[Fact] = [
                HandInAsked(item_id=item.id, by="me"),
                HandInAsked(item_id=item.id, by="me", accepted=True),
                GiveBackAsked(item_id=item.id, by="me"),
            ]
            self.ask(facts[option % 3])
            return
        choice = item.options[option % len(item.options)].id if item.options else "text"
        self.ask(AnswerGiven(item_id=ItemId(item.id), choice=choice, text="words", by="me"))

    # ---- crashes ----

    @rule(again=st.booleans(), reboot=st.integers(0, 9))
    def the_daemon_is_killed(self, again: bool, reboot: int) -> None:
        """Everything but the ledger and the world is forgotten."""
        for _ in range(1 + again):
            self.restart()
        boot, dead = self.state.boot_id, list[RunId]()
        if reboot == 0:
            self.boots += 1
            boot = f"b{self.boots}"
            dead, self.runs = sorted(self.runs), set()
        self.begin_again(boot, dead)

    @rule()
    def a_backup_is_made(self) -> None:
        """Of the ledger by the backup API, and of the world."""
        if PLAN.name in self.state.plans:
            held = {name: copy.copy(getattr(self, name)) for name in IN_BACKUPS}
            self.backup = (self.ledger.copied(), self.state, held)

    @precondition(lambda self: self.backup)
    @rule(recovers=st.booleans())
    def the_backup_is_put_back(self, recovers: bool) -> None:
        """With the world as it was then. Only that the ledger was newer is known: to `recover`, or by the kept state.

        Nothing that was going on is: the machine was off meanwhile.
        """
        assert self.backup is not None
        copied, then, held = self.backup
        if not recovers:
            self.ledger.keep_state(self.state)
        self.ledger.put_back(copied)
        for name, value in held.items():
            setattr(self, name, copy.copy(value))
        self.said.clear()
        self.told.clear()
        self.runs.clear()
        self.hasty.clear()
        self.state = then
        self.folded = State()
        if recovers:
            self.ledger_is_recovered()
        self.restart()
        highest = self.ledger.highest_token() if not recovers else self.state.token
        hold("I2", highest >= max(self.granted, default=0), highest, "is known, and", self.granted, "were given out")
        self.boots += 1
        self.begin_again(f"b{self.boots}", [run.id for run in self.plan.runs.values()])

    def ledger_is_recovered(self) -> None:
        """As `recover` does it, when the journal still tells how far the newer ledger came."""
        numbers = {name: run.attempts for name, run in self.plan.tasks.items()}
        reached = Reached(number=self.plan.number, candidates=self.plan.candidates, attempts=numbers)
        recovered = LedgerRecovered(
            source="a backup",
            good_seq=self.state.seq,
            lost=0,
            masked=0,
            token_floor=max(self.granted, default=0),
            reached={PLAN.name: reached},
            by="me",
        )
        events, state = first_events(self.state, recovered, [], masked=frozenset(), lost={}, now=self.now)
        rows = tuple(changed_rows(self.state, state))
        self.ledger.record(Batch(at=self.now, events=tuple(events), rows=rows, effects=(), done=()))
        self.state = state

    def begin_again(self, boot: str, dead: list[RunId]) -> None:
        """A new daemon, on a machine where these runs are no more."""
        self.daemon_starts(boot)
        for gone in dead:
            self.give(RunEnded(run_id=gone, exit=RunExit(why=ExitWhy.LOST)))
        # what was READY and not released never runs: its supervisor sees the end of the pipe
        for plan in self.state.plans.values():
            for run in list(plan.runs.values()):
                released = any(isinstance(e, ReleaseRun) and e.run_id == run.id for e in self.todo)
                if run.state is RunState.READY and released:
                    self.todo = [e for e in self.todo if not (isinstance(e, ReleaseRun) and e.run_id == run.id)]
                    self.give(RunReleased(run_id=run.id), f"{run.id}/release-{run.try_number}")
                    self.give(RunEnded(run_id=run.id, exit=RunExit(why=ExitWhy.NEVER_STARTED)))

    def restart(self) -> None:
        old = self.state
        events, to_do = self.ledger.reopened(self.folded.seq)
        self.state = self.folded = rebuild(events, self.folded)
        hold("I9", self.state == old, "the ledger leads to another state")
        wanted = {effect.key for effect in [*self.todo, *self.wakes]}
        found = {effect.key for effect in to_do}
        hold("I8", wanted == found, "to do", wanted ^ found)
        self.todo = [effect for effect in to_do if not isinstance(effect, WakeAt)]
        self.wakes = [effect for effect in to_do if isinstance(effect, WakeAt)]
        self.said.clear()

    # ---- the end ----

    def look_at_the_ledger(self) -> None:
        if PLAN.name not in self.state.plans:
            return
        events, _ = self.ledger.reopened()
        hold("I9", rebuild(events) == self.state, "replay")
        times = [at for _, at, _ in events]
        hold("I16", times == sorted(times), "time runs back")
        rows, expected = self.ledger.rows(), self.ledger.expected_rows(self.state)
        for table, wanted in expected.items():
            wrong = {key for key in rows[table].keys() | wanted.keys() if rows[table].get(key) != wanted.get(key)}
            hold("I9", not wrong, "rows beside the events", [(rows[table].get(k), wanted.get(k)) for k in wrong])

    def rests_for_a_time(self) -> bool:
        """Whether something will go on by itself, only later."""
        backs_off = any(task.state is TaskState.BACKOFF for task in self.plan.tasks.values())
        ends = any(h.until is not None for h in self.state.holds.values())
        return backs_off or ends or self.is_held_for_a_time()

    def is_held_for_a_time(self) -> bool:
        """Whether somebody holds a task by hand who is not heard of, and whose time will be over."""
        attempts = self.plan.attempts
        return any(
            attempts[lease.attempt_id].held and not lease.is_indefinite and lease.state is not LeaseState.STUCK
            for lease in self.plan.leases.values()
        )

    def come_to_rest(self) -> None:
        """I17: when nothing fails any more, everything ends or waits for a person, and that soon."""
        if PLAN.name not in self.state.plans:
            return
        if self.state.drain is not Drain.NO:
            self.the_daemon_is_killed(False, 9)
        for reason in SHORT_OF:
            self.give(PressureSeen(reason=reason, detail=None))
        self.ask(ResumeAsked(by="me"))
        for _ in range(3000):
            if self.todo:
                effect = self.todo.pop(0)
                self.give(self.fact_for(effect, 0), effect.key)
            elif self.runs:
                self.give(self.over(sorted(self.runs)[0], OK))
            elif self.rests_for_a_time():
                self.time_passes(901)
            else:
                break
        else:
            raise Violation("I17: it never comes to rest")
        self.nothing_is_stuck_in_silence()
        plan = self.plan
        over = plan.phase in PLAN_OVER or plan.phase is PlanPhase.PAUSED
        free = any(task.state is TaskState.PENDING and task.task.is_for_hand for task in plan.tasks.values())
        hold("I17", over or bool(self.state.open_items()) or free or bool(plan.leases), "nothing moves", plan.phase)
        hold("I10", not plan.runs, "runs are left", list(plan.runs))
