"""The contract of ``shipgraph.store.protocols``, as checks that run against any store.

::

    @asynccontextmanager
    async def make() -> AsyncIterator[Store]:
        yield MyStore()

    @pytest.mark.parametrize("check", CHECKS, ids=name_of)
    async def test_my_store(check: Check) -> None:
        await check(make, Traits())

Each check makes its own store, or gets one that others use too: it works in repositories with random names.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio

from shipgraph.errors import Conflict, DigestMismatch, NotFound, Rejected, ShipgraphError, TagMoved
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import (
    EMPTY_CONFIG,
    EMPTY_DESCRIPTOR,
    ImageIndex,
    ImageManifest,
    build_artifact,
    build_index,
    encode_json,
    parse_manifest,
)
from shipgraph.store.content import from_bytes
from shipgraph.store.copy import copy_manifest
from shipgraph.store.memory import MemoryStore
from shipgraph.store.protocols import PIECE, Store
from shipgraph.testing.rules import hold, raising

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Make: TypeAlias = Callable[[], AbstractAsyncContextManager[Store]]
"""Makes a store, and cleans up after it."""

TYPE: Final = "application/vnd.example.check.v1+json"


@dataclass(frozen=True, slots=True)
class Traits:
    """What a store may lack; the checks then ask for the refusal that the protocol describes, or for nothing."""

    conditional: bool = True
    """Honours ``expect``."""
    deletes_tags: bool = True
    deletes_manifests: bool = True
    requires_references: bool = True
    """Refuses a manifest that refers to what is missing."""


Check: TypeAlias = Callable[[Make, Traits], Awaitable[None]]


def name_of(check: Check) -> str:
    """A check's name, for test ids."""
    return getattr(check, "__name__", "check").removeprefix("check_")


async def check_all(make: Make, traits: Traits = Traits()) -> None:
    """All checks, one after the other; the first that fails raises ``NotConforming``."""
    for check in CHECKS:
        await check(make, traits)


async def check_absent_things_are_absent(make: Make, _: Traits) -> None:
    """Reading what is not there says so, and is no error where the protocol has an answer for it."""
    async with make() as store:
        repository, digest = _repository(), Digest.of(b"absent")
        hold(await store.resolve(repository, "latest") is None, "an absent tag resolves to None")
        hold(await store.tags(repository) == [], "an absent repository has no tags")
        hold(not await store.has_blob(repository, digest), "an absent blob is not there")
        hold(not await store.has_manifest(repository, digest), "an absent manifest is not there")
        hold(await store.referrers(repository, digest) == (), "nothing refers to an absent digest")
        async with raising(NotFound, "reading an absent manifest"):
            await store.manifest(repository, digest)
        async with raising(NotFound, "reading an absent blob"):
            await _read(store, repository, Descriptor(TYPE, digest, 6))


async def check_blobs_round_trip(make: Make, _: Traits) -> None:
    """Blobs come back as they were, in every size around the piece; the second push does nothing."""
    async with make() as store:
        repository = _repository()
        for size in (0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 17):
            content = secrets.token_bytes(size)
            blob = Descriptor.of(TYPE, content)
            hold(await store.push_blob(repository, blob, from_bytes(content)), "a new blob is uploaded")
            hold(await store.has_blob(repository, blob.digest), "a pushed blob is there")
            hold(await _read(store, repository, blob) == content, f"{size} bytes come back as they were")
            hold(not await store.push_blob(repository, blob, from_bytes(content)), "a blob is not uploaded twice")


async def check_wrong_blobs_are_refused(make: Make, _: Traits) -> None:
    """A source that is too short, too long or something else leaves nothing behind."""
    async with make() as store:
        repository, content = _repository(), secrets.token_bytes(PIECE + 5)
        blob = Descriptor.of(TYPE, content)
        for wrong in (content[:-1], content + b"!", b"?" + content[1:], b""):
            async with raising(ShipgraphError, "pushing a blob that is not what it says"):
                await store.push_blob(repository, blob, from_bytes(wrong))
            hold(not await store.has_blob(repository, blob.digest), "a wrong blob is not stored")
        hold(await store.push_blob(repository, blob, from_bytes(content)), "the right blob is taken afterwards")


