"""From a store's pieces to a reader in a thread: parsing and scanning compute, so they leave the event loop alone."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Protocol, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread

from shipgraph.errors import ShipgraphError
from shipgraph.tasks import first_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.streams.memory import MemoryObjectSendStream

    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.store.protocols import Fetcher

T = TypeVar("T")
AHEAD = 4
"""Pieces that are fetched while the thread is still busy with the ones before."""


class Reader(Protocol):
    """Hands out bytes from front to back."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes, at least one unless this is the end."""
        ...


async def read_in_thread(
    fetcher: Fetcher,
    repository: str,
    descriptor: Descriptor,
    work: Callable[[Reader], T],
    *,
    limiter: anyio.CapacityLimiter | None = None,
    observe: Callable[[int], None] | None = None,
) -> T:
    """The result of ``work`` on a blob, in a thread; it counts only once the whole blob has been found right.

    Args:
        work: reads as much as it wants; the rest is read and checked for it.
        limiter: bounds the threads.
        observe: told the length of each piece, in the event loop.

    Raises:
        NotFound, DigestMismatch, RegistryError: of the fetcher; and whatever ``work`` raises.
    """
    send, receive = anyio.create_memory_object_stream[bytes](AHEAD)
    failed: list[Exception] = []

    async def receive_piece() -> bytes:
        try:
            return await receive.receive()
        except anyio.EndOfStream:
            if failed:
                raise failed[0] from None
            return b""

    def call() -> T:
        reader = _Pieces(lambda: anyio.from_thread.run(receive_piece))
        result = work(reader)
        while reader.read(1 << 30):
            pass
        return result

    results: list[T] = []
    async with limiter or anyio.CapacityLimiter(1):
        try:
            async with fetcher.blob(repository, descriptor) as pieces, anyio.create_task_group() as group:
                group.start_soon(_feed, pieces, send, observe, failed)
                results.append(await anyio.to_thread.run_sync(call, limiter=anyio.CapacityLimiter(1)))
        except BaseExceptionGroup as errors:
            error = first_error(errors)
            if isinstance(error, concurrent.futures.CancelledError):
                await anyio.lowlevel.checkpoint()  # the thread noticed first that all of this is cancelled
            raise error from None
        finally:
            send.close()
            receive.close()
    return results[0]


async def _feed(
    pieces: AsyncIterator[bytes],
    send: MemoryObjectSendStream[bytes],
    observe: Callable[[int], None] | None,
    failed: list[Exception],
) -> None:
    """Hand pieces over; an error comes out of the thread's next read, where the work can't go on without it."""
    with send:
        try:
            async for piece in pieces:
                if observe is not None:
                    observe(len(piece))
                if piece:
                    await send.send(piece)
        except ShipgraphError as error:
            failed.append(error)


class _Pieces:
    """A reader over pieces that are pulled one by one."""

    def __init__(self, pull: Callable[[], bytes]) -> None:
        self._pull = pull
        self._piece = b""
        self._at = 0

    def read(self, size: int, /) -> bytes:
        """See ``Reader``."""
        if self._at >= len(self._piece):
            self._piece, self._at = self._pull(), 0
        start, self._at = self._at, min(self._at + size, len(self._piece))
        return self._piece if start == 0 and self._at == len(self._piece) else self._piece[start : self._at]


class Buffered:
    """A reader with exact reads and a look ahead over another one."""

    def __init__(self, source: Reader, *, ahead: bytes = b"") -> None:
        self._source = source
        self._held = ahead
        self._at = 0

    def read(self, size: int, /) -> bytes:
        """See ``Reader``."""
        if self._at < len(self._held):
            start, self._at = self._at, min(self._at + size, len(self._held))
            taken = self._held[start : self._at]
            if self._at == len(self._held):
                self._held, self._at = b"", 0
            return taken
        return self._source.read(size)

    def peek(self, size: int) -> bytes:
        """The next ``size`` bytes, or fewer at the end, without taking them."""
        if len(self._held) - self._at < size:
            self._held, self._at = self.take(size), 0
        return self._held[self._at : self._at + size]

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes, or fewer at the end."""
        first = self.read(size)
        if len(first) == size or not first:
            return first
        parts, missing = [first], size - len(first)
        while missing and (part := self.read(missing)):
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def skip(self, size: int) -> int:
        """Leave out ``size`` bytes; how many there really were."""
        left = size
        while left and (part := self.read(min(left, 1 << 20))):
            left -= len(part)
        return size - left
