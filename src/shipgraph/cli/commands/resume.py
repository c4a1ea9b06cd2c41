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
@options.target
@options.common
def command(folder: Path, as_json: bool, debug: bool, registry: str | None, root: Path | None) -> None:
    """End a transaction whose owner has died.

    It waits until the owner's lease is over, then goes forward if any tag has moved, else takes the claim back.
    """
    output = Output(as_json=as_json, debug=debug)

    async def resume(interrupt: Interrupt) -> None:
        from shipgraph.engine.opening import open_target, open_view, owner
        from shipgraph.promote.stage import resume as end_transaction

        view = await open_view(folder, registry, root)
        with output.progress() as emit:
            async with open_target(view.registry, view.project, root) as (store, timing, jobs):
                with interrupt.protected():
                    state = await end_transaction(
                        store,
                        view.metadata_repository,
                        view.project.name,
                        owner=owner(),
                        timing=timing,
                        emit=emit,
                        jobs=jobs,
                    )
        done = {None: "no transaction is open", "settled": "the transaction went forward and is settled"}
        text = done.get(state, "no tag had moved; the transaction is aborted")
        output.result({"state": None if state is None else str(state)}, text)

    run(output, resume)
