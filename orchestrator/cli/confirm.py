"""A person's yes to exactly one plan: by digest, or in a conversation in which they may still change it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrator.cli import rows, streams
from orchestrator.cli.launch import Flags, known_run, launch, ledger_or_none, refuse_beside_another, text_under_way
from orchestrator.cli.plan import check_data
from orchestrator.cli.session import Answer, Session
from orchestrator.model.assessment import Verdict
from orchestrator.model.errors import ConfirmationNeeded, PlanError

if TYPE_CHECKING:
    from orchestrator.cli.dialogue import Dialogue
    from orchestrator.model.assessment import Assessment
    from orchestrator.model.plan import Plan
    from orchestrator.wire import Overrides, SubmitPlan

#: Digits of a digest that are enough to mean it.
DIGEST_PREFIX = 12


class Source(Protocol):
    """Where a plan comes from, and the words that start it."""

    def assess(self, overrides: Overrides) -> Assessment:
        """What a person would confirm. Raises: OrchestratorError when there is nothing to read."""

    def words(self, overrides: Overrides, *more: str) -> list[str]:
        """The command that leads to the same plan, with more flags, such as those that say how to run it."""

    def check_words(self, overrides: Overrides) -> list[str]:
        """The command that shows the same plan and starts nothing."""

    def file(self, overrides: Overrides) -> Path:
        """The plan file, for an editor; made where there is none yet."""

    def submitted(self, overrides: Overrides) -> tuple[Path, Overrides]:
        """The plan file as the daemon is to read it, and what is to be changed then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Yes:
    """What was said yes to."""

    found: Assessment
    overrides: Overrides


def begin(session: Session, flags: Flags, source: Source, overrides: Overrides) -> Answer:
    """Check a plan, show it, have it confirmed, run it, follow it."""
    from orchestrator.cli.dialogue import Dialogue

    found = source.assess(overrides)
    dialogue = None
    if session.may_ask and flags.confirm is None:
        dialogue = Dialogue(session, flags, source, overrides, found)
        dialogue.mend()
        found, overrides = dialogue.found, dialogue.overrides
    if found.plan is None or found.errors:
        if dialogue is not None:
            raise dialogue.unsound()
        return Answer(data=check_data(found), error=PlanError(problems=found.errors))
    known = known_run(session, found.plan.name)
    if known is not None and known.digest == found.digest and not rows.is_over(known):
        if flags.confirm is not None:
            check_digest(session, flags, source, overrides, found)
        return launch(session, flags, known.name, None)
    refuse_beside_another(session, found.plan.name)
    _tell_of_left_behind(session)
    try:
        yes = _confirmed(session, flags, source, Yes(found=found, overrides=overrides), dialogue)
    except ConfirmationNeeded as error:
        return Answer(data=check_data(found), error=error)
    assert yes.found.plan is not None
    name = yes.found.plan.name
    known = known_run(session, name)
    if known is not None and known.digest == yes.found.digest and not rows.is_over(known):
        return launch(session, flags, name, None)
    return launch(session, flags, name, _submission(flags, source, yes))


def _tell_of_left_behind(session: Session) -> None:
    """Say which plans have landed work that was never published."""
    from orchestrator.cli.words import AMBER, cell, prose

    reader = ledger_or_none(session)
    for plan in rows.left_behind(rows.plans(reader) if reader is not None else []):
        command = session.command_line("publish", "--plan", plan.name)
        said = prose(f"What plan '{plan.name}' has landed is not on {plan.target} yet. To publish it:", style=AMBER)
        session.say(said, cell(f"  {command}"), talk=True)


def before_of(session: Session, found: Assessment) -> Plan | None:
    """The text of the same plan that is under way; None when there is none."""
    return None if found.plan is None else text_under_way(session, known_run(session, found.plan.name))


def _confirmed(session: Session, flags: Flags, source: Source, shown: Yes, dialogue: Dialogue | None) -> Yes:
    """What a person said yes to. Raises: ConfirmationNeeded when they did not."""
    from orchestrator.cli.assess_view import assessment_page

    yes = shown
    if dialogue is not None:
        yes = dialogue.run()
    else:  # nobody may be there to leave a pager
        with streams.perhaps_unheard():  # what was confirmed runs, whether or not anybody reads this again
            session.say(*assessment_page(shown.found, before=before_of(session, shown.found)))
    one_by_one = yes.found.verdict is Verdict.SEQUENTIAL and not flags.sequential
    if flags.confirm is not None:
        check_digest(session, flags, source, yes.overrides, yes.found)
    elif dialogue is None:
        raise ConfirmationNeeded(
            "nothing was started: a person has to confirm this plan first",
            why="there is nobody at a terminal to ask"
            + ("; and it can only run one by one, which needs a second yes" if one_by_one else ""),
            fix=command(session, flags, source, yes, sequential=one_by_one),
        )
    if one_by_one and not (dialogue is not None and dialogue.agrees_to_one_by_one()):
        raise ConfirmationNeeded(
            "nothing was started: this plan can only run one by one",
            why="no two of its tasks may run together, so agents in parallel would gain nothing",
            fix=f"say yes to that too: {command(session, flags, source, yes, sequential=True)}",
        )
    if dialogue is not None:
        said = command(session, flags, source, yes, sequential=one_by_one)
        session.say(f"the same without a question: {said}", talk=True)
    return yes


def check_digest(session: Session, flags: Flags, source: Source, overrides: Overrides, found: Assessment) -> None:
    """Raises: ConfirmationNeeded unless `--confirm` means this plan."""
    given = (flags.confirm or "").lower()
    if len(given) >= DIGEST_PREFIX and found.digest.startswith(given):
        return
    shown = Yes(found=found, overrides=overrides)
    if found.digest.startswith(given):
        raise ConfirmationNeeded(
            f"nothing was started: '{flags.confirm}' is too short to mean one plan",
            why=f"at least {DIGEST_PREFIX} digits of the digest are needed",
            fix=command(session, flags, source, shown, sequential=False),
        )
    looks_right = re.fullmatch(r"[0-9a-f]+", given) is not None
    raise ConfirmationNeeded(
        f"nothing was started: '{flags.confirm}' is not the digest of this plan",
        why="the plan, a prompt, a setting or a flag has changed since it was confirmed"
        if looks_right
        else "a digest is made of the digits 0-9 and a-f",
        fix=f"look at it again ({session.command_line(*source.check_words(overrides))}), "
        f"then: {command(session, flags, source, shown, sequential=False)}",
    )


def command(session: Session, flags: Flags, source: Source, shown: Yes, *, sequential: bool) -> str:
    """The exact command that confirms this plan."""
    more = [*flags.words(sequential=sequential), "--confirm", shown.found.digest]
    return session.command_line(*source.words(shown.overrides, *more))


def _submission(flags: Flags, source: Source, yes: Yes) -> SubmitPlan:
    from orchestrator.cli.act import person
    from orchestrator.wire import SubmitPlan

    path, overrides = source.submitted(yes.overrides)
    return SubmitPlan(
        path=str(path),
        digest=yes.found.digest,
        overrides=overrides,
        # Whoever came here said yes to one by one, by the flag or to the question.
        sequential=flags.sequential or yes.found.verdict is Verdict.SEQUENTIAL,
        by=person(),
    )
