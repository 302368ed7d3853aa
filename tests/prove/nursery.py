"""Brings daemons into the world quickly: everything is imported once, and each daemon is a fork of this process.

Reads one JSON command a line and answers each with one line. `python -m tests.prove.nursery` is not for people.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

FACES = {"cli", "tui", "web", "simulation"}
#: What a daemon imports only when it comes to it.
LATE = (
    "anyio._backends._asyncio",
    "git",
    "h11",
    "platformdirs",
    "pydantic.v1",
    "uvicorn.lifespan.off",
    "uvicorn.protocols.http.h11_impl",
    "uvicorn.protocols.websockets.auto",
)


def imported() -> None:
    """Import what every daemon needs."""
    import gc
    import importlib
    import pkgutil

    import orchestrator
    from orchestrator import wire
    from orchestrator.app.daemon import adapters
    from orchestrator.backends.registry import load_adapters
    from tests.prove import rig  # noqa: F401

    for found in pkgutil.walk_packages(orchestrator.__path__, "orchestrator."):
        if found.name.split(".")[1] not in FACES and "__main__" not in found.name:
            importlib.import_module(found.name)
    for name in LATE:
        importlib.import_module(name)
    load_adapters()
    adapters()
    for what in ("event", "effect"):
        for kind in wire._kinds(what).values():  # type: ignore[arg-type]
            wire._adapter(kind)
    gc.collect()
    gc.freeze()  # what is never looked at by the collector is not copied for each child


def born(command: dict[str, Any]) -> int:
    """Be a daemon in a session of its own, in the environment given. Returns: its exit status."""
    from pathlib import Path

    from tests.prove.rig import Rig, install

    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    out = os.open(command["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for fd, number in ((null, 0), (out, 1), (out, 2)):
        os.dup2(fd, number)
    os.close(null)
    os.close(out)
    os.environ.clear()
    os.environ.update(command["env"])
    os.chdir(command["root"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["orchestrator.app", command["root"]]
    rig = {name: tuple(value) if isinstance(value, list) else value for name, value in command["rig"].items()}
    install(Rig(**rig), Path(command["root"]))

    from orchestrator.app.daemon import main

    return main()


def serve() -> None:
    imported()
    ended: dict[int, int] = {}
    print(json.dumps({"ready": os.getpid()}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "start":
            pid = os.fork()
            if pid == 0:
                code = 70
                try:
                    code = born(command)
                except SystemExit as error:
                    code = error.code if isinstance(error.code, int) else 70
                except BaseException:
                    import traceback

                    traceback.print_exc()
                finally:
                    sys.stderr.flush()
                    os._exit(code)
            ended.pop(pid, None)  # numbers come round again
            print(json.dumps({"pid": pid}), flush=True)
        else:
            pid = command["pid"]
            if pid not in ended:
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    ended[pid] = os.waitstatus_to_exitcode(status)
            print(json.dumps({"status": ended.get(pid)}), flush=True)


if __name__ == "__main__":
    serve()
