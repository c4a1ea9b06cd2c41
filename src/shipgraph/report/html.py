"""HTML made of elements: text is escaped wherever it is put, because only elements are not."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Final, TypeAlias

from shipgraph.report.markdown import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

_VOID: Final = frozenset({"br", "meta", "path", "rect", "circle"})
_NAME: Final = re.compile(r"[a-z][a-zA-Z0-9-]*")


class Html(str):
    """Markup that was made here."""

    __slots__ = ()


Child: TypeAlias = "str | Html | None"


def text(value: str) -> Html:
    """Text on one line: markup, control characters and what reorders text mean nothing in it."""
    return value if isinstance(value, Html) else Html(escape(plain(value)))


def tag(name: str, /, *children: Child, **attributes: str | float | None) -> Html:
    """An element. Attributes that are None are left out; ``class_`` is ``class``, and ``_`` stands for ``-``."""
    assert _NAME.fullmatch(name), name  # noqa: S101 (names are written here, never read)
    parts = [name]
    for key, value in attributes.items():
        if value is not None:
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            parts.append(f'{key.rstrip("_").replace("_", "-")}="{text(shown)}"')
    opened = f"<{' '.join(parts)}>"
    if name in _VOID:
        return Html(opened[:-1] + "/>")
    return Html(f"{opened}{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Html:
    """Elements and text, one after another."""
    return Html("".join(text(child) for child in children if child is not None))


def table(head: Iterable[Child], rows: Iterable[Iterable[Child]], *, class_: str | None = None) -> Html:
    """A table that scrolls by itself where the page is narrow."""
    top = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head)))
    body = tag("tbody", *(tag("tr", *(tag("td", cell) for cell in row)) for row in rows))
    return tag("div", tag("table", top, body, class_=class_), class_="scroll")
