"""One command as it was called: where, how to answer, and its ways to the ledger, the daemon and the person."""

from __future__ import annotations

import json as json_text
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from orchestrator.model.errors import ExitCode, OrchestratorError, PlanError, Problem

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from orchestrator.app.validation import Validation
    from orchestrator.core.detection import Signs
    from orchestrator.core.planfile import Draft
    from orchestrator.core.tighten import Proposal
    from orchestrator.model.assessment import Assessment
    from orchestrator.model.place import Place
    from orchestrator.model.probe import Probe
    from orchestrator.model.repo import RepoFacts
    from orchestrator.model.view import AttemptView, Change, PlanView, TaskView, TreeHolds, TreeView
    from orchestrator.ports import LedgerReader
    from orchestrator.wire import Accepted, Action, Hello, Overrides, SubmitPlan

#: Of the JSON that this command prints. Said again here because `wire` is slow to load; a test keeps the two equal.
CONTRACT = 1

#: Wide enough that nothing is ever wrapped when a program reads the output.
UNLIMITED_WIDTH = 100_000


class World(Protocol):
    """What faces need of `orchestrator.app`."""

    def place_for(self, start: Path) -> Place: ...
    def open_ledger(self, place: Place) -> LedgerReader: ...
    def daemon_info(self, place: Place) -> dict[str, Any] | None: ...
    def load_settings(self, place: Place, flags: Mapping[str, Any] | None = None) -> Any: ...
    def look_around(self, place: Place) -> Signs: ...
    def settings_file(self, place: Place) -> str | None: ...
    def write_settings(self, place: Place, text: str) -> Path: ...
    def examine(self, start: Path) -> tuple[Probe, ...]: ...
    def setting_origins(self, settings: Any) -> list[tuple[str, Any, str]]: ...
    def check_plan(self, place: Place, path: Path, overrides: Overrides, text: str | None = None) -> Assessment: ...
    def kept_plan(self, place: Place, name: str) -> str | None: ...
    def keep_plan(self, place: Place, name: str, text: str) -> Path: ...
    def edit_file(self, path: Path) -> int: ...
    def editor(self) -> list[str]: ...
    def page(self, text: bytes, *, like_git: bool = False) -> bool: ...
    def plan_schema(self) -> dict[str, Any]: ...
    def repo_facts(self, place: Place) -> RepoFacts: ...
    def write_schema(self, place: Place) -> Path: ...
    def save_made(self, path: Path, text: str) -> None: ...
    def save_text(self, path: Path, text: str, *, instead_of: bytes | None = None) -> None: ...
    def tighter_files(self, place: Place, draft: Draft) -> list[Proposal]: ...
    def spawn_daemon(self, place: Place, *, log_level: str | None = None) -> None: ...
    def run_daemon(
        self,
        place: Place,
        *,
        submit: SubmitPlan | None,
        exit_when_done: bool,
        exit_when_blocked: bool,
        console: bool,
    ) -> int: ...
    def why(self, place: Place, task: str, plan: str) -> list[str]: ...
    def recovery(self, place: Place, source: str | None = None) -> AbstractContextManager[Any]: ...
    def validate(self, place: Place, *, fix: bool) -> Validation: ...
    def end_daemon(self, place: Place) -> bool: ...


class Sight(Protocol):
    """What faces need of `orchestrator.app.looking`: trees and changes, looked at without a daemon."""

    def trees(
        self, place: Place, plans: Sequence[PlanView], tasks: Sequence[TaskView], *, look: bool = True
    ) -> list[TreeView]: ...
    def tree_holds(self, place: Place, view: TreeView, prepared: Sequence[str]) -> TreeHolds: ...
    def change_of(
        self, place: Place, plan: PlanView, task: TaskView, attempt: AttemptView | None, options: Sequence[str]
    ) -> Change: ...
    def fetch_branch(self, place: Place, attempt: AttemptView, branch: str) -> Any: ...
    def run_here(
        self,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        environ: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
    ) -> int: ...


