"""A store with one place through which every call goes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shipgraph.store.protocols import ANY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.oci.digest import Digest
    from shipgraph.oci.manifest import ImageIndex, ImageManifest
    from shipgraph.store.protocols import BlobSource, Expect, Store


@dataclass(frozen=True, slots=True)
class Call:
    """One call: the method's name, the repository (empty where there is none), and the digest or tag it is about."""

    method: str
    repository: str = ""
    thing: str = ""

    @property
    def writes(self) -> bool:
        """Whether it may change the store."""
        return self.method in {"push_blob", "push_manifest", "tag", "delete_manifest", "delete_tag"}


class Intercepted:
    """A ``Store`` over another. Subclasses say in ``around`` what happens before and after each call."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def around(self, call: Call) -> AbstractAsyncContextManager[None]:  # noqa: ARG002 (for subclasses)
        """Entered before the call and left after it; for ``blob``, after the stream is closed."""
        return _nothing()

    async def manifest(self, repository: str, digest: Digest) -> ImageManifest | ImageIndex:
        """See ``Fetcher``."""
        async with self.around(Call("manifest", repository, str(digest))):
            return await self._store.manifest(repository, digest)

    @asynccontextmanager
    async def blob(self, repository: str, descriptor: Descriptor) -> AsyncIterator[AsyncIterator[bytes]]:
        """See ``Fetcher``."""
        call = Call("blob", repository, str(descriptor.digest))
        async with self.around(call), self._store.blob(repository, descriptor) as pieces:
            yield pieces

    async def has_blob(self, repository: str, digest: Digest) -> bool:
        """See ``Prober``."""
        async with self.around(Call("has_blob", repository, str(digest))):
            return await self._store.has_blob(repository, digest)

    async def has_manifest(self, repository: str, digest: Digest) -> bool:
        """See ``Prober``."""
        async with self.around(Call("has_manifest", repository, str(digest))):
            return await self._store.has_manifest(repository, digest)

    async def resolve(self, repository: str, tag: str) -> Descriptor | None:
        """See ``Resolver``."""
        async with self.around(Call("resolve", repository, tag)):
            return await self._store.resolve(repository, tag)

    async def tags(self, repository: str) -> list[str]:
        """See ``Lister``."""
        async with self.around(Call("tags", repository)):
            return await self._store.tags(repository)

    async def referrers(
        self, repository: str, digest: Digest, artifact_type: str | None = None
    ) -> tuple[Descriptor, ...]:
        """See ``ReferrersLister``."""
        async with self.around(Call("referrers", repository, str(digest))):
            return await self._store.referrers(repository, digest, artifact_type)

    async def push_blob(
        self, repository: str, descriptor: Descriptor, source: BlobSource, *, mount_from: str | None = None
    ) -> bool:
        """See ``Pusher``."""
        async with self.around(Call("push_blob", repository, str(descriptor.digest))):
            return await self._store.push_blob(repository, descriptor, source, mount_from=mount_from)

    async def push_manifest(self, repository: str, manifest: ImageManifest | ImageIndex) -> None:
        """See ``Pusher``."""
        async with self.around(Call("push_manifest", repository, str(manifest.digest))):
            await self._store.push_manifest(repository, manifest)

    async def tag(
        self,
        repository: str,
        tag: str,
        manifest: ImageManifest | ImageIndex,
        *,
        expect: Expect = ANY,
        once: bool = False,
    ) -> None:
        """See ``Tagger``."""
        async with self.around(Call("tag", repository, tag)):
            await self._store.tag(repository, tag, manifest, expect=expect, once=once)

    async def conditional(self) -> bool:
        """See ``Tagger``."""
        async with self.around(Call("conditional")):
            return await self._store.conditional()

    async def delete_manifest(self, repository: str, digest: Digest) -> None:
        """See ``Deleter``."""
        async with self.around(Call("delete_manifest", repository, str(digest))):
            await self._store.delete_manifest(repository, digest)

    async def delete_tag(self, repository: str, tag: str) -> None:
        """See ``Deleter``."""
        async with self.around(Call("delete_tag", repository, tag)):
            await self._store.delete_tag(repository, tag)

    async def now(self) -> float:
        """See ``Clock``."""
        async with self.around(Call("now")):
            return await self._store.now()


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield
