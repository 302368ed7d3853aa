"""The tables of a plan: which keys there are and what each may hold. Editors get a JSON Schema from the same classes.

Absent keys are None here; what they stand for is worked out in `core.planfile`, where plan, settings and built-in
defaults meet.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from orchestrator.core.planpaths import Patterns, RepoPath
from orchestrator.core.planvalues import (
    Argv,
    EnvName,
    Id,
    Label,
    Length,
    PlanName,
    Priority,
    SomeTime,
    fault,
    not_yet,
    shown,
)
from orchestrator.model.plan import HAND, HUMAN

ISOLATIONS = ("worktree", "branch", "partition")


def check_isolation(value: str) -> str:
    if value != "worktree":
        raise not_yet(f"isolation '{value}'", instead="write worktree, which gives every attempt a tree of its own")
    return value


def _version(value: object) -> object:
    if value != 1 or type(value) is not int:
        why = "this program reads version 1 of the plan format"
        raise fault("bad_value", f"{shown(value)} is not a version of the plan format", why=why, fix="write version: 1")
    return value


def _review(value: object) -> object:
    if value == "human" or (isinstance(value, str) and value.startswith("agent:")):
        raise not_yet(f"review '{value}'", instead="write none; the checks still decide what lands")
    if value != "none":
        why = "a review is none, human, or agent: and the name of an agent"
        raise fault("bad_value", f"{shown(value)} is not a kind of review", why=why, fix="write none")
    return value


def _nothing(key: str, instead: str) -> AfterValidator:
    def check(value: list[Any]) -> list[Any]:
        if value:
            raise not_yet(f"'{key}'", instead=instead)
        return value

    return AfterValidator(check)


def _never(key: str, instead: str) -> BeforeValidator:
    def check(value: object) -> object:
        raise not_yet(f"'{key}'", instead=instead)

    return BeforeValidator(check)


def _checks(value: object) -> object:
    if value == "none":
        return []
    if value == [] or isinstance(value, str):
        message = "the list of checks is empty" if value == [] else f"{shown(value)} is not a list of checks"
        why = "work that no check has seen would land, so having none has to be said"
        raise fault("no_checks", message, why=why, fix="list at least one check, or write checks: none")
    return value


def _extra_checks(value: object) -> object:
    if isinstance(value, str):
        why = "a task's checks come in addition to those of the plan, which always run"
        raise fault(
            "wrong_type", f"{shown(value)} is not a list of checks", why=why, fix="list checks, or remove the key"
        )
    return value


def _backoff(value: object) -> object:
    if isinstance(value, str | int) and not isinstance(value, bool):
        why = "backoff is a list: the wait after the first failure, after the second, and so on; the last repeats"
        raise fault("wrong_type", f"{shown(value)} is not a list of waits", why=why, fix="write it as [1m, 5m, 15m]")
    if value == []:
        why = "the wait after a failure would be unknown"
        raise fault("bad_value", "the list of waits is empty", why=why, fix="write at least one, or retries: 0")
    return value


def _agent_name(value: str) -> str:
    if value in (HUMAN, HAND):
        why = "the name says that no agent program takes the task"
        raise fault("bad_id", f"an agent cannot be named '{value}'", why=why, fix="choose another name")
    return value


Checks = Annotated["list[CheckTable]", BeforeValidator(_checks)]
Waits = Annotated[list[Length], BeforeValidator(_backoff)]
Review = Annotated[Literal["none"], BeforeValidator(_review), WithJsonSchema({"enum": ["none"]})]
Agents = dict[Annotated[Id, AfterValidator(_agent_name)], "AgentTable"]
Resources = dict[Label, Annotated[int, Field(ge=1)]]


class PlanPart(BaseModel):
    """Every table refuses keys that it does not know, and takes no value for another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class CheckTable(PlanPart):
    """One command of the gate. It has to end with status 0 on exactly the tree that would land."""

    name: Id = Field(description="How logs and messages call it; also a file name.")
    run: Argv = Field(description="The command as a list of words; it does not go through a shell.")
    timeout: SomeTime | None = Field(
        default=None, description="After this time the check counts as failed. Default 10m."
    )


class PrepareTable(PlanPart):
    """What every fresh tree gets before it is used."""

    copy_paths: list[RepoPath] = Field(
        default_factory=list, alias="copy", description="Files and folders copied from your checkout."
    )
    link: list[RepoPath] = Field(
        default_factory=list, description="Files and folders of your checkout that the tree links to."
    )
    run: list[Argv] = Field(default_factory=list, description="Commands run in the tree, each a list of words.")


class AgentTable(PlanPart):
    """An agent program."""

    adapter: str = Field(description="How to talk to the program: `command` for any command line.")
    run: Argv | None = Field(
        default=None,
        description="The command line. {prompt} {prompt_file} {briefing} {task} {attempt} {worktree} are filled in.",
    )
    stdin: Literal["prompt", "briefing", "none"] = Field(
        default="prompt", description="What the program reads on its input."
    )
    count: int | None = Field(default=None, ge=1, le=256, description="How many may work at once. Default: `parallel`.")
    capabilities: list[Label] = Field(default_factory=list, description="What it can do, as in a task's `needs`.")
    max_complexity: int = Field(default=5, ge=1, le=5, description="The hardest task it may get.")
    env: dict[EnvName, str] = Field(default_factory=dict, description="Variables set for the program; not for secrets.")
    pass_env: list[EnvName] = Field(
        default_factory=list, description="Variables taken over from the daemon; their values are masked."
    )


