"""`orchestrator`: parse, call, print. Every error becomes text and an exit code, or the JSON envelope, here."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from orchestrator import __version__
from orchestrator.cli import (
    bare,
    claim,
    config,
    conflicts,
    control,
    diff,
    doctor,
    events,
    fetch,
    inbox,
    init,
    logs,
    plan,
    plan_fmt,
    plan_new,
    report,
    run,
    start,
    status,
    streams,
    why,
    worktree,
)
from orchestrator.cli.session import Session, envelope
from orchestrator.cli.verb import ColorOption, DebugOption, JsonOption, take_common
from orchestrator.model.errors import ExitCode, OrchestratorError, UsageError

#: Every verb: the words to type, what it does in short, an example. In the order in which a newcomer needs them.
HELP: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "Set up",
        (
            ("init", "find checks and agents, ask, write orchestrator.toml", "init"),
            ("doctor", "what does not work on this machine, and how to mend it", "doctor"),
        ),
    ),
    (
        "Run a plan",
        (
            ("plan check", "find what is wrong with a plan, and what would collide", "plan check plans/auth.yaml"),
            ("plan show", "the same with every task in full", "plan show plans/auth.yaml"),
            ("plan graph", "what depends on what", "plan graph plans/auth.yaml --format mermaid"),
            ("plan new", "a first plan: asks, or a skeleton to fill in", "plan new plans/auth.yaml"),
            ("plan fmt", "one layout, comments kept; narrower files", "plan fmt --tighten plans/auth.yaml"),
            ("plan schema", "JSON Schema of plan files, for editors", "plan schema --output plan.schema.json"),
            ("start", "check, show, ask, run, follow", "start plans/auth.yaml"),
            ("run", "one task without a plan file", "run 'fix the login timeout' --files 'src/auth/**'"),
        ),
    ),
    (
        "Look",
        (
            ("status", "lanes, tasks, progress", "status api"),
            ("why", "what a task waits for, and who holds it", "why api"),
            ("logs", "what agents, checks and the daemon wrote", "logs api -f"),
            ("events", "everything that happened, one line each", "events -n 20"),
            ("diff", "what a task changed", "diff api --stat"),
            ("report", "what landed, what did not, what to do next", "report"),
        ),
    ),
    (
        "Decide",
        (
            ("inbox", "what waits for a person", "inbox"),
            ("inbox show", "one of them with its context", "inbox show i4"),
            ("answer", "choose", "answer i4 retry --text 'the fixture is in tests/data'"),
            ("conflicts", "what cannot be merged", "conflicts"),
            ("conflicts open", "a tree with the conflict in it, for you to resolve", "conflicts open api"),
            ("conflicts done", "it is resolved: take it through the gate", "conflicts done api"),
            ("conflicts abort", "give the tree back; what was done is kept", "conflicts abort api"),
            ("publish", "move the target branch to what has landed", "publish"),
            ("undo", "take back what a task landed, through the checks", "undo api --reason 'breaks the old clients'"),
        ),
    ),
    (
        "Steer",
        (
            ("pause", "start nothing more", "pause"),
            ("resume", "go on", "resume"),
            ("retry", "try a task again, with all counts at zero", "retry api"),
            ("cancel", "give a task up, or everything", "cancel api --reason 'not needed'"),
            ("stop", "end the daemon", "stop --detach"),
        ),
    ),
    (
        "Work beside it",
        (
            ("claim acquire", "claim a task and get its folder", "claim acquire api --as alice"),
            ("claim heartbeat", "show that you are still at it", "claim heartbeat api"),
            ("claim renew", "have the whole time of a claim again", "claim renew api"),
            ("claim finish", "hand it in, through the gate", "claim finish api --summary 'v2 answers'"),
            ("claim release", "give it back; what was done is kept", "claim release api"),
            ("claim list", "who holds what", "claim list"),
            ("claim status", "who holds a task, and for how long", "claim status api"),
            ("claim force-evict", "take a task away from its holder", "claim force-evict api --reason 'went home'"),
        ),
    ),
    (
        "Take and tidy",
        (
            ("fetch", "a branch of your own with a task's work", "fetch api --branch try-api"),
            ("open", "a shell or an editor in a task's tree", "open api --editor"),
            ("worktree list", "every tree on the disk, and why it is there", "worktree list"),
            ("worktree info", "what one of them holds", "worktree info api"),
            ("worktree prune", "what nobody works in goes, salvaged before", "worktree prune --older-than 7d"),
        ),
    ),
    ("Explain", (("config show", "every setting and where it comes from", "config show --origin"),)),
)


def _example(words: str) -> str:
    return next(f"Example: orchestrator {example}" for _, group in HELP for name, _, example in group if name == words)


class Program(TyperGroup):
    """The top level, with a help page of our own: it starts fast, and each verb comes with an example."""

    def get_help(self, ctx: Any) -> str:
        name = ctx.info_name
        lines = [
            f"usage: {name} [-C DIR] [--json] [--color auto|always|never] VERB ...",
            "",
            "Runs a work plan with many coding agents at once on one git repository and brings their work home safely.",
        ]
        width = max(len(verb) for _, group in HELP for verb, _, _ in group)
        for title, group in HELP:
            lines += ["", title]
            for verb, does, example in group:
                lines += [f"  {verb:<{width}}  {does}", f"  {'':<{width}}    {name} {example}"]
        lines += [
            "",
            "Options",
            "  -C DIR                as if typed in DIR",
            "  --json                answer as JSON, on every verb; never asks anything",
            "  --color WHEN          auto, always or never; NO_COLOR is respected",
            "  --version             print the version",
            "  --install-completion  complete verbs, tasks and options in this shell",
            "  --help                on every verb too",
            "",
            "Exit codes: 0 good, 1 some task did not land, 2 usage or plan error, 3 no daemon, 4 confirmation needed,",
            "            5 a person is needed, 6 refused, 7 nothing available, 70 our bug, 130 interrupted",
        ]
        return "\n".join(lines)


app = typer.Typer(
    name="orchestrator",
    cls=Program,
    add_completion=True,
    rich_markup_mode=None,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"orchestrator {__version__}")
        raise typer.Exit


@app.callback()
def top(
    context: typer.Context,
    directory: Annotated[Path | None, typer.Option("-C", metavar="DIR", help="As if typed in DIR.")] = None,
    json_: JsonOption = False,
    color_: ColorOption = None,
    debug_: DebugOption = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    session: Session = context.obj
    take_common(session, {"json_": json_, "color_": color_, "debug_": debug_})
    if directory is not None:
        if not directory.is_dir():
            raise UsageError(f"there is no folder '{directory}'", fix="give -C a folder of the repository")
        session.directory = directory.absolute()
    if context.invoked_subcommand is None:
        session.command = "status"
        raise typer.Exit(session.show(bare.bare(session)))


def _add(to: typer.Typer, words: str, run: Callable[..., None]) -> None:
    to.command(words.rsplit(maxsplit=1)[-1], epilog=_example(words))(run)


def _group(name: str, text: str, *, run: Callable[..., None] | None = None, example: str = "") -> typer.Typer:
    """A verb with verbs below it.

    Args:
        run: what it does alone; None: it shows its help, with the example of the verb below it that is named.
    """
    group = typer.Typer(
        name=name,
        help=text,
        epilog=_example(example or name),
        rich_markup_mode=None,
        no_args_is_help=run is None,
    )
    if run is not None:
        group.callback(invoke_without_command=True, epilog=_example(name))(run)
    app.add_typer(group)
    return group


_add(app, "init", init.init)
_add(app, "doctor", doctor.doctor)
_add(app, "start", start.start)
_add(app, "run", run.run)
_plan = _group("plan", "What a plan says, before anything runs.", example="plan check")
_add(_plan, "plan check", plan.check)
_add(_plan, "plan show", plan.show)
_add(_plan, "plan graph", plan.graph)
_add(_plan, "plan new", plan_new.new)
_add(_plan, "plan fmt", plan_fmt.fmt)
_add(_plan, "plan schema", plan.schema)
_add(app, "status", status.status)
_add(app, "why", why.why)
_add(app, "logs", logs.logs)
_add(app, "events", events.events)
_add(app, "diff", diff.diff)
_add(app, "report", report.report)
_inbox = _group("inbox", "What waits for a person.", run=inbox.inbox)
_add(_inbox, "inbox show", inbox.show)
_add(app, "answer", inbox.answer)
_conflicts = _group("conflicts", "What cannot be merged, and who resolves it.", run=conflicts.conflicts)
_add(_conflicts, "conflicts open", conflicts.open_)
_add(_conflicts, "conflicts done", conflicts.done)
_add(_conflicts, "conflicts abort", conflicts.abort)
_claim = _group("claim", "Tasks for agents, or people, that you start by hand.", example="claim acquire")
_add(_claim, "claim acquire", claim.acquire)
_add(_claim, "claim heartbeat", claim.heartbeat)
_add(_claim, "claim renew", claim.renew)
_add(_claim, "claim finish", claim.finish)
_add(_claim, "claim release", claim.release)
_add(_claim, "claim list", claim.list_)
_add(_claim, "claim status", claim.status)
_add(_claim, "claim force-evict", claim.force_evict)
_add(app, "pause", control.pause)
_add(app, "resume", control.resume)
_add(app, "cancel", control.cancel)
_add(app, "retry", control.retry)
_add(app, "publish", control.publish)
_add(app, "undo", control.undo)
_add(app, "stop", control.stop)
_add(app, "fetch", fetch.fetch)
_add(app, "open", fetch.open_)
_worktree = _group("worktree", "What is on the disk, what it holds, what may go.", example="worktree list")
_add(_worktree, "worktree list", worktree.list_)
_add(_worktree, "worktree info", worktree.info)
_add(_worktree, "worktree prune", worktree.prune)
_config = _group("config", "The settings in force.", example="config show")
_add(_config, "config show", config.show)


def main(arguments: Sequence[str] | None = None, *, session: Session | None = None) -> int:
    """Run one command. Returns: its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    session = session or Session()
    if os.path.basename(sys.argv[0]) == "orch":
        session.program = "orch"
    streams.open_closed()
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        # What agents write, and what people type, can hold characters that the terminal's encoding does not have.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        return _run(given, session)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return ExitCode.INTERRUPTED
    except SystemExit as end:
        if not streams.is_unread(end):
            raise
        return ExitCode.OK
    except Exception as error:
        if isinstance(error, OSError) and streams.is_lost(sys.stdout):
            return _unheard(error, session)
        return _our_bug(error, session, given)
    finally:
        session.close()
        for stream in (sys.stdout, sys.stderr):
            streams.give_up(stream)


