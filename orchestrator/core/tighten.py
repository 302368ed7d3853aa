"""What past attempts changed -> narrower `files` for the tasks of a plan, never wider than what is declared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic_core import PydanticCustomError

from orchestrator.core.overlap import covers
from orchestrator.core.patterns import Kind, parse
from orchestrator.core.planpaths import PathPattern, file_set, read_pattern
from orchestrator.core.plantables import TaskTable

FEW = 4  #: files of one folder that are listed one by one; more become the folder
MOST = 12  #: patterns that anybody wants to read for one task

_SPECIAL = re.compile(r"[*?\[{}]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What `files` of one task could be."""

    task: str
    old: tuple[str, ...] | None  #: None: nothing is declared, so the whole repository
    new: tuple[str, ...] | None  #: None: there is nothing to propose
    changed: int  #: how many paths its attempts changed
    why_not: str = ""  #: when there is nothing to propose


def proposals(
    tasks: Sequence[TaskTable], changed: Mapping[str, Iterable[str]], directories: frozenset[str]
) -> list[Proposal]:
    """One for every task, in the order of the plan.

    Args:
        changed: paths that hand-offs of each task changed, so far as the ledger knows.
        directories: folders of the repository; a bare name that is one means everything below it.
    """
    return [_proposal(task, sorted(set(changed.get(task.id or "", ()))), directories) for task in tasks]


def _proposal(task: TaskTable, changed: list[str], directories: frozenset[str]) -> Proposal:
    declared = tuple(pattern.text for pattern in task.files) if task.files is not None else None
    patterns = list(task.files) if task.files is not None else [read_pattern("**")]
    new, why_not = _narrowed(patterns, changed, directories)
    if new is not None and set(new) == set(declared or ()):
        new, why_not = None, "its files are as narrow as what it changed"
    return Proposal(task=task.id or "", old=declared, new=new, changed=len(changed), why_not=why_not)


def _narrowed(
    patterns: list[PathPattern], changed: list[str], directories: frozenset[str]
) -> tuple[tuple[str, ...] | None, str]:
    if not patterns:
        return None, "it declares that it changes nothing"
    if not changed:
        return None, "no attempt of it has handed off a change yet"
    declared = file_set(patterns, directories)
    inside = [path for path in changed if covers(declared, path)]
    if not inside:
        return None, "what its attempts changed lies outside of what is declared now"
    chosen: dict[str, None] = {}
    left = set(inside)
    for pattern in [one for one in patterns if not one.is_exclusion]:
        own = file_set([pattern], directories)
        mine = sorted(path for path in left if covers(own, path))
        left.difference_update(mine)
        chosen.update(dict.fromkeys(_within(pattern, own.include, mine)))
    kept = tuple(chosen)
    if len(kept) > MOST:
        kept = tuple(dict.fromkeys(one.text for one in patterns if not one.is_exclusion))
    # what was taken away stays away, where a folder could bring it back
    if any(parse(text).kind is not Kind.FILE for text in kept):
        kept += tuple(one.text for one in patterns if one.is_exclusion)
    try:
        found = file_set([read_pattern(text) for text in kept], directories)
    except PydanticCustomError:  # control characters, backslashes, names longer than patterns may be
        found = file_set([], directories)
    if not all(covers(found, path) for path in inside):
        return None, "its paths cannot be written as narrower patterns"
    return kept, ""


def _within(pattern: PathPattern, include: Sequence[str], paths: list[str]) -> list[str]:
    """Patterns for these paths, none of which reaches beyond the given one."""
    if not paths:
        return []
    if any(parse(text).kind is Kind.GLOB for text in include):
        return [as_pattern(path) for path in paths] if len(paths) <= FEW else [pattern.text]
    roots = [text.removesuffix("**").rstrip("/") for text in include if text.endswith("**")]
    out: list[str] = []
    for root in roots or [""]:
        mine = [path for path in paths if not root or path.startswith(f"{root}/")]
        out += _folder(root, mine) if roots else []
    # a pattern may spell a path in another case than it has; such paths are listed
    rest = [path for path in paths if not any(not root or path.startswith(f"{root}/") for root in roots)]
    return out + [as_pattern(path) for path in rest]


def _folder(root: str, paths: list[str]) -> list[str]:
    """Patterns for paths below a folder: files where they are few, else folders, as deep as they have to be."""
    if len(paths) <= FEW:
        return [as_pattern(path) for path in paths]
    start = len(root) + 1 if root else 0
    groups: dict[str, list[str]] = {}
    for path in paths:
        head, slash, _ = path[start:].partition("/")
        groups.setdefault(head if slash else "", []).append(path)
    own = groups.pop("", [])
    if len(own) > FEW and root:
        return [f"{as_pattern(root)}/**"]
    out = [as_pattern(path) for path in own]
    for name, below in groups.items():
        out += _folder(f"{root}/{name}" if root else name, below)
    # many folders with a few files each: the folder above says it better
    return out if len(out) <= FEW * 2 or not root else [f"{as_pattern(root)}/**"]


def as_pattern(path: str) -> str:
    """The pattern that covers this one path."""
    text = _SPECIAL.sub(lambda found: f"[{found[0]}]", path)
    return f"./{text}" if text.startswith("!") else text
