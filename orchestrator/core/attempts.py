"""From the claim of a task to the end of its attempt: what each fact about an attempt leads to."""

from __future__ import annotations

from orchestrator.core import escalation, guarditems, lease
from orchestrator.core.draft import Draft, keys_of
from orchestrator.core.evidence import failure_before_evidence, what_is_wrong
from orchestrator.core.failures import task_failed
from orchestrator.core.guards import ALMOST_ONE, at_cap, follows_failure, next_spawn_at, spawns_left
from orchestrator.core.overlap import covers
from orchestrator.core.retry import failure_of, words_for
from orchestrator.core.schedule import Start
from orchestrator.core.steps import attempt_steps, request_run, step_after, stop_run
from orchestrator.model.agent import AgentReport, Asked, HandedIn, NoChange, Progress, Terminal
from orchestrator.model.attempt import (
    Attempt,
    AttemptState,
    Ending,
    ExitWhy,
    FailureKind,
    HandOff,
    Run,
    RunExit,
    RunKind,
    RunState,
)
from orchestrator.model.effect import CollectWork, MakeWorkspace, ProbeTree, RemoveTree, WakeAt
from orchestrator.model.event import (
    AttemptEnded,
    AttemptFlagged,
    AttemptStarted,
    AttemptStopping,
    DispatchHeld,
    EndDeclared,
    Escalated,
    HandedOff,
    HandOffDeclared,
    HolderReady,
    ItemWithdrawn,
    Landed,
    LateResult,
    LeaseEnded,
    NoChangeDeclared,
    ProgressReported,
    ReportsRead,
    ReviewAsked,
    SentBack,
    TaskQueued,
    WorkspaceMade,
)
from orchestrator.model.fact import (
    AgentReported,
    AttemptQuiet,
    HoldDue,
    WorkCollected,
    WorkspaceFailed,
    WorkspaceReady,
)
from orchestrator.model.guard import HoldReason
from orchestrator.model.ids import attempt_id
from orchestrator.model.run import PlanRun

LINES, LONGEST = 12, 1500  #: of an output that are shown with a failure
QUIET = "quiet"


def start_task(draft: Draft, plan: PlanRun, start: Start) -> None:
    """Claim a task: for an attempt of an agent, or for a person."""
    task = plan.tasks[start.task_id]
    if start.agent is None:
        item = escalation.human_task(draft.state, plan, task, draft.now)
        draft.record(Escalated(plan_id=plan.id, task_id=task.task.id, item=item, holds_task=True))
        return
    if at_cap(draft.state.guards, task):
        context = "\n".join(task.findings)
        item = guarditems.too_many_starts(draft.state, plan, task, context=context, agent=start.agent, now=draft.now)
        draft.record(Escalated(plan_id=plan.id, task_id=task.task.id, item=item, holds_task=True, releases_files=True))
        return
    left = None
    if follows_failure(task, draft.now):
        left = spawns_left(draft.state.guards, plan.spawns, draft.now) - 1
        if left < ALMOST_ONE - 1:
            _hold_rate(draft, plan, left + 1)
            return
    assert plan.tip is not None
    number = task.attempts + 1
    attempt = attempt_id(plan.id, task.task.id, number)
    token = lease.grant(draft, plan, task.task.id, attempt, holder=start.agent)
    draft.record(
        AttemptStarted(
            plan_id=plan.id,
            task_id=task.task.id,
            attempt_id=attempt,
            token=token,
            number=number,
            agent=start.agent,
            start=task.resume_from,
            spawns_left=left,
        ),
    )
    draft.ask(
        MakeWorkspace(
            plan_id=plan.id,
            task_id=task.task.id,
            attempt_id=attempt,
            token=token,
            base=plan.tip,
            start=task.resume_from,
            merge=task.merges if task.resume_from is None else None,
        ),
    )


def _hold_rate(draft: Draft, plan: PlanRun, left: float) -> None:
    """What has failed is not started again until there may be another start of its kind."""
    guards = draft.state.guards
    until = next_spawn_at(guards, left, draft.now)
    detail = f"failed work is started again at most {guards.spawn_rate} times a minute (setting protect.spawn_rate)"
    draft.record(DispatchHeld(plan_id=plan.id, reason=HoldReason.SPAWN_RATE, detail=detail, until=until))
    draft.ask(WakeAt(at=until, fact=HoldDue(reason=HoldReason.SPAWN_RATE, plan_id=plan.id, until=until)))


