"""Blob content: sources, and the checking reader, which is the only way a body leaves a store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio.to_thread

from shipgraph.errors import DigestMismatch, MalformedDocument
from shipgraph.store.protocols import PIECE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.store.protocols import BlobSource, Fetcher

SMALL = 8 << 20
"""Bytes; documents that are read whole (records, metadata, configurations) may not be larger."""


class Checked(AsyncIterator[bytes]):
    """Pieces on their way, counted and hashed; the last is held back until the whole has been found right.

    Whoever gets this object knows that its end means the descriptor's content, and need not hash it again.
    """

    def __init__(self, pieces: AsyncIterator[bytes], descriptor: Descriptor, where: str) -> None:
        self.descriptor = descriptor
        self.begun = False
        self._pieces = _checked(pieces, descriptor, where)
        self._observe: Callable[[int], None] | None = None

    def observed(self, observe: Callable[[int], None]) -> Checked:
        """The same, but ``observe`` is told the length of each piece."""
        self._observe = observe
        return self

    def __aiter__(self) -> Checked:
        return self

    async def __anext__(self) -> bytes:
        self.begun = True
        piece = await anext(self._pieces)
        if self._observe is not None:
            self._observe(len(piece))
        return piece


def checked(pieces: AsyncIterator[bytes], descriptor: Descriptor, *, where: str) -> Checked:
    """Pass pieces on while counting and hashing them; pieces that are checked for this descriptor are left alone.

    Raises (while iterating):
        DigestMismatch: too long (at once), too short, or of another digest (at the end).
    """
    if (
        type(pieces) is Checked
        and not pieces.begun
        and pieces.descriptor.digest == descriptor.digest
        and pieces.descriptor.size == descriptor.size
    ):
        return pieces
    return Checked(pieces, descriptor, where)


async def _checked(pieces: AsyncIterator[bytes], descriptor: Descriptor, where: str) -> AsyncIterator[bytes]:
    hasher = descriptor.digest.hasher()
    size = 0
    held: bytes | None = None
    async for piece in pieces:
        size += len(piece)
        if size > descriptor.size:
            raise DigestMismatch(where, want=f"{descriptor.size} bytes", got="more")
        if len(piece) >= PIECE // 16:
            await anyio.to_thread.run_sync(hasher.update, piece)
        else:
            hasher.update(piece)
        if held is not None:
            yield held
        held = piece
    if size != descriptor.size:
        raise DigestMismatch(where, want=f"{descriptor.size} bytes", got=f"{size} bytes")
    if hasher.hexdigest() != descriptor.digest.hex:
        raise DigestMismatch(
            where, want=str(descriptor.digest), got=f"{descriptor.digest.algorithm}:{hasher.hexdigest()}"
        )
    if held is not None:
        yield held


def from_bytes(content: bytes) -> BlobSource:
    """A source over bytes in memory."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), PIECE):
            yield content[start : start + PIECE]

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
        yield pieces()

    return opened


def from_file(path: Path) -> BlobSource:
    """A source over a file, read in pieces off the event loop."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
        async with await anyio.open_file(path, "rb") as file:

            async def pieces() -> AsyncIterator[bytes]:
                while piece := await file.read(PIECE):
                    yield piece

            yield pieces()

    return opened


async def read_blob(fetcher: Fetcher, repository: str, descriptor: Descriptor) -> bytes:
    """A small blob as a whole.

    Raises:
        MalformedDocument: it says that it is larger than ``SMALL``.
        NotFound, DigestMismatch, RegistryError
    """
    if descriptor.size > SMALL:
        raise MalformedDocument(
            f"{repository}@{descriptor.digest} has {descriptor.size} bytes, more than a document may"
        )
    async with fetcher.blob(repository, descriptor) as pieces:
        return b"".join([piece async for piece in pieces])