class DefaultsTable(PlanPart):
    """What tasks have unless they say otherwise."""

    agent: str | None = Field(
        default=None,
        description="An agent by name, `human` for a person, `hand` for whoever claims it. Default: one that fits.",
    )
    timeout: SomeTime | None = Field(default=None, description="After this time an attempt is stopped. Default 60m.")
    review: Review | None = Field(default=None, description="Who looks at the work before it lands. Default none.")
    retries: int | None = Field(
        default=None, ge=0, le=100, description="How often a failed agent is tried again. Default 3."
    )
    backoff: Waits | None = Field(default=None, description="The waits before it is. Default [1m, 5m, 15m].")
    priority: Priority | None = Field(
        default=None, description="critical, high, normal, low, or 0 to 100. Default normal."
    )
    complexity: int | None = Field(default=None, ge=1, le=5, description="1 is easy, 5 is hard. Default 3.")
    estimate: SomeTime | None = Field(default=None, description="How long you think it takes. Default 20m.")


class TaskTable(DefaultsTable):
    """A unit of work that one agent can finish."""

    id: Id | None = Field(default=None, description="Unique in the plan without regard to case; part of branch names.")
    title: str | None = Field(default=None, description="A few words for people. Default: the id.")
    prompt: str | None = Field(default=None, description="What the agent is told.")
    prompt_file: RepoPath | None = Field(default=None, description="A file of the repository that holds the prompt.")
    files: Patterns | None = Field(
        default=None,
        description="What the task may change, as patterns. Absent: everything, so it runs alone. []: nothing.",
    )
    reads: Patterns = Field(default_factory=list, description="What it reads that other tasks may write.")
    uses: list[Label] = Field(default_factory=list, description="Shared things besides files, such as a test database.")
    context: list[RepoPath] = Field(
        default_factory=list, description="Files given to the agent as they are when you confirm the plan."
    )
    depends_on: list[str] = Field(
        default_factory=list, description="Ids of tasks that have to land before this one starts."
    )
    needs: list[Label] = Field(default_factory=list, description="Capabilities its agent has to have.")
    approve: Annotated[
        list[Literal["start", "merge"]], _nothing("approve", "make a task with agent: human and depend on it")
    ] = Field(default_factory=list, description="Where a person has to agree. Not available yet.")
    checks: Annotated[list[CheckTable], BeforeValidator(_extra_checks)] = Field(
        default_factory=list, description="Checks in addition to those of the plan."
    )
    stall: Annotated[str | None, _never("stall", "remove it; `timeout` ends what takes too long")] = Field(
        default=None, description="Not available yet."
    )


class SharedTables(PlanPart):
    """The tables that may stand in `orchestrator.toml` as well; a plan goes before it, name by name."""

    checks: Checks | None = Field(default=None, description="The gate. To have none, write `none`.")
    prepare: PrepareTable | None = Field(default=None, description="What every fresh tree gets before it is used.")
    keep: list[RepoPath] | None = Field(
        default=None, description="Paths that stay in a check's tree when it is cleaned for the next check."
    )
    protected: Patterns | None = Field(default=None, description="Changing these needs a person's yes.")
    resources: Resources = Field(default_factory=dict, description="How many tasks may use a shared thing at once.")
    agents: Agents = Field(default_factory=dict, description="The agent programs, by name.")
    defaults: DefaultsTable = Field(
        default_factory=DefaultsTable, description="For tasks that do not say it themselves."
    )


class PlanTable(SharedTables):
    """A work plan for orchestrator."""

    version: Annotated[Literal[1], BeforeValidator(_version)] = Field(default=1, description="Of the plan format.")
    name: PlanName | None = Field(default=None, description="Default: the name of the file.")
    target: str | None = Field(
        default=None, min_length=1, description="The branch where the work lands. Default: the current one."
    )
    isolation: Annotated[Literal["worktree", "branch", "partition"], AfterValidator(check_isolation)] = Field(
        default="worktree", description="How attempts are kept apart. Only worktree is available yet."
    )
    publish: Literal["end", "each", "manual"] = Field(
        default="end", description="When the target moves: at the end, after each landing, or when you say so."
    )
    parallel: int | None = Field(default=None, ge=1, le=256, description="How many agents may work at once. Default 4.")
    hooks: Annotated[Literal["inherit"] | None, _never("hooks", "remove it; your hooks stay off for agents")] = Field(
        default=None, description="Not available yet."
    )
    tasks: list[TaskTable] = Field(default_factory=list, description="The tasks, at least one.")


CheckTable.model_rebuild()
SharedTables.model_rebuild()
PlanTable.model_rebuild()


def plan_schema() -> dict[str, Any]:
    """The JSON Schema of plan files, for editors."""
    schema = PlanTable.model_json_schema(by_alias=True)
    _without_null(schema)
    checks = schema["properties"]["checks"]
    schema["properties"]["checks"] = {
        "description": checks.pop("description"),
        "anyOf": [{"const": "none"}, {**checks, "minItems": 1}],
    }
    schema["required"] = ["tasks"]
    schema["properties"]["tasks"]["minItems"] = 1
    schema["$defs"]["TaskTable"]["required"] = ["id"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _without_null(schema: Any) -> None:
    """Take out what only says that a key may be absent; an empty value is an error in a plan."""
    if isinstance(schema, list):
        for item in schema:
            _without_null(item)
    if not isinstance(schema, dict):
        return
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if choices and len(choices) < len(schema["anyOf"]):
        del schema["anyOf"]
        schema.update(choices[0] if len(choices) == 1 else {"anyOf": choices})
        if schema.get("default", 0) is None:
            del schema["default"]
    for item in schema.values():
        _without_null(item)
