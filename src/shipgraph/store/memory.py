"""A store in memory: the reference implementation of the protocols, for tests and simulations."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from shipgraph.errors import NotFound, Rejected, TagMoved
from shipgraph.oci.manifest import ImageIndex, ImageManifest
from shipgraph.oci.media_types import INDEXES, MANIFESTS, NONDISTRIBUTABLE
from shipgraph.oci.referrers import referrer_descriptor, referrer_type
from shipgraph.store.content import checked, from_bytes
from shipgraph.store.protocols import ANY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.oci.digest import Digest
    from shipgraph.store.protocols import BlobSource, Expect


class MemoryStore:
    """Repositories as dictionaries. ``clock`` gives seconds since the epoch."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._blobs: dict[tuple[str, Digest], bytes] = {}
        self._manifests: dict[tuple[str, Digest], ImageManifest | ImageIndex] = {}
        self._tags: dict[str, dict[str, Digest]] = {}

    async def manifest(self, repository: str, digest: Digest) -> ImageManifest | ImageIndex:
        """See ``Fetcher``."""
        try:
            return self._manifests[repository, digest]
        except KeyError:
            raise NotFound(f"manifest {repository}@{digest} is not in memory") from None

    @asynccontextmanager
    async def blob(self, repository: str, descriptor: Descriptor) -> AsyncIterator[AsyncIterator[bytes]]:
        """See ``Fetcher``."""
        try:
            content = self._blobs[repository, descriptor.digest]
        except KeyError:
            raise NotFound(f"blob {repository}@{descriptor.digest} is not in memory") from None
        async with from_bytes(content)() as pieces:
            yield checked(pieces, descriptor, where=f"blob {repository}@{descriptor.digest}")

    async def has_blob(self, repository: str, digest: Digest) -> bool:
        """See ``Prober``."""
        return (repository, digest) in self._blobs

    async def has_manifest(self, repository: str, digest: Digest) -> bool:
        """See ``Prober``."""
        return (repository, digest) in self._manifests

    async def resolve(self, repository: str, tag: str) -> Descriptor | None:
        """See ``Resolver``."""
        digest = self._tags.get(repository, {}).get(tag)
        return None if digest is None else self._manifests[repository, digest].descriptor

    async def tags(self, repository: str) -> list[str]:
        """See ``Lister``."""
        return sorted(self._tags.get(repository, {}))

    async def referrers(
        self, repository: str, digest: Digest, artifact_type: str | None = None
    ) -> tuple[Descriptor, ...]:
        """See ``ReferrersLister``."""
        return tuple(
            referrer_descriptor(manifest)
            for (name, _), manifest in self._manifests.items()
            if name == repository
            and manifest.subject is not None
            and manifest.subject.digest == digest
            and artifact_type in (None, referrer_type(manifest))
        )

    async def push_blob(
        self, repository: str, descriptor: Descriptor, source: BlobSource, *, mount_from: str | None = None
    ) -> bool:
        """See ``Pusher``."""
        if (repository, descriptor.digest) in self._blobs:
            return False
        if mount_from is not None and (mount_from, descriptor.digest) in self._blobs:
            self._blobs[repository, descriptor.digest] = self._blobs[mount_from, descriptor.digest]
            return False
        async with source() as pieces:
            where = f"blob {repository}@{descriptor.digest}"
            content = b"".join([piece async for piece in checked(pieces, descriptor, where=where)])
        self._blobs[repository, descriptor.digest] = content
        return True

    async def push_manifest(self, repository: str, manifest: ImageManifest | ImageIndex) -> None:
        """See ``Pusher``."""
        if isinstance(manifest, ImageIndex):
            missing = [str(d.digest) for d in manifest.manifests if not self._has_child(repository, d)]
        else:
            missing = [
                str(d.digest)
                for d in manifest.blobs
                if (repository, d.digest) not in self._blobs and d.media_type not in NONDISTRIBUTABLE
            ]
        if missing:
            raise Rejected(f"manifest {repository}@{manifest.digest} refers to missing {', '.join(missing)}")
        self._manifests[repository, manifest.digest] = manifest

    def _has_child(self, repository: str, child: Descriptor) -> bool:
        if child.media_type in INDEXES | MANIFESTS:
            return (repository, child.digest) in self._manifests
        return (repository, child.digest) in self._blobs  # BuildKit's cache is an index over layers

    async def tag(
        self,
        repository: str,
        tag: str,
        manifest: ImageManifest | ImageIndex,
        *,
        expect: Expect = ANY,
        once: bool = False,  # noqa: ARG002 (memory never fails half-way)
    ) -> None:
        """See ``Tagger``."""
        current = self._tags.get(repository, {}).get(tag)
        if expect is not ANY and current != expect:
            raise TagMoved(f"{repository}:{tag} is {current or 'absent'}, not {expect or 'absent'}")
        await self.push_manifest(repository, manifest)
        self._tags.setdefault(repository, {})[tag] = manifest.digest

    async def conditional(self) -> bool:
        """See ``Tagger``."""
        return True

    async def delete_manifest(self, repository: str, digest: Digest) -> None:
        """See ``Deleter``."""
        self._manifests.pop((repository, digest), None)
        tags = self._tags.get(repository, {})
        for tag in [tag for tag, there in tags.items() if there == digest]:
            del tags[tag]

    async def delete_tag(self, repository: str, tag: str) -> None:
        """See ``Deleter``."""
        self._tags.get(repository, {}).pop(tag, None)

    async def now(self) -> float:
        """See ``Clock``."""
        return self._clock()
