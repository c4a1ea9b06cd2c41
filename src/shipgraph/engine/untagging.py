"""Who removes a tag alone: the registry itself, or on GHCR its Packages API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shipgraph.engine.github_api import packages_api

if TYPE_CHECKING:
    from shipgraph.promote.driver import Untagger
    from shipgraph.remote.store import RemoteStore
    from shipgraph.store.protocols import Deleter


class RegistryUntagger:
    """An ``Untagger`` for registries that delete a tag alone (the embedded one, distribution 3)."""

    def __init__(self, store: Deleter) -> None:
        self._store = store

    async def check(self, repository: str) -> None:
        """Deleting a tag that can't exist changes nothing, and is refused like any other where there is no right."""
        await self._store.delete_tag(repository, "shipgraph-may-i-remove-tags")

    async def remove(self, repository: str, tag: str) -> None:
        """See ``Untagger``."""
        await self._store.delete_tag(repository, tag)


class FittingUntagger:
    """Asks the registry what it is when the first tag is to be removed."""

    def __init__(self, store: RemoteStore, *, lag: float) -> None:
        self._store, self._lag = store, lag
        self._ghcr: bool | None = None

    async def check(self, repository: str) -> None:
        """See ``Untagger``."""
        await self._call(repository, None)

    async def remove(self, repository: str, tag: str) -> None:
        """See ``Untagger``."""
        await self._call(repository, tag)

    async def _call(self, repository: str, tag: str | None) -> None:
        if self._ghcr is None:
            self._ghcr = (await self._store.manners()).is_ghcr
        if not self._ghcr:
            await _do(RegistryUntagger(self._store), repository, tag)
            return
        from shipgraph.github.packages import Packages, find_owner
        from shipgraph.github.untagging import PackageUntagger

        async with packages_api(self._store.host) as api:
            packages = Packages(api, await find_owner(api, repository.partition("/")[0]))
            await _do(PackageUntagger(self._store, packages, lag=self._lag), repository, tag)


async def _do(untagger: Untagger, repository: str, tag: str | None) -> None:
    if tag is None:
        await untagger.check(repository)
    else:
        await untagger.remove(repository, tag)
