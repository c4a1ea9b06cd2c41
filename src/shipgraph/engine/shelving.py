"""Which way a registry's versions are listed and deleted: GitHub's Packages API, the registry itself, or a folder."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from shipgraph.errors import ConfigurationError, Denied, NotFound, Rejected
from shipgraph.github.api import GitHubApi, find_base, find_token
from shipgraph.oci.reference import is_loopback
from shipgraph.retain.distribution import DistributionShelf
from shipgraph.retain.layout import LayoutShelf
from shipgraph.retain.packages_api import PackagesShelf

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from shipgraph.remote.store import RemoteStore
    from shipgraph.retain.contents import Contents
    from shipgraph.retain.shelf import Shelf

GHCR: Final = "ghcr.io"


@asynccontextmanager
async def open_shelf(host: str, store: RemoteStore, root: Path | None, contents: Contents) -> AsyncIterator[Shelf]:
    """The shelf of a registry, while the block runs.

    Args:
        host: the registry's name as it was configured.
        root: its folder, where it is served from one for this command.

    Raises:
        ConfigurationError: GitHub's API needs a token, and there is none.
        RegistryError: a registry on loopback doesn't say whether it has GitHub's API.
    """
    if root is not None:
        from shipgraph.store.disk import DiskStore

        yield LayoutShelf(DiskStore(root), store, contents)
        return
    base = await _api_of(host)
    if base is None:
        yield DistributionShelf(store, contents)
        return
    token = find_token() or await _docker_token(host)
    if token is None:
        raise ConfigurationError(
            f"deleting packages of {host} needs a token",
            hint="set GITHUB_TOKEN, or GHCR_PAT to one with read:packages and delete:packages",
        )
    async with GitHubApi(token, base=base) as api:
        yield PackagesShelf(api, store)


async def _api_of(host: str) -> str | None:
    """The address of the GitHub API that has a registry's packages; a rehearsal's GHCR mode serves both."""
    if host == GHCR:
        return find_base()
    if not is_loopback(host):
        return None
    base = f"http://{host}/api/v3"
    async with GitHubApi(None, base=base) as api:
        try:
            await api.get(f"whether {host} has GitHub's API", "/rate_limit")
        except (NotFound, Rejected, Denied):
            return None
    return base


async def _docker_token(host: str) -> str | None:
    from shipgraph.remote.credentials import find_credentials

    found = await find_credentials(host)
    return found.password or None if found is not None else None
