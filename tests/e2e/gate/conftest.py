"""What end-to-end tests of the gate share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shipgraph.scan.kingfisher import Kingfisher

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def kingfisher(tmp_path_factory: pytest.TempPathFactory) -> Kingfisher:
    """The real scanner; its rules are compiled once."""
    folder: Path = tmp_path_factory.mktemp("rules")
    return Kingfisher(folder)
