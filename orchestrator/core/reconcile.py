"""The ledger against the world: what it needs, how what was found differs, and what follows from that at a start."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.core import escalation
from orchestrator.core.draft import Draft
from orchestrator.model.attempt import AttemptState
from orchestrator.model.difference import (
    Care,
    ClearLocks,
    Difference,
    EndStray,
    FetchAgain,
    MakeAnew,
    Needs,
    PutAside,
    SetReference,
    ShowBranch,
    ShowKept,
    Survey,
)
from orchestrator.model.event import Escalated, ItemWithdrawn, PlanPaused, PlanResumed, UnknownFound, WorldMended
from orchestrator.model.ids import AttemptId, Commit, PlanId, TaskId
from orchestrator.model.item import DIFFERS, NOTICED
from orchestrator.model.run import PLAN_OVER, CandidateStage, PlanPhase, PlanRun, State

_POWER = "a power loss, or a disk that lost what was written"
_BY_HAND = "somebody changed it by hand, or another program did"
SHOWN = 5  #: names in one line


def needs_of(state: State) -> Needs:
    """What the ledger relies on outside of itself."""
    tips: dict[PlanId, tuple[Commit, ...]] = {}
    starts: dict[PlanId, Commit] = {}
    kept: dict[str, Commit | None] = {}
    hand_offs: dict[Commit, str] = {}
    live = {}
    for plan in state.plans.values():
        if plan.tip is not None:
            tips[plan.id] = tuple(dict.fromkeys((plan.tip, *_may_be_at(plan))))
            starts[plan.id] = plan.started_at_commit or plan.tip
        for attempt in plan.attempts.values():
            if attempt.state is AttemptState.ENDED:
                if attempt.head is not None:
                    kept[f"refs/orchestrator/{attempt.id}"] = attempt.head
                kept |= dict.fromkeys(attempt.salvage)
            elif attempt.workspace is not None:
                live[attempt.id] = attempt.workspace
        for task in plan.tasks.values():
            if task.hand_off is not None and plan.phase not in PLAN_OVER:
                hand_offs[task.hand_off.head] = f"the hand-off of '{task.task.id}'"
        if plan.candidate is not None and plan.candidate.commit is not None:
            hand_offs[plan.candidate.commit] = f"the candidate {plan.candidate.id}"
    return Needs(
        plans=frozenset(state.plans),
        tips=tips,
        starts=starts,
        kept=kept,
        hand_offs=hand_offs,
        live=live,
        runs=frozenset(run.id for plan in state.plans.values() for run in plan.runs.values()),
    )


def _may_be_at(plan: PlanRun) -> Iterator[Commit]:
    """Where the branch is when its landing was done and not recorded any more."""
    candidate = plan.candidate
    if candidate is not None and candidate.stage is CandidateStage.LANDING and candidate.commit is not None:
        yield candidate.commit


def differences(state: State, needs: Needs, found: Survey) -> tuple[Difference, ...]:
    """Everything that is not as the ledger has it, what matters most first."""
    if found.gone_ours:
        return (*_anew(needs, found), *_trees(found), *_runs(state, found))  # nothing else can be looked at
    return (
        *_anew(needs, found),
        *_locks(found),
        *_branches(needs, found),
        *_kept(needs, found),
        *_hand_offs(state, needs, found),
        *_shown(needs, found),
        *_trees(found),
        *_runs(state, found),
        *_unknown(state, found),
        *_old_locks(found),
    )


def _anew(needs: Needs, found: Survey) -> Iterator[Difference]:
    if found.gone_ours and needs.plans:
        yield Difference(
            kind="repository_gone",
            said="repo.git is gone",
            why="somebody deleted it, or the state folder was copied without it",
            fix="it is made anew from your repository, and what else is needed is fetched from the attempts' own",
            care=Care.SAFE,
            remedy=MakeAnew(),
        )
    if found.made_anew and needs.plans:
        yield Difference(
            kind="repository_gone",
            said="repo.git was gone and had to be made anew from your repository",
            why="somebody deleted it, or the state folder was copied without it",
            fix="what else is missing is told by itself; with nothing told, all that the ledger needs is there",
            care=Care.TOLD,
        )


def _locks(found: Survey) -> Iterator[Difference]:
    if found.locks:
        yield Difference(
            kind="stale_lock",
            said=f"locked in repo.git: {_listed(found.locks)}",
            why="a git of ours was killed in the middle of its work, and none is at work there now",
            fix="the lock files are removed",
            care=Care.SAFE,
            remedy=ClearLocks(names=found.locks),
        )


def _branches(needs: Needs, found: Survey) -> Iterator[Difference]:
    for plan_id, (tip, *others) in needs.tips.items():
        name = f"refs/orchestrator/plans/{plan_id}"
        at = found.ours.get(name)
        if tip in found.broken:
            yield _broken(plan_id, tip, f"what '{plan_id}' has landed, up to {tip[:12]},", Care.ASKED)
        elif at is None:
            yield Difference(
                kind="lost_reference",
                said=f"the branch of '{plan_id}' is not in repo.git any more",
                why=_POWER,
                fix=f"it is made again at {tip[:12]}, where the ledger has it",
                care=Care.SAFE,
                plan_id=plan_id,
                remedy=SetReference(name=name, commit=tip),
            )
        elif at == tip or at in others:
            continue
        elif (at, tip) in found.within and (needs.starts[plan_id], at) in found.within:
            yield Difference(
                kind="landing_undone",
                said=f"the branch of '{plan_id}' is back at {at[:12]}; the ledger has it at {tip[:12]}",
                why=_POWER,
                fix="what was recorded as landed is landed again; it is the same commit",
                care=Care.SAFE,
                plan_id=plan_id,
                remedy=SetReference(name=name, commit=tip, old=at),
            )
        else:
            yield Difference(
                kind="foreign_position",
                said=f"the branch of '{plan_id}' in repo.git is at {at[:12]}; the ledger has it at {tip[:12]}",
                why=_BY_HAND,
                fix=f"look at both, then: git --git-dir REPO_GIT update-ref {name} {tip} {at}",
                care=Care.ASKED,
                plan_id=plan_id,
            )


def _broken(plan_id: PlanId | None, commit: Commit, what: str, care: Care) -> Difference:
    return Difference(
        kind="lost_objects",
        said=f"{what} cannot be read in repo.git",
        why=_POWER,
        fix="it is fetched again from your repository and the attempts' own, as far as they have it",
        care=care,
        plan_id=plan_id,
        remedy=FetchAgain(commits=(commit,)),
    )


def _kept(needs: Needs, found: Survey) -> Iterator[Difference]:
    for name, commit in needs.kept.items():
        plan_id = PlanId(name.split("/")[2])
        at = found.ours.get(name)
        shown = found.users.get(name)
        wanted = at or commit or shown
        if wanted is None:
            yield Difference(
                kind="lost_work",
                said=f"{name} is neither in repo.git nor in your repository",
                why="it kept what an attempt left, and somebody deleted it, or a disk lost it",
                fix="if you have it elsewhere, bring it back: git update-ref " + f"{name} COMMIT",
                care=Care.TOLD,
                plan_id=plan_id,
            )
        elif wanted in found.broken:
            yield _broken(plan_id, wanted, f"what {name} keeps", Care.TOLD)
        elif at is None:
            yield Difference(
                kind="lost_reference",
                said=f"{name} is not in repo.git any more",
                why=_POWER,
                fix=f"it is made again at {wanted[:12]}",
                care=Care.SAFE,
                plan_id=plan_id,
                remedy=SetReference(name=name, commit=wanted),
            )


def _hand_offs(state: State, needs: Needs, found: Survey) -> Iterator[Difference]:
    named = {*needs.kept.values(), *(tips[0] for tips in needs.tips.values())}
    for commit, what in needs.hand_offs.items():
        if commit in found.broken and commit not in named:
            owners = (plan.id for plan in state.plans.values() if plan.phase not in PLAN_OVER)
            yield _broken(next(owners, None), commit, f"{what}, {commit[:12]},", Care.ASKED)


def _shown(needs: Needs, found: Survey) -> Iterator[Difference]:
    """What the user's repository shows of ours."""
    for plan_id, tips in needs.tips.items():
        branch, plain = f"refs/heads/orchestrator/{plan_id}", f"refs/orchestrator/plans/{plan_id}"
        at = found.users.get(branch)
        if tips[0] in found.broken:
            continue
        if at is None and plain not in found.users and tips[0] != needs.starts[plan_id]:
            yield Difference(
                kind="branch_not_shown",
                said=f"your repository has no branch orchestrator/{plan_id} any more",
                why="somebody deleted it; what landed is safe in repo.git",
                fix="it is shown again",
                care=Care.SAFE,
                plan_id=plan_id,
                remedy=ShowBranch(plan_id=plan_id, commit=tips[0]),
            )
        elif at is not None and not any((at, tip) in found.within for tip in tips):
            yield Difference(
                kind="branch_moved",
                said=f"your branch orchestrator/{plan_id} is at {at[:12]}, where the plan never was",
                why="somebody committed to it or moved it; it is left alone, and the plan does not build on it",
                fix=f"what the plan has landed is at {plain}; keep your commits under another name: "
                f"git branch -m orchestrator/{plan_id} NEW-NAME",
                care=Care.TOLD,
                plan_id=plan_id,
            )
    lost: dict[PlanId, dict[str, Commit]] = {}
    for name in needs.kept:
        if name in found.ours and name not in found.users and found.ours[name] not in found.broken:
            lost.setdefault(PlanId(name.split("/")[2]), {})[name] = found.ours[name]
    for plan_id, names in lost.items():
        yield Difference(
            kind="work_not_shown",
            said=f"your repository does not show what attempts of '{plan_id}' left: {_listed(tuple(names))}",
            why="somebody deleted the references; what they kept is safe in repo.git",
            fix="they are shown again",
            care=Care.SAFE,
            plan_id=plan_id,
            remedy=ShowKept(names=names),
        )


