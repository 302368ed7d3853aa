"""Every probe of `doctor`, put together for where the command was typed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.backends import backupprobe, folderprobes, gitprobes, probes, runprobes, stateprobes
from orchestrator.core.settings import Settings, build_settings
from orchestrator.discover import find_place
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.place import Place
from orchestrator.model.probe import Grade, Probe

WITHIN_S = 10.0  #: for all probes together, which are made at once


def examine(
    start: Path,
    *,
    load_settings: Callable[[Place], Settings],
    place_for: Callable[[Path], Place],
    hello: Callable[[Place], Any],
    environ: Mapping[str, str],
) -> tuple[Probe, ...]:
    """What every probe found. Never raises or hangs.

    Args:
        place_for: where things are, the settings' worktree folder taken into account.
        hello: asks the daemon who it is. Raises: NoDaemonError when it does not answer in time.
    """
    found: list[Probe] = []
    settings = build_settings(user=None, project=None, environ={}, flags={})
    place: Place | None = None
    try:
        place = find_place(start)
    except OrchestratorError as error:
        # to stand outside of every repository is no fault; to stand in one that cannot be read is
        is_outside = not any(os.path.lexists(folder / ".git") for folder in (start, *start.absolute().parents))
        found.append(_of("repository", error, Grade.WARN if is_outside else Grade.FAIL))
    if place is not None:
        try:
            settings = load_settings(place)
            place = place_for(start)
            has_file = (place.root / "orchestrator.toml").exists()
            found.append(Probe(name="settings", said="can be read" if has_file else "no orchestrator.toml here"))
        except OrchestratorError as error:
            found.append(_of("settings", error, Grade.FAIL))
    (git,) = probes.run_all([gitprobes.git(place)], within_s=WITHIN_S)
    found.append(git)
    if place is None:
        wanted = [*probes.machine(), *probes.known_programs(environ)]
    else:
        here = place
        wanted = [
            # what a git says that does not work only misleads
            *(gitprobes.repository(here) if git.grade is not Grade.FAIL else ()),
            *probes.machine(),
            *probes.programs(settings, environ),
            *folderprobes.folders(here),
            *runprobes.runs(here, lambda: hello(here)),
            *backupprobe.backups(here),
            *stateprobes.state(here, remote_allowed=settings.network_disk == "allow"),
        ]
    return (*found, *probes.run_all(wanted, within_s=WITHIN_S))


def _of(name: str, error: OrchestratorError, grade: Grade) -> Probe:
    return Probe(name=name, grade=grade, said=error.message, why=error.why, fix=error.fix)
