"""A ledger put together again from what is left: whose word is taken for which event, and what is still to be done."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from orchestrator.model.attempt import AttemptState, RunState
from orchestrator.model.effect import (
    BeginBranch,
    BuildCandidate,
    CollectWork,
    DeleteTrash,
    Effect,
    LandCandidate,
    MakeWorkspace,
    MirrorBranch,
    PublishPlan,
    ReleaseRun,
    RemoveTree,
    SendAnswer,
    StartRun,
    StopRun,
    WakeAt,
)
from orchestrator.model.fact import RetryDue
from orchestrator.model.ids import AttemptId, RunId
from orchestrator.model.run import CandidateStage, PlanRun, State, TaskState

Columns = tuple[str | None, str | None, str | None, int | None]
Link = Callable[[bytes, int, int, str, Columns, str], bytes]

GENESIS = bytes(32)
#: Between the last token that anything tells of and the next one: a claim may have left no trace but in its holder.
TOKEN_GAP = 1000
#: Events that hold what agents are told and started with; with a mask in them they must not be carried out.
_PLAN_TEXT = frozenset({"plan_confirmed", "plan_revised"})
MASKED_DIGEST = "masked"  #: no digest at all, so that the plan's file has to be confirmed anew


class Source(StrEnum):
    """Where an event may come from, in the order in which they are believed."""

    LEDGER = "ledger"
    BACKUP = "backup"
    JOURNAL = "journal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One event as it was written."""

    seq: int
    at_us: int
    type: str
    columns: Columns  #: plan, task, attempt, token
    data: str
    prev: bytes
    hash: bytes
    redacted: bool = False  #: `data` has a mask where something secret stood, and does not fit `hash`


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An effect that was asked for."""

    key: str
    kind: str
    request: Mapping[str, Any]
    seq: int  #: of the last event of its transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one source holds."""

    source: Source
    name: str  #: of the file or folder
    id: str = ""  #: of the ledger; empty when it cannot be told
    pieces: tuple[Piece, ...] = ()
    asked: tuple[Asked, ...] = ()
    #: keys of the effects that were not answered at `whole_to`; None when it cannot be told
    to_do: tuple[str, ...] | None = None
    whole_to: int | None = None  #: the end of a transaction up to which nothing is torn; None when it cannot be told
    trouble: str = ""  #: what is wrong with it

    @property
    def last(self) -> int:
        return max((piece.seq for piece in self.pieces), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Events in a row from one source."""

    source: Source
    first: int
    last: int

    def __str__(self) -> str:
        events = f"event {self.first}" if self.first == self.last else f"events {self.first}-{self.last}"
        return f"{events} from the {self.source}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """A chain of events from the first one on."""

    pieces: tuple[Piece, ...] = ()
    stretches: tuple[Stretch, ...] = ()
    good_seq: int = 0  #: up to here every hash is the one that was written
    redacted: tuple[int, ...] = ()  #: events that have a mask in them
    last_seen: int = 0  #: the highest event that any source has

    @property
    def last(self) -> int:
        return len(self.pieces)

    @property
    def last_at(self) -> datetime | None:
        return moment(self.pieces[-1].at_us) if self.pieces else None

    @property
    def lost(self) -> int:
        """Events that are known to have been, and cannot be had back."""
        return max(self.last_seen - self.last, 0)


def rebuilt(found: Sequence[Found], link: Link) -> Rebuilt:
    """The longest chain from the first event on that the sources give together.

    Args:
        found: the one that is believed first comes first.
        link: the hash of an event, from the hash before it and its columns.
    """
    by_seq: dict[int, list[tuple[Source, Piece]]] = {}
    for one in found:
        for piece in one.pieces:
            by_seq.setdefault(piece.seq, []).append((one.source, piece))
    chosen: list[tuple[Source, Piece]] = []
    before = GENESIS
    while True:
        fitting = [pair for pair in by_seq.get(len(chosen) + 1, ()) if pair[1].prev == before]
        if not fitting:
            break
        pair = next((pair for pair in fitting if not pair[1].redacted), fitting[0])
        chosen.append(pair)
        before = pair[1].hash
    if not any(one.whole_to == len(chosen) for one in found):
        _drop_torn(chosen)
    pieces, good = _chained([piece for _, piece in chosen], link)
    return Rebuilt(
        pieces=tuple(pieces),
        stretches=_stretches(chosen),
        good_seq=good,
        redacted=tuple(piece.seq for piece in pieces if piece.redacted),
        last_seen=max(by_seq, default=0),
    )


def _drop_torn(chosen: list[tuple[Source, Piece]]) -> None:
    """Take away the last transaction, which may not be all there: its events have one time."""
    if chosen:
        torn = chosen[-1][1].at_us
        while chosen and chosen[-1][1].at_us == torn:
            chosen.pop()


def _chained(pieces: list[Piece], link: Link) -> tuple[list[Piece], int]:
    """The events with hashes that fit; from the first masked one on they are new ones."""
    good = next((piece.seq - 1 for piece in pieces if piece.redacted), len(pieces))
    last = pieces[good - 1].hash if good else GENESIS
    for index in range(good, len(pieces)):
        piece = _without_digest(pieces[index])
        digest = link(last, piece.seq, piece.at_us, piece.type, piece.columns, piece.data)
        pieces[index] = replace(piece, prev=last, hash=digest)
        last = digest
    return pieces, good


def _without_digest(piece: Piece) -> Piece:
    if not piece.redacted or piece.type not in _PLAN_TEXT:
        return piece
    data = json.loads(piece.data) | {"digest": MASKED_DIGEST}
    return replace(piece, data=json.dumps(data, allow_nan=False, separators=(",", ":")))


def _stretches(chosen: Sequence[tuple[Source, Piece]]) -> tuple[Stretch, ...]:
    found: list[Stretch] = []
    for source, piece in chosen:
        if found and found[-1].source is source:
            found[-1] = replace(found[-1], last=piece.seq)
        else:
            found.append(Stretch(source=source, first=piece.seq, last=piece.seq))
    return tuple(found)


def masked_plans(pieces: Sequence[Piece]) -> frozenset[str]:
    """Plans whose text has a mask in it."""
    texts = _PLAN_TEXT | {"task_added"}
    return frozenset(p.columns[0] for p in pieces if p.redacted and p.type in texts and p.columns[0] is not None)


def effects_kept(found: Sequence[Found], last: int) -> tuple[tuple[Asked, ...], frozenset[str] | None]:
    """The effects that were asked for up to an event, in their order, and those of them that are to do.

    Returns: None for the second one where no source stands at exactly that event; `is_owed` has to tell then.
    """
    asked: dict[str, Asked] = {}
    for one in found:
        for effect in one.asked:
            if effect.seq <= last:
                asked.setdefault(effect.key, effect)
    exact = next((one.to_do for one in found if one.whole_to == last and one.to_do is not None), None)
    in_order = sorted(asked.values(), key=lambda effect: effect.seq)
    return tuple(in_order), None if exact is None else frozenset(exact)


def is_owed(state: State, effect: Effect) -> bool:
    """Whether the state still waits for what came of an effect.

    What is safe to repeat and nobody can tell is owed: every effect may be done twice.
    """
    match effect:
        case BeginBranch():
            plan = state.plans.get(effect.plan_id)
            return plan is not None and plan.tip is None and plan.number == effect.number
        case MakeWorkspace():
            attempt = _attempt(state, effect.attempt_id)
            return attempt is not None and attempt.workspace is None and attempt.state is not AttemptState.ENDED
        case StartRun() | ReleaseRun():
            run = _run(state, effect.run_id)
            waits_in = RunState.REQUESTED if isinstance(effect, StartRun) else RunState.READY
            return run is not None and run.state is waits_in and run.try_number == effect.try_number
        case StopRun():
            return _run(state, effect.run_id) is not None
        case CollectWork() | SendAnswer():
            attempt = _attempt(state, effect.attempt_id)
            return attempt is not None and attempt.state is not AttemptState.ENDED
        case BuildCandidate() | LandCandidate():
            stage = CandidateStage.BUILDING if isinstance(effect, BuildCandidate) else CandidateStage.LANDING
            candidates = (plan.candidate for plan in state.plans.values())
            return any(one is not None and one.id == effect.candidate_id and one.stage is stage for one in candidates)
        case RemoveTree():
            attempt = _attempt(state, AttemptId(effect.owner))
            return attempt is not None and attempt.state is AttemptState.ENDED and not attempt.removed
        case PublishPlan():
            plan = state.plans.get(effect.plan_id)
            return plan is not None and plan.publishing and plan.publish_tries == effect.try_number
        case MirrorBranch():
            plan = state.plans.get(effect.plan_id)
            return plan is not None and plan.tip == effect.commit
        case WakeAt(fact=RetryDue(plan_id=plan_id, task_id=task_id)):
            plan = state.plans.get(plan_id)
            task = plan.tasks.get(task_id) if plan else None
            return task is not None and task.state is TaskState.BACKOFF
        case DeleteTrash():
            return False  # a person asks again for what lies there still
        case _:
            return True


def _plan_of(state: State, owned: str) -> PlanRun | None:
    return next((plan for plan in state.plans.values() if owned.startswith(f"{plan.id}/")), None)


def _attempt(state: State, attempt_id: AttemptId) -> Any:
    plan = _plan_of(state, attempt_id)
    return plan.attempts.get(attempt_id) if plan else None


def _run(state: State, run_id: RunId) -> Any:
    plan = _plan_of(state, run_id)
    return plan.runs.get(run_id) if plan else None


def moment(at_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
