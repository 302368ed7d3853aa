"""Flags that change a plan: the options, what they say, and the words that say it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.model.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.wire import Overrides

ParallelOption = Annotated[
    int | None, typer.Option("--parallel", metavar="N", min=1, max=256, help="How many attempts at once.")
]
AgentOption = Annotated[
    list[str] | None,
    typer.Option("--agent", metavar="[TASK=]A", help="The agent of every task, or of one. May be repeated."),
]
FirstOption = Annotated[
    list[str] | None, typer.Option("--first", metavar="A:B", help="A lands before B starts. May be repeated.")
]
DropOption = Annotated[
    list[str] | None, typer.Option("--drop", metavar="TASK", help="Leave a task out. May be repeated.")
]
IsolationOption = Annotated[
    str | None, typer.Option("--isolation", metavar="I", help="How attempts are kept apart: worktree.")
]


def read_overrides(
    *,
    parallel: int | None = None,
    agent: Sequence[str] | None = None,
    first: Sequence[str] | None = None,
    drop: Sequence[str] | None = None,
    isolation: str | None = None,
) -> Overrides:
    """What the flags say. Raises: UsageError where one cannot be read, or two contradict each other."""
    from orchestrator.wire import Overrides

    everyone, single = _agents(agent or ())
    return Overrides(
        parallel=parallel,
        agent=everyone,
        agents=single,
        first=tuple(dict.fromkeys(map(pair, first or ()))),
        drop=tuple(dict.fromkeys(drop or ())),
        isolation=isolation,
    )


def pair(text: str) -> tuple[str, str]:
    """`A:B` as two tasks."""
    one, mark, two = text.partition(":")
    if not (one and mark and two) or ":" in two:
        raise UsageError(
            f"--first cannot read '{text}'",
            why="it takes two tasks, the one that lands before the other first",
            fix="write it as --first A:B",
        )
    return one, two


def _agents(given: Sequence[str]) -> tuple[str | None, dict[str, str]]:
    everyone: list[str] = []
    single: dict[str, str] = {}
    for text in given:
        task, mark, agent = text.rpartition("=")
        if not agent or (mark and not task):
            raise UsageError(
                f"--agent cannot read '{text}'",
                why="it takes an agent for every task, or a task and its agent",
                fix="write it as --agent A, or as --agent TASK=A",
            )
        if mark and single.setdefault(task, agent) != agent:
            raise UsageError(f"--agent gives '{task}' to '{single[task]}' and to '{agent}'", fix="choose one of them")
        if not mark and agent not in everyone:
            everyone.append(agent)
    if len(everyone) > 1:
        raise UsageError(
            f"--agent gives every task to '{everyone[0]}' and to '{everyone[1]}'",
            why="one agent can have all of them",
            fix=f"choose one of them, or write --agent TASK={everyone[1]} for single tasks",
        )
    return (everyone[0] if everyone else None), single


def words_of(overrides: Overrides) -> list[str]:
    """The flags that say the same."""
    words = []
    for name, value in (("--parallel", overrides.parallel), ("--agent", overrides.agent)):
        words += [name, str(value)] if value is not None else []
    for task, agent in overrides.agents.items():
        words += ["--agent", f"{task}={agent}"]
    for one, two in overrides.first:
        words += ["--first", f"{one}:{two}"]
    for task in overrides.drop:
        words += ["--drop", task]
    return [*words, *(["--isolation", overrides.isolation] if overrides.isolation is not None else [])]
