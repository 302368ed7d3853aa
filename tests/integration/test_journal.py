"""The journal: exact, masked, resumed after a crash at any byte, made anew when it does not fit its ledger."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from orchestrator.backends.journal import Journal, last_mark, read_journal, segments_of
from orchestrator.backends.ledgerrows import read_all
from orchestrator.backends.sqlite import SqliteStore
from orchestrator.model.effect import StopRun
from orchestrator.model.event import ProgressReported
from orchestrator.model.ids import AttemptId, PlanId, RunId, TaskId
from orchestrator.ports import Batch

DAY = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
KEY = "sk-" + "a1" * 20


def event(text: str) -> ProgressReported:
    return ProgressReported(plan_id=PlanId("p"), task_id=TaskId("t"), attempt_id=AttemptId("p/t-1"), token=1, text=text)


def written(ledger: Path, *texts: str, at: datetime = DAY, effect: str = "", done: str = "") -> None:
    async def write() -> None:
        store = await SqliteStore.open(ledger)
        effects = [StopRun(run_id=RunId(effect))] if effect else []
        answered = [StopRun(run_id=RunId(done)).key] if done else []
        await store.record(Batch(at=at, events=[event(text) for text in texts], effects=effects, done=answered))
        await store.close()

    anyio.run(write)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.sqlite"
    written(path, "one", "two", effect="p/t-1/agent")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def says_the_same(folder: Path, ledger: Path, copy: Path) -> bool:
    """Whether the journal holds exactly what the ledger does."""
    shutil.copy(ledger, copy)
    there, found = read_all(copy), read_journal(folder)
    return (found.pieces, found.asked, found.to_do) == (there.pieces, there.asked, there.to_do)


def test_every_event_and_effect_is_in_it(ledger: Path, folder: Path, tmp_path: Path) -> None:
    journal = Journal(folder, ledger)
    assert journal.export() == 2
    assert journal.export() == 0
    written(ledger, "three", at=DAY + timedelta(hours=1), done="p/t-1/agent")
    assert journal.export() == 1
    assert says_the_same(folder, ledger, tmp_path / "copy")
    assert [path.stat().st_mode & 0o777 for path in segments_of(folder)] == [0o600]


def test_each_day_has_its_file_and_a_header_that_leads_on_from_the_last(ledger: Path, folder: Path) -> None:
    for days in (1, 2):
        written(ledger, f"day {days}", at=DAY + timedelta(days=days))
    written(ledger, "the clock went back", at=DAY)
    Journal(folder, ledger).export()
    files = segments_of(folder)
    assert [file.name for file in files] == ["2026-03-04.jsonl", "2026-03-05.jsonl", "2026-03-06.jsonl"]
    headers = [json.loads(file.read_text().splitlines()[0]) for file in files]
    assert [header["first"] for header in headers] == [1, 3, 4]
    assert all("do not edit" in header["note"] for header in headers)
    assert read_journal(folder).whole_to == 5


def test_another_journal_object_goes_on_where_the_last_one_ended(ledger: Path, folder: Path, tmp_path: Path) -> None:
    Journal(folder, ledger).export()
    before = segments_of(folder)[0].read_bytes()
    written(ledger, "three")
    Journal(folder, ledger).export()
    assert segments_of(folder)[0].read_bytes().startswith(before)
    assert says_the_same(folder, ledger, tmp_path / "copy")


def test_an_export_that_was_killed_at_any_byte_is_finished_without_doubling(
    ledger: Path, folder: Path, tmp_path: Path
) -> None:
    journal = Journal(folder, ledger)
    journal.export()
    (file,) = segments_of(folder)
    first = file.stat().st_size
    written(ledger, "three", "four")
    journal.export()
    whole = file.read_bytes()
    for size in range(first, len(whole), 7):
        file.write_bytes(whole[:size])
        Journal(folder, ledger).export()
        assert file.read_bytes() == whole, size
    assert says_the_same(folder, ledger, tmp_path / "copy")


def no_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def no_day_between(folder: Path) -> None:
    segments_of(folder)[1].unlink()


def a_day_cut_short(folder: Path) -> None:
    file = segments_of(folder)[0]
    file.write_bytes(file.read_bytes()[:-40])


def no_header(folder: Path) -> None:
    file = segments_of(folder)[1]
    file.write_bytes(file.read_bytes()[10:])


def empty(folder: Path) -> None:
    segments_of(folder)[2].write_bytes(b"")


@pytest.mark.parametrize("harm", [no_folder, no_day_between, a_day_cut_short, no_header, empty])
@pytest.mark.parametrize("running", [False, True], ids=["at a start", "under a daemon"])
def test_a_journal_that_was_harmed_is_made_anew(
    harm: Callable[[Path], None], running: bool, ledger: Path, folder: Path, tmp_path: Path
) -> None:
    for days in (1, 2):
        written(ledger, f"day {days}", at=DAY + timedelta(days=days))
    journal = Journal(folder, ledger)
    journal.export()
    harm(folder)
    if running and harm in {no_folder, empty}:  # what a running one looks at each time is the file it writes
        journal.export()
    else:
        Journal(folder, ledger).export()
    assert says_the_same(folder, ledger, tmp_path / "copy")


def test_a_journal_of_another_ledger_is_put_aside(ledger: Path, folder: Path, tmp_path: Path) -> None:
    Journal(folder, ledger).export()
    old = segments_of(folder)[0].read_bytes()
    ledger.unlink()
    written(ledger, "another beginning")
    Journal(folder, ledger).export()
    assert says_the_same(folder, ledger, tmp_path / "copy")
    assert segments_of(tmp_path / "journal.old")[0].read_bytes() == old


def test_secrets_are_masked_and_the_line_says_so(ledger: Path, folder: Path) -> None:
    written(ledger, f"I use {KEY}", "the password is correct horse", "nothing here")
    Journal(folder, ledger, lambda: ("correct horse", "a")).export()
    text = segments_of(folder)[0].read_text()
    assert KEY not in text
    assert "correct horse" not in text
    found = read_journal(folder)
    assert [piece.redacted for piece in found.pieces] == [False, False, True, True, False]
    assert found.trouble == ""


def test_a_line_that_somebody_edited_is_not_believed(ledger: Path, folder: Path) -> None:
    Journal(folder, ledger).export()
    file = segments_of(folder)[0]
    file.write_text(file.read_text().replace('"text":"two"', '"text":"TWO"'))
    found = read_journal(folder)
    assert [piece.seq for piece in found.pieces] == [1]
    assert "not as they were written" in found.trouble


def test_days_that_a_backup_holds_go_when_they_are_old(ledger: Path, folder: Path) -> None:
    for days in (1, 2):
        written(ledger, f"day {days}", at=DAY + timedelta(days=days))
    journal = Journal(folder, ledger)
    journal.export()
    later = DAY + timedelta(days=300)
    assert journal.drop_before(later, covered=1) == 0
    assert journal.drop_before(DAY + timedelta(days=1), covered=99) == 1
    assert journal.drop_before(later, covered=99) == 1
    written(ledger, "more", at=DAY + timedelta(days=3))
    assert Journal(folder, ledger).export() == 1
    assert [file.stem for file in segments_of(folder)] == ["2026-03-06", "2026-03-07"]


def test_the_end_of_a_large_journal_is_found(ledger: Path, folder: Path) -> None:
    written(ledger, *("x" * 3000 for _ in range(100)))
    Journal(folder, ledger).export()
    found = last_mark(folder)
    assert found is not None
    assert found[1].seq == 102
