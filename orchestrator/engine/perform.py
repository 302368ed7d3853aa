"""One effect -> calls of ports -> facts. Nothing is decided here; what cannot be done comes back as a fact too."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

import anyio
import structlog

from orchestrator.core.briefing import commit_message, trailers
from orchestrator.core.gate import candidate_message
from orchestrator.core.lease import token_of
from orchestrator.core.steps import AGENT, candidate_steps
from orchestrator.engine.specs import Specs
from orchestrator.engine.trouble import is_exhausted, is_fault, is_full
from orchestrator.engine.watchers import Watchers
from orchestrator.model.attempt import AttemptState, ExitWhy, RunExit
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
)
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.fact import (
    AnswerDelivered,
    BranchBegun,
    BranchRefused,
    CandidateBuilt,
    CandidateConflicted,
    CandidateFailed,
    CandidateLanded,
    Done,
    EffectFailed,
    Fact,
    LandingRefused,
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
    WorkspaceFailed,
    WorkspaceReady,
)
from orchestrator.model.guard import HoldReason
from orchestrator.model.ids import AttemptId, PlanId, run_id
from orchestrator.model.place import Place
from orchestrator.model.run import PlanRun, State
from orchestrator.ports import (
    Adapter,
    Clock,
    Conflict,
    Executor,
    Moved,
    NotPublished,
    Preparer,
    Repository,
    Surroundings,
)

log = structlog.get_logger(__name__)

#: what fails for a full disk is tried again, however long it takes
NEEDS_ROOM = MakeWorkspace | StartRun | CollectWork | BuildCandidate | LandCandidate | MirrorBranch
EXHAUSTED_PAUSE_S = 30.0  #: before the machine is asked for another process again
LOOK_S = 1.0  #: how often somebody who waits looks whether that is still wanted
ROOM_PAUSE_S = 2.0  #: before a full disk is tried again
LOOK_PAUSE_S = 10.0  #: before a holder that could not be looked at is looked at again
SHOW_PAUSE_S = 0.5
REPEATED = LandCandidate | ReleaseRun | SendAnswer
TRIES = 30  #: of what must be done and is harmless to repeat, before a person is asked


class Performer:
    """Carries out effects against the ports, reading the state as it is at that moment."""

    def __init__(
        self,
        *,
        place: Place,
        repository: Repository,
        preparer: Preparer,
        executor: Executor,
        adapters: Mapping[str, Adapter],
        surroundings: Surroundings,
        clock: Clock,
        state: Callable[[], State],
        watchers: Watchers | None = None,
    ) -> None:
        self._place = place
        self._specs = Specs(place=place, adapters=adapters, surroundings=surroundings)
        self._repository = repository
        self._preparer = preparer
        self._executor = executor
        self._clock = clock
        self._state = state
        self._watchers = watchers

    async def perform(self, effect: Effect) -> Fact:
        """Do it, and say what came of it. Raises nothing but errors of our own."""
        tries = 1
        while True:
            try:
                await self._wait_for_room(effect)
                return await self._do(effect)
            except Exception as error:
                if is_full(error) and isinstance(effect, NEEDS_ROOM) and self._is_wanted(effect):
                    # what an agent did is not held against it; the same is tried until there is room
                    log.error("disk.full", effect=effect.key, error=str(error))
                    await self._pressed(HoldReason.DISK, "a disk is full")
                    await anyio.sleep(ROOM_PAUSE_S)
                elif is_exhausted(error) and self._is_wanted(effect):
                    log.error("machine.exhausted", effect=effect.key, error=str(error))
                    await self._pressed(HoldReason.PROCESSES, f"the machine refused another process: {_said(error)}")
                    await self._pause(effect, EXHAUSTED_PAUSE_S)
                elif isinstance(effect, REPEATED) and tries < TRIES and not is_fault(error):
                    # it may have been done all the same, doing it again is harmless, and without it something stands
                    log.warning("effect.unknown", effect=effect.key, error=str(error))
                    tries += 1
                    await anyio.sleep(LOOK_PAUSE_S)
                elif isinstance(effect, ProbeRun | ProbeTree) and not is_fault(error):
                    # a look that fails says nothing against the holder
                    log.warning("holder.not_seen", effect=effect.key, error=str(error))
                    await anyio.sleep(LOOK_PAUSE_S)
                elif isinstance(error, OrchestratorError | OSError):
                    trace = error if isinstance(error, OSError) else None
                    log.warning("effect.refused", effect=effect.key, error=str(error), exc_info=trace)
                    return failed(effect, str(error))
                else:
                    raise

    async def _wait_for_room(self, effect: Effect) -> None:
        """Begin nothing that takes room while there is less than is to be kept free."""
        if self._watchers is None or not isinstance(effect, MakeWorkspace | StartRun | BuildCandidate):
            return
        while not await self._watchers.has_room():
            if not self._is_wanted(effect):
                raise OrchestratorError("it was stopped while it waited for room on the disk")
            await anyio.sleep(ROOM_PAUSE_S)

    async def _pause(self, effect: Effect, seconds: float) -> None:
        """Wait, but not for something that nobody wants any more."""
        for _ in range(int(seconds / LOOK_S)):
            if not self._is_wanted(effect):
                return
            await anyio.sleep(LOOK_S)

    async def _pressed(self, reason: HoldReason, detail: str) -> None:
        if self._watchers is not None:
            await self._watchers.pressed(reason, detail)

    def _is_wanted(self, effect: Effect) -> bool:
        """Whether the attempt or candidate that something is begun for is not being stopped."""
        if not isinstance(effect, MakeWorkspace | StartRun):
            return True
        owner = effect.attempt_id if isinstance(effect, MakeWorkspace) else effect.run_id.rsplit("/", 1)[0]
        plan = self._state().plans.get(PlanId(owner.split("/", 1)[0]))
        attempt = plan.attempts.get(AttemptId(owner)) if plan else None
        if attempt is not None:
            return attempt.state is not AttemptState.STOPPING
        return plan is not None and plan.candidate is not None and plan.candidate.id == owner

    async def afterwards(self, effect: Effect) -> None:
        """What nobody waits for: an attempt's work is shown in the user's repository, several together if may be."""
        if isinstance(effect, CollectWork):
            if not effect.keep_only:
                await anyio.sleep(SHOW_PAUSE_S)  # if it lands meanwhile, that takes it along
            try:
                await self._repository.show_kept()
            except (OSError, OrchestratorError) as error:  # nobody waits for it, so it must not take the daemon along
                log.warning("effect.refused", effect=effect.key, error=f"{type(error).__name__}: {error}")

    async def _do(self, effect: Effect) -> Fact:
        match effect:
            case BeginBranch():
                target = self._plan(effect.plan_id).plan.target
                tip, commit = await self._repository.begin_branch(effect.plan_id, effect.number, target)
                return BranchBegun(plan_id=effect.plan_id, number=effect.number, tip=tip, target=commit)
            case MakeWorkspace():
                return await self._make_workspace(effect)
            case StartRun():
                return await self._start_run(effect)
            case ReleaseRun():
                await self._executor.release(effect.run_id, self._run_dir(effect.run_id))
                return RunReleased(run_id=effect.run_id)
            case StopRun():
                await self._executor.stop(effect.run_id, self._run_dir(effect.run_id))
                return Done()
            case ProbeRun():
                life = await self._executor.probe(effect.run_id, self._run_dir(effect.run_id))
                return RunProbed(run_id=effect.run_id, token=effect.token, life=life)
            case ProbeTree():
                workspace = self._plan(PlanId(effect.attempt_id.split("/", 1)[0])).attempts[effect.attempt_id].workspace
                inside = await self._repository.residents(workspace) if workspace is not None else ()
                return TreeProbed(attempt_id=effect.attempt_id, token=effect.token, inside=inside)
            case KillRun():
                left = await self._executor.kill(effect.run_id, self._run_dir(effect.run_id))
                return RunKilled(run_id=effect.run_id, left=left)
            case CollectWork():
                return await self._collect(effect)
            case SendAnswer():
                answer = {"question_id": effect.question_id, "choice": effect.choice, "text": effect.text}
                run = run_id(effect.attempt_id, AGENT)
                await self._executor.send(run, self._run_dir(run), answer)
                return AnswerDelivered(item_id=effect.item_id)
            case BuildCandidate():
                return await self._build_candidate(effect)
            case LandCandidate():
                if (newer := self._newer_claim(effect)) is not None:
                    detail = f"it is of the claim with token {effect.token}, and token {newer} holds its task"
                    return LandingRefused(candidate_id=effect.candidate_id, detail=detail)
                moved = await self._repository.land(effect.plan_id, effect.new, effect.old)
                if moved is None:
                    return CandidateLanded(candidate_id=effect.candidate_id, commit=effect.new)
                where = f"at {moved.actual}" if moved.actual else "gone"
                detail = f"the plan's branch is {where}, and was expected at {effect.old}"
                return LandingRefused(candidate_id=effect.candidate_id, detail=detail)
            case MirrorBranch():
                plan = self._plan(effect.plan_id)
                if plan.candidate is not None or plan.queue():
                    await anyio.sleep(SHOW_PAUSE_S)  # if that lands meanwhile, both are shown together
                # the present tip: an effect that comes late must not move it back
                await self._repository.mirror(effect.plan_id, self._plan(effect.plan_id).tip or effect.commit)
                return Done()
            case RemoveTree():
                plan = self._plan(effect.plan_id)
                salvage = await self._repository.remove(
                    effect.plan_id, AttemptId(effect.owner), landed=effect.landed, ignore=ignored(plan)
                )
                return Removed(owner=effect.owner, salvage=salvage)
            case DeleteTrash():
                size = await self._repository.delete_trash(effect.entries)
                return TrashDeleted(entries=effect.entries, size_bytes=size)
            case PublishPlan():
                return await self._publish(effect)
            case _:
                raise AssertionError(f"timers look after {effect}")

    def _plan(self, plan_id: PlanId) -> PlanRun:
        return self._state().plans[plan_id]

    def _newer_claim(self, effect: LandCandidate) -> int | None:
        """The token of a claim that has replaced the one whose work is to land; None when none has."""
        plan = self._plan(effect.plan_id)
        at_gate = plan.candidate
        if effect.token is None or at_gate is None or at_gate.id != effect.candidate_id or at_gate.task_id is None:
            return None
        token = token_of(plan, plan.tasks[at_gate.task_id])
        return token if token != effect.token else None

    def _run_dir(self, run: str) -> str:
        return str(self._place.run_dir(run))

    async def _make_workspace(self, effect: MakeWorkspace) -> Fact:
        plan = self._plan(effect.plan_id)
        workspace = await self._repository.make_workspace(
            effect.plan_id,
            effect.task_id,
            effect.attempt_id,
            tip=effect.base,
            target=plan.plan.target,
            start=effect.start,
            merge=effect.merge,
            token=effect.token,
        )
        prepare = plan.plan.prepare
        await self._preparer.prepare(workspace.path, workspace.git_dir, prepare.copy, prepare.link)
        return WorkspaceReady(attempt_id=effect.attempt_id, workspace=workspace, base=effect.base)

    async def _start_run(self, effect: StartRun) -> Fact:
        plan = self._plan(PlanId(effect.run_id.split("/", 1)[0]))
        run = plan.runs[effect.run_id]
        spec = self._specs.of(plan, run)
        return RunReady(run_id=run.id, supervisor=await self._executor.submit(spec))

    async def _collect(self, effect: CollectWork) -> Fact:
        plan = self._plan(effect.plan_id)
        attempt = plan.attempts[effect.attempt_id]
        if attempt.workspace is None or attempt.base is None:
            return nothing_collected(effect, "its worktree was never made")
        found = await self._repository.collect(
            attempt.workspace,
            plan.id,
            attempt.id,
            base=attempt.base,
            message=commit_message(plan, attempt),
            trailers=trailers(plan, attempt),
            ignore=ignored(plan),
            keep_only=effect.keep_only,
            token=effect.token,
        )
        if is_full(found.error):
            raise OrchestratorError("an attempt's work could not be brought home", why=found.error, fix="make room")
        changed, merged = found.changed, True
        if effect.also is not None and found.head is not None:
            also = set(await self._repository.changed(effect.also, found.head))
            changed = tuple(path for path in changed if path in also)
            merged = await self._repository.contains(found.head, effect.also)
        return WorkCollected(
            attempt_id=attempt.id,
            head=found.head,
            descends=found.descends,
            changed=changed,
            committed_by_us=found.committed_by_us,
            unfinished_merge=found.unfinished_merge,
            nested=found.nested,
            salvage=found.salvage,
            error=found.error,
            merged=merged,
        )

    async def _build_candidate(self, effect: BuildCandidate) -> Fact:
        plan = self._plan(effect.plan_id)
        candidate = plan.candidate
        if candidate is None or candidate.id != effect.candidate_id:
            return Done()
        if candidate.task_id is not None and plan.tasks[candidate.task_id].merges is None:
            target = await self._repository.target_commit(plan.plan.target)
            if target != plan.sync_held and not await self._repository.contains(candidate.parent, target):
                return TargetMoved(plan_id=plan.id, target=target)
        message = candidate_message(plan, candidate)
        combine = self._repository.merge_candidate if candidate.undoes is None else self._repository.revert_candidate
        merged = await combine(candidate.parent, candidate.other, message=message, at=self._clock.now())
        if isinstance(merged, Conflict):
            return CandidateConflicted(candidate_id=candidate.id, paths=merged.paths, detail=merged.detail)
        path = ""
        if candidate_steps(plan, candidate):
            tree = await self._repository.checkout(candidate.id, merged.commit, keep=plan.plan.keep)
            prepare = plan.plan.prepare
            await self._preparer.prepare(tree.path, tree.git_dir, prepare.copy, prepare.link)
            path = tree.path
        return CandidateBuilt(candidate_id=candidate.id, commit=merged.commit, tree=merged.tree, path=path)

    async def _publish(self, effect: PublishPlan) -> Fact:
        plan = self._plan(effect.plan_id)
        target = await self._repository.target_commit(plan.plan.target)
        if not await self._repository.contains(effect.commit, target):
            if await self._repository.contains(target, effect.commit):
                return PublishDone(plan_id=plan.id, commit=effect.commit)  # a person moved it there, and on
            return TargetMoved(plan_id=plan.id, target=target)
        with contextlib.suppress(OrchestratorError):  # it is an effect of its own, and says there what went wrong
            await self._repository.mirror(plan.id, effect.commit)  # what a refusal tells a person to merge
        outcome = await self._repository.publish(plan.id, plan.plan.target, effect.commit)
        match outcome:
            case None:
                return PublishDone(plan_id=plan.id, commit=effect.commit)
            case NotPublished():
                return PublishRefused(plan_id=plan.id, why=outcome.why, command=outcome.command)
            case Moved():
                if outcome.actual is None:
                    return PublishRefused(plan_id=plan.id, why=f"branch '{plan.plan.target}' is gone", command="")
                return TargetMoved(plan_id=plan.id, target=outcome.actual)


def _said(error: Exception) -> str:
    """What the system called it."""
    said = error.strerror if isinstance(error, OSError) else None
    return said or str(error).split("\n", 1)[0] or type(error).__name__


def ignored(plan: PlanRun) -> tuple[str, ...]:
    """Paths that `prepare` puts into every tree, which therefore never count as changes."""
    return (*plan.plan.prepare.copy, *plan.plan.prepare.link)


def nothing_collected(effect: CollectWork, why: str) -> WorkCollected:
    return WorkCollected(
        attempt_id=effect.attempt_id,
        head=None,
        descends=False,
        changed=(),
        committed_by_us=False,
        unfinished_merge=(),
        nested=(),
        salvage=(),
        error=why,
    )


def failed(effect: Effect, why: str) -> Fact:
    """The fact for an effect that could not be carried out."""
    match effect:
        case BeginBranch():
            fix = "mend it, then start the plan again"
            return BranchRefused(plan_id=effect.plan_id, number=effect.number, why=why, fix=fix)
        case MakeWorkspace():
            return WorkspaceFailed(attempt_id=effect.attempt_id, detail=why)
        case StartRun():
            # our trouble: a program that is not there is told by its supervisor
            return RunEnded(run_id=effect.run_id, exit=RunExit(why=ExitWhy.LOST, detail=why))
        case KillRun():
            return RunKilled(run_id=effect.run_id, left=(), detail=why)
        case CollectWork():
            return nothing_collected(effect, why)
        case BuildCandidate():
            return CandidateFailed(candidate_id=effect.candidate_id, detail=why)
        case LandCandidate():
            return LandingRefused(candidate_id=effect.candidate_id, detail=why)
        case PublishPlan():
            return PublishRefused(plan_id=effect.plan_id, why=why, command="")
        case _:
            return EffectFailed(key=effect.key, detail=why)
