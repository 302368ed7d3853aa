"""Plan text -> a tree of our own that knows the line and column of every key and value.

YAML 1.2 less what lets a plan mean something other than it shows: aliases, tags, duplicate keys, control characters.
What is refused is refused while the events come in, so nothing deep or huge is ever built.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from orchestrator.model.errors import PlanError, Problem

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 64
MAX_TASKS = 10_000
MAX_VALUES = 1_000_000
MAX_PROBLEMS = 100  #: in the text itself; more of them say nothing new

# NEL, LS and PS end a line for the YAML 1.1 parser below and for nobody else, so every later line number would be wrong
_REFUSED = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff"
_UNPRINTABLE = re.compile(f"[{_REFUSED}]")
_UNPRINTABLE_VALUE = re.compile(f"[\r{_REFUSED}]")  # escapes in quotes can write these
_LOADER: type[yaml.CSafeLoader] | type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# The YAML 1.2 core schema; PyYAML's own rules are those of 1.1, where `no` is false and `1:30` is ninety.
_WORDS: dict[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_DECIMAL = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LONGEST_NUMBER = 400  #: digits that we convert; beyond, the number is out of every range anyway


_TAG_WHY = "every key of a plan has one type, which a tag could only contradict"
_NO_VALUE_WHY = "an empty value could mean several things"


@dataclass(slots=True)
class Leaf:
    """A single value. `text` is what stands in the file."""

    value: object
    line: int
    column: int
    text: str = ""


@dataclass(slots=True)
class Row:
    """A list."""

    line: int
    column: int
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Table:
    """A mapping. `broken` are keys whose value was refused, so that nobody calls them missing as well."""

    line: int
    column: int
    entries: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)


Node = Leaf | Row | Table
_WHOLE = Leaf(None, 0, 0)  #: the place of what is wrong with a file as a whole
_NO_KEY = Leaf(None, 0, 0)  #: stands for a key that was refused


def plain(node: Node) -> object:
    """The tree as dictionaries, lists and single values."""
    if type(node) is Leaf:
        return node.value
    if type(node) is Row:
        return [item.value if type(item) is Leaf else plain(item) for item in node.items]
    assert isinstance(node, Table)
    return {key: item.value if type(item) is Leaf else plain(item) for key, item in node.entries.items()}


def tree_of(value: object) -> Node:
    """The opposite of `plain`, for values that did not come from a plan's text; every position is 0."""
    if isinstance(value, Mapping):
        return Table(
            0, 0, {str(key): tree_of(item) for key, item in value.items()}, {str(key): (0, 0) for key in value}
        )
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return Row(0, 0, [tree_of(item) for item in value])
    return Leaf(value, 0, 0, str(value))


