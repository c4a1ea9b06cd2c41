"""`shipgraph resolve`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from shipgraph.cli import options
from shipgraph.cli.output import Output
from shipgraph.cli.running import Interrupt, run

if TYPE_CHECKING:
    from pathlib import Path


@click.command("resolve")
@click.argument("channel")
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "env", "compose"]),
    default="env",
    help="JSON, environment variables (default), or a Compose override.",
)
@options.target
@options.common
def command(
    folder: Path, as_json: bool, debug: bool, channel: str, form: str, registry: str | None, root: Path | None
) -> None:
    """Print the digests of a channel's release, once its metadata has been verified.

    Whom to trust stands in shipgraph.toml. Metadata that is unsigned, signed by somebody else, expired, or older than
    what was seen before is refused with exit code 3.
    """
    output = Output(as_json=as_json or form == "json", debug=debug)

    async def resolve(interrupt: Interrupt) -> None:  # noqa: ARG001 (nothing here has to be protected)
        import msgspec

        from shipgraph.consume.rendering import compose_text, env_text
        from shipgraph.engine.consuming import open_channel

        async with open_channel(folder, registry, root, channel) as consumer:
            believed = consumer.believed
        believed.check_fresh()
        document = {
            "channel": channel,
            "digest": str(believed.digest),
            "signer": believed.signer.name,
            "metadata": msgspec.to_builtins(believed.metadata),
        }
        text = compose_text(believed.metadata) if form == "compose" else env_text(believed.metadata)
        output.result(document, text)

    run(output, resolve)
