"""Pieces of GitHub's Markdown out of text that others may have written: nothing in it becomes markup."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_PUNCTUATION: Final = re.compile(r"([!-/:-@\[-`{-~])")
_INVISIBLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")


def plain(text: str) -> str:
    """One line: line ends, control characters and what reorders text become a space."""
    return _INVISIBLE.sub(" ", text).strip()


def escaped(text: str) -> str:
    """Text as it is: CommonMark lets every ASCII punctuation character be escaped."""
    return _PUNCTUATION.sub(r"\\\1", plain(text))


def code(text: str) -> str:
    """A span of code, in a table too; backticks become apostrophes, for nothing can escape one there."""
    inside = plain(text).replace("`", "'").replace("|", "\\|")
    return f"`{inside}`" if inside else ""


def block(lines: Sequence[str]) -> list[str]:
    """Lines as they are, in a fence that is longer than any row of backticks in them."""
    shown = [_INVISIBLE.sub(" ", line).rstrip() for line in lines]
    longest = max((len(run) for line in shown for run in re.findall(r"`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", *shown, fence]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
