"""Checks a tree against the tables of a plan; everything wrong comes back at once, each with its place.

What is wrong is taken out of the tree, so that the rest can be read and later stages find what else there is to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator.core.plantables import AgentTable, CheckTable, DefaultsTable, PrepareTable, TaskTable
from orchestrator.core.plantext import Leaf, Node, Row, Table, plain
from orchestrator.core.planvalues import nearest, shown
from orchestrator.model.errors import Problem

Loc = tuple[str | int, ...]
T = TypeVar("T", bound=BaseModel)

MOST_PROBLEMS = 1000  #: that are told of one plan; whoever has more wants to see the first ones first
_ROUNDS = 5  #: taking something out can leave something else incomplete
_NEEDS = {
    "string_type": "a text",
    "int_type": "a whole number",
    "list_type": "a list",
    "dict_type": "a table of `key: value` lines",
    "model_type": "a table of `key: value` lines",
}
_TABLES: dict[str, type[BaseModel]] = {
    "agents": AgentTable,
    "prepare": PrepareTable,
    "defaults": DefaultsTable,
    "tasks": TaskTable,
}


def checked(model: type[T], root: Table, file_of: Callable[[Loc], str]) -> tuple[T, list[Problem]]:
    """The tree as that model, and what was wrong with it. The tree loses what was wrong.

    Args:
        file_of: the file that a place in the tree was read from.
    """
    problems: list[Problem] = []
    for rounds in range(_ROUNDS):
        try:
            return model.model_validate(plain(root), context={}), problems
        except ValidationError as error:
            details: list[Any] = error.errors(include_url=False)
        if not rounds:
            found = (_problem(model, root, detail, file_of) for detail in details[:MOST_PROBLEMS])
            problems = _once([problem for problem in found if problem is not None])
        _take_out(root, [_culprit(detail) for detail in details])
    return model(), problems


def _once(problems: list[Problem]) -> list[Problem]:
    """Without the repetitions of what is about the whole plan."""
    first = next((problem for problem in problems if problem.code == "too_big"), None)
    return [problem for problem in problems if problem.code != "too_big" or problem is first]


def _culprit(detail: dict[str, Any]) -> Loc:
    """What has to go: the value itself, or the table that lacks something."""
    loc: Loc = detail["loc"]
    return loc[:-1] if detail["type"] == "missing" or loc[-1:] == ("[key]",) else loc


def _take_out(root: Table, locs: list[Loc]) -> None:
    rows: dict[int, tuple[Row, set[int]]] = {}
    for loc in locs:
        parent: Node = root
        owner, owned = root, ""  # the nearest table on the way, and its key
        for depth, part in enumerate(loc):
            last = depth == len(loc) - 1
            if isinstance(parent, Table) and isinstance(part, str):
                owner, owned = parent, part
                child = parent.entries.get(part)
                if child is None:
                    break
                if last or isinstance(child, Leaf):
                    del parent.entries[part]
                    parent.broken.add(part)
                    break
            elif isinstance(parent, Row) and isinstance(part, int) and part < len(parent.items):
                child = parent.items[part]
                if last or isinstance(child, Leaf):
                    rows.setdefault(id(parent), (parent, set()))[1].add(part)
                    owner.broken.add(owned)
                    break
            else:
                break
            parent = child
    for row, indices in rows.values():
        row.items = [item for index, item in enumerate(row.items) if index not in indices]


# ---- places ----


def node_at(root: Node, loc: Loc) -> Node:
    """The node at a place, or the nearest one above it."""
    node = root
    for part in loc:
        if isinstance(node, Table) and isinstance(part, str) and part in node.entries:
            node = node.entries[part]
        elif isinstance(node, Row) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
        else:
            break
    return node


def key_place(root: Node, loc: Loc) -> tuple[int, int]:
    """Line and column of the key at the end of a place."""
    table = node_at(root, loc[:-1])
    if isinstance(table, Table) and loc[-1] in table.keys:
        return table.keys[str(loc[-1])]
    return table.line, table.column


def _where(root: Node, loc: Loc) -> str:
    """The part of the plan in which a place is, in a person's words; ends in `: ` unless empty."""
    words = []
    if loc[0] == "tasks" and len(loc) > 2:
        words.append(f"task {_named(node_at(root, loc[:2]), 'id', loc[1])}")
    elif loc[0] == "agents" and len(loc) > 2:
        words.append(f"agent '{loc[1]}'")
    elif loc[0] in ("prepare", "defaults", "resources") and len(loc) > 1:
        words.append(str(loc[0]))
    for index, part in enumerate(loc[:-2]):
        if part == "checks" and isinstance(loc[index + 1], int):
            words.append(f"check {_named(node_at(root, loc[: index + 2]), 'name', loc[index + 1])}")
    return "".join(f"{word}: " for word in words)


