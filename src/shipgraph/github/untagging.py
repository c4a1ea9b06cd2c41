"""Removing a tag on GHCR, which can only delete a version with all its tags.

The way round: a manifest that nothing else is (the *marker*) is put under the tag, and its version deleted. Rules:

1. Before the first tag goes, the right to delete is proven on a tag of our own, so that nothing is begun in vain.
2. A version is deleted only if it is the marker's and has this one tag: looked at right before, by its id.
3. The marker names what was there. Where it can't be deleted, that is put back; where this process dies in between, the
   next ``repair --untag`` finds the marker under the tag and goes on.

For the seconds in between, the tag resolves to an artifact without content.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from shipgraph.errors import Conflict, ContentError, RegistryError, RegistryUnavailable, ShipgraphError
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import EMPTY_CONFIG, EMPTY_DESCRIPTOR, ImageManifest, build_artifact
from shipgraph.store.content import from_bytes
from shipgraph.store.protocols import Fetcher, Pusher, Resolver, Tagger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shipgraph.github.packages import Packages, PackageVersion

MARKER: Final = "application/vnd.shipgraph.untag.v1"
WAS: Final = "dev.shipgraph.untag.was"
"""The annotation that holds the digest that was under the tag."""
PROBE: Final = "shipgraph-untag"
"""The tag on which the right to delete is proven."""
_NONCE: Final = "dev.shipgraph.untag.nonce"
_LOOKS: Final = 10


class UntaggedStore(Fetcher, Resolver, Pusher, Tagger, Protocol):
    """What removing a tag needs of the registry."""


class PackageUntagger:
    """Removes tags of one owner's packages; an ``Untagger``.

    Args:
        lag: seconds within which registry and API may not show what was written.
    """

    def __init__(
        self,
        store: UntaggedStore,
        packages: Packages,
        *,
        lag: float,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._store, self._packages, self._lag, self._sleep = store, packages, lag, sleep

    async def check(self, repository: str) -> None:
        """Prove the right to delete a version, on a tag that nobody uses.

        Raises:
            Denied, VersionKept, RegistryError: the tag ``shipgraph-untag`` may stay, and is used again the next time.
        """
        self._package(repository)
        await self._delete(repository, PROBE, await self._marked(repository, PROBE, None))

    async def remove(self, repository: str, tag: str) -> None:
        """Remove a tag alone; fine if it is gone.

        Raises:
            Conflict: somebody else moves the tag at the same time; it is left alone.
            Denied, VersionKept, RegistryError: the tag is what it was.
        """
        self._package(repository)
        there = await self._store.resolve(repository, tag)
        if there is None:
            return
        marker = await is_marker(self._store, repository, there.digest)
        was = _before(marker) if marker is not None else there.digest
        marker = marker or await self._marked(repository, tag, was)
        try:
            await self._delete(repository, tag, marker)
        except ShipgraphError:
            if was is not None:
                with anyio.CancelScope(shield=True):
                    await self._put_back(repository, tag, marker.digest, was)
            raise
        await self._see_it_gone(repository, tag, {marker.digest, was})

    async def _marked(self, repository: str, tag: str, was: Digest | None) -> ImageManifest:
        """Put a marker under the tag."""
        annotations = {_NONCE: secrets.token_hex(16), **({} if was is None else {WAS: str(was)})}
        marker = build_artifact(MARKER, (), annotations=annotations)
        await self._store.push_blob(repository, EMPTY_DESCRIPTOR, from_bytes(EMPTY_CONFIG))
        await self._store.tag(repository, tag, marker)
        return marker

    async def _delete(self, repository: str, tag: str, marker: ImageManifest) -> None:
        package = self._package(repository)
        listed = await self._find(package, marker.digest, tag)
        version = await self._packages.version(package, listed.id)  # as it is now, not as some listing has it
        if version is None:
            return
        if version.digest != str(marker.digest) or version.tags != (tag,):
            raise _not_alone(package, version, tag)
        await self._packages.delete_version(package, version.id)

    async def _find(self, package: str, digest: Digest, tag: str) -> PackageVersion:
        """The version of a manifest, once the API lists it under its tag.

        Raises:
            Conflict: it has more tags.
            RegistryUnavailable: the API did not list it in time.
        """
        found: list[PackageVersion] = []
        for look in range(_LOOKS):
            if look:
                await self._sleep(max(0.2, self._lag / 4))
            found = await self._packages.newest(package, lambda one: one.digest != str(digest))
            if not found and look == _LOOKS - 1:  # nothing promises the order
                found = [one for one in await self._packages.versions(package) if one.digest == str(digest)]
            if found and found[0].tags == (tag,):
                return found[0]
        if found and len(found[0].tags) > 1:
            raise _not_alone(package, found[0], tag)
        raise RegistryUnavailable(f"GitHub's API does not list {package}@{digest} under the tag {tag}")

    async def _put_back(self, repository: str, tag: str, marker: Digest, was: Digest) -> None:
        """What was under the tag, unless somebody else put something there."""
        there = await self._store.resolve(repository, tag)
        if there is not None and there.digest == marker:
            await self._store.tag(repository, tag, await self._store.manifest(repository, was))

    async def _see_it_gone(self, repository: str, tag: str, before: set[Digest | None]) -> None:
        """Wait until reads don't show what was there before; a third value is somebody's new tag."""
        waited = 0.0
        while True:
            there = await self._store.resolve(repository, tag)
            if there is None or there.digest not in before:
                return
            if waited > 2 * self._lag + 1:
                raise RegistryUnavailable(f"{repository}:{tag} is still there after its version was deleted")
            pause = max(0.2, self._lag / 4)
            waited += pause
            await self._sleep(pause)

    def _package(self, repository: str) -> str:
        login, _, package = repository.partition("/")
        if login != self._packages.owner.login.lower() or not package:
            raise RegistryError(f"{repository} is no package of {self._packages.owner.login}")
        return package


async def is_marker(store: Fetcher, repository: str, digest: Digest) -> ImageManifest | None:
    """The marker that a digest is, or None for anything else.

    Raises:
        RegistryError
    """
    try:
        manifest = await store.manifest(repository, digest)
    except ContentError:
        return None
    return manifest if isinstance(manifest, ImageManifest) and manifest.artifact_type == MARKER else None


def _not_alone(package: str, version: PackageVersion, tag: str) -> Conflict:
    return Conflict(
        f"version {version.id} of {package} is {version.digest} with the tags {', '.join(version.tags)}, "
        f"not the marker under {tag} alone: it was not deleted",
        hint="somebody else moves tags here; run the command again when nobody does",
    )


def _before(marker: ImageManifest) -> Digest | None:
    try:
        return Digest.parse(marker.annotations.get(WAS, ""))
    except ShipgraphError:
        return None
