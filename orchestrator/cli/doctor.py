"""`doctor`: everything that plans need here, looked at; each with what to do when it is not right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.session import Answer, Session
from orchestrator.cli.verb import verb
from orchestrator.model.errors import ExitCode, OrchestratorError
from orchestrator.model.probe import Grade, Probe

if TYPE_CHECKING:
    from rich.console import RenderableType

STYLES = {Grade.OK: "green", Grade.WARN: "yellow", Grade.FAIL: "bold red"}


@verb
def doctor(session: Session) -> Answer:
    """Look at everything that plans need here: git, Python, agents, folders, disk, socket, daemon, ledger.

    Changes nothing and works outside of a repository too. Ends with 1 when something fails.
    """
    probes = session.world().examine(session.path(Path()))
    counts = {grade.value: sum(probe.grade is grade for probe in probes) for grade in Grade}
    data = {
        "probes": [
            {"name": one.name, "grade": one.grade, "said": one.said, "why": one.why, "fix": one.fix} for one in probes
        ],
        "counts": counts,
    }
    return Answer(data=data, page=lambda: _page(probes, counts), error=_failure(probes))


def _failure(probes: Sequence[Probe]) -> OrchestratorError | None:
    failed = [probe for probe in probes if probe.grade is Grade.FAIL]
    if not failed:
        return None
    names = ", ".join(probe.name for probe in failed)
    error = OrchestratorError(f"not everything works: {names}", why=failed[0].said, fix=failed[0].fix)
    error.code = "unhealthy"
    error.exit_code = ExitCode.NOT_ALL_LANDED
    return error


def _page(probes: Sequence[Probe], counts: dict[str, int]) -> Iterable[RenderableType]:
    from orchestrator.cli.words import cell, counted, grid

    rows = []
    for probe in probes:
        rows.append([cell(probe.grade.value, STYLES[probe.grade]), cell(probe.name, "bold"), cell(probe.said)])
        for word, text in (("why", probe.why), ("fix", probe.fix)):
            if text:
                rows.append([cell(""), cell(f"  {word}", "dim"), cell(text)])
    yield grid(rows, indent=0)
    yield cell("")
    if not counts[Grade.FAIL]:  # else the error says it
        warned = counts[Grade.WARN]
        said = f"Nothing is broken; {counted(warned, 'warning')}." if warned else "Everything that was looked at works."
        yield cell(said, "yellow" if warned else "green")
