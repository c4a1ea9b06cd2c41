"""`shipgraph verify`."""

from __future__ import annotations

from pathlib import Path

import click

from shipgraph.cli import exit_codes, options
from shipgraph.cli.output import Output, table
from shipgraph.cli.running import Interrupt, run


@click.command("verify")
@click.argument("channel")
@click.option(
    "--payload",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A local payload archive, to compare with the published one.",
)
@options.target
@options.common
def command(
    folder: Path, as_json: bool, debug: bool, channel: str, payload: Path | None, registry: str | None,
    root: Path | None,
) -> None:  # fmt: skip
    """Check a published channel: everything that is broken, not the first.

    Exits with 1 if a row is BROKEN. A check that has no source says 'not applicable'.
    """
    output = Output(as_json=as_json, debug=debug)

    async def verify(interrupt: Interrupt) -> int:  # noqa: ARG001 (nothing here has to be protected)
        from shipgraph.check.row import State
        from shipgraph.engine.opening import open_target, open_view
        from shipgraph.engine.verifying import verify as check
        from shipgraph.engine.workspace import Workspace

        view = await open_view(folder, registry, root)
        workspace = Workspace.of(view.project.folder)
        with output.progress() as emit:
            async with open_target(view.registry, view.project, root) as (store, timing, _):
                rows = await check(view, store, workspace, channel, payload, lag=timing.lag, emit=emit)
        broken = [row for row in rows if row.state is State.BROKEN]
        output.result(
            {
                "channel": channel,
                "ok": not broken,
                "rows": [{"name": row.name, "state": str(row.state), "detail": row.detail} for row in rows],
            },
            table([[row.name, str(row.state), row.detail] for row in rows], head=["check", "state", ""]),
        )
        return exit_codes.FAILED if broken else exit_codes.DONE

    run(output, verify)
