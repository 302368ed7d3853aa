"""What an attempt left, read as files: no git of ours runs on anything that the agent could have configured."""

from __future__ import annotations

import os
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from orchestrator.backends.gitrun import Git, GitFailed, Repositories
from orchestrator.core.gitformats import (
    alternates_line,
    config_text,
    has_markers,
    index_entries,
    is_commit_id,
    is_plain_ref,
    packed_refs,
    stashed,
    tree_entries,
)
from orchestrator.model.ids import Commit

_LIMIT_BYTES = 16_000_000  #: of a file of the agent's that we read whole
_HOPS = 5  #: symbolic references to symbolic references
_BRANCHES = 500  #: other branches of one attempt that are looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """The state of an attempt's repository."""

    head: Commit | None  #: None when it cannot be found out
    merging: tuple[Commit, ...]  #: MERGE_HEAD
    is_rebasing: bool
    others: tuple[Commit, ...]  #: branches and stash entries
    admin: Path | None  #: the worktree's own folder in the repository


def look_at(git_dir: Path, tree: Path, branch: str) -> Left:
    """Read HEAD, whatever it points at, and every other place where commits may be.

    Args:
        branch: where HEAD was when we made the tree; read when HEAD itself is gone.
    """
    admin = _admin_of(git_dir, tree)
    packed = packed_refs(_text(git_dir / "packed-refs"))
    head = _resolve(git_dir, packed, _text(admin / "HEAD")) if admin else None
    if admin is None and branch:
        head = _resolve(git_dir, packed, f"ref: {branch}")
    merging = tuple(Commit(line) for line in _text(admin / "MERGE_HEAD").split() if is_commit_id(line)) if admin else ()
    names = {name for name in packed if name.startswith("refs/heads/")} | _loose_heads(git_dir)
    tips = [_resolve(git_dir, packed, f"ref: {name}") for name in sorted(names)[:_BRANCHES]]
    stash = [_resolve(git_dir, packed, "ref: refs/stash"), *map(Commit, stashed(_text(git_dir / "logs/refs/stash")))]
    return Left(
        head=head,
        merging=merging,
        is_rebasing=admin is not None and any((admin / name).is_dir() for name in ("rebase-merge", "rebase-apply")),
        others=tuple(dict.fromkeys(tip for tip in [*tips, *stash] if tip is not None)),
        admin=admin,
    )


def _admin_of(git_dir: Path, tree: Path) -> Path | None:
    """The folder of our worktree among those that the agent may have added."""
    try:
        folders = sorted(path for path in (git_dir / "worktrees").iterdir() if path.is_dir())
    except OSError:
        return None
    for folder in folders:
        if _text(folder / "gitdir").strip() == str(tree / ".git"):
            return folder
    return next((folder for folder in folders if folder.name == tree.name), None)


def _resolve(git_dir: Path, packed: dict[str, str], text: str) -> Commit | None:
    for _ in range(_HOPS):
        text = text.strip()
        if is_commit_id(text):
            return Commit(text)
        name = text.removeprefix("ref: ")
        if name == text or not is_plain_ref(name):
            return None
        text = _text(git_dir / name) or packed.get(name, "")
    return None


def _loose_heads(git_dir: Path) -> set[str]:
    found = set()
    for folder, _, files in os.walk(git_dir / "refs" / "heads"):
        at = Path(folder).relative_to(git_dir)
        found |= {str(at / name) for name in files if not name.endswith(".lock")}
    return found


def _text(path: Path) -> str:
    """A regular file as text; empty for anything else."""
    try:
        if not path.is_file() or path.stat().st_size > _LIMIT_BYTES:
            return ""
        return path.read_text(errors="surrogateescape")
    except OSError:
        return ""


# ---- objects ----


