"""The table of what went wrong before names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
ROWS = 18


def test_every_defect_of_the_table_has_a_test() -> None:
    page = (ROOT / "docs" / "github-actions.md").read_text()
    rows = re.findall(r"^\| (\d+) \|.*\| ([^|]+) \|$", page, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, ROWS + 1))
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^\s*(?:async )?def (test_\w+)\(", path.read_text(), re.MULTILINE)
    }
    for number, tests in rows:
        named = re.findall(r"`(\w+)`", tests)
        assert named, f"defect {number} has no test"
        assert set(named) <= defined, f"defect {number}: {set(named) - defined}"
