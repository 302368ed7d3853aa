"""Which of the user's git settings our repositories get, and what their filters and drivers mean: pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

#: settings that change what a checkout, a commit or a merge contains; nothing else is taken over
_TAKEN = frozenset(
    {
        *(
            f"core.{name}"
            for name in (
                "autocrlf",
                "eol",
                "safecrlf",
                "filemode",
                "symlinks",
                "ignorecase",
                "precomposeunicode",
                "checkroundtripencoding",
            )
        ),
        *(
            f"merge.{name}"
            for name in ("conflictstyle", "renames", "renamelimit", "directoryrenames", "renormalize", "default")
        ),
        *(f"diff.{name}" for name in ("renames", "renamelimit")),
        *(f"lfs.{name}" for name in ("fetchinclude", "fetchexclude")),
    }
)
#: Of what `.gitattributes` names. Commands that only show a difference (`diff.<name>.textconv`, `.command`) change no
#: content, so nothing of ours has to run them.
_NAMED = {
    "filter": frozenset({"clean", "smudge", "process", "required"}),
    "merge": frozenset({"name", "driver", "recursive"}),
    "diff": frozenset({"binary", "funcname", "xfuncname", "wordregex"}),
}
_COMMANDS = frozenset({("filter", "clean"), ("filter", "smudge"), ("filter", "process"), ("merge", "driver")})
_BUILT_IN = {
    "filter": frozenset[str](),
    "merge": frozenset({"text", "binary", "union", "lfs"}),  # `git lfs track` writes merge=lfs, which never existed
}
LFS = "lfs"
LARGEST_POINTER_BYTES = 1024


# ---- the allow-list ----


def taken_settings(listed: Mapping[str, str], anchor: Callable[[str], str] = str) -> dict[str, str]:
    """The settings of the user that our repositories get too.

    Args:
        listed: their effective configuration, as `listed_settings` reads it.
        anchor: what makes a command mean the same in every tree; see `anchored`.
    """
    taken = {name: value for name, value in listed.items() if name in _TAKEN}
    for name, value in listed.items():
        section, _, rest = name.partition(".")
        subsection, _, key = rest.rpartition(".")
        if not subsection:
            continue
        if key in _NAMED.get(section, ()):
            taken[name] = anchor(value) if (section, key) in _COMMANDS else value
        elif section == "submodule" and key == "url" and is_absolute_url(value):
            taken[name] = value
    return taken


def is_absolute_url(url: str) -> bool:
    return url.startswith("/") or "://" in url or re.match(r"[^/:]+:(?!:)", url) is not None


def url_beside(remote: str, url: str) -> str | None:
    """What git makes of a submodule's relative URL where the remote is this one; None when it leads above its top."""
    found = re.fullmatch(r"(?P<head>\w[\w+.-]*://[^/]*/|[^/:]+:/?|/?)(?P<path>.*)", remote, re.DOTALL)
    assert found is not None
    parts = [part for part in found["path"].split("/") if part]
    for step in url.split("/"):
        if step == "..":
            if not parts:
                return None
            parts.pop()
        elif step not in {"", "."}:
            parts.append(step)
    return _without_password(found["head"]) + "/".join(parts) if parts else None


def _without_password(head: str) -> str:
    return re.sub(r"://([^/:@]*):[^/@]*@", r"://\1@", head)


# ---- commands ----

