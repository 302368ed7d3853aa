"""The daemon: started, and put together from its parts."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import __version__
from orchestrator.app.plans import adapters, confirmed, write_schema
from orchestrator.app.reading import daemon_info
from orchestrator.app.settings import load_settings, place_for
from orchestrator.app.state import make_state, unusable
from orchestrator.model.errors import (
    ExitCode,
    OrchestratorError,
)
from orchestrator.model.place import Place

if TYPE_CHECKING:
    from orchestrator.backends.local import LocalExecutor
    from orchestrator.backends.lock import DaemonLock
    from orchestrator.backends.repository import GitRepository
    from orchestrator.core.settings import Settings
    from orchestrator.wire import SubmitPlan


START_TIMEOUT_S = 30.0


def spawn_daemon(place: Place, *, log_level: str | None = None) -> None:
    """Start the daemon, detached from this terminal, and return when it answers."""
    import time

    from orchestrator.backends.ground import check_room, ended_while_starting
    from orchestrator.backends.process import start_detached
    from orchestrator.client import Client
    from orchestrator.model.errors import NoDaemonError

    make_state(place)
    output = place.state_dir / "daemon.out"
    argv = [sys.executable, "-m", "orchestrator.app", str(place.root)]
    environ = dict(os.environ)
    if log_level:
        environ["ORCHESTRATOR_LOG_LEVEL"] = log_level
    try:
        check_room(output)
        ended = start_detached(argv, cwd=str(place.state_dir), environ=environ, output=str(output))
    except OSError as error:
        raise unusable(place, error) from error
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            with Client(place) as client:
                client.hello()
            return
        except NoDaemonError:
            code = ended()
            if code is not None and daemon_info(place) is None:
                raise ended_while_starting(place, output.read_text(errors="replace"), code) from None
            time.sleep(0.02)
    raise OrchestratorError(
        "the daemon does not answer", why=f"waited {START_TIMEOUT_S:.0f} s", fix=f"see {place.daemon_log}"
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

    from orchestrator.backends.ground import check_worktrees
    from orchestrator.backends.local import LocalExecutor
    from orchestrator.backends.lock import DaemonLock
    from orchestrator.backends.log import setup_logging
    from orchestrator.backends.repository import GitRepository, strip_git_environment
    from orchestrator.discover import ensure_socket_folder, write_place

    settings = load_settings(place)
    make_state(place)
    check_worktrees(place)
    umask = os.umask(0o077)  # what the daemon keeps is private; what lands in the user's checkout is as always
    with DaemonLock.acquire(place.daemon_lock) as lock:
        inherited = strip_git_environment()
        try:
            write_place(place)
            with contextlib.suppress(OrchestratorError):
                write_schema(place)  # editors do without
            ensure_socket_folder(place)
            setup_logging(
                place.daemon_log,
                console=console,
                level=settings.log_level,
                max_bytes=settings.log.max_size,
                keep=settings.log.keep,
            )
        except OSError as error:
            raise unusable(place, error) from error
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
    import structlog

    from orchestrator.app.ledger_care import LOOK, look_after_ledger
    from orchestrator.backends.clock import SystemChance, SystemClock
    from orchestrator.backends.lock import this_process
    from orchestrator.backends.prepare import TreePreparer
    from orchestrator.backends.sqlite import SqliteReader, SqliteStore
    from orchestrator.backends.surroundings import ProcessSurroundings
    from orchestrator.engine.control import Control
    from orchestrator.engine.daemon import Daemon, Leaving, Manner, outcome_of, periodically
    from orchestrator.engine.loop import Loop
    from orchestrator.engine.perform import Performer
    from orchestrator.model.fact import DaemonStarted

    log = structlog.get_logger(__name__)
    clock = SystemClock(jumped=lambda moved: log.warning("clock.jumped", moved_s=round(moved.total_seconds())))
    await repository.open()
    store = await SqliteStore.open(place.ledger)
    if store.last_at is not None:
        clock.not_before(store.last_at)
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
        daemon.beside = periodically(look_after_ledger(store, loop, clock, daemon.fail), LOOK)
        daemon.control = Control(
            loop=loop,
            place=place,
            assess=lambda message: confirmed(place, message, repository),
            open_reader=lambda: SqliteReader(place.ledger),
            target_of=repository.target_commit,
            leave=daemon.leave,
        )
        started = DaemonStarted(
            pid=os.getpid(),
            boot_id=this_process().boot_id,
            version=__version__,
            limits=settings.as_limits(),
            terms=settings.as_terms(),
            quiet=settings.attention.quiet,
        )
        first = await confirmed(place, submit, repository) if submit is not None else None
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
            raise unusable(place, error) from error
    except OrchestratorError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
