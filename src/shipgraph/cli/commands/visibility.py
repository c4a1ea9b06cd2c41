"""`shipgraph visibility`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from shipgraph.cli import exit_codes, options
from shipgraph.cli.output import Output, table
from shipgraph.cli.running import Interrupt, run

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.engine.visibility import Proof, Visibility
    from shipgraph.visibility.proof import Looked


@click.command("visibility")
@click.argument("channel", required=False)
@click.option("--tag", metavar="TAG", help="An immutable tag, instead of the newest of this commit.")
@options.target
@options.common
def command(
    folder: Path, as_json: bool, debug: bool, channel: str | None, tag: str | None, registry: str | None,
    root: Path | None,
) -> None:  # fmt: skip
    """Pull a release as somebody without an account, and name what is not public.

    Without CHANNEL: the set of this commit, as it is before tags move; with it, what the channel has published. Every
    manifest is read by its digest, and each of its blobs up to the first byte. Where a package is private, its settings
    page is printed: GitHub has no API that could change it. Exits with 1 unless everybody can pull everything.
    """
    if channel and tag:
        raise click.UsageError("give CHANNEL or --tag, not both")
    output = Output(as_json=as_json, debug=debug)

    async def visibility(interrupt: Interrupt) -> int:  # noqa: ARG001 (nothing here has to be protected)
        from shipgraph.engine.opening import open_target, open_view
        from shipgraph.engine.visibility import NotAsked, channel_subjects, prove_public, tagged_subjects

        view = await open_view(folder, registry, root)
        with output.progress() as emit:
            async with open_target(view.registry, view.project, root) as (store, timing, _):
                if channel:
                    subjects, of = await channel_subjects(view, store, channel), channel
                else:
                    of, subjects = await tagged_subjects(view, store, tag)
                proof = await prove_public(view, store, subjects, lag=timing.lag, emit=emit)
        output.result(proof_json(of, view.registry, proof), proof_text(of, proof))
        if isinstance(proof, NotAsked) or not proof.closed:
            return exit_codes.DONE
        if not as_json:
            proof.check()  # says why, as an error
        return exit_codes.FAILED

    run(output, visibility)


def proof_json(of: str, host: str, proof: Proof) -> dict[str, Any]:
    """The proof as a document."""
    from shipgraph.engine.visibility import NotAsked

    if isinstance(proof, NotAsked):
        return {
            "of": of, "registry": host, "verdict": "not applicable", "reason": proof.reason, "private": [],
            "subjects": [],
        }  # fmt: skip
    return {
        "of": of,
        "registry": host,
        "verdict": "not public" if proof.closed else "public",
        "reason": "; ".join(proof.problems),
        "private": [{"repository": name, "settings": proof.pages.get(name)} for name in proof.private],
        "subjects": [
            {
                "repository": one.subject.repository,
                "digest": str(one.subject.digest),
                "what": one.subject.what,
                "access": str(one.access),
                "blobs": one.blobs,
                "reason": one.reason,
            }
            for one in proof.looked
        ],
    }


def proof_text(of: str, proof: Proof) -> str:
    """The proof for people: a line for each repository."""
    from shipgraph.engine.visibility import NotAsked

    if isinstance(proof, NotAsked):
        return f"visibility of {of}: not applicable: {proof.reason}"
    return f"visibility of {of}\n\n{table(_rows(proof), head=['repository', 'access', 'manifests', 'blobs'])}"


def _rows(proof: Visibility) -> list[list[str]]:
    by_repository: dict[str, list[Looked]] = {}
    for one in proof.looked:
        by_repository.setdefault(one.subject.repository, []).append(one)
    return [
        [
            name,
            ", ".join(dict.fromkeys(str(one.access) for one in found)),
            ", ".join(one.subject.what for one in found),
            str(sum(one.blobs for one in found)),
        ]
        for name, found in by_repository.items()
    ]
