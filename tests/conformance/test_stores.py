"""Every store keeps the protocols' contract."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from shipgraph.store.decorators.counted import Counted
from shipgraph.store.disk import DiskStore
from shipgraph.store.memory import MemoryStore
from shipgraph.testing.store_conformance import CHECKS, Check, Traits, name_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from shipgraph.store.protocols import Store


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("kind", ["memory", "disk", "counted"])
async def test_stores(kind: str, check: Check, tmp_path: Path) -> None:
    @asynccontextmanager
    async def make() -> AsyncIterator[Store]:
        match kind:
            case "memory":
                yield MemoryStore()
            case "disk":
                yield DiskStore(tmp_path)
            case _:
                yield Counted(MemoryStore())

    await check(make, Traits())
