"""Builds the graph: parents before children by digest, siblings at the same time, one platform after the other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import anyio

from shipgraph.build.builder import DEFAULT_TIMEOUT, BaseImage
from shipgraph.build.built import Built
from shipgraph.build.claims import find_build
from shipgraph.build.context import read_context
from shipgraph.build.stage import (
    Origin,
    PlatformBuild,
    build_platform,
    describe_image,
    plan_inputs,
    publish_platform,
)
from shipgraph.engine.caches import NONE, image_caches
from shipgraph.errors import BuildFailed
from shipgraph.events import Finished
from shipgraph.project.bases import EmptyBase
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipgraph.build.context import Context
    from shipgraph.engine.bases import BaseSupply
    from shipgraph.engine.gating import Gates
    from shipgraph.engine.workshop import Workshop
    from shipgraph.events import Emit
    from shipgraph.oci.digest import Digest
    from shipgraph.oci.platform import Platform
    from shipgraph.project.graph import ImageSpec
    from shipgraph.project.release import Release
    from shipgraph.promote.timing import Timing
    from shipgraph.records.sets import SetRecord
    from shipgraph.store.protocols import Store


@dataclass(frozen=True, slots=True)
class PlatformImage:
    """One image for one platform as it is in the target registry; ``fresh`` if this run built it.

    ``withheld`` if the gate refused it, or what it was built from: then it is in the job's registry alone.
    """

    key: str
    platform: Platform
    built: Built
    fresh: bool
    withheld: bool = False


Images: TypeAlias = "dict[tuple[str, Platform], PlatformImage]"


def describe(release: Release, image: ImageSpec) -> dict[str, str]:
    """The annotations of an image that are the same for every commit."""
    return describe_image(
        image.repository.rpartition("/")[2],
        source=release.source,
        description=image.description or release.project.description,
        licenses=release.project.licenses,
    )


async def read_contexts(release: Release, keys: Sequence[str], *, emit: Emit) -> dict[str, Context]:
    """The hashed build contexts of images."""
    project = release.project

    async def one(key: str) -> Context:
        image = project.graph[key]
        folder, dockerfile = project.locate(image.context), project.locate(image.dockerfile)
        return await read_context(folder, dockerfile, emit=emit, task=f"context:{key}")

    return dict(zip(keys, await gather([partial(one, key) for key in keys]), strict=True))


def platform_build(
    release: Release, record: SetRecord, image: ImageSpec, platform: Platform, context: Context, base: BaseImage | None
) -> PlatformBuild:
    """One build of the plan; ``base`` is the parent's manifest for the platform, or the external base's."""
    project = release.project
    return PlatformBuild(
        image=image.key,
        repository=release.repository(image.key),
        platform=platform,
        context=context,
        dockerfile=project.locate(image.dockerfile),
        base=base,
        parent=image.parent is not None,
        base_name="" if image.base is None or isinstance(image.base, EmptyBase) else str(image.base),
        commit=release.commit,
        created=release.commit_time,
        arguments=image.args,
        labels={**describe(release, image), **image.labels},
        annotations=describe(release, image),
        secrets=image.secrets,
        epoch=record.epochs.get(image.key, 0),
    )


def parent_image(release: Release, parent: ImageSpec, digest: Digest) -> BaseImage:
    """A parent's manifest for one platform as what its child is built from."""
    return BaseImage(parent.repository, release.repository(parent.key), digest)


async def build_platforms(
    release: Release,
    record: SetRecord,
    keys: Sequence[str],
    *,
    platforms: Sequence[Platform],
    target: Store,
    workshop: Workshop | None,
    supply: BaseSupply,
    gates: Gates | None,
    timing: Timing,
    run: str,
    emit: Emit,
) -> Images:
    """Bring images and all they are built from into the target registry by digest, with their records; no tag moves.

    What the gate refuses stays in the job's registry. The rest is built all the same, so that every finding is known.

    Args:
        keys: a closure of the graph, in topological order.
        platforms: which of the release's platforms.
        workshop: where images are built; None where only what is there already counts.
        gates: what a build has to pass; needed where there is a workshop.

    Raises:
        Refused: the gate refused an image that was built.
        BuildFailed, DiskFull, ToolMissing, ConfigurationError, RegistryError
    """
    contexts = await read_contexts(release, keys, emit=emit)
    images: Images = {}
    graph = release.project.graph

    async def one(key: str, platform: Platform, parent_done: anyio.Event | None, done: anyio.Event) -> None:
        image = graph[key]
        if parent_done is not None:
            await parent_done.wait()
        base = (
            parent_image(release, graph[image.parent], images[image.parent, platform].built.digest)
            if image.parent is not None
            else await supply.base_image(image, platform)
        )
        build = platform_build(release, record, image, platform, contexts[key], base)
        inputs = await plan_inputs(build)
        known = await find_build(target, release.metadata_repository, build.repository, inputs.hash)
        if known is not None:
            images[key, platform] = PlatformImage(key, platform, Built(known, fresh=False), fresh=False)
            emit(Finished(build.task, build.title, "unchanged"))
        elif workshop is None:
            raise BuildFailed(
                f"{build.title} is not in the registry as it would be built now",
                hint=f"build it: shipgraph build {key} --platform {platform}",
            )
        else:
            assert gates is not None  # noqa: S101 (nothing is built without a gate)
            async with workshop.jobs:
                built = await _build(
                    build, release, target=target, workshop=workshop, supply=supply, run=run, emit=emit
                )
            registry = await workshop.registry()
            verdict = await gates.at(registry.address).look_at(
                registry.store, build.title, build.repository, built.digest
            )
            withheld = verdict.refused or (image.parent is not None and images[image.parent, platform].withheld)
            if not withheld:
                # the next build begins meanwhile: a claim may have to wait until the registry has settled
                built = await publish_platform(
                    built,
                    job=registry.store,
                    target=target,
                    metadata=release.metadata_repository,
                    settle=timing.settle,
                    sleep=anyio.sleep,
                    emit=emit,
                    mount_from=None if image.parent is None else release.repository(image.parent),
                )
            images[key, platform] = PlatformImage(key, platform, built, fresh=True, withheld=withheld)
        done.set()

    for platform in platforms:
        wanted = [key for key in keys if platform in release.image_platforms(key)]
        done = {key: anyio.Event() for key in wanted}
        calls = [
            partial(one, key, platform, None if (parent := graph[key].parent) is None else done[parent], done[key])
            for key in wanted
        ]
        await gather(calls)
    if gates is not None:
        gates.check()
    return images


async def _build(
    build: PlatformBuild,
    release: Release,
    *,
    target: Store,
    workshop: Workshop,
    supply: BaseSupply,
    run: str,
    emit: Emit,
) -> Built:
    """Build into the job's registry."""
    image = release.project.graph[build.image]
    registry = await workshop.registry()
    if build.parent:
        # a parent that wasn't built just now is only in the target
        origin: Origin | None = Origin(target, build.base.repository if build.base else "")
    else:
        origin = await supply.origin(image, build.platform)
    return await build_platform(
        build,
        builder=await workshop.builder(),
        job=registry.store,
        job_address=registry.address,
        logs=workshop.workspace.logs,
        origin=origin,
        secrets=workshop.secrets,
        caches=image_caches(release, image, workshop.target_host),
        fresh=release.project.build.cache == NONE,
        run=run,
        emit=emit,
        timeout=DEFAULT_TIMEOUT if image.timeout is None else image.timeout,
    )
