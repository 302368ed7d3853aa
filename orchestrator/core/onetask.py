"""A plan of one task, made from what a person types: its name, and its text as a plan file would have it."""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from collections.abc import Sequence

NAME_LENGTH = 40
TITLE_LENGTH = 60
FALLBACK = "task"

_SHELL = frozenset("|&;<>()$`*?~#{}[]\n")
_LETTERS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "ø": "o", "đ": "d", "ł": "l"})


def task_name(prompt: str) -> str:
    """A short name in the words of a prompt: `fix-the-login-timeout`. Usable for plans and tasks."""
    name = _slug(prompt) or FALLBACK
    return f"{FALLBACK}-{name}" if name in {"plans", "old"} else name


def _slug(text: str) -> str:
    """As many words as fit, in plain letters; empty when there are none."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFC", text).lower().translate(_LETTERS))
    name = ""
    for word in re.findall(r"[a-z0-9]+", "".join(char for char in plain if not unicodedata.combining(char))):
        longer = f"{name}-{word}" if name else word[:NAME_LENGTH]
        if len(longer) > NAME_LENGTH:
            break
        name = longer
    return name


def task_title(prompt: str) -> str:
    """The first line of a prompt, shortened at a word."""
    line = next((" ".join(line.split()) for line in prompt.splitlines() if line.strip()), "")
    if len(line) <= TITLE_LENGTH:
        return line
    return f"{line[: TITLE_LENGTH - 3].rsplit(' ', 1)[0].rstrip(' ,;:.')}..."


def check_of(command: str) -> tuple[str, list[str]]:
    """The name and the words of a check typed as for a shell; what only a shell understands goes to one.

    Raises: ValueError when a quotation is open, or when there is no command.
    """
    words = shlex.split(command)
    if not words:
        raise ValueError("there is no command")
    name = _slug(command) or "check"
    is_for_shell = bool(set(command) & _SHELL) or re.match(r"[A-Za-z_]\w*=", words[0]) is not None
    return name, ["sh", "-c", command.strip()] if is_for_shell else words


def one_task_plan(
    *,
    name: str,
    prompt: str,
    files: Sequence[str] | None,
    agent: str | None,
    checks: Sequence[tuple[str, Sequence[str]]] | None,
    timeout: str | None,
) -> str:
    """The text of the plan. Reads back as exactly these values, whatever characters they hold.

    Args:
        files: None: not said, so the whole repository.
        checks: name and command of each; empty: none, said out loud; None: those of the settings.
    """
    lines = ["# Made by `orchestrator run`.", "version: 1", f"name: {_text(name)}"]
    if checks is not None:
        lines.append("checks:" if checks else "checks: none")
        lines += [f"  - {{name: {_text(check)}, run: {_row(words)}}}" for check, words in checks]
    lines += ["tasks:", f"  - id: {_text(task_name(prompt))}", f"    title: {_text(task_title(prompt))}"]
    lines += [f"    files: {_row(files)}"] if files is not None else []
    lines += [f"    agent: {_text(agent)}"] if agent is not None else []
    lines += [f"    timeout: {_text(timeout)}"] if timeout is not None else []
    return "\n".join([*lines, *_prompt(prompt)]) + "\n"


def _text(value: str) -> str:
    # What JSON calls a string is one for YAML too, and never taken for a number or a word of the language.
    return json.dumps(value, ensure_ascii=False)


def _row(values: Sequence[str]) -> str:
    return f"[{', '.join(map(_text, values))}]"


def _prompt(prompt: str) -> list[str]:
    """As a block where a person could have typed it so; else as one quoted string."""
    lines = prompt.removesuffix("\n").split("\n")
    typed = all(line.isprintable() and line == line.rstrip() for line in lines)
    if len(lines) < 2 or not typed or not lines[-1] or not lines[0] or lines[0].startswith(" "):
        return [f"    prompt: {_text(prompt)}"]
    mark = "|" if prompt.endswith("\n") else "|-"
    return [f"    prompt: {mark}", *(f"      {line}" if line else "" for line in lines)]
