"""What a ledger owes, for every implementation: the docstrings of `Store` and `LedgerReader`, executed."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import pytest

from orchestrator.backends.memory import MemoryLedger, MemoryReader, MemoryStore
from orchestrator.backends.sqlite import SqliteReader, SqliteStore
from orchestrator.model.effect import BeginBranch, Effect, RemoveTree, StopRun, WakeAt
from orchestrator.model.errors import FencedError, SupersededError
from orchestrator.model.event import (
    Answered,
    CandidateRequested,
    DaemonBegan,
    Event,
    LeaseEnded,
    LeaseGranted,
    PlanFinished,
    PlanPaused,
    ProgressReported,
    TaskQueued,
    wire_name,
)
from orchestrator.model.fact import LaneLong, RetryDue
from orchestrator.model.ids import AttemptId, CandidateId, Commit, ItemId, PlanId, RunId, TaskId
from orchestrator.model.run import Lane, LaneLimits, State
from orchestrator.ports import Batch, LedgerReader, Row, Store

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)
STOP = StopRun(run_id=RunId("p/t-1/agent"))
BRANCH = BeginBranch(plan_id=PlanId("p"), number=1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Home:
    """Where a ledger lies: every `open` is a new store on it, every `reader` a new look at it."""

    open: Callable[[], Awaitable[Store]]
    reader: Callable[[], LedgerReader]


@pytest.fixture(params=["memory", "sqlite"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    if request.param == "memory":
        ledger = MemoryLedger()

        async def open_in_memory() -> Store:
            return MemoryStore(ledger)

        return Home(open_in_memory, lambda: MemoryReader(ledger))
    path = tmp_path / "state" / "ledger.sqlite"
    return Home(lambda: SqliteStore.open(path), lambda: SqliteReader(path))


@pytest.fixture
async def store(home: Home) -> AsyncIterator[Store]:
    store = await home.open()
    yield store
    await store.close()


@pytest.fixture
async def reader(home: Home, store: Store) -> AsyncIterator[LedgerReader]:
    reader = home.reader()
    yield reader
    reader.close()


def batch(*events: Event, **more: Any) -> Batch:
    return Batch(at=NOW, events=events, **more)


def progress(text: str, *, plan: str = "p", task: str = "t", token: int = 1) -> ProgressReported:
    attempt = AttemptId(f"{plan}/{task}-1")
    return ProgressReported(plan_id=PlanId(plan), task_id=TaskId(task), attempt_id=attempt, token=token, text=text)


def row(key: str, data: dict[str, Any] | None, *, table: str = "task", plan: str = "p") -> Row:
    return Row(table=table, key=key, plan=plan, state="pending", data=data)


# ---- values of every kind ----


def sample(hint: Any, *, full: bool, name: str = "x") -> Any:
    """A value of a type: with `full` everything that can be there is, without it nothing is."""
    hint = getattr(hint, "__supertype__", hint)
    if dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint)
        wanted = [field for field in dataclasses.fields(hint) if full or field.default is dataclasses.MISSING]
        values = {field.name: sample(hints[field.name], full=full, name=field.name) for field in wanted}
        return cast(Any, hint)(**values)
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if type(None) in args and not full:
            return None
        return sample(next(arg for arg in args if arg is not type(None)), full=full, name=name)
    if origin is tuple:
        if args[-1] is not Ellipsis:
            return tuple(sample(arg, full=full, name=name) for arg in args)
        return tuple(sample(args[0], full=full, name=f"{name}{n}") for n in range(2)) if full else ()
    if origin is dict:
        return {sample(args[0], full=full, name=name): sample(args[1], full=full, name=name)} if full else {}
    if origin is Literal:
        return args[-1]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return list(hint)[-1]
    simple: dict[Any, Any] = {
        str: f"{name} ü \u202e \x1b[31m \x00\n'\";--" if full else "",
        int: 2**62 if full else 0,
        float: 0.1 if full else 0.0,
        bool: full,
        datetime: NOW if full else datetime(1970, 1, 1, tzinfo=UTC),
        timedelta: timedelta(days=400, microseconds=1) if full else timedelta(),
    }
    return simple[hint]


@pytest.mark.parametrize("full", [True, False], ids=["full", "bare"])
async def test_every_kind_of_event_comes_back_as_it_was(home: Home, full: bool) -> None:
    events = [sample(kind, full=full) for kind in get_args(Event)]
    assert len({wire_name(type(event)) for event in events}) == len(events) > 50
    store = await home.open()
    await store.record(batch(*events))
    await store.close()
    again = await home.open()
    assert await again.events() == [(seq, NOW, event) for seq, event in enumerate(events, start=1)]
    await again.close()


@pytest.mark.parametrize("full", [True, False], ids=["full", "bare"])
async def test_every_kind_of_effect_comes_back_as_it_was(home: Home, full: bool) -> None:
    effects: list[Effect] = []
    for number, kind in enumerate(get_args(Effect)):
        one = sample(kind, full=full)
        words = (f.name for f in dataclasses.fields(kind) if isinstance(getattr(one, f.name), str) or f.name == "fact")
        name = next(words, "asked")  # what makes its key another than that of the others
        long = LaneLong(plan_id=PlanId("p"), task_id=TaskId("t"), lane=Lane.DOING, since=NOW)
        inner: Any = {"fact": long, "asked": number}.get(name, f"own-{number}")
        effects.append(dataclasses.replace(one, **{name: inner}))
    effects.append(WakeAt(at=NOW, fact=RetryDue(plan_id=PlanId("p"), task_id=TaskId("t"))))
    store = await home.open()
    await store.record(batch(effects=effects))
    await store.close()
    again = await home.open()
    assert await again.to_do() == effects
    await again.close()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("caf\udce9.txt", id="a path that is not UTF-8"),
        pytest.param("\ud800", id="half a character"),
        pytest.param("\x00", id="a null"),
        pytest.param("x" * 1_000_000, id="a million characters"),
        pytest.param("漢字 🜚", id="beyond ASCII"),
    ],
)
async def test_any_text_survives(store: Store, reader: LedgerReader, text: str) -> None:
    await store.record(batch(progress(text), rows=[row("p/t", {"text": text})]))
    assert [event for _, _, event in await store.events()] == [progress(text)]
    assert reader.rows("task") == [{"text": text}]


# ---- record ----


async def test_a_new_ledger_is_empty(store: Store, reader: LedgerReader) -> None:
    assert await store.events() == []
    assert await store.to_do() == []
    assert reader.events() == reader.rows("plan") == reader.rows("task") == reader.rows("item") == []


async def test_record_answers_with_the_number_of_the_last_event(store: Store) -> None:
    assert await store.record(batch()) == 0
    assert await store.record(batch(progress("a"), progress("b"))) == 2
    assert await store.record(batch(rows=[row("p/t", {})])) == 2
    assert await store.record(batch(progress("c"))) == 3


async def test_numbers_go_on_after_the_ledger_is_opened_again(home: Home) -> None:
    for number in (1, 2, 3):
        store = await home.open()
        assert await store.record(batch(progress(f"{number}"))) == number
        await store.close()


async def test_a_time_without_a_zone_is_refused(store: Store) -> None:
    with pytest.raises(TypeError):
        await store.record(Batch(at=datetime(2026, 1, 1)))  # noqa: DTZ001


async def test_times_keep_their_microseconds_and_come_back_in_utc(store: Store, reader: LedgerReader) -> None:
    from datetime import timezone

    at = datetime(2026, 7, 1, 12, 0, 0, 123457, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    await store.record(Batch(at=at, events=[progress("a")]))
    ((_, told, _),) = await store.events()
    assert told == at
    assert told.utcoffset() == timedelta()
    assert reader.events()[0].at == at


BAD = {
    "an effect with a known key and another content": batch(
        progress("lost"),
        rows=[row("p/t", {"state": "changed"}), row("p/new", {})],
        effects=[StopRun(run_id=RunId("p/other-1/agent")), RemoveTree(plan_id=PlanId("p"), owner="p/t-1", landed=True)],
        done=[STOP.key],
    ),
    "a row that JSON cannot carry": batch(
        progress("lost"), effects=[BRANCH], rows=[row("p/t", {}), row("p/u", {"at": object()})], done=[STOP.key]
    ),
    "a number that JSON has no word for": batch(progress("lost"), rows=[row("p/t", {"x": float("nan")})]),
    "a table that does not exist": batch(progress("lost"), rows=[row("p/t", {}), row("x", {}, table="event")]),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
async def test_a_batch_that_fails_leaves_nothing_and_the_next_one_is_taken(
    store: Store, reader: LedgerReader, bad: Batch
) -> None:
    remove = RemoveTree(plan_id=PlanId("p"), owner="p/t-1")
    await store.record(batch(progress("kept"), rows=[row("p/t", {"state": "kept"})], effects=[STOP, remove]))
    with pytest.raises((AssertionError, TypeError, ValueError, KeyError)):
        await store.record(bad)
    assert [event for _, _, event in await store.events()] == [progress("kept")]
    assert reader.rows("task") == [{"state": "kept"}]
    assert await store.to_do() == [STOP, remove]
    assert await store.record(batch(progress("next"))) == 2


# ---- effects ----


async def test_effects_are_to_do_until_answered_oldest_first(store: Store) -> None:
    await store.record(batch(effects=[STOP, BRANCH]))
    await store.record(batch(effects=[RemoveTree(plan_id=PlanId("p"), owner="a")]))
    assert [effect.key for effect in await store.to_do()] == [STOP.key, BRANCH.key, "a/remove"]
    await store.record(batch(done=[STOP.key]))
    assert [effect.key for effect in await store.to_do()] == [BRANCH.key, "a/remove"]


async def test_effects_to_do_survive_a_restart_and_answered_ones_stay_answered(home: Home) -> None:
    store = await home.open()
    await store.record(batch(effects=[STOP, BRANCH]))
    await store.record(batch(done=[BRANCH.key]))
    await store.close()
    again = await home.open()
    assert await again.to_do() == [STOP]
    await again.record(batch(effects=[STOP, BRANCH]))
    assert await again.to_do() == [STOP]
    await again.close()


async def test_the_same_effect_asked_twice_is_to_do_once(store: Store) -> None:
    await store.record(batch(effects=[STOP, STOP]))
    await store.record(batch(effects=[STOP]))
    assert await store.to_do() == [STOP]


async def test_an_effect_asked_for_and_answered_at_once_is_done(store: Store) -> None:
    await store.record(batch(effects=[STOP], done=[STOP.key]))
    assert await store.to_do() == []


async def test_an_answer_that_nobody_waits_for_changes_nothing(store: Store) -> None:
    await store.record(batch(done=["never/asked"]))
    await store.record(batch(effects=[STOP], done=[]))
    assert await store.to_do() == [STOP]


@pytest.mark.parametrize("answered", [False, True], ids=["to do", "done"])
async def test_one_key_with_two_contents_is_our_bug(store: Store, answered: bool) -> None:
    await store.record(batch(effects=[RemoveTree(plan_id=PlanId("p"), owner="a")]))
    await store.record(batch(done=["a/remove"] if answered else []))
    with pytest.raises(AssertionError, match="a/remove"):
        await store.record(batch(effects=[RemoveTree(plan_id=PlanId("p"), owner="a", landed=True)]))


# ---- projections ----


async def test_rows_are_replaced_in_place_and_deleted_for_good(store: Store, reader: LedgerReader) -> None:
    await store.record(batch(rows=[row("p/c", {"n": 1}), row("p/a", {"n": 2}), row("p/b", {"n": 3})]))
    await store.record(batch(rows=[row("p/c", {"n": 4})]))
    assert reader.rows("task") == [{"n": 4}, {"n": 2}, {"n": 3}]
    await store.record(batch(rows=[row("p/a", None), row("p/never", None)]))
    assert reader.rows("task") == [{"n": 4}, {"n": 3}]
    await store.record(batch(rows=[row("p/b", None), row("p/a", {"n": 5}), row("p/b", {"n": 6})]))
    assert reader.rows("task") == [{"n": 4}, {"n": 5}, {"n": 6}]


async def test_rows_are_kept_apart_by_table_and_chosen_by_plan(store: Store, reader: LedgerReader) -> None:
    rows = [
        row("p", {"is": "plan p"}, table="plan"),
        row("q", {"is": "plan q"}, table="plan", plan="q"),
        row("q/t", {"is": "task of q"}, plan="q"),
        row("p/t", {"is": "task of p"}),
        row("i1", {"is": "item of p"}, table="item"),
    ]
    await store.record(batch(rows=rows))
    assert [data["is"] for data in reader.rows("plan")] == ["plan p", "plan q"]
    assert [data["is"] for data in reader.rows("task")] == ["task of q", "task of p"]
    assert [data["is"] for data in reader.rows("task", plan="p")] == ["task of p"]
    assert [data["is"] for data in reader.rows("item", plan="p")] == ["item of p"]
    assert reader.rows("item", plan="q") == []


async def test_differences_are_what_has_to_be_written_to_have_the_rows(store: Store, reader: LedgerReader) -> None:
    rows = [row("p/a", {"n": 1}), row("p/b", {"n": 2}), row("p", {"x": "é"}, table="plan")]
    await store.record(batch(rows=[*rows, row("p/gone", {}), row("i1", {}, table="item")]))
    wanted = [row("p/a", {"n": 1}), row("p/b", {"n": 3}), row("p/new", {}), row("p", {"x": "é"}, table="plan")]
    found = await store.differences(wanted)
    told = {(one.table, one.key): one.data for one in found.rows}
    assert told == {("task", "p/b"): {"n": 3}, ("task", "p/gone"): None, ("item", "i1"): None, ("task", "p/new"): {}}
    await store.record(batch(rows=found.rows))
    assert (await store.differences(wanted)).rows == ()
    assert reader.rows("task") == [{"n": 1}, {"n": 3}, {}]


# ---- claims and daemons ----


def granted(task: str, token: int, plan: str = "p") -> LeaseGranted:
    attempt = AttemptId(f"{plan}/{task}-{token}")
    return LeaseGranted(plan_id=PlanId(plan), task_id=TaskId(task), attempt_id=attempt, token=token, expires_at=NOW)


def began() -> DaemonBegan:
    return DaemonBegan(pid=1, boot_id="b", version="0", quiet=timedelta(minutes=10))


def asked(token: int) -> CandidateRequested:
    return CandidateRequested(
        plan_id=PlanId("p"),
        task_id=TaskId("t"),
        candidate_id=CandidateId("p/merge-1"),
        token=token,
        parent=Commit("a"),
        other=Commit("b"),
    )


FENCED = {
    "an older token": [progress("late", token=3)],
    "an older token behind others": [progress("now", token=5), progress("late", token=3)],
    "a candidate for an older token": [asked(3)],
    "a token that was given out": [granted("t", 5)],
    "a token below one of another task": [granted("t", 8)],
    "a token twice in one batch": [granted("t", 11), granted("v", 11)],
    "a token that falls in one batch": [granted("t", 12), granted("v", 11)],
    "one that a claim in the same batch replaces": [granted("t", 11), progress("late", token=5)],
}


@pytest.mark.parametrize("events", FENCED.values(), ids=FENCED.keys())
@pytest.mark.parametrize("again", [False, True], ids=["", "after a restart"])
async def test_what_belongs_to_a_claim_that_was_replaced_is_refused(
    home: Home, events: list[Event], again: bool
) -> None:
    store = await home.open()
    await store.record(batch(granted("t", 3), granted("t", 5), granted("u", 9)))
    if again:
        await store.close()
        store = await home.open()
    with pytest.raises(FencedError) as raised:
        await store.record(batch(progress("kept?", token=5), *events, rows=[row("p/t", {})], effects=[STOP]))
    assert raised.value.why
    assert len(await store.events()) == 3
    assert await store.to_do() == []
    assert await store.highest_token() == 9
    await store.close()


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([progress("a", token=5)], id="the newest token of the task"),
        pytest.param([progress("a", task="u", token=9)], id="of another task"),
        pytest.param([progress("a", task="other", token=1)], id="a task that was never claimed"),
        pytest.param([progress("a", plan="q", token=3)], id="a task of that name in another plan"),
        pytest.param([granted("t", 10), progress("a", token=10)], id="the next claim and what follows"),
        pytest.param([granted("v", 40)], id="a token further up"),
        pytest.param([asked(0)], id="a candidate of nobody's"),
        pytest.param([TaskQueued(plan_id=PlanId("p"), task_id=TaskId("t"))], id="what carries none"),
    ],
)
async def test_what_belongs_to_the_newest_claim_is_taken_after_its_end_too(store: Store, events: list[Event]) -> None:
    await store.record(batch(granted("t", 3), granted("t", 5), granted("u", 9)))
    await store.record(
        batch(LeaseEnded(plan_id=PlanId("p"), task_id=TaskId("t"), attempt_id=AttemptId("a"), token=5, cause="x"))
    )
    assert await store.record(batch(*events)) == 4 + len(events)


async def test_a_store_opened_before_the_newest_daemon_began_writes_no_more(home: Home) -> None:
    old = await home.open()
    await old.record(batch(began(), progress("a")))
    new = await home.open()
    assert await old.record(batch(progress("b"))) == 3, "nobody has begun since"
    await new.record(batch(began()))
    for late in (batch(progress("lost")), batch(began()), batch(done=["x"])):
        with pytest.raises(SupersededError):
            await old.record(late)
    await new.record(batch(progress("c")))
    assert [event.text for _, _, event in await new.events() if isinstance(event, ProgressReported)] == ["a", "b", "c"]
    await old.close()
    await new.close()


# ---- the state that is kept ----


def a_state(seq: int, token: int = 0) -> State:
    about = "caf\udce9.txt"  # a path that is not UTF-8
    return State(seq=seq, token=token, limits=LaneLimits(doing=timedelta(minutes=7)), current=PlanId(about))


async def test_a_state_that_was_kept_comes_back_as_it_was(home: Home) -> None:
    store = await home.open()
    assert await store.snapshot() is None
    await store.record(batch(*(progress(str(number)) for number in range(5))))
    await store.keep_snapshot(a_state(3))
    await store.keep_snapshot(a_state(4))
    await store.close()
    again = await home.open()
    kept = await again.snapshot()
    assert kept == a_state(4)
    assert [seq for seq, _, _ in await again.events(after_seq=4)] == [5]
    assert await again.events(after_seq=5) == []
    await again.close()


async def test_a_token_that_only_the_kept_state_knows_is_not_given_out_again(home: Home) -> None:
    store = await home.open()
    await store.record(batch(granted("t", 3)))
    await store.keep_snapshot(a_state(1, token=8))  # of a ledger that was put back since
    await store.close()
    again = await home.open()
    assert await again.highest_token() == 8
    with pytest.raises(FencedError):
        await again.record(batch(granted("t", 8)))
    assert await again.record(batch(granted("t", 9))) == 2
    await again.close()


# ---- reading events ----


async def test_columns_of_an_event_are_not_repeated_in_its_data(store: Store, reader: LedgerReader) -> None:
    granted = LeaseGranted(
        plan_id=PlanId("p"), task_id=TaskId("t"), attempt_id=AttemptId("p/t-1"), token=7, expires_at=NOW
    )
    about_the_plan = Answered(
        plan_id=PlanId("p"), task_id=None, item_id=ItemId("i1"), choice="retry", text="", by="a person"
    )
    await store.record(batch(granted, about_the_plan))
    first, second = reader.events()
    assert (first.seq, first.at, first.type) == (1, NOW, "lease_granted")
    assert (first.plan, first.task, first.attempt, first.token) == ("p", "t", "p/t-1", 7)
    assert list(first.data) == ["holder", "expires_at", "reason", "review_by", "beats"]
    assert (second.plan, second.task, second.attempt, second.token) == ("p", None, None, None)
    assert second.data == {"item_id": "i1", "choice": "retry", "text": "", "by": "a person"}
    assert [event for _, _, event in await store.events()] == [granted, about_the_plan]


#: numbers 1 to 8: task a and b of plan p, task a of plan q, in turn, then two without a task
MIXED: list[Event] = [
    *(progress("", plan=plan, task=task) for _ in range(2) for plan, task in (("p", "a"), ("p", "b"), ("q", "a"))),
    PlanPaused(plan_id=PlanId("p"), by="x"),
    PlanFinished(plan_id=PlanId("q")),
]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        pytest.param({}, [1, 2, 3, 4, 5, 6, 7, 8], id="all"),
        pytest.param({"after_seq": 6}, [7, 8], id="after"),
        pytest.param({"after_seq": 8}, [], id="after the last"),
        pytest.param({"limit": 2}, [1, 2], id="limit"),
        pytest.param({"limit": 0}, [], id="limit of none"),
        pytest.param({"after_seq": 3, "limit": 2}, [4, 5], id="a page"),
        pytest.param({"last": 2}, [7, 8], id="last"),
        pytest.param({"last": 0}, [], id="last none"),
        pytest.param({"last": 99}, [1, 2, 3, 4, 5, 6, 7, 8], id="last of fewer"),
        pytest.param({"last": 3, "limit": 2}, [6, 7], id="last with a limit"),
        pytest.param({"last": 3, "after_seq": 7}, [8], id="last after"),
        pytest.param({"plan": "p"}, [1, 2, 4, 5, 7], id="plan"),
        pytest.param({"plan": "p", "last": 2}, [5, 7], id="last of a plan"),
        pytest.param({"task": "a"}, [1, 3, 4, 6], id="task of any plan"),
        pytest.param({"plan": "q", "task": "a"}, [3, 6], id="task of a plan"),
        pytest.param({"plan": "p", "task": "a", "after_seq": 1, "last": 5, "limit": 1}, [4], id="everything at once"),
        pytest.param({"plan": "none"}, [], id="no such plan"),
        pytest.param({"task": ""}, [], id="no such task"),
    ],
)
async def test_events_are_chosen_by(
    store: Store, reader: LedgerReader, chosen: dict[str, Any], expected: list[int]
) -> None:
    await store.record(batch(*MIXED))
    assert [event.seq for event in reader.events(**chosen)] == expected


# ---- many at once ----


async def test_readers_see_what_is_recorded_after_they_were_opened(home: Home, store: Store) -> None:
    early = home.reader()
    await store.record(batch(progress("a"), rows=[row("p/t", {"n": 1})]))
    late = home.reader()
    await store.record(batch(progress("b"), rows=[row("p/t", {"n": 2})]))
    for reader in (early, late):
        assert [event.data["text"] for event in reader.events()] == ["a", "b"]
        assert reader.rows("task") == [{"n": 2}]
        reader.close()


async def test_the_version_changes_with_every_transaction_and_only_then(store: Store, reader: LedgerReader) -> None:
    seen = [reader.version()]
    for change in (batch(progress("a")), batch(rows=[row("p/t", {})]), batch(effects=[STOP]), batch(done=[STOP.key])):
        await store.record(change)
        seen.append(reader.version())
        assert reader.version() == seen[-1]
    assert len(set(seen)) == len(seen)


async def test_batches_recorded_at_once_are_kept_whole_and_in_a_row(store: Store) -> None:
    import anyio

    def a_batch(number: int) -> Batch:
        return batch(*(TaskQueued(plan_id=PlanId("p"), task_id=TaskId(f"{number}-{n}")) for n in range(5)))

    ends: list[int] = []

    async def record(number: int) -> None:
        ends.append(await store.record(a_batch(number)))

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(record, number)
    assert sorted(ends) == list(range(5, 101, 5))
    names = [event.task_id for _, _, event in await store.events() if isinstance(event, TaskQueued)]
    assert all(len({name.split("-")[0] for name in names[n : n + 5]}) == 1 for n in range(0, 100, 5))
