"""The person's editor and pager: theirs are found and used, and what is not there is said."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from orchestrator.backends.foreground import edit, editor_command, page, pager_command
from orchestrator.model.errors import UsageError


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for PATH with a few programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("vi", "less", "code", "my pager"):
        (folder / name).write_text(f"#!{sys.executable}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("environ", "command"),
    [
        pytest.param({"VISUAL": "code --wait", "EDITOR": "vi"}, ["code", "--wait"], id="VISUAL first, with a flag"),
        pytest.param({"EDITOR": "code -w"}, ["code", "-w"], id="EDITOR"),
        pytest.param({"EDITOR": "'code' 'a b'"}, ["code", "a b"], id="quoted"),
        pytest.param({"VISUAL": " ", "EDITOR": ""}, ["vi"], id="empty ones do not count"),
        pytest.param({}, ["vi"], id="nothing named"),
        pytest.param({"VISUAL": "code", "EDITOR": "vi", "TERM": "dumb"}, ["vi"], id="a dumb terminal: no VISUAL"),
    ],
)
def test_the_editor_is_the_one_that_git_would_take(programs: Path, environ: dict[str, str], command: list[str]) -> None:
    assert editor_command({"TERM": "xterm", "PATH": str(programs), **environ}) == command


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        pytest.param({"EDITOR": "emacs -nw"}, "the editor 'emacs' cannot be started", id="not installed"),
        pytest.param({"EDITOR": "code 'x"}, "$EDITOR cannot be read", id="an open quotation"),
        pytest.param({"PATH": "/nowhere"}, "there is no editor to open", id="none at all"),
        pytest.param({"TERM": "dumb"}, "this terminal cannot show one", id="a dumb terminal"),
    ],
)
def test_a_missing_editor_is_said_with_what_to_do(programs: Path, environ: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as error:
        editor_command({"TERM": "xterm", "PATH": str(programs), **environ})
    assert said in str(error.value)
    assert error.value.fix


def test_a_file_with_spaces_and_umlauts_is_edited_as_one(tmp_path: Path) -> None:
    editor = tmp_path / "edit.py"
    editor.write_text("import sys; open(sys.argv[-1], 'a').write(sys.argv[1]); sys.exit(3)")
    file = tmp_path / "mein Plan für alle.yaml"
    file.write_text("a")
    status = edit(file, {**os.environ, "EDITOR": f"'{sys.executable}' '{editor}' added", "TERM": "xterm", "VISUAL": ""})
    assert status == 3
    assert file.read_text() == "aadded"


def test_ctrl_c_in_the_editor_is_the_editors(tmp_path: Path) -> None:
    editor = tmp_path / "edit.py"
    editor.write_text(
        "import os, signal, time\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
        "os.kill(os.getppid(), signal.SIGINT)\ntime.sleep(0.1)"
    )
    assert threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    environ = {**os.environ, "EDITOR": f"'{sys.executable}' '{editor}'", "TERM": "xterm", "VISUAL": ""}
    assert edit(tmp_path / "x", environ) == 0
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("pager", "command"),
    [
        pytest.param(None, ["less"], id="less where nothing is said"),
        pytest.param("'my pager' -x", ["my pager", "-x"], id="one's own"),
        pytest.param("cat", None, id="cat is none"),
        pytest.param("", None, id="empty is none"),
        pytest.param("most", None, id="not installed"),
        pytest.param("'open", None, id="cannot be read"),
    ],
)
def test_the_pager_is_the_one_that_is_wanted(programs: Path, pager: str | None, command: list[str] | None) -> None:
    environ = {"PATH": str(programs), **({"PAGER": pager} if pager is not None else {})}
    assert pager_command(environ) == command
    if command is None:
        assert page(b"text", environ) is False


@pytest.mark.parametrize(
    ("environ", "command"),
    [
        pytest.param({"GIT_PAGER": "'my pager' -x", "PAGER": "less"}, ["my pager", "-x"], id="git's own first"),
        pytest.param({"PAGER": "less"}, ["less"], id="else the person's"),
        pytest.param({"GIT_PAGER": "cat", "PAGER": "less"}, None, id="none for git"),
    ],
)
def test_what_git_would_page_is_paged_as_git_does_it(
    programs: Path, environ: dict[str, str], command: list[str] | None
) -> None:
    assert pager_command({"PATH": str(programs), **environ}, like_git=True) == command


def test_the_pager_gets_the_text_and_the_flags_of_git(tmp_path: Path) -> None:
    pager = tmp_path / "pager.py"
    pager.write_text(
        f"import os, sys; open({str(tmp_path / 'got')!r}, 'w').write(os.environ['LESS'] + sys.stdin.read())"
    )
    environ = {key: value for key, value in os.environ.items() if key != "LESS"}
    wanted = {**environ, "PAGER": f"'{sys.executable}' '{pager}'"}
    assert page("Größe\n".encode(), wanted, like_git=True) is True
    assert (tmp_path / "got").read_text() == "FRXGröße\n"
    assert page(b"", wanted) is True
    assert "q goes on" in (tmp_path / "got").read_text(), "a question may follow, and the answer is not for the pager"


def test_a_pager_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    assert page(b"x" * 10_000_000, {**os.environ, "PAGER": f"'{sys.executable}' -c pass"}) is True
