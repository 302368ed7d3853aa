"""What the target's files need beyond git: filters, merge drivers, contents of large files, submodules. Only looks."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.backends.gitrun import Git, Repositories
from orchestrator.backends.submodules import lacking_submodules
from orchestrator.core.gitformats import Entry, paths_of, shown, text_of
from orchestrator.core.gitsettings import (
    LARGEST_POINTER_BYTES,
    LFS,
    batch_contents,
    commands_of,
    lfs_object_of,
    named_in,
    program_of,
)

if TYPE_CHECKING:
    from orchestrator.backends.takeover import Takeover


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """For `RepoFacts`, under the same names."""

    filters_unset: tuple[str, ...] = ()
    drivers_unset: tuple[str, ...] = ()
    programs_missing: dict[str, str] = field(default_factory=dict)
    lfs_missing: tuple[str, ...] = ()
    submodules_lacking: dict[str, str] = field(default_factory=dict)


def needs_of(repositories: Repositories, takeover: Takeover, commit: str, entries: Sequence[Entry]) -> Needs:
    """What the files of a commit need, and what of it is not there."""
    users = repositories.users
    texts = [text_of(one) for one in (takeover.attributes, takeover.info_attributes)]
    own = [entry for entry in entries if entry.path.rsplit("/", 1)[-1] == ".gitattributes"]
    texts += [text_of(content) for content in _contents(users, own)]
    named, settings = named_in(texts), takeover.settings
    used = [*(("filter", name) for name in named.filters), *(("merge", name) for name in named.merge_drivers)]
    commands = {(kind, name): commands_of(settings, kind, name) for kind, name in sorted(used)}
    submodules = dict[str, str]()
    if any(entry.is_submodule for entry in entries):
        place = repositories.place
        checkout = place.root if place.root != place.common_dir else None
        submodules = lacking_submodules(users, commit, place.common_dir / "modules", checkout)
    return Needs(
        filters_unset=tuple(name for (kind, name), found in commands.items() if kind == "filter" and not found),
        drivers_unset=tuple(name for (kind, name), found in commands.items() if kind == "merge" and not found),
        programs_missing={
            f"{'filter' if kind == 'filter' else 'merge driver'} '{name}'": program
            for (kind, name), found in commands.items()
            for program in map(program_of, found)
            if program and shutil.which(program) is None
        },
        lfs_missing=_missing_large_files(users, takeover, commit, entries) if _needs_all(commands, settings) else (),
        submodules_lacking=submodules,
    )


def _needs_all(commands: Mapping[tuple[str, str], Sequence[str]], settings: Mapping[str, str]) -> bool:
    """Whether every large file is wanted: the user can have told git-lfs to leave all or some of them as pointers."""
    lfs = commands.get(("filter", LFS), ())
    chosen = settings.keys() & {"lfs.fetchinclude", "lfs.fetchexclude"}
    return bool(lfs) and not chosen and not any("--skip" in command for command in lfs)


def _missing_large_files(users: Git, takeover: Takeover, commit: str, entries: Sequence[Entry]) -> tuple[str, ...]:
    """Files of git-lfs whose contents the user's store does not have."""
    files = [entry for entry in entries if entry.mode in {"100644", "100755"}]
    with tempfile.TemporaryDirectory() as folder:
        attributes = Path(folder, "attributes")
        attributes.write_bytes(takeover.attributes)
        git = users.with_(index=Path(folder, "index"), settings={"core.attributesFile": str(attributes)})
        git.run("read-tree", commit)
        listed = "\0".join(entry.path for entry in files).encode("utf-8", "surrogateescape")
        said = paths_of(git.run("check-attr", "--cached", "--stdin", "-z", "filter", stdin=listed).out)
    large = {path for path, value in zip(said[::3], said[2::3], strict=True) if value == LFS}
    pointers = _small(users, [entry for entry in files if entry.path in large])
    missing = []
    for entry, content in zip(pointers, _contents(users, pointers), strict=True):
        name = lfs_object_of(content)
        if name is not None and takeover.large_files is not None and not takeover.large_files.has(name):
            missing.append(shown(entry.path))
    return tuple(missing)


def _small(git: Git, entries: Sequence[Entry]) -> list[Entry]:
    """Those that are small enough for a pointer: some are large files that nobody has moved to git-lfs yet."""
    if not entries:
        return []
    lines = git.run("cat-file", "--batch-check=%(objectsize)", stdin=_ids(entries)).line.splitlines()
    return [
        entry
        for entry, line in zip(entries, lines, strict=True)
        if line.isdigit() and int(line) <= LARGEST_POINTER_BYTES
    ]


def _contents(git: Git, entries: Sequence[Entry]) -> list[bytes]:
    return batch_contents(git.run("cat-file", "--batch", stdin=_ids(entries)).out) if entries else []


def _ids(entries: Sequence[Entry]) -> bytes:
    return "".join(f"{entry.object_id}\n" for entry in entries).encode()
