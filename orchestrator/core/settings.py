"""Settings from built-in defaults, the user's file, the repository's file, the environment and flags, in rising order.

Somebody else reads the files; here they are mappings. Every value remembers where it came from. The tables that a plan
may hold as well stay as they were written, because only `core.planfile` knows which plan goes before them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from orchestrator.core.planvalues import CommitMessage, EnvName, Length, Size, SomeTime, length_text, nearest, shown
from orchestrator.model.errors import SettingsError
from orchestrator.model.lease import LeaseTerms
from orchestrator.model.plan import Execution
from orchestrator.model.run import LaneLimits

PREFIX = "ORCHESTRATOR_"
#: What an agent finds in its environment. These describe an attempt and set nothing.
AGENT_VARIABLES = frozenset(
    f"{PREFIX}{name}" for name in ("BRIEFING", "RUN", "PLAN", "TASK", "ATTEMPT", "TOKEN", "WORKTREE", "STATE")
)
DEFAULT = "default"  #: the origin of what nobody set

#: Tables that a plan may hold too; the entries of some are put together by name, the others replace each other.
BY_NAME = frozenset({"agents", "resources", "defaults"})
PLAN_TABLES = BY_NAME | {"checks", "prepare", "keep", "protected"}


class SettingsPart(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ExecutionSettings(SettingsPart):
    """What changes how a plan is executed, and so belongs to what a person confirms."""

    commit_message: CommitMessage = Field(default="feat({task}): {title}")
    grace: Length = Field(default=timedelta(seconds=10))
    output_limit: Size = Field(default=64 * 1024 * 1024)
    pass_env: list[EnvName] = Field(default=[])


class AttentionSettings(SettingsPart):
    """When the program speaks up by itself: a task in a lane for this long, an agent without a sign of life."""

    doing: SomeTime = Field(default=LaneLimits().doing)
    for_review: SomeTime = Field(default=LaneLimits().for_review)
    merging: SomeTime = Field(default=LaneLimits().merging)
    blocked: SomeTime = Field(default=LaneLimits().blocked)
    quiet: SomeTime = Field(default=timedelta(minutes=10))


class LeaseSettings(SettingsPart):
    """The timed right to a task: how long it lasts without a sign of life, and what one without an end has to bear."""

    ttl: SomeTime = Field(default=LeaseTerms().ttl)
    heartbeat: SomeTime = Field(default=LeaseTerms().heartbeat)
    stale: SomeTime = Field(default=LeaseTerms().stale)
    review: SomeTime = Field(default=LeaseTerms().review)
    indefinite_per_agent: int = Field(default=LeaseTerms().indefinite_per_agent, ge=0, le=1000)
    indefinite: int = Field(default=LeaseTerms().indefinite, ge=0, le=10_000)


class LogSettings(SettingsPart):
    """How much the daemon keeps of what it wrote: one file that is being written, and `keep` older ones."""

    max_size: Size = Field(default=10 * 1024 * 1024)
    keep: int = Field(default=5, ge=1, le=1000)


class Settings(SettingsPart):
    """Everything that can be set outside a plan."""

    worktrees: str | None = Field(default=None, min_length=1)  #: None: the sibling folder `<repo>.worktrees`
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info")
    log: LogSettings = Field(default=LogSettings())
    execution: ExecutionSettings = Field(default=ExecutionSettings())
    attention: AttentionSettings = Field(default=AttentionSettings())
    leases: LeaseSettings = Field(default=LeaseSettings())
    agents: dict[str, Any] = Field(default={})
    checks: list[Any] | Literal["none"] | None = Field(default=None)
    prepare: dict[str, Any] | None = Field(default=None)
    keep: list[Any] | None = Field(default=None)
    protected: list[Any] | None = Field(default=None)
    resources: dict[str, Any] = Field(default={})
    defaults: dict[str, Any] = Field(default={})
    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    def origin_of(self, key: str) -> str:
        """Where the value of a dotted key came from: a file, a variable, a flag, or `default`."""
        return self._origins.get(key, self._origins.get(key.partition(".")[0], DEFAULT))

    def as_limits(self) -> LaneLimits:
        """How long a task may stay in each lane before it is flagged."""
        lanes = self.attention
        return LaneLimits(doing=lanes.doing, for_review=lanes.for_review, merging=lanes.merging, blocked=lanes.blocked)

    def as_terms(self) -> LeaseTerms:
        """The numbers of leases."""
        return LeaseTerms(**{name: getattr(self.leases, name) for name in LeaseSettings.model_fields})

    def as_execution(self) -> Execution:
        """The part of the settings that becomes part of a plan."""
        chosen = self.execution
        return Execution(
            commit_message=chosen.commit_message,
            grace=chosen.grace,
            output_limit_bytes=chosen.output_limit,
            pass_env=tuple(dict.fromkeys(chosen.pass_env)),
        )


_SECTIONS: dict[str, type[SettingsPart]] = {
    "log": LogSettings,
    "execution": ExecutionSettings,
    "attention": AttentionSettings,
    "leases": LeaseSettings,
}
#: dotted key -> the model and field it is
_KEYS: dict[str, tuple[type[SettingsPart], str]] = {
    **{name: (Settings, name) for name in Settings.model_fields if name not in _SECTIONS},
    **{f"{section}.{name}": (model, name) for section, model in _SECTIONS.items() for name in model.model_fields},
}
_VARIABLES = {PREFIX + key.replace(".", "__").upper(): key for key in _KEYS if key not in PLAN_TABLES}


def build_settings(
    *,
    user: tuple[str, Mapping[str, Any]] | None,
    project: tuple[str, Mapping[str, Any]] | None,
    environ: Mapping[str, str],
    flags: Mapping[str, Any],
) -> Settings:
    """The settings that hold, each value with its origin.

    Args:
        user, project: name and content of a settings file; None if there is none.
        flags: dotted key -> value; None for flags that were not given.

    Raises: SettingsError that names everything wrong, each with its origin.
    """
    gathered = _Gathered()
    for source in (user, project):
        if source is not None:
            gathered.take_file(*source)
    gathered.take_environment(environ)
    for key, value in flags.items():
        if value is not None:
            gathered.take(key, value, f"--{key.split('.')[-1].replace('_', '-')}")
    return gathered.settings()


def origins(settings: Settings) -> tuple[tuple[str, object, str], ...]:
    """Dotted key, value as one would write it, and origin of every setting."""
    rows: list[tuple[str, object, str]] = []
    for key, (_, name) in _KEYS.items():
        section = key.rpartition(".")[0]
        value = getattr(getattr(settings, section) if section else settings, name)
        if key in BY_NAME and value:
            rows += [
                (f"{key}.{entry}", content, settings.origin_of(f"{key}.{entry}")) for entry, content in value.items()
            ]
        else:
            rows.append((key, length_text(value) if isinstance(value, timedelta) else value, settings.origin_of(key)))
    return tuple(rows)


class _Gathered:
    """Values of rising order, and everything wrong with them."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.errors: list[SettingsError] = []

    def take_file(self, file: str, content: Mapping[str, Any]) -> None:
        for key, value in content.items():
            if key not in _SECTIONS:
                self.take(key, value, file)
            elif isinstance(value, Mapping):
                for name, inner in value.items():
                    self.take(f"{key}.{name}", inner, file)
            else:
                fix = f"write [{key}] on a line of its own and the keys below it"
                self.refuse(file, f"'{key}' is not a table", why="its keys have names", fix=fix)

    def take_environment(self, environ: Mapping[str, str]) -> None:
        for variable in sorted(name for name in environ if name.startswith(PREFIX)):
            text = environ[variable]
            if variable in AGENT_VARIABLES or not text:
                continue
            key = _VARIABLES.get(variable)
            if key is None:
                near = nearest(variable, _VARIABLES)
                fix = f"use {near}, or unset it" if near else "unset it, or write it to orchestrator.toml"
                self.refuse(variable, f"the variable {variable} sets nothing", why="no setting has this name", fix=fix)
            else:
                is_list = key.endswith(".pass_env")
                self.take(key, [part.strip() for part in text.split(",")] if is_list else _number(text), variable)

    def take(self, key: str, value: Any, origin: str) -> None:
        """One value of one source; an earlier one is replaced, or its table put together with this one."""
        if key not in _KEYS:
            near = nearest(key, _KEYS) or nearest(key, _SECTIONS)
            fix = f"write '{near}', or remove it" if near else f"remove it; there are {', '.join(_KEYS)}"
            self.refuse(origin, f"unknown key '{key}'", why="no setting has this name", fix=fix)
            return
        model, name = _KEYS[key]
        try:
            model.model_validate({name: value})
        except ValidationError as error:
            # a table that may be one of several things gives an error for each; they mean the same
            details = error.errors(include_url=False)[: 1 if key in PLAN_TABLES else None]
            for detail in details:
                message, why, fix = _words(key, value, detail)
                self.refuse(origin, message, why=why, fix=fix)
            return
        if key in BY_NAME:
            self.values[key] = {**self.values.get(key, {}), **value}
            self.origins.update({f"{key}.{entry}": origin for entry in value})
        else:
            self.values[key] = value
        self.origins[key] = origin

    def refuse(self, origin: str, message: str, *, why: str, fix: str) -> None:
        self.errors.append(SettingsError(f"{origin}: {message}", why=why, fix=fix))

    def settings(self) -> Settings:
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise SettingsError(
                f"{len(self.errors)} settings cannot be used\n" + "\n".join(str(error) for error in self.errors),
                why="each is named above with where it came from",
                fix="correct them, or remove them to have the defaults",
            )
        nested: dict[str, Any] = {}
        for key, value in self.values.items():
            section, _, name = key.rpartition(".")
            (nested.setdefault(section, {}) if section else nested)[name] = value
        settings = Settings.model_validate(nested)
        settings._origins.update(self.origins)
        return settings


def _number(text: str) -> str | int:
    """A variable is always text; one of digits alone is meant as a number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else text


def _words(key: str, value: object, detail: Any) -> tuple[str, str, str]:
    """Message, why and fix for what pydantic found."""
    context = detail.get("ctx", {})
    match detail["type"]:
        case "fault":
            return f"{key}: {context['message']}", context["why"], context["fix"]
        case "literal_error" if key == "log_level":
            choices = ["debug", "info", "warning", "error"]
            near = nearest(value, choices) if isinstance(value, str) else None
            return (
                f"{key}: {shown(value)} is no level",
                f"the levels are {', '.join(choices)}",
                f"write {near or 'info'}",
            )
        case _:
            expected = {"dict_type": "a table", "list_type": "a list", "string_type": "a text"}.get(detail["type"])
            if key == "log.keep":
                expected = "a whole number from 1 to 1000"
            if key == "checks":
                expected = 'a list of tables, or "none"'
            message = f"{key}: {shown(value)} cannot be used"
            return (
                message,
                f"it needs {expected}" if expected else detail["msg"],
                "write such a value, or remove the key",
            )