def _named(node: Node, key: str, index: str | int) -> str:
    name = node.entries.get(key) if isinstance(node, Table) else None
    return shown(name.text) if isinstance(name, Leaf) else f"number {int(index) + 1}"


# ---- one error of pydantic -> one problem ----


def _problem(
    model: type[BaseModel], root: Table, detail: dict[str, Any], file_of: Callable[[Loc], str]
) -> Problem | None:
    kind, loc = detail["type"], detail["loc"]
    if kind == "missing":
        table = node_at(root, loc[:-1])
        if isinstance(table, Table) and loc[-1] in table.broken:
            return None
    if loc[-1] == "[key]":
        loc = loc[:-1]
        line, column = key_place(root, loc)
    elif kind == "extra_forbidden":
        line, column = key_place(root, loc)
    else:
        node = node_at(root, loc[:-1] if kind == "missing" else loc)
        line, column = node.line, node.column
    code, message, why, fix = _words(model, root, loc, detail)
    return Problem(
        code=code, message=_where(root, loc) + message, why=why, fix=fix, file=file_of(loc), line=line, column=column
    )


def _words(model: type[BaseModel], root: Node, loc: Loc, detail: dict[str, Any]) -> tuple[str, str, str, str]:
    """Code, message, why and fix."""
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    key = next((part for part in reversed(loc) if isinstance(part, str)), "")
    what = f"'{key}'" if loc[-1] == key else f"an entry of '{key}'"
    if kind == "fault":
        prefix = f"{key}: " if f"'{key}'" not in context["message"] and context["code"] != "bad_run" else ""
        return context["code"], prefix + context["message"], context["why"], context["fix"]
    if kind == "extra_forbidden":
        known = _known_keys(model, loc)
        near = nearest(key, known)
        fix = f"write '{near}', or remove it" if near else "remove it"
        return "unknown_key", f"unknown key '{key}'", f"the keys here are {', '.join(known)}", fix
    if kind == "missing":
        return "missing_key", f"{what} is missing", "there is no default for it", f"add '{key}'"
    if kind in _NEEDS:
        node = node_at(root, loc)
        message = f"{what} needs {_NEEDS[kind]}, not {_kind_of(value)}"
        return "wrong_type", message, *_other_type(kind, key, value, node.text if isinstance(node, Leaf) else "")
    if kind == "literal_error":
        choices = [word.strip(" '") for word in context["expected"].replace(" or ", ",").split(",")]
        near = nearest(value, choices) if isinstance(value, str) else None
        why = f"it can be {context['expected'].replace(chr(39), '')}"
        return "bad_value", f"{shown(value)} is no value for {what}", why, f"write {near or choices[0]}"
    if kind in ("greater_than_equal", "less_than_equal"):
        side, bound = ("least", context["ge"]) if "ge" in context else ("most", context["le"])
        return (
            "out_of_range",
            f"{what} is {shown(value)}",
            f"it is at {side} {bound}",
            f"write {bound}, or what you mean",
        )
    return "bad_value", f"{what} cannot be {shown(value)}", detail["msg"], "write another value, or remove the key"


def _known_keys(model: type[BaseModel], loc: Loc) -> list[str]:
    names = [part for part in loc[:-1] if isinstance(part, str)]
    table = model
    if names:
        table = CheckTable if names[-1] == "checks" else _TABLES.get(names[0], model)
    return [info.alias or name for name, info in table.model_fields.items()]


def _kind_of(value: object) -> str:
    match value:
        case bool():
            return "true or false"
        case int():
            return f"the whole number {shown(value)}"
        case float():
            return f"the number {shown(value)}"
        case str():
            return f"the text {shown(value)}"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return shown(value)


def _other_type(kind: str, key: str, value: object, text: str) -> tuple[str, str]:
    """Why a value of another type will not do, and what to write."""
    single = isinstance(value, str | int | float)
    short = text if len(text) <= 60 else "..."
    if kind == "string_type":
        why = f"without quotes this is {'true or false' if isinstance(value, bool) else 'a number'}" if single else ""
        return why or "only one text can stand here", f'write "{short}" with the quotes' if single else "write one text"
    if kind == "list_type":
        fix = f"write {key}: [{short}]" if single else "begin every entry with `- `, on lines of their own"
        return "several may stand here, so even a single one is in a list", fix
    if kind == "int_type":
        number = isinstance(value, str) and value.strip().isdecimal()
        return "fractions, texts and true or false are not counted with", (
            f"write {shown(value)[1:-1]} without quotes" if number else "write a whole number"
        )
    return "its parts have names", "write `key: value` lines below it, indented by two spaces"
