"""The person's own programs at their terminal."""

from __future__ import annotations

import os
from pathlib import Path


def editor() -> list[str]:
    """The command of the person's editor. Raises: UsageError when there is none."""
    from orchestrator.backends.foreground import editor_command

    return editor_command(os.environ)


def edit_file(path: Path) -> int:
    """Open a file in the person's editor. Returns: its exit status. Raises: UsageError when there is no editor."""
    from orchestrator.backends.foreground import edit

    return edit(path, os.environ)


def page(text: bytes, *, like_git: bool = False) -> bool:
    """Show a text in the person's pager. Returns: False when there is none, and nothing was shown."""
    from orchestrator.backends.foreground import page as show

    return show(text, os.environ, like_git=like_git)
