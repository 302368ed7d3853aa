"""Plan files, settings, ledgers and commands that cannot be used: one clear error each, and nothing is changed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.scene import PLAN, Edge, Scene, accepted, refused

Spoil = Callable[[Scene], object]


def nothing(_: Scene) -> None:
    """The world is as it should be, and what is typed is not."""


def plan_of(content: bytes) -> Spoil:
    return lambda scene: scene.write("plans/work.yaml", content)


def settings_of(content: bytes) -> Spoil:
    return lambda scene: scene.write("orchestrator.toml", content)


def check(path: str) -> tuple[str, ...]:
    return ("plan", "check", path)


def pipe(scene: Scene) -> None:
    os.mkfifo(scene.repo / "plans/pipe.yaml")


def unreadable(scene: Scene) -> None:
    (scene.repo / "plans/work.yaml").unlink()
    (scene.repo / "plans/work.yaml").symlink_to("/proc/self/mem")


def link_to_nothing(scene: Scene) -> None:
    (scene.repo / "plans/link.yaml").symlink_to("nowhere.yaml")


def settings_of_the_user(scene: Scene) -> None:
    folder = scene.person.home / ".config" / "orchestrator"
    folder.mkdir(parents=True)
    (folder / "orchestrator.toml").write_text("[[")


def prompt_out_of_the_repository(scene: Scene) -> None:
    (scene.top / "secret.md").write_text("secret")
    (scene.repo / "plans/one.md").symlink_to(scene.top / "secret.md")
    scene.write("plans/work.yaml", with_prompt_file("plans/one.md"))


def with_prompt_file(name: str) -> str:
    return PLAN.replace("prompt: |\n      !append one.txt hello\n      !commit", f"prompt_file: {name}")


PLANS = [
    Edge(
        name="no such file", spoil=nothing, typed=check("plans/wrok.yaml"), message="'plans/wrok.yaml'", fix="work.yaml"
    ),
    Edge(name="a dash", spoil=nothing, typed=check("-"), message="there is no plan file '-'", fix="plans/work.yaml"),
    Edge(name="a folder", spoil=nothing, typed=check("plans"), message="'plans' is a folder", fix="plans/work.yaml"),
    Edge(name="a device", spoil=nothing, typed=check("/dev/null"), message="is not a plan file", fix="plans/work.yaml"),
    Edge(
        name="a pipe", spoil=pipe, typed=check("plans/pipe.yaml"), message="is not a plan file", fix="plans/work.yaml"
    ),
    Edge(
        name="a link to nothing",
        spoil=link_to_nothing,
        typed=check("plans/link.yaml"),
        message="no plan file",
        fix="work",
    ),
    Edge(
        name="a name that is too long", spoil=nothing, typed=check("x" * 300), message="no plan file", fix="work.yaml"
    ),
    Edge(
        name="below a file", spoil=nothing, typed=check("README.md/plan.yaml"), message="no plan file", fix="work.yaml"
    ),
    Edge(name="unreadable", spoil=unreadable, message="cannot read the plan file", fix="check the path"),
    Edge(name="empty", spoil=plan_of(b""), message="the plan is empty", fix="write `tasks:`"),
    Edge(name="only a comment", spoil=plan_of(b"# soon\n"), message="the plan is empty", fix="write `tasks:`"),
    Edge(name="binary", spoil=plan_of(bytes(range(256))), message="not UTF-8 text", fix="save the file as UTF-8"),
    Edge(name="UTF-16", spoil=plan_of(PLAN.encode("utf-16")), message="not UTF-8 text", fix="save the file as UTF-8"),
    Edge(
        name="a NUL",
        spoil=plan_of(PLAN.encode() + b"\0"),
        message="the character U+0000 may not stand",
        fix="remove it",
    ),
    Edge(name="too big", spoil=plan_of(b"#" * (17 << 20)), message="the plan file is too big", fix="prompt_file"),
    Edge(name="JSON cut off", spoil=plan_of(b'{"tasks": ['), message="not valid YAML", fix="brackets of this line"),
    Edge(
        name="a list",
        spoil=plan_of(b"- one\n- two\n"),
        message="the plan is not a table",
        fix="begin the file with `tasks:`",
    ),
    Edge(
        name="prompt file missing",
        spoil=plan_of(with_prompt_file("plans/none.md").encode()),
        message="'plans/none.md' cannot be read",
        fix="correct the path",
    ),
    Edge(
        name="prompt file led outside",
        spoil=prompt_out_of_the_repository,
        message="'plans/one.md' cannot be read",
        fix="correct the path",
    ),
    Edge(
        name="prompt file is a folder",
        spoil=plan_of(with_prompt_file("src").encode()),
        message="'src' cannot be read",
        fix="correct the path",
    ),
]


# ---- settings ----

SETTINGS = [
    Edge(
        name="broken", spoil=settings_of(b"[[["), message="{repo}/orchestrator.toml cannot be read", fix="mend the file"
    ),
    Edge(name="unknown key", spoil=settings_of(b"colour = 1\n"), message="unknown key 'colour'", fix="remove it"),
    Edge(name="wrong type", spoil=settings_of(b"worktrees = 3\n"), message="'3' cannot be used", fix="such a value"),
    Edge(name="not UTF-8", spoil=settings_of(b"# \xff\n"), message="cannot be read", fix="mend the file"),
    Edge(
        name="a folder",
        spoil=lambda scene: (scene.repo / "orchestrator.toml").mkdir(),
        message="{repo}/orchestrator.toml cannot be read",
        fix="mend the file",
    ),
    Edge(name="the user's own", spoil=settings_of_the_user, message=".config/orchestrator/", fix="mend the file"),
    Edge(
        name="unknown variable",
        spoil=lambda scene: scene.set("ORCHESTRATOR_NOPE", "1"),
        message="ORCHESTRATOR_NOPE sets nothing",
        fix="unset it",
    ),
    Edge(
        name="wrong variable",
        spoil=lambda scene: scene.set("ORCHESTRATOR_LOG_LEVEL", "loud"),
        message="'loud' is no level",
        fix="write info",
    ),
]


# ---- ledgers, and verbs before anything has run ----


def ledger(content: bytes) -> Spoil:
    def make(scene: Scene) -> None:
        scene.state.mkdir(mode=0o700)
        (scene.state / "ledger.sqlite").write_bytes(content)

    return make


def newer_ledger(scene: Scene) -> None:
    scene.state.mkdir(mode=0o700)
    with closing(sqlite3.connect(scene.state / "ledger.sqlite")) as connection:
        connection.executescript(f"PRAGMA application_id = {0x6F726368}; PRAGMA user_version = 99; CREATE TABLE x (y)")


def ledger_of_another_program(scene: Scene) -> None:
    scene.state.mkdir(mode=0o700)
    with closing(sqlite3.connect(scene.state / "ledger.sqlite")) as connection:
        connection.executescript("CREATE TABLE x (y)")


LEDGERS = [
    Edge(name="no bytes", spoil=ledger(b""), typed=("status",), code=7, message="nothing has run", fix="start"),
    Edge(
        name="garbage",
        spoil=ledger(b"garbage" * 999),
        typed=("status",),
        code=6,
        message="is not a ledger",
        fix="recover",
    ),
    Edge(name="newer", spoil=newer_ledger, typed=("status",), code=6, message="newer version", fix="use that version"),
    Edge(
        name="another's",
        spoil=ledger_of_another_program,
        typed=("logs",),
        code=6,
        message="not a ledger",
        fix="recover",
    ),
    Edge(
        name="a folder",
        spoil=lambda scene: (scene.state / "ledger.sqlite").mkdir(parents=True),
        typed=("events",),
        code=6,
        message="the ledger {repo}/.git/orchestrator/ledger.sqlite",
        fix="look at",
    ),
]

#: typed where nothing was ever started -> exit code, what is said
EARLY: dict[str, tuple[int, str]] = {
    "status": (7, "nothing has run in this repository yet"),
    "logs": (7, "nothing has run in this repository yet"),
    "events": (7, "nothing has run in this repository yet"),
    "report": (7, "nothing has run in this repository yet"),
    "inbox": (7, "nothing has run in this repository yet"),
    "why one": (7, "nothing has run in this repository yet"),
    "retry one": (7, "nothing has run in this repository yet"),
    "answer i1 retry": (7, "nothing has run in this repository yet"),
    "start": (7, "there is nothing to go on with"),
    "pause": (3, "no daemon runs for {repo}"),
    "resume": (3, "no daemon runs for {repo}"),
    "publish": (3, "no daemon runs for {repo}"),
}
VERBS = [
    Edge(name=typed, spoil=nothing, typed=tuple(typed.split()), code=code, message=message, fix="start")
    for typed, (code, message) in EARLY.items()
]


@pytest.mark.parametrize(
    "edge",
    [
        pytest.param(edge, id=f"{group}: {edge.name}")
        for group, edges in (("plan", PLANS), ("settings", SETTINGS), ("ledger", LEDGERS), ("early", VERBS))
        for edge in edges
    ],
)
def test_what_cannot_be_used_is_said_and_nothing_is_changed(scene: Scene, edge: Edge) -> None:
    refused(scene, edge)


# ---- what works all the same ----


def named(name: str) -> Spoil:
    return lambda scene: scene.write(name, PLAN)


def posix(scene: Scene) -> None:
    scene.set("LANG", "C")
    scene.set("LC_ALL", "POSIX")
    scene.write("plans/work.yaml", PLAN.replace("- id: one", "- id: one\n    title: Ärger mit Öl →"))


@pytest.mark.parametrize(
    ("spoil", "typed"),
    [
        pytest.param(plan_of(b"\xef\xbb\xbf" + PLAN.encode()), check("plans/work.yaml"), id="a byte order mark"),
        pytest.param(plan_of(PLAN.replace("\n", "\r\n").encode()), check("plans/work.yaml"), id="lines of Windows"),
        pytest.param(plan_of(PLAN.rstrip().encode()), check("plans/work.yaml"), id="no newline at the end"),
        pytest.param(
            named("plans/a b\n'ü\".yaml"), check("plans/a b\n'ü\".yaml"), id="a newline and quotes in its name"
        ),
        pytest.param(named("plans/u\u0308.yaml"), check("plans/u\u0308.yaml"), id="a decomposed umlaut in its name"),
        pytest.param(named("-x.yaml"), check("./-x.yaml"), id="a name that begins with a dash"),
        pytest.param(named("-x.yaml"), ("plan", "check", "--", "-x.yaml"), id="the same after two dashes"),
        pytest.param(posix, check("plans/work.yaml"), id="locale C and umlauts"),
        pytest.param(lambda scene: scene.set("TERM", "dumb"), check("plans/work.yaml"), id="a dumb terminal"),
        pytest.param(lambda scene: scene.set("NO_COLOR", "1"), check("plans/work.yaml"), id="no colours"),
        pytest.param(settings_of(b""), check("plans/work.yaml"), id="empty settings"),
    ],
)
def test_what_is_only_unusual_is_read_as_ever(scene: Scene, spoil: Spoil, typed: tuple[str, ...]) -> None:
    spoil(scene)
    accepted(scene, typed)


def test_a_command_that_is_offered_can_be_typed_as_it_stands(scene: Scene) -> None:
    """Names that a shell would take apart are quoted in what a person is told to type."""
    name = "plans/a b'ü.yaml"
    scene.write(name, PLAN)
    said = scene.type("start", name)
    assert said.code == 4
    assert "orchestrator start 'plans/a b'\"'\"'ü.yaml' --confirm " in said.err


def test_a_plan_outside_of_the_repository_is_read_there(scene: Scene) -> None:
    elsewhere = scene.top / "elsewhere.yaml"
    elsewhere.write_text(PLAN)
    accepted(scene, ("plan", "check", str(elsewhere)))
    accepted(scene, ("plan", "check", os.path.relpath(elsewhere, scene.here)))
    assert Path(scene.repo / "elsewhere.yaml").exists() is False
