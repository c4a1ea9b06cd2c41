"""`shipgraph release`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from shipgraph.cli import options
from shipgraph.cli.output import Output
from shipgraph.cli.running import Interrupt, run

if TYPE_CHECKING:
    from pathlib import Path


@click.command("release")
@click.option("--unhold", metavar="CHANNEL", help="Only end the hold of a channel, so that it takes releases again.")
@options.transaction
@options.trigger
@options.target
@options.common
def command(
    folder: Path, as_json: bool, debug: bool, registry: str | None, wait: bool, diverged: bool,
    move_release_tag: bool, unhold: str | None, **more: Any,
) -> None:  # fmt: skip
    """Build, push, and publish all of it: every moving tag changes together, or none."""
    output = Output(as_json=as_json, debug=debug)

    async def release(interrupt: Interrupt) -> None:
        from shipgraph.cli.show import published_json, release_text
        from shipgraph.engine.finalizing import Transacting, check_publishes
        from shipgraph.engine.opening import MissingRoot, open_release, open_target
        from shipgraph.engine.releasing import publish
        from shipgraph.engine.workshop import open_workshop
        from shipgraph.engine.workspace import Workspace
        from shipgraph.promote.stage import Wishes

        wanted = await open_release(options.asked(folder, registry=registry, **more))
        check_publishes(wanted)
        project = wanted.project
        with output.progress() as emit:
            async with (
                open_target(wanted.registry, project, more["root"], missing=MissingRoot.MADE) as (store, timing, jobs),
                open_workshop(
                    Workspace.of(project.folder), project.build, target_host=store.host, emit=emit
                ) as workshop,
            ):
                published = await publish(
                    wanted,
                    target=store,
                    workshop=workshop,
                    timing=timing,
                    transacting=Transacting(
                        Wishes(wait, diverged, move_release_tag),
                        jobs=jobs,
                        stop=lambda: interrupt.asked,
                        protected=interrupt.protected,
                    ),
                    emit=emit,
                )
        text = release_text(wanted, published.found, published.outcome, published.evidence, published.images)
        output.result(published_json(published), text)

    async def end_hold(interrupt: Interrupt) -> None:
        from shipgraph.cli.recovery import open_recovery, outcome_json
        from shipgraph.promote.protocol import Settled

        assert unhold is not None  # noqa: S101 (nothing else calls this)
        with output.progress() as emit:
            async with open_recovery(folder, registry, more["root"], interrupt, emit, wait=wait) as recovery:
                outcome = await recovery.unhold(unhold)
        text = f"channel {unhold} {'takes releases again' if isinstance(outcome, Settled) else 'was not held'}"
        output.result(outcome_json(unhold, outcome), text)

    run(output, release if unhold is None else end_hold)
