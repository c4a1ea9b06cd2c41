"""External bases of a release: resolved once, written into the set record, supplied to the builds that need them."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

import anyio

from shipgraph.build.bases import base_image, base_origin, refuse_unpinned, resolve_base
from shipgraph.build.claims import claim_set, newest_set, read_set
from shipgraph.build.rootfs import RootMaker
from shipgraph.channel.journal import JOURNAL, JOURNAL_TYPE, decode_entry
from shipgraph.project.bases import EmptyBase, ExternalBase
from shipgraph.records.document import read_document
from shipgraph.records.sets import ResolvedBase, SetRecord

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from shipgraph.build.builder import BaseImage
    from shipgraph.build.stage import Origin
    from shipgraph.engine.workspace import Workspace
    from shipgraph.events import Emit
    from shipgraph.oci.platform import Platform
    from shipgraph.project.bases import Base
    from shipgraph.project.graph import ImageSpec
    from shipgraph.project.release import Release
    from shipgraph.promote.timing import Timing
    from shipgraph.remote.store import RemoteStore
    from shipgraph.store.protocols import Reader, Store


class BaseSupply:
    """Resolves a release's external bases, and says where a build gets them from.

    ``make_roots`` is false where nothing may be made (`plan`): a base that would have to be made is then left out.
    """

    def __init__(self, release: Release, workspace: Workspace, *, emit: Emit, make_roots: bool = True) -> None:
        self._release, self._emit = release, emit
        self._roots = RootMaker(workspace.builder, logs=workspace.logs, emit=emit) if make_roots else None
        self._readers: dict[str, RemoteStore] = {}
        self._stack = AsyncExitStack()
        self._resolved: Mapping[str, ResolvedBase] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def resolve(
        self, previous: SetRecord | None, epochs: Mapping[str, int], *, refresh: bool = False
    ) -> dict[str, ResolvedBase]:
        """Every external base of the release, by its text in the file.

        ``previous`` is the last set of this commit or channel: a root file system of it counts until the maximum age
        of an image that uses it has passed, or with ``refresh``.

        Raises:
            RegistryUnavailable, NotFound, ConfigurationError, BuildFailed, ToolMissing, DiskFull
        """
        found: dict[str, ResolvedBase] = {}
        for text, base in self._bases().items():
            users = [image for image in self._release.project.graph if str(image.base) == text]
            platforms = sorted({p for image in users for p in self._release.image_platforms(image.key)})
            aged = any(previous and previous.epochs.get(i.key) != epochs.get(i.key) for i in users)
            resolved = await resolve_base(
                base,
                platforms,
                reader=await self._reader(base),
                roots=self._roots,
                emit=self._emit,
                previous=None if previous is None else previous.bases.get(text),
                refresh=refresh or aged,
            )
            if resolved is not None:
                found[text] = resolved
        return found

    def use(self, record: SetRecord) -> None:
        """From now on, what the set record says counts."""
        self._resolved = record.bases

    async def base_image(self, image: ImageSpec, platform: Platform) -> BaseImage | None:
        """The external base of an image for a platform; None for one from scratch."""
        base = image.base
        return None if base is None else base_image(base, self._resolved.get(str(base)), platform)

    async def origin(self, image: ImageSpec, platform: Platform) -> Origin | None:
        """Where that base's content comes from.

        Raises:
            BaseGone: it was a root file system, is gone, and would come out differently now.
            RegistryUnavailable, ToolMissing, DiskFull, BuildFailed
        """
        base = image.base
        if base is None or isinstance(base, EmptyBase):
            return None
        resolved = self._resolved[str(base)]
        return await base_origin(base, resolved, platform, reader=await self._reader(base), roots=self._roots)

    def _bases(self) -> dict[str, Base]:
        images = self._release.project.graph
        return {str(image.base): image.base for image in images if image.base is not None}

    async def _reader(self, base: Base) -> Reader | None:
        if not isinstance(base, ExternalBase):
            return None
        host = base.reference.host
        if host not in self._readers:
            from shipgraph.remote.store import RemoteStore

            self._readers[host] = await self._stack.enter_async_context(RemoteStore(host))
        return self._readers[host]


async def settle_set(
    release: Release,
    supply: BaseSupply,
    *,
    target: Store,
    timing: Timing,
    refresh: bool = False,
) -> SetRecord:
    """Claim this release's set, or join the one that says the same; ``refresh`` looks at every base again.

    Raises:
        UnpinnedBase: the channel takes only pinned bases.
        RegistryError, ConfigurationError, BuildFailed, ToolMissing, DiskFull
    """
    previous = await previous_set(release, target)
    epochs = age_epochs(release, time.time())
    bases = await supply.resolve(previous, epochs, refresh=refresh)
    wanted = wanted_set(release, bases, epochs)
    check_pinned(release, wanted)
    record, _ = await claim_set(target, release.metadata_repository, wanted, settle=timing.settle, sleep=anyio.sleep)
    supply.use(record)
    return record


def wanted_set(release: Release, bases: Mapping[str, ResolvedBase], epochs: Mapping[str, int]) -> SetRecord:
    """The set that this release is; its revision is decided when it is claimed."""
    return SetRecord(
        project=release.project.name,
        commit=release.commit,
        revision=0,
        tree=release.tree,
        platforms=tuple(map(str, release.platforms)),
        bases=dict(bases),
        epochs=dict(epochs),
        dirty=release.dirty,
    )


def age_epochs(release: Release, now: float) -> dict[str, int]:
    """For each image with a maximum age, the number of whole such ages since 1970: a new number means a rebuild."""
    return {image.key: int(now // image.max_age) for image in release.project.graph if image.max_age is not None}


async def previous_set(release: Release, target: Reader) -> SetRecord | None:
    """The newest set of this commit, else the set of the channel's current release."""
    found = await newest_set(target, release.metadata_repository, release.commit)
    if found is not None or release.channel is None:
        return found
    journal = await target.resolve(release.metadata_repository, JOURNAL)
    if journal is None:
        return None
    document = await read_document(target, release.metadata_repository, journal.digest, JOURNAL_TYPE)
    head = decode_entry(document.content, where="journal").head(release.channel)
    if not head.releases:
        return None
    return await read_set(target, release.metadata_repository, head.releases[0].immutable_tag)


def check_pinned(release: Release, record: SetRecord) -> None:
    """Refuse a set with unpinned or substitute bases on a channel that takes only pinned ones, but in a rehearsal.

    Raises:
        UnpinnedBase
    """
    if release.rehearsal or release.channel is None or not release.project.channels[release.channel].pinned:
        return
    for image in release.project.graph:
        if image.base is not None:
            refuse_unpinned(image.base, record.bases.get(str(image.base)))
