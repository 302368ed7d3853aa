"""Trash that is old enough is deleted for good, as a person could ask for it, and recorded in the same way."""

from __future__ import annotations

from collections.abc import Callable

from anyio import to_thread

from orchestrator.engine.loop import Loop
from orchestrator.model.fact import PruneAsked


async def purge(loop: Loop, old_trash: Callable[[], tuple[str, ...]]) -> None:
    """Have deleted what has been in the trash for too long.

    Args:
        old_trash: looks for it; blocks.
    """
    entries = await to_thread.run_sync(old_trash)
    if entries:
        await loop.request(PruneAsked(owners=(), trash=entries, by="orchestrator"))
