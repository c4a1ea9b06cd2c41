"""A project on the stand-in for GitHub, for each test its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .github import GitHub, github

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[GitHub]:
    """An empty GitHub."""
    with github(tmp_path / "hub") as found:
        yield found
