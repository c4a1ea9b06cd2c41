"""A blob read in a thread: errors come out as themselves, the whole is checked, cancelling ends it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from shipgraph.errors import DigestMismatch, RegistryUnavailable
from shipgraph.layers.reading import Buffered, Reader, read_in_thread
from shipgraph.oci.descriptor import Descriptor
from shipgraph.store.content import checked, from_bytes
from shipgraph.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONTENT = bytes(range(256)) * 20_000
BLOB = Descriptor.of("x", CONTENT)


class Source(MemoryStore):
    """Hands out 64 kB pieces, and may fail or hang after some of them."""

    def __init__(self, content: bytes = CONTENT, *, stop: int | None = None, error: Exception | None = None) -> None:
        super().__init__()
        self.content, self.stop, self.error = content, stop, error

    @asynccontextmanager
    async def blob(self, repository: str, descriptor: Descriptor) -> AsyncIterator[AsyncIterator[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            for number, start in enumerate(range(0, len(self.content), 65536)):
                if number == self.stop:
                    if self.error is not None:
                        raise self.error
                    await anyio.sleep_forever()
                yield self.content[start : start + 65536]

        yield checked(pieces(), descriptor, where="blob")


def size(reader: Reader) -> int:
    total = 0
    while piece := reader.read(100_000):
        total += len(piece)
    return total


async def read(source: Any, work: Any = size) -> Any:
    return await read_in_thread(source, "r", BLOB, work)


async def test_all_of_it_and_what_the_work_leaves_is_checked() -> None:
    told: list[int] = []
    assert await read_in_thread(Source(), "r", BLOB, size, observe=told.append) == len(CONTENT)
    assert sum(told) == len(CONTENT)
    assert await read(Source(), lambda reader: reader.read(3)) == CONTENT[:3]
    forged = CONTENT[:-1] + b"x"
    with pytest.raises(DigestMismatch):
        await read(Source(forged), lambda reader: reader.read(3))


async def test_errors() -> None:
    with pytest.raises(RegistryUnavailable, match="away"):
        await read(Source(stop=30, error=RegistryUnavailable("away")))

    def fails(reader: Reader) -> int:
        reader.read(10)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await read(Source(), fails)


async def test_cancelling_ends_the_thread() -> None:
    with anyio.fail_after(10):
        with anyio.move_on_after(0.2) as scope:
            await read(Source(stop=30))
        assert scope.cancelled_caught


async def test_memory_store() -> None:
    store = MemoryStore()
    await store.push_blob("r", BLOB, from_bytes(CONTENT))
    assert await read(store) == len(CONTENT)


def test_looking_ahead() -> None:
    import io

    source = Buffered(io.BytesIO(b"abcdefgh"))
    assert (source.peek(3), source.read(2), source.peek(4), source.take(5)) == (b"abc", b"ab", b"cdef", b"cdefg")
    assert source.peek(10) == b"h"
    assert source.skip(5) == 1
    assert (source.read(1), source.peek(1), source.take(1)) == (b"", b"", b"")
