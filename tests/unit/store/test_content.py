"""The checking reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shipgraph.errors import DigestMismatch
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.store.content import checked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONTENT = bytes(range(256)) * 40
BLOB = Descriptor.of(media_types.LAYER_TAR, CONTENT)
OTHER = Descriptor.of(media_types.LAYER_TAR, CONTENT[::-1])


async def pieces(content: bytes = CONTENT, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def read(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in stream])


async def test_what_is_checked_is_not_checked_twice() -> None:
    once = checked(pieces(), BLOB, where="x")
    assert checked(once, BLOB, where="y") is once
    assert await read(once) == CONTENT


async def test_a_check_for_something_else_does_not_count() -> None:
    once = checked(pieces(), BLOB, where="x")
    assert checked(once, OTHER, where="y") is not once
    with pytest.raises(DigestMismatch):
        await read(checked(once, OTHER, where="y"))


async def test_what_was_begun_is_not_taken_for_the_whole() -> None:
    once = checked(pieces(), BLOB, where="x")
    await anext(once)
    with pytest.raises(DigestMismatch):
        await read(checked(once, BLOB, where="y"))


async def test_observed() -> None:
    seen: list[int] = []
    stream = checked(pieces(), BLOB, where="x").observed(seen.append)
    assert checked(stream, BLOB, where="y") is stream
    assert await read(stream) == CONTENT
    assert sum(seen) == len(CONTENT)


@pytest.mark.parametrize("size", [1, 7, 1000, len(CONTENT), 10**6])
@pytest.mark.parametrize(
    "content", [CONTENT[:-1], CONTENT + b"x", b"", CONTENT[::-1], CONTENT[:-1] + b"?"], ids=lambda c: str(len(c))
)
async def test_a_wrong_body_never_comes_out_whole(content: bytes, size: int) -> None:
    got: list[int] = []
    stream = checked(pieces(content, size), BLOB, where="x").observed(got.append)
    with pytest.raises(DigestMismatch):
        await read(stream)
    assert sum(got) < max(1, len(content))