async def check_wrong_sizes_are_noticed(make: Make, _: Traits) -> None:
    """A descriptor with another length than the blob's is a mismatch, not a truncated read."""
    async with make() as store:
        repository, content = _repository(), b"0123456789"
        blob = Descriptor.of(TYPE, content)
        await store.push_blob(repository, blob, from_bytes(content))
        for size in (9, 11):
            async with raising(DigestMismatch, f"reading 10 bytes as {size}"):
                await _read(store, repository, Descriptor(TYPE, blob.digest, size))


async def check_a_failing_source_leaves_nothing(make: Make, _: Traits) -> None:
    """A source that breaks off is an error and no blob."""
    async with make() as store:
        repository, content = _repository(), secrets.token_bytes(2 * PIECE)
        blob = Descriptor.of(TYPE, content)

        async def pieces() -> AsyncIterator[bytes]:
            yield content[:PIECE]
            raise NotFound("the source broke off")

        @asynccontextmanager
        async def source() -> AsyncIterator[AsyncIterator[bytes]]:
            yield pieces()

        async with raising(ShipgraphError, "pushing from a source that breaks off"):
            await store.push_blob(repository, blob, source)
        hold(not await store.has_blob(repository, blob.digest), "half a blob is not stored")


async def check_manifests_keep_their_bytes(make: Make, _: Traits) -> None:
    """A manifest is its bytes: odd spacing and member order survive, and the media type too."""
    async with make() as store:
        repository = _repository()
        await _push_empty(store, repository)
        empty = EMPTY_DESCRIPTOR
        for media_type in (media_types.IMAGE_MANIFEST, media_types.DOCKER_MANIFEST):
            odd = (
                f'{{ "layers":[],\n\t"mediaType":"{media_type}", "schemaVersion" : 2,"config":{{"size":{empty.size},'
                f'"digest":"{empty.digest}","mediaType":"{empty.media_type}"}}, "x": 1.50 }}  '
            )
            manifest = parse_manifest(odd.encode())
            await store.push_manifest(repository, manifest)
            await store.push_manifest(repository, manifest)
            got = await store.manifest(repository, manifest.digest)
            hold(got.raw == manifest.raw, "a manifest's bytes come back as they were")
            hold(got.media_type == media_type, "a manifest's media type comes back as it was")
            hold(await store.has_manifest(repository, manifest.digest), "a pushed manifest is there")
        hold(await store.tags(repository) == [], "a push by digest makes no tag")


async def check_manifests_need_their_parts(make: Make, traits: Traits) -> None:
    """A manifest that refers to what is missing is refused; a missing subject is allowed."""
    async with make() as store:
        repository = _repository()
        await _push_empty(store, repository)
        missing = Descriptor.of(TYPE, secrets.token_bytes(8))
        lonely = build_artifact(TYPE, [], subject=Descriptor(media_types.IMAGE_MANIFEST, missing.digest, 8))
        await store.push_manifest(repository, lonely)
        if traits.requires_references:
            broken = (
                build_artifact(TYPE, [missing]),
                build_index([Descriptor(media_types.IMAGE_MANIFEST, missing.digest, 8)]),
            )
            for manifest in broken:
                async with raising(Rejected, "pushing a manifest without its parts"):
                    await store.push_manifest(repository, manifest)
                hold(not await store.has_manifest(repository, manifest.digest), "a refused manifest is not stored")


async def check_tags_move(make: Make, _: Traits) -> None:
    """Tags point where they were last put; the list is sorted; each repository has its own."""
    async with make() as store:
        repository, other = _repository(), _repository()
        first, second = await _artifacts(store, repository, 2)
        for tag in ("b", "a", "B", "0.1_x-Y"):
            await store.tag(repository, tag, first)
        await store.tag(repository, "a", second)
        await store.tag(repository, "a", second)
        hold(await store.tags(repository) == sorted(["b", "a", "B", "0.1_x-Y"]), "tags are listed in order")
        for tag, manifest in (("a", second), ("b", first)):
            descriptor = await store.resolve(repository, tag)
            hold(
                descriptor is not None
                and (descriptor.media_type, descriptor.digest, descriptor.size)
                == (manifest.media_type, manifest.digest, manifest.size),
                "a tag resolves to the manifest's media type, digest and size",
            )
        hold(await store.has_manifest(repository, first.digest), "a manifest stays when its tag moves away")
        hold(await store.tags(other) == [], "another repository is another repository")


