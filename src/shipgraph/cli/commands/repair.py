"""`shipgraph repair`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from shipgraph.cli import options
from shipgraph.cli.output import Output
from shipgraph.cli.running import Interrupt, run

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.engine.recovering import Recovery


@click.command("repair")
@click.option("--journal", is_flag=True, help="Build a lost journal anew from what its entries and metadata left.")
@click.option("--untag", is_flag=True, help="Remove tags that aborted transactions left over.")
@click.option("--wait", is_flag=True, help="Wait while another transaction is open.")
@options.target
@options.common
def command(
    folder: Path, as_json: bool, debug: bool, registry: str | None, root: Path | None, journal: bool, untag: bool,
    wait: bool,
) -> None:  # fmt: skip
    """Put moving tags back to what the channels' metadata says, and say what they were."""
    output = Output(as_json=as_json, debug=debug)

    async def repair(interrupt: Interrupt) -> None:
        from shipgraph.cli.recovery import open_recovery

        with output.progress() as emit:
            async with open_recovery(folder, registry, root, interrupt, emit, wait=wait) as recovery:
                document, lines = await _repair(recovery, journal=journal, untag=untag)
        output.result(document, "\n".join(lines))

    run(output, repair)


async def _repair(recovery: Recovery, *, journal: bool, untag: bool) -> tuple[dict[str, Any], list[str]]:
    if journal:
        state = await recovery.repair_journal()
        text = "the journal is there; nothing to do" if state is None else "the journal is there again"
        return {"journalRebuilt": state is not None}, [text]
    if untag:
        tags = await recovery.untag()
        lines = [f"removed {repository}:{tag}" for repository, tag in tags] or ["no tag is left over"]
        return {"untagged": [{"repository": repository, "tag": tag} for repository, tag in tags]}, lines
    mended = await recovery.repair()
    moves = [
        {"repository": m.repository, "tag": m.tag, "was": m.was, "belongsTo": m.belongs_to, "now": m.now}
        for m in mended
    ]
    return {"mended": moves}, [f"put back: {one}" for one in mended] or ["every tag is what the metadata says"]
