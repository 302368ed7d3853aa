"""What `doctor` finds out about the state that we keep: its disk, its locks, its size, and what is left at work."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from orchestrator.backends import survey, trash
from orchestrator.backends.folderprobes import nearest, size_text
from orchestrator.backends.gitrun import Repositories, inherited_git_environment
from orchestrator.backends.ground import REMOTE, file_system_of
from orchestrator.backends.ledger_chain import library_version
from orchestrator.backends.machine import processes_with
from orchestrator.backends.probes import Named
from orchestrator.backends.repository import execute
from orchestrator.backends.runfolder import is_locked
from orchestrator.model.place import Place
from orchestrator.model.probe import Grade, Probe

LARGEST = 5  #: tasks that are named
_MENDED_IN = (3, 51, 3)  #: before that, two connections that write at the same instant can damage a ledger


def state(place: Place, *, remote_allowed: bool) -> Iterable[Named]:
    """
    Args:
        remote_allowed: the person has said that a network disk will do.
    """
    yield Named(name="file system", probe=lambda: _file_system(place, remote_allowed))
    yield Named(name="sqlite", probe=_sqlite)
    yield Named(name="git locks", probe=lambda: _git_locks(place))
    yield Named(name="processes", probe=lambda: _processes(place))
    yield Named(name="bytes", probe=lambda: _bytes(place))


def _file_system(place: Place, remote_allowed: bool) -> Probe:
    kind = file_system_of(nearest(place.state_dir))
    if kind not in REMOTE:
        return Probe(name="file system", said=kind or "not told by this system")
    return Probe(
        name="file system",
        grade=Grade.WARN if remote_allowed else Grade.FAIL,
        said=f"{place.state_dir} lies on a network disk ({kind})",
        why="the ledger and its locks are not safe when another machine uses it too",
        fix="keep the repository on a local disk" + ("" if remote_allowed else ', or set network_disk = "allow"'),
    )


def _sqlite() -> Probe:
    version = library_version()
    said = f"version {'.'.join(map(str, version))}"
    if version < _MENDED_IN:
        said += "; two writers could damage a file with it, and the ledger only ever has one"
    return Probe(name="sqlite", said=said)


def _git_locks(place: Place) -> Probe:
    repositories = Repositories(place=place, execute=execute, inherited=inherited_git_environment(), umask=0o022)
    theirs = dict(survey.old_locks(repositories))
    if theirs:
        path, minutes = next(iter(theirs.items()))
        return Probe(
            name="git locks",
            grade=Grade.WARN,
            said=f"{path} is {minutes} minutes old",
            why="a git in your repository was killed, or is still at work; publishing waits for it, then refuses",
            fix=f"if no git is at work there: rm '{path}'",
        )
    ours = survey.stale_locks(place)
    if ours:
        return Probe(
            name="git locks",
            grade=Grade.WARN,
            said=f"repo.git holds {len(ours)} that nobody uses",
            why="a git of ours was killed in the middle of its work",
            fix="orchestrator restart, or, without a daemon: orchestrator validate --fix",
        )
    return Probe(name="git locks", said="none is stale")


def _processes(place: Place) -> Probe:
    """Programs of runs whose supervisor is gone."""
    top = f"{place.state_dir / 'attempts'}/"
    runs = processes_with("ORCHESTRATOR_RUN")
    lost = sorted(pid for pid, run in runs.items() if run.startswith(top) and not is_locked(Path(run) / "lock"))
    if not lost:
        return Probe(name="processes", said="every program of a run has its supervisor")
    return Probe(
        name="processes",
        grade=Grade.WARN,
        said=f"without a supervisor: {', '.join(map(str, lost[:LARGEST]))}{' and more' if len(lost) > LARGEST else ''}",
        why="their supervisor was killed, and they go on by themselves",
        fix="orchestrator restart, or, without a daemon: orchestrator validate --fix",
    )


def _bytes(place: Place) -> Probe:
    """What everything of ours takes, and which tasks take most."""
    tasks: dict[str, int] = {}
    folders = sum(_count(tasks, owner, place.owner_dir(owner)) for owner in survey.owners(place))
    trees = 0
    for plan in (path for path in _folders(place.worktrees) if not path.name.startswith(".")):
        names = (f"{plan.name}/{tree.name}" for tree in _folders(plan))
        trees += sum(_count(tasks, name, place.worktree(name)) for name in names if place.owner_dir(name).is_dir())
    spare, thrown = trash.size_of(place.spares), sum(trash.size_of(top) for top in trash.folders(place))
    parts = {
        "ledger": sum(path.stat().st_size for path in place.state_dir.glob("ledger.sqlite*")),
        "repo.git": trash.size_of(place.repo_git),
        "run folders": folders,
        "worktrees": trees,
        "spare trees": spare,
        "trash": thrown,
    }
    said = ", ".join(f"{name} {size_text(size)}" for name, size in parts.items() if size)
    largest = sorted(tasks.items(), key=lambda one: -one[1])[:LARGEST]
    if largest:
        said += "; by task: " + ", ".join(f"{name} {size_text(size)}" for name, size in largest)
    return Probe(name="bytes", said=said or "nothing is kept yet")


def _count(tasks: dict[str, int], owner: str, folder: Path) -> int:
    """The bytes of a folder, counted for its task too."""
    size = trash.size_of(folder)
    task = owner if "/~" in owner else owner.rpartition("-")[0]
    tasks[task] = tasks.get(task, 0) + size
    return size


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(inside for inside in path.iterdir() if inside.is_dir() and not inside.is_symlink())
    except OSError:
        return []
