"""The index over an image's platforms, made from their digests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shipgraph.build.built import Built, now_text
from shipgraph.build.claims import ClaimStore, claim_build, find_build
from shipgraph.build.inputs import ANNOTATION_INPUTS, index_inputs
from shipgraph.errors import BuildFailed
from shipgraph.oci.manifest import ImageIndex, build_index
from shipgraph.oci.platform import Platform
from shipgraph.records.builds import INDEX, BuildRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shipgraph.records.claims import Sleep
    from shipgraph.store.protocols import Fetcher


async def assemble(
    builds: Sequence[Built],
    *,
    platforms: Sequence[Platform],
    image: str,
    repository: str,
    annotations: Mapping[str, str],
    target: ClaimStore,
    metadata: str,
    settle: float,
    sleep: Sleep,
    parent: str = "",
    commit: str = "",
    run: str = "",
) -> Built:
    """Make the index over an image's published platforms, and claim its record; no tag moves.

    Args:
        builds: what ``publish_platform`` returned, one for each platform.
        platforms: all platforms that the image must have.
        parent: the digest of the parent's index.

    Raises:
        BuildFailed: a platform is missing.
        RegistryError, ContentError
    """
    there = {Platform.parse(built.record.platform): built for built in builds}
    missing = [str(platform) for platform in platforms if platform not in there]
    if missing or not platforms:
        raise BuildFailed(
            f"{image} can't be assembled: {', '.join(missing) or 'every platform'} is missing",
            hint=f"build it: shipgraph build {image} --platform {missing[0] if missing else 'OS/ARCH'}",
        )
    chosen = {platform: there[platform] for platform in sorted(platforms)}
    inputs = index_inputs(
        image=image,
        platforms={platform: built.record.inputs for platform, built in chosen.items()},
        annotations=annotations,
    )
    index = build_index(
        [built.descriptor for built in chosen.values()],
        annotations={**annotations, ANNOTATION_INPUTS: inputs.hash},
    )
    known = await find_build(target, metadata, repository, inputs.hash)
    if known is not None and known.digest == str(index.digest):
        return Built(known, fresh=False)
    record = BuildRecord(
        inputs=inputs.hash,
        image=image,
        repository=repository,
        platform=INDEX,
        digest=str(index.digest),
        media_type=index.media_type,
        size=index.size,
        builder="shipgraph",
        parent=parent,
        commit=commit,
        run=run,
        started=now_text(),
        ended=now_text(),
        components=dict(inputs.components),
    )
    await target.push_manifest(repository, index)
    # the platforms' own records decide which images count: an index over others is no longer right
    claimed = await claim_build(
        target, metadata, repository, record, settle=settle, sleep=sleep, replace=known is not None
    )
    return Built(claimed, fresh=True)


async def read_index(store: Fetcher, built: Built) -> ImageIndex:
    """The index of an assembled image, as it is in the registry.

    Raises:
        BuildFailed: what is there is not an index.
        NotFound, ContentError, RegistryError
    """
    manifest = await store.manifest(built.record.repository, built.digest)
    if not isinstance(manifest, ImageIndex):
        raise BuildFailed(f"{built.record.repository}@{built.digest} is not an index over platforms")
    return manifest
