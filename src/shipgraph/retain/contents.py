"""What manifests say, each read from the registry a single time ever: GitHub counts every read as a download.

What can't be read is an error that names it. Only one thing is told apart: a manifest that the registry says is not
there, for listings may still show what was deleted a moment ago.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from shipgraph.errors import MalformedDocument, NotFound
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import ImageIndex, ImageManifest, parse_manifest
from shipgraph.retain.versions import LONGEST_DOCUMENT, describe, document_layer
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.retain.memory import ContentMemory
    from shipgraph.retain.versions import ArtifactTypes, Node
    from shipgraph.store.protocols import Fetcher

CHUNK: Final = 500
"""So many manifests are held in memory at a time; what is kept of each is its ``Node``."""
READS: Final = 16


class Contents:
    """Manifests of one registry and what they say.

    Args:
        memory: where bodies are remembered.
        types: the artifacts whose documents are opened.
    """

    def __init__(self, store: Fetcher, memory: ContentMemory, types: ArtifactTypes) -> None:
        self._store, self._memory, self._types = store, memory, types
        self._reads = anyio.CapacityLimiter(READS)
        self.fetched = 0
        """Manifests and documents that were read from the registry, not from memory."""

    async def nodes(self, repository: str, digests: Iterable[str]) -> tuple[dict[str, Node], list[str]]:
        """What manifests of a repository say; and those that are not there.

        Raises:
            ContentError: a manifest, or a document that names others, isn't what it should be.
            NotFound: a manifest is there without its document.
            RegistryError: no answer, or no right to read.
        """
        wanted = list(dict.fromkeys(digests))
        found: dict[str, Node] = {}
        gone: list[str] = []
        for start in range(0, len(wanted), CHUNK):
            manifests, missing = await self.manifests(repository, wanted[start : start + CHUNK])
            gone += missing
            documents = await self._documents(repository, manifests.values())
            found.update(await anyio.to_thread.run_sync(self._describe, repository, manifests, documents))
        return found, gone

    async def manifests(
        self, repository: str, digests: Sequence[str]
    ) -> tuple[dict[str, ImageManifest | ImageIndex], list[str]]:
        """Manifests by digest, and those that are not there. Raises what ``nodes`` raises."""
        found = await anyio.to_thread.run_sync(self._remembered, repository, digests)
        missing = [digest for digest in digests if digest not in found]
        fetched = await gather([partial(self._fetch, repository, one) for one in missing], limiter=self._reads)
        new = [manifest for manifest in fetched if manifest is not None]
        if new:
            rows = [(str(manifest.digest), manifest.media_type, manifest.raw) for manifest in new]
            await anyio.to_thread.run_sync(self._memory.put, rows)
        found.update((str(manifest.digest), manifest) for manifest in new)
        return found, [digest for digest, there in zip(missing, fetched, strict=True) if there is None]

    async def document(self, repository: str, digest: str, artifact_type: str) -> bytes:
        """The content of an artifact with one layer.

        Raises:
            NotFound: it is not there, or its content isn't.
            MalformedDocument: it is no such artifact.
            ContentError, RegistryError
        """
        manifests, _ = await self.manifests(repository, [digest])
        where, manifest = f"{repository}@{digest}", manifests.get(digest)
        if manifest is None:
            raise NotFound(f"{where} is not there")
        if not isinstance(manifest, ImageManifest) or manifest.artifact_type != artifact_type:
            raise MalformedDocument(f"{where} is not an artifact of type {artifact_type}")
        if len(manifest.layers) != 1 or manifest.layers[0].size > LONGEST_DOCUMENT:
            raise MalformedDocument(f"{where} has not one document of a bearable size")
        return (await self._layers(repository, manifest.layers))[str(manifest.layers[0].digest)]

    def _remembered(self, repository: str, digests: Sequence[str]) -> dict[str, ImageManifest | ImageIndex]:
        return {
            digest: parse_manifest(
                body, media_type=kind, digest=Digest.parse(digest), where=f"manifest {repository}@{digest}"
            )
            for digest, (kind, body) in self._memory.get(digests).items()
        }

    async def _fetch(self, repository: str, digest: str) -> ImageManifest | ImageIndex | None:
        self.fetched += 1
        try:
            return await self._store.manifest(repository, Digest.parse(digest))
        except NotFound:
            return None

    async def _documents(self, repository: str, manifests: Iterable[ImageManifest | ImageIndex]) -> dict[str, bytes]:
        layers = [layer for manifest in manifests if (layer := document_layer(manifest, self._types)) is not None]
        return await self._layers(repository, layers) if layers else {}

    async def _layers(self, repository: str, layers: Iterable[Descriptor]) -> dict[str, bytes]:
        wanted = {str(layer.digest): layer for layer in layers}
        remembered = await anyio.to_thread.run_sync(self._memory.get, list(wanted))
        documents = {digest: body for digest, (_, body) in remembered.items()}
        missing = [layer for digest, layer in wanted.items() if digest not in documents]
        read = await gather([partial(self._read, repository, layer) for layer in missing], limiter=self._reads)
        rows = [(str(layer.digest), layer.media_type, body) for layer, body in zip(missing, read, strict=True)]
        if rows:
            await anyio.to_thread.run_sync(self._memory.put, rows)
        documents.update((digest, body) for digest, _, body in rows)
        return documents

    async def _read(self, repository: str, layer: Descriptor) -> bytes:
        self.fetched += 1
        async with self._store.blob(repository, layer) as pieces:
            return b"".join([piece async for piece in pieces])

    def _describe(
        self, repository: str, manifests: dict[str, ImageManifest | ImageIndex], documents: dict[str, bytes]
    ) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for digest, manifest in manifests.items():
            layer = document_layer(manifest, self._types)
            document = None if layer is None else documents[str(layer.digest)]
            found[digest] = describe(manifest, self._types, document, where=f"{repository}@{digest}")
        return found
