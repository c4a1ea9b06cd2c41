"""Lines of keys: right for every way TOML can write one."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shipgraph.project.toml_lines import KeyPath, find_lines, find_spans, line_of, show_path

EVERYTHING = '''\
# a comment with [brackets] and "quotes
title = "x" # [not.a.table]
a.b . "c.d" = 1
long = """
[fake]
key = "no" \\""" still inside
""""
literal = \'\'\'
it''s [fake.too]
\'\'\'

[images.base]
context = 'docker/base'
args = { A = "1", "B.C" = "}", nested = { deep = [1, 2] } }
list = [
  "one", # ]
  { two = 2, three = [ 3,
      4 ] },
]

[[images.base.tests]]
run = ["a"]
when = 1979-05-27 07:32:00
[images.base.tests.expect]
code = 0
[[ images . base . tests ]]
run = ["b"]
[images."quoted \\u0041"]
x = -inf
'''


def paths(value: Any, at: KeyPath = ()) -> set[KeyPath]:
    """Every path in a parsed document."""
    found = {at} if at else set()
    if isinstance(value, dict):
        for key, entry in value.items():
            found |= paths(entry, (*at, key))
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            found |= paths(entry, (*at, index))
    return found


def test_every_way_of_writing_a_key() -> None:
    lines = find_lines(EVERYTHING)
    assert set(lines) == paths(tomllib.loads(EVERYTHING))
    source = EVERYTHING.splitlines()

    def text(*path: str | int) -> str:
        return source[lines[path] - 1].strip()

    assert text("a", "b", "c.d") == 'a.b . "c.d" = 1'
    assert text("long") == 'long = """'
    assert text("literal") == "literal = '''"
    assert text("images") == text("images", "base") == "[images.base]"
    assert text("images", "base", "args", "nested", "deep", 1).startswith("args =")
    assert text("images", "base", "list", 0).startswith('"one"')
    assert text("images", "base", "list", 1, "two").startswith("{ two")
    assert text("images", "base", "list", 1, "three", 1) == "4 ] },"
    assert text("images", "base", "tests") == "[[images.base.tests]]"
    assert text("images", "base", "tests", 0, "expect", "code") == "code = 0"
    assert text("images", "base", "tests", 1) == "[[ images . base . tests ]]"
    assert text("images", "base", "tests", 1, "run") == 'run = ["b"]'
    assert text("images", "quoted A", "x") == "x = -inf"


def test_spans_are_the_values() -> None:
    spans = find_spans(EVERYTHING)
    start, end = spans["images", "base", "context"]
    assert EVERYTHING[start:end] == "'docker/base'"
    for path, (start, end) in spans.items():
        value: Any = tomllib.loads(EVERYTHING)
        for part in path:
            value = value[part]
        assert tomllib.loads(f"v = {EVERYTHING[start:end]}")["v"] == value


def test_windows_line_ends() -> None:
    lines = find_lines(EVERYTHING.replace("\n", "\r\n"))
    assert lines == find_lines(EVERYTHING)


def test_the_nearest_place_of_what_is_missing() -> None:
    lines = find_lines("[a]\nb = 1\n")
    assert line_of(lines, ("a", "c")) == 1
    assert line_of(lines, ("z",)) is None


def test_show_path() -> None:
    assert show_path(("images", "base", "tests", 0, "a b")) == 'images.base.tests[0]."a b"'


KEYS = st.sampled_from(["a", "b", "c", "x-y", "_", "1", "'d e'", '"f.g"', '"h\\u0069"', "'#'", '"]"'])
SCALARS = st.sampled_from(
    ["1", "-0.5", "true", "nan", '"s"', "'[x]'", '"a\\"b"', "1979-05-27 07:32:00", '"""\nx = 1\n[y]\n"""', "'''\n#'''",
     '""""q"""""', "0x_ff".replace("_", "")]
)  # fmt: skip
GAPS = st.sampled_from(["", " ", "\t"])
BREAKS = st.sampled_from(["", " ", "\n", " # ]\n  ", "\n\n"])


@st.composite
def values(draw: st.DrawFn, depth: int = 2) -> str:
    kind = draw(st.sampled_from(["scalar", "array", "table"] if depth else ["scalar"]))
    if kind == "array":
        parts = draw(st.lists(values(depth - 1), max_size=3))
        inside = ",".join(draw(BREAKS) + part + draw(BREAKS) for part in parts)
        last = draw(st.sampled_from(["", ","])) if parts else ""
        return f"[{inside}{last}{draw(BREAKS)}]"
    if kind == "table":
        keys = draw(st.lists(KEYS, max_size=3, unique=True))
        return "{" + ",".join(f" {key}{draw(GAPS)}={draw(GAPS)}{draw(values(depth - 1))} " for key in keys) + "}"
    return draw(SCALARS)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Random statements; many are refused by TOML together, and those that aren't are what is wanted."""
    text = ""
    for _ in range(draw(st.integers(1, 12))):
        dotted = draw(GAPS).join([""] + [f"{key}." for key in draw(st.lists(KEYS, max_size=2))]) + draw(KEYS)
        statement = draw(st.sampled_from([f"[{dotted}]", f"[[{dotted}]]", f"{dotted} = ", "# [x]", ""]))
        if statement.endswith("= "):
            statement += draw(values())
        candidate = text + draw(GAPS) + statement + "\n"
        try:
            tomllib.loads(candidate)
        except tomllib.TOMLDecodeError:
            continue
        text = candidate
    return text


@given(documents())
def test_any_document(text: str) -> None:
    parsed = tomllib.loads(text)
    lines = find_lines(text)
    assert set(lines) == paths(parsed)
    source = text.split("\n")
    for path, line in lines.items():
        if isinstance(path[-1], str) and path[-1] in ("a", "b", "c", "x-y", "_", "1"):
            assert path[-1] in source[line - 1]
    for path, (start, end) in find_spans(text).items():
        tomllib.loads(f"v = {text[start:end]}")
        assert lines[path] <= text.count("\n", 0, start) + 1


@given(documents(), st.integers(0, 5))
def test_lines_move_with_what_stands_above(text: str, count: int) -> None:
    moved = find_lines("#\n" * count + text)
    assert moved == {path: line + count for path, line in find_lines(text).items()}
