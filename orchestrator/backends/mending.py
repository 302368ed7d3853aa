"""Puts right what can be put right without losing anything: in `repo.git`, in run folders, in what is shown."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from orchestrator.backends import mirror
from orchestrator.backends.durable import make_durable
from orchestrator.backends.gitrun import GitFailed, Repositories
from orchestrator.backends.process import ask_to_stop
from orchestrator.backends.processtree import end_survivors
from orchestrator.backends.runfolder import is_locked
from orchestrator.backends.survey import owners, unreadable
from orchestrator.core.gitformats import alternates_line, config_text
from orchestrator.model.difference import (
    ClearLocks,
    EndStray,
    FetchAgain,
    MakeAnew,
    PutAside,
    Remedy,
    SetReference,
    ShowBranch,
    ShowKept,
)
from orchestrator.model.errors import RepositoryError
from orchestrator.model.ids import Commit
from orchestrator.model.place import Place


def mend(repositories: Repositories, remedy: Remedy, bases: Iterable[Commit]) -> None:
    """Put one thing right. Safe to repeat. Raises: OrchestratorError when it cannot be.

    Args:
        bases: commits that are known to be whole, so that what leads to them need not be fetched again.
    """
    place = repositories.place
    match remedy:
        case SetReference():
            old = remedy.old or "0" * len(remedy.commit)
            repositories.ours.run(
                "update-ref", "-m", "orchestrator: as the ledger has it", remedy.name, remedy.commit, old
            )
            make_durable(repositories.ours, remedy.name)
        case FetchAgain():
            _fetch_again(repositories, remedy.commits, bases)
        case ShowBranch():
            mirror.mirror(repositories, remedy.plan_id, remedy.commit, {})
        case ShowKept():
            mirror.show(repositories, remedy.names)
        case ClearLocks():
            for name in remedy.names:
                (place.repo_git / name).unlink(missing_ok=True)
        case MakeAnew():
            raise RepositoryError("repo.git is gone", fix="orchestrator restart makes it anew")
        case EndStray():
            run_dir = place.run_dir(remedy.run_id)
            if not ask_to_stop(run_dir):
                end_survivors(run_dir)
        case PutAside():
            _put_aside(place, remedy.run_id)


def _put_aside(place: Place, run_id: str) -> None:
    folder, number = place.run_dir(run_id), 1
    if not folder.is_dir() or is_locked(folder / "lock"):
        return
    while (aside := folder.with_name(f"{folder.name}.unused-{number}")).exists():
        number += 1
    folder.rename(aside)


def _fetch_again(repositories: Repositories, commits: tuple[Commit, ...], bases: Iterable[Commit]) -> None:
    """Bring commits with all they need into `repo.git` from wherever they still are, checked on the way.

    The stores are read through a repository of ours that borrows them all, so no configuration of an agent's counts.
    """
    ours, place = repositories.ours, repositories.place
    known = set(bases)
    known -= set(unreadable(ours, known)) | set(commits)
    bridge = repositories.scratch / "bridge-of-all"
    shutil.rmtree(bridge, ignore_errors=True)
    for folder in ("objects/info", "objects/pack", "refs/heads"):
        (bridge / folder).mkdir(parents=True)
    is_long = len(commits[0]) != 40
    settings = {
        "core.repositoryFormatVersion": "1" if is_long else "0",
        "core.bare": "true",
        "core.commitGraph": "false",
        "core.multiPackIndex": "false",
        "pack.useBitmaps": "false",
        **({"extensions.objectFormat": "sha256"} if is_long else {}),
    }
    (bridge / "config").write_text(config_text(settings))
    (bridge / "HEAD").write_text("ref: refs/heads/none\n")
    lines = "".join(alternates_line(str(store)) for store in _stores(place))
    (bridge / "objects/info/alternates").write_text(lines, errors="surrogateescape")
    try:
        asked = "".join(f"{line}\n" for line in (*commits, "--not", *known)).encode()
        packed = repositories.small(bridge).ask("pack-objects", "--revs", "--stdout", "--quiet", stdin=asked)
        if packed.status != 0:
            raise RepositoryError(
                f"{commits[0][:12]} is not whole anywhere",
                why=packed.err.strip() or "neither your repository nor an attempt's has it",
                fix="bring it back from a backup or a clone: `git fetch` it into your repository, then validate again",
            )
        answer = ours.ask("index-pack", "--stdin", "--strict", "--fix-thin", stdin=packed.out)
        if answer.status != 0:
            raise GitFailed(("index-pack", "--stdin"), answer)
    finally:
        shutil.rmtree(bridge, ignore_errors=True)
    if ours.known is not None:
        ours.known.clear()


def _stores(place: Place) -> list[Path]:
    """Every folder of objects: the user's, ours, and those of attempts, in the trash too."""
    stores = [place.common_dir / "objects", place.repo_git / "objects"]
    stores += [place.git_dir(owner) / "objects" for owner in owners(place)]
    return [store for store in stores if store.is_dir()]
