"""`shipgraph build`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from shipgraph.cli import options
from shipgraph.cli.output import Output
from shipgraph.cli.running import Interrupt, run

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.oci.platform import Platform
    from shipgraph.project.release import Release
    from shipgraph.records.sets import SetRecord


@click.command("build")
@click.argument("images", nargs=-1)
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    type=options.PlatformType(),
    help="Only this platform (repeatable): pushed by digest, for `shipgraph assemble`.",
)
@click.option("--claim-only", is_flag=True, help="Only write down what the release is made from: its set record.")
@click.option("--claimed", is_flag=True, help="Build the set that --claim-only has claimed, as it is.")
@options.trigger
@options.target
@options.common
def command(
    folder: Path, as_json: bool, debug: bool, images: tuple[str, ...], platforms: tuple[Platform, ...],
    claim_only: bool, claimed: bool, **more: Any,
) -> None:  # fmt: skip
    """Build images, gate them, and push them under their immutable tag. No moving tag changes.

    IMAGES are keys of shipgraph.toml (default: all); what they are built from is built as well where it is missing.
    With --platform no tag is set at all: each platform can be built on a machine of its own, and `shipgraph assemble`
    makes the images of them. A pull request's build goes into the rehearsal's registry on this disk.

    Where several machines build one release, the first job claims its set with --claim-only (the commit, its revision,
    the digests of external bases), and the others build with --platform and --claimed: a base that moves meanwhile
    doesn't split the release.
    """
    output = Output(as_json=as_json, debug=debug)
    if claim_only and (images or platforms or claimed):
        raise click.UsageError("--claim-only builds nothing: it takes no images, --platform or --claimed")
    if claimed and not platforms:
        raise click.UsageError("--claimed needs --platform")

    async def build(interrupt: Interrupt) -> None:  # noqa: ARG001 (nothing here has to be protected)
        from shipgraph.cli.show import images_json, images_text, platforms_json, platforms_text
        from shipgraph.engine.building import build_and_assemble, build_images
        from shipgraph.engine.claiming import claim_release
        from shipgraph.engine.opening import MissingRoot, open_release, open_target, target_root
        from shipgraph.engine.signing import find_signing
        from shipgraph.engine.workshop import open_workshop
        from shipgraph.engine.workspace import Workspace

        release = await open_release(options.asked(folder, **more))
        project = release.project
        workspace = Workspace.of(project.folder)
        for key in images:
            project.graph[key]  # an unknown key is an error before anything starts
        keys = images or project.graph.order
        root = target_root(release, more["root"])
        with output.progress() as emit:
            async with (
                open_target(release.registry, project, root, missing=MissingRoot.MADE) as (store, timing, _),
                open_workshop(workspace, project.build, target_host=store.host, emit=emit) as workshop,
            ):
                if claim_only:
                    record = await claim_release(release, target=store, workspace=workspace, timing=timing, emit=emit)
                    output.result(_set_json(release, record), _set_text(release, record))
                    return
                signing = find_signing(release, workspace, store.host, emit=emit)
                if platforms:
                    record, built = await build_images(
                        release,
                        keys,
                        platforms=platforms,
                        target=store,
                        workshop=workshop,
                        timing=timing,
                        signing=signing,
                        emit=emit,
                        claimed=claimed,
                    )
                    output.result(platforms_json(release, record, built), platforms_text(release, record, built))
                else:
                    record, results = await build_and_assemble(
                        release, keys, target=store, workshop=workshop, timing=timing, signing=signing, emit=emit
                    )
                    output.result(images_json(release, record, results), images_text(release, record, results))

    run(output, build)


def _set_json(release: Release, record: SetRecord) -> dict[str, Any]:
    return {
        "immutableTag": release.immutable_tag(record.revision),
        "channel": release.channel,
        "version": release.version,
        "commit": record.commit,
        "revision": record.revision,
        "platforms": list(record.platforms),
        "bases": {name: base.key for name, base in record.bases.items()},
    }


def _set_text(release: Release, record: SetRecord) -> str:
    bases = [f"base {name}: {base.key}" for name, base in record.bases.items()]
    return "\n".join([f"{release.immutable_tag(record.revision)} for {', '.join(record.platforms)}", *bases])
