"""What docs/threat-model.md says is shown by tests has tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
PAGE = TESTS.parent / "docs" / "threat-model.md"
ROWS = [line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| **")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: re.sub(r"\W+", "-", row[0].partition("**:")[0]).strip("-"))
def test_every_attack_names_tests_that_are_there(row: list[str]) -> None:
    assert len(row) == 3
    named = re.findall(r"`([^`]+\.py)`", row[2])
    assert named
    for name in named:
        assert "def test_" in (TESTS / name).read_text()


def test_the_attacks_that_a_consumer_must_withstand_are_all_there() -> None:
    attacks = " ".join(row[0].lower() for row in ROWS)
    for word in ("rollback", "freeze", "mix-and-match", "forged provenance", "endless data"):
        assert word in attacks
    assert "stolen registry token" in PAGE.read_text(), "what is not stopped is said too"
