"""Declared files that can meet, each pair of tasks with a path that shows it.

Membership is decided on folded paths (`core.patterns`), so `A.py` and `a.py` are one file here. All pairs of a large
plan are found through an index: patterns hang in a tree of their leading literal names, and a pattern can only meet
those on its own way to the root and those below it.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain

from orchestrator.core.exclusion import path_outside
from orchestrator.core.letters import fold, fold_forms
from orchestrator.core.patterns import (
    Kind,
    Pattern,
    SearchGaveUp,
    matcher,
    meet,
    parse,
    parse_forms,
    regex,
)
from orchestrator.model.assessment import Overlap
from orchestrator.model.ids import TaskId
from orchestrator.model.plan import EVERYTHING, FileSet, Task

PAIR_LIMIT = 2_000_000  #: overlapping pairs that a plan may have; every face and the ledger carry them one by one

Ordered = Callable[[TaskId, TaskId], bool]


class TooManyPairs(Exception):
    """More pairs of tasks overlap than can be listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """Two sets of files meet in this path. Not certain: the search gave up, and the path is only a guess."""

    path: str
    certain: bool = True


# ---- membership ----


@dataclass(frozen=True, slots=True)
class _Members:
    literal: frozenset[str]
    wild: re.Pattern[str] | None

    def __contains__(self, key: str) -> bool:
        return key in self.literal or (self.wild is not None and self.wild.fullmatch(key + "/") is not None)


def _members(patterns: Iterable[Pattern], folded: bool) -> _Members:
    literal, wild = set(), []
    for pattern in patterns:
        if pattern.kind is Kind.FILE:
            literal.add("/".join(pattern.prefix) if folded else unicodedata.normalize("NFC", pattern.text))
        else:
            wild.append(regex(pattern.text, folded=folded))
    return _Members(frozenset(literal), re.compile("|".join(f"(?:{one})" for one in wild)) if wild else None)


@lru_cache(maxsize=1 << 14)
def _include(files: FileSet) -> tuple[Pattern, ...]:
    return tuple(form for text in files.include for form in parse_forms(text))


@lru_cache(maxsize=1 << 12)
def _included(files: FileSet) -> _Members:
    return _members(_include(files), True)


@lru_cache(maxsize=1 << 12)
def _excluded(files: FileSet) -> _Members:
    return _members(map(parse, files.exclude), True)


@lru_cache(maxsize=1 << 12)
def _exactly(files: FileSet) -> _Members:
    return _members(map(parse, files.include), False)


def covers(files: FileSet, path: str, *, fold: bool = False) -> bool:
    """Whether a path belongs to a set of files.

    Args:
        fold: compare as overlap does, without regard to case. Otherwise, for judging what a task did, some included
            pattern has to match the path as it is spelled too. What is excluded stays excluded in every spelling, so
            nothing is allowed here that the comparison of two tasks did not see.
    """
    forms = fold_forms(path)
    if not any(form in _included(files) for form in forms) or forms[0] in _excluded(files):
        return False
    return fold or unicodedata.normalize("NFC", path) in _exactly(files)


# ---- two sets ----


@lru_cache(maxsize=1 << 14)
def witness(a: FileSet, b: FileSet) -> Meeting | None:
    """Where two sets of files meet, decided over all possible paths; None when they never do.

    Both cover the path. Only where a pattern of one is a file and the other lists something below that file (it would
    have to be a directory), the path is the one below.
    """
    left: dict[str, Pattern] = {}
    right: dict[str, Pattern] = {}
    guess: str | None = None
    bare = not a.exclude and not b.exclude
    for p in _include(a):
        for q in _include(b):
            try:
                path = meet(p, q)
                if path is not None and not (bare or (covers(a, path, fold=True) and covers(b, path, fold=True))):
                    if p.is_above(q):
                        path = _below(a, p, b, q)
                    elif q.is_above(p):
                        path = _below(b, q, a, p)
                    else:
                        path = None
                        if Kind.FILE not in (p.kind, q.kind):
                            left[p.text], right[q.text] = p, q
            except SearchGaveUp:
                guess = guess or p.sample
            else:
                if path is not None:
                    return Meeting(path=path)
    if left:
        try:
            path = path_outside(tuple(left.values()), tuple(right.values()), _exclude(a) + _exclude(b))
        except SearchGaveUp:
            guess = guess or next(iter(left.values())).sample
        else:
            if path is not None:
                return Meeting(path=path, certain=covers(a, path, fold=True) and covers(b, path, fold=True))
    return None if guess is None else Meeting(path=guess, certain=False)


def _exclude(files: FileSet) -> tuple[Pattern, ...]:
    return tuple(map(parse, files.exclude))


def _has(files: FileSet, path: str) -> bool:
    """Whether a path that an included pattern covers is in the set."""
    return not files.exclude or covers(files, path, fold=True)


