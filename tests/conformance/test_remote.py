"""The client keeps the stores' contract over the embedded registry and over registries of others."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.real.registries import distribution_v3, docker_registry

from shipgraph.embedded.serving import serve
from shipgraph.remote import RemoteStore
from shipgraph.store.disk import DiskStore
from shipgraph.testing.store_conformance import CHECKS, Check, Traits, name_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from shipgraph.store.protocols import Store

REAL = {
    "docker-registry": (docker_registry, Traits(conditional=False, deletes_tags=False)),
    "distribution-v3": (distribution_v3, Traits(conditional=False)),
}


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
async def test_over_the_embedded_registry(check: Check, tmp_path: Path) -> None:
    @asynccontextmanager
    async def make() -> AsyncIterator[Store]:
        async with serve(DiskStore(tmp_path)) as address, RemoteStore(address, credentials=None) as store:
            yield store

    await check(make, Traits())


@pytest.fixture(scope="module", params=sorted(REAL))
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Traits]]:
    """A registry of others, one for all checks."""
    start, traits = REAL[request.param]
    directory: Path = tmp_path_factory.mktemp(request.param)
    with start(directory) as address:
        yield address, traits


@pytest.mark.real
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
async def test_over_registries_of_others(check: Check, registry: tuple[str, Traits]) -> None:
    address, traits = registry

    @asynccontextmanager
    async def make() -> AsyncIterator[Store]:
        async with RemoteStore(address, credentials=None) as store:
            yield store

    await check(make, traits)
