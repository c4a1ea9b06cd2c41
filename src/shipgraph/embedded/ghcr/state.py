"""What all parts of the GHCR mode share: the store, the ledger, the accounts, the habits."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from shipgraph.embedded.ghcr.accounts import Accounts
from shipgraph.embedded.ghcr.habits import Habits
from shipgraph.embedded.ghcr.ledger import FILE, Ledger
from shipgraph.embedded.ghcr.runs import Runs
from shipgraph.errors import InvalidReference
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import ImageIndex
from shipgraph.oci.reference import check_repository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from shipgraph.embedded.backend import Backend
    from shipgraph.embedded.ghcr.rows import Package


class Ghcr:
    """The GHCR mode of a server: give it to ``serve`` or ``run``.

    Args:
        folder: the registry's state folder (``ROOT/.shipgraph``), where what GHCR knows is kept.
        accounts: who exists, or a function that is asked at each request.
    """

    def __init__(
        self, folder: Path, accounts: Accounts | Callable[[], Accounts], *, habits: Habits | None = None
    ) -> None:
        self.folder, self.habits = folder, habits or Habits()
        self.ledger = Ledger(folder / FILE, self.habits)
        self.runs = Runs(folder)
        self._accounts = accounts

    def accounts(self) -> Accounts:
        """Who exists now."""
        return self._accounts if isinstance(self._accounts, Accounts) else self._accounts()

    # What a person does on a package's settings page; GitHub has no API for any of it.

    async def set_visibility(self, name: str, visibility: str) -> bool:
        """Make a package public or private; whether there is such a package."""
        return await self.ledger.change(name, visibility=visibility)

    async def grant(self, name: str, repository: str) -> bool:
        """Give the workflows of a repository access to a package ("Manage Actions access")."""
        return await self.ledger.change(name, grant=repository)

    async def link(self, name: str, repository: str) -> bool:
        """Connect a package to a repository, whose workflows then have access; an empty name disconnects it."""
        return await self.ledger.change(name, repository=repository)


class State:
    """One running server's view. ``storage`` is the second address, from which blobs are read."""

    def __init__(self, backend: Backend, ghcr: Ghcr, storage: tuple[str, int]) -> None:
        self.backend, self.ghcr, self.storage = backend, ghcr, storage
        self.habits, self.ledger = ghcr.habits, ghcr.ledger
        self.random = random.Random(ghcr.habits.seed)  # noqa: S311 (a test's dice)
        self._adopted: set[str] = set()

    def accounts(self) -> Accounts:
        """Who exists now."""
        return self.ghcr.accounts()

    def knows(self) -> bool:
        """Whether this server has heard of a change that lags."""
        return self.random.random() < self.habits.flapping

    async def find(self, name: str) -> Package | None:
        """A package. What the folder held before GHCR's mode was first used on it becomes a private package."""
        package = await self.ledger.package(name)
        if package is None and name not in self._adopted:
            self._adopted.add(name)
            return await self._adopt(name)
        return package

    async def adopt_all(self) -> None:
        """See ``find``, for all that the folder holds."""
        for name in await self.backend.repositories():
            await self.find(name)

    async def follow(self, package: Package, tags: Iterable[str]) -> None:
        """Let the layout's tags follow the ledger's, whoever else is moving them."""
        for tag in tags:
            while True:
                found = await self.ledger.tag(package, tag)
                if found is None:
                    await self.backend.delete_tag(package.full_name, tag)
                else:
                    manifest = await self.backend.manifest(package.full_name, Digest.parse(found))
                    await self.backend.tag(package.full_name, tag, manifest)
                if await self.ledger.tag(package, tag) == found:
                    break

    async def _adopt(self, name: str) -> Package | None:
        try:
            check_repository(name)
        except InvalidReference:
            return None
        if "/" not in name or not await self.backend.exists(name):
            return None
        tags = await self.backend.tags(name)
        if not tags or await self.ledger.ever(name):
            return None
        package = await self.ledger.create(name, "private", None)
        for tag in tags:
            descriptor = await self.backend.resolve(name, tag)
            if descriptor is None:
                continue
            waiting = [descriptor.digest]
            while waiting:
                digest = waiting.pop()
                if not await self.backend.has_manifest(name, digest):
                    continue
                manifest = await self.backend.manifest(name, digest)
                if isinstance(manifest, ImageIndex):
                    waiting += [child.digest for child in manifest.manifests]
                await self.ledger.store(package, str(digest), None)
            await self.ledger.store(package, str(descriptor.digest), tag)
        return package
