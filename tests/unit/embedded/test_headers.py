"""Header grammar, against whatever may come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipgraph.embedded.headers import Condition, Unsatisfiable, etag, parse_content_range, parse_range
from shipgraph.oci.digest import Digest

DIGEST, OTHER = Digest.of(b"a"), Digest.of(b"b")


@given(st.integers(0, 1000), st.integers(0, 1200), st.integers(0, 1200))
def test_ranges_are_what_slices_are(size: int, first: int, last: int) -> None:
    content = bytes(index % 251 for index in range(size))
    for header, want in (
        (f"bytes={first}-{last}", content[first : last + 1] if first <= last else content),
        (f"bytes={first}-", content[first:]),
        (f"bytes=-{last}", content[-last:] if last else b""),
    ):
        try:
            found = parse_range(header, size)
        except Unsatisfiable:
            assert want == b""
        else:
            start, stop = found or (0, size)
            assert content[start:stop] == want


@given(st.text() | st.from_regex(r"bytes ?= ?[0-9-, ]{0,40}", fullmatch=True), st.integers(0, 1 << 40))
def test_any_range_header_is_harmless(header: str, size: int) -> None:
    try:
        found = parse_range(header, size)
    except Unsatisfiable:
        return
    assert found is None or 0 <= found[0] < found[1] <= size


@pytest.mark.parametrize("header", [None, "", "bytes=", "bytes=-", "lines=0-1", "bytes=0-1,3-4", "bytes=5-4"])
def test_ranges_that_mean_the_whole(header: str | None) -> None:
    assert parse_range(header, 10) is None


@given(st.text())
def test_any_content_range_is_harmless(header: str) -> None:
    found = parse_content_range(header)
    assert found is None or 0 <= found[0] < found[1]


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("0-9", (0, 10)),
        ("bytes 10-19/20", (10, 20)),
        ("bytes=5-5", (5, 6)),
        ("5-4", None),
        ("0-", None),
        ("x", None),
        ("", None),
    ],
)
def test_content_ranges(header: str, found: tuple[int, int] | None) -> None:
    assert parse_content_range(header) == found


@pytest.mark.parametrize(
    ("header", "there", "matches"),
    [
        ("*", DIGEST, True),
        ("*", None, False),
        (etag(DIGEST), DIGEST, True),
        (etag(DIGEST), OTHER, False),
        (etag(DIGEST), None, False),
        (f"{etag(OTHER)}, W/{etag(DIGEST)}", DIGEST, True),
        (str(DIGEST), DIGEST, False),
        ("", DIGEST, False),
    ],
)
def test_conditions(header: str, there: Digest | None, matches: bool) -> None:
    condition = Condition.parse(header)
    assert condition is not None
    assert condition.matches(there) is matches


@given(st.text())
def test_any_condition_is_harmless(header: str) -> None:
    condition = Condition.parse(header)
    assert condition is not None
    assert not condition.matches(None)
