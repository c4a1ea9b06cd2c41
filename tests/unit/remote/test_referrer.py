"""Referrers: the API, the fallback tag, and what happens to it between writers and under lag."""

from __future__ import annotations

import json
from collections import deque

import anyio
import pytest
from tests.unit.remote.fakes import FakeResponse, Seen, error, store

from shipgraph.errors import MalformedDocument, RegistryError, Rejected
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import EMPTY_DESCRIPTOR, ImageIndex, build_artifact, build_index, parse_manifest
from shipgraph.oci.referrers import referrer_descriptor
from shipgraph.remote import turns


@pytest.fixture(autouse=True)
def _strangers() -> None:
    """All registries here have one name."""
    turns.forget()


SUBJECT = build_artifact("application/vnd.test", [EMPTY_DESCRIPTOR])
REFERRERS = [
    build_artifact(f"application/vnd.ref{n}", [EMPTY_DESCRIPTOR], subject=SUBJECT.descriptor) for n in range(5)
]
TAG = SUBJECT.digest.fallback_tag


class Registry:
    """Manifests by digest and tag; with or without a referrers API; reads of tags may be old by some writes."""

    def __init__(self, *, api: bool = False, lag: int = 0) -> None:
        self.api = api
        self.lag = lag
        self.manifests: dict[str, bytes] = {}
        self.tags: dict[str, deque[str]] = {}
        self.api_answer: FakeResponse | None = None
        self.meddle: list[ImageIndex] = []
        self.puts = 0

    def put(self, reference: str, raw: bytes) -> None:
        digest = str(Digest.of(raw))
        self.manifests[digest] = raw
        if not reference.startswith("sha256:"):
            self.tags.setdefault(reference, deque()).append(digest)

    def current(self) -> list[str]:
        index = parse_manifest(self.manifests[self.tags[TAG][-1]])
        assert isinstance(index, ImageIndex)
        return [str(descriptor.digest) for descriptor in index.manifests]

    def __call__(self, seen: Seen) -> FakeResponse:
        last = seen.path.rpartition("/")[2]
        if seen.path == "/v2/":
            return FakeResponse(200)
        if "/referrers/" in seen.path:
            return self._referrers(last)
        if seen.method == "PUT":
            self.put(last, seen.body)
            if last == TAG:
                self.puts += 1
                if self.meddle:
                    self.put(TAG, self.meddle.pop().raw)
            subject = json.loads(seen.body).get("subject")
            return FakeResponse(201, headers={"OCI-Subject": subject["digest"]} if self.api and subject else {})
        if seen.method == "DELETE":
            return FakeResponse(202 if self.manifests.pop(last, None) else 404)
        digest = last if last.startswith("sha256:") else self._read_tag(last)
        raw = self.manifests.get(digest)
        if raw is None:
            return error(404, "MANIFEST_UNKNOWN")
        return FakeResponse(200, raw, {"Content-Type": json.loads(raw)["mediaType"], "Docker-Content-Digest": digest})

    def _read_tag(self, tag: str) -> str:
        history = self.tags.get(tag, deque())
        if self.lag > 0 and history:
            self.lag -= 1
            return history[-2] if len(history) > 1 else ""
        return history[-1] if history else ""

    def _referrers(self, digest: str) -> FakeResponse:
        if self.api_answer is not None:
            return self.api_answer
        if not self.api:
            return error(404, "MANIFEST_UNKNOWN")
        parsed = [parse_manifest(raw) for raw in self.manifests.values()]
        found = [referrer_descriptor(one) for one in parsed if one.subject and str(one.subject.digest) == digest]
        return FakeResponse(200, build_index(found).raw, {"Content-Type": media_types.IMAGE_INDEX})


async def test_with_an_api_no_tag_is_written() -> None:
    registry = Registry(api=True)
    remote, _ = store(registry)
    await remote.push_manifest("acme/x", REFERRERS[0])
    assert registry.tags == {}
    assert [one.digest for one in await remote.referrers("acme/x", SUBJECT.digest)] == [REFERRERS[0].digest]


async def test_without_one_the_tag_holds_all_that_were_attached_at_once() -> None:
    registry = Registry()
    remote, _ = store(registry)
    async with anyio.create_task_group() as group:
        for referrer in REFERRERS:
            group.start_soon(remote.push_manifest, "acme/x", referrer)
    assert set(registry.current()) == {str(one.digest) for one in REFERRERS}
    found = await remote.referrers("acme/x", SUBJECT.digest, "application/vnd.ref3")
    assert [one.digest for one in found] == [REFERRERS[3].digest]
    puts = registry.puts
    await remote.push_manifest("acme/x", REFERRERS[0])
    assert registry.puts == puts


