"""Our own folder in the repository."""

from __future__ import annotations

from orchestrator.model.errors import (
    OrchestratorError,
)
from orchestrator.model.place import Place


def make_state(place: Place) -> None:
    try:
        place.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(place, error) from error


def unusable(place: Place, error: OSError) -> OrchestratorError:
    return OrchestratorError(
        f"the folder {place.state_dir} cannot be used",
        why=error.strerror or str(error),
        fix="make it writable and see that the disk has room; nothing was started",
    )