def live_attempt(
    draft: Draft, fact: WorkspaceReady | WorkspaceFailed | AgentReported | AttemptQuiet | WorkCollected
) -> tuple[PlanRun, Attempt] | None:
    """The attempt a fact is about, if it still holds its task: the word of an evicted holder changes nothing."""
    plan = draft.plan_of(fact.attempt_id)
    attempt = plan.attempts.get(fact.attempt_id) if plan else None
    if plan is None or attempt is None:
        return None
    return (plan, attempt) if lease.lease_of(attempt, plan) is not None else None


def workspace_ready(draft: Draft, fact: WorkspaceReady) -> None:
    if (found := live_attempt(draft, fact)) is None:
        return
    plan, attempt = found
    if attempt.workspace is not None:
        return  # told once more
    draft.record(
        WorkspaceMade(
            **keys_of(plan, attempt),
            workspace=fact.workspace,
            base=fact.base,
        )
    )
    if attempt.state is AttemptState.STOPPING:
        collect(draft, draft.plan(plan.id), draft.plan(plan.id).attempts[attempt.id], None)
        return
    next_step(draft, draft.plan(plan.id), attempt, None)


def next_step(draft: Draft, plan: PlanRun, attempt: Attempt, after: str | None) -> None:
    """What follows a step of an attempt: the next prepare step, then the agent, or whoever claimed it by hand."""
    step = step_after(attempt_steps(plan), after)
    assert step is not None, "the agent is always the last step"
    kind, name = step
    if kind is RunKind.AGENT and attempt.held:
        draft.record(HolderReady(**keys_of(plan, attempt)))
    else:
        request_run(draft, plan, attempt.id, kind, name)


def workspace_failed(draft: Draft, fact: WorkspaceFailed) -> None:
    if (found := live_attempt(draft, fact)) is None:
        return
    plan, attempt = found
    if attempt.cancelled:
        end(draft, plan, attempt, Ending.CANCELLED)
    else:
        fail(draft, plan, attempt, FailureKind.PREPARE, f"its worktree could not be made: {fact.detail}")


def last_lines(output: str) -> str:
    """As much of the end of an output as tells a person what went wrong."""
    return "\n".join(output.splitlines()[-LINES:])[-LONGEST:]


def run_ended(draft: Draft, plan: PlanRun, attempt: Attempt, run: Run, exit: RunExit, tail: str) -> None:
    """A prepare step or the agent program of an attempt is over."""
    stopping = attempt.state in {AttemptState.STOPPING, AttemptState.STUCK}
    if exit.why is ExitWhy.NEVER_STARTED and not stopping:
        if at_cap(draft.state.guards, plan.tasks[attempt.task_id]):
            fail(draft, plan, attempt, FailureKind.LOST, f"{run.name} {words_for(exit)}, again and again")
            return
        request_run(draft, plan, attempt.id, run.kind, run.name, run.try_number + 1)
    elif run.kind is RunKind.AGENT or stopping:
        collect(draft, plan, attempt, exit, "" if failure_of(exit) is None else last_lines(tail))
    elif failure_of(exit) is None:
        next_step(draft, plan, attempt, run.name)
    else:
        index = int(run.name.rsplit("-", 1)[1]) - 1
        command = " ".join(plan.plan.prepare.run[index])
        fail(draft, plan, attempt, FailureKind.PREPARE, f"prepare step `{command}`: {words_for(exit)}\n{tail}".strip())


def collect(draft: Draft, plan: PlanRun, attempt: Attempt, exit: RunExit | None, tail: str = "") -> None:
    """The processes are gone: bring home what they left."""
    draft.record(AttemptStopping(**keys_of(plan, attempt), exit=exit, tail=tail))
    attempt = draft.plan(plan.id).attempts[attempt.id]
    draft.ask(
        CollectWork(
            **keys_of(plan, attempt),
            keep_only=failure_before_evidence(attempt) is not None or attempt.cancelled or _is_taken_back(attempt),
            also=plan.tasks[attempt.task_id].merges,
        )
    )


def _is_taken_back(attempt: Attempt) -> bool:
    """Whether its task is free again whatever it did: evicted, or given back."""
    return attempt.evicted is not None or attempt.released is not None


