"""What git and the disk tell about attempts, whatever the ledger says: tokens, numbers, what landed, what lives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from orchestrator.backends.candidates import plan_ref
from orchestrator.backends.gitrun import Git, Repositories
from orchestrator.backends.repository import execute
from orchestrator.backends.runfolder import is_locked, supervisor_of
from orchestrator.backends.traces import token_of
from orchestrator.core.recoverytext import Landing
from orchestrator.model.ids import Commit, PlanId, TaskId
from orchestrator.model.place import Place
from orchestrator.model.run import Reached

_KEYS = ("Plan", "Task", "Attempt", "Token", "Candidate")
_NUMBERED = re.compile(r"(?P<plan>[^/]+)/(?:~(?P<candidate>\d+)|(?P<task>[^/~][^/]*)-(?P<number>\d+))")
_RUN = re.compile(r"refs/(?:begun|orchestrator/old)/(?P<plan>[^/]+)/(?P<number>\d+)")


@dataclass(slots=True)
class Traces:
    """The highest numbers that were found."""

    token: int = 0
    reached: dict[PlanId, Reached] = field(default_factory=dict)
    references: list[str] = field(default_factory=list)

    def take(self, name: str) -> None:
        """A folder, reference or trailer named after an attempt or a candidate."""
        parts = _NUMBERED.fullmatch(name)
        if parts is None:
            return
        one = self.reached.setdefault(PlanId(parts["plan"]), Reached())
        attempts, candidates = dict(one.attempts), one.candidates
        if parts["candidate"]:
            candidates = max(candidates, int(parts["candidate"]))
        else:
            task = TaskId(parts["task"])
            attempts[task] = max(attempts.get(task, 0), int(parts["number"]))
        self.reached[PlanId(parts["plan"])] = Reached(number=one.number, candidates=candidates, attempts=attempts)

    def take_run(self, plan: str, number: int) -> None:
        one = self.reached.get(PlanId(plan), Reached())
        self.reached[PlanId(plan)] = Reached(
            number=max(one.number, number), candidates=one.candidates, attempts=one.attempts
        )


def repositories_of(place: Place) -> Repositories:
    return Repositories(place=place, execute=execute, inherited={}, umask=0o077)


def look(place: Place) -> Traces:
    """Everything that bears a number. Raises: RepositoryError when git cannot be asked."""
    traces = Traces()
    for folder in (place.state_dir / "attempts", place.worktrees, place.trash):
        for path in folder.glob("[!.]*/*"):
            traces.take(f"{path.parent.name}/{path.name}")
    for attempt in (place.state_dir / "attempts").glob("*/*"):
        traces.token = max(traces.token, token_of(attempt))
    repositories = repositories_of(place)
    for git in _gits(repositories):
        listing = git.run(
            "for-each-ref", "--format=%(refname)", "refs/orchestrator", "refs/heads/orchestrator", "refs/begun"
        )
        for name in listing.line.splitlines():
            run = _RUN.fullmatch(name)
            if run is not None:
                traces.take_run(run["plan"], int(run["number"]))
            else:
                traces.take(name.removeprefix("refs/orchestrator/"))
            if name not in traces.references and not name.startswith("refs/begun/"):
                traces.references.append(name)
        if not listing.line:
            continue
        for values in _trailers(git, "--glob=refs/orchestrator", "--glob=refs/heads/orchestrator"):
            if values["Token"].isdigit():
                traces.token = max(traces.token, int(values["Token"]))
            traces.take(values["Attempt"])
            traces.take(values["Candidate"])
    return traces


def landings(place: Place, plan: PlanId, known: Commit) -> tuple[list[Landing], bool]:
    """Commits on a plan's branch beyond the known one, oldest first; and whether the branch contains that one."""
    ours = repositories_of(place).ours
    if not place.repo_git.exists():
        return [], True
    tip = ours.reference(plan_ref(plan))
    if tip is None or tip == known:
        return [], tip is not None
    if not ours.has(known) or not ours.contains(tip, known):
        return [], False
    found = []
    for values in _trailers(ours, "--first-parent", "--reverse", f"{known}..{tip}", only_ours=False):
        task = TaskId(values["Task"]) if values["Task"] else None
        found.append(Landing(plan=plan, task=task, commit=Commit(values["commit"])))
    return found, True


def living_runs(place: Place) -> dict[str, int]:
    """Runs whose supervisor lives, with its pid."""
    found = {}
    attempts = place.state_dir / "attempts"
    for lock in sorted(attempts.glob("*/*/*/lock")):
        if is_locked(lock):
            process = supervisor_of(lock.parent)
            found[str(lock.parent.relative_to(attempts))] = process.pid if process else 0
    return found


def _gits(repositories: Repositories) -> Iterator[Git]:
    if repositories.place.repo_git.exists():
        yield repositories.ours
    yield repositories.users


def _trailers(git: Git, *which: str, only_ours: bool = True) -> Iterator[dict[str, str]]:
    """The trailers of ours of commits, and their ids."""
    fields = "%x1f".join(f"%(trailers:key=Orchestrator-{key},valueonly,separator=%x20)" for key in _KEYS)
    grep = (
        [
            "--grep=^Orchestrator-",
        ]
        if only_ours
        else []
    )
    answer = git.run("log", f"--format=%H%x1f{fields}%x1e", *grep, *which)
    for record in answer.out.decode("utf-8", "replace").split("\x1e"):
        commit, *values = record.strip("\n").split("\x1f")
        if commit:
            yield {"commit": commit} | dict(zip(_KEYS, (value.strip() for value in values), strict=True))
