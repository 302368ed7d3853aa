"""`orch-agent`: what an agent can say to the people who run it.

It needs the run folder and nothing else, so it works while the daemon is away: reports are lines appended to a file,
and answers come as lines of another. Standard library only, because it is started often.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LONGEST = 64 * 1024  #: bytes of one report
LOOK_S = 0.2  #: how often we look for an answer

EXAMPLES = """examples:
  orch-agent progress "schema done, writing tests"
  orch-agent ask "Which database?" --option postgres --option sqlite
  orch-agent hand-off "added the users table and its tests"
  orch-agent no-change "the endpoint exists already"
"""


class Refused(Exception):
    """Something a caller can mend."""


def run_folder() -> Path:
    """The folder of the run that we are in. Raises: Refused outside of one."""
    name = os.environ.get("ORCHESTRATOR_RUN")
    if not name:
        raise Refused("this is not the run of an agent: ORCHESTRATOR_RUN is not set, so nobody would hear it")
    folder = Path(name)
    if not folder.is_dir():
        raise Refused(f"the run folder {folder} is not there, so nobody would hear it")
    return folder


def report(folder: Path, line: dict[str, Any]) -> None:
    """Append one report, whole or not at all, with the token of the lease that this run has."""
    token = os.environ.get("ORCHESTRATOR_TOKEN", "")
    append(folder / "reports", line | ({"token": int(token)} if token.isdecimal() else {}))


def append(path: Path, line: dict[str, Any]) -> None:
    """Append one line to a file that others append to. Raises: Refused when it does not fit."""
    data = (json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "replace")
    if len(data) > LONGEST:  # one write of this size cannot be mixed with another's
        raise Refused(f"the text has {len(data)} bytes, and {LONGEST} is the most: put it into a file and name that")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        if os.write(fd, data) < len(data):
            raise Refused("the disk is full, so nobody heard it: say it again later")
    finally:
        os.close(fd)


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects in a file of lines; half a line is one that is being written."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    for line in text.split("\n"):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


def unheard(folder: Path, text: str, options: list[str]) -> str | None:
    """The same question asked before, whose answer nobody has read yet: the shell it was asked from was cut off."""
    heard = {line.get("question_id") for line in lines_of(folder / "heard")}
    for line in lines_of(folder / "reports"):
        asked = (line.get("type"), line.get("text"), line.get("options"), line.get("waits"))
        if asked == ("ask", text, options, True) and isinstance(line.get("id"), str) and line["id"] not in heard:
            return str(line["id"])
    return None


def answer_to(folder: Path, question_id: str) -> dict[str, Any] | None:
    """The answer to a question; None while there is none."""
    return next((line for line in lines_of(folder / "answers") if line.get("question_id") == question_id), None)


def ask(folder: Path, text: str, options: list[str], *, wait: bool, timeout_s: float | None) -> int:
    """Ask a person. With `wait`, until the answer is there; the time limit of the run stands still meanwhile."""
    asked_before = unheard(folder, text, options) if wait else None
    question_id = asked_before or f"q{time.time_ns():x}-{os.getpid()}"
    if wait:
        waiting = os.open(folder / "waiting", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        fcntl.flock(waiting, fcntl.LOCK_SH)  # until this process ends, however it does
    if asked_before is None:
        report(folder, {"type": "ask", "id": question_id, "text": text, "options": options, "waits": wait})
    if not wait:
        return 0
    print("orch-agent: asked; waiting for an answer", file=sys.stderr, flush=True)
    until = time.monotonic() + timeout_s if timeout_s is not None else None
    while until is None or time.monotonic() < until:
        answer = answer_to(folder, question_id)
        if answer is not None:
            choice, words = str(answer.get("choice") or ""), str(answer.get("text") or "")
            print("\n".join(part for part in (choice if choice != "text" else "", words) if part), flush=True)
            append(folder / "heard", {"question_id": question_id})
            return 0
        time.sleep(LOOK_S)
    print("orch-agent: no answer in time; the question stays open", file=sys.stderr)
    return 1


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="orch-agent",
        description="Say something to the people who run this agent.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    asking = verbs.add_parser("ask", help="ask a person, wait, and print the answer")
    asking.add_argument("text")
    asking.add_argument("--option", action="append", default=[], metavar="ANSWER", help="one possible answer")
    asking.add_argument("--no-wait", action="store_true", help="go on; the answer reaches the next attempt")
    asking.add_argument("--timeout", type=float, metavar="SECONDS", help="give up waiting after this time, status 1")

    handing = verbs.add_parser("hand-off", help="say what was done")
    handing.add_argument("text", nargs="?", help="`-` reads standard input")
    handing.add_argument("--summary", help="the same, by name")

    nothing = verbs.add_parser("no-change", help="say that nothing has to be changed")
    nothing.add_argument("reason")

    moving = verbs.add_parser("progress", help="say where you are")
    moving.add_argument("text")
    return top


def said(text: str) -> str:
    """The words of an argument. Raises: Refused when there are none."""
    if not text.strip():
        raise Refused("there are no words to say")
    return text


def run(words: argparse.Namespace) -> int:
    """Say it. Returns: the exit status."""
    folder = run_folder()
    match words.verb:
        case "ask":
            return ask(folder, said(words.text), words.option, wait=not words.no_wait, timeout_s=words.timeout)
        case "hand-off":
            text = words.summary if words.summary is not None else words.text or ""
            if text == "-":
                text = sys.stdin.buffer.read().decode("utf-8", "replace")
            report(folder, {"type": "hand-off", "summary": text.strip()})
        case "no-change":
            report(folder, {"type": "no-change", "reason": said(words.reason)})
        case "progress":
            report(folder, {"type": "progress", "text": said(words.text)})
    return 0


def main(arguments: list[str] | None = None) -> int:
    words = parser().parse_args(arguments)
    try:
        return run(words)
    except Refused as refused:
        print(f"orch-agent: {refused}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"orch-agent: {error.strerror}: {error.filename}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