async def check_tags_compare_and_swap(make: Make, traits: Traits) -> None:
    """``expect`` guards a tag, where the store says that it does."""
    async with make() as store:
        hold(await store.conditional() == traits.conditional, "conditional() is what is said of this store")
        if not traits.conditional:
            return
        repository = _repository()
        first, second = await _artifacts(store, repository, 2)
        async with raising(TagMoved, "expecting a digest where there is no tag"):
            await store.tag(repository, "t", first, expect=second.digest)
        hold(await store.resolve(repository, "t") is None, "a refused tag is not written")
        await store.tag(repository, "t", first, expect=None)
        async with raising(TagMoved, "expecting nothing where there is a tag"):
            await store.tag(repository, "t", second, expect=None)
        async with raising(TagMoved, "expecting another digest"):
            await store.tag(repository, "t", second, expect=second.digest)
        await store.tag(repository, "t", second, expect=first.digest, once=True)
        found = await store.resolve(repository, "t")
        hold(found is not None and found.digest == second.digest, "an expected tag is written")


async def check_one_of_many_wins(make: Make, traits: Traits) -> None:
    """Of concurrent writers that expect the same, exactly one succeeds."""
    if not traits.conditional:
        return
    async with make() as store:
        repository = _repository()
        manifests = await _artifacts(store, repository, 8)
        winners: list[Digest] = []

        async def claim(manifest: ImageManifest) -> None:
            try:
                await store.tag(repository, "claim", manifest, expect=None)
            except Conflict:
                return
            winners.append(manifest.digest)

        async with anyio.create_task_group() as group:
            for manifest in manifests:
                group.start_soon(claim, manifest)
        found = await store.resolve(repository, "claim")
        hold(found is not None and [found.digest] == winners, f"one claim of many wins, not {len(winners)}")


async def check_referrers_are_listed(make: Make, traits: Traits) -> None:
    """Referrers have their artifact type and annotations, can be asked for by type, and go when deleted."""
    async with make() as store:
        repository = _repository()
        (subject,) = await _artifacts(store, repository, 1)
        one = build_artifact(TYPE, [], subject=subject.descriptor, annotations={"n": "1"})
        two = build_artifact(f"{TYPE}.other", [], subject=subject.descriptor)
        for manifest in (one, two, one):
            await store.push_manifest(repository, manifest)
        found = {descriptor.digest: descriptor for descriptor in await store.referrers(repository, subject.digest)}
        hold(set(found) == {one.digest, two.digest}, "all referrers are listed, once each")
        hold(found[one.digest].artifact_type == TYPE, "a referrer has its artifact type")
        hold(dict(found[one.digest].annotations) == {"n": "1"}, "a referrer has its annotations")
        only = await store.referrers(repository, subject.digest, TYPE)
        hold([descriptor.digest for descriptor in only] == [one.digest], "referrers are filtered by type")
        hold(await store.referrers(repository, one.digest) == (), "a referrer has none of its own")
        if traits.deletes_manifests:
            await store.delete_manifest(repository, one.digest)
            left = [descriptor.digest for descriptor in await store.referrers(repository, subject.digest)]
            hold(left == [two.digest], "a deleted referrer is not listed")


async def check_images_as_referrers(make: Make, _: Traits) -> None:
    """A referrer without an artifact type goes by its configuration's media type, also if that is an image's."""
    async with make() as store:
        repository = _repository()
        await _push_empty(store, repository)
        config, away = b'{"os":"linux"}', Descriptor.of("application/x", b"")
        descriptor = Descriptor.of(media_types.IMAGE_CONFIG, config)
        await store.push_blob(repository, descriptor, from_bytes(config))
        document = {
            "schemaVersion": 2,
            "mediaType": media_types.IMAGE_MANIFEST,
            "config": descriptor.to_json(),
            "layers": [],
            "subject": Descriptor(media_types.IMAGE_MANIFEST, away.digest, 0).to_json(),
        }
        image = parse_manifest(encode_json(document))
        await store.push_manifest(repository, image)
        found = await store.referrers(repository, away.digest)
        hold([referrer.digest for referrer in found] == [image.digest], "an image may be a referrer")
        hold(found[0].artifact_type == media_types.IMAGE_CONFIG, "it goes by its configuration's media type")


