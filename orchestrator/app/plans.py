"""Plans: read, checked against the repository, kept, written, and confirmed for the daemon."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.app.reading import open_ledger
from orchestrator.app.settings import load_settings
from orchestrator.app.state import make_state, unusable
from orchestrator.model.errors import (
    ConfirmationNeeded,
    OrchestratorError,
    PlanError,
    UsageError,
)
from orchestrator.model.place import Place

if TYPE_CHECKING:
    from orchestrator.backends.repository import GitRepository
    from orchestrator.core.planfile import Draft
    from orchestrator.core.tighten import Proposal
    from orchestrator.model.assessment import Assessment
    from orchestrator.model.fact import PlanSubmitted
    from orchestrator.model.repo import RepoFacts
    from orchestrator.ports import Adapter
    from orchestrator.wire import Overrides, SubmitPlan


MAX_READ_BYTES = 1024 * 1024  #: of one prompt or context file


def adapters() -> dict[str, Adapter]:
    """The installed adapters, by name."""
    from orchestrator.backends.registry import load_adapters

    return load_adapters()


def plan_schema() -> dict[str, Any]:
    """The JSON Schema of a plan file."""
    from orchestrator.core.planfile import plan_schema as schema

    return schema()


def write_schema(place: Place) -> Path:
    """Put the JSON Schema of plan files where the first line of our plans says; git and the checkout never see it."""
    import json

    from orchestrator.backends.textfile import replace_or_create

    make_state(place)
    replace_or_create(place.plan_schema, json.dumps(plan_schema(), indent=1) + "\n")
    return place.plan_schema


def save_made(path: Path, text: str) -> None:
    """Write a file that is made from the code, in the place of an older one. Raises: OrchestratorError."""
    from orchestrator.backends.textfile import replace_or_create

    replace_or_create(path, text, mode=0o644)


def save_text(path: Path, text: str, *, instead_of: bytes | None = None) -> None:
    """Write a plan: a new file, or in the place of what was read. Raises: UsageError, OrchestratorError."""
    from orchestrator.backends.textfile import create, replace

    if instead_of is None:
        create(path, text)
    else:
        replace(path, text, instead_of=instead_of)


def repo_facts(place: Place) -> RepoFacts:
    """One look at the user's repository. Raises: RepositoryError."""
    import anyio

    from orchestrator.backends.repository import GitRepository

    return anyio.run(GitRepository(place).facts, None)


def tighter_files(place: Place, draft: Draft) -> list[Proposal]:
    """What `files` of a plan's tasks could be, judged by what past attempts handed off."""
    import anyio

    from orchestrator.backends.repository import GitRepository
    from orchestrator.core.planfile import plan_name
    from orchestrator.core.tighten import proposals

    changed: dict[str, set[str]] = {}
    if place.ledger.exists():
        reader = open_ledger(place)
        try:
            for event in reader.events(plan=plan_name(draft)):
                if event.type == "handed_off" and event.task is not None:
                    changed.setdefault(event.task, set()).update(event.data["hand_off"]["changed"])
        finally:
            reader.close()
    facts = anyio.run(GitRepository(place).facts, draft.target)
    return proposals(draft.table.tasks, changed, facts.directories)


def check_plan(place: Place, path: Path, overrides: Overrides, text: str | None = None) -> Assessment:
    """What a person would confirm; `text` is what is going to be in the file."""
    import anyio

    found: list[Assessment] = []

    async def assessed() -> None:
        # not as the task's result: at its end asyncio has Python spell the task out, a large plan and all
        found.append(await assess_plan(place, path, overrides, text=text))

    anyio.run(assessed)
    return found[0]


