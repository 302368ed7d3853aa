"""The client against a real HTTP server on a real unix socket."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from orchestrator.client import Client
from orchestrator.model.errors import (
    ConfirmationNeeded,
    ExitCode,
    NoDaemonError,
    NothingError,
    OrchestratorError,
    PlanError,
    RefusedError,
    UsageError,
)
from orchestrator.model.place import Place
from orchestrator.wire import CONTRACT, Action, Overrides, SubmitPlan

HELLO = {"contract": CONTRACT, "version": "1", "pid": 7, "root": "/repo", "plan": None, "draining": False}
SUBMIT = SubmitPlan(path="/p.yaml", digest="d" * 64, overrides=Overrides(parallel=2), by="ada")


class FakeDaemon:
    """Answers whatever a test wants, and remembers what it was sent."""

    def __init__(self) -> None:
        self.hello: Any = HELLO
        self.answer: Response = JSONResponse({"seq": 5, "message": "done"})
        self.requests: list[tuple[str, Any]] = []
        self.app = FastAPI()
        self.app.add_api_route("/v1/hello", self.say_hello, methods=["GET"])
        self.app.add_api_route("/v1/plans", self.take, methods=["POST"])
        self.app.add_api_route("/v1/actions", self.take, methods=["POST"])

    async def say_hello(self) -> Response:
        self.requests.append(("/v1/hello", None))
        return self.hello if isinstance(self.hello, Response) else JSONResponse(self.hello)

    async def take(self, request: Request) -> Response:
        self.requests.append((request.url.path, await request.json()))
        return self.answer


def a_place(folder: Path) -> Place:
    return Place(root=folder, common_dir=folder, state_dir=folder, worktrees=folder / "trees", socket=folder / "s")


@pytest.fixture
def folder() -> Iterator[Path]:
    # The path of a unix socket is limited to about 100 bytes, which a test's own folder may well exceed.
    with tempfile.TemporaryDirectory(prefix="orch-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def serving() -> Iterator[tuple[FakeDaemon, Path]]:
    fake = FakeDaemon()
    with tempfile.TemporaryDirectory(prefix="orch-") as name, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{name}/s")
        listening.listen()  # so that a client can connect before the server accepts
        server = uvicorn.Server(uvicorn.Config(fake.app, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield fake, Path(name)
        finally:
            server.should_exit = True
            thread.join(timeout=10)
            assert not thread.is_alive()


@pytest.fixture
def daemon(serving: tuple[FakeDaemon, Path]) -> FakeDaemon:
    fake, _ = serving
    fake.hello, fake.answer = HELLO, JSONResponse({"seq": 5, "message": "done"})
    fake.requests.clear()
    return fake


@pytest.fixture
def its_folder(serving: tuple[FakeDaemon, Path]) -> Path:
    return serving[1]


def test_hello_says_who_answers(daemon: FakeDaemon, its_folder: Path) -> None:
    with Client(a_place(its_folder)) as client:
        assert client.hello().pid == 7


def test_a_plan_and_actions_arrive_as_they_were_sent(daemon: FakeDaemon, its_folder: Path) -> None:
    action = Action(verb="answer", by="ada", item="i4", choice="retry", text="übung\n2")
    with Client(a_place(its_folder)) as client:
        assert client.submit(SUBMIT).seq == 5
        assert client.act(action).message == "done"
    assert daemon.requests == [
        ("/v1/hello", None),
        ("/v1/plans", SUBMIT.model_dump(mode="json")),
        ("/v1/actions", action.model_dump()),
    ], "hands are shaken once"


@pytest.mark.parametrize(
    ("refusal", "kind", "exit_code"),
    [
        ({"code": "usage", "exit_code": 2}, UsageError, 2),
        ({"code": "plan", "exit_code": 2}, PlanError, 2),
        ({"code": "confirmation_needed", "exit_code": 4}, ConfirmationNeeded, 4),
        ({"code": "refused", "exit_code": 6}, RefusedError, 6),
        ({"code": "nothing", "exit_code": 7}, NothingError, 7),
        ({"code": "from_the_future", "exit_code": 4}, ConfirmationNeeded, 4),
        ({"code": "from_the_future", "exit_code": 99}, RefusedError, 6),
    ],
    ids=lambda value: str(value),
)
def test_a_refusal_becomes_the_error_it_stands_for(
    daemon: FakeDaemon, its_folder: Path, refusal: dict[str, Any], kind: type[OrchestratorError], exit_code: int
) -> None:
    daemon.answer = JSONResponse({"message": "no", "why": "w", "fix": "f", **refusal}, status_code=409)
    with Client(a_place(its_folder)) as client, pytest.raises(kind) as raised:
        client.submit(SUBMIT)
    error = raised.value
    assert (error.message, error.why, error.fix) == ("no", "w", "f")
    assert (error.code, error.exit_code) == (refusal["code"], exit_code)
    assert isinstance(error.exit_code, ExitCode)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(PlainTextResponse("Internal Server Error", status_code=500), "answered 500", id="no refusal"),
        pytest.param(JSONResponse({"detail": []}, status_code=422), "does not know this request", id="not understood"),
        pytest.param(JSONResponse({"what": 1}), "different versions", id="another answer"),
        pytest.param(PlainTextResponse("ok"), "different versions", id="no JSON"),
    ],
)
def test_an_answer_that_makes_no_sense_is_still_an_error_for_a_person(
    daemon: FakeDaemon, its_folder: Path, answer: Response, said: str
) -> None:
    daemon.answer = answer
    with Client(a_place(its_folder)) as client, pytest.raises(RefusedError, match=said):
        client.act(Action(verb="pause", by="ada"))


@pytest.mark.parametrize(
    "hello",
    [
        pytest.param({**HELLO, "contract": CONTRACT + 1, "mood": "fine"}, id="newer, with other fields"),
        pytest.param({"version": "0"}, id="older than contracts"),
        pytest.param(JSONResponse({"detail": "Not Found"}, status_code=200), id="somebody else"),
        pytest.param(PlainTextResponse("hello"), id="no JSON"),
    ],
)
def test_a_daemon_of_another_contract_is_to_be_restarted_and_is_sent_nothing(
    daemon: FakeDaemon, its_folder: Path, hello: Any
) -> None:
    daemon.hello = hello
    with Client(a_place(its_folder)) as client, pytest.raises(RefusedError) as raised:
        client.submit(SUBMIT)
    assert "another version" in raised.value.message
    assert "orchestrator restart" in raised.value.fix
    assert [path for path, _ in daemon.requests] == ["/v1/hello"]


def test_without_a_socket_no_daemon_runs(folder: Path) -> None:
    with Client(a_place(folder)) as client, pytest.raises(NoDaemonError) as raised:
        client.hello()
    assert raised.value.fix == "start it: orchestrator start"


def test_a_socket_that_nobody_listens_on_is_no_daemon(folder: Path) -> None:
    left_over = socket.socket(socket.AF_UNIX)
    left_over.bind(str(folder / "s"))
    left_over.close()
    with Client(a_place(folder)) as client, pytest.raises(NoDaemonError):
        client.hello()


def test_a_daemon_that_hangs_up_does_not_answer(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "s"))
        listening.listen()

        def hang_up() -> None:
            for _ in range(2):  # the client looks whether anybody is there, then asks
                connection, _ = listening.accept()
                connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with Client(a_place(folder)) as client, pytest.raises(NoDaemonError, match="does not answer"):
            client.hello()
        thread.join(timeout=10)


def test_proxies_of_the_environment_are_not_asked(
    daemon: FakeDaemon, its_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Client(a_place(its_folder)) as client:
        assert client.hello().version == "1"
