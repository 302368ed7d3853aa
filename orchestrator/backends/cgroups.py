"""A cgroup (version 2) for each run, where the system lets us make one: what is in it can be ended at one stroke.

Nobody below has to be trusted: a cgroup is known by its name, which is made from the run folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from orchestrator.backends.supervisor import cgroup_members, kill_cgroup, remove_cgroup
from orchestrator.model.probe import Probe

PREFIX = "orchestrator-"


def name_for(run_dir: Path) -> str:
    """What the cgroup of this run is called, wherever it stands."""
    return PREFIX + hashlib.sha256(os.fsencode(run_dir)).hexdigest()[:24]


def make_for(run_dir: Path) -> Path | None:
    """A fresh cgroup for a run, below the one that we are in; None where we may not make one."""
    parent = own_cgroup()
    # to move a process one has to be allowed to write in what both places have above them
    if parent is None or not os.access(parent / "cgroup.procs", os.W_OK):
        return None
    path = parent / name_for(run_dir)
    try:
        path.mkdir(exist_ok=True)
    except OSError:
        return None
    return path


def of_run(run_dir: Path) -> list[Path]:
    """The cgroups of a run; an earlier daemon may have stood in another place."""
    mount = mounted()
    if mount is None:
        return []
    name = name_for(run_dir)
    return [Path(folder) / name for folder, below, _ in os.walk(mount) if name in below]


def discard(path: Path) -> None:
    """End what is left in the cgroup of a run that never began, and remove it."""
    if cgroup_members(str(path)):
        kill_cgroup(str(path))
    remove_cgroup(str(path))


def mounted() -> Path | None:
    """Where the tree of cgroups is mounted; None where there is none."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    for line in lines:
        before, _, after = line.partition(" - ")
        words = before.split()
        if after.startswith("cgroup2 ") and words[3] == "/":  # else only a part of the tree is shown there
            return Path(words[4].replace("\\040", " "))
    return None


def own_cgroup() -> Path | None:
    """The cgroup that this process is in; None where there is none."""
    mount = mounted()
    if mount is None:
        return None
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            if line.startswith("0::/"):
                path = mount / line[len("0::/") :]
                return path if path.is_dir() else None
    return None


def process_trees() -> Probe:
    """How the processes of a run will be ended: by a cgroup, or one by one."""
    parent = own_cgroup()
    trial = None if parent is None else make_for(Path(f"/doctor/{os.getpid()}"))
    if trial is not None:
        discard(trial)
        return Probe(name="process trees", said=f"every run gets a cgroup of its own below {parent}")
    why = "there is no cgroup of version 2 here" if parent is None else f"{parent} may not be written to"
    return Probe(
        name="process trees",
        said=f"are ended process by process, for {why}",
        fix="" if parent is None else "`systemd-run --user --scope -p Delegate=yes orchestrator start` gives one",
    )
