"""Overlap is decided exactly: no pair missed, none invented, and every witness holds."""

from __future__ import annotations

import itertools
import unicodedata
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core import exclusion, overlap, patterns
from orchestrator.core.overlap import Meeting, TooManyPairs, covers, overlapping_pairs, reading_pairs, witness
from orchestrator.model.ids import TaskId
from orchestrator.model.plan import EVERYTHING, NOTHING, FileSet, RetryPolicy, Task

RETRY = RetryPolicy(retries=3, waits=(timedelta(minutes=1),))


def files(*texts: str) -> FileSet:
    return FileSet(
        include=tuple(text for text in texts if not text.startswith("!")),
        exclude=tuple(text[1:] for text in texts if text.startswith("!")),
    )


def a_task(name: str, files: FileSet, *, uses: tuple[str, ...] = (), reads: FileSet = NOTHING) -> Task:
    return Task(id=TaskId(name), title=name, prompt="do it", files=files, reads=reads, uses=uses, retry=RETRY)


def never(_a: TaskId, _b: TaskId) -> bool:
    return False


# ---- an independent reading of the rules, slow and plain ----


def matches_name(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "*":
        return matches_name(pattern[1:], name) or (bool(name) and matches_name(pattern, name[1:]))
    if not name:
        return False
    if pattern[0] == "?":
        return matches_name(pattern[1:], name[1:])
    if pattern[0] == "[":
        end = pattern.index("]", 3 if pattern[1] in "!^" else 2)
        body, negated = (pattern[2:end], True) if pattern[1] in "!^" else (pattern[1:end], False)
        return (name[0] in body) != negated and matches_name(pattern[end + 1 :], name[1:])
    return pattern[0] == name[0] and matches_name(pattern[1:], name[1:])


def matches_path(pattern: list[str], path: list[str]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        return matches_path(pattern[1:], path) or (bool(path) and matches_path(pattern, path[1:]))
    return bool(path) and matches_name(pattern[0], path[0]) and matches_path(pattern[1:], path[1:])


def plainly(text: str, path: str) -> bool:
    fold = unicodedata.normalize("NFC", path).lower()
    return matches_path(unicodedata.normalize("NFC", text).lower().split("/"), fold.split("/"))


def belongs(files: FileSet, path: str) -> bool:
    included = any(plainly(text, path) for text in files.include)
    return included and not any(plainly(text, path) for text in files.exclude)


def lies_below(upper: FileSet, lower: FileSet, path: str) -> bool:
    """Whether `upper` has a file that would have to be a directory for this path of `lower`."""
    for text in upper.include:
        depth = len(text.split("/"))
        if any(sign in text for sign in "*?[") or not belongs(upper, text):
            continue
        for other in lower.include:
            names = other.lower().split("/")
            if names[:depth] == text.lower().split("/") and len(names) > depth and plainly(other, path):
                # `name/**` covers the name itself, so the two meet there and nothing has to be below
                return belongs(lower, path)
    return False


def shows_it(a: FileSet, b: FileSet, path: str) -> bool:
    return (belongs(a, path) and belongs(b, path)) or lies_below(a, b, path) or lies_below(b, a, path)


LETTERS = "ab."
PATHS = [
    path
    for length in range(1, 6)
    for path in map("".join, itertools.product(LETTERS + "/", repeat=length))
    if all(name not in ("", ".", "..") for name in path.split("/"))
]

names = st.one_of(
    st.just("**"),
    st.lists(st.sampled_from(["a", "b", "A", ".", "*", "?", "[ab]", "[!a]", "[^.b]"]), min_size=1, max_size=3)
    .map("".join)
    .filter(lambda text: text not in (".", "..", "**")),
)
texts = st.lists(names, min_size=1, max_size=3).map("/".join)
sets = st.builds(
    lambda include, exclude: FileSet(include=tuple(include), exclude=tuple(exclude)),
    st.lists(texts, max_size=2),
    st.lists(texts, max_size=2),
)
plain_sets = st.lists(texts, max_size=3).map(lambda include: FileSet(include=tuple(include)))


# ---- two sets ----


@pytest.mark.parametrize(
    ("a", "b", "path"),
    [
        pytest.param(["src/*/models.py"], ["src/core/**"], "src/core/models.py", id="a star against a subtree"),
        pytest.param(["src/a*.py"], ["src/*b.py"], "src/ab.py", id="two stars in one name"),
        pytest.param(["src/a.py", "src/b.py"], ["src/a.py"], "src/a.py", id="the same file among others"),
        pytest.param(["src/A.py"], ["src/a.py"], "src/A.py", id="case does not keep files apart"),
        pytest.param(["u\u0308.py"], ["\u00fc.py"], "u\u0308.py", id="composed and decomposed letters are one"),
        pytest.param(["Straße"], ["STRASSE"], "strasse", id="a letter that two capitals stand for"),
        pytest.param(["stra?e"], ["straße"], "straße", id="a question mark is one letter however it folds"),
        pytest.param(["[A-C]x"], ["bx"], "bx", id="a class of capitals"),
        pytest.param(["**"], ["src/x.py"], "src/x.py", id="everything against a file"),
        pytest.param(["**"], ["**"], "a", id="everything against everything"),
        pytest.param(["src/**"], ["src/**"], "src/a", id="a subtree against itself"),
        pytest.param(["src/**"], ["src"], "src", id="a subtree covers its own root"),
        pytest.param(["docs/**"], ["**/*.md"], "docs/a.md", id="a subtree against files anywhere"),
        pytest.param(["src/api"], ["src/api/x.py"], "src/api/x.py", id="a file against something below it"),
        pytest.param(["src/api"], ["src/api/*.py"], "src/api/a.py", id="a file against a pattern below it"),
        pytest.param(["src/api"], ["src/api/v1/**"], "src/api/v1/a", id="a file against a subtree below it"),
        pytest.param([".*"], ["*"], ".a", id="a lone full stop is no name"),
        pytest.param([".*"], ["*."], ".a.", id="nor is one that two patterns share"),
        pytest.param(["a*/**", "!a*", "!**/a"], ["**"], "a/b", id="below what is excluded alone"),
        pytest.param(["test_*.py"], ["*.py"], "test_a.py", id="a name that a person would write"),
        pytest.param(["src/**", "!src/core/**"], ["src/**"], "src/a", id="what is left beside an exclusion"),
        pytest.param(["src/**", "!src/a"], ["src/*"], "src/b", id="another letter than the excluded one"),
        pytest.param(["**/*.py", "!**/test_*.py"], ["**/*t*.py"], "ata.py", id="an exclusion with wildcards"),
        pytest.param(["**", "!a*/**", "!**/b/**"], ["*/*"], "c/a", id="several exclusions"),
        pytest.param(["a/b"], ["a/**", "!a/b"], None, id="a file that the other excludes"),
        pytest.param(["a/b"], ["a/b/**", "!a/b"], "a/b/a", id="a file against a subtree without its root"),
        pytest.param(["a/b", "!a/*"], ["a/b/c"], None, id="a file that its own set excludes has nothing below it"),
        pytest.param(["a/b"], ["a/b/*", "!a/b/a"], "a/b/b", id="below a file, beside an exclusion"),
        pytest.param(["src/**", "!src/core/**"], ["src/core/x.py"], None, id="inside an exclusion"),
        pytest.param(["src/**", "!SRC/Core/**"], ["src/core/x.py"], None, id="exclusions fold too"),
        pytest.param(["**/*.py", "!**/test_*.py"], ["**/test_*.py"], None, id="exactly the excluded names"),
        pytest.param(["src/**", "!src/**"], ["**"], None, id="a set that excludes itself"),
        pytest.param(["src/api"], ["src/api2/**"], None, id="a longer name is another name"),
        pytest.param(["a.py"], ["**/*.md"], None, id="a file is no directory for patterns that start elsewhere"),
        pytest.param(["src/*.py"], ["src/core/*.py"], None, id="a star stays inside its segment"),
        pytest.param(["src/[ab].py"], ["src/[!ab].py"], None, id="a class and its complement"),
        pytest.param(["src/?.py"], ["src/ab.py"], None, id="one letter is not two"),
        pytest.param(["[.]"], ["*"], None, id="a pattern that no name matches"),
        pytest.param(["[b-a]"], ["**"], None, id="an empty class"),
        pytest.param([], ["**"], None, id="nothing against everything"),
        pytest.param([], [], None, id="nothing against nothing"),
    ],
)
def test_two_sets_meet_in(a: list[str], b: list[str], path: str | None) -> None:
    expected = None if path is None else Meeting(path=path)
    assert witness(files(*a), files(*b)) == expected
    assert (witness(files(*b), files(*a)) is None) == (path is None)


@settings(max_examples=250, deadline=None)
@given(a=sets, b=sets)
def test_no_overlap_is_missed_and_none_invented(a: FileSet, b: FileSet) -> None:
    meeting = witness(a, b)
    if meeting is None:
        assert not [path for path in PATHS if shows_it(a, b, path)]
    else:
        assert meeting.certain
        assert shows_it(a, b, meeting.path), meeting


@settings(max_examples=100, deadline=None)
@given(a=plain_sets, b=plain_sets)
def test_without_exclusions_both_ways_of_searching_agree(a: FileSet, b: FileSet) -> None:
    """The fast search over segments against the thorough one over characters."""
    one, other = [tuple(map(patterns.parse, one.include)) for one in (a, b)]
    thorough = exclusion.path_outside(one, other, ())
    fast = witness(a, b)
    if thorough is not None:
        assert fast is not None
        assert belongs(a, thorough)
        assert belongs(b, thorough)
    elif fast is not None:
        assert lies_below(a, b, fast.path) or lies_below(b, a, fast.path)


@settings(max_examples=100, deadline=None)
@given(a=sets, path=st.sampled_from(PATHS))
def test_membership_follows_the_rules(a: FileSet, path: str) -> None:
    assert covers(a, path, fold=True) == belongs(a, path)
    assert covers(a, path.upper(), fold=True) == belongs(a, path)
    if covers(a, path.upper()):
        assert covers(a, path.upper(), fold=True)


@pytest.mark.parametrize(
    ("listed", "path", "exactly", "folded"),
    [
        pytest.param(["src/a.py"], "src/a.py", True, True, id="the file itself"),
        pytest.param(["src/a.py"], "src/A.py", False, True, id="another case"),
        pytest.param(["src/*.py"], "SRC/a.py", False, True, id="another case under a pattern"),
        pytest.param(["src/[A-C]*"], "src/Bx", True, True, id="a class of capitals"),
        pytest.param(["src/[A-C]*"], "src/bx", False, True, id="a class of capitals and a small letter"),
        pytest.param(["u\u0308"], "\u00fc", True, True, id="composed or not"),
        pytest.param(["src/**"], "src", True, True, id="the root of a subtree"),
        pytest.param(["src/**"], "src/a/b", True, True, id="deep in a subtree"),
        pytest.param(["src/**"], "src2/a", False, False, id="a longer name"),
        pytest.param(["**/a/**/b"], "x/a/b", True, True, id="stars that stand for no segment"),
        pytest.param(["src/**", "!src/core/**"], "src/core/x", False, False, id="excluded"),
        pytest.param(["src/**", "!src/core/**"], "src/Core/x", False, False, id="excluded in another case"),
        pytest.param(["src/a"], "src/a/b", False, False, id="below a file"),
        pytest.param([], "a", False, False, id="nothing"),
        pytest.param(["**"], "a\nb", True, True, id="a name with a line break"),
    ],
)
def test_a_set_covers(listed: list[str], path: str, exactly: bool, folded: bool) -> None:
    assert (covers(files(*listed), path), covers(files(*listed), path, fold=True)) == (exactly, folded)


def test_many_stars_are_matched_without_trying_every_place() -> None:
    name = "a" * 400
    assert covers(files("*a" * 30 + "*b"), name + "b")
    assert not covers(files("*a" * 30 + "*b"), name)
    assert not covers(files("**/a/" * 12 + "b"), "/".join(name))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param(
            ["**/*a" + "?" * 24 + "x"],
            ["**/*", "!**/*b" + "?" * 24 + "x", "!**/*a*", "!**/*c" + "?" * 22 + "x"],
            id="sets of places without measure",
        ),
        pytest.param(["*a" * 128 + "b"], ["a*" * 128 + "c"], id="a name of many stars"),
    ],
)
def test_a_search_without_end_says_that_it_is_not_certain(
    a: list[str], b: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exclusion, "STEP_LIMIT", 500)
    monkeypatch.setattr(patterns, "SEGMENT_LIMIT", 500)
    witness.cache_clear()
    patterns.common_name.cache_clear()
    meeting = witness(files(*a), files(*b))
    assert meeting is not None
    assert not meeting.certain
    pair = overlapping_pairs([a_task("one", files(*a)), a_task("two", files(*b))], {}, ordered=never)
    assert [(one.certain, one.ordered) for one in pair] == [(False, False)]