def _below(a: FileSet, file: Pattern, b: FileSet, lower: Pattern) -> str | None:
    """A path of `b` below what is a file in `a`, if that file is not excluded from `a`. Raises: SearchGaveUp."""
    if lower.sample is None or not _has(a, file.text):
        return None
    return lower.sample if _has(b, lower.sample) else path_outside((lower,), (lower,), _exclude(b))


# ---- all pairs ----


@dataclass(slots=True)
class _Node:
    below: dict[str, _Node] = field(default_factory=dict)
    #: patterns whose literal names end here, by what a name has to begin with to match what follows
    here: dict[str, list[int]] = field(default_factory=dict)
    heads: list[str] = field(default_factory=list)  #: the keys of `here`, sorted

    def candidates(self, start: str, *, is_whole: bool) -> Iterator[list[int]]:
        """The patterns here that a name beginning with `start` could match; with `is_whole`, that very name."""
        for end in range(len(start) + 1):
            if (found := self.here.get(start[:end])) is not None:
                yield found
        if not is_whole:
            for at in range(bisect_right(self.heads, start), len(self.heads)):
                if not self.heads[at].startswith(start):
                    break
                yield self.here[self.heads[at]]


def _head(pattern: Pattern) -> str:
    """What a name has to begin with to match the first part with a wildcard; empty where nothing is known."""
    if pattern.kind is not Kind.GLOB:
        return ""
    literal = re.split(r"[*?\[]", pattern.rest.split("/", 1)[0], maxsplit=1)[0]
    return fold(literal) if literal.isascii() else ""


def _meetings(patterns: Sequence[Pattern]) -> Iterator[tuple[int, int, str, bool]]:
    """Every two of these patterns that meet: their places in the sequence, a path, whether that is certain."""
    root = _Node()
    ways: list[list[_Node]] = []  # of each pattern, the nodes from the root to its own
    for index, pattern in enumerate(patterns):
        node, way = root, [root]
        for name in pattern.prefix:
            deeper = node.below.get(name)
            if deeper is None:
                deeper = node.below[name] = _Node()
            node = deeper
            way.append(node)
        node.here.setdefault(_head(pattern), []).append(index)
        ways.append(way)
    for way in ways:
        if len(way[-1].heads) != len(way[-1].here):
            way[-1].heads = sorted(way[-1].here)
    for index, pattern in enumerate(patterns):
        if pattern.sample is None:
            continue
        own = ways[index][-1]
        is_file = pattern.kind is Kind.FILE
        for depth, node in enumerate(ways[index]):
            if not node.here:
                continue
            suffix = "/".join(pattern.prefix[depth:]) + "/" if is_file else ""
            start = _head(pattern) if node is own else pattern.prefix[depth]
            for above in chain.from_iterable(node.candidates(start, is_whole=node is not own)):
                if node is own and above >= index:
                    continue  # two patterns at one place are looked at once
                other = patterns[above]
                if is_file and other.kind is Kind.GLOB and node is not own:
                    # by far the most frequent question of a large plan, and one with few different right sides
                    if matcher(other.rest).fullmatch(suffix):
                        yield above, index, pattern.text, True
                    continue
                try:
                    path = meet(other, pattern)
                except SearchGaveUp:
                    yield above, index, pattern.sample, False
                else:
                    if path is not None:
                        yield above, index, path, True


class _Owners:
    """The distinct patterns of many sets of files, and who has each."""

    def __init__(self) -> None:
        self.patterns: list[Pattern] = []
        self.of: list[list[int]] = []  #: for each pattern, who has it, in rising order
        self._index: dict[tuple[str, ...], int] = {}

    def add(self, owner: int, files: FileSet) -> None:
        for text in files.include:
            for pattern in parse_forms(text):
                same = ("/".join(pattern.prefix),) if pattern.kind is Kind.FILE else (pattern.text, "")
                index = self._index.setdefault(same, len(self.patterns))
                if index == len(self.patterns):
                    self.patterns.append(pattern)
                    self.of.append([])
                if self.of[index][-1:] != [owner]:
                    self.of[index].append(owner)


