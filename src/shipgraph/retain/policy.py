"""The rules of a clean-up, out of the project's configuration: which repositories, how much of each, for how long."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from shipgraph.evidence.requirements import Kind
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import encode_json
from shipgraph.retain.versions import ArtifactTypes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shipgraph.project.release import Release


class Role(StrEnum):
    """What a repository is for."""

    IMAGE = "image"
    PAYLOAD = "payload"
    METADATA = "metadata"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Policy:
    """What stays, by rule.

    ``roles`` and ``keep`` go by a repository's whole path without the host; a repository that has no role is looked
    into, but nothing in it goes. ``grace`` and ``unfinished`` are in seconds; ``prefixes`` are those of versions;
    ``evidence`` are the kinds without which a release isn't complete.
    """

    project: str
    registry: str
    metadata: str
    types: ArtifactTypes
    roles: Mapping[str, Role]
    keep: Mapping[str, int]
    default: int
    grace: int
    unfinished: int
    channels: tuple[str, ...]
    prefixes: tuple[str, ...] = ("v",)
    protect: tuple[str, ...] = ()
    disposable: tuple[str, ...] = ()
    evidence: frozenset[Kind] = frozenset()

    @property
    def repositories(self) -> tuple[str, ...]:
        """The repositories in which something may go."""
        return tuple(self.roles)

    def count(self, repository: str) -> int:
        """How many of the newest complete releases stay in a repository."""
        return self.keep.get(repository, self.default)

    @property
    def most(self) -> int:
        """The highest count of any repository."""
        return max((self.count(repository) for repository in self.roles), default=self.default)

    @property
    def rules(self) -> dict[str, str]:
        """The policy in words."""
        kept = [f"{repository} {count}" for repository, count in sorted(self.keep.items())]
        rules = {
            "complete releases that stay": ", ".join([*kept, f"{'everything else ' if kept else ''}{self.default}"]),
            "grace": _span(self.grace),
            "unfinished releases stay": _span(self.unfinished),
            "evidence of a complete release": ", ".join(sorted(self.evidence)) or "none",
            "channels": ", ".join(sorted(self.channels)),
            "versions": ", ".join(f"{prefix}*" for prefix in sorted(self.prefixes)) or "none",
        }
        retired = sorted(repository for repository, role in self.roles.items() if role is Role.RETIRED)
        for name, values in (
            ("protected tags", self.protect),
            ("disposable tags", self.disposable),
            ("retired", retired),
        ):
            if values:
                rules[name] = ", ".join(values)
        return rules

    @property
    def digest(self) -> str:
        """The policy's name: the same rules have the same. A new image alone doesn't make a new policy."""
        return str(Digest.of(encode_json(self.rules)))


def _span(seconds: int) -> str:
    """A time in words, in the largest unit of which it is three or more."""
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 3 * length and not seconds % length:
            return f"{seconds // length} {unit}"
    return f"{seconds} seconds"


def policy_of(release: Release) -> Policy:
    """The policy of a project, with its repositories at their places in the registry."""
    project, spec = release.project, release.project.retention

    def within(repository: str) -> str:
        return f"{release.namespace}/{repository}" if release.namespace else repository

    roles = {release.repository(image.key): Role.IMAGE for image in project.graph}
    if release.payload_repository is not None:
        roles[release.payload_repository] = Role.PAYLOAD
    roles[release.metadata_repository] = Role.METADATA
    roles.update({within(package): Role.RETIRED for package in spec.retired})
    return Policy(
        project=project.name,
        registry=release.registry,
        metadata=release.metadata_repository,
        types=ArtifactTypes(
            metadata=project.metadata.artifact_type,
            payload=project.payload.artifact_type if project.payload is not None else "",
        ),
        roles=MappingProxyType(roles),
        keep=MappingProxyType({within(repository): count for repository, count in spec.keep.items()}),
        default=spec.default,
        grace=spec.grace,
        unfinished=spec.unfinished,
        channels=tuple(project.channels),
        prefixes=tuple({prefix: None for channel in project.channels.values() for prefix in channel.tag_prefixes}),
        protect=spec.protect,
        disposable=spec.disposable,
        evidence=frozenset(map(Kind, project.evidence)),
    )
