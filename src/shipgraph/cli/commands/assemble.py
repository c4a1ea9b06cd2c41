"""`shipgraph assemble`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from shipgraph.cli import options
from shipgraph.cli.output import Output
from shipgraph.cli.running import Interrupt, run

if TYPE_CHECKING:
    from pathlib import Path


@click.command("assemble")
@click.argument("images", nargs=-1)
@options.trigger
@options.target
@options.common
def command(folder: Path, as_json: bool, debug: bool, images: tuple[str, ...], **more: Any) -> None:
    """Make images of what was built for each platform, under their immutable tag.

    Builds nothing: every platform must be in the registry (`shipgraph build --platform`). IMAGES are keys of
    shipgraph.toml (default: all); what they are built from is assembled as well.
    """
    output = Output(as_json=as_json, debug=debug)

    async def assemble(interrupt: Interrupt) -> None:  # noqa: ARG001 (nothing here has to be protected)
        from shipgraph.cli.show import images_json, images_text
        from shipgraph.engine.building import assemble_built
        from shipgraph.engine.opening import open_release, open_target, target_root
        from shipgraph.engine.workspace import Workspace

        release = await open_release(options.asked(folder, **more))
        project = release.project
        workspace = Workspace.of(project.folder)
        for key in images:
            project.graph[key]
        root = target_root(release, more["root"])
        with output.progress() as emit:
            async with open_target(release.registry, project, root) as (store, timing, _):
                record, results = await assemble_built(
                    release,
                    images or project.graph.order,
                    target=store,
                    workspace=workspace,
                    timing=timing,
                    emit=emit,
                )
        output.result(images_json(release, record, results), images_text(release, record, results))

    run(output, assemble)
