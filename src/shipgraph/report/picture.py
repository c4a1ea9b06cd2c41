"""The image graph as an inline SVG: a forest from left to right, each parent beside the middle of its children."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shipgraph.report.html import Html, tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH: Final = 190
HEIGHT: Final = 46
GAP_X: Final = 60
GAP_Y: Final = 16
_MARGIN: Final = 4
_LETTERS: Final = 24


@dataclass(frozen=True, slots=True)
class Box:
    """A node: its parent's key, two lines of text, and a class that colours it."""

    key: str
    parent: str | None
    note: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a box stands: its column, and its row, which may lie between two."""

    column: int
    row: float


def lay_out(boxes: Sequence[Box]) -> dict[str, Place]:
    """A place for each box: leaves take a row each, in order. Parents that aren't there, and circles, are none."""
    keys = {box.key for box in boxes}
    parents = {box.key: box.parent if box.parent in keys else None for box in boxes}
    for key, parent in list(parents.items()):
        above, seen = parent, {key}
        while above is not None and above not in seen:
            seen.add(above)
            above = parents[above]
        if above is not None:
            parents[key] = None
    children: dict[str, list[str]] = {key: [] for key in parents}
    for key, parent in parents.items():
        if parent is not None:
            children[parent].append(key)
    places: dict[str, Place] = {}
    row = 0.0
    waiting = [(key, 0, False) for key in reversed(parents) if parents[key] is None]
    while waiting:
        key, column, placed = waiting.pop()
        below = children[key]
        if placed:
            rows = [places[child].row for child in below]
            places[key] = Place(column, (rows[0] + rows[-1]) / 2)
        elif below:
            waiting.append((key, column, True))
            waiting += [(child, column + 1, False) for child in reversed(below)]
        else:
            places[key] = Place(column, row)
            row += 1
    return places


def draw(boxes: Sequence[Box], title: str) -> Html:
    """The picture; empty for no boxes."""
    if not boxes:
        return Html("")
    places = lay_out(boxes)
    wide = 1 + max(place.column for place in places.values())
    high = 1 + max(place.row for place in places.values())
    size = (wide * (WIDTH + GAP_X) - GAP_X + 2 * _MARGIN, high * (HEIGHT + GAP_Y) - GAP_Y + 2 * _MARGIN)
    lines = [
        _line(places[box.parent], places[box.key])
        for box in boxes
        if box.parent in places and places[box.parent].column == places[box.key].column - 1
    ]
    return tag(
        "svg",
        tag("title", title),
        *lines,
        *(_box(box, places) for box in boxes),
        viewBox=f"0 0 {size[0]:g} {size[1]:g}",
        width=f"{size[0]:g}",
        role="img",
        class_="graph",
    )


def _corner(place: Place) -> tuple[float, float]:
    return _MARGIN + place.column * (WIDTH + GAP_X), _MARGIN + place.row * (HEIGHT + GAP_Y)


def _line(start: Place, end: Place) -> Html:
    left, top = _corner(start)
    x, y = left + WIDTH, top + HEIGHT / 2
    far, level = _corner(end)
    to, middle = level + HEIGHT / 2, (x + far) / 2
    return tag("path", d=f"M{x:g} {y:g} C{middle:g} {y:g} {middle:g} {to:g} {far:g} {to:g}", class_="edge")


def _box(box: Box, places: Mapping[str, Place]) -> Html:
    x, y = _corner(places[box.key])
    inside = [
        tag("title", f"{box.key} {box.note}"),
        tag("rect", x=x, y=y, width=WIDTH, height=HEIGHT, rx=7),
        tag("text", _short(box.key), x=x + 12, y=y + 20, class_="name"),
    ]
    if box.note:
        inside.append(tag("text", _short(box.note), x=x + 12, y=y + 36, class_="note"))
    return tag("g", *inside, class_=f"box {box.kind}".strip())


def _short(words: str) -> str:
    return words if len(words) <= _LETTERS else words[: _LETTERS - 1] + "…"