def late(draft: Draft, fact: WorkCollected) -> None:
    """What a holder that was replaced brought: kept and shown, and never taken for the task."""
    plan = draft.plan_of(fact.attempt_id)
    attempt = plan.attempts.get(fact.attempt_id) if plan else None
    if plan is None or attempt is None:
        return
    if set(fact.salvage) - set(attempt.salvage) or fact.head not in {None, attempt.head, attempt.base}:
        draft.record(
            LateResult(
                plan_id=plan.id,
                task_id=attempt.task_id,
                attempt_id=attempt.id,
                late_token=attempt.token,
                head=fact.head,
                salvage=fact.salvage,
            )
        )


def work_collected(draft: Draft, fact: WorkCollected) -> None:
    """Evidence, not words: what the attempt left decides how it ended."""
    if (found := live_attempt(draft, fact)) is None:
        late(draft, fact)
        return
    plan, attempt = found
    task = plan.tasks[attempt.task_id]
    if attempt.cancelled:
        end(draft, plan, attempt, Ending.CANCELLED, fact)
        return
    if _is_taken_back(attempt):
        take_back(draft, plan, attempt, fact)
        return
    if (failure := failure_before_evidence(attempt)) is not None:
        words = words_for(attempt.exit) if attempt.exit else "stopped"
        said = f"agent '{attempt.agent}' {words}\n{attempt.tail}".strip()
        fail(draft, plan, attempt, failure, attempt.detail or said, fact)
        return
    wrong = what_is_wrong(task, attempt, fact)
    open_questions = [i for i in draft.state.open_items() if i.attempt_id == attempt.id and i.question_id]
    # a question that the agent did not wait for does not hold up work that is done
    asked = next((i for i in open_questions if i.waits or wrong is not None), None)
    if asked is not None:
        # it ended with its question open: the answer goes to the next attempt, which goes on from here
        end(draft, plan, attempt, Ending.ASKED, fact)
        draft.record(Escalated(plan_id=plan.id, task_id=task.task.id, item=asked, holds_task=True))
        return
    if wrong is not None:
        kind, text = wrong
        fail(draft, plan, attempt, kind, text, fact)
        return
    if not fact.changed and task.merges is None:
        end(draft, plan, attempt, Ending.NO_OP, fact)
        draft.record(Landed(plan_id=plan.id, task_id=task.task.id, candidate_id=None, commit=None, token=attempt.token))
        draft.ask(RemoveTree(plan_id=plan.id, owner=attempt.id))
        return
    end(draft, plan, attempt, Ending.HANDED_OFF, fact)
    hand_off(draft, draft.plan(plan.id), attempt, fact)


def take_back(draft: Draft, plan: PlanRun, attempt: Attempt, fact: WorkCollected) -> None:
    """The task is free for a new claim; whoever gets it starts afresh, and is told what is kept."""
    evicted = attempt.evicted is not None
    end(draft, plan, attempt, Ending.EVICTED if evicted else Ending.RELEASED, fact)
    why = f"attempt {attempt.number} was {'taken away' if evicted else 'given back'}"
    kept = (*fact.salvage, *((f"commit {fact.head}",) if fact.head is not None and fact.head != attempt.base else ()))
    finding = f"{why}: {attempt.evicted or attempt.released}" + (f"; kept: {', '.join(kept)}" if kept else "")
    draft.record(
        SentBack(plan_id=plan.id, task_id=attempt.task_id, failure=None, findings=(finding,), resume_from=None)
    )


def hand_off(draft: Draft, plan: PlanRun, attempt: Attempt, fact: WorkCollected) -> None:
    """The work holds: on to the merge queue, or to a person when it changes what is protected."""
    task = plan.tasks[attempt.task_id]
    assert fact.head is not None
    handed = HandOff(head=fact.head, changed=fact.changed, summary=attempt.summary)
    draft.record(HandedOff(**keys_of(plan, attempt), hand_off=handed))
    guarded = tuple(p for p in fact.changed if covers(plan.plan.protected, p, fold=True))
    if guarded:
        draft.record(ReviewAsked(plan_id=plan.id, task_id=task.task.id, paths=guarded))
        plan = draft.plan(plan.id)
        item = escalation.protected(draft.state, plan, plan.tasks[task.task.id], guarded, draft.now)
        draft.record(Escalated(plan_id=plan.id, task_id=task.task.id, item=item, holds_task=True))
    else:
        draft.record(TaskQueued(plan_id=plan.id, task_id=task.task.id, token=attempt.token))


