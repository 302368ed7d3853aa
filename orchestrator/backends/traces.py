"""Signs that more has happened here than the ledger's file tells: a start on top of that would lose it for good."""

from __future__ import annotations

import sqlite3
from collections.abc import Set
from pathlib import Path

from orchestrator.backends import ledger_errors
from orchestrator.backends.backupfolder import list_backups
from orchestrator.backends.journal import last_mark
from orchestrator.backends.ledgerrows import LedgerRows
from orchestrator.backends.runfolder import read_record
from orchestrator.backends.workspaces import MARKER
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.place import Place

_MANY = 10**12  #: tokens


def is_missing(place: Place) -> bool:
    """Whether there is no ledger, or an empty file."""
    try:
        return place.ledger.stat().st_size == 0
    except FileNotFoundError:
        return True


def traces(place: Place) -> str:
    """What shows that something has run here, in words; empty when nothing does."""
    found = []
    if list_backups(place.backups):
        found.append(f"backups in {place.backups}")
    if last_mark(place.journal) is not None:
        found.append(f"a journal in {place.journal}")
    attempts = place.state_dir / "attempts"
    if attempts.is_dir() and any(attempts.glob("*/*")):
        found.append(f"attempts in {attempts}")
    return " and ".join(found)


def check_ledger(place: Place) -> None:
    """Raises: OrchestratorError when the ledger is missing or older than what was written from it."""
    if is_missing(place):
        if said := traces(place):
            raise ledger_errors.missing(place.ledger, said)
        return
    if (trouble := behind(place)) is not None:
        raise trouble


def behind(place: Place) -> OrchestratorError | None:
    """What to say about a ledger that ends before what was written from it does; None when it does not."""
    try:
        rows = LedgerRows(place.ledger)
    except sqlite3.Error:
        return None  # whoever opens it says so better
    try:
        tip = rows.tip()
        granted, highest = rows.claims()
    except (sqlite3.Error, TypeError, ValueError, KeyError):
        return None
    finally:
        rows.close()
    written = last_mark(place.journal)
    if written is not None and written[0] == tip.id and written[1].seq > tip.seq:
        return ledger_errors.behind(place.ledger, tip.seq, f"its journal goes on to event {written[1].seq}")
    newest = max(list_backups(place.backups), default=None)
    if newest is not None and newest.seq > tip.seq:
        return ledger_errors.behind(place.ledger, tip.seq, f"the backup {newest.name} goes on to event {newest.seq}")
    if (found := claimed_beyond(place, granted, highest)) is not None:
        name, token = found
        return ledger_errors.behind(place.ledger, tip.seq, f"attempt {name} was begun under token {token}")
    return None


def claimed_beyond(place: Place, granted: Set[str], highest: int) -> tuple[str, int] | None:
    """An attempt on the disk that no ledger with these claims can have begun, and its token; None when there is none.

    A tree is made after its claim is recorded. To go on would give the token, and the tree, to somebody else.

    Args:
        granted: attempts that the ledger gave a token to.
        highest: every later token is above this.
    """
    for path in sorted((place.state_dir / "attempts").glob("[!.]*/[!.~]*")):
        name = f"{path.parent.name}/{path.name}"
        if name not in granted and (token := token_of(path)) > highest:
            return name, token
    return None


def token_of(attempt: Path) -> int:
    """The highest token that the folder of an attempt bears; 0 when it bears none."""
    records = [attempt / MARKER, *attempt.glob("*/spec.json")]
    tokens = [(read_record(record) or {}).get("token") for record in records]
    # the folders of runs belong to agents: what no ledger gives out is none
    return max((token for token in tokens if isinstance(token, int) and token < _MANY), default=0)
