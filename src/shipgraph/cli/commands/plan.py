"""`shipgraph plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from shipgraph.cli import options
from shipgraph.cli.output import Output, table
from shipgraph.cli.running import Interrupt, run
from shipgraph.events import silent

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.engine.planning import Plan


@click.command("plan")
@options.platforms
@options.trigger
@options.target
@options.common
def command(folder: Path, as_json: bool, debug: bool, **more: Any) -> None:
    """Show the graph, and what a release would build, reuse and move. Changes nothing."""
    output = Output(as_json=as_json, debug=debug)

    async def plan(interrupt: Interrupt) -> None:  # noqa: ARG001 (nothing here has to be protected)
        from shipgraph.engine.opening import MissingRoot, open_release, open_target
        from shipgraph.engine.planning import make_plan
        from shipgraph.engine.workspace import Workspace

        release = await open_release(options.asked(folder, **more), view=True)
        target = open_target(release.registry, release.project, more["root"], missing=MissingRoot.EMPTY)
        async with target as (store, _, _):
            made = await make_plan(release, store, Workspace.of(release.project.folder), emit=silent)
        output.result(_json(made), _text(made, more["root"]))

    run(output, plan)


def _json(plan: Plan) -> dict[str, Any]:
    release = plan.release
    return {
        "project": release.project.name,
        "channel": release.channel,
        "version": release.version,
        "releaseTag": release.release_tag,
        "registry": release.registry,
        "commit": release.commit,
        "dirty": release.dirty,
        "immutableTag": plan.immutable_tag,
        "images": [
            {
                "key": image.key,
                "repository": f"{release.registry}/{release.repository(image.key)}",
                "parent": image.parent,
                "base": None if image.base is None else str(image.base),
                "platforms": {
                    str(build.platform): {"action": build.action, "why": build.why, "digest": build.digest or None}
                    for build in plan.builds
                    if build.image == image.key
                },
            }
            for image in release.project.graph
        ],
        "moves": [{"repository": move.repository, "tag": move.tag, "before": move.before} for move in plan.moves],
        "deletes": [],
        "notes": list(plan.notes),
    }


def _text(plan: Plan, root: Path | None) -> str:
    release = plan.release
    graph = release.project.graph
    lines = [
        f"{release.project.name}: {release.channel or 'pull request'} {release.version} as {plan.immutable_tag}",
        f"to {release.registry}/{release.namespace}"
        + (f", kept in {root}" if root else "")
        + (" (work tree is dirty)" if release.dirty else ""),
        "",
    ]
    rows: list[list[str]] = []

    def draw(key: str, indent: str, last: bool, top: bool) -> None:
        branch = "" if top else ("└─ " if last else "├─ ")
        for position, build in enumerate(build for build in plan.builds if build.image == key):
            name = f"{indent}{branch}{key}" if position == 0 else ""
            rows.append([name, str(build.platform), build.action, build.why])
        children = graph.children(key)
        for number, child in enumerate(children, start=1):
            deeper = "" if top else ("   " if last else "│  ")
            draw(child, indent + deeper, number == len(children), top=False)

    for image in graph:
        if image.parent is None:
            draw(image.key, "", last=True, top=True)
    lines.append(table(rows, head=["image", "platform", "would", "because"]))
    lines += ["", "tags that move together:" if plan.moves else "no tag moves"]
    by_tag: dict[str, list[str]] = {}
    for move in plan.moves:
        by_tag.setdefault(move.tag, []).append(move.repository.rpartition("/")[2])
    lines += [f"  {tag}: {', '.join(names)}" for tag, names in by_tag.items()]
    lines += [f"note: {note}" for note in plan.notes]
    return "\n".join(lines)
