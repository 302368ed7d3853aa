"""A model of git's objects: commits as values, trees as mappings from path to content, and real three-way merges."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.model.ids import Commit

Tree = Mapping[str, str]  #: path -> content; contents are never equal by accident


@dataclass(frozen=True, slots=True)
class CommitValue:
    """A commit, and everything it descends from as bits: bit `n` for the `n`-th commit ever made."""

    number: int
    parents: tuple[Commit, ...]
    tree: Tree
    message: str
    line: int  #: itself and all its ancestors


class Objects:
    """Every commit that was ever made; nothing is collected as garbage here, references say what is kept."""

    def __init__(self) -> None:
        self._commits: dict[Commit, CommitValue] = {}
        self._order: list[Commit] = []

    def __getitem__(self, commit: Commit) -> CommitValue:
        return self._commits[commit]

    def __contains__(self, commit: object) -> bool:
        return commit in self._commits

    def commit(self, parents: tuple[Commit, ...], tree: Tree, message: str) -> Commit:
        """Make a commit; one of the same content is the same commit."""
        text = repr((parents, sorted(tree.items()), message)).encode()
        name = Commit(hashlib.sha1(text, usedforsecurity=False).hexdigest())
        if name not in self._commits:
            number = len(self._order)
            line = 1 << number
            for parent in parents:
                line |= self._commits[parent].line
            self._commits[name] = CommitValue(number, parents, dict(tree), message, line)
            self._order.append(name)
        return name

    def contains(self, commit: Commit, ancestor: Commit) -> bool:
        return bool(self._commits[commit].line >> self._commits[ancestor].number & 1)

    def base_of(self, one: Commit, two: Commit) -> Commit:
        """The best common ancestor: the latest made of all that they share."""
        return self._order[(self._commits[one].line & self._commits[two].line).bit_length() - 1]

    def changed(self, base: Commit, head: Commit) -> tuple[str, ...]:
        """Paths that differ between two commits."""
        return differing(self._commits[base].tree, self._commits[head].tree)

    def merge(self, ours: Commit, theirs: Commit, base: Commit | None = None) -> tuple[Tree, tuple[str, ...]]:
        """The merged tree, and the paths that both changed in different ways, which hold both sides."""
        old = self._commits[base if base is not None else self.base_of(ours, theirs)].tree
        mine, other = self._commits[ours].tree, self._commits[theirs].tree
        merged, conflicts = dict(mine), []
        for path in differing(old, other):
            before, new = old.get(path), other.get(path)
            if mine.get(path) == before:
                if new is None:
                    merged.pop(path, None)
                else:
                    merged[path] = new
            elif mine.get(path) != new:
                conflicts.append(path)
                merged[path] = f"<<<<<<< {mine.get(path)} ======= {new} >>>>>>>"
        return merged, tuple(conflicts)

    def first_parents(self, tip: Commit, until: Commit) -> tuple[Commit, ...] | None:
        """The first-parent line from `tip` back to just after `until`, newest first; None if it does not get there."""
        line: list[Commit] = []
        here: Commit | None = tip
        while here is not None and here != until:
            line.append(here)
            parents = self._commits[here].parents
            here = parents[0] if parents else None
        return tuple(line) if here is not None else None


def differing(one: Tree, two: Tree) -> tuple[str, ...]:
    """Paths whose content is not the same in two trees."""
    return tuple(sorted(path for path in one.keys() | two.keys() if one.get(path) != two.get(path)))