# ---- all pairs ----


@settings(max_examples=150, deadline=None)
@given(every=st.lists(st.one_of(sets, plain_sets, st.just(EVERYTHING)), max_size=6))
def test_the_index_finds_the_pairs_that_comparing_all_finds(every: list[FileSet]) -> None:
    tasks = [a_task(f"t{index}", one) for index, one in enumerate(every)]
    found = overlapping_pairs(tasks, {}, ordered=never)
    pairs = [(a.id, b.id) for a, b in itertools.combinations(tasks, 2) if witness(a.files, b.files) is not None]
    assert [one.tasks for one in found] == pairs
    by_id = {task.id: task for task in tasks}
    for one in found:
        assert shows_it(*(by_id[name].files for name in one.tasks), one.witness)


def test_a_pair_is_listed_once_in_plan_order_with_what_it_shares() -> None:
    tasks = [
        a_task("c", files("src/a.py", "src/b.py"), uses=("db", "mail")),
        a_task("b", files("src/**"), uses=("db",)),
        a_task("a", files("docs/x.md"), uses=("db", "db")),
        a_task("d", files("lib/x.py"), uses=("DB", "pool")),
        a_task("e", NOTHING, uses=("pool",)),
    ]

    def ordered(a: TaskId, b: TaskId) -> bool:
        return {a, b} == {"a", "b"}

    found = overlapping_pairs(tasks, {"mail": 1, "pool": 2}, ordered=ordered)
    assert [(one.tasks, one.witness, one.shared, one.ordered) for one in found] == [
        (("c", "b"), "src/a.py", False, False),
        (("c", "a"), "db", True, False),
        (("b", "a"), "db", True, True),
    ]