def end(
    draft: Draft,
    plan: PlanRun,
    attempt: Attempt,
    ending: Ending,
    fact: WorkCollected | None = None,
    failure: FailureKind | None = None,
    detail: str = "",
) -> None:
    """The attempt is over, and with it its lease."""
    for item in draft.state.open_items():
        if item.attempt_id == attempt.id and item.question_id and ending is not Ending.ASKED:
            draft.record(
                ItemWithdrawn(
                    plan_id=plan.id, task_id=attempt.task_id, item_id=item.id, reason="the attempt that asked has ended"
                )
            )
    draft.record(
        AttemptEnded(
            **keys_of(plan, attempt),
            ending=ending,
            failure=failure,
            detail=detail,
            head=fact.head if fact else None,
            salvage=fact.salvage if fact else (),
        ),
        LeaseEnded(
            **keys_of(plan, attempt),
            cause=failure.value if failure else ending.value,
        ),
    )


def fail(
    draft: Draft,
    plan: PlanRun,
    attempt: Attempt,
    kind: FailureKind,
    detail: str,
    fact: WorkCollected | None = None,
) -> None:
    """The attempt is over and did not do."""
    end(draft, plan, attempt, Ending.FAILED, fact, kind, detail)
    task_failed(draft, draft.plan(plan.id), attempt.task_id, kind, detail)


def agent_reported(draft: Draft, fact: AgentReported) -> None:
    """A line that `orch-agent` or the program's own protocol wrote."""
    if (found := live_attempt(draft, fact)) is None:
        return
    plan, attempt = found
    if fact.offset <= attempt.reports_offset:
        return
    names = keys_of(plan, attempt)
    report: AgentReport = fact.report
    draft.record(ReportsRead(**names, offset=fact.offset))
    match report:
        case Progress():
            draft.record(ProgressReported(**names, text=report.text))
        case HandedIn():
            draft.record(HandOffDeclared(**names, summary=report.summary))
        case NoChange():
            draft.record(NoChangeDeclared(**names, reason=report.reason))
        case Terminal():
            if not report.ok:
                known = report.kind in {kind.value for kind in FailureKind}
                kind = FailureKind(report.kind) if known else FailureKind.CRASH
                draft.record(EndDeclared(**names, failure=kind, text=report.text))
        case Asked():
            if any(
                i.attempt_id == attempt.id and i.question_id == report.question_id for i in draft.state.items.values()
            ):
                return
            item = escalation.question(
                draft.state,
                plan,
                attempt,
                question_id=report.question_id,
                text=report.text,
                options=report.options,
                waits=report.waits,
                now=draft.now,
            )
            asked = Escalated(plan_id=plan.id, task_id=attempt.task_id, item=item, holds_task=False)
            draft.record(asked)


def attempt_flagged(draft: Draft, fact: AttemptQuiet) -> None:
    """Something that a person should look at; nothing is stopped for it."""
    if (found := live_attempt(draft, fact)) is None:
        return
    plan, attempt = found
    if (QUIET in attempt.flags) is not fact.quiet:
        draft.record(AttemptFlagged(**keys_of(plan, attempt), flag=QUIET, on=fact.quiet))


def stop_attempt(
    draft: Draft, plan: PlanRun, attempt: Attempt, *, stop_as: FailureKind | None = None, cancelled: bool = False
) -> None:
    """End the processes of a live attempt; its end follows from theirs."""
    already = attempt.state in {AttemptState.STOPPING, AttemptState.STUCK}
    draft.record(
        AttemptStopping(
            **keys_of(plan, attempt),
            stop_as=stop_as,
            cancelled=cancelled,
        )
    )
    run = plan.runs.get(attempt.run_id) if attempt.run_id else None
    if not already and run is not None and run.state is not RunState.REQUESTED:
        stop_run(draft, plan, run)  # one that is only requested is stopped as soon as its supervisor is there
    elif not already and attempt.held and attempt.state is AttemptState.RUNNING:
        # nobody else gets its files while its holder may still be in the tree
        draft.ask(ProbeTree(attempt_id=attempt.id, token=attempt.token, asked=draft.state.seq))
