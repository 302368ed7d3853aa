"""What modelled programs do: agents that work, lie, fail, hang, flood, ask and write where they must not; checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import anyio

from orchestrator.model.agent import AgentPaths, Asked, Briefing, HandedIn, Launch, NoChange, Progress, Terminal
from orchestrator.model.attempt import ExitWhy, FailureKind, RunExit
from orchestrator.model.plan import AgentSpec
from orchestrator.ports import Translator
from orchestrator.simulation.executor import ModelRun
from orchestrator.simulation.repository import WORKTREES, ModelRepository, WorkTree
from orchestrator.simulation.virtual import Dice

BAD = "!bad"  #: a content with this in it makes every check red
OK = RunExit(why=ExitWhy.EXIT, code=0)


class ModelAdapter:
    """The Adapter port: tells the program what it may write, as words of its argv."""

    name = "model"
    needs_run = False

    def launch(self, spec: AgentSpec, briefing: Briefing, paths: AgentPaths) -> Launch:
        return Launch(argv=("agent", briefing.attempt_id, *briefing.files.include))

    def briefing_text(self, briefing: Briefing) -> str:
        return briefing.prompt

    def translator(self) -> Translator | None:
        return None


#: A value that every program is given, and that must not be in anything that is kept.
SECRET = "a-secret-of-somebody"


class ModelSurroundings:
    """The Surroundings port: an environment with nothing in it but a secret."""

    def environment(self, names: Sequence[str], values: Mapping[str, str]) -> dict[str, str]:
        return {**values, "TOKEN": SECRET}

    def secrets(self, names: Sequence[str]) -> tuple[str, ...]:
        return (SECRET,)

    def identity(self) -> dict[str, str]:
        return {}

    def author(self) -> str:
        return "A Person <a@person>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How the agents of a seed behave: the weight of each way to go, and how long the work takes."""

    ways: tuple[tuple[str, float], ...]
    work_s: float
    check_s: float
    flaky: float  #: probability that a check is red for no reason


def manners_for(dice: Dice) -> Manners:
    """Mostly they work; how often not, and in which ways, differs from seed to seed."""
    odd = ("lie", "fail", "hang", "stubborn", "flood", "ask", "ask_and_go", "outside", "bad", "nothing", "contrary")
    weight = dice.one_of((0.02, 0.1, 0.3))
    ways = tuple((way, weight * dice.draw()) for way in dice.some_of(odd, dice.count(0, len(odd))))
    return Manners(
        ways=(("work", 1.0), *ways),
        work_s=dice.one_of((600.0, 1500.0, 3000.0)),
        check_s=dice.one_of((10.0, 60.0, 300.0)),
        flaky=dice.one_of((0.0, 0.0, 0.05)),
    )


class Programs:
    """Every program of a simulated machine."""

    def __init__(self, repository: ModelRepository, dice: Dice, manners: Manners) -> None:
        self._repository = repository
        self._dice = dice
        self.manners = manners
        self.written: dict[tuple[str, str], str] = {}  #: (attempt, path) -> the content it wrote there last
        self.green: set[tuple[str, str]] = set()  #: (commit, check) that passed on exactly that tree
        self._counted = 0

    def calm(self) -> None:
        """From now on every program does what it should."""
        self.manners = Manners(ways=(("work", 1.0),), work_s=300.0, check_s=30.0, flaky=0.0)

    async def run(self, run: ModelRun) -> RunExit:
        """The program of a run, to its end."""
        owner = run.spec.cwd.removeprefix(f"{WORKTREES}/")
        tree = self._repository.trees.get(owner)
        if tree is None:
            return RunExit(why=ExitWhy.NOT_FOUND, detail="its folder is not there")
        match run.spec.argv[0]:
            case "agent":
                return await self._agent(run, tree)
            case "check":
                return await self._check(run, tree)
            case _:
                await anyio.sleep(self._dice.between(1, 30))
                return OK

    async def _check(self, run: ModelRun, tree: WorkTree) -> RunExit:
        commit = tree.head
        await anyio.sleep(self._dice.about(self.manners.check_s))
        red = any(BAD in content for content in tree.files.values()) or self._dice.chance(self.manners.flaky)
        if red:
            run.tail = "1 failed"
            return RunExit(why=ExitWhy.EXIT, code=1)
        if tree.files == self._repository.objects[commit].tree:
            self.green.add((commit, run.spec.argv[1]))
        return OK

    async def _agent(self, run: ModelRun, tree: WorkTree) -> RunExit:
        dice, way = self._dice, self._dice.weighted(self.manners.ways)
        patterns = run.spec.argv[2:]
        run.stubborn = way == "stubborn"
        length = dice.about(self.manners.work_s)
        await anyio.sleep(length * dice.between(0.05, 0.2))
        if way in {"ask", "ask_and_go"}:
            run.report(Asked(question_id=f"q{dice.count(1, 9)}", text="which way?", options=("left", "right")))
            if way == "ask":
                await run.ask()
        if way == "lie":
            run.report(HandedIn(summary="it is all done"))
            return OK
        if way == "nothing":
            run.report(NoChange(reason="it was so already"))
            return OK
        steps = dice.count(1, 3)
        for step in range(steps):
            await anyio.sleep(length / steps)
            self._write(run, tree, self._path(patterns), bad=way == "bad")
            if dice.chance(0.3):
                run.report(Progress(text=f"step {step + 1}"))
            if dice.chance(0.3) and not tree.unmerged:
                self._repository.commit_in(tree.owner, f"{tree.owner} step {step + 1}")
        for path in sorted(tree.unmerged):
            self._write(run, tree, path)
        if way in {"hang", "stubborn"}:
            await anyio.sleep_forever()
        if way == "fail":
            run.tail = "it broke"
            return RunExit(why=ExitWhy.EXIT, code=dice.one_of((1, 2, -9, -11)))
        if way == "outside":
            self._write(run, tree, f"elsewhere/{dice.count(1, 3)}")
        if way == "contrary":
            kind = dice.one_of((FailureKind.NETWORK, FailureKind.REFUSED, FailureKind.CONTEXT_TOO_LONG))
            run.report(Terminal(ok=False, kind=kind.value, text="no"))
        if dice.chance(0.5):
            self._repository.commit_in(tree.owner, f"{tree.owner} done")
        if dice.chance(0.5):
            run.report(HandedIn(summary="done"))
        return RunExit(why=ExitWhy.EXIT, code=0, dropped_bytes=10**9 if way == "flood" else 0)

    def _path(self, patterns: Sequence[str]) -> str:
        pattern = self._dice.one_of(patterns)
        if pattern == "**":
            return f"free/{self._dice.count(1, 5)}"
        return pattern.replace("**", f"f{self._dice.count(1, 4)}").replace("[", "").replace("]", "")

    def _write(self, run: ModelRun, tree: WorkTree, path: str, *, bad: bool = False) -> None:
        self.write(tree, path, bad=bad)
        run.sign_at = anyio.current_time()

    def write(self, tree: WorkTree, path: str, *, bad: bool = False) -> None:
        """Somebody writes a file in a tree, with a content that nobody else ever writes."""
        self._counted += 1
        content = f"{tree.owner}#{self._counted}" + (BAD if bad else "")
        tree.files[path] = content
        tree.unmerged.discard(path)
        self.written[tree.owner, path] = content
