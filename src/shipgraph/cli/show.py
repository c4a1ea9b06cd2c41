"""Results as text and as JSON: the shapes that several commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shipgraph.cli.output import table
from shipgraph.evidence.requirements import Kind
from shipgraph.promote.protocol import Settled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shipgraph.engine.assembling import ImageResult
    from shipgraph.engine.images import Images
    from shipgraph.engine.releasing import Published
    from shipgraph.evidence.requirements import Survey
    from shipgraph.project.release import Release
    from shipgraph.promote.collect import ReleaseSet
    from shipgraph.promote.protocol import Unchanged
    from shipgraph.records.sets import SetRecord


def published_json(published: Published) -> dict[str, Any]:
    """The document of `release` and `rehearse`."""
    outcomes = {image.key: image for image in published.images}
    document = release_json(published.release, published.found, published.outcome, published.evidence)
    for image in document["images"]:
        image["outcome"] = outcomes[image["key"]].outcome
        image["builtPlatforms"] = [str(platform) for platform in outcomes[image["key"]].built]
    document["payloadUploaded"] = published.payload_uploaded
    document["unchanged"] = published.unchanged
    return document


def release_json(
    release: Release, found: ReleaseSet, outcome: Settled | Unchanged | None, evidence: Survey
) -> dict[str, Any]:
    """What all commands that finalize print; without an outcome nothing was to be moved."""
    return {
        "channel": release.channel,
        "version": release.version,
        "registry": release.registry,
        "commit": release.commit,
        "dirty": release.dirty,
        "immutableTag": found.immutable_tag,
        "serial": None if outcome is None else outcome.serial,
        "moved": isinstance(outcome, Settled),
        "movingTags": list(_moved(release, outcome)),
        "images": [
            {
                "key": image.key,
                "parent": _parent(release, image.key),
                "repository": f"{release.registry}/{image.repository}",
                "digest": str(image.index.digest),
                "platforms": {str(child.platform): str(child.digest) for child in image.index.manifests},
            }
            for image in found.images
        ],
        "payload": None
        if found.payload is None
        else {
            "repository": f"{release.registry}/{found.payload_repository}",
            "digest": str(found.payload.digest),
            "layer": str(found.payload.layers[0].digest),
        },
        "metadata": None
        if outcome is None
        else {
            "repository": f"{release.registry}/{release.metadata_repository}",
            "digest": str(outcome.metadata),
        },
        "evidence": {str(kind): evidence.state(kind) for kind in Kind},
        "omittedPlatforms": [str(platform) for platform in release.omitted_platforms],
    }


def _state(evidence: Survey, kind: Kind) -> str:
    state = evidence.state(kind)
    return state if state == "ok" or kind in evidence.required else f"{state}, not required"


def _moved(release: Release, outcome: Settled | Unchanged | None) -> tuple[str, ...]:
    """The tags that every image has of this release; a version below the channel's moves only its own."""
    if not isinstance(outcome, Settled):
        return release.moving_tags
    moved = {move.tag for move in outcome.moves}
    return tuple(tag for tag in release.moving_tags if tag in moved)


def _parent(release: Release, key: str) -> str | None:
    """An image's parent; None also for one of an older release that has left the graph."""
    graph = release.project.graph
    return graph[key].parent if key in graph else None


def release_text(
    release: Release,
    found: ReleaseSet,
    outcome: Settled | Unchanged | None,
    evidence: Survey,
    images: tuple[ImageResult, ...] = (),
) -> str:
    """The channel's table: every digest, what was done, and which evidence is missing."""
    outcomes = {image.key: image.outcome for image in images}
    rows = [
        [
            image.repository,
            str(image.index.digest)[:19],
            " ".join(sorted(str(child.platform).removeprefix("linux/") for child in image.index.manifests)),
            outcomes.get(image.key, ""),
        ]
        for image in found.images
    ]
    if found.payload is not None and found.payload_repository is not None:
        rows.append([found.payload_repository, str(found.payload.digest)[:19], "", ""])
    if outcome is not None:
        rows.append([release.metadata_repository, str(outcome.metadata)[:19], "", f"serial {outcome.serial}"])
    lines = [
        f"channel {release.channel or 'none'}  version {release.version}  {found.immutable_tag}",
        "",
        table(rows, head=["repository", "digest", "platforms", ""]),
        "",
        "evidence: " + "  ".join(f"{kind} {_state(evidence, kind)}" for kind in Kind),
    ]
    if release.omitted_platforms:
        lines.append("not built: " + ", ".join(map(str, release.omitted_platforms)))
    if release.omitted_images:
        built = ", ".join(map(str, release.platforms))
        lines.append(f"left out: {', '.join(release.omitted_images)}, not for {built}")
    tags = ", ".join(_moved(release, outcome))
    if outcome is None:
        lines.append("a pull request: built, gated and tested; nothing is published")
    elif isinstance(outcome, Settled):
        lines.append(f"moved: {tags} of every image, together")
        if release.channel not in _moved(release, outcome):
            lines.append(f"{release.channel} stays where it is: it has had a higher version")
    else:
        lines.append(f"unchanged: {release.release_tag or release.channel} already is this release")
    return "\n".join(lines)


def images_json(release: Release, record: SetRecord, results: Mapping[str, ImageResult]) -> dict[str, Any]:
    """The document of `build` and `assemble`."""
    return {
        "immutableTag": release.immutable_tag(record.revision),
        "images": [
            {
                "key": result.key,
                "parent": _parent(release, result.key),
                "repository": f"{release.registry}/{result.repository}",
                "digest": str(result.index.digest),
                "platforms": {str(child.platform): str(child.digest) for child in result.index.manifests},
                "outcome": result.outcome,
                "builtPlatforms": [str(platform) for platform in result.built],
            }
            for result in results.values()
        ],
    }


def images_text(release: Release, record: SetRecord, results: Mapping[str, ImageResult]) -> str:
    """The same for people."""
    rows = [[result.repository, str(result.index.digest), result.outcome] for result in results.values()]
    return f"{release.immutable_tag(record.revision)}\n\n{table(rows, head=['repository', 'digest', ''])}"


def platforms_json(release: Release, record: SetRecord, images: Images) -> dict[str, Any]:
    """The document of `build --platform`: images have no digest of their own yet."""
    found: dict[str, dict[str, Any]] = {}
    for image in images.values():
        document = found.setdefault(
            image.key,
            {
                "key": image.key,
                "parent": _parent(release, image.key),
                "repository": f"{release.registry}/{release.repository(image.key)}",
                "digest": None,
                "platforms": {},
                "outcome": "unchanged",
                "builtPlatforms": [],
            },
        )
        document["platforms"][str(image.platform)] = str(image.built.digest)
        if image.fresh:
            document["outcome"] = "built"
            document["builtPlatforms"].append(str(image.platform))
    return {
        "immutableTag": release.immutable_tag(record.revision),
        "images": [found[key] for key in release.project.graph.order if key in found],
    }


def platforms_text(release: Release, record: SetRecord, images: Images) -> str:
    """The same for people."""
    rows = [
        [
            release.repository(image.key),
            str(image.platform),
            str(image.built.digest),
            "built" if image.fresh else "unchanged",
        ]
        for image in images.values()
    ]
    return (
        f"{release.immutable_tag(record.revision)} (not assembled: no tag is set)\n\n"
        f"{table(rows, head=['repository', 'platform', 'digest', ''])}"
    )
