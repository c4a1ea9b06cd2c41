"""Versions over GitHub's Packages API: one request for a hundred, two for a deletion, and thirty days to undo it.

GitHub's limits are the client's business (``github.api``); what is decided here is how much of the hour a clean-up
may use up, and that a package that can't be seen isn't taken for one that isn't there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shipgraph.errors import Denied, NotFound
from shipgraph.github.packages import Packages, VersionKept, find_owner
from shipgraph.retain.shelf import UNLIMITED, Kept
from shipgraph.retain.versions import Version

if TYPE_CHECKING:
    from collections.abc import Callable

    from shipgraph.channel.journal import Removal
    from shipgraph.github.api import GitHubApi
    from shipgraph.github.packages import PackageVersion
    from shipgraph.store.protocols import Lister

SPARED: Final = 50
"""Requests of the hour that are left to others, who share the token."""
_EACH: Final = 2
"""Requests that a deletion takes: one to look, one to delete."""
_PACE: Final = 60 / 150
"""GitHub takes 900 points a minute; looking costs one and deleting five."""


class PackagesShelf:
    """A ``Shelf`` over GitHub's API.

    Args:
        registry: the same packages as a registry; asked whether one is there that the API doesn't show.
    """

    one_way = ""
    sees_all = True
    pace = _PACE

    def __init__(self, api: GitHubApi, registry: Lister) -> None:
        self._api, self._registry = api, registry
        self._owners: dict[str, Packages] = {}

    def allowance(self) -> int:
        """See ``Shelf``."""
        budget = self._api.budget
        return UNLIMITED if budget is None else max(0, budget.remaining - SPARED) // _EACH

    async def versions(self, repository: str) -> list[Version] | None:
        """See ``Shelf``."""
        packages, package = await self._place(repository)
        try:
            found = await packages.versions(package)
        except NotFound as unseen:
            if not await self._registry.tags(repository):
                return None
            raise Denied(
                f"{repository} is in the registry, but GitHub's API doesn't show it to this token",
                method=unseen.method,
                url=unseen.url,
                status=unseen.status,
                hint="give the repository the Admin role under Manage Actions access of the package, or use a token"
                " that may read and delete packages",
            ) from None
        return [_version(repository, one) for one in found]

    async def newer(self, repository: str, known: Callable[[Version], bool]) -> list[Version]:
        """See ``Shelf``: pages are read from the newest version on, until one holds nothing new."""
        packages, package = await self._place(repository)
        try:
            found = await packages.newest(package, lambda one: known(_version(repository, one)))
        except NotFound:
            return []
        return [_version(repository, one) for one in found]

    async def look(self, version: Version) -> Version | None:
        """See ``Shelf``."""
        if version.id is None:
            return version  # no list has shown it, so nothing more is known
        packages, package = await self._place(version.repository)
        found = await packages.version(package, version.id)
        return None if found is None else _version(version.repository, found)

    async def delete(self, version: Version) -> bool:
        """See ``Shelf``."""
        if version.id is None:
            raise Kept(
                f"{version.repository}@{version.digest} has no id to delete it by",
                detail="the registry has it, and GitHub's API does not list it",
            )
        packages, package = await self._place(version.repository)
        try:
            return await packages.delete_version(package, version.id)
        except VersionKept as kept:
            raise Kept(
                f"GitHub keeps {version.repository}@{version.digest}",
                method=kept.method,
                url=kept.url,
                status=kept.status,
                detail=f"{kept.reason}" + (f" ({kept.detail})" if kept.detail else ""),
            ) from None

    async def restore(self, removal: Removal) -> None:
        """See ``Shelf``."""
        packages, package = await self._place(removal.repository)
        if removal.id is None:
            raise NotFound(f"{removal.repository}@{removal.digest}: nobody knows its id, so it can't be restored")
        await packages.restore_version(package, removal.id)

    async def _place(self, repository: str) -> tuple[Packages, str]:
        login, _, package = repository.partition("/")
        found = self._owners.get(login)
        if found is None:
            found = self._owners[login] = Packages(self._api, await find_owner(self._api, login))
        return found, package


def _version(repository: str, found: PackageVersion) -> Version:
    return Version(
        repository=repository,
        digest=found.digest,
        tags=tuple(sorted(found.tags)),
        created_at=found.created_at.timestamp(),
        updated_at=found.updated_at.timestamp(),
        id=found.id,
    )
