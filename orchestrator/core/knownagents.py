"""How agent programs that many people have are started without a person: what `init` proposes for those it finds.

The command lines follow runs of these programs without a person, with output for people instead of programs. They are
proposals in a file that a person reads, so each says what it lets the program do without asking.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAgent:
    """One agent program."""

    name: str  #: in plans
    run: tuple[str, ...]
    stdin: str  #: as in a plan
    allows: str  #: what the program may do without asking, for people
    pass_env: tuple[str, ...] = ()  #: variables with its keys

    @property
    def program(self) -> str:
        return self.run[0]


_ALL = "edits files and runs any command without asking"

#: In the order in which the first one found becomes the default.
KNOWN_AGENTS = (
    KnownAgent(
        name="claude",
        run=("claude", "-p", "--permission-mode", "acceptEdits"),
        stdin="briefing",
        allows=(
            "edits files without asking; runs only the commands that your Claude settings allow "
            "(`--permission-mode bypassPermissions` allows all)"
        ),
        pass_env=("ANTHROPIC_API_KEY",),
    ),
    KnownAgent(
        name="codex",
        run=("codex", "exec", "--skip-git-repo-check", "--sandbox", "workspace-write", "-"),
        stdin="briefing",
        allows="edits files and runs commands without asking, in its own sandbox: writing only in the worktree",
        pass_env=("OPENAI_API_KEY", "CODEX_API_KEY"),
    ),
    KnownAgent(
        name="opencode",
        run=("opencode", "run"),
        stdin="briefing",
        allows="does what your opencode permissions allow; what it would have to ask for is refused",
        pass_env=("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENROUTER_API_KEY"),
    ),
    KnownAgent(
        name="gemini",
        run=("gemini", "--approval-mode", "yolo", "--skip-trust"),
        stdin="briefing",
        allows=_ALL,
        pass_env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    ),
    KnownAgent(
        name="copilot",
        run=("copilot", "--allow-all-tools", "--no-ask-user", "--no-auto-update", "--no-color", "-p", "{prompt}"),
        stdin="none",
        allows=_ALL,
        pass_env=("COPILOT_GITHUB_TOKEN",),
    ),
    KnownAgent(
        name="qwen",
        run=("qwen", "--approval-mode", "yolo"),
        stdin="briefing",
        allows=_ALL,
        pass_env=("OPENAI_API_KEY", "DASHSCOPE_API_KEY"),
    ),
    KnownAgent(name="kimi", run=("kimi", "-p", "{prompt}"), stdin="none", allows=_ALL),
    KnownAgent(
        name="vibe",
        run=("vibe", "--auto-approve", "--trust", "-p", "{prompt}"),
        stdin="none",
        allows=_ALL,
        pass_env=("MISTRAL_API_KEY",),
    ),
    KnownAgent(
        name="pi",
        run=("pi", "-p", "{prompt}"),
        stdin="none",
        allows=_ALL,
        pass_env=("ANTHROPIC_API_KEY", "OPENAI_API_KEY"),
    ),
    KnownAgent(
        name="cline",
        run=("cline", "--auto-approve", "true", "{prompt}"),
        stdin="none",
        allows=f"{_ALL}; log in once with `cline auth`",
    ),
    KnownAgent(
        name="openhands",
        run=("openhands", "--headless", "--override-with-envs", "--always-approve", "-t", "{prompt}"),
        stdin="none",
        allows=_ALL,
        pass_env=("LLM_API_KEY", "LLM_MODEL", "LLM_BASE_URL"),
    ),
    KnownAgent(
        name="aider",
        run=(
            "aider",
            "--yes-always",
            "--no-check-update",
            "--no-pretty",
            "--no-stream",
            "--no-gitignore",
            "--no-detect-urls",
            "--chat-history-file",
            "/dev/null",
            "--input-history-file",
            "/dev/null",
            "--message-file",
            "{briefing}",
        ),
        stdin="none",
        allows="edits files and commits without asking; runs no commands",
        pass_env=("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY"),
    ),
    KnownAgent(
        name="gptme",
        run=("gptme", "--non-interactive", "--no-confirm", "{prompt}"),
        stdin="none",
        allows=_ALL,
        pass_env=("ANTHROPIC_API_KEY", "OPENAI_API_KEY"),
    ),
    KnownAgent(
        name="mini",
        run=("mini", "-y", "--exit-immediately", "-t", "{prompt}"),
        stdin="none",
        allows=_ALL,
        pass_env=("ANTHROPIC_API_KEY", "OPENAI_API_KEY"),
    ),
)
