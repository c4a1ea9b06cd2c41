"""`shipgraph finalize`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from shipgraph.cli import options
from shipgraph.cli.output import Output
from shipgraph.cli.running import Interrupt, run

if TYPE_CHECKING:
    from pathlib import Path


@click.command("finalize")
@options.transaction
@options.trigger
@options.target
@options.common
def command(
    folder: Path, as_json: bool, debug: bool, wait: bool, diverged: bool, move_release_tag: bool, **more: Any
) -> None:
    """Move all tags to a release that is in the registry.

    Every image and the payload of this commit must be there, and the evidence that the project requires.
    """
    output = Output(as_json=as_json, debug=debug)

    async def finalize(interrupt: Interrupt) -> None:
        from shipgraph.channel.journal import Kind
        from shipgraph.cli.show import release_json, release_text
        from shipgraph.engine.finalizing import Transacting, check_publishes, finish
        from shipgraph.engine.opening import open_release, open_target
        from shipgraph.engine.sets import newest_record
        from shipgraph.engine.signing import find_signing
        from shipgraph.engine.workspace import Workspace
        from shipgraph.promote.stage import Wishes

        release = await open_release(options.asked(folder, **more))
        check_publishes(release)
        with output.progress() as emit:
            async with open_target(release.registry, release.project, more["root"]) as (store, timing, jobs):
                found, evidence, outcome = await finish(
                    release,
                    await newest_record(release, store),
                    target=store,
                    host=store.host,
                    signing=find_signing(release, Workspace.of(release.project.folder), store.host, emit=emit),
                    timing=timing,
                    transacting=Transacting(
                        Wishes(wait, diverged, move_release_tag),
                        jobs=jobs,
                        stop=lambda: interrupt.asked,
                        protected=interrupt.protected,
                    ),
                    kind=Kind.RELEASE,
                    emit=emit,
                )
        output.result(release_json(release, found, outcome, evidence), release_text(release, found, outcome, evidence))

    run(output, finalize)