class _Found:
    """Pairs of sets that meet. A pair is one number, so that many are cheap: first place x number of sets + second."""

    def __init__(self, sets: Sequence[FileSet], wanted: Callable[[int, int], bool] | None) -> None:
        self.paths: dict[int, str] = {}
        self.uncertain: set[int] = set()
        self._unsure: set[int] = set()  # their included patterns meet, which is not enough where `!` patterns are
        self._sets = sets
        self._wanted = wanted
        self._count = len(sets)
        self._has_exclude = [bool(files.exclude) for files in sets]
        self._collect()

    def _collect(self) -> None:
        owners = _Owners()
        for index, files in enumerate(self._sets):
            if not files.is_everything:
                owners.add(index, files)
        for pattern, same in zip(owners.patterns, owners.of, strict=True):
            if pattern.sample is not None:
                for at, i in enumerate(same):
                    self._note([i], same[at + 1 :], pattern.sample, True)
        for p, q, path, certain in _meetings(owners.patterns):
            self._note(owners.of[p], owners.of[q], path, certain)
        samples = [_sample(files) for files in self._sets]
        for i, files in enumerate(self._sets):
            if files.is_everything:
                for j, sample in enumerate(samples):
                    if sample is not None:
                        self._note([i], [j], sample, True)
        for pair in self._unsure:
            i, j = divmod(pair, self._count)
            meeting = witness(self._sets[i], self._sets[j])
            if meeting is not None:
                self.paths[pair] = meeting.path
                if not meeting.certain:
                    self.uncertain.add(pair)

    def _note(self, some: Sequence[int], others: Sequence[int], path: str, certain: bool) -> None:
        paths, uncertain, count = self.paths, self.uncertain, self._count
        for i in some:
            for j in others:
                pair = i * count + j if i < j else j * count + i
                if pair in paths and not (certain and pair in uncertain):
                    continue
                if i == j or (self._wanted is not None and not self._wanted(i, j)):
                    continue
                if self._has_exclude[i] or self._has_exclude[j]:
                    self._unsure.add(pair)
                    continue
                paths[pair] = path
                if certain:
                    uncertain.discard(pair)
                else:
                    uncertain.add(pair)
        if len(paths) + len(self._unsure) > PAIR_LIMIT:
            raise TooManyPairs


def _sample(files: FileSet) -> str | None:
    """Some path of a set; None when it is empty. Where the search gives up, a guess."""
    if files.exclude:
        meeting = witness(files, EVERYTHING)
        return None if meeting is None else meeting.path
    return next((sample for text in files.include if (sample := parse(text).sample) is not None), None)


def overlapping_pairs(tasks: Sequence[Task], resources: Mapping[str, int], *, ordered: Ordered) -> tuple[Overlap, ...]:
    """Every pair of tasks that may not run at once, in plan order.

    Args:
        resources: how many may use a shared name at once; 1 where it is not declared, and only then a pair overlaps.
        ordered: whether a dependency, however long, lies between two tasks.

    Raises: TooManyPairs.
    """
    count = len(tasks)
    found = _Found([task.files for task in tasks], None)
    shared: dict[int, str] = {}
    users: defaultdict[str, list[int]] = defaultdict(list)
    for index, task in enumerate(tasks):
        for name in dict.fromkeys(task.uses):
            if resources.get(name, 1) == 1:
                users[name].append(index)
    for name, indices in users.items():
        for at, i in enumerate(indices):
            for j in indices[at + 1 :]:
                shared.setdefault(i * count + j, name)
            if len(found.paths) + len(shared) > PAIR_LIMIT:
                raise TooManyPairs
    overlaps = []
    for pair in sorted(found.paths.keys() | shared.keys()):
        i, j = divmod(pair, count)
        a, b = tasks[i].id, tasks[j].id
        path = found.paths.get(pair)
        overlaps.append(
            Overlap(
                tasks=(a, b),
                witness=shared[pair] if path is None else path,
                shared=path is None,
                ordered=ordered(a, b),
                certain=pair not in found.uncertain,
            )
        )
    return tuple(overlaps)


def reading_pairs(tasks: Sequence[Task], *, ordered: Ordered) -> tuple[tuple[TaskId, TaskId, str], ...]:
    """Every task that reads what another may change at the same time: reader, writer, and a path that shows it.

    Raises: TooManyPairs.
    """
    readers = [task for task in tasks if not task.reads.is_empty]
    if not readers:
        return ()
    both = [*readers, *tasks]
    first_writer = len(readers)

    def wanted(i: int, j: int) -> bool:
        reader, writer = min(i, j), max(i, j)
        if not reader < first_writer <= writer:
            return False
        a, b = both[reader].id, both[writer].id
        return a != b and not ordered(a, b)

    found = _Found([*(task.reads for task in readers), *(task.files for task in tasks)], wanted)
    pairs = ((*divmod(pair, len(both)), found.paths[pair]) for pair in sorted(found.paths))
    return tuple((both[i].id, both[j].id, path) for i, j, path in pairs)


def rivals_of(pairs: Iterable[tuple[TaskId, TaskId]]) -> dict[TaskId, frozenset[TaskId]]:
    """Pairs of tasks that can meet, as a look-up in both directions."""
    found: dict[TaskId, set[TaskId]] = {}
    for one, two in pairs:
        found.setdefault(one, set()).add(two)
        found.setdefault(two, set()).add(one)
    return {task: frozenset(others) for task, others in found.items()}
