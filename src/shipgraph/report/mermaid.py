"""The image graph as a Mermaid picture, which GitHub draws in Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shipgraph.report.markdown import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

_STYLES: Final = {
    "built": "fill:#1f883d22,stroke:#1f883d",
    "unchanged": "fill:#59636e22,stroke:#59636e",
    "failed": "fill:#cf222e22,stroke:#cf222e",
}
_KEPT: Final = frozenset(" -_./:@+()")


@dataclass(frozen=True, slots=True)
class Node:
    """An image: its key, its parent's, what happened to it, and a second line of text."""

    key: str
    parent: str | None = None
    outcome: str = ""
    note: str = ""


def draw(nodes: Sequence[Node]) -> str:
    """A fenced block. Names of nodes are numbers, and labels are quoted: nothing in a key is read as Mermaid."""
    numbers = {node.key: number for number, node in enumerate(nodes)}
    lines = ["```mermaid", "graph LR"]
    for node in nodes:
        label = "<br/>".join(_label(text) for text in (node.key, node.outcome, node.note) if text)
        style = f":::{node.outcome}" if node.outcome in _STYLES else ""
        lines.append(f'  n{numbers[node.key]}["{label}"]{style}')
    lines += [
        f"  n{numbers[node.parent]} --> n{numbers[node.key]}"
        for node in nodes
        if node.parent is not None and node.parent in numbers
    ]
    used = {node.outcome for node in nodes}
    lines += [f"  classDef {name} {style}" for name, style in _STYLES.items() if name in used]
    return "\n".join([*lines, "```"])


def _label(text: str) -> str:
    """Letters, digits and harmless signs as they are, all else as Mermaid's entities (``#`` and a number)."""
    return "".join(char if char.isalnum() or char in _KEPT else f"#{ord(char)};" for char in plain(text))
