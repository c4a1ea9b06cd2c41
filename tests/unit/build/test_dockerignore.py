"""`.dockerignore` against Docker's documented rules, and against a matcher written in another way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipgraph.build.dockerignore import Ignore, ignore_file
from shipgraph.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "out", "kept"),
    [
        ("*/temp*", ["a/temporary.txt", "a/temp", "a/temp/x"], ["temp", "a/b/temp"]),
        ("*/*/temp*", ["a/b/temporary.txt"], ["a/temp", "temp"]),
        ("temp?", ["tempa", "tempb", "tempa/below"], ["temp", "tempab", "temp/"]),
        ("**/*.go", ["a.go", "a/b.go", "a/b/c.go"], ["go", "a/go"]),
        ("*.md\n!README.md", ["a.md"], ["README.md", "a/b.md"]),
        ("*.md\n!README*.md\nREADME-secret.md", ["a.md", "README-secret.md"], ["README.md", "README-2.md"]),
        ("*.md\nREADME-secret.md\n!README*.md", ["a.md"], ["README.md", "README-secret.md"]),
        ("/foo/bar", ["foo/bar", "foo/bar/baz"], ["bar", "x/foo/bar"]),
        ("foo/bar/", ["foo/bar", "foo/bar/x"], ["foo"]),
        ("  foo  \n\n# a comment\n", ["foo"], ["# a comment"]),
        ("foo/../bar", ["bar"], ["foo"]),
        ("**", ["a", "a/b"], []),
        ("*\n!keep/*.txt", ["a", "keep/a.md", "keep"], ["keep/a.txt"]),
        ("a[bc]d", ["abd", "acd"], ["aed", "a/d"]),
        ("a[^b]d", ["acd"], ["abd", "a/d"]),
        ("a\\*b", ["a*b"], ["aab"]),
        ("a.b+c(d)", ["a.b+c(d)"], ["axb+c(d)"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b/z"], ["a", "b"]),
        ("a/**", ["a/b", "a/b/c"], ["a"]),
        ("\ufefffoo", ["foo"], []),
        ("node_modules\n!node_modules/keep", ["node_modules", "node_modules/x"], ["node_modules/keep"]),
    ],
)
def test_documented_rules(text: str, out: list[str], kept: list[str]) -> None:
    ignore = Ignore.parse(text)
    assert [path for path in out if not ignore.covers(path)] == []
    assert [path for path in kept if ignore.covers(path)] == []


@pytest.mark.parametrize(("text", "line"), [("a\n!", 2), ("[", 1), ("a[b", 1), ("a\nb[]", 2)])
def test_mistakes_are_named_with_their_line(text: str, line: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"\.dockerignore:{line}:"):
        Ignore.parse(text)


def test_the_dockerfiles_own_ignore_file_comes_first(tmp_path: Path) -> None:
    dockerfile = tmp_path / "docker" / "Dockerfile"
    dockerfile.parent.mkdir()
    assert ignore_file(tmp_path, dockerfile) is None
    (tmp_path / ".dockerignore").touch()
    assert ignore_file(tmp_path, dockerfile) == tmp_path / ".dockerignore"
    (dockerfile.parent / "Dockerfile.dockerignore").touch()
    assert ignore_file(tmp_path, dockerfile) == dockerfile.parent / "Dockerfile.dockerignore"


PARTS = st.sampled_from(["a", "b", "ab", "*", "?", "**", "a*", "*b", "a?"])
PATTERNS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "aa"]), min_size=1, max_size=4).map("/".join)
LINES = st.lists(st.tuples(st.booleans(), PATTERNS), max_size=5)


def reference(pattern: str, path: str) -> bool:
    if not pattern:
        return not path
    if pattern.startswith("**"):
        rest = pattern[2:].removeprefix("/")
        if not rest:
            return True
        starts = [0, *(position + 1 for position, character in enumerate(path) if character == "/")]
        return any(reference(rest, path[start:]) for start in starts)
    if pattern[0] == "*":
        end = path.find("/")
        end = len(path) if end < 0 else end
        return any(reference(pattern[1:], path[count:]) for count in range(end + 1))
    if not path or (pattern[0] == "?" and path[0] == "/"):
        return False
    return pattern[0] in ("?", path[0]) and reference(pattern[1:], path[1:])


def with_parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


@given(LINES, PATHS)
def test_agrees_with_the_reference(lines: list[tuple[bool, str]], path: str) -> None:
    ignore = Ignore.parse("\n".join("!" * negated + pattern for negated, pattern in lines))
    expected = False
    for negated, pattern in lines:
        if any(reference(pattern, candidate) for candidate in with_parents(path)):
            expected = not negated
    assert ignore.covers(path) == expected


@given(LINES, PATHS)
def test_a_folder_that_holds_something_is_walked(lines: list[tuple[bool, str]], path: str) -> None:
    ignore = Ignore.parse("\n".join("!" * negated + pattern for negated, pattern in lines))
    if not ignore.covers(path):
        for folder in with_parents(path)[:-1]:
            assert not ignore.covers(folder) or ignore.may_hold(folder)


def test_hopeless_folders_are_not_walked() -> None:
    ignore = Ignore.parse("node_modules\n!src/keep")
    assert not ignore.may_hold("node_modules")
    assert ignore.may_hold("src")