async def check_deletion(make: Make, traits: Traits) -> None:
    """A deleted manifest takes its tags along; a deleted tag leaves its manifest; both twice is fine."""
    async with make() as store:
        repository = _repository()
        first, second = await _artifacts(store, repository, 2)
        for tag, manifest in (("a", first), ("b", first), ("c", second)):
            await store.tag(repository, tag, manifest)
        if traits.deletes_tags:
            for _ in range(2):
                await store.delete_tag(repository, "a")
            hold(await store.tags(repository) == ["b", "c"], "a deleted tag is gone, the others stay")
            hold(await store.has_manifest(repository, first.digest), "a manifest outlives its tag")
        if traits.deletes_manifests:
            for _ in range(2):
                await store.delete_manifest(repository, first.digest)
            hold(not await store.has_manifest(repository, first.digest), "a deleted manifest is gone")
            hold(await store.tags(repository) == ["c"], "its tags are gone, the others stay")
            hold(await store.resolve(repository, "b") is None, "its tags resolve no more")
            await store.tag(repository, "b", first)
            hold(await store.has_manifest(repository, first.digest), "it can be pushed again")


async def check_copies(make: Make, _: Traits) -> None:
    """An index with its images is copied byte for byte, and a second copy sends nothing."""
    async with make() as store:
        repository, source = _repository(), MemoryStore()
        images = []
        for number in range(2):
            content = secrets.token_bytes(PIECE + number)
            layer = Descriptor.of(media_types.LAYER_TAR, content)
            await _push_empty(source, "from")
            await source.push_blob("from", layer, from_bytes(content))
            image = build_artifact(TYPE, [layer])
            await source.push_manifest("from", image)
            images.append(image.descriptor)
        inner = build_index(images)
        outer = build_index([inner.descriptor, images[0]])
        for index in (inner, outer):
            await source.push_manifest("from", index)
        result = await copy_manifest(source, "from", store, repository, outer.digest)
        hold((result.blobs, result.manifests) == (3, 4), "a copy sends each blob and manifest once")
        copied = await store.manifest(repository, outer.digest)
        hold(isinstance(copied, ImageIndex) and copied.raw == outer.raw, "a copied index has the same bytes")
        again = await copy_manifest(source, "from", store, repository, outer.digest)
        hold((again.blobs, again.bytes, again.manifests) == (0, 0, 0), "a second copy sends nothing")


async def check_time_passes(make: Make, _: Traits) -> None:
    """The store's clock doesn't go backwards."""
    async with make() as store:
        before = await store.now()
        hold(before > 0 and await store.now() >= before, "the clock goes forward")


CHECKS: Final[tuple[Check, ...]] = (
    check_absent_things_are_absent,
    check_blobs_round_trip,
    check_wrong_blobs_are_refused,
    check_wrong_sizes_are_noticed,
    check_a_failing_source_leaves_nothing,
    check_manifests_keep_their_bytes,
    check_manifests_need_their_parts,
    check_tags_move,
    check_tags_compare_and_swap,
    check_one_of_many_wins,
    check_referrers_are_listed,
    check_images_as_referrers,
    check_deletion,
    check_copies,
    check_time_passes,
)


def _repository() -> str:
    return f"conformance/{secrets.token_hex(8)}"


async def _read(store: Store, repository: str, blob: Descriptor) -> bytes:
    async with store.blob(repository, blob) as pieces:
        return b"".join([piece async for piece in pieces])


async def _push_empty(store: Store, repository: str) -> None:
    await store.push_blob(repository, EMPTY_DESCRIPTOR, from_bytes(EMPTY_CONFIG))


async def _artifacts(store: Store, repository: str, count: int) -> list[ImageManifest]:
    await _push_empty(store, repository)
    artifacts = [build_artifact(TYPE, [], annotations={"number": str(number)}) for number in range(count)]
    for artifact in artifacts:
        await store.push_manifest(repository, artifact)
    return artifacts
