"""One pattern of `files`: which paths it covers, and whether it can meet another, decided over all possible paths.

A pattern is a row of segments between `/`. `**` stands for any number of segments, none included; inside a segment `*`,
`?`, `[..]` and `[!..]` never match `/`. Text is compared folded, as `core.letters` says.

Whether two patterns meet is the question whether a product of two automata can reach its end: a search over pairs of
segments, and inside two segments with wildcards over pairs of characters. Both are polynomial, and the inner one has a
bound all the same.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from orchestrator.core.letters import ANY, Spans, class_spans, common_spans, fold, fold_char, fold_forms, pick

WILD = re.compile(r"[*?\[]")
SEGMENT_LIMIT = 20_000  #: pairs of positions looked at before two segments are given up


class SearchGaveUp(Exception):
    """The bound was reached before it was clear whether two patterns meet."""


class Kind(Enum):
    FILE = "file"  #: no wildcard
    TREE = "tree"  #: no wildcard but the `**` at its end
    GLOB = "glob"  #: anything else


class Chars(NamedTuple):
    """One character of a segment: which ones it may be, and how it was written if it is only one."""

    spans: Spans
    shown: str = ""


Token = Chars | None  #: None is `*`


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """What stands between two `/`, if it is not `**`."""

    text: str
    key: str  #: folded
    tokens: tuple[Token, ...]
    is_literal: bool
    sample: str | None  #: a name that it matches; None: there is none


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """A whole pattern. Two patterns of the same text are the same object as long as the cache holds them."""

    text: str
    kind: Kind
    prefix: tuple[str, ...]  #: the leading segments without wildcard, folded
    rest: str  #: what follows them; many patterns of a plan have the same
    sample: str | None  #: a path that it covers; None: there is none

    @property
    def segments(self) -> tuple[Segment | None, ...]:
        """Its segments; None is `**`."""
        return _segments(self.text)

    def covers(self, key: str) -> bool:
        """Whether it covers a folded path."""
        return matcher(self.text).fullmatch(key + "/") is not None

    def is_above(self, other: Pattern) -> bool:
        """Whether it is one file, and `other` lists things that lie below the same path."""
        depth = len(self.prefix)
        longer = len(other.prefix) > depth or (len(other.prefix) == depth and other.kind is not Kind.FILE)
        return self.kind is Kind.FILE and longer and other.prefix[:depth] == self.prefix


def _class_end(text: str, at: int) -> int:
    """Where the class that begins at `at` is closed; -1 when it is not."""
    first = at + 1 + (text[at + 1 : at + 2] in ("!", "^"))
    return text.find("]", first + 1)


@lru_cache(maxsize=1 << 15)
def _tokens(text: str, folded: bool) -> tuple[Token, ...]:
    out: list[Token] = []
    at = 0
    while at < len(text):
        char = text[at]
        end = _class_end(text, at) if char == "[" else -1
        if char == "*":
            if not out or out[-1] is not None:
                out.append(None)
        elif char == "?":
            out.append(Chars(ANY))
        elif end > 0:
            out.append(Chars(class_spans(text[at + 1 : end], folded)))
            at = end
        else:
            code = ord(fold_char(char) if folded else char)
            out.append(Chars(((code, code),), char))
        at += 1
    return tuple(out)


# ---- parsing ----


@lru_cache(maxsize=1 << 15)
def segment(text: str) -> Segment:
    tokens = _tokens(text, True)
    chars = ["a" if token is None else token.shown or pick(token.spans) for token in tokens]
    sample = "".join(chars) if all(chars) else ""
    return Segment(
        text,
        fold(text),
        tokens,
        is_literal=all(token is not None and token.shown for token in tokens),
        sample=None if sample in ("", ".", "..") else sample,
    )


@lru_cache(maxsize=1 << 15)
def _segments(text: str) -> tuple[Segment | None, ...]:
    out: list[Segment | None] = []
    for part in unicodedata.normalize("NFC", text).split("/"):
        if part != "**":
            out.append(segment(part))
        elif not out or out[-1] is not None:
            out.append(None)
    return tuple(out)


@lru_cache(maxsize=1 << 16)
def parse(text: str) -> Pattern:
    """The pattern of that text, which is normalised: no braces, no leading `./`, no backslashes."""
    if not WILD.search(text):
        return Pattern(text, Kind.FILE, tuple(fold(text).split("/")), "", text)
    segments = _segments(text)
    literal = []
    for part in segments:
        if part is None or not part.is_literal:
            break
        literal.append(part.key)
    rest = segments[len(literal) :]
    kind = Kind.FILE if not rest else Kind.TREE if rest == (None,) else Kind.GLOB
    names = [part.sample for part in segments if part is not None]
    if segments[-1] is None:
        names.append("a")
    known = [name for name in names if name is not None]
    written = "/".join("**" if part is None else part.text for part in rest)
    return Pattern(text, kind, tuple(literal), written, "/".join(known) if len(known) == len(names) else None)


def parse_forms(text: str) -> tuple[Pattern, ...]:
    """The pattern of that text, and its other form where folding changes the number of characters."""
    if text.isascii() or "[" in text or len(forms := fold_forms(text)) == 1:
        return (parse(text),)
    return (parse(text), parse(forms[1]))


# ---- membership ----


def _char_regex(token: Chars) -> str:
    if token.spans == ANY:
        return "[^/]"
    if not token.spans:
        return "(?!)"
    spans = (re.escape(chr(a)) if a == b else f"{re.escape(chr(a))}-{re.escape(chr(b))}" for a, b in token.spans)
    return f"[{''.join(spans)}]"


def _segment_regex(tokens: tuple[Token, ...]) -> str:
    chunks = [""]
    for token in tokens:
        if token is None:
            chunks.append("")
        else:
            chunks[-1] += _char_regex(token)
    if len(chunks) == 1:
        return chunks[0]
    # The first place where a middle chunk fits is as good as any later one, so no place is tried twice.
    middle = "".join(f"(?>[^/]*?{chunk})" for chunk in chunks[1:-1])
    return f"{chunks[0]}{middle}[^/]*{chunks[-1]}"


def regex(text: str, *, folded: bool) -> str:
    """A regular expression for every path that a pattern covers, each with a `/` at its end."""
    runs = [""]
    for part in _segments(text):
        if part is None:
            runs.append("")
        else:
            runs[-1] += f"(?=[^/]){_segment_regex(part.tokens if folded else _tokens(part.text, False))}/"
    if len(runs) == 1:
        return runs[0]
    middle = "".join(f"(?>(?:[^/]+/)*?{run})" for run in runs[1:-1])
    return f"{runs[0]}{middle}(?:[^/]+/)*{runs[-1]}"


@lru_cache(maxsize=1 << 15)
def matcher(text: str) -> re.Pattern[str]:
    """What matches a folded path with a `/` at its end."""
    return re.compile(regex(text, folded=True))


# ---- meeting ----


def meet(one: Pattern, other: Pattern) -> str | None:
    """A path that shows that two patterns meet, or None when they never do.

    The path is covered by both; where one is a file and the other lists things below it, by the other only.

    Raises: SearchGaveUp.
    """
    if one.sample is None or other.sample is None:
        return None
    depth = min(len(one.prefix), len(other.prefix))
    if one.prefix[:depth] != other.prefix[:depth]:
        return None
    if one.kind is Kind.FILE:
        return _file_meets(one, other)
    if other.kind is Kind.FILE:
        return _file_meets(other, one)
    if one.kind is Kind.TREE and len(one.prefix) <= len(other.prefix):
        return other.sample
    if other.kind is Kind.TREE and len(other.prefix) <= len(one.prefix):
        return one.sample
    return _common_path(one, other)


def _file_meets(file: Pattern, other: Pattern) -> str | None:
    if other.kind is not Kind.GLOB and len(other.prefix) <= len(file.prefix):
        return file.text  # both stand on one line from the root, and this is the deeper one
    if file.is_above(other):
        return other.sample
    return file.text if other.covers("/".join(file.prefix)) else None


def _common_path(one: Pattern, other: Pattern) -> str | None:
    p, q = one.segments, other.segments
    came: dict[tuple[int, int], tuple[tuple[int, int], str] | None] = {(0, 0): None}
    todo = [(0, 0)]
    for i, j in todo:
        tail = p[i:] == (None,) and q[j:] == (None,)
        if tail or (i == len(p) and j == len(q)):
            names, at = (["a"] if tail else []), came[i, j]
            while at is not None:
                names.append(at[1])
                at = came[at[0]]
            path = "/".join(name for name in reversed(names) if name)
            key = fold(path)
            if not path.isascii() and not (one.covers(key) and other.covers(key)):
                raise SearchGaveUp  # made-up letters have joined with an accent after them
            return path
        steps: list[tuple[tuple[int, int], str | None]] = []
        a = p[i] if i < len(p) else None
        b = q[j] if j < len(q) else None
        a_deep, b_deep = i < len(p) and a is None, j < len(q) and b is None
        if a_deep:
            steps.append(((i + 1, j), ""))
            if b is not None:
                steps.append(((i, j + 1), b.sample))
        if b_deep:
            steps.append(((i, j + 1), ""))
            if a is not None:
                steps.append(((i + 1, j), a.sample))
        if a is not None and b is not None:
            steps.append(((i + 1, j + 1), common_name(a, b)))
        for step, name in steps:
            if name is not None and step not in came:
                came[step] = ((i, j), name)
                todo.append(step)
    return None


@lru_cache(maxsize=1 << 16)
def _name_matcher(part: Segment) -> re.Pattern[str]:
    return re.compile(_segment_regex(part.tokens))


@lru_cache(maxsize=1 << 16)
def common_name(one: Segment, other: Segment) -> str | None:
    """A name that two segments match, or None. Raises: SearchGaveUp."""
    if one.is_literal and other.is_literal:
        return one.text if one.key == other.key else None
    for this, that in ((one, other), (other, one)):
        if this.sample is not None and _name_matcher(that).fullmatch(fold(this.sample)):
            return this.sample
        if this.is_literal:
            return None
    return _search_name(one.tokens, other.tokens)


def _search_name(p: tuple[Token, ...], q: tuple[Token, ...]) -> str | None:
    # The third number: how many full stops the name consists of so far, 3 when it can no longer become `.` or `..`.
    start = (0, 0, 0)
    came: dict[tuple[int, int, int], tuple[tuple[int, int, int], str] | None] = {start: None}
    todo = [start]
    for state in todo:
        i, j, dots = state
        if i == len(p) and j == len(q) and dots == 3:
            chars, at = [], came[state]
            while at is not None:
                chars.append(at[1])
                at = came[at[0]]
            return "".join(reversed(chars))
        if len(todo) > SEGMENT_LIMIT:
            raise SearchGaveUp
        a = p[i] if i < len(p) else Chars(())
        b = q[j] if j < len(q) else Chars(())
        steps: list[tuple[int, int, str]] = []
        if a is None and b is None:
            steps.append((i, j, "a"))
        elif a is None and b is not None:
            steps.append((i, j + 1, b.shown or pick(b.spans)))
        elif b is None and a is not None:
            steps.append((i + 1, j, a.shown or pick(a.spans)))
        elif a is not None and b is not None:
            both = pick_common(a, b)
            steps.append((i + 1, j + 1, both))
        for x, y, char in steps:
            if char:
                step = (x, y, 3 if char != "." else min(dots + 1, 3))
                if step not in came:
                    came[step] = (state, char)
                    todo.append(step)
        for skipped in ([(i + 1, j, dots)] if a is None else []) + ([(i, j + 1, dots)] if b is None else []):
            if skipped not in came:
                came[skipped] = (state, "")
                todo.append(skipped)
    return None


def pick_common(one: Chars, other: Chars) -> str:
    """A character of both, as written where one of them is a letter; empty when there is none."""
    common = common_spans(one.spans, other.spans)
    return (one.shown or other.shown or pick(common)) if common else ""
