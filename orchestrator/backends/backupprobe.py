"""What `doctor` finds out about what the ledger could be recovered from: backups and the journal."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.backends.backupfolder import good_backups, list_backups
from orchestrator.backends.journal import last_mark
from orchestrator.backends.probes import Named
from orchestrator.backends.traces import is_missing
from orchestrator.model.place import Place
from orchestrator.model.probe import Grade, Probe


def backups(place: Place) -> Iterable[Named]:
    yield Named(name="backups", probe=lambda: probe_backups(place))


def probe_backups(place: Place) -> Probe:
    """How far the newest good backup and the journal go."""
    names = list_backups(place.backups)
    mark = last_mark(place.journal)
    journal = f"journal up to event {mark[1].seq}" if mark else "no journal"
    newest = next(good_backups(place.backups), None)
    if newest is not None:
        count = "1 backup" if len(names) == 1 else f"{len(names)} backups"
        said = f"{count}, the newest good one of {newest[0].at:%Y-%m-%d %H:%M} UTC; {journal}"
        return Probe(name="backups", said=said)
    if not names and is_missing(place):
        return Probe(name="backups", said="none yet; nothing has run here")
    if not names and mark is not None:
        return Probe(name="backups", said=f"none yet; {journal}")
    return Probe(
        name="backups",
        grade=Grade.WARN,
        said=f"none that is good; {journal}",
        why="they cannot be read, or none was made since the ledger was begun" if names else "no daemon has made one",
        fix="the next one is made when a daemon starts, and every hour; see daemon.log if it is not",
    )
