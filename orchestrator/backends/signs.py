"""A repository looked at by somebody who is to propose its settings. Reads; changes nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from orchestrator.backends.gitrun import Repositories, inherited_git_environment
from orchestrator.backends.repository import execute
from orchestrator.core.detection import COPIED, LINKED, PROGRAMS, TELLING, Signs
from orchestrator.core.gitformats import paths_of, text_of
from orchestrator.model.place import Place

_MOST_BYTES = 256 * 1024  #: of a file whose contents are looked at


def look_around(place: Place) -> Signs:
    """What is in the repository, in the checkout beside it, and on PATH. Raises: RepositoryError without git."""
    repositories = Repositories(place=place, execute=execute, inherited=inherited_git_environment(), umask=0o022)
    view = repositories.users_view
    listed = view.ask("ls-tree", "-r", "-z", "--name-only", "--full-tree", "HEAD")
    has_commit = listed.status == 0
    files = paths_of(listed.out) if has_commit else _names_in(place.root)
    here = [name for name in (*COPIED, *LINKED) if os.path.lexists(place.root / name)]
    # asked about one by one, since git refuses all when one of them lies behind a symbolic link
    ignored = frozenset(name for name in here if view.ask("check-ignore", "--quiet", "--", name).status == 0)
    return Signs(
        files=frozenset(files),
        texts={name: text for name in TELLING if name in files and (text := _text(place.root / name)) is not None},
        ignored=ignored,
        programs=frozenset(name for name in PROGRAMS if shutil.which(name)),
        leads_back=frozenset(name for name in ("venv", ".venv") if name in ignored and _leads_back(place.root, name)),
        worktrees=str(place.worktrees),
        trouble=folder_trouble(place.worktrees),
        has_commit=has_commit,
    )


def _names_in(root: Path) -> tuple[str, ...]:
    """Files of the checkout's top and of the folders in it: enough to go by before there is a commit."""
    try:
        found = [path for pattern in ("*", "*/*") for path in root.glob(pattern)]
    except OSError:
        return ()
    names = (path.relative_to(root) for path in found if path.is_file())
    return tuple(name.as_posix() for name in names if ".git" not in name.parts)


def _text(path: Path) -> str | None:
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return None
        return text_of(path.read_bytes())
    except OSError:
        return None


def _leads_back(root: Path, environment: str) -> bool:
    """Whether an environment of Python finds this checkout itself: programs run with it would use these files."""
    real = str(root.resolve())
    for folder in sorted((root / environment).glob("lib*/python*/site-packages")):
        for path in (*folder.glob("*.pth"), *folder.glob("__editable__*.py"), *folder.glob("*.egg-link")):
            text = _text(path) or ""
            if real in text or str(root) in text:
                return True
    return False


def folder_trouble(folder: Path) -> str:
    """Why a folder, which need not exist yet, could not be written; empty when it could."""
    for path in (folder, *folder.parents):
        if not os.path.lexists(path):
            continue
        if not path.is_dir():
            return f"{path} is not a folder"
        return "" if os.access(path, os.W_OK | os.X_OK) else f"{path} is not writable for you"
    return f"no folder above {folder} exists"
