"""The person's own programs at their terminal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def edit_file(path: Path) -> int:
    """Open a file in the person's editor. Returns: its exit status. Raises: UsageError when there is no editor."""
    from orchestrator.backends.foreground import edit

    return edit(path, os.environ)


def page(text: str) -> bool:
    """Show a text in the person's pager. Returns: False when there is none, and nothing was shown."""
    from orchestrator.backends.foreground import page as show

    return show(text, os.environ)
