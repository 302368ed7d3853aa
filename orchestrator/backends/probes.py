"""What `doctor` finds out about the machine, and how probes are run so that none can hang or break the others."""

from __future__ import annotations

import os
import queue
import resource
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.backends.cgroups import process_trees
from orchestrator.core.knownagents import KNOWN_AGENTS
from orchestrator.core.settings import Settings
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.probe import Grade, Probe

ENOUGH_FILES = 1024  #: open at once; parallel 16 with their pipes and logs stay far below

Probing = Callable[[], Probe]


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A probe to be made, with the name it has when it cannot be."""

    name: str
    probe: Probing


def run_all(probes: Sequence[Named], *, within_s: float) -> tuple[Probe, ...]:
    """Make all probes at once and give their answers in order; one that hangs or breaks gets an answer of ours."""
    answers: queue.SimpleQueue[tuple[int, Probe]] = queue.SimpleQueue()
    for index, named in enumerate(probes):
        # a thread that hangs in the kernel, on a dead network disk for example, must not keep the process alive
        threading.Thread(target=_made, args=(index, named, answers), daemon=True).start()
    found: dict[int, Probe] = {}
    deadline = time.monotonic() + within_s
    while len(found) < len(probes):
        try:
            index, probe = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        found[index] = probe
    return tuple(found.get(index) or _silent(named, within_s) for index, named in enumerate(probes))


def _made(index: int, named: Named, answers: queue.SimpleQueue[tuple[int, Probe]]) -> None:
    try:
        probe = named.probe()
    except OrchestratorError as error:
        probe = Probe(name=named.name, grade=Grade.FAIL, said=error.message, why=error.why, fix=error.fix)
    except Exception as error:
        probe = Probe(
            name=named.name,
            grade=Grade.FAIL,
            said="could not be examined",
            why=f"{type(error).__name__}: {error}",
            fix="mend what it names; if it means nothing to you, it is a bug of ours: report it",
        )
    answers.put((index, probe))


def _silent(named: Named, within_s: float) -> Probe:
    return Probe(
        name=named.name,
        grade=Grade.FAIL,
        said=f"gave no answer within {within_s:g} s",
        why="the disk or the program that it needs does not respond",
        fix="see that the disk, perhaps a network disk, is there; then again",
    )


# ---- the machine ----


def machine() -> Iterable[Named]:
    """Probes that need no repository."""
    yield Named(name="python", probe=_python)
    yield Named(name="system", probe=_system)
    yield Named(name="open files", probe=_open_files)
    yield Named(name="process trees", probe=process_trees)


def known_programs(environ: Mapping[str, str]) -> Iterable[Named]:
    """Which agent programs there are, where no settings name any."""
    yield Named(name="agents", probe=lambda: _known_programs(environ))


def programs(settings: Settings, environ: Mapping[str, str]) -> Iterable[Named]:
    """Whether what the settings start can be started."""
    yield Named(name="agents", probe=lambda: _agents(settings, environ))
    yield Named(name="checks", probe=lambda: _checks(settings, environ))


def _python() -> Probe:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Probe(name="python", said=f"{version}, {sys.executable}")


def _system() -> Probe:
    if sys.platform == "linux":
        return Probe(name="system", said="Linux")
    if sys.platform == "darwin":
        return Probe(
            name="system",
            grade=Grade.WARN,
            said="macOS",
            why="it has no way to adopt programs whose parent has ended, so those may outlive an attempt",
            fix="nothing, as long as agents and checks end what they start",
        )
    return Probe(
        name="system",
        grade=Grade.FAIL,
        said=sys.platform,
        why="not supported",
        fix="use Linux, macOS, or Windows by WSL",
    )


def _open_files() -> Probe:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= ENOUGH_FILES:
        return Probe(name="open files", said="no limit" if soft == resource.RLIM_INFINITY else f"up to {soft}")
    return Probe(
        name="open files",
        grade=Grade.WARN,
        said=f"only up to {soft}",
        why="each attempt holds several, and agent programs open many",
        fix=f"ulimit -n {ENOUGH_FILES if hard == resource.RLIM_INFINITY else min(ENOUGH_FILES, hard)}, then start the "
        "daemon anew",
    )


def _known_programs(environ: Mapping[str, str]) -> Probe:
    found = [agent.program for agent in KNOWN_AGENTS if _is_there(agent.program, environ)]
    if found:
        return Probe(name="agents", said=f"on PATH: {', '.join(found)}")
    return Probe(
        name="agents",
        grade=Grade.WARN,
        said="none that we know is on PATH",
        why="somebody has to do the work",
        fix="install one, such as claude, codex or gemini; or declare any command as an agent",
    )


def _agents(settings: Settings, environ: Mapping[str, str]) -> Probe:
    """Whether the programs of the settings' agents are there. A plan may declare more."""
    missing: list[tuple[str, str | None]] = []
    there: list[tuple[str, str | None]] = []
    for name, table in settings.agents.items():
        program = _program_of(table)
        (there if program is None or _is_there(program, environ) else missing).append((name, program))
    default = settings.defaults.get("agent")
    if missing:
        names = ", ".join(f"{name} ({program})" for name, program in missing)
        return Probe(
            name="agents",
            grade=Grade.FAIL if not there or any(name == default for name, _ in missing) else Grade.WARN,
            said=f"not on PATH: {names}",
            why="an attempt of theirs would crash at its start",
            fix="install them, put their folder on PATH (of the daemon too: stop it and start again), "
            "or take them out of orchestrator.toml",
        )
    if not there:
        return Probe(
            name="agents",
            grade=Grade.OK if default else Grade.WARN,
            said=f"tasks go to '{default}'" if default else "the settings declare none",
            why="" if default else "each plan has to declare its own",
            fix="" if default else "`orchestrator init` finds those that are installed",
        )
    return Probe(name="agents", said=", ".join(name for name, _ in there))


def _checks(settings: Settings, environ: Mapping[str, str]) -> Probe:
    tables = settings.checks
    if tables is None:
        return Probe(
            name="checks",
            grade=Grade.WARN,
            said="the settings have none",
            why="each plan has to bring its own, else it cannot start",
            fix="`orchestrator init` proposes some",
        )
    if not isinstance(tables, list):
        return Probe(
            name="checks",
            grade=Grade.WARN,
            said="none, as the settings say",
            why="whatever an agent hands off lands",
            fix="list commands that test your project under `checks`",
        )
    programs = [program for table in tables if (program := _program_of(table)) is not None]
    missing = sorted({program for program in programs if not _is_there(program, environ)})
    if missing:
        return Probe(
            name="checks",
            grade=Grade.FAIL,
            said=f"not on PATH: {', '.join(missing)}",
            why="a check that cannot start is red, so nothing would land",
            fix="install it, or change `checks` in orchestrator.toml",
        )
    names = [str(table.get("name", "?")) for table in tables if isinstance(table, dict)]
    return Probe(name="checks", said=", ".join(names))


def _program_of(table: Any) -> str | None:
    """The program of an agent's or a check's table; None when it has none that we could look for."""
    run = table.get("run") if isinstance(table, dict) else None
    return run[0] if isinstance(run, list) and run and isinstance(run[0], str) else None


def _is_there(program: str, environ: Mapping[str, str]) -> bool:
    if os.sep in program and not os.path.isabs(program):
        return True  # it lies in the tree, which a candidate may change
    return shutil.which(program, path=environ.get("PATH", os.defpath)) is not None
