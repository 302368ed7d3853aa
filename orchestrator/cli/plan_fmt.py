"""`plan fmt`: a plan laid out in its one form, comments kept; with `--tighten`, with narrower `files`."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.session import Answer, Session
from orchestrator.cli.verb import verb
from orchestrator.model.errors import ExitCode, OrchestratorError, PlanError, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestrator.core.planfile import Draft
    from orchestrator.core.tighten import Proposal


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A plan file as it is and as it should be."""

    name: str  #: as typed
    path: Path
    data: bytes
    draft: Draft
    new: str
    proposals: tuple[Proposal, ...] = ()

    @property
    def differs(self) -> bool:
        return self.new.encode() != self.data


class NotLaidOut(OrchestratorError):
    """`--check` found files that would change."""

    code = "not_laid_out"
    exit_code = ExitCode.NOT_ALL_LANDED


@verb
def fmt(
    session: Session,
    plans: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PLAN",
            help="Plan files; `-` for a plan on standard input. Default: those in plans/.",
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 1 when something would change.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Show what would change, and change nothing.")] = False,
    tighten: Annotated[
        bool, typer.Option("--tighten", help="Propose narrower `files` from what past attempts changed, and ask.")
    ] = False,
    write: Annotated[bool, typer.Option("--write", help="With --tighten: take the proposals without asking.")] = False,
) -> Answer:
    """Lay plans out in one form: order of keys, indentation, quotes. Comments stay, and so does what the plan says."""
    if write and (check or diff):
        raise UsageError("--write changes files, and --check and --diff do not", fix="choose one of them")
    if write and not tighten:
        raise UsageError("--write goes with --tighten", fix="without --tighten files are written anyway")
    typed = plans or _own_plans(session)
    if "-" in map(str, typed):
        return _filter(session, typed, tighten=tighten)
    pages = [_page(session, one, tighten=tighten) for one in typed]
    broken = tuple(problem for page in pages for problem in page.draft.problems if not problem.warning)
    if broken:
        raise PlanError(problems=broken)
    takes = not (check or diff)
    if tighten and takes:
        takes = write or _agrees(session, pages)
    written = []
    for page in pages if takes else ():
        if page.differs:
            session.world().save_text(page.path, page.new, instead_of=page.data)
            written.append(page.name)
    data = {"plans": [_data(page, page.name in written) for page in pages]}
    asked = tighten and not (write or check or diff) and session.may_ask
    error = _would_change(session, pages) if check else None
    return Answer(
        data=data,
        page=lambda: _shown(session, pages, written, diff=diff, tighten=tighten and not asked, check=check),
        error=error,
    )


def _own_plans(session: Session) -> list[Path]:
    from orchestrator.cli.status import plan_files

    found = [Path(name) for name in plan_files(session)]
    if not found:
        raise UsageError("there is no plan file in plans/", fix=session.command_line("plan", "fmt", "PLAN"))
    return found


def _filter(session: Session, typed: Sequence[Path], *, tighten: bool) -> Answer:
    """From standard input to standard output, for editors."""
    from orchestrator.core.planfile import parse_plan

    if len(typed) > 1 or tighten:
        raise UsageError("`-` stands for one plan on standard input", fix=session.command_line("plan", "fmt", "-"))
    data = sys.stdin.buffer.read()
    draft = parse_plan(data, file="standard input")
    if draft.problems:
        raise PlanError(problems=draft.problems)
    new = _new_text(data, draft, {})
    if not session.json:
        sys.stdout.write(new)
    return Answer(data={"text": new})


def _page(session: Session, typed: Path, *, tighten: bool) -> Page:
    from orchestrator.core.planfile import parse_plan

    path = session.path(typed)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read the plan file {typed}", why=error.strerror or str(error), fix="check the path"
        ) from error
    draft = parse_plan(data, file=str(typed))
    if draft.problems:
        return Page(name=str(typed), path=path, data=data, draft=draft, new=data.decode())
    found = tuple(session.world().tighter_files(session.place(), draft)) if tighten else ()
    wanted = {one.task: one.new for one in found if one.new is not None}
    return Page(name=str(typed), path=path, data=data, draft=draft, new=_new_text(data, draft, wanted), proposals=found)


