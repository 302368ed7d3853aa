"""The local API: requests in, events out, on a unix socket that only this user can open."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from orchestrator import __version__
from orchestrator.engine.loop import Loop
from orchestrator.model.errors import OrchestratorError, UsageError
from orchestrator.model.fact import (
    AnswerGiven,
    CancelAsked,
    ClaimAsked,
    EvictAsked,
    FinishAsked,
    GiveBackAsked,
    HandInAsked,
    PauseAsked,
    PlanSubmitted,
    PruneAsked,
    PublishAsked,
    ReleaseAsked,
    RenewAsked,
    ResumeAsked,
    RetryAsked,
    StopAsked,
    UndoAsked,
)
from orchestrator.model.fact import Request as PersonRequest
from orchestrator.model.ids import Commit, ItemId, PlanId, TaskId
from orchestrator.model.place import Place
from orchestrator.model.run import Drain
from orchestrator.ports import LedgerReader, Stored
from orchestrator.wire import Accepted, Action, Hello, Refusal, SubmitPlan

STREAM_PAUSE_S = 15.0  #: a comment is sent to an idle stream this often, so that a dead client is noticed


def event_json(event: Stored) -> dict[str, Any]:
    """An event as outsiders read it."""
    return {
        "seq": event.seq,
        "at": event.at.isoformat(),
        "type": event.type,
        "plan": event.plan,
        "task": event.task,
        "attempt": event.attempt,
        "token": event.token,
        "data": event.data,
    }


def fact_of(action: Action) -> PersonRequest:
    """What an action means. Raises: UsageError when something it needs is missing."""
    plan = PlanId(action.plan) if action.plan else None
    match action.verb:
        case "pause":
            return PauseAsked(by=action.by)
        case "resume":
            return ResumeAsked(by=action.by)
        case "cancel":
            task = TaskId(action.task) if action.task else None
            return CancelAsked(task_id=task, by=action.by, reason=action.reason, plan_id=plan)
        case "retry":
            if not action.task:
                raise UsageError("`retry` needs a task", fix="`orchestrator retry TASK`")
            return RetryAsked(task_id=TaskId(action.task), by=action.by, plan_id=plan)
        case "answer":
            if not action.item:
                raise UsageError("`answer` needs an item", fix="`orchestrator answer ID CHOICE`")
            return AnswerGiven(item_id=ItemId(action.item), choice=action.choice, text=action.text, by=action.by)
        case "hand_in":
            return HandInAsked(item_id=_item_of(action), by=action.by, accepted=action.accepted, keep=action.keep)
        case "give_back":
            return GiveBackAsked(item_id=_item_of(action), by=action.by)
        case "prune":
            return PruneAsked(owners=tuple(action.owners), trash=tuple(action.trash), by=action.by)
        case "publish":
            return PublishAsked(by=action.by, plan_id=plan)
        case "undo":
            if not action.task:
                raise UsageError("`undo` needs a task", fix="`orchestrator undo TASK`")
            return UndoAsked(
                task_id=TaskId(action.task),
                by=action.by,
                reason=action.reason,
                accepted=action.accepted,
                plan_id=plan,
            )
        case "claim":
            return ClaimAsked(
                task_id=TaskId(action.task) if action.task else None,
                holder=action.holder,
                ttl=None if action.ttl_s is None else timedelta(seconds=action.ttl_s),
                reason=action.reason,
                review=None if action.review_s is None else timedelta(seconds=action.review_s),
                by=action.by,
                plan_id=plan,
            )
        case "renew" | "heartbeat":
            task_id, token = _claim_of(action)
            return RenewAsked(task_id=task_id, token=token, renew=action.verb == "renew", by=action.by, plan_id=plan)
        case "release":
            task_id, token = _claim_of(action)
            return ReleaseAsked(task_id=task_id, token=token, reason=action.reason, by=action.by, plan_id=plan)
        case "finish":
            task_id, token = _claim_of(action)
            return FinishAsked(
                task_id=task_id,
                token=token,
                summary=action.text,
                no_change=action.no_change,
                by=action.by,
                plan_id=plan,
            )
        case "evict":
            if not action.task or not action.reason:
                raise UsageError(
                    "taking a task away needs the task and a reason",
                    fix="`orchestrator claim force-evict TASK --reason WHY`",
                )
            return EvictAsked(task_id=TaskId(action.task), reason=action.reason, by=action.by, plan_id=plan)
        case "stop":
            return StopAsked(by=action.by, now=action.mode == "now")


def _claim_of(action: Action) -> tuple[TaskId, int]:
    if not action.task or action.token is None:
        raise UsageError(
            f"`claim {action.verb}` needs the task and the token of its claim",
            fix="`orchestrator claim list` shows both",
        )
    return TaskId(action.task), action.token


def _item_of(action: Action) -> ItemId:
    if not action.item:
        raise UsageError(f"`{action.verb}` needs an item", fix="`orchestrator conflicts` lists what is open")
    return ItemId(action.item)


class Control:
    """The API of one daemon.

    Args:
        assess: reads a submitted plan and the repository anew, and refuses when the digest is not the confirmed one.
        open_reader: a new reader of the ledger, for one stream.
        target_of: reads where a branch of the person's repository is.
        leave: called when a person asks the daemon to leave and let its agents run.
    """

    def __init__(
        self,
        *,
        loop: Loop,
        place: Place,
        assess: Callable[[SubmitPlan], Awaitable[PlanSubmitted]],
        open_reader: Callable[[], LedgerReader],
        target_of: Callable[[str], Awaitable[Commit]],
        leave: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._place = place
        self._assess = assess
        self._open_reader = open_reader
        self._target_of = target_of
        self._leave = leave
        self._closing = False
        self._server: _Server | None = None
        self.closed = anyio.Event()
        self.app = self._make_app()

    def _make_app(self) -> FastAPI:
        app = FastAPI(title="orchestrator", version=__version__, docs_url=None, redoc_url=None)

        @app.exception_handler(OrchestratorError)
        async def refuse(_: Request, error: OrchestratorError) -> JSONResponse:
            refusal = Refusal(
                code=error.code, message=error.message, why=error.why, fix=error.fix, exit_code=int(error.exit_code)
            )
            return JSONResponse(refusal.model_dump(), status_code=409)

        @app.get("/v1/hello")
        async def hello() -> Hello:
            """Who answers."""
            state = self._loop.state
            return Hello(
                version=__version__,
                pid=os.getpid(),
                root=str(self._place.root),
                plan=state.current,
                draining=state.drain is not Drain.NO,
            )

        @app.post("/v1/plans")
        async def submit(message: SubmitPlan) -> Accepted:
            """Run a plan, if it still reads as what was confirmed."""
            return Accepted(seq=await self._loop.request(await self._assess(message)))

        @app.post("/v1/actions")
        async def act(action: Action) -> Accepted:
            """Anything else that a person asks for."""
            if action.verb == "stop" and action.mode == "detach":
                self._leave()
                return Accepted(seq=self._loop.seq, message="leaving; agents go on")
            return Accepted(seq=await self._loop.request(await self._seen(fact_of(action))))

        @app.get("/v1/events")
        async def events(after: int = 0) -> StreamingResponse:
            """The ledger as server-sent events, from a sequence number on."""
            return StreamingResponse(self._stream(after), media_type="text/event-stream")

        return app

    async def _seen(self, fact: PersonRequest) -> PersonRequest:
        """What was asked for, with what has to be looked at to answer it."""
        state = self._loop.state
        plan_id = fact.plan_id or state.current if isinstance(fact, PublishAsked) else None
        plan = state.plans.get(plan_id) if plan_id is not None else None
        if not isinstance(fact, PublishAsked) or plan is None or plan.sync_held is None:
            return fact
        with contextlib.suppress(OrchestratorError):  # a target that is gone is told by the publishing itself
            fact = replace(fact, target=await self._target_of(plan.plan.target))
        return fact

    async def _stream(self, after: int) -> AsyncIterator[str]:
        reader = await anyio.to_thread.run_sync(self._open_reader)
        try:
            while not self._closing:
                found = await anyio.to_thread.run_sync(partial(reader.events, after_seq=after, limit=500))
                for event in found:
                    after = event.seq
                    yield f"id: {event.seq}\nevent: {event.type}\ndata: {json.dumps(event_json(event))}\n\n"
                if not found and self._loop.seq <= after:
                    with anyio.move_on_after(STREAM_PAUSE_S) as idle:
                        await self._loop.changed()
                    if idle.cancelled_caught:
                        yield ": still here\n\n"
        finally:
            reader.close()

    async def serve(self) -> None:
        """Answer until `close`."""
        config = uvicorn.Config(
            self.app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=3
        )
        self._server = _Server(config)
        listening = listen(str(self._place.socket))
        try:
            await self._server.serve(sockets=[listening])
        finally:
            listening.close()
            with contextlib.suppress(OSError):
                os.unlink(self._place.socket)
            self.closed.set()

    def close(self) -> None:
        """End the streams, then the server."""
        self._closing = True
        self._loop.wake()
        if self._server is not None:
            self._server.should_exit = True


class _Server(uvicorn.Server):
    """The daemon handles signals itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(path: str) -> socket.socket:
    """A listening unix socket, 0600 from its first moment. A dead daemon's socket is replaced: we hold the lock."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listening.bind(path)
    finally:
        os.umask(before)
    listening.listen(64)
    listening.setblocking(False)
    return listening
