"""`shipgraph pin`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from shipgraph.cli import exit_codes, options
from shipgraph.cli.output import Output
from shipgraph.cli.running import Interrupt, run

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.oci.reference import Reference


@click.command("pin")
@click.option("--update", is_flag=True, help="Look up bases that are pinned already, by their tag.")
@click.option("--dry-run", is_flag=True, help="Show what would change; the file stays as it is.")
@options.common
def command(folder: Path, as_json: bool, debug: bool, update: bool, dry_run: bool) -> None:
    """Fill in the digests of external bases.

    Only the values of `base` change in shipgraph.toml. Exits with 5 if a base could not be looked up; the others are
    pinned all the same.
    """
    output = Output(as_json=as_json, debug=debug)

    async def pin(interrupt: Interrupt) -> int:  # noqa: ARG001 (nothing here has to be protected)
        from shipgraph.remote.store import RemoteStore
        from shipgraph.setup.pin import PinOutcome
        from shipgraph.setup.pin import pin as pin_file

        async def resolve(reference: Reference) -> Descriptor | None:
            async with RemoteStore(reference.host) as store:
                return await store.resolve(reference.repository, reference.tag or "latest")

        results = await pin_file(folder, resolve, update=update, write=not dry_run)
        output.result(
            {
                "bases": [
                    {
                        "image": result.image,
                        "outcome": str(result.outcome),
                        "before": result.before,
                        "after": result.after,
                        "reason": result.reason,
                    }
                    for result in results
                ]
            },
            "\n".join(map(str, results)),
        )
        failed = any(result.outcome is PinOutcome.FAILED for result in results)
        if failed:
            output.say(
                "error: not every base could be looked up\n"
                "  next: check that the registry can be reached and knows the tag, then run the same command again;"
                " or write the digest by hand"
            )
        return exit_codes.TRY_AGAIN if failed else exit_codes.DONE

    run(output, pin)
