"""A plan's text -> a tree that still knows its comments, blank lines and the way things were written.

For text that `core.plantext` has accepted: one mapping, nothing deep, no aliases and tags. Every comment of the text is
somewhere in the tree, once.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from itertools import takewhile

import yaml

_LOADER: type[yaml.CSafeLoader] | type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_HEADER = re.compile(r"[|>][-+0-9]*")


@dataclass(slots=True, kw_only=True)
class Remark:
    """A comment behind something. The column is kept, so that comments that were in line stay so."""

    text: str
    column: int


@dataclass(slots=True, kw_only=True)
class Scalar:
    value: str
    style: str | None  #: None: plain; else the quote, `|` or `>`
    lines: list[str]  #: as written; of `|` and `>` without their indentation, behind the header


@dataclass(slots=True, kw_only=True)
class Entry:
    """A key with its value, or an item of a list."""

    key: Scalar | None
    value: Value
    before: list[str] = field(default_factory=list)  #: comments on lines of their own; "" is an empty line
    after: Remark | None = None  #: on the line of the value, or of the key when the value is below it


@dataclass(slots=True, kw_only=True)
class Group:
    """A table or list."""

    is_table: bool
    is_flow: bool  #: written in one line, between brackets
    entries: list[Entry]
    tail: list[str] = field(default_factory=list)  #: comments behind the last entry


Value = Scalar | Group


@dataclass(slots=True, kw_only=True)
class Lines:
    """A whole plan."""

    header: list[str]  #: comments that are about the file
    table: Group


@dataclass(slots=True)
class _Aside:
    """A comment or an empty line of the text."""

    line: int
    column: int
    text: str
    is_alone: bool


def read_lines(text: str) -> Lines:
    """The tree of a plan's text."""
    return _Reader(_normal(text)).read()


def comments_of(text: str) -> list[str]:
    """Every comment of a plan's text, sorted."""
    return sorted(aside.text for aside in _Reader(_normal(text)).asides if aside.text)


