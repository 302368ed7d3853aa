"""Settings: four sources in rising order, every value with its origin, and every mistake told at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from orchestrator.core.settings import AGENT_VARIABLES, Settings, build_settings, origins
from orchestrator.model.errors import SettingsError
from orchestrator.model.plan import Execution
from orchestrator.model.run import LaneLimits


def built(
    user: dict[str, Any] | None = None,
    project: dict[str, Any] | None = None,
    environ: dict[str, str] | None = None,
    **flags: Any,
) -> Settings:
    return build_settings(
        user=("config.toml", user) if user is not None else None,
        project=("orchestrator.toml", project) if project is not None else None,
        environ=environ or {},
        flags=flags,
    )


def origin_of(settings: Settings, key: str) -> tuple[object, str]:
    return next((value, origin) for name, value, origin in origins(settings) if name == key)


def test_without_any_source_the_defaults_hold() -> None:
    settings = built()
    assert settings.worktrees is None
    assert settings.log_level == "info"
    assert settings.as_execution() == Execution()
    assert (settings.as_limits(), settings.attention.quiet) == (LaneLimits(), timedelta(minutes=10))
    assert {origin for _, _, origin in origins(settings)} == {"default"}


LEVELS = [
    ("config.toml", {"user": {"log_level": "debug"}}),
    ("orchestrator.toml", {"project": {"log_level": "warning"}}),
    ("ORCHESTRATOR_LOG_LEVEL", {"environ": {"ORCHESTRATOR_LOG_LEVEL": "error"}}),
    ("--log-level", {"log_level": "info"}),
]


@pytest.mark.parametrize("highest", range(4), ids=[name for name, _ in LEVELS])
def test_a_later_source_goes_before_an_earlier_one(highest: int) -> None:
    sources: dict[str, Any] = {}
    for _, source in LEVELS[: highest + 1]:
        sources.update(source)
    name, source = LEVELS[highest]
    (value,) = source.values()
    level = next(iter(value.values())) if isinstance(value, dict) else value
    assert origin_of(built(**sources), "log_level") == (level, name)


def test_a_flag_that_was_not_given_sets_nothing() -> None:
    assert origin_of(built(project={"log_level": "debug"}, log_level=None), "log_level") == (
        "debug",
        "orchestrator.toml",
    )


def test_keys_of_one_section_may_come_from_different_sources() -> None:
    settings = built(
        user={"execution": {"grace": "1s", "output_limit": "1MiB"}},
        project={"execution": {"grace": "2s"}},
        environ={"ORCHESTRATOR_EXECUTION__PASS_ENV": "A, B", "ORCHESTRATOR_EXECUTION__OUTPUT_LIMIT": "1000"},
        **{"execution.commit_message": "{title}"},
    )
    assert settings.as_execution() == Execution(
        grace=timedelta(seconds=2), output_limit_bytes=1000, pass_env=("A", "B"), commit_message="{title}"
    )
    assert origin_of(settings, "execution.grace") == ("2s", "orchestrator.toml")
    assert origin_of(settings, "execution.output_limit") == (1000, "ORCHESTRATOR_EXECUTION__OUTPUT_LIMIT")
    assert origin_of(settings, "execution.commit_message") == ("{title}", "--commit-message")
    assert origin_of(settings, "attention.doing") == ("30m", "default")


@pytest.mark.parametrize(
    ("written", "size"),
    [("64MiB", 64 * 2**20), ("1KiB", 1024), ("2GB", 2 * 10**9), ("10 MB", 10**7), ("5B", 5), (7, 7)],
)
def test_a_size_is_a_number_of_bytes_or_has_a_unit(written: object, size: int) -> None:
    assert built(project={"execution": {"output_limit": written}}).execution.output_limit == size


def test_tables_of_plans_are_put_together_by_name_or_replaced() -> None:
    settings = built(
        user={
            "agents": {"a": {"adapter": "x"}, "b": {"adapter": "y"}},
            "defaults": {"agent": "a", "retries": 1},
            "checks": [{"name": "u"}],
        },
        project={"agents": {"b": {"adapter": "z"}}, "defaults": {"retries": 2}, "checks": "none"},
    )
    assert settings.agents == {"a": {"adapter": "x"}, "b": {"adapter": "z"}}
    assert settings.defaults == {"agent": "a", "retries": 2}
    assert settings.checks == "none"
    assert settings.origin_of("agents.a") == "config.toml"
    assert settings.origin_of("agents.b") == "orchestrator.toml"
    assert origin_of(settings, "defaults.agent") == ("a", "config.toml")
    assert origin_of(settings, "checks") == ("none", "orchestrator.toml")


def test_every_key_is_told_with_its_origin() -> None:
    keys = {key for key, _, _ in origins(built())}
    assert keys == {
        "worktrees", "log_level", "log.max_size", "log.keep", "attention.doing", "attention.for_review",
        "attention.merging", "attention.blocked", "attention.quiet",
        "leases.ttl", "leases.heartbeat", "leases.stale", "leases.review", "leases.indefinite",
        "leases.indefinite_per_agent",
        "execution.commit_message", "execution.grace", "execution.output_limit", "execution.pass_env",
        "agents", "checks", "prepare", "keep", "protected", "resources", "defaults",
    }  # fmt: skip


def test_what_agents_find_in_their_environment_sets_nothing() -> None:
    environ = dict.fromkeys(AGENT_VARIABLES, "x") | {"HOME": "/root", "ORCHESTRATOR_LOG_LEVEL": ""}
    assert {origin for _, _, origin in origins(built(environ=environ))} == {"default"}


@pytest.mark.parametrize(
    ("sources", "message", "fix"),
    [
        pytest.param(
            {"project": {"log_levl": "info"}}, "orchestrator.toml: unknown key 'log_levl'", "'log_level'", id="a key"
        ),
        pytest.param(
            {"user": {"worktree": "x"}}, "config.toml: unknown key 'worktree'", "'worktrees'", id="a user's key"
        ),
        pytest.param(
            {"project": {"execution": {"gracee": "1s"}}},
            "unknown key 'execution.gracee'",
            "execution.grace",
            id="inside",
        ),
        pytest.param({"project": {"execution": "x"}}, "'execution' is not a table", "[execution]", id="no table"),
        pytest.param(
            {"environ": {"ORCHESTRATOR_LOGLEVEL": "x"}},
            "ORCHESTRATOR_LOGLEVEL",
            "use ORCHESTRATOR_LOG_LEVEL",
            id="variable",
        ),
        pytest.param(
            {"environ": {"ORCHESTRATOR_AGENTS": "x"}}, "ORCHESTRATOR_AGENTS", "unset it", id="a table by variable"
        ),
        pytest.param({"colour": "red"}, "--colour: unknown key", "remove it", id="a flag"),
        pytest.param({"project": {"log_level": "debgu"}}, "'debgu' is no level", "write debug", id="a level"),
        pytest.param({"project": {"log_level": 3}}, "log_level", "write", id="a level as number"),
        pytest.param({"project": {"worktrees": ""}}, "worktrees", "write", id="no folder"),
        pytest.param({"project": {"execution": {"grace": 10}}}, "execution.grace: '10'", "10s or 10m", id="no unit"),
        pytest.param({"project": {"log": {"keep": 0}}}, "'0' cannot be used", "such a value", id="no file to keep"),
        pytest.param({"project": {"log": {"max_size": "big"}}}, "is not a size", "64MiB", id="a size in words"),
        pytest.param({"project": {"attention": {"doing": "0s"}}}, "zero", "longer", id="a length of nothing"),
        pytest.param({"project": {"execution": {"output_limit": "lots"}}}, "not a size", "64MiB", id="a size"),
        pytest.param({"project": {"execution": {"output_limit": 0}}}, "not a size", "64MiB", id="no size"),
        pytest.param({"project": {"execution": {"output_limit": True}}}, "not a size", "64MiB", id="true as size"),
        pytest.param(
            {"project": {"execution": {"pass_env": ["A B"]}}}, "not the name", "export", id="a variable's name"
        ),
        pytest.param({"project": {"execution": {"pass_env": "A"}}}, "pass_env", "write", id="no list"),
        pytest.param({"project": {"attention": {"doing": "soon"}}}, "not a length", "10m", id="a length of time"),
        pytest.param({"project": {"agents": ["a"]}}, "agents", "write", id="agents as list"),
        pytest.param({"project": {"checks": "all"}}, "checks", "write", id="checks as text"),
        pytest.param({"project": {"checks": 5}}, "checks", "write", id="checks as number"),
    ],
)
def test_a_bad_setting_is_told_with_its_origin(sources: dict[str, Any], message: str, fix: str) -> None:
    with pytest.raises(SettingsError) as caught:
        built(**sources)
    assert message in caught.value.message
    assert fix in caught.value.fix
    assert caught.value.why


@pytest.mark.parametrize(
    ("template", "is_good"),
    [
        ("feat({task}): {title}", True),
        ("{agent} did {task} of {plan}, {attempt}", True),
        ("{{{task}}}", True),
        ("no field", True),
        ("{user}", False),
        ("{task.__class__}", False),
        ("{task!r}", False),
        ("{title:>10}", False),
        ("{}", False),
        ("{task", False),
        ("task}", False),
        ("  ", False),
    ],
)
def test_a_commit_message_is_filled_in_with_known_fields_only(template: str, is_good: bool) -> None:
    source = {"execution": {"commit_message": template}}
    if is_good:
        fields = dict.fromkeys(("task", "title", "plan", "attempt", "agent"), "x")
        assert built(project=source).as_execution().commit_message.format(**fields)
    else:
        with pytest.raises(SettingsError):
            built(project=source)


def test_all_bad_settings_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        built(
            user={"colour": 1}, project={"execution": {"grace": 1}}, environ={"ORCHESTRATOR_X": "1"}, log_level="loud"
        )
    for origin in ("config.toml", "orchestrator.toml", "ORCHESTRATOR_X", "--log-level"):
        assert origin in caught.value.message
    assert caught.value.message.startswith("4 settings cannot be used")
