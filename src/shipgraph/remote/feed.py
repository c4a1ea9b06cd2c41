"""Bridges between the event loop and blocking worker threads for bodies: a feed for uploads, read-ahead for downloads.

Both keep a few pieces between the two sides, so that hashing, disk and network work at the same time in bounded memory.
"""

from __future__ import annotations

import queue
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio
import anyio.from_thread

from shipgraph.remote.transport import TransportFailure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

DEPTH: Final = 3
"""Pieces between the two sides."""


class Feed:
    """An upload's body: filled by a task, drained by the thread that sends it, which iterates over this object."""

    def __init__(self) -> None:
        self._pieces: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._room = anyio.Semaphore(DEPTH)
        self._stopped = False
        self.error: Exception | None = None
        self.drained = False
        """Whether everything was taken out, to the source's proper end."""

    async def fill(self, pieces: AsyncIterator[bytes]) -> None:
        """Take pieces from a source until it ends or fails; its error is kept in ``error``."""
        try:
            async for piece in pieces:
                await self._room.acquire()
                self._pieces.put(piece)
        except Exception as error:
            self.error = error
            self._stopped = True
        finally:
            self._pieces.put(None)

    def stop(self) -> None:
        """Nobody wants the upload any more; wakes its thread."""
        self._stopped = True
        self._pieces.put(None)

    def __iter__(self) -> Iterator[bytes]:
        while (piece := self._pieces.get()) is not None and not self._stopped:
            yield piece
            if not self._stopped:  # after stop() the event loop may be gone, and nobody waits for room
                anyio.from_thread.run_sync(self._room.release)
        if self._stopped:
            # the request must break off, not end: a body cut short must never look like a whole one
            raise TransportFailure("the source of the upload stopped")
        self.drained = True


@asynccontextmanager
async def read_ahead(pieces: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    """The same pieces, read by a task of their own a little ahead of whoever consumes them."""
    sender, receiver = anyio.create_memory_object_stream[bytes | Exception](DEPTH)
    raised: Exception | None = None

    async def produce() -> None:
        async with sender:
            try:
                async for piece in pieces:
                    await sender.send(piece)
            except anyio.BrokenResourceError:
                pass
            except Exception as error:
                await sender.send(error)

    async def consume() -> AsyncIterator[bytes]:
        async for item in receiver:
            if isinstance(item, Exception):
                raise item
            yield item

    async with receiver, anyio.create_task_group() as group:
        group.start_soon(produce)
        try:
            yield consume()
        except Exception as error:
            raised = error
        group.cancel_scope.cancel()
    if raised is not None:
        raise raised
