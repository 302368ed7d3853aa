"""Everything found wrong with one plan, each at its place in the plan's text or in the settings."""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.core.planfaults import MOST_PROBLEMS, Loc, checked, node_at
from orchestrator.core.plantables import SharedTables
from orchestrator.core.plantext import Node, Row, Table, tree_of
from orchestrator.core.planvalues import nearest
from orchestrator.core.settings import BY_NAME, PLAN_TABLES, Settings
from orchestrator.model.errors import Problem

_MOST_COMPARED = 300_000  #: names looked at for "did you mean"; ten thousand tasks with a typo each would take minutes


class Findings:
    """Collects problems and knows where things stand."""

    def __init__(self, file: str, tree: Table, settings: Settings, problems: tuple[Problem, ...]) -> None:
        self.file = file
        self.tree = tree
        self.settings = settings
        self.problems = list(problems)
        raw = {key: value for key in PLAN_TABLES if (value := getattr(settings, key)) not in (None, {})}
        shared_tree = tree_of(raw)
        assert isinstance(shared_tree, Table)
        self.shared_tree = shared_tree
        self.shared, found = checked(SharedTables, shared_tree, self._settings_file)
        self.problems += found
        self._compared = 0

    def report(self, loc: Loc, code: str, message: str, why: str, fix: str, *, warning: bool = False) -> None:
        """Note a problem at a place of the plan, or of the settings where the plan does not have it."""
        if len(self.problems) >= MOST_PROBLEMS:
            return
        file, line, column = self.file, 0, 0
        key = loc[: 2 if loc[:1] and loc[0] in BY_NAME else 1]
        if _has(self.tree, key):
            node = node_at(self.tree, loc)
            line, column = node.line, node.column
        elif _has(self.shared_tree, key):
            file = self._settings_file(loc)
        self.problems.append(
            Problem(code=code, message=message, why=why, fix=fix, file=file, line=line, column=column, warning=warning)
        )

    def is_broken(self, loc: Loc) -> bool:
        """Whether something at this place, or right below it, was refused, in the plan or in the settings."""
        return any(_is_broken(tree, loc) for tree in (self.tree, self.shared_tree))

    def nearest(self, word: str, known: Collection[str]) -> str | None:
        """The known name that was probably meant; gives up comparing when too much has been compared."""
        self._compared += len(known)
        return nearest(word, known) if self._compared <= _MOST_COMPARED else None

    def in_order(self) -> tuple[Problem, ...]:
        """The problems of the plan's text by line, then those of other files."""
        return tuple(sorted(self.problems, key=lambda one: (one.file != self.file, one.file, one.line, one.column)))

    def _settings_file(self, loc: Loc) -> str:
        return self.settings.origin_of(".".join(map(str, loc[:2])))


def _has(tree: Table, loc: Loc) -> bool:
    table = node_at(tree, loc[:-1])
    return bool(loc) and isinstance(table, Table) and loc[-1] in table.keys


def _is_broken(tree: Table, loc: Loc) -> bool:
    node: Node | None = tree
    for depth, part in enumerate(loc, start=1):
        if isinstance(node, Table) and isinstance(part, str):
            child = node.entries.get(part)
            if part in node.broken and (child is None or depth == len(loc)):
                return True
            node = child
        elif isinstance(node, Row) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
        else:
            return False
    return isinstance(node, Table) and bool(node.broken)
