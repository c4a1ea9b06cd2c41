"""Opens everything for a clean-up: the registry, and the way in which its versions are listed and deleted.

That is GitHub's Packages API, the registry itself, or a folder.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shipgraph.engine.batches import Claims
from shipgraph.engine.opening import open_target, owner
from shipgraph.engine.pruning import Pruner
from shipgraph.engine.unpruning import Undoer
from shipgraph.engine.workspace import Workspace
from shipgraph.errors import ConfigurationError, Denied, NotFound, Rejected
from shipgraph.github.api import GitHubApi, find_base, find_token
from shipgraph.oci.reference import is_loopback
from shipgraph.retain.contents import Contents
from shipgraph.retain.distribution import DistributionShelf
from shipgraph.retain.layout import LayoutShelf
from shipgraph.retain.memory import ContentMemory
from shipgraph.retain.packages_api import PackagesShelf
from shipgraph.retain.policy import policy_of
from shipgraph.retain.roots import OutsideRoot, parse_outside

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from shipgraph.engine.releasing import Transacting
    from shipgraph.events import Emit
    from shipgraph.project.release import Release
    from shipgraph.remote.store import RemoteStore
    from shipgraph.retain.shelf import Shelf

GHCR: Final = "ghcr.io"
FOLDER: Final = "retention"
"""Below the workspace: manifests that were read once."""


@dataclass(frozen=True, slots=True)
class Cleaning:
    """A project's packages on its registry, ready to be cleaned up."""

    pruner: Pruner
    undoer: Undoer


@asynccontextmanager
async def open_cleaning(
    view: Release, root: Path | None, transacting: Transacting, *, emit: Emit
) -> AsyncIterator[Cleaning]:
    """Open the registry (of a folder, where ``root`` is given) and its shelf, while the block runs.

    Raises:
        ConfigurationError: the file of digests from outside can't be read, or a token is missing.
        RegistryError
    """
    outside = read_outside(view)
    workspace = Workspace.of(view.project.folder)
    workspace.prepare()
    memory = ContentMemory(workspace.root / FOLDER)
    policy, me = policy_of(view), owner()
    by = f"{me.run} ({actor})" if (actor := os.environ.get("GITHUB_ACTOR", "")) else me.run
    try:
        async with open_target(view.registry, view.project, root) as (store, timing, _):
            contents = Contents(store, memory, policy.types)
            async with open_shelf(view.registry, store, root, contents) as shelf:
                claims = Claims(view, store, timing, transacting, me, emit=emit)
                yield Cleaning(
                    Pruner(
                        view, store, shelf, contents, policy, claims, transacting, by=by, outside=outside, emit=emit
                    ),
                    Undoer(view, store, shelf, claims, transacting, by=by, emit=emit),
                )
    finally:
        memory.close()


def read_outside(view: Release) -> tuple[OutsideRoot, ...]:
    """The digests that the project's file names, which are used outside.

    Raises:
        ConfigurationError: the file can't be read: then nobody knows what it protects.
    """
    name = view.project.retention.outside
    if name is None:
        return ()
    try:
        text = (view.project.folder / name).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigurationError(f"{name} can't be read: {reason}", key="retention.outside") from error
    return parse_outside(text, where=name)


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
