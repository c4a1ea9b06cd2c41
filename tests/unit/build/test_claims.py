"""Claims of immutable tags: who was first, and that everybody follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest
from tests.unit.build.conftest import COMMIT, METADATA, LastWriterWins, no_sleep, push_image

from shipgraph.build.claims import claim_build, claim_image_tag, claim_set, find_build, newest_set
from shipgraph.build.inputs import ANNOTATION_INPUTS
from shipgraph.errors import ImmutableTagConflict, RegistryUnavailable
from shipgraph.oci.manifest import ImageManifest, build_index
from shipgraph.records.builds import BuildRecord
from shipgraph.records.claims import claim_tag
from shipgraph.records.sets import ResolvedBase, SetRecord, immutable_tag, set_tag
from shipgraph.store.memory import MemoryStore

if TYPE_CHECKING:
    from shipgraph.oci.digest import Digest

pytestmark = pytest.mark.anyio
QUICK: dict[str, Any] = {"settle": 0.0, "sleep": no_sleep}


def record(image: ImageManifest, **more: Any) -> BuildRecord:
    settings = {
        "inputs": "a" * 64,
        "image": "tool",
        "repository": "acme/tool",
        "platform": "linux/amd64",
        "digest": str(image.digest),
        "media_type": image.media_type,
        "size": image.size,
        "builder": "fake",
    }
    return BuildRecord(**{**settings, **more})


@pytest.mark.parametrize("kind", [MemoryStore, LastWriterWins])
async def test_two_at_a_time_agree(kind: type[MemoryStore]) -> None:
    store = kind()
    images = [await push_image(store, "acme/tool", [content]) for content in (b"1", b"2", b"3")]
    got: list[Digest] = []

    async def claim(image: ImageManifest) -> None:
        got.append(await claim_tag(store, "acme/tool", "t", image, settle=0.05, sleep=anyio.sleep))

    async with anyio.create_task_group() as group:
        for image in images:
            group.start_soon(claim, image)
    there = await store.resolve("acme/tool", "t")
    assert there is not None
    assert set(got) == {there.digest}
    assert await claim_tag(store, "acme/tool", "t", images[0], **QUICK) == there.digest


async def test_a_lost_answer_is_read_back() -> None:
    class Lossy(LastWriterWins):
        async def tag(self, *arguments: Any, **more: Any) -> None:
            assert more["once"]
            await super().tag(*arguments, **more)
            raise RegistryUnavailable("no answer")

    store = Lossy()
    image = await push_image(store, "acme/tool", [b"1"])
    assert await claim_tag(store, "acme/tool", "t", image, **QUICK) == image.digest


async def test_a_claim_that_never_landed_is_said() -> None:
    class Deaf(LastWriterWins):
        async def tag(self, *arguments: Any, **more: Any) -> None:
            raise RegistryUnavailable("no answer")

    store = Deaf()
    image = await push_image(store, "acme/tool", [b"1"])
    with pytest.raises(RegistryUnavailable):
        await claim_tag(store, "acme/tool", "t", image, **QUICK)


async def test_build_records_are_found_while_their_image_is_there(target: MemoryStore) -> None:
    first, second = [await push_image(target, "acme/tool", [content]) for content in (b"1", b"2")]
    assert await find_build(target, METADATA, "acme/tool", "a" * 64) is None
    assert await claim_build(target, METADATA, "acme/tool", record(first), **QUICK) == record(first)
    adopted = await claim_build(target, METADATA, "acme/tool", record(second, builder="other"), **QUICK)
    assert adopted == record(first)
    await target.delete_manifest("acme/tool", first.digest)
    assert await find_build(target, METADATA, "acme/tool", "a" * 64) is None
    again = await claim_build(target, METADATA, "acme/tool", record(second), **QUICK)
    assert again == await find_build(target, METADATA, "acme/tool", "a" * 64) == record(second)


async def test_an_immutable_tag_adopts_the_same_inputs_and_refuses_others(target: MemoryStore) -> None:
    images = [await push_image(target, "acme/tool", [content]) for content in (b"1", b"2")]
    first, second = (build_index([image.descriptor], annotations={ANNOTATION_INPUTS: "a"}) for image in images)
    other = build_index([images[0].descriptor], annotations={ANNOTATION_INPUTS: "b"})
    bare = build_index([images[1].descriptor])
    tag = immutable_tag(COMMIT, 1)
    assert await claim_image_tag(target, "acme/tool", tag, first, **QUICK) == first.digest
    assert await claim_image_tag(target, "acme/tool", tag, second, **QUICK) == first.digest
    for foreign in (other, bare):
        with pytest.raises(ImmutableTagConflict) as caught:
            await claim_image_tag(target, "acme/tool", tag, foreign, **QUICK)
        assert str(first.digest) in str(caught.value)
        assert str(foreign.digest) in str(caught.value)
    there = await target.resolve("acme/tool", tag)
    assert there is not None
    assert there.digest == first.digest


def wanted(**more: Any) -> SetRecord:
    settings = {
        "project": "tool",
        "commit": COMMIT,
        "revision": 0,
        "tree": "1" * 40,
        "platforms": ("linux/amd64",),
        "bases": {"debian": ResolvedBase(name="debian", key="k1", platforms={"linux/amd64": "sha256:" + "1" * 64})},
    }
    return SetRecord(**{**settings, **more})


async def test_sets_are_joined_or_get_the_next_revision(target: MemoryStore) -> None:
    moved = {"debian": ResolvedBase(name="debian", key="k2", platforms={"linux/amd64": "sha256:" + "2" * 64})}
    first, new = await claim_set(target, METADATA, wanted(), **QUICK)
    assert (first.revision, new) == (1, True)
    assert await claim_set(target, METADATA, wanted(), **QUICK) == (first, False)
    second, new = await claim_set(target, METADATA, wanted(bases=moved), **QUICK)
    assert (second.revision, new) == (2, True)
    assert await claim_set(target, METADATA, wanted(bases=moved), **QUICK) == (second, False)
    for change in ({}, {"tree": "2" * 40, "dirty": True}, {"epochs": {"tool": 1}}, {"platforms": ("linux/arm64",)}):
        newest = await newest_set(target, METADATA, COMMIT)
        assert newest is not None
        record, new = await claim_set(target, METADATA, wanted(**change), **QUICK)
        assert (record.revision, new) == (newest.revision + 1, True)
    assert await newest_set(target, METADATA, "f" * 40) is None


async def test_a_revision_number_is_never_used_twice(target: MemoryStore) -> None:
    await claim_set(target, METADATA, wanted(), **QUICK)
    await claim_set(target, METADATA, wanted(tree="2" * 40), **QUICK)
    await target.delete_tag(METADATA, set_tag(immutable_tag(COMMIT, 1)))
    record, _ = await claim_set(target, METADATA, wanted(tree="3" * 40), **QUICK)
    assert record.revision == 3


async def test_two_different_sets_at_a_time_get_two_revisions(target: MemoryStore) -> None:
    records: list[SetRecord] = []

    async def claim(tree: str) -> None:
        record, _ = await claim_set(target, METADATA, wanted(tree=tree * 40), settle=0.05, sleep=anyio.sleep)
        records.append(record)

    async with anyio.create_task_group() as group:
        for tree in "1122":
            group.start_soon(claim, tree)
    revisions = {record.tree[0]: {r.revision for r in records if r.tree == record.tree} for record in records}
    assert all(len(numbers) == 1 for numbers in revisions.values())
    assert {number for numbers in revisions.values() for number in numbers} == {1, 2}
    assert msgspec.structs.asdict(records[0])["commit"] == COMMIT