def typed(text: str) -> object:
    """What an unquoted word of a plan means by the core rules of YAML 1.2."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _DECIMAL.fullmatch(text):
        return int(text[:_LONGEST_NUMBER])
    if _OTHER_BASE.fullmatch(text):
        return int(text[2:][:_LONGEST_NUMBER], 8 if text[1] == "o" else 16)
    return float(text) if _FLOAT.fullmatch(text) else text


def read_text(data: bytes | str, *, file: str) -> tuple[Table, list[Problem]]:
    """The tree of a plan's text, and what is wrong with single places in it.

    Raises: PlanError when the text cannot be read as one YAML mapping.
    """
    text = _decoded(data, file)
    unprintable = list(_places(_UNPRINTABLE, text))
    if unprintable:
        raise PlanError(problems=tuple(_unprintable(file, *place) for place in unprintable))
    reader = _Reader(file)
    try:
        reader.read(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Leaf(None, mark.line + 1, mark.column + 1) if mark else _WHOLE
        line = text.split("\n", place.line)[place.line - 1 : place.line]
        reader.fail(place, "syntax", *_syntax(error.problem or str(error), error.context or "", "".join(line)))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: numbers in escapes and directives, pure Python parser
        reader.fail(_WHOLE, "syntax", *_syntax(str(error), ""))
    root = reader.root
    if root is None and reader.problems:
        raise PlanError(problems=tuple(reader.problems))
    if root is None:
        why = "a plan has at least one task"
        reader.fail(_WHOLE, "empty_plan", "the plan is empty", why, "write `tasks:` and list one below it")
    if not isinstance(root, Table):
        why = "a plan is a table of `key: value` lines whose one required key is `tasks`"
        fix = "begin the file with `tasks:` and put the list of tasks below it"
        reader.fail(root, "not_a_table", "the plan is not a table", why, fix)
    return root, reader.problems


def _decoded(data: bytes | str, file: str) -> str:
    size = len(data) if isinstance(data, bytes) else len(data.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        why = f"it has {size} bytes, and a plan has at most {MAX_BYTES}"
        _refuse(file, "too_big", "the plan file is too big", why, "move long texts to files named by `prompt_file`")
    if isinstance(data, bytes):
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            column = error.start - data.rfind(b"\n", 0, error.start)
            why = f"the byte 0x{data[error.start]:02x} is not part of any character there"
            _refuse(file, "not_utf8", "the plan is not UTF-8 text", why, "save the file as UTF-8", line, column)
    else:
        text = data
    return text.removeprefix("\ufeff")


def _refuse(file: str, code: str, message: str, why: str, fix: str, line: int = 0, column: int = 0) -> NoReturn:
    problem = Problem(code=code, message=message, why=why, fix=fix, file=file, line=line, column=column)
    raise PlanError(problems=(problem,))


def _places(pattern: re.Pattern[str], text: str) -> list[tuple[str, int, int]]:
    """What matched, with line and column, at most as many as a person wants to see."""
    found = []
    for match in pattern.finditer(text):
        at = match.start()
        found.append((match.group(), text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)))
        if len(found) == 10:
            break
    return found


def _unprintable(file: str, character: str, line: int, column: int) -> Problem:
    return Problem(
        code="control_character",
        message=f"the character U+{ord(character):04X} may not stand in a plan",
        why="control characters are invisible, and terminals obey them",
        fix="remove it",
        file=file,
        line=line,
        column=column,
    )


def _syntax(problem: str, context: str, line: str = "") -> tuple[str, str, str]:
    """Message, why and fix for what the YAML parser stumbled over in a line."""
    fix = "look at the indentation, quotes and brackets of this line and the one before"
    if "\t" in line[: len(line) - len(line.lstrip())]:
        fix = "indent with spaces; YAML does not allow tabs there"
    elif "cannot start any token" in problem:
        fix = "put the text that begins here in quotes"
    elif "mapping values are not allowed" in problem:
        fix = "put text that contains `: ` in quotes, and indent keys of one table alike"
    elif "expected ',' or" in problem or "end of stream" in problem:
        fix = "close every bracket, brace and quote that was opened"
    return f"this is not valid YAML: {problem}", context or "the text before it can only go on otherwise", fix


class _Reader:
    """Builds the tree from parser events and collects what is wrong."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.root: Node | None = None
        self.documents = 0
        self.tasks: Row | None = None

    def report(self, node: Leaf | Row | Table, code: str, message: str, why: str, fix: str) -> None:
        problem = Problem(
            code=code, message=message, why=why, fix=fix, file=self.file, line=node.line, column=node.column
        )
        self.problems.append(problem)
        if len(self.problems) >= MAX_PROBLEMS:
            raise PlanError(problems=tuple(self.problems))

    def fail(self, node: Leaf | Row | Table, code: str, message: str, why: str, fix: str) -> NoReturn:
        self.report(node, code, message, why, fix)
        raise PlanError(problems=tuple(self.problems))

    def read(self, text: str) -> None:
        """Walk the parser's events once; raises PlanError as soon as going on makes no sense."""
        open_nodes: list[Row | Table] = []
        waiting: list[Leaf | None] = []  #: for each open node, the key whose value comes next
        count = 0
        node: Node
        event: Any  # the stubs know only what all events have in common
        for event in yaml.parse(text, Loader=_LOADER):
            kind = type(event)
            if kind is yaml.SequenceEndEvent or kind is yaml.MappingEndEvent:
                open_nodes.pop()
                waiting.pop()
                continue
            line, column = event.start_mark.line + 1, event.start_mark.column + 1
            if kind is yaml.ScalarEvent:
                raw = event.value
                node = Leaf(typed(raw) if event.implicit[0] else raw, line, column, raw)
            elif kind is yaml.SequenceStartEvent:
                node = Row(line, column)
            elif kind is yaml.MappingStartEvent:
                node = Table(line, column)
            elif kind is yaml.AliasEvent:
                node = Leaf(None, line, column, f"*{event.anchor}")
            else:
                if kind is yaml.DocumentStartEvent:
                    self.begin_document(event, Leaf(None, line, column))
                continue

            count += 1
            if count > MAX_VALUES:
                why = f"it has more than {MAX_VALUES} keys and values"
                self.fail(node, "too_big", "the plan is too big", why, "split it into several plans")
            if event.anchor is not None or (kind is not yaml.AliasEvent and event.tag is not None):
                good = self.refuse_tricks(event, node)
            elif kind is yaml.ScalarEvent and not raw.isprintable() and (bad := _UNPRINTABLE_VALUE.search(raw)):
                self.problems.append(_unprintable(self.file, bad.group(), line, column))
                good = False
            else:
                good = True
            if not open_nodes:
                self.root = node if good and getattr(node, "value", "") is not None else None
            else:
                parent = open_nodes[-1]
                if type(parent) is Row:
                    self.add_item(parent, node, good)
                elif (key := waiting[-1]) is None:
                    waiting[-1] = self.key(node, good)
                else:
                    assert type(parent) is Table
                    waiting[-1] = None
                    self.add_value(parent, key, node, good)
            if type(node) is not Leaf:
                open_nodes.append(node)  # type: ignore[arg-type]  # `type(...) is` does not narrow a union
                waiting.append(None)
                if len(open_nodes) > MAX_DEPTH:
                    why = f"tables and lists may stand inside each other at most {MAX_DEPTH} deep"
                    self.fail(node, "too_deep", "the plan is nested too deeply", why, "write it flatter")

    def begin_document(self, event: Any, place: Leaf) -> None:
        self.documents += 1
        if self.documents > 1:
            why = "a file holds one plan; `---` begins a second YAML document"
            self.fail(place, "several_documents", "a second document begins here", why, "put it in a file of its own")
        if event.tags:
            self.report(place, "tag", "%TAG is not allowed in a plan", _TAG_WHY, "remove the line")

    def refuse_tricks(self, event: Any, node: Node) -> bool:
        """Whether the node may stay: report an alias, an anchor or a tag."""
        if type(event) is yaml.AliasEvent or event.anchor is not None:
            mark = "*" if type(event) is yaml.AliasEvent else "&"
            why = "what a task is should be readable where it stands, and nested aliases can grow without bound"
            fix = "write the value out; values that tasks share belong in `defaults`"
            self.report(node, "alias", f"'{mark}{event.anchor}' is not allowed in a plan", why, fix)
        else:
            self.report(node, "tag", f"the tag '{event.tag}' is not allowed in a plan", _TAG_WHY, "remove the tag")
        return type(event) is not yaml.AliasEvent and event.tag is None

    def add_item(self, row: Row, node: Node, good: bool) -> None:
        if good and type(node) is Leaf and node.value is None:
            self.report(node, "no_value", "this entry of the list has no value", _NO_VALUE_WHY, "remove the `-`")
            return
        if good:
            row.items.append(node)
        if row is self.tasks and len(row.items) > MAX_TASKS:
            why = f"a plan has at most {MAX_TASKS} tasks"
            self.fail(node, "too_many_tasks", "the plan has too many tasks", why, "split it into several plans")

    def key(self, node: Node, good: bool) -> Leaf:
        """The key that this node is; `_NO_KEY` if it cannot be one."""
        if good and isinstance(node, Leaf) and (node.text or node.value is not None):
            return node
        if good:
            what = "a key without a name" if isinstance(node, Leaf) else "a list or table cannot be a key"
            fix = "write a name before the `:`, and quote text that begins with [ or {"
            self.report(node, "bad_key", what, "keys are single words", fix)
        return _NO_KEY

    def add_value(self, table: Table, key: Leaf, node: Node, good: bool) -> None:
        if key is _NO_KEY:
            return
        name = key.text
        if name in table.keys:
            why = f"it stands in line {table.keys[name][0]} already, and only one of the two could count"
            self.report(key, "duplicate_key", f"the key '{name}' stands here twice", why, "keep one of them")
            return
        table.keys[name] = (key.line, key.column)
        if good and type(node) is Leaf and node.value is None:
            self.report(
                key, "no_value", f"'{name}' has no value", _NO_VALUE_WHY, f"give '{name}' a value, or remove it"
            )
            good = False
        if not good:
            table.broken.add(name)
            return
        table.entries[name] = node
        if name == "tasks" and table is self.root and type(node) is Row:
            self.tasks = node
