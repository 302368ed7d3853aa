"""Which settings of the user count for us, and what their filters mean wherever they run."""

from __future__ import annotations

import pytest

from orchestrator.core.gitformats import listed_settings
from orchestrator.core.gitsettings import (
    FilterFailure,
    anchored,
    batch_contents,
    commands_of,
    filter_failure,
    lfs_object_of,
    named_in,
    program_of,
    taken_settings,
    url_beside,
    without_filters,
)

OID = "0fc737bc97cdc8c5bce7215deac9d2004c91e4ca4d13e8fd7e4869fc7d8e5cce"
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize 8\n".encode()


def test_only_settings_on_the_list_are_taken_over() -> None:
    listed = listed_settings(
        b"core.autocrlf\ninput\0core.filemode\0core.fsmonitor\nevil\0core.hookspath\nevil\0core.sshcommand\nevil\0"
        b"core.pager\nevil\0core.editor\nevil\0core.alternaterefscommand\nevil\0alias.st\n!evil\0diff.external\nevil\0"
        b"diff.x.textconv\nevil\0diff.x.command\nevil\0diff.x.xfuncname\n^f\0gpg.program\nevil\0credential.helper\nevil\0"
        b"filter.x.clean\ntr a b\0filter.x.required\0filter.x.unknown\nevil\0filter..clean\nevil\0"
        b"filter.a.b.smudge\ncat\0"
        b"merge.ours.driver\ntrue\0merge.conflictstyle\nzdiff3\0merge.tool\nevil\0mergetool.x.cmd\nevil\0"
        b"submodule.a.url\nhttps://x/y\0submodule.b.url\n../y\0submodule.c.url\ngit@host:y\0submodule.c.update\n!evil\0"
        b"include.path\nevil\0url.evil.insteadof\nhttps\0remote.origin.url\nevil\0lfs.fetchexclude\n*.psd\0"
        b"lfs.customtransfer.x.path\nevil\0"
    )
    assert taken_settings(listed) == {
        "core.autocrlf": "input",
        "core.filemode": "true",
        "diff.x.xfuncname": "^f",
        "filter.x.clean": "tr a b",
        "filter.x.required": "true",
        "filter.a.b.smudge": "cat",
        "merge.ours.driver": "true",
        "merge.conflictstyle": "zdiff3",
        "submodule.a.url": "https://x/y",
        "submodule.c.url": "git@host:y",
        "lfs.fetchexclude": "*.psd",
    }


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        ("git-lfs clean -- %f", "git-lfs clean -- %f"),
        ("tr 'a-z' b-y", "tr 'a-z' b-y"),
        ("sed -e 's/a/b/' -e s/c/d/", "sed -e 's/a/b/' -e s/c/d/"),
        ("/usr/bin/x tools/strip.py", "/usr/bin/x /r/tools/strip.py"),
        ("tools/clean.sh %f", "/r/tools/clean.sh %f"),
        ("./not-there %f", "/r/not-there %f"),
        ("../above/x", "/r/../above/x"),
        ("strip.py", "/r/strip.py"),
        ("sh -c 'tools/clean.sh \"$1\"' x", "sh -c '/r/tools/clean.sh \"$1\"' x"),
        ("A=tools/clean.sh;$A", "A=/r/tools/clean.sh;$A"),
        ("~/bin/x tools", "~/bin/x tools"),
        ("tools", "tools"),
        ("python3 -m strip", "PYTHONSAFEPATH=1 python3 -m strip"),
        ('"/usr/bin/python3" -E -m nbstripout', 'PYTHONSAFEPATH=1 "/usr/bin/python3" -E -m nbstripout'),
        ("", ""),
    ],
)
def test_a_command_means_the_users_files_in_every_tree(command: str, meant: str) -> None:
    assert (
        anchored(command, "/r", {"tools/clean.sh", "tools/strip.py", "strip.py", "tools", "clean"}.__contains__)
        == meant
    )


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("git-lfs clean -- %f", "git-lfs"),
        ("'/a b/x' y", "/a b/x"),
        ('"/a b/x"', "/a b/x"),
        ("A=1 B=2 prog", "prog"),
        ("$HOME/x", ""),
        ("a|b", ""),
        ("", ""),
    ],
)
def test_program_of(command: str, program: str) -> None:
    assert program_of(command) == program


def test_what_attributes_name_is_found_in_every_form() -> None:
    named = named_in(
        [
            "*.bin filter=lfs diff=lfs merge=lfs -text\n# * filter=no\n[attr]sec filter=crypt\n",
            "x\tmerge=ours\ny merge=union",
        ]
    )
    assert (named.filters, named.merge_drivers) == ({"lfs", "crypt"}, {"ours"})


def test_the_long_running_form_of_a_filter_replaces_the_others() -> None:
    settings = {"filter.a.clean": "c", "filter.a.smudge": "s", "filter.b.clean": "c", "filter.b.process": "p"}
    assert commands_of(settings, "filter", "a") == ("c", "s")
    assert commands_of(settings, "filter", "b") == ("p",)
    assert commands_of(settings, "filter", "c") == ()
    assert without_filters({"filter.a.b.clean": "c", "core.eol": "lf"}) == {
        "filter.a.b.clean": "",
        "filter.a.b.smudge": "",
        "filter.a.b.process": "",
        "filter.a.b.required": "false",
    }


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (POINTER, OID),
        (POINTER.replace(b"size", b"x-ext y\nsize"), OID),
        (POINTER + b"x" * 1024, None),
        (b"text that mentions " + POINTER, None),
        (b"", None),
    ],
)
def test_a_pointer_names_its_object(content: bytes, name: str | None) -> None:
    assert lfs_object_of(content) == name


def test_a_batch_tells_contents_in_order_and_nothing_for_what_is_missing() -> None:
    assert batch_contents(b"1 blob 3\na\nb\n2 missing\n3 blob 0\n\n") == [b"a\nb", b"", b""]


@pytest.mark.parametrize(
    ("remote", "url", "whole"),
    [
        ("https://host/team/app.git", "../lib.git", "https://host/team/lib.git"),
        ("https://me:secret@host/team/app.git", "../../other/lib.git", "https://me@host/other/lib.git"),
        ("git@host:team/app.git", "../lib.git", "git@host:team/lib.git"),
        ("git@host:app.git", "../lib.git", "git@host:lib.git"),
        ("/srv/git/app", "./lib", "/srv/git/app/lib"),
        ("ssh://git@host:22/app", "../../lib", None),
        ("app", "..", None),
    ],
)
def test_a_relative_url_is_beside_the_remote(remote: str, url: str, whole: str | None) -> None:
    assert url_beside(remote, url) == whole


@pytest.mark.parametrize(
    ("said", "failure"),
    [
        ("x\nfatal: a/b c.bin: smudge filter lfs failed\n", FilterFailure(name="lfs", key="smudge", path="a/b c.bin")),
        ("fatal: c: clean filter 'x y' failed", FilterFailure(name="x y", key="clean", path="c")),
        ("fatal: something else", None),
    ],
)
def test_the_filter_that_failed_is_named(said: str, failure: FilterFailure | None) -> None:
    assert filter_failure(said) == failure
