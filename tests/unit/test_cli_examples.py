"""Every verb has an example, and the example is one that the verb takes."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import typer

from orchestrator.cli.main import HELP, app
from orchestrator.cli.session import Session


def commands() -> dict[str, Any]:
    """Everything that can be typed, by its words."""
    found: dict[str, Any] = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", {})
        if not below or command.invoke_without_command:
            found[name] = command
        found |= {f"{name} {part}": inner for part, inner in below.items()}
    return found


def parse(typed: str) -> Any:
    """The context of the verb at the end of a command line. Raises: what typer finds wrong with the line."""
    words = shlex.split(typed)
    assert words.pop(0) == "orchestrator"
    command: Any = typer.main.get_command(app)
    context = command.make_context("orchestrator", words, obj=Session())
    while getattr(command, "commands", {}) and (words := [*context._protected_args, *context.args]):
        name, command, words = command.resolve_command(context, words)
        context = command.make_context(name, words, parent=context)
    return context


@pytest.mark.parametrize("words", commands())
def test_the_help_of_every_verb_has_an_example_that_it_takes(words: str) -> None:
    epilog = commands()[words].epilog
    assert epilog, f"`{words} --help` has no example"
    head, _, example = epilog.partition(": ")
    assert head == "Example"
    context = parse(example)
    assert context.command_path.split(maxsplit=1)[1] == words
    assert not context.args


@pytest.mark.parametrize(
    "group", [n for n, c in typer.main.get_command(app).commands.items() if hasattr(c, "commands")]
)
def test_the_help_of_every_group_has_an_example_from_it(group: str) -> None:
    epilog = typer.main.get_command(app).commands[group].epilog  # type: ignore[attr-defined]
    assert epilog, f"`{group} --help` has no example"
    assert parse(epilog.partition(": ")[2]).command_path.split()[1] == group


def test_every_verb_stands_on_the_first_page_of_the_help() -> None:
    assert {words for _, group in HELP for words, _, _ in group} == set(commands())


@pytest.mark.parametrize("wrong", ["orchestrator status --no-such", "orchestrator plan check", "orchestrator nothing"])
def test_an_example_that_does_not_work_would_be_found(wrong: str) -> None:
    with pytest.raises(typer.exceptions.TyperException):
        parse(wrong)
