"""The conversation before a plan runs: yes or no, and everything a person may change before they say it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from orchestrator.cli import rows
from orchestrator.cli.changes import words_of
from orchestrator.cli.launch import Flags
from orchestrator.cli.session import Session
from orchestrator.cli.words import AMBER, cell, counted, grid, prose
from orchestrator.model.errors import ConfirmationNeeded, OrchestratorError, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestrator.cli.confirm import Source, Yes
    from orchestrator.model.assessment import Assessment
    from orchestrator.wire import Overrides

QUESTION = "Run this plan? [y]es / [N]o / [e]dit / [d]etails / [?] more: "
MEND = "This plan cannot run as it is. [e]dit / [r]ead again{undo} / [Q]uit: "

#: What can be typed: the key, the word, what belongs to it, what it does.
KEYS: tuple[tuple[str, str, str, str], ...] = (
    ("y", "yes", "", "run it"),
    ("n", "no", "", "start nothing; so do Enter and q"),
    ("e", "edit", "", "open the plan file in your editor, then check it again"),
    ("r", "read", "", "read the plan file again, after a change elsewhere"),
    ("d", "details", "[TASK]", "every task, every pair; or one task in full"),
    ("f", "first", "A B", "A lands before B starts"),
    ("x", "drop", "TASK ...", "leave tasks out"),
    ("a", "agent", "[TASK] A", "who does every task, or one"),
    ("p", "parallel", "N", "how many attempts at once"),
    ("i", "isolation", "", "how attempts are kept apart"),
    ("u", "undo", "", "take the last change back"),
    ("s", "show", "", "the whole page again"),
    ("c", "command", "", "the command that starts the plan like this"),
    ("?", "help", "", "this list"),
)
_WORDS = {word: word for _, word, _, _ in KEYS} | {key: word for key, word, _, _ in KEYS} | {"q": "no", "quit": "no"}


class Dialogue:
    """A plan on the table. Every change is an override, checked at once, and taken only if the plan stays sound."""

    def __init__(self, session: Session, flags: Flags, source: Source, overrides: Overrides, found: Assessment) -> None:
        self.session = session
        self.flags = flags
        self.source = source
        self.overrides = overrides
        self.found = found
        self._earlier: list[Overrides] = []
        self._is_shown = False  #: the whole page, once
        self._deeds: dict[str, Callable[[list[str]], None]] = {
            "edit": lambda words: self._edit(),
            "read": lambda words: self._read_again(),
            "details": self._details,
            "first": self._first,
            "drop": self._drop,
            "agent": self._agent,
            "parallel": self._parallel,
            "isolation": self._isolation,
            "undo": lambda words: self._undo(),
            "show": lambda words: self._show(),
            "command": lambda words: self._say(self._command()),
            "help": lambda words: self.session.say(*help_lines(), talk=True),
        }

    def run(self) -> Yes:
        """Talk until the person decides. Raises: ConfirmationNeeded when it is not a yes."""
        from orchestrator.cli.confirm import Yes

        if not self._is_shown:
            self._show()
        while True:
            said = self.session.question(QUESTION).split()
            word = _WORDS.get(said[0].lower()) if said else "no"
            if word == "yes" and len(said) == 1:
                return Yes(found=self.found, overrides=self.overrides)
            if word == "no":
                raise ConfirmationNeeded(
                    "nothing was started", why="the answer was not yes", fix=f"later: {self._command()}"
                )
            if word is None or word == "yes":
                self._say(f"'{' '.join(said)}' is not understood; ? lists what can be typed")
                continue
            try:
                self._deeds[word](said[1:])
            except OrchestratorError as error:
                self.session.complain(error)
            self.mend()
            if self.found.errors:
                raise self.unsound()

    def mend(self) -> None:
        """Show what is wrong with the plan and offer to edit it, until it is sound or the person leaves it."""
        from orchestrator.cli.assess_view import problem_lines

        while self.found.errors:
            self.session.say_paged(*problem_lines(self.found.errors, "red"))
            undo = " / [u]ndo the last change" if self._earlier else ""
            said = self.session.question(MEND.format(undo=undo)).lower()
            try:
                if said in {"e", "edit"}:
                    self._edit()
                elif said in {"r", "read"}:
                    self._read_again()
                elif said in {"u", "undo"} and self._earlier:
                    self._undo()
                elif said in {"", "q", "quit", "n", "no"}:
                    return
            except OrchestratorError as error:
                self.session.complain(error)

    def unsound(self) -> UsageError:
        """For a person who left a plan with errors that they have been shown."""
        errors = counted(len(self.found.errors), "error")
        return UsageError(f"nothing was started: the plan has {errors}", fix=f"mend it, then: {self._command()}")

    def agrees_to_one_by_one(self) -> bool:
        said = self.session.question("No two tasks may run together. Run them one by one? [y]es / [N]o: ")
        return said.lower() in {"y", "yes"}

    # ---- looking ----

    def _say(self, text: str) -> None:
        self.session.say(prose(text), talk=True)

    def _command(self) -> str:
        return self.session.command_line(*self.source.words(self.overrides, *self.flags.words()))

    def _show(self) -> None:
        from orchestrator.cli.assess_view import assessment_page
        from orchestrator.cli.confirm import before_of

        self._is_shown = True
        self.session.say_paged(*assessment_page(self.found, before=before_of(self.session, self.found)))

    def _details(self, words: list[str]) -> None:
        from orchestrator.cli.assess_view import assessment_page
        from orchestrator.cli.task_view import task_page

        plan = self.found.plan
        assert plan is not None
        if not words:
            self.session.say_paged(*assessment_page(self.found, full=True))
        for word in words:
            task = rows.unique(word, {task.id: task for task in plan.tasks}, "task")
            self.session.say_paged(*task_page(self.found, plan, task, self.overrides))

    def _isolation(self, words: list[str]) -> None:
        if words and words != ["worktree"]:
            self._change(isolation=words[0])  # says itself what there is
            return
        self._say("worktree: every attempt has a tree and a repository of its own. There is no other way yet.")

    # ---- changing ----

    def _task(self, word: str) -> str:
        plan = self.found.plan
        assert plan is not None
        return rows.unique(word, {task.id: task.id for task in plan.tasks}, "task")

    def _first(self, words: list[str]) -> None:
        names = [name for word in words for name in word.replace(":", " ").replace(",", " ").split()]
        if len(names) != 2:
            raise UsageError(
                "'first' takes two tasks", why="the one that lands before the other first", fix="first A B"
            )
        pair = (self._task(names[0]), self._task(names[1]))
        others = [one for one in self.overrides.first if one not in (pair, pair[::-1])]
        self._change(first=(*others, pair))

    def _drop(self, words: list[str]) -> None:
        names = [self._task(name) for word in words for name in word.replace(",", " ").split()]
        if not names:
            raise UsageError("'drop' takes a task", why="or several", fix="drop TASK")
        gone = {*self.overrides.drop, *names}
        self._change(
            drop=tuple(dict.fromkeys((*self.overrides.drop, *names))),
            # what was said of a task that goes now would stand in its way
            first=tuple(pair for pair in self.overrides.first if not gone & {*pair}),
            agents={task: agent for task, agent in self.overrides.agents.items() if task not in gone},
        )

    def _agent(self, words: list[str]) -> None:
        words = [part for word in words for part in word.split("=") if part]
        if len(words) == 1:
            self._change(agent=words[0])
        elif len(words) == 2:
            self._change(agents={**self.overrides.agents, self._task(words[0]): words[1]})
        else:
            plan = self.found.plan
            known = ", ".join(agent.name for agent in plan.agents) if plan is not None else ""
            why = f"the agents of this plan are {known}" if known else ""
            raise UsageError("'agent' takes an agent, or a task and its agent", why=why, fix="agent A, or agent TASK A")

    def _parallel(self, words: list[str]) -> None:
        if self.found.plan is not None and len(self.found.plan.tasks) == 1:
            self._say("There is one task, so nothing could run beside it.")
            return
        if len(words) != 1 or not words[0].isdecimal() or not 1 <= int(words[0]) <= 256:
            raise UsageError("'parallel' takes a number from 1 to 256", fix="parallel 4")
        self._change(parallel=int(words[0]))

    def _change(self, **fields: Any) -> None:
        """Take a change, if the plan is still sound with it, and show what it does."""
        changed = self.overrides.model_copy(update=fields)
        found = self.source.assess(changed)
        if found.errors:
            from orchestrator.cli.assess_view import problem_lines

            self.session.say(*problem_lines(found.errors, "red"), talk=True)
            self._say("The plan stays as it was.")
            return
        if found.digest == self.found.digest:
            self._say("That changes nothing: the plan says so already.")
            return
        self._earlier.append(self.overrides)
        self._take(changed, found)

    def _undo(self) -> None:
        if not self._earlier:
            self._say("Nothing was changed here. What `edit` changed is in the file.")
            return
        overrides = self._earlier.pop()
        self._take(overrides, self.source.assess(overrides))

    def _edit(self) -> None:
        status = self.session.world().edit_file(self.source.file(self.overrides))
        if status:
            self._say(f"The editor ended with status {status}.")
        self._read_again()

    def _read_again(self) -> None:
        found = self.source.assess(self.overrides)
        if found.digest == self.found.digest and not found.errors:
            self._say("The plan reads as before.")
        self._take(self.overrides, found)

    def _take(self, overrides: Overrides, found: Assessment) -> None:
        from orchestrator.cli.difference_view import change_lines

        before, self.overrides, self.found = self.found, overrides, found
        if found.plan is None:
            return
        if before.plan is None:
            self._show()
        elif before.digest != found.digest:
            self.session.say(*change_lines(before, found))
            changes = " ".join(words_of(overrides))
            self.session.say(cell(f"changed here: {changes or 'nothing'}", AMBER if changes else "dim"), talk=True)


def help_lines() -> Iterable[RenderableType]:
    yield grid([[cell(key, "bold"), cell(f"{word} {more}".rstrip()), cell(does)] for key, word, more, does in KEYS])
    yield prose("Changes made here are flags; the file stays as it is, unless you `edit` it.", 2)
