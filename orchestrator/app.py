"""Composition root: the one file that names concrete backends. Faces ask it for what they need.

Heavy imports stay inside the functions that need them, so that reading verbs start fast.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import __version__
from orchestrator.discover import find_place
from orchestrator.model.errors import (
    ConfirmationNeeded,
    ExitCode,
    NothingError,
    OrchestratorError,
    PlanError,
    SettingsError,
    UsageError,
)
from orchestrator.model.place import Place

if TYPE_CHECKING:
    from orchestrator.backends.local import LocalExecutor
    from orchestrator.backends.lock import DaemonLock
    from orchestrator.backends.repository import GitRepository
    from orchestrator.core.detection import Signs
    from orchestrator.core.settings import Settings
    from orchestrator.model.assessment import Assessment
    from orchestrator.model.fact import PlanSubmitted
    from orchestrator.model.probe import Probe
    from orchestrator.ports import Adapter, LedgerReader
    from orchestrator.wire import Hello, Overrides, SubmitPlan

MAX_READ_BYTES = 1024 * 1024  #: of one prompt or context file
START_TIMEOUT_S = 30.0
HELLO_WITHIN_S = 2.0  #: a daemon that answers later hangs


# ---- settings ----


def _read_toml(path: Path) -> tuple[str, dict[str, Any]] | None:
    try:
        return str(path), tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read", why=str(error), fix="mend the file, or move it away") from error


def load_settings(place: Place, flags: Mapping[str, Any] | None = None) -> Settings:
    """Defaults, the user's file, `orchestrator.toml` of the repository, the environment, flags: later ones win."""
    import platformdirs

    from orchestrator.core.settings import build_settings

    return build_settings(
        user=_read_toml(Path(platformdirs.user_config_dir("orchestrator")) / "orchestrator.toml"),
        project=_read_toml(place.root / "orchestrator.toml"),
        environ=os.environ,
        flags=flags or {},
    )


def setting_origins(settings: Settings) -> list[tuple[str, Any, str]]:
    """Every setting with its value and where it comes from."""
    from orchestrator.core.settings import origins

    return list(origins(settings))


def place_for(start: Path) -> Place:
    """Where things are for the repository at `start`, the settings' worktree folder taken into account."""
    place = find_place(start)
    worktrees = load_settings(place).worktrees
    return find_place(start, worktrees=Path(worktrees).expanduser()) if worktrees else place


def look_around(place: Place) -> Signs:
    """What there is in the repository and on this machine that settings can be proposed by."""
    from orchestrator.backends.signs import look_around as look

    return look(place)


def settings_file(place: Place) -> str | None:
    """The text of the repository's `orchestrator.toml`; None when there is none. Raises: SettingsError."""
    from orchestrator.backends.settingsfile import read

    return read(place)


def write_settings(place: Place, text: str) -> Path:
    """Make `orchestrator.toml` of the repository, whole or not at all; never overwrites. Raises: OrchestratorError."""
    from orchestrator.backends.settingsfile import write

    return write(place, text)


# ---- reading ----


def open_ledger(place: Place) -> LedgerReader:
    """The ledger, to look at. Raises: NothingError when nothing has run here yet."""
    from orchestrator.backends.sqlite import SqliteReader

    if not place.ledger.exists():
        raise NothingError(
            "nothing has run in this repository yet", why="", fix="`orchestrator start plans/YOUR-PLAN.yaml`"
        )
    return SqliteReader(place.ledger)


def daemon_info(place: Place) -> dict[str, Any] | None:
    """Who holds the daemon's lock; None when nobody does."""
    from orchestrator.backends.lock import DaemonLock

    return DaemonLock.holder(place.daemon_lock)


def why(place: Place, task: str, plan: str) -> list[str]:
    """What a task waits for and who holds it, one reason a line."""
    import anyio

    from orchestrator.backends.sqlite import SqliteStore
    from orchestrator.core.report import why_lines
    from orchestrator.core.state import rebuild
    from orchestrator.core.tasks import find_task
    from orchestrator.model.ids import PlanId, TaskId

    open_ledger(place).close()
    state = rebuild(anyio.run(SqliteStore.read_events, place.ledger))
    run = state.plans.get(PlanId(plan))
    if run is None:
        raise NothingError("no plan has been started", why="", fix="`orchestrator start PLAN`")
    return list(why_lines(state, run, find_task(run, TaskId(task))))


# ---- plans ----


def adapters() -> dict[str, Adapter]:
    """The installed adapters, by name."""
    from orchestrator.backends.registry import load_adapters

    return load_adapters()


def plan_schema() -> dict[str, Any]:
    """The JSON Schema of a plan file."""
    from orchestrator.core.planfile import plan_schema as schema

    return schema()


