"""What git prints and stores, as values: pure parsing and planning, without a repository at hand.

Paths inside are text with `surrogateescape`, so that any name survives; `shown` makes one fit for people and records.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

COMMIT_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
OLDEST_GIT = (2, 39)  #: the first with all of `merge-tree --write-tree`

_MARKER = re.compile(rb"^(?:<{7}|>{7})(?: |\r?$)", re.MULTILINE)


def text_of(data: bytes) -> str:
    """Bytes of git as text that `bytes_of` turns back into the same bytes."""
    return data.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def shown(path: str) -> str:
    r"""A path as people and records can hold it: bytes that are not UTF-8 become `\xff`."""
    return bytes_of(path).decode("utf-8", "backslashreplace")


def paths_of(data: bytes) -> tuple[str, ...]:
    """The fields of a `-z` listing."""
    return tuple(text_of(field) for field in data.split(b"\0") if field)


def version_of(text: str) -> tuple[int, int] | None:
    """`git version 2.39.5 (...)` -> (2, 39)."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def is_commit_id(text: str) -> bool:
    return COMMIT_ID.fullmatch(text) is not None


def is_plain_ref(name: str) -> bool:
    """Whether a reference name read from a file leads nowhere but below `refs/`."""
    parts = name.split("/")
    return (
        parts[0] == "refs"
        and len(parts) > 1
        and not any(part in {"", ".", ".."} for part in parts)
        and "\0" not in name
    )


# ---- trees ----


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of `ls-tree -r -z` or `ls-files --stage -z`."""

    mode: str
    object_id: str
    path: str

    @property
    def is_submodule(self) -> bool:
        return self.mode == "160000"


def tree_entries(data: bytes) -> tuple[Entry, ...]:
    """`ls-tree -r -z`: `mode type id TAB path`."""
    found = []
    for field in data.split(b"\0"):
        if field:
            meta, path = field.split(b"\t", 1)
            mode, _, object_id = meta.decode("ascii").split(" ")
            found.append(Entry(mode=mode, object_id=object_id, path=text_of(path)))
    return tuple(found)


def index_entries(data: bytes) -> tuple[Entry, ...]:
    """`ls-files --stage -z`: `mode id stage TAB path`; a path with several stages comes several times."""
    found = []
    for field in data.split(b"\0"):
        if field:
            meta, path = field.split(b"\t", 1)
            mode, object_id, _ = meta.decode("ascii").split(" ")
            found.append(Entry(mode=mode, object_id=object_id, path=text_of(path)))
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedPaths:
    """What differs between an index and its worktree."""

    changed: tuple[str, ...]  #: in the index; changed or gone
    others: tuple[str, ...]  #: not in the index; a repository of its own ends with `/`


def marked_paths(data: bytes, passed_over: Iterable[str]) -> MarkedPaths:
    """`ls-files -z -t --modified --deleted --others`, without those below `passed_over`."""
    skipped = {path.strip("/") for path in passed_over}
    changed: dict[str, None] = {}
    others: dict[str, None] = {}
    for field in paths_of(data):
        tag, path = field[:1], field[2:]
        parts = path.rstrip("/").split("/")
        if skipped and any("/".join(parts[:length]) in skipped for length in range(1, len(parts) + 1)):
            continue
        (others if tag == "?" else changed)[path] = None
    return MarkedPaths(changed=tuple(changed), others=tuple(others))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One path that differs between two commits."""

    path: str
    is_new: bool  #: it was not there before
    is_submodule: bool  #: afterwards
    object_id: str  #: afterwards


def raw_changes(data: bytes) -> tuple[Change, ...]:
    """Changes from `diff-tree -r --no-renames --raw --no-abbrev -z`."""
    fields = text_of(data).split("\0")
    found = []
    for row, path in zip(fields[::2], fields[1::2], strict=False):
        _, mode, _, object_id, status = row.split(" ")
        found.append(Change(path=path, is_new=status == "A", is_submodule=mode == "160000", object_id=object_id))
    return tuple(found)


