"""Settings of the whole test suite."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The one event loop that shipgraph runs on."""
    return "asyncio"
