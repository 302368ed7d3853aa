"""Where things live, from wherever a command was typed: reads `.git`, `commondir` and `config` as files, runs nothing.

Standard library only. One repository has one state folder, whichever of its worktrees one stands in; from inside an
attempt's worktree, whose small repository lies in that folder, the way leads back to the user's repository.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.model.errors import OrchestratorError, RepositoryError
from orchestrator.model.place import Place

STATE = "orchestrator"  #: name of the state folder in the git common directory
STATE_VARIABLE = "ORCHESTRATOR_STATE"  #: names the state folder for programs that the daemon starts
PLACE_FILE = "place.json"
SOCKET_LIMIT = 100  #: bytes; a unix socket's path ends at 104 or 108


def find_place(start: Path, *, worktrees: Path | None = None, environ: Mapping[str, str] | None = None) -> Place:
    """The folders of the repository that `start` is in.

    Args:
        worktrees: where worktrees go, from the settings; None: beside the repository.
        environ: None: this process's environment.

    Raises: RepositoryError when there is no repository.
    """
    environ = os.environ if environ is None else environ
    start = Path(os.path.abspath(start))
    named = environ.get(STATE_VARIABLE)
    if named:
        found = _repository_of_state(Path(os.path.abspath(named)).resolve())
        if found is None:
            raise RepositoryError(
                f"{named} is not a state folder of orchestrator",
                why=f"the variable {STATE_VARIABLE} names it, and it lies in no git repository",
                fix=f"unset {STATE_VARIABLE}, and run this inside the repository",
            )
    else:
        found = _repository_around(start.resolve())
        if found is None:
            raise RepositoryError(
                f"{start} is not in a git repository",
                why="neither it nor any folder above it has a `.git`",
                fix="run this inside the repository, or make one with `git init`",
            )
    state = found.common_dir / STATE
    known = _read_place(state)
    root = found.root or _known_root(known, found.common_dir)
    return Place(
        root=root,
        common_dir=found.common_dir,
        state_dir=state,
        worktrees=_worktrees(root, found.common_dir, worktrees, environ),
        socket=_socket(found.common_dir, known, environ),
    )


def has_commit(place: Place) -> bool:
    """Whether any branch of the repository has a commit, as far as its files tell without git."""
    common = place.common_dir
    if (common / "reftable").is_dir() or _text(common / "packed-refs").strip():
        return True
    head = _text(common / "HEAD").strip()
    if head and not head.startswith("ref:"):
        return True
    return any(files for _, _, files in os.walk(common / "refs" / "heads"))


def write_place(place: Place) -> None:
    """Leave word in the state folder, for who comes from an attempt's worktree or with another environment."""
    place.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    values = {
        "root": str(place.root),
        "common_dir": str(place.common_dir),
        "socket": str(place.socket),
    }
    fresh = place.state_dir / f".{PLACE_FILE}.{os.getpid()}"
    fresh.write_text(json.dumps(values, indent=2) + "\n", encoding="ascii")
    fresh.chmod(0o600)
    fresh.replace(place.state_dir / PLACE_FILE)


def ensure_socket_folder(place: Place) -> None:
    """Make the socket's folder, for nobody but us. Raises: OrchestratorError when somebody else could reach into it."""
    folder = place.socket.parent
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise OrchestratorError(
            f"the folder {folder} for the daemon's socket cannot be made",
            why=error.strerror or str(error),
            fix="set XDG_RUNTIME_DIR to a folder that is yours alone",
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) != 0o700:
        raise OrchestratorError(
            f"the folder {folder} for the daemon's socket is not safe",
            why="it is not a folder that belongs to you and that nobody else may enter (mode 0700)",
            fix="remove it, or set XDG_RUNTIME_DIR to a folder that is yours alone; then start again",
        )


# ---- the repository ----


@dataclass(frozen=True, slots=True)
class _Found:
    common_dir: Path
    root: Path | None  #: None: the repository's files do not tell


def _repository_around(start: Path) -> _Found | None:
    for folder in (start, *start.parents):
        git = folder / ".git"
        git_dir = _linked_git_dir(git) if git.is_file() else git.resolve()
        if not _is_git_dir(git_dir):
            git_dir = folder
        if _is_git_dir(git_dir):
            return _led_back(git_dir) or _repository(git_dir, folder)
    return None


def _is_git_dir(folder: Path) -> bool:
    """As git itself decides, but for the contents of HEAD."""
    if not os.path.lexists(folder / "HEAD"):
        return False
    return (folder / "commondir").is_file() or ((folder / "objects").is_dir() and (folder / "refs").is_dir())


