"""Registries with something to be proven in them, and authorities."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tests.real.registries import distribution_v3
from tests.unit.scan.images import AMD64, ARM64, layer, push_image, push_index

from shipgraph.embedded.ghcr.accounts import Accounts, Workflow
from shipgraph.embedded.ghcr.habits import Habits
from shipgraph.embedded.ghcr.state import Ghcr
from shipgraph.embedded.serving import serve
from shipgraph.evidence.bundle import parse_bundle
from shipgraph.evidence.referrers import attach_bundle
from shipgraph.evidence.statement import parse_statement
from shipgraph.remote import Credentials, RemoteStore
from shipgraph.store.disk import DiskStore

from .authorities import Authorities, running_authorities
from .node import node_modules

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.oci.manifest import ImageIndex, ImageManifest

GHCR = Accounts({"ghs_release": Workflow("acme/demo")}, {"acme/demo": "public"})


@dataclass(frozen=True)
class Shop:
    """A registry, and our client of it."""

    address: str
    store: RemoteStore

    async def image(self, repository: str) -> tuple[ImageIndex, dict[str, ImageManifest]]:
        """Push an image of two platforms."""
        platforms = {
            platform: await push_image(self.store, repository, [layer({"arch": str(platform).encode()})])
            for platform in (AMD64, ARM64)
        }
        index = await push_index(self.store, repository, platforms)
        return index, {str(platform): manifest for platform, manifest in platforms.items()}

    async def attach(self, repository: str, raw: bytes, subject: Descriptor) -> None:
        """Make a bundle a referrer of a subject, whatever it says."""
        bundle = parse_bundle(raw, where="bundle")
        statement = parse_statement(bundle.envelope.payload, where="statement")
        await attach_bundle(self.store, repository, bundle, statement, subject)


@asynccontextmanager
async def opened(kind: str, root: Path) -> AsyncIterator[Shop]:
    """A registry of a kind, empty."""
    if kind == "distribution":
        with distribution_v3(root) as address:
            async with RemoteStore(address) as store:
                yield Shop(address, store)
        return
    ghcr = Ghcr(root / ".shipgraph", GHCR, habits=Habits(write_rate=0)) if kind == "ghcr" else None
    credentials = Credentials("job", "ghs_release") if kind == "ghcr" else None
    async with (
        serve(DiskStore(root, durable=False), ghcr=ghcr) as address,
        RemoteStore(address, credentials=credentials) as store,
    ):
        yield Shop(address, store)


@pytest.fixture(params=["embedded", "ghcr", "distribution"])
async def any_shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shop]:
    """Each kind: with the referrers API, and without it (where referrers are found by a tag)."""
    async with opened(request.param, tmp_path / "registry") as shop:
        yield shop


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """The embedded registry."""
    async with opened("embedded", tmp_path / "registry") as shop:
        yield shop


@pytest.fixture(scope="session")
def modules() -> Path:
    """Node's packages."""
    return node_modules()


@pytest.fixture(scope="session")
def authorities() -> Iterator[Authorities]:
    """The authorities that are trusted."""
    with running_authorities() as found:
        yield found


@pytest.fixture(scope="session")
def other_authorities() -> Iterator[Authorities]:
    """Others, that sign whatever is asked of them and that nobody trusts."""
    with running_authorities() as found:
        yield found
