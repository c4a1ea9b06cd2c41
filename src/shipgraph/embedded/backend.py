"""What the server needs of a store, beyond what a client needs: sizes, ranges, uploads in pieces, deletion of blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from shipgraph.store.protocols import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from shipgraph.oci.digest import Digest
    from shipgraph.store.protocols import Stream


class Upload(Protocol):
    """An upload that nobody else writes to while it is held."""

    offset: int
    """Bytes that are there."""

    async def append(self, chunks: AsyncIterator[bytes], *, limit: int | None = None) -> None:
        """Add to it; what came before an error stays."""
        ...

    async def commit(self, digest: Digest) -> None:
        """Make it a blob; over whatever comes of it.

        Raises:
            DigestMismatch
        """
        ...

    async def discard(self) -> None:
        """Throw it away."""
        ...


class Backend(Store, Protocol):
    """A store that can be served. ``DiskStore`` is one."""

    async def blob_size(self, repository: str, digest: Digest) -> int | None:
        """Length in bytes of a blob, or None if it is not there."""
        ...

    def blob_range(self, repository: str, digest: Digest, start: int = 0, stop: int | None = None) -> Stream:
        """Bytes ``start`` to ``stop`` (exclusive) of a blob, unchecked: it is the client who checks."""
        ...

    async def exists(self, repository: str) -> bool:
        """Whether anything was ever stored in a repository."""
        ...

    async def repositories(self) -> list[str]:
        """The names of all repositories, sorted."""
        ...

    async def begin_upload(self, repository: str) -> str:
        """Start an upload; its identifier."""
        ...

    def upload(self, repository: str, identifier: str) -> AbstractAsyncContextManager[Upload]:
        """Hold an upload while the block runs.

        Raises:
            NotFound: there is none.
            Rejected: somebody else holds it.
        """
        ...

    async def mount_blob(self, source: str, target: str, digest: Digest) -> bool:
        """Let a blob of one repository be in another too; whether that was possible."""
        ...

    async def delete_blob(self, repository: str, digest: Digest) -> bool:
        """Delete a blob; whether it was there."""
        ...

    async def clean(self) -> int:
        """Remove uploads that were given up."""
        ...
