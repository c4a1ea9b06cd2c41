"""`shipgraph refresh`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from shipgraph.cli import options
from shipgraph.cli.output import Output
from shipgraph.cli.running import Interrupt, run

if TYPE_CHECKING:
    from pathlib import Path


@click.command("refresh")
@click.argument("channel")
@click.option("--wait", is_flag=True, help="Wait while another transaction is open.")
@options.target
@options.common
def command(
    folder: Path, as_json: bool, debug: bool, registry: str | None, root: Path | None, channel: str, wait: bool
) -> None:
    """Publish a channel's metadata anew, with a new expiry. The release stays, and no image's tag moves."""
    output = Output(as_json=as_json, debug=debug)

    async def refresh(interrupt: Interrupt) -> None:
        from shipgraph.cli.recovery import open_recovery, outcome_json

        with output.progress() as emit:
            async with open_recovery(folder, registry, root, interrupt, emit, wait=wait) as recovery:
                outcome = await recovery.refresh(channel)
        output.result(outcome_json(channel, outcome), f"channel {channel} has new metadata, serial {outcome.serial}")

    run(output, refresh)
