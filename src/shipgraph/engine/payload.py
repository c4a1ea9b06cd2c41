"""The payload of a release: packed from what git knows and the set's images, pushed under its immutable tags."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from shipgraph.channel.metadata import rfc3339
from shipgraph.events import Finished, Started
from shipgraph.payload.files import PayloadImage, select_files
from shipgraph.payload.stage import pack_payload, payload_manifest, publish_payload
from shipgraph.project.git import list_files
from shipgraph.promote.collect import collect_images, payload_tag

if TYPE_CHECKING:
    from shipgraph.engine.workspace import Workspace
    from shipgraph.events import Emit
    from shipgraph.oci.manifest import ImageManifest
    from shipgraph.project.release import Release
    from shipgraph.promote.timing import Timing
    from shipgraph.store.protocols import Store

TASK = "payload"


async def check_payload(release: Release) -> None:
    """Find mistakes in the payload's patterns before an hour of building.

    Raises:
        ConfigurationError: a pattern matches nothing or something that can't be shipped.
    """
    folder, spec = release.project.folder, release.project.payload
    if spec is not None:
        listed = await list_files(folder)
        await anyio.to_thread.run_sync(select_files, folder, spec.files, listed)


async def make_payload(
    release: Release, revision: int, *, target: Store, workspace: Workspace, timing: Timing, emit: Emit
) -> bool:
    """Pack and push the payload; whether anything was uploaded. A project without a payload has nothing to do.

    Raises:
        Refused: an image of the set is missing.
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
    workspace.prepare()
    await anyio.Path(workspace.payload).mkdir(parents=True, exist_ok=True)
    packed = await pack_payload(release, spec, images, await list_files(release.project.folder), workspace.payload)
    created = rfc3339(release.commit_time)

    def manifest(version: str) -> ImageManifest:
        return payload_manifest(
            spec, packed.layer, packed.sbom_layer, version=version, created=created, source=release.source
        )

    uploaded = await publish_payload(
        target,
        repository,
        packed,
        [(tag, manifest(tag)), (payload_tag(tag, release.version), manifest(release.version))],
        settle=timing.settle,
    )
    emit(Finished(TASK, "payload", "published" if uploaded else "unchanged", time.monotonic() - began))
    return uploaded
