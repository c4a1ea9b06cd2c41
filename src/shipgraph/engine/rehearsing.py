"""The rehearsal: the release's own path over HTTP, into an embedded registry on this disk."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shipgraph.engine.opening import MissingRoot, open_target
from shipgraph.engine.releasing import Published, publish
from shipgraph.engine.workshop import open_workshop
from shipgraph.engine.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.engine.finalizing import Transacting
    from shipgraph.engine.pretending import Pretence
    from shipgraph.events import Emit
    from shipgraph.project.release import Release


async def rehearse(
    release: Release, root: Path | None, transacting: Transacting, *, pretence: Pretence | None = None, emit: Emit
) -> Published:
    """Publish a release into a folder's registry, by default the workspace's.

    The names in the metadata are those of the registry that the project is configured for: a rehearsal's port is gone
    when it ends, so nothing may remember it.

    Raises:
        ShipgraphError: see ``publish``.
    """
    project = release.project
    workspace = Workspace.of(project.folder)
    if root is None:
        root = workspace.registry if pretence is None else workspace.ghcr
    target = open_target(release.registry, project, root, missing=MissingRoot.MADE, pretence=pretence)
    async with (
        target as (store, timing, jobs),
        open_workshop(workspace, project.build, target_host=store.host, emit=emit) as workshop,
    ):
        return await publish(
            release,
            target=store,
            workshop=workshop,
            timing=timing,
            transacting=replace(transacting, jobs=jobs),
            emit=emit,
        )
