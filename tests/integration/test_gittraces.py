"""What is found of attempts without the ledger."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

from orchestrator.backends.gittraces import living_runs
from orchestrator.discover import find_place
from tests.integration.test_doctor import repo as repo


def test_a_run_whose_supervisor_lives_is_found_with_its_process(repo: Path) -> None:
    place = find_place(repo)
    for run in ("p/a-1/agent", "p/b-1/agent"):
        folder = place.state_dir / "attempts" / run
        folder.mkdir(parents=True)
        (folder / "lock").touch()
        told = {"supervisor": {"pid": 77, "start_time": 1, "boot_id": "b"}}
        (folder / "meta.json").write_text(json.dumps(told))
    with (place.state_dir / "attempts/p/a-1/agent/lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert living_runs(place) == {"p/a-1/agent": 77}
