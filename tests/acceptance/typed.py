"""The command lines of the pages: found, and typed as they stand there.

Every line of a block marked `sh`, `bash` or `console` is one. A block that cannot be run has a comment above it:

    <!-- not run: the reason -->

Its lines are still parsed by the commands they call. Everything else is run in one scratch repository, page after page,
block after block, and has to end well.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from orchestrator.cli.main import app
from orchestrator.cli.session import Session

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")), ROOT / "plans" / "README.md"]
PROGRAMS = ("orchestrator", "orch")

_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+?) -->\n+)?^```(?:sh|bash|console)\n(?P<text>.*?)^```", re.S | re.M
)
_IN_TEXT = re.compile(r"`((?:orchestrator|orch) [^`\n]+)`")


@dataclass(frozen=True)
class Line:
    """One command line of a page."""

    page: str
    number: int
    text: str  #: without prompt and comment
    reason: str | None  #: why its block is not run

    def __str__(self) -> str:
        return f"{self.page}:{self.number}: {self.text}"

    @property
    def is_ours(self) -> bool:
        return self.text.split()[0] in PROGRAMS and not re.search(r"[|<>;&]", self.text)

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)[1:]


def lines() -> list[Line]:
    """Every line of every block, in order."""
    return [line for page in PAGES for line in _lines(page)]


def _lines(page: Path) -> Iterator[Line]:
    text = page.read_text()
    name = str(page.relative_to(ROOT))
    for block in _BLOCK.finditer(text):
        first = text.count("\n", 0, block.start("text")) + 1
        is_dialogue = re.search(r"^\$ ", block["text"], re.M)  # what has no `$` is what was printed
        joined = block["text"].replace("\\\n", "  ")
        for number, row in enumerate(joined.splitlines(), first):
            if is_dialogue and not row.startswith("$ "):
                continue
            command = re.sub(r"(^|\s)#.*", "", row.removeprefix("$ ")).strip()
            if command:
                yield Line(name, number, command, block["reason"])


def in_text() -> list[str]:
    """Command lines that a sentence names, unless they stand for several: `logs [TASK]`, `pause|resume`, `...`."""
    found = {text for page in PAGES for text in _IN_TEXT.findall(page.read_text())}
    return sorted(text for text in found if not re.search(r"[\[|]|\.\.\.|…", text))


def parse(text: str) -> Any:
    """The context of the verb that a command line calls. Raises: what typer finds wrong with it."""
    # options that act while they are parsed are only looked up: one of them writes into the shell's files
    at_once = {"--install-completion", "--show-completion", "--version", "--help", "-h"}
    words = [re.sub(r"^N$", "1", word) for word in shlex.split(text)[1:] if word not in at_once]
    command: Any = typer.main.get_command(app)
    context = command.make_context("orchestrator", words, obj=Session())
    while getattr(command, "commands", {}) and (words := [*context._protected_args, *context.args]):
        name, command, words = command.resolve_command(context, words)
        context = command.make_context(name, words, parent=context)
    return context