def check_plan(place: Place, path: Path, overrides: Overrides) -> Assessment:
    """What a person would confirm."""
    import anyio

    return anyio.run(assess_plan, place, path, overrides)


async def assess_plan(place: Place, path: Path, overrides: Overrides) -> Assessment:
    """Read a plan file and all it names, look at the repository, and work out what a person would confirm."""
    import anyio

    from orchestrator.backends.repository import GitRepository
    from orchestrator.core.assessment import assess
    from orchestrator.core.planfile import parse_plan, resolve_plan
    from orchestrator.model.assessment import Assessment

    name = str(path.relative_to(place.root)) if path.is_relative_to(place.root) else str(path)
    data = await anyio.to_thread.run_sync(_read_plan, path, name)
    settings = load_settings(place)
    try:
        draft = parse_plan(data, file=name)
    except PlanError as error:
        return Assessment(plan=None, errors=error.problems)
    facts = await GitRepository(place).facts(draft.target)
    contents = {wanted: _read_text(place.root, wanted) for wanted in draft.wanted_files}
    resolved = await anyio.to_thread.run_sync(
        lambda: resolve_plan(
            draft,
            settings=settings,
            facts=facts,
            contents=contents,
            adapters={adapter.name: adapter.needs_run for adapter in adapters().values()},
            parallel=overrides.parallel,
            agent=overrides.agent,
            isolation=overrides.isolation,
        )
    )
    return await anyio.to_thread.run_sync(
        lambda: assess(resolved.plan, resolved.problems, resolved.places, file=name, facts=facts)
    )


def _read_plan(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read the plan file {name}", why=error.strerror or str(error), fix="check the path"
        ) from error


def _read_text(root: Path, name: str) -> str | None:
    """The text of a file of the repository; None when there is none, or it is no text, or too large."""
    path = (root / name).resolve()
    try:
        if not path.is_relative_to(root.resolve()) or not path.is_file() or path.stat().st_size > MAX_READ_BYTES:
            return None
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


async def confirmed(place: Place, message: SubmitPlan) -> PlanSubmitted:
    """The plan of a message, read anew. Raises: ConfirmationNeeded when it is not what was confirmed."""
    from orchestrator.core.graph import ranks
    from orchestrator.core.overlap import rivals_of
    from orchestrator.model.assessment import Verdict
    from orchestrator.model.fact import PlanSubmitted

    assessment = await assess_plan(place, Path(message.path), message.overrides)
    if assessment.plan is None:
        raise PlanError(problems=assessment.errors)
    if assessment.digest != message.digest:
        raise ConfirmationNeeded(
            "the plan is not what was confirmed",
            why=f"confirmed was {message.digest[:12]}, and it now reads as {assessment.digest[:12]}",
            fix=f"look at it again: `orchestrator start {message.path}`",
        )
    if assessment.verdict is Verdict.SEQUENTIAL and not message.sequential:
        raise ConfirmationNeeded(
            "no two tasks of this plan may ever run together",
            why="so nothing is launched without a second yes",
            fix=f"`orchestrator start {message.path} --sequential` runs them one by one",
        )
    pairs = tuple(overlap.tasks for overlap in assessment.overlaps)
    return PlanSubmitted(
        plan=assessment.plan,
        digest=assessment.digest,
        by=message.by,
        sequential=message.sequential,
        rivals=pairs,
        rank=ranks(assessment.plan.tasks, rivals_of(pairs)),
    )


# ---- what is wrong ----


def examine(start: Path) -> tuple[Probe, ...]:
    """Everything that plans need here and on this machine, looked at. Never raises or hangs."""
    from orchestrator.backends.doctor import examine as look
    from orchestrator.client import Client

    def hello(place: Place) -> Hello:
        with Client(place, answer_within_s=HELLO_WITHIN_S) as client:
            return client.hello()

    return look(start, load_settings=load_settings, place_for=place_for, hello=hello, environ=os.environ)


# ---- the daemon ----


def spawn_daemon(place: Place, *, log_level: str | None = None) -> None:
    """Start the daemon, detached from this terminal, and return when it answers."""
    import time

    from orchestrator.backends.process import start_detached
    from orchestrator.client import Client
    from orchestrator.model.errors import NoDaemonError

    _make_state(place)
    output = place.state_dir / "daemon.out"
    argv = [sys.executable, "-m", "orchestrator.app", str(place.root)]
    environ = dict(os.environ)
    if log_level:
        environ["ORCHESTRATOR_LOG_LEVEL"] = log_level
    try:
        ended = start_detached(argv, cwd=str(place.state_dir), environ=environ, output=str(output))
    except OSError as error:
        raise _unusable(place, error) from error
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            with Client(place) as client:
                client.hello()
            return
        except NoDaemonError:
            code = ended()
            if code is not None and daemon_info(place) is None:
                tail = output.read_text(errors="replace")[-2000:].strip()
                raise OrchestratorError(
                    "the daemon ended while starting", why=tail or f"exit status {code}", fix=f"see {place.daemon_log}"
                ) from None
            time.sleep(0.02)
    raise OrchestratorError(
        "the daemon does not answer", why=f"waited {START_TIMEOUT_S:.0f} s", fix=f"see {place.daemon_log}"
    )


