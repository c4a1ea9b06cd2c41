"""The payload of a release: packed from what git knows and the set's images, pushed under its immutable tags."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from shipgraph.channel.metadata import rfc3339
from shipgraph.engine.gating import Gates
from shipgraph.engine.opening import owner
from shipgraph.engine.proving import prove_payload
from shipgraph.errors import MalformedDocument, Refused
from shipgraph.events import Finished, Started
from shipgraph.oci.media_types import CYCLONEDX_JSON
from shipgraph.payload.files import PayloadImage, select_files
from shipgraph.payload.sbom import images_of
from shipgraph.payload.stage import pack_payload, payload_manifest, publish_payload, store_payload
from shipgraph.project.git import list_files
from shipgraph.promote.collect import ReleaseSet, collect_images, payload_tag

if TYPE_CHECKING:
    from shipgraph.engine.signing import Signing
    from shipgraph.engine.workshop import Workshop
    from shipgraph.events import Emit
    from shipgraph.oci.manifest import ImageManifest
    from shipgraph.project.release import Release
    from shipgraph.promote.timing import Timing
    from shipgraph.store.protocols import Fetcher, Store

TASK = "payload"
LARGEST_SBOM = 128 << 20
"""Bytes: more than two hundred thousand files, which is what a consumer unpacks."""


async def check_payload(release: Release) -> None:
    """Find mistakes in the payload's patterns before an hour of building.

    Raises:
        ConfigurationError: a pattern matches nothing or something that can't be shipped.
    """
    folder, spec = release.project.folder, release.project.payload
    if spec is not None:
        listed = await list_files(folder)
        await anyio.to_thread.run_sync(select_files, folder, spec.files, listed)


async def check_belongs(found: ReleaseSet, target: Fetcher) -> None:
    """Refuse a set whose payload was packed for other images: consumers would refuse its payload.

    An image has been taken out of the graph since, say, or its immutable tag was moved by other means.

    Raises:
        Refused
        MalformedDocument, NotFound, RegistryError: the payload's SBOM can't be read.
    """
    payload, repository = found.payload, found.payload_repository
    if payload is None or repository is None:
        return
    where = f"the SBOM of {repository}@{payload.digest}"
    listed = [layer for layer in payload.layers if layer.media_type == CYCLONEDX_JSON]
    if len(listed) != 1 or listed[0].size > LARGEST_SBOM:
        raise MalformedDocument(f"{where} is not there, or has an absurd size")
    async with target.blob(repository, listed[0]) as pieces:
        document = b"".join([piece async for piece in pieces])
    belongs = await anyio.to_thread.run_sync(lambda: images_of(document, where=where))
    wanted = {image.repository.rpartition("/")[2]: str(image.index.digest) for image in found.images}
    if wrong := sorted(name for name in belongs.keys() | wanted.keys() if belongs.get(name) != wanted.get(name)):
        raise Refused(
            f"the payload {repository}@{payload.digest} was packed for other images than {found.immutable_tag} has:"
            f" {', '.join(wrong[:5])}",
            hint="release a new commit; what was packed for an older graph can only be released with that",
        )


async def make_payload(
    release: Release,
    revision: int,
    *,
    target: Store,
    workshop: Workshop,
    timing: Timing,
    signing: Signing | None,
    emit: Emit,
) -> bool:
    """Pack, gate and push the payload; whether anything was uploaded. A project without a payload has nothing to do.

    It goes to the job's registry first, and from there on only once the gate has passed it.

    Raises:
        Refused: an image of the set is missing, or the gate found a secret.
        ConfigurationError, ImmutableTagConflict, RegistryError
    """
    spec, repository = release.project.payload, release.payload_repository
    if spec is None or repository is None:
        return False
    emit(Started(TASK, "payload"))
    began = time.monotonic()
    tag = release.immutable_tag(revision)
    found = await collect_images(target, release, tag)
    images = [
        PayloadImage(image.key, image.repository.rpartition("/")[2], image.index.digest) for image in found.images
    ]
    workspace = workshop.workspace
    workspace.prepare()
    await anyio.Path(workspace.payload).mkdir(parents=True, exist_ok=True)
    packed = await pack_payload(release, spec, images, await list_files(release.project.folder), workspace.payload)
    created = rfc3339(release.commit_time)

    def manifest(version: str) -> ImageManifest:
        return payload_manifest(
            spec, packed.layer, packed.sbom_layer, version=version, created=created, source=release.source
        )

    gates = Gates(release.project.gate, workspace, emit=emit)
    mine = manifest(release.version)
    if not await target.has_manifest(repository, mine.digest):
        registry = await workshop.registry()
        await store_payload(registry.store, repository, packed, mine)
        await gates.at(registry.address).look_at(registry.store, "payload", repository, mine.digest)
        gates.check()
    uploaded = await publish_payload(
        target,
        repository,
        packed,
        [(tag, manifest(tag)), (payload_tag(tag, release.version), mine)],
        settle=timing.settle,
    )
    await prove_payload(
        release,
        ReleaseSet(tag, found.images, repository, mine),
        gates=gates,
        target=target,
        host=workshop.target_host,
        signing=signing,
        provenance=False,
        run=owner().run,
        emit=emit,
    )
    emit(Finished(TASK, "payload", "published" if uploaded else "unchanged", time.monotonic() - began))
    return uploaded
