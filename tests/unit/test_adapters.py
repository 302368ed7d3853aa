"""How agent programs are started, and what they are understood to say."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from orchestrator_agents.plain import CommandAdapter, DemoAdapter

from orchestrator.backends.registry import load_adapters
from orchestrator.backends.surroundings import ProcessSurroundings
from orchestrator.core.agent_lines import LONGEST, read_report
from orchestrator.model.agent import AgentPaths, AgentReport, Asked, HandedIn, Launch, NoChange, Progress
from orchestrator.model.plan import AgentSpec
from tests.unit.test_briefing import a_briefing

PATHS = AgentPaths(run_dir="/run", worktree="/tree", prompt_file="/run/prompt.txt", briefing_file="/run/briefing.md")
SPEC = AgentSpec(name="shell", adapter="command", count=1, stdin="none")


def launched(**changes: Any) -> Launch:
    briefing = a_briefing(prompt="say {task} $(rm -rf /)\n'quoted'", worktree="/tree")
    return CommandAdapter().launch(replace(SPEC, **changes), briefing, PATHS)


@pytest.mark.parametrize(
    ("word", "argument"),
    [
        pytest.param("{task}", "cart", id="task"),
        pytest.param("{attempt}", "2", id="attempt"),
        pytest.param("{worktree}/x", "/tree/x", id="worktree"),
        pytest.param("@{prompt_file}", "@/run/prompt.txt", id="prompt file"),
        pytest.param("--briefing={briefing}", "--briefing=/run/briefing.md", id="briefing file"),
        pytest.param("{task}-{attempt}", "cart-2", id="two in one"),
        pytest.param("{prompt}", "say {task} $(rm -rf /)\n'quoted'", id="prompt verbatim and not filled again"),
        pytest.param("{other} {} {{task}} ${HOME}", "{other} {} {cart} ${HOME}", id="other braces stay"),
    ],
)
def test_a_placeholder_is_filled_inside_one_argument(word: str, argument: str) -> None:
    assert launched(run=("prog", word)).argv == ("prog", argument)


def test_stdin_gets_what_the_plan_says_and_nothing_else() -> None:
    assert launched(run=("p",), stdin="none") == Launch(argv=("p",), stdin="none")
    prompt = "say {task} $(rm -rf /)\n'quoted'"
    assert launched(run=("p",), stdin="prompt") == Launch(argv=("p",), stdin="closed", first=prompt)
    briefed = launched(run=("p",), stdin="briefing")
    assert briefed.stdin == "closed"
    assert briefed.first == CommandAdapter().briefing_text(a_briefing(prompt=prompt, worktree="/tree"))


def test_adapters_are_found_by_their_entry_points() -> None:
    adapters = load_adapters()
    assert {"command", "demo"} <= set(adapters)
    for name, adapter in adapters.items():
        assert adapter.name == name
    assert adapters["command"].needs_run
    assert not adapters["demo"].needs_run


def test_the_demo_agent_takes_nothing_from_its_worktree() -> None:
    launch = DemoAdapter().launch(SPEC, a_briefing(), PATHS)
    assert launch.argv[1] == "-I"
    assert launch.argv[2].endswith("/demo.py")
    assert DemoAdapter().translator() is None


# ---- reports ----


@pytest.mark.parametrize(
    ("line", "report"),
    [
        pytest.param(
            {"type": "ask", "id": "q", "text": "?"}, Asked(question_id="q", text="?"), id="ask without options"
        ),
        pytest.param(
            {"type": "ask", "id": "q", "text": "?", "options": ["a", 1, "b"], "waits": False},
            Asked(question_id="q", text="?", options=("a", "b"), waits=False),
            id="ask with options",
        ),
        pytest.param({"type": "hand-off", "summary": "s"}, HandedIn(summary="s"), id="hand-off"),
        pytest.param({"type": "no-change", "reason": "r"}, NoChange(reason="r"), id="no change"),
        pytest.param({"type": "progress", "text": "t", "new": 1}, Progress(text="t"), id="from a newer version"),
        pytest.param({"type": "progress", "text": 1}, None, id="wrong type"),
        pytest.param({"type": "ask", "text": "?"}, None, id="incomplete"),
        pytest.param({"type": "merge"}, None, id="unknown"),
        pytest.param(["progress"], None, id="no object"),
        pytest.param({"type": "progress", "text": "x" * LONGEST}, None, id="too long"),
    ],
)
def test_a_line_says(line: Any, report: AgentReport | None) -> None:
    assert read_report(json.dumps(line).encode()) == report


@pytest.mark.parametrize(
    "line",
    [b"", b"\xff\xfe", b"{", b"nul\0", b"[" * 60_000, b"1" * 60_000],
    ids=["", "bytes", "torn", "nul", "deep", "digits"],
)
def test_a_line_of_nonsense_says_nothing(line: bytes) -> None:
    assert read_report(line) is None


# ---- the environment ----

DAEMON = {
    "PATH": "/usr/bin",
    "HOME": "/home/ada",
    "LC_ALL": "C.UTF-8",
    "XDG_CONFIG_HOME": "/home/ada/.config",
    "https_proxy": "http://proxy",
    "NO_PROXY": "localhost",
    "SSL_CERT_FILE": "/certs.pem",
    "SSH_AUTH_SOCK": "/agent.sock",
    "API_KEY": "canary-1618",
    "GIT_DIR": "/elsewhere",
    "ORCHESTRATOR_LOG_LEVEL": "debug",
    "PYTHONPATH": "/elsewhere",
    "LD_PRELOAD": "/elsewhere.so",
}


@pytest.mark.parametrize("name", ["HOME", "LC_ALL", "XDG_CONFIG_HOME", "https_proxy", "NO_PROXY", "SSL_CERT_FILE"])
def test_programs_get_what_every_program_needs(name: str) -> None:
    assert ProcessSurroundings(DAEMON, identity={}).environment((), {})[name] == DAEMON[name]


@pytest.mark.parametrize("name", ["API_KEY", "GIT_DIR", "ORCHESTRATOR_LOG_LEVEL", "PYTHONPATH", "LD_PRELOAD"])
def test_programs_get_nothing_else(name: str) -> None:
    assert name not in ProcessSurroundings(DAEMON, identity={}).environment((), {})


def test_a_named_variable_is_passed_and_its_value_is_a_secret() -> None:
    surroundings = ProcessSurroundings(DAEMON, identity={})
    env = surroundings.environment(("API_KEY", "ABSENT"), {"HOME": "/elsewhere"})
    assert (env["API_KEY"], env["HOME"]) == ("canary-1618", "/elsewhere")
    assert "ABSENT" not in env
    assert surroundings.secrets(("API_KEY", "ABSENT")) == ("canary-1618",)


def test_orch_agent_is_found_behind_the_programs_of_the_user() -> None:
    path = ProcessSurroundings(DAEMON, identity={}).environment((), {})["PATH"].split(":")
    assert path[0] == "/usr/bin"
    assert len(path) == 2