@pytest.mark.parametrize(
    "answer",
    [
        error(404, "MANIFEST_UNKNOWN"),
        FakeResponse(303, headers={"Location": "https://github.com/-/v2/packages/container"}),
        FakeResponse(200, build_index([]).raw),
        FakeResponse(405),
        error(400, "UNSUPPORTED"),
    ],
)
async def test_every_way_to_have_no_api(answer: FakeResponse) -> None:
    registry = Registry()
    registry.api_answer = answer
    registry.put(REFERRERS[0].digest.algorithm, REFERRERS[0].raw)
    registry.put(TAG, build_index([REFERRERS[0].descriptor]).raw)
    remote, transport = store(registry)
    assert len(await remote.referrers("acme/x", SUBJECT.digest)) == 1
    assert {seen.host for seen in transport.seen} == {"registry.example"}


@pytest.mark.parametrize("answer", [FakeResponse(500), error(403, "DENIED"), FakeResponse(200, b"{}")])
async def test_an_api_that_fails_is_not_no_referrers(answer: FakeResponse) -> None:
    registry = Registry()
    registry.api_answer = answer
    remote, _ = store(registry)
    with pytest.raises((RegistryError, MalformedDocument)):
        await remote.referrers("acme/x", SUBJECT.digest)


async def test_wrong_types_and_foreign_entries_in_the_index_are_seen_through() -> None:
    registry = Registry()
    stray = build_artifact("application/vnd.ref0", [EMPTY_DESCRIPTOR], annotations={"a": "b"})
    gone = Descriptor(media_types.IMAGE_MANIFEST, Digest.of(b"gone"), 4, artifact_type="application/vnd.ref0")
    for manifest in (REFERRERS[0], REFERRERS[1], stray):
        registry.put("sha256:", manifest.raw)
    wrong = [
        Descriptor(one.media_type, one.digest, one.size, artifact_type=kind)
        for one, kind in ((REFERRERS[0], media_types.EMPTY), (REFERRERS[1], "application/vnd.ref0"), (stray, None))
    ]
    registry.put(TAG, build_index([*wrong, gone]).raw)
    remote, _ = store(registry)
    found = await remote.referrers("acme/x", SUBJECT.digest, "application/vnd.ref0")
    assert found == (referrer_descriptor(REFERRERS[0]),)


async def test_what_another_writer_lost_for_us_is_added_again() -> None:
    registry = Registry()
    foreign = build_index([REFERRERS[4].descriptor])
    registry.meddle = [foreign, foreign]
    remote, _ = store(registry)
    await remote.push_manifest("acme/x", REFERRERS[0])
    assert set(registry.current()) == {str(REFERRERS[0].digest), str(REFERRERS[4].digest)}
    registry.meddle = [foreign] * 20
    with pytest.raises(Rejected, match="other writers"):
        await remote.push_manifest("acme/x", REFERRERS[1])


async def test_a_stale_read_loses_nothing() -> None:
    registry = Registry()
    remote, _ = store(registry, lag=5.0)
    await remote.push_manifest("acme/x", REFERRERS[0])
    registry.lag = 3
    await remote.push_manifest("acme/x", REFERRERS[1])
    assert registry.current() == [str(REFERRERS[0].digest), str(REFERRERS[1].digest)]


@pytest.mark.parametrize("lag", [0, 3])
async def test_two_stores_of_one_process_lose_nothing_to_each_other(lag: int) -> None:
    registry = Registry()
    stores = [store(registry, lag=5.0 if lag else 0.0)[0] for _ in range(2)]
    await stores[0].push_manifest("acme/x", REFERRERS[0])
    registry.lag = lag
    async with anyio.create_task_group() as group:
        for position, referrer in enumerate(REFERRERS[1:]):
            group.start_soon(stores[position % 2].push_manifest, "acme/x", referrer)
    assert set(registry.current()) == {str(one.digest) for one in REFERRERS}


async def test_members_that_others_wrote_stay() -> None:
    registry = Registry()
    entry = {**REFERRERS[4].descriptor.to_json(), "x-extra": [1]}
    document = {
        "schemaVersion": 2,
        "mediaType": media_types.IMAGE_INDEX,
        "manifests": [entry],
        "annotations": {"k": "v"},
    }
    registry.put(TAG, json.dumps(document).encode())
    remote, _ = store(registry)
    await remote.push_manifest("acme/x", REFERRERS[0])
    written = json.loads(registry.manifests[registry.tags[TAG][-1]])
    assert written["manifests"][0] == entry
    assert written["annotations"] == {"k": "v"}


async def test_a_tag_that_is_no_index_is_left_alone() -> None:
    registry = Registry()
    registry.put(TAG, SUBJECT.raw)
    remote, _ = store(registry)
    with pytest.raises(MalformedDocument):
        await remote.push_manifest("acme/x", REFERRERS[0])
    assert registry.puts == 0


async def test_deleting_takes_it_out() -> None:
    registry = Registry()
    remote, _ = store(registry)
    for referrer in REFERRERS[:2]:
        await remote.push_manifest("acme/x", referrer)
    await remote.delete_manifest("acme/x", REFERRERS[0].digest)
    assert registry.current() == [str(REFERRERS[1].digest)]
    await remote.delete_manifest("acme/x", REFERRERS[0].digest)
