"""A project and its registry, which runs in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .project import Control, Demo, make, registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    with registry(tmp_path / "registry", tmp_path / "server.log") as found:
        yield found


@pytest.fixture
def demo(tmp_path: Path, control: Control) -> Demo:
    """Two releases that are in the registry; the first one is published, the second one is checked out."""
    made = make(tmp_path / "project", tmp_path / "registry", control.host, "margin = 1")
    for number in (1, 2):
        made.commit(number)
        made.run("payload")
        if number == 1:
            made.run("finalize")
    return made
