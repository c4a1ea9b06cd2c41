"""Versions in a folder of image layouts, a rehearsal's say: there everything is listed, with the time it was stored.

Reading and deleting goes over HTTP as everywhere else; only the list comes from the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shipgraph.oci.digest import Digest
from shipgraph.retain.distribution import DistributionShelf
from shipgraph.retain.versions import Version

if TYPE_CHECKING:
    from collections.abc import Callable

    from shipgraph.retain.contents import Contents
    from shipgraph.retain.distribution import RegistryStore
    from shipgraph.store.disk import DiskStore
    from shipgraph.store.disk.store import Listed


class LayoutShelf(DistributionShelf):
    """A ``Shelf`` over a folder that is served."""

    one_way = (
        "a folder keeps the bytes of what is deleted until garbage is collected (`shipgraph serve --collect`);"
        " `prune --undo` works until then"
    )
    sees_all = True
    pace = 0.1

    def __init__(self, disk: DiskStore, store: RegistryStore, contents: Contents) -> None:
        super().__init__(store, contents)
        self._disk = disk

    async def versions(self, repository: str) -> list[Version] | None:
        """See ``Shelf``."""
        listed = await self._disk.listing(repository)
        if not listed and not await self._disk.exists(repository):
            return None
        return [_version(repository, one) for one in listed]

    async def newer(self, repository: str, known: Callable[[Version], bool]) -> list[Version]:
        """See ``Shelf``."""
        return [one for one in await self.versions(repository) or () if not known(one)]

    async def look(self, version: Version) -> Version | None:
        """See ``Shelf``."""
        found = await self._disk.listing(version.repository, Digest.parse(version.digest))
        return _version(version.repository, found[0]) if found else None


def _version(repository: str, found: Listed) -> Version:
    return Version(
        repository=repository,
        digest=str(found.digest),
        tags=found.tags,
        created_at=found.stored_at,
        updated_at=found.stored_at,
    )
