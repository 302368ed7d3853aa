"""Characters of file names: how they are compared, and sets of them.

Text is compared folded: composed (NFC), and every character by its lower-case form. Folding keeps the number of
characters, so that `?` matches the same names before and after it. Sets of characters are rising ranges of code points.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache

Spans = tuple[tuple[int, int], ...]

LAST = 0x10FFFF
ANY: Spans = ((1, 46), (48, LAST))  # every character but NUL and `/`
#: What a made-up name is made of, best first; the full stop late, because `.` and `..` are no names.
PLAUSIBLE = "abcdefghijklmnopqrstuvwxyz0123456789_-+~@.,= "


# ---- folding ----


@cache
def fold_char(char: str) -> str:
    """A character as it is compared; always one."""
    for form in (char.casefold(), char.lower()):
        if len(form) == 1:
            return form
    return char


def fold(text: str) -> str:
    """Text as it is compared."""
    if text.isascii():
        return text.lower()
    composed = unicodedata.normalize("NFC", text)
    return unicodedata.normalize("NFC", "".join(map(fold_char, composed)))


def fold_forms(text: str) -> tuple[str, ...]:
    """Text as it is compared, and with `ß` as `ss` where that differs, because some file systems hold these equal."""
    if text.isascii():
        return (text.lower(),)
    simple = fold(text)
    full = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return (simple,) if full == simple else (simple, full)


@cache
def _changed_by_folding() -> tuple[tuple[int, int], ...]:
    return tuple((code, ord(image)) for code in range(0x1E944) if ord(image := fold_char(chr(code))) != code)


# ---- sets of characters ----


def _tidy(spans: Iterable[tuple[int, int]]) -> Spans:
    out: list[tuple[int, int]] = []
    for low, high in sorted(span for span in spans if span[0] <= span[1]):
        if out and low <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(high, out[-1][1]))
        else:
            out.append((low, high))
    return tuple(out)


def _complement(spans: Spans) -> Spans:
    out, start = [], 0
    for low, high in spans:
        out.append((start, low - 1))
        start = high + 1
    return _tidy([*out, (start, LAST)])


@lru_cache(maxsize=1 << 14)
def common_spans(one: Spans, other: Spans) -> Spans:
    """The characters that two sets have in common."""
    return _tidy((max(a, c), min(b, d)) for a, b in one for c, d in other)


def has(spans: Spans, code: int) -> bool:
    """Whether a character belongs to a set."""
    return any(low <= code <= high for low, high in spans)


@lru_cache(maxsize=1 << 14)
def pick(spans: Spans) -> str:
    """The most plausible character of a set as folding leaves it; empty when there is none."""
    for char in PLAUSIBLE:
        if has(spans, ord(char)):
            return char
    codes = (code for low, high in spans for code in range(low, high + 1) if not 0xD800 <= code <= 0xDFFF)
    stable = [""]
    for code in codes:
        char = chr(code)
        if fold(char) == char:
            if code > 0x20 and not unicodedata.combining(char):
                return char
            stable.append(char)
            if len(stable) > 2000:
                break
    return stable[-1]


def _image(low: int, high: int) -> list[tuple[int, int]]:
    """What a range of characters is after folding; characters that folding never leaves may stay in."""
    if high - low < 512:
        return [(ord(fold_char(chr(code))),) * 2 for code in range(low, high + 1)]
    return [(low, high), *((image, image) for code, image in _changed_by_folding() if low <= code <= high)]


def class_spans(body: str, folded: bool) -> Spans:
    """What stands between `[` and `]`, as a set of characters."""
    negated = body[0] in "!^"
    spans, at = [], int(negated)
    while at < len(body):
        low = high = ord(body[at])
        if at + 2 < len(body) and body[at + 1] == "-":
            high = ord(body[at + 2])
            at += 2
        spans += _image(low, high) if folded else [(low, high)]
        at += 1
    tidy = _tidy(spans)
    return common_spans(_complement(tidy) if negated else tidy, ANY)
