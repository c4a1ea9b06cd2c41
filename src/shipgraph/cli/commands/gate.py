"""`shipgraph gate`."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from json import dumps
from typing import TYPE_CHECKING, Any, Final

import click

from shipgraph.cli import exit_codes, options
from shipgraph.cli.output import Output, size, table
from shipgraph.cli.running import Interrupt, run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shipgraph.engine.gating import Named
    from shipgraph.events import Emit
    from shipgraph.oci.platform import Platform
    from shipgraph.project.release import Release
    from shipgraph.scan.exceptions import Judged
    from shipgraph.scan.verdict import Verdict

EXCEPTION_DAYS: Final = 90


@click.command("gate")
@click.argument("subjects", metavar="[IMAGE|REFERENCE]...", nargs=-1)
@click.option(
    "--tag", metavar="TAG", help="The tag of images named by key (default: the immutable tag of this commit)."
)
@options.platforms
@options.target
@options.common
def command(
    folder: Path, as_json: bool, debug: bool, subjects: tuple[str, ...], tag: str | None,
    platforms: tuple[Platform, ...], registry: str | None, root: Path | None,
) -> None:  # fmt: skip
    """Scan images and payload for secrets, by digest, straight from the registry.

    IMAGE is a key of shipgraph.toml, or `payload`; REFERENCE is REPOSITORY@sha256:… or REPOSITORY:TAG, of any image or
    artifact in the registry. Without either: all that the project ships. Every platform is scanned, and all findings
    are reported. Exits with 3 if one is HIGH or CRITICAL and no exception covers it. What was scanned before is not
    scanned again. Secrets are never printed.
    """
    output = Output(as_json=as_json, debug=debug)

    async def gate(interrupt: Interrupt) -> int:  # noqa: ARG001 (nothing here has to be protected)
        from shipgraph.engine.gating import find_named
        from shipgraph.engine.opening import open_view
        from shipgraph.scan.stage import check_verdicts

        view = await open_view(folder, registry, root)
        named = find_named(view, subjects, tag or view.immutable_tag())
        verdicts: list[Verdict] = []
        with output.progress() as emit:
            for host in dict.fromkeys(one.host for one in named):
                of_host = [one for one in named if one.host == host]
                verdicts += await _gate_host(view, host, root, of_host, platforms, emit)
        output.result(verdicts_json(verdicts), verdicts_text(verdicts))
        if not any(verdict.refused for verdict in verdicts):
            return exit_codes.DONE
        if not as_json:
            check_verdicts(verdicts, listed=True)  # says why, as an error
        return exit_codes.REFUSED

    run(output, gate)


async def _gate_host(
    view: Release,
    host: str,
    root: Path | None,
    named: Sequence[Named],
    platforms: tuple[Platform, ...],
    emit: Emit,
) -> tuple[Verdict, ...]:
    """Gate what is in one registry: the project's, or, where ``host`` is not empty, another."""
    from shipgraph.engine.gating import open_gate, resolve_named
    from shipgraph.engine.opening import open_target
    from shipgraph.engine.workspace import Workspace
    from shipgraph.remote.store import RemoteStore

    project, workspace = view.project, Workspace.of(view.project.folder)
    async with AsyncExitStack() as stack:
        if host:
            store = await stack.enter_async_context(RemoteStore(host))
        else:
            store, _, _ = await stack.enter_async_context(open_target(view.registry, project, root))
        gate = open_gate(project.gate, host=store.host, workspace=workspace, emit=emit)
        return await gate.look(store, await resolve_named(store, named), platforms=platforms)


def verdicts_json(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The verdicts as a document."""
    return {"refused": any(verdict.refused for verdict in verdicts), "images": [v.to_json() for v in verdicts]}


def verdicts_text(verdicts: Sequence[Verdict]) -> str:
    """A table of the images, one of the findings, and how to accept one."""
    images = table(
        [
            [
                verdict.name,
                ", ".join(str(m.platform or "-") for m in verdict.manifests) or "-",
                "REFUSED" if verdict.refused else "passed",
                str(len(verdict.judged)),
                size(sum(report.bytes for m in verdict.manifests for report in m.reports)),
                str(verdict.fresh),
            ]
            for verdict in verdicts
        ],
        head=["image", "platforms", "verdict", "findings", "content", "scanned now"],
    )
    problems = [
        f"{verdict.name}: {text}"
        for verdict in verdicts
        for text in (verdict.problem, *(m.problem for m in verdict.manifests))
        if text
    ]
    rows = _rows(verdicts)
    parts = [images, *problems]
    if rows:
        parts.append(
            table([row for _, row in rows], head=["severity", "rule", "where", "looks like", "fingerprint", "in"])
        )
    if failing := [judged for judged, _ in rows if judged.fails]:
        parts.append(_how_to_accept(failing[0]))
    return "\n\n".join(parts)


def _rows(verdicts: Sequence[Verdict]) -> list[tuple[Judged, list[str]]]:
    """Each finding once, however many images and platforms share its layer, the worst first."""
    places: dict[tuple[str, Judged], list[str]] = {}
    for verdict in verdicts:
        for key, platforms in verdict.judged.items():
            one_of_many = len(verdict.manifests) > 1 and len(platforms) < len(verdict.manifests)
            places.setdefault(key, []).append(
                f"{verdict.name} ({', '.join(platforms)})" if one_of_many else verdict.name
            )
    ordered = sorted(
        places.items(), key=lambda item: (not item[0][1].fails, item[0][1].finding.severity.rank, item[0][1].finding)
    )
    return [(judged, [_grade(judged), *_what(judged), _some(names)]) for (_, judged), names in ordered]


def _grade(judged: Judged) -> str:
    if judged.accepted is None:
        return str(judged.finding.severity)
    return f"{judged.finding.severity} ({'exception expired' if judged.expired else 'accepted'})"


def _what(judged: Judged) -> list[str]:
    finding = judged.finding
    place = f"{finding.path}:{finding.line}" if finding.line else finding.path
    looks = finding.masked or finding.title
    return [finding.rule, place, f"{looks}{', base64' if finding.encoded else ''}", finding.fingerprint]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _how_to_accept(judged: Judged) -> str:
    finding = judged.finding
    expires = datetime.now(UTC).date() + timedelta(days=EXCEPTION_DAYS)
    return "\n".join(
        (
            "To accept a finding that is none, put this into shipgraph.toml:",
            "",
            "[[gate.exceptions]]",
            f"rule = {dumps(finding.rule)}",
            f"path = {dumps(finding.path)}",
            f"fingerprint = {dumps(finding.fingerprint)}",
            'reason = "…"',
            f"expires = {expires.isoformat()}",
        )
    )
