"""`shipgraph test`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from shipgraph.cli import exit_codes, options
from shipgraph.cli.output import Output, table
from shipgraph.cli.running import Interrupt, run

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.engine.testing import Tested
    from shipgraph.oci.platform import Platform


@click.command("test")
@click.argument("images", nargs=-1)
@click.option(
    "--engine",
    type=click.Choice(["auto", "docker", "podman", "runc", "crun"]),
    default="auto",
    help="What runs the images (default: the first of them that works here).",
)
@click.option("--again", is_flag=True, help="Also run what has a trusted verdict already.")
@options.platforms
@options.trigger
@options.target
@options.common
def command(
    folder: Path,
    as_json: bool,
    debug: bool,
    images: tuple[str, ...],
    engine: str,
    again: bool,
    platforms: tuple[Platform, ...],
    **more: Any,
) -> None:
    """Run the tests of images by their digest, on each platform that can run here, and sign the verdicts.

    IMAGES are keys of shipgraph.toml (default: all). Exits with 3 if a test fails, after all have been run; what has a
    trusted verdict is not run again. The images of this commit must be in the registry already (`shipgraph build`).
    """
    output = Output(as_json=as_json, debug=debug)

    async def test(interrupt: Interrupt) -> int:  # noqa: ARG001 (nothing here has to be protected)
        from shipgraph.engine.opening import open_release, open_target, target_root
        from shipgraph.engine.sets import newest_revision
        from shipgraph.engine.signing import find_signing
        from shipgraph.engine.testing import run_release_tests
        from shipgraph.engine.workspace import Workspace

        release = await open_release(options.asked(folder, **more))
        workspace = Workspace.of(release.project.folder)
        target = open_target(release.registry, release.project, target_root(release, more["root"]))
        with output.progress() as emit:
            async with target as (store, _, _):
                tested = await run_release_tests(
                    release,
                    await newest_revision(release, store),
                    host=store.host,
                    target=store,
                    workspace=workspace,
                    signing=find_signing(release, workspace, store.host, emit=emit),
                    emit=emit,
                    keys=images,
                    platforms=platforms,
                    engine=engine,
                    again=again,
                )
        output.result(_document(tested), _text(tested))
        return exit_codes.REFUSED if tested.failed else exit_codes.DONE

    run(output, test)


def _document(tested: Tested) -> dict[str, Any]:
    return {
        "ok": not tested.failed,
        "images": [
            {
                "key": found.image.key,
                "platform": str(found.image.platform),
                "digest": str(found.image.manifest.digest),
                "engine": found.engine,
                "passed": found.passed,
                "tests": [
                    {
                        "name": result.name,
                        "outcome": str(result.outcome),
                        "reason": result.reason,
                        "seccomp": result.seccomp,
                        "apparmor": result.apparmor,
                        "log": str(result.log),
                    }
                    for result in found.results
                ],
            }
            for found in tested.results
        ],
        "before": list(tested.before),
        "omitted": list(tested.omitted),
    }


def _text(tested: Tested) -> str:
    rows = [
        [
            found.image.title,
            result.name,
            str(result.outcome),
            " ".join(
                f"{kind} {how}" for kind, how in (("seccomp", result.seccomp), ("apparmor", result.apparmor)) if how
            ),
            result.reason,
        ]
        for found in tested.results
        for result in found.results
    ]
    lines = [table(rows, head=["image", "test", "", "profiles", ""])] if rows else []
    if tested.before:
        lines.append(f"passed before: {', '.join(tested.before)}")
    lines.extend(tested.omitted)
    if not rows and not tested.before:
        lines.append("nothing was run: [[images.KEY.tests]] in shipgraph.toml says what to run")
    return "\n".join(lines)