def _unheard(error: OSError, session: Session) -> int:
    """The disk behind our output is full, or the terminal was closed."""
    session.json = False
    said = OrchestratorError(
        "the output could not be written",
        why=error.strerror or str(error),
        fix="make room there, or let the output go to another place; what was done is done",
    )
    with suppress(OSError):
        session.complain(said)
    return said.exit_code


def _run(given: list[str], session: Session) -> int:
    command = typer.main.get_command(app)
    try:
        code = command.main(given, prog_name=session.program, standalone_mode=False, obj=session)
    except OrchestratorError as error:
        session.json |= "--json" in given  # it may stand behind what was wrong
        return session.fail(error)
    except TyperException as error:
        session.json |= "--json" in given
        return session.fail(_usage(error, session))
    except typer.Abort:
        sys.stderr.write("\ninterrupted\n")  # Ctrl-C leaves the cursor behind a question
        return ExitCode.INTERRUPTED
    return code if isinstance(code, int) else ExitCode.OK


def _usage(error: TyperException, session: Session) -> OrchestratorError:
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else session.program
    message = error.format_message().rstrip(".")
    if not message or type(error).__name__ == "NoArgsIsHelpError":
        message = f"'{where}' needs to know what to do"
    session.command = " ".join(where.split()[1:])
    return UsageError(message[0].lower() + message[1:], fix=f"see what it takes: {where} --help")


def _our_bug(error: Exception, session: Session, given: list[str]) -> int:
    session.json |= "--json" in given
    if session.debug or "--debug" in given:
        traceback.print_exc()
    last = traceback.extract_tb(error.__traceback__)[-1]
    said = OrchestratorError(
        f"this is a bug in orchestrator: {type(error).__name__}: {error}",
        why=f"it happened at {os.path.basename(last.filename)}:{last.lineno}",
        fix="run the same with --debug and report what it prints",
    )
    said.code = "bug"
    said.exit_code = ExitCode.BUG
    if session.json:
        session.print_json(envelope(session.command, None, said))
    else:
        sys.stderr.write(f"{said}\n")
    return ExitCode.BUG


if __name__ == "__main__":
    sys.exit(main())
