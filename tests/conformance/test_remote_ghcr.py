"""The client keeps the stores' contract over a registry with GHCR's habits, as far as GHCR lets it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from shipgraph.embedded.ghcr.accounts import Accounts, Pat
from shipgraph.embedded.ghcr.habits import Habits
from shipgraph.embedded.ghcr.state import Ghcr
from shipgraph.embedded.serving import serve
from shipgraph.remote import Credentials, RemoteStore
from shipgraph.store.disk import DiskStore
from shipgraph.testing.store_conformance import CHECKS, Check, Traits, name_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from shipgraph.store.protocols import Store


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
async def test_over_ghcr(check: Check, tmp_path: Path) -> None:
    @asynccontextmanager
    async def make() -> AsyncIterator[Store]:
        accounts = Accounts({"ghp_x": Pat("alice", administers=frozenset({"conformance"}))})
        ghcr = Ghcr(tmp_path / ".shipgraph", accounts, habits=Habits(write_rate=0))
        async with (
            serve(DiskStore(tmp_path), ghcr=ghcr) as address,
            RemoteStore(address, credentials=Credentials("x", "ghp_x")) as store,
        ):
            yield store

    await check(make, Traits(conditional=False, deletes_tags=False, deletes_manifests=False))
