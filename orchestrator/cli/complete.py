"""What a shell offers when Tab is pressed: tasks, items, choices, plan files, words. Quick, and silent on any error.

Which completer an argument or option has is told by its name or its metavar, so a new verb with a TASK completes tasks.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.models import ArgumentInfo, OptionInfo

from orchestrator.cli.session import Session

if TYPE_CHECKING:
    from orchestrator.core.plantext import Table

Offers = Iterable[tuple[str, str]]  #: what can be typed, and a word on each
LONGEST_HELP = 60
#: What may go on a command line as it is. An agent words the options of its questions, and a shell would obey them.
_WORD = re.compile(r"[\w./@:+=,-]+")
_OBEYED = str.maketrans("", "", '$`\\"')


def offered(context: typer.Context, incomplete: str, offers: Callable[[Session], Offers]) -> list[tuple[str, str]]:
    """Those that begin like what was typed; none when there is anything wrong."""
    session = context.obj if isinstance(context.obj, Session) else Session()
    directory = context.find_root().params.get("directory")
    if directory:
        session.directory = Path(directory).absolute()
    folded = incomplete.casefold()
    try:
        found = [(name, text) for name, text in offers(session) if name.casefold().startswith(folded)]
        return [(name, _short(text)) for name, text in found if _WORD.fullmatch(name) and name[0] != "-"]
    except Exception:
        return []  # a shell in the middle of a line is no place for an error


def _short(text: str) -> str:
    from orchestrator.core.terminal import printable

    text = printable(" ".join(text.translate(_OBEYED).split()))
    return text if len(text) <= LONGEST_HELP else f"{text[: LONGEST_HELP - 1]}…"


# ---- what is in the ledger ----


def complete_task(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Tasks of the present plan, or of the one that `--plan` names."""
    from orchestrator.cli import rows

    def offers(session: Session) -> Offers:
        reader = session.ledger()
        chosen = rows.chosen_plan(rows.plans(reader), context.params.get("plan") or None)
        known = rows.tasks(reader, chosen.name)
        return [(task.id, f"{task.title} ({task.lane.value.replace('_', ' ')})") for task in known]

    return offered(context, incomplete, offers)


