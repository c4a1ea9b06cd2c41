"""`shipgraph rollback`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import click

from shipgraph.cli import options
from shipgraph.cli.output import Output
from shipgraph.cli.running import Interrupt, run

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.engine.recovering import Recovery
    from shipgraph.promote.protocol import Settled, Unchanged


@click.command("rollback")
@click.argument("channel")
@click.option("--to", metavar="RELEASE", help="A version, commit or immutable tag of the channel's history.")
@click.option(
    "--hold",
    metavar="REASON",
    is_flag=False,
    flag_value="held after a rollback",
    help="Refuse releases to the channel until `release --unhold CHANNEL`.",
)
@click.option("--wait", is_flag=True, help="Wait while another transaction is open.")
@options.target
@options.common
def command(
    folder: Path, as_json: bool, debug: bool, registry: str | None, root: Path | None, channel: str, to: str | None,
    hold: str | None, wait: bool,
) -> None:  # fmt: skip
    """Move a channel back to the release before its current one.

    A second rollback goes one further. Release tags stay, and the release that was rolled back can't be released again.

    Where only the project's workflow may sign for the channel, that is started to do it, and its run's page printed.
    """
    output = Output(as_json=as_json, debug=debug)

    async def rollback(interrupt: Interrupt) -> None:
        from shipgraph.cli.instead import was_started
        from shipgraph.cli.recovery import open_recovery, outcome_json
        from shipgraph.engine.dispatching import Operation
        from shipgraph.engine.opening import open_view
        from shipgraph.promote.protocol import Settled
        from shipgraph.promote.recovery import Rollback

        view = await open_view(folder, registry, root)
        operation = Operation("rollback", channel, to or "", ("--hold",) if hold else ())
        if await was_started(output, view, operation, registry=registry):
            return
        with output.progress() as emit:
            async with open_recovery(folder, registry, root, interrupt, emit, wait=wait) as recovery:
                outcome = await recovery.rollback(Rollback(channel, to, hold))
                now = await _release(recovery, channel, outcome)
        held = f"; held: {hold}" if hold else ""
        text = f"channel {channel} is at {now} already{held}"
        if isinstance(outcome, Settled) and outcome.moves:
            text = f"channel {channel} is back at {now}, with serial {outcome.serial}{held}"
        output.result(outcome_json(channel, outcome), text)

    run(output, rollback)


async def _release(recovery: Recovery, channel: str, outcome: Settled | Unchanged) -> str:
    """Where the channel is, for people; never an error, for the tags have moved."""
    from shipgraph.errors import ShipgraphError

    if outcome.metadata is not None:
        with suppress(ShipgraphError):
            now = await recovery.read_metadata(outcome.metadata)
            return now.immutable_tag if now.version == channel else f"{now.version} ({now.immutable_tag})"
    return "that release"
