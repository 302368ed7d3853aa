"""What was chosen for a repository -> the text of its `orchestrator.toml`, or what an existing one lacks."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.core.detection import CheckGuess, Detected, PrepareGuess
from orchestrator.core.knownagents import KnownAgent
from orchestrator.model.plan import HUMAN

FILE = "orchestrator.toml"
#: The first table; comments directly above belong to it. Arrays over several lines may hold lines with brackets, so
#: the result is read back by whoever asks.
_TABLE_LINE = re.compile(r"^(?:[ \t]*#[^\n]*\n)*[ \t]*\[", re.MULTILINE)


class DoesNotFitError(Exception):
    """A file is written in a way that nothing can be put into without understanding it better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Starter:
    """The settings that a repository begins with."""

    checks: tuple[CheckGuess, ...]
    prepare: tuple[PrepareGuess, ...]
    protected: tuple[str, ...]
    agents: tuple[KnownAgent, ...]  #: the first one takes the tasks that name none; empty: a person does
    worktrees: str | None = None  #: None: where they go anyway
    remarks: tuple[str, ...] = ()  #: on what was left out on purpose


def starter_of(found: Detected, remarks: tuple[str, ...] = ()) -> Starter:
    """Everything that was detected."""
    return Starter(
        checks=found.checks,
        prepare=found.prepare,
        protected=found.protected,
        agents=found.agents,
        remarks=remarks,
    )


def settings_text(starter: Starter) -> str:
    """The whole file, with a comment on everything that somebody will want to change."""
    head = (
        "# Settings of `orchestrator` for this repository. A plan inherits all of this and may say otherwise.\n"
        "# What holds, and where it comes from: orchestrator config show --origin"
    )
    parts = [head, *_top_parts(starter).values(), *_table_parts(starter).values()]
    return "\n\n".join(parts) + "\n"


def _top_parts(starter: Starter) -> dict[str, str]:
    """Keys that have to stand before the first table, each with its comment."""
    return {
        "checks": _checks(starter.checks),
        "protected": _protected(starter.protected),
        "worktrees": _worktrees(starter.worktrees),
    }


def _table_parts(starter: Starter) -> dict[str, str]:
    """Tables by their dotted names, each with its comment."""
    parts = {}
    if starter.prepare or starter.remarks:
        parts["prepare"] = _prepare(starter.prepare, starter.remarks)
    parts |= {f"agents.{agent.name}": _agent(agent) for agent in starter.agents}
    parts["defaults"] = _defaults(starter.agents)
    return parts


def _checks(checks: Sequence[CheckGuess]) -> str:
    rows = [
        "# The gate: each of these has to end with status 0, in a fresh tree of exactly the commit that would land.",
        "checks = [",
    ]
    for check in checks:
        rows.append(f"  # {check.because}")
        rows.append(f'  {{name = {_text(check.name)}, run = {_list(check.run)}, timeout = "10m"}},')
    return "\n".join([*rows, "]"])


def _protected(patterns: Sequence[str]) -> str:
    return "\n".join(
        [
            "# An agent may change these only with your yes; it comes to the inbox as a question.",
            f"protected = {_list(patterns)}",
        ]
    )


def _worktrees(chosen: str | None) -> str:
    said = "worktrees =" if chosen else "# worktrees ="
    return "\n".join(
        [
            "# Where the agents' worktrees are made: outside of the repository, with room for several. When it",
            "# is not set: in a folder beside the repository, or in your data folder where that cannot be written.",
            f"{said} {_text(chosen or '../my-worktrees')}",
        ]
    )


def _prepare(guesses: Sequence[PrepareGuess], remarks: Sequence[str]) -> str:
    rows = [
        "# What every fresh tree gets before an agent or a check uses it. Paths are those of your checkout, and have",
        "# to be there in every clone that runs plans. Nothing of this counts as a change.",
        "[prepare]",
    ]
    kinds: dict[str, tuple[list[PrepareGuess], str]] = {
        "copy": ([one for one in guesses if one.copy], _list(one.copy for one in guesses if one.copy)),
        "link": ([one for one in guesses if one.link], _list(one.link for one in guesses if one.link)),
        "run": (
            [one for one in guesses if one.run],
            f"[{', '.join(_list(one.run) for one in guesses if one.run)}]",
        ),
    }
    for key, (inside, value) in kinds.items():
        if inside:
            for one in inside:
                rows += [f"# {one.because}", *(f"#   {line}" for line in one.instead)]
            rows.append(f"{key} = {value}")
    rows += [f"# {line}" for line in remarks]
    return "\n".join(rows)


