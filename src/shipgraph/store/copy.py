"""Copying an image, artifact or index from one store to another, byte for byte.

Rules:

1. What is there already is not read and not sent. A manifest that the target has stands for all it refers to, for no
   store takes one before.
2. Blobs first, then manifests, children before their index: at no moment does the target list what it can't serve.
3. A manifest goes over as its exact bytes, whatever its media type, so its digest stays the same.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import anyio

from shipgraph.errors import MalformedDocument, NotFound
from shipgraph.events import Progressed, silent
from shipgraph.oci import media_types
from shipgraph.oci.manifest import ImageIndex, ImageManifest
from shipgraph.store.content import checked
from shipgraph.store.protocols import Prober, Pusher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from shipgraph.events import Emit
    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.oci.digest import Digest
    from shipgraph.store.protocols import Fetcher

T = TypeVar("T")

MAX_DEPTH: Final = 8
"""How deep indexes may be nested; honest ones have a depth of one or two."""

MAX_MANIFESTS: Final = 10_000
"""How many manifests one copy may take; a hostile index could name any number."""


class Target(Prober, Pusher, Protocol):
    """What is copied to."""


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What was sent: number of blobs, their bytes, number of manifests. All zero where everything was there."""

    blobs: int
    bytes: int
    manifests: int


async def copy_manifest(
    source: Fetcher,
    source_repository: str,
    target: Target,
    target_repository: str,
    digest: Digest,
    *,
    emit: Emit = silent,
    task: str = "",
    jobs: int = 4,
    mount_from: str | None = None,
) -> CopyResult:
    """Copy a manifest or index with all it refers to (its subject aside).

    Args:
        emit: gets ``Progressed`` events in bytes of blobs for ``task``; beginning and end are the caller's to tell.
        jobs: how many blobs, or manifests, are on their way at the same time.
        mount_from: another repository of the target that may hold blobs already (the parent image's, say).

    Raises:
        NotFound: the source lacks it, or something that it refers to.
        MalformedDocument: indexes nested deeper than ``MAX_DEPTH`` or naming more than ``MAX_MANIFESTS``.
        DigestMismatch: the source's bytes are not what they claim to be; nothing of them was stored.
        RegistryError: one side refused or did not answer; copying again goes on where this stopped.
    """
    tree = _Tree(source, source_repository, target, target_repository, jobs)
    await tree.walk(digest)
    wanted = {blob.digest: blob for blob in tree.blobs()}
    meter = _Meter(emit, task)
    await _each(
        wanted.values(),
        lambda blob: _push(source, source_repository, target, target_repository, blob, meter, mount_from),
        jobs,
    )
    for level in tree.bottom_up():
        await _each(level, lambda manifest: target.push_manifest(target_repository, manifest), jobs)
    return CopyResult(meter.blobs, meter.sent, len(tree.found))


async def missing(
    source: Fetcher,
    source_repository: str,
    target: Target,
    target_repository: str,
    digests: Iterable[Digest],
    *,
    jobs: int = 4,
) -> CopyResult:
    """What ``copy_manifest`` of all of them would send now, each blob once; nothing is changed.

    Raises:
        NotFound, MalformedDocument, DigestMismatch, RegistryError
    """
    tree = _Tree(source, source_repository, target, target_repository, jobs)
    for digest in digests:
        await tree.walk(digest)
    lacking: list[Descriptor] = []

    async def probe(blob: Descriptor) -> None:
        if not await target.has_blob(target_repository, blob.digest):
            lacking.append(blob)

    await _each({blob.digest: blob for blob in tree.blobs()}.values(), probe, jobs)
    return CopyResult(len(lacking), sum(blob.size for blob in lacking), len(tree.found))


