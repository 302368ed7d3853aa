"""Composition root: the one part that names concrete backends. Faces ask it for what they need.

Heavy imports stay inside the functions that need them, so that reading verbs start fast.
"""

from __future__ import annotations

from orchestrator.app.daemon import end_daemon, run_daemon, spawn_daemon
from orchestrator.app.plans import (
    adapters,
    assess_plan,
    check_plan,
    confirmed,
    keep_plan,
    kept_plan,
    plan_schema,
    repo_facts,
    save_made,
    save_text,
    tighter_files,
    write_schema,
)
from orchestrator.app.reading import daemon_info, examine, open_ledger, why
from orchestrator.app.recover import recovery
from orchestrator.app.settings import (
    load_settings,
    look_around,
    place_for,
    setting_origins,
    settings_file,
    write_settings,
)
from orchestrator.app.terminal import edit_file, editor, page
from orchestrator.app.validation import validate

__all__ = [
    "adapters",
    "assess_plan",
    "check_plan",
    "confirmed",
    "daemon_info",
    "edit_file",
    "editor",
    "end_daemon",
    "examine",
    "keep_plan",
    "kept_plan",
    "load_settings",
    "look_around",
    "open_ledger",
    "page",
    "place_for",
    "plan_schema",
    "recovery",
    "repo_facts",
    "run_daemon",
    "save_made",
    "save_text",
    "setting_origins",
    "settings_file",
    "spawn_daemon",
    "tighter_files",
    "validate",
    "why",
    "write_schema",
    "write_settings",
]
