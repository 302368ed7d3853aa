"""Single values as a person writes them in a plan or in settings: lengths of time, sizes, names. Each is checked once.

A value that cannot be used raises a `fault`, which pydantic collects; `core.plantables` gives it its place in the file.
"""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Iterable
from datetime import timedelta
from difflib import get_close_matches
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

PRIORITIES = {"critical": 100, "high": 75, "normal": 50, "low": 25}
COMMIT_FIELDS = frozenset({"task", "title", "plan", "attempt", "agent"})

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_LABEL = re.compile(r"[^\s,]{1,100}")
_PLAIN_WORD = re.compile(r"(?!(?:true|false|null)$)(?:--?|\./)?[a-zA-Z/][\w./+=-]*", re.ASCII | re.IGNORECASE)
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_LENGTH = re.compile(
    r"(?:(?P<days>\d{1,6})d)?(?:(?P<hours>\d{1,6})h)?(?:(?P<minutes>\d{1,6})m(?!s))?"
    r"(?:(?P<seconds>\d{1,9})s)?(?:(?P<milliseconds>\d{1,9})ms)?",
    re.ASCII,
)
_LONGEST = timedelta(days=3650)
_SIZE = re.compile(r"(\d{1,15})\s?([KMG]i?B|B)?", re.ASCII)
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def fault(code: str, message: str, *, why: str, fix: str) -> PydanticCustomError:
    """What is wrong with one value, in the user's words; the place is added by whoever knows it."""
    return PydanticCustomError("fault", "{message}", {"code": code, "message": message, "why": why, "fix": fix})


def fault_words(error: PydanticCustomError) -> tuple[str, str, str, str]:
    """Code, message, why and fix of a `fault`."""
    told = error.context or {}
    return told["code"], told["message"], told["why"], told["fix"]


def not_yet(what: str, *, instead: str) -> PydanticCustomError:
    """The fault of something that the plan format has and this version cannot do."""
    why = "a key that is accepted has to work, and this version cannot do it"
    return fault("not_available", f"{what} is not available yet", why=why, fix=instead)


def shown(value: object) -> str:
    """A value as an error message shows it: quoted, on one line, not too long."""
    text = value if isinstance(value, str) else str(value)
    text = " ".join(text.split())
    return f"'{text[:57]}...'" if len(text) > 60 else f"'{text}'"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that `word` was probably meant to be."""
    folded = {name.casefold(): name for name in known}
    found = get_close_matches(word[:100].casefold(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


# ---- lengths of time and sizes ----


def read_length(value: object) -> timedelta:
    """`1h30m`, `90s`, `500ms` as a length of time. Raises: the fault `bad_duration`."""
    if isinstance(value, timedelta):
        return value
    match = _LENGTH.fullmatch(value) if isinstance(value, str) and value else None
    if match:
        length = timedelta(**{unit: int(number) for unit, number in match.groupdict(default="0").items()})
        if length <= _LONGEST:
            return length
        why, fix = "ten years are the longest", "write a shorter one"
    elif isinstance(value, int) and not isinstance(value, bool):
        why, fix = "a bare number does not say whether it means seconds or minutes", f"write {value}s or {value}m"
        fix = fix if 0 <= value < 10**6 else "write it as 90s, 10m or 1h30m"
    else:
        why = "a length of time is whole numbers with the units d, h, m, s or ms, the largest first, without spaces"
        fix = "write it as 90s, 10m or 1h30m"
    raise fault("bad_duration", f"{shown(value)} is not a length of time", why=why, fix=fix)


def _some_time(length: timedelta) -> timedelta:
    if not length:
        raise fault(
            "bad_duration", "the length of time is zero", why="nothing could happen in it", fix="write a longer one"
        )
    return length


def length_text(length: timedelta) -> str:
    """The opposite of `read_length`."""
    rest = round(length / timedelta(milliseconds=1))
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        number, rest = divmod(rest, size)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


def read_size(value: object) -> int:
    """`64MiB` or a number of bytes. Raises: the fault `bad_value`."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**15:
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None or not int(match[1]):
        why = "a size is a number of bytes above zero, or a number with KiB, MiB or GiB"
        raise fault("bad_value", f"{shown(value)} is not a size", why=why, fix="write it as 64MiB")
    return int(match[1]) * _UNITS[match[2] or ""]


def read_priority(value: object) -> int:
    """A word or 0..100 as the number that is compared. Raises: the fault `bad_value` or `out_of_range`."""
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value <= 100:
            return value
        why = "a priority is 0 to 100, and higher goes first"
        raise fault("out_of_range", f"{shown(value)} is not a priority", why=why, fix="write a number from 0 to 100")
    if isinstance(value, str) and value in PRIORITIES:
        return PRIORITIES[value]
    near = nearest(value, PRIORITIES) if isinstance(value, str) else None
    why = f"a priority is one of {', '.join(PRIORITIES)}, or a whole number from 0 to 100"
    raise fault("bad_value", f"{shown(value)} is not a priority", why=why, fix=f"write {near or 'normal'}")


# ---- names ----


def check_id(value: str) -> str:
    """A name that is safe in branch names and folders. Raises: the fault `bad_id`."""
    if not _ID.fullmatch(value):
        why = "it becomes part of branch names: letters, digits, `.`, `_`, `-`, first a letter or digit, at most 64"
    elif ".." in value:
        why = "it becomes part of branch names, and git does not allow `..` there"
    elif value.lower().endswith(".lock"):
        why = "it becomes part of branch names, and git keeps the ending `.lock` for itself"
    else:
        return value
    raise fault("bad_id", f"{shown(value)} cannot be used as an id", why=why, fix=_id_fix(value))


