"""`shipgraph attest`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from shipgraph.cli import options
from shipgraph.cli.output import Output, table
from shipgraph.cli.running import Interrupt, run

if TYPE_CHECKING:
    from pathlib import Path


@click.command("attest")
@click.option(
    "--print-key", is_flag=True, help="Only print this machine's public key, for shipgraph.toml; make it if need be."
)
@options.trigger
@options.target
@options.common
def command(folder: Path, as_json: bool, debug: bool, print_key: bool, **more: Any) -> None:
    """Sign the provenance of images and payload, where it is missing, and attach it to them.

    Each image's index and platforms, and the payload, get a statement of what they were built from. All are signed in
    one ceremony; what has trusted provenance already is left alone. The release must be in the registry.
    """
    output = Output(as_json=as_json, debug=debug)

    def show_key() -> None:
        from shipgraph.attest.key import KEY_PLACE, make_key
        from shipgraph.engine.workspace import Workspace
        from shipgraph.project.loader import load_project

        workspace = Workspace.of(load_project(folder).folder)
        workspace.prepare()
        key = make_key(workspace.root / KEY_PLACE)
        output.result({"public": key.public_text}, f'[[signing.keys]]\nname = "release"\npublic = "{key.public_text}"')

    async def attest(interrupt: Interrupt) -> None:  # noqa: ARG001 (nothing here has to be protected)
        from shipgraph.engine.attesting import attest_release
        from shipgraph.engine.opening import open_release, open_target, owner, target_root
        from shipgraph.engine.sets import newest_revision
        from shipgraph.engine.signing import open_signing
        from shipgraph.engine.workspace import Workspace

        if print_key:
            show_key()
            return
        release = await open_release(options.asked(folder, **more))
        workspace = Workspace.of(release.project.folder)
        target = open_target(release.registry, release.project, target_root(release, more["root"]))
        with output.progress() as emit:
            async with target as (store, _, _):
                signing = open_signing(release, workspace, store.host)
                revision = await newest_revision(release, store)
                found, done = await attest_release(
                    release, revision, target=store, signing=signing, run=owner().run, emit=emit
                )
        made = [
            {"subject": intent.subject.name, "digest": str(intent.subject.digest), "bundle": str(digest)}
            for intent, digest in done.made
        ]
        output.result(
            {"immutableTag": found.immutable_tag, "signer": done.signer, "signed": made, "there": done.there},
            table([[one["subject"], one["digest"], one["bundle"]] for one in made], head=["signed", "digest", "bundle"])
            if made
            else f"all {done.there} statements are there already",
        )

    run(output, attest)
