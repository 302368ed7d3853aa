"""Limits that protect: what holds new work back, and when it is free again. Questions only; `core.protect` decides."""

from __future__ import annotations

from datetime import datetime, timedelta

from orchestrator.model.guard import FOLLOWS_WITHIN, Guards, Hold, HoldReason, Spawns, hold_key
from orchestrator.model.run import PlanRun, State, TaskRun

#: Part of a disk that is kept free at most, so that a small one is not held for good.
DISK_SHARE = 0.05
#: Open files that are kept free for the daemon, and their part of all at most.
DESCRIPTORS, DESCRIPTOR_SHARE = 64, 0.10
ALMOST_ONE = 1 - 1e-6  #: a start that is due at this moment, after rounding

#: What a person can do about a hold.
FIXES = {
    HoldReason.DISK: "make room there, or lower the setting protect.free_disk; it goes on by itself",
    HoldReason.DESCRIPTORS: "it goes on by itself; `ulimit -n` before the daemon starts gives it more",
    HoldReason.PROCESSES: "it tries again by itself; end programs that you do not need",
    HoldReason.SPAWN_RATE: "it goes on by itself; `orchestrator logs TASK` shows why it fails",
    HoldReason.SAFE_MODE: "`orchestrator inbox` shows the error; upgrade or start the daemon anew, "
    "then `orchestrator resume`",
}


def words_of(hold: Hold) -> str:
    """What holds new work back and what to do about it, in one line."""
    return f"{hold.detail}; {FIXES[hold.reason]}"


def in_safe_mode(state: State) -> bool:
    """Whether the daemon only looks until a person says `resume`."""
    return HoldReason.SAFE_MODE in state.holds


def general_hold(state: State) -> Hold | None:
    """What keeps everything from being started; None when nothing does."""
    return next((hold for hold in state.holds.values() if hold.plan_id is None), None)


def holds_on(state: State, plan: PlanRun) -> tuple[Hold, ...]:
    """All that keeps work of a plan from being started, the gravest first."""
    mine = [hold for hold in state.holds.values() if hold.plan_id in {None, plan.id}]
    return tuple(sorted(mine, key=lambda hold: hold.reason is not HoldReason.SAFE_MODE))


def gate_hold(state: State) -> Hold | None:
    """What keeps new candidates from being begun, which need room for a tree; None when nothing does."""
    return state.holds.get(HoldReason.SAFE_MODE) or state.holds.get(HoldReason.DISK)


# ---- starts that follow a failure ----


def follows_failure(task: TaskRun, now: datetime) -> bool:
    """Whether a start of this task now would follow a failure of it."""
    return task.failed_at is not None and now - task.failed_at < FOLLOWS_WITHIN


def rate_hold(state: State, plan: PlanRun, task: TaskRun) -> Hold | None:
    """The hold that keeps a task that has failed from being started once more; work that has not failed goes on."""
    hold = state.holds.get(hold_key(HoldReason.SPAWN_RATE, plan.id))
    if hold is None or task.failed_at is None or task.failed_at + FOLLOWS_WITHIN <= hold.since:
        return None
    return hold


def spawns_left(guards: Guards, spawns: Spawns | None, now: datetime) -> float:
    """How many starts that follow a failure there may be at this moment."""
    if spawns is None:
        return float(guards.spawn_burst)
    grown = (now - spawns.at).total_seconds() * guards.spawn_rate / 60
    return min(float(guards.spawn_burst), spawns.left + max(grown, 0.0))


def next_spawn_at(guards: Guards, left: float, now: datetime) -> datetime:
    """When there may be another one."""
    return now + timedelta(seconds=max(1 - left, 0.0) * 60 / guards.spawn_rate)


def at_cap(guards: Guards, task: TaskRun) -> bool:
    """Whether a task was started as often as it may be without a person."""
    return task.starts >= guards.attempts


# ---- the machine ----


def disk_floor(total: int, wanted: int) -> int:
    """Bytes to be kept free on a disk of this size."""
    return min(wanted, int(total * DISK_SHARE))


def is_short_of_disk(free: int, total: int, wanted: int, *, held: bool) -> bool:
    """Whether there is too little room; once there was, a tenth more than the floor ends it."""
    floor = disk_floor(total, wanted)
    return free < floor * (1.1 if held else 1.0)


def is_short_of_descriptors(used: int, limit: int, *, held: bool) -> bool:
    """Whether too few files can be opened; once that was so, half as many again end it."""
    floor = min(DESCRIPTORS, limit * DESCRIPTOR_SHARE)
    return limit - used < floor * (1.5 if held else 1.0)


def size_text(size: int) -> str:
    """`512 KiB`, `1.5 GiB`."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit in {"B", "KiB"} else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
