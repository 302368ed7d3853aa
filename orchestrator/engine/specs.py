"""What a supervised run is started with: program, folder, environment, limits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta

from orchestrator.core.briefing import briefing_for
from orchestrator.core.steps import checks_of
from orchestrator.model.agent import AgentPaths
from orchestrator.model.attempt import Attempt, Run, RunKind
from orchestrator.model.errors import RefusedError
from orchestrator.model.ids import AttemptId
from orchestrator.model.place import Place
from orchestrator.model.run import PlanRun
from orchestrator.ports import Adapter, RunSpec, Surroundings
from orchestrator.wire import dump

PREPARE_TIMEOUT = timedelta(minutes=30)  #: of one prepare step


class Specs:
    """Makes the specifications of runs from the plan as it is at that moment."""

    def __init__(self, *, place: Place, adapters: Mapping[str, Adapter], surroundings: Surroundings) -> None:
        self._place = place
        self._adapters = adapters
        self._surroundings = surroundings

    def of(self, plan: PlanRun, run: Run) -> RunSpec:
        """How this run is to be started. Raises: RefusedError when nobody wants it any more."""
        attempt = plan.attempts.get(AttemptId(run.owner))
        if run.kind is RunKind.AGENT:
            assert attempt is not None
            return self._agent_spec(plan, run, attempt)
        candidate = plan.candidate
        if attempt is not None:
            assert attempt.workspace is not None
            cwd = attempt.workspace.path
        else:
            if candidate is None or candidate.id != run.owner or candidate.path is None:
                raise RefusedError("this check is no longer wanted", why=f"candidate {run.owner} is not at the gate")
            cwd = candidate.path
        if run.kind is RunKind.PREPARE:
            argv, timeout = plan.plan.prepare.run[int(run.name.rsplit("-", 1)[1]) - 1], PREPARE_TIMEOUT
        else:
            assert candidate is not None
            check = checks_of(plan, candidate)[run.name]
            argv, timeout = check.run, check.timeout
        names = plan.plan.execution.pass_env
        return RunSpec(
            run_id=run.id,
            run_dir=str(self._place.run_dir(run.id)),
            argv=argv,
            cwd=cwd,
            env=self._surroundings.environment(
                names, {"ORCHESTRATOR_PLAN": plan.id, "ORCHESTRATOR_RUN": str(self._place.run_dir(run.id))}
            ),
            timeout_s=timeout.total_seconds(),
            grace_s=plan.plan.execution.grace.total_seconds(),
            output_limit_bytes=plan.plan.execution.output_limit_bytes,
            secrets=self._surroundings.secrets(names),
        )

    def _agent_spec(self, plan: PlanRun, run: Run, attempt: Attempt) -> RunSpec:
        agent = plan.plan.agent(attempt.agent)
        adapter = self._adapters[agent.adapter]
        task = plan.tasks[attempt.task_id].task
        briefing = briefing_for(plan, attempt, self._surroundings.author())
        run_dir = str(self._place.run_dir(run.id))
        paths = AgentPaths(
            run_dir=run_dir,
            worktree=briefing.worktree,
            prompt_file=f"{run_dir}/prompt.txt",
            briefing_file=f"{run_dir}/briefing.md",
        )
        launch = adapter.launch(agent, briefing, paths)
        names = (*plan.plan.execution.pass_env, *agent.pass_env)
        env = self._surroundings.environment(
            names,
            self._surroundings.identity()
            | {
                "ORCHESTRATOR_RUN": run_dir,
                "ORCHESTRATOR_PLAN": plan.id,
                "ORCHESTRATOR_TASK": task.id,
                "ORCHESTRATOR_ATTEMPT": str(attempt.number),
                "ORCHESTRATOR_TOKEN": str(attempt.token),
                "ORCHESTRATOR_WORKTREE": briefing.worktree,
                "ORCHESTRATOR_BRIEFING": paths.briefing_file,
            }
            | agent.env
            | launch.env,
        )
        return RunSpec(
            run_id=run.id,
            run_dir=run_dir,
            argv=launch.argv,
            cwd=briefing.worktree,
            env=env,
            stdin=launch.stdin,
            first=launch.first,
            timeout_s=task.timeout.total_seconds(),
            grace_s=plan.plan.execution.grace.total_seconds(),
            output_limit_bytes=plan.plan.execution.output_limit_bytes,
            secrets=self._surroundings.secrets(names),
            token=attempt.token,
            files={
                "prompt.txt": task.prompt,
                "briefing.md": adapter.briefing_text(briefing),
                "briefing.json": json.dumps(dump(briefing), indent=1),
            },
        )