def test_a_task_that_may_change_everything_meets_all_but_those_that_change_nothing() -> None:
    tasks = [a_task("x", files("a")), a_task("all", EVERYTHING), a_task("none", NOTHING), a_task("also", EVERYTHING)]
    found = overlapping_pairs(tasks, {}, ordered=never)
    assert [one.tasks for one in found] == [("x", "all"), ("x", "also"), ("all", "also")]


def test_more_pairs_than_can_be_listed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "PAIR_LIMIT", 10)
    for task in (a_task("x", EVERYTHING), a_task("x", files("a")), a_task("x", NOTHING, uses=("db",))):
        with pytest.raises(TooManyPairs):
            overlapping_pairs([task] * 6, {}, ordered=never)


def test_reading_what_another_may_change_is_found_unless_they_are_ordered() -> None:
    tasks = [
        a_task("api", files("src/api/**"), reads=files("src/db/schema.sql", "src/api/x")),
        a_task("db", files("src/db/**"), reads=files("README.md")),
        a_task("late", files("src/db/schema.sql", "README.md")),
    ]
    assert reading_pairs(tasks, ordered=never) == (
        ("api", "db", "src/db/schema.sql"),
        ("api", "late", "src/db/schema.sql"),
        ("db", "late", "README.md"),
    )
    assert reading_pairs(tasks, ordered=lambda a, b: "late" in (a, b)) == (("api", "db", "src/db/schema.sql"),)