_PIECES = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|[^'"]+""", re.DOTALL)
_WORDS = re.compile(r"""[^\s'"|&;<>()$`=\\]+""")
_NAMES_A_FILE = re.compile(r"/|\.\w{1,5}$")
_PYTHON_MODULE = re.compile(r"""\bpython[\d.]*["']?(?:\s+-\w+)*\s+-m\s""")


def anchored(command: str, root: str, is_file: Callable[[str], bool]) -> str:
    """A command that means the user's own files, whatever tree it runs in.

    git runs filters and drivers in the tree that it works on. `./tools/clean.sh`, and `python -m clean`, would then
    be whatever an agent has put there.

    Args:
        root: the user's checkout, where a relative path is looked up instead.
        is_file: whether a relative path is a file there.
    """

    def settled(word: str, how: Callable[[str], str]) -> str:
        if word.startswith(("/", "~", "%", "-")) or not _NAMES_A_FILE.search(word):
            return word
        if word.startswith(("./", "../")) or is_file(word):
            return f"{how(root.rstrip('/'))}/{word.removeprefix('./')}"
        return word

    def piece(text: str) -> str:
        how = {"'": _in_single_quotes, '"': _in_double_quotes}.get(text[0], _unquoted)
        return _WORDS.sub(lambda found: settled(found[0], how), text)

    safe = "".join(piece(found[0]) for found in _PIECES.finditer(command))
    return f"PYTHONSAFEPATH=1 {safe}" if _PYTHON_MODULE.search(safe) else safe


def _in_single_quotes(text: str) -> str:
    return text.replace("'", "'\\''")


def _in_double_quotes(text: str) -> str:
    return re.sub(r'([\\"$`])', r"\\\1", text)


def _unquoted(text: str) -> str:
    return re.sub(r"([^\w/.+@:,-])", r"\\\1", text)


def program_of(command: str) -> str:
    """The program that a command starts, as far as can be told without a shell; empty when it cannot."""
    words = re.match(r"""\s*(?:\w+=\S*\s+)*(?:'([^']+)'|"([^"$`\\]+)"|([^\s'"|&;<>()$`\\]+))(?=\s|$)""", command)
    return next((word for word in words.groups() if word), "") if words else ""


# ---- what a tree asks for ----


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Filters and merge drivers that attributes name."""

    filters: frozenset[str]
    merge_drivers: frozenset[str]


def named_in(attributes: Iterable[str]) -> Named:
    """What these texts of `.gitattributes` ask for beyond what git has built in."""
    found: dict[str, set[str]] = {"filter": set(), "merge": set()}
    for text in attributes:
        for line in text.splitlines():
            if not line.lstrip().startswith("#"):
                for kind, name in re.findall(r"\s(filter|merge)=(\S+)", line):
                    found[kind].add(name)
    return Named(
        filters=frozenset(found["filter"] - _BUILT_IN["filter"]),
        merge_drivers=frozenset(found["merge"] - _BUILT_IN["merge"]),
    )


def commands_of(settings: Mapping[str, str], kind: str, name: str) -> tuple[str, ...]:
    """The commands of a filter or merge driver; none when it is not configured."""
    keys = ("process", "clean", "smudge") if kind == "filter" else ("driver",)
    found = [settings.get(f"{kind}.{name}.{key}", "") for key in keys]
    if kind == "filter" and found[0]:
        return (found[0],)  # git asks the long-running one for everything
    return tuple(command for command in found if command)


_POINTER = re.compile(rb"version https://(?:git-lfs\.github\.com|hawser\.github\.com)/spec/v\d\n")
_POINTER_ID = re.compile(rb"^oid sha256:([0-9a-f]{64})$", re.MULTILINE)


def lfs_object_of(content: bytes) -> str | None:
    """The object that a pointer of git-lfs stands for; None when it is no pointer."""
    if len(content) > LARGEST_POINTER_BYTES or not _POINTER.match(content):
        return None
    found = _POINTER_ID.search(content)
    return found[1].decode() if found else None


def batch_contents(data: bytes) -> list[bytes]:
    """`cat-file --batch` -> the contents, in the order asked for; nothing for what is missing."""
    found, at = [], 0
    while at < len(data):
        head, _, _ = data[at:].partition(b"\n")
        at += len(head) + 1
        fields = head.split(b" ")
        if len(fields) != 3:
            found.append(b"")
            continue
        size = int(fields[2])
        found.append(data[at : at + size])
        at += size + 1
    return found


# ---- what went wrong ----


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterFailure:
    """A required filter that did not do its part."""

    name: str
    key: str  #: clean or smudge
    path: str


def filter_failure(said: str) -> FilterFailure | None:
    """The filter that made git stop, from what git said."""
    found = re.search(r"^fatal: (.+): (smudge|clean) filter '?(.+?)'? failed$", said, re.MULTILINE)
    return FilterFailure(name=found[3], key=found[2], path=found[1]) if found else None


def without_filters(settings: Mapping[str, str]) -> dict[str, str]:
    """What turns every configured filter off, for one call."""
    names = {name.rpartition(".")[0] for name in settings if name.startswith("filter.")}
    off = {"clean": "", "smudge": "", "process": "", "required": "false"}
    return {f"{name}.{key}": value for name in sorted(names) for key, value in off.items()}


def file_url(path: str) -> str:
    return f"file://{quote(path, errors='surrogateescape')}"
