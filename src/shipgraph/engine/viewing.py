"""Where the things of a project are, for whoever looks at what is published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shipgraph.check.channel import Names

if TYPE_CHECKING:
    from shipgraph.project.release import Release


def names(release: Release) -> Names:
    """Where the project's things are."""
    project = release.project
    return Names(
        host=release.registry,
        project=project.name,
        metadata=release.metadata_repository,
        metadata_type=project.metadata.artifact_type,
        payload=release.payload_repository,
    )
