"""`shipgraph copy`."""

from __future__ import annotations

import click

from shipgraph.cli import exit_codes
from shipgraph.cli.output import Output, size
from shipgraph.cli.running import Interrupt, run
from shipgraph.events import counted


@click.command("copy")
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST")
@click.option("--no-referrers", is_flag=True, help="Leave signatures, SBOMs and all else that refers to it behind.")
@click.option("--dry-run", is_flag=True, help="Show what would be copied; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def command(source: str, destination: str, no_referrers: bool, dry_run: bool, as_json: bool, debug: bool) -> None:
    """Copy an image, index or artifact with all that refers to it; its digest stays the same.

    SRC and DST are HOST/REPOSITORY[:TAG|@DIGEST], or oci:FOLDER[:TAG|@DIGEST] for an OCI image layout. Without a tag
    DST gets that of SRC. All platforms are copied, blobs that DST has are not sent, and the tag is set last.
    """
    output = Output(as_json=as_json, debug=debug)

    async def copy(interrupt: Interrupt) -> int:  # noqa: ARG001 (copying again goes on where this stopped)
        from shipgraph.engine import copying

        where, to = copying.Location.parse(source), copying.Location.parse(destination)
        async with copying.opened(where, to) as (origin, target):
            with output.progress() as emit:
                copied = await copying.copy(
                    origin, where, target, to, referrers=not no_referrers, dry_run=dry_run, emit=emit
                )
        sent = copied.sent
        tag = f" as {copied.tag}" if copied.tag else ""
        verb = "would send" if dry_run else "sent"
        output.result(
            {
                "source": source,
                "destination": destination,
                "mediaType": copied.root.media_type,
                "digest": str(copied.root.digest),
                "tag": copied.tag,
                "referrers": copied.referrers,
                "sent": {"manifests": sent.manifests, "blobs": sent.blobs, "bytes": sent.bytes},
                "dryRun": dry_run,
            },
            f"{copied.root.digest}{tag}, {counted(copied.referrers, 'referrer')}\n"
            f"{verb} {counted(sent.manifests, 'manifest')}, {counted(sent.blobs, 'blob')}, {size(sent.bytes)}",
        )
        return exit_codes.DONE

    run(output, copy)
