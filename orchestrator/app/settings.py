"""Settings from their files, the environment and flags, and where things are because of them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.discover import find_place
from orchestrator.model.errors import (
    SettingsError,
)
from orchestrator.model.place import Place

if TYPE_CHECKING:
    from orchestrator.core.detection import Signs
    from orchestrator.core.settings import Settings


def _read_toml(path: Path) -> tuple[str, dict[str, Any]] | None:
    try:
        from orchestrator.backends.textfile import read_file

        return str(path), tomllib.loads(read_file(path))
    except (FileNotFoundError, NotADirectoryError):  # for some users, home is /dev/null
        return None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise SettingsError(f"{path} cannot be read", why=why, fix="mend the file, or move it away") from error


def load_settings(place: Place, flags: Mapping[str, Any] | None = None) -> Settings:
    """Defaults, the user's file, `orchestrator.toml` of the repository, the environment, flags: later ones win."""
    import platformdirs

    from orchestrator.core.settings import build_settings

    return build_settings(
        user=_read_toml(Path(platformdirs.user_config_dir("orchestrator")) / "orchestrator.toml"),
        project=_read_toml(place.root / "orchestrator.toml"),
        environ=os.environ,
        flags=flags or {},
    )


def setting_origins(settings: Settings) -> list[tuple[str, Any, str]]:
    """Every setting with its value and where it comes from."""
    from orchestrator.core.settings import origins

    return list(origins(settings))


def place_for(start: Path) -> Place:
    """Where things are for the repository at `start`, the settings' worktree folder taken into account."""
    place = find_place(start)
    worktrees = load_settings(place).worktrees
    return find_place(start, worktrees=Path(worktrees).expanduser()) if worktrees else place


def look_around(place: Place) -> Signs:
    """What there is in the repository and on this machine that settings can be proposed by."""
    from orchestrator.backends.signs import look_around as look

    return look(place)


def settings_file(place: Place) -> str | None:
    """The text of the repository's `orchestrator.toml`; None when there is none. Raises: SettingsError."""
    from orchestrator.backends.settingsfile import read

    return read(place)


def write_settings(place: Place, text: str) -> Path:
    """Make `orchestrator.toml` of the repository, whole or not at all; never overwrites. Raises: OrchestratorError."""
    from orchestrator.backends.settingsfile import write

    return write(place, text)