def _normal(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.split("\n")
        root = yaml.compose(text, Loader=_LOADER)
        assert isinstance(root, yaml.MappingNode), "the plan was read before"
        self.root = root
        self.literals: dict[int, tuple[int, int, int]] = {}  #: start index -> first line, end line, indentation
        self.asides = deque(self._asides())

    def read(self) -> Lines:
        table = self._group(self.root, -1, len(self.lines))
        table.tail += self._lead(len(self.lines) + 1)
        header: list[str] = []
        if table.entries:
            header = table.entries[0].before
            cut = len(header) - header[::-1].index("") if "" in header else len(header)
            header, table.entries[0].before = header[:cut], header[cut:]
        return Lines(header=header, table=table)

    # ---- comments and empty lines ----

    def _asides(self) -> list[_Aside]:
        starts = [0]
        for line in self.lines:
            starts.append(starts[-1] + len(line) + 1)
        found: list[_Aside] = []
        inside: set[int] = set()  # lines that are, from their first character, part of a text
        at = 0
        for begin, end, first in [*self._texts(self.root, -1), (len(self.text), len(self.text), None)]:
            found += self._comments(at, begin, starts)
            at = max(at, end)
            if first is not None:
                inside |= set(range(first[0] + 1, first[1] + 1))
        found += [
            _Aside(number, 0, "", True)
            for number, line in enumerate(self.lines[:-1])
            if not line.strip() and number not in inside
        ]
        return sorted(found, key=lambda one: (one.line, one.column))

    def _comments(self, begin: int, end: int, starts: list[int]) -> list[_Aside]:
        found: list[_Aside] = []
        while (at := self.text.find("#", begin, end)) >= 0:
            stop = self.text.find("\n", at)
            stop = len(self.text) if stop < 0 else stop
            line = bisect_right(starts, at) - 1
            column = at - starts[line]
            alone = not self.lines[line][:column].strip()
            found.append(_Aside(line, column, self.text[at:stop].rstrip(), alone))
            begin = stop
        return found

    def _texts(self, node: yaml.Node, parent: int) -> list[tuple[int, int, tuple[int, int] | None]]:
        """Where scalars begin and end, and their first and last line, in the order of the text."""
        if isinstance(node, yaml.ScalarNode):
            begin, line = node.start_mark.index, node.start_mark.line
            if node.style not in ("|", ">"):
                return [(begin, node.end_mark.index, (line, node.end_mark.line))]
            header = _HEADER.match(self.text, begin)
            assert header is not None
            last, indent = self._literal(line, header[0], parent)
            self.literals[begin] = (line, last, indent)
            stop = sum(len(one) + 1 for one in self.lines[line : last + 1])
            # the rest of the header's line may hold a comment
            behind = self.text.find("\n", begin)
            behind = len(self.text) if behind < 0 else behind
            end = begin - node.start_mark.column + stop
            return [(begin, header.end(), None), (behind, min(end, len(self.text)), (line, last))]
        found: list[tuple[int, int, tuple[int, int] | None]] = []
        column = parent if _is_flow(node) else node.start_mark.column
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                found += self._texts(key, column) + self._texts(value, column)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                found += self._texts(item, column)
        return found

    def _literal(self, line: int, header: str, parent: int) -> tuple[int, int]:
        """The last line of a text below `|` or `>`, and its indentation."""
        digit = re.search(r"[1-9]", header)
        indent = max(parent, 0) + int(digit[0]) if digit else 0
        last = number = line
        while number + 1 < len(self.lines):
            number += 1
            row = self.lines[number]
            if not row.strip(" "):
                if indent and len(row) > indent:
                    last = number
                continue
            spaces = len(row) - len(row.lstrip(" "))
            if not indent:
                if spaces <= parent:
                    break
                indent = spaces
            if spaces < indent:
                break
            last = number
        else:
            number += 1
        if "+" in header:
            last = number - 1 - (number == len(self.lines) and self.lines[-1] == "")
        return max(last, line), indent

    def _lead(self, line: int) -> list[str]:
        """What stands above a line and was not taken yet."""
        taken: list[str] = []
        while self.asides and self.asides[0].line < line:
            text = self.asides.popleft().text
            if text or (taken and taken[-1]) or not taken:
                taken.append(text)
        return taken

    def _behind(self, line: int) -> Remark | None:
        if self.asides and self.asides[0].line == line and not self.asides[0].is_alone:
            aside = self.asides.popleft()
            return Remark(text=aside.text, column=aside.column)
        return None

    # ---- the tree ----

    def _group(self, node: yaml.Node, parent: int, limit: int) -> Group:
        """A table or list whose surrounding is indented by `parent`; what follows it begins in line `limit`."""
        is_table = isinstance(node, yaml.MappingNode)
        flow = _is_flow(node)
        column = parent if flow else node.start_mark.column
        pairs = node.value if is_table else [(None, item) for item in node.value]
        entries: list[Entry] = []
        for number, (key, value) in enumerate(pairs):
            start = value if key is None else key
            following = pairs[number + 1] if number + 1 < len(pairs) else None
            after = limit if following is None else (following[0] or following[1]).start_mark.line
            before = self._lead(start.start_mark.line)
            if not entries and before and not before[0]:
                del before[0]  # no empty line between a key and what is below it
            shares_line = flow and after == value.end_mark.line
            entries.append(self._entry(key, value, column, after, before, shares_line))
        group = Group(is_table=is_table, is_flow=flow, entries=entries)
        if not flow:
            group.tail = self._tail(max(column, parent + 1), limit)
        return group

    def _tail(self, column: int, limit: int) -> list[str]:
        """Comments below the last entry that are indented like one."""
        count = 0
        for number, aside in enumerate(self.asides):
            if aside.line >= limit or (aside.text and aside.column < column):
                break
            if aside.text:
                count = number + 1
        taken: list[str] = []
        for _ in range(count):
            text = self.asides.popleft().text
            if text or not taken or taken[-1]:
                taken.append(text)
        return taken

    def _entry(
        self, key: yaml.Node | None, node: yaml.Node, column: int, limit: int, before: list[str], shares_line: bool
    ) -> Entry:
        assert key is None or isinstance(key, yaml.ScalarNode), "the plan was read before"
        name = None if key is None else self._scalar(key)
        value: Value
        if isinstance(node, yaml.ScalarNode):
            value = self._scalar(node)
            last = node.start_mark.line if node.style in ("|", ">") else node.end_mark.line
            after = None if shares_line else self._behind(last)
        elif _is_flow(node):
            ends = (node.end_mark.line, node.end_mark.column)
            inside = takewhile(lambda aside: (aside.line, aside.column) < ends, self.asides)
            commented = any(aside.text for aside in inside)
            value = self._group(node, column, node.end_mark.line)
            if commented:
                value.is_flow = False
                for inner in value.entries:
                    if inner.after:
                        inner.after.column = 0  # each gets a line of its own, and the columns mean nothing there
                value.tail += [text for text in self._lead(node.end_mark.line) if text]
                if not value.entries:  # brackets with nothing but comments in them
                    before += value.tail
                    value.tail = []
            else:
                self._drop_empty_lines(node.end_mark.line)
            after = None if shares_line else self._behind(node.end_mark.line)
        else:
            head = node.start_mark.line if key is None else key.start_mark.line
            after = self._behind(head) if node.start_mark.line > head else None
            value = self._group(node, column, limit)
        return Entry(key=name, value=value, before=before, after=after)

    def _drop_empty_lines(self, line: int) -> None:
        while self.asides and self.asides[0].line < line and not self.asides[0].text:
            self.asides.popleft()

    def _scalar(self, node: yaml.ScalarNode) -> Scalar:
        begin, end = node.start_mark, node.end_mark
        if begin.index in self.literals:
            first, last, indent = self.literals[begin.index]
            header = _HEADER.match(self.text, begin.index)
            assert header is not None
            rows = [row[indent:] for row in self.lines[first + 1 : last + 1]]
            sign = header[0]
            if node.value and not node.value.endswith("\n") and "-" not in sign:
                sign = f"{sign[0]}-{sign[1:]}"  # the file ends without a line end, and ours does not
            return Scalar(value=node.value, style=node.style, lines=[sign, *rows])
        style = node.style or None  # the two parsers differ in what they call plain
        raw = self.text[begin.index : end.index].rstrip()
        return Scalar(value=node.value, style=style, lines=[raw] if "\n" not in raw else raw.split("\n"))


def _is_flow(node: yaml.Node) -> bool:
    return isinstance(node, yaml.CollectionNode) and bool(node.flow_style)
