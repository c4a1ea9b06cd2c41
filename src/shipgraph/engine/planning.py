"""The plan: what a release would build, reuse and move. It reads, and its stores can do nothing else."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from shipgraph.build.claims import find_build, newest_set, same_set
from shipgraph.build.inputs import ANNOTATION_INPUTS
from shipgraph.build.stage import plan_inputs
from shipgraph.channel.metadata import LATEST
from shipgraph.engine.bases import BaseSupply, age_epochs, check_pinned, previous_set, wanted_set
from shipgraph.engine.images import parent_image, platform_build, read_contexts
from shipgraph.engine.payload import check_payload
from shipgraph.errors import RegistryUnavailable, ShipgraphError
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import ImageIndex
from shipgraph.project.bases import EmptyBase
from shipgraph.store.decorators.read_only import ReadOnly
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shipgraph.build.builder import BaseImage
    from shipgraph.build.context import Context
    from shipgraph.build.inputs import Inputs
    from shipgraph.engine.workspace import Workspace
    from shipgraph.events import Emit
    from shipgraph.oci.platform import Platform
    from shipgraph.project.graph import ImageSpec
    from shipgraph.project.release import Release
    from shipgraph.records.sets import SetRecord
    from shipgraph.store.protocols import Reader


@dataclass(frozen=True, slots=True)
class PlannedBuild:
    """What would happen to one image on one platform: ``build`` or ``reuse``, and why; ``digest`` where it is known."""

    image: str
    platform: Platform
    action: str
    why: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """A moving tag: where it is (None: nowhere yet), and the set it would move to."""

    repository: str
    tag: str
    before: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a release would do; ``notes`` say what could not be told, and what would refuse it."""

    release: Release
    immutable_tag: str
    builds: tuple[PlannedBuild, ...]
    moves: tuple[PlannedMove, ...]
    notes: tuple[str, ...]


async def make_plan(release: Release, target: Reader, workspace: Workspace, *, emit: Emit) -> Plan:
    """Compare a release's inputs with the registry's build records.

    Raises:
        ConfigurationError, UnpinnedBase, RegistryError
    """
    await check_payload(release)
    reader = ReadOnly(target)
    notes = _untested(release)
    epochs = age_epochs(release, time.time())
    previous = await previous_set(release, reader)
    async with BaseSupply(release, workspace, emit=emit, make_roots=False) as supply:
        record = None
        try:
            record = wanted_set(release, await supply.resolve(previous, epochs), epochs)
            check_pinned(release, record)
            supply.use(record)
        except RegistryUnavailable as error:
            notes.append(f"{error}; it would be resolved when it is built")
        contexts = await read_contexts(release, release.project.graph.order, emit=emit)
        builds: dict[tuple[str, Platform], PlannedBuild] = {}
        for level in release.project.graph.levels:
            calls = [
                partial(_plan_one, release, record, key, platform, contexts[key], builds, reader, supply)
                for platform in release.platforms
                for key in level
                if platform in release.image_platforms(key)
            ]
            for planned in await gather(calls):
                builds[planned.image, planned.platform] = planned
    tag = release.immutable_tag(await _revision(release, reader, record))
    return Plan(release, tag, tuple(builds.values()), await _moves(release, reader), tuple(notes))


def _untested(release: Release) -> list[str]:
    """What `release` refuses before anything is built, too."""
    lacking = release.untested_images
    names = ", ".join(lacking)
    refusal = f"there is no test of {names}, so the release would be refused"
    return [f'{refusal}: add [[images.KEY.tests]], or take "test" out of [evidence] require'] if lacking else []


async def _revision(release: Release, reader: Reader, record: SetRecord | None) -> int:
    newest = await newest_set(reader, release.metadata_repository, release.commit)
    if newest is None:
        return 1
    return newest.revision if record is not None and same_set(newest, record) else newest.revision + 1


async def _plan_one(
    release: Release,
    record: SetRecord | None,
    key: str,
    platform: Platform,
    context: Context,
    builds: Mapping[tuple[str, Platform], PlannedBuild],
    reader: Reader,
    supply: BaseSupply,
) -> PlannedBuild:
    image = release.project.graph[key]
    if image.parent is not None:
        parent = builds[image.parent, platform]
        if not parent.digest:
            return PlannedBuild(key, platform, "build", f"{image.parent} is built")
        base: BaseImage | None = parent_image(release, release.project.graph[image.parent], Digest.parse(parent.digest))
    elif record is None:
        return PlannedBuild(key, platform, "build", "its base is not resolved yet")
    else:
        base = await supply.base_image(image, platform)
        if base is None and not isinstance(image.base, EmptyBase):
            return PlannedBuild(key, platform, "build", "its base is not resolved yet")
    build = platform_build(release, record or wanted_set(release, {}, {}), image, platform, context, base)
    inputs = await plan_inputs(build)
    found = await find_build(reader, release.metadata_repository, build.repository, inputs.hash)
    if found is not None:
        return PlannedBuild(key, platform, "reuse", "nothing has changed", found.digest)
    return PlannedBuild(key, platform, "build", await _why(release, reader, image, platform, inputs))


async def _why(release: Release, reader: Reader, image: ImageSpec, platform: Platform, inputs: Inputs) -> str:
    """What differs from the image that the channel has now."""
    repository = release.repository(image.key)
    there = None if release.channel is None else await reader.resolve(repository, release.channel)
    if there is None:
        return "it was never built"
    try:
        index = await reader.manifest(repository, there.digest)
        if not isinstance(index, ImageIndex):
            return "the channel has something else there"
        child = next((child for child in index.manifests if child.platform == platform), None)
        if child is None:
            return f"the channel has it not for {platform}"
        manifest = await reader.manifest(repository, child.digest)
        before = await find_build(
            reader, release.metadata_repository, repository, manifest.annotations.get(ANNOTATION_INPUTS, "none")
        )
    except ShipgraphError:
        return "what the channel has can't be read"
    if before is None:
        return "the channel's image has no build record"
    return ", ".join(inputs.changes(before.components)) or "nothing is known to differ"


async def _moves(release: Release, reader: Reader) -> tuple[PlannedMove, ...]:
    """Every tag that the transaction would move, and where it is."""
    wanted = [(release.repository(image.key), tag) for image in release.project.graph for tag in release.moving_tags]
    if release.payload_repository is not None and release.channel is not None:
        wanted.append((release.payload_repository, release.version))
    if release.channel is not None:
        names = (*((release.release_tag,) if release.release_tag else ()), release.channel, LATEST)
        wanted.extend((release.metadata_repository, name) for name in names)
    there = await gather([partial(reader.resolve, repository, tag) for repository, tag in wanted])
    return tuple(
        PlannedMove(repository, tag, None if found is None else str(found.digest))
        for (repository, tag), found in zip(wanted, there, strict=True)
    )
