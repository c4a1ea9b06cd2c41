"""`shipgraph payload`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from shipgraph.cli import options
from shipgraph.cli.output import Output
from shipgraph.cli.running import Interrupt, run

if TYPE_CHECKING:
    from pathlib import Path


@click.command("payload")
@options.trigger
@options.target
@options.common
def command(folder: Path, as_json: bool, debug: bool, **more: Any) -> None:
    """Pack the payload, gate it, and push it under its immutable tags.

    The images of this commit must be in the registry already (`shipgraph build`).
    """
    output = Output(as_json=as_json, debug=debug)

    async def payload(interrupt: Interrupt) -> None:  # noqa: ARG001 (nothing here has to be protected)
        from shipgraph.engine.opening import open_release, open_target, target_root
        from shipgraph.engine.payload import make_payload
        from shipgraph.engine.sets import newest_revision
        from shipgraph.engine.signing import find_signing
        from shipgraph.engine.workshop import open_workshop
        from shipgraph.engine.workspace import Workspace
        from shipgraph.errors import ConfigurationError
        from shipgraph.promote.collect import collect_set

        release = await open_release(options.asked(folder, **more))
        if release.project.payload is None:
            raise ConfigurationError("the project has no [payload]", file="shipgraph.toml", key="payload")
        with output.progress() as emit:
            target = open_target(release.registry, release.project, target_root(release, more["root"]))
            async with target as (store, timing, _):
                revision = await newest_revision(release, store)
                workspace = Workspace.of(release.project.folder)
                async with open_workshop(
                    workspace, release.project.build, target_host=store.host, emit=emit
                ) as workshop:
                    uploaded = await make_payload(
                        release,
                        revision,
                        target=store,
                        workshop=workshop,
                        timing=timing,
                        signing=find_signing(release, workspace, store.host, emit=emit),
                        emit=emit,
                    )
                found = await collect_set(store, release, release.immutable_tag(revision))
        manifest = found.payload
        assert manifest is not None  # noqa: S101 (the project has a payload)
        output.result(
            {
                "repository": f"{release.registry}/{found.payload_repository}",
                "immutableTag": found.immutable_tag,
                "version": release.version,
                "digest": str(manifest.digest),
                "layer": str(manifest.layers[0].digest),
                "sbom": str(manifest.layers[1].digest),
                "uploaded": uploaded,
            },
            f"{found.payload_repository}@{manifest.digest}\nlayer {manifest.layers[0].digest}",
        )

    run(output, payload)
