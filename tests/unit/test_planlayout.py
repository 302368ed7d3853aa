from __future__ import annotations

import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.planfile import parse_plan, plan_schema
from orchestrator.core.planlayout import _TABLES, key_order, laid_out, one_line
from orchestrator.core.plansame import says_the_same
from orchestrator.core.plantext import plain, read_text

HEAD = "checks: none\n"


def task(text: str) -> str:
    return f"{HEAD}tasks:\n{text}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("tasks: []\nname: x\n", "name: x\ntasks: []\n", id="keys have one order"),
        pytest.param(
            task("- prompt: do it\n  id: a\n"), task("  - id: a\n    prompt: do it\n"), id="so have those of tasks"
        ),
        pytest.param("tasks:\n-   id: a\n", "tasks:\n  - id: a\n", id="lists are indented by two"),
        pytest.param("prepare:\n      copy: [.env]\n", "prepare:\n  copy: [.env]\n", id="so are tables"),
        pytest.param("name:   x   \n", "name: x\n", id="no spaces at the end of a line"),
        pytest.param("protected: [ 'a',\"b\" ]\n", "protected: [a, b]\n", id="quotes only where needed"),
        pytest.param("protected: ['**/x', 'a: b']\n", 'protected: ["**/x", "a: b"]\n', id="and then double ones"),
        pytest.param("name: 'a \"b\"'\n", "name: 'a \"b\"'\n", id="or single ones around double ones"),
        pytest.param("name: '12'\n", 'name: "12"\n', id="a text that looks like a number stays one"),
        pytest.param("name: 'yes'\n", 'name: "yes"\n', id="and what YAML 1.1 takes for true"),
        pytest.param("name: '2026-01-01'\n", 'name: "2026-01-01"\n', id="and a date"),
        pytest.param('name: "\\u00fc"\n', "name: ü\n", id="escapes are written out"),
        pytest.param('name: "a\\tb"\n', 'name: "a\\tb"\n', id="but for what nobody sees"),
        pytest.param("name: x\n\n\n\nparallel: 2\n", "name: x\n\nparallel: 2\n", id="one empty line at most"),
        pytest.param("name: x\r\nparallel: 2\r\n", "name: x\nparallel: 2\n", id="line ends of Windows go"),
        pytest.param("---\nname: x\n", "name: x\n", id="the mark of a document goes"),
        pytest.param(
            f"protected: [{', '.join(['long-name-' + str(n) for n in range(12)])}]\n",
            "protected:\n" + "".join(f"  - long-name-{n}\n" for n in range(12)),
            id="what does not fit into a line goes one below the other",
        ),
        pytest.param("name: |\n  x", "name: |-\n  x\n", id="a text at the end of a file without a line end"),
        pytest.param(
            task("- id: a\n  prompt: |\n        x  \n          y\n\n        # z\n\n\n"),
            task("  - id: a\n    prompt: |\n      x  \n        y\n\n      # z\n"),
            id="texts keep every space that counts",
        ),
    ],
)
def test_layout(before: str, after: str) -> None:
    assert laid_out(before) == after
    assert laid_out(after) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            "# about the file\ntasks: []\nname: x\n", "# about the file\nname: x\ntasks: []\n", id="at the top"
        ),
        pytest.param(
            "# file\n\n# why\ntasks: []\nname: x\n", "# file\n\nname: x\n# why\ntasks: []\n", id="above a key"
        ),
        pytest.param("tasks: []   # T\nname: x # N\n", "name: x  # N\ntasks: []   # T\n", id="behind a value"),
        pytest.param("tasks:  # T\n- id: a  # A\n", "tasks:  # T\n  - id: a  # A\n", id="behind a key"),
        pytest.param("tasks:\n- # A\n  id: a\n", "tasks:\n  # A\n  - id: a\n", id="behind a dash"),
        pytest.param("protected: [a, # A\n  # B\n  b]\n", "protected:\n  - a  # A\n  # B\n  - b\n", id="in brackets"),
        pytest.param(
            "tasks:\n- id: a\n  # retries: 3\n- id: b\n",
            "tasks:\n  - id: a\n    # retries: 3\n  - id: b\n",
            id="a key in comments stays with its task",
        ),
        pytest.param(
            "tasks:\n- id: a\n# - id: b\n- id: c\n",
            "tasks:\n  - id: a\n  # - id: b\n  - id: c\n",
            id="a task in comments stays between its neighbours",
        ),
        pytest.param("protected: [ # A\n# B\n]\n", "# A\n# B\nprotected: []\n", id="in brackets with nothing else"),
        pytest.param("name: x\n# the end\n", "name: x\n# the end\n", id="at the end"),
        pytest.param("name: |  # N\n  x\n", "name: |  # N\n  x\n", id="behind the sign of a text"),
    ],
)
def test_comments_stay_with_what_they_are_about(before: str, after: str) -> None:
    assert laid_out(before) == after
    assert laid_out(after) == after


def test_files_are_exchanged_and_what_was_said_about_them_stays() -> None:
    text = task("- id: a\n  files:\n  - x/**  # all of x\n  - y.txt # kept\n- id: b\n")
    found = laid_out(text, {"a": ["y.txt", "x/1"], "b": ["z"]})
    assert found == task(
        "  - id: a\n    # all of x\n    files:\n      - y.txt  # kept\n      - x/1\n  - id: b\n    files: [z]\n"
    )


def test_the_layout_knows_every_key_of_the_schema() -> None:
    schema = plan_schema()
    tables = {
        (): schema["properties"],
        **{
            way: schema["$defs"][name]["properties"]
            for way, name in {
                ("checks", "*"): "CheckTable",
                ("prepare",): "PrepareTable",
                ("agents", "*"): "AgentTable",
                ("defaults",): "DefaultsTable",
                ("tasks", "*"): "TaskTable",
                ("tasks", "*", "checks", "*"): "CheckTable",
            }.items()
        },
    }
    assert set(tables) == set(_TABLES)
    for way, properties in tables.items():
        assert set(properties) <= set(key_order(*way)), way


