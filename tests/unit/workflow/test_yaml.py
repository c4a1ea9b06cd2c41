"""What is written is what is read back, whatever it is."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from shipgraph.workflow.yaml import Noted, Value, write

# PyYAML itself refuses what YAML calls not printable, even escaped surrogates; a workflow holds neither.
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff"), max_size=30)
HARD = [
    "yes", "on", "null", "~", "1e3", "0x1F", "012", ".5", ".inf", ".NaN", "- a", "a: b", "a #b", "#a", "a:", " a", "a ",
    "${{ a && 'b' }}", "[a]", "{a}", "a, b", "*a", "&a", "!a", "%a", "@a", "`a", "|", ">", "'a'", '"a"', "a\nb", "a\n",
    "\n", " a\nb", "a\n\n", "a\n\nb\n", "a\tb", "==", "2026-11-25", "1_000", "a\\b", "\u2028", "\x85", "?", "? a",
    ":a",
]  # fmt: skip
TEXT = ANY | st.sampled_from(HARD)
LEAVES = TEXT | st.booleans() | st.integers(-(10**6), 10**6) | st.none()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)


@given(st.dictionaries(TEXT, VALUES, max_size=5))
def test_any_document_is_read_back_as_it_was(document: dict[str, Any]) -> None:
    assert (yaml.safe_load(write(document)) or {}) == document


@given(st.dictionaries(TEXT, VALUES, min_size=1, max_size=5))
def test_comments_change_nothing(document: dict[str, Any]) -> None:
    noted: dict[str, Value] = {
        key: Noted(value, above="one\n\ntwo: [", after="v1: #x") for key, value in document.items()
    }
    assert yaml.safe_load(write(noted)) == document
    assert write(noted).count("# two: [") == len(document)


def test_a_comment_behind_a_value_has_one_line() -> None:
    with pytest.raises(ValueError, match="several lines"):
        write({"a": Noted("b", after="c\nd: e")})


def test_a_script_stands_as_it_is() -> None:
    assert write({"run": "a\n  b\n\nc\n"}) == "run: |\n  a\n    b\n\n  c\n"
