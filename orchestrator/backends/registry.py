"""Adapters, found by the entry point `orchestrator.agents`; nothing imports them by name."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from orchestrator.model.errors import OrchestratorError
from orchestrator.ports import Adapter

GROUP = "orchestrator.agents"


def load_adapters() -> dict[str, Adapter]:
    """Every installed adapter, by name.

    Raises: OrchestratorError when one of them cannot be loaded; a plan that needs it must not find it missing later.
    """
    return {point.name: _load(point) for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}


def _load(point: EntryPoint) -> Adapter:
    try:
        adapter: Adapter = point.load()()
    except Exception as error:
        owner = point.dist.name if point.dist is not None else "another distribution"
        raise OrchestratorError(
            f"the adapter '{point.name}' cannot be loaded",
            why=f"{point.value} of {owner}: {type(error).__name__}: {error}",
            fix=f"mend or uninstall {owner}",
        ) from error
    return adapter