async def assess_plan(
    place: Place,
    path: Path,
    overrides: Overrides,
    repository: GitRepository | None = None,
    *,
    text: str | None = None,
) -> Assessment:
    """Read a plan file and all it names, look at the repository, and work out what a person would confirm.

    Args:
        repository: the daemon's, which knows the variables of git that it was started with; None: they are still set.
        text: what is going to be in the file; None: what is in it.
    """
    import anyio

    from orchestrator.backends.repository import GitRepository
    from orchestrator.core.assessment import assess
    from orchestrator.core.planfile import parse_plan, resolve_plan
    from orchestrator.model.assessment import Assessment

    name = str(path.relative_to(place.root)) if path.is_relative_to(place.root) else str(path)
    data = await anyio.to_thread.run_sync(_read_plan, path, name) if text is None else text
    settings = load_settings(place)
    try:
        draft = parse_plan(data, file=name)
    except PlanError as error:
        return Assessment(plan=None, errors=error.problems)
    facts = await (repository or GitRepository(place)).facts(draft.target)
    contents = {wanted: _read_text(place.root, wanted) for wanted in draft.wanted_files}
    resolved = await anyio.to_thread.run_sync(
        lambda: resolve_plan(
            draft,
            settings=settings,
            facts=facts,
            contents=contents,
            adapters={adapter.name: adapter.needs_run for adapter in adapters().values()},
            parallel=overrides.parallel,
            agent=overrides.agent,
            isolation=overrides.isolation,
            agents=overrides.agents,
            first=overrides.first,
            drop=overrides.drop,
        )
    )
    return await anyio.to_thread.run_sync(
        lambda: assess(resolved.plan, resolved.problems, resolved.places, file=name, facts=facts)
    )


def _read_plan(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read the plan file {name}", why=error.strerror or str(error), fix="check the path"
        ) from error


def _read_text(root: Path, name: str) -> str | None:
    """The text of a file of the repository; None when there is none, or it is no text, or too large."""
    path = (root / name).resolve()
    try:
        if not path.is_relative_to(root.resolve()) or not path.is_file() or path.stat().st_size > MAX_READ_BYTES:
            return None
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def kept_plan(place: Place, name: str) -> str | None:
    """The text of a plan that `run` made; None when there is none of that name."""
    try:
        return (place.kept_plans / f"{name}.yaml").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise OrchestratorError(
            f"the plan {place.kept_plans / name}.yaml cannot be read", why=str(error), fix="move it away"
        ) from error


def keep_plan(place: Place, name: str, text: str) -> Path:
    """Put the text of a plan where it stays, whole or not at all. Returns: the file."""
    make_state(place)
    path = place.kept_plans / f"{name}.yaml"
    new = path.with_name(f".{name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise unusable(place, error) from error
    finally:
        new.unlink(missing_ok=True)
    return path


async def confirmed(place: Place, message: SubmitPlan, repository: GitRepository | None = None) -> PlanSubmitted:
    """The plan of a message, read anew. Raises: ConfirmationNeeded when it is not what was confirmed."""
    from orchestrator.core.graph import ranks
    from orchestrator.core.overlap import rivals_of
    from orchestrator.model.assessment import Verdict
    from orchestrator.model.fact import PlanSubmitted

    assessment = await assess_plan(place, Path(message.path), message.overrides, repository)
    if assessment.plan is None:
        raise PlanError(problems=assessment.errors)
    if assessment.digest != message.digest:
        raise ConfirmationNeeded(
            "the plan is not what was confirmed",
            why=f"confirmed was {message.digest[:12]}, and it now reads as {assessment.digest[:12]}",
            fix=f"look at it again: `orchestrator start {message.path}`",
        )
    if assessment.verdict is Verdict.SEQUENTIAL and not message.sequential:
        raise ConfirmationNeeded(
            "no two tasks of this plan may ever run together",
            why="so nothing is launched without a second yes",
            fix=f"`orchestrator start {message.path} --sequential` runs them one by one",
        )
    pairs = tuple(overlap.tasks for overlap in assessment.overlaps)
    return PlanSubmitted(
        plan=assessment.plan,
        digest=assessment.digest,
        by=message.by,
        sequential=message.sequential,
        rivals=pairs,
        rank=ranks(assessment.plan.tasks, rivals_of(pairs)),
    )
