"""A repository to measure in, and the commands that are typed there."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ORCHESTRATOR = Path(sys.executable).with_name("orchestrator")

#: Edits the first line of the file that it is told on stdin, as an agent that costs nothing; writes down when it began.
AGENT = """\
date +%s.%N >>"$BENCH_LOG/$ORCHESTRATOR_TASK"
if [ "${BENCH_SLEEP:-0}" != 0 ]; then sleep "$BENCH_SLEEP"; fi
read -r file
{ echo "edited by $ORCHESTRATOR_TASK"; sed 1d "$file"; } >.new && mv .new "$file"
"""


@dataclass
class Desk:
    """A repository of so many files, with its own home."""

    folder: Path
    files: int

    @classmethod
    def make(cls, folder: Path, files: int) -> Desk:
        desk = cls(folder, files)
        for made in (desk.repo, folder / "home", folder / "run", desk.log):
            made.mkdir(parents=True, mode=0o700)
        numbers = random.Random(7)
        for number in range(files):
            lines = "".join(f"{numbers.getrandbits(128):032x}\n" for _ in range(32))
            desk.write(desk.file(number), f"first line\n{lines}")
        (folder / "agent.sh").write_text(AGENT)
        desk.git("init", "-q", "-b", "main")
        for name, value in (("user.name", "b"), ("user.email", "b@x"), ("gc.auto", "0")):
            desk.git("config", name, value)
        desk.git("add", "-A")
        desk.git("commit", "-qm", "first")
        return desk

    @property
    def repo(self) -> Path:
        return self.folder / "repo"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def file(self, number: int) -> str:
        return f"src/d{number // 50:03d}/f{number:05d}.txt"

    def write(self, path: str, text: str) -> None:
        file = self.repo / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "LC_ALL", "TMPDIR"}}
        ours = {"HOME": str(self.folder / "home"), "XDG_RUNTIME_DIR": str(self.folder / "run")}
        return kept | ours | {"GIT_CONFIG_NOSYSTEM": "1", "BENCH_LOG": str(self.log)}

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=self.repo, env=self.environ, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def type(self, *words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """`orchestrator ...`, which has to succeed."""
        done = subprocess.run(
            [str(ORCHESTRATOR), *words],
            cwd=self.repo,
            env=self.environ | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def data(self, *words: str) -> Any:
        return json.loads(self.type(*words, "--json").stdout)["data"]

    def plan(self, name: str, tasks: int, parallel: int, first: int = 0, sleep: float = 0) -> tuple[str, str]:
        """A plan of tasks that edit a file each. Returns: its path and digest."""
        agent = f"adapter: command, stdin: prompt, pass_env: [BENCH_LOG], env: {{BENCH_SLEEP: '{sleep:g}'}}"
        lines = [f"name: {name}", f"parallel: {parallel}", "checks: none", "agents:"]
        lines += [f"  quick: {{{agent}, run: [sh, '{self.folder / 'agent.sh'}']}}", "tasks:"]
        for number in range(tasks):
            path = self.file(number * (self.files // tasks) + first)
            lines.append(f"  - {{id: {name}-{number}, files: ['{path}'], agent: quick, prompt: '{path}'}}")
        file = self.folder / f"{name}.yaml"
        file.write_text("\n".join(lines) + "\n")
        return str(file), self.data("plan", "check", str(file))["digest"]

    def run(self, plan: tuple[str, str]) -> float:
        """Seconds from typing `start` to its end."""
        path, digest = plan
        began = time.perf_counter()
        self.type("start", path, "--confirm", digest)
        return time.perf_counter() - began

    def daemon(self) -> int:
        pid: int = self.data("status")["daemon_pid"]
        return pid

    def leave(self) -> None:
        subprocess.run([str(ORCHESTRATOR), "stop", "--now"], cwd=self.repo, env=self.environ, capture_output=True)