class Door(Protocol):
    """The daemon's local API, as `orchestrator.client.Client` offers it."""

    def hello(self) -> Hello: ...
    def submit(self, plan: SubmitPlan) -> Accepted: ...
    def act(self, action: Action) -> Accepted: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command has to say: data for programs, a page for people, and what was not as wished."""

    data: Any = None
    page: Callable[[], Iterable[RenderableType]] = tuple
    error: OrchestratorError | None = None  #: shown after the page; its exit code is the command's
    paged: bool = False  #: by the person's pager where it is longer than their screen
    streamed: bool = False  #: everything has been printed already, line by line


def _the_world() -> World:
    from orchestrator import app

    return app


def _the_sight() -> Sight:
    from orchestrator.app import looking

    return looking


def _client(place: Place) -> Door:
    from orchestrator.client import Client

    return Client(place)


def _now() -> datetime:
    # Ages are worked out by the face that shows them, so a face may look at the clock.
    return datetime.now(UTC)  # noqa: TID251


@dataclass(slots=True, kw_only=True)
class Session:
    directory: Path | None = None  #: `-C`; None: where the command was typed
    json: bool = False
    color: str = "auto"  #: auto, always or never
    debug: bool = False
    program: str = "orchestrator"
    command: str = ""  #: the verb as typed, such as `plan check`
    terminal: bool | None = None  #: None: look at the streams
    world: Callable[[], World] = _the_world
    sight: Callable[[], Sight] = _the_sight
    connect: Callable[[Place], Door] = _client
    now: Callable[[], datetime] = _now
    wait: Callable[[float], None] = time.sleep
    ask: Callable[[str], str] | None = None  #: None: the person at the terminal
    known_place: Place | None = None
    opened: list[LedgerReader] = field(default_factory=list)
    is_gone: bool = False  #: the person closed their side instead of answering
    columns: int | None = None  #: of the terminal; None: look at it

    # ---- ways to the outside ----

    def place(self) -> Place:
        """Where things of this repository are. Raises: RepositoryError outside of one."""
        if self.known_place is None:
            from orchestrator.discover import find_place

            self.known_place = find_place(self.directory or Path.cwd())
        return self.known_place

    def place_of_trees(self) -> Place:
        """The same with the worktree folder that the settings name."""
        return self.world().place_for(self.place().root)

    def ledger(self) -> LedgerReader:
        """Raises: NothingError when nothing was ever started here."""
        reader = self.world().open_ledger(self.place())
        self.opened.append(reader)
        if reader.newer is not None and len(self.opened) == 1:
            self.say(f"a newer version of orchestrator keeps this ledger ({reader.newer}): not all is shown", talk=True)
        return reader

    def close(self) -> None:
        """Give back what was opened."""
        while self.opened:
            self.opened.pop().close()

    def daemon_pid(self) -> int | None:
        info = self.world().daemon_info(self.place())
        return None if info is None else int(info["pid"])

    def path(self, typed: Path) -> Path:
        """A path as typed, absolute."""
        return (self.directory or Path.cwd()) / typed

    def command_line(self, *words: str) -> str:
        """A command for the person to type."""
        where = ["-C", str(self.directory)] if self.directory else []
        return shlex.join([self.program, *where, *words])

    # ---- the person ----

    @property
    def on_terminal(self) -> bool:
        """Whether a person looks at the output."""
        if self.terminal is not None:
            return self.terminal and not self.json
        return not self.json and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"

    @property
    def has_screen(self) -> bool:
        """Whether something can be drawn on it again and again."""
        return self.on_terminal and sys.stdout.isatty()

    @property
    def may_ask(self) -> bool:
        """Whether there is a person who can answer."""
        if self.terminal is not None:
            return self.on_terminal
        return not self.json and sys.stdout.isatty() and sys.stdin.isatty()

    def question(self, text: str) -> str:
        """What the person types; empty when they have gone away."""
        if self.ask is not None:
            return self.ask(text).strip()
        sys.stderr.write(text)
        sys.stderr.flush()
        said = ""
        try:
            said = sys.stdin.readline()
        finally:
            if not said.endswith("\n"):  # Ctrl-C or Ctrl-D: what follows begins on a line of its own
                sys.stderr.write("\n")
        self.is_gone = not said
        return said.strip()

    # ---- output ----

    @property
    def is_fine(self) -> bool:
        """Whether the output can show blocks and dots, and not only ASCII."""
        try:
            "█░…".encode(getattr(sys.stdout, "encoding", None) or "ascii")
        except (UnicodeEncodeError, LookupError):
            return False
        return True

    def console(self, stream: TextIO | None = None) -> Console:
        from rich.console import Console

        file = stream or sys.stdout
        on_terminal = file.isatty()
        plain = self.color == "never" or (
            self.color == "auto" and (not on_terminal or bool(os.environ.get("NO_COLOR")))
        )
        system = None if plain else ("auto" if on_terminal else "standard")
        return Console(
            file=file,
            force_terminal=on_terminal,
            color_system=system,  # type: ignore[arg-type]  # one of the names that rich knows
            no_color=plain,
            width=self.columns or (None if on_terminal else UNLIMITED_WIDTH),
            highlight=False,
            markup=False,
            emoji=False,
        )

    def say(self, *page: RenderableType, talk: bool = False) -> None:
        """Print for people; `talk` goes to stderr."""
        if self.json:
            return
        from rich.text import Text

        stream = sys.stderr if talk else sys.stdout
        console = self.console(stream)
        for part in page:
            if console.is_terminal:
                console.print(part, soft_wrap=isinstance(part, str | Text))
                continue
            if isinstance(part, str | Text) and console.color_system is None:
                # A log can have a million lines, and rich takes its time with each.
                stream.write(f"{str(part).rstrip(' ')}\n")
                continue
            with console.capture() as captured:
                console.print(part)
            stream.write("".join(f"{row.rstrip(' ')}\n" for row in captured.get().splitlines()))
        stream.flush()

    def say_paged(self, *page: RenderableType) -> None:
        """Print for people, through their pager when it is longer than their screen."""
        if not (self.on_terminal and sys.stdout.isatty()):
            self.say(*page)
            return
        from rich.cells import cell_len
        from rich.text import Text

        console = self.console()
        with console.capture() as captured:
            for part in page:
                console.print(part, soft_wrap=isinstance(part, str | Text))
        text = captured.get()
        shown = Text.from_ansi(text).plain.split("\n")
        height = sum(max(-(-cell_len(row) // console.width), 1) for row in shown)
        # One line stays for what is asked next.
        if height < console.height or not self.world().page(text.encode(errors="replace")):
            sys.stdout.write(text)
            sys.stdout.flush()

    def show(self, answer: Answer) -> int:
        """Print an answer the way it was asked for. Returns: the exit code."""
        code = answer.error.exit_code if answer.error else ExitCode.OK
        if self.json:
            if not answer.streamed:
                self.print_json(envelope(self.command, answer.data, answer.error))
            return code
        if not answer.streamed:
            (self.say_paged if answer.paged else self.say)(*answer.page())
        if answer.error:
            self.complain(answer.error)
        return code

    def fail(self, error: OrchestratorError) -> int:
        """Say what went wrong. Returns: the exit code."""
        if self.json:
            problems = error.problems if isinstance(error, PlanError) else ()
            data = {"errors": [problem_data(one) for one in problems]} if problems else None
            self.print_json(envelope(self.command, data, error))
        else:
            self.complain(error)
        return error.exit_code

    def complain(self, error: OrchestratorError) -> None:
        from orchestrator.cli.words import told

        head = "" if isinstance(error, PlanError) else "error: "
        style = "red" if self.color != "never" else ""
        self.say(*told(f"{head}{error}", style), talk=True)

    def print_json(self, value: Any) -> None:
        sys.stdout.write(as_json(value) + "\n")
        sys.stdout.flush()


def as_json(value: Any) -> str:
    return json_text.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: object) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def problem_data(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "code": problem.code,
        "message": problem.message,
        "why": problem.why,
        "fix": problem.fix,
    }


def envelope(command: str, data: Any, error: OrchestratorError | None) -> dict[str, Any]:
    """What `--json` prints, whatever happened."""
    said = None
    if error is not None:
        # Plan errors come all at once; the first stands for them.
        code = error.problems[0].code if isinstance(error, PlanError) else error.code
        said = {"code": code, "message": error.message, "why": error.why, "fix": error.fix}
    return {"contract": CONTRACT, "command": command, "ok": error is None, "data": data, "error": said}
