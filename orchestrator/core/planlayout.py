"""A plan's text laid out anew: one order of keys, one indentation, quotes only where needed, comments kept.

What the plan says stays the same; `fmt` compares the two texts as plans before it writes anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import yaml

from orchestrator.core.planlines import Entry, Group, Lines, Remark, Scalar, Value, read_lines
from orchestrator.core.plantext import typed

WIDTH = 120
_STEP = 2

#: The order of the keys of each table. Keys that are not here come behind those that are; a test knows them all.
_CHECK = ("name", "run", "timeout")
_DEFAULTS = ("agent", "review", "timeout", "retries", "backoff", "priority", "complexity", "estimate")
_AGENT = ("adapter", "run", "stdin", "count", "capabilities", "max_complexity", "env", "pass_env")
_PREPARE = ("copy", "link", "run")
_PLAN = (
    *("version", "name", "target", "isolation", "publish", "hooks", "parallel", "checks", "prepare", "keep"),
    *("protected", "resources", "agents", "defaults"),
)
_TASK = (
    *("id", "title", "files", "reads", "uses", "context", "depends_on", "agent", "needs", "priority", "complexity"),
    *("estimate", "timeout", "stall", "retries", "backoff", "review", "approve", "checks"),
)
#: What stands last, because it is long.
_PLAN_LAST = ("tasks",)
_TASK_LAST = ("prompt_file", "prompt")
#: Tables by the way to them; `*` stands for any key or place in a list.
_TABLES: Mapping[tuple[str, ...], tuple[Sequence[str], Sequence[str]]] = {
    (): (_PLAN, _PLAN_LAST),
    ("checks", "*"): (_CHECK, ()),
    ("prepare",): (_PREPARE, ()),
    ("agents", "*"): (_AGENT, ()),
    ("defaults",): (_DEFAULTS, ()),
    ("tasks", "*"): (_TASK, _TASK_LAST),
    ("tasks", "*", "checks", "*"): (_CHECK, ()),
}
_RESOLVER = yaml.resolver.Resolver()
_SAFE = frozenset("_./@+=%*!?- ")


def laid_out(text: str, files: Mapping[str, Sequence[str]] | None = None) -> str:
    """The text of a plan in its one form.

    Args:
        files: tasks whose `files` are to be these patterns instead; comments on what goes stay above the key.
    """
    plan = read_lines(text)
    if files:
        _replace_files(plan.table, files)
    _sort(plan.table, ())
    return _Writer().whole(plan)


def key_order(*way: str) -> tuple[str, ...]:
    """The keys of the table at this place, in the order in which they are written."""
    first, last = _TABLES[way]
    return (*first, *last)


def plain_item(value: str) -> Entry:
    return Entry(key=None, value=Scalar(value=value, style='"', lines=[]))


# ---- changes ----


def _sort(value: Value, way: tuple[str, ...]) -> None:
    if isinstance(value, Scalar):
        return
    for entry in value.entries:
        named = entry.key is not None and (*way, entry.key.value) in _WAYS
        _sort(entry.value, (*way, entry.key.value if named and entry.key is not None else "*"))
    if value.is_table and way in _TABLES:
        first, last = _TABLES[way]
        place = {key: number for number, key in enumerate((*first, "", *last))}
        value.entries.sort(key=lambda entry: place.get(entry.key.value if entry.key else "", len(first)))


_WAYS = {way[: n + 1] for way in _TABLES for n in range(len(way))}


def _replace_files(plan: Group, files: Mapping[str, Sequence[str]]) -> None:
    tasks = next((e.value for e in plan.entries if e.key and e.key.value == "tasks"), None)
    for task in tasks.entries if isinstance(tasks, Group) else ():
        table = task.value
        if not isinstance(table, Group):
            continue
        by_key = {entry.key.value: entry for entry in table.entries if entry.key}
        name = by_key["id"].value if "id" in by_key else None
        if not isinstance(name, Scalar) or name.value not in files:
            continue
        wanted = files[name.value]
        if "files" not in by_key:
            key = Scalar(value="files", style=None, lines=["files"])
            listed = Group(is_table=False, is_flow=True, entries=[plain_item(one) for one in wanted])
            table.entries.append(Entry(key=key, value=listed))
            continue
        entry = by_key["files"]
        if isinstance(entry.value, Group):
            entry.before += _exchange(entry.value, wanted)


def _exchange(listed: Group, wanted: Sequence[str]) -> list[str]:
    """Make the list hold these patterns. Returns: the comments on those that are gone."""
    known = {entry.value.value: entry for entry in listed.entries if isinstance(entry.value, Scalar)}
    orphans = []
    for text, entry in known.items():
        if text not in wanted:
            orphans += [line for line in entry.before if line]
            orphans += [entry.after.text] if entry.after else []
    listed.entries = [known.get(one) or plain_item(one) for one in wanted]
    return orphans


# ---- texts ----


def _may_be_plain(text: str) -> bool:
    """Whether a text means itself without quotes, here and for programs that read YAML 1.1."""
    if not text or not (text[0].isalnum() or text[0] in "_./") or text[-1] == " " or text.startswith("..."):
        return False
    if not all(char.isalnum() or char in _SAFE for char in text) or not text.isprintable():
        return False
    implicit = _RESOLVER.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return isinstance(typed(text), str) and implicit == "tag:yaml.org,2002:str"


def one_line(text: str) -> str:
    """A text as YAML in one line, without quotes where it needs none."""
    if _may_be_plain(text):
        return text
    if text.isprintable():
        if '"' not in text and "\\" not in text:
            return f'"{text}"'
        return "'" + text.replace("'", "''") + "'"
    escaped = "".join(_escape(char) for char in text)
    return f'"{escaped}"'


def _escape(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    named = {"\n": "\\n", "\t": "\\t"}
    code = ord(char)
    return named.get(char) or (f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}")


def _text(scalar: Scalar) -> str:
    return scalar.value if scalar.style is None else one_line(scalar.value)


# ---- writing ----


class _Writer:
    def __init__(self) -> None:
        self.rows: list[str] = []
        self.keeps_empty_lines = False  #: the last thing was a text whose empty lines at its end count

    def whole(self, plan: Lines) -> str:
        self.remarks(plan.header, "")
        self.group(plan.table, 0)
        if not self.keeps_empty_lines:
            while self.rows and not self.rows[-1]:
                self.rows.pop()
        return "\n".join(self.rows) + "\n"

    def remarks(self, lines: Iterable[str], pad: str) -> None:
        for line in lines:
            if line:
                self.rows.append(pad + line)
            elif self.rows and self.rows[-1] and not self.keeps_empty_lines:
                self.rows.append("")
            self.keeps_empty_lines &= not line

    def group(self, group: Group, indent: int) -> None:
        pad = " " * indent
        for number, entry in enumerate(group.entries):
            # there is no empty line between a key and what is below it
            self.remarks(entry.before if number or not indent else entry.before[entry.before[:1] == [""] :], pad)
            self.entry(entry, indent)
        self.remarks(group.tail, pad)

    def entry(self, entry: Entry, indent: int) -> None:
        pad = " " * indent
        head = f"{pad}- " if entry.key is None else f"{pad}{_text(entry.key)}: "
        value = entry.value
        if isinstance(value, Scalar):
            rows = self._scalar_rows(value, indent + _STEP)
            self.keeps_empty_lines = value.style in ("|", ">") and "+" in rows[0]
            self.rows += [_with(head + rows[0], entry.after), *rows[1:]]
            if len(rows) > 1 and value.style not in ("|", ">"):
                self.rows[-len(rows)] = head + rows[0]
                self.rows[-1] = _with(self.rows[-1], entry.after)
            return
        self.keeps_empty_lines = False
        row = head + _flow(value) if value.is_flow or not value.entries else ""
        if row and (len(row) <= WIDTH or not value.entries):
            self.rows.append(_with(row, entry.after))
        elif entry.key is not None:
            self.rows.append(_with(head.rstrip(), entry.after))
            self.group(value, indent + _STEP)
        else:
            self.item(entry, value, indent)

    def item(self, entry: Entry, value: Group, indent: int) -> None:
        """A table or list in a list: its first line stands behind the `-`."""
        pad = " " * indent
        above = value.entries[0].before
        value.entries[0].before = []
        self.remarks([*([entry.after.text] if entry.after else []), *filter(None, above)], pad)
        place = len(self.rows)
        self.group(value, indent + _STEP)
        self.rows[place] = f"{pad}- {self.rows[place][indent + _STEP :]}"

    def _scalar_rows(self, scalar: Scalar, indent: int) -> list[str]:
        pad = " " * indent
        if scalar.style in ("|", ">"):
            header = "".join(str(_STEP) if char.isdigit() else char for char in scalar.lines[0])
            return [header, *(pad + row if row else "" for row in scalar.lines[1:])]
        if len(scalar.lines) < 2:
            return [_text(scalar)]
        first, *more = scalar.lines
        return [first.rstrip(" \t"), *(pad + row.strip(" \t") if row.strip(" \t") else "" for row in more)]


def _with(row: str, after: Remark | None) -> str:
    """A row with the comment behind it, where it stood if there is room, else two spaces away."""
    if after is None:
        return row
    return f"{row:<{after.column}}{after.text}" if len(row) + 2 <= after.column else f"{row}  {after.text}"


def _flow(value: Value) -> str:
    if isinstance(value, Scalar):
        return _text(value)
    parts = [f"{_text(e.key)}: {_flow(e.value)}" if e.key else _flow(e.value) for e in value.entries]
    return f"{{{', '.join(parts)}}}" if value.is_table else f"[{', '.join(parts)}]"
