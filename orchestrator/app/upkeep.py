"""What the daemon does beside its work: the journal every minute, a backup every hour."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.core.settings import Settings
    from orchestrator.engine.upkeep import Chore
    from orchestrator.model.place import Place
    from orchestrator.model.run import State
    from orchestrator.ports import Clock, Surroundings

JOURNAL_EVERY = timedelta(minutes=1)


def chores(
    place: Place, settings: Settings, *, state: Callable[[], State], surroundings: Surroundings, clock: Clock
) -> list[Chore]:
    """The chores of a daemon.

    Args:
        state: what it knows at that moment; says which secrets agents are given.
    """
    import anyio.to_thread
    import structlog

    from orchestrator.backends.backupfolder import BackupFolder, list_backups
    from orchestrator.backends.journal import Journal
    from orchestrator.engine.upkeep import Chore

    log = structlog.get_logger(__name__)
    wanted = settings.ledger
    journal = Journal(place.journal, place.ledger, lambda: surroundings.secrets(_secret_names(state(), settings)))
    backups = BackupFolder(
        place.backups,
        place.ledger,
        hourly=wanted.keep_hourly,
        daily=wanted.keep_daily,
        floor_bytes=settings.protect.free_disk,
    )

    def export() -> None:
        journal.export()
        covered = max((backup.seq for backup in list_backups(place.backups)), default=0)
        journal.drop_before(clock.now() - timedelta(days=wanted.journal_days), covered)

    def back_up() -> None:
        made = backups.back_up(clock.now())
        if made is not None:
            log.info("backup.made", path=str(made))

    return [
        Chore(name="journal", every=JOURNAL_EVERY, does=partial(anyio.to_thread.run_sync, export), at_end=True),
        Chore(
            name="backup",
            every=wanted.backup_every,
            does=partial(anyio.to_thread.run_sync, back_up),
        ),
    ]


def _secret_names(state: State, settings: Settings) -> tuple[str, ...]:
    """Variables of the daemon's environment whose values agents are given."""
    names = list(settings.as_execution().pass_env)
    for plan in state.plans.values():
        names += plan.plan.execution.pass_env
        names += (name for agent in plan.plan.agents for name in agent.pass_env)
    return tuple(dict.fromkeys(names))