def directories_of(paths: Iterable[str]) -> frozenset[str]:
    """Every directory that the paths imply."""
    found: set[str] = set()
    for path in paths:
        while "/" in path:
            path = path.rsplit("/", 1)[0]
            if path in found:
                break
            found.add(path)
    return frozenset(found)


def case_clashes(added: Iterable[str], paths: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Pairs (new, other) that are one file where case or Unicode form does not count.

    A path also clashes with a directory of such a name. Only pairs with a path of `added` are told, so a repository
    that already has such names is left alone.
    """
    listed = list(paths)
    homes: dict[str, set[str]] = {}
    for path in [*listed, *directories_of(listed)]:
        homes.setdefault(_folded(path), set()).add(path)
    found = []
    for path in sorted(added):
        parts = path.split("/")
        for end in range(1, len(parts) + 1):
            name = "/".join(parts[:end])
            others = sorted(homes.get(_folded(name), {name}) - {name})
            if others:
                found.append((path, others[0]))
                break
    return tuple(found)


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


# ---- merging ----


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeMessage:
    paths: tuple[str, ...]
    kind: str  #: git's stable word for it, such as `CONFLICT (contents)`
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeResult:
    """What `merge-tree --write-tree -z` answered."""

    tree: str
    conflicted: tuple[str, ...] = ()
    messages: tuple[MergeMessage, ...] = ()

    def paths_of_kind(self, *kinds: str) -> frozenset[str]:
        """Paths of the messages with one of these words."""
        return frozenset(path for message in self.messages if message.kind in kinds for path in message.paths)


def merge_result(data: bytes) -> MergeResult:
    """Tree id; `mode id stage TAB path` rows up to an empty field; then count, paths, word and text of each message."""
    fields = data.split(b"\0")
    tree, position = fields[0].decode("ascii").strip(), 1
    conflicted: dict[str, None] = {}
    while position < len(fields) and fields[position]:
        conflicted[text_of(fields[position].split(b"\t", 1)[1])] = None
        position += 1
    position += 1
    messages = []
    while position < len(fields) and fields[position].strip():
        count = int(fields[position])
        paths = tuple(text_of(field) for field in fields[position + 1 : position + 1 + count])
        kind, text = (text_of(field) for field in fields[position + 1 + count : position + 3 + count])
        messages.append(MergeMessage(paths=paths, kind=kind, text=text.strip()))
        position += 3 + count
    return MergeResult(tree=tree, conflicted=tuple(conflicted), messages=tuple(messages))


def has_markers(content: bytes) -> bool:
    """Whether a file still holds both ends of a conflict, as git marks them."""
    found = {match[0][:1] for match in _MARKER.finditer(content)}
    return found == {b"<", b">"}


def hunks(content: str, context: int = 3) -> str:
    """The conflicting places of a file with markers, each with some lines around it."""
    lines = content.splitlines()
    shown_lines: dict[int, None] = {}
    start: int | None = None
    for number, line in enumerate(lines):
        if line.startswith("<<<<<<< "):
            start = number
        elif line.startswith(">>>>>>> ") and start is not None:
            for index in range(max(0, start - context), min(len(lines), number + context + 1)):
                shown_lines[index] = None
            start = None
    found, before = [], -1
    for index in shown_lines:
        if index > before + 1:
            found.append(f"@@ line {index + 1} @@")
        found.append(lines[index])
        before = index
    return "\n".join(found)


# ---- worktrees and references ----


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """One entry of `worktree list --porcelain -z`."""

    path: str
    branch: str | None = None  #: full reference name; None when detached or bare
    is_bare: bool = False


def checkouts(data: bytes) -> tuple[Checkout, ...]:
    found = []
    for record in data.split(b"\0\0"):
        facts = dict[str, str]()
        for field in record.split(b"\0"):
            name, _, value = text_of(field).partition(" ")
            facts[name] = value
        if "worktree" in facts:
            found.append(Checkout(path=facts["worktree"], branch=facts.get("branch"), is_bare="bare" in facts))
    return tuple(found)


def packed_refs(text: str) -> dict[str, str]:
    """`packed-refs` -> name to object id; peeled lines and the header are passed over."""
    found = {}
    for line in text.split("\n"):
        if line[:1] not in {"#", "^", ""}:
            object_id, _, name = line.partition(" ")
            if is_commit_id(object_id) and is_plain_ref(name):
                found[name] = object_id
    return found


def packed_refs_text(refs: Mapping[str, str]) -> str:
    """The file that `packed_refs` reads, ordered as git wants it."""
    lines = [f"{refs[name]} {name}\n" for name in sorted(refs, key=bytes_of)]
    return "# pack-refs with: sorted \n" + "".join(lines)


def alternates_line(objects: str) -> str:
    """A line of `objects/info/alternates`; quoted as C when it would be read as something else."""
    if "\n" not in objects and not objects.startswith(('"', "#")):
        return objects + "\n"
    quoted = objects.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{quoted}"\n'


def stashed(reflog: str) -> tuple[str, ...]:
    """Commits of a `logs/refs/stash`, the newest first; the stash keeps its older entries only there."""
    found: dict[str, None] = {}
    for line in reversed(reflog.splitlines()):
        new = line.split(" ", 2)[1:2]
        if new and is_commit_id(new[0]) and new[0].strip("0"):
            found[new[0]] = None
    return tuple(found)


# ---- configuration ----


def listed_settings(data: bytes) -> dict[str, str]:
    """`config --list -z` -> the setting that counts for each name; a name without value means true."""
    found = {}
    for field in data.split(b"\0"):
        if field:
            name, newline, value = text_of(field).partition("\n")
            found[name] = value if newline else "true"
    return found


def config_text(settings: Mapping[str, str]) -> str:
    """A git configuration file with these settings; names are `section.key` or `section.any subsection.key`."""
    lines = []
    for name in settings:
        section, _, rest = name.partition(".")
        subsection, _, key = rest.rpartition(".")
        header = f"[{section} {_quoted(subsection)}]" if subsection else f"[{section}]"
        lines.append(f"{header}\n\t{key} = {_quoted(settings[name])}\n")
    return "".join(lines)


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t") + '"'


def identity_of(ident: str) -> tuple[str, str] | None:
    """`Name <email> 1234567890 +0000` -> name and email."""
    found = re.match(r"(.+?) <([^<>]*)> \d+ [+-]\d+\s*$", ident, re.DOTALL)
    return (found[1], found[2]) if found else None


def ignore_pattern(path: str) -> str:
    """The line of an exclude file that means exactly this path, whatever characters it has."""
    escaped = re.sub(r"([\\*?\[\]])", r"\\\1", path.strip("/"))
    kept = len(escaped.rstrip(" "))
    return "/" + escaped[:kept] + "\\ " * (len(escaped) - kept)


# ---- messages ----


def commit_text(message: str, trailers: Mapping[str, str]) -> str:
    """A commit message whose last paragraph is the trailers."""
    body = message.strip() + "\n"
    if not trailers:
        return body
    lines = [f"{name}: {' '.join(value.split())}" for name, value in trailers.items()]
    return body + "\n" + "\n".join(lines) + "\n"


def conflict_text(result: MergeResult, files: Sequence[tuple[str, str]], limit: int = 16_000) -> str:
    """What a person or an agent has to see of a conflict: git's messages, then the places in the files."""
    told = [message.text for message in result.messages if not message.kind.startswith("Auto-merging")]
    parts = ["\n".join(told)] + [f"--- {shown(path)}\n{places}" for path, places in files if places]
    text = shown("\n\n".join(part for part in parts if part))
    return text if len(text) <= limit else text[:limit].rsplit("\n", 1)[0] + "\n... (cut here; there is more)"