# ---- any plan ----

texts = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=20)
words = st.text(string.ascii_letters + "0123456789._-/*: #'\"[]{},&!|>%@`~\\", min_size=1, max_size=12)
comments = st.text(string.ascii_letters + " #:'\"[]{}-|", max_size=12).map(lambda text: f"# c {text}".rstrip())


@given(text=texts | words)
def test_any_text_in_one_line_means_itself(text: str) -> None:
    tree, problems = read_text(
        f"tasks: {one_line(text)}\nlist: [{one_line(text)}]\n{one_line('k' + text)}: 1\n", file=""
    )
    assert not problems
    assert plain(tree) == {"tasks": text, "list": [text], f"k{text}": 1}


@st.composite
def plans(draw: st.DrawFn) -> str:
    """Plans as people write them: block and flow, every kind of text, comments and empty lines anywhere."""
    rows: list[str] = []

    def aside(pad: str) -> None:
        for _ in range(draw(st.integers(0, 2))):
            rows.append(draw(st.sampled_from(["", "  ", pad + draw(comments)])))

    def behind() -> str:
        return draw(st.sampled_from(["", "", " ", "  " + draw(comments)]))

    def value() -> str:
        text = draw(words | texts)
        return draw(st.sampled_from([one_line(text), "'" + text.replace("'", "''") + "'"]))

    def prompt(pad: str) -> None:
        sign = draw(st.sampled_from(["|", "|-", "|+", ">", ">-", ">+"]))
        inner = pad + " " * draw(st.integers(1, 4))
        rows.append(f"{pad}prompt: {sign}{behind()}")
        rows.append(f"{inner}do it")
        for _ in range(draw(st.integers(0, 3))):
            rows.append(draw(st.sampled_from(["", f"{inner}# no comment", f"{inner}  deeper  ", " "])))

    aside("")
    keys = draw(st.permutations(["name: x", "checks: none", "protected", "tasks"]))
    for key in keys:
        aside("")
        if key == "protected":
            dash = " " * draw(st.integers(0, 3))
            rows.append(f"protected:{behind()}")
            for _ in range(draw(st.integers(1, 3))):
                aside(dash)
                rows.append(f"{dash}- {value()}{behind()}")
        elif key == "tasks":
            rows.append(f"tasks:{behind()}")
            dash = " " * draw(st.integers(0, 3))
            for number in range(draw(st.integers(1, 3))):
                aside(dash)
                gap = " " * draw(st.integers(1, 3))
                pad = dash + " " + gap
                start = len(rows)
                for part in draw(st.permutations(["id", "title", "files", "prompt"])):
                    if len(rows) > start:
                        aside(pad)
                    if part == "prompt":
                        prompt(pad)
                    elif part == "files":
                        flow = draw(st.booleans())
                        rows.append(f"{pad}files: [{'a, b' if flow else 'a,' + behind()}")
                        if not flow:
                            aside(pad)
                            rows.append(f"{pad}  {value()}")
                        rows[-1] += f"]{behind()}"
                    else:
                        rows.append(f"{pad}{part}: {'t' + str(number) if part == 'id' else value()}{behind()}")
                rows[start] = f"{dash}-{gap}{rows[start][len(pad) :]}"
        else:
            rows.append(key + behind())
    aside("")
    return "\n".join(rows) + "\n"


@given(text=plans())
def test_any_plan_says_the_same_afterwards_keeps_its_comments_and_changes_once(text: str) -> None:
    tree, problems = read_text(text, file="")
    assert not problems
    new = laid_out(text)
    assert plain(read_text(new, file="")[0]) == plain(tree)
    assert sorted(re.findall(r"# c.*", new)) == sorted(one.rstrip() for one in re.findall(r"# c.*", text))
    assert laid_out(new) == new
    assert not any(row != row.rstrip() and "deeper" not in row for row in new.splitlines() if "# c" in row)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        pytest.param("tasks: [{prompt: p, id: a}]\nchecks: none\nversion: 1\n", True, id="another order"),
        pytest.param("checks: none\ntasks: [{id: a, prompt: q}]\n", False, id="another prompt"),
        pytest.param("checks: none\ntasks: [{id: a, prompt: p, files: []}]\n", False, id="other files"),
        pytest.param("checks: none\ntasks: [{id: b, prompt: p}]\n", False, id="another id"),
        pytest.param("checks: none\nparallel: 2\ntasks: [{id: a, prompt: p}]\n", False, id="one more key"),
        pytest.param("checks: none\ntasks: [{id: a, prompt: p, fils: []}]\n", False, id="a mistake"),
    ],
)
def test_two_texts_say_the_same(other: str, same: bool) -> None:
    one = parse_plan("checks: none\nversion: 1\ntasks: [{id: a, prompt: p}]\n", file="p.yaml")
    assert says_the_same(one, parse_plan(other, file="p.yaml")) is same


def test_the_order_of_agents_counts() -> None:
    one = parse_plan("agents: {a: {adapter: demo}, b: {adapter: demo}}\ntasks: [{id: a}]\n", file="p.yaml")
    other = parse_plan("agents: {b: {adapter: demo}, a: {adapter: demo}}\ntasks: [{id: a}]\n", file="p.yaml")
    assert not says_the_same(one, other)


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "plans").glob("*.yaml")), ids=lambda path: path.name
)
def test_our_own_plans_are_laid_out(path: Path) -> None:
    assert laid_out(path.read_text()) == path.read_text(), f"orchestrator plan fmt plans/{path.name}"
