"""Versions of any OCI registry (distribution specification 1.1): what tags reach, and what refers to that.

Such a registry lists tags and nothing else. So what no tag reaches is not seen, and nothing tells when a manifest was
pushed: whoever plans has to remember since when it is known.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from shipgraph.errors import NotFound, Rejected
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import ImageIndex
from shipgraph.retain.shelf import UNLIMITED, Kept
from shipgraph.retain.versions import Version
from shipgraph.store.protocols import Deleter, Lister, Prober, Pusher, ReferrersLister, Resolver
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shipgraph.channel.journal import Removal
    from shipgraph.oci.manifest import ImageManifest
    from shipgraph.retain.contents import Contents

READS: Final = 16
_NEVER: Final = frozenset({405, 501})


class RegistryStore(Lister, Resolver, Prober, ReferrersLister, Pusher, Deleter, Protocol):
    """What a shelf over a plain registry needs of it."""


class DistributionShelf:
    """A ``Shelf`` over a plain registry."""

    one_way = (
        "this registry keeps no deleted versions: `prune --undo` can only push manifests again that this machine has"
        " remembered, and only for as long as the registry hasn't collected their layers"
    )
    sees_all = False
    pace = 0.25

    def __init__(self, store: RegistryStore, contents: Contents) -> None:
        self._store, self._contents = store, contents
        self._reads = anyio.CapacityLimiter(READS)
        self._known: dict[str, dict[str, str]] = {}
        """By repository, where each tag pointed when all were asked."""

    def allowance(self) -> int:
        """See ``Shelf``."""
        return UNLIMITED

    async def versions(self, repository: str) -> list[Version] | None:
        """See ``Shelf``."""
        named = await self._tags(repository)
        if not named:
            return None
        found = await self._reached(repository, set(named.values()))
        return _versions(repository, found, named)

    async def newer(self, repository: str, known: Callable[[Version], bool]) -> list[Version]:
        """See ``Shelf``: what a tag points at that wasn't known, and what such an index holds."""
        named = await self._tags(repository)

        def is_new(digest: str) -> bool:
            return not known(Version(repository=repository, digest=digest))

        new = {digest for digest in named.values() if is_new(digest)}
        found: set[str] = set()
        while new:
            manifests, _ = await self._contents.manifests(repository, sorted(new))
            found |= set(manifests)
            new = {child for child in _children(manifests.values()) if child not in found and is_new(child)}
        return _versions(repository, found, named)

    async def look(self, version: Version) -> Version | None:
        """See ``Shelf``: all tags are listed, and those asked that the version had or that are new."""
        repository = version.repository
        if not await self._store.has_manifest(repository, Digest.parse(version.digest)):
            return None
        known = self._known.get(repository, {})
        asked = [tag for tag in await self._store.tags(repository) if known.get(tag, version.digest) == version.digest]
        named = await self._resolved(repository, asked)
        tags = tuple(sorted(tag for tag, digest in named.items() if digest == version.digest))
        return Version(
            repository=repository,
            digest=version.digest,
            tags=tags,
            created_at=version.created_at,
            updated_at=version.updated_at,
        )

    async def delete(self, version: Version) -> bool:
        """See ``Shelf``."""
        try:
            await self._store.delete_manifest(version.repository, Digest.parse(version.digest))
        except Rejected as refused:
            if refused.status not in _NEVER:
                raise
            raise Kept(
                f"the registry deletes nothing in {version.repository}",
                method=refused.method,
                url=refused.url,
                status=refused.status,
                detail="it does not support deletion, or it is switched off",
            ) from None
        return True

    async def restore(self, removal: Removal) -> None:
        """See ``Shelf``: the manifest is pushed again, if its bytes are remembered and its blobs still there."""
        digest = Digest.parse(removal.digest)
        if await self._store.has_manifest(removal.repository, digest):
            return
        manifests, _ = await self._contents.manifests(removal.repository, [removal.digest])
        if removal.digest not in manifests:
            raise NotFound(
                f"{removal.repository}@{removal.digest} can't be brought back: this machine hasn't got its manifest"
            )
        try:
            await self._store.push_manifest(removal.repository, manifests[removal.digest])
        except Rejected as refused:
            raise NotFound(
                f"{removal.repository}@{removal.digest} can't be brought back: the registry lacks a part of it",
                method=refused.method,
                url=refused.url,
                status=refused.status,
                codes=refused.codes,
            ) from None

    async def _tags(self, repository: str) -> dict[str, str]:
        """Every tag and its digest, as they are now."""
        found = self._known[repository] = await self._resolved(repository, await self._store.tags(repository))
        return found

    async def _resolved(self, repository: str, names: list[str]) -> dict[str, str]:
        found = await gather([partial(self._store.resolve, repository, name) for name in names], limiter=self._reads)
        return {name: str(one.digest) for name, one in zip(names, found, strict=True) if one is not None}

    async def _reached(self, repository: str, new: set[str]) -> set[str]:
        """What is reached from digests: an index's manifests, and what refers to any of them."""
        found: set[str] = set()
        asked: set[str] = set()
        while new:
            asked |= new
            manifests, _ = await self._contents.manifests(repository, sorted(new))
            found |= set(manifests)
            referring = await gather(
                [partial(self._store.referrers, repository, Digest.parse(digest)) for digest in manifests],
                limiter=self._reads,
            )
            new = _children(manifests.values()) | {str(one.digest) for many in referring for one in many}
            new = await self._there(repository, new - asked)
        return found

    async def _there(self, repository: str, digests: set[str]) -> set[str]:
        """Those that the registry has: what is remembered of a manifest says nothing about that."""
        names = sorted(digests)
        probes = [partial(self._store.has_manifest, repository, Digest.parse(name)) for name in names]
        return {name for name, there in zip(names, await gather(probes, limiter=self._reads), strict=True) if there}


def _children(manifests: Iterable[ImageManifest | ImageIndex]) -> set[str]:
    return {str(child.digest) for one in manifests if isinstance(one, ImageIndex) for child in one.manifests}


def _versions(repository: str, digests: Iterable[str], named: dict[str, str]) -> list[Version]:
    tags: dict[str, list[str]] = {}
    for tag, digest in sorted(named.items()):
        tags.setdefault(digest, []).append(tag)
    return [
        Version(repository=repository, digest=digest, tags=tuple(tags.get(digest, ()))) for digest in sorted(digests)
    ]
