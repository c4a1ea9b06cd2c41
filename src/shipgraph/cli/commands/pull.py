"""`shipgraph pull`."""

from __future__ import annotations

from pathlib import Path

import click

from shipgraph.cli import options
from shipgraph.cli.output import Output
from shipgraph.cli.running import Interrupt, run


@click.command("pull")
@click.argument("channel")
@click.option(
    "--dir",
    "place",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to install (default: .shipgraph/installed/CHANNEL in the project's folder).",
)
@options.target
@options.common
def command(
    folder: Path, as_json: bool, debug: bool, channel: str, place: Path | None, registry: str | None, root: Path | None
) -> None:
    """Install a channel's payload: verified, unpacked, and switched to in one step.

    What is installed is DIR/current, and DIR/previous what was before it. Whatever can't be verified is refused with
    exit code 3 (1 where content isn't what its digest says), and what is installed stays as it is; metadata that has
    expired blocks only what is new.
    """
    output = Output(as_json=as_json, debug=debug)

    async def pull(interrupt: Interrupt) -> None:  # noqa: ARG001 (the switch is a single step)
        from shipgraph.engine.consuming import install_payload, open_channel

        async with open_channel(folder, registry, root, channel) as consumer:
            done = await install_payload(consumer, place)
            metadata = consumer.believed.metadata
        output.result(
            {
                "channel": channel,
                "version": metadata.version,
                "immutableTag": metadata.immutable_tag,
                "serial": metadata.serial,
                "signer": consumer.believed.signer.name,
                "folder": str(done.folder),
                "before": done.before,
                "changed": done.changed,
                "expired": consumer.believed.expired,
            },
            f"{metadata.version} ({metadata.immutable_tag}, serial {metadata.serial}) "
            + ("is installed in" if done.changed else "was installed already in")
            + f" {done.folder}",
        )

    run(output, pull)
