"""Images of several platforms become one: an index over their digests, under the set's immutable tag."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio

from shipgraph.build.assemble import assemble, read_index
from shipgraph.build.claims import claim_image_tag
from shipgraph.engine.images import describe
from shipgraph.oci import media_types
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shipgraph.engine.images import Images
    from shipgraph.oci.digest import Digest
    from shipgraph.oci.manifest import ImageIndex
    from shipgraph.oci.platform import Platform
    from shipgraph.project.release import Release
    from shipgraph.promote.timing import Timing
    from shipgraph.records.sets import SetRecord
    from shipgraph.store.protocols import Store


@dataclass(frozen=True, slots=True)
class ImageResult:
    """One image of the release as it is in the target registry; ``built`` names the platforms built by this run."""

    key: str
    repository: str
    index: ImageIndex
    built: tuple[Platform, ...]

    @property
    def outcome(self) -> str:
        """``built`` or ``unchanged``."""
        return "built" if self.built else "unchanged"


async def assemble_images(
    release: Release,
    record: SetRecord,
    keys: Sequence[str],
    images: Images,
    *,
    target: Store,
    timing: Timing,
    run: str,
) -> dict[str, ImageResult]:
    """Assemble images and claim their immutable tags.

    Args:
        keys: a closure of the graph, in topological order.

    Raises:
        BuildFailed: a platform is missing.
        ImmutableTagConflict: another image is there already under the immutable tag.
        RegistryError
    """
    results: dict[str, ImageResult] = {}
    for level in release.project.graph.levels:
        # a child's index names its parent's, so levels follow each other; within one, claims wait at the same time
        wanted = [key for key in level if key in keys]
        calls = [
            partial(_assemble_one, release, record, key, images, results, target=target, timing=timing, run=run)
            for key in wanted
        ]
        results.update(zip(wanted, await gather(calls), strict=True))
    return {key: results[key] for key in keys}


async def _assemble_one(
    release: Release,
    record: SetRecord,
    key: str,
    images: Images,
    parents: Mapping[str, ImageResult],
    *,
    target: Store,
    timing: Timing,
    run: str,
) -> ImageResult:
    """Assemble an image's index and claim its immutable tag."""
    image = release.project.graph[key]
    repository = release.repository(key)
    annotations = describe(release, image)
    parent = "" if image.parent is None else str(parents[image.parent].index.digest)
    if parent:
        annotations[media_types.ANNOTATION_BASE_DIGEST] = parent
    platforms = release.image_platforms(key)
    built = await assemble(
        [images[key, platform].built for platform in platforms if (key, platform) in images],
        platforms=platforms,
        image=key,
        repository=repository,
        annotations=annotations,
        target=target,
        metadata=release.metadata_repository,
        settle=timing.settle,
        sleep=anyio.sleep,
        parent=parent,
        commit=release.commit,
        run=run,
    )
    index = await read_index(target, built)
    digest: Digest = await claim_image_tag(
        target,
        repository,
        release.immutable_tag(record.revision),
        index,
        settle=timing.settle,
        sleep=anyio.sleep,
    )
    if digest != index.digest:
        found = await target.manifest(repository, digest)
        assert type(found) is type(index)  # noqa: S101 (the same inputs make the same kind)
        index = found
    fresh = tuple(platform for platform in platforms if images[key, platform].fresh)
    return ImageResult(key, repository, index, fresh)