def _make_state(place: Place) -> None:
    try:
        place.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(place, error) from error


def _unusable(place: Place, error: OSError) -> OrchestratorError:
    return OrchestratorError(
        f"the folder {place.state_dir} cannot be used",
        why=error.strerror or str(error),
        fix="make it writable and see that the disk has room; nothing was started",
    )


def run_daemon(
    place: Place,
    *,
    submit: SubmitPlan | None = None,
    exit_when_done: bool = False,
    exit_when_blocked: bool = False,
    console: bool = False,
) -> int:
    """Be the daemon of this repository until there is a reason to leave. Returns: the exit code."""
    import anyio

    from orchestrator.backends.local import LocalExecutor
    from orchestrator.backends.lock import DaemonLock
    from orchestrator.backends.log import setup_logging
    from orchestrator.backends.repository import GitRepository, strip_git_environment
    from orchestrator.discover import ensure_socket_folder, write_place

    settings = load_settings(place)
    _make_state(place)
    umask = os.umask(0o077)  # what the daemon keeps is private; what lands in the user's checkout is as always
    with DaemonLock.acquire(place.daemon_lock) as lock:
        inherited = strip_git_environment()
        write_place(place)
        ensure_socket_folder(place)
        setup_logging(
            place.daemon_log,
            console=console,
            level=settings.log_level,
            max_bytes=settings.log.max_size,
            keep=settings.log.keep,
        )
        repository = GitRepository(place, inherited=inherited, umask=umask)
        executor = LocalExecutor(umask=umask)
        return anyio.run(_live, place, settings, repository, executor, lock, submit, exit_when_done, exit_when_blocked)


async def _live(
    place: Place,
    settings: Settings,
    repository: GitRepository,
    executor: LocalExecutor,
    lock: DaemonLock,
    submit: SubmitPlan | None,
    exit_when_done: bool,
    exit_when_blocked: bool,
) -> int:
    from orchestrator.backends.clock import SystemChance, SystemClock
    from orchestrator.backends.lock import this_process
    from orchestrator.backends.prepare import TreePreparer
    from orchestrator.backends.sqlite import SqliteReader, SqliteStore
    from orchestrator.backends.surroundings import ProcessSurroundings
    from orchestrator.engine.control import Control
    from orchestrator.engine.daemon import Daemon, Leaving, Manner, outcome_of
    from orchestrator.engine.loop import Loop
    from orchestrator.engine.perform import Performer
    from orchestrator.model.fact import DaemonStarted

    clock = SystemClock()
    await repository.open()
    store = await SqliteStore.open(place.ledger)
    try:
        loop = Loop(store=store, executor=executor, clock=clock, chance=SystemChance(), place=place)
        performer = Performer(
            place=place,
            repository=repository,
            preparer=TreePreparer(place),
            executor=executor,
            adapters=adapters(),
            surroundings=ProcessSurroundings(os.environ, identity=repository.identity()),
            clock=clock,
            state=lambda: loop.state,
        )
        daemon = Daemon(
            loop=loop,
            manner=Manner(exit_when_over=exit_when_done, exit_when_blocked=exit_when_blocked),
            is_ours=lock.is_held,
        )
        daemon.control = Control(
            loop=loop,
            place=place,
            assess=lambda message: confirmed(place, message),
            open_reader=lambda: SqliteReader(place.ledger),
            leave=daemon.leave,
        )
        started = DaemonStarted(
            pid=os.getpid(),
            boot_id=this_process().boot_id,
            version=__version__,
            limits=settings.as_limits(),
            quiet=settings.attention.quiet,
        )
        first = await confirmed(place, submit) if submit is not None else None
        leaving = await daemon.run(performer, started, first)
    finally:
        await store.close()
    plan = loop.state.active
    if leaving is Leaving.INTERRUPTED:
        return ExitCode.INTERRUPTED
    if leaving in {Leaving.PLAN_OVER, Leaving.BLOCKED} and plan is not None:
        return outcome_of(loop.state, plan) or ExitCode.OK
    return ExitCode.OK


def main() -> int:
    """`python -m orchestrator.app ROOT`: the daemon in the background."""
    try:
        place = place_for(Path(sys.argv[1]))
        try:
            return run_daemon(place)
        except OSError as error:
            raise _unusable(place, error) from error
    except OrchestratorError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)


if __name__ == "__main__":
    sys.exit(main())
