"""The repository's own `orchestrator.toml`, read as text and made where there is none. Nothing is ever overwritten."""

from __future__ import annotations

import tomllib
from pathlib import Path

from orchestrator.backends.textfile import create, read_file
from orchestrator.core.settings import build_settings
from orchestrator.model.errors import OrchestratorError, RefusedError, SettingsError, UsageError
from orchestrator.model.place import Place

FILE = "orchestrator.toml"


def read(place: Place) -> str | None:
    """Its text; None when there is none. Raises: SettingsError when there is something that cannot be read."""
    path = place.root / FILE
    try:
        return read_file(path)
    except FileNotFoundError:
        if not path.is_symlink():
            return None
        raise SettingsError(
            f"{path} leads nowhere",
            why="it is a symbolic link to a file that is not there",
            fix="remove it, or put the file there",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read", why=str(error), fix="mend the file, or move it away") from error


def write(place: Place, text: str) -> Path:
    """Make it, whole or not at all. Raises: RefusedError when there is one, OrchestratorError when it cannot be."""
    path = place.root / FILE
    # read back before anybody else does: a file of ours that does not load would be our bug
    build_settings(user=None, project=(str(path), tomllib.loads(text)), environ={}, flags={})
    try:
        create(path, text)
    except UsageError:
        raise RefusedError(
            f"{path} is there already",
            why="it was made while you were asked",
            fix="see what it does not say: orchestrator init",
        ) from None
    except UnicodeEncodeError as error:
        raise OrchestratorError(
            f"{path} cannot be written", why=f"it would hold bytes that are no text: {error}", fix="use other names"
        ) from error
    return path
