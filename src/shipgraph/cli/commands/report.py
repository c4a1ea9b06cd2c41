"""`shipgraph report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shipgraph.cli import options
from shipgraph.cli.output import Output
from shipgraph.cli.running import Interrupt, run

if TYPE_CHECKING:
    from shipgraph.report.facts import ReleaseFacts


@click.command("report")
@click.argument("channel", required=False)
@click.option(
    "--output",
    "place",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write (default: .shipgraph/report-CHANNEL.html in the project's folder).",
)
@click.option("--open", "show", is_flag=True, help="Open the page in a browser.")
@options.target
@options.common
def command(
    folder: Path, as_json: bool, debug: bool, channel: str | None, place: Path | None, show: bool, registry: str | None,
    root: Path | None,
) -> None:  # fmt: skip
    """Write a page about a channel's release: one HTML file, without scripts, that loads nothing.

    Without CHANNEL it is the first channel of shipgraph.toml.
    """
    output = Output(as_json=as_json, debug=debug)

    async def report(interrupt: Interrupt) -> None:  # noqa: ARG001 (nothing here has to be protected)
        from shipgraph.engine.opening import open_target, open_view
        from shipgraph.engine.reporting import gather_facts, write_page
        from shipgraph.engine.workspace import Workspace

        view = await open_view(folder, registry, root)
        workspace = Workspace.of(view.project.folder)
        wanted = channel or next(iter(view.project.channels))
        with output.progress() as emit:
            async with open_target(view.registry, view.project, root) as (store, timing, _):
                facts = await gather_facts(view, store, workspace, wanted, lag=timing.lag, emit=emit)
        written = await write_page(facts, place, workspace)
        output.result(_json(facts, written), f"wrote {written}")
        if show:
            click.launch(str(written))

    run(output, report)


def _json(facts: ReleaseFacts, written: Path) -> dict[str, Any]:
    return {
        "path": str(written),
        "channel": facts.channel,
        "version": facts.version,
        "immutableTag": facts.immutable_tag,
        "serial": facts.metadata.serial,
        "expiresAt": facts.metadata.expires_at,
        "broken": [check.name for check in facts.checks if check.state == "BROKEN"],
    }
