"""The command reference is what the program's own help says."""

from __future__ import annotations

from pathlib import Path

from shipgraph.cli.main import COMMANDS
from shipgraph.cli.reference import reference

PUBLISHED = Path(__file__).parents[3] / "docs" / "reference" / "commands.md"


def test_the_published_reference_is_current() -> None:
    assert PUBLISHED.read_text() == reference(), "run `python -m shipgraph.cli.reference > docs/reference/commands.md`"


def test_it_names_every_command() -> None:
    text = reference()
    assert [name for name in COMMANDS if f"## `shipgraph {name}`" not in text] == []
