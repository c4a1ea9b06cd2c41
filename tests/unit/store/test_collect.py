"""Garbage collection of the store on disk."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import anyio
import pytest

from shipgraph.errors import MalformedDocument, NotFound, Rejected
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import EMPTY_CONFIG, EMPTY_DESCRIPTOR, ImageManifest, build_artifact, build_index
from shipgraph.store.content import from_bytes
from shipgraph.store.disk import DiskStore
from shipgraph.store.disk.collect import DAY

if TYPE_CHECKING:
    from pathlib import Path

NAME = "acme/x"


async def push(store: DiskStore, content: bytes, *, subject: Descriptor | None = None) -> ImageManifest:
    blob = Descriptor.of(media_types.LAYER_TAR, content)
    await store.push_blob(NAME, EMPTY_DESCRIPTOR, from_bytes(EMPTY_CONFIG))
    await store.push_blob(NAME, blob, from_bytes(content))
    manifest = build_artifact("application/vnd.x", [blob], subject=subject)
    await store.push_manifest(NAME, manifest)
    return manifest


def age(store: DiskStore, seconds: float = 2 * DAY) -> None:
    """As if nobody had been there for so long."""
    then = time.time() - seconds
    for path in (store.root / NAME / "blobs").glob("*/*"):
        os.utime(path, (then, then))


def blobs(store: DiskStore) -> set[str]:
    return {path.name for path in (store.root / NAME / "blobs").glob("*/*")}


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path, durable=False)


async def test_what_is_listed_stays_with_all_it_needs(store: DiskStore) -> None:
    kept, gone = await push(store, b"kept"), await push(store, b"gone")
    await store.tag(NAME, "v1", kept)
    await store.delete_manifest(NAME, gone.digest)
    age(store)
    planned = await store.collect(dry_run=True)
    assert (planned.manifests, planned.blobs) == (0, 2)
    assert await store.collect() == planned
    assert blobs(store) == {kept.digest.hex, EMPTY_DESCRIPTOR.digest.hex, Digest.of(b"kept").hex}
    assert (await store.collect()).blobs == 0


async def test_the_young_and_the_asked_for_stay(store: DiskStore) -> None:
    orphans = [Descriptor.of(media_types.LAYER_TAR, bytes([n])) for n in range(3)]
    for n, orphan in enumerate(orphans):
        await store.push_blob(NAME, orphan, from_bytes(bytes([n])))
    assert (await store.collect()).blobs == 0
    age(store)
    assert await store.has_blob(NAME, orphans[0].digest)
    assert await store.mount_blob(NAME, "acme/y", orphans[1].digest)
    assert (await store.collect()).blobs == 1
    assert blobs(store) == {orphans[0].digest.hex, orphans[1].digest.hex}


async def test_untagged_manifests_go_only_when_asked_to(store: DiskStore) -> None:
    child, loose = await push(store, b"child"), await push(store, b"loose")
    index = build_index([child.descriptor])
    await store.tag(NAME, "v1", index)
    signature = await push(store, b"signature", subject=child.descriptor)
    about = await push(store, b"about", subject=signature.descriptor)
    lost = await push(store, b"lost", subject=loose.descriptor)
    age(store)
    assert (await store.collect()).manifests == 0
    assert (await store.collect(untagged=True)).manifests == 2
    for manifest in (child, index, signature, about):
        await store.manifest(NAME, manifest.digest)
    for manifest in (loose, lost):
        with pytest.raises(NotFound):
            await store.manifest(NAME, manifest.digest)
        assert manifest.digest.hex not in blobs(store)


async def test_what_cannot_be_read_keeps_everything(store: DiskStore) -> None:
    broken, gone = await push(store, b"broken"), await push(store, b"gone")
    await store.delete_manifest(NAME, gone.digest)
    (store.root / NAME / "blobs" / "sha256" / broken.digest.hex).write_bytes(b"?")
    age(store)
    before = blobs(store)
    with pytest.raises(MalformedDocument, match="no garbage is collected"):
        await store.collect()
    assert blobs(store) == before


async def test_blobs_of_an_index_and_foreign_files_stay(store: DiskStore) -> None:
    cache = Descriptor.of(media_types.LAYER_TAR, b"cache")
    await store.push_blob(NAME, cache, from_bytes(b"cache"))
    await store.tag(NAME, "cache", build_index([cache]))
    (store.root / NAME / "blobs" / "sha256" / "README").write_text("not a blob")
    age(store)
    assert (await store.collect()).blobs == 0


async def test_no_listed_manifest_ever_lacks_a_blob(store: DiskStore, tmp_path: Path) -> None:
    """Without any grace, against pushes of what has just become garbage: some are refused, none is broken."""
    other = DiskStore(tmp_path, durable=False)
    rounds = 60
    done = False

    async def collect() -> None:
        while not done:
            await other.collect(grace=-1)
            await anyio.sleep(0.005)

    async with anyio.create_task_group() as group:
        group.start_soon(collect)
        for n in range(rounds):
            try:
                manifest = await push(store, b"shared %d" % (n % 3))
            except Rejected:
                continue
            read = await store.manifest(NAME, manifest.digest)
            assert isinstance(read, ImageManifest)
            assert all([await store.has_blob(NAME, blob.digest) for blob in read.blobs])
            await store.delete_manifest(NAME, manifest.digest)
        done = True
    await push(store, b"and last")
