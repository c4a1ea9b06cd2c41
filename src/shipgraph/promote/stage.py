"""Finalize: the release's metadata, then the transaction that moves every tag."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

from shipgraph.channel.journal import HeadRelease, Kind, Owner
from shipgraph.channel.metadata import (
    ChannelMetadata,
    ImageEntry,
    PayloadEntry,
    encode_metadata,
    expiry,
    rfc3339,
)
from shipgraph.promote.driver import Driver, Liveness, TransactionStore, nobody_knows
from shipgraph.promote.order import Ancestry, Standing, compare
from shipgraph.promote.protocol import Settled, Target, Unchanged
from shipgraph.promote.releases import Request
from shipgraph.promote.releases import release as move_channel
from shipgraph.promote.terms import Terms
from shipgraph.records.document import push_document

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shipgraph.channel.journal import Mark
    from shipgraph.events import Emit
    from shipgraph.oci.digest import Digest
    from shipgraph.oci.manifest import ImageManifest
    from shipgraph.project.release import Release
    from shipgraph.promote.actions import Renewed
    from shipgraph.promote.collect import ReleaseSet
    from shipgraph.promote.timing import Timing


SignMetadata: TypeAlias = "Callable[[ChannelMetadata, ImageManifest], Awaitable[None]]"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user allows a transaction to do."""

    wait: bool = False
    diverged: bool = False
    move_release_tag: bool = False


async def finalize(
    store: TransactionStore,
    release: Release,
    found: ReleaseSet,
    revision: int,
    *,
    kind: Kind,
    owner: Owner,
    timing: Timing,
    ancestry: Ancestry,
    wishes: Wishes,
    emit: Emit,
    jobs: int,
    stop: Callable[[], bool],
    sign: SignMetadata | None = None,
    alive: Liveness = nobody_knows,
) -> Settled | Unchanged:
    """Move every tag of a set to it, together or not at all.

    Args:
        sign: attaches signed evidence to the metadata, which is in the registry by digest and claims nothing yet.

    Raises:
        Conflict: the channel is ahead, busy or held; nothing moved.
        Refused: the registry refused a move, and all were taken back.
        TransactionUnfinished: the journal stays open.
        RegistryError: nothing moved.
    """
    channel = release.channel
    assert channel is not None  # noqa: S101 (a pull request has nothing to finalize)
    request = _request(release, found, revision, channel, kind, wishes)
    spec = release.project.channels[channel]
    terms = Terms.of(release, owner, timing, wait=wishes.wait)

    async def make_metadata(
        serial: int,
        at: float,
        moving_tags: tuple[str, ...],
        renews: Renewed | None,  # noqa: ARG001 (a release is new)
    ) -> Digest:
        metadata = _metadata(release, found, channel, serial, at, moving_tags)
        document = encode_metadata(metadata, release.project.metadata.artifact_type, source=release.source)
        await push_document(store, release.metadata_repository, document)
        if sign is not None:
            await sign(metadata, document.manifest)
        return document.manifest.digest

    async def judge(mark: Mark) -> Standing:
        parse = spec.parse_version if spec.takes_versions else None
        return await compare(request.mark, mark, parse=parse, ancestry=ancestry)

    driver = Driver(
        store,
        release.metadata_repository,
        make_metadata=make_metadata,
        compare=judge,
        emit=emit,
        jobs=jobs,
        stop=stop,
        alive=alive,
        pace=timing.writes_per_second if timing.paced else None,
    )
    await driver.prefetch([(target.repository, target.digest) for target in request.targets])
    return await driver.run(move_channel(terms, request))


def _request(release: Release, found: ReleaseSet, revision: int, channel: str, kind: Kind, wishes: Wishes) -> Request:
    targets: list[Target] = []
    for image in found.images:
        targets.append(Target(image.repository, channel, image.index.digest))
        if release.release_tag is not None:
            targets.append(Target(image.repository, release.release_tag, image.index.digest, own=True))
    if found.payload is not None and found.payload_repository is not None:
        own = release.release_tag is not None
        targets.append(Target(found.payload_repository, release.version, found.payload.digest, own=own))
    return Request(
        kind=kind,
        channel=channel,
        release=HeadRelease(
            immutable_tag=found.immutable_tag,
            version=release.version,
            commit=release.commit,
            revision=revision,
            serial=0,
            metadata="",
            settled_at="",
        ),
        targets=tuple(targets),
        contents=found.contents,
        version_tag=release.release_tag,
        diverged=wishes.diverged,
        move_release_tag=wishes.move_release_tag,
    )


def _metadata(
    release: Release, found: ReleaseSet, channel: str, serial: int, at: float, moving_tags: tuple[str, ...]
) -> ChannelMetadata:
    payload = None
    if found.payload is not None:
        name = f"{release.registry}/{found.payload_repository}:{release.version}"
        payload = PayloadEntry(ref=f"{name}@{found.payload.digest}", digest=str(found.payload.digest))
    return ChannelMetadata(
        channel=channel,
        version=release.version,
        immutable_tag=found.immutable_tag,
        moving_tags=moving_tags,
        images=tuple(
            ImageEntry(
                image=image.key,
                repository=f"{release.registry}/{image.repository}",
                digest=str(image.index.digest),
            )
            for image in found.images
        ),
        payload=payload,
        generated_at=rfc3339(at),
        serial=serial,
        commit=release.commit,
        expires_at=expiry(at, timedelta(seconds=release.project.metadata.expires_after)),
    )