def _trees(found: Survey) -> Iterator[Difference]:
    for attempt, how in found.gone.items():
        yield Difference(
            kind="tree_gone",
            said=f"the worktree of {attempt}, which is at work, {how}",
            why=_BY_HAND,
            fix="what was committed in it is kept when the attempt ends; the next one gets a tree of its own. "
            f"End it now: orchestrator cancel {attempt.rpartition('/')[2].rpartition('-')[0]}",
            care=Care.TOLD,
            plan_id=PlanId(attempt.split("/")[0]),
        )


def _runs(state: State, found: Survey) -> Iterator[Difference]:
    for run, at_work in found.runs.items():
        known = _is_known(state, run.rpartition("/")[0])
        if at_work and known:
            yield Difference(
                kind="stray_run",
                said=f"{run} is at work, and the ledger knows it as over",
                why="whoever supervises it was not told, or could not end it",
                fix="its processes are ended; its folder stays",
                care=Care.SAFE,
                remedy=EndStray(run_id=run),
            )
        elif at_work:
            yield Difference(
                kind="unknown_run",
                said=f"{run} is at work, and the ledger does not know it",
                why="the ledger is an older copy, and this was started later",
                fix="let it end, or end it yourself; its tree is not touched",
                care=Care.TOLD,
            )
        elif not known:
            yield Difference(
                kind="unknown_run",
                said=f"the run folder {run} is not in the ledger",
                why="the ledger is an older copy, and this was made later",
                fix="it is moved aside, with all that is in it, so that no later run is taken for it",
                care=Care.SAFE,
                remedy=PutAside(run_id=run),
            )


