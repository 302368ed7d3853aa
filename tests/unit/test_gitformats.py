"""What git prints is read back as it was meant, odd names and all."""

from __future__ import annotations

import pytest

from orchestrator.core.gitformats import (
    Checkout,
    alternates_line,
    bytes_of,
    checkouts,
    commit_text,
    config_text,
    conflict_text,
    directories_of,
    has_markers,
    hunks,
    identity_of,
    ignore_pattern,
    is_plain_ref,
    merge_result,
    packed_refs,
    packed_refs_text,
    shown,
    stashed,
    text_of,
    tree_entries,
    version_of,
)

ONE, TWO = "1" * 40, "2" * 40


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("git version 2.39.5", (2, 39)),
        ("git version 2.50.1 (Apple Git-155)", (2, 50)),
        ("git version 3.0.0.rc1", (3, 0)),
        ("no git", None),
    ],
)
def test_version_of(said: str, version: tuple[int, int] | None) -> None:
    assert version_of(said) == version


def test_a_name_of_any_bytes_survives_and_can_be_shown() -> None:
    assert bytes_of(text_of(b"a\xff\n\xc3\xbc")) == b"a\xff\n\xc3\xbc"
    assert shown(text_of(b"a\xff\xc3\xbc")) == "a\\xffü"


def test_a_tree_listing_keeps_tabs_and_newlines_in_names() -> None:
    (entry,) = tree_entries(f"160000 commit {ONE}\ta\tb\nc\0".encode())
    assert (entry.path, entry.object_id, entry.is_submodule) == ("a\tb\nc", ONE, True)
    assert directories_of(["a/b/c", "a/d", "e"]) == {"a", "a/b"}


def test_a_merge_answer_tells_tree_paths_and_messages() -> None:
    stages = "".join(f"100644 {TWO} {stage}\ta b\0" for stage in (1, 2, 3))
    messages = "1\0a b\0Auto-merging\0Auto-merging a b\n\0" + "2\0a b\0c\0CONFLICT (contents)\0CONFLICT in a b\n\0"
    result = merge_result(f"{ONE}\0{stages}\0{messages}".encode())
    assert (result.tree, result.conflicted) == (ONE, ("a b",))
    assert result.paths_of_kind("CONFLICT (contents)") == {"a b", "c"}
    assert conflict_text(result, [("a b", "@@")]) == "CONFLICT in a b\n\n--- a b\n@@"
    assert merge_result(f"{ONE}\0".encode()).conflicted == merge_result(f"{ONE}\0\0".encode()).conflicted == ()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"x\n<<<<<<< a\n1\n=======\n2\n>>>>>>> b\n", True),
        (b"<<<<<<< a\r\n1\r\n=======\r\n2\r\n>>>>>>> b\r\n", True),
        (b"Title\n=======\n", False),
        (b"<<<<<<< only one end\n", False),
        (b"  <<<<<<< quoted\n  >>>>>>> quoted\n", False),
    ],
)
def test_has_markers(content: bytes, expected: bool) -> None:
    assert has_markers(content) is expected


def test_hunks_show_each_place_once_with_its_surroundings() -> None:
    filler = [f"line {number}" for number in range(20)]
    place = ["<<<<<<< ours", "a", "=======", "b", ">>>>>>> theirs"]
    text = "\n".join([*filler, *place, *filler])
    told = hunks(text).splitlines()
    assert told[0] == "@@ line 18 @@"
    assert told[1:] == [*filler[17:], *place, *filler[:3]]


def test_a_long_conflict_is_cut_with_a_word_about_it() -> None:
    told = conflict_text(merge_result(f"{ONE}\0".encode()), [("a", "x\n" * 20_000)])
    assert len(told) < 16_100
    assert told.endswith("there is more)")


def test_worktrees_are_read_with_branch_bareness_and_blanks() -> None:
    data = (
        f"worktree /a b\0HEAD {ONE}\0branch refs/heads/x\0\0worktree /c\0bare\0\0worktree /d\0HEAD {ONE}\0detached\0\0"
    )
    assert checkouts(data.encode()) == (
        Checkout(path="/a b", branch="refs/heads/x"),
        Checkout(path="/c", is_bare=True),
        Checkout(path="/d"),
    )


def test_packed_references_are_written_as_they_are_read() -> None:
    refs = {"refs/tags/b": TWO, "refs/heads/a": ONE}
    assert packed_refs(packed_refs_text(refs)) == refs
    told = packed_refs(f"# header\n{ONE} refs/tags/v\n^{TWO}\n{TWO} ../../etc\nrubbish\n")
    assert told == {"refs/tags/v": ONE}


@pytest.mark.parametrize("name", ["HEAD", "refs/../config", "refs//x", "/refs/x", "refs", "refs/./x", ""])
def test_a_reference_leads_only_below_refs(name: str) -> None:
    assert not is_plain_ref(name)


def test_stash_entries_come_newest_first() -> None:
    assert stashed(f"{'0' * 40} {ONE} A <a> 1 +0000\tm\n{ONE} {TWO} A <a> 2 +0000\tm\n") == (TWO, ONE)


def test_a_configuration_cannot_be_broken_out_of() -> None:
    text = config_text({"user.name": 'A "B"\n[core]\n\tfsmonitor = evil\\', "submodule.a.b.url": "u"})
    assert text == ('[user]\n\tname = "A \\"B\\"\\n[core]\\n\\tfsmonitor = evil\\\\"\n[submodule "a.b"]\n\turl = "u"\n')


@pytest.mark.parametrize(
    ("ident", "identity"),
    [
        ("Ada Löve <a@x> 1700000000 +0100", ("Ada Löve", "a@x")),
        ("A <> 1 -0000", ("A", "")),
        ("nobody", None),
    ],
)
def test_identity_of(ident: str, identity: tuple[str, str] | None) -> None:
    assert identity_of(ident) == identity


@pytest.mark.parametrize(
    ("path", "pattern"),
    [(".env", "/.env"), ("a/b/", "/a/b"), ("w [x]* ", "/w \\[x\\]\\*\\ "), ("#x", "/#x"), ("!x", "/!x")],
)
def test_ignore_pattern(path: str, pattern: str) -> None:
    assert ignore_pattern(path) == pattern


def test_a_borrowed_store_with_an_odd_name_is_quoted() -> None:
    assert alternates_line("/plain path") == "/plain path\n"
    assert alternates_line('/new\n"line') == '"/new\\n\\"line"\n'


def test_trailers_are_the_last_paragraph_and_one_line_each() -> None:
    assert commit_text("Do it\n\nwhy\n", {"Task": "a\nb", "Token": "3"}) == "Do it\n\nwhy\n\nTask: a b\nToken: 3\n"
    assert commit_text(" x ", {}) == "x\n"