class _Tree:
    """The manifests that the target lacks, each with its greatest distance from the root."""

    def __init__(
        self, source: Fetcher, source_repository: str, target: Prober, target_repository: str, jobs: int
    ) -> None:
        self._source, self._source_repository = source, source_repository
        self._target, self._target_repository = target, target_repository
        self._jobs = jobs
        self.found: dict[Digest, ImageManifest | ImageIndex] = {}
        self._seen: set[Digest] = set()

    async def walk(self, root: Digest) -> None:
        """Read level after level, so that a level's requests run at the same time."""
        level = [root]
        for _ in range(MAX_DEPTH + 1):
            self._seen.update(level)
            if len(self._seen) > MAX_MANIFESTS:
                raise MalformedDocument(f"{self._source_repository}@{root} names more than {MAX_MANIFESTS} manifests")
            await _each(level, self._read, self._jobs)
            children = (
                child.digest for digest in level if digest in self.found for child in _children(self.found[digest])
            )
            level = [digest for digest in dict.fromkeys(children) if digest not in self._seen]
            if not level:
                return
        raise MalformedDocument(f"{self._source_repository}@{root} nests indexes deeper than {MAX_DEPTH}")

    async def _read(self, digest: Digest) -> None:
        if not await self._target.has_manifest(self._target_repository, digest):
            self.found[digest] = await self._source.manifest(self._source_repository, digest)

    def blobs(self) -> Iterable[Descriptor]:
        """All blobs that the manifests refer to; some more than once."""
        for manifest in self.found.values():
            if isinstance(manifest, ImageManifest):
                yield from manifest.blobs
            else:
                yield from (child for child in manifest.manifests if not _is_manifest(child))

    def bottom_up(self) -> Iterable[list[ImageManifest | ImageIndex]]:
        """Manifests in groups, each after the groups that it refers to."""
        left = dict(self.found)
        while left:
            ready = [
                manifest for manifest in left.values() if not any(child.digest in left for child in _children(manifest))
            ]
            if not ready:  # by checked digests impossible
                raise MalformedDocument(f"{self._source_repository} has indexes that contain each other")
            yield ready
            for manifest in ready:
                del left[manifest.digest]


class _Meter:
    """Counts bytes and tells of them."""

    def __init__(self, emit: Emit, task: str) -> None:
        self._emit, self._task = emit, task
        self._done: dict[Digest, int] = {}
        self._total = 0
        self.blobs = 0
        self.sent = 0

    def expect(self, blob: Descriptor) -> None:
        self._total += blob.size
        self.at(blob, 0)

    def at(self, blob: Descriptor, position: int) -> None:
        self._done[blob.digest] = position
        self._emit(Progressed(self._task, sum(self._done.values()), self._total))

    def uploaded(self, blob: Descriptor) -> None:
        self.blobs += 1
        self.sent += blob.size
        self.at(blob, blob.size)


async def _push(
    source: Fetcher,
    source_repository: str,
    target: Target,
    target_repository: str,
    blob: Descriptor,
    meter: _Meter,
    mount_from: str | None,
) -> None:
    if await target.has_blob(target_repository, blob.digest):
        return
    meter.expect(blob)

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
        position = 0

        def advance(length: int) -> None:
            nonlocal position
            position += length
            meter.at(blob, position)

        async with source.blob(source_repository, blob) as pieces:
            # where the source has checked them, this is not done a second time, and not by the target either
            yield checked(pieces, blob, where=f"blob {source_repository}@{blob.digest}").observed(advance)

    try:
        uploaded = await target.push_blob(target_repository, blob, opened, mount_from=mount_from)
    except NotFound:
        if blob.media_type not in media_types.NONDISTRIBUTABLE:
            raise
        uploaded = False  # the source may lack it, and so may the target
    if uploaded:
        meter.uploaded(blob)
    else:  # there already, or not to be had
        meter.at(blob, blob.size)


async def _each(things: Iterable[T], action: Callable[[T], Awaitable[None]], jobs: int) -> None:
    """Do it for all of them, at most ``jobs`` at the same time; the first error stops the rest and is raised bare."""
    queue = iter(list(things))
    failures: list[Exception] = []

    async def work() -> None:
        for thing in queue:
            try:
                await action(thing)
            except Exception as error:
                failures.append(error)
                group.cancel_scope.cancel()
                return

    async with anyio.create_task_group() as group:
        for _ in range(max(1, jobs)):
            group.start_soon(work)
    if failures:
        raise failures[0]


def _is_manifest(child: Descriptor) -> bool:
    return child.media_type in media_types.INDEXES | media_types.MANIFESTS


def _children(manifest: ImageManifest | ImageIndex) -> list[Descriptor]:
    if isinstance(manifest, ImageIndex):
        return [child for child in manifest.manifests if _is_manifest(child)]
    return []
