"""`shipgraph init`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shipgraph.cli import exit_codes, options
from shipgraph.cli.output import Output, table
from shipgraph.cli.running import Interrupt, run

if TYPE_CHECKING:
    from shipgraph.setup.init import Drafted


@click.command("init")
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, path_type=Path),
    help="A bake file (HCL where buildx is installed, JSON anywhere), or the folder where Dockerfiles are looked for.",
)
@click.option("--name", metavar="NAME", help="The project's name (default: the repository's or folder's).")
@click.option("--force", is_flag=True, help="Replace a shipgraph.toml that is there.")
@click.option("--dry-run", is_flag=True, help="Print the draft; write nothing.")
@options.common
def command(
    folder: Path, as_json: bool, debug: bool, source: Path | None, name: str | None, force: bool, dry_run: bool
) -> None:
    """Draft shipgraph.toml from the Dockerfiles of a folder, or from a bake file.

    Comments in the draft say what was guessed and what is left to you. Exits with 1 if the draft needs mending before
    it loads.
    """
    output = Output(as_json=as_json, debug=debug)

    async def init(interrupt: Interrupt) -> int:  # noqa: ARG001 (nothing here has to be protected)
        from shipgraph.engine.drafting import draft_project
        from shipgraph.project.config import FILE_NAME
        from shipgraph.setup.init import exists, write

        place = folder / FILE_NAME
        if place.exists() and not (force or dry_run):
            raise exists(place)
        with output.progress() as emit:
            drafted = await draft_project(folder, source, name, emit=emit)
        if not dry_run:
            write(drafted, force=force)
        output.result(_json(drafted, written=not dry_run), drafted.text if dry_run else _text(drafted))
        for problem in drafted.problems:
            output.say(f"to mend: {problem}")
        return exit_codes.FAILED if drafted.problems else exit_codes.DONE

    run(output, init)


def _json(drafted: Drafted, *, written: bool) -> dict[str, Any]:
    return {
        "path": str(drafted.path),
        "written": written,
        "project": drafted.draft.name,
        "platforms": list(drafted.draft.platforms),
        "images": [
            {
                "key": image.key,
                "context": image.context,
                "dockerfile": image.dockerfile,
                "parent": image.parent or None,
                "base": image.base or None,
                "notes": list(image.notes),
            }
            for image in drafted.draft.images
        ],
        "notes": list(drafted.draft.notes),
        "problems": list(drafted.problems),
        "content": drafted.text,
    }


def _text(drafted: Drafted) -> str:
    rows = [
        [image.key, image.dockerfile, f"parent {image.parent}" if image.parent else f"base {image.base}"]
        for image in drafted.draft.images
    ]
    notes = [f"to do: {note}" for note in drafted.draft.notes]
    notes += [f"to do: {image.key}: {note}" for image in drafted.draft.images for note in image.notes]
    lines = [f"wrote {drafted.path}", "", table(rows, head=["image", "Dockerfile", "built on"])]
    if notes:
        lines += ["", *notes]
    following = "`shipgraph pin` adds digests, `shipgraph plan` shows what it means, `shipgraph rehearse` tries it"
    return "\n".join([*lines, "", f"next: read it; {following}"])
