"""Copying: what is sent, in which order, and what hostile indexes get."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shipgraph.errors import DigestMismatch, MalformedDocument, NotFound, Rejected
from shipgraph.events import Event, Progressed
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.manifest import ImageIndex, ImageManifest, build_artifact, build_index
from shipgraph.store import copy
from shipgraph.store.content import from_bytes
from shipgraph.store.copy import CopyResult, copy_manifest
from shipgraph.store.decorators.counted import Counted
from shipgraph.store.decorators.faulty import Faulty
from shipgraph.store.memory import MemoryStore
from shipgraph.store.protocols import PIECE

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from shipgraph.oci.digest import Digest

TYPE = "application/vnd.example.test.v1+json"


async def image(store: MemoryStore, *contents: bytes) -> ImageManifest:
    layers = [Descriptor.of(media_types.LAYER_TAR, content) for content in contents]
    for layer, content in zip(layers, contents, strict=True):
        await store.push_blob("from", layer, from_bytes(content))
    await store.push_blob("from", Descriptor.of(media_types.EMPTY, b"{}"), from_bytes(b"{}"))
    artifact = build_artifact(TYPE, layers)
    await store.push_manifest("from", artifact)
    return artifact


async def test_shared_layers_are_sent_once_and_children_first() -> None:
    source, target = MemoryStore(), Counted(MemoryStore())
    shared = bytes(2 * PIECE)
    images = [await image(source, shared, number) for number in (b"1", b"2")]
    index = build_index([one.descriptor for one in images])
    await source.push_manifest("from", index)
    events: list[Event] = []
    result = await copy_manifest(source, "from", target, "to", index.digest, emit=events.append, task="copy base")
    assert result == CopyResult(blobs=4, bytes=len(shared) + 4, manifests=3)
    order = [call.thing for call in target.writes]
    assert order[-1] == str(index.digest)
    assert set(order[-3:-1]) == {str(one.digest) for one in images}
    last = events[-1]
    assert isinstance(last, Progressed)
    assert (last.task, last.done, last.total) == ("copy base", result.bytes, result.bytes)
    target.calls.clear()
    assert await copy_manifest(source, "from", target, "to", index.digest) == CopyResult(0, 0, 0)
    assert [call.method for call in target.calls] == ["has_manifest"]


async def test_a_copy_that_broke_goes_on() -> None:
    source, inner = MemoryStore(), MemoryStore()
    one = await image(source, b"1", b"2", b"3")
    tries = iter([None, None, NotFound("gone for a moment")])
    faulty = Faulty(inner, lambda call, at: next(tries, None) if (call.method, at) == ("push_blob", "before") else None)
    with pytest.raises(NotFound):
        await copy_manifest(source, "from", faulty, "to", one.digest, jobs=1)
    assert not await inner.has_manifest("to", one.digest)
    result = await copy_manifest(source, "from", faulty, "to", one.digest)
    assert (result.blobs, result.manifests) == (2, 1)


async def test_a_forged_source_is_noticed() -> None:
    source, target = MemoryStore(), MemoryStore()
    one = await image(source, b"honest")
    source._blobs["from", one.layers[0].digest] = b"forged"
    with pytest.raises(DigestMismatch):
        await copy_manifest(source, "from", target, "to", one.digest)
    assert not await target.has_blob("to", one.layers[0].digest)
    assert not await target.has_manifest("to", one.digest)


async def test_nesting_is_bounded() -> None:
    source, target = MemoryStore(), MemoryStore()
    inner: ImageManifest | ImageIndex = await image(source, b"1")
    for depth in range(1, copy.MAX_DEPTH + 2):
        inner = build_index([inner.descriptor])
        await source.push_manifest("from", inner)
        if depth <= copy.MAX_DEPTH:
            await copy_manifest(source, "from", target, f"to/{depth}", inner.digest)
        else:
            with pytest.raises(MalformedDocument, match="deeper"):
                await copy_manifest(source, "from", target, f"to/{depth}", inner.digest)


async def test_the_number_of_manifests_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = MemoryStore(), MemoryStore()
    index = build_index([(await image(source, bytes([number]))).descriptor for number in range(5)])
    await source.push_manifest("from", index)
    monkeypatch.setattr(copy, "MAX_MANIFESTS", 5)
    with pytest.raises(MalformedDocument, match="more than 5"):
        await copy_manifest(source, "from", target, "to", index.digest)


class Lying:
    """A source that answers any digest with one of two indexes that contain each other."""

    def __init__(self) -> None:
        some = Descriptor(media_types.IMAGE_INDEX, build_index([]).digest, 1)
        self.first = build_index([some])
        self.second = build_index([self.first.descriptor])
        self.reads = 0

    async def manifest(self, repository: str, digest: Digest) -> ImageIndex:
        self.reads += 1
        return self.second if digest == self.first.digest else self.first

    def blob(self, repository: str, descriptor: Descriptor) -> AbstractAsyncContextManager[object]:
        raise NotImplementedError


async def test_cycles_end() -> None:
    """Only a source that does not check digests can have them; even so the walk ends."""
    source, target = Lying(), MemoryStore()
    with pytest.raises((MalformedDocument, Rejected)):
        await copy_manifest(source, "from", target, "to", source.first.digest)  # type: ignore[arg-type]
    assert source.reads < 10


async def test_layers_that_a_parents_repository_holds_are_mounted_and_not_sent() -> None:
    source, target = MemoryStore(), MemoryStore()
    parent = await image(source, b"base layer")
    child = await image(source, b"base layer", b"own layer")
    await copy_manifest(source, "from", target, "parent", parent.digest)
    result = await copy_manifest(source, "from", target, "child", child.digest, mount_from="parent")
    assert result == CopyResult(blobs=1, bytes=len(b"own layer"), manifests=1)
    assert await target.has_blob("child", parent.layers[0].digest)
