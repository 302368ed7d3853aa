"""Errors that a person can act on. Anything else is a bug and keeps its traceback."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum


class ExitCode(IntEnum):
    """What the command line answers with; stable, documented in `docs/reference.md`."""

    OK = 0
    NOT_ALL_LANDED = 1  #: some task did not land
    USAGE = 2  #: wrong usage or a plan error
    NO_DAEMON = 3  #: the daemon cannot be reached
    CONFIRM = 4  #: a person has to confirm first
    NEEDS_PERSON = 5  #: nothing moves without a person
    REFUSED = 6  #: refused, or held by another
    NOTHING = 7  #: nothing available
    BUG = 70  #: our bug
    INTERRUPTED = 130


class OrchestratorError(Exception):
    """What happened, why, and what to do; in the user's words.

    Args:
        message: what happened, with the user's names.
        why: the reason.
        fix: what the user can do about it.
    """

    code = "error"
    exit_code = ExitCode.REFUSED

    def __init__(self, message: str, *, why: str = "", fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        lines = [self.message]
        if self.why:
            lines.append(f"  why: {self.why}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


class UsageError(OrchestratorError):
    """The command was typed with something that does not exist or does not fit."""

    code = "usage"
    exit_code = ExitCode.USAGE


class SettingsError(OrchestratorError):
    """A settings file, variable or flag cannot be used."""

    code = "settings"
    exit_code = ExitCode.USAGE


class RepositoryError(OrchestratorError):
    """The git repository is not in a state that we can work on."""

    code = "repository"
    exit_code = ExitCode.USAGE


class NoDaemonError(OrchestratorError):
    """No daemon runs for this repository, or it does not answer."""

    code = "no_daemon"
    exit_code = ExitCode.NO_DAEMON


class ConfirmationNeeded(OrchestratorError):
    """Nothing was launched, because a person has not confirmed exactly this plan."""

    code = "confirmation_needed"
    exit_code = ExitCode.CONFIRM


class RefusedError(OrchestratorError):
    """The request is understood, and refused in the present state."""

    code = "refused"
    exit_code = ExitCode.REFUSED


class FencedError(OrchestratorError):
    """What was to be recorded belongs to a claim that a newer one has replaced."""

    code = "fenced"
    exit_code = ExitCode.REFUSED


class SupersededError(FencedError):
    """A newer daemon writes the ledger; this one must not any more."""

    code = "superseded"


class UnsettledError(OrchestratorError):
    """Whether the ledger took a batch is not known; the very same one has to be handed in again."""

    code = "unsettled"


class LedgerLostError(OrchestratorError):
    """What was recorded is no longer there; nothing more may be written."""

    code = "ledger_lost"


class NothingError(OrchestratorError):
    """There is nothing to show or to do."""

    code = "nothing"
    exit_code = ExitCode.NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong, or worth a warning, at a place in a plan or settings file."""

    code: str  #: stable word, such as `unknown_key`
    message: str
    why: str = ""
    fix: str = ""
    file: str = ""  #: empty for a plan that nobody wrote as a file
    line: int = 0  #: counted from 1; 0: the whole file
    column: int = 0  #: counted from 1
    warning: bool = False  #: worth knowing, stops nothing

    def __str__(self) -> str:
        file = f"{self.file}: " if self.file else ""
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else file
        return f"{place}{OrchestratorError(self.message, why=self.why, fix=self.fix)}"


@dataclass(eq=False)
class PlanError(OrchestratorError):
    """The plan cannot run; carries every problem that was found, in file order."""

    problems: tuple[Problem, ...] = field(default_factory=tuple)

    code = "plan"
    exit_code = ExitCode.USAGE

    def __post_init__(self) -> None:
        first = self.problems[0]
        OrchestratorError.__init__(self, first.message, why=first.why, fix=first.fix)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)
