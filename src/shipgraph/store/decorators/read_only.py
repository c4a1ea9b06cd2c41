"""A store that can only be read: who gets it *cannot* change anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.oci.digest import Digest
    from shipgraph.oci.manifest import ImageIndex, ImageManifest
    from shipgraph.store.protocols import Reader, Stream


class ReadOnly:
    """A ``Reader`` over a store, without any way to write."""

    __slots__ = ("_reader",)

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def manifest(self, repository: str, digest: Digest) -> ImageManifest | ImageIndex:
        """See ``Fetcher``."""
        return await self._reader.manifest(repository, digest)

    def blob(self, repository: str, descriptor: Descriptor) -> Stream:
        """See ``Fetcher``."""
        return self._reader.blob(repository, descriptor)

    async def has_blob(self, repository: str, digest: Digest) -> bool:
        """See ``Prober``."""
        return await self._reader.has_blob(repository, digest)

    async def has_manifest(self, repository: str, digest: Digest) -> bool:
        """See ``Prober``."""
        return await self._reader.has_manifest(repository, digest)

    async def resolve(self, repository: str, tag: str) -> Descriptor | None:
        """See ``Resolver``."""
        return await self._reader.resolve(repository, tag)

    async def tags(self, repository: str) -> list[str]:
        """See ``Lister``."""
        return await self._reader.tags(repository)

    async def referrers(
        self, repository: str, digest: Digest, artifact_type: str | None = None
    ) -> tuple[Descriptor, ...]:
        """See ``ReferrersLister``."""
        return await self._reader.referrers(repository, digest, artifact_type)

    async def now(self) -> float:
        """See ``Clock``."""
        return await self._reader.now()
