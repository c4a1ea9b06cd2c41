"""`shipgraph rehearse`: the same release, into a registry that this process serves from a folder."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import click

from shipgraph.cli import options
from shipgraph.cli.numbers import Number
from shipgraph.cli.output import Output
from shipgraph.cli.running import Interrupt, run


@click.command("rehearse")
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    help="The registry's folder (default: .shipgraph/registry in the project's folder, with --ghcr .shipgraph/ghcr).",
)
@click.option(
    "--ghcr",
    is_flag=True,
    help="Into a registry with GHCR's habits: login, packages and their visibility, no If-Match, no referrers.",
)
@click.option(
    "--lag",
    metavar="SECONDS",
    type=Number(min=0.0, max=60.0),
    help="With --ghcr: how long tags read as they were (default: 0).",
)
@options.platforms
@options.transaction
@options.trigger
@options.common
def command(
    folder: Path, as_json: bool, debug: bool, root: Path | None, ghcr: bool, lag: float | None, wait: bool,
    diverged: bool, move_release_tag: bool, **more: Any,
) -> None:  # fmt: skip
    """The whole release into a registry on this disk, without an account.

    It is the same path as `release`, over HTTP; a dirty work tree and fewer platforms are allowed.
    """
    output = Output(as_json=as_json, debug=debug)
    if lag is not None and not ghcr:
        raise click.UsageError("--lag belongs to --ghcr")

    async def rehearse(interrupt: Interrupt) -> None:
        from shipgraph.cli.show import published_json, release_text
        from shipgraph.engine.finalizing import Transacting
        from shipgraph.engine.opening import open_release
        from shipgraph.engine.pretending import Pretence
        from shipgraph.engine.rehearsing import rehearse as engine_rehearse
        from shipgraph.promote.stage import Wishes

        wanted = await open_release(options.asked(folder, **more), rehearsal=True)
        with output.progress() as emit:
            published = await engine_rehearse(
                wanted,
                root,
                Transacting(
                    Wishes(wait, diverged, move_release_tag),
                    stop=lambda: interrupt.asked,
                    protected=interrupt.protected,
                ),
                pretence=Pretence.of(wanted, lag=lag or 0.0) if ghcr else None,
                emit=emit,
            )
        text = release_text(published.release, published.found, published.outcome, published.evidence, published.images)
        output.result(published_json(published), f"{text}\nlook at it: {_look(folder, root, ghcr=ghcr)}")

    run(output, rehearse)


def _look(folder: Path, root: Path | None, *, ghcr: bool) -> str:
    """The command that shows what the registry holds."""
    from shipgraph.engine.workspace import Workspace

    workspace = Workspace.of(folder)
    place = root or (workspace.ghcr if ghcr else workspace.registry)
    project = [] if folder == Path() else ["--project", str(folder)]
    return shlex.join(["shipgraph", "status", *project, "--root", os.path.relpath(place)])
