from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.overlap import covers
from orchestrator.core.planfile import parse_plan
from orchestrator.core.planpaths import file_set, read_pattern
from orchestrator.core.tighten import Proposal, as_pattern, proposals

MANY = [f"src/db/m{n}.sql" for n in range(9)]
FOLDERS = frozenset({"src", "src/db", "src/api", "tests"})


def proposed(files: str, changed: list[str]) -> Proposal:
    plan = parse_plan(f"tasks:\n  - id: a\n    prompt: p\n{f'    files: {files}' if files else ''}\n", file="p.yaml")
    assert not plan.problems, plan.problems
    return proposals(plan.table.tasks, {"a": changed}, FOLDERS)[0]


@pytest.mark.parametrize(
    ("files", "changed", "new"),
    [
        pytest.param("[src/**]", ["src/a.py"], ("src/a.py",), id="few files are listed"),
        pytest.param("[src/**]", MANY, ("src/db/**",), id="many files of a folder are the folder"),
        pytest.param("[src]", MANY, ("src/db/**",), id="a folder by its bare name"),
        pytest.param("[src/]", [*MANY, "src/x.py"], ("src/x.py", "src/db/**"), id="a folder, and what lies beside it"),
        pytest.param("", MANY, ("src/db/**",), id="nothing declared is the whole repository"),
        pytest.param("", [f"f{n}" for n in range(9)], tuple(f"f{n}" for n in range(9)), id="the root is no folder"),
        pytest.param("[a.txt, b.txt]", ["a.txt"], ("a.txt",), id="a file that was never touched goes"),
        pytest.param("[src/*.py, docs/**]", ["src/a.py"], ("src/a.py",), id="so does a folder"),
        pytest.param('["*/*.sql"]', [f"db/{n}.sql" for n in range(9)], None, id="a glob with many files stays"),
        pytest.param(
            '[src/**, "!src/db/secret/**"]',
            MANY,
            ("src/db/**", "!src/db/secret/**"),
            id="what was taken away stays away",
        ),
        pytest.param('[src/**, "!src/x"]', ["src/a"], ("src/a",), id="and goes when no folder could bring it back"),
        pytest.param("[src/db/**]", MANY, None, id="what is narrow already stays"),
        pytest.param("[src/**]", [], None, id="nothing handed off says nothing"),
        pytest.param("[src/**]", ["docs/x"], None, id="what lies outside says nothing"),
        pytest.param("[]", ["docs/x"], None, id="a task that changes nothing"),
        pytest.param("[src/**]", ["src/[a]*?{b}"], ("src/[[]a][*][?][{]b[}]",), id="signs in names are names"),
        pytest.param('["**"]', ["!x"], ("./!x",), id="a name that begins like an exclusion"),
    ],
)
def test_files_that_are_proposed(files: str, changed: list[str], new: tuple[str, ...] | None) -> None:
    found = proposed(files, changed)
    assert found.new == new
    assert bool(found.why_not) is (new is None)


names = st.text("ab.*[]{},!? ü", min_size=1, max_size=4).filter(lambda name: name.strip(".") and name == name.strip())
paths = st.lists(names, min_size=1, max_size=4).map("/".join)


@given(path=paths)
def test_the_pattern_of_a_path_covers_that_path_and_nothing_beside_it(path: str) -> None:
    found = file_set([read_pattern(as_pattern(path))], frozenset())
    assert covers(found, path)
    assert not covers(found, f"{path}a")
    assert not covers(found, f"{path}/a")


@given(
    declared=st.lists(
        st.sampled_from(["**", "a/**", "a/b/**", "a/*", "*.a", "b", "a/b", "ü/**"]), min_size=1, max_size=3
    ),
    changed=st.lists(paths, max_size=30),
    probes=st.lists(paths, max_size=30),
)
def test_proposals_cover_what_was_changed_and_nothing_that_was_not_declared(
    declared: list[str], changed: list[str], probes: list[str]
) -> None:
    found = proposed(f"[{', '.join(repr(one) for one in declared)}]", changed)
    old = file_set([read_pattern(one) for one in declared], FOLDERS)
    if found.new is None:
        return
    new = file_set([read_pattern(one) for one in found.new], FOLDERS)
    assert all(covers(new, path) for path in changed if covers(old, path))
    assert not any(covers(new, path) and not covers(old, path) for path in [*changed, *probes])
