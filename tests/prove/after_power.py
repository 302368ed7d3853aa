"""The power comes back: a daemon is started on an image of a recorded run, and the plan comes to its end."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

from tests.acceptance.person import Person
from tests.prove.disk import Disk, Manner, lay_out
from tests.prove.writelog import Recording

PATIENCE_S = 90.0
MERGED = "--format=%(trailers:key=Orchestrator-Task,valueonly)"


def brought_to_its_end(recording: Recording, folder: Path, manner: Manner, seed: str) -> str:
    """Lay an image out where the repository was, and go on. Returns: what is wrong in the end; empty when nothing is.

    The files of worktrees may be anything after a power loss; here they are gone. The person's checkout is as it was.
    """
    chance = random.Random(f"{seed} {manner}")
    cut = chance.randrange(len(recording.ops) + 1)
    disk = Disk.at_first(recording, manner)
    disk.forward(cut)
    person = Person(home=folder / "home", repo=folder / "repo", extra={"XDG_RUNTIME_DIR": str(folder / "run")})
    lay_out(recording, disk.crash(chance), recording.root)
    shutil.rmtree(folder / "repo.worktrees", ignore_errors=True)
    for leftover in (*recording.root.glob("index*"), *recording.root.glob("*.lock")):
        leftover.unlink()
    person.git("reset", "--quiet", "--hard")
    person.git("clean", "--quiet", "--force", "-d")
    try:
        return f"after operation {cut}: {wrong}" if (wrong := _run_to_its_end(person)) else ""
    finally:
        person.leave()


def _run_to_its_end(person: Person) -> str:
    digest = person.type("plan", "check", "plans/w.yaml", "--json").data["digest"]
    started = person.type("start", "plans/w.yaml", "--confirm", digest, "--detach")
    if started.code != 0:
        return f"start ended with {started.code}: {started.err}"
    until = time.monotonic() + PATIENCE_S
    while (states := person.states()) and (states["a"], states["b"]) != ("landed", "landed"):
        if time.monotonic() > until:
            return f"{states}: {person.type('inbox').out}"
        for item in person.inbox():
            if item["task"] in {"a", "b"} and item["kind"] == "agent_failed":  # its run was lost, and retries are 0
                person.type("retry", item["task"])
        time.sleep(0.3)
    while person.git("log", "--first-parent", MERGED, "main").split() != ["b", "a"]:
        if time.monotonic() > until:
            return f"main has {person.git('log', '--first-parent', MERGED, 'main').split()}"
        time.sleep(0.3)
    person.git("fsck", "--connectivity-only")
    return ""
