"""Copying an image, index or artifact with all that refers to it, between registries and layouts, byte for byte."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from shipgraph.errors import ConfigurationError, InvalidReference, MalformedDocument, NotFound
from shipgraph.events import Finished, Started, silent
from shipgraph.oci import media_types
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import ImageIndex
from shipgraph.oci.reference import Reference, check_tag
from shipgraph.store.copy import MAX_DEPTH, MAX_MANIFESTS, CopyResult, Target, copy_manifest, missing
from shipgraph.store.protocols import Fetcher, ReferrersLister, Resolver, Tagger
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from shipgraph.events import Emit
    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.oci.manifest import ImageManifest
    from shipgraph.remote.store import RemoteStore
    from shipgraph.store.disk.layout_store import LayoutStore

LAYOUT: Final = "oci:"
TASK: Final = "copy"


class Source(Fetcher, Resolver, ReferrersLister, Protocol):
    """What is copied from."""


class Destination(Target, Resolver, Tagger, Protocol):
    """What is copied to."""


@dataclass(frozen=True, slots=True)
class Location:
    """One side of a copy as it was written: ``HOST/REPOSITORY[:TAG][@DIGEST]`` or ``oci:FOLDER[:TAG][@DIGEST]``."""

    text: str
    host: str
    repository: str
    folder: Path | None
    tag: str | None
    digest: Digest | None

    @classmethod
    def parse(cls, text: str) -> Location:
        """Read it.

        Raises:
            InvalidReference: it is neither.
        """
        if text.startswith(LAYOUT):
            return cls._layout(text)
        reference = Reference.parse(text)
        if not reference.host:
            raise InvalidReference(
                f"{text[:200]!r} names no registry",
                allowed="HOST/REPOSITORY[:TAG][@DIGEST] or oci:FOLDER[:TAG][@DIGEST]",
                hint=f"say docker.io/{text} if it is on Docker Hub",
            )
        return cls(text, reference.host, reference.repository, None, reference.tag, reference.digest)

    @classmethod
    def _layout(cls, text: str) -> Location:
        rest, at, digest = text.removeprefix(LAYOUT).partition("@")
        folder, colon, tag = rest.rpartition(":")
        if not colon or "/" in tag:
            folder, tag = rest, ""
        if not folder or (at and not digest):
            raise InvalidReference(f"{text[:200]!r} is no layout", allowed="oci:FOLDER[:TAG][@DIGEST]")
        return cls(
            text, "", "layout", Path(folder), check_tag(tag) if tag else None, Digest.parse(digest) if at else None
        )


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did, or would do: the manifest's descriptor, where its tag is now, and what was sent."""

    root: Descriptor
    tag: str | None
    sent: CopyResult
    referrers: int


@asynccontextmanager
async def opened(source: Location, target: Location) -> AsyncIterator[tuple[Source, Destination]]:
    """Both sides' stores; the same one where both are on one registry.

    Raises:
        ConfigurationError: the source is a folder that isn't there.
    """
    from shipgraph.remote.store import RemoteStore

    async with AsyncExitStack() as stack:
        stores: dict[str, RemoteStore] = {}
        for side in (source, target):
            if side.folder is None and side.host not in stores:
                stores[side.host] = await stack.enter_async_context(RemoteStore(side.host))
        if source.folder is not None and not (source.folder / "oci-layout").is_file():
            raise ConfigurationError(f"{source.folder} is no OCI image layout", hint="a layout has a file oci-layout")
        yield (
            stores[source.host] if source.folder is None else _layout(source.folder),
            stores[target.host] if target.folder is None else _layout(target.folder),
        )


def _layout(folder: Path) -> LayoutStore:
    from shipgraph.store.disk.layout_store import LayoutStore

    return LayoutStore(folder)


