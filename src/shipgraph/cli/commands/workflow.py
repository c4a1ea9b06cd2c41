"""`shipgraph workflow`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shipgraph.cli import exit_codes, options
from shipgraph.cli.output import Output
from shipgraph.cli.running import Interrupt, run

if TYPE_CHECKING:
    from shipgraph.engine.workflow import Rendered


@click.command("workflow")
@click.option("--check", is_flag=True, help="Write nothing; show the difference, and exit with 1 if there is one.")
@click.option("--dry-run", is_flag=True, help="Write nothing; show the difference.")
@click.option(
    "--output",
    "place",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Write it there (- for stdout) and not into .github/workflows of the repository.",
)
@options.common
def command(folder: Path, as_json: bool, debug: bool, check: bool, dry_run: bool, place: Path | None) -> None:
    """Write the GitHub Actions workflow that releases the project: each image and platform a job.

    The file is made from shipgraph.toml alone; what the jobs do is documented in docs/github-actions.md.
    """
    output = Output(as_json=as_json, debug=debug)
    shown = place == Path("-")
    if shown and (check or as_json):
        raise click.UsageError("--output - prints the workflow itself: it goes with neither --check nor --json")

    async def workflow(interrupt: Interrupt) -> int:  # noqa: ARG001 (nothing here has to be protected)
        from shipgraph.engine.workflow import render, write

        rendered = await render(folder, None if shown else place)
        if shown:
            output.result({}, rendered.text)
            return exit_codes.DONE
        if check or dry_run:
            output.result(_json(rendered, written=False), rendered.diff() or f"{rendered.shown} is up to date")
            if check and not rendered.current:
                output.show_error(
                    f"{rendered.shown} is not what shipgraph.toml says" if rendered.there is not None
                    else f"there is no {rendered.shown}",
                    "run `shipgraph workflow` and commit the file",
                )  # fmt: skip
                return exit_codes.FAILED
            return exit_codes.DONE
        if not rendered.current:
            await write(rendered)
        state = "unchanged" if rendered.current else "written"
        output.result(_json(rendered, written=not rendered.current), f"{rendered.shown}: {state}")
        return exit_codes.DONE

    run(output, workflow)


def _json(rendered: Rendered, *, written: bool) -> dict[str, Any]:
    return {
        "path": str(rendered.path),
        "current": rendered.current,
        "written": written,
        "diff": rendered.diff(),
        "jobs": [
            {
                "id": job.id,
                "needs": list(job.needs),
                "runner": job.runs_on,
                "permissions": [str(right) for right in job.rights],
            }
            for job in rendered.jobs
        ],
    }