def bring_home(repositories: Repositories, git_dir: Path, commit: Commit, scratch: Path) -> str:
    """Fetch a commit of an attempt into `repo.git`, checked. Returns: why it did not work, else nothing.

    The fetch goes through a repository of ours that borrows the attempt's objects, so git never reads the
    configuration, hooks or commit graph that the agent could have written.
    """
    ours = repositories.ours
    if is_kept(ours, commit):
        return ""
    bridge = scratch / f"bridge-{commit}"
    if not bridge.exists():
        for folder in ("objects/info", "objects/pack", "refs/heads"):
            (bridge / folder).mkdir(parents=True)
        settings = {
            "core.repositoryFormatVersion": "0" if len(commit) == 40 else "1",
            "core.bare": "true",
            "core.commitGraph": "false",
            "core.multiPackIndex": "false",
            "pack.useBitmaps": "false",
            "gc.auto": "0",
        }
        if len(commit) != 40:
            settings["extensions.objectFormat"] = "sha256"
        (bridge / "config").write_text(config_text(settings))
        stores = (git_dir / "objects", repositories.place.repo_git / "objects")
        lines = "".join(alternates_line(str(store)) for store in stores)
        (bridge / "objects/info/alternates").write_text(lines, errors="surrogateescape")
        (bridge / "HEAD").write_text("ref: refs/heads/work\n")
        (bridge / "refs/heads/work").write_text(f"{commit}\n")
    quiet = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
    answer = ours.ask("fetch", *quiet, "--", str(bridge), "refs/heads/work")
    return "" if answer.status == 0 else answer.err.strip() or "git fetch gave no reason"


def is_kept(ours: Git, commit: Commit) -> bool:
    """Whether some reference of `repo.git` already leads to this commit; what is kept once stays."""
    if ours.known is not None and ("kept", commit) in ours.known:
        return True
    answer = ours.ask("rev-list", "--max-count=1", commit, "--not", "--all")
    kept = answer.status == 0 and not answer.out
    if kept:
        mark_kept(ours, commit)
    return kept


def mark_kept(ours: Git, commit: Commit) -> None:
    """Remember that a reference of `repo.git` leads to this commit."""
    ours.remember(("kept", commit), True)


# ---- what a person would have to settle ----


def submodule_head(here: Path) -> Commit | None:
    """The commit that a submodule's folder is at, read as files; None when it is none."""
    git_dir = here / ".git"
    if not git_dir.is_dir():
        kind, _, target = _text(git_dir).partition(":")
        if kind != "gitdir":
            return None
        git_dir = here / target.strip()
    return _resolve(git_dir, packed_refs(_text(git_dir / "packed-refs")), _text(git_dir / "HEAD"))


def with_markers(ours: Git, tree: str, paths: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the paths that still hold conflict markers in a tree."""
    found = []
    wanted = set(paths)
    if not wanted:
        return ()
    for entry in tree_entries(ours.run("ls-tree", "-r", "-z", "--full-tree", tree).out):
        if entry.path in wanted and entry.mode in {"100644", "100755"}:
            try:
                content = ours.run("cat-file", "blob", entry.object_id).out
            except GitFailed:
                continue
            if has_markers(content):
                found.append(entry.path)
    return tuple(found)


def unmerged(ours: Git, admin: Path | None, scratch: Path) -> frozenset[str]:
    """Paths that the agent's own index still calls unmerged; none when it cannot be read."""
    if admin is None or not (admin / "index").is_file():
        return frozenset()
    copy = scratch / "agents-index"
    shutil.copyfile(admin / "index", copy)
    answer = ours.with_(index=copy).ask("ls-files", "--unmerged", "-z")
    return frozenset(entry.path for entry in index_entries(answer.out)) if answer.status == 0 else frozenset()


def pack_nested(tree: Path, nested: tuple[str, ...], to: Path) -> None:
    """Put repositories that git will not carry into an archive; links stay links."""
    if not nested or to.exists():
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    half = to.with_suffix(".part")
    with tarfile.open(half, "w:gz") as archive:
        for path in nested:
            archive.add(tree / path, arcname=path)
    half.replace(to)
