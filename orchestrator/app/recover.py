"""A ledger that is damaged, missing or not all there: looked at, and put together again when a person says yes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.app.settings import load_settings
from orchestrator.app.state import unusable
from orchestrator.model.errors import NothingError, OrchestratorError
from orchestrator.model.place import Place

if TYPE_CHECKING:
    from orchestrator.backends.gittraces import Traces
    from orchestrator.core.recovery import Found, Rebuilt
    from orchestrator.core.recoverytext import Examined, Landing, Proposal
    from orchestrator.model.run import State


@dataclass(slots=True, kw_only=True)
class Recovery:
    """One recovery, under the daemon's lock: first what it would do, then the doing."""

    place: Place
    scratch: Path
    proposal: Proposal
    _found: list[Found]
    _rebuilt: Rebuilt
    _state: State
    _reached: Traces
    _now: datetime

    def carry_out(self, by: str) -> Path:
        """Write the new ledger and put it in place. Returns: where the old files are.

        Raises: OrchestratorError; the old files are then where they were, or aside.
        """
        import anyio

        from orchestrator.backends.rebuild import check_room, put_in_place

        aside = Path(self.proposal.aside)
        try:
            check_room(self.place)
            fresh = self.scratch / "ledger.sqlite"
            fresh.unlink(missing_ok=True)
            anyio.run(self._write, fresh, by)
            put_in_place(self.place, fresh, aside)
            self._back_up()
        except OSError as error:
            raise unusable(self.place, error) from error
        return aside

    async def _write(self, fresh: Path, by: str) -> None:
        from orchestrator.backends.rebuild import write_ledger
        from orchestrator.backends.sqlite import SqliteStore
        from orchestrator.core.recovery import effects_kept, is_owed, masked_plans
        from orchestrator.core.recoverysteps import first_events
        from orchestrator.core.state import rebuild
        from orchestrator.engine.projections import changed_rows
        from orchestrator.model.event import LedgerRecovered
        from orchestrator.model.run import State
        from orchestrator.ports import Batch
        from orchestrator.wire import load_effect

        seen, rebuilt = self.proposal, self._rebuilt
        recovered = LedgerRecovered(
            source=", ".join(seen.stretches) or "nothing was left",
            good_seq=rebuilt.good_seq,
            lost=seen.lost,
            masked=seen.masked,
            token_floor=seen.token_floor,
            reached=self._reached.reached,
            by=by,
        )
        at = max(self._now, seen.last_at or self._now)
        told = "What was recorded last may be missing." if seen.loses else ""
        events, state = first_events(
            self._state,
            recovered,
            [(one.plan, one.task, one.commit) for one in seen.landings],
            masked=masked_plans(rebuilt.pieces),
            lost=dict.fromkeys(self._state.plans, told),
            now=at,
        )
        asked, exact = effects_kept(self._found, rebuilt.last)
        owed = []
        for one in asked:
            try:
                waits = is_owed(state, load_effect(one.kind, dict(one.request)))
            except (KeyError, ValueError):
                waits = False  # of a newer version, or a mask is in its way
            if exact is not None and not seen.landings:
                waits = one.key in exact
            owed.append((one, waits))
        ledger_id = next((one.id for one in self._found if one.id), "")
        write_ledger(fresh, ledger_id=ledger_id, rebuilt=rebuilt, asked=owed)
        store = await SqliteStore.open(fresh)
        try:
            await store.record(Batch(at=at, events=events, rows=tuple(changed_rows(State(), state))))
        finally:
            await store.close()
        store = await SqliteStore.open(fresh)
        try:
            again = rebuild(await store.events())
        finally:
            await store.close()
        if again != state:
            raise AssertionError("the recovered ledger does not say what was to be written")

    def _back_up(self) -> None:
        """The new ledger is worth a copy at once; the daemon makes one too."""
        import contextlib

        from orchestrator.backends.backupfolder import BackupFolder

        kept = load_settings(self.place).ledger
        folder = BackupFolder(
            self.place.backups, self.place.ledger, hourly=kept.keep_hourly, daily=kept.keep_daily, floor_bytes=0
        )
        with contextlib.suppress(OrchestratorError, OSError):
            folder.back_up(self._now)


@contextmanager
def recovery(place: Place, source: str | None = None) -> Iterator[Recovery]:
    """Look at everything that is left, and hold the daemon's lock meanwhile.

    Args:
        source: take events from nothing but this: `ledger`, `backup` or `journal`.

    Raises: RefusedError while a daemon runs; NothingError when nothing ever ran here.
    """
    from orchestrator.backends.clock import SystemClock
    from orchestrator.backends.gitrun import strip_git_environment
    from orchestrator.backends.gittraces import look
    from orchestrator.backends.lock import DaemonLock
    from orchestrator.backends.rebuild import check_room, gather, scratch
    from orchestrator.backends.traces import is_missing, traces
    from orchestrator.core.recovery import Source

    if is_missing(place) and not traces(place) and not place.repo_git.exists():
        raise NothingError(
            "there is nothing to recover",
            why="nothing has run in this repository, or its state folder was deleted",
            fix="`orchestrator start` begins; work that agents did is in git: git for-each-ref refs/orchestrator",
        )
    only = Source(source) if source else None
    with DaemonLock.acquire(place.daemon_lock):
        strip_git_environment()
        now = SystemClock().now()
        try:
            check_room(place)
            with scratch(place) as folder:
                found = gather(place, folder, only)
                reached = look(place)
                yield _prepared(place, folder, found, reached, only, now)
        except OSError as error:
            raise unusable(place, error) from error