def _unknown(state: State, found: Survey) -> Iterator[Difference]:
    for name in unknown_names(state, found):
        yield Difference(
            kind="unknown",
            said=f"{name} is not known to the ledger",
            why="it is of an older ledger, or somebody made it; it is never touched",
            fix="look into it, and remove it yourself if you do not need it",
            care=Care.TOLD,
        )


def unknown_names(state: State, found: Survey) -> tuple[str, ...]:
    """References, folders and trees that no plan of the ledger has, as paths a person can find."""
    names = [f"worktree {name}" for name in found.trees]
    names += [f"attempt folder {name}" for name in found.folders if not _is_known(state, name)]
    for where, references in (("repo.git", found.ours), ("your repository", found.users)):
        for name in references:
            _, kind, *rest = name.split("/")
            if kind == "orchestrator" and rest:
                plan = rest[1] if rest[0] in {"plans", "old"} and len(rest) > 1 else rest[0]
                if PlanId(plan) not in state.plans:
                    names.append(f"{name} in {where}")
    return tuple(names)


def _is_known(state: State, folder: str) -> bool:
    """Whether a folder of that name can be of a plan that the ledger has."""
    plan_name, _, owner = folder.partition("/")
    plan = state.plans.get(PlanId(plan_name))
    if plan is None:
        return False
    if owner.startswith("~"):
        number, last = owner[1:], plan.candidates
    else:
        task, _, number = owner.rpartition("-")
        last = plan.numbers.get(TaskId(task), 0)
    return AttemptId(folder) in plan.attempts or (number.isdecimal() and 1 <= int(number) <= last)