def _agent(agent: KnownAgent) -> str:
    rows = [f"# {line}" for line in _wrapped(f"{agent.program} is on your PATH. Started like this it {agent.allows}.")]
    rows += [
        f"[agents.{agent.name}]",
        'adapter = "command"',
        f"run = {_list(agent.run)}",
        f"stdin = {_text(agent.stdin)}",
    ]
    if agent.pass_env:
        rows.append(f"pass_env = {_list(agent.pass_env)}    # taken over when set; their values are masked in logs")
    return "\n".join(rows)


def _defaults(agents: Sequence[KnownAgent]) -> str:
    if agents:
        return "\n".join(
            [
                "# For tasks that do not say it themselves.",
                "[defaults]",
                f"agent = {_text(agents[0].name)}",
                'timeout = "60m"',
                "retries = 3",
            ]
        )
    return "\n".join(
        [
            "# No agent program is declared here, so tasks come to you, as items in the inbox. Declare yours, and",
            "# name it below; {prompt} and {briefing} (a file) are filled in:",
            "#",
            "#   [agents.mine]",
            '#   adapter = "command"',
            '#   run = ["my-agent", "--prompt", "{prompt}"]',
            '#   stdin = "none"',
            "[defaults]",
            f"agent = {_text(HUMAN)}",
        ]
    )


# ---- an existing file ----


def missing_keys(existing: str, starter: Starter) -> tuple[str, ...]:
    """What we would propose and the file says nothing about. Raises: tomllib.TOMLDecodeError."""
    have = tomllib.loads(existing)
    # a commented default and our remarks are no reason to touch a file
    wanted = [key for key in _top_parts(starter) if key != "worktrees" or starter.worktrees is not None]
    wanted += [key for key in _table_parts(starter) if key != "prepare" or starter.prepare]
    return tuple(key for key in wanted if not _has(have, key))


def _has(have: dict[str, object], key: str) -> bool:
    first, _, rest = key.partition(".")
    inside = have.get(first)
    if not rest:
        return inside is not None
    return isinstance(inside, dict) and rest in inside


def completed_text(existing: str, starter: Starter) -> str:
    """The existing text with what it lacks: plain keys before its first table, tables at its end.

    Raises: tomllib.TOMLDecodeError when the file cannot be read; DoesNotFitError when the text would not say the same
    as before and what it lacks, which happens to files that are written in an unusual way.
    """
    missing = missing_keys(existing, starter)
    tops, tables = _top_parts(starter), _table_parts(starter)
    first = "\n\n".join(tops[key] for key in missing if key in tops)
    last = "\n\n".join(tables[key] for key in missing if key in tables)
    table = _TABLE_LINE.search(existing)
    cut = table.start() if table else len(existing)
    head, tail = existing[:cut], existing[cut:]
    if first:
        head = f"{_ended(head)}{first}\n\n" if tail else f"{_ended(head)}{first}\n"
    text = head + tail
    if last:
        text = f"{_ended(text)}{last}\n"
    if not _fits(text, tomllib.loads(existing), starter):
        raise DoesNotFitError
    return text


def _fits(text: str, before: dict[str, object], starter: Starter) -> bool:
    try:
        after = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return not missing_keys(text, starter) and all(_holds(after.get(key), value) for key, value in before.items())


def additions_text(existing: str, starter: Starter) -> str:
    """What the file lacks, for a person to put where it belongs. Raises: tomllib.TOMLDecodeError."""
    parts = {**_top_parts(starter), **_table_parts(starter)}
    return "\n\n".join(parts[key] for key in missing_keys(existing, starter)) + "\n"


def _holds(new: object, old: object) -> bool:
    """Whether everything that was there is there still."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(_holds(new.get(key), value) for key, value in old.items())
    return new == old


def _ended(text: str) -> str:
    return f"{text.rstrip()}\n\n" if text.strip() else ""


def difference(existing: str, wanted: str) -> str:
    """As `diff -u` shows it; empty when there is none."""
    return "".join(
        difflib.unified_diff(
            existing.splitlines(keepends=True),
            wanted.splitlines(keepends=True),
            fromfile=FILE,
            tofile=f"{FILE} (proposed)",
        )
    )


# ---- TOML ----


def _text(value: str) -> str:
    # every JSON string without DEL is a basic string of TOML, surrogates aside, which no path of UTF-8 has
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _list(values: Iterable[str]) -> str:
    return f"[{', '.join(_text(value) for value in values)}]"


def _wrapped(text: str, width: int = 100) -> list[str]:
    rows = [""]
    for word in text.split():
        if rows[-1] and len(rows[-1]) + 1 + len(word) > width:
            rows.append("")
        rows[-1] = f"{rows[-1]} {word}".strip()
    return rows
