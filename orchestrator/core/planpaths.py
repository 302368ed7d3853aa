"""Paths and patterns as a person writes them in a plan -> the way the rest of the program knows them.

A pattern of a `FileSet` has no braces, no leading `./` and no empty segments; a folder ends in `/**`. Everything that
could leave the repository or reach git's own folder is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, PlainValidator, ValidationInfo, WithJsonSchema

from orchestrator.core.planvalues import fault, shown
from orchestrator.model.plan import FileSet

LONGEST = 512  #: characters of one pattern
MOST_ALTERNATIVES = 256  #: patterns that the braces of one pattern may stand for
MOST_IN_A_PLAN = 100_000  #: patterns that all braces of a plan together may stand for
DEEPEST_BRACES = 16

_WILD = re.compile(r"[*?\[]")
_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*(/\*\*)?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CLASS = re.compile(r"\[(?:[!^]|(?![!^]))(.[^\]]*)\]", re.DOTALL)  # a `]` that comes first is one of the characters
_PIECE = re.compile(rf"{_CLASS.pattern.replace('(.', '(?:.')}|[{{}},]|[^{{}},\[]+|\[", re.DOTALL)


class PathPattern(NamedTuple):
    """One entry of a `files` list. `texts` are what its braces stand for."""

    text: str  #: as written
    is_exclusion: bool
    texts: tuple[str, ...]


@dataclass(eq=False)
class _Bad(Exception):
    why: str
    fix: str


def read_pattern(value: object) -> PathPattern:
    """A pattern as written -> what it stands for. Raises: the fault `bad_pattern` or `wrong_type`."""
    if not isinstance(value, str):
        raise fault("wrong_type", f"{shown(value)} is not a text", why="a pattern is a text", fix="put it in quotes")
    if len(value) <= LONGEST and _PLAIN.fullmatch(value) and ".." not in value and ".git" not in value.lower():
        return PathPattern(value, False, (value,))
    is_exclusion = value.startswith("!")
    try:
        if len(value) > LONGEST:
            raise _Bad(f"it has {len(value)} characters, and {LONGEST} are the most", "write several shorter patterns")
        texts = tuple(dict.fromkeys(_normal(text) for text in _alternatives(value[is_exclusion:])))
    except _Bad as bad:
        message = f"the pattern {shown(value)} cannot be used"
        raise fault("bad_pattern", message, why=bad.why, fix=bad.fix) from None
    return PathPattern(value, is_exclusion, texts)


def _counted(value: object, info: ValidationInfo) -> PathPattern:
    """`read_pattern`, but no more from braces than `MOST_IN_A_PLAN`; the context of the validation counts them."""
    written_out: dict[str, int] = {} if info.context is None else info.context
    if isinstance(value, str) and "{" in value and written_out.get("patterns", 0) >= MOST_IN_A_PLAN:
        why = f"all braces of the plan together stand for more than {MOST_IN_A_PLAN} patterns"
        message = f"the pattern {shown(value)} is one too many"
        raise fault("too_big", message, why=why, fix="use `*` in place of braces")
    pattern = read_pattern(value)
    if len(pattern.texts) > 1:
        written_out["patterns"] = written_out.get("patterns", 0) + len(pattern.texts)
    return pattern


def read_path(value: str) -> str:
    """A path in the repository, without leading `./`, doubled and final `/`. Raises: the fault `bad_path`."""
    try:
        parts = _segments(value)
        if not parts:
            raise _Bad("it names no file", "write a path relative to the root of the repository")
        if len(value) > 4096:
            raise _Bad("it is longer than file systems allow", "write a shorter one")
    except _Bad as bad:
        raise fault("bad_path", f"the path {shown(value)} cannot be used", why=bad.why, fix=bad.fix) from None
    return "/".join(parts)


def check_not_only_exclusions(patterns: list[PathPattern]) -> list[PathPattern]:
    """The list, if it includes anything. Raises: the fault `bad_pattern`."""
    if patterns and all(pattern.is_exclusion for pattern in patterns):
        why = "a set is what its patterns cover less what those with `!` cover, so this one would be empty"
        fix = 'add a pattern without `!`, such as "**" for the whole repository'
        raise fault("bad_pattern", "the list has only patterns that begin with `!`", why=why, fix=fix)
    return patterns


def file_set(patterns: Iterable[PathPattern], directories: frozenset[str]) -> FileSet:
    """The set that a list of patterns stands for; a bare name that is a folder means everything in it."""
    include: dict[str, None] = {}
    exclude: dict[str, None] = {}
    for pattern in patterns:
        side = exclude if pattern.is_exclusion else include
        for text in pattern.texts:
            side[f"{text}/**" if text in directories and not _WILD.search(text) else text] = None
    return FileSet(include=tuple(include), exclude=tuple(exclude))


# ---- one pattern ----


def _segments(text: str) -> list[str]:
    """The segments of a path or pattern, without `.` and empty ones. Raises: _Bad."""
    if not text.strip():
        raise _Bad("it is empty", "write a path relative to the root of the repository, or remove it")
    if _CONTROL.search(text):
        raise _Bad("line breaks and tabs cannot stand in a path here", "remove them")
    if "\\" in text:
        raise _Bad(
            "`/` stands between folders on every system, and nothing is escaped", "write `/`, or [x] for a special x"
        )
    if text.startswith("/"):
        raise _Bad("paths begin at the root of the repository, and this one is absolute", "remove the leading `/`")
    if re.match(r"~/|[A-Za-z]:/", text):
        raise _Bad("paths begin at the root of the repository, and this one begins elsewhere", "write it relative")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    for part in parts:
        if part == "..":
            raise _Bad("`..` leads out of the folder, and nothing outside the repository can be meant", "remove `..`")
        if part.lower() == ".git":
            raise _Bad("`.git` belongs to git, and no commit can contain it", "remove it")
    return parts


def _normal(text: str) -> str:
    """One pattern without braces, in the form that `FileSet` promises. Raises: _Bad."""
    kept: list[str] = []
    for part in _segments(text):
        if "[" in part:
            _check_classes(part)
        if "**" in part and part != "**":
            raise _Bad("`**` stands for whole folders, so nothing else stands between its slashes", _stars_fix(part))
        if part != "**" or kept[-1:] != ["**"]:
            kept.append(part)
    if (text.endswith("/") or not kept) and kept[-1:] != ["**"]:
        kept.append("**")
    return "/".join(kept)


def _stars_fix(part: str) -> str:
    return f"write {shown('**/' + re.sub(r'[*]+', '*', part))}, or `*` for what stays within one folder"


def _check_classes(part: str) -> None:
    at = part.find("[")
    while at >= 0:
        match = _CLASS.match(part, at)
        if match is None:
            raise _Bad(
                "a `[` is not closed before the next `/`", "close it with `]`, or write [[] for the character itself"
            )
        for low, high in re.findall(r"(.)-(.)", match[1]):
            if low > high:
                raise _Bad(f"the range {low}-{high} runs backwards", f"write {high}-{low}")
        at = part.find("[", match.end())


def _alternatives(text: str) -> list[str]:
    """What the braces of a pattern stand for; `[..]` shields them. Raises: _Bad."""
    if "{" not in text and "}" not in text:
        return [text]
    done: list[tuple[list[str], list[str]]] = []  #: for each open brace: what stood before it, and its choices so far
    now = [""]
    for piece in _PIECE.findall(text):
        if piece == "{":
            done.append((now, []))
            now = [""]
            if len(done) > DEEPEST_BRACES:
                raise _Bad(f"its braces stand more than {DEEPEST_BRACES} deep", "write several patterns")
        elif piece == "}":
            if not done:
                raise _Bad("a `}` has no `{` before it", "open it, or write [}] for the character itself")
            before, choices = done.pop()
            now = _limited(before, [*choices, *now])
        elif piece == "," and done:
            done[-1][1].extend(now)
            now = [""]
        else:
            now = [start + piece for start in now]
    if done:
        raise _Bad("a `{` is not closed", "close it with `}`, or write [{] for the character itself")
    return now


def _limited(before: list[str], choices: list[str]) -> list[str]:
    if len(before) * len(choices) > MOST_ALTERNATIVES:
        raise _Bad(f"its braces stand for more than {MOST_ALTERNATIVES} patterns", "use `*`, or write several patterns")
    return [start + choice for start in before for choice in choices]


Pattern = Annotated[
    PathPattern,
    PlainValidator(_counted),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": LONGEST, "examples": ["src/api/**", "!src/gen/"]}),
]
Patterns = Annotated[list[Pattern], AfterValidator(check_not_only_exclusions)]
RepoPath = Annotated[str, AfterValidator(read_path)]