def _old_locks(found: Survey) -> Iterator[Difference]:
    for path, minutes in found.old_locks.items():
        yield Difference(
            kind="users_lock",
            said=f"{path} is {minutes} minutes old",
            why="a git in your repository was killed, or is still at work; it is yours, and never removed by us",
            fix=f"if no git is at work there: rm '{path}'",
            care=Care.TOLD,
        )


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


# ---- what follows from it at a start ----


#: what a start puts right by itself: in our own folders, never in the user's repository
AT_START = (SetReference, FetchAgain, ClearLocks, EndStray, PutAside)


def take_in(draft: Draft, mended: tuple[Difference, ...], left: tuple[Difference, ...] | None) -> None:
    """Record what was put right, tell what is not known, and ask where the plan cannot go on by itself."""
    if mended:
        draft.record(WorldMended(done=tuple(f"{one.said}; {one.fix}" for one in mended)))
    if left is None:
        return
    _withdraw(draft, {one.said for one in left})
    told = draft.state.told
    unknown = tuple(one.said for one in left if one.kind == "unknown")
    news = tuple(said for said in unknown if said not in told)
    if news:
        draft.record(UnknownFound(names=news))
    for one in left:
        if one.kind in {"unknown", "users_lock"} or one.care is Care.SAFE:
            continue  # `validate` tells them
        plan_id = one.plan_id if one.plan_id in draft.state.plans else draft.state.current
        if plan_id is None or _was_told(draft.state, one.said):
            continue
        plan = draft.plan(plan_id)
        if one.care is Care.ASKED and plan.phase is PlanPhase.RUNNING:
            draft.record(PlanPaused(plan_id=plan.id, by="orchestrator"))
            plan = draft.plan(plan.id)
        item = escalation.differs(draft.state, plan, one, draft.now)
        draft.record(Escalated(plan_id=plan.id, task_id=None, item=item, holds_task=False))


def _was_told(state: State, said: str) -> bool:
    """Whether it is in the inbox; what was answered and is still so is not told again and again."""
    return any(item.title == said and item.withdrawn is None for item in state.items.values())


def _withdraw(draft: Draft, still: set[str]) -> None:
    """What is as it should be again needs nobody any more, and a plan that was paused for it goes on."""
    for item in draft.state.open_items():
        if item.trigger in {DIFFERS, NOTICED} and item.title not in still:
            again = "it is as the ledger has it again"
            draft.record(ItemWithdrawn(plan_id=item.plan_id, task_id=None, item_id=item.id, reason=again))
            plan = draft.plan(item.plan_id)
            held = any(one.trigger == DIFFERS and one.plan_id == plan.id for one in draft.state.open_items())
            if item.trigger == DIFFERS and plan.phase is PlanPhase.PAUSED and not held:
                draft.record(PlanResumed(plan_id=plan.id, by="orchestrator"))