def check_plan_name(value: str) -> str:
    """A plan's name: an id, lower case, no final dot, not reserved. Raises: the fault `bad_id`."""
    check_id(value)
    if value != value.lower():
        why = "plans are told apart without regard to case, so their names are lower case"
    elif value.endswith("."):
        why = "git does not allow a branch name to end in a dot"
    elif value in ("plans", "old"):
        why = "this name is reserved: the program keeps references of its own under it"
    else:
        return value
    fix = f"write 'plan-{value}'" if value in ("plans", "old") else _id_fix(value.lower())
    raise fault("bad_id", f"{shown(value)} cannot be the name of a plan", why=why, fix=fix)


def safe_id(text: str) -> str:
    """The id nearest to a text; empty if nothing of it can stay."""
    text = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9._-]+", "-", text, flags=re.ASCII))
    text = text.lstrip("._-")[:64]
    while text.lower().endswith(".lock"):
        text = text[:-5]
    return text.rstrip(".-")


def _id_fix(value: str) -> str:
    better = safe_id(value)
    return f"write '{better}'" if better else "write a name such as 'api' or 'db-schema'"


def _label(value: str) -> str:
    if not _LABEL.fullmatch(value):
        why = "names of resources and capabilities have 1 to 100 characters, without spaces and commas"
        fix = f"write {shown(re.sub(r'[^A-Za-z0-9]+', '-', value)[:100])}"
        raise fault("bad_value", f"{shown(value)} cannot be used as a name", why=why, fix=fix)
    return value


def _env_name(value: str) -> str:
    if not _ENV_NAME.fullmatch(value):
        why = "names of environment variables have letters, digits and `_`, first a letter or `_`"
        raise fault(
            "bad_value", f"{shown(value)} is not the name of a variable", why=why, fix="write it as in `export`"
        )
    if value.upper().startswith("ORCHESTRATOR_"):
        why = "variables that begin with ORCHESTRATOR_ tell an agent which attempt it works on"
        raise fault("bad_value", f"{shown(value)} cannot be set or passed on", why=why, fix="choose another name")
    return value


# ---- commands and texts ----


def _argv(value: object) -> object:
    if isinstance(value, str):
        why = "a command is a list of its words and never goes through a shell"
        raise fault("bad_run", f"the command {shown(value)} is one text", why=why, fix=f"write run: {_as_list(value)}")
    if isinstance(value, list) and (not value or value[0] == ""):
        why = "the first word of a command is the program"
        raise fault("bad_run", "the command names no program", why=why, fix="write it as a list: [make, test]")
    return value


def _as_list(command: str) -> str:
    """A command typed as for a shell, the way a plan wants it."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if not words or set(command) & set("|&;<>()$`*?~#\n"):
        quoted = command.strip().replace("\\", "\\\\").replace('"', '\\"').replace("\n", "; ")
        words = ["sh", "-c"]
        return f'[sh, -c, "{quoted}"]'
    return "[" + ", ".join(word if _PLAIN_WORD.fullmatch(word) else f'"{word}"' for word in words) + "]"


def _commit_message(value: str) -> str:
    known = ", ".join(f"{{{name}}}" for name in sorted(COMMIT_FIELDS))
    try:
        fields = [(name, spec, mark) for _, name, spec, mark in string.Formatter().parse(value) if name is not None]
    except ValueError:
        why = "a brace is open"
        raise fault("bad_value", f"{shown(value)} cannot be filled in", why=why, fix=f"use {known}") from None
    for name, spec, mark in fields:
        if name not in COMMIT_FIELDS or spec or mark:
            why = f"only {known} are filled in"
            raise fault("bad_value", f"{{{name}}} means nothing in a commit message", why=why, fix="use one of them")
    if not value.strip():
        raise fault("bad_value", "the commit message is empty", why="git refuses such commits", fix="write a few words")
    return value


_LENGTH_SCHEMA = WithJsonSchema(
    {"type": "string", "pattern": r"^(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$", "examples": ["90s", "10m", "1h30m"]}
)
_ID_SCHEMA = {"pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"}

Length = Annotated[timedelta, BeforeValidator(read_length), _LENGTH_SCHEMA]
SomeTime = Annotated[timedelta, BeforeValidator(read_length), AfterValidator(_some_time), _LENGTH_SCHEMA]
Size = Annotated[
    int, BeforeValidator(read_size), WithJsonSchema({"type": ["integer", "string"], "examples": ["64MiB"]})
]
Priority = Annotated[
    int,
    BeforeValidator(read_priority),
    WithJsonSchema({"anyOf": [{"enum": list(PRIORITIES)}, {"type": "integer", "minimum": 0, "maximum": 100}]}),
]
Id = Annotated[str, AfterValidator(check_id), Field(json_schema_extra=_ID_SCHEMA)]
PlanName = Annotated[str, AfterValidator(check_plan_name), Field(json_schema_extra=_ID_SCHEMA)]
Label = Annotated[str, AfterValidator(_label)]
EnvName = Annotated[str, AfterValidator(_env_name)]
Argv = Annotated[list[str], BeforeValidator(_argv)]
CommitMessage = Annotated[str, AfterValidator(_commit_message)]
