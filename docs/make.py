"""Writes the parts of the documentation that are made from the code: states, settings, commands, the plan's schema.

`make docs` runs it; a test runs it with `--check`, so that code and pages never part.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from orchestrator.app import plan_schema
from orchestrator.core.settings import PLAN_TABLES, build_settings, origins
from orchestrator.model.errors import ExitCode
from orchestrator.model.run import TASK_MOVES, TaskState

HERE = Path(__file__).parent


def comments(path: Path, name: str) -> dict[str, str]:
    """The `#:` comment of every member of an enumeration, by its name."""
    found, inside = {}, False
    for line in path.read_text().splitlines():
        if line.startswith("class "):
            inside = line.startswith(f"class {name}(")
        elif inside and "=" in line and "#:" in line:
            found[line.split("=")[0].strip()] = line.split("#:", 1)[1].strip()
    return found


def states() -> str:
    words = comments(HERE.parent / "orchestrator" / "model" / "run.py", "TaskState")
    rows = ["| state | means | may become |", "|---|---|---|"]
    for state in TaskState:
        after = ", ".join(f"`{s.value}`" for s in TaskState if s in TASK_MOVES[state]) or "nothing: it is final"
        rows.append(f"| `{state.value}` | {words[state.name]} | {after} |")
    return "\n".join(rows)


def settings() -> str:
    rows = ["| key | default | environment |", "|---|---|---|"]
    for key, value, _ in origins(build_settings(user=None, project=None, environ={}, flags={})):
        variable = "-" if key in PLAN_TABLES else f"`ORCHESTRATOR_{key.upper().replace('.', '__')}`"
        shown = "-" if value in (None, [], {}, ()) else f"`{value}`"
        rows.append(f"| `{key}` | {shown} | {variable} |")
    return "\n".join(rows)


def exit_codes() -> str:
    words = comments(HERE.parent / "orchestrator" / "model" / "errors.py", "ExitCode")
    rows = ["| code | means |", "|---|---|"]
    rows += [f"| {int(code)} | {words.get(code.name, code.name.lower())} |" for code in ExitCode]
    return "\n".join(rows)


def commands() -> str:
    """`--help` of every verb, as a terminal of 100 columns shows it."""
    environ = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb", "PATH": "/usr/bin:/bin", "HOME": "/nowhere"}

    def help_of(*verb: str) -> str:
        argv = [sys.executable, "-m", "orchestrator", *verb, "--help"]
        result = subprocess.run(argv, text=True, capture_output=True, env=environ, check=True)
        return "\n".join(line.rstrip() for line in result.stdout.strip().splitlines())

    parts = [f"```text\n{help_of()}\n```"]
    parts += [f"### `orchestrator {' '.join(verb)}`\n\n```text\n{help_of(*verb)}\n```" for verb in verbs()]
    return "\n\n".join(parts)


def verbs() -> list[tuple[str, ...]]:
    """Every command and the words that call it, in the order of `--help`."""
    import typer

    from orchestrator.cli.main import app

    found: list[tuple[str, ...]] = []
    for name, command in typer.main.get_command(app).commands.items():
        below = getattr(command, "commands", {})
        if not below or command.invoke_without_command:
            found.append((name,))
        found += [(name, part) for part in below]
    return found


def between(text: str, name: str, content: str) -> str:
    """The text with what stands between the two marks of that name replaced."""
    begin, end = f"<!-- {name}:begin", f"<!-- {name}:end -->"
    head, rest = text.split(begin, 1)
    mark, rest = rest.split("-->", 1)
    _, tail = rest.split(end, 1)
    return f"{head}{begin}{mark}-->\n{content}\n{end}{tail}"


def pages() -> dict[Path, str]:
    """Every page that is made, whole or in part, as it should be."""
    how = HERE / "how-it-works.md"
    reference = HERE / "reference.md"
    text = reference.read_text()
    for name, content in {"settings": settings(), "exit-codes": exit_codes(), "commands": commands()}.items():
        text = between(text, name, content)
    return {
        how: between(how.read_text(), "states", states()),
        reference: text,
        HERE / "plan.schema.json": json.dumps(plan_schema(), indent=1, sort_keys=True) + "\n",
    }


def main() -> None:
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        sys.exit(f"run `make docs`: {', '.join(p.name for p in stale)}" if stale else 0)
    for path, text in pages().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