def _prepared(place: Place, folder: Path, found: list[Found], reached: Traces, only: object, now: datetime) -> Recovery:
    from orchestrator.backends.gittraces import living_runs
    from orchestrator.backends.ledger import link
    from orchestrator.backends.traces import claimed_beyond
    from orchestrator.core.recovery import TOKEN_GAP, Rebuilt, Source, masked_plans, rebuilt
    from orchestrator.core.recoverytext import Proposal
    from orchestrator.model.ids import RunId
    from orchestrator.model.run import PlanPhase

    used = [one for one in found if only is None or one.source is only]
    chain = rebuilt(used, link)
    seen = max((one.last for one in found), default=0)
    chain, state, stopped = _fold(chain)
    ledger = found[0]
    whole = not ledger.trouble and chain.last == ledger.last == seen and not stopped and len(found) > 0
    whole = whole and not any(one.name.endswith("/ledger.sqlite") for one in found[1:])
    granted = {piece.columns[2] or "" for piece in chain.pieces if piece.type == "lease_granted"}
    beyond = claimed_beyond(place, granted, state.token)
    whole = whole and beyond is None
    tokens = [piece.columns[3] or 0 for one in found for piece in one.pieces]
    highest = max([state.token, reached.token, beyond[1] if beyond else 0, *tokens])
    known = {run for plan in state.plans.values() for run in plan.runs}
    running = {str(plan.id) for plan in state.plans.values() if plan.phase is PlanPhase.RUNNING}
    landed, astray = ([], []) if whole else _git_knows(place, state)
    exact = any(one.whole_to == chain.last and one.source is Source.LEDGER and not one.trouble for one in used)
    proposal = Proposal(
        ledger=str(place.ledger),
        is_whole=whole,
        examined=tuple(_examined(one) for one in found),
        stretches=tuple(str(stretch) for stretch in chain.stretches),
        last=chain.last,
        last_at=chain.last_at,
        lost=max(seen - chain.last, 0),
        unknown_after=not (exact and seen == chain.last) or beyond is not None,
        masked=len(chain.redacted),
        masked_plans=tuple(sorted(masked_plans(chain.pieces) & running)),
        stopped=stopped,
        token_floor=highest + TOKEN_GAP,
        landings=tuple(landed),
        astray=tuple(astray),
        branches=() if isinstance(chain, Rebuilt) and chain.pieces else tuple(reached.references),
        strangers={run: pid for run, pid in living_runs(place).items() if RunId(run) not in known},
        aside=str(_aside(place, now)),
    )
    return Recovery(
        place=place,
        scratch=folder,
        proposal=proposal,
        _found=used,
        _rebuilt=chain,
        _state=state,
        _reached=reached,
        _now=now,
    )


def _aside(place: Place, now: datetime) -> Path:
    name = f"recovered-{now:%Y%m%dT%H%M%SZ}"
    number = 1
    while (path := place.state_dir / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return path


def _examined(found: Found) -> Examined:
    from orchestrator.core.recovery import Source, moment
    from orchestrator.core.recoverytext import Examined

    name = str(found.source)
    if found.source is not Source.LEDGER or found.trouble != "missing":
        name = f"{found.source} {Path(found.name).name}" if found.source is Source.BACKUP else name
    if "/recovered-" in found.name:
        name = "ledger set aside by a recovery that was cut short"
    if not found.pieces:
        return Examined(name=name, said=found.trouble or "holds no events", is_good=not found.trouble)
    newest = max(found.pieces, key=lambda piece: piece.seq)
    said = f"{len(found.pieces)} events that are as they were written, the last one {newest.seq}"
    said += f" of {moment(newest.at_us):%Y-%m-%d %H:%M:%S} UTC"
    return Examined(name=name, said=f"{said}; {found.trouble}" if found.trouble else said, is_good=not found.trouble)


def _fold(chain: Rebuilt) -> tuple[Rebuilt, State, str]:
    """The state after the events, as far as they can be understood, and why not further."""
    from dataclasses import replace

    from orchestrator.backends.ledger import event_of
    from orchestrator.core.recovery import moment
    from orchestrator.core.state import apply
    from orchestrator.model.run import State

    state, at_us = State(), -1
    before: tuple[int, State] = (0, state)  #: the end of the last whole transaction
    for index, piece in enumerate(chain.pieces):
        if piece.at_us != at_us:
            before, at_us = (index, state), piece.at_us
        try:
            state = apply(state, event_of(piece.type, piece.columns, piece.data), moment(piece.at_us))
        except (KeyError, ValueError, TypeError, AssertionError) as error:
            kept, state = before
            why = f"{chain.last - kept} events from {kept + 1} on, which cannot be understood: {_short(error)}"
            pieces = chain.pieces[:kept]
            redacted = tuple(seq for seq in chain.redacted if seq <= kept)
            stretches = tuple(replace(one, last=min(one.last, kept)) for one in chain.stretches if one.first <= kept)
            good = min(chain.good_seq, kept)
            return replace(chain, pieces=pieces, redacted=redacted, stretches=stretches, good_seq=good), state, why
    return chain, state, ""


def _git_knows(place: Place, state: State) -> tuple[list[Landing], list[str]]:
    from orchestrator.backends.gittraces import landings

    landed: list[Landing] = []
    astray = []
    for plan in state.plans.values():
        if plan.tip is not None:
            found, leads = landings(place, plan.id, plan.tip)
            landed += found
            if not leads:
                astray.append(str(plan.id))
    return landed, astray


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:120]}"
