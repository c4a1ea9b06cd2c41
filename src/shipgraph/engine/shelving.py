"""Opens everything for a clean-up: the registry, and the way in which its versions are listed and deleted.

That is GitHub's Packages API, the registry itself, or a folder.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shipgraph.engine.batches import Claims
from shipgraph.engine.github_api import packages_api
from shipgraph.engine.liveness import run_liveness
from shipgraph.engine.opening import open_target, owner
from shipgraph.engine.pruning import Pruner
from shipgraph.engine.unpruning import Undoer
from shipgraph.engine.workspace import Workspace
from shipgraph.errors import ConfigurationError
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

    from shipgraph.engine.finalizing import Transacting
    from shipgraph.events import Emit
    from shipgraph.project.release import Release
    from shipgraph.remote.store import RemoteStore
    from shipgraph.retain.shelf import Shelf

FOLDER: Final = "retention"
"""Below the workspace: manifests that were read once."""


@dataclass(frozen=True, slots=True)
class Cleaning:
    """A project's packages on its registry, ready to be cleaned up."""

    pruner: Pruner
    undoer: Undoer


@asynccontextmanager
async def open_cleaning(
    view: Release, root: Path | None, transacting: Transacting, *, emit: Emit, to_undo: bool = False
) -> AsyncIterator[Cleaning]:
    """Open the registry (of a folder, where ``root`` is given) and its shelf, while the block runs.

    Args:
        to_undo: nothing is to be deleted, so what is used outside isn't asked for.

    Raises:
        ConfigurationError: the file of digests from outside can't be read.
        RegistryError
    """
    outside = () if to_undo else read_outside(view)
    workspace = Workspace.of(view.project.folder)
    workspace.prepare()
    memory = ContentMemory(workspace.root / FOLDER)
    policy, me = policy_of(view), owner()
    by = f"{me.run} ({actor})" if (actor := os.environ.get("GITHUB_ACTOR", "")) else me.run
    try:
        async with open_target(view.registry, view.project, root) as (store, timing, _):
            contents = Contents(store, memory, policy.types)
            async with open_shelf(store, root, contents) as shelf:
                alive = run_liveness(view.source, emit=emit)
                claims = Claims(view, store, timing, transacting, me, emit=emit, alive=alive)
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
async def open_shelf(store: RemoteStore, root: Path | None, contents: Contents) -> AsyncIterator[Shelf]:
    """The shelf of a registry, while the block runs.

    Args:
        root: its folder, where it is served from one for this command.

    Raises:
        ConfigurationError: docker's configuration can't be read.
        RegistryError
    """
    if (await store.manners()).is_ghcr:
        async with packages_api(store.host) as api:
            yield PackagesShelf(api, store)
    elif root is not None:
        from shipgraph.store.disk import DiskStore

        yield LayoutShelf(DiskStore(root), store, contents)
    else:
        yield DistributionShelf(store, contents)