def _new_text(data: bytes, draft: Draft, files: dict[str, tuple[str, ...]]) -> str:
    """The text in its one form. Raises: OrchestratorError when it would not say the same, which is a bug of ours."""
    from orchestrator.core.planfile import parse_plan
    from orchestrator.core.planlayout import laid_out
    from orchestrator.core.planlines import comments_of
    from orchestrator.core.plansame import says_the_same

    new = laid_out(data.decode(), files)
    try:
        same = says_the_same(draft, parse_plan(new, file=draft.file), but_files_of=files)
    except PlanError:
        same = False
    if not same or comments_of(new) != comments_of(data.decode()):
        raise OurMistake(
            f"{draft.file} was left as it is",
            why="laid out anew it would not say the same, or lose a comment, which is a bug in orchestrator",
            fix="report it with the file",
        )
    return new


class OurMistake(OrchestratorError):
    code = "bug"
    exit_code = ExitCode.BUG


def _agrees(session: Session, pages: Sequence[Page]) -> bool:
    """Show the proposals and ask; False when there is nobody to ask, or nothing to say yes to."""
    if not session.may_ask or not any(one.new for page in pages for one in page.proposals):
        return False
    for page in pages:
        session.say(*_proposal_rows(page))
    return session.question("Write these into the plan? [y]es / [N]o: ").lower() in {"y", "yes"}


def _would_change(session: Session, pages: Sequence[Page]) -> NotLaidOut | None:
    names = [page.name for page in pages if page.differs]
    if not names:
        return None
    return NotLaidOut(
        f"{', '.join(names)} would change",
        why="the layout is not the one that `plan fmt` writes",
        fix=session.command_line("plan", "fmt", *names),
    )


def _data(page: Page, written: bool) -> dict[str, Any]:
    data: dict[str, Any] = {"path": page.name, "changed": page.differs, "written": written, "diff": _diff(page)}
    if page.proposals:
        data["files"] = [
            {"task": one.task, "old": one.old, "new": one.new, "changed": one.changed, "why_not": one.why_not}
            for one in page.proposals
        ]
    return data


def _diff(page: Page) -> str:
    rows = difflib.unified_diff(page.data.decode().splitlines(), page.new.splitlines(), page.name, page.name, "", "")
    return "\n".join(row.rstrip("\n") for row in rows)


def _shown(
    session: Session, pages: Sequence[Page], written: Sequence[str], *, diff: bool, tighten: bool, check: bool
) -> Iterable[RenderableType]:
    from orchestrator.cli.words import cell

    for page in pages:
        if tighten:
            yield from _proposal_rows(page)
        if diff:
            for row in _diff(page).splitlines():
                yield cell(row, "green" if row.startswith("+") else "red" if row.startswith("-") else "")
        elif page.name in written:
            yield cell(f"{page.name}: written")
        elif not page.differs:
            yield cell(f"{page.name}: nothing to change")
        elif not check:
            yield cell(f"{page.name}: left as it is")
    if tighten and not written and not check and not diff and any(one.new for p in pages for one in p.proposals):
        names = [page.name for page in pages]
        yield cell(f"Take them: {session.command_line('plan', 'fmt', '--tighten', '--write', *names)}")


def _proposal_rows(page: Page) -> Iterable[RenderableType]:
    from orchestrator.cli.words import cell, counted, line

    yield cell(page.name, "bold")
    for one in page.proposals:
        if one.new is None:
            yield line("  ", cell(one.task, "bold"), cell(f"  nothing to propose: {one.why_not}", "dim"))
            continue
        old = ", ".join(one.old) if one.old is not None else "the whole repository"
        yield line("  ", cell(one.task, "bold"), cell(f"  from {counted(one.changed, 'changed path')}", "dim"))
        yield line("    ", cell(f"- {old}", "red"))
        yield line("    ", cell(f"+ {', '.join(one.new)}", "green"))
