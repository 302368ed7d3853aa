"""The text of a new plan: from what a person said, or a skeleton in which every key is explained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.core.detection import CheckGuess
from orchestrator.core.knownagents import KnownAgent
from orchestrator.core.planlayout import WIDTH, key_order, one_line
from orchestrator.model.plan import HUMAN

FILL_IN = "# FILL IN"
_NOT_YET = "Not available yet."  #: how the schema says that a key is refused
_COLUMN = 42  #: where comments behind keys begin

#: What a key could say; the schema says what it means. A key that is new gets three dots.
_EXAMPLES = {
    "version": "1",
    "name": "my-plan",
    "target": "main",
    "isolation": "worktree",
    "publish": "end",
    "parallel": "4",
    "prepare": "{copy: [.env], link: [node_modules], run: [[npm, ci]]}",
    "keep": "[node_modules/]",
    "protected": '[".github/**"]',
    "resources": "{test-db: 1}",
    "defaults": "{timeout: 60m, retries: 3, backoff: [1m, 5m, 15m]}",
    "agent": "human",
    "timeout": "60m",
    "retries": "3",
    "backoff": "[1m, 5m, 15m]",
    "priority": "high",
    "complexity": "3",
    "estimate": "20m",
    "prompt_file": "specs/first.md",
    "reads": "[src/api/schema.sql]",
    "uses": "[test-db]",
    "context": "[specs/first.md]",
    "depends_on": "[other-task]",
    "needs": "[sql]",
    "checks": "[{name: lint, run: [make, lint], timeout: 5m}]",
    "review": "none",
    "approve": "[merge]",
    "stdin": "prompt",
    "count": "2",
    "capabilities": "[python, sql]",
    "max_complexity": "5",
    "env": "{MODE: test}",
    "pass_env": "[MY_API_KEY]",
    "hooks": "inherit",
    "stall": "10m",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """A task as a person described it."""

    id: str
    title: str
    prompt: str
    files: tuple[str, ...] | None  #: None: the whole repository
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a new plan stands on."""

    schema: str  #: where an editor finds the JSON Schema
    name: str | None = None
    target: str | None = None  #: None: the branch that is checked out when the plan is started
    checks: tuple[CheckGuess, ...] = ()
    has_checks: bool = False  #: the settings say them
    agents: tuple[KnownAgent, ...] = ()  #: the first one takes the tasks that name none
    has_agent: bool = False  #: the settings declare agents
    is_human: bool = False  #: tasks that name no agent are a person's


def schema_line(schema: str) -> str:
    """The line by which editors know what may stand in a plan."""
    return f"# yaml-language-server: $schema={schema}"


def plan_text(ground: Ground, tasks: Sequence[NewTask]) -> str:
    """A plan as it was described."""
    rows = [schema_line(ground.schema)]
    rows += [f"name: {one_line(ground.name)}"] if ground.name else []
    rows += [f"target: {one_line(ground.target)}"] if ground.target else []
    rows += [] if ground.has_checks else _checks(ground.checks)
    rows += _agents(ground.agents)
    rows += [f"defaults: {{agent: {HUMAN}}}"] if ground.is_human else []
    rows.append("tasks:")
    for task in tasks:
        rows += [f"  - id: {one_line(task.id)}", f"    title: {one_line(task.title)}"]
        rows += [] if task.files is None else _listed("files", task.files, "    ")
        rows += _listed("depends_on", task.depends_on, "    ") if task.depends_on else []
        if task.prompt:
            rows += ["    prompt: |", *(f"      {line}".rstrip() for line in task.prompt.strip().split("\n"))]
    return "\n".join(rows) + "\n"


