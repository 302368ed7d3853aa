"""A person with a repository, who types commands and reads what they print."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ORCHESTRATOR = Path(sys.executable).with_name("orchestrator")


@dataclass(frozen=True)
class Printed:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def data(self) -> Any:
        return self.json["data"]


@dataclass
class Person:
    """Someone at a shell in a repository of their own; nothing of the real home is seen or changed."""

    home: Path
    repo: Path
    extra: dict[str, str] = field(default_factory=dict)

    @classmethod
    def with_repository(cls, folder: Path, name: str = "repo") -> Person:
        person = cls(home=folder / "home", repo=folder / name)
        for made in (person.home, person.repo, folder / "run"):
            made.mkdir(mode=0o700, parents=True)
        person.extra["XDG_RUNTIME_DIR"] = str(folder / "run")
        person.git("init", "--quiet", "--initial-branch=main")
        person.git("config", "user.name", "Test Person")
        person.git("config", "user.email", "person@example.com")
        person.write("README.md", "# A project\n")
        person.commit("first")
        return person

    @property
    def environ(self) -> dict[str, str]:
        keep = {k: v for k, v in os.environ.items() if k in {"PATH", "LANG", "LC_ALL", "TMPDIR"}}
        return keep | {"HOME": str(self.home), "GIT_CONFIG_NOSYSTEM": "1", "PYTHONDONTWRITEBYTECODE": "1"} | self.extra

    def type(self, *words: str, cwd: Path | None = None, timeout: float = 120) -> Printed:
        """`orchestrator ...`, run to its end without a terminal."""
        result = subprocess.run(
            [str(ORCHESTRATOR), *words],
            cwd=cwd or self.repo,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return Printed(result.returncode, result.stdout, result.stderr)

    def start(self, plan: str, *words: str, timeout: float = 120) -> Printed:
        """Check the plan, say yes to its digest, and follow it to its end."""
        checked = self.type("plan", "check", plan, "--json", *(w for w in words if w in {"--agent", "demo"}))
        assert checked.code == 0, checked.out + checked.err
        return self.type("start", plan, "--confirm", checked.data["digest"], *words, timeout=timeout)

    def status(self) -> Any:
        return self.type("status", "--json").data

    def task(self, name: str) -> Any:
        return next(t for t in self.status()["tasks"] if t["id"] == name)

    def states(self) -> dict[str, str]:
        return {t["id"]: t["state"] for t in self.status()["tasks"]}

    def inbox(self) -> list[Any]:
        items: list[Any] = self.type("inbox", "--json").data["items"]
        return items

    def events(self) -> list[Any]:
        found: list[Any] = self.type("events", "--json").data["events"]
        return found

    def wait(self, holds: Callable[[], bool], seconds: float = 60, what: str = "it") -> None:
        """Look again and again until it holds."""
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not come to hold in {seconds} s:\n{self.type('status').out}")
            time.sleep(0.1)

    def daemon_pid(self) -> int | None:
        pid: int | None = self.status()["daemon_pid"]
        return pid

    def kill_daemon(self) -> None:
        """`kill -9`, the way a machine does it."""
        pid = self.daemon_pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self.wait(lambda: self.daemon_pid() is None, what="the daemon's end")

    def leave(self) -> None:
        """End whatever still runs here."""
        self.type("stop", "--now")
        if (self.repo / ".git" / "orchestrator" / "ledger.sqlite").exists():
            self.wait(lambda: self.daemon_pid() is None, what="the daemon's end")

    # ---- the repository ----

    def git(self, *words: str) -> str:
        result = subprocess.run(
            ["git", *words], cwd=self.repo, env=self.environ, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, f"git {words}: {result.stderr}"
        return result.stdout.strip()

    def write(self, path: str, text: str) -> Path:
        file = self.repo / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", message)
        return self.git("rev-parse", "HEAD")

    def plan(self, text: str, name: str = "work") -> str:
        self.write(f"plans/{name}.yaml", text)
        return f"plans/{name}.yaml"

    def first_parents(self, branch: str = "main") -> list[str]:
        return self.git("log", "--first-parent", "--format=%s", branch).splitlines()

    @property
    def worktrees(self) -> Path:
        return self.repo.with_name(f"{self.repo.name}.worktrees")

    def left_trees(self) -> list[str]:
        """Worktrees that are still there."""
        if not self.worktrees.exists():
            return []
        return sorted(
            str(tree.relative_to(self.worktrees))
            for plan in self.worktrees.iterdir()
            if plan.is_dir() and not plan.name.startswith(".")  # the trash, and trees that wait to be used again
            for tree in plan.iterdir()
        )

    def processes(self) -> list[str]:
        """Command lines of processes that belong to this repository's runs."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    where = os.readlink(entry / "cwd")
                except OSError:
                    continue
                if str(self.repo.parent) in command or where.startswith(str(self.worktrees)):
                    found.append(command.strip())
        return found
