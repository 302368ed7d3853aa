"""A model of the two repositories and the trees on disk: `repo.git`, the user's own with a checkout, and worktrees.

It outlives every daemon. What it is asked for that must never be asked (to take a tree away under a live agent, to land
what no check has seen) it tells, and does not refuse: the caller has to be right by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.model.attempt import Workspace
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.ids import AttemptId, CandidateId, Commit, PlanId, TaskId
from orchestrator.model.repo import RepoFacts
from orchestrator.ports import Collected, Conflict, Merged, Moved, NotPublished
from orchestrator.simulation.faults import Weather
from orchestrator.simulation.git import Objects, Tree, differing

WORKTREES = "/model.worktrees"
Blame = Callable[[str, str], None]


@dataclass(slots=True)
class WorkTree:
    """A checkout, whoever works in it."""

    owner: str
    head: Commit
    files: dict[str, str]
    token: int = 0  #: that it was made under
    merging: Commit | None = None  #: MERGE_HEAD
    unmerged: set[str] = field(default_factory=set)  #: paths that still hold markers

    @property
    def path(self) -> str:
        return f"{WORKTREES}/{self.owner}"


class ModelRepository:
    """The Repository port over values.

    Args:
        weather: stands before every call.
        blame: is told of what must never be asked.
        lives_in: how many processes work in a tree just now.
        files: the target's first content.
    """

    def __init__(
        self, weather: Weather, blame: Blame, lives_in: Callable[[str], int], files: Tree, target: str = "main"
    ) -> None:
        self._weather = weather
        self._blame = blame
        self._lives_in = lives_in
        self.objects = Objects()
        first = self.objects.commit((), files, "first")
        self.branches: dict[str, Commit] = {target: first}  #: of the user
        self.shown: dict[str, Commit] = {}  #: what the user sees of ours
        self.checked_out: str | None = target
        self.dirty: dict[str, str] = {}  #: uncommitted work in the user's checkout
        self.plans: dict[PlanId, Commit] = {}  #: refs/orchestrator/plans/ in repo.git
        self.began: dict[tuple[PlanId, int], tuple[Commit, Commit]] = {}
        self.kept: dict[str, Commit] = {}  #: other references in repo.git
        self.trees: dict[str, WorkTree] = {}
        self.trash: dict[str, WorkTree] = {}
        self.inside: dict[str, tuple[int, ...]] = {}  #: tree -> processes of people who claimed by hand
        self.landed: list[tuple[PlanId, Commit, Commit]] = []  #: plan, old, new: every move that we made
        self.strange: dict[PlanId, Commit] = {}  #: branches that a stranger has moved, and where they were
        self.given_up: set[str] = set()  #: contents that a person deleted from the trash

    # ---- the port ----

    async def facts(self, target: str | None) -> RepoFacts:
        return await self._weather.through("facts", lambda: self._facts(target or self.checked_out or "main"))

    async def open(self) -> None:
        await self._weather.through("open", lambda: None)

    async def begin_branch(self, plan: PlanId, number: int, target: str) -> tuple[Commit, Commit]:
        return await self._weather.through("begin_branch", lambda: self._begin_branch(plan, number, target))

    async def target_commit(self, target: str) -> Commit:
        return await self._weather.through("target_commit", lambda: self._target(target))

    async def contains(self, commit: Commit, ancestor: Commit) -> bool:
        return await self._weather.through(
            "contains", lambda: self.objects.contains(commit, ancestor), took_s=0.01, writes=False
        )

    async def make_workspace(
        self,
        plan: PlanId,
        task: TaskId,
        attempt: AttemptId,
        *,
        tip: Commit,
        target: str,
        start: Commit | None,
        merge: Commit | None,
        token: int = 0,
    ) -> Workspace:
        return await self._weather.through(
            "make_workspace", lambda: self._make_workspace(attempt, tip, start, merge, token), took_s=0.3
        )

    async def collect(
        self,
        workspace: Workspace,
        plan: PlanId,
        attempt: AttemptId,
        *,
        base: Commit,
        message: str,
        trailers: Mapping[str, str],
        ignore: Sequence[str],
        keep_only: bool,
        token: int = 0,
    ) -> Collected:
        return await self._weather.through(
            "collect", lambda: self._collect(attempt, base, message, keep_only, token), took_s=0.1
        )

    async def changed(self, base: Commit, head: Commit) -> tuple[str, ...]:
        return await self._weather.through("changed", lambda: self.objects.changed(base, head), writes=False)

    async def merge_candidate(self, parent: Commit, other: Commit, *, message: str, at: datetime) -> Merged | Conflict:
        return await self._weather.through("merge_candidate", lambda: self._combine(parent, other, None, message, at))

    async def revert_candidate(
        self, parent: Commit, undone: Commit, *, message: str, at: datetime
    ) -> Merged | Conflict:
        before = self.objects[undone].parents[0]
        return await self._weather.through(
            "revert_candidate", lambda: self._combine(parent, before, undone, message, at)
        )

    async def checkout(self, candidate: CandidateId, commit: Commit, *, keep: Sequence[str] = ()) -> Workspace:
        return await self._weather.through("checkout", lambda: self._checkout(candidate, commit), took_s=0.3)

    async def land(self, plan: PlanId, new: Commit, old: Commit) -> Moved | None:
        return await self._weather.through("land", lambda: self._land(plan, new, old))

    async def mirror(self, plan: PlanId, commit: Commit) -> str:
        return await self._weather.through("mirror", lambda: self._mirror(plan, commit))

    async def show_kept(self) -> None:
        await self._weather.through("show_kept", lambda: self.shown.update(self.kept))

    async def publish(self, plan: PlanId, target: str, commit: Commit) -> NotPublished | Moved | None:
        return await self._weather.through("publish", lambda: self._publish(target, commit))

    async def remove(
        self, plan: PlanId, owner: AttemptId | CandidateId, *, landed: bool, ignore: Sequence[str]
    ) -> tuple[str, ...]:
        return await self._weather.through("remove", lambda: self._remove(owner))

    async def residents(self, workspace: Workspace) -> tuple[int, ...]:
        owner = workspace.path.removeprefix(f"{WORKTREES}/")
        return await self._weather.through("residents", lambda: self.inside.get(owner, ()), writes=False)

    async def delete_trash(self, entries: Sequence[str]) -> int:
        return await self._weather.through("delete_trash", lambda: self._delete_trash(entries))

    # ---- what the user does in their own repository ----

    def commit_to_target(self, target: str, changes: Tree) -> None:
        """The user commits there, in their own checkout or by a pull."""
        tip = self.branches[target]
        tree = {**self.objects[tip].tree, **changes}
        for path in changes:
            self.dirty.pop(path, None)
        self.branches[target] = self.objects.commit((tip,), tree, "a person's own")

    # ---- the model ----

    def _facts(self, target: str) -> RepoFacts:
        tip = self.branches.get(target)
        files = frozenset(self.objects[tip].tree) if tip else frozenset()
        folders = frozenset(path.rsplit("/", 1)[0] for path in files if "/" in path)
        return RepoFacts(
            root="/model",
            common_dir="/model/.git",
            current_branch=self.checked_out,
            branches=frozenset(self.branches),
            target=target,
            target_commit=tip,
            files=files,
            directories=folders,
        )

    def _target(self, target: str) -> Commit:
        if target not in self.branches:
            raise OrchestratorError(f"branch '{target}' is gone", fix="make it again")
        return self.branches[target]

    def _begin_branch(self, plan: PlanId, number: int, target: str) -> tuple[Commit, Commit]:
        if (plan, number) not in self.began:
            commit = self._target(target)
            self.strange.pop(plan, None)
            old = self.plans.get(plan)
            if old is not None and not self.objects.contains(commit, old):
                self.kept[f"refs/orchestrator/old/{plan}/{number}"] = old
            self.plans[plan] = commit
            self.began[plan, number] = (commit, commit)
        return self.began[plan, number]

    def _make_workspace(
        self, attempt: AttemptId, tip: Commit, start: Commit | None, merge: Commit | None, token: int
    ) -> Workspace:
        if (alive := self._lives_in(f"{WORKTREES}/{attempt}")) > 0:
            self._blame("I10", f"the tree of {attempt} is made while {alive} processes are in it")
        if attempt in self.trees and self.trees[attempt].token != token:
            self._remove(attempt)
        if attempt not in self.trees:
            head, other = (start, tip) if start is not None else (tip, merge)
            tree = WorkTree(owner=attempt, head=head, files=dict(self.objects[head].tree), token=token)
            if other is not None and not self.objects.contains(head, other):
                merged, conflicts = self.objects.merge(head, other)
                tree.files, tree.merging, tree.unmerged = dict(merged), other, set(conflicts)
            self.trees[attempt] = tree
        return self._workspace(attempt)

    def _workspace(self, owner: str) -> Workspace:
        return Workspace(path=f"{WORKTREES}/{owner}", git_dir=f"/model.git/{owner}", branch=f"refs/heads/agent/{owner}")

    def commit_in(self, owner: str, message: str) -> None:
        """Commit everything in a tree, concluding a merge whose markers are gone."""
        tree = self.trees[owner]
        parents = (tree.head, tree.merging) if tree.merging is not None else (tree.head,)
        if tree.merging is not None or differing(tree.files, self.objects[tree.head].tree):
            tree.head, tree.merging = self.objects.commit(parents, tree.files, message), None

    def _collect(self, attempt: AttemptId, base: Commit, message: str, keep_only: bool, token: int) -> Collected:
        tree = self.trees.get(attempt)
        if tree is not None and tree.token != token:
            raise OrchestratorError(f"the tree of {attempt} is another claim's", why=f"token {tree.token}, not {token}")
        if tree is None:
            return Collected(head=None, descends=False, changed=(), committed_by_us=False, error="the worktree is gone")
        if (alive := self._lives_in(tree.path)) > 0:
            self._blame("I10", f"{attempt} is collected while {alive} processes are in its tree")
        salvage: tuple[str, ...] = ()
        committed, unmerged = False, tuple(sorted(tree.unmerged))
        if tree.merging is not None or differing(tree.files, self.objects[tree.head].tree):
            if keep_only or unmerged:
                salvage = (self._salvage(tree),)
            else:
                self.commit_in(attempt, message)
                committed = True
        self.kept[f"refs/orchestrator/{attempt}"] = tree.head
        return Collected(
            head=tree.head,
            descends=self.objects.contains(tree.head, base),
            changed=self.objects.changed(base, tree.head),
            committed_by_us=committed,
            unfinished_merge=unmerged,
            salvage=salvage,
        )

    def _salvage(self, tree: WorkTree) -> str:
        commit = self.objects.commit((tree.head,), tree.files, f"salvage of {tree.owner}")
        taken = [name for name in self.kept if name.startswith(f"refs/orchestrator/salvage/{tree.owner}/")]
        for name in taken:
            if self.kept[name] == commit:
                return name
        name = f"refs/orchestrator/salvage/{tree.owner}/{len(taken) + 1}"
        self.kept[name] = commit
        return name

    def _combine(
        self, parent: Commit, other: Commit, base: Commit | None, message: str, at: datetime
    ) -> Merged | Conflict:
        tree, conflicts = self.objects.merge(parent, other, base)
        if conflicts:
            return Conflict(paths=conflicts, detail="both sides changed " + ", ".join(conflicts))
        parents = (parent,) if base is not None else (parent, other)
        commit = self.objects.commit(parents, tree, f"{message}\nDate: {at.isoformat()}")
        return Merged(commit=commit, tree=f"tree of {commit}")

    def _checkout(self, candidate: CandidateId, commit: Commit) -> Workspace:
        if (alive := self._lives_in(f"{WORKTREES}/{candidate}")) > 0:
            self._blame("I10", f"the tree of {candidate} is made again while {alive} checks run in it")
        self.trees[candidate] = WorkTree(owner=candidate, head=commit, files=dict(self.objects[commit].tree))
        return self._workspace(candidate)

    def _land(self, plan: PlanId, new: Commit, old: Commit) -> Moved | None:
        if self.plans.get(plan) == new:
            return None
        if self.plans.get(plan) != old:
            return Moved(actual=self.plans.get(plan))
        self.plans[plan] = new
        self.landed.append((plan, old, new))
        return None

    def _mirror(self, plan: PlanId, commit: Commit) -> str:
        self.shown[f"refs/heads/orchestrator/{plan}"] = commit
        return f"refs/heads/orchestrator/{plan}"

    def _publish(self, target: str, commit: Commit) -> NotPublished | Moved | None:
        here = self.branches.get(target)
        if here is None or not self.objects.contains(commit, here):
            return Moved(actual=here)
        touched = set(self.objects.changed(here, commit)) & self.dirty.keys()
        if touched and self.checked_out == target:
            why = f"uncommitted work in {', '.join(sorted(touched))}"
            return NotPublished(why=why, command=f"git merge --ff-only {commit}")
        self.branches[target] = commit
        return None

    def _remove(self, owner: str) -> tuple[str, ...]:
        tree = self.trees.get(owner)
        if tree is None:
            return ()
        if (alive := self._lives_in(tree.path)) > 0:
            self._blame("I11", f"the tree of {owner} is removed while {alive} processes are in it")
        salvage: tuple[str, ...] = ()
        if "~" not in owner:
            self.kept.setdefault(f"refs/orchestrator/{owner}", tree.head)
            if differing(tree.files, self.objects[tree.head].tree):
                salvage = (self._salvage(tree),)
        name = owner
        while name in self.trash:
            name += "+"
        self.trash[name] = self.trees.pop(owner)
        return salvage

    def _delete_trash(self, entries: Sequence[str]) -> int:
        size = 0
        for entry in entries:
            tree = self.trash.pop(entry, None)
            if tree is not None:
                self.given_up |= set(tree.files.values())
                size += 4096
        return size

    def contents(self) -> set[str]:
        """Every content that a reference, a tree or the trash still holds."""
        found: set[str] = set()
        tips = {*self.kept.values(), *self.plans.values(), *self.branches.values()}
        for tree in (*self.trees.values(), *self.trash.values()):
            found |= set(tree.files.values())
            tips.add(tree.head)
        seen: set[Commit] = set()
        todo = list(tips)
        while todo:
            commit = todo.pop()
            if commit not in seen:
                seen.add(commit)
                found |= set(self.objects[commit].tree.values())
                todo += self.objects[commit].parents
        return found
