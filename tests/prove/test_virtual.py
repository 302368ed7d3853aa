"""Virtual time on every Python that is here: it rests on a private attribute of the standard event loop."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import anyio
import pytest

from orchestrator.simulation.virtual import VirtualDeadlockError, VirtualLoop, run_virtually

ROOT = Path(__file__).parents[2]
CANARY = """
import threading, time
import anyio, anyio.to_thread
from orchestrator.simulation.virtual import VirtualDeadlockError, VirtualLoop, run_virtually

async def sleeps():
    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for hours in (1, 24, 720):
            tasks.start_soon(anyio.sleep, hours * 3600)
    with anyio.move_on_after(5):
        await anyio.sleep_forever()
    return anyio.current_time() - began

assert run_virtually(sleeps) == 720 * 3600 + 5

async def held():
    import asyncio
    with asyncio.get_running_loop().hold():
        with anyio.fail_after(10):
            return await anyio.to_thread.run_sync(lambda: time.sleep(0.05) or threading.current_thread().name)

assert anyio.run(held, backend_options={"loop_factory": VirtualLoop}) != threading.main_thread().name

async def stuck():
    await anyio.Event().wait()

try:
    run_virtually(stuck)
except VirtualDeadlockError:
    print("ok")
"""


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_virtual_time_works_on(version: str) -> None:
    this = f"{sys.version_info.major}.{sys.version_info.minor}" == version
    python = sys.executable if this else shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "-c", ""], capture_output=True).returncode:
        pytest.skip(f"Python {version} is not installed here")
    paths = os.pathsep.join((str(ROOT), sysconfig.get_path("purelib")))
    done = subprocess.run(
        [python, "-c", CANARY], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "ok\n", done.stderr


def test_a_program_that_would_wait_for_ever_is_told_at_once() -> None:
    async def stuck() -> None:
        await anyio.Event().wait()

    with pytest.raises(VirtualDeadlockError):
        run_virtually(stuck)


def test_the_clock_stands_still_while_something_real_is_held() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        with loop.hold():
            await anyio.to_thread.run_sync(lambda: time.sleep(0.05))
        return anyio.current_time()

    assert anyio.run(main, backend_options={"loop_factory": VirtualLoop}) == 0.0
