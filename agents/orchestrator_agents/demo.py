"""A scripted agent: does what the lines of its prompt that start with `!` say, as a real program in a real worktree.

Standard library only; run by its path. A step may be limited to attempts: `!fail 1 [attempt 1-2]`, `[attempt 3-]`.

| step | does |
|---|---|
| `!write PATH TEXT`, `!append PATH TEXT`, `!delete PATH` | changes a file |
| `!commit [MESSAGE]` | commits everything; otherwise it stays uncommitted |
| `!progress TEXT`, `!hand-off TEXT`, `!no-change TEXT` | `orch-agent` |
| `!ask "QUESTION" [ANSWER ...]`, `!ask-and-leave "QUESTION"` | asks and waits; asks and ends |
| `!write-answer PATH` | writes the last answer into a file |
| `!resolve` | finishes a merge, keeping both sides |
| `!sleep 2s`, `!hang`, `!noise N`, `!flood 10MB` | takes time, or talks |
| `!lie`, `!stray PATH`, `!fail CODE`, `!crash`, `!daemonise 60s`, `!ignore-term` | behaves badly |

Without any step it makes a small change for each pattern of its files, commits, and hands off.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = Path(__file__).with_name("command.py")
_LIMITED = re.compile(r"\s*\[attempt (\d+)(-(\d*))?\]\s*$")
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)?$")
_SIZES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


@dataclass(frozen=True)
class Step:
    verb: str
    rest: str


def steps_of(prompt: str, attempt: int) -> list[Step]:
    """The steps of a prompt that this attempt has to take."""
    found = []
    for line in prompt.splitlines():
        line = line.strip()
        if not line.startswith("!"):
            continue
        limited = _LIMITED.search(line)
        if limited:
            first, is_range, last = int(limited[1]), limited[2], limited[3]
            until = first if not is_range else int(last) if last else attempt
            if not first <= attempt <= until:
                continue
            line = line[: limited.start()]
        verb, _, rest = line[1:].partition(" ")
        found.append(Step(verb, rest))
    return found


class Agent:
    """One run of the scripted agent."""

    def __init__(self, briefing: dict[str, Any]) -> None:
        self.briefing = briefing
        self.answer = ""

    def run(self) -> int:
        steps = steps_of(self.briefing["prompt"], self.briefing["number"])
        if self.briefing["merging"]:
            self.resolve()
            if not steps:
                orch_agent("hand-off", "kept both sides of the merge")
                return 0
        if not steps and not any(line.strip().startswith("!") for line in self.briefing["prompt"].splitlines()):
            self.default()
            return 0
        for step in steps:
            say(f"{step.verb} {step.rest}".strip())
            code = self.take(step)
            if code is not None:
                return code
        say("done")
        return 0

    def take(self, step: Step) -> int | None:
        """Do one step. Returns: the exit status, if it is the last."""
        rest = step.rest
        match step.verb:
            case "write" | "append" | "stray":
                path, _, text = rest.partition(" ")
                change(path, text or "strayed", mode="w" if step.verb == "write" else "a")
            case "delete":
                Path(rest).unlink(missing_ok=True)
            case "commit":
                self.commit(rest)
            case "sleep":
                time.sleep(seconds(rest))
            case "fail":
                print("this went wrong on purpose", file=sys.stderr, flush=True)
                return int(rest or 1)
            case "hang":
                while True:
                    time.sleep(3600)
            case "noise":
                for number in range(int(rest)):
                    print(f"thinking about it, {number}")
            case "flood":
                flood(rest)
            case "lie":
                say("everything is done and tested")
                return 0
            case "crash":
                os.kill(os.getpid(), signal.SIGKILL)
            case "ignore-term":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            case "daemonise":
                program = f"import time; time.sleep({seconds(rest)})"
                subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
            case "progress" | "hand-off" | "no-change":
                orch_agent(step.verb, rest)
            case "ask" | "ask-and-leave":
                question, *options = shlex.split(rest)
                words = [word for option in options for word in ("--option", option)]
                if step.verb == "ask-and-leave":
                    orch_agent("ask", question, *words, "--no-wait")
                    return 0
                self.answer = orch_agent("ask", question, *words).strip()
                say(f"the answer is: {self.answer}")
            case "write-answer":
                change(rest, self.answer, mode="w")
            case "resolve":
                self.resolve()
            case _:
                print(f"demo agent: no such step: !{step.verb}", file=sys.stderr, flush=True)
                return 2
        return None

    def default(self) -> None:
        """A small, plausible change for each pattern of the task's files."""
        include = self.briefing["files"]["include"]
        if not include:
            orch_agent("no-change", "this task changes no files")
            return
        for pattern in include:
            path = concrete(pattern, self.briefing["task_id"])
            say(f"working on {path}")
            change(path, f"{self.briefing['title']} ({self.briefing['task_id']})", mode="a")
        self.commit("")
        orch_agent("hand-off", f"{self.briefing['title']}: changed {', '.join(include)}")
        say("done")

    def commit(self, message: str) -> None:
        git("add", "--all")
        git("commit", "--quiet", "--allow-empty", "-m", message or self.briefing["commit_message"])

    def resolve(self) -> None:
        """Keep both sides of every conflict, and conclude the merge."""
        conflicting = git("diff", "--name-only", "--diff-filter=U", "-z").split("\0")
        for name in filter(None, conflicting):
            path = Path(name)
            if path.exists():
                lines = path.read_bytes().split(b"\n")
                path.write_bytes(b"\n".join(kept_lines(lines)))
            say(f"kept both sides of {name}")
        self.commit(f"merge: {self.briefing['title']}")


