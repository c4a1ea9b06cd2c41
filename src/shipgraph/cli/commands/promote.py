"""`shipgraph promote`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from shipgraph.cli import options
from shipgraph.cli.output import Output
from shipgraph.cli.running import Interrupt, run

if TYPE_CHECKING:
    from pathlib import Path


@click.command("promote")
@click.option("--commit", metavar="TAG|SHA", help="The commit whose release is promoted (default: see above).")
@click.option("--version", metavar="V", help="The version to promote to, for a channel that takes versions.")
@click.option("--channel", metavar="NAME", help="The channel to promote to.")
@options.transaction
@options.target
@options.common
def command(
    folder: Path, as_json: bool, debug: bool, commit: str | None, wait: bool, diverged: bool,
    move_release_tag: bool, **more: Any,
) -> None:  # fmt: skip
    """Move an existing release to another channel or version. Builds nothing.

    Which release: the newest revision of the commit that the git tag VERSION names, else of --commit, else of what is
    checked out.

    Where only the project's workflow may sign for the channel, that is started to do it, and its run's page printed.
    """
    output = Output(as_json=as_json, debug=debug)

    async def promote(interrupt: Interrupt) -> None:
        from shipgraph.cli.instead import was_started
        from shipgraph.cli.show import release_json, release_text
        from shipgraph.engine.dispatching import Operation
        from shipgraph.engine.finalizing import Transacting
        from shipgraph.engine.opening import open_target
        from shipgraph.engine.promoting import open_promotion
        from shipgraph.engine.promoting import promote as engine_promote
        from shipgraph.engine.signing import find_signing
        from shipgraph.engine.workspace import Workspace
        from shipgraph.promote.stage import Wishes

        release = await open_promotion(options.asked(folder, **more), commit)
        flags = {"--commit": commit, "--diverged": diverged, "--move-release-tag": move_release_tag}
        given = tuple(name for name, value in flags.items() if value)
        version = more["version"] or ""
        operation = Operation(
            "auto", release.channel or "", version, given if version else ("promotion without --version",)
        )
        if await was_started(output, release, operation, registry=more["registry"]):
            return
        workspace = Workspace.of(release.project.folder)
        with output.progress() as emit:
            async with open_target(release.registry, release.project, more["root"]) as (store, timing, jobs):
                release, found, evidence, outcome = await engine_promote(
                    release,
                    target=store,
                    host=store.host,
                    workspace=workspace,
                    signing=find_signing(release, workspace, store.host, emit=emit),
                    timing=timing,
                    transacting=Transacting(
                        Wishes(wait, diverged, move_release_tag),
                        jobs=jobs,
                        stop=lambda: interrupt.asked,
                        protected=interrupt.protected,
                    ),
                    emit=emit,
                )
        output.result(release_json(release, found, outcome, evidence), release_text(release, found, outcome, evidence))

    run(output, promote)
