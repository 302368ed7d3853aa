"""Notices when the daemon's loop does not turn: everything waits then, and the log has to say for what."""

from __future__ import annotations

import sys
import threading
import time
import traceback

import anyio
import structlog

log = structlog.get_logger(__name__)

BLOCKED_S = 1.0  #: for so long the loop may be busy with one thing
BEAT_S = 0.25
LOOK_S = 0.5
STACK_LINES = 30


class Watchdog:
    """A thread that looks whether the loop of the thread that made it turns."""

    def __init__(self, *, blocked_s: float = BLOCKED_S, beat_s: float = BEAT_S, look_s: float = LOOK_S) -> None:
        self._blocked_s = blocked_s
        self._beat_s = beat_s
        self._look_s = look_s
        self._watched = threading.get_ident()
        self._beaten_at = time.monotonic()
        self._over = threading.Event()

    async def run(self) -> None:
        """Show that the loop turns, and have that watched, until cancelled."""
        self._over.clear()
        self._beaten_at = time.monotonic()
        thread = threading.Thread(target=self._look, name="watchdog", daemon=True)
        thread.start()
        try:
            while True:
                self._beaten_at = time.monotonic()
                await anyio.sleep(self._beat_s)
        finally:
            self._over.set()

    def _look(self) -> None:
        blocked_since: float | None = None
        looked_at = time.monotonic()
        while not self._over.wait(self._look_s):
            now = time.monotonic()
            slept, looked_at = now - looked_at, now
            beaten_at = self._beaten_at
            if blocked_since is not None and beaten_at > blocked_since:
                log.warning("loop.turns_again", blocked_s=round(beaten_at - blocked_since, 2))
                blocked_since = None
            if slept > self._blocked_s + self._look_s:
                continue  # the whole process stood still, or the machine slept: the loop is not to blame
            if blocked_since is None and now - beaten_at > self._blocked_s + self._beat_s:
                blocked_since = beaten_at
                log.warning("loop.blocked", blocked_s=round(now - beaten_at, 2), stack=self._stack())

    def _stack(self) -> list[str]:
        frame = sys._current_frames().get(self._watched)
        if frame is None:
            return []
        return "".join(traceback.format_stack(frame)).splitlines()[-STACK_LINES:]
