"""Lines of a run's `reports` file -> what the agent says."""

from __future__ import annotations

import json

from orchestrator.model.agent import AgentReport, Asked, HandedIn, NoChange, Progress

LONGEST = 64 * 1024  #: bytes of one line; a longer one is not from `orch-agent`


def read_report(line: bytes) -> AgentReport | None:
    """What one line says; None for a line that we do not understand, which harms nobody."""
    if len(line) > LONGEST:
        return None
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    match data:
        case {"type": "ask", "id": str(question), "text": str(text)}:
            options = data.get("options")
            known = tuple(o for o in options if isinstance(o, str)) if isinstance(options, list) else ()
            return Asked(question_id=question, text=text, options=known, waits=data.get("waits") is not False)
        case {"type": "hand-off", "summary": str(summary)}:
            return HandedIn(summary=summary)
        case {"type": "no-change", "reason": str(reason)}:
            return NoChange(reason=reason)
        case {"type": "progress", "text": str(text)}:
            return Progress(text=text)
        case _:
            return None


def token_in(line: bytes) -> int | None:
    """The token of the lease under which a line was written; None for one that names none."""
    data = json.loads(line)
    token = data.get("token") if isinstance(data, dict) else None
    return token if isinstance(token, int) and not isinstance(token, bool) else None
