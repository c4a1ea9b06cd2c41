"""The command reference is what the program's own help says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from shipgraph.cli.main import COMMANDS
from shipgraph.cli.reference import reference

PUBLISHED = Path(__file__).parents[3] / "docs" / "reference" / "commands.md"


def test_the_published_reference_is_current() -> None:
    """In a process of its own: a command that was called without the program keeps the help option of that call."""
    made = subprocess.run(
        [sys.executable, "-m", "shipgraph.cli.reference"], check=True, capture_output=True, text=True
    ).stdout
    assert PUBLISHED.read_text() == made, "run `python -m shipgraph.cli.reference > docs/reference/commands.md`"


def test_it_names_every_command() -> None:
    text = reference()
    assert [name for name in COMMANDS if f"## `shipgraph {name}`" not in text] == []
