"""`shipgraph prune`."""

from __future__ import annotations

from pathlib import Path

import click

from shipgraph.cli import options
from shipgraph.cli.output import Output
from shipgraph.cli.running import Interrupt, run

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("prune")
@click.option("--dry-run", is_flag=True, help="Only make the plan and show it; nothing is written.")
@click.option("--apply", is_flag=True, help="Carry a policy's first plan out at once, which else is only shown.")
@click.option(
    "--plan", "given", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Carry out this plan, made with --out, and nothing else.",
)  # fmt: skip
@click.option("--out", type=_FILE, help="Write the plan, each version with its reason, to this file.")
@click.option("--report", type=_FILE, help="Write what went, what stays and why to this file, as an HTML page.")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="Delete at most so many versions.")
@click.option("--undo", is_flag=True, help="Bring back what the last clean-up deleted.")
@click.option("--run", "undo_run", metavar="ID", help="With --undo: this clean-up instead of the last.")
@click.option("--wait", is_flag=True, help="Wait while another transaction is open.")
@options.target
@options.common
def command(
    folder: Path, as_json: bool, debug: bool, registry: str | None, root: Path | None, dry_run: bool, apply: bool,
    given: Path | None, out: Path | None, report: Path | None, limit: int | None, undo: bool, undo_run: str | None,
    wait: bool,
) -> None:  # fmt: skip
    """Delete what no release, channel or other root needs any more; or show what that would be.

    The plan of a policy that is new to the registry is only shown; the same command, run again, carries it out.
    """
    output = Output(as_json=as_json, debug=debug)
    if undo and (dry_run or apply or given or out or report or limit):
        raise click.UsageError("--undo takes no plan: give it alone, or with --run")
    if undo_run and not undo:
        raise click.UsageError("--run says which clean-up --undo is about")
    if dry_run and (apply or given):
        raise click.UsageError("--dry-run carries nothing out")

    async def prune(interrupt: Interrupt) -> None:
        import anyio

        from shipgraph.cli.pruned import pruned_json, pruned_lines, undone_result
        from shipgraph.engine.finalizing import Transacting
        from shipgraph.engine.opening import open_view
        from shipgraph.engine.pruning import Wish
        from shipgraph.engine.shelving import open_cleaning
        from shipgraph.promote.stage import Wishes
        from shipgraph.retain.plan import decode_plan, encode_plan

        plan = None if given is None else decode_plan(await anyio.Path(given).read_bytes(), where=str(given))
        view = await open_view(folder, registry, root)
        transacting = Transacting(Wishes(wait), stop=lambda: interrupt.asked, protected=interrupt.protected)
        with output.progress() as emit:
            async with open_cleaning(view, root, transacting, emit=emit, to_undo=undo) as cleaning:
                if undo:
                    undone = await cleaning.undoer.undo(undo_run)
                    output.result(*undone_result(undone))
                    return
                done = await cleaning.pruner.prune(Wish(dry_run, apply, limit, plan))
        if out is not None:
            await anyio.Path(out).write_bytes(encode_plan(done.plan))
        if report is not None:
            from shipgraph.retain.report import build_report, report_html

            await anyio.Path(report).write_text(report_html(build_report(done.plan, done.record)))
        output.result(pruned_json(done), "\n".join(pruned_lines(done, dry_run=dry_run)))

    run(output, prune)
