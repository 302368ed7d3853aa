"""What the settings of the ledger lead to: how often it is copied, what is kept, how long the journal goes back."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator.app.upkeep import chores
from orchestrator.backends.backupfolder import good_backups, list_backups
from orchestrator.backends.backupprobe import probe_backups
from orchestrator.backends.sqlite import SqliteStore
from orchestrator.core.settings import build_settings
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.event import ProgressReported
from orchestrator.model.ids import AttemptId, PlanId, TaskId
from orchestrator.model.place import Place
from orchestrator.model.probe import Grade
from orchestrator.model.run import State
from orchestrator.ports import Batch

START = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)


class Hours:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time


class Environment:
    def secrets(self, names: Any) -> tuple[str, ...]:
        return ()


def place_in(folder: Path) -> Place:
    return Place(
        root=folder, common_dir=folder, state_dir=folder / "state", worktrees=folder / "w", socket=folder / "s"
    )


def written(place: Place, at: datetime) -> None:
    async def write() -> None:
        store = await SqliteStore.open(place.ledger)
        event = ProgressReported(
            plan_id=PlanId("p"), task_id=TaskId("t"), attempt_id=AttemptId("p/t-1"), token=0, text=str(at)
        )
        await store.record(Batch(at=at, events=[event]))
        await store.close()

    anyio.run(write)


def lived(folder: Path, hours: int, **ledger: Any) -> Place:
    """A daemon's upkeep over so many hours, an event in each."""
    place, clock = place_in(folder), Hours()
    settings = build_settings(user=None, project=("t", {"ledger": ledger}), environ={}, flags={})
    made = chores(place, settings, state=State, surroundings=Environment(), clock=clock)  # type: ignore[arg-type]
    for _ in range(hours):
        written(place, clock.time)
        for chore in made:
            anyio.run(chore.does)
        clock.time += timedelta(hours=1)
    return place


@pytest.mark.parametrize(
    ("ledger", "hours", "kept"),
    [
        pytest.param({}, 3, 3, id="all of three hours"),
        pytest.param({"keep_hourly": 2, "keep_daily": 0}, 5, 2, id="ledger.keep_hourly"),
        pytest.param({"keep_hourly": 1, "keep_daily": 2}, 30, 2, id="ledger.keep_daily"),
    ],
)
def test_backups_are_kept(ledger: dict[str, Any], hours: int, kept: int, tmp_path: Path) -> None:
    place = lived(tmp_path, hours, **ledger)
    backups = list_backups(place.backups)
    assert len(backups) == kept
    assert max(backups).seq == hours
    assert len(list(good_backups(place.backups))) == kept
    assert {path.stat().st_mode & 0o777 for path in place.backups.iterdir()} == {0o600}


@pytest.mark.parametrize("every", ["1h", "5m"])
def test_backups_are_made_as_often_as_is_set(every: str, tmp_path: Path) -> None:
    settings = build_settings(user=None, project=("t", {"ledger": {"backup_every": every}}), environ={}, flags={})
    made = chores(
        place_in(tmp_path),
        settings,
        state=State,
        surroundings=Environment(),
        clock=Hours(),  # type: ignore[arg-type]
    )
    assert next(chore.every for chore in made if chore.name == "backup") == settings.ledger.backup_every


@pytest.mark.parametrize(("days", "first"), [(90, "2026-03-04"), (1, "2026-03-05")])
def test_the_journal_goes_back_so_many_days(days: int, first: str, tmp_path: Path) -> None:
    place = lived(tmp_path, 50, journal_days=days)
    assert min(path.stem for path in place.journal.iterdir()) == first


def test_nothing_new_is_not_copied_again(tmp_path: Path) -> None:
    place, clock = lived(tmp_path, 1), Hours()
    clock.time += timedelta(days=1)
    settings = build_settings(user=None, project=None, environ={}, flags={})
    for chore in chores(place, settings, state=State, surroundings=Environment(), clock=clock):  # type: ignore[arg-type]
        anyio.run(chore.does)
    assert len(list_backups(place.backups)) == 1


def test_no_backup_is_made_where_the_disk_would_run_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.backends import backupfolder

    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(backupfolder.shutil, "disk_usage", lambda _: full)
    with pytest.raises(OrchestratorError, match="no backup of the ledger was made") as raised:
        lived(tmp_path, 1)
    assert "have to stay free" in raised.value.why
    assert list_backups(place_in(tmp_path).backups) == []


def test_doctor_tells_of_the_newest_good_backup_and_of_the_journal(tmp_path: Path) -> None:
    place = lived(tmp_path, 3)
    said = probe_backups(place)
    assert (said.grade, "3 backups" in said.said, "journal" in said.said) == (Grade.OK, True, True)
    for path in place.backups.iterdir():
        path.write_bytes(b"no ledger")
    assert probe_backups(place).grade is Grade.WARN
    assert probe_backups(place_in(tmp_path / "elsewhere")).grade is Grade.OK
