"""The daemon's local API as a Python object; every face uses it."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from orchestrator.model.errors import (
    ConfirmationNeeded,
    ExitCode,
    InternalError,
    NoDaemonError,
    NothingError,
    OrchestratorError,
    PlanError,
    Problem,
    RefusedError,
    RepositoryError,
    SettingsError,
    UsageError,
)
from orchestrator.model.place import Place
from orchestrator.wire import CONTRACT, Accepted, Action, Hello, Refusal, SubmitPlan

#: Taking a plan in reads the whole plan and looks at the repository, so it may take a while.
ANSWER_WITHIN_S = 120.0
CONNECT_WITHIN_S = 5.0
HELLO_WITHIN_S = 10.0  #: a daemon that works says so at once; one that was stopped never does

M = TypeVar("M", bound=BaseModel)

_BY_CODE: dict[str, type[OrchestratorError]] = {
    kind.code: kind
    for kind in (
        UsageError,
        SettingsError,
        RepositoryError,
        NoDaemonError,
        ConfirmationNeeded,
        RefusedError,
        NothingError,
        InternalError,
    )
}
_BY_EXIT: dict[int, type[OrchestratorError]] = {
    ExitCode.USAGE: UsageError,
    ExitCode.NO_DAEMON: NoDaemonError,
    ExitCode.CONFIRM: ConfirmationNeeded,
    ExitCode.NOTHING: NothingError,
}


class Client:
    """Talks with the daemon of one repository. Usable in a `with` block.

    Every call raises NoDaemonError when nobody answers, RefusedError when the daemon speaks another contract, and the
    branch of OrchestratorError that the daemon named when it refused.
    """

    def __init__(self, place: Place, *, answer_within_s: float = ANSWER_WITHIN_S) -> None:
        self._place = place
        self._answer_within_s = answer_within_s
        # Proxies from the environment are for other hosts, not for our own socket.
        self._http = httpx2.Client(
            transport=httpx2.HTTPTransport(uds=str(place.socket)),
            base_url="http://orchestrator",
            timeout=httpx2.Timeout(answer_within_s, connect=CONNECT_WITHIN_S),
            trust_env=False,
        )
        self._hello: Hello | None = None

    def hello(self) -> Hello:
        """Who answers. Asked again on every call, so that it can serve as a sign of life."""
        self._hello = None
        body = self._call("GET", "/v1/hello", None, within_s=min(HELLO_WITHIN_S, self._answer_within_s))
        # Looked at before the rest, because another version may well have other fields.
        theirs = body.get("contract") if isinstance(body, dict) else None
        if theirs != CONTRACT:
            raise RefusedError(
                "the daemon that runs here is of another version",
                why=f"it speaks contract {theirs}, this command speaks {CONTRACT}",
                fix="restart it, agents go on meanwhile: orchestrator stop --detach && orchestrator start",
            )
        self._hello = _parsed(Hello, body)
        return self._hello

    def submit(self, plan: SubmitPlan) -> Accepted:
        """Hand in a confirmed plan. It is in the ledger when this returns."""
        return self._post("/v1/plans", plan)

    def act(self, action: Action) -> Accepted:
        """Ask for anything else. It is in the ledger when this returns."""
        return self._post("/v1/actions", action)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _post(self, path: str, message: BaseModel) -> Accepted:
        if self._hello is None:
            self.hello()
        return _parsed(Accepted, self._call("POST", path, message))

    def _call(self, method: str, path: str, message: BaseModel | None, *, within_s: float | None = None) -> Any:
        content = None if message is None else message.model_dump_json()
        headers = {} if message is None else {"content-type": "application/json"}
        self._knock()
        within_s = within_s or self._answer_within_s
        timeout = httpx2.Timeout(within_s, connect=CONNECT_WITHIN_S)
        try:
            answer = self._http.request(method, path, content=content, headers=headers, timeout=timeout)
        except httpx2.TimeoutException as error:
            asked = "nothing was asked of it yet" if message is None else "what was asked may still be done"
            raise NoDaemonError(
                f"the daemon for {self._place.root} does not answer",
                why=f"it said nothing for {within_s:.0f} s: it was stopped, or hangs; {asked}",
                fix="`orchestrator status` shows its process: `kill -CONT` lets it go on, `kill -KILL` and "
                "`orchestrator start` begin it anew; agents go on meanwhile, and nothing is lost",
            ) from error
        except httpx2.TransportError as error:
            raise NoDaemonError(
                f"the daemon for {self._place.root} does not answer",
                why=str(error) or type(error).__name__,
                fix="look at its log: orchestrator logs --stream daemon -n 50",
            ) from error
        body = _json(answer)
        if answer.status_code >= 400:
            raise _refused(answer.status_code, body)
        return body

    def _knock(self) -> None:
        """Raises: NoDaemonError when nobody listens."""
        # httpcore2 leaves its socket open when connecting fails, and Python complains about that later.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.settimeout(CONNECT_WITHIN_S)
            try:
                door.connect(str(self._place.socket))
            except OSError as error:
                raise NoDaemonError(
                    f"no daemon runs for {self._place.root}",
                    why="nobody listens on its socket",
                    fix="start it: orchestrator start",
                ) from error


def _json(answer: httpx2.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _parsed(kind: type[M], body: Any) -> M:
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise RefusedError(
            "the daemon gave an answer that this command does not understand",
            why=f"it does not read as {kind.__name__}, so the two are probably of different versions",
            fix="restart it, agents go on meanwhile: orchestrator stop --detach && orchestrator start",
        ) from error


def _refused(status: int, body: Any) -> OrchestratorError:
    """The daemon's refusal as the error it stands for, exit code kept."""
    try:
        refusal = Refusal.model_validate(body)
    except ValidationError:
        return RefusedError(
            "the daemon refused the request",
            why=f"it answered {status} without saying why",
            fix="look at its log: orchestrator logs --stream daemon -n 50",
        )
    error: OrchestratorError
    if refusal.code == PlanError.code:
        problem = Problem(code=refusal.code, message=refusal.message, why=refusal.why, fix=refusal.fix)
        error = PlanError(problems=(problem,))
    else:
        kind = _BY_CODE.get(refusal.code) or _BY_EXIT.get(refusal.exit_code) or RefusedError
        error = kind(refusal.message, why=refusal.why, fix=refusal.fix)
    error.code = refusal.code
    if refusal.exit_code in set(ExitCode):
        error.exit_code = ExitCode(refusal.exit_code)
    return error
