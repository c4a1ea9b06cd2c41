"""`shipgraph doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from shipgraph.cli import exit_codes, options
from shipgraph.cli.output import Output, table
from shipgraph.cli.running import Interrupt, run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shipgraph.setup.doctor import Finding


@click.command("doctor")
@click.option(
    "--bootstrap", is_flag=True, help="Make all packages ahead of the first release, and look at nothing else."
)
@click.option("--dry-run", is_flag=True, help="With --bootstrap: say what would be made.")
@options.target
@options.common
def command(
    folder: Path, as_json: bool, debug: bool, bootstrap: bool, dry_run: bool, registry: str | None, root: Path | None
) -> None:
    """Look for what would stand in a release's way: builder, login, rights, packages, clock, disk, kernel, signing.

    Nothing is changed. Exits with 1 if a row is FAILED.

    With --bootstrap: every package that is not there is made, with a placeholder under the tag `bootstrap`, so that a
    person can make it public before the first release. What is there is not touched, so it may be run again.
    """
    if dry_run and not bootstrap:
        raise click.UsageError("--dry-run goes with --bootstrap; without it nothing is changed anyway")
    output = Output(as_json=as_json, debug=debug)

    async def doctor(interrupt: Interrupt) -> int:  # noqa: ARG001 (nothing here has to be protected)
        from shipgraph.engine.bootstrapping import bootstrap_packages
        from shipgraph.engine.doctoring import examine_project, open_examined
        from shipgraph.engine.opening import MissingRoot, open_target, open_view
        from shipgraph.setup.doctor import State

        view = await open_view(folder, registry, root)
        with output.progress() as emit:
            if bootstrap:
                missing = MissingRoot.EMPTY if dry_run else MissingRoot.MADE
                async with open_target(view.registry, view.project, root, missing=missing) as (store, timing, _):
                    rows = await bootstrap_packages(view, store, dry_run=dry_run, lag=timing.lag, emit=emit)
            else:
                async with open_examined(view, root) as store:
                    rows = await examine_project(view, store, emit=emit)
        bad = any(row.state is State.FAILED for row in rows)
        document = {
            "ok": not bad,
            "bootstrap": bootstrap,
            "dryRun": dry_run,
            "rows": [
                {"name": row.name, "state": str(row.state), "detail": row.detail, "next": row.next} for row in rows
            ],
        }
        output.result(document, rows_text(rows))
        return exit_codes.FAILED if bad else exit_codes.DONE

    run(output, doctor)


def rows_text(rows: Sequence[Finding]) -> str:
    """The table, and under it the next step of each row that has one, the worst first."""
    from shipgraph.setup.doctor import State

    head = table([[row.name, str(row.state), row.detail] for row in rows], head=["check", "state", ""])
    order = (State.FAILED, State.WARNING, State.OK, State.NOT_APPLICABLE)
    steps = sorted((row for row in rows if row.next), key=lambda row: order.index(row.state))
    lines = [f"{row.name} ({row.state}): {row.next}" for row in steps]
    return "\n".join([head, *(["", "next:", *(f"- {line}" for line in lines)] if lines else [])])
