"""The images of a release: the set is claimed, what is missing is built, gated and proven, indexes are assembled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shipgraph.engine.assembling import ImageResult, assemble_images
from shipgraph.engine.bases import BaseSupply, settle_set
from shipgraph.engine.claiming import join_release
from shipgraph.engine.gating import Gates
from shipgraph.engine.images import Images, build_platforms
from shipgraph.engine.opening import owner
from shipgraph.engine.proving import prove_images
from shipgraph.engine.sets import newest_record
from shipgraph.errors import BaseGone, ConfigurationError
from shipgraph.events import Note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipgraph.engine.signing import Signing
    from shipgraph.engine.workshop import Workshop
    from shipgraph.engine.workspace import Workspace
    from shipgraph.events import Emit
    from shipgraph.oci.platform import Platform
    from shipgraph.project.release import Release
    from shipgraph.promote.timing import Timing
    from shipgraph.records.sets import SetRecord
    from shipgraph.store.protocols import Store


async def build_images(
    release: Release,
    keys: Sequence[str],
    *,
    platforms: Sequence[Platform] | None = None,
    target: Store,
    workshop: Workshop,
    timing: Timing,
    signing: Signing | None,
    emit: Emit,
    claimed: bool = False,
) -> tuple[SetRecord, Images]:
    """Claim or join the set, then build what is missing of the images and all they are built from.

    What the gate lets pass is pushed by digest, with a record each, its SBOM, and signed evidence; no tag of an image
    is set.

    Args:
        platforms: only these of the release's platforms.
        signing: None where nothing is signed.
        claimed: the set was claimed by another job, and is taken as it is.

    Raises:
        Refused: the gate found a secret; or nobody has claimed the set.
        UnpinnedBase, BuildFailed, DiskFull, ToolMissing, ConfigurationError, Conflict, RegistryError
    """
    closure = release.project.graph.closure(keys)
    wanted = _narrowed(release, platforms)
    gates = Gates(release.project.gate, workshop.workspace, emit=emit)

    async def attempt(supply: BaseSupply, *, refresh: bool) -> tuple[SetRecord, Images]:
        if claimed:
            record = await join_release(release, supply, target=target)
        else:
            record = await settle_set(release, supply, target=target, timing=timing, refresh=refresh)
        if record.revision > 1:
            emit(Note(f"this is revision {record.revision} of commit {release.commit[:12]}"))
        images = await build_platforms(
            release,
            record,
            closure,
            platforms=wanted,
            target=target,
            workshop=workshop,
            supply=supply,
            gates=gates,
            timing=timing,
            run=owner().run,
            emit=emit,
        )
        return record, images

    async with BaseSupply(release, workshop.workspace, emit=emit) as supply:
        try:
            record, images = await attempt(supply, refresh=False)
        except BaseGone as gone:
            if claimed:
                raise
            emit(Note(f"{gone}; resolving bases again", warning=True))
            record, images = await attempt(supply, refresh=True)
    built = any(image.fresh for image in images.values())
    await prove_images(
        release,
        images,
        gates=gates,
        target=target,
        host=workshop.target_host,
        job=(await workshop.registry()).store if built else None,
        signing=signing,
        emit=emit,
    )
    return record, images


async def build_and_assemble(
    release: Release,
    keys: Sequence[str],
    *,
    target: Store,
    workshop: Workshop,
    timing: Timing,
    signing: Signing | None,
    emit: Emit,
) -> tuple[SetRecord, dict[str, ImageResult]]:
    """``build_images`` for all platforms, then their indexes under the set's immutable tag.

    Raises:
        ImmutableTagConflict: another image is there already under the immutable tag.
        ShipgraphError: see ``build_images``.
    """
    record, images = await build_images(
        release, keys, target=target, workshop=workshop, timing=timing, signing=signing, emit=emit
    )
    closure = release.project.graph.closure(keys)
    return record, await assemble_images(
        release, record, closure, images, target=target, timing=timing, run=owner().run
    )


async def assemble_built(
    release: Release, keys: Sequence[str], *, target: Store, workspace: Workspace, timing: Timing, emit: Emit
) -> tuple[SetRecord, dict[str, ImageResult]]:
    """Assemble what was built before, on other machines say, and all it is built from; nothing is built.

    Raises:
        Refused: the registry has no set of this commit.
        BuildFailed: an image was not built for some platform.
        ImmutableTagConflict, RegistryError
    """
    record = await newest_record(release, target)
    closure = release.project.graph.closure(keys)
    async with BaseSupply(release, workspace, emit=emit, make_roots=False) as supply:
        supply.use(record)
        images = await build_platforms(
            release,
            record,
            closure,
            platforms=release.platforms,
            target=target,
            workshop=None,
            supply=supply,
            gates=None,
            timing=timing,
            run=owner().run,
            emit=emit,
        )
    return record, await assemble_images(
        release, record, closure, images, target=target, timing=timing, run=owner().run
    )


def _narrowed(release: Release, platforms: Sequence[Platform] | None) -> tuple[Platform, ...]:
    if not platforms:
        return release.platforms
    unknown = [str(platform) for platform in platforms if platform not in release.platforms]
    if unknown:
        raise ConfigurationError(
            f"the release is not built for {', '.join(unknown)}", allowed=", ".join(map(str, release.platforms))
        )
    return tuple(platform for platform in release.platforms if platform in platforms)