def skeleton_text(ground: Ground, schema: Mapping[str, Any]) -> str:
    """A plan with one task to fill in; what it could say besides stands in comments, explained by the schema."""
    plan, tasks = schema["properties"], schema["$defs"]["TaskTable"]["properties"]
    said: dict[str, list[str]] = {}
    if ground.name:
        said["name"] = [f"name: {one_line(ground.name)}"]
    if ground.target:
        said["target"] = [_with(f"target: {one_line(ground.target)}", f"# {plan['target']['description']}")]
    if ground.has_checks:
        said["checks"] = ["# checks: those of the settings; see `orchestrator config show`"]
    elif ground.checks:
        said["checks"] = _checks(ground.checks)
    else:
        said["checks"] = [_with("checks:", f"{FILL_IN}: such as [{{name: tests, run: [make, test], timeout: 10m}}]")]
    if ground.agents:
        *declared, said_default = _agents(ground.agents)
        said["agents"] = [*declared, *_agent_keys(schema, without=declared)]
        said["defaults"] = [said_default, *_explained("defaults", plan["defaults"], "")]
    elif not ground.has_agent:
        said["agents"] = [
            "agents:",
            "  # Any program can be one; {prompt} and {briefing}, a file, are filled in.",
            "  mine:",
            "    adapter: command",
            "    " + _with("run:", f'{FILL_IN}: such as [my-agent, --prompt, "{{prompt}}"]', indent=4),
        ]
        said["agents"] += _agent_keys(schema, without=said["agents"])
    rows = [
        schema_line(ground.schema),
        f"# A work plan. Lines with {FILL_IN} wait for you, and `plan check` names those that are left.",
        "# Keys in comments are optional; each says what it means.",
        "",
    ]
    for key in _keys((), plan):
        if key != "tasks":
            rows += said.get(key) or _explained(key, plan[key], "")
    rows += ["", "tasks:"]
    first = {
        "id": ["  - " + _with("id: first-task", f"# {tasks['id']['description']}", indent=4)],
        "title": ["    " + _with("title: A few words for people", f"# {tasks['title']['description']}", indent=4)],
        "files": [
            "    " + _with("files:", f"{FILL_IN}: what it may change, such as [src/api/**, README.md]", indent=4)
        ],
        "prompt": [
            "    # The next line takes the text itself, or `|` with the text indented below it.",
            "    " + _with("prompt:", f"{FILL_IN}: {tasks['prompt']['description']}", indent=4),
        ],
    }
    for key in _keys(("tasks", "*"), tasks):
        rows += first.get(key) or _explained(key, tasks[key], "    ")
    return "\n".join(row.rstrip() for row in rows) + "\n"


def _agent_keys(schema: Mapping[str, Any], *, without: Sequence[str]) -> list[str]:
    """What else the agent above could say."""
    keys = schema["$defs"]["AgentTable"]["properties"]
    said = {row.split(":")[0].strip() for row in without}
    return [
        row for key in _keys(("agents", "*"), keys) if key not in said for row in _explained(key, keys[key], "    ")
    ]


def _keys(way: tuple[str, ...], properties: Mapping[str, Any]) -> list[str]:
    """The keys of a table that can be used, in the order in which plans have them."""
    order = [key for key in key_order(*way) if key in properties]
    order += [key for key in properties if key not in order]
    return [key for key in order if _NOT_YET not in properties[key].get("description", "")]


def _explained(key: str, schema: Mapping[str, Any], pad: str) -> list[str]:
    text = schema.get("description", "")
    row = _with(f"{pad}# {key}: {_EXAMPLES.get(key, '...')}", f"# {text}") if text else f"{pad}# {key}: ..."
    if len(row) <= WIDTH:
        return [row]
    return [f"{pad}# {text}", f"{pad}# {key}: {_EXAMPLES.get(key, '...')}"]


def _with(row: str, comment: str, *, indent: int = 0) -> str:
    return f"{row:<{_COLUMN - indent}}{comment}" if len(row) + 2 <= _COLUMN - indent else f"{row}  {comment}"


def _checks(checks: Sequence[CheckGuess]) -> list[str]:
    rows = ["checks:"]
    for check in checks:
        rows.append(f"  # {check.because}")
        rows.append(f"  - {{name: {one_line(check.name)}, run: {_list(check.run)}}}")
    return rows


def _agents(agents: Sequence[KnownAgent]) -> list[str]:
    if not agents:
        return []
    rows = ["agents:"]
    for agent in agents:
        rows.append(f"  # started like this, {agent.program} {agent.allows}")
        rows += [f"  {agent.name}:", "    adapter: command", *_listed("run", agent.run, "    ")]
        rows.append(f"    stdin: {agent.stdin}")
        rows += _listed("pass_env", agent.pass_env, "    ") if agent.pass_env else []
    return [*rows, f"defaults: {{agent: {agents[0].name}}}"]


def _list(words: Iterable[str]) -> str:
    return f"[{', '.join(one_line(word) for word in words)}]"


def _listed(key: str, words: Sequence[str], pad: str) -> list[str]:
    row = f"{pad}{key}: {_list(words)}"
    return [row] if len(row) <= WIDTH else [f"{pad}{key}:", *(f"{pad}  - {one_line(word)}" for word in words)]
