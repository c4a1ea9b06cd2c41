"""`shipgraph resume`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from shipgraph.cli import options
from shipgraph.cli.output import Output
from shipgraph.cli.running import Interrupt, run

if TYPE_CHECKING:
    from pathlib import Path


@click.command("resume")
@click.option("--abort", is_flag=True, help="Go back instead of forward, unless the channel has been committed.")
@options.target
@options.common
def command(folder: Path, as_json: bool, debug: bool, registry: str | None, root: Path | None, abort: bool) -> None:
    """End a transaction whose owner has died.

    It waits until the owner's lease is over, then goes forward if any tag has moved, else takes the claim back.
    """
    output = Output(as_json=as_json, debug=debug)

    async def resume(interrupt: Interrupt) -> None:
        from shipgraph.cli.recovery import open_recovery

        with output.progress() as emit:
            async with open_recovery(folder, registry, root, interrupt, emit) as recovery:
                state = await recovery.resume(abort=abort)
        texts = {
            None: "no transaction is open",
            "settled": "the transaction went forward and is settled",
            "aborted": "the transaction is aborted; all moving tags are as they were before it",
        }
        output.result({"state": None if state is None else str(state)}, texts[state])

    run(output, resume)