def kept_lines(lines: list[bytes]) -> list[bytes]:
    """The lines of both sides of every conflict, ours first; those of their common ancestor go."""
    kept, side = [], b""
    for line in lines:
        if line.startswith(b"<<<<<<< "):
            side = b"ours"
        elif side == b"ours" and line.startswith(b"||||||| "):
            side = b"base"
        elif side in {b"ours", b"base"} and line.rstrip(b"\r") == b"=======":
            side = b"theirs"
        elif side == b"theirs" and line.startswith(b">>>>>>> "):
            side = b""
        elif side != b"base":
            kept.append(line)
    return kept


def concrete(pattern: str, task: str) -> str:
    """A path that the pattern covers."""
    if pattern == "**":
        return f"{task}.md"
    if pattern.endswith("/**"):
        pattern = f"{pattern[:-3]}/{task}.md"
    pattern = re.sub(r"\*\*/", "", pattern)
    pattern = re.sub(r"\[[!^]?(.)[^]]*\]", r"\1", pattern)
    return pattern.replace("*", task).replace("?", "a")


def change(path: str, text: str, *, mode: str) -> None:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open(mode, encoding="utf-8") as out:
        out.write(text + "\n")


def flood(size: str) -> None:
    match = re.fullmatch(r"(\d+)([KMG]?)B?", size)
    assert match is not None, size
    left = int(match[1]) * _SIZES[match[2]]
    block = (b"x" * 1023 + b"\n") * 64
    while left > 0:
        left -= os.write(1, block[:left])


def seconds(text: str) -> float:
    match = _LENGTH.match(text)
    assert match is not None, text
    return float(match[1]) * {"ms": 0.001, "s": 1, "m": 60, None: 1}[match[2]]


def orch_agent(*words: str) -> str:
    return subprocess.run(
        [sys.executable, "-I", str(COMMAND), *words], check=True, text=True, stdout=subprocess.PIPE
    ).stdout


def git(*words: str) -> str:
    return subprocess.run(["git", *words], check=True, text=True, stdout=subprocess.PIPE).stdout


def say(text: str) -> None:
    print(f"demo: {text}", flush=True)


def main() -> int:
    run = Path(os.environ["ORCHESTRATOR_RUN"])
    return Agent(json.loads((run / "briefing.json").read_text(encoding="utf-8"))).run()


if __name__ == "__main__":
    sys.exit(main())
