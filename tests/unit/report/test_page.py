"""The page shows the release, is one well-formed file that loads nothing, and text in it stays text."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.report.made import NOW, digest, release, signed

from shipgraph.report.facts import Evidence, Metadata
from shipgraph.report.page import render
from shipgraph.report.picture import Box, draw, lay_out

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=y> &lt; \u202egpj.\u2066 </style>"
VOID = {"meta", "br"}
KNOWN = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "section", "footer", "h1", "h2", "h3", "p",
    "dl", "dt", "dd", "div", "span", "strong", "small", "code", "a", "br", "table", "thead", "tbody", "tr", "th", "td",
    "details", "summary", "svg", "g", "rect", "path", "text",
}  # fmt: skip


class Page(HTMLParser):
    """Reads a page, and refuses what isn't closed in order."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def check(content: str) -> Page:
    page = Page(content)
    for tag, attributes in page.elements:
        assert tag in KNOWN
        assert not {name for name in attributes if name.startswith("on") or name in ("src", "srcset", "action", "id")}
        assert "href" not in attributes or str(attributes["href"]).startswith("https://github.com/acme/demo/commit/")
        style = attributes.get("style")
        assert style is None or re.fullmatch(r"width:[0-9.]+%", style)
    assert "url(" not in content
    assert "@import" not in content
    return page


def test_everything_is_on_it() -> None:
    page = check(render(release()))
    for words in (
        "demo", "v1.2.3", "prod", "sha-" + "0" * 40, "serial 4", "2026-11-24 06:00 UTC", "expires in 29 days",
        digest("c"), digest("d"), digest("a"), digest("e"), digest("f"), "ghcr.io/acme/demo-app", "on base", "40.0 MB",
        "41.5 MB", "✓ key release", "✗ missing", "✗ not trusted", "what gate says", "1 of 3 checks broken", "BROKEN",
        "rolled back", "12 deleted", "9 release", "1.0 GB", "base (amd64), app (amd64)", "held: text", "key boss",
        digest("9"), "2 layers, 41.5 MB in the registry; without sharing it would be 81.5 MB",
    ):  # fmt: skip
        assert words in page.text, words


@settings(deadline=None, max_examples=40)
@given(st.text(max_size=40) | st.just(HOSTILE))
def test_text_of_others_stays_text(text: str) -> None:
    usual = check(render(release()))
    odd = check(render(release(text)))
    assert [tag for tag, _ in odd.elements] == [tag for tag, _ in usual.elements] or not text.strip()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202a-\u202e\u2066-\u2069]", render(release(text)))


def test_names_stay_text_too() -> None:
    facts = release()
    images = tuple(replace(image, key=HOSTILE + image.key, repository=HOSTILE) for image in facts.images)
    page = check(render(replace(facts, project=HOSTILE, channel=HOSTILE, version=HOSTILE, images=images)))
    assert "<script>alert(1)</script>" in page.text


@pytest.mark.parametrize("source", ["", "javascript:alert(1)//", "http://github.com/acme/demo"])
def test_only_an_https_source_is_a_link(source: str) -> None:
    assert "a" not in [tag for tag, _ in check(render(replace(release(), source=source))).elements]


def test_a_release_with_nothing_but_an_image() -> None:
    facts = release()
    (base, _) = facts.images
    bare = replace(
        facts, images=(replace(base, evidence=(), platforms=()),), payload=None, history=(), checks=(), clean_up=None,
        hold="", required=(), metadata=replace(facts.metadata, evidence=(Evidence("provenance"),)),
    )  # fmt: skip
    page = check(render(bare))
    assert "nobody whom the project trusts" in page.text
    assert "No clean-up" in page.text
    assert "✗" not in page.text  # nothing is required, so nothing is missing


@pytest.mark.parametrize(
    ("expires", "words"),
    [
        ("2026-11-25T11:00:00Z", "expired 2026-11-25 11:00 UTC"),
        ("2026-11-25T13:00:00Z", "expires today"),
        ("2026-12-01T12:00:00+00:00", "expires in 6 days"),
        ("nonsense", "can be read"),
    ],
)
def test_the_expiry_is_told_by_the_registrys_clock(expires: str, words: str) -> None:
    facts = release()
    assert facts.now == NOW
    metadata = Metadata("r", digest("f"), 1, "2026-11-24T06:00:00Z", expires, signed("provenance"))
    assert words in check(render(replace(facts, metadata=metadata))).text


def test_the_same_facts_make_the_same_page() -> None:
    assert render(release()) == render(release())


# --- the picture


@st.composite
def forests(draw_: st.DrawFn) -> list[Box]:
    count = draw_(st.integers(1, 30))
    parents = [draw_(st.none() | st.integers(0, number - 1)) if number else None for number in range(count)]
    boxes = [Box(f"n{number}", None if parent is None else f"n{parent}") for number, parent in enumerate(parents)]
    return draw_(st.permutations(boxes))


@given(forests())
def test_no_box_stands_on_another_and_children_stand_right_of_their_parent(boxes: list[Box]) -> None:
    places = lay_out(boxes)
    assert set(places) == {box.key for box in boxes}
    by_column: dict[int, list[float]] = {}
    for place in places.values():
        by_column.setdefault(place.column, []).append(place.row)
    for rows in by_column.values():
        rows.sort()
        assert all(after - before >= 1 for before, after in pairwise(rows))
    for box in boxes:
        if box.parent is not None:
            assert places[box.key].column == places[box.parent].column + 1


@given(forests())
def test_lines_do_not_cross(boxes: list[Box]) -> None:
    """Parents in the order of their rows have children in the order of theirs."""
    places = lay_out(boxes)
    edges = [(places[box.parent], places[box.key]) for box in boxes if box.parent]
    for one, below in edges:
        for other, under in edges:
            if one.column == other.column and one.row < other.row:
                assert below.row < under.row


def test_circles_and_strangers_are_no_parents() -> None:
    places = lay_out([Box("a", "b"), Box("b", "a"), Box("c", "c"), Box("d", "gone")])
    assert {place.column for place in places.values()} <= {0, 1}
    assert len(places) == 4
    assert draw([Box("a", "b"), Box("b", "a")], "t")
    assert draw([], "t") == ""


def test_a_deep_chain_is_no_trouble() -> None:
    chain = [Box(f"n{number}", f"n{number - 1}" if number else None) for number in range(3000)]
    assert max(place.column for place in lay_out(chain).values()) == 2999
