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
@click.argument("channel", required=False)
@click.option("--expiring", is_flag=True, help="Every channel whose metadata has less than a third of its life left.")
@click.option("--wait", is_flag=True, help="Wait while another transaction is open.")
@options.target
@options.common
def command(
    folder: Path, as_json: bool, debug: bool, registry: str | None, root: Path | None, channel: str | None,
    expiring: bool, wait: bool,
) -> None:  # fmt: skip
    """Publish a channel's metadata anew, with a new expiry. The release stays, and no image's tag moves.

    Where only the project's workflow may sign for CHANNEL, that is started to do it, and its run's page printed.
    """
    if expiring == bool(channel):
        raise click.UsageError("give CHANNEL or --expiring")
    output = Output(as_json=as_json, debug=debug)

    async def refresh(interrupt: Interrupt) -> None:
        from shipgraph.cli.instead import was_started
        from shipgraph.cli.recovery import open_recovery, outcome_json
        from shipgraph.engine.dispatching import Operation
        from shipgraph.engine.opening import open_view

        view = await open_view(folder, registry, root)
        if await was_started(output, view, Operation("refresh", channel or ""), registry=registry):
            return
        with output.progress() as emit:
            async with open_recovery(folder, registry, root, interrupt, emit, wait=wait) as recovery:
                outcome = await recovery.refresh(channel or "")
        output.result(
            outcome_json(channel or "", outcome), f"channel {channel} has new metadata, serial {outcome.serial}"
        )

    async def refresh_expiring(interrupt: Interrupt) -> None:
        from shipgraph.cli.recovery import open_recovery, outcome_json
        from shipgraph.engine.opening import open_target, open_view
        from shipgraph.engine.refreshing import find_expiring, refresh_all

        view = await open_view(folder, registry, root)
        async with open_target(view.registry, view.project, root) as (store, _, _):
            found = await find_expiring(view, store)
        outcomes = {}
        if found:
            with output.progress() as emit:
                async with open_recovery(folder, registry, root, interrupt, emit, wait=wait) as recovery:
                    outcomes = await refresh_all(recovery, [one.channel for one in found], emit=emit)
        before = {one.channel: f"the old would have expired at {one.expires_at}" for one in found}
        output.result(
            {"refreshed": [outcome_json(name, outcome) for name, outcome in outcomes.items()]},
            "\n".join(
                f"channel {name} has new metadata, serial {outcome.serial}; {before[name]}"
                for name, outcome in outcomes.items()
            )
            or "no channel's metadata expires soon",
        )

    run(output, refresh_expiring if expiring else refresh)
