"""Where things live on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.model.ids import AttemptId, CandidateId, RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The folders of one repository. All absolute; none has to exist."""

    root: Path  #: the user's checkout, or the bare repository
    common_dir: Path  #: the git common directory
    state_dir: Path  #: `<common dir>/orchestrator`, 0700
    worktrees: Path  #: outside the repository
    socket: Path  #: short enough for a unix socket

    @property
    def ledger(self) -> Path:
        return self.state_dir / "ledger.sqlite"

    @property
    def backups(self) -> Path:
        """Verified copies of the ledger."""
        return self.state_dir / "backups"

    @property
    def journal(self) -> Path:
        """The ledger's events as text, a file per day."""
        return self.state_dir / "journal"

    @property
    def kept_plans(self) -> Path:
        """Plans that `run` made."""
        return self.state_dir / "plans"

    @property
    def repo_git(self) -> Path:
        return self.state_dir / "repo.git"

    @property
    def daemon_lock(self) -> Path:
        return self.state_dir / "daemon.lock"

    @property
    def daemon_log(self) -> Path:
        return self.state_dir / "daemon.log"

    @property
    def plan_schema(self) -> Path:
        """The JSON Schema of plan files, for editors."""
        return self.state_dir / "plan.schema.json"

    @property
    def trash(self) -> Path:
        return self.worktrees / ".trash"

    @property
    def spares(self) -> Path:
        """Trees that wait to be used again."""
        return self.worktrees / ".spare"

    def owner_dir(self, owner: AttemptId | CandidateId | str) -> Path:
        """The folder of an attempt or candidate: its small repository `git` and its run folders."""
        return self.state_dir / "attempts" / owner

    def git_dir(self, owner: AttemptId | CandidateId | str) -> Path:
        return self.owner_dir(owner) / "git"

    def run_dir(self, run: RunId | str) -> Path:
        return self.state_dir / "attempts" / run

    def worktree(self, owner: AttemptId | CandidateId | str) -> Path:
        return self.worktrees / owner
