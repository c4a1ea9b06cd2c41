"""What a clean-up needs of a registry beyond reading it: all versions of a repository, a second look, and deletion.

Three implementations: ``packages_api`` (GitHub's), ``distribution`` (any registry), ``layout`` (a folder on this disk).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from shipgraph.errors import Rejected

if TYPE_CHECKING:
    from collections.abc import Callable

    from shipgraph.channel.journal import Removal
    from shipgraph.retain.versions import Version

UNLIMITED: Final = 1 << 40


class Kept(Rejected):
    """The registry won't delete this, now or ever: a fact to live with. ``detail`` says why."""


class Shelf(Protocol):
    """The versions of one registry's repositories. A repository is a path without the host."""

    @property
    def one_way(self) -> str:
        """Why what is deleted can't be brought back by the registry, for people; empty where it can."""
        ...

    @property
    def sees_all(self) -> bool:
        """Whether ``versions`` shows what no tag leads to. Where it doesn't, what has lost its parents is not seen any
        more, unless it is written down."""
        ...

    @property
    def pace(self) -> float:
        """Seconds that one deletion may take, its second look included, at the speed that the registry allows."""
        ...

    def allowance(self) -> int:
        """How many deletions the registry's limits leave for this run, as far as they are known by now."""
        ...

    async def versions(self, repository: str) -> list[Version] | None:
        """All versions that are there; None where there is no such repository for certain.

        Raises:
            RegistryError: any part of the list could not be read; unknown is never absent.
        """
        ...

    async def newer(self, repository: str, known: Callable[[Version], bool]) -> list[Version]:
        """Versions whose digests are not ``known``, as far as the registry can tell quickly.

        Raises:
            RegistryError
        """
        ...

    async def look(self, version: Version) -> Version | None:
        """The version as it is now, with the tags it has now; None if it is gone for certain.

        Raises:
            RegistryError
        """
        ...

    async def delete(self, version: Version) -> bool:
        """Delete a version with all its tags; False if it was gone already.

        Raises:
            Kept: the registry won't, ever.
            Denied: there is no right to.
            RegistryError
        """
        ...

    async def restore(self, removal: Removal) -> None:
        """Bring a version back; fine if it is there. Its tags may come with it.

        Raises:
            NotFound: it can't be had any more.
            RegistryError
        """
        ...
