"""Make the SBOM of each platform's manifest and attach it: an OCI referrer of type application/vnd.cyclonedx+json."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio
import anyio.to_thread
import msgspec

from shipgraph.errors import MalformedDocument
from shipgraph.events import Finished, Started
from shipgraph.layers.reading import read_in_thread
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.manifest import EMPTY_CONFIG, EMPTY_DESCRIPTOR, ImageManifest, build_artifact
from shipgraph.sbom.document import build_image_sbom
from shipgraph.sbom.layers import LayerPackages, read_layer, stack
from shipgraph.store.content import from_bytes, read_blob
from shipgraph.store.protocols import Fetcher, Pusher, ReferrersLister
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from shipgraph.events import Emit
    from shipgraph.oci.digest import Digest
    from shipgraph.oci.platform import Platform

GENERATOR: Final = "dev.shipgraph.sbom.generator"
VERSION: Final = "shipgraph 1"
"""Changes when the same manifest would get another SBOM."""
THREADS: Final = 2
_TAR: Final = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")


class SbomStore(Fetcher, ReferrersLister, Pusher, Protocol):
    """What attaching an SBOM needs of a store."""


class SbomMaker:
    """Makes SBOMs; a layer that several images share is read once."""

    def __init__(self, *, threads: int = THREADS) -> None:
        self._limiter = anyio.CapacityLimiter(threads)
        self._known: dict[Digest, LayerPackages] = {}
        self._locks: dict[Digest, anyio.Lock] = {}

    async def make(
        self, fetcher: Fetcher, repository: str, manifest: ImageManifest, platform: Platform | None
    ) -> bytes:
        """The SBOM of one platform's image.

        Raises:
            MalformedDocument: it is no image, or a layer is no tar archive.
            ContentError, RegistryError
        """
        if manifest.artifact_type is not None or not all(la.media_type.startswith(_TAR) for la in manifest.layers):
            raise MalformedDocument(f"{repository}@{manifest.digest} is no image, so it has no SBOM of this kind")
        config = await read_blob(fetcher, repository, manifest.config)
        layers = await gather([partial(self._layer, fetcher, repository, layer) for layer in manifest.layers])
        contents = stack(layers)
        return await anyio.to_thread.run_sync(
            lambda: build_image_sbom(repository, manifest.digest, platform, contents, timestamp=_created(config))
        )

    async def attach(
        self,
        store: SbomStore,
        repository: str,
        manifest: ImageManifest,
        platform: Platform | None,
        *,
        source: Fetcher | None = None,
        emit: Emit,
    ) -> Descriptor:
        """Attach the SBOM to the manifest unless it is there; the descriptor of the artifact.

        Args:
            source: where the layers are read, if that is nearer (the job's registry).

        Raises:
            MalformedDocument, ContentError, RegistryError
        """
        for known in await store.referrers(repository, manifest.digest, media_types.CYCLONEDX_JSON):
            if known.annotations.get(GENERATOR) == VERSION:
                return known
        task = f"sbom:{manifest.digest}"
        title = f"SBOM of {repository.rpartition('/')[2]}" + (f" {platform}" if platform else "")
        emit(Started(task, title))
        began = time.monotonic()
        content = await self.make(source or store, repository, manifest, platform)
        artifact = sbom_artifact(manifest, content)
        for descriptor, data in ((EMPTY_DESCRIPTOR, EMPTY_CONFIG), (artifact.layers[0], content)):
            await store.push_blob(repository, descriptor, from_bytes(data))
        await store.push_manifest(repository, artifact)
        emit(Finished(task, title, "attached", time.monotonic() - began))
        return artifact.descriptor

    async def _layer(self, fetcher: Fetcher, repository: str, layer: Descriptor) -> LayerPackages:
        async with self._locks.setdefault(layer.digest, anyio.Lock()):
            if layer.digest not in self._known:
                self._known[layer.digest] = await read_in_thread(
                    fetcher, repository, layer, read_layer, limiter=self._limiter
                )
            return self._known[layer.digest]


def sbom_artifact(subject: ImageManifest, content: bytes) -> ImageManifest:
    """The referrer that holds an SBOM."""
    layer = Descriptor.of(
        media_types.CYCLONEDX_JSON, content, annotations={media_types.ANNOTATION_TITLE: "sbom.cdx.json"}
    )
    return build_artifact(
        media_types.CYCLONEDX_JSON, [layer], subject=subject.descriptor, annotations={GENERATOR: VERSION}
    )


def _created(config: bytes) -> int:
    """When the image says that it was made (the commit's time, for those built here); the epoch where it doesn't."""
    try:
        document: Any = msgspec.json.decode(config)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedDocument(f"an image's configuration is not JSON: {error}") from None
    text = document.get("created") if isinstance(document, dict) else None
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return 0
    if found is None:
        return 0
    return int(found.replace(tzinfo=found.tzinfo or UTC).timestamp())