def _linked_git_dir(git: Path) -> Path:
    """What a `.git` file points to. Raises: RepositoryError when it leads nowhere."""
    word, _, target = _text(git).strip().partition("gitdir: ")
    git_dir = (git.parent / target).resolve()
    if word or not target or not _is_git_dir(git_dir):
        raise RepositoryError(
            f"{git.parent} was the worktree of a git repository that is no longer there",
            why=f"its file .git leads to {target or 'nowhere'}",
            fix="run `git worktree repair` in the repository, or run this in another of its worktrees",
        )
    return git_dir


def _repository(git_dir: Path, folder: Path) -> _Found:
    """The repository of a git directory that was found in `folder`."""
    pointer = git_dir / "commondir"
    common = (git_dir / _text(pointer).strip()).resolve() if pointer.is_file() else git_dir
    core = _core_settings(common / "config")
    if core.get("bare", "false").lower() in {"true", "yes", "on", "1", ""}:
        return _Found(common, common)
    if common.name == ".git":
        return _Found(common, common.parent)
    if "worktree" in core:  # as for submodules
        return _Found(common, (common / core["worktree"]).resolve())
    if git_dir == common and folder != common:  # `git init --separate-git-dir`, in its main worktree
        return _Found(common, folder)
    return _Found(common, None)


def _core_settings(config: Path) -> dict[str, str]:
    """The section `core` of a git configuration: plain `name = value` lines, as git itself writes them."""
    values, inside = {}, False
    for line in _text(config).splitlines():
        line = line.strip()
        if line.startswith("["):
            inside = line.lower().startswith("[core]")
        elif inside and line and line[0] not in "#;":
            name, _, value = line.partition("=")
            values[name.strip().lower()] = value.strip().strip('"')
    return values


def _led_back(git_dir: Path) -> _Found | None:
    """The user's repository, when this one is an attempt's or `repo.git`: it lies in a state folder then."""
    for folder in git_dir.parents:
        if folder.name == STATE and (found := _repository_of_state(folder)):
            return found
    return None


def _repository_of_state(state: Path) -> _Found | None:
    common = state.parent
    if state.name != STATE or not _is_git_dir(common):
        return None
    return _repository(common, common)


# ---- what the daemon wrote ----


def _read_place(state: Path) -> dict[str, Path]:
    """The paths in `place.json`; nothing when there is none, or when the repository has been moved since."""
    try:
        values = json.loads((state / PLACE_FILE).read_bytes())
        known = {name: Path(value) for name, value in values.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
    return known if known.get("common_dir") == state.parent else {}


def _known_root(known: dict[str, Path], common_dir: Path) -> Path:
    root = known.get("root")
    return root if root is not None and root.is_dir() else common_dir


def _worktrees(root: Path, common_dir: Path, wanted: Path | None, environ: Mapping[str, str]) -> Path:
    if wanted is not None:
        return Path(os.path.abspath(root / wanted.expanduser()))
    sibling = root.parent / f"{root.name}.worktrees"
    if root.name and os.access(sibling if sibling.exists() else root.parent, os.W_OK | os.X_OK):
        around = _repository_around_or_none(root.parent)
        # inside another repository (ours is a submodule, or lies in it) they would show up in its status
        if around is None or around.common_dir == common_dir:
            return sibling
    return _data_home(environ) / "orchestrator" / "worktrees" / f"{root.name}-{_digest(common_dir)}"


def _repository_around_or_none(folder: Path) -> _Found | None:
    try:
        return _repository_around(folder)
    except RepositoryError:
        return None


def _data_home(environ: Mapping[str, str]) -> Path:
    home = Path(environ.get("HOME") or Path.home())
    given = environ.get("XDG_DATA_HOME", "")
    if os.path.isabs(given):
        return Path(given)
    return home / "Library" / "Application Support" if sys.platform == "darwin" else home / ".local" / "share"


def _socket(common_dir: Path, known: dict[str, Path], environ: Mapping[str, str]) -> Path:
    # a daemon that was started with another environment is where it says it is
    if "socket" in known and known["socket"].exists():
        return known["socket"]
    name = f"{_digest(common_dir)}.sock"
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and _is_ours(Path(runtime)):
        socket = Path(runtime) / "orchestrator" / name
        if len(os.fsencode(socket)) < SOCKET_LIMIT:
            return socket
    return Path(f"/tmp/orchestrator-{os.getuid()}") / name


def _is_ours(folder: Path) -> bool:
    """Whether a folder belongs to us and nobody else can put things into it."""
    try:
        found = folder.stat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.getuid()
        and not found.st_mode & 0o022
        and os.access(folder, os.W_OK | os.X_OK)
    )


def _digest(common_dir: Path) -> str:
    return hashlib.sha256(os.fsencode(common_dir)).hexdigest()[:16]


def _text(path: Path) -> str:
    try:
        return os.fsdecode(path.read_bytes())
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise RepositoryError(
            f"{path} cannot be read", why=error.strerror or str(error), fix="make it readable for you"
        ) from error
