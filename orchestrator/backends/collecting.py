"""An attempt's work comes home: committed, fetched with fsck, kept by references, shown in the user's repository."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.backends.candidates import attributes_of, changes_between, is_attributes
from orchestrator.backends.durable import make_durable, sync_objects
from orchestrator.backends.gitrun import Git, GitFailed, Repositories
from orchestrator.backends.leftovers import (
    Left,
    bring_home,
    is_kept,
    look_at,
    mark_kept,
    pack_nested,
    unmerged,
    with_markers,
)
from orchestrator.backends.references import reference_names
from orchestrator.backends.snapshot import Snapshot, index_of, is_same, is_untouched, keep_index, snapshot
from orchestrator.backends.submodules import names_by_path
from orchestrator.backends.takeover import Takeover
from orchestrator.backends.workspaces import marker
from orchestrator.core.gitformats import Change, commit_text, is_commit_id, merge_result, shown
from orchestrator.model.attempt import Workspace
from orchestrator.model.ids import AttemptId, Commit
from orchestrator.ports import Collected


def changed(ours: Git, base: Commit, head: Commit) -> tuple[str, ...]:
    """Paths that differ between two commits, renames as both names."""
    return tuple(shown(change.path) for change in changes_between(ours, base, head))


@dataclass(slots=True)
class Homecoming:
    """One attempt's way home; every step looks first whether it has been done."""

    repositories: Repositories
    takeover: Takeover
    attempt: AttemptId
    ignore: tuple[str, ...]
    to_show: dict[str, Commit] = field(default_factory=dict)  #: references that the user's repository is to have
    found_untouched: bool = False  #: the tree held nothing but what was kept already

    @property
    def name(self) -> str:
        return f"refs/orchestrator/{self.attempt}"

    @property
    def ours(self) -> Git:
        return self.repositories.ours

    def collect(
        self, workspace: Workspace, *, base: Commit, message: str, trailers: Mapping[str, str], keep_only: bool
    ) -> Collected:
        """See the port."""
        git_dir, tree = Path(workspace.git_dir), Path(workspace.path)
        self._bring_large_files(git_dir)
        left = look_at(git_dir, tree, workspace.branch)
        with self._scratch() as scratch:
            error = self._unreadable(left, git_dir, scratch, here={base})
            head = left.head if left.head is not None and not error else None
            found = self._snapshot(tree, head or base, scratch)
            unfinished = self._unfinished(left, found, git_dir, scratch)
            error = error or found.error
            if (left.merging or self._began_merge(git_dir, head)) and not tree.is_dir():
                error = error or "the worktree is gone, and with it how the conflict in it was settled"
            if left.is_rebasing and not error:
                error = "a rebase was left unfinished in the worktree, so its commits are not in order"
            parents = ((head, *(left.merging if tree.is_dir() else ()))) if head else (base,)
            parents = tuple(dict.fromkeys(self._present(parents, here={head or base})))
            committed = False
            if self._is_new(found, parents):
                text = commit_text(message, trailers)
                if keep_only or error or unfinished or head is None:
                    self._salvage(self._commit(found.tree, parents, text, self._salvages()))
                else:
                    head, committed = self._commit(found.tree, parents, text, [self.name]), True
            if head is not None:
                self._keep(head)
                if tree.is_dir() and not found.error and (committed or not self._is_new(found, (head,))):
                    keep_index(scratch / "index", self.owner_dir, head)
            self._salvage_others(left, git_dir, scratch, known={base, *([left.head] if head and left.head else [])})
            if found.nested and (keep_only or error):
                self._pack(tree, found.nested)
            changes = self._changes(base, head, found if committed and left.head == base else None)
            return Collected(
                head=head,
                descends=head is not None and self.ours.contains(head, base),
                changed=tuple(shown(change.path) for change in changes),
                committed_by_us=committed,
                unfinished_merge=tuple(shown(path) for path in unfinished),
                nested=tuple(shown(path) for path in (*found.nested, *self._homeless_submodules(head, changes))),
                salvage=tuple(self._salvages()),
                error=error,
            )

    @property
    def owner_dir(self) -> Path:
        return self.repositories.place.owner_dir(self.attempt)

    def _changes(self, base: Commit, head: Commit | None, only: Snapshot | None) -> tuple[Change, ...]:
        """What differs between base and head. `only`: all that does, when it was seen in the tree."""
        if head is None or head == base:
            return ()
        if only is None or not only.is_exact or self.takeover.converts or attributes_of(self.ours, base):
            changes = changes_between(self.ours, base, head)
        else:
            new = set(only.new)
            changes = tuple(
                Change(path=path, is_new=path in new, is_submodule=False, object_id="")
                for path in sorted({*only.changed, *new})
            )
        if not any(change.is_new or is_attributes(change.path) for change in changes):
            self.ours.remember(("brings no names", head), True)
        return changes

    def _homeless_submodules(self, head: Commit | None, changes: tuple[Change, ...]) -> tuple[str, ...]:
        """Submodules that were set to a commit which only the attempt has: nobody could ever fetch it."""
        away = []
        names = names_by_path(self.ours, head) if head and any(change.is_submodule for change in changes) else {}
        for change in changes:
            if change.is_submodule:
                modules = self.repositories.place.common_dir / "modules" / names.get(change.path, change.path)
                known = modules.is_dir() and (
                    self.repositories.small(modules).ask("cat-file", "-e", change.object_id).status == 0
                )
                if not known:
                    away.append(change.path)
        return tuple(away)

    def salvage(self) -> tuple[str, ...]:
        """Keep whatever is not kept yet. Returns: every salvage reference of the attempt."""
        place = self.repositories.place
        git_dir, tree = place.git_dir(self.attempt), place.worktree(self.attempt)
        wish = marker(git_dir)
        self._bring_large_files(git_dir)
        left = look_at(git_dir, tree, str(wish.get("branch", "")))
        fallback = str(wish.get("tip", ""))
        kept = self.ours.reference(self.name)
        here = {Commit(known) for known in (kept, fallback) if known and is_commit_id(known)}
        with self._scratch() as scratch:
            if kept is not None and left.head is not None and not left.merging:
                known = all(commit in here or is_kept(self.ours, commit) for commit in (left.head, *left.others))
                if known and is_untouched(self.ours, tree, kept, scratch / "untouched", self.owner_dir):
                    # names that it brought may stand in folders that were only moved, which no file shows
                    self.found_untouched = self.ours.recall(("brings no names", kept), lambda: False)
                    return tuple(self._salvages())
            readable = not self._unreadable(left, git_dir, scratch, here=here)
            parent = left.head if readable else kept or (Commit(fallback) if is_commit_id(fallback) else None)
            if parent is not None:
                found = self._snapshot(tree, parent, scratch)
                parents = tuple(self._present((parent, *left.merging), here={parent}))
                if self._is_new(found, parents) and not self._is_kept_tree(found.tree):
                    text = f"What {self.attempt} left uncommitted\n"
                    self._salvage(self._commit(found.tree, parents, text, self._salvages()))
                self._pack(tree, found.nested)
                if readable and not is_kept(self.ours, parent):
                    self._salvage(parent)
            self._salvage_others(left, git_dir, scratch, known=set())
        return tuple(self._salvages())

    def _bring_large_files(self, git_dir: Path) -> None:
        if self.takeover.large_files is not None:
            self.takeover.large_files.bring_home(git_dir)

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self.repositories.scratch) as folder:
            yield Path(folder)

    def _began_merge(self, git_dir: Path, head: Commit | None) -> bool:
        """Whether we began a merge in the tree that nobody has committed."""
        wish = marker(git_dir)
        began = wish.get("start") or wish.get("merge")
        first = wish.get("start") or wish.get("tip")
        return bool(began) and head == first

    def _unreadable(self, left: Left, git_dir: Path, scratch: Path, *, here: set[Commit]) -> str:
        """Why the attempt's HEAD cannot be had; empty when it is in `repo.git` now. `here` is known to be."""
        if left.head is None:
            return (
                "its HEAD points at nothing: the repository or the branch is gone, or the branch has no commit; what "
                "was in the worktree is kept as salvage"
            )
        for commit in (left.head, *left.merging):
            why = "" if commit in here else bring_home(self.repositories, git_dir, commit, scratch)
            if why:
                return f"git refused commit {commit}: {why}"
        return ""

    def _snapshot(self, tree: Path, parent: Commit, scratch: Path) -> Snapshot:
        """The worktree as a tree; what its parent has when there is no worktree any more."""
        if tree.is_symlink() or (os.path.lexists(tree) and not tree.is_dir()):
            return Snapshot(tree=self.ours.tree_of(parent), nested=(), error=f"{tree} is no folder any more")
        if not tree.is_dir():
            return Snapshot(tree=self.ours.tree_of(parent), nested=())
        # filters may put files into folders of the user's, as git-lfs does
        git = replace(self.ours, umask=self.repositories.umask)
        return snapshot(git, tree, parent, self.ignore, scratch / "index", self.owner_dir)

    def _present(self, commits: tuple[Commit, ...], *, here: set[Commit]) -> list[Commit]:
        return [commit for commit in commits if commit in here or self.ours.has(commit)]

    def _is_new(self, found: Snapshot, parents: tuple[Commit, ...]) -> bool:
        """Whether there is anything that the first parent does not have: changes, or a merge to conclude."""
        return len(parents) > 1 or found.tree != self.ours.tree_of(parents[0])

    def _is_kept_tree(self, tree: str) -> bool:
        kept = (self.ours.reference(name) for name in (self.name, *self._salvages()))
        return any(self.ours.tree_of(commit) == tree for commit in kept if commit is not None)

    def _salvages(self) -> list[str]:
        """Salvage references that the attempt has."""
        return reference_names(self.ours.git_dir or self.repositories.place.repo_git, f"{self.name}.salvage-")

    def _unfinished(self, left: Left, found: Snapshot, git_dir: Path, scratch: Path) -> tuple[str, ...]:
        """Conflicted paths of the merge that nobody has settled."""
        if left.head is None:
            return ()
        pairs = [(left.head, other) for other in left.merging]
        wish = marker(git_dir)
        started, merged = (
            wish.get("start") or wish.get("tip"),
            wish.get("tip") if wish.get("start") else wish.get("merge"),
        )
        if not pairs and isinstance(started, str) and isinstance(merged, str):
            pairs = [(Commit(started), Commit(merged))]  # we began a merge there; it may be committed by now
        conflicted: dict[str, None] = {}
        without_markers: dict[str, None] = {}
        for one, other in pairs:
            answer = self.ours.ask("merge-tree", "--write-tree", "-z", "--messages", one, other)
            if answer.status == 1:
                result = merge_result(answer.out)
                conflicted |= dict.fromkeys(result.conflicted)
                content = result.paths_of_kind("CONFLICT (contents)", "CONFLICT (add/add)")
                without_markers |= dict.fromkeys(path for path in result.conflicted if path not in content)
        # of a cherry-pick or a stash, too; an index that is still the one we wrote holds none
        first = wish.get("start") or wish.get("tip")
        ours = index_of(self.owner_dir, Commit(str(first)))
        open_ones = frozenset() if is_same(left.admin, ours) else unmerged(self.ours, left.admin, scratch)
        marked = with_markers(self.ours, found.tree, tuple({*conflicted, *open_ones}))
        if not left.merging:
            return marked
        return tuple(dict.fromkeys([*marked, *(path for path in without_markers if path in open_ones)]))

    def _commit(self, tree: str, parents: tuple[Commit, ...], text: str, among: list[str]) -> Commit:
        """A commit of that tree on these parents: the one that an earlier try made, else a new one."""
        for name in among:
            if self.ours.reference(name) is None:
                continue
            made = self.ours.ask("rev-parse", "--quiet", f"{name}^{{tree}}", f"{name}^@", name)
            lines = made.line.splitlines()
            if made.status == 0 and lines and lines[:-1] == [tree, *parents]:
                return Commit(lines[-1])
        identity = self.ours.with_(env=self.takeover.identity_environment)
        options = [option for parent in parents for option in ("-p", parent)]
        stdin = text.encode("utf-8", "backslashreplace")
        commit = Commit(identity.run("commit-tree", tree, *options, "-F", "-", stdin=stdin).line)
        self.ours.born(commit, parents, tree)
        return commit

    def _keep(self, head: Commit) -> None:
        """The attempt's own reference, here and in the user's repository."""
        present = self.ours.reference(self.name)
        if present not in (None, head) and not self.ours.contains(head, present or head):
            self._salvage(present or head)
        sync_objects(self.ours)  # a reference must never outlast what it leads to
        if present != head:
            self.ours.run("update-ref", "-m", "orchestrator", self.name, head)
        make_durable(self.ours, self.name)
        mark_kept(self.ours, head)
        self.to_show[self.name] = head

    def _salvage(self, commit: Commit) -> None:
        """A salvage reference for a commit, unless it has one."""
        sync_objects(self.ours)
        taken = {name: self.ours.reference(name) for name in self._salvages()}
        name = next((name for name, held in taken.items() if held == commit), "")
        number = len(taken)
        while not name:
            number += 1
            wanted = f"{self.name}.salvage-{number}"
            answer = self.ours.ask("update-ref", "-m", "orchestrator", wanted, commit, "0" * len(commit))
            if answer.status == 0:
                name = wanted
            elif self.ours.reference(wanted) is None:
                raise GitFailed(("update-ref", wanted), answer)
        make_durable(self.ours, name)
        mark_kept(self.ours, commit)
        self.to_show[name] = commit

    def _salvage_others(self, left: Left, git_dir: Path, scratch: Path, known: set[Commit]) -> None:
        """Branches and stash entries that nothing keeps; what cannot be fetched stays in the attempt's folder."""
        for commit in left.others:
            if commit in known:
                continue
            if not is_kept(self.ours, commit) and not bring_home(self.repositories, git_dir, commit, scratch):
                self._salvage(commit)

    def _pack(self, tree: Path, nested: tuple[str, ...]) -> None:
        pack_nested(tree, nested, self.repositories.place.owner_dir(self.attempt) / "nested-repositories.tar.gz")
