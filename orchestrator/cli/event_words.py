"""One event of the ledger in the words of a person who follows the plan."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from orchestrator.cli.words import counted, joined, length, short
from orchestrator.core.redact import redact
from orchestrator.model.item import OVERDUE

if TYPE_CHECKING:
    from orchestrator.ports import Stored

Data = Mapping[str, Any]
_ISO_LENGTH = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?")

#: Events that matter to somebody who only wants to know how it goes.
HEADLINES = frozenset(
    {
        "plan_confirmed", "plan_revised", "plan_taken_up", "plan_paused", "plan_resumed", "plan_finished",
        "plan_cancelled", "drain_began", "attempt_started", "attempt_ended", "progress_reported", "attempt_flagged",
        "handed_off",
        "review_asked", "review_decided", "backoff_started", "sent_back", "escalated", "answered", "item_withdrawn",
        "by_hand_began", "by_hand_handed_in", "by_hand_not_yet", "by_hand_ended",
        "task_failed", "task_cancelled", "task_reopened", "task_added", "gate_passed", "gate_failed",
        "conflict_found", "landed", "lane_overdue", "synced", "sync_held", "published", "publish_held",
        "undo_requested", "undo_held", "undo_dropped", "undone", "effect_abandoned",
    }
)  # fmt: skip


def _plan(data: Data) -> str:
    plan = data.get("plan") or {}
    return f"{counted(len(plan.get('tasks', ())), 'task')}, digest {str(data.get('digest', ''))[:12]}"


def _reason(data: Data, name: str = "reason") -> str:
    said = str(data.get(name) or "")
    return f": {said}" if said else ""


def _clock(value: object) -> str:
    """A time as it stands in the ledger -> the local time of day."""
    return f"{datetime.fromisoformat(str(value)).astimezone():%H:%M:%S}" if value else "?"


def _span(value: object) -> str:
    """A length of time as it stands in the ledger, such as `PT30M` -> `30m`."""
    found = _ISO_LENGTH.fullmatch(str(value))
    if found is None:
        return str(value)
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return length(timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds))


def _by(data: Data) -> str:
    return f" by {data['by']}" if data.get("by") else ""


def _kind(value: object) -> str:
    return str(value or "").replace("_", " ")


def _exit(data: Data) -> str:
    end = data.get("exit") or {}
    why = end.get("why")
    if why != "exit":
        return _kind(why)
    return f"exit status {end.get('code')}"


def _attempt_ended(data: Data) -> str:
    failure = f" ({_kind(data['failure'])})" if data.get("failure") else ""
    return f"attempt ended: {_kind(data.get('ending'))}{failure}{_reason(data, 'detail')}"


def _escalated(data: Data) -> str:
    item = data.get("item") or {}
    verb = "tells you" if item.get("trigger") == OVERDUE else "asks you"
    return f"{item.get('id', '')} {verb}: {item.get('title', '')} ({_kind(item.get('kind'))})"


def _handed_off(data: Data) -> str:
    hand_off = data.get("hand_off") or {}
    return f"handed off {short(hand_off.get('head'))}, {counted(len(hand_off.get('changed', ())), 'path')} changed"


def _workspace(data: Data) -> str:
    workspace = data.get("workspace") or {}
    empty = workspace.get("empty")
    return f"worktree {workspace.get('path', '')}" + (f"; empty submodules: {', '.join(empty)}" if empty else "")


def _run_requested(data: Data) -> str:
    # the run of an agent is named after its kind
    what = dict.fromkeys(str(data.get(name) or "") for name in ("kind", "name"))
    return f"{' '.join(word for word in what if word)} asked for ({data.get('run_id')})"


#: Events that only the daemon needs.
SILENT = frozenset({"run_recorded", "reports_read"})
WORDS: dict[str, Callable[[Data], str]] = {
    "daemon_began": lambda d: f"daemon {d.get('pid')} began, version {d.get('version')}",
    "plan_confirmed": lambda d: f"run {d.get('number')} confirmed{_by(d)}: {_plan(d)}",
    "plan_revised": lambda d: f"changed plan confirmed{_by(d)}: {_plan(d)}",
    "plan_taken_up": lambda d: f"taken up again{_by(d)}",
    "branch_made": lambda d: f"plan's branch at {short(d.get('tip'))}",
    "plan_paused": lambda d: f"paused{_by(d)}",
    "plan_resumed": lambda d: f"resumed{_by(d)}",
    "drain_began": lambda d: (
        f"the daemon stops{_by(d)}{', agents are ended' if d.get('now') else ' when what runs is done'}"
    ),
    "plan_finished": lambda d: "no task can move any more",
    "plan_cancelled": lambda d: f"cancelled{_by(d)}{_reason(d)}",
    "lease_granted": lambda d: "claimed; its files are reserved",
    "lease_renewed": lambda d: f"claim renewed ({d.get('cause')})",
    "lease_suspected": lambda d: "its time is over without a sign of life: it is looked at",
    "lease_stuck": lambda d: f"cannot be stopped: processes {joined([str(pid) for pid in d.get('processes', ())])}",
    "eviction_began": lambda d: f"taken away{_by(d)}{_reason(d)}",
    "late_result": lambda d: f"came late and is kept{_reason({'r': joined(d.get('salvage', ()))}, 'r')}",
    "holder_ready": lambda d: "its tree is ready for its holder",
    "holder_released": lambda d: f"given back{_by(d)}{_reason(d)}",
    "lease_ended": lambda d: f"claim ended{_reason(d, 'cause')}",
    "attempt_started": lambda d: f"attempt {d.get('number')} started with {d.get('agent')}",
    "workspace_made": _workspace,
    "run_requested": _run_requested,
    "run_launched": lambda d: f"{d.get('run_id')} runs",
    "run_finished": lambda d: f"{d.get('run_id')} ended: {_exit(d)}",
    "progress_reported": lambda d: str(d.get("text", "")),
    "hand_off_declared": lambda d: f"says it is done{_reason(d, 'summary')}",
    "no_change_declared": lambda d: f"says nothing has to be changed{_reason(d)}",
    "end_declared": lambda d: f"its program says it failed ({_kind(d.get('failure'))}){_reason(d, 'text')}",
    "attempt_flagged": lambda d: f"{_kind(d.get('flag'))}{'' if d.get('on', True) else ' no more'}",
    "attempt_stopping": lambda d: f"attempt stops{': ' + _kind(d['stop_as']) if d.get('stop_as') else ''}",
    "attempt_ended": _attempt_ended,
    "handed_off": _handed_off,
    "task_queued": lambda d: "in the merge queue",
    "review_asked": lambda d: f"waits for a review{_reason({'r': joined(d.get('paths', ()))}, 'r')}",
    "review_decided": lambda d: f"{'approved' if d.get('approved') else 'rejected'}{_by(d)}{_reason(d, 'text')}",
    "backoff_started": lambda d: f"failed ({_kind(d.get('failure'))}), tries again at {_clock(d.get('retry_at'))}",
    "backoff_ended": lambda d: "may try again",
    "sent_back": lambda d: f"goes back to an agent{_reason({'r': _kind(d.get('failure'))}, 'r')}",
    "escalated": _escalated,
    "answered": lambda d: f"{d.get('item_id')} answered{_by(d)}: {d.get('choice')}{_reason(d, 'text')}",
    "item_withdrawn": lambda d: f"{d.get('item_id')} needs no answer any more{_reason(d)}",
    "by_hand_began": lambda d: f"{d.get('item_id')} is resolved by hand{_by(d)}",
    "by_hand_ready": lambda d: f"the conflict is in {d.get('path')}",
    "by_hand_handed_in": lambda d: f"resolved by hand{_by(d)}",
    "by_hand_not_yet": lambda d: f"not taken yet{_reason(d, 'why')}",
    "by_hand_given_up": lambda d: f"given back{_by(d)}",
    "by_hand_ended": lambda d: f"{d.get('item_id')} waits for you again{_reason(d, 'why')}",
    "task_failed": lambda d: f"failed{_reason(d)}",
    "task_cancelled": lambda d: f"cancelled{_by(d)}{_reason(d)}",
    "task_reopened": lambda d: f"to be tried again{_by(d)}",
    "task_added": lambda d: f"task added: {(d.get('task') or {}).get('title', '')}",
    "candidate_requested": lambda d: f"candidate {d.get('candidate_id')} on {short(d.get('parent'))}",
    "candidate_made": lambda d: f"candidate {d.get('candidate_id')} is {short(d.get('commit'))}",
    "candidate_dropped": lambda d: f"candidate {d.get('candidate_id')} dropped{_reason(d)}",
    "check_passed": lambda d: f"check {d.get('check')} is green",
    "gate_passed": lambda d: f"all checks are green on {short(d.get('commit'))}",
    "gate_failed": lambda d: f"check {d.get('check')} is red on {short(d.get('commit'))}: {_exit(d)}",
    "conflict_found": lambda d: f"conflict in {joined(d.get('paths', ()))}",
    "target_seen": lambda d: f"target at {short(d.get('target'))}",
    "landed": lambda d: f"landed as {short(d['commit'])}" if d.get("commit") else "done, nothing had to be changed",
    "sync_held": lambda d: f"the target's {short(d.get('target'))} cannot be taken in as it is",
    "synced": lambda d: f"took in the target's {short(d.get('target'))}",
    "undo_requested": lambda d: f"to be undone{_by(d)}{_reason(d)}",
    "undo_held": lambda d: f"not undone: {d.get('why', '')}",
    "undo_dropped": lambda d: f"stays landed, not undone{_reason(d)}",
    "undone": lambda d: f"undone by {short(d.get('commit'))}, which takes {short(d.get('undone'))} back{_reason(d)}",
    "publish_began": lambda d: f"publishing {short(d.get('commit'))}",
    "publish_requested": lambda d: f"the target is to be moved{_by(d)}",
    "sync_released": lambda d: "the target is taken in once more",
    "publish_held": lambda d: f"not published{_reason(d, 'why')}",
    "published": lambda d: f"target moved to {short(d.get('commit'))}",
    "lane_overdue": lambda d: f"in {_kind(d.get('lane'))} for longer than {_span(d.get('limit'))}",
    "tree_removed": lambda d: f"tree of {d.get('owner')} removed",
    "projection_mended": lambda d: (
        f"{counted(d.get('count', 0), 'row')} of what is shown here did not follow from the events, and written anew"
    ),
    "trash_emptied": lambda d: f"{counted(len(d.get('entries', ())), 'tree')} deleted from the trash",
    "effect_abandoned": lambda d: f"{d.get('key')} could not be done{_reason(d, 'detail')}",
}


def words(event: Stored) -> str:
    """What happened, in one line."""
    say = WORDS.get(event.type)
    text = redact(say(event.data) if say else _anything(event.data))
    return " ".join(text.split())


def _anything(data: Data) -> str:
    """What an event says that has no words of its own, as from a newer version."""
    plain = {name: value for name, value in data.items() if isinstance(value, str | int | float) and value != ""}
    return " ".join(f"{name}={value}" for name, value in plain.items())[:200]


def event_data(event: Stored) -> dict[str, Any]:
    """One event of `events --json`."""
    return {
        "seq": event.seq,
        "at": event.at,
        "type": event.type,
        "plan": event.plan,
        "task": event.task,
        "attempt": event.attempt,
        "token": event.token,
        "data": dict(event.data),
    }
