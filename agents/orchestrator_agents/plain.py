"""Adapters for programs whose output is only for people: they end, and what they left is looked at."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from orchestrator.model.agent import AgentPaths, Briefing, Launch
from orchestrator.model.plan import AgentSpec
from orchestrator.ports import Translator
from orchestrator_agents.briefing import briefing_text

_PLACEHOLDER = re.compile(r"\{(prompt|prompt_file|briefing|task|attempt|worktree)\}")


class CommandAdapter:
    """Any command: argv from the plan, never through a shell."""

    name = "command"
    needs_run = True

    def launch(self, spec: AgentSpec, briefing: Briefing, paths: AgentPaths) -> Launch:
        """Placeholders are filled inside one argument each; stdin gets what the plan says and nothing else."""
        values = {
            "prompt": briefing.prompt,
            "prompt_file": paths.prompt_file,
            "briefing": paths.briefing_file,
            "task": briefing.task_id,
            "attempt": str(briefing.number),
            "worktree": briefing.worktree,
        }
        argv = tuple(_PLACEHOLDER.sub(lambda found: values[found[1]], word) for word in spec.run)
        match spec.stdin:
            case "prompt":
                return Launch(argv=argv, stdin="closed", first=briefing.prompt)
            case "briefing":
                return Launch(argv=argv, stdin="closed", first=briefing_text(briefing))
            case "none":
                return Launch(argv=argv)

    def briefing_text(self, briefing: Briefing) -> str:
        return briefing_text(briefing)

    def translator(self) -> Translator | None:
        return None


class DemoAdapter:
    """The scripted agent of `demo.py`, as a process of its own."""

    name = "demo"
    needs_run = False

    def launch(self, spec: AgentSpec, briefing: Briefing, paths: AgentPaths) -> Launch:
        """Started by its path, so that nothing in the worktree can stand in for it."""
        return Launch(argv=(sys.executable, "-I", str(Path(__file__).with_name("demo.py"))))

    def briefing_text(self, briefing: Briefing) -> str:
        return briefing_text(briefing)

    def translator(self) -> Translator | None:
        return None
