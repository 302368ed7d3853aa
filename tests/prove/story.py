"""One small plan in which everything happens once, what a person does about it, and what must be so in the end.

The person does each thing when it is its turn, as often as it takes: the daemon may be dead at any moment.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from orchestrator.app.looking import trees
from orchestrator.backends.sqlite import verify
from orchestrator.cli import rows
from orchestrator.model.view import TreeKind
from tests.prove.life import Life

LINES = 40  #: that each agent prints
#: Prints numbered lines, of which none may be missing or doubled, and appends one line to its file.
WORKER = f"""\
i=0; while [ $i -lt {LINES} ]; do echo "line $i"; i=$((i+1)); done
[ "$ORCHESTRATOR_TASK" != again ] || [ "$ORCHESTRATOR_ATTEMPT" != 1 ] || exit 3
echo once >> "$ORCHESTRATOR_TASK.txt"
[ "$ORCHESTRATOR_TASK" != commits ] || {{ git add -A && git commit -qm work; }}
"""
#: Changes what a person changes meanwhile; sent back, it keeps both sides.
MEETER = """\
while [ ! -e "$HOME/go" ]; do sleep 0.02; done
if grep -q '^<<<<<<<' shared.lst; then printf 'a person\\nthe agent\\n' > shared.lst
else echo the agent > shared.lst; fi
"""
WHOLE = "test -f .env && ! cat plain.txt commits.txt again.txt last.txt 2>/dev/null | grep -v '^once$'"
PLAN = {
    "parallel": 6,
    "prepare": {"copy": [".env"]},
    "keep": ["cache/"],
    "checks": [{"name": "whole", "run": ["sh", "-c", WHOLE]}],
    "agents": {
        "worker": {"adapter": "command", "run": ["sh", "-c", WORKER]},
        "meeter": {"adapter": "command", "run": ["sh", "-c", MEETER]},
    },
    "defaults": {"agent": "worker", "retries": 3, "backoff": ["10ms"]},
    "tasks": [
        {"id": "plain", "files": ["plain.txt"], "prompt": "x"},
        {"id": "commits", "files": ["commits.txt"], "depends_on": ["plain"], "prompt": "x"},
        {"id": "again", "files": ["again.txt"], "prompt": "x"},
        {"id": "by-hand", "agent": "human", "files": [], "prompt": "look at it"},
        {"id": "meets", "agent": "meeter", "files": ["shared.lst"], "prompt": "x"},
        {"id": "asks", "agent": "demo", "files": ["asks.txt"], "prompt": '!ask "go?" yes no\n!append asks.txt once'},
        {"id": "last", "files": ["last.txt"], "depends_on": ["commits", "again", "by-hand"], "prompt": "x"},
        {"id": "undone", "files": ["undone.txt"], "prompt": "x"},
    ],
}
TASKS = ("plain", "commits", "again", "by-hand", "meets", "asks", "last", "undone")
#: How often each is tried: a crash of the daemon is no failure of an agent.
ATTEMPTS = {"plain": 1, "commits": 1, "again": 2, "by-hand": 0, "meets": 2, "asks": 1, "last": 1, "undone": 1}
STAYS = dict.fromkeys(("plain.txt", "asks.txt", "commits.txt", "again.txt", "last.txt"), "once\n")


@dataclass
class Story:
    """The plan in one repository, and how far the person is with it."""

    life: Life
    digest: str = ""
    before: dict[str, str] = field(default_factory=dict)
    pruned: bool = False
    may_retry: bool = False  #: whether attempts may be lost to a world that fails; a person tries again then

    PATH = "plans/work.yaml"

    def begin(self) -> None:
        """A repository as a person leaves it: something committed, something not."""
        person = self.life.person
        person.write(".gitignore", ".env\n")
        person.write("shared.lst", "the base\n")
        person.write("notes.md", "notes\n")
        person.plan(json.dumps(PLAN))
        person.commit("the project")
        person.write(".env", "KEY=1\n")
        person.write("notes.md", "not committed\n")
        person.write("mine/new.md", "not even added\n")
        self.before = self.persons_own()
        self.digest = self.life.digest(self.PATH)

    def persons_own(self) -> dict[str, str]:
        repo = self.life.person.repo
        return {name: (repo / name).read_text() for name in (".env", "notes.md", "mine/new.md")}

    def step(self) -> None:
        """Whatever it is the person's turn to do now."""
        life = self.life
        tasks = life.tasks()
        if not tasks:
            life.submit(self.PATH, self.digest)
            return
        for item in life.open_items():
            self._answer(item["id"], item["kind"])
        if life.is_over() and tasks["undone"]["state"] == "landed" and not tasks["undone"]["undo"]:
            life.ask("undo", task="undone", reason="not wanted")
        elif self.is_told() and not self.pruned:
            self._prune()

    def is_told(self) -> bool:
        """Whether the plan is over, with what was undone."""
        if self.life.phase() != "published":
            return False
        tasks = self.life.tasks()
        plan = self.life.rows("plan")[-1]
        return tasks["undone"]["state"] == "cancelled" and not plan["unpublished"]

    def is_over(self) -> bool:
        return self.pruned and self.is_told()

    def _answer(self, item: str, kind: str) -> None:
        person = self.life.person
        match kind:
            case "human_task":
                self.life.ask("answer", item=item, choice="done")
            case "question":
                if not any(attempt["base"] for attempt in self.life.tasks()["meets"]["history"]):
                    return  # what is to conflict has not begun
                if person.git("log", "-1", "--format=%s", "main") != "a person's":
                    person.write("shared.lst", "a person\n")
                    person.git("commit", "--quiet", "-m", "a person's", "--", "shared.lst")
                (person.home / "go").touch()
                self.life.ask("answer", item=item, choice="yes")
            case "conflict":
                self.life.ask("answer", item=item, choice="send_back")
            case _ if self.may_retry:
                choice = "leave" if kind == "stuck" else "publish" if kind == "publish_refused" else "retry"
                self.life.ask("answer", item=item, choice=choice)
            case _:
                raise AssertionError(f"nobody expected to be asked about {kind}: {self.life.open_items()}")

    def _prune(self) -> None:
        """Ask that everything that may go goes, until nothing is left."""
        reader = self.life.reader()
        assert reader is not None
        plans = rows.plans(reader)
        tasks = [task for plan in plans for task in rows.tasks(reader, plan.name)]
        owners, trash = [], []
        for view in trees(self.life.place, plans, tasks, look=False):
            if "/." in view.name:
                continue  # it is being moved
            if view.kind in {TreeKind.TRASH, TreeKind.SPARE}:
                trash.append(view.name)
            elif view.may_go:
                owners.append(view.name)
        if owners or trash:
            self.life.ask("prune", owners=owners, trash=trash)
        else:
            self.pruned = True

    # ---- what must be so ----

    def judge(self) -> None:
        """Hold that nothing is lost, doubled, half done or left behind."""
        life, person = self.life, self.life.person
        assert self.persons_own() == self.before, "what a person had not committed is different"
        assert sorted(person.git("status", "--porcelain", "-uall").splitlines()) == ["?? mine/new.md", "M notes.md"]
        for name, text in STAYS.items():
            assert (person.repo / name).read_text() == text, f"{name} was done twice, or lost"
        assert not (person.repo / "undone.txt").exists()
        shared = sorted((person.repo / "shared.lst").read_text().splitlines())
        assert shared == ["a person", "the agent"] or (self.may_retry and shared == ["the agent"]), shared
        self._judge_history()
        self._judge_ledger()
        self._judge_references()
        self._judge_output()
        assert verify(life.place.ledger) > 0
        life.until(lambda: not life.processes(), f"the end of {life.processes()}", seconds=10)
        # what a kill caught on its way to be used again is put into the trash by the next daemon
        left = [tree for tree in life.place.worktrees.glob("*/*") if not tree.name.startswith(".taken-")]
        assert not left, left

    def _judge_history(self) -> None:
        person = self.life.person
        subjects = person.first_parents("main")
        merged = [s.split(": ")[0].removeprefix("merge ") for s in subjects if s.startswith("merge ")]
        tasks = sorted(name for name in merged if name in TASKS)
        assert tasks == sorted(set(TASKS) - {"by-hand"}), f"not once each: {subjects}"
        assert subjects[0] == "undo undone: undone", subjects
        assert person.git("rev-list", "--count", "--grep=^a person's$", "main") == "1"

    def _judge_ledger(self) -> None:
        life = self.life
        events = life.events()
        granted = [event.token for event in events if event.type == "lease_granted"]
        assert all(a is not None and b is not None and a < b for a, b in pairwise(granted)), f"tokens {granted}"
        ended = [event.token for event in events if event.type == "lease_ended"]
        assert sorted(map(str, ended)) == sorted(map(str, granted)), "a lease did not end, or ended twice"
        landed = [event.task for event in events if event.type == "landed" and event.task in TASKS]
        assert sorted(map(str, landed)) == sorted(TASKS), f"landed: {landed}"
        attempts = {name: task["attempts"] for name, task in life.tasks().items() if name in TASKS}
        if self.may_retry:
            assert all(attempts[name] >= ATTEMPTS[name] for name in ATTEMPTS if name != "meets"), attempts
        else:
            assert attempts == ATTEMPTS, attempts

    def _judge_references(self) -> None:
        """The references say what the ledger does, in our repository and in the person's."""
        life, person = self.life, self.life.person
        tip = life.rows("plan")[-1]["tip"]
        assert person.git("rev-parse", "main") == tip
        assert person.git("rev-parse", "orchestrator/work") == tip
        ours = f"--git-dir={life.place.repo_git}"
        assert person.git(ours, "rev-parse", "refs/orchestrator/plans/work") == tip
        fsck = subprocess.run(
            ["git", ours, "fsck", "--connectivity-only"],
            env=person.environ,
            cwd=person.repo,
            capture_output=True,
            text=True,
        )
        assert fsck.returncode == 0, fsck.stderr
        for task in life.tasks().values():
            for attempt in task["history"]:
                for kept in filter(None, [attempt["head"]]):
                    name = f"refs/orchestrator/{attempt['id']}"
                    assert person.git(ours, "rev-parse", name) == kept, f"{name} was lost"
                    assert person.git("rev-parse", name) == kept, f"{name} is not shown"

    def _judge_output(self) -> None:
        life = self.life
        for task in life.tasks().values():
            if task["agent"] != "worker":
                continue
            for attempt in task["history"]:
                file = Path(life.place.state_dir, attempt["run_dir"], "output")
                if self.may_retry and (attempt["ending"] != "handed_off" or not file.exists()):
                    continue
                output = file.read_text().splitlines()
                assert [line for line in output if line.startswith("line ")] == [f"line {n}" for n in range(LINES)], (
                    f"output of {attempt['id']}: {output}"
                )
