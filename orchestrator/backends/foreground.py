"""Programs of the person's own, run on their terminal while we wait: editor, pager, shell."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.model.errors import UsageError

EDITORS = ("vi", "nano")  #: tried when nobody named one
PAGER = "less"
#: For less, as git does it: end at once when all fits on the screen, show colours, leave the text there.
LESS = "FRX"
#: The same, with a prompt that says how to go on: a question may come after the page.
LESS_OF_OURS = f"-{LESS} -Psspace shows more, q goes on$"


def editor_command(environ: Mapping[str, str]) -> list[str]:
    """The editor a person wants, as git would choose it, without its own settings.

    Raises: UsageError when none is named and none found, or when the one that is named cannot be used.
    """
    is_dumb = environ.get("TERM", "dumb") == "dumb"
    named = [name for name in (() if is_dumb else ("VISUAL",)) + ("EDITOR",) if environ.get(name, "").strip()]
    fix = "name one: export EDITOR=nano; or edit the file yourself"
    if named:
        return _command(environ[named[0]], f"${named[0]}", environ, fix)
    found = next((name for name in EDITORS if shutil.which(name, path=environ.get("PATH"))), None)
    if found is None or is_dumb:
        why = "this terminal cannot show one" if is_dumb else f"neither {' nor '.join(EDITORS)} is installed"
        raise UsageError("there is no editor to open", why=f"$VISUAL and $EDITOR are not set, and {why}", fix=fix)
    return [found]


def _command(text: str, origin: str, environ: Mapping[str, str], fix: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{origin} cannot be read: {text}", why=str(error), fix="close the quotation") from error
    if not words or shutil.which(words[0], path=environ.get("PATH")) is None:
        program = words[0] if words else text
        raise UsageError(
            f"the editor '{program}' cannot be started", why=f"{origin} names it, and it is not found", fix=fix
        )
    return words


def edit(path: Path, environ: Mapping[str, str]) -> int:
    """Open a file in the person's editor and wait for its end. Returns: its exit status.

    Raises: UsageError when there is no editor that can be started.
    """
    return run([*editor_command(environ), str(path)], environ=environ)


def pager_command(environ: Mapping[str, str], *, like_git: bool = False) -> list[str] | None:
    """The pager a person wants, `like_git` the one for git; None when text should just be printed."""
    named = environ.get("GIT_PAGER") if like_git else None
    try:
        words = shlex.split(environ.get("PAGER", PAGER) if named is None else named)
    except ValueError:
        return None
    if not words or words == ["cat"] or shutil.which(words[0], path=environ.get("PATH")) is None:
        return None
    return words


def page(text: bytes, environ: Mapping[str, str], *, like_git: bool = False) -> bool:
    """Show a text in the person's pager. Returns: False when there is none, and nothing was shown."""
    command = pager_command(environ, like_git=like_git)
    if command is None:
        return False
    try:
        run(command, environ={"LESS": LESS if like_git else LESS_OF_OURS, "LV": "-c", **environ}, stdin=text)
    except UsageError:
        return False
    return True


def run(argv: Sequence[str], *, environ: Mapping[str, str], cwd: str | None = None, stdin: bytes | None = None) -> int:
    """Run a program on the terminal of this process, to its end. Returns: its exit status.

    Args:
        stdin: what it reads; None: the terminal.

    Raises: UsageError when it cannot be started.
    """
    with _deaf_to_ctrl_c():
        try:
            process = subprocess.Popen(
                argv, cwd=cwd, env=dict(environ), stdin=None if stdin is None else subprocess.PIPE
            )
        except OSError as error:
            raise UsageError(
                f"'{argv[0]}' cannot be started", why=error.strerror or str(error), fix="name another program"
            ) from error
        if stdin is not None:
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # they have seen enough
                process.stdin.write(stdin)
            with suppress(BrokenPipeError):
                process.stdin.close()
        return process.wait()


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Ctrl-C is for the program in front, which decides itself what it means."""
    # A handler, not SIG_IGN: the program would inherit that one.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
