"""Stores in memory, and a builder that makes images out of nothing."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import anyio
import pytest

from shipgraph.build.builder import BaseImage, BuildOutcome, BuildRequest
from shipgraph.build.context import read_context
from shipgraph.build.stage import PlatformBuild
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import ImageIndex, ImageManifest, encode_json, parse_manifest
from shipgraph.oci.platform import Platform
from shipgraph.store.content import from_bytes
from shipgraph.store.memory import MemoryStore
from shipgraph.store.protocols import ANY

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.events import Emit
    from shipgraph.store.protocols import Expect

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
METADATA = "acme/tool-metadata"


class LastWriterWins(MemoryStore):
    """A registry as most are: no compare-and-swap of tags."""

    async def tag(
        self,
        repository: str,
        tag: str,
        manifest: ImageManifest | ImageIndex,
        *,
        expect: Expect = ANY,
        once: bool = False,
    ) -> None:
        await super().tag(repository, tag, manifest)

    async def conditional(self) -> bool:
        return False


async def push_image(
    store: MemoryStore,
    repository: str,
    layers: list[bytes],
    *,
    platform: Platform = AMD64,
    level: int = 9,
    docker: bool = False,
) -> ImageManifest:
    """An image of layers of raw content; ``level`` changes how they are packed and so the blobs' digests."""
    blobs = [gzip.compress(layer, level, mtime=0) for layer in layers]
    config = encode_json(
        {
            "architecture": platform.architecture,
            "os": platform.os,
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer)) for layer in layers]},
        }
    )
    layer_type = "application/vnd.docker.image.rootfs.diff.tar.gzip" if docker else media_types.LAYER_TAR_GZIP
    config_type = "application/vnd.docker.container.image.v1+json" if docker else media_types.IMAGE_CONFIG
    descriptors = [Descriptor.of(layer_type, blob, annotations={"note": "builder's"}) for blob in blobs]
    for descriptor, blob in zip(descriptors, blobs, strict=True):
        await store.push_blob(repository, descriptor, from_bytes(blob))
    config_descriptor = Descriptor.of(config_type, config)
    await store.push_blob(repository, config_descriptor, from_bytes(config))
    manifest = parse_manifest(
        json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": media_types.DOCKER_MANIFEST if docker else media_types.IMAGE_MANIFEST,
                "config": config_descriptor.to_json(),
                "layers": [descriptor.to_json() for descriptor in descriptors],
            }
        ).encode()
    )
    assert isinstance(manifest, ImageManifest)
    await store.push_manifest(repository, manifest)
    return manifest


class FakeBuilder:
    """Its images have the base's layers and one of their own; ``salt`` makes builds come out differently."""

    description = "fake 1"

    def __init__(self, store: MemoryStore, *, salt: str = "") -> None:
        self._store, self._salt = store, salt
        self.requests: list[BuildRequest] = []
        self.layers: dict[Digest, list[bytes]] = {}

    async def build(self, request: BuildRequest, *, emit: Emit) -> BuildOutcome:
        self.requests.append(request)
        below: list[bytes] = []
        if request.base is not None:
            base = await self._store.manifest(request.base.repository, request.base.digest)
            assert isinstance(base, ImageManifest)
            for layer in base.layers:
                async with self._store.blob(request.base.repository, layer) as pieces:
                    below.append(gzip.decompress(b"".join([piece async for piece in pieces])))
        layers = [*below, f"{request.image} {self._salt}".encode() * 100]
        image = await push_image(self._store, request.repository, layers, platform=request.platform, level=1)
        return BuildOutcome(image.digest)


@pytest.fixture
def job() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def target() -> MemoryStore:
    return LastWriterWins()


async def no_sleep(seconds: float) -> None:
    """Time that passes at once."""


async def planned(
    folder: Path, *, image: str = "tool", base: BaseImage | None = None, parent: bool = False, **more: object
) -> PlatformBuild:
    """A build of a folder with a Dockerfile."""
    await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
    (folder / "Dockerfile").write_text(f"FROM scratch\n# {image}\n")
    settings: dict[str, object] = {
        "image": image,
        "repository": f"acme/{image}",
        "platform": AMD64,
        "context": await read_context(folder, folder / "Dockerfile"),
        "dockerfile": folder / "Dockerfile",
        "base": base,
        "parent": parent,
        "commit": COMMIT,
        "created": 1_700_000_000,
        **more,
    }
    return PlatformBuild(**settings)  # type: ignore[arg-type]