def complete_item(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Items that are open."""
    from orchestrator.cli import rows

    return offered(
        context, incomplete, lambda session: [(item.id, item.title) for item in rows.items(session.ledger())]
    )


def complete_conflict(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Tasks whose conflict waits for a person; `sync` is that of the target."""
    from orchestrator.cli import rows

    def offers(session: Session) -> Offers:
        waiting = [item for item in rows.items(session.ledger()) if item.kind.value == "conflict"]
        return [(item.task_id or "sync", item.title) for item in waiting]

    return offered(context, incomplete, offers)


def complete_choice(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """What the item that was typed can be answered with."""
    from orchestrator.cli import rows

    def offers(session: Session) -> Offers:
        waiting: dict[str, Any] = {item.id: item for item in rows.items(session.ledger())}
        item = rows.unique(str(context.params.get("item")), waiting, "item")
        return [(option.id, option.effect or option.label) for option in item.options]

    return offered(context, incomplete, offers)


def complete_plan_name(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Plans that the ledger knows, newest first."""
    from orchestrator.cli import rows

    return offered(
        context,
        incomplete,
        lambda session: [(plan.name, plan.state.value) for plan in rows.plans(session.ledger())],
    )


# ---- what is in files ----


def complete_plan_file(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Plan files in plans/, and what else the path that was typed could become."""

    def offers(session: Session) -> Offers:
        found = dict.fromkeys(_own(session))
        if incomplete:
            found |= dict.fromkeys(_paths(session, incomplete))
        return [(name, "") for name in found]

    return offered(context, incomplete, offers)


def _own(session: Session) -> list[str]:
    from orchestrator.cli.status import plan_files

    try:
        return plan_files(session)
    except Exception:
        return []  # outside of a repository there are still paths


def _paths(session: Session, typed: str) -> list[str]:
    base = session.path(Path())
    found = sorted(glob.glob(f"{glob.escape(typed)}*", root_dir=base))
    folders = [f"{name}{os.sep}" for name in found if (base / name).is_dir()]
    return [*(name for name in found if name.endswith((".yaml", ".yml"))), *folders]


def complete_agent(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Agents of the plan that was typed and of the settings; behind `TASK=` too."""
    head, equals, _ = incomplete.rpartition("=")

    def offers(session: Session) -> Offers:
        names = dict.fromkeys([*_plan_agents(session), *_settings_agents(session), "demo"])
        return [(f"{head}{equals}{name}", "") for name in names]

    return offered(context, incomplete, offers)


def complete_planned(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Tasks of the plan file that was typed, or else of the plan in the ledger."""
    return _planned(context, incomplete, lambda tasks: tasks)


def complete_first(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """`A:B`: the one, with the colon, and then the other."""
    one, colon, _ = incomplete.partition(":")
    if not colon:
        return _planned(context, incomplete, lambda tasks: [(f"{name}:", title) for name, title in tasks])
    return _planned(
        context, incomplete, lambda tasks: [(f"{one}:{name}", title) for name, title in tasks if name != one]
    )


def _planned(
    context: typer.Context, incomplete: str, offers: Callable[[list[tuple[str, str]]], Offers]
) -> list[tuple[str, str]]:
    from orchestrator.core.plantext import Leaf, Row, Table

    def found(session: Session) -> Offers:
        plan = _plan_text(session, context)
        if plan is None:
            return offers(complete_task(context, ""))
        rows = plan.entries.get("tasks")
        tasks = []
        for task in rows.items if isinstance(rows, Row) else ():
            said = task.entries if isinstance(task, Table) else {}
            name, title = said.get("id"), said.get("title")
            if isinstance(name, Leaf):
                tasks.append((str(name.value), str(title.value) if isinstance(title, Leaf) else ""))
        return offers(tasks)

    return offered(context, incomplete, found)


def _plan_agents(session: Session) -> list[str]:
    from orchestrator.core.plantext import Table

    plan = _plan_text(session)
    agents = plan.entries.get("agents") if plan else None
    return list(agents.entries) if isinstance(agents, Table) else []


def _plan_text(session: Session, context: typer.Context | None = None) -> Table | None:
    """The plan file that was typed, as far as it can be read."""
    from orchestrator.core.plantext import read_text

    typed = context.params.get("plan") if context else None
    if typed is None:
        # while an option waits for its value, nothing of the line has been parsed
        line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
        typed = next((word for word in line.split() if word.endswith((".yaml", ".yml"))), None)
    path = session.path(Path(typed)) if typed else None
    return read_text(path.read_bytes(), file="")[0] if path is not None and path.is_file() else None


def _settings_agents(session: Session) -> list[str]:
    import tomllib

    path = session.place().root / "orchestrator.toml"
    return list(tomllib.loads(path.read_text())["agents"]) if path.is_file() else []


# ---- words ----


def words(*known: str) -> Callable[[typer.Context, str], list[tuple[str, str]]]:
    """A completer for an option that takes one of a few words."""

    def complete(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
        return [(word, "") for word in known if word.startswith(incomplete)]

    return complete


#: By the option's name, or else by the metavar.
COMPLETERS: dict[str, Callable[[typer.Context, str], list[tuple[str, str]]]] = {
    "TASK": complete_task,
    "ID": complete_item,
    "CHOICE": complete_choice,
    "PLAN": complete_plan_file,
    "--plan": complete_plan_name,
    "--agent": complete_agent,
    "--drop": complete_planned,
    "--first": complete_first,
    "--format": words("text", "mermaid", "dot", "json"),
    "--stream": words("agent", "daemon", "events", "checks"),
    "--level": words("debug", "info", "warning", "error"),
    "--color": words("auto", "always", "never"),
    "--isolation": words("worktree"),
}


def give_completer(info: Any) -> None:
    """Give an argument or option its completer, if it has none of its own and there is one for it."""
    if not isinstance(info, ArgumentInfo | OptionInfo) or info.autocompletion or info.shell_complete:
        return
    # typer takes the first name of an annotated option for its default until the command is made
    names = [info.default, *(info.param_decls or ()), info.metavar]
    known = [COMPLETERS[name] for name in names if isinstance(name, str) and name in COMPLETERS]
    if known:
        info.autocompletion = known[0]