async def copy(
    source: Source,
    where: Location,
    target: Destination,
    to: Location,
    *,
    referrers: bool = True,
    dry_run: bool = False,
    emit: Emit = silent,
    jobs: int = 8,
) -> Copied:
    """Copy what ``where`` names, then what refers to it, then set the tag: what the tag shows is complete.

    Without a tag or digest in ``to``, the source's tag is taken.

    Raises:
        NotFound: the source lacks it.
        ConfigurationError: the destination names another digest, or the source names nothing.
        DigestMismatch, MalformedDocument, RegistryError
    """
    root = await _root(source, where)
    if to.digest not in (None, root.digest):
        raise ConfigurationError(f"{where.text} is {root.digest}, and no copy makes it {to.digest}")
    tag = to.tag or (where.tag if to.digest is None else None)
    mount_from = where.repository if where.host == to.host and where.folder is None else None
    manifest = await source.manifest(where.repository, root.digest)
    emit(Started(TASK, f"copy {where.text}"))
    began = anyio.current_time()
    wanted = [root.digest]
    if referrers:
        wanted += await _referrers(source, where.repository, root, manifest, jobs)
    sent = CopyResult(0, 0, 0)
    if dry_run:
        sent = await missing(source, where.repository, target, to.repository, wanted, jobs=jobs)
    for digest in [] if dry_run else wanted:
        more = await copy_manifest(
            source, where.repository, target, to.repository, digest,
            emit=emit, task=TASK, jobs=jobs, mount_from=mount_from,
        )  # fmt: skip
        sent = CopyResult(sent.blobs + more.blobs, sent.bytes + more.bytes, sent.manifests + more.manifests)
    if tag is not None and not dry_run:
        there = await target.resolve(to.repository, tag)
        if there is None or there.digest != root.digest:
            await target.tag(to.repository, tag, manifest)
    outcome = "to be copied" if dry_run else "copied" if sent.manifests else "there already"
    emit(Finished(TASK, f"copy {where.text}", outcome, anyio.current_time() - began))
    return Copied(root, tag, sent, len(wanted) - 1)


async def _root(source: Source, where: Location) -> Descriptor:
    if where.digest is not None:
        return (await source.manifest(where.repository, where.digest)).descriptor
    tag = where.tag
    if tag is None and where.folder is not None:
        from shipgraph.store.disk.layout_store import LayoutStore

        layout = LayoutStore(where.folder)
        tags = await layout.tags(where.repository)
        roots = [] if tags else await layout.roots()
        if len(roots) == 1:
            return (await source.manifest(where.repository, Digest.parse(roots[0]))).descriptor
        if len(tags) != 1:
            names = ", ".join(tags[:8]) + (" …" if len(tags) > 8 else "") if tags else f"{len(roots)} manifests, no tag"
            raise ConfigurationError(f"{where.text} names none of several: say which", allowed=names)
        tag = tags[0]
    found = await source.resolve(where.repository, tag or "latest")
    if found is None:
        raise NotFound(f"{where.text} is not there")
    return found


async def _referrers(
    source: Source, repository: str, root: Descriptor, manifest: ImageManifest | ImageIndex, jobs: int
) -> list[Digest]:
    """What refers to the root or to a manifest in it, and what refers to that, each after its subject.

    Raises:
        MalformedDocument: more than one copy may take, or chains longer than that.
    """
    subjects = [root.digest, *await _children(source, repository, manifest)]
    seen = set(subjects)
    found: list[Digest] = []
    limiter = anyio.CapacityLimiter(jobs)
    for _ in range(MAX_DEPTH):
        listed = await gather([_lister(source, repository, subject) for subject in subjects], limiter=limiter)
        fresh = dict.fromkeys(one.digest for descriptors in listed for one in descriptors if one.digest not in seen)
        if not fresh:
            return found
        found += fresh
        seen |= fresh.keys()
        if len(seen) > MAX_MANIFESTS:
            raise MalformedDocument(f"{repository}@{root.digest} has more than {MAX_MANIFESTS} referrers")
        subjects = list(fresh)
    raise MalformedDocument(f"{repository}@{root.digest} has referrers of referrers deeper than {MAX_DEPTH}")


async def _children(source: Source, repository: str, manifest: ImageManifest | ImageIndex) -> list[Digest]:
    """The manifests of an index, and of the indexes in it."""
    found: dict[Digest, None] = {}
    level = [manifest]
    for _ in range(MAX_DEPTH):
        nested: list[Digest] = []
        for one in level:
            for child in one.manifests if isinstance(one, ImageIndex) else ():
                if child.media_type in media_types.INDEXES and child.digest not in found:
                    nested.append(child.digest)
                if child.media_type in media_types.INDEXES | media_types.MANIFESTS:
                    found[child.digest] = None
        if not nested or len(found) > MAX_MANIFESTS:
            break  # copying itself refuses what is too much
        level = [await source.manifest(repository, digest) for digest in nested]
    return list(found)


def _lister(source: Source, repository: str, subject: Digest) -> Callable[[], Awaitable[tuple[Descriptor, ...]]]:
    async def listed() -> tuple[Descriptor, ...]:
        return await source.referrers(repository, subject)

    return listed
