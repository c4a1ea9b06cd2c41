"""`shipgraph build`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from shipgraph.cli import options
from shipgraph.cli.output import Output, table
from shipgraph.cli.running import Interrupt, run

if TYPE_CHECKING:
    from pathlib import Path


@click.command("build")
@click.argument("images", nargs=-1)
@options.trigger
@options.target
@options.common
def command(folder: Path, as_json: bool, debug: bool, images: tuple[str, ...], **more: Any) -> None:
    """Build images and push them under their immutable tag. No moving tag changes.

    IMAGES are keys of shipgraph.toml (default: all); what they are built from is built as well where it is missing.
    """
    output = Output(as_json=as_json, debug=debug)

    async def build(interrupt: Interrupt) -> None:  # noqa: ARG001 (nothing here has to be protected)
        from shipgraph.engine.opening import open_release, open_target
        from shipgraph.engine.releasing import build_images
        from shipgraph.engine.workshop import open_workshop
        from shipgraph.engine.workspace import Workspace

        release = await open_release(options.asked(folder, **more))
        project = release.project
        for key in images:
            project.graph[key]  # an unknown key is an error before anything starts
        with output.progress() as emit:
            async with (
                open_target(release.registry, project, more["root"]) as (store, timing, _),
                open_workshop(
                    Workspace.of(project.folder), project.build.builder, project.build.jobs, emit=emit
                ) as workshop,
            ):
                record, results = await build_images(
                    release, images or project.graph.order, target=store, workshop=workshop, timing=timing, emit=emit
                )
        tag = release.immutable_tag(record.revision)
        output.result(
            {
                "immutableTag": tag,
                "images": [
                    {
                        "key": result.key,
                        "repository": f"{release.registry}/{result.repository}",
                        "digest": str(result.index.digest),
                        "outcome": result.outcome,
                        "builtPlatforms": [str(platform) for platform in result.built],
                    }
                    for result in results.values()
                ],
            },
            f"{tag}\n\n"
            + table(
                [[result.repository, str(result.index.digest), result.outcome] for result in results.values()],
                head=["repository", "digest", ""],
            ),
        )

    run(output, build)
