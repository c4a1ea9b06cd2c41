"""Nobody pulls: what counts as public, over a registry with GHCR's habits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.ghcr.conftest import ADMIN, PRIVATE, PUBLIC, Ticking, client, push, start

from shipgraph.errors import DigestMismatch, NotFound, RegistryUnavailable
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import build_index
from shipgraph.oci.platform import Platform
from shipgraph.store.content import from_bytes
from shipgraph.visibility.proof import Access, Subject, look

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.unit.ghcr.conftest import Rehearsal

    from shipgraph.oci.manifest import ImageManifest


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Rehearsal]:
    async with start(tmp_path, Ticking()) as started:
        yield started


class Slept:
    """Sleeps by doing something else."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


async def _no_sleep(seconds: float) -> None:
    raise AssertionError("nothing is waited for")


def subject(repository: str, manifest: ImageManifest, what: str = "payload") -> Subject:
    return Subject(repository, manifest.digest, what)


async def test_what_anybody_can_pull_is_public_down_to_its_blobs(server: Rehearsal) -> None:
    store = await server.store(PUBLIC)
    manifest = await push(store, "acme/app", "hello")
    child = Descriptor(manifest.media_type, manifest.digest, manifest.size, platform=Platform.parse("linux/amd64"))
    index = build_index([child])
    await store.push_manifest("acme/app", index)
    subjects = [Subject("acme/app", index.digest, "index"), subject("acme/app", manifest, "linux/amd64")]
    found = await look(await server.store(None), subjects, lag=0, sleep=_no_sleep)
    assert [(one.subject.what, one.access, one.blobs) for one in found] == [
        ("index", Access.PUBLIC, 0),
        ("linux/amd64", Access.PUBLIC, 2),
    ]


async def test_a_private_package_is_private_whatever_a_token_may_read(server: Rehearsal) -> None:
    manifest = await push(await server.store(PRIVATE), "acme/hidden", "hello")
    await (await server.store(PRIVATE)).manifest("acme/hidden", manifest.digest)
    (found,) = await look(await server.store(None), [subject("acme/hidden", manifest)], lag=0, sleep=_no_sleep)
    assert found.access is Access.PRIVATE
    assert "401" in found.reason


async def test_it_is_public_as_soon_as_a_person_made_it_so(server: Rehearsal) -> None:
    manifest = await push(await server.store(ADMIN), "acme/app", "hello")
    wanted = [subject("acme/app", manifest)]
    assert (await look(await server.store(None), wanted, lag=0, sleep=_no_sleep))[0].access is Access.PRIVATE
    await server.ghcr.set_visibility("acme/app", "public")
    assert (await look(await server.store(None), wanted, lag=0, sleep=_no_sleep))[0].access is Access.PUBLIC


async def test_a_manifest_that_is_gone_is_missing_and_not_private(server: Rehearsal) -> None:
    await push(await server.store(PUBLIC), "acme/app", "hello")
    gone = Subject("acme/app", Digest.of(b"never"), "index")
    (found,) = await look(await server.store(None), [gone], lag=0, sleep=_no_sleep)
    assert found.access is Access.MISSING


async def test_what_lag_hides_is_looked_at_again(server: Rehearsal) -> None:
    store = await server.store(ADMIN)
    manifest = await push(store, "acme/app", "hello")

    async def made_public(seconds: float) -> None:
        assert seconds == 5
        await server.ghcr.set_visibility("acme/app", "public")

    (found,) = await look(await server.store(None), [subject("acme/app", manifest)], lag=5, sleep=made_public)
    assert found.access is Access.PUBLIC


async def test_what_stays_private_is_waited_for_only_once(server: Rehearsal) -> None:
    manifest = await push(await server.store(PRIVATE), "acme/hidden", "hello")
    slept = Slept()
    (found,) = await look(await server.store(None), [subject("acme/hidden", manifest)], lag=5, sleep=slept)
    assert found.access is Access.PRIVATE
    assert slept.seconds == [5]


async def test_a_registry_without_an_answer_proves_nothing(tmp_path: Path) -> None:
    async with start(tmp_path, Ticking()) as server:
        manifest = await push(await server.store(PUBLIC), "acme/app", "hello")
    async with client(server.address, None) as nobody:
        with pytest.raises(RegistryUnavailable):
            await look(nobody, [subject("acme/app", manifest)], lag=0, sleep=_no_sleep)


async def test_another_blob_than_the_manifest_says_is_not_a_release(server: Rehearsal) -> None:
    class Forger:
        """Somebody between the registry and the public."""

        async def manifest(self, repository: str, digest: Digest) -> ImageManifest:
            return manifest

        async def sample(self, repository: str, descriptor: Descriptor) -> None:
            if descriptor == manifest.layers[0]:
                raise DigestMismatch("blob", want="5 bytes", got="6 bytes")

    manifest = await push(await server.store(PUBLIC), "acme/app", "hello")
    (found,) = await look(Forger(), [subject("acme/app", manifest)], lag=0, sleep=_no_sleep)
    assert found.access is Access.BROKEN


async def test_a_sample_follows_the_redirect_and_compares_the_length(server: Rehearsal) -> None:
    content = b"x" * 100_000
    store, nobody = await server.store(PUBLIC), await server.store(None)
    await push(store, "acme/app", "hello")
    blob = Descriptor.of("application/octet-stream", content)
    await store.push_blob("acme/app", blob, from_bytes(content))
    await nobody.sample("acme/app", blob)
    with pytest.raises(DigestMismatch, match="100000 bytes"):
        await nobody.sample("acme/app", Descriptor(blob.media_type, blob.digest, 99_999))
    with pytest.raises(NotFound):
        await nobody.sample("acme/app", Descriptor.of("text/plain", b"never"))
    nothing = Descriptor.of("text/plain", b"")
    await store.push_blob("acme/app", nothing, from_bytes(b""))
    await nobody.sample("acme/app", nothing)
    assert await nobody.service() == "ghcr.io"
